//! TLS towards a backend: whom we believe, by which name, and what we show.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;

/// What a connection to a backend needs for its handshake.
#[derive(Clone)]
pub struct Upstream {
    /// Roots, certificate, ALPN.
    pub config: Arc<ClientConfig>,
    /// What the backend's certificate must be for; `None`: the host of the endpoint.
    pub server_name: Option<ServerName<'static>>,
}

impl PartialEq for Upstream {
    /// Whether both are made of the same reading of the same files.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.server_name == other.server_name
    }
}

impl fmt::Debug for Upstream {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
