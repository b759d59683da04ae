//! Blue and green: the idle colour can be looked at, a switch is one moment, and what is still open on the
//! old colour gets its time and no more.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};

use crate::common::{Act, Backend, Client, H2, Metrics, Response, Serin, fetch, get, ok, pair, tunnel, wait_until};

/// The rollout `shop` from `stable`, which is blue, to `canary`, which is green; `more` in YAML's flow style.
fn rollout(more: &str) -> String {
    let analysis = "{ minRequests: 20, errorRate: { warn: 1%, critical: 5% } }";
    format!(
        "rollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, strategy: blueGreen, analysis: {analysis}{more} }}\n"
    )
}

fn serin(blue: &Backend, green: &Backend, more: &str) -> Serin {
    Serin::start(&(pair(blue.address(), green.address(), (100, 0)) + &rollout(more)))
}

/// When a colour took over: from `begun` on perhaps, from `acknowledged` on for certain.
struct Switch {
    begun: Instant,
    acknowledged: Instant,
    to_green: bool,
}

/// One answered request.
struct Sample {
    /// In its `x-id`.
    id: usize,
    sent: Instant,
    done: Instant,
}

/// Clients of all kinds, each with its requests numbered.
struct Crowd {
    book: Arc<CrowdBook>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct CrowdBook {
    next_id: AtomicUsize,
    over: AtomicBool,
    samples: Mutex<Vec<Sample>>,
    failed: Mutex<Vec<String>>,
}

impl Crowd {
    /// Half of them send GET and half POST; two of eight use a new connection for each request.
    fn start(address: SocketAddr) -> Self {
        let book = Arc::new(CrowdBook::default());
        let one = |n| {
            let method = if n % 2 == 0 { "GET" } else { "POST" };
            let book = Arc::clone(&book);
            thread::spawn(move || book.client(address, method, n < 6))
        };
        let clients = (0..8).map(one).collect();
        Self { book, clients }
    }

    fn until_more(&self, more: usize) {
        let answered = || self.book.samples.lock().expect("clients do not panic").len();
        let enough = answered() + more;
        wait_until("more requests are answered", || {
            answered() >= enough || !self.failed().is_empty()
        });
    }

    fn failed(&self) -> Vec<String> {
        self.book.failed.lock().expect("clients do not panic").clone()
    }

    fn stop(mut self) -> Vec<Sample> {
        self.end();
        std::mem::take(&mut *self.book.samples.lock().expect("clients do not panic"))
    }

    fn end(&mut self) {
        self.book.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().ok();
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.end();
    }
}

impl CrowdBook {
    fn client(&self, address: SocketAddr, method: &str, keeps_alive: bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut kept = None;
        while !self.over.load(Ordering::SeqCst) && Instant::now() < deadline {
            match self.exchange(address, kept.take(), method) {
                Ok(client) => kept = Some(client).filter(|_| keeps_alive),
                Err(error) => self.failed.lock().expect("clients do not panic").push(error),
            }
            // The pace: without it two cores would be busy with the load alone.
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn exchange(&self, address: SocketAddr, kept: Option<Client>, method: &str) -> Result<Client, String> {
        let mut client = match kept {
            Some(client) => client,
            None => Client::try_connect(address).map_err(|error| format!("connect: {error}"))?,
        };
        let body: &[u8] = if method == "POST" { b"hello" } else { b"" };
        let id = self.next_id.fetch_add(1, Ordering::SeqCst);
        let sent = Instant::now();
        let response = client
            .try_request(method, "/", &[("x-id", &id.to_string())], body)
            .map_err(|error| format!("{method}: {error}"))?;
        if response.status != 200 || response.text() != response.variant() {
            return Err(format!("{method}: {response:?} {}", response.text()));
        }
        let done = Instant::now();
        let sample = Sample { id, sent, done };
        self.samples.lock().expect("clients do not panic").push(sample);
        Ok(client)
    }
}

/// The numbers of the requests that `backend` has seen, by its own log.
fn seen_by(backend: &Backend) -> Vec<usize> {
    let seen = backend.seen();
    let ids = seen.iter().map(|seen| seen.head.get("x-id").expect("all are numbered"));
    ids.map(|text| text.parse().expect("a number")).collect()
}

#[test]
fn a_hundred_switches_lose_nothing_and_leave_nobody_on_the_old_colour() {
    const SWITCHES: usize = 100;
    // They answer with the name of their variant.
    let (blue, green) = (Backend::ok("stable"), Backend::ok("canary"));
    let serin = serin(&blue, &green, ", steps: [{ setWeight: 100% }]");
    let crowd = Crowd::start(serin.address());
    let mut switches = Vec::new();
    for n in 0..SWITCHES {
        crowd.until_more(20);
        let to_green = n % 2 == 0;
        let begun = Instant::now();
        serin.tell(if to_green { "start" } else { "rollback" });
        switches.push(Switch {
            begun,
            acknowledged: Instant::now(),
            to_green,
        });
    }
    crowd.until_more(20);
    assert_eq!(crowd.failed(), Vec::<String>::new());
    let samples = crowd.stop();

    let (on_blue, on_green) = (seen_by(&blue), seen_by(&green));
    let all: HashSet<_> = on_blue.iter().chain(&on_green).collect();
    assert_eq!(all.len(), on_blue.len() + on_green.len(), "some came twice");
    let on_green: HashSet<_> = on_green.into_iter().collect();
    for (nth, switch) in switches.iter().enumerate() {
        // What was still on its way when the next one was asked for may belong to either.
        let end = switches.get(nth + 1).map(|next| next.begun);
        let during = samples
            .iter()
            .filter(|sample| sample.sent >= switch.acknowledged && end.is_none_or(|end| sample.done <= end));
        let (new, old): (Vec<_>, Vec<_>) = during.partition(|sample| on_green.contains(&sample.id) == switch.to_green);
        assert_eq!(old.len(), 0, "switch {nth} left some on the old colour");
        assert!(new.len() >= 5, "switch {nth}: nobody came");
    }
}

/// What a request to `host`, with this `x-preview`, was answered by.
fn look(serin: &Serin, host: &str, preview: &str) -> Response {
    fetch(
        serin.address(),
        "GET",
        "/",
        &[("host", host), ("x-preview", preview)],
        b"",
    )
}

const PREVIEW: &str = ", preview: { host: green.test, header: { name: x-preview, exact: \"1\" } }";

#[test]
fn a_preview_reaches_the_idle_colour_and_is_no_evidence() {
    let (blue, green) = (Backend::ok("stable"), Backend::start(|_| crate::common::status(500)));
    let serin = serin(&blue, &green, &format!("{PREVIEW}, steps: [{{ setWeight: 100% }}]"));
    for _ in 0..30 {
        assert_eq!(look(&serin, "shop.test", "0").variant(), "stable");
        assert_eq!(look(&serin, "green.test", "0").variant(), "canary");
        assert_eq!(look(&serin, "GREEN.test:80", "0").variant(), "canary");
        assert_eq!(look(&serin, "shop.test", "1").variant(), "canary");
    }
    let cohorts = |backend: &Backend| -> Vec<Option<String>> {
        let seen = backend.seen();
        let cohort = |head: &crate::common::Seen| head.head.get("x-serin-cohort").map(str::to_owned);
        seen.iter().map(cohort).collect()
    };
    assert!(cohorts(&blue).iter().all(Option::is_none));
    assert_eq!(green.requests(), 90);
    assert!(
        cohorts(&green)
            .iter()
            .all(|cohort| cohort.as_deref() == Some("preview"))
    );
    // 90 failures, and nobody minds: they were not drawn.
    assert_eq!(serin.phase(), "idle");
    let metrics = Metrics::of(&serin);
    assert_eq!(metrics.attempts("shop", "canary"), (0, 90, 0));
    let apart = [("route", "shop"), ("variant", "canary"), ("outcome", "failure")];
    assert_eq!(metrics.sum("serin_cohort_attempts_total", &apart), 90.0);
    // After the switch the colour that was left is the idle one; after an abort there is nothing to look at.
    serin.tell("start");
    let served = |host| look(&serin, host, "0").variant().to_owned();
    assert_eq!([served("shop.test"), served("green.test")], ["canary", "stable"]);
    serin.tell("rollback");
    assert_eq!([served("shop.test"), served("green.test")], ["stable", "stable"]);
}

/// Backends whose answers may be long, by the target.
fn colour(name: &'static str) -> Backend {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    Backend::start(move |request| match request.target() {
        "/tunnel" => tunnel("websocket"),
        "/slow" => vec![
            Act::Send(HEAD.to_vec()),
            Act::Drip(vec![b'x'; 1 << 20], Duration::from_millis(5)),
        ],
        "/silent" => vec![Act::Send([HEAD, b"x"].concat()), Act::Hang],
        "/fast" => vec![Act::Send(HEAD.to_vec()), Act::Flood(usize::MAX)],
        _ => ok(name),
    })
}

fn open(address: SocketAddr, head: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(head.replace('\n', "\r\n"));
    client
}

/// An open stream: its head has come, and a byte of its body.
fn stream(address: SocketAddr, target: &str) -> Client {
    let mut client = open(address, &format!("GET {target} HTTP/1.1\nhost: a\n\n"));
    let head = client.wire().head().expect("a head").expect("an answer");
    assert_eq!(head.status().expect("a status"), 200);
    client.wire().exactly(4).expect("a chunk begins");
    client
}

/// An open tunnel through `host`.
fn upgraded(address: SocketAddr, host: &str) -> Client {
    let mut client = open(
        address,
        &format!("GET /tunnel HTTP/1.1\nhost: {host}\nconnection: upgrade\nupgrade: websocket\n\n"),
    );
    assert_eq!(client.response("GET").status, 101);
    assert!(echoes(&mut client));
    client
}

fn echoes(client: &mut Client) -> bool {
    client.wire().send(b"hello").is_ok() && client.wire().exactly(5).is_ok_and(|bytes| bytes == b"hello")
}

/// Waits until the peer ends it, in whatever way; the answer is whether the body came to its own end.
fn is_cut(client: &mut Client) -> bool {
    client.wire().rest().map_or(true, |rest| !rest.ends_with(b"0\r\n\r\n"))
}

#[test]
fn what_is_open_on_the_old_colour_is_cut_when_its_time_is_over_and_nothing_else() {
    const DRAIN: Duration = Duration::from_millis(1500);
    let (blue, green) = (colour("stable"), colour("canary"));
    let other = "- name: other\n  match: { hosts: [other.test], pathPrefix: / }\n  split: { variants: [{ name: stable, backend: v1, weight: 1 }] }\n";
    let body = pair(blue.address(), green.address(), (100, 0)) + other;
    let serin = Serin::start(&(body + &rollout(", drain: { after: 1500ms }, steps: [{ setWeight: 100% }]")));
    let address = serin.address();
    let mut tunnels = [upgraded(address, "a"), upgraded(address, "a")];
    let mut streams = ["/slow", "/silent"].map(|target| stream(address, target));
    // Takes nothing of what comes, so that everything on the way is full.
    let mut stalled = stream(address, "/fast");
    let mut upload = open(address, "POST / HTTP/1.1\nhost: a\ncontent-length: 10\n\nhello");
    let mut elsewhere = upgraded(address, "other.test");
    wait_until("all of it is with blue", || blue.requests() == 7);

    let before = Instant::now();
    serin.tell("start");
    let mut fresh = upgraded(address, "a");
    let mut fresh_stream = stream(address, "/slow");
    assert_eq!((get(address, "/").text(), green.requests()), ("canary".to_owned(), 3));

    let answer = upload.response("POST");
    assert!(before.elapsed() >= DRAIN, "{:?}", before.elapsed());
    answer.problem(503);
    assert_eq!(answer.head.get("retry-after"), Some("1"));
    for tunnel in &mut tunnels {
        assert!(tunnel.closed());
    }
    assert!(streams.iter_mut().all(is_cut));
    assert!(is_cut(&mut stalled));
    wait_until("blue is left by all but the other route", || blue.open() <= 1);
    assert!(echoes(&mut elsewhere) && echoes(&mut fresh));
    assert!(fresh_stream.wire().exactly(10).is_ok());

    let metrics = Metrics::of(&serin);
    let drained = |variant| metrics.sum("serin_drained_total", &[("route", "shop"), ("variant", variant)]);
    assert_eq!((drained("stable"), drained("canary")), (6.0, 0.0));
    assert_eq!(
        metrics.attempts("shop", "stable"),
        (0, 0, 6),
        "our own doing is no evidence"
    );
}

#[test]
fn a_colour_that_comes_back_keeps_what_is_open_on_it() {
    let (blue, green) = (colour("stable"), colour("canary"));
    let serin = serin(&blue, &green, ", drain: { after: 1s }, steps: [{ setWeight: 100% }]");
    let mut on_blue = upgraded(serin.address(), "a");
    serin.tell("start");
    let mut on_green = upgraded(serin.address(), "a");
    serin.tell("rollback");
    // Its time is over later than blue's would have been.
    assert!(on_green.closed());
    assert!(echoes(&mut on_blue));
}

#[test]
fn without_a_policy_what_is_open_ends_by_itself() {
    let (blue, green) = (colour("stable"), colour("canary"));
    let body = pair(blue.address(), green.address(), (100, 0));
    let serin = Serin::start(&(body.clone() + &rollout(", steps: [{ setWeight: 100% }]")));
    let mut on_blue = upgraded(serin.address(), "a");
    serin.tell("start");
    serin.tell("rollback");
    serin.tell("start");
    assert!(echoes(&mut on_blue));
    // Until there is one.
    serin.write(&(body + &rollout(", drain: { after: 100ms }, steps: [{ setWeight: 100% }]")));
    assert_eq!(serin.reload().status, 200);
    assert!(on_blue.closed());
}

#[tokio::test]
async fn a_stream_of_http2_is_cut_and_its_connection_lives() {
    let (blue, green) = (colour("stable"), colour("canary"));
    let serin = Arc::new(serin(
        &blue,
        &green,
        ", drain: { after: 1s }, steps: [{ setWeight: 100% }]",
    ));
    let request = |target: &str| {
        let request = http::Request::get(format!("http://shop.test{target}"));
        request.body(Empty::new().boxed()).expect("a request")
    };
    let mut h2 = H2::connect(serin.address()).await;
    let slow = h2.send(request("/slow")).await.expect("an answer");
    // Nobody takes anything of it: its window is full, and no socket shows that.
    let stalled = h2.send(request("/fast")).await.expect("an answer");
    let switching = Arc::clone(&serin);
    let switched = tokio::task::spawn_blocking(move || switching.tell("start")).await;
    switched.expect("it switches");
    assert!(slow.into_body().collect().await.is_err());
    let looking = Arc::clone(&serin);
    let drained = move || Metrics::of(&looking).sum("serin_drained_total", &[("variant", "stable")]);
    let both = tokio::task::spawn_blocking(move || wait_until("both are cut", || drained() == 2.0));
    both.await.expect("they are");
    assert!(stalled.into_body().collect().await.is_err());
    let (parts, body, _) = h2.exchange(request("/")).await;
    assert_eq!((parts.status.as_u16(), &body[..]), (200, &b"canary"[..]));
}
