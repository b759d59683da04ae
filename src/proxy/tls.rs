//! Certificates and handshakes: rustls with aws-lc-rs, one certificate for each listener.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
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
}

/// Reads certificate and key, and makes what handshakes need: TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`.
///
/// # Errors
/// [`TlsError`] names the file and how to mend it.
pub(crate) fn load(certificate: &Path, key: &Path, only_1_3: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &Path| path.display().to_string();
    let bad_certificate = |cause: String| TlsError::Certificate {
        file: file(certificate),
        cause,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad_certificate("no certificate in it".into()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key {
        file: file(key),
        cause: error.to_string(),
    })?;
    let versions = if only_1_3 {
        &[&rustls::version::TLS13][..]
    } else {
        rustls::ALL_VERSIONS
    };
    let pair = |error: rustls::Error| TlsError::Pair {
        file: file(certificate),
        cause: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
