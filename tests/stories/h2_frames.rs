//! HTTP/2 frame by frame, in clear and over TLS: what each sequence becomes at the backend, and what the client is told.
//! The cases stand in `h2_frames/`.

mod cases;
mod floods;
mod heads;
mod protocol;
mod streams;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::common::{Metrics, Options, Serin, one, wait_for, wait_until};
use crate::requests::recorder::Recorder;
use cases::{Case, Reaches};
use wire::Socket;

/// Every host that a case asks for in earnest.
const NAMES: [&str; 3] = ["serin.test", "other.test", "2001:db8::1"];

/// A Serin, the backend behind it, and how its clients come.
struct Site {
    serin: Serin,
    recorder: Recorder,
    tls: Option<Arc<ClientConfig>>,
}

impl Site {
    fn start(secure: bool, more: &str) -> Self {
        let recorder = Recorder::start().expect("it records");
        let dir = TempDir::new().expect("a temporary directory");
        let (mut listener, mut tls) = (more.to_owned(), None);
        if secure {
            let signed = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).expect("a certificate");
            std::fs::write(dir.path().join("cert.pem"), signed.cert.pem()).expect("it can be written");
            std::fs::write(dir.path().join("key.pem"), signed.signing_key.serialize_pem()).expect("it can be written");
            let comma = if more.is_empty() { "" } else { ", " };
            listener = format!("{more}{comma}tls: {{ certificates: [{{ certificate: cert.pem, key: key.pem }}] }}");
            let mut roots = RootCertStore::empty();
            roots.add(signed.cert.der().clone()).expect("a certificate");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions that the provider knows")
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec()];
            tls = Some(Arc::new(config));
        }
        // One worker: what a case has sent is with the backend before the probe that comes after.
        let options = Options {
            listener,
            workers: 1,
            ..Options::default()
        };
        let serin = Serin::in_dir(dir, options, &one(recorder.address()));
        Self { serin, recorder, tls }
    }

    fn connect(&self) -> Socket {
        Socket::connect(self.serin.address(), self.tls.as_ref())
    }

    /// What is wrong with a case; nothing if all is as it should be.
    fn run(&self, case: &Case) -> Option<String> {
        self.recorder.forget();
        let before = self.rejected(case.counted);
        let mut socket = self.connect();
        let mut told = Vec::new();
        let mut sends = case.sends.iter();
        for _ in case.told.split(", ") {
            if let Some(bytes) = sends.next() {
                socket.send(bytes);
            }
            told.push(match case.told.starts_with("goaway") {
                true => until_the_end(&mut socket),
                false => socket.event(),
            });
        }
        let told = told.join(", ");
        if told != case.told {
            return Some(format!("the client was told `{told}`, not `{}`", case.told));
        }
        // A probe on a connection of its own shows that others are served, and that nothing is still on its way.
        let mut probe = self.connect();
        probe.send(&cases::get(1, &[(":path", "/probe")]));
        if probe.event() != "200" {
            return Some("the next client was not served".to_owned());
        }
        let reached = wait_for("the probe has reached the backend", || {
            let messages = self.recorder.messages();
            let probes = |raw: &[u8]| raw.starts_with(b"GET /probe ");
            messages
                .iter()
                .any(|message| probes(&message.raw) && message.whole)
                .then_some(messages)
        });
        let mut reached: Vec<_> = reached
            .into_iter()
            .map(|message| match message.whole {
                true => String::from_utf8_lossy(&message.joined).into_owned(),
                false => format!("{} (unfinished)", String::from_utf8_lossy(&message.raw)),
            })
            .filter(|text| !text.starts_with("GET /probe "))
            .collect();
        if case.counted.is_some() && self.rejected(case.counted) < before + 1.0 {
            return Some("it was not counted".to_owned());
        }
        match &case.reaches {
            Reaches::Anything => None,
            Reaches::Nothing if reached.is_empty() => None,
            Reaches::Nothing => Some(format!("this reached the backend: {reached:?}")),
            Reaches::Request { start, has, lacks } => {
                let (Some(text), true) = (reached.pop(), reached.is_empty()) else {
                    return Some("not one request has reached the backend".to_owned());
                };
                if !text.starts_with(&format!("{start}\r\n")) {
                    return Some(format!("it begins otherwise: {text:?}"));
                }
                let missing = has.iter().find(|part| !text.contains(&format!("\r\n{part}")));
                let surplus = lacks.iter().find(|part| text.contains(&format!("\r\n{part}")));
                let wrong = missing.or(surplus)?;
                Some(format!("about {wrong:?}, in {text:?}"))
            }
        }
    }

    fn rejected(&self, reason: Option<&str>) -> f64 {
        reason.map_or(0.0, |reason| {
            Metrics::of(&self.serin).sum("serin_rejected_total", &[("reason", reason)])
        })
    }
}

/// What the whole connection is told: its streams may be told this and that before.
fn until_the_end(socket: &mut Socket) -> String {
    loop {
        let event = socket.event();
        if ["goaway", "end", "silence"].iter().any(|end| event.starts_with(end)) {
            return event;
        }
    }
}

/// Runs all cases of a table, both ways.
fn run(table: &[Case]) {
    let mut failures = Vec::new();
    for secure in [false, true] {
        let site = Site::start(secure, "");
        for case in table {
            if let Some(failure) = site.run(case) {
                failures.push(format!(
                    "{} ({}): {failure}",
                    case.name,
                    if secure { "TLS" } else { "clear" }
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn heads_that_pass() {
    run(&heads::that_pass());
}

#[test]
fn heads_that_are_refused() {
    run(&heads::that_are_refused());
}

#[test]
fn what_follows_a_head() {
    run(&heads::bodies());
}

#[test]
fn frames_that_break_the_protocol() {
    run(&protocol::cases());
}

#[test]
fn floods() {
    run(&floods::cases());
}

#[test]
fn the_tables_are_large() {
    let tables = [
        heads::that_pass(),
        heads::that_are_refused(),
        heads::bodies(),
        protocol::cases(),
        floods::cases(),
    ];
    let mut names: Vec<_> = tables.iter().flatten().map(|case| case.name).collect();
    let all = names.len();
    assert!(all >= 130, "{all} cases");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "each has a name of its own");
}

#[test]
fn a_head_that_never_ends_has_its_time() {
    let timeouts = "timeouts: { requestHead: 300ms, body: 10s, idle: 60s }";
    for secure in [false, true] {
        let site = Site::start(secure, timeouts);
        let mut socket = site.connect();
        socket.send(&wire::frame(wire::HEADERS, 0, 1, &wire::block(&[(":method", "GET")])));
        assert_eq!(socket.event(), "end");
        wait_until("it is counted", || site.rejected(Some("head_timeout")) == 1.0);
        assert!(site.recorder.messages().is_empty());
    }
}

#[test]
fn an_old_connection_is_asked_to_leave_and_its_stream_is_served() {
    let site = Site::start(false, "timeouts: { connectionAge: 1s }");
    let mut socket = site.connect();
    // It is older than that when its request comes; the pause is what is tested.
    std::thread::sleep(Duration::from_millis(1_300));
    socket.send(&cases::get(1, &[]));
    assert_eq!(socket.event(), "200");
    assert_eq!(socket.event(), "over");
    // The engine asks whether we have heard before it ends for good.
    socket.send(&wire::frame(
        wire::PING,
        wire::ACK,
        0,
        &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54],
    ));
    assert_eq!(socket.event(), "end");
}
