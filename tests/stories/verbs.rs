//! Every verb at every phase is done, or answered 409 with what is possible: free, frozen and outside of the window.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Backend, Options, Response, Serin, backend, hang, status, wait_until};

/// What each verb leads to where nothing holds the rollout; `-`: 409. `full` is promote to the end, `more` gives
/// the canary more weight by hand, `less` takes all of it.
const TABLE: &str = "
phase      start       retry       promote     full      abort   pause  resume      rollback approve     more      less
idle       progressing -           -           -         aborted -      -           -        -           watching  idle
watching   progressing -           -           -         aborted -      -           -        -           watching  idle
weight     -           -           progressing succeeded aborted paused -           -        -           -         -
approvals  -           -           -           -         aborted paused -           -        progressing -         -
webhook    -           -           progressing succeeded aborted paused -           -        -           -         -
smoke      -           -           progressing succeeded aborted paused -           -        -           -         -
pauseStep  -           -           progressing succeeded aborted -      progressing -        -           paused    paused
timedPause -           -           progressing succeeded aborted paused -           -        -           -         -
byPerson   -           -           progressing succeeded aborted -      progressing -        -           paused    paused
promoting  -           -           -           -         aborted paused -           -        -           -         -
succeeded  progressing -           -           -         aborted -      -           aborted  -           succeeded succeeded
expired    progressing -           -           -         aborted -      -           -        -           succeeded succeeded
aborted    progressing progressing -           -         -       -      -           -        -           -         -
";

/// What keeps all rollouts from moving forward.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    Free,
    Frozen,
    Shut,
}

/// One cell of the table.
struct Cell {
    phase: &'static str,
    verb: &'static str,
    expected: &'static str,
}

impl Cell {
    fn name(&self) -> String {
        format!("{}-{}", self.phase, self.verb)
    }

    /// Whether it would be done, were it not for what holds everything.
    fn is_held(&self, held: Held) -> bool {
        let moves_forward = ["start", "retry", "promote", "full", "resume"].contains(&self.verb);
        // After a success half of all is less than before.
        let more = self.verb == "more" && !["succeeded", "expired"].contains(&self.phase);
        self.expected != "-" && held != Held::Free && (moves_forward || more)
    }
}

fn cells() -> Vec<Cell> {
    let mut rows = TABLE.trim().lines().map(str::split_whitespace);
    let verbs: Vec<_> = rows.next().expect("a head").skip(1).collect();
    let row = |mut row: std::str::SplitWhitespace<'static>| {
        let phase = row.next().expect("a phase");
        let cell = |(&verb, expected)| Cell { phase, verb, expected };
        verbs.iter().zip(row).map(cell).collect::<Vec<_>>()
    };
    rows.flat_map(row).collect()
}

/// One route and one rollout for each cell. `window` in YAML's flow style, or nothing.
fn body(cells: &[Cell], stable: &Backend, gate: &Backend, window: &str) -> String {
    let mut text = format!(
        "backends:\n{}{}routes:\n",
        backend("v1", stable.address()),
        backend("v2", gate.address())
    );
    for cell in cells {
        text += &format!(
            "- {{ name: {name}, match: {{ pathPrefix: /{name} }}, split: {{ variants: [{{ name: stable, backend: v1, \
             weight: 100 }}, {{ name: canary, backend: v2, weight: 0 }}] }} }}\n",
            name = cell.name()
        );
    }
    text += "rollouts:\n";
    for cell in cells {
        let first = match cell.phase {
            "approvals" => "gate: { approvals: { count: 2, roles: [sre] } }".to_owned(),
            "webhook" => format!(
                "gate: {{ webhook: {{ name: g, url: 'http://{}/gate' }} }}",
                gate.address()
            ),
            "smoke" => "smoke: { path: /smoke, timeout: 60s }".to_owned(),
            "pauseStep" => "pause: {}".to_owned(),
            "timedPause" => "pause: { duration: 1h }".to_owned(),
            "promoting" => "setWeight: 100%, bakeTime: 1h".to_owned(),
            _ => "setWeight: 10%, bakeTime: 1h".to_owned(),
        };
        let rest = match cell.phase {
            "promoting" => "",
            _ => ", { setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }",
        };
        let undo = if cell.phase == "expired" { "1ms" } else { "1h" };
        text += &format!(
            "- {{ name: {name}, route: {name}, from: stable, to: canary, rollbackWindow: {undo}{window}, \
             steps: [{{ {first} }}{rest}] }}\n",
            name = cell.name()
        );
    }
    text
}

/// A window of an hour that is half a day away.
fn far_window() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let hour = now.as_secs() / 3_600 % 24;
    let at = |hour: u64| format!("\"{:02}:00\"", hour % 24);
    format!(
        ", window: {{ days: [mon, tue, wed, thu, fri, sat, sun], from: {}, to: {} }}",
        at(hour + 12),
        at(hour + 13)
    )
}

fn say(serin: &Serin, cell: &Cell, verb: &str) -> Response {
    let name = cell.name();
    let weights = |canary: u32| {
        let body = format!(r#"{{"weights":{{"stable":100,"canary":{canary}}},"reason":"a story"}}"#);
        serin.admin("PUT", &format!("/v1/routes/{name}/weights"), &body)
    };
    let post = |verb: &str, body: &str| serin.admin("POST", &format!("/v1/rollouts/{name}/{verb}"), body);
    match verb {
        "some" => weights(10),
        "more" => weights(100),
        "less" => weights(0),
        "full" => post("promote", r#"{"full":true,"reason":"a story"}"#),
        verb => post(verb, r#"{"reason":"a story"}"#),
    }
}

#[track_caller]
fn tell(serin: &Serin, cell: &Cell, verb: &str) {
    let response = say(serin, cell, verb);
    assert_eq!(response.status, 200, "{} {verb}: {}", cell.name(), response.text());
}

fn shown(serin: &Serin, cell: &Cell) -> Value {
    serin.api("GET", &format!("/v1/rollouts/{}", cell.name()), "")
}

/// Brings the rollout of a cell to where its verb is to be said.
fn bring(serin: &Serin, cell: &Cell) {
    let verbs: &[&str] = match cell.phase {
        "idle" => &[],
        "watching" => &["some"],
        "weight" | "approvals" | "webhook" | "smoke" | "pauseStep" | "timedPause" | "promoting" => &["start"],
        "byPerson" => &["start", "pause"],
        "succeeded" | "expired" => &["start", "full"],
        "aborted" => &["start", "abort"],
        phase => panic!("{phase}?"),
    };
    for verb in verbs {
        tell(serin, cell, verb);
    }
    let phase = match cell.phase {
        "weight" | "approvals" | "webhook" | "smoke" | "timedPause" => "progressing",
        "pauseStep" | "byPerson" => "paused",
        "expired" => "succeeded",
        phase => phase,
    };
    assert_eq!(shown(serin, cell)["phase"], phase, "{}", cell.name());
}

/// What is wrong with the answer to the verb of a cell.
fn wrong(serin: &Serin, all: &[Cell], cell: &Cell, held: Held) -> Vec<String> {
    let answer = say(serin, cell, cell.verb);
    let mut wrong = Vec::new();
    let mut say_wrong = |what: String| wrong.push(format!("{held:?} {}: {what}", cell.name()));
    if cell.expected != "-" && !cell.is_held(held) {
        if answer.status != 200 {
            say_wrong(format!("{} {}, not 200", answer.status, answer.text()));
            return wrong;
        }
        let found = shown(serin, cell);
        if found["phase"] != cell.expected {
            say_wrong(format!("leads to {}, not {}", found["phase"], cell.expected));
        }
        if cell.expected == "aborted" && found["share"] != 0.0 {
            say_wrong(format!("the canary has {}", found["share"]));
        }
        return wrong;
    }
    if answer.status != 409 {
        say_wrong(format!("{} {}, not 409", answer.status, answer.text()));
        return wrong;
    }
    let detail = answer.problem(409)["detail"].as_str().expect("a text").to_owned();
    if cell.is_held(held) {
        let why = if held == Held::Frozen { "frozen" } else { "window" };
        if !detail.contains(why) {
            say_wrong(format!("says nothing of what holds it: {detail}"));
        }
    }
    if held == Held::Free && cell.verb != "approve" {
        wrong.extend(wrong_words(all, cell, held, &detail));
    }
    wrong
}

/// What a refusal names that is not possible, or that it names nothing that is.
fn wrong_words(all: &[Cell], cell: &Cell, held: Held, detail: &str) -> Vec<String> {
    let row = all.iter().filter(|other| other.phase == cell.phase);
    let possible: Vec<&str> = row
        .filter(|other| other.expected != "-" && !other.is_held(held))
        .map(|other| match other.verb {
            "full" => "promote",
            "more" | "less" => "weights",
            verb => verb,
        })
        .collect();
    let words: Vec<&str> = detail.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let mut wrong = Vec::new();
    if !possible.is_empty() && !possible.iter().any(|verb| words.contains(verb)) {
        wrong.push(format!(
            "{held:?} {}: names nothing of {possible:?}: {detail}",
            cell.name()
        ));
    }
    let listed = detail.split("possible now: ").nth(1).unwrap_or_default();
    let listed = listed
        .split(", ")
        .map(|word| if word == "setting weights" { "weights" } else { word });
    for verb in listed.filter(|word| !word.is_empty() && !possible.contains(word)) {
        wrong.push(format!(
            "{held:?} {}: names {verb}, which is not possible: {detail}",
            cell.name()
        ));
    }
    wrong
}

/// All rollouts where their verbs are to be said, and then held. The backends live as long as it does.
fn brought(cells: &[Cell], held: Held) -> (Serin, [Backend; 2]) {
    let hash: String = digest(&SHA256, b"ann-token")
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let dir = TempDir::new().expect("a temporary directory");
    let tokens = format!(
        "tokens:\n- {{ name: ann, hash: \"sha256:{hash}\", roles: [admin, sre] }}\n\
         - {{ name: bob, hash: \"sha256:{}\", roles: [sre] }}\n",
        "0".repeat(64)
    );
    fs::write(dir.path().join("tokens.yaml"), tokens).expect("a file");
    let options = Options {
        token: Some("ann-token"),
        workers: 1,
        ..Options::default()
    };
    let stable = Backend::ok("stable");
    let gate = Backend::start(|request| {
        if request.target() == "/gate" {
            status(403)
        } else {
            hang()
        }
    });
    let serin = Serin::in_dir(dir, options, &body(cells, &stable, &gate, ""));
    for cell in cells {
        bring(&serin, cell);
    }
    let errands = cells.iter().filter(|cell| ["webhook", "smoke"].contains(&cell.phase));
    let errands = errands.count();
    wait_until("gates and smoke tests are asked", || gate.requests() >= errands);
    match held {
        Held::Free => {}
        Held::Frozen => {
            serin.api("POST", "/v1/freeze", r#"{"reason":"sale"}"#);
        }
        Held::Shut => {
            serin.write(&body(cells, &stable, &gate, &far_window()));
            assert_eq!(serin.reload().status, 200);
        }
    }
    (serin, [stable, gate])
}

fn check(held: Held) {
    let cells = cells();
    assert_eq!(cells.len(), 13 * 11);
    let (serin, _backends) = brought(&cells, held);
    let wrong: Vec<String> = cells
        .iter()
        .flat_map(|cell| wrong(&serin, &cells, cell, held))
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_verb_at_every_phase_is_done_or_answered_with_what_is_possible() {
    check(Held::Free);
}

#[test]
fn frozen_no_verb_moves_forward_and_every_other_works() {
    check(Held::Frozen);
}

#[test]
fn outside_of_the_window_no_verb_moves_forward_and_every_other_works() {
    check(Held::Shut);
}

#[test]
fn refusals_name_what_is_possible_and_nothing_else() {
    let cells = cells();
    let mut wrong = Vec::new();
    for held in [Held::Free, Held::Frozen, Held::Shut] {
        let (serin, _backends) = brought(&cells, held);
        for cell in cells.iter().filter(|cell| cell.expected == "-" || cell.is_held(held)) {
            let detail = say(&serin, cell, cell.verb).problem(409)["detail"].to_string();
            wrong.extend(wrong_words(&cells, cell, held, detail.trim_matches('"')));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
