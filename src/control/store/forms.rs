//! The parts of the stored form: what each is in memory, and what is written of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::standing::{
    FlagWeights, Freeze, Owner, Pair, RolloutStanding, RouteStanding, Switch, SwitchedByHand,
};
use crate::name::Name;
use crate::rollout::{Approval, Needs, Parts, Phase, Plan, Schedule, State, Step};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredFreeze {
    by: String,
    reason: String,
    since_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredRoute {
    declared: BTreeMap<String, u32>,
    weights: BTreeMap<String, u32>,
    by_hand: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredRollout {
    phase: String,
    step: Option<usize>,
    weight_ppm: Option<u32>,
    baked_ms: u64,
    #[serde(default)]
    waited_ms: u64,
    #[serde(default)]
    resumed: bool,
    by_hand: bool,
    since_ms: u64,
    reason: String,
    #[serde(default)]
    cleared: bool,
    #[serde(default)]
    pair: Option<StoredPair>,
    #[serde(default)]
    releases: BTreeMap<String, String>,
    #[serde(default)]
    trial: u32,
    #[serde(default)]
    returning: u32,
    #[serde(default)]
    aborted_in: Option<usize>,
    #[serde(default)]
    approvals: Vec<StoredApproval>,
    #[serde(default)]
    commit_ms: Option<u64>,
    #[serde(default)]
    spent: f64,
    plan: Vec<StoredStep>,
    #[serde(default)]
    marks: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredSwitch {
    enabled: bool,
    enable_at_ms: Option<u64>,
    disable_at_ms: Option<u64>,
    by_hand: Option<StoredByHand>,
    on: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredByHand {
    enabled: bool,
    by: String,
    reason: String,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredFlagWeights {
    declared: BTreeMap<String, u32>,
    weights: BTreeMap<String, u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredPair {
    route: String,
    from: String,
    to: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredApproval {
    by: String,
    roles: Vec<String>,
    reason: String,
    at_ms: u64,
    generation: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredStep {
    weight_ppm: u32,
    bake_ms: u64,
}

impl StoredFreeze {
    pub(super) fn of(freeze: &Freeze) -> Self {
        Self {
            by: freeze.by.clone(),
            reason: freeze.reason.clone(),
            since_ms: freeze.since_ms,
        }
    }

    pub(super) fn into_freeze(self) -> Freeze {
        Freeze {
            by: self.by,
            reason: self.reason,
            since_ms: self.since_ms,
        }
    }
}

impl StoredSwitch {
    pub(super) fn of(switch: &Switch) -> Self {
        let Schedule {
            enabled,
            enable_at_ms,
            disable_at_ms,
        } = switch.declared;
        Self {
            enabled,
            enable_at_ms,
            disable_at_ms,
            by_hand: switch.by_hand.as_ref().map(|said| StoredByHand {
                enabled: said.enabled,
                by: said.by.clone(),
                reason: said.reason.clone(),
                at_ms: said.at_ms,
            }),
            on: switch.on,
        }
    }

    pub(super) fn into_switch(self) -> Switch {
        Switch {
            declared: Schedule {
                enabled: self.enabled,
                enable_at_ms: self.enable_at_ms,
                disable_at_ms: self.disable_at_ms,
            },
            by_hand: self.by_hand.map(|said| SwitchedByHand {
                enabled: said.enabled,
                by: said.by,
                reason: said.reason,
                at_ms: said.at_ms,
            }),
            on: self.on,
        }
    }
}

impl StoredFlagWeights {
    pub(super) fn of(weights: &FlagWeights) -> Self {
        Self {
            declared: plain(&weights.declared),
            weights: plain(&weights.weights),
        }
    }

    pub(super) fn into_weights(self) -> Result<FlagWeights, String> {
        Ok(FlagWeights {
            declared: named(self.declared, Ok)?,
            weights: named(self.weights, Ok)?,
        })
    }
}

impl StoredPair {
    pub(super) fn into_pair(self) -> Result<Pair, String> {
        let name = |text: &str| Name::new(text).map_err(|error| error.to_string());
        Ok(Pair {
            route: name(&self.route)?,
            from: name(&self.from)?,
            to: name(&self.to)?,
        })
    }
}

impl StoredApproval {
    pub(super) fn of(approval: &Approval) -> Self {
        Self {
            by: approval.by.clone(),
            roles: approval.roles.clone(),
            reason: approval.reason.clone(),
            at_ms: approval.at_ms,
            generation: approval.generation,
        }
    }

    pub(super) fn into_approval(self) -> Approval {
        Approval {
            by: self.by,
            roles: self.roles,
            reason: self.reason,
            at_ms: self.at_ms,
            generation: self.generation,
        }
    }
}

impl StoredRoute {
    pub(super) fn of(standing: &RouteStanding) -> Self {
        Self {
            declared: plain(&standing.declared),
            weights: plain(&standing.weights),
            by_hand: standing.by_hand,
        }
    }

    pub(super) fn into_standing(self) -> Result<RouteStanding, String> {
        Ok(RouteStanding {
            weights: named(self.weights, Ok)?,
            by_hand: self.by_hand,
            ..RouteStanding::of_file(named(self.declared, Ok)?)
        })
    }
}

impl StoredRollout {
    pub(super) fn of(standing: &RolloutStanding) -> Self {
        let parts = standing.state.parts();
        let steps = standing.plan.steps().iter();
        Self {
            phase: parts.phase.as_str().to_owned(),
            step: parts.step,
            weight_ppm: parts.weight_ppm,
            baked_ms: parts.baked_ms,
            waited_ms: parts.waited_ms,
            resumed: parts.resumed,
            by_hand: parts.by_hand,
            since_ms: parts.since_ms,
            reason: standing.reason.clone(),
            cleared: parts.cleared,
            pair: standing.pair.as_ref().map(|pair| StoredPair {
                route: pair.route.to_string(),
                from: pair.from.to_string(),
                to: pair.to.to_string(),
            }),
            releases: plain(&standing.releases),
            trial: standing.trial,
            returning: standing.returning,
            aborted_in: standing.aborted_in,
            approvals: standing.approvals.iter().map(StoredApproval::of).collect(),
            commit_ms: standing.commit_ms,
            spent: standing.spent,
            marks: standing.marks.to_vec(),
            plan: steps
                .map(|step| StoredStep {
                    weight_ppm: step.weight_ppm,
                    bake_ms: u64::try_from(step.bake_time().as_millis()).unwrap_or(u64::MAX),
                })
                .collect(),
        }
    }

    pub(super) fn into_standing(self) -> Result<RolloutStanding, String> {
        let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == self.phase);
        // What the steps needed is not stored: the file says it, or has another plan by now.
        let steps = self.plan.into_iter().map(|step| match step.weight_ppm {
            0 => Step::new(0, Needs::Person),
            weight_ppm => Step::weigh(weight_ppm, Duration::from_millis(step.bake_ms)),
        });
        let plan = Plan::new(steps.collect()).map_err(|error| error.to_string())?;
        let parts = Parts {
            phase: phase.ok_or_else(|| format!("{:?} is no phase", self.phase))?,
            step: self.step,
            weight_ppm: self.weight_ppm,
            baked_ms: self.baked_ms,
            waited_ms: self.waited_ms,
            resumed: self.resumed,
            cleared: self.cleared,
            by_hand: self.by_hand,
            since_ms: self.since_ms,
            reason: self.reason.clone(),
        };
        let aborted_in = self.aborted_in.filter(|&step| step <= plan.steps().len());
        Ok(RolloutStanding {
            state: State::restore(parts, &plan),
            plan,
            marks: self.marks.into(),
            pair: self.pair.map(StoredPair::into_pair).transpose()?,
            releases: named(self.releases, Ok)?,
            reason: self.reason,
            trial: self.trial,
            returning: self.returning,
            aborted_in,
            answered: false,
            approvals: self.approvals.into_iter().map(StoredApproval::into_approval).collect(),
            commit_ms: self.commit_ms,
            spent: if self.spent.is_finite() {
                self.spent.max(0.0)
            } else {
                0.0
            },
        })
    }
}

/// `routes/checkout`, or `flags/dark-mode`: no name has a slash.
pub(super) fn words_of(owner: &Owner) -> String {
    match owner {
        Owner::Route(name) => format!("routes/{name}"),
        Owner::Own(name) => format!("flags/{name}"),
    }
}

/// Switches under their owners.
pub(super) fn switches(stored: BTreeMap<String, StoredSwitch>) -> Result<BTreeMap<Owner, Switch>, String> {
    let entries = stored.into_iter().map(|(words, switch)| {
        let name = |text: &str| Name::new(text).map_err(|error| error.to_string());
        let owner = match words.split_once('/') {
            Some(("routes", route)) => Owner::Route(name(route)?),
            Some(("flags", flag)) => Owner::Own(name(flag)?),
            _ => return Err(format!("{words:?} is no flag's owner")),
        };
        Ok((owner, switch.into_switch()))
    });
    entries.collect()
}

/// The same under plain texts.
pub(super) fn plain<T: Clone>(named: &BTreeMap<Name, T>) -> BTreeMap<String, T> {
    named
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect()
}

/// The same under checked names.
pub(super) fn named<T, U>(
    stored: BTreeMap<String, T>,
    make: impl Fn(T) -> Result<U, String>,
) -> Result<BTreeMap<Name, U>, String> {
    let entries = stored.into_iter().map(|(name, value)| {
        let name = Name::new(&name).map_err(|error| error.to_string())?;
        Ok((name, make(value)?))
    });
    entries.collect()
}
