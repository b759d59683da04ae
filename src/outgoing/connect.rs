//! From a host and a port to a connection, in clear text or over TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::CallError;

/// A host that has many addresses is tried at so many of them.
const ADDRESSES_MAX: usize = 8;
/// So long an address may take at least before the next is tried.
const ADDRESS_PATIENCE_MIN: Duration = Duration::from_millis(250);

/// Who is believed over TLS: read at the first call that needs it.
#[derive(Debug, Default)]
pub(super) struct Trust {
    config: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// Certificates that `roots` vouch for.
    pub(super) fn of(roots: RootCertStore) -> Self {
        Self {
            config: OnceCell::new_with(Some(client_config(roots))),
        }
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, CallError> {
        let config = self.config.get_or_try_init(|| async {
            // Some hundred files are read.
            let roots = tokio::task::spawn_blocking(system_roots).await;
            let roots = roots.map_err(|error| CallError::Trust(error.to_string()))?;
            Ok(client_config(roots.map_err(CallError::Trust)?))
        });
        config.await.cloned()
    }
}

/// The certificates that the system trusts, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(" ({error})"));
    Err(format!(
        "this system has no root certificates{}; install `ca-certificates`, or name a PEM file in SSL_CERT_FILE",
        why.unwrap_or_default()
    ))
}

fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("the provider knows both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Connects to one of the addresses of `host`, which has no brackets. Each gets its share of the time that is
/// left until `deadline`, so that one that is silent does not use it up.
pub(super) async fn tcp(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, CallError> {
    let place = || format!("{host}:{port}");
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| CallError::Resolve(host.to_owned(), error.to_string()))?;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    let mut last = CallError::Resolve(host.to_owned(), "it has no address".to_owned());
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - tried).expect("at most eight");
        let patience = (left / others).max(ADDRESS_PATIENCE_MIN);
        let why = match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A refusal costs some milliseconds, no more.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", patience.as_millis()),
        };
        last = CallError::Connect(place(), why);
    }
    Err(last)
}

/// Makes `stream` one to `host` over TLS, HTTP/1.1 within.
pub(super) async fn tls(trust: &Trust, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, CallError> {
    let failed = |error: io::Error| CallError::Tls(host.to_owned(), error.to_string());
    let config = trust.config().await?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(failed)
}
