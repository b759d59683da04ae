//! The JSON shapes of flags.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value as Json;

use super::{RolloutPhase, rfc3339};
use crate::control::{ByHandView, FlagVariantView, FlagView};
use crate::name::Name;
use crate::ofrep::{self, Explanation, Outcome};
use crate::route::{Table, Why};

/// `GET /v1/flags`
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Flags<'a> {
    pub(in crate::admin) flags: Vec<Flag<'a>>,
}

/// `GET /v1/flags/{key}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct Flag<'a> {
    key: &'a str,
    /// `null`: it is for applications alone.
    route: Option<&'a str>,
    generation: u64,
    /// Whether it is on now.
    enabled: bool,
    /// What the file says of that.
    schedule: Schedule,
    /// What a person said of that since.
    by_hand: Option<ByHand<'a>>,
    /// What keeps a user on one side, in words; `null`: each request draws anew.
    user_key: Option<String>,
    /// The cookie that keeps those without a key on one side; `null`: there is none, or the flag is off.
    sticky_cookie: Option<&'a str>,
    /// All of these, else everybody gets the default.
    prerequisites: Vec<Wanted<'a>>,
    /// The flag among them that keeps this one from being met by anybody.
    held_by: Option<&'a str>,
    default_variant: &'a str,
    variants: Vec<FlagVariant<'a>>,
    cohorts: Vec<&'a str>,
    rollout: Option<RolloutPhase<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Schedule {
    enabled: bool,
    enable_at: Option<String>,
    disable_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct ByHand<'a> {
    enabled: bool,
    by: &'a str,
    reason: &'a str,
    at: String,
}

#[derive(Debug, Serialize)]
struct Wanted<'a> {
    flag: &'a str,
    variant: &'a str,
}

#[derive(Debug, Serialize)]
struct FlagVariant<'a> {
    name: &'a str,
    /// What applications get.
    value: Json,
    weight: u32,
    share: f64,
}

/// `GET /v1/flags/{key}/evaluate`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct Evaluation<'a> {
    key: &'a str,
    route: Option<&'a str>,
    generation: u64,
    variant: &'a str,
    value: Json,
    reason: &'static str,
    /// The cohort that decided.
    cohort: Option<&'a str>,
    /// What decided, in words.
    why: &'a str,
    /// The key that keeps this user on one side.
    seen_key: Option<&'a str>,
    hash: Option<u32>,
    /// `0..1_000_000`
    bucket: u32,
    /// The next answer may be another one.
    by_chance: bool,
    /// The flags that were asked.
    prerequisites: Vec<Asked<'a>>,
    /// The cohorts that were tried, in order, and those that an abort left out among them.
    cohorts: Vec<Tried<'a>>,
}

#[derive(Debug, Serialize)]
struct Asked<'a> {
    flag: &'a str,
    wanted: &'a str,
    answered: &'a str,
}

#[derive(Debug, Serialize)]
struct Tried<'a> {
    name: &'a str,
    matched: bool,
    /// The first thing that kept it from matching, in words; `null`: it matched.
    unmet: Option<String>,
}

/// What is known of a flag beside the table that serves.
#[derive(Debug, Default)]
pub(in crate::admin) struct Beside {
    /// The cohorts of the file, in order, where an abort left some of them out of the table.
    pub(in crate::admin) cohorts: Vec<Name>,
    /// What that abort was, in words.
    pub(in crate::admin) aborted: String,
    /// The texts that the file shows to everybody who may read it.
    pub(in crate::admin) public: HashSet<String>,
}

impl<'a> Flag<'a> {
    /// What is known of a flag, also by the table that serves.
    pub(in crate::admin) fn new(view: &'a FlagView, table: &'a Table) -> Self {
        let live = table.flag_keys.find(view.key.as_str()).map(|id| table.flag(id));
        let rule = live.and_then(|flag| flag.rule.as_ref());
        Self {
            key: view.key.as_str(),
            route: view.route.as_ref().map(Name::as_str),
            generation: view.generation,
            enabled: view.enabled,
            schedule: Schedule {
                enabled: view.schedule.enabled,
                enable_at: view.schedule.enable_at_ms.map(rfc3339),
                disable_at: view.schedule.disable_at_ms.map(rfc3339),
            },
            by_hand: view.by_hand.as_ref().map(ByHand::from),
            user_key: rule.map(|rule| ofrep::key_in_words(rule.spec())),
            sticky_cookie: live.and_then(|flag| Some(flag.sticky.as_ref()?.name())),
            prerequisites: view.prerequisites.iter().map(Wanted::from).collect(),
            held_by: view.held_by.as_ref().map(Name::as_str),
            default_variant: view.default.as_str(),
            variants: view.variants.iter().map(FlagVariant::from).collect(),
            cohorts: view.cohorts.iter().map(Name::as_str).collect(),
            rollout: view.rollout.as_ref().map(|(name, phase)| RolloutPhase {
                name: name.as_str(),
                phase: phase.as_str(),
            }),
        }
    }
}

impl<'a> From<&'a ByHandView> for ByHand<'a> {
    fn from(view: &'a ByHandView) -> Self {
        Self {
            enabled: view.enabled,
            by: &view.by,
            reason: &view.reason,
            at: rfc3339(view.at_ms),
        }
    }
}

impl<'a> From<&'a (Name, Name)> for Wanted<'a> {
    fn from((flag, variant): &'a (Name, Name)) -> Self {
        Self {
            flag: flag.as_str(),
            variant: variant.as_str(),
        }
    }
}

impl<'a> From<&'a FlagVariantView> for FlagVariant<'a> {
    fn from(view: &'a FlagVariantView) -> Self {
        Self {
            name: view.name.as_str(),
            value: view.value.clone().unwrap_or_else(|| view.name.as_str().into()),
            weight: view.weight,
            share: view.share,
        }
    }
}

impl<'a> Evaluation<'a> {
    /// What the flag that is called `key` answers, in a table of this generation.
    pub(in crate::admin) fn new(
        key: &'a str,
        generation: u64,
        explanation: &'a Explanation<'a>,
        beside: &'a Beside,
    ) -> Self {
        Self {
            key,
            route: explanation.route.map(Name::as_str),
            generation,
            variant: explanation.variant.as_str(),
            value: match explanation.value {
                Some(value) => value.clone(),
                None => explanation.variant.as_str().into(),
            },
            reason: explanation.reason,
            cohort: explanation.cohort.map(Name::as_str),
            why: &explanation.why,
            seen_key: explanation.key.as_deref(),
            hash: explanation.decision.hash,
            bucket: explanation.decision.bucket,
            by_chance: explanation.decision.by_chance,
            prerequisites: explanation.prerequisites.iter().map(Asked::from).collect(),
            cohorts: tried(explanation, beside),
        }
    }
}

impl<'a> From<&ofrep::Asked<'a>> for Asked<'a> {
    fn from(asked: &ofrep::Asked<'a>) -> Self {
        Self {
            flag: asked.flag.as_str(),
            wanted: asked.wanted.as_str(),
            answered: asked.answered.as_str(),
        }
    }
}

/// The cohorts that were tried, each behind those that stood in front of it in the file and were left out.
fn tried<'a>(explanation: &Explanation<'a>, beside: &'a Beside) -> Vec<Tried<'a>> {
    let mut written = beside.cohorts.iter();
    let left_out = |name: &'a Name| Tried {
        name: name.as_str(),
        matched: false,
        unmet: Some(beside.aborted.clone()),
    };
    let mut list = Vec::new();
    for one in &explanation.cohorts {
        // Previews do not stand among the cohorts of the file.
        if beside.cohorts.contains(one.name) {
            list.extend(written.by_ref().take_while(|name| *name != one.name).map(left_out));
        }
        list.push(Tried {
            name: one.name.as_str(),
            matched: one.outcome == Outcome::Matched,
            unmet: match &one.outcome {
                Outcome::Unmet(unmet) => Some(unmet.in_words(|text| beside.public.contains(text))),
                Outcome::Matched => None,
            },
        });
    }
    if explanation.decision.why == Why::Split {
        list.extend(written.map(left_out));
    }
    list
}
