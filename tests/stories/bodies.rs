//! Bodies stream through byte for byte, in every framing, both ways, and never pile up in Serin.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::common::{
    Act, Backend, Client, Metrics, Options, PATIENCE, Serin, answer, chunked, fetch, get, noise, ok, one, status, text,
    tunnel, wait_until,
};

const MIB: usize = 1024 * 1024;

#[test]
fn ten_megabytes_go_up_byte_for_byte() {
    let app = Backend::ok("thanks");
    let serin = Serin::start(&one(app.address()));
    let sent = noise(10 * MIB + 7);
    let response = fetch(serin.address(), "POST", "/upload", &[], &sent);
    assert_eq!((response.status, response.text().as_str()), (200, "thanks"));
    let seen = app.seen().pop().expect("it came");
    assert_eq!(seen.head.get("content-length"), Some(sent.len().to_string().as_str()));
    assert!(
        seen.body == sent,
        "{} of {} bytes, or not the same",
        seen.body.len(),
        sent.len()
    );
}

#[test]
fn ten_megabytes_come_down_byte_for_byte() {
    let body = Arc::new(noise(10 * MIB + 7));
    let sent = Arc::clone(&body);
    let app = Backend::start(move |request| match request.target() {
        "/chunked" => chunked(&sent.chunks(70_001).collect::<Vec<_>>(), &[]),
        _ => ok(&*sent),
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    let whole = client.get("/length");
    assert_eq!(whole.head.get("content-length"), Some(body.len().to_string().as_str()));
    assert!(whole.body == *body);
    let whole = client.get("/chunked");
    assert_eq!(whole.head.get("transfer-encoding"), Some("chunked"));
    assert!(whole.body == *body);
}

/// A client between which and Serin the sockets hold little.
fn narrow(serin: &Serin) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("little room");
    socket.set_tcp_mss(536).expect("little room at the other end");
    socket.connect(&serin.address().into()).expect("it listens");
    let client = TcpStream::from(socket);
    client.set_read_timeout(Some(PATIENCE)).expect("a limit");
    client
}

#[test]
fn a_slow_reader_may_go_on_for_longer_than_the_limit_between_two_writes() {
    let app = Backend::start(|_| ok(noise(MIB)));
    let options = Options {
        listener: "timeouts: { body: 2s }".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &one(app.address()));
    let mut client = narrow(&serin);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n")
        .expect("it takes them");
    // A part of the body takes longer than the limit, a write does not.
    for _ in 0..170 {
        client.read_exact(&mut [0; 1000]).expect("it goes on");
        // The client's slowness itself.
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_body_that_breaks_while_nobody_reads_it_is_never_followed_by_another_answer() {
    let app = Backend::start(
        |request| match request.target().trim_start_matches('/').parse::<usize>() {
            Ok(sent) => {
                let mut acts = text("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
                acts.extend([Act::Send(vec![b'x'; sent]), Act::Close]);
                acts
            }
            Err(_) => ok("another answer"),
        },
    );
    let serin = Serin::start(&one(app.address()));
    // Some of them break just when the sockets hold no more.
    let clients: Vec<_> = (20_000..150_000)
        .step_by(3_000)
        .map(|sent| {
            let mut client = narrow(&serin);
            let field = "host: serin.test\r\n\r\n";
            let both = format!("GET /{sent} HTTP/1.1\r\n{field}GET /next HTTP/1.1\r\n{field}");
            client.write_all(both.as_bytes()).expect("it takes them");
            client
        })
        .collect();
    wait_until("all have broken", || app.requests() >= clients.len() && app.open() == 0);
    for mut client in clients {
        let mut came = Vec::new();
        let end = client.read_to_end(&mut came);
        assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        assert!(came.starts_with(b"HTTP/1.1 200"));
        let heads = came.windows(9).filter(|part| part == b"HTTP/1.1 ").count();
        assert_eq!(heads, 1, "after {} bytes", came.len());
    }
}

#[test]
fn a_body_up_to_the_close_is_passed_on_whole() {
    let app = Backend::start(|_| [text("HTTP/1.1 200 OK\r\n\r\nuntil the close"), vec![Act::Close]].concat());
    let serin = Serin::start(&one(app.address()));
    let response = get(serin.address(), "/");
    assert_eq!((response.status, response.text().as_str()), (200, "until the close"));
}

#[test]
fn chunks_and_trailers_pass_in_both_directions() {
    let app = Backend::start(|_| chunked(&[b"one", b"two"], &[("x-sum", "6"), ("x-more", "yes")]));
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    client.send(
        "POST / HTTP/1.1\r\nhost: serin.test\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-check\r\n\r\n",
    );
    client.send("3\r\nabc\r\n");
    client.send("a;note=1\r\n0123456789\r\n");
    client.send("0\r\nx-check: 13\r\n\r\n");
    let response = client.response("POST");
    assert_eq!((response.status, response.text().as_str()), (200, "onetwo"));
    assert_eq!(
        (response.trailers.get("x-sum"), response.trailers.get("x-more")),
        (Some("6"), Some("yes"))
    );
    let seen = app.seen().pop().expect("it came");
    assert_eq!(
        (seen.body.as_slice(), seen.trailers.get("x-check")),
        (&b"abc0123456789"[..], Some("13"))
    );
    assert_eq!(client.get("/again").text(), "onetwo", "the connection goes on");
    wait_until("an answer that ends with trailers is a whole one", || {
        Metrics::of(&serin).attempts("app", "stable") == (2, 0, 0)
    });
    assert_eq!(app.connections(), 1, "and its connection serves the next");
}

#[test]
fn pieces_are_passed_on_as_they_come() {
    let app = Backend::start(|_| {
        let first = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec();
        vec![Act::Body, Act::Send(first), Act::Hang]
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    client.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    let head = client
        .wire()
        .head()
        .expect("a head")
        .expect("a head before the body's end");
    assert_eq!(head.status().ok(), Some(200));
    assert_eq!(client.wire().line().expect("a chunk's size"), "5");
    assert_eq!(client.wire().exactly(5).expect("the first piece"), b"first");
}

#[test]
fn answers_without_a_body_keep_their_fields_and_the_connection() {
    let app = Backend::start(|request| match request.target() {
        "/head" => text("HTTP/1.1 200 OK\r\ncontent-length: 12345\r\netag: \"x\"\r\n\r\n"),
        "/204" => text("HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n"),
        "/304" => text("HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 99\r\n\r\n"),
        _ => ok("still here"),
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    let head = client.request("HEAD", "/head", &[], b"");
    assert_eq!(
        (head.status, head.head.get("content-length"), head.head.get("etag")),
        (200, Some("12345"), Some("\"x\""))
    );
    assert_eq!(client.get("/").text(), "still here");
    let empty = client.get("/204");
    assert_eq!(
        (empty.status, empty.head.get("x-a"), empty.head.get("content-length")),
        (204, Some("1"), None)
    );
    assert_eq!(client.get("/").text(), "still here");
    let unchanged = client.get("/304");
    assert_eq!((unchanged.status, unchanged.head.get("etag")), (304, Some("\"x\"")));
    assert_eq!(client.get("/").text(), "still here");
    assert_eq!(app.connections(), 1, "and the backend's connection goes on too");
}

#[test]
fn a_client_that_expects_100_gets_it_and_then_the_answer() {
    let app = Backend::start(|request| {
        let go_on = request
            .head
            .get("expect")
            .map(|_| Act::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
        go_on.into_iter().chain(ok("taken")).collect()
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    client.send("POST / HTTP/1.1\r\nhost: serin.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let interim = client.wire().head().expect("an interim head").expect("no close");
    assert_eq!(interim.status().ok(), Some(100));
    client.send("hello");
    assert_eq!(client.response("POST").text(), "taken");
    assert_eq!(app.seen()[0].body, b"hello");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let app = Backend::start(|request| match request.target() {
        "/0" => [vec![Act::Wait(Duration::from_millis(60))], ok("/0")].concat(), // later than all that follow
        target => ok(target),
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    let requests: String = (0..6)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: serin.test\r\n\r\n"))
        .collect();
    client.send(requests);
    for n in 0..6 {
        assert_eq!(client.response("GET").text(), format!("/{n}"));
    }
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answers() {
    let app = Backend::start(|request| [vec![Act::Wait(Duration::from_millis(100))], ok(request.target())].concat());
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    client.send("GET /0 HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    client.send("POST /1 HTTP/1.1\r\nhost: serin.test\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    client.send("GET /2 HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    client.finish();
    for (n, method) in ["GET", "POST", "GET"].into_iter().enumerate() {
        assert_eq!(client.response(method).text(), format!("/{n}"));
    }
    assert!(client.closed());
}

#[test]
fn connections_to_a_backend_are_used_again() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    for _ in 0..50 {
        client.get("/");
    }
    client.request("POST", "/", &[], b"a body");
    assert_eq!(app.connections(), 1, "one client's requests need one connection");
    for _ in 0..50 {
        get(serin.address(), "/");
    }
    assert!(
        app.connections() <= 2,
        "{} connections for 2 workers",
        app.connections()
    );
}

#[test]
fn a_slow_reader_does_not_make_serin_grow() {
    const LENGTH: usize = 200 * MIB;
    let app = Backend::start(|_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        vec![Act::Send(head.into_bytes()), Act::Flood(LENGTH)]
    });
    let serin = Serin::start(&one(app.address()));
    let before = serin.resident();
    let mut client = Client::connect(serin.address());
    client.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    client.wire().head().expect("a head").expect("a head");
    client.wire().skip(MIB).expect("the first of it");
    let (mut last, mut quiet_since) = (0, Instant::now());
    wait_until("the backend has to wait", || {
        let now = app.flooded();
        if now != last {
            (last, quiet_since) = (now, Instant::now());
        }
        quiet_since.elapsed() > Duration::from_millis(300)
    });
    assert!(
        app.flooded() < 64 * MIB as u64,
        "{} bytes left the backend unread",
        app.flooded()
    );
    let grown = serin.resident().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "serin holds {grown} bytes more");
    client
        .wire()
        .skip(LENGTH - MIB)
        .expect("all of it comes when it is read");
    let grown = serin.resident().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "serin holds {grown} bytes more");
}

#[test]
fn a_slow_backend_does_not_make_serin_grow() {
    let app = Backend::start(|_| vec![Act::Freeze]);
    let serin = Serin::start(&one(app.address()));
    let before = serin.resident();
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: serin.test\r\ncontent-length: {}\r\n\r\n",
        200 * MIB
    ));
    client
        .stream()
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout above 0");
    let piece = vec![0; 64 * 1024];
    let mut sent = 0;
    let stopped = loop {
        match client.stream().write(&piece) {
            Ok(n) => sent += n,
            Err(error) => break error.kind(),
        }
        assert!(sent < 64 * MIB, "{sent} bytes were taken that nobody reads");
    };
    assert!(
        matches!(stopped, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{stopped:?}"
    );
    let grown = serin.resident().saturating_sub(before);
    assert!(grown < 32 * MIB as u64, "serin holds {grown} bytes more");
}

#[test]
fn an_upgrade_is_a_tunnel_after_101() {
    let app = Backend::start(|_| tunnel("websocket"));
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    let fields = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let response = client.request("GET", "/chat", &fields, b"");
    assert_eq!(response.status, 101);
    assert_eq!(response.head.get("upgrade"), Some("websocket"));
    assert!(
        response
            .head
            .get("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("upgrade")),
        "{response:?}"
    );
    let seen = app.seen().pop().expect("it was asked");
    assert_eq!(seen.head.get("upgrade"), Some("websocket"));
    assert!(
        seen.head
            .get("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("upgrade")),
        "{seen:?}"
    );
    assert_eq!(seen.head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    for word in ["ping", "\u{0}\u{1}raw bytes\r\n\r\n", "pong"] {
        client.send(word);
        assert_eq!(client.wire().exactly(word.len()).expect("an echo"), word.as_bytes());
    }
    // 4 MiB at once: both directions flow at the same time.
    let sent = noise(4 * MIB);
    let mut writer = client.stream().try_clone().expect("a second handle");
    let copy = sent.clone();
    let writing = thread::spawn(move || writer.write_all(&copy));
    assert!(client.wire().exactly(sent.len()).expect("an echo") == sent);
    writing.join().expect("no panic").expect("all was taken");
    client.finish();
    wait_until("the backend's side ends with the client's", || app.open() == 0);
}

#[test]
fn a_tunnel_passes_one_way_while_the_other_is_stuck() {
    const LENGTH: usize = 24 * MIB;
    let app = Backend::start(|_| {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_vec();
        // It reads only once it has sent everything.
        vec![Act::Send(head), Act::Flood(LENGTH), Act::Hang]
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    let response = client.request("GET", "/", &[("connection", "upgrade"), ("upgrade", "websocket")], b"");
    assert_eq!(response.status, 101);
    let mut up = client.stream().try_clone().expect("a second handle");
    let writing = thread::spawn(move || up.write_all(&vec![b'u'; LENGTH]));
    client.wire().skip(LENGTH).expect("all that the backend sends");
    writing.join().expect("no panic").expect("all was taken");
}

#[test]
fn a_tunnel_ends_when_the_backend_ends_it() {
    let app = Backend::start(|_| {
        let head =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nlast words".to_vec();
        vec![Act::Send(head), Act::Close]
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    let response = client.request("GET", "/", &[("connection", "upgrade"), ("upgrade", "websocket")], b"");
    assert_eq!(response.status, 101);
    assert_eq!(client.wire().rest().expect("an end in good order"), b"last words");
}

#[test]
fn a_refused_upgrade_is_a_plain_answer_and_opens_no_tunnel() {
    let app = Backend::start(|request| {
        if request.target() == "/chat" {
            status(403)
        } else {
            ok("after")
        }
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    // What follows at once is the next request, not the first bytes of a tunnel.
    client.send(
        "GET /chat HTTP/1.1\r\nhost: serin.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\
         GET /after HTTP/1.1\r\nhost: serin.test\r\n\r\n",
    );
    assert_eq!(client.response("GET").status, 403);
    assert_eq!(client.response("GET").text(), "after");
}

#[test]
fn nobody_gets_a_tunnel_that_nobody_asked_for() {
    let app = Backend::start(|_| tunnel("websocket"));
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    client.get("/").problem(502);
}

#[test]
fn a_request_with_both_chunks_and_a_slow_drip_arrives_whole() {
    let app = Backend::start(|_| answer(201, &[], "made"));
    let serin = Serin::with(
        Options {
            workers: 1,
            ..Options::default()
        },
        &one(app.address()),
    );
    let mut client = Client::connect(serin.address());
    let request = b"POST /slow HTTP/1.1\r\nhost: serin.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    for byte in request {
        client.send([*byte]);
        // So that the bytes come in pieces of one.
        thread::sleep(Duration::from_micros(300));
    }
    assert_eq!(client.response("POST").status, 201);
    assert_eq!(app.seen()[0].body, b"ab");
}

#[test]
fn a_client_may_send_everything_before_it_reads() {
    // More than all buffers on the way hold.
    const LENGTH: usize = 64 * MIB;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let backend = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it is open");
        let patience = Some(Duration::from_millis(300));
        stream.set_write_timeout(patience).expect("a timeout above 0");
        let answer = vec![b'd'; LENGTH];
        let mut sent = 0;
        // It reads once the way down is full, and goes on with both.
        while let Ok(n) = stream.write(&answer[sent..]) {
            sent += n;
        }
        assert!(sent < LENGTH, "nobody reads that yet");
        stream.set_write_timeout(None).expect("a socket");
        let mut reader = stream.try_clone().expect("a second handle");
        let reading = thread::spawn(move || {
            let (mut taken, mut buffer) = (0, vec![0; 64 * 1024]);
            while taken < LENGTH {
                taken += match reader.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => n,
                };
            }
            taken >= LENGTH
        });
        stream.write_all(&answer[sent..]).expect("it is open");
        reading.join().expect("no panic")
    });
    let serin = Serin::start(&one(address));
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: serin.test\r\ncontent-length: {LENGTH}\r\n\r\n"
    ));
    client.send(vec![b'u'; LENGTH]);
    let head = client.wire().head().expect("a head").expect("a head");
    assert_eq!(head.status().ok(), Some(200));
    client.wire().skip(LENGTH).expect("all of it");
    assert!(backend.join().expect("no panic"), "all of it arrived");
}
