//! Memory and descriptors are bounded: new work is refused before they run out, what is open goes on, and it ends by itself.

use crate::common::{
    Backend, Client, Metrics, Options, Response, Serin, hang, ok, one, pair_with, rollout, wait_until,
};

/// Heads so large, and never ended: what a slow client may cost most.
const HEAD: usize = 900 * 1024;

fn ask(serin: &Serin) -> Option<Response> {
    let mut client = Client::try_connect(serin.address()).ok()?;
    let fields = [("host", "serin.test"), ("connection", "close")];
    client.try_request("GET", "/", &fields, b"").ok()
}

#[test]
fn requests_are_refused_before_memory_runs_out_and_taken_again_after() {
    let app = Backend::ok("x");
    let options = Options {
        listener: "limits: { headerBytes: 1MiB }, timeouts: { requestHead: 10m }".to_owned(),
        top: "limits: { memory: 64MiB }\n".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &one(app.address()));
    let mut patient = Client::connect(serin.address());
    assert_eq!(patient.get("/").status, 200);
    let head = format!("GET / HTTP/1.1\r\nhost: serin.test\r\nx-large: {}", "a".repeat(HEAD));
    let mut slow = Vec::new();
    wait_until("there is no room for more", || {
        let mut client = Client::connect(serin.address());
        // Who is refused may be closed in mid-head.
        let _ = client.try_send(&head);
        slow.push(client);
        serin.status()["overloaded"] == true
    });
    // Connections that are open are told so; the admin side goes on.
    wait_until("a request is refused", || patient.get("/").status == 503);
    let refusal = patient.get("/");
    refusal.problem(503);
    assert_eq!(refusal.head.get("retry-after"), Some("1"));
    assert_eq!(Metrics::of(&serin).sum("serin_overloaded", &[]), 1.0);
    assert!(Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "overload")]) >= 1.0);
    drop(slow);
    wait_until("there is room again", || {
        ask(&serin).is_some_and(|answer| answer.status == 200)
    });
    wait_until("it says so", || serin.status()["overloaded"] == false);
    assert_eq!(Metrics::of(&serin).sum("serin_overloaded", &[]), 0.0);
}

#[test]
fn without_descriptors_what_is_open_goes_on_and_nobody_else_is_let_in() {
    let app = Backend::start(|_| ok("x"));
    let options = Options {
        descriptors: Some(96),
        ..Options::default()
    };
    let mut serin = Serin::with(options, &one(app.address()));
    let mut first = Client::connect(serin.address());
    assert_eq!(first.get("/").status, 200);
    let mut others: Vec<Client> = (0..120).map(|_| Client::connect(serin.address())).collect();
    // Those that were let in are served, the others are closed at once; nobody hangs.
    let mut refused = 0;
    for client in &mut others {
        match client.try_request("GET", "/", &[("host", "serin.test")], b"") {
            Ok(answer) if answer.status == 503 => refused += 1,
            Ok(answer) => assert_eq!(answer.status, 200),
            // What they would be told with is for those who were let in.
            Err(_) => refused += 1,
        }
    }
    assert!((20..120).contains(&refused), "{refused}");
    assert_eq!(first.get("/").status, 200);
    assert!(Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "connections")]) >= 20.0);
    drop(others);
    wait_until("there is room again", || {
        ask(&serin).is_some_and(|answer| answer.status == 200)
    });
    let complaints = serin.log().matches("cannot accept").count();
    assert!(complaints <= 4, "{complaints} lines");
    serin.signal(rustix::process::Signal::TERM);
    assert_eq!(serin.exit().code, Some(0));
}

#[test]
fn clients_that_hang_do_not_keep_people_from_the_admin_api() {
    let app = Backend::start(|_| hang());
    let options = Options {
        descriptors: Some(128),
        ..Options::default()
    };
    let body = pair_with(app.address(), app.address(), (100, 0), "  timeout: 60s\n", "")
        + &rollout(
            "{ minRequests: 20 }",
            "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]",
        );
    let serin = Serin::with(options, &body);
    let mut hanging = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(serin.address());
        // Who is refused may be closed already.
        let _ = client.try_send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
        hanging.push(client);
    }
    wait_until("no more are let in", || {
        Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "connections")]) >= 50.0
    });
    for _ in 0..10 {
        assert_eq!(serin.admin("GET", "/livez", "").status, 200);
    }
    serin.tell("abort");
    assert_eq!(serin.phase(), "aborted");
    let (success, failure, _) = Metrics::of(&serin).attempts("shop", "stable");
    assert_eq!((success, failure), (0, 0), "want of descriptors is nobody's evidence");
    assert!(serin.log().matches("cannot accept").count() <= 3);
}
