//! TLS towards a backend: whom we believe, by which name, and what we show.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;

use super::pem;

/// What a connection to a backend needs for its handshake.
#[derive(Clone)]
pub struct Upstream {
    /// Roots, certificate, ALPN.
    pub config: Arc<ClientConfig>,
    /// What the backend's certificate must be for; `None`: the host of the endpoint.
    pub server_name: Option<ServerName<'static>>,
}

/// Contents of PEM files that a connection to a backend is made with.
#[derive(Clone, Copy, Default)]
pub struct UpstreamFiles<'f> {
    /// Who may vouch for the backend; `None`: whom the system trusts.
    pub ca: Option<&'f [u8]>,
    /// What we show: the chain, leaf first, and the key of the leaf. `None`: nothing.
    pub shown: Option<(&'f [u8], &'f [u8])>,
}

/// Why TLS towards a backend cannot be set up, and which of its parts has to be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum BadUpstream {
    #[error("{0}; give a PEM file with the certificates of those who vouch for the backend")]
    Ca(String),
    #[error(
        "this system has no root certificates{0}; install `ca-certificates`, name a PEM file in SSL_CERT_FILE, or \
         give the backend a `ca`"
    )]
    System(String),
    #[error("{0}; give a PEM file with the certificate chain, leaf first")]
    Certificate(String),
    #[error("{0}; give a PEM file with the private key of the leaf certificate")]
    Key(String),
    #[error("`{0}` is no name that a certificate can be for; give a DNS name or an IP address")]
    ServerName(String),
}

impl Upstream {
    /// From what its files hold: TLS 1.2 and 1.3; sessions are kept, and resumed. It speaks HTTP/2, or HTTP/1.1.
    ///
    /// # Errors
    /// [`BadUpstream`] says which part is of no use: a certificate that does not fit its key is none.
    pub fn new(files: UpstreamFiles<'_>, server_name: Option<&str>, http2: bool) -> Result<Self, BadUpstream> {
        let roots = match files.ca {
            Some(pem) => Arc::new(pem::roots(pem).map_err(BadUpstream::Ca)?),
            None => system_roots()?,
        };
        let server_name = server_name
            .map(|name| ServerName::try_from(name.to_owned()).map_err(|_| BadUpstream::ServerName(name.to_owned())))
            .transpose()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .expect("the provider knows both versions")
            .with_root_certificates(roots);
        let mut config = match files.shown {
            Some((chain, key)) => {
                let chain = pem::certificates(chain).map_err(|why| BadUpstream::Certificate(why.to_owned()))?;
                let key = pem::private_key(key).map_err(|why| BadUpstream::Key(why.to_owned()))?;
                let shown = builder.with_client_auth_cert(chain, key);
                shown.map_err(|error| BadUpstream::Key(format!("certificate and key do not fit: {error}")))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(Self {
            config: Arc::new(config),
            server_name,
        })
    }
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

/// The certificates that the system trusts, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`: some hundred files, read
/// once in the life of the process.
fn system_roots() -> Result<Arc<RootCertStore>, BadUpstream> {
    static FOUND: OnceLock<Result<Arc<RootCertStore>, BadUpstream>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable > 0 {
            return Ok(Arc::new(roots));
        }
        let why = found.errors.first().map(|error| format!(" ({error})"));
        Err(BadUpstream::System(why.unwrap_or_default()))
    };
    FOUND.get_or_init(read).clone()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::{BadUpstream, Upstream, UpstreamFiles};

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["app".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn what_is_of_no_use_is_told_by_its_part() {
        let ((ca, key), (_, other_key)) = (pair(), pair());
        let (ca, key, other_key) = (ca.as_bytes(), key.as_bytes(), other_key.as_bytes());
        let made = |ca, shown, name| Upstream::new(UpstreamFiles { ca: Some(ca), shown }, name, true).err();
        assert_eq!(made(ca, Some((ca, key)), Some("app.internal")), None);
        assert_eq!(made(ca, None, Some("10.0.0.1")), None);
        let part = |bad: Option<BadUpstream>| bad.map(|bad| format!("{bad:?}").split('(').next().unwrap().to_owned());
        for (ca, shown, name, expected) in [
            (&b""[..], None, None, "Ca"),
            (key, None, None, "Ca"),
            (&ca[..ca.len() / 2], None, None, "Ca"),
            (ca, Some((&b"nothing"[..], key)), None, "Certificate"),
            (ca, Some((ca, &b"nothing"[..])), None, "Key"),
            (ca, Some((ca, other_key)), None, "Key"),
            (ca, None, Some("no name"), "ServerName"),
        ] {
            assert_eq!(part(made(ca, shown, name)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn only_what_was_read_together_is_the_same() {
        let (ca, _) = pair();
        let files = UpstreamFiles {
            ca: Some(ca.as_bytes()),
            shown: None,
        };
        let [first, second] = [true, false].map(|http2| Upstream::new(files, None, http2).unwrap());
        assert!(first == first.clone() && first != second);
        assert_eq!(first.config.alpn_protocols, [b"h2".to_vec()]);
        assert_eq!(second.config.alpn_protocols, [b"http/1.1".to_vec()]);
    }
}
