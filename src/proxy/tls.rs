//! Certificates and handshakes: rustls with aws-lc-rs, one certificate for each listener, and whose certificates clients
//! may show.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub(crate) enum TlsError {
    #[error("{file}: {cause}; give a PEM file with the certificate chain, leaf first")]
    Certificate { file: String, cause: String },
    #[error("{file}: {cause}; give a PEM file with the private key of the leaf certificate")]
    Key { file: String, cause: String },
    #[error("{file}: certificate and key do not fit: {cause}")]
    Pair { file: String, cause: String },
    #[error("{file}: {cause}; give a PEM file with the certificates of those who sign for clients")]
    ClientCa { file: String, cause: String },
}

/// The files of one listener, PEM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'f> {
    /// The chain, leaf first.
    pub(crate) certificate: &'f Path,
    /// The private key of the leaf.
    pub(crate) key: &'f Path,
    /// Who may sign for clients; `None`: they are asked for no certificate.
    pub(crate) client_ca: Option<&'f Path>,
}

/// Reads the files, and makes what handshakes need: TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`. Clients may show
/// a certificate that one of `client_ca` vouches for, or none; any other ends the handshake.
///
/// # Errors
/// [`TlsError`] names the file and how to mend it.
pub(crate) fn load(files: Files<'_>, only_1_3: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let Files { certificate, key, .. } = files;
    let chain = certificates(certificate).map_err(|cause| TlsError::Certificate {
        file: shown(certificate),
        cause,
    })?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key {
        file: shown(key),
        cause: error.to_string(),
    })?;
    let versions = if only_1_3 {
        &[&rustls::version::TLS13][..]
    } else {
        rustls::ALL_VERSIONS
    };
    let pair = |error: rustls::Error| TlsError::Pair {
        file: shown(certificate),
        cause: error.to_string(),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(pair)?;
    let builder = match files.client_ca {
        Some(file) => builder.with_client_cert_verifier(clients(file, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if files.client_ca.is_some() {
        // A session that is resumed shows no certificate again: one that has expired meanwhile would still count.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// Who believes the certificates of clients that one of `file` vouches for.
fn clients(file: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let bad = |cause| TlsError::ClientCa {
        file: shown(file),
        cause,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).map_err(bad)? {
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| bad(error.to_string()))
}

/// The certificates of a PEM file, at least one; or what is wrong with it.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("no certificate in it".into());
    }
    Ok(certificates)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
