//! Which certificate a client is shown: by the name that it asks for (SNI), and by what it can verify.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use smallvec::SmallVec;

use super::certificate::Certificate;
use super::names::{HOST_BYTES_MAX, parent};

/// Indexes of certificates, in the order of the file.
type Places = SmallVec<[usize; 2]>;

/// The certificates of one listener, by name.
pub(super) struct Shown {
    certificates: Vec<Arc<Certificate>>,
    exact: HashMap<Box<str>, Places>,
    /// By what follows `*.`.
    wildcards: HashMap<Box<str>, Places>,
    /// For who names nobody, or somebody who is unknown.
    default: Places,
}

impl Shown {
    /// The first is the default, with all others that are for its first name.
    pub(super) fn new(certificates: Vec<Arc<Certificate>>) -> Self {
        let (mut exact, mut wildcards) = (HashMap::<Box<str>, Places>::new(), HashMap::<Box<str>, Places>::new());
        for (place, certificate) in certificates.iter().enumerate() {
            for name in certificate.names().dns() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(under) => (&mut wildcards, under),
                    None => (&mut exact, name),
                };
                let places = names.entry(name.into()).or_default();
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        let first = certificates.first().and_then(|first| first.names().dns().next());
        let default = first.map(|name| match name.strip_prefix("*.") {
            Some(under) => wildcards[under].clone(),
            None => exact[name].clone(),
        });
        let only_first = || certificates.iter().take(1).map(|_| 0).collect();
        Self {
            default: default.unwrap_or_else(only_first),
            certificates,
            exact,
            wildcards,
        }
    }

    pub(super) fn certificates(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// Those for `name`: of the very name, else of its wildcard, else the default. No allocation.
    pub(super) fn of(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<Certificate>> {
        let places = name.and_then(|name| self.named(name)).unwrap_or(&self.default);
        places.iter().map(|place| &self.certificates[*place])
    }

    fn named(&self, name: &str) -> Option<&Places> {
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(lower).ok()?;
        self.exact
            .get(name)
            .or_else(|| parent(name).and_then(|parent| self.wildcards.get(parent)))
    }

    /// The first for `name` whose key signs as the client can verify; else the first, for its own alert.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let mut of_name = self.of(name);
        let first = of_name.next()?;
        if self.of(name).nth(1).is_none() {
            return Some(&first.key);
        }
        let fitting = self
            .of(name)
            .find(|certificate| certificate.key.key.choose_scheme(schemes).is_some());
        Some(&fitting.unwrap_or(first).key)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
            .map(Arc::clone)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.certificates).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::SignatureScheme;

    use super::Shown;
    use crate::tls::certificate::Certificate;
    use crate::tls::certificate::tests::{ECDSA, RSA, pem};

    fn shown(of: &[(&[&str], bool)]) -> Shown {
        let certificate = |&(names, rsa): &(&[&str], bool)| {
            let (chain, key) = pem(names, if rsa { RSA } else { ECDSA });
            Arc::new(Certificate::parse(chain.as_bytes(), key.as_bytes()).unwrap())
        };
        Shown::new(of.iter().map(certificate).collect())
    }

    #[track_caller]
    fn check(shown: &Shown, name: Option<&str>, schemes: &[SignatureScheme], expected: usize) {
        let chosen = shown.choose(name, schemes).expect("there is one");
        let place = shown.certificates.iter().position(|one| Arc::ptr_eq(&one.key, chosen));
        assert_eq!(place, Some(expected), "{name:?}");
    }

    const BOTH: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

    #[test]
    fn the_most_specific_name_wins_and_the_first_is_the_default() {
        let shown = shown(&[
            (&["default.test"], false),
            (&["*.example.com", "example.com"], false),
            (&["shop.example.com", "192.0.2.7"], false),
        ]);
        for (name, expected) in [
            (None, 0),
            (Some("default.test"), 0),
            (Some("unknown.test"), 0),
            (Some("shop.example.com"), 2),
            (Some("SHOP.Example.com"), 2),
            (Some("other.example.com"), 1),
            (Some("example.com"), 1),
            (Some("a.b.example.com"), 0),
            (Some("com"), 0),
            (Some(""), 0),
        ] {
            check(&shown, name, BOTH, expected);
        }
        check(&shown, Some(&"x".repeat(300)), BOTH, 0);
    }

    #[test]
    fn of_two_for_one_name_the_client_gets_the_one_that_it_can_verify() {
        let shown = shown(&[(&["a.test"], false), (&["a.test"], true), (&["b.test"], true)]);
        let (ecdsa, rsa) = (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256);
        for name in [Some("a.test"), None, Some("unknown.test")] {
            check(&shown, name, BOTH, 0);
            check(&shown, name, &[ecdsa], 0);
            check(&shown, name, &[rsa], 1);
            check(&shown, name, &[SignatureScheme::ED25519], 0);
        }
        check(&shown, Some("b.test"), &[ecdsa], 2);
    }

    #[test]
    fn without_certificates_nobody_is_shown_anything() {
        assert!(shown(&[]).choose(Some("a.test"), BOTH).is_none());
        assert!(shown(&[]).choose(None, BOTH).is_none());
    }

    #[test]
    fn a_certificate_without_names_is_good_as_the_default() {
        let shown = shown(&[(&[], false), (&["a.test"], false)]);
        check(&shown, Some("b.test"), BOTH, 0);
        check(&shown, Some("a.test"), BOTH, 1);
    }
}
