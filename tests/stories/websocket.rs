//! WebSockets from either protocol to either protocol. What passes is bytes: their frames are for both ends to read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::common::{Act, Backend, Call, Client, Metrics, Options, Peer, Serin, answer, one, one_with, wait_until};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A backend that takes extended CONNECT and echoes.
async fn http2_echo() -> Peer {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    Peer::http2(None, builder, |mut call: Call| async move {
        let protocol = call.request.extensions().get::<Protocol>();
        let asked = protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
            && call.request.method() == http::Method::CONNECT
            && !call.request.headers().contains_key("sec-websocket-key")
            && call.request.headers().contains_key("sec-websocket-version");
        if !asked {
            return call.answer(Response::builder().status(400), "no", None).await;
        }
        let head = Response::builder().header("sec-websocket-protocol", "chat").body(());
        let mut send = call
            .respond
            .send_response(head.expect("a head"), false)
            .expect("it is open");
        let body = call.request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).ok();
            send.send_data(data, false).ok();
        }
        send.send_data(Bytes::new(), true).ok();
    })
    .await
}

/// A backend of HTTP/1.1 that answers the key, or not.
fn http1_echo(answers: bool) -> Backend {
    Backend::start(move |request| {
        let key = request.head.get("sec-websocket-key").unwrap_or_default();
        let accept = if answers { accept(key) } else { "wrong".to_owned() };
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-protocol: chat\r\nsec-websocket-accept: {accept}\r\n\r\n"
        );
        vec![Act::Send(head.into_bytes()), Act::Echo]
    })
}

fn accept(key: &str) -> String {
    use base64::Engine as _;
    let whole = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, whole.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

/// Asks for a WebSocket over HTTP/1.1; the status line.
fn ask(serin: &Serin) -> (Client, String, Option<String>) {
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "GET /chat HTTP/1.1\r\nhost: serin.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n\r\n"
    ));
    let head = client.wire().head().expect("a head").expect("a head");
    let accept = head.get("sec-websocket-accept").map(str::to_owned);
    (client, head.start.clone(), accept)
}

/// Asks for one over HTTP/2.
async fn ask_http2(serin: &Serin) -> (http::response::Parts, SendStream<Bytes>, RecvStream) {
    let tcp = TcpStream::connect(serin.address()).await.expect("it accepts");
    let (sender, connection) = h2::client::handshake(tcp).await.expect("a handshake");
    tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("it is open");
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("http://serin.test/chat")
        .header("sec-websocket-version", "13")
        .body(())
        .expect("a request");
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let (answer, send) = sender.send_request(request, false).expect("it is open");
    let (head, body) = answer.await.expect("an answer").into_parts();
    (head, send, body)
}

async fn echoes_http2(send: &mut SendStream<Bytes>, body: &mut RecvStream) {
    send.send_data(Bytes::from_static(b"ping"), false).expect("it is open");
    let mut came = Vec::new();
    while came.len() < 4 {
        came.extend_from_slice(&body.data().await.expect("more").expect("whole"));
    }
    assert_eq!(came, b"ping");
    send.send_data(Bytes::new(), true).expect("it is open");
    while let Some(data) = body.data().await {
        assert_eq!(data.expect("a good end"), Bytes::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http1_reaches_a_backend_of_http2() {
    let peer = http2_echo().await;
    let serin = Serin::start(&one_with(peer.address(), "protocol: http2", ""));
    let asked = tokio::task::spawn_blocking(move || {
        let (mut client, start, accept) = ask(&serin);
        assert!(start.starts_with("HTTP/1.1 101"), "{start}");
        assert_eq!(accept.as_deref(), Some(ACCEPT));
        client.send("ping");
        assert_eq!(client.wire().exactly(4).expect("an echo"), b"ping");
        drop(client);
        wait_until("it is booked", || {
            Metrics::of(&serin).attempts("app", "stable") == (1, 0, 0)
        });
        // Without a key there is nothing to answer.
        let mut client = Client::connect(serin.address());
        client.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        assert_eq!(client.response("GET").status, 400);
    });
    asked.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_reaches_backends_of_either() {
    let (first, second) = (http1_echo(true), http2_echo().await);
    for (address, keys) in [(first.address(), ""), (second.address(), "protocol: http2")] {
        let body = if keys.is_empty() {
            one(address)
        } else {
            one_with(address, keys, "")
        };
        let serin = Serin::start(&body);
        let (head, mut send, mut body) = ask_http2(&serin).await;
        assert_eq!(head.status.as_u16(), 200, "{keys}");
        assert_eq!(head.headers.get("sec-websocket-protocol").expect("it passes"), "chat");
        assert!(!head.headers.contains_key("sec-websocket-accept"), "{keys}");
        echoes_http2(&mut send, &mut body).await;
    }
    let seen = first.seen().pop().expect("it was asked").head;
    assert_eq!(seen.start, "GET /chat HTTP/1.1");
    assert_eq!(seen.all("sec-websocket-key").len(), 1);
    assert_eq!(seen.get("upgrade"), Some("websocket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_does_not_answer_our_key_is_none() {
    let app = http1_echo(false);
    let serin = Serin::start(&one(app.address()));
    assert_eq!(ask_http2(&serin).await.0.status.as_u16(), 502);
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_takes_none_is_not_to_blame() {
    let peer = Peer::http2(None, h2::server::Builder::new(), |mut call: Call| async move {
        call.answer(Response::builder(), "plain", None).await;
    })
    .await;
    let serin = Serin::start(&one_with(peer.address(), "protocol: http2", ""));
    assert_eq!(ask_http2(&serin).await.0.status.as_u16(), 502);
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_switches_nothing_grants_nothing() {
    for (status, told) in [(200, 502), (204, 502), (302, 302), (403, 403), (503, 503)] {
        let app = Backend::start(move |_| answer(status, &[], ""));
        let serin = Serin::start(&one(app.address()));
        assert_eq!(ask_http2(&serin).await.0.status.as_u16(), told, "{status}");
        if told == 502 {
            // Anybody may ask for a tunnel where there is none.
            assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (0, 0, 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_sent_much_may_say_that_it_has_taken_it() {
    const MUCH: usize = 24 * 1024 * 1024;
    let app = Backend::start(|request| {
        let accept = accept(request.head.get("sec-websocket-key").unwrap_or_default());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        vec![Act::Send(head.into_bytes()), Act::Send(vec![b'x'; MUCH]), Act::Close]
    });
    let serin = Serin::start(&one(app.address()));
    let (head, _send, mut body) = ask_http2(&serin).await;
    assert_eq!(head.status.as_u16(), 200);
    let mut came = 0;
    while let Some(data) = body.data().await {
        let data = data.expect("it is no flood");
        came += data.len();
        // Twice for each half of the first window: for the stream, and for the connection.
        body.flow_control().release_capacity(data.len()).expect("it has come");
    }
    assert_eq!(came, MUCH);
}

#[test]
fn tunnels_are_counted_and_bounded() {
    let app = http1_echo(true);
    let options = Options {
        listener: "limits: { upgrades: 1 }".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &one(app.address()));
    let (first, start, _) = ask(&serin);
    assert!(start.starts_with("HTTP/1.1 101"), "{start}");
    let (_, start, _) = ask(&serin);
    assert!(start.starts_with("HTTP/1.1 503"), "{start}");
    assert_eq!(
        Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "upgrades")]) as u64,
        1
    );
    drop(first);
    wait_until("there is room again", || ask(&serin).1.starts_with("HTTP/1.1 101"));
}

#[test]
fn a_drain_leaves_tunnels_until_they_end() {
    let app = http1_echo(true);
    let mut serin = Serin::start(&one(app.address()));
    let (mut client, start, _) = ask(&serin);
    assert!(start.starts_with("HTTP/1.1 101"), "{start}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (_, mut send, mut body) = runtime.block_on(ask_http2(&serin));
    serin.signal(Signal::TERM);
    wait_until("nothing new is taken", || Client::try_connect(serin.address()).is_err());
    // What is said goes both ways, however long after the idle connections were closed.
    for _ in 0..20 {
        client.send("ping");
        assert_eq!(client.wire().exactly(4).expect("an echo"), b"ping");
        // The pause between two words.
        std::thread::sleep(Duration::from_millis(20));
    }
    runtime.block_on(echoes_http2(&mut send, &mut body));
    drop((client, send, body));
    let exit = serin.exit();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(!exit.log.contains("cut off"), "{}", exit.log);
}

#[test]
fn a_tunnel_that_does_not_end_is_cut_at_the_end_of_the_drain() {
    let app = http1_echo(true);
    let options = Options {
        drain_timeout: Some("1s"),
        ..Options::default()
    };
    let mut serin = Serin::with(options, &one(app.address()));
    let (mut client, start, _) = ask(&serin);
    assert!(start.starts_with("HTTP/1.1 101"), "{start}");
    serin.signal(Signal::TERM);
    assert_eq!(client.wire().rest().unwrap_or_default(), b"", "nothing is said");
    let exit = serin.exit();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.log.contains("cut off"), "{}", exit.log);
}

#[test]
fn its_route_says_how_long_a_tunnel_may_be_silent() {
    let app = http1_echo(true);
    let serin = Serin::start(&one_with(app.address(), "", "bodyTimeout: 300ms"));
    let (mut client, start, _) = ask(&serin);
    assert!(start.starts_with("HTTP/1.1 101"), "{start}");
    client.send("ping");
    assert_eq!(client.wire().exactly(4).expect("an echo"), b"ping");
    let silent = Instant::now();
    // Without the route's word it would be longer than anybody waits here.
    assert!(client.closed());
    assert!(silent.elapsed() >= Duration::from_millis(250), "{silent:?}");
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (1, 0, 0));
}
