//! What stands beside the file and outlives a restart: weights set by hand, and where rollouts are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::weights::Weights;
use crate::name::Name;
use crate::rollout::{Approval, ByHand, Plan, Schedule, State};

/// All of it, by name, each with the part of the file that it was made under: "changed" means
/// different from that by value, over reloads and restarts alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standing {
    /// Routes with weights by hand or with a rollout; on all others the file stands.
    pub(super) routes: BTreeMap<Name, RouteStanding>,
    /// Every rollout of the file.
    pub(super) rollouts: BTreeMap<Name, RolloutStanding>,
    /// Flags that are off, that a person switched, or that the file has more to say of than that they are on. All
    /// others are on.
    pub(super) switches: BTreeMap<Owner, Switch>,
    /// Flags without a route whose weights a person set.
    pub(super) flag_weights: BTreeMap<Name, FlagWeights>,
    /// How often a rollout was aborted on each route: what was drawn for clients before is void, also when the rollout
    /// has left the file.
    pub(super) aborts: BTreeMap<Name, u32>,
    /// Nothing moves forward.
    pub(super) frozen: Option<Freeze>,
}

/// Whose flag it is. The key that applications call it by may change: what a person switched off stays so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// The route of this name.
    Route(Name),
    /// The flag of this name, without a route.
    Own(Name),
}

/// Whether one flag is on, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    /// What the file said when a person switched it, else what it says.
    pub(super) declared: Schedule,
    /// What a person said since.
    pub(super) by_hand: Option<SwitchedByHand>,
    /// What is in force.
    pub(super) on: bool,
}

/// A person's word on a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SwitchedByHand {
    pub(super) enabled: bool,
    pub(super) by: String,
    pub(super) reason: String,
    /// Unix milliseconds.
    pub(super) at_ms: u64,
}

/// Weights of a flag without a route, by a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlagWeights {
    /// What the file declared then.
    pub(super) declared: Weights,
    pub(super) weights: Weights,
}

/// By whom, why and since when nothing moves forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Freeze {
    pub(super) by: String,
    pub(super) reason: String,
    /// Unix milliseconds.
    pub(super) since_ms: u64,
}

/// The weights of one route before its rollout divides the pair anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteStanding {
    /// What the file declared when `weights` were made.
    pub(super) declared: Weights,
    /// By file or person.
    pub(super) weights: Weights,
    /// Whether a person made them.
    pub(super) by_hand: bool,
    /// Rises with each change of the weights in force and each new step. Not stored.
    pub(super) epoch: u32,
    /// The last epoch in which the canary of its rollout got requests, if any was. Not stored.
    pub(super) exposed: Option<u32>,
    /// What is in force, in file order. Derived; not stored.
    pub(super) in_force: Vec<u32>,
}

/// One rollout.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RolloutStanding {
    /// Its place in the plan.
    pub(super) state: State,
    /// The plan it was made under.
    pub(super) plan: Plan,
    /// Tells that plan from another one, also after a restart.
    pub(super) marks: Marks,
    /// Between which variants it moves weight. `None`: a state of an older Serin; as the file has it.
    pub(super) pair: Option<Pair>,
    /// The releases of the pair's backends that were seen last, by variant.
    pub(super) releases: BTreeMap<Name, String>,
    /// Why it stands where it stands.
    pub(super) reason: String,
    /// Rises when the canary is to be judged as if it had never been seen: a start, a retry, a new
    /// release.
    pub(super) trial: u32,
    /// So many of stable's endpoints were out when the rollout was aborted, and come back batch by batch,
    /// each when it is well; 0: none.
    pub(super) returning: u32,
    /// Aborted: the step that it was in then; the number of steps: it had passed all. `None`: it was in none.
    pub(super) aborted_in: Option<usize>,
    /// Whether the side that a start by itself gives its weight back to has answered. Not stored.
    pub(super) answered: bool,
    /// Given for the step in force.
    pub(super) approvals: Vec<Approval>,
    /// When the newest commit of what is on trial was made, in Unix milliseconds.
    pub(super) commit_ms: Option<u64>,
    /// What the trial has spent of its budget: failures that stable's rate does not explain.
    pub(super) spent: f64,
}

/// The variants between which a rollout moves weight, by name, in the direction of its present trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) route: Name,
    pub(super) from: Name,
    pub(super) to: Name,
}

impl Pair {
    /// Whether `other` are the same two variants, in either direction.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let same = |one: &Name, two: &Name| (&self.from, &self.to) == (one, two);
        self.route == other.route && (same(&other.from, &other.to) || same(&other.to, &other.from))
    }
}

/// Digests of a plan's marks. What a plan says may be secret; these are not.
pub(super) type Marks = Arc<[String]>;

/// The digests of `plan`.
pub(super) fn marks(plan: &Plan) -> Marks {
    let hex = |text: &String| {
        let mut hex = String::new();
        for byte in &digest(&SHA256, text.as_bytes()).as_ref()[..16] {
            write!(hex, "{byte:02x}").expect("a text takes what is written");
        }
        hex
    };
    plan.marks().iter().map(hex).collect()
}

impl Switch {
    /// Whether the flag should be on at `now_ms`.
    pub(super) fn wants(&self, now_ms: u64) -> bool {
        let by_hand = self.by_hand.as_ref().map(|said| ByHand {
            enabled: said.enabled,
            at_ms: said.at_ms,
        });
        self.declared.is_on(by_hand, now_ms)
    }

    /// Whether there is nothing to remember: the file says that it is on, nothing else, and it is.
    pub(super) fn is_plain(&self) -> bool {
        self.on && self.by_hand.is_none() && self.declared == Schedule::default()
    }
}

impl RouteStanding {
    /// As the file has it.
    pub(super) fn of_file(declared: Weights) -> Self {
        Self {
            weights: declared.clone(),
            declared,
            by_hand: false,
            epoch: 0,
            exposed: None,
            in_force: Vec::new(),
        }
    }

    /// Evidence begins anew. A canary that comes back (`exposes`) gets the slot of counters that it did
    /// not have last: requests of its trial before may still be open, and must not count in this one.
    pub(super) fn begin_epoch(&mut self, exposes: bool) {
        let was_exposed = self.exposed == Some(self.epoch);
        self.epoch += 1;
        let same_slot = self.exposed.is_some_and(|last| last % 2 == self.epoch % 2);
        if exposes && !was_exposed && same_slot {
            self.epoch += 1;
        }
    }
}
