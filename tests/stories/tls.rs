//! TLS from clients in its simplest form: one certificate, and the protocol that both sides choose.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use crate::common::{Backend, Client, H2, Head, Metrics, Options, PATIENCE, Serin, Wire, one, pair_with, wait_until};

struct Site {
    serin: Serin,
    app: Backend,
    certificate: CertificateDer<'static>,
}

/// A Serin with a certificate for `serin.test`.
fn site(more: &str) -> Site {
    site_of(more, one)
}

/// The same with a configuration of its own for the backend's address.
fn site_of(more: &str, body: impl FnOnce(SocketAddr) -> String) -> Site {
    let signed = rcgen::generate_simple_self_signed(["serin.test".to_owned()]).expect("a certificate");
    let dir = TempDir::new().expect("a temporary directory");
    std::fs::write(dir.path().join("cert.pem"), signed.cert.pem()).expect("it can be written");
    std::fs::write(dir.path().join("key.pem"), signed.signing_key.serialize_pem()).expect("it can be written");
    let app = Backend::ok("in secret");
    let tls = format!("tls: {{ certificates: [{{ certificate: cert.pem, key: key.pem }}]{more} }}");
    let options = Options {
        listener: tls,
        ..Options::default()
    };
    let serin = Serin::in_dir(dir, options, &body(app.address()));
    Site {
        serin,
        app,
        certificate: signed.cert.der().clone(),
    }
}

fn config(
    site: &Site,
    protocols: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(site.certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that the provider knows")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("serin.test").expect("a name")
}

type Secure = Wire<StreamOwned<ClientConnection, TcpStream>>;

/// One exchange in HTTP/1.1, and the protocol that was agreed on.
fn exchange(site: &Site, config: Arc<ClientConfig>) -> std::io::Result<(String, Option<Vec<u8>>)> {
    exchange_whole(site, config).map(|(_, body, protocol)| (body, protocol))
}

/// The same with the head of the answer.
fn exchange_whole(site: &Site, config: Arc<ClientConfig>) -> std::io::Result<(Head, String, Option<Vec<u8>>)> {
    let stream = TcpStream::connect(site.serin.address())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ClientConnection::new(config, name()).expect("a sound configuration");
    let mut wire: Secure = Wire::new(StreamOwned::new(connection, stream));
    wire.send(b"GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n")?;
    let head = wire.head()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (body, _) = wire.body(head.framing())?;
    assert_eq!(head.status()?, 200);
    let protocol = wire.stream().conn.alpn_protocol().map(<[u8]>::to_vec);
    Ok((head, String::from_utf8_lossy(&body).into_owned(), protocol))
}

#[test]
fn http_1_is_served_with_and_without_alpn() {
    let site = site("");
    let (body, protocol) = exchange(&site, config(&site, &["http/1.1"], rustls::ALL_VERSIONS)).expect("an exchange");
    assert_eq!(
        (body.as_str(), protocol.as_deref()),
        ("in secret", Some(&b"http/1.1"[..]))
    );
    let (body, protocol) = exchange(&site, config(&site, &[], rustls::ALL_VERSIONS)).expect("an exchange");
    assert_eq!((body.as_str(), protocol), ("in secret", None));
    let seen = site.app.seen().pop().expect("it was asked");
    assert_eq!(seen.head.get("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_sticky_cookie_that_was_set_over_tls_is_for_tls_alone() {
    let site = site_of("", |app| pair_with(app, app, (50, 50), "", "    sticky: {}\n"));
    let (head, ..) = exchange_whole(&site, config(&site, &[], rustls::ALL_VERSIONS)).expect("an exchange");
    let cookie = head.get("set-cookie").expect("a cookie is set");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_agreed_on_by_alpn() {
    let site = site("");
    let connector = TlsConnector::from(config(&site, &["h2", "http/1.1"], rustls::ALL_VERSIONS));
    let stream = tokio::net::TcpStream::connect(site.serin.address())
        .await
        .expect("it accepts");
    let stream = connector.connect(name(), stream).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = H2::over(stream).await;
    let request = Request::get("https://serin.test/")
        .body(Empty::<Bytes>::new().boxed())
        .expect("a request");
    let (head, body, _) = client.exchange(request).await;
    assert_eq!((head.status.as_u16(), &body[..]), (200, &b"in secret"[..]));
    let seen = site.app.seen().pop().expect("it was asked");
    assert_eq!(seen.head.get("x-forwarded-proto"), Some("https"));
}

#[test]
fn both_versions_are_spoken_unless_the_file_says_otherwise() {
    let open = site("");
    for version in rustls::ALL_VERSIONS {
        exchange(&open, config(&open, &[], &[version])).expect("an exchange");
    }
    let strict = site(", minVersion: \"1.3\"");
    exchange(&strict, config(&strict, &[], &[&rustls::version::TLS13])).expect("an exchange");
    exchange(&strict, config(&strict, &[], &[&rustls::version::TLS12])).expect_err("1.2 is not enough");
}

#[test]
fn a_handshake_that_fails_is_counted_and_hurts_nobody() {
    let site = site("");
    let mut plain = Client::connect(site.serin.address());
    plain.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    plain.try_response("GET").expect_err("no answer in clear");
    wait_until("it is counted", || {
        Metrics::of(&site.serin).sum("serin_rejected_total", &[("reason", "handshake")]) == 1.0
    });
    exchange(&site, config(&site, &[], rustls::ALL_VERSIONS)).expect("others are served");
}

#[test]
fn a_certificate_that_is_not_there_is_no_start() {
    let app = Backend::ok("x");
    let tls = "tls: { certificates: [{ certificate: none.pem, key: none.pem }] }";
    let exit = Serin::refuses(
        Options {
            listener: tls.to_owned(),
            ..Options::default()
        },
        &one(app.address()),
    );
    assert!(matches!(exit.code, Some(1 | 3)), "{exit:?}");
    assert!(exit.log.contains("none.pem"), "{}", exit.log);
}
