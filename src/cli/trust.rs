//! How the command line comes to an admin API over TLS: whom it believes, and what it shows of itself.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls;

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files that a connection over TLS is made with, PEM.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Who may vouch for the server; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// What we show: the chain, leaf first, and the key of the leaf. `None`: nothing.
    pub shown: Option<(PathBuf, PathBuf)>,
}

impl Trust {
    /// Makes `stream` one to `host` over TLS. Who is not believed is not spoken to.
    ///
    /// # Errors
    /// Which file cannot be used, or why there is no handshake.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let connected = connector.connect(name, stream).await;
        connected.map_err(|error| format!("no TLS: {error}; --ca FILE names who vouches for it"))
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let roots = match &self.ca {
            Some(file) => tls::roots(&read(file)?).map_err(|why| in_file(file, &why))?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .expect("the provider knows both versions")
            .with_root_certificates(roots);
        let Some((chain, key)) = &self.shown else {
            return Ok(builder.with_no_client_auth());
        };
        let certificates = tls::certificates(&read(chain)?).map_err(|why| in_file(chain, why))?;
        let own = tls::private_key(&read(key)?).map_err(|why| in_file(key, why))?;
        let shown = builder.with_client_auth_cert(certificates, own);
        shown.map_err(|error| in_file(chain, &format!("certificate and key do not fit: {error}")))
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match usable {
        0 => Err("this system has no root certificates; name a PEM file with --ca".to_owned()),
        _ => Ok(roots),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|open| open.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    opened.map_err(|error| in_file(file, &format!("cannot be read: {error}")))?;
    Ok(bytes)
}

fn in_file(file: &Path, why: &str) -> String {
    format!("{}: {why}", file.display())
}
