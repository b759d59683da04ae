//! Configuration files: every problem has a place, and what is shown of a good file is the same file.

use std::path::Path;

use serin::config::{Problems, Spec, load, shown, tokens};

/// One text as a configuration, and as a file of tokens.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    // A fuzzer that traces comparisons finds the word, and writes it where anybody may read it.
    if text.contains(SECRET) {
        return;
    }
    let json = shown(text);
    let parsed: serde_json::Value = serde_json::from_str(&json).expect("what is shown is JSON");
    check_problems(text, read(text).as_ref().err());
    if let Ok(spec) = read(text) {
        check_shown(&spec, &json);
        assert_eq!(parsed["version"], 1);
    }
    check_problems(text, tokens(text, Path::new(FILE)).as_ref().err());
}

/// What is shown of a good file is read as the same, unless something of it was hidden.
fn check_shown(spec: &Spec, json: &str) {
    if json.contains("<hidden>") {
        return;
    }
    let again = read(json).unwrap_or_else(|problems| panic!("what is shown is refused: {problems}"));
    assert_eq!(shown(json), json, "what is shown is shown otherwise");
    assert_eq!((&again.listeners, &again.backends), (&spec.listeners, &spec.backends));
    assert_eq!((&again.routes, &again.flags), (&spec.routes, &spec.flags));
    assert_eq!(again.rollouts.len(), spec.rollouts.len());
    // Keys of a person's own have an order, which is another in what is shown.
    let third = read(&shown(json)).expect("it was read before");
    assert_eq!(third, again);
}

fn check_problems(text: &str, problems: Option<&Problems>) {
    let Some(problems) = problems else { return };
    assert!(problems.count() > 0);
    // A carriage return alone ends a line of YAML as well (YAML 1.2.2 §5.4).
    let lines = text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    for problem in problems {
        assert!(problem.line >= 1 && problem.column >= 1, "{problem}");
        assert!(problem.line as usize <= lines, "{problem}");
        assert!(
            !problem.message.is_empty() && !problem.message.contains(SECRET),
            "{problem}"
        );
        assert!(!problem.path.contains(SECRET), "{problem}");
    }
}

fn read(text: &str) -> Result<Spec, Problems> {
    load(text, Path::new(FILE), &|name| match name {
        "S" => Some(SECRET.into()),
        "N" => Some("1".into()),
        _ => None,
    })
}

const FILE: &str = "conf/x.yaml";
/// What a variable holds.
const SECRET: &str = "s3cr3t-0f-7he-env1r0nment";
