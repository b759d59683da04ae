//! The PROXY protocol from those in front: for whom a connection is, and what is refused.

use rustls::ALL_VERSIONS;
use serin::proxy_protocol::{ProxyVersion, put};
use tempfile::TempDir;

use crate::common::tls::{Hello, Secure, certificate};
use crate::common::{Backend, Client, Metrics, Options, Serin, one, wait_until};

fn site(more: &str, top: &str) -> (Serin, Backend) {
    let dir = TempDir::new().expect("a temporary directory");
    certificate(dir.path(), "a", &["a.test"]);
    let app = Backend::ok("x");
    let options = Options {
        listener: format!("proxyProtocol: true{more}"),
        top: top.to_owned(),
        ..Options::default()
    };
    let serin = Serin::in_dir(dir, options, &one(app.address()));
    (serin, app)
}

const TRUSTED: &str = "trustedProxies: [127.0.0.1]\n";
const TLS: &str = ", tls: { certificates: [{ certificate: a.pem, key: a.key }] }";
const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 203.0.113.9\r\n\r\n";

fn header(version: ProxyVersion, source: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let source = source.parse().expect("an address");
    put(
        version,
        source,
        "198.51.100.1:443".parse().expect("an address"),
        &mut out,
    );
    out
}

fn forwarded_for(app: &Backend) -> String {
    let seen = app.seen().pop().expect("it was asked");
    seen.head.get("x-forwarded-for").expect("it stands there").to_owned()
}

fn refused(serin: &Serin) -> f64 {
    Metrics::of(serin).sum("serin_rejected_total", &[("reason", "proxy_protocol")])
}

#[test]
fn the_client_is_who_the_header_names() {
    let (serin, app) = site("", TRUSTED);
    for (version, source, expected) in [
        (ProxyVersion::V1, "192.0.2.7:1", "192.0.2.7"),
        (ProxyVersion::V2, "192.0.2.8:1", "192.0.2.8"),
        (ProxyVersion::V2, "[2001:db8::7]:1", "2001:db8::7"),
        (ProxyVersion::V1, "[::ffff:192.0.2.9]:1", "192.0.2.9"),
    ] {
        let mut client = Client::connect(serin.address());
        client.send([&header(version, source), REQUEST.as_bytes()].concat());
        assert_eq!(client.response("GET").status, 200);
        // What the client itself says of others is not believed: it is no trusted proxy.
        assert_eq!(forwarded_for(&app), expected);
        client.send(REQUEST);
        assert_eq!(
            client.response("GET").status,
            200,
            "no header is due before the second request"
        );
    }
    assert_eq!(refused(&serin), 0.0);
}

#[test]
fn a_header_in_pieces_is_read_whole_and_nothing_behind_it() {
    let (serin, app) = site("", TRUSTED);
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut client = Client::connect(serin.address());
        for byte in [&header(version, "192.0.2.7:1"), REQUEST.as_bytes()].concat() {
            client.send([byte]);
        }
        assert_eq!(client.response("GET").status, 200);
        assert_eq!(forwarded_for(&app), "192.0.2.7");
    }
    // More than is looked at in one go.
    let mut long = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    long.extend_from_slice(&(12 + 3 + 2_000u16).to_be_bytes());
    long.extend_from_slice(&[192, 0, 2, 10, 198, 51, 100, 1, 0, 1, 0, 2, 0xea]);
    long.extend_from_slice(&2_000u16.to_be_bytes());
    long.extend_from_slice(&[7; 2_000]);
    let mut client = Client::connect(serin.address());
    client.send([&long, REQUEST.as_bytes()].concat());
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(forwarded_for(&app), "192.0.2.10");
}

#[test]
fn it_comes_before_the_handshake() {
    let (serin, app) = site(TLS, TRUSTED);
    let config = Hello::new(ALL_VERSIONS).config();
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let ahead = header(version, "192.0.2.7:1");
        let mut client = Secure::connect_behind(serin.address(), &ahead, "a.test", &config).expect("a handshake");
        client.get("a.test", "/").expect("an exchange");
        assert_eq!(forwarded_for(&app), "192.0.2.7");
    }
    Secure::connect(serin.address(), "a.test", &config)
        .map(drop)
        .expect_err("a header is due");
    wait_until("it is counted", || refused(&serin) == 1.0);
}

#[test]
fn a_connection_of_the_peers_own_is_the_peers() {
    let (serin, app) = site("", TRUSTED);
    let mut client = Client::connect(serin.address());
    client.send([b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", REQUEST.as_bytes()].concat());
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(forwarded_for(&app), "203.0.113.9, 127.0.0.1", "the peer is believed");
    // For somebody whom the peer does not know.
    let mut client = Client::connect(serin.address());
    client.send(["PROXY UNKNOWN\r\n", REQUEST].concat());
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(forwarded_for(&app), "127.0.0.1", "who wrote this request is not");
}

#[test]
fn without_a_good_header_nobody_is_served() {
    let (serin, app) = site(", timeouts: { handshake: 300ms }", TRUSTED);
    let bad = [
        REQUEST.to_owned(),
        format!("PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n{REQUEST}"),
        format!("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n{REQUEST}{REQUEST}"),
        // Never ends.
        "PROXY TCP4".to_owned(),
        String::new(),
    ];
    for (times, bytes) in (1..).zip(bad) {
        let mut client = Client::connect(serin.address());
        client.send(&bytes);
        assert!(client.closed(), "{bytes:?}");
        wait_until("it is counted", || refused(&serin) == f64::from(times));
    }
    assert_eq!(app.requests(), 0);
}

#[test]
fn nobody_but_a_trusted_proxy_may_speak_for_others() {
    let (serin, app) = site("", "trustedProxies: [192.0.2.0/24]\n");
    let mut client = Client::connect(serin.address());
    client.send([&header(ProxyVersion::V1, "192.0.2.7:1"), REQUEST.as_bytes()].concat());
    assert!(client.closed());
    wait_until("it is counted", || refused(&serin) == 1.0);
    assert_eq!(app.requests(), 0);
}
