//! Why a flag answers what it answers, in figures and in words: for the person who asks why they see what they see.

mod unmet;

pub use unmet::Unmet;

use crate::name::Name;
use crate::route::{Decision, Facts, Flag, FlagId, KeyFallback, KeySource, KeySpec, Prerequisite, Table, Why};
use crate::share::MILLION;

/// A flag's answer to somebody, and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation<'t> {
    /// What it answers.
    pub decision: Decision,
    /// The variant's name.
    pub variant: &'t Name,
    /// What the variant means to applications; `None`: its name.
    pub value: Option<&'t serde_json::Value>,
    /// The route whose split the flag is.
    pub route: Option<&'t Name>,
    /// The cohort that decided.
    pub cohort: Option<&'t Name>,
    /// What OpenFeature calls it.
    pub reason: &'static str,
    /// The key that was seen; what is no UTF-8 in it is replaced.
    pub key: Option<String>,
    /// What decided, in a sentence without a full stop.
    pub why: String,
    /// The flags that it asks before anything else, up to the first that does not answer as it must.
    pub prerequisites: Vec<Asked<'t>>,
    /// The cohorts in the order in which they were tried, up to the one that decided.
    pub cohorts: Vec<Tried<'t>>,
}

/// Another flag that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'t> {
    /// How it is called.
    pub flag: &'t Name,
    /// The variant that it must answer.
    pub wanted: &'t Name,
    /// The variant that it answers.
    pub answered: &'t Name,
}

/// A cohort that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried<'t> {
    /// Its name.
    pub name: &'t Name,
    /// What came of it.
    pub outcome: Outcome<'t>,
}

/// What came of trying a cohort.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome<'t> {
    /// It decided.
    Matched,
    /// This is the first of what it asks that is not so.
    Unmet(Unmet<'t>),
}

/// Why the flag at `id` answers what it answers to who asks. It decides as [`Table::decide`] does, which it asks.
///
/// # Panics
/// When the table has no such flag.
#[must_use]
pub fn explain<'t>(table: &'t Table, id: FlagId, facts: &impl Facts, draw: u64) -> Explanation<'t> {
    let flag = table.flag(id);
    let decision = table.decide(flag, facts, draw);
    let seen = flag.rule.as_ref().and_then(|rule| rule.spec().key_of(facts));
    let draw = decision.draw_of_others(draw);
    let ask = |prerequisite: &Prerequisite| {
        let other = table.flag(prerequisite.flag);
        Asked {
            flag: &other.key,
            wanted: &other.names[prerequisite.variant],
            answered: &other.names[table.decide(other, facts, draw).variant],
        }
    };
    let (tried, cohort) = match decision.why {
        Why::Disabled | Why::Prerequisite(_) => (0, None),
        Why::Cohort(cohort) => (cohort + 1, Some(cohort)),
        Why::Split => (flag.cohorts.len(), None),
    };
    let cohorts: Vec<_> = flag.cohorts[..tried]
        .iter()
        .enumerate()
        .map(|(at, one)| Tried {
            name: &one.name,
            outcome: match one.missing(facts, seen.as_ref()) {
                _ if cohort == Some(at) => Outcome::Matched,
                Some(missing) => Outcome::Unmet(Unmet::of(missing, facts, seen.is_some())),
                None => {
                    let unmet = one.prerequisites.iter().map(ask).find(|asked| !asked.is_met());
                    unmet.map_or(Outcome::Matched, |unmet| Outcome::Unmet(Unmet::Flag(unmet)))
                }
            },
        })
        .collect();
    let asked = match decision.why {
        Why::Disabled => 0,
        Why::Prerequisite(unmet) => unmet + 1,
        Why::Cohort(_) | Why::Split => flag.prerequisites.len(),
    };
    let prerequisites: Vec<_> = flag.prerequisites[..asked].iter().map(ask).collect();
    Explanation {
        variant: &flag.names[decision.variant],
        value: flag.values.as_ref().map(|values| &values[decision.variant]),
        route: match id {
            FlagId::Route(route) => Some(&table.routes[route].name),
            FlagId::Own(_) => None,
        },
        cohort: cohort.map(|cohort| &flag.cohorts[cohort].name),
        reason: super::reason(flag, &decision),
        why: why(flag, &decision, seen.is_some(), &prerequisites),
        key: seen.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned()),
        prerequisites,
        cohorts,
        decision,
    }
}

impl Asked<'_> {
    /// Whether it answers as it must.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.wanted == self.answered
    }

    /// How it differs.
    fn in_words(&self) -> String {
        format!("flag {} answers {} and not {}", self.flag, self.answered, self.wanted)
    }
}

fn why(flag: &Flag, decision: &Decision, has_key: bool, prerequisites: &[Asked<'_>]) -> String {
    let variant = &flag.names[decision.variant];
    match decision.why {
        Why::Disabled => format!("the flag is off: everybody gets {variant}"),
        Why::Prerequisite(_) => {
            let unmet = prerequisites.last().map_or_else(String::new, Asked::in_words);
            format!("{unmet}: {variant} is the default")
        }
        Why::Cohort(cohort) => {
            let cohort = &flag.cohorts[cohort];
            let part = if cohort.divides() {
                format!(", {}", place(flag, decision, has_key))
            } else {
                String::new()
            };
            format!("cohort {}: {variant}{part}", cohort.name)
        }
        Why::Split if flag.split.is_whole() => format!("{variant} has all the weight"),
        Why::Split => {
            let from: u32 = (0..decision.variant).map(|before| flag.split.share_ppm(before)).sum();
            let end = from + flag.split.share_ppm(decision.variant);
            format!(
                "{}, which lies in the part of {variant}, {} to {} of {}",
                place(flag, decision, has_key),
                grouped(from),
                grouped(end - 1),
                grouped(MILLION)
            )
        }
    }
}

/// Where the bucket is from, and which.
fn place(flag: &Flag, decision: &Decision, has_key: bool) -> String {
    let bucket = grouped(decision.bucket);
    match &flag.rule {
        Some(rule) if has_key => format!("{} has bucket {bucket}", key_words(rule.spec())),
        _ if decision.hash.is_some() => format!("the sticky cookie has bucket {bucket}"),
        Some(rule) => format!(
            "{} is not there, and chance drew bucket {bucket}",
            key_words(rule.spec())
        ),
        None => format!("chance drew bucket {bucket}"),
    }
}

/// What a flag goes by, as part of a sentence: `the header x-user-id`, or `the header x-user-id, or else the client
/// address`.
#[must_use]
pub fn key_in_words(spec: &KeySpec) -> String {
    let place = source(&spec.source);
    match spec.fallback {
        KeyFallback::ClientIp if spec.source != KeySource::ClientIp => format!("{place}, or else the client address"),
        KeyFallback::ClientIp | KeyFallback::FreshDraw => place,
    }
}

/// The same in the midst of a sentence.
fn key_words(spec: &KeySpec) -> String {
    let words = key_in_words(spec);
    let comma = if words.contains(", ") { "," } else { "" };
    words + comma
}

fn source(source: &KeySource) -> String {
    match source {
        KeySource::Header(name) => format!("the header {name}"),
        KeySource::Cookie(name) => format!("the cookie {name}"),
        KeySource::Query(name) => format!("the parameter {name}"),
        KeySource::Claim(name) => format!("the claim {name}"),
        KeySource::ClientCertificate => "the client certificate".to_owned(),
        KeySource::ClientIp => "the client address".to_owned(),
        KeySource::Attribute(name) => format!("the attribute {name}"),
        KeySource::TargetingKey => "the targeting key".to_owned(),
    }
}

/// Digits in groups of three.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
