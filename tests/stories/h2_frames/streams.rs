//! Streams that live longer than one question and one answer: tunnels, uploads that are answered early, clients that
//! give no room.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cases::{data, get, post};
use super::protocol::{reset, window};
use super::wire::{SETTINGS, Socket, frame, setting};
use crate::common::{Act, Backend, Metrics, Options, Serin, noise, ok, one, wait_until};

fn connect(serin: &Serin) -> Socket {
    Socket::connect(serin.address(), None)
}

/// A backend that grants WebSockets as RFC 6455 §4.2.2 says, and echoes.
fn echo() -> Backend {
    Backend::start(|request| {
        let accept = request.head.get("sec-websocket-key").map_or_else(String::new, |key| {
            let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
            let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
            format!("sec-websocket-accept: {}\r\n", STANDARD.encode(hash))
        });
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n{accept}x-from: app\r\n\r\n"
        );
        vec![Act::Send(head.into_bytes()), Act::Echo]
    })
}

const TUNNEL: [(&str, &str); 3] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    ("sec-websocket-version", "13"),
];

#[test]
fn a_websocket_is_a_stream_like_others() {
    let app = echo();
    let serin = Serin::start(&one(app.address()));
    let mut client = connect(&serin);
    client.send(&post(1, &TUNNEL));
    assert_eq!(client.event(), "200");
    client.send(&data(1, false, b"ping"));
    assert_eq!(client.data(4), b"ping");
    let much = noise(12_000);
    client.send(&data(1, false, &much));
    assert!(client.data(much.len()) == much);
    client.send(&data(1, true, b""));
    assert_eq!(client.event(), "over", "both sides end");
    let head = app.seen().pop().expect("it was asked").head;
    assert_eq!(head.start, "GET / HTTP/1.1");
    assert_eq!(
        (head.get("upgrade"), head.get("connection")),
        (Some("websocket"), Some("upgrade"))
    );
    wait_until("it is in the books", || {
        Metrics::of(&serin).attempts("app", "stable") == (1, 0, 0)
    });
}

#[test]
fn a_tunnel_that_its_client_resets_ends_at_the_backend() {
    let app = echo();
    let serin = Serin::start(&one(app.address()));
    let mut client = connect(&serin);
    client.send(&post(1, &TUNNEL));
    assert_eq!(client.event(), "200");
    client.send(&reset(1, 8));
    wait_until("the backend is left", || app.open() == 0);
    client.send(&get(3, &[(":method", "OPTIONS"), (":path", "*")]));
    assert_eq!(
        client.event(),
        "502",
        "it goes on; this backend has no answer but tunnels"
    );
}

#[test]
fn an_early_answer_ends_the_upload_without_blame() {
    let early = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlots";
    let app = Backend::start(move |_| vec![Act::Send(early.to_vec()), Act::Close]);
    let serin = Serin::start(&one(app.address()));
    let mut client = connect(&serin);
    client.send(&post(1, &[("content-length", "1000")]));
    let told = [client.event(), client.event(), client.event()];
    assert_eq!(told, ["413", "over", "rst 0"], "RFC 9113, 8.1");
    // What was on its way hurts nobody.
    client.send(&data(1, false, &[0; 500]));
    client.send(&post(3, &[]));
    assert_eq!(client.event(), "413");
}

#[test]
fn a_window_of_nothing_holds_up_one_stream_for_its_time() {
    let app = Backend::start(|_| ok(noise(100_000)));
    let options = Options {
        listener: "timeouts: { requestHead: 10s, body: 500ms, idle: 60s }".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &one(app.address()));
    let mut client = connect(&serin);
    client.send(&frame(SETTINGS, 0, 0, &setting(4, 0)));
    client.send(&get(1, &[]));
    assert_eq!(client.event(), "200");
    client.send(&get(3, &[]));
    assert_eq!(client.event(), "200");
    // The third is given what it needs.
    client.send(&[get(5, &[]), window(5, 200_000), window(0, 200_000)].concat());
    let mut told = [client.event(), client.event(), client.event(), client.event()];
    told.sort();
    assert_eq!(told, ["200", "over", "rst 8", "rst 8"]);
    wait_until("the backend is left", || {
        Metrics::of(&serin).attempts("app", "stable") == (1, 0, 2)
    });
}

#[test]
fn who_asks_for_much_and_gives_it_up_at_once_is_served_on() {
    let app = Backend::start(|request| match request.head.start.starts_with("GET /last ") {
        true => ok("last"),
        false => vec![Act::Hang],
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = connect(&serin);
    let streams = || (0..100).map(|n| 2 * n + 1);
    let asked: Vec<_> = streams().flat_map(|stream| get(stream, &[])).collect();
    let given_up: Vec<_> = streams().flat_map(|stream| reset(stream, 8)).collect();
    client.send(&[asked, given_up].concat());
    client.send(&get(201, &[(":path", "/last")]));
    assert_eq!(client.event(), "200");
}
