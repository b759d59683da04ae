//! What kept somebody out of a cohort, in words that tell no secret.

use std::net::IpAddr;

use super::Asked;
use crate::route::{Comparison, Condition, Facts, FieldTest, Missing, Origin, VersionPart};

/// Values of one list that are named.
const NAMED_MAX: usize = 5;
/// Characters of a value that are shown.
const SHOWN_MAX: usize = 80;

/// The first of what a cohort asks that is not so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unmet<'t> {
    /// Another flag does not answer as it must.
    Flag(Asked<'t>),
    /// Something about who asks.
    Missing {
        /// What.
        missing: Missing<'t>,
        /// Whether there is anything where it is looked for.
        is_there: bool,
    },
}

impl<'t> Unmet<'t> {
    /// What `missing` is to who asks, with or without a key.
    pub(super) fn of(missing: Missing<'t>, facts: &impl Facts, has_key: bool) -> Self {
        let is_there = match missing {
            Missing::Host => !facts.host().is_empty(),
            Missing::Condition(condition) => facts.any(condition.origin, &condition.name, |_| true),
            Missing::Networks(_) => facts.client().is_some(),
            Missing::Secret => true,
            Missing::Keys => has_key,
        };
        Self::Missing { missing, is_there }
    }

    /// In words without a full stop. Of what the file says only values show that `is_public`: others come of
    /// variables, or are credentials. Of a secret nothing shows.
    #[must_use]
    pub fn in_words(&self, is_public: impl Fn(&str) -> bool) -> String {
        match self {
            Self::Flag(asked) => asked.in_words(),
            Self::Missing { missing, is_there } => match missing {
                Missing::Host if *is_there => "the host is not one of a preview".to_owned(),
                Missing::Host => "no host is asked for".to_owned(),
                Missing::Condition(condition) => condition_in_words(condition, *is_there, is_public),
                Missing::Networks(networks) if *is_there => match list(networks.iter().map(network), is_public) {
                    Some(networks) => format!("the client address is not in {networks}"),
                    None => "the client address is in none of its networks".to_owned(),
                },
                Missing::Networks(_) => "the client address is not known".to_owned(),
                Missing::Secret => "its secret is not given".to_owned(),
                Missing::Keys if *is_there => "the key is not in its list".to_owned(),
                Missing::Keys => "there is no key".to_owned(),
            },
        }
    }
}

fn condition_in_words(condition: &Condition, is_there: bool, is_public: impl Fn(&str) -> bool) -> String {
    let place = place(condition);
    let negated = condition.negated;
    if let FieldTest::Present(_) = condition.test {
        return format!("{place} is {}there", if is_there { "" } else { "not " });
    }
    if !is_there {
        return format!("{place} is not there");
    }
    // What must not be so is so, and the other way round.
    let is = if negated { "is" } else { "is not" };
    let verb = |does: &str, does_not: &str| {
        if negated {
            does.to_owned()
        } else {
            format!("does not {does_not}")
        }
    };
    let said = match &condition.test {
        FieldTest::Exact(text) => value(text, &is_public).map(|text| format!("{is} {text}")),
        FieldTest::Prefix(text) => {
            value(text, &is_public).map(|text| format!("{} {text}", verb("begins with", "begin with")))
        }
        FieldTest::Suffix(text) => value(text, &is_public).map(|text| format!("{} {text}", verb("ends in", "end in"))),
        FieldTest::Contains(text) => {
            value(text, &is_public).map(|text| format!("{} {text}", verb("contains", "contain")))
        }
        FieldTest::Regex(regex) => {
            let anchored = regex.as_str();
            let written = anchored.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$"));
            value(written.unwrap_or(anchored), &is_public).map(|text| format!("{} {text}", verb("matches", "match")))
        }
        FieldTest::OneOf(texts) => list(texts.iter().cloned(), is_public)
            .map(|texts| format!("{} {texts}", if negated { "is one of" } else { "is none of" })),
        FieldTest::Number(comparison, number) => {
            value(&number.to_string(), &is_public).map(|number| format!("{is} a number {} {number}", sign(*comparison)))
        }
        FieldTest::Version(comparison, version) => value(&version.to_string(), &is_public)
            .map(|version| format!("{is} a version {} {version}", sign(*comparison))),
        FieldTest::VersionLike(part, version) => {
            let sign = match part {
                VersionPart::Major => '^',
                VersionPart::Minor => '~',
            };
            value(&version.to_string(), &is_public).map(|version| format!("{is} a version {sign}{version}"))
        }
        FieldTest::Present(_) => None,
    };
    let hidden = if negated {
        "is what it must not be"
    } else {
        "is not what it must be"
    };
    format!("{place} {}", said.as_deref().unwrap_or(hidden))
}

fn place(condition: &Condition) -> String {
    let name = &condition.name;
    match condition.origin {
        Origin::Header => format!("the header {name}"),
        Origin::Cookie => format!("the cookie {name}"),
        Origin::Query => format!("the parameter {name}"),
        Origin::Claim => format!("the claim {name}"),
        Origin::ClientCertificate => "the client certificate".to_owned(),
        Origin::Attribute => format!("the attribute {name}"),
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn network((address, bits): &(IpAddr, u8)) -> String {
    let whole = if address.is_ipv4() { 32 } else { 128 };
    match *bits == whole {
        true => address.to_string(),
        false => format!("{address}/{bits}"),
    }
}

/// As it may be shown.
fn value(text: &str, is_public: impl Fn(&str) -> bool) -> Option<String> {
    if !is_public(text) {
        return None;
    }
    if text.is_empty() {
        return Some("empty".to_owned());
    }
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Some(shown)
}

/// The first values of a list; `None`: not all of them may be shown.
fn list(values: impl ExactSizeIterator<Item = String>, is_public: impl Fn(&str) -> bool) -> Option<String> {
    let more = values.len().saturating_sub(NAMED_MAX);
    let named: Option<Vec<_>> = values.take(NAMED_MAX).map(|text| value(&text, &is_public)).collect();
    let named = named?.join(", ");
    Some(match more {
        0 => named,
        more => format!("{named} and {more} more"),
    })
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::Unmet;
    use crate::route::{Comparison, Condition, FieldTest, Missing, Origin, VersionPart};

    #[track_caller]
    fn check(test: FieldTest, negated: bool, expected: &str) {
        let condition = Condition {
            origin: Origin::Header,
            name: "x-beta".to_owned(),
            test,
            negated,
        };
        let of = |is_there| Unmet::Missing {
            missing: Missing::Condition(&condition),
            is_there,
        };
        let words = of(true).in_words(|text| text != "hunter2");
        assert_eq!(words, format!("the header x-beta {expected}"));
        assert_eq!(of(false).in_words(|_| true), "the header x-beta is not there");
    }

    fn version() -> semver::Version {
        semver::Version::new(2, 3, 0)
    }

    #[test]
    fn a_condition_that_does_not_hold_is_named() {
        check(FieldTest::Exact("1".into()), false, "is not 1");
        check(FieldTest::Exact("1".into()), true, "is 1");
        check(FieldTest::Exact(String::new()), false, "is not empty");
        check(FieldTest::Prefix("a".into()), false, "does not begin with a");
        check(FieldTest::Suffix("a".into()), true, "ends in a");
        check(FieldTest::Contains("a".into()), true, "contains a");
        let regex = Regex::new("^(?:a|b)$").unwrap();
        check(FieldTest::Regex(regex), false, "does not match a|b");
        let many = ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned);
        check(
            FieldTest::OneOf(many.to_vec()),
            false,
            "is none of a, b, c, d, e and 2 more",
        );
        check(FieldTest::OneOf(many[..2].to_vec()), true, "is one of a, b");
        check(FieldTest::Number(Comparison::Less, 18.0), false, "is not a number < 18");
        let at_least = FieldTest::Version(Comparison::GreaterOrEqual, version());
        check(at_least, false, "is not a version >= 2.3.0");
        let like = FieldTest::VersionLike(VersionPart::Major, version());
        check(like, true, "is a version ^2.3.0");
        check(FieldTest::Present(false), false, "is there");
    }

    #[test]
    fn what_must_not_be_shown_is_not() {
        let hidden = || "hunter2".to_owned();
        check(FieldTest::Exact(hidden()), false, "is not what it must be");
        check(FieldTest::Prefix(hidden()), true, "is what it must not be");
        check(
            FieldTest::OneOf(vec!["a".into(), hidden()]),
            false,
            "is not what it must be",
        );
    }

    #[test]
    fn networks_keys_hosts_and_secrets_are_named() {
        let networks = [("10.0.0.0".parse().unwrap(), 8), ("192.0.2.7".parse().unwrap(), 32)];
        let check = |missing: Missing<'_>, is_there: bool, expected: &str| {
            let words = Unmet::Missing { missing, is_there }.in_words(|text| text.starts_with('1'));
            assert_eq!(words, expected);
        };
        let known = Missing::Networks(&networks);
        check(known, true, "the client address is not in 10.0.0.0/8, 192.0.2.7");
        check(known, false, "the client address is not known");
        let hidden = [("fd00::".parse().unwrap(), 8)];
        check(
            Missing::Networks(&hidden),
            true,
            "the client address is in none of its networks",
        );
        check(Missing::Secret, true, "its secret is not given");
        check(Missing::Keys, true, "the key is not in its list");
        check(Missing::Keys, false, "there is no key");
        check(Missing::Host, true, "the host is not one of a preview");
    }
}
