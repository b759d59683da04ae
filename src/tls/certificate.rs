//! A certificate chain with its key, as it is shown to clients. Pure: files are read by others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs as provider;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::names::Names;
use super::pem;

/// A chain and the key of its leaf, which fit.
pub struct Certificate {
    names: Names,
    not_before_s: i64,
    not_after_s: i64,
    pub(super) key: Arc<CertifiedKey>,
    digest: [u8; 32],
}

/// Why a pair of files cannot be used. The words show nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum BadPair {
    #[error("{0}; give a PEM file with the certificate chain, leaf first")]
    Certificate(String),
    #[error("{0}; give a PEM file with the private key of the leaf certificate")]
    Key(String),
    #[error("the certificate is not for this key; write both files anew from one issue, the leaf first in its chain")]
    Mismatch,
}

impl Certificate {
    /// Reads a chain (leaf first) and the key of its leaf, both PEM. One that has expired is read like any other.
    ///
    /// # Errors
    /// [`BadPair`] says which of both is wrong, and how to mend it.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, BadPair> {
        let digest = digest_of(chain, key);
        let certificate = |why: &str| BadPair::Certificate(why.to_owned());
        let chain = pem::certificates(chain).map_err(certificate)?;
        let key = pem::private_key(key).map_err(|why| BadPair::Key(why.to_owned()))?;
        let leaf =
            X509Certificate::from_der(&chain[0]).map_err(|_| certificate("its first certificate is no X.509"))?;
        let leaf = leaf.1;
        let names = leaf.subject_alternative_name();
        let names = names.map_err(|_| certificate("the alternative names of its leaf are malformed"))?;
        let names = names.map_or(&[][..], |extension| &extension.value.general_names);
        let dns = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        let addresses = names.iter().filter_map(|name| match name {
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        });
        let names = Names::new(dns, addresses);
        let validity = leaf.validity();
        let (not_before_s, not_after_s) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let key = provider::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| BadPair::Key("its key is of no kind that is supported".to_owned()))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(BadPair::Mismatch),
            Err(error) => return Err(BadPair::Certificate(error.to_string())),
        }
        Ok(Self {
            names,
            not_before_s,
            not_after_s,
            key: Arc::new(key),
            digest,
        })
    }

    /// Whom it is for.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// From when on it counts, in Unix seconds.
    #[must_use]
    pub const fn not_before_s(&self) -> i64 {
        self.not_before_s
    }

    /// Until when it counts, in Unix seconds.
    #[must_use]
    pub const fn not_after_s(&self) -> i64 {
        self.not_after_s
    }

    /// Whether it was read from files of just these contents.
    #[must_use]
    pub fn is_of(&self, chain: &[u8], key: &[u8]) -> bool {
        self.digest == digest_of(chain, key)
    }
}

impl fmt::Debug for Certificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after_s", &self.not_after_s)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of both contents, the length of the first in front.
fn digest_of(chain: &[u8], key: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(chain.len() as u64).to_be_bytes());
    context.update(chain);
    context.update(key);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
    };

    use super::{BadPair, Certificate};

    pub(in crate::tls) const ECDSA: &SignatureAlgorithm = &PKCS_ECDSA_P256_SHA256;
    pub(in crate::tls) const RSA: &SignatureAlgorithm = &PKCS_RSA_SHA256;

    /// Chain and key of a certificate for `names`.
    pub(in crate::tls) fn pem(names: &[&str], kind: &'static SignatureAlgorithm) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn parse(chain: &str, key: &str) -> Result<Certificate, BadPair> {
        Certificate::parse(chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn names_and_dates_are_those_of_the_leaf() {
        let (chain, key) = pem(
            &["Shop.example.com", "*.example.com", "192.0.2.7", "2001:db8::7"],
            ECDSA,
        );
        let (other, _) = pem(&["other.example.com"], ECDSA);
        let whole = chain.clone() + &other;
        let certificate = parse(&whole, &key).unwrap();
        let names: Vec<_> = certificate.names().texts().collect();
        assert_eq!(names, ["shop.example.com", "*.example.com", "192.0.2.7", "2001:db8::7"]);
        assert_eq!(certificate.not_before_s(), 1_577_836_800);
        assert_eq!(certificate.not_after_s(), 1_893_456_000);
        assert_eq!(certificate.key.cert.len(), 2);
        assert!(certificate.is_of(whole.as_bytes(), key.as_bytes()));
        assert!(!certificate.is_of(chain.as_bytes(), key.as_bytes()));
        let shown = format!("{certificate:?}");
        assert!(!shown.contains("KEY") && !shown.contains("key"), "{shown}");
    }

    #[test]
    fn a_pair_that_does_not_fit_is_refused() {
        let ((chain, key), (_, other)) = (pem(&["a.test"], ECDSA), pem(&["a.test"], RSA));
        assert_eq!(parse(&chain, &other).unwrap_err(), BadPair::Mismatch);
        let of = |result: Result<Certificate, BadPair>| result.unwrap_err();
        assert!(matches!(of(parse("", &key)), BadPair::Certificate(_)));
        assert!(matches!(of(parse(&key, &key)), BadPair::Certificate(_)));
        assert!(matches!(of(parse(&chain, &chain)), BadPair::Key(_)));
        assert!(matches!(of(parse(&chain, "")), BadPair::Key(_)));
        assert!(matches!(of(parse(&chain[..200], &key)), BadPair::Certificate(_)));
        let foreign = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(of(parse(foreign, &key)), BadPair::Certificate(_)));
        let (twice, key2) = pem(&["b.test"], ECDSA);
        // The leaf must come first.
        assert_eq!(of(parse(&(chain + &twice), &key2)), BadPair::Mismatch);
    }
}
