//! The harness itself: a scripted backend does on the wire what its script says.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use crate::common::{
    Act, Backend, Client, Load, answer, chunked, close, get, ok, refusing_address, reset, status, text, tunnel,
    wait_until,
};

#[test]
fn a_script_answers_and_records() {
    let backend = Backend::start(|request| match request.target() {
        "/missing" => status(404),
        _ => answer(200, &[("x-nth", &request.nth.to_string())], request.method()),
    });
    let mut client = Client::connect(backend.address());
    assert_eq!(client.get("/").text(), "GET");
    let second = client.request("POST", "/", &[("x-a", "b")], b"hello");
    assert_eq!((second.status, second.head.get("x-nth")), (200, Some("1")));
    assert_eq!(client.get("/missing").status, 404);
    let seen = backend.seen();
    assert_eq!((seen.len(), backend.connections()), (3, 1));
    assert_eq!(
        (seen[1].body.as_slice(), seen[1].head.get("X-A"), seen[1].whole),
        (&b"hello"[..], Some("b"), true)
    );
}

#[test]
fn a_script_misbehaves() {
    let cut = |backend: &Backend| {
        let mut client = Client::connect(backend.address());
        client.send("GET / HTTP/1.1\r\n\r\n");
        client.try_response("GET").expect_err("no whole answer comes").kind()
    };
    assert_eq!(cut(&Backend::start(|_| close())), ErrorKind::UnexpectedEof);
    assert_eq!(cut(&Backend::start(|_| reset())), ErrorKind::ConnectionReset);
    assert_eq!(cut(&Backend::on_accept(vec![Act::Reset])), ErrorKind::ConnectionReset);
    let short = Backend::start(|_| {
        vec![
            Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".to_vec()),
            Act::Close,
        ]
    });
    assert_eq!(cut(&short), ErrorKind::UnexpectedEof);
    let (refusing, _kept) = refusing_address();
    assert_eq!(
        TcpStream::connect(refusing).expect_err("nobody listens").kind(),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn a_script_speaks_in_chunks_drips_and_interim_heads() {
    let backend = Backend::start(|request| match request.target() {
        "/chunks" => chunked(&[b"ab", b"c"], &[("x-sum", "6")]),
        "/drip" => vec![Act::Drip(
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_vec(),
            Duration::from_millis(1),
        )],
        "/interim" => text("HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n"),
        _ => tunnel("echo"),
    });
    let mut client = Client::connect(backend.address());
    let chunks = client.get("/chunks");
    assert_eq!(
        (chunks.text().as_str(), chunks.trailers.get("x-sum")),
        ("abc", Some("6"))
    );
    assert_eq!(client.get("/drip").text(), "x");
    let interim = client.get("/interim");
    assert_eq!((interim.status, interim.interim), (204, vec![103]));
    assert_eq!(client.get("/tunnel").status, 101);
    client.send("ping");
    assert_eq!(client.wire().exactly(4).expect("an echo"), b"ping");
}

#[test]
fn a_chunked_upload_is_read_with_its_trailers() {
    let backend = Backend::ok("thanks");
    let mut client = Client::connect(backend.address());
    client.send("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n");
    assert_eq!(client.response("POST").text(), "thanks");
    let seen = &backend.seen()[0];
    assert_eq!(
        (seen.body.as_slice(), seen.trailers.get("x-sum")),
        (&b"abc"[..], Some("3"))
    );
}

#[test]
fn a_load_counts_what_is_answered_and_what_is_lost() {
    let backend = Backend::start(|request| if request.nth == 10 { close() } else { ok("x") });
    let load = Load::start(backend.address(), 2, "/");
    wait_until("some are answered and some lost", || {
        load.answered() > 30 && load.lost().len() > 1
    });
    let (samples, lost) = load.stop();
    assert!(
        samples
            .iter()
            .all(|sample| sample.status == 200 && sample.sent <= sample.done)
    );
    assert!(samples.len() > 30 && lost.len() > 1);
    assert_eq!(get(backend.address(), "/").status, 200);
}
