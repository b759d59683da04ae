//! Bodies with `{{placeholders}}`: which there are, and how they are filled in. Pure.
//!
//! A filled template is JSON: a value stands within quotes and is escaped for them, so that
//! `"text": "{{rollout}}: {{reason}}"` stays whole whatever the reason says.

/// What may stand between `{{` and `}}`.
pub const PLACEHOLDERS: [&str; 15] = [
    "rollout",
    "route",
    "environment",
    "what",
    "severity",
    "title",
    "reason",
    "release",
    "from",
    "to",
    "by",
    "time",
    "generation",
    "dedupKey",
    "leftOut",
];
/// Bytes of the longest template.
pub const BYTES_MAX: usize = 16 << 10;

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Placeholder(&'t str),
}

/// Whether `text` is a template that can be filled: every placeholder is known and closed, and what comes
/// out is JSON.
///
/// # Errors
/// What is wrong, and how to mend it.
pub fn check(text: &str) -> Result<(), String> {
    if text.len() > BYTES_MAX {
        return Err(format!("has {} bytes; give at most {BYTES_MAX}", text.len()));
    }
    for piece in pieces(text)? {
        if let Piece::Placeholder(name) = piece
            && !PLACEHOLDERS.contains(&name)
        {
            let name: String = name.chars().take(40).flat_map(char::escape_debug).collect();
            let known = PLACEHOLDERS.join(", ");
            return Err(format!("knows no placeholder `{name}`; there are {known}"));
        }
    }
    let sample = fill(text, |name| match name {
        "generation" | "leftOut" => "1".to_owned(),
        _ => "x".to_owned(),
    });
    let parsed = serde_json::from_str::<serde_json::Value>(&sample);
    parsed.map_err(|error| format!("is no JSON once it is filled in: {error}; put placeholders within quotes"))?;
    Ok(())
}

/// `text` with every placeholder replaced by its value, escaped for a JSON string. A text that [`check`]
/// refuses comes back as it is.
#[must_use]
pub fn fill(text: &str, value: impl Fn(&str) -> String) -> String {
    let Ok(pieces) = pieces(text) else {
        return text.to_owned();
    };
    let mut filled = String::with_capacity(text.len() * 2);
    for piece in pieces {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Placeholder(name) => {
                let quoted = serde_json::Value::String(value(name)).to_string();
                filled.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
    }
    filled
}

fn pieces(mut text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    while let Some((before, rest)) = text.split_once("{{") {
        let (name, rest) = rest
            .split_once("}}")
            .ok_or("has `{{` without `}}`; close the placeholder")?;
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Placeholder(name.trim()));
        text = rest;
    }
    pieces.push(Piece::Text(text));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_is_checked() {
        let test = |text: &str, expected: &str| {
            let found = check(text).err().unwrap_or_default();
            assert!(
                found.starts_with(expected) && found.is_empty() == expected.is_empty(),
                "{text}: {found}"
            );
        };
        test("{}", "");
        test(
            r#"{"text":"{{rollout}} {{ what }}: {{reason}}","g":{{generation}},"nested":{"a":{"b":1}}}"#,
            "",
        );
        test(
            r#"{"text":"{{reasn}}"}"#,
            "knows no placeholder `reasn`; there are rollout, ",
        );
        test(r#"{"text":"{{}}"}"#, "knows no placeholder ``");
        test(r#"{"text":"{{reason}"}"#, "has `{{` without `}}`");
        test(r#"{"text":{{reason}}}"#, "is no JSON once it is filled in");
        test("payload", "is no JSON once it is filled in");
        test(&" ".repeat(BYTES_MAX + 1), "has 16385 bytes");
    }

    #[test]
    fn values_are_filled_in() {
        let value = |name: &str| format!("<{name}> \"quoted\"\n");
        assert_eq!(
            fill(r#"{"a":"{{what}}","b":"{{ to }}"}"#, value),
            r#"{"a":"<what> \"quoted\"\n","b":"<to> \"quoted\"\n"}"#
        );
        assert_eq!(fill("{{what", value), "{{what");
    }

    proptest! {
        #[test]
        fn no_value_breaks_out_of_its_quotes(value in ".*") {
            let filled = fill(r#"{"text":"{{reason}}"}"#, |_| value.clone());
            let json: serde_json::Value = serde_json::from_str(&filled).unwrap();
            prop_assert_eq!(json["text"].as_str(), Some(&*value));
        }

        #[test]
        fn nothing_makes_it_panic(text in ".*") {
            let _ = check(&text);
            let _ = fill(&text, |_| String::new());
        }
    }
}
