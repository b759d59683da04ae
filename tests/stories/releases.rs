//! Whole releases by the files of `config/`: each is run as it stands there, but for its addresses and its times.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Backend, Client, Options, PATIENCE, Response, Serin, Wire, answer, fetch, free_address, ok, status, wait_for,
    wait_until,
};

/// The text of an example with these parts of it replaced; each must be there.
#[track_caller]
fn example(name: &str, changes: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let mut text = fs::read_to_string(&path).expect("it can be read");
    for (from, to) in changes {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// Addresses as the examples have them, and what stands there in a story.
fn addresses<'a>(admin: SocketAddr, backends: &[(&'a str, &Backend)]) -> Vec<(&'a str, String)> {
    let ours = [
        ("127.0.0.1:8080", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:9901", admin.to_string()),
    ];
    let theirs = backends
        .iter()
        .map(|(port, backend)| (*port, backend.address().to_string()));
    ours.into_iter().chain(theirs).collect()
}

/// A Serin that runs `text`.
fn run(text: &str, admin: SocketAddr, options: Options) -> Serin {
    Serin::with_text(TempDir::new().expect("a temporary directory"), options, admin, text)
}

/// The file now names this release, where it named that one.
#[track_caller]
fn release(serin: &Serin, text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from));
    let text = text.replace(from, to);
    serin.write_text(&text);
    assert_eq!(serin.reload().status, 200, "{}", serin.reload().text());
    text
}

fn of(serin: &Serin, rollout: &str) -> Value {
    serin.api("GET", &format!("/v1/rollouts/{rollout}"), "")
}

#[track_caller]
fn until(serin: &Serin, rollout: &str, phase: &str) {
    wait_until(&format!("{rollout} is {phase}: {}", of(serin, rollout)), || {
        of(serin, rollout)["phase"] == phase
    });
}

fn say(serin: &Serin, rollout: &str, verb: &str) -> Response {
    serin.admin(
        "POST",
        &format!("/v1/rollouts/{rollout}/{verb}"),
        r#"{"reason":"a story"}"#,
    )
}

#[track_caller]
fn tell(serin: &Serin, rollout: &str, verb: &str) {
    let response = say(serin, rollout, verb);
    assert_eq!(response.status, 200, "{verb}: {}", response.text());
}

/// The share of a variant of a route.
fn share(serin: &Serin, route: &str, variant: &str) -> f64 {
    let route = serin.api("GET", &format!("/v1/routes/{route}"), "");
    let variants = route["variants"].as_array().expect("a list");
    let found = variants
        .iter()
        .find(|found| found["name"] == variant)
        .expect("it is there");
    found["share"].as_f64().expect("a number")
}

/// The steps that a rollout went through, by its history.
fn weights_seen(serin: &Serin, rollout: &str) -> String {
    of(serin, rollout)["history"].to_string()
}

/// A backend that answers with its name, and fails users as soon as it is told to; what is asked for its health
/// and for its front page is what the examples expect.
fn app(name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let bad = Arc::new(AtomicBool::new(false));
    let is_bad = Arc::clone(&bad);
    let backend = Backend::start(move |request| {
        let asked_by_us = request.head.get("x-serin-smoke").is_some();
        match is_bad.load(Ordering::SeqCst) && !asked_by_us {
            true => status(500),
            false => answer(200, &[("content-type", "text/plain")], name),
        }
    });
    (backend, bad)
}

/// Many users, each with a name, who ask for one path of one host again and again.
struct Users {
    book: Arc<Book>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Book {
    over: AtomicBool,
    next: AtomicUsize,
    /// How often each answer came: status and body.
    answers: Mutex<BTreeMap<String, usize>>,
    lost: Mutex<Vec<String>>,
}

impl Users {
    fn start(address: SocketAddr, host: &'static str, target: &'static str) -> Self {
        let book = Arc::<Book>::default();
        let one = |_| {
            let book = Arc::clone(&book);
            thread::spawn(move || book.client(address, host, target))
        };
        let clients = (0..4).map(one).collect();
        Self { book, clients }
    }

    fn answers(&self) -> BTreeMap<String, usize> {
        self.book.answers.lock().expect("clients do not panic").clone()
    }

    /// What so many more requests from now on are answered with, and how often.
    #[track_caller]
    fn more(&self, count: usize) -> BTreeMap<String, usize> {
        let all = |answers: &BTreeMap<String, usize>| answers.values().sum::<usize>();
        // Those on their way when this was asked for.
        let settled = all(&self.answers()) + 8;
        wait_until("what was on its way is answered", || all(&self.answers()) >= settled);
        let before = self.answers();
        wait_until("more requests are answered", || {
            all(&self.answers()) >= all(&before) + count
        });
        let mut more = self.answers();
        more.retain(|text, times| {
            *times -= before.get(text).copied().unwrap_or(0);
            *times > 0
        });
        more
    }

    #[track_caller]
    fn are_served_by(&self, text: &str) {
        let found = self.more(50);
        assert!(
            found.len() == 1 && found.contains_key(&format!("200 {text}")),
            "{found:?}"
        );
    }

    fn lost(&self) -> Vec<String> {
        self.book.lost.lock().expect("clients do not panic").clone()
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.book.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().ok();
        }
    }
}

impl Book {
    fn client(&self, address: SocketAddr, host: &str, target: &str) {
        let mut kept = None;
        while !self.over.load(Ordering::SeqCst) {
            let user = format!("user-{}", self.next.fetch_add(1, Ordering::SeqCst));
            match Self::exchange(address, kept.take(), target, &[("host", host), ("x-user-id", &user)]) {
                Ok((client, text)) => {
                    kept = Some(client);
                    *self
                        .answers
                        .lock()
                        .expect("clients do not panic")
                        .entry(text)
                        .or_default() += 1;
                }
                Err(error) => self.lost.lock().expect("clients do not panic").push(error.to_string()),
            }
            // The pace: without it two cores would be busy with the load alone.
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn exchange(
        address: SocketAddr,
        kept: Option<Client>,
        target: &str,
        fields: &[(&str, &str)],
    ) -> std::io::Result<(Client, String)> {
        let mut client = kept.map_or_else(|| Client::try_connect(address), Ok)?;
        let response = client.try_request("GET", target, fields, b"")?;
        let text = format!("{} {}", response.status, response.text());
        Ok((client, text))
    }
}

#[test]
fn canary_yaml_brings_a_release_by_its_label_and_takes_a_bad_one_back() {
    let ((old, _), (new, bad)) = (app("old"), app("new"));
    let admin = free_address();
    let mut changes = addresses(
        admin,
        &[
            ("127.0.0.1:3001", &old),
            ("127.0.0.1:3002", &old),
            ("127.0.0.1:3003", &new),
        ],
    );
    changes.extend([
        ("bakeTime: 2h", "bakeTime: 200ms".to_owned()),
        ("bakeTime: 4h", "bakeTime: 200ms".to_owned()),
    ]);
    // Two endpoints need two addresses.
    let second = Backend::ok("old");
    changes[3].1 = second.address().to_string();
    let text = example("canary.yaml", &changes);
    let serin = run(&text, admin, Options::default());
    let users = Users::start(serin.address(), "any.test", "/api/checkout/cart");
    users.are_served_by("old");
    assert_eq!(of(&serin, "checkout")["phase"], "idle");

    let text = release(&serin, &text, "release: v1.5.0", "release: v1.5.1");
    until(&serin, "checkout", "succeeded");
    users.are_served_by("new");
    let told = weights_seen(&serin, "checkout");
    assert!(
        told.contains("25 %") && told.contains("v1.5.0 gave way to v1.5.1"),
        "{told}"
    );
    assert!(second.requests() > 0, "both endpoints of the old version are used");
    assert_eq!(fetch(serin.address(), "GET", "/api/checkouts", &[], b"").status, 404);

    bad.store(true, Ordering::SeqCst);
    release(&serin, &text, "release: v1.5.1", "release: v1.5.2");
    until(&serin, "checkout", "aborted");
    users.are_served_by("old");
    assert_eq!(share(&serin, "checkout", "canary"), 0.0);
    assert_eq!(users.lost(), Vec::<String>::new());
    let shown = of(&serin, "checkout");
    assert!(
        shown["reason"].as_str().is_some_and(|why| why.contains("errorRate")),
        "{shown}"
    );
}

#[test]
fn canary_analysis_yaml_judges_each_step_and_counts_404_as_failures() {
    let ((old, _), bad) = (app("old"), Arc::new(AtomicBool::new(false)));
    let is_bad = Arc::clone(&bad);
    let new = Backend::start(move |_| {
        if is_bad.load(Ordering::SeqCst) {
            status(404)
        } else {
            ok("new")
        }
    });
    let admin = free_address();
    let mut changes = addresses(admin, &[("127.0.0.1:3001", &old), ("127.0.0.1:3002", &new)]);
    // It says nothing of the admin address: the default one belongs to one process only.
    changes[1] = (
        "\nbackends:\n",
        format!("\nadmin: {{ address: \"{admin}\" }}\n\nbackends:\n"),
    );
    changes.extend([
        ("bakeTime: 10m", "bakeTime: 200ms".to_owned()),
        ("bakeTime: 30m", "bakeTime: 200ms".to_owned()),
    ]);
    let text = example("canary-analysis.yaml", &changes);
    let serin = run(&text, admin, Options::default());
    let users = Users::start(serin.address(), "any.test", "/api/checkout");
    let text = release(&serin, &text, "release: v1.5.0", "release: v1.5.1");
    until(&serin, "checkout", "succeeded");
    users.are_served_by("new");
    let told = weights_seen(&serin, "checkout");
    for part in ["10 %", "25 %", "50 %", "step 4 of 4"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(serin.dir().join("outcomes.log").exists());

    bad.store(true, Ordering::SeqCst);
    release(&serin, &text, "release: v1.5.1", "release: v1.5.2");
    until(&serin, "checkout", "aborted");
    users.are_served_by("old");
    assert_eq!(users.lost(), Vec::<String>::new());
}

#[test]
fn blue_green_yaml_tries_switches_and_comes_back_the_other_way() {
    const HOST: &str = "shop.example.com";
    let ((blue, _), (green, _)) = (app("blue"), app("green"));
    let (blue_2, green_2) = (Backend::ok("blue"), app("green").0);
    let admin = free_address();
    let mut changes = addresses(
        admin,
        &[
            ("127.0.0.1:3001", &blue),
            ("127.0.0.1:3002", &blue_2),
            ("127.0.0.1:3003", &green),
            ("127.0.0.1:3004", &green_2),
        ],
    );
    changes.extend([
        ("    checks:\n", "    interval: 50ms\n      checks:\n".to_owned()),
        ("bakeTime: 10m", "bakeTime: 200ms".to_owned()),
        ("drain: { after: 30s }", "drain: { after: 1s }".to_owned()),
    ]);
    let text = example("blue-green.yaml", &changes);
    let serin = run(&text, admin, Options::default());
    let users = Users::start(serin.address(), HOST, "/");
    users.are_served_by("blue");
    let look = |host: &str, preview: &str| {
        let fields = [("host", host), ("x-preview", preview)];
        fetch(serin.address(), "GET", "/", &fields, b"").text()
    };
    assert_eq!(
        [look("preview.shop.example.com", "no"), look(HOST, "true")],
        ["green", "green"]
    );
    let before = green.requests();
    tell(&serin, "shop", "start");
    until(&serin, "shop", "succeeded");
    users.are_served_by("green");
    assert!(green.requests() > before);
    let asked: Vec<String> = green
        .seen()
        .iter()
        .filter(|seen| seen.head.get("x-serin-smoke").is_some())
        .map(|seen| seen.head.start.clone())
        .collect();
    assert_eq!(asked, ["GET /health HTTP/1.1", "GET / HTTP/1.1"]);
    assert_eq!(
        look("preview.shop.example.com", "no"),
        "blue",
        "the one that is idle now"
    );
    tell(&serin, "shop", "rollback");
    users.are_served_by("blue");
    tell(&serin, "shop", "start");
    until(&serin, "shop", "succeeded");

    // The next release goes to blue, and nothing but its label is edited. It is bad: green serves on.
    release(&serin, &text, "release: v1.4.2", "release: v1.6.0");
    users.are_served_by("green");
    let start = say(&serin, "shop", "start");
    assert_eq!(start.status, 200, "{}", start.text());
    // The front page of the second blue says no content type, so the test before the switch fails five times.
    until(&serin, "shop", "aborted");
    let why = of(&serin, "shop")["reason"].to_string();
    assert!(why.contains("try 5 of 5") && why.contains("content-type"), "{why}");
    users.are_served_by("green");
    assert_eq!(users.lost(), Vec::<String>::new());
}

#[test]
fn rolling_yaml_replaces_endpoint_by_endpoint() {
    let bad = Arc::new(AtomicBool::new(false));
    let version = |name: &'static str| {
        let bad = Arc::clone(&bad);
        Backend::start(move |request| {
            let fails = name == "new" && bad.load(Ordering::SeqCst) && request.target() != "/health";
            if fails { status(500) } else { ok(name) }
        })
    };
    let old = [version("old"), version("old"), version("old")];
    let new = [version("new"), version("new"), version("new")];
    let admin = free_address();
    let mut changes = addresses(
        admin,
        &[
            ("127.0.0.1:3001", &old[0]),
            ("127.0.0.1:3002", &old[1]),
            ("127.0.0.1:3003", &old[2]),
            ("127.0.0.1:3004", &new[0]),
            ("127.0.0.1:3005", &new[1]),
            ("127.0.0.1:3006", &new[2]),
        ],
    );
    changes.extend([
        ("bakeTime: 1m", "bakeTime: 200ms".to_owned()),
        ("interval: 2s", "interval: 50ms".to_owned()),
    ]);
    let text = example("rolling.yaml", &changes);
    let serin = run(&text, admin, Options::default());
    let users = Users::start(serin.address(), "any.test", "/search");
    users.are_served_by("old");
    let text = release(&serin, &text, "release: v1.5.0", "release: v1.5.1");
    until(&serin, "search", "succeeded");
    users.are_served_by("new");
    let told = weights_seen(&serin, "search");
    for part in ["25 %", "50 %", "75 %"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for endpoint in &new {
        let health = endpoint
            .seen()
            .iter()
            .filter(|seen| seen.head.start.contains("/health"))
            .count();
        assert!(health >= 1, "each is tried before it takes requests");
    }
    bad.store(true, Ordering::SeqCst);
    release(&serin, &text, "release: v1.5.1", "release: v1.5.2");
    until(&serin, "search", "aborted");
    users.are_served_by("old");
    assert_eq!(users.lost(), Vec::<String>::new());
}

#[test]
fn sidecar_yaml_stands_guard_over_weights_by_hand() {
    let ((local, _), (canary, bad)) = (app("local"), app("canary"));
    let admin = free_address();
    let text = example(
        "sidecar.yaml",
        &[(
            "\nbackends:\n",
            format!("\nadmin: {{ address: \"{admin}\" }}\n\nbackends:\n"),
        )],
    );
    let env = [
        ("LISTEN", "127.0.0.1:0".to_owned()),
        ("APP_PORT", local.address().port().to_string()),
        ("CANARY", canary.address().to_string()),
        ("RELEASE", "v7".to_owned()),
        ("STATE_DIRECTORY", "./elsewhere".to_owned()),
    ];
    let options = Options {
        env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        ..Options::default()
    };
    let mut serin = run(&text, admin, options);
    let users = Users::start(serin.address(), "any.test", "/");
    users.are_served_by("local");
    let weights = r#"{"weights":{"stable":80,"canary":20},"reason":"first fifth"}"#;
    serin.api("PUT", "/v1/routes/app/weights", weights);
    assert_eq!(of(&serin, "app")["phase"], "watching");
    wait_until("both answer", || users.more(50).len() == 2);
    let answer = fetch(serin.address(), "GET", "/", &[], b"");
    assert_eq!(answer.head.get("x-serin-variant"), None);
    say(&serin, "app", "start").problem(409);
    bad.store(true, Ordering::SeqCst);
    until(&serin, "app", "aborted");
    users.are_served_by("local");
    assert_eq!(users.lost(), Vec::<String>::new());
    drop(users);
    serin.crash_and_restart();
    assert_eq!(
        (of(&serin, "app")["phase"].as_str(), share(&serin, "app", "canary")),
        (Some("aborted"), 0.0)
    );
    assert!(serin.dir().join("elsewhere/state.json").exists());
}

/// One answer over TLS.
fn secure(address: SocketAddr, certificate: &CertificateDer<'static>, host: &str, target: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("versions that the provider knows")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a sound configuration");
    let mut wire = Wire::new(StreamOwned::new(connection, stream));
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    wire.send(request.as_bytes()).expect("it is taken");
    let head = wire.head().expect("a head").expect("an answer");
    let (body, _) = wire.body(head.framing()).expect("a body");
    String::from_utf8_lossy(&body).into_owned()
}

#[test]
fn ingress_yaml_chooses_by_host_and_path_and_releases_behind_tls() {
    let hosts = ["shop.example.com", "www.example.com", "a.example.net"].map(str::to_owned);
    let signed = rcgen::generate_simple_self_signed(hosts).expect("a certificate");
    let dir = TempDir::new().expect("a temporary directory");
    fs::create_dir(dir.path().join("tls")).expect("a directory");
    fs::write(dir.path().join("tls/cert.pem"), signed.cert.pem()).expect("it can be written");
    fs::write(dir.path().join("tls/key.pem"), signed.signing_key.serialize_pem()).expect("it can be written");
    let ((old, _), (new, bad)) = (app("old"), app("new"));
    let [shop, static_1, static_2, tenants] = ["shop", "static", "static", "tenants"].map(Backend::ok);
    let admin = free_address();
    let mut changes = addresses(
        admin,
        &[
            ("127.0.0.1:3001", &shop),
            ("127.0.0.1:3002", &old),
            ("127.0.0.1:3003", &new),
            ("127.0.0.1:3004", &static_1),
            ("127.0.0.1:3005", &static_2),
            ("127.0.0.1:3006", &tenants),
        ],
    );
    changes[1] = (
        "\nbackends:\n",
        format!("\nadmin: {{ address: \"{admin}\" }}\n\nbackends:\n"),
    );
    changes.extend([
        ("127.0.0.1:8443", "127.0.0.1:0".to_owned()),
        ("bakeTime: 30m", "bakeTime: 200ms".to_owned()),
        ("bakeTime: 1h", "bakeTime: 200ms".to_owned()),
    ]);
    let text = example("ingress.yaml", &changes);
    let serin = Serin::with_text(dir, Options::default(), admin, &text);
    let listeners = serin.status()["listeners"].clone();
    let clear: SocketAddr = listeners[1]["address"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("an address");
    let served = |host: &str, target: &str| {
        let answer = fetch(clear, "GET", target, &[("host", host)], b"");
        (
            answer.status,
            if answer.status == 200 {
                answer.text()
            } else {
                String::new()
            },
        )
    };
    for (host, target, expected) in [
        ("shop.example.com", "/", "shop"),
        ("www.example.com", "/api/checkout", "shop"),
        ("shop.example.com", "/api/checkout/cart", "old"),
        ("www.example.com", "/assets/a/b.css", "static"),
        ("a.example.net", "/", "tenants"),
        ("a.b.example.net", "/x", "tenants"),
        ("a.example.net", "/?preview=1", "shop"),
    ] {
        assert_eq!(served(host, target), (200, expected.to_owned()), "{host}{target}");
    }
    assert_eq!(served("example.net", "/").0, 404);
    let certificate = signed.cert.der().clone();
    let behind_tls = |host: &str, target: &str| secure(serin.address(), &certificate, host, target);
    assert_eq!(behind_tls("shop.example.com", "/api/checkout"), "old");

    let users = Users::start(clear, "shop.example.com", "/api/checkout");
    let text = release(&serin, &text, "release: v1.5.0", "release: v1.5.1");
    until(&serin, "checkout", "succeeded");
    users.are_served_by("new");
    assert_eq!(behind_tls("shop.example.com", "/api/checkout"), "new");
    assert_eq!(behind_tls("a.example.net", "/"), "tenants");
    bad.store(true, Ordering::SeqCst);
    release(&serin, &text, "release: v1.5.1", "release: v1.5.2");
    until(&serin, "checkout", "aborted");
    users.are_served_by("old");
    assert_eq!(users.lost(), Vec::<String>::new());
}

#[test]
fn gates_yaml_waits_for_everybody_and_tells_everybody() {
    let ((old, _), (new, bad)) = (app("old"), app("new"));
    let held = Arc::new(AtomicBool::new(true));
    let holds = Arc::clone(&held);
    let others = Backend::start(move |request| match request.target() {
        "/load-test" if holds.load(Ordering::SeqCst) => answer(403, &[], "the load test runs"),
        "/pager" => answer(202, &[], r#"{"status":"success"}"#),
        _ => ok("ok"),
    });
    let calls = |path: &str| {
        let seen = others.seen();
        let at = seen
            .iter()
            .filter(|seen| seen.whole && seen.head.start.split(' ').nth(1) == Some(path));
        at.map(|seen| serde_json::from_slice::<Value>(&seen.body).expect("JSON"))
            .collect::<Vec<_>>()
    };
    let admin = free_address();
    let mut changes = addresses(
        admin,
        &[
            ("127.0.0.1:3001", &old),
            ("127.0.0.1:3002", &new),
            ("127.0.0.1:4000", &others),
        ],
    );
    let pager = format!("pagerDuty: {{ url: \"http://{}/pager\", ", others.address());
    changes.extend([
        // The one address of the file that is a default.
        ("pagerDuty: { ", pager),
        (" interval: 10s", " interval: 100ms".to_owned()),
        ("name: load-test, ", "name: load-test, interval: 100ms, ".to_owned()),
        ("over: 10m", "over: 2s".to_owned()),
        // By default each step of the ramp wants some 700 good requests of its own, and 1 % of what a story sends is
        // little.
        (
            "  rollbackWindow: 24h",
            "  rollbackWindow: 24h\n  analysis: { test: threshold, minRequests: 5 }".to_owned(),
        ),
        ("duration: 2h", "duration: 200ms".to_owned()),
        ("bakeTime: 4h", "bakeTime: 200ms".to_owned()),
        ("bakeTime: 10m", "bakeTime: 200ms".to_owned()),
        (
            r#"days: [mon, tue, wed, thu], from: "09:00", to: "17:00""#,
            r#"days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00""#.to_owned(),
        ),
    ]);
    let text = example("gates.yaml", &changes);
    let dir = TempDir::new().expect("a temporary directory");
    fs::create_dir(dir.path().join("people")).expect("a directory");
    let mut tokens = example("people/tokens.yaml", &[]);
    for name in ["ann", "bob", "ci"] {
        let line = tokens
            .lines()
            .find(|line| line.contains(&format!("name: {name},")))
            .expect("they are there")
            .to_owned();
        let hash: String = digest(&SHA256, name.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let start = line.find("sha256:").expect("a hash") + 7;
        tokens = tokens.replace(&line[start..start + 64], &hash);
    }
    fs::write(dir.path().join("people/tokens.yaml"), tokens).expect("a file");
    let options = Options {
        token: Some("ci"),
        env: vec![("GATE_TOKEN".to_owned(), "s3cr3t".to_owned())],
        ..Options::default()
    };
    let serin = Serin::with_text(dir, options, admin, &text);
    let users = Users::start(serin.address(), "any.test", "/api/checkout");
    let waits = |part: &str| {
        wait_for(&format!("it waits for {part}"), || {
            of(&serin, "checkout")["waiting"]
                .as_str()
                .filter(|found| found.contains(part))
                .map(str::to_owned)
        })
    };
    let by = |who: &str, verb: &str| {
        let bearer = format!("Bearer {who}");
        let target = format!("/v1/rollouts/checkout/{verb}");
        serin
            .admin_with(
                "POST",
                &target,
                &[("authorization", &bearer)],
                r#"{"reason":"a story"}"#,
            )
            .status
    };
    release(&serin, &text, "release: v1.5.0", "release: v1.5.1");
    waits("0 of 2 approvals");
    assert_eq!(calls("/gate").len(), 1);
    assert_eq!(calls("/gate")[0]["metadata"]["team"], "payments");
    assert_eq!(
        [by("ci", "approve"), by("ann", "approve"), by("ann", "approve")],
        [403, 200, 200]
    );
    assert!(waits("1 of 2 approvals").contains("sre"));
    assert_eq!((by("bob", "approve"), share(&serin, "checkout", "canary")), (200, 0.0));
    let held_at = waits("the load test runs");
    assert!(held_at.contains("load-test"), "{held_at}");
    assert_eq!(share(&serin, "checkout", "canary"), 0.05);
    held.store(false, Ordering::SeqCst);
    until(&serin, "checkout", "paused");
    waits("somebody who resumes");
    assert_eq!((by("ann", "resume"), calls("/rolled-back").len()), (200, 0));
    until(&serin, "checkout", "succeeded");
    users.are_served_by("new");
    assert_eq!(calls("/gate").len(), 2, "before the start and before the promotion");
    // Still watched: what turns bad now is taken back, and everybody is told.
    bad.store(true, Ordering::SeqCst);
    until(&serin, "checkout", "aborted");
    users.are_served_by("old");
    wait_until("who wants to know of a rollback does", || {
        calls("/rolled-back").len() == 1
    });
    wait_until("the pager rings", || {
        calls("/pager").iter().any(|event| event["event_action"] == "trigger")
    });
    let told = |path: &str, part: &str| {
        wait_until(&format!("{path} is told"), || {
            calls(path).iter().any(|call| call.to_string().contains(part))
        });
    };
    told("/slack", "rolled back");
    told("/teams", "rolled back");
    told("/events", "checkout: rolled back");
    assert!(
        calls("/slack").iter().any(|call| call.to_string().contains("started")),
        "progress is told there"
    );
    assert_eq!(users.lost(), Vec::<String>::new());
    let audit = serin.api_text("/v1/audit?limit=1000");
    for part in ["\"ann\"", "\"bob\"", "releaseManager", "commitTime"] {
        assert!(audit.contains(part), "{part}");
    }
    assert!(!audit.contains("s3cr3t"));
}
