//! The JSON shapes of flags.

use serde::Serialize;
use serde_json::Value as Json;

use super::{RolloutPhase, rfc3339};
use crate::control::{ByHandView, FlagVariantView, FlagView};
use crate::name::Name;
use crate::ofrep::{self, Explanation, Outcome};

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
    /// The cohorts that were tried, in order.
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
    /// The prerequisite that kept it from matching; `null`: it matched, or one of its conditions does not hold.
    unmet: Option<Asked<'a>>,
}

impl<'a> From<&'a FlagView> for Flag<'a> {
    fn from(view: &'a FlagView) -> Self {
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
    pub(in crate::admin) fn new(key: &'a str, generation: u64, explanation: &'a Explanation<'a>) -> Self {
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
            cohorts: explanation.cohorts.iter().map(Tried::from).collect(),
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

impl<'a> From<&ofrep::Tried<'a>> for Tried<'a> {
    fn from(tried: &ofrep::Tried<'a>) -> Self {
        Self {
            name: tried.name.as_str(),
            matched: tried.outcome == Outcome::Matched,
            unmet: match &tried.outcome {
                Outcome::Unmet(asked) => Some(Asked::from(asked)),
                Outcome::Matched | Outcome::NotMet => None,
            },
        }
    }
}
