//! `kill -9` at any instant, two hundred times under changes: every acknowledged change is there, an aborted
//! canary stays aborted, and a torn file gives way to the last whole one.

use std::fs::{self, OpenOptions};
use std::sync::mpsc;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Backend, Options, Serin, backend, binary};

/// Each of so many stories kills its Serin so often; they run side by side.
const KILLS: u32 = 50;
/// More aborts than so many are among them.
const ABORTS: u32 = 3;

/// SHA-256 of `ann` and of `bob`.
const TOKENS: &str = "tokens:
- { name: ann, hash: \"sha256:ANN\", roles: [admin, sre] }
- { name: bob, hash: \"sha256:BOB\", roles: [approver, sre] }
";

#[test]
fn nothing_acknowledged_is_lost_in_the_first_fifty_kills() {
    Life::new(1).kills();
}

#[test]
fn nothing_acknowledged_is_lost_in_the_second_fifty_kills() {
    Life::new(2).kills();
}

#[test]
fn nothing_acknowledged_is_lost_in_the_third_fifty_kills() {
    Life::new(3).kills();
}

#[test]
fn nothing_acknowledged_is_lost_in_the_last_fifty_kills() {
    Life::new(4).kills();
}

/// What the admin API shows of all that must outlive a process.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    /// Of route `plain`.
    weight: u64,
    phase: String,
    step: Value,
    /// Who has approved the gate of rollout `gated`.
    approvals: Vec<String>,
    gated: String,
    frozen: bool,
}

struct Life {
    rng: Rng,
    serin: Serin,
    _app: Backend,
    seed: u64,
}

/// One change, and what it leads to when it is done.
#[derive(Clone, Debug)]
enum Change {
    Weight(u64),
    Verb(&'static str),
    Gated(&'static str),
    Approve(&'static str),
    Freeze(bool),
}

impl Life {
    fn new(seed: u64) -> Self {
        let app = Backend::ok("x");
        let dir = TempDir::new().expect("a temporary directory");
        let hash =
            |secret: &str| hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes()).as_ref());
        let tokens = TOKENS.replace("ANN", &hash("ann")).replace("BOB", &hash("bob"));
        fs::write(dir.path().join("tokens.yaml"), tokens).expect("it can be written");
        let options = Options {
            token: Some("ann"),
            workers: 1,
            ..Options::default()
        };
        let split = "split: { variants: [{ name: stable, backend: v1, weight: 100 }, { name: canary, backend: v2, weight: 0 }] }";
        let body = format!(
            "backends:\n{}{}routes:\n\
             - {{ name: plain, match: {{ pathPrefix: /plain }}, {split} }}\n\
             - {{ name: shop, match: {{ pathPrefix: / }}, {split} }}\n\
             - {{ name: gated, match: {{ pathPrefix: /gated }}, {split} }}\n\
             rollouts:\n\
             - {{ name: shop, route: shop, from: stable, to: canary, steps: [{{ setWeight: 5%, bakeTime: 1h }}, \
             {{ setWeight: 25%, bakeTime: 1h }}, {{ setWeight: 50%, bakeTime: 1h }}, {{ setWeight: 100%, bakeTime: 1h }}] }}\n\
             - {{ name: gated, route: gated, from: stable, to: canary, steps: [{{ gate: {{ approvals: {{ count: 2, roles: [sre] }} }} }}, \
             {{ setWeight: 100%, bakeTime: 1h }}] }}\n",
            backend("v1", app.address()),
            backend("v2", app.address()),
        );
        Self {
            rng: Rng::with_seed(seed),
            serin: Serin::in_dir(dir, options, &body),
            _app: app,
            seed,
        }
    }

    fn kills(mut self) {
        let mut known = self.shown();
        let mut generation = self.serin.generation();
        let (mut aborts, mut acknowledged) = (0, 0);
        let mut kill = 0;
        // A slow machine comes less far in a life, and meets fewer aborts: it lives more of them.
        while kill < KILLS || (aborts <= ABORTS && kill < 4 * KILLS) {
            let (before, done, under_way) = self.live_and_die(known);
            let torn = self.tear();
            self.serin.crash_and_restart();
            let found = self.shown();
            let story = format!("seed {}, kill {kill}: {done:?}, then perhaps {under_way:?}", self.seed);
            if torn {
                assert!(
                    self.serin.log().contains("going on with"),
                    "{story}: nothing is said of the torn file"
                );
            } else {
                acknowledged += done.len();
                let perhaps = under_way.as_ref().map(|change| after(&before, change));
                assert!(
                    found == before
                        || Some(&found) == perhaps.as_ref()
                        || may_follow(&before, &found, under_way.as_ref()),
                    "{story}: {found:?} is neither {before:?} nor {perhaps:?}"
                );
            }
            if before.phase == "aborted" && !matches!(under_way, Some(Change::Verb("start" | "retry"))) {
                aborts += 1;
                assert_eq!(found.phase, "aborted", "{story}");
                assert_eq!(self.serin.share("canary"), 0.0, "{story}");
            }
            let now = self.serin.generation();
            assert!(now >= generation, "{story}: generation {now} after {generation}");
            generation = now;
            known = found;
            kill += 1;
        }
        assert!(aborts > ABORTS, "{aborts} aborts were killed");
        self.audit_log_is_whole(acknowledged);
    }

    /// After all that the chain of records fits, and has each change that was acknowledged.
    fn audit_log_is_whole(&self, acknowledged: usize) {
        let state = self.serin.dir().join("state").display().to_string();
        let audit = |arguments: &[&str]| {
            let all = [&["audit"], arguments, &["--state", &state]].concat();
            let output = binary().args(all).output().expect("the binary is built");
            let text = String::from_utf8(output.stdout).expect("a text");
            assert!(output.status.success(), "seed {}: {text}", self.seed);
            text
        };
        audit(&["verify"]);
        let count = |by: &str| {
            audit(&["list", "--limit", "100000", "--output", "json", "--by", by])
                .lines()
                .count()
        };
        let told = count("ann") + count("bob");
        assert!(
            told >= acknowledged,
            "seed {}: {told} records of {acknowledged} changes",
            self.seed
        );
    }

    /// Changes one thing after another until the process is dead: what stood by then for sure, the changes
    /// that were acknowledged, and the one that was not.
    fn live_and_die(&mut self, mut known: Shown) -> (Shown, Vec<Change>, Option<Change>) {
        let after_us = self.rng.u64(0..60_000);
        let (tell, told) = mpsc::channel::<()>();
        let mut done = Vec::new();
        let mut under_way = None;
        let serin = &self.serin;
        let rng = &mut self.rng;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Not for luck: the instant of the kill is what is drawn.
                let _ = told.recv_timeout(Duration::from_micros(after_us));
                serin.signal(Signal::KILL);
            });
            for _ in 0..1_000 {
                let change = some_change(rng, &known);
                match ask(serin, &change) {
                    Some(true) => {
                        known = after(&known, &change);
                        done.push(change);
                    }
                    Some(false) => {}
                    None => {
                        under_way = Some(change);
                        break;
                    }
                }
            }
            drop(tell);
        });
        (known, done, under_way)
    }

    /// Now and then the last writing is torn: the file ends in the middle.
    fn tear(&mut self) -> bool {
        if self.rng.u32(0..8) > 0 {
            return false;
        }
        self.serin.crash();
        let path = self.serin.dir().join("state/state.json");
        if !path.with_extension("json.bak").exists() {
            return false;
        }
        let Ok(whole) = fs::metadata(&path) else { return false };
        let file = OpenOptions::new().write(true).open(&path).expect("it is there");
        file.set_len(self.rng.u64(0..whole.len() - 1)).expect("it can be cut");
        true
    }

    fn shown(&self) -> Shown {
        let api = |target: &str| self.serin.api("GET", target, "");
        let plain = api("/v1/routes/plain");
        let shop = api("/v1/rollouts/shop");
        let gated = api("/v1/rollouts/gated");
        let approvals = gated["approvals"].as_array().expect("a list").iter();
        Shown {
            weight: plain["variants"][1]["weight"].as_u64().expect("a number"),
            phase: shop["phase"].as_str().expect("a word").to_owned(),
            step: shop["step"].clone(),
            approvals: approvals
                .map(|one| one["by"].as_str().expect("a name").to_owned())
                .collect(),
            gated: gated["phase"].as_str().expect("a word").to_owned(),
            frozen: api("/v1/freeze")["frozen"].as_bool().expect("yes or no"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn some_change(rng: &mut Rng, known: &Shown) -> Change {
    let verbs = ["start", "promote", "pause", "resume", "abort", "retry", "start"];
    match rng.u32(0..12) {
        0..4 => Change::Weight(rng.u64(1..1_000)),
        4..9 => Change::Verb(verbs[rng.usize(0..verbs.len())]),
        9 => Change::Gated(["start", "abort"][rng.usize(0..2)]),
        10 => Change::Approve(["ann", "bob"][rng.usize(0..2)]),
        _ => Change::Freeze(!known.frozen),
    }
}

/// Whether it was done; `None`: no answer came.
fn ask(serin: &Serin, change: &Change) -> Option<bool> {
    let reason = r#"{"reason":"a story"}"#;
    let (method, target, token, body) = match change {
        Change::Weight(weight) => {
            let body = format!(r#"{{"weights":{{"stable":1000,"canary":{weight}}},"reason":"a story"}}"#);
            ("PUT", "/v1/routes/plain/weights".to_owned(), "ann", body)
        }
        Change::Verb(verb) => ("POST", format!("/v1/rollouts/shop/{verb}"), "ann", reason.to_owned()),
        Change::Gated(verb) => ("POST", format!("/v1/rollouts/gated/{verb}"), "ann", reason.to_owned()),
        Change::Approve(by) => ("POST", "/v1/rollouts/gated/approve".to_owned(), *by, reason.to_owned()),
        Change::Freeze(true) => ("POST", "/v1/freeze".to_owned(), "ann", reason.to_owned()),
        Change::Freeze(false) => ("DELETE", "/v1/freeze".to_owned(), "ann", String::new()),
    };
    let response = serin.try_admin(method, &target, token, &body)?;
    match response.status {
        200 => Some(true),
        409 => Some(false),
        status => panic!("{change:?}: {status} {}", response.text()),
    }
}

/// What stands after a change that is done.
fn after(known: &Shown, change: &Change) -> Shown {
    let mut next = known.clone();
    let step = |number: u64| Value::from(number);
    match change {
        Change::Weight(weight) => next.weight = *weight,
        Change::Freeze(frozen) => next.frozen = *frozen,
        Change::Approve(by) => {
            next.approvals.retain(|other| other != by);
            next.approvals.push((*by).to_owned());
        }
        Change::Gated("abort") => (next.gated, next.approvals) = ("aborted".to_owned(), Vec::new()),
        Change::Gated(_) => (next.gated, next.approvals) = ("progressing".to_owned(), Vec::new()),
        Change::Verb("start" | "retry") => (next.phase, next.step) = ("progressing".to_owned(), step(0)),
        Change::Verb("promote") => {
            let to = known.step.as_u64().unwrap_or(0) + 1;
            let phase = if to >= 3 { "promoting" } else { "progressing" };
            (next.phase, next.step) = (phase.to_owned(), step(to.min(3)));
        }
        Change::Verb("pause") => next.phase = "paused".to_owned(),
        Change::Verb("resume") => {
            let phase = if known.step == step(3) {
                "promoting"
            } else {
                "progressing"
            };
            next.phase = phase.to_owned();
        }
        Change::Verb(_) => (next.phase, next.step) = ("aborted".to_owned(), Value::Null),
    }
    next
}

/// Two approvals open the gate by themselves, a tick later; whether that was written before the kill is open.
fn may_follow(before: &Shown, found: &Shown, under_way: Option<&Change>) -> bool {
    let opened = |shown: &Shown| Shown {
        gated: "promoting".to_owned(),
        approvals: Vec::new(),
        ..shown.clone()
    };
    let opens = |shown: &Shown| shown.approvals.len() == 2 && !shown.frozen && opened(shown) == *found;
    opens(before) || under_way.is_some_and(|change| opens(&after(before, change)))
}
