//! Another process takes over: no request is lost, nothing that was decided is, and a failure changes nothing.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Act, Backend, Client, Load, Serin, backend, get, ok, one, pair, rollout, wait_for, wait_until};

#[test]
fn an_upgrade_under_load_loses_no_request() {
    let app = Backend::start(|_| [vec![Act::Wait(Duration::from_millis(2))], ok("x")].concat());
    let mut serin = Serin::start(&one(app.address()));
    let address = serin.address();
    let load = Load::start(address, 8, "/");
    wait_until("the load runs", || load.answered() > 200);
    for workers in [2, 1, 3] {
        let before = serin.id();
        let exit = serin.upgrade_to(workers);
        assert_eq!(exit.code, Some(0), "{}", exit.log);
        assert_ne!(serin.id(), before);
        assert_eq!(
            (serin.address(), serin.status()["workers"].as_u64()),
            (address, Some(workers as u64))
        );
        let answered = load.answered();
        wait_until("the load goes on", || load.answered() > answered + 200);
    }
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    assert!(samples.iter().all(|sample| sample.status == 200));
}

#[test]
fn connections_one_for_each_request_are_not_lost_either() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&one(app.address()));
    let address = serin.address();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut answered = 0;
                while !over.load(Ordering::SeqCst) {
                    let mut client = Client::try_connect(address).expect("somebody always listens");
                    let fields = [("host", "serin.test"), ("connection", "close")];
                    let answer = client.try_request("GET", "/", &fields, b"").expect("a whole answer");
                    assert_eq!(answer.status, 200);
                    answered += 1;
                    // The pace: ports are not without end.
                    thread::sleep(Duration::from_millis(1));
                }
                answered
            })
        })
        .collect();
    wait_until("they are served", || app.requests() > 100);
    for _ in 0..2 {
        assert_eq!(serin.upgrade().code, Some(0));
        let served = app.requests();
        wait_until("they are served on", || app.requests() > served + 100);
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.join().expect("no request was lost") > 50);
    }
}

#[test]
fn what_was_decided_goes_over() {
    let app = Backend::ok("x");
    let steps = "[{ setWeight: 5%, bakeTime: 1h }, { setWeight: 100% }]";
    let config = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", steps);
    let mut serin = Serin::start(&config);
    serin.tell("start");
    let before = serin.generation();
    assert_eq!(serin.upgrade().code, Some(0));
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("progressing", 0.05));
    assert!(serin.generation() > before, "a generation never falls");
    serin.tell("abort");
    assert_eq!(serin.upgrade().code, Some(0));
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    assert!(serin.log().contains("took over from another process"));
    let audit = serin.api_text("/v1/audit");
    assert!(
        audit.matches("\"start\"").count() >= 3,
        "each process has begun: {audit}"
    );
}

#[test]
fn a_request_in_flight_is_answered_by_the_process_that_has_it() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let app = Backend::start(move |request| match request.target() {
        "/late" => [vec![Act::Until(Arc::clone(&gate))], ok("late")].concat(),
        _ => ok("x"),
    });
    let mut serin = Serin::start(&one(app.address()));
    let address = serin.address();
    let waiting = thread::spawn(move || get(address, "/late"));
    wait_until("it is with the backend", || app.requests() == 1);
    let released = thread::spawn(move || {
        wait_until("the new process serves", || get(address, "/").generation() > 50);
        open.store(true, Ordering::SeqCst);
    });
    assert_eq!(serin.upgrade().code, Some(0));
    released.join().expect("it serves");
    let answer = waiting.join().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
}

#[test]
fn a_process_that_does_not_get_ready_changes_nothing() {
    let app = Backend::ok("x");
    let good = pair(app.address(), app.address(), (9, 1));
    let mut serin = Serin::start(&good);
    assert_eq!(serin.weights(1, 3).status, 200);
    let load = Load::start(serin.address(), 4, "/");
    wait_until("the load runs", || load.answered() > 100);
    // A file that is none, and one whose new listener has no address to listen on.
    let taken = Backend::ok("other");
    let second = format!("- {{ name: second, address: \"{}\" }}\nadmin:", taken.address());
    for (bad, code) in [
        ("version: 1\nlisteners: 7\n".to_owned(), Some(3)),
        (serin.text(&good).replace("admin:", &second), Some(1)),
    ] {
        let text = fs::read_to_string(serin.file()).expect("it is there");
        serin.write_text(&bad);
        let exit = serin.upgrade_fails();
        assert_eq!(exit.code, code, "{}", exit.log);
        serin.write_text(&text);
    }
    // It goes on in every respect.
    assert_eq!(serin.share("canary"), 0.75);
    assert_eq!(serin.weights(1, 1).status, 200);
    assert_eq!(serin.share("canary"), 0.5);
    let answered = load.answered();
    wait_until("the load goes on", || load.answered() > answered + 100);
    let (_, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    // And can be upgraded still.
    assert_eq!(serin.upgrade().code, Some(0));
    assert_eq!(serin.share("canary"), 0.5);
}

/// As far as a new process gets before it asks for the state; then it dies.
#[test]
fn a_process_that_dies_with_the_state_gives_it_back() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (9, 1)));
    let path = serin.dir().join("state/upgrade.sock");
    let mode = fs::metadata(&path).expect("it listens").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("it listens");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("a timeout");
    say(&mut stream, b'H', "1");
    while hear(&mut stream).0 != b'E' {}
    // A second one meanwhile is refused with words.
    let mut other = UnixStream::connect(&path).expect("it listens");
    other.set_read_timeout(patience).expect("a timeout");
    let (tag, words) = hear(&mut other);
    assert_eq!((tag, words.as_str()), (b'-', "an upgrade is under way already"));
    say(&mut stream, b'T', "0 1");
    assert_eq!(hear(&mut stream).0, b'R');
    // Nothing is written while the state is away; requests are served.
    assert_eq!(get(serin.address(), "/").status, 200);
    drop(stream);
    wait_until("it has the state again", || serin.log().contains("an upgrade failed"));
    assert_eq!(serin.weights(1, 1).status, 200);
    assert_eq!(serin.share("canary"), 0.5);
    assert!(serin.api_text("/v1/audit").contains("resumed"));
}

#[track_caller]
fn say(stream: &mut UnixStream, tag: u8, text: &str) {
    try_say(stream, tag, text).expect("somebody listens");
}

fn try_say(stream: &mut UnixStream, tag: u8, text: &str) -> io::Result<()> {
    let length = u16::try_from(text.len()).expect("short").to_be_bytes();
    stream.write_all(&[&[tag], &length[..], text.as_bytes()].concat())
}

#[track_caller]
fn hear(stream: &mut UnixStream) -> (u8, String) {
    try_hear(stream).expect("something is said")
}

fn try_hear(stream: &mut UnixStream) -> io::Result<(u8, String)> {
    let mut head = [0; 3];
    stream.read_exact(&mut head)?;
    let mut text = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut text)?;
    Ok((head[0], String::from_utf8(text).expect("words")))
}

#[test]
fn another_language_is_refused_with_words() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    let check = |tag: u8, text: &str, expected: &str| {
        let path = serin.dir().join("state/upgrade.sock");
        // While it still speaks with the one before, the next is turned away at once.
        wait_until("it is told so", || {
            let mut stream = UnixStream::connect(&path).expect("it listens");
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .expect("a timeout");
            let told = try_say(&mut stream, tag, text).and_then(|()| try_hear(&mut stream));
            told.is_ok_and(|(said, words)| said == b'-' && words.contains(expected))
        });
    };
    check(b'H', "99", "version 99");
    check(b'L', "", "where Hello was due");
    check(b'X', "", "what is no upgrade");
    assert_eq!(get(serin.address(), "/").status, 200);
}

#[test]
fn where_nobody_runs_there_is_nothing_to_take_over() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&one(app.address()));
    serin.crash();
    let exit = serin.upgrade_fails();
    assert_eq!(exit.code, Some(1));
    assert!(exit.log.contains("start without --upgrade"), "{}", exit.log);
}

#[test]
fn listeners_come_and_go_with_an_upgrade() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&one(app.address()));
    let first = serin.address();
    let second = crate::common::free_address();
    let text = fs::read_to_string(serin.file()).expect("it is there");
    let more = format!("- {{ name: second, address: \"{second}\" }}\nadmin:");
    serin.write_text(&text.replacen("admin:", &more, 1));
    assert_eq!(serin.upgrade().code, Some(0));
    assert_eq!((get(first, "/").status, get(second, "/").status), (200, 200));
    serin.write_text(&text);
    assert_eq!(serin.upgrade().code, Some(0));
    assert_eq!(get(first, "/").status, 200);
    assert!(Client::try_connect(second).is_err(), "nobody listens there any more");
}

/// A process that the story did not start itself.
struct Successor(Pid);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn a_signal_has_the_program_start_itself_again() {
    let app = Backend::ok("x");
    let body = format!(
        "backends:\n{}routes:\n- name: app\n  match: {{ pathPrefix: / }}\n  split: {{ variants: [{{ name: stable, backend: app, weight: 1 }}] }}\n",
        backend("app", app.address())
    );
    let mut serin = Serin::start(&body);
    let load = Load::start(serin.address(), 4, "/");
    wait_until("the load runs", || load.answered() > 100);
    serin.signal(Signal::USR2);
    let pid = wait_for("it has started another", || {
        let log = serin.log();
        let line = log.lines().find(|line| line.contains("an upgrade begins"))?;
        let word = line.split_whitespace().find_map(|word| word.strip_prefix("process="))?;
        Pid::from_raw(word.parse().ok()?)
    });
    let _successor = Successor(pid);
    assert_eq!(serin.exit().code, Some(0));
    let answered = load.answered();
    wait_until("the load goes on", || load.answered() > answered + 100);
    let (_, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    kill_process(pid, Signal::TERM).expect("it runs");
    wait_until("it drains too", || Client::try_connect(serin.address()).is_err());
}
