//! Kept connections to backends that close, break off and say too much: nobody gets an answer that is not
//! theirs, nothing that may have been acted on is sent twice, and hardly anybody notices.

use std::collections::HashMap;
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::common::{Act, Backend, Client, Response, Seen, Serin, answer, one, pair};

/// A number below `n` that follows from a seed and an id: both ends of a story know it.
fn drawn(seed: u64, id: u64, n: u64) -> u64 {
    fastrand::Rng::with_seed(seed ^ (id << 8)).u64(..n)
}

/// The number at the end of a target.
fn id_of(target: &str) -> u64 {
    let digits = target.rsplit('/').next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("no id: {target:?}"))
}

/// How often each request with this method has come, by its id.
fn times_seen(seen: &[Seen], method: &str) -> HashMap<u64, usize> {
    let mut times = HashMap::new();
    for one in seen {
        let mut words = one.head.start.split(' ');
        if words.next() == Some(method) {
            *times.entry(id_of(words.next().unwrap_or_default())).or_default() += 1;
        }
    }
    times
}

#[test]
fn hardly_anybody_notices_that_a_backend_closes_idle_connections() {
    const SEED: u64 = 12;
    // After some answers it waits for a moment and closes: perhaps in the instant of the next request, and
    // sometimes exactly then.
    let app = Backend::start(|request| {
        let id = id_of(request.target());
        if request.nth > 0 && drawn(SEED, id, 8) == 0 {
            return vec![Act::Close];
        }
        let mut acts = answer(200, &[], id.to_string());
        if drawn(SEED + 1, id, 2) == 0 {
            let pause = Duration::from_micros(drawn(SEED + 2, id, 3_000));
            acts.extend([Act::Wait(pause), Act::Close]);
        }
        acts
    });
    let serin = Serin::start(&one(app.address()));
    let address = serin.address();
    let clients: Vec<_> = (0..4u64)
        .map(|client| {
            thread::spawn(move || {
                let mut connection = Client::connect(address);
                let (mut gets_failed, mut posts_failed) = (0, 0);
                for n in 0..40 {
                    let id = client * 1000 + n;
                    let (method, failed) = match n % 4 {
                        3 => ("POST", &mut posts_failed),
                        _ => ("GET", &mut gets_failed),
                    };
                    let response = connection.request(method, &format!("/{id}"), &[], b"");
                    if response.status == 200 {
                        assert_eq!(response.text(), id.to_string());
                    } else {
                        response.problem(502);
                        *failed += 1;
                    }
                    // As long as the backend waits, more or less.
                    thread::sleep(Duration::from_micros(drawn(SEED + 3, id, 3_000)));
                }
                (gets_failed, posts_failed)
            })
        })
        .collect();
    let failed = clients.into_iter().map(|client| client.join().expect("no panic"));
    let (gets, posts) = failed.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(gets <= 1, "{gets} of 120 GETs failed");
    assert!(posts < 40, "{posts} of 40 POSTs failed");
    assert!(app.connections() > 20, "only {} connections", app.connections());
    let seen = app.seen();
    let twice: Vec<_> = times_seen(&seen, "POST").into_iter().filter(|(_, n)| *n > 1).collect();
    assert!(twice.is_empty(), "POSTs that came more than once: {twice:?}");
    let again = times_seen(&seen, "GET").into_values().filter(|n| *n > 1).count();
    assert!(again > 0, "no GET met a stale connection");
}

const SEED: u64 = 21;

/// What a client asks for with this id.
fn method(id: u64) -> &'static str {
    [
        "GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "POST", "PUT", "DELETE",
    ][drawn(SEED, id, 10) as usize]
}

/// What the answer says, over and over; now and then more than anybody reads at once.
fn content(id: u64) -> String {
    let times = 1 + drawn(SEED + 1, id, 300);
    let large = drawn(SEED + 6, id, 50) == 0 && deed(id, 1) != Deed::SayTooMuch;
    format!("{id},").repeat(if large { times * 40 } else { times } as usize)
}

fn sends_chunks(id: u64) -> bool {
    drawn(SEED + 2, id, 2) == 0
}

/// What a backend does about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Answer,
    AnswerAndClose,
    AnswerAndReset,
    SayClose,
    SayTooMuch,
    Stale,
    Reset,
    Nonsense,
    HalfAHead,
    HalfABody,
    Broken,
}

/// What a backend does about a request with this id, the one of this number on its connection.
fn deed(id: u64, nth: usize) -> Deed {
    match drawn(SEED + 3, id, 100) {
        70..=77 => Deed::AnswerAndClose,
        78..=79 => Deed::AnswerAndReset,
        80..=82 => Deed::SayClose,
        83..=86 => Deed::SayTooMuch,
        87..=90 if nth > 0 => Deed::Stale,
        91 => Deed::Reset,
        92..=93 => Deed::Nonsense,
        94 => Deed::HalfAHead,
        95..=96 => Deed::HalfABody,
        97..=98 => Deed::Broken,
        _ => Deed::Answer,
    }
}

/// Does it to a request with this id. Whatever is too much comes in one piece with a small answer: nobody could
/// tell what comes after the next request from the answer to it.
fn acts(id: u64, nth: usize) -> Vec<Act> {
    let deed = deed(id, nth);
    let status = if deed == Deed::Broken { 500 } else { 200 };
    let close = if deed == Deed::SayClose {
        "connection: close\r\n"
    } else {
        ""
    };
    let content = content(id);
    let mut bytes = format!("HTTP/1.1 {status} Scripted\r\nx-id: {id}\r\n{close}");
    let head = bytes.len() + 20;
    match (method(id), sends_chunks(id)) {
        ("HEAD", _) => bytes += &format!("content-length: {}\r\n\r\n", content.len()),
        (_, false) => bytes += &format!("content-length: {}\r\n\r\n{content}", content.len()),
        (_, true) => {
            let (one, other) = content.split_at(content.len() / 2);
            bytes += &format!(
                "transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{other}\r\n0\r\n\r\n",
                one.len(),
                other.len()
            );
        }
    }
    let poison = "HTTP/1.1 200 OK\r\nx-id: 0\r\ncontent-length: 6\r\n\r\npoison";
    let say = |text: String| Act::Send(text.into_bytes());
    let then = match deed {
        Deed::Answer | Deed::SayClose | Deed::Broken => vec![say(bytes)],
        Deed::AnswerAndClose => vec![say(bytes), Act::Close],
        Deed::AnswerAndReset => vec![say(bytes), Act::Reset],
        Deed::SayTooMuch => vec![say(bytes + poison)],
        Deed::Stale => vec![Act::Close],
        Deed::Reset => vec![Act::Reset],
        Deed::Nonsense => vec![say(format!("what?\r\n\r\n{poison}")), Act::Close],
        Deed::HalfAHead => vec![say(bytes[..head].to_owned()), Act::Close],
        Deed::HalfABody => vec![say(bytes[..bytes.len() - 2].to_owned()), Act::Close],
    };
    [vec![Act::Body], then].concat()
}

/// What became of exchanges.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    /// A 502, or an answer that was cut off.
    failed: usize,
    /// Behind one that was cut off.
    lost: usize,
    /// Answers that belong to another request, or to none.
    wrong: Vec<String>,
}

/// One client: exchanges with the ids `next..end`, a few of them at once on one connection.
fn client(address: SocketAddr, mut next: u64, end: u64) -> Tally {
    let mut tally = Tally::default();
    let mut connection = Client::connect(address);
    while next < end {
        let batch = next..end.min(next + 1 + drawn(SEED + 4, next, 3));
        next = batch.end;
        let asked: Vec<_> = batch.clone().map(ask).collect();
        let mut open = connection.wire().send(&asked.concat()).is_ok();
        for id in batch {
            if !open {
                tally.lost += 1;
                continue;
            }
            let response = connection.try_response(method(id));
            let closes = response
                .as_ref()
                .is_ok_and(|response| response.head.get("connection") == Some("close"));
            open = response.is_ok() && !closes;
            tally.note(id, response);
        }
        if !open {
            connection = Client::connect(address);
        }
    }
    tally
}

fn ask(id: u64) -> Vec<u8> {
    let method = method(id);
    let body = match method {
        "POST" | "PUT" if drawn(SEED + 5, id, 2) == 0 => "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST" | "PUT" => "content-length: 5\r\n\r\nhello",
        _ => "\r\n",
    };
    format!("{method} /{id} HTTP/1.1\r\nhost: serin.test\r\n{body}").into_bytes()
}

impl Tally {
    fn note(&mut self, id: u64, response: Result<Response>) {
        let response = match response {
            Ok(response) => response,
            // A story that hangs has another fault.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::InvalidData) => {
                return self.wrong.push(format!("{id}: {error}"));
            }
            Err(_) => {
                self.failed += 1;
                return;
            }
        };
        let of = response.head.get("x-id").map(str::to_owned);
        match (response.status, of) {
            (502, None) => self.failed += 1,
            (200 | 500, Some(of)) if of == id.to_string() => {
                let expected = if method(id) == "HEAD" {
                    String::new()
                } else {
                    content(id)
                };
                if response.body == expected.as_bytes() {
                    self.answered += 1;
                } else {
                    self.wrong.push(format!("{id}: {response:?} {:?}", response.text()));
                }
            }
            _ => self.wrong.push(format!("{id}: {response:?} {:?}", response.text())),
        }
    }
}

#[test]
fn nobody_gets_the_answer_to_another_request() {
    const CLIENTS: u64 = 64;
    let exchanges: u64 = match std::env::var("SERIN_STORY_EXCHANGES") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => 20_000,
    };
    let start = || Backend::start(|request| acts(id_of(request.target()), request.nth));
    let (v1, v2) = (start(), start());
    let serin = Serin::start(&pair(v1.address(), v2.address(), (50, 50)));
    let address = serin.address();
    let each = exchanges / CLIENTS;
    // The id 0 is that of poison.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| thread::spawn(move || client(address, 1 + n * each, 1 + (n + 1) * each)))
        .collect();
    let mut all = Tally::default();
    for client in clients {
        let tally = client.join().expect("no panic");
        all.answered += tally.answered;
        all.failed += tally.failed;
        all.lost += tally.lost;
        all.wrong.extend(tally.wrong);
    }
    assert!(
        all.wrong.is_empty(),
        "{} answers to another request, such as {}",
        all.wrong.len(),
        all.wrong[0]
    );
    let total = all.answered + all.failed + all.lost;
    assert_eq!(total as u64, each * CLIENTS);
    // What happens to ten of a hundred is no answer; a POST may meet a stale connection.
    let told = all.answered + all.failed;
    assert!(all.answered * 100 > told * 80 && all.failed * 100 > told * 8, "{all:?}");
    let seen = [v1.seen(), v2.seen()].concat();
    let twice: Vec<_> = times_seen(&seen, "POST").into_iter().filter(|(_, n)| *n > 1).collect();
    assert!(twice.is_empty(), "POSTs that came more than once: {twice:?}");
}
