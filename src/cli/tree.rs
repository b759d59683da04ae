//! A rollout as a picture: where it stands, its two sides with their figures, and its steps as a tree.

use serde_json::Value;

use super::table::Table;
use super::text::{afterwards, baked, items, judgement, one_line, percent, span, step, waiting, word};

/// What a part of a line says by its colour, where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Nothing.
    Plain,
    /// It goes well.
    Good,
    /// It went wrong.
    Bad,
    /// Something is waited for.
    Waits,
    /// It does not matter now.
    Faint,
}

/// One line, in parts of one colour each.
pub(super) type Line = Vec<(Colour, String)>;

/// Steps of one part of the file's list.
struct Part<'s> {
    steps: &'s [Value],
    /// Index of its first step in the whole plan.
    first: usize,
}

/// `GET /v1/rollouts/{rollout}`, with `GET /v1/routes/{route}` where it is at hand.
pub(super) fn tree(rollout: &Value, route: Option<&Value>) -> Vec<Line> {
    let mut lines = head(rollout);
    if let Some(route) = route {
        lines.push(Vec::new());
        lines.extend(variants(rollout, route).lines().map(plain));
    }
    lines.push(Vec::new());
    lines.extend(steps(rollout));
    lines
}

/// What makes a picture another one: figures alone do not.
pub(super) fn changes_with(rollout: &Value) -> String {
    let keys = [
        "phase",
        "step",
        "share",
        "verdict",
        "waiting",
        "approvals",
        "frozen",
        "release",
    ];
    let last = items(&rollout["history"]).last().map(|event| &event["id"]);
    let parts = keys.iter().map(|key| &rollout[*key]).chain(last);
    parts.map(Value::to_string).collect::<Vec<_>>().join(" ")
}

fn head(rollout: &Value) -> Vec<Line> {
    let name = |key: &str| word(&rollout[key]);
    let title = format!(
        "{}: route {}, from {} to {}",
        name("name"),
        name("route"),
        name("from"),
        name("to")
    );
    let mut lines = vec![plain(&title)];
    let mut field = |label: &str, colour: Colour, text: String| {
        lines.push(vec![(Colour::Plain, format!("{label:<9}")), (colour, text)]);
    };
    let (colour, mark) = mark_of_phase(rollout["phase"].as_str());
    field(
        "phase",
        colour,
        format!("{} {mark}, since {}", name("phase"), name("since")),
    );
    let mode = match rollout["mode"] == "observe" {
        true => ", observed only: judged and reported, nothing moves by itself",
        false => "",
    };
    field("strategy", Colour::Plain, format!("{}{mode}", name("strategy")));
    field("release", Colour::Plain, name("release"));
    if !rollout["step"].is_null() {
        field("step", Colour::Plain, format!("{}{}", step(rollout), baked(rollout)));
    }
    let set = rollout["step"]
        .as_u64()
        .and_then(|step| items(&rollout["stepWeights"]).get(usize::try_from(step).ok()?));
    let set = set.map_or(String::new(), |set| format!("set to {} of the pair, ", percent(set)));
    field(
        "weight",
        Colour::Plain,
        format!("{set}now {} of the split", percent(&rollout["share"])),
    );
    for (label, line) in afterwards(rollout) {
        field(label, Colour::Plain, line);
    }
    if let Some(waiting) = waiting(rollout) {
        field("waiting", Colour::Waits, waiting);
    }
    if rollout["frozen"] == true {
        field(
            "frozen",
            Colour::Waits,
            "nothing moves forward; `serin status` says why".to_owned(),
        );
    }
    let colour = match rollout["verdict"].as_str() {
        Some("pass") => Colour::Good,
        Some("fail") => Colour::Bad,
        Some("hold") => Colour::Waits,
        _ => Colour::Plain,
    };
    for (index, line) in judgement(rollout).into_iter().enumerate() {
        // Words in a verdict's place have no colour.
        let is_verdict = index == 0 && line.starts_with(&format!("{}: ", name("verdict")));
        let label = if index == 0 { "verdict" } else { "" };
        field(label, if is_verdict { colour } else { Colour::Plain }, line);
    }
    field("reason", Colour::Plain, one_line(&rollout["reason"]));
    lines
}

fn variants(rollout: &Value, route: &Value) -> String {
    let heads = [
        "VARIANT",
        "ROLE",
        "BACKEND",
        "RELEASE",
        ">SHARE",
        ">REQUESTS",
        ">ERRORS",
        ">P99",
    ];
    let mut table = Table::new(&heads);
    for variant in items(&route["variants"]) {
        let role = match &variant["name"] {
            name if *name == rollout["from"] => "stable",
            name if *name == rollout["to"] => "canary",
            _ => "-",
        };
        table.row(vec![
            word(&variant["name"]),
            role.to_owned(),
            word(&variant["backend"]),
            word(&variant["release"]),
            percent(&variant["share"]),
            word(&variant["requests"]),
            percent(&variant["errorRate"]),
            span(&variant["p99"]),
        ]);
    }
    table.render()
}

fn steps(rollout: &Value) -> Vec<Line> {
    let parts = parts(items(&rollout["plan"]));
    if parts.is_empty() {
        return vec![plain(
            "no steps: weights come from people and the file, and are watched",
        )];
    }
    let mut lines = vec![plain("STEPS")];
    for (index, part) in parts.iter().enumerate() {
        let (branch, below) = match index + 1 == parts.len() {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        let (colour, mark) = part.mark();
        lines.push(vec![
            (Colour::Faint, branch.to_owned()),
            (colour, format!("{mark} {}", part.words())),
        ]);
        if part.current().is_some() {
            for approval in items(&rollout["approvals"]) {
                lines.push(vec![
                    (Colour::Faint, format!("{below}└─ ")),
                    (Colour::Good, format!("✔ {}", approval_words(approval))),
                ]);
            }
        }
    }
    lines
}

/// Consecutive steps that come of one part of the file's list.
fn parts(steps: &[Value]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut first = 0;
    for end in 1..=steps.len() {
        let same = |step: &Value| step["part"].is_u64() && step["part"] == steps[first]["part"];
        if !steps.get(end).is_some_and(same) {
            parts.push(Part {
                steps: &steps[first..end],
                first,
            });
            first = end;
        }
    }
    parts
}

impl Part<'_> {
    /// The step that is in force, or that the rollout was aborted in.
    fn current(&self) -> Option<usize> {
        let at = |step: &Value| step["state"] == "current" || step["state"] == "failed";
        self.steps.iter().position(at)
    }

    fn mark(&self) -> (Colour, &'static str) {
        if self.steps.iter().any(|step| step["state"] == "failed") {
            (Colour::Bad, "✖")
        } else if self.current().is_some() {
            (Colour::Waits, "●")
        } else if self.steps.iter().all(|step| step["state"] == "done") {
            (Colour::Good, "✔")
        } else {
            (Colour::Faint, "○")
        }
    }

    /// `2: 5 % to 50 %, step 4 of 30`; people count from 1.
    fn words(&self) -> String {
        let (first, last) = (&self.steps[0], &self.steps[self.steps.len() - 1]);
        let at = self.current();
        let shown = at.map_or(first, |at| &self.steps[at]);
        let mut words = format!("{}: ", self.first + 1);
        words.push_str(&percent(&first["weight"]));
        if first["weight"] != last["weight"] {
            words.push_str(&format!(" to {}", percent(&last["weight"])));
        }
        let one_kind = self.steps.iter().all(|step| step["kind"] == first["kind"]);
        if at.is_some() || one_kind {
            words.push_str(match shown["kind"].as_str() {
                Some("approvals") => ", approvals",
                Some("pause") => ", pause",
                Some("window") => ", window",
                Some("webhook") => ", webhook",
                Some("smoke") => ", smoke test",
                Some("drain") => ", draining",
                _ => "",
            });
        }
        match (at, self.steps.len()) {
            (_, 1) => {}
            (Some(at), of) => words.push_str(&format!(", {} of {of}", at + 1)),
            (None, of) => words.push_str(&format!(", {of} steps")),
        }
        words
    }
}

/// `ann (sre): looks well`
fn approval_words(approval: &Value) -> String {
    let roles: Vec<String> = items(&approval["roles"]).iter().map(word).collect();
    let roles = match roles.is_empty() {
        true => String::new(),
        false => format!(" ({})", roles.join(", ")),
    };
    let reason = match approval["reason"].as_str() {
        None | Some("") => String::new(),
        Some(_) => format!(": {}", one_line(&approval["reason"])),
    };
    format!("{}{roles}{reason}", word(&approval["by"]))
}

const fn mark_of_phase(phase: Option<&str>) -> (Colour, &'static str) {
    let Some(phase) = phase else {
        return (Colour::Plain, "?");
    };
    match phase.as_bytes() {
        b"succeeded" => (Colour::Good, "✔"),
        b"aborted" => (Colour::Bad, "✖"),
        b"paused" => (Colour::Waits, "‖"),
        b"progressing" | b"promoting" => (Colour::Waits, "●"),
        _ => (Colour::Plain, "○"),
    }
}

fn plain(text: &str) -> Line {
    vec![(Colour::Plain, text.to_owned())]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{changes_with, parts, steps, tree};

    /// The words of each line.
    fn words(lines: Vec<super::Line>) -> Vec<String> {
        let line = |line: super::Line| line.into_iter().map(|(_, text)| text).collect::<String>();
        lines.into_iter().map(line).collect()
    }

    fn trial() -> Value {
        json!({"name": "checkout", "route": "checkout", "from": "stable", "to": "canary", "mode": "act",
            "phase": "progressing", "strategy": "canary", "release": "v1.5.0",
            "step": 1, "steps": 3, "stepWeights": [0.05, 0.25, 1.0], "since": "2026-11-21T12:00:13.042Z",
            "bakedSeconds": 1.5, "bakeSeconds": 7200.0, "share": 0.2, "verdict": "pass",
            "verdictReason": "errorRate 0.4 %", "evidence": {"windowSeconds": 1.5,
            "canary": {"requests": 1000, "failures": 4, "errorRate": 0.004}, "stable": null},
            "waiting": "1 of 2 approvals", "frozen": true,
            "approvals": [{"by": "ann", "roles": ["sre"], "reason": "looks\u{1b}[2J well"}],
            "plan": [{"weight": 0.05, "kind": "evidence", "part": 0, "state": "done"},
                {"weight": 0.25, "kind": "approvals", "part": 1, "state": "current"},
                {"weight": 1.0, "kind": "evidence", "part": 2, "state": "ahead"}],
            "reason": "step 2 of 3", "history": [{"id": 7}]})
    }

    #[test]
    fn a_rollout_is_drawn_with_its_sides_and_steps() {
        let route = json!({"variants": [
            {"name": "stable", "backend": "v1", "release": null, "share": 0.8, "requests": 4000, "errorRate": 0.001,
             "p99": 0.02},
            {"name": "canary", "backend": "v2", "release": "v1.5.0", "share": 0.2, "requests": 1000,
             "errorRate": 0.004, "p99": 0.025}]});
        let expected = [
            "checkout: route checkout, from stable to canary",
            "phase    progressing ●, since 2026-11-21T12:00:13.042Z",
            "strategy canary",
            "release  v1.5.0",
            "step     2 of 3 (25 %), baked 1.5 s of 2h00m",
            "weight   set to 25 % of the pair, now 20 % of the split",
            "waiting  1 of 2 approvals",
            "frozen   nothing moves forward; `serin status` says why",
            "verdict  pass: errorRate 0.4 %",
            "         canary: 4 of 1000 failed (0.4 %) in 1.5 s",
            "reason   step 2 of 3",
            "",
            "VARIANT  ROLE    BACKEND  RELEASE  SHARE  REQUESTS  ERRORS    P99",
            "stable   stable  v1       -         80 %      4000   0.1 %  20 ms",
            "canary   canary  v2       v1.5.0    20 %      1000   0.4 %  25 ms",
            "",
            "STEPS",
            "├─ ✔ 1: 5 %",
            "├─ ● 2: 25 %, approvals",
            "│  └─ ✔ ann (sre): looks [2J well",
            "└─ ○ 3: 100 %",
        ];
        assert_eq!(words(tree(&trial(), Some(&route))), expected);
    }

    #[test]
    fn steps_of_one_part_are_one_branch() {
        let step = |weight: f64, kind: &str, part: u64, state: &str| json!({"weight": weight, "kind": kind, "part": part, "state": state});
        let check = |plan: Vec<Value>, expected: &[&str]| {
            assert_eq!(words(steps(&json!({"plan": plan, "approvals": []})))[1..], *expected);
        };
        let ramp = |states: [&str; 3]| {
            let [a, b, c] = states;
            vec![
                step(0.0, "smoke", 0, a),
                step(0.05, "evidence", 1, a),
                step(0.5, "evidence", 1, b),
                step(1.0, "evidence", 1, c),
            ]
        };
        check(
            ramp(["done", "current", "ahead"]),
            &["├─ ✔ 1: 0 %, smoke test", "└─ ● 2: 5 % to 100 %, 2 of 3"],
        );
        check(
            ramp(["ahead"; 3]),
            &["├─ ○ 1: 0 %, smoke test", "└─ ○ 2: 5 % to 100 %, 3 steps"],
        );
        check(
            ramp(["done"; 3]),
            &["├─ ✔ 1: 0 %, smoke test", "└─ ✔ 2: 5 % to 100 %, 3 steps"],
        );
        check(
            ramp(["done", "failed", "ahead"]),
            &["├─ ✔ 1: 0 %, smoke test", "└─ ✖ 2: 5 % to 100 %, 2 of 3"],
        );
        // A batch: out of the rotation, then in.
        check(
            vec![step(0.0, "drain", 0, "current"), step(0.5, "evidence", 0, "ahead")],
            &["└─ ● 1: 0 % to 50 %, draining, 1 of 2"],
        );
        // An older Serin tells no parts.
        assert_eq!(parts(&[json!({"weight": 1}), json!({"weight": 2})]).len(), 2);
        assert_eq!(words(steps(&json!({"plan": []}))).len(), 1);
    }

    #[test]
    fn figures_alone_are_no_change() {
        let one = trial();
        let mut two = trial();
        two["bakedSeconds"] = json!(3);
        two["verdictReason"] = json!("errorRate 0.3 %");
        assert_eq!(changes_with(&one), changes_with(&two));
        for (key, value) in [
            ("phase", json!("paused")),
            ("frozen", json!(false)),
            ("history", json!([{"id": 8}])),
        ] {
            let mut two = trial();
            two[key] = value;
            assert_ne!(changes_with(&one), changes_with(&two), "{key}");
        }
    }

    #[test]
    fn nonsense_is_drawn_all_the_same() {
        for value in [
            json!(null),
            json!({"plan": 1}),
            json!({"plan": [1], "step": 99}),
            json!([]),
        ] {
            assert!(!tree(&value, Some(&value)).is_empty());
        }
    }
}
