//! How a listener's handshakes are made: versions, protocols, certificates, sessions, and whether clients show who they
//! are.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::certificate::Certificate;
use super::shown::Shown;

/// What a listener's handshakes are made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Chosen by SNI; the first is the default.
    pub certificates: Vec<Arc<Certificate>>,
    /// Refuse TLS 1.2.
    pub only_1_3: bool,
    /// Who may vouch for clients; `None`: they are asked for no certificate.
    pub clients: Option<Arc<RootCertStore>>,
    /// Whether clients must show one.
    pub client_required: bool,
    /// What is spoken within, the most wanted first (ALPN).
    pub protocols: &'static [&'static str],
}

/// A listener's side of handshakes. Two are equal when they are one.
pub struct Server {
    setup: Setup,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

/// What is spoken on a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListenerTls {
    /// Clear text.
    #[default]
    Clear,
    /// TLS, but its files are not read: nobody is served.
    Unread,
    /// TLS.
    Ready(Arc<Server>),
}

/// Seals sessions so that they can be resumed without being kept: AES-256 and HMAC-SHA-256, with keys that change every
/// 6 hours and open tickets for 12. One for the whole process, so that a client may come back by any worker.
///
/// # Errors
/// When the system has no randomness.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    aws_lc_rs::Ticketer::new()
}

impl Server {
    /// Makes what handshakes need: TLS 1.2 and 1.3, without early data, renegotiation or compression. A client that
    /// names protocols (ALPN) of which none is spoken is refused. Sessions are resumed by tickets of `ticketer`,
    /// but where clients are asked for certificates there are none: a session that is resumed shows no certificate
    /// again, and one that has expired meanwhile would still count.
    ///
    /// # Errors
    /// When nobody among `setup.clients` can vouch for anybody.
    pub fn new(setup: Setup, ticketer: &Arc<dyn ProducesTickets>) -> Result<Self, String> {
        let versions = if setup.only_1_3 {
            &[&rustls::version::TLS13][..]
        } else {
            rustls::ALL_VERSIONS
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the provider knows both versions");
        let builder = match &setup.clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider);
                let verifier = match setup.client_required {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
            }
        };
        let shown = Arc::new(Shown::new(setup.certificates.clone()));
        let mut config = builder.with_cert_resolver(Arc::clone(&shown) as _);
        config.alpn_protocols = setup.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        match setup.clients {
            None => config.ticketer = Arc::clone(ticketer),
            Some(_) => config.send_tls13_tickets = 0,
        }
        Ok(Self {
            setup,
            shown,
            config: Arc::new(config),
        })
    }

    /// For one handshake.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Its certificates, the default first.
    #[must_use]
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        self.shown.certificates()
    }

    /// Whether it would come out the same of `setup`, whose certificates and roots are shared.
    #[must_use]
    pub fn is_of(&self, setup: &Setup) -> bool {
        let own = &self.setup;
        let same = |(one, other): (&Arc<Certificate>, &Arc<Certificate>)| Arc::ptr_eq(one, other);
        let same_clients = match (&own.clients, &setup.clients) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        same_clients
            && own.certificates.len() == setup.certificates.len()
            && own.certificates.iter().zip(&setup.certificates).all(same)
            && (own.only_1_3, own.client_required, own.protocols)
                == (setup.only_1_3, setup.client_required, setup.protocols)
    }

    /// Whether a connection whose client asked for `sni` may ask for `host` (RFC 9110 §7.4): it is that very name, or
    /// the certificate that was shown is for it, too. Where clients are asked for certificates only the very name
    /// is: what was said in the handshake was said to that host. One comparison where both are the same.
    #[must_use]
    pub fn may_ask(&self, sni: &str, host: &str) -> bool {
        let bare = host.strip_suffix('.').unwrap_or(host);
        if bare.eq_ignore_ascii_case(sni) {
            return true;
        }
        self.setup.clients.is_none() && self.shown.of(Some(sni)).all(|shown| shown.names().covers(host))
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Server {}

impl fmt::Debug for Server {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Server, Setup, ticketer};
    use crate::tls::certificate::Certificate;
    use crate::tls::certificate::tests::{ECDSA, pem};
    use crate::tls::roots;

    fn setup(names: &[&[&str]], client_ca: bool) -> Setup {
        let certificate = |names: &&[&str]| {
            let (chain, key) = pem(names, ECDSA);
            Arc::new(Certificate::parse(chain.as_bytes(), key.as_bytes()).unwrap())
        };
        Setup {
            certificates: names.iter().map(certificate).collect(),
            only_1_3: false,
            clients: client_ca.then(|| Arc::new(roots(pem(&["ca.test"], ECDSA).0.as_bytes()).unwrap())),
            client_required: false,
            protocols: &["h2", "http/1.1"],
        }
    }

    #[test]
    fn a_host_is_served_that_the_client_asked_for_or_was_shown() {
        let names: &[&[&str]] = &[&["a.test", "*.a.test", "192.0.2.7"], &["b.test"]];
        let server = |client_ca| Server::new(setup(names, client_ca), &ticketer().unwrap()).unwrap();
        let (open, strict) = (server(false), server(true));
        for (sni, host, expected) in [
            ("a.test", "a.test", true),
            ("a.test", "A.test.", true),
            ("a.test", "x.a.test", true),
            ("a.test", "192.0.2.7", true),
            ("a.test", "192.0.2.8", false),
            ("a.test", "b.test", false),
            ("a.test", "x.y.a.test", false),
            ("b.test", "a.test", false),
            // Nobody's name: the default was shown.
            ("c.test", "c.test", true),
            ("c.test", "a.test", true),
            ("c.test", "b.test", false),
        ] {
            assert_eq!(open.may_ask(sni, host), expected, "{sni} {host}");
            let same = host.trim_end_matches('.').eq_ignore_ascii_case(sni);
            assert_eq!(strict.may_ask(sni, host), same, "{sni} {host}");
        }
    }

    #[test]
    fn it_is_made_anew_only_of_other_parts() {
        let setup = setup(&[&["a.test"], &["b.test"]], true);
        let server = Server::new(setup.clone(), &ticketer().unwrap()).unwrap();
        assert!(server.is_of(&setup));
        let check = |change: fn(&mut Setup)| {
            let mut other = setup.clone();
            change(&mut other);
            assert!(!server.is_of(&other), "{other:?}");
        };
        check(|setup| setup.only_1_3 = true);
        check(|setup| setup.client_required = true);
        check(|setup| setup.clients = None);
        check(|setup| setup.certificates.reverse());
        check(|setup| setup.certificates.truncate(1));
        check(|setup| setup.protocols = &["http/1.1"]);
    }

    #[test]
    fn sessions_are_resumed_only_where_clients_show_no_certificates() {
        let server = |client_ca| Server::new(setup(&[&["a.test"]], client_ca), &ticketer().unwrap()).unwrap();
        let (open, strict) = (server(false), server(true));
        assert!(open.config().ticketer.enabled() && !strict.config().ticketer.enabled());
        assert_eq!(strict.config().send_tls13_tickets, 0);
        for server in [open, strict] {
            assert!(!server.config().session_storage.can_cache());
            assert_eq!(server.config().max_early_data_size, 0);
        }
    }
}
