//! Who a client's certificate says it is. The handshake has verified the certificate; this only reads its names.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 1_024;

/// The first of these that a certificate has: a URI (such as a SPIFFE ID), a DNS name, an email address among its
/// alternative names (RFC 5280 §4.2.1.6), the common name of its subject. `None`: it has none, or one that is longer
/// than 1,024 bytes or has control characters, which no person would have signed with a good reason.
#[must_use]
pub fn identity(certificate: &[u8]) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let dns = || {
        names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
    };
    let email = || {
        names.iter().find_map(|name| match name {
            GeneralName::RFC822Name(name) => Some(*name),
            _ => None,
        })
    };
    let common = || certificate.subject().iter_common_name().next()?.as_str().ok();
    // Who may choose such a name must not pass for a URI.
    let is_uri = uri.is_some();
    let name = uri.or_else(dns).or_else(email).or_else(common)?;
    let is_plain = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    let is_plain = is_plain && (is_uri || !name.contains("://"));
    is_plain.then(|| name.into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::identity;

    #[track_caller]
    fn check(names: &[SanType], common: Option<&str>, expected: Option<&str>) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(identity(certificate.der()).as_deref(), expected);
    }

    #[test]
    fn the_most_telling_name_counts() {
        let uri = SanType::URI("spiffe://example.com/shop".try_into().unwrap());
        let dns = SanType::DnsName("shop.example.com".try_into().unwrap());
        let email = SanType::Rfc822Name("alice@example.com".try_into().unwrap());
        let ip = SanType::IpAddress("192.0.2.7".parse().unwrap());
        let all = [ip.clone(), email.clone(), dns.clone(), uri];
        check(&all, Some("alice"), Some("spiffe://example.com/shop"));
        check(&all[..3], Some("alice"), Some("shop.example.com"));
        check(&all[..2], Some("alice"), Some("alice@example.com"));
        check(&[ip], Some("alice"), Some("alice"));
        check(&[], Some("Älice"), Some("Älice"));
        check(&[dns], None, Some("shop.example.com"));
        check(&[], None, None);
    }

    #[test]
    fn names_that_would_confuse_readers_are_none() {
        check(&[], Some("spiffe://example.com/bot"), None);
        check(&[], Some("alice\0admin"), None);
        check(&[], Some("alice\nadmin"), None);
        check(&[], Some(""), None);
        let long = SanType::DnsName("x".repeat(1_025).try_into().unwrap());
        check(&[long], None, None);
        assert_eq!(identity(b"no certificate"), None);
        assert_eq!(identity(b""), None);
    }
}
