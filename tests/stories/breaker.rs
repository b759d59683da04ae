//! What a canary may cost is bounded where requests pass, and asked once more before one is sent.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::common::{Act, Backend, Client, Metrics, Serin, get, ok, pair_with, wait_until};

/// How many requests of the canary may be open at once.
const AT_ONCE: usize = 10;

const WATCHED: &str = "rollouts:\n- { name: shop, route: shop, from: stable, to: canary, budget: { inFlight: 10 } }\n";
const COHORT: &str = "    cohorts: [{ name: beta, headers: [{ name: x-canary, exact: \"true\" }], variant: canary }]\n";

/// A canary that answers only once the switch is set.
fn held() -> (Backend, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&released);
    let canary = Backend::start(move |_| [vec![Act::Until(Arc::clone(&switch))], ok("v2")].concat());
    (canary, released)
}

/// Sends so many requests at once; each ends with 200.
fn all_at_once(
    address: SocketAddr,
    requests: usize,
    fields: &'static [(&str, &str)],
) -> Vec<thread::JoinHandle<String>> {
    let one = |_| {
        thread::spawn(move || {
            let response = Client::connect(address).request("GET", "/", fields, b"");
            assert_eq!(response.status, 200);
            response.variant().to_owned()
        })
    };
    (0..requests).map(one).collect()
}

fn by_canary(answers: Vec<thread::JoinHandle<String>>) -> usize {
    let variants = answers.into_iter().map(|answer| answer.join().expect("it is answered"));
    variants.filter(|variant| variant == "canary").count()
}

fn check_in_flight(weights: (u32, u32), fields: &'static [(&str, &str)]) {
    const REQUESTS: usize = 200;
    let (stable, (canary, released)) = (Backend::ok("v1"), held());
    let timeout = "  timeout: 30s\n";
    let config = pair_with(stable.address(), canary.address(), weights, timeout, COHORT) + WATCHED;
    let serin = Serin::start(&config);
    let answers = all_at_once(serin.address(), REQUESTS, fields);
    wait_until("stable has answered what the canary may not bear", || {
        stable.requests() == REQUESTS - AT_ONCE && canary.requests() >= AT_ONCE
    });
    assert_eq!(canary.requests(), AT_ONCE);
    released.store(true, Ordering::SeqCst);
    assert_eq!(by_canary(answers), AT_ONCE);
    // The places are free again, each of them once.
    released.store(false, Ordering::SeqCst);
    let answers = all_at_once(serin.address(), 2 * AT_ONCE, fields);
    wait_until("the places are taken again", || {
        stable.requests() == REQUESTS && canary.requests() >= 2 * AT_ONCE
    });
    released.store(true, Ordering::SeqCst);
    assert_eq!(by_canary(answers), AT_ONCE);
    assert_eq!(canary.requests(), 2 * AT_ONCE);
    wait_until("all are in the books", || {
        let (attempts, of_stable) = (Metrics::of(&serin), REQUESTS as u64);
        attempts.attempts("shop", "canary") == (2 * AT_ONCE as u64, 0, 0)
            && attempts.attempts("shop", "stable") == (of_stable, 0, 0)
    });
    // What was sent elsewhere is no evidence for stable.
    let cohort = [("variant", "stable"), ("outcome", "success")];
    assert_eq!(
        Metrics::of(&serin).sum("serin_cohort_attempts_total", &cohort),
        REQUESTS as f64
    );
}

#[test]
fn the_canary_bears_so_many_requests_at_once_and_stable_answers_the_others() {
    check_in_flight((0, 100), &[]);
}

#[test]
fn what_a_cohort_sends_takes_a_place_too() {
    check_in_flight((100, 1), &[("x-canary", "true")]);
}

#[test]
fn a_place_comes_back_when_the_request_fails_or_its_client_leaves() {
    let stable = Backend::ok("v1");
    let canary = Backend::start(|request| match request.target() {
        "/hang" => vec![Act::Hang],
        "/close" => vec![Act::Close],
        _ => ok("v2"),
    });
    let analysis = "rollouts:\n- { name: shop, route: shop, from: stable, to: canary, analysis: { errorRate: { critical: 99% }, compareWith: none }, budget: { inFlight: 1 } }\n";
    let config = pair_with(stable.address(), canary.address(), (0, 100), "  timeout: 20s\n", "") + analysis;
    let serin = Serin::start(&config);
    for n in 0..3 {
        assert_eq!(get(serin.address(), "/close").status, 502);
        let mut client = Client::connect(serin.address());
        client.send("GET /hang HTTP/1.1\r\nhost: serin.test\r\n\r\n");
        wait_until("the canary is asked", || asked(&canary, "/hang") == n + 1);
        assert_eq!(get(serin.address(), "/").variant(), "stable");
        drop(client);
        wait_until("nobody waits any more", || {
            Metrics::of(&serin).sum("serin_requests_in_flight", &[("variant", "canary")]) == 0.0
        });
        assert_eq!(get(serin.address(), "/").variant(), "canary");
    }
}

fn asked(backend: &Backend, target: &str) -> usize {
    let start = format!("GET {target} HTTP/1.1");
    backend.seen().iter().filter(|seen| seen.head.start == start).count()
}

/// A listener whose queue is full: who connects waits until somebody is let in.
fn crowded() -> (TcpListener, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("loopback has a free port");
    socket.listen(0).expect("it listens");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("it is bound");
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let queue: Vec<_> = (0..16).map_while(connect).collect();
    assert!(queue.len() < 16, "the queue is full at some time");
    (listener, queue)
}

#[test]
fn a_request_that_waited_for_a_connection_is_not_sent_after_an_abort() {
    let stable = Backend::ok("v1");
    let (listener, queue) = crowded();
    let address = listener.local_addr().expect("it is bound");
    let config = pair_with(stable.address(), address, (0, 100), "  timeout: 30s\n", "") + WATCHED;
    let own = format!("endpoints: [\"{address}\"]");
    let config = config.replace(&own, &format!("{own}, limits: {{ connectTimeout: 20s }}"));
    let serin = Serin::start(&config);
    let serin_address = serin.address();
    let waiting = thread::spawn(move || get(serin_address, "/"));
    wait_until("it waits for a connection", || {
        Metrics::of(&serin).sum("serin_requests_in_flight", &[("variant", "canary")]) == 1.0
    });
    assert_eq!(stable.requests(), 0);
    serin.tell("abort");
    // Now all are let in. What the canary is sent would come before the end of the connection.
    let heard = thread::spawn(move || {
        let in_queue = queue.len();
        drop(queue);
        let mut heard = Vec::new();
        for _ in 0..=in_queue {
            let (mut stream, _) = listener.accept().expect("one more comes");
            stream.read_to_end(&mut heard).ok();
        }
        heard
    });
    let response = waiting.join().expect("it is answered");
    assert_eq!((response.status, response.variant()), (200, "stable"));
    wait_until("both tries are in the books", || {
        let metrics = Metrics::of(&serin);
        metrics.attempts("shop", "stable") == (1, 0, 0) && metrics.attempts("shop", "canary") == (0, 0, 1)
    });
    drop(serin);
    assert_eq!(String::from_utf8_lossy(&heard.join().expect("all came")), "");
}
