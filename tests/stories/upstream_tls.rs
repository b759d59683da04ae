//! TLS towards backends, and the PROXY protocol in front of it.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{Client, Metrics, Options, Pair, Peer, Serin, noise, one_with, wait_until};

/// Answers every request of HTTP/1.1 with its whole head, or with its body where it has one.
async fn mirror(mut stream: Box<dyn crate::common::Stream>, _: usize) {
    let mut input = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
                return;
            }
        };
        let head = String::from_utf8(input.drain(..end).collect()).expect("text");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while input.len() < length {
            if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
                return;
            }
        }
        let body: Vec<u8> = input.drain(..length).collect();
        let said = if body.is_empty() { head.into_bytes() } else { body };
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", said.len()).into_bytes();
        answer.extend_from_slice(&said);
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// A Serin in front of `peer`: `files` beside its configuration, `tls` of its backend.
fn serin(peer: &Peer, files: &[(&str, &str)], tls: &str) -> Serin {
    let dir = TempDir::new().expect("a temporary directory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("it can be written");
    }
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    Serin::in_dir(dir, options, &one_with(peer.address(), tls, ""))
}

async fn post(serin: &Serin, body: Vec<u8>) -> (u16, Vec<u8>) {
    let address = serin.address();
    let asked = tokio::task::spawn_blocking(move || {
        let answer = Client::connect(address).request("POST", "/", &[("host", "serin.test")], &body);
        (answer.status, answer.body)
    });
    asked.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_shows_the_right_certificate_is_asked() {
    let pair = Pair::of(&["app.test"]);
    let peer = Peer::start(Some(pair.acceptor("http/1.1", None)), mirror).await;
    let files = [("ca.pem", &*pair.certificate_pem)];
    let serin = serin(&peer, &files, "tls: { ca: ca.pem, serverName: app.test }");
    let body = noise(20 * 1024 * 1024);
    let (status, came) = post(&serin, body.clone()).await;
    assert!(status == 200 && came == body, "{status}, {} bytes", came.len());
    for _ in 0..5 {
        assert_eq!(post(&serin, b"again".to_vec()).await, (200, b"again".to_vec()));
    }
    assert_eq!(peer.connections(), 1, "it is kept");
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (6, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_shows_another_is_not_asked_in_any_way() {
    let (right, wrong) = (Pair::of(&["app.test"]), Pair::of(&["app.test"]));
    for (ca, name) in [(&wrong, "app.test"), (&right, "shop.test")] {
        let peer = Peer::start(Some(right.acceptor("http/1.1", None)), mirror).await;
        let tls = format!("tls: {{ ca: ca.pem, serverName: {name} }}");
        let serin = serin(&peer, &[("ca.pem", &*ca.certificate_pem)], &tls);
        assert_eq!(post(&serin, b"secret".to_vec()).await.0, 502, "{name}");
        assert_eq!(peer.connections(), 1, "no second try");
        assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (0, 1, 0));
    }
    // Without `serverName` it must be for the endpoint's own host, here an address.
    for (names, expected) in [(["127.0.0.1"], 200), (["app.test"], 502)] {
        let pair = Pair::of(&names);
        let peer = Peer::start(Some(pair.acceptor("http/1.1", None)), mirror).await;
        let serin = serin(&peer, &[("ca.pem", &*pair.certificate_pem)], "tls: { ca: ca.pem }");
        assert_eq!(post(&serin, b"secret".to_vec()).await.0, expected, "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_certificate_is_shown_and_read_again_when_it_changes() {
    let (app, first, second) = (Pair::of(&["app.test"]), Pair::of(&["me"]), Pair::of(&["me too"]));
    let peer = Peer::start(Some(app.acceptor("http/1.1", Some(&second))), mirror).await;
    let files = [
        ("ca.pem", &*app.certificate_pem),
        ("me.pem", &*first.certificate_pem),
        ("me.key", &*first.key_pem),
    ];
    let tls = "tls: { ca: ca.pem, serverName: app.test, certificate: me.pem, key: me.key }";
    let serin = serin(&peer, &files, tls);
    assert_eq!(
        post(&serin, b"hello".to_vec()).await.0,
        502,
        "the backend does not know us"
    );
    // Half of the new pair: what was live stays, and the reload says why.
    std::fs::write(serin.dir().join("me.pem"), &second.certificate_pem).expect("it can be written");
    wait_until("the half pair is refused", || {
        let status = serin.status().to_string();
        status.contains("certificate and key do not fit")
    });
    std::fs::write(serin.dir().join("me.key"), &second.key_pem).expect("it can be written");
    let mut last = 0;
    for _ in 0..1_000 {
        last = post(&serin, b"hello".to_vec()).await.0;
        if last == 200 {
            break;
        }
        // The pause between two looks.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(last, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_of_no_use_are_told_at_the_start() {
    let pair = Pair::of(&["app.test"]);
    let body = one_with(([127, 0, 0, 1], 9).into(), "tls: { ca: /nonexistent/ca.pem }", "");
    let exit = tokio::task::spawn_blocking(move || Serin::refuses(Options::default(), &body));
    let exit = exit.await.expect("no panic");
    assert!(
        exit.code != Some(0) && exit.log.contains("/nonexistent/ca.pem"),
        "{exit:?}"
    );
    drop(pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_told_for_whom_a_connection_is() {
    for (version, tls) in [("v1", false), ("v2", false), ("v1", true)] {
        let pair = Pair::of(&["app.test"]);
        let headers: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = Arc::clone(&headers);
        let acceptor = tls.then(|| pair.acceptor("http/1.1", None));
        // The header comes before the handshake.
        let peer = Peer::start(None, move |mut stream, nth| {
            let (kept, acceptor) = (Arc::clone(&kept), acceptor.clone());
            async move {
                let mut header = Vec::new();
                let is_whole = |header: &[u8]| match version {
                    "v1" => header.ends_with(b"\r\n"),
                    _ => header.len() == 28,
                };
                while !is_whole(&header) {
                    match stream.read_u8().await {
                        Ok(byte) => header.push(byte),
                        Err(_) => return,
                    }
                }
                kept.lock().expect("no panic").push(header);
                match acceptor {
                    None => mirror(stream, nth).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            mirror(Box::new(stream), nth).await;
                        }
                    }
                }
            }
        })
        .await;
        let tls = if tls {
            ", tls: { ca: ca.pem, serverName: app.test }"
        } else {
            ""
        };
        let more = format!("proxyProtocol: {version}{tls}");
        let serin = serin(&peer, &[("ca.pem", &*pair.certificate_pem)], &more);
        for _ in 0..3 {
            assert_eq!(post(&serin, b"hello".to_vec()).await.0, 200, "{more}");
        }
        let headers = headers.lock().expect("no panic").clone();
        assert_eq!(headers.len(), 1, "one client, one connection");
        if version == "v1" {
            let line = String::from_utf8(headers[0].clone()).expect("text");
            let end = format!(" {}\r\n", serin.address().port());
            assert!(
                line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ") && line.ends_with(&end),
                "{line}"
            );
        } else {
            assert_eq!(headers[0][..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
            assert_eq!(headers[0][16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
            assert_eq!(headers[0][26..], serin.address().port().to_be_bytes());
        }
    }
}
