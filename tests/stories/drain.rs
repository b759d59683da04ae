//! The end: a drain loses no request, and a second signal does not wait.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Act, Backend, Client, Load, Serin, get, ok, one, wait_until};

#[test]
fn a_drain_under_load_loses_no_request() {
    let app = Backend::start(|_| [vec![Act::Wait(Duration::from_millis(2))], ok("x")].concat());
    let mut serin = Serin::start(&one(app.address()));
    let load = Load::start(serin.address(), 8, "/");
    wait_until("the load runs", || load.answered() > 200);
    serin.signal(Signal::TERM);
    let exit = serin.exit();
    let (samples, lost) = load.stop();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert_eq!(lost, Vec::<String>::new());
    assert!(samples.iter().all(|sample| sample.status == 200));
}

#[test]
fn an_interrupt_drains_too() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&one(app.address()));
    assert_eq!(get(serin.address(), "/").status, 200);
    serin.signal(Signal::INT);
    assert_eq!(serin.exit().code, Some(0));
}

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let app = Backend::start(move |_| [vec![Act::Until(Arc::clone(&gate))], ok("late")].concat());
    let mut serin = Serin::start(&one(app.address()));
    let address = serin.address();
    let waiting = thread::spawn(move || get(address, "/"));
    wait_until("it is with the backend", || app.requests() == 1);
    serin.signal(Signal::TERM);
    wait_until("it does not call itself ready any more", || not_ready(&serin));
    open.store(true, Ordering::SeqCst);
    let answer = waiting.join().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    assert_eq!(serin.exit().code, Some(0));
}

fn not_ready(serin: &Serin) -> bool {
    let host = serin.admin_address().to_string();
    let Ok(mut client) = Client::try_connect(serin.admin_address()) else {
        return true;
    };
    let answer = client.try_request("GET", "/readyz", &[("host", &host), ("connection", "close")], b"");
    answer.is_ok_and(|response| response.status == 503)
}

#[test]
fn an_idle_connection_is_not_closed_in_the_face_of_its_next_request() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    assert_eq!(client.get("/").status, 200);
    serin.signal(Signal::TERM);
    wait_until("the drain has begun", || not_ready(&serin));
    // Sent at once: the connection is still ours, until an answer says that it was the last one.
    wait_until("an answer says so", || {
        let answer = client.get("/");
        assert_eq!(answer.status, 200);
        answer
            .head
            .get("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("close"))
    });
    assert!(client.closed());
    assert_eq!(serin.exit().code, Some(0));
}

#[test]
fn those_who_say_nothing_do_not_hold_up_a_drain() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&one(app.address()));
    let mut silent = Client::connect(serin.address());
    let mut kept = Client::connect(serin.address());
    assert_eq!(kept.get("/").status, 200);
    serin.signal(Signal::TERM);
    // Sooner than the drain's own limit of 30 s, which is more than the harness waits.
    let exit = serin.exit();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    for (name, client) in [("silent", &mut silent), ("kept", &mut kept)] {
        let rest = client.wire().rest().unwrap_or_default();
        assert!(rest.is_empty(), "{name}: {}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let app = Backend::start(|_| vec![Act::Hang]);
    let config = one(app.address()).replace("  split:", "  timeout: 60s\n  split:");
    let mut serin = Serin::start(&config);
    let mut client = Client::connect(serin.address());
    client.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    wait_until("it is with the backend", || app.requests() == 1);
    serin.signal(Signal::TERM);
    wait_until("the drain has begun", || not_ready(&serin));
    serin.signal(Signal::TERM);
    // Far sooner than the drain's own limit of 30 s, which is more than the harness waits.
    let exit = serin.exit();
    assert!(exit.code.is_some(), "it ended by itself: {exit:?}");
    let error = client.try_response("GET").expect_err("its connection is gone");
    assert!(
        matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
        "{error}"
    );
}
