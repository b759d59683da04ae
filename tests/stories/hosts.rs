//! Hosts and TLS: a connection is for the hosts of its certificate, clients are sent to `https` and told to stay there.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use tempfile::TempDir;

use crate::common::tls::{Hello, Secure, certificate};
use crate::common::{Backend, Client, H2, Metrics, Options, Serin, answer, one, wait_until};

/// A Serin with certificates for `a.test` with its subdomains, and for `b.test`.
fn site(more: &str, top: &str) -> (Serin, Backend) {
    let dir = TempDir::new().expect("a temporary directory");
    certificate(dir.path(), "a", &["a.test", "*.a.test", "192.0.2.7"]);
    certificate(dir.path(), "b", &["b.test"]);
    let app = Backend::start(|_| answer(200, &[("strict-transport-security", "max-age=1")], "in secret"));
    let options = Options {
        listener: format!(
            "tls: {{ certificates: [{{ certificate: a.pem, key: a.key }}, {{ certificate: b.pem, key: b.key }}]{more} }}"
        ),
        top: top.to_owned(),
        ..Options::default()
    };
    let serin = Serin::in_dir(dir, options, &one(app.address()));
    (serin, app)
}

fn hello() -> Hello {
    Hello::new(rustls::ALL_VERSIONS)
}

fn misdirected(serin: &Serin) -> f64 {
    Metrics::of(serin).sum("serin_rejected_total", &[("reason", "misdirected")])
}

#[test]
fn a_host_that_the_certificate_is_not_for_is_misdirected() {
    let (serin, app) = site("", "");
    let config = hello().config();
    let mut served = 0;
    for (sni, hosts, others) in [
        (
            "a.test",
            &["a.test", "A.test:443", "x.a.test", "192.0.2.7"][..],
            &["b.test", "a.b.test", "192.0.2.8"][..],
        ),
        ("b.test", &["b.test", "b.test."], &["a.test"]),
        ("unknown.test", &["unknown.test", "x.a.test"], &["b.test"]),
    ] {
        let mut client = Secure::connect(serin.address(), sni, &config).expect("a handshake");
        for host in others {
            let (head, body) = client.get(host, "/").expect("an answer");
            assert_eq!(head.status().expect("a status"), 421, "{sni} {host}");
            assert!(body.contains("Misdirected Request"), "{body}");
        }
        // On the same connection: it is the host that is wrong.
        for host in hosts {
            let (head, _) = client.get(host, "/").expect("an answer");
            assert_eq!(head.status().expect("a status"), 200, "{sni} {host}");
            served += 1;
        }
    }
    assert_eq!((misdirected(&serin), app.requests()), (5.0, served));
    let nameless = hello().nameless().config();
    let mut client = Secure::connect(serin.address(), "a.test", &nameless).expect("a handshake");
    for host in ["b.test", "127.0.0.1", "other.test"] {
        let (head, _) = client.get(host, "/").expect("an answer");
        assert_eq!(
            head.status().expect("a status"),
            200,
            "who named nobody may ask for {host}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_http_2_a_stream_is_misdirected_and_the_others_are_served() {
    let (serin, _app) = site("", "");
    let connector = tokio_rustls::TlsConnector::from(hello().protocols(&["h2"]).config());
    let stream = tokio::net::TcpStream::connect(serin.address())
        .await
        .expect("it accepts");
    let name = rustls::pki_types::ServerName::try_from("a.test").expect("a name");
    let mut client = H2::over(connector.connect(name, stream).await.expect("a handshake")).await;
    for (host, status) in [("a.test", 200), ("b.test", 421), ("x.a.test", 200)] {
        let request = Request::get(format!("https://{host}/"))
            .body(Empty::<Bytes>::new().boxed())
            .expect("a request");
        let (head, ..) = client.exchange(request).await;
        assert_eq!(head.status.as_u16(), status, "{host}");
    }
}

#[test]
fn a_proxy_that_is_believed_speaks_for_many_hosts() {
    let (serin, _app) = site("", "trustedProxies: [127.0.0.1]\n");
    let mut client = Secure::connect(serin.address(), "a.test", &hello().config()).expect("a handshake");
    let (head, _) = client.get("b.test", "/").expect("an answer");
    assert_eq!(head.status().expect("a status"), 200);
}

#[test]
fn with_client_certificates_no_other_host_may_be_asked_for() {
    let (serin, _app) = site(", clientCa: b.pem", "");
    let mut client = Secure::connect(serin.address(), "a.test", &hello().config()).expect("a handshake");
    for (host, status) in [("a.test", 200), ("x.a.test", 421), ("b.test", 421)] {
        let (head, _) = client.get(host, "/").expect("an answer");
        assert_eq!(head.status().expect("a status"), status, "{host}");
    }
}

#[test]
fn every_answer_over_tls_says_once_that_clients_shall_stay() {
    let (serin, _app) = site(", hsts: { maxAge: 365d, includeSubdomains: true, preload: true }", "");
    let expected = Some("max-age=31536000; includeSubDomains; preload");
    let mut client = Secure::connect(serin.address(), "a.test", &hello().config()).expect("a handshake");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nhost: b.test\r\n\r\n", 421),
        ("TRACE / HTTP/1.1\r\nhost: a.test\r\n\r\n", 405),
    ] {
        let (head, _) = client.ask(request).expect("an answer");
        assert_eq!(head.status().expect("a status"), status);
        assert_eq!(head.get("strict-transport-security"), expected, "{status}");
    }
    let mut client = Secure::connect(serin.address(), "a.test", &hello().config()).expect("a handshake");
    let (head, _) = client.ask("GET / HTTP/1.1\r\nno field\r\n\r\n").expect("an answer");
    assert_eq!(head.status().expect("a status"), 400);
    assert_eq!(head.get("strict-transport-security"), expected);
}

#[test]
fn protocols_that_nobody_speaks_here_end_the_handshake() {
    let (serin, _app) = site("", "");
    let config = hello().protocols(&["spdy/3.1"]).config();
    Secure::connect(serin.address(), "a.test", &config)
        .map(drop)
        .expect_err("no protocol in common");
    let config = hello().protocols(&["spdy/3.1", "http/1.1"]).config();
    Secure::connect(serin.address(), "a.test", &config).expect("one in common");
}

fn clear(listener: &str, top: &str) -> (Serin, Backend) {
    let app = Backend::ok("in clear");
    let options = Options {
        listener: listener.to_owned(),
        top: top.to_owned(),
        ..Options::default()
    };
    (Serin::with(options, &one(app.address())), app)
}

#[test]
fn a_listener_in_clear_sends_clients_to_https() {
    let (serin, app) = clear("redirectToHttps: { port: 8443 }", "");
    let mut client = Client::connect(serin.address());
    for (target, host, location) in [
        ("/a?b=c", "shop.test", "https://shop.test:8443/a?b=c"),
        ("/", "shop.test:8080", "https://shop.test:8443/"),
        ("/x?//y", "[::1]:80", "https://[::1]:8443/x?//y"),
    ] {
        for method in ["GET", "POST"] {
            let answer = client.request(method, target, &[("host", host)], b"");
            assert_eq!(
                (answer.status, answer.head.get("location")),
                (308, Some(location)),
                "{answer:?}"
            );
            assert_eq!(answer.head.get("strict-transport-security"), None);
        }
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.response("GET").problem(400);
    assert_eq!(app.requests(), 0);
    let (default, _app) = clear("redirectToHttps: true", "");
    // That is no failure, and among those it has no line.
    let text = std::fs::read_to_string(default.file()).expect("it is there");
    std::fs::write(default.file(), text.replace("access: off", "access: errors")).expect("it can be written");
    assert_eq!(default.reload().status, 200);
    let mut client = Client::connect(default.address());
    let answer = client.get("/");
    assert_eq!(answer.head.get("location"), Some("https://serin.test/"));
    client.send("GET /refused HTTP/1.0\r\n\r\n");
    client.response("GET").problem(400);
    wait_until("a refusal has one", || default.log().contains("/refused 400 "));
    assert!(!default.log().contains(" 308 "), "{}", default.log());
}

#[test]
fn who_came_by_https_to_a_proxy_that_is_believed_is_not_sent_there_again() {
    let (serin, _app) = clear("redirectToHttps: true", "trustedProxies: [127.0.0.1]\n");
    let mut client = Client::connect(serin.address());
    let status = |client: &mut Client, proto| client.request("GET", "/", &[("x-forwarded-proto", proto)], b"").status;
    assert_eq!((status(&mut client, "https"), status(&mut client, "http")), (200, 308));
    let (open, _app) = clear("redirectToHttps: true", "");
    assert_eq!(
        status(&mut Client::connect(open.address()), "https"),
        308,
        "an outsider is not believed"
    );
}
