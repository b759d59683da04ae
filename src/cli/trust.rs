//! How the command line comes to an admin API over TLS: whom it believes, and what it shows of itself.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::{BadUpstream, Upstream, UpstreamFiles};

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
        let connector = TlsConnector::from(self.config()?);
        let connected = connector.connect(name, stream).await;
        connected.map_err(|error| format!("no TLS: {error}; --ca FILE names who vouches for it"))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let ca = self.ca.as_deref().map(read).transpose()?;
        let shown = self.shown.as_ref();
        let shown = shown
            .map(|(chain, key)| Ok::<_, String>((read(chain)?, read(key)?)))
            .transpose()?;
        let files = UpstreamFiles {
            ca: ca.as_deref(),
            shown: shown.as_ref().map(|(chain, key)| (&**chain, &**key)),
        };
        let made = Upstream::new(files, None, false);
        made.map(|upstream| upstream.config).map_err(|bad| self.blamed(bad))
    }

    /// Which file is to be mended, and how.
    fn blamed(&self, bad: BadUpstream) -> String {
        let (chain, key) = self.shown.as_ref().map(|(chain, key)| (chain, key)).unzip();
        let (file, why) = match bad {
            BadUpstream::System(why) => {
                return format!("this system has no root certificates{why}; name a PEM file with --ca");
            }
            BadUpstream::Ca(why) => (self.ca.as_ref(), why),
            BadUpstream::Certificate(why) => (chain, why),
            BadUpstream::Key(why) => (key, why),
            // None is given here.
            BadUpstream::ServerName(why) => (None, why),
        };
        file.map_or_else(|| why.clone(), |file| in_file(file, &why))
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
