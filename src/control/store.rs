//! The stored form of what stands beside the file, and what it means: `state.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::directory::{Directory, StateError};
use super::standing::{FlagWeights, Freeze, Pair, RolloutStanding, RouteStanding, Standing, Switch, SwitchedByHand};
use crate::audit::Anchor;
use crate::name::Name;
use crate::rollout::{Approval, Needs, Parts, Phase, Plan, Schedule, State, Step};

/// The version of the form that is written.
const VERSION: u32 = 3;
/// And the oldest that is read: what it did not have is as it was before there was such a thing.
const VERSION_MIN: u32 = 1;
/// How a form is called that is whole, and not ours.
const FOREIGN: &str = "of the form";

/// All that is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Saved {
    /// The newest generation when this was written.
    pub(super) generation: u64,
    /// Whether the process ended in order after this: then no later generation was used.
    pub(super) clean: bool,
    /// What stands beside the file.
    pub(super) standing: Standing,
    /// Both ends of the audit log; `None`: there was none then.
    pub(super) audit: Option<Anchor>,
}

/// The state directory, held by this process.
#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
}

/// What was found in the directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) saved: Option<Saved>,
    /// What was damaged, and what was done about it.
    pub(super) note: Option<String>,
    /// There was a state, and nothing of it can be read.
    pub(super) lost: bool,
}

impl Store {
    /// Takes hold of the directory and reads what is there. A damaged file gives way to the one before
    /// it; where both are damaged they are put aside, and nothing is known.
    ///
    /// # Errors
    /// [`StateError`]: it cannot be used, is held by another process, or was written by a newer Serin.
    pub(super) fn open(path: &Path) -> Result<(Self, Found), StateError> {
        let directory = Directory::open(path)?;
        let unusable = |error| StateError::Unusable {
            path: path.to_owned(),
            error,
        };
        let mut found = match directory.read(parse) {
            Ok((saved, note)) => Found {
                saved,
                note,
                lost: false,
            },
            Err(StateError::Damaged { problem, .. }) if !problem.contains(FOREIGN) => {
                let aside = directory.put_aside(true).map_err(unusable)?;
                Found {
                    saved: None,
                    note: Some(format!("{problem}; put aside as {aside}, every rollout begins aborted")),
                    lost: true,
                }
            }
            Err(error) => return Err(error),
        };
        if let (Some(saved), Some(_)) = (&mut found.saved, &found.note) {
            // The damaged one was newer: generations after this one have been used.
            saved.clean = false;
            directory.put_aside(false).map_err(unusable)?;
        }
        Ok((Self { directory }, found))
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn save(&mut self, saved: &Saved) -> std::io::Result<()> {
        self.directory.write(&text(saved)?)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredState {
    version: u32,
    generation: u64,
    clean: bool,
    #[serde(default)]
    frozen: Option<StoredFreeze>,
    routes: BTreeMap<String, StoredRoute>,
    rollouts: BTreeMap<String, StoredRollout>,
    #[serde(default)]
    switches: BTreeMap<String, StoredSwitch>,
    #[serde(default)]
    flag_weights: BTreeMap<String, StoredFlagWeights>,
    #[serde(default)]
    audit: Option<Anchor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredFreeze {
    by: String,
    reason: String,
    since_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRoute {
    declared: BTreeMap<String, u32>,
    weights: BTreeMap<String, u32>,
    by_hand: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRollout {
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
    #[serde(default)]
    aborts: u32,
    plan: Vec<StoredStep>,
    #[serde(default)]
    marks: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSwitch {
    enabled: bool,
    enable_at_ms: Option<u64>,
    disable_at_ms: Option<u64>,
    by_hand: Option<StoredByHand>,
    on: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredByHand {
    enabled: bool,
    by: String,
    reason: String,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredFlagWeights {
    declared: BTreeMap<String, u32>,
    weights: BTreeMap<String, u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredPair {
    route: String,
    from: String,
    to: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredApproval {
    by: String,
    roles: Vec<String>,
    reason: String,
    at_ms: u64,
    generation: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredStep {
    weight_ppm: u32,
    bake_ms: u64,
}

/// Only the version, to tell another form from a damaged file.
#[derive(Deserialize)]
struct StoredVersion {
    version: u32,
}

pub(super) fn text(saved: &Saved) -> serde_json::Result<Vec<u8>> {
    // A route with neither hand nor rollout needs no memory; one with a rollout always has its entry.
    let routes = saved.standing.routes.iter();
    let rollouts = saved.standing.rollouts.iter();
    let switches = saved.standing.switches.iter();
    let flag_weights = saved.standing.flag_weights.iter();
    serde_json::to_vec_pretty(&StoredState {
        version: VERSION,
        generation: saved.generation,
        clean: saved.clean,
        frozen: saved.standing.frozen.as_ref().map(StoredFreeze::of),
        routes: routes
            .map(|(name, standing)| (name.to_string(), StoredRoute::of(standing)))
            .collect(),
        rollouts: rollouts
            .map(|(name, standing)| (name.to_string(), StoredRollout::of(standing)))
            .collect(),
        switches: switches
            .map(|(name, switch)| (name.to_string(), StoredSwitch::of(switch)))
            .collect(),
        flag_weights: flag_weights
            .map(|(name, weights)| (name.to_string(), StoredFlagWeights::of(weights)))
            .collect(),
        audit: saved.audit.clone(),
    })
}

pub(super) fn parse(text: &str) -> Result<Saved, String> {
    let StoredVersion { version } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return Err(format!(
            "version {version} {FOREIGN}; this Serin reads versions {VERSION_MIN} to {VERSION}"
        ));
    }
    let stored: StoredState = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Saved {
        generation: stored.generation,
        clean: stored.clean,
        standing: Standing {
            routes: named(stored.routes, StoredRoute::into_standing)?,
            rollouts: named(stored.rollouts, StoredRollout::into_standing)?,
            switches: named(stored.switches, |stored| Ok(stored.into_switch()))?,
            flag_weights: named(stored.flag_weights, StoredFlagWeights::into_weights)?,
            frozen: stored.frozen.map(StoredFreeze::into_freeze),
        },
        audit: stored.audit,
    })
}

impl StoredFreeze {
    fn of(freeze: &Freeze) -> Self {
        Self {
            by: freeze.by.clone(),
            reason: freeze.reason.clone(),
            since_ms: freeze.since_ms,
        }
    }

    fn into_freeze(self) -> Freeze {
        Freeze {
            by: self.by,
            reason: self.reason,
            since_ms: self.since_ms,
        }
    }
}

impl StoredSwitch {
    fn of(switch: &Switch) -> Self {
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

    fn into_switch(self) -> Switch {
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
    fn of(weights: &FlagWeights) -> Self {
        Self {
            declared: plain(&weights.declared),
            weights: plain(&weights.weights),
        }
    }

    fn into_weights(self) -> Result<FlagWeights, String> {
        Ok(FlagWeights {
            declared: named(self.declared, Ok)?,
            weights: named(self.weights, Ok)?,
        })
    }
}

impl StoredPair {
    fn into_pair(self) -> Result<Pair, String> {
        let name = |text: &str| Name::new(text).map_err(|error| error.to_string());
        Ok(Pair {
            route: name(&self.route)?,
            from: name(&self.from)?,
            to: name(&self.to)?,
        })
    }
}

impl StoredApproval {
    fn of(approval: &Approval) -> Self {
        Self {
            by: approval.by.clone(),
            roles: approval.roles.clone(),
            reason: approval.reason.clone(),
            at_ms: approval.at_ms,
            generation: approval.generation,
        }
    }

    fn into_approval(self) -> Approval {
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
    fn of(standing: &RouteStanding) -> Self {
        Self {
            declared: plain(&standing.declared),
            weights: plain(&standing.weights),
            by_hand: standing.by_hand,
        }
    }

    fn into_standing(self) -> Result<RouteStanding, String> {
        Ok(RouteStanding {
            weights: named(self.weights, Ok)?,
            by_hand: self.by_hand,
            ..RouteStanding::of_file(named(self.declared, Ok)?)
        })
    }
}

impl StoredRollout {
    fn of(standing: &RolloutStanding) -> Self {
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
            aborts: standing.aborts,
            marks: standing.marks.to_vec(),
            plan: steps
                .map(|step| StoredStep {
                    weight_ppm: step.weight_ppm,
                    bake_ms: u64::try_from(step.bake_time().as_millis()).unwrap_or(u64::MAX),
                })
                .collect(),
        }
    }

    fn into_standing(self) -> Result<RolloutStanding, String> {
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
            aborts: self.aborts,
        })
    }
}

/// The same under plain texts.
fn plain<T: Clone>(named: &BTreeMap<Name, T>) -> BTreeMap<String, T> {
    named
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect()
}

/// The same under checked names.
fn named<T, U>(
    stored: BTreeMap<String, T>,
    make: impl Fn(T) -> Result<U, String>,
) -> Result<BTreeMap<Name, U>, String> {
    let entries = stored.into_iter().map(|(name, value)| {
        let name = Name::new(&name).map_err(|error| error.to_string())?;
        Ok((name, make(value)?))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::{Saved, Store, parse, text};
    use crate::control::draft::Wish;
    use crate::control::fixture::{name, spec, weigh};
    use crate::control::ground::{Ground, Ordered};
    use crate::control::standing::Standing;
    use crate::rollout::Verb;

    /// What stands after `weights` by hand and then `verbs`.
    fn saved(weights: Option<[u32; 2]>, verbs: &[Verb]) -> Saved {
        let spec = spec(|spec| weigh(spec, 1, [3, 4]));
        let (mut ground, _) = Ground::meet(spec, Standing::default(), 1_000);
        let wish = Wish {
            by: "alice",
            reason: "because \"x\"\n",
        };
        if let Some(weights) = weights {
            ground = ground.set_weights(0, &weights, wish, 2_000).unwrap().0;
            ground = ground.set_weights(1, &weights, wish, 2_000).unwrap().0;
        }
        for &verb in verbs {
            ground = ground.command(0, verb, &Ordered::default(), wish, 3_000).unwrap().0;
        }
        Saved {
            generation: 42,
            clean: false,
            standing: ground.standing,
            audit: None,
        }
    }

    /// Stored and read again, everything is as it was, but for what is not stored: epochs and what
    /// is derived, and the machine's own wording beside the reason that is shown.
    #[track_caller]
    fn check(saved: &Saved) {
        let read = parse(&String::from_utf8(text(saved).unwrap()).unwrap()).unwrap();
        assert_eq!((read.generation, read.clean), (saved.generation, saved.clean));
        assert_eq!(read.standing.routes.len(), saved.standing.routes.len());
        for (name, standing) in &saved.standing.routes {
            let read = &read.standing.routes[name];
            assert_eq!((&read.declared, &read.weights), (&standing.declared, &standing.weights));
            assert_eq!(read.by_hand, standing.by_hand);
        }
        for (name, standing) in &saved.standing.rollouts {
            let read = &read.standing.rollouts[name];
            assert_eq!((&read.marks, &read.releases), (&standing.marks, &standing.releases));
            assert_eq!(read.aborted_in, standing.aborted_in);
            assert_eq!((&read.pair, read.trial), (&standing.pair, standing.trial));
            let mut parts = standing.state.parts();
            parts.reason.clone_from(&standing.reason);
            assert_eq!((read.state.parts(), &read.reason), (parts, &standing.reason));
        }
    }

    #[test]
    fn every_state_survives_storing() {
        check(&saved(None, &[]));
        check(&saved(Some([90, 10]), &[]));
        check(&saved(None, &[Verb::Start]));
        check(&saved(None, &[Verb::Start, Verb::Promote { full: false }]));
        check(&saved(None, &[Verb::Start, Verb::Promote { full: true }]));
        check(&saved(None, &[Verb::Start, Verb::Pause]));
        check(&saved(Some([90, 10]), &[Verb::Start, Verb::Abort]));
    }

    #[test]
    fn the_step_of_an_abort_is_one_of_the_plan_and_may_be_missing() {
        let aborted = saved(None, &[Verb::Start, Verb::Promote { full: false }, Verb::Abort]);
        let text = String::from_utf8(text(&aborted).unwrap()).unwrap();
        let check = |to: &str, expected: Option<usize>| {
            let from = "\"abortedIn\": 1,";
            assert!(text.contains(from), "{text}");
            let read = parse(&text.replace(from, to)).unwrap();
            let standing = read.standing.rollouts.values().next().unwrap();
            assert_eq!(standing.aborted_in, expected, "{to}");
        };
        check("\"abortedIn\": 1,", Some(1));
        check("\"abortedIn\": 3,", Some(3));
        check("\"abortedIn\": 4,", None);
        check("", None);
    }

    #[test]
    fn switches_and_weights_of_flags_are_stored() {
        let (wish, own) = (
            Wish {
                by: "alice",
                reason: "",
            },
            crate::route::FlagId::Own(0),
        );
        let with_flag = spec(|spec| {
            let variant = |(text, weight)| crate::config::FlagVariant {
                name: name(text),
                weight,
                value: None,
            };
            spec.flags.push(crate::config::Flag {
                name: name("dark-mode"),
                variants: [("off", 1), ("on", 1)].map(variant).into(),
                rules: crate::config::Rules::of(name("dark-mode")),
            });
        });
        let (ground, _) = Ground::meet(with_flag, Standing::default(), 1_000);
        let (ground, _) = ground.switch(own, false, wish, 2_000).unwrap();
        let (ground, _) = ground.set_flag_weights(0, &[3, 4], wish, 3_000).unwrap();
        let saved = Saved {
            generation: 1,
            clean: true,
            standing: ground.standing.clone(),
            audit: None,
        };
        let read = parse(std::str::from_utf8(&text(&saved).unwrap()).unwrap()).unwrap();
        assert_eq!(read.standing.switches, saved.standing.switches);
        assert_eq!(read.standing.flag_weights, saved.standing.flag_weights);
        assert!(!read.standing.switches.is_empty() && !read.standing.flag_weights.is_empty());
    }

    #[test]
    fn what_is_no_state_is_refused_with_the_reason() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = String::from_utf8(text(&saved(None, &[Verb::Start])).unwrap()).unwrap();
            assert!(text.contains(from), "{text}");
            let problem = parse(&text.replace(from, to)).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        };
        check("\"version\": 3", "\"version\": 4", "version 4 of the form");
        check("progressing", "flying", "\"flying\" is no phase");
        check("\"canary\"", "\"-canary\"", "is not a name");
        check("\"generation\": 42", "\"generation\": -1", "expected u64");
        for cut in [0, 1, 40, 200] {
            let whole = text(&saved(None, &[])).unwrap();
            assert!(parse(&String::from_utf8_lossy(&whole[..cut])).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_store_gives_back_what_it_was_given() {
        let temp = tempfile::tempdir().unwrap();
        let (mut store, nothing) = Store::open(temp.path()).unwrap();
        assert_eq!((nothing.saved, nothing.note), (None, None));
        store.save(&saved(None, &[Verb::Start])).unwrap();
        drop(store);
        let (_, read) = Store::open(temp.path()).unwrap();
        assert_eq!((read.saved.unwrap().generation, read.note), (42, None));
    }

    #[test]
    fn a_state_behind_a_damaged_one_is_no_clean_end() {
        let temp = tempfile::tempdir().unwrap();
        let (mut store, ..) = Store::open(temp.path()).unwrap();
        let clean = Saved {
            clean: true,
            ..saved(None, &[])
        };
        store.save(&clean).unwrap();
        store.save(&saved(None, &[Verb::Start])).unwrap();
        drop(store);
        std::fs::write(temp.path().join("state.json"), "{").unwrap();
        let (_, read) = Store::open(temp.path()).unwrap();
        assert!(read.note.is_some() && !read.lost && !read.saved.unwrap().clean);
    }

    #[test]
    fn a_state_of_which_nothing_is_whole_is_put_aside_and_known_to_be_lost() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("state.json"), "{").unwrap();
        std::fs::write(temp.path().join("state.json.bak"), "").unwrap();
        let (store, found) = Store::open(temp.path()).unwrap();
        assert!(found.lost && found.saved.is_none());
        assert!(
            found
                .note
                .unwrap()
                .contains("state.json.bak.damaged, every rollout begins aborted")
        );
        assert_eq!(
            std::fs::read_to_string(temp.path().join("state.json.damaged")).unwrap(),
            "{"
        );
        drop(store);
        assert!(!Store::open(temp.path()).unwrap().1.lost, "it is said once");
        let newer = r#"{"version": 99}"#;
        std::fs::write(temp.path().join("state.json"), newer).unwrap();
        let refusal = Store::open(temp.path()).unwrap_err().to_string();
        assert!(refusal.contains("version 99 of the form"), "{refusal}");
        assert_eq!(std::fs::read_to_string(temp.path().join("state.json")).unwrap(), newer);
    }
}
