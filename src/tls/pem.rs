//! What PEM files hold, and what is wrong with them in words that show nothing of a key.

use rustls::RootCertStore;
use rustls_pki_types::pem::{Error, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a PEM file in their order, at least one.
///
/// # Errors
/// What is wrong with the file, such as `no certificate in it`.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in it"),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(words(&error, "no certificate in it")),
    }
}

/// Those who may vouch for others: the certificates of a PEM file, at least one.
///
/// # Errors
/// What is wrong with the file.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// The first private key of a PEM file.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| words(&error, "no private key in it that can be used without a password"))
}

/// Words of our own: the library's may quote a line of the file.
fn words(error: &Error, none: &'static str) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => "it ends in the middle of a section",
        Error::IllegalSectionStart { .. } => "a section of it does not begin as it should",
        Error::Base64Decode(_) => "a section of it is no base64",
        _ => none,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::{certificates, private_key, roots};

    #[test]
    fn what_is_wrong_is_told_without_what_is_secret() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        assert!(private_key(key.as_bytes()).is_ok());
        let told = |pem: &str| private_key(pem.as_bytes()).unwrap_err();
        assert_eq!(told(""), "no private key in it that can be used without a password");
        assert_eq!(told(&key[..key.len() - 40]), "it ends in the middle of a section");
        let garbled = key.replacen("KEY-----\n", "KEY", 1);
        assert_eq!(told(&garbled), "a section of it does not begin as it should");
        let half = key.replacen("\nM", "\n!", 1);
        assert_eq!(told(&half), "a section of it is no base64");
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert_eq!(
            told(&locked),
            "no private key in it that can be used without a password"
        );
        assert_eq!(certificates(key.as_bytes()).unwrap_err(), "no certificate in it");
        assert_eq!(roots(b"nothing").unwrap_err(), "no certificate in it");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(roots(broken.as_bytes()).is_err());
    }
}
