//! Flags as a configuration has them, in YAML.

use std::fmt::Write;

use serde_json::Value as Json;

use super::cohorts::NOT_BLANK_TEXT;
use super::flag::{Cohort, Flag, To};
use crate::route::{Comparison, Condition, FieldTest, VersionPart};

/// The section `flags:`; flags that were left out are named in comments.
pub(super) fn flags(flags: &[(&str, Option<Flag>)]) -> String {
    let mut out = String::new();
    if flags.iter().all(|(_, flag)| flag.is_none()) {
        out.push_str("flags: []\n");
    } else {
        out.push_str("flags:\n");
    }
    for (key, flag) in flags {
        match flag {
            Some(flag) => write_flag(&mut out, flag),
            None => line(
                &mut out,
                &format!("# {}: left out, since it could not be converted.", key.escape_debug()),
            ),
        }
    }
    out
}

fn write_flag(out: &mut String, flag: &Flag) {
    line(out, &format!("- name: {}", text(&flag.name)));
    if flag.moves_users {
        line(
            out,
            "  # Shares are those of flagd, but not the users: flagd does not hash the flag's key there.",
        );
    }
    if let Some(attribute) = &flag.key {
        line(out, &format!("  key: {{ attribute: {} }}", text(attribute)));
    }
    if !flag.salt.is_empty() {
        line(out, &format!("  salt: {}", text(&flag.salt)));
    }
    if !flag.enabled {
        line(
            out,
            "  # flagd lets applications use the default in their code; here all get defaultVariant: is it the one that means off?",
        );
        line(out, "  enabled: false");
    }
    for (key, time) in [("enableAt", flag.times.enable_at), ("disableAt", flag.times.disable_at)] {
        if let Some(time) = time {
            line(out, &format!("  {key}: {time}"));
        }
    }
    if let Some(default) = &flag.default {
        line(out, &format!("  defaultVariant: {}", text(default)));
    }
    line(out, "  variants:");
    for (name, weight, value) in &flag.variants {
        line(
            out,
            &format!(
                "  - {{ name: {}, weight: {weight}, value: {} }}",
                text(name),
                json(value)
            ),
        );
    }
    if !flag.cohorts.is_empty() {
        line(out, "  cohorts:");
    }
    for cohort in &flag.cohorts {
        write_cohort(out, cohort);
    }
}

fn write_cohort(out: &mut String, cohort: &Cohort) {
    let why = cohort.why.map_or_else(String::new, |why| format!("   # {why}"));
    line(out, &format!("  - name: {}{why}", text(&cohort.name)));
    line(out, "    attributes:");
    for condition in &cohort.conditions {
        let is_lenient = condition.negated && matches!(condition.test, FieldTest::Number(..));
        let why = if is_lenient {
            "   # also without any, which flagd takes for 0"
        } else {
            ""
        };
        line(out, &format!("    - {}{why}", condition_text(condition)));
    }
    match &cohort.to {
        To::Variant(variant) => line(out, &format!("    variant: {}", text(variant))),
        To::Fractional(weights) => {
            let weights: Vec<String> = weights
                .iter()
                .map(|(name, weight)| format!("{}: {weight}", text(name)))
                .collect();
            line(out, &format!("    fractional: {{ {} }}", weights.join(", ")));
        }
    }
}

/// `{ name: email, suffix: "@example.com" }`
fn condition_text(condition: &Condition) -> String {
    let test = match &condition.test {
        FieldTest::Present(wanted) => {
            let present = *wanted != condition.negated;
            return format!("{{ name: {}, present: {present} }}", text(&condition.name));
        }
        FieldTest::Exact(value) => format!("exact: {}", text(value)),
        FieldTest::Prefix(value) => format!("prefix: {}", text(value)),
        FieldTest::Suffix(value) => format!("suffix: {}", text(value)),
        FieldTest::Contains(value) => format!("contains: {}", text(value)),
        // The only expression that this module makes.
        FieldTest::Regex(_) => format!("regex: {}", text(NOT_BLANK_TEXT)),
        FieldTest::OneOf(values) => {
            let values: Vec<String> = values.iter().map(|value| text(value)).collect();
            format!("oneOf: [{}]", values.join(", "))
        }
        FieldTest::Number(comparison, number) => format!("{}: {number}", number_word(*comparison)),
        FieldTest::Version(comparison, version) => {
            format!("semVer: {}", text(&format!("{}{version}", sign(*comparison))))
        }
        FieldTest::VersionLike(VersionPart::Major, version) => format!("semVer: {}", text(&format!("^{version}"))),
        FieldTest::VersionLike(VersionPart::Minor, version) => format!("semVer: {}", text(&format!("~{version}"))),
    };
    let not = if condition.negated { ", not: true" } else { "" };
    format!("{{ name: {}, {test}{not} }}", text(&condition.name))
}

/// Equality of numbers has no word of its own, and is written as one of the texts that numbers have.
const fn number_word(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "lessThan",
        Comparison::LessOrEqual => "lessOrEqual",
        Comparison::Greater => "greaterThan",
        Comparison::GreaterOrEqual => "greaterOrEqual",
        Comparison::Equal | Comparison::NotEqual => "exact",
    }
}

const fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// A value as JSON writes it, which YAML reads alike.
fn json(value: &Json) -> String {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(value) => quoted(value),
        Json::Array(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", ")),
        Json::Object(members) if members.is_empty() => "{}".to_owned(),
        Json::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", quoted_name(name), json(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

/// A text: bare where nobody could take it for anything else.
fn text(value: &str) -> String {
    let is_word = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word));
    if is_word && !means_more {
        value.to_owned()
    } else {
        quoted(value)
    }
}

/// In a configuration `$` begins a variable of the environment, and two of them are a dollar sign.
fn quoted(value: &str) -> String {
    quoted_name(&value.replace('$', "$$"))
}

/// Names of members are not expanded.
fn quoted_name(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            ' ' => out.push(' '),
            // Whatever cannot be seen, or breaks a line for some readers.
            c if c.is_control() || c.is_whitespace() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{quoted_name, text};

    #[test]
    fn only_plain_words_are_bare() {
        let check = |value: &str, expected: &str| assert_eq!(text(value), expected, "{value}");
        check("stable", "stable");
        check("a-1.b_c", "a-1.b_c");
        check("off", "\"off\"");
        check("True", "\"True\"");
        check("1", "\"1\"");
        check("", "\"\"");
        check("a b", "\"a b\"");
        check("a: b # c", "\"a: b # c\"");
        check("${HOME}", "\"$${HOME}\"");
        check("a\"\\\n\t\u{85}\u{2028}", "\"a\\\"\\\\\\n\\u0009\\u0085\\u2028\"");
        check("h\u{e9}", "\"h\u{e9}\"");
        assert_eq!(quoted_name("a$b"), "\"a$b\"");
    }
}
