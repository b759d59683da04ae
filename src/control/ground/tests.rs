//! Rule 4 and its neighbours as facts about one small configuration.

mod flags;
mod releases;
mod rotation;

use std::sync::Arc;
use std::time::Duration;

use super::{Ground, Ordered, Ticked};
use crate::analysis::{Evidence, Verdict, VerdictKind};
use crate::config::Endpoint;
use crate::config::Spec;
use crate::control::draft::Wish;
use crate::control::fixture::{name, plan, route, spec, weigh};
use crate::control::journal::Happening;
use crate::control::standing::Standing;
use crate::people::{Token, TokenHash, Tokens};
use crate::rollout::{
    After, Approval, Approvals, Errand, Needs, Phase, Plan, Refused, Rotation, Smoke, Step, Verb, Window,
};
use crate::route::{CohortSpec, Destination, KeysSpec};

const ALICE: Wish<'static> = Wish {
    by: "alice",
    reason: "try it",
};

/// A ground and all that has happened on it.
struct Story {
    ground: Ground,
    happenings: Vec<Happening>,
    now_ms: u64,
}

impl Story {
    fn begin(spec: Arc<Spec>) -> Self {
        let (ground, happenings) = Ground::meet(spec, Standing::default(), 0);
        Self {
            ground,
            happenings,
            now_ms: 0,
        }
    }

    fn take(&mut self, (ground, happenings): super::Changed) {
        self.ground = ground;
        self.happenings.extend(happenings);
        self.now_ms += 1;
    }

    fn command(mut self, verb: Verb) -> Self {
        let changed = self
            .ground
            .command(0, verb, &Ordered::default(), ALICE, self.now_ms)
            .unwrap();
        self.take(changed);
        self
    }

    fn by_hand(mut self, weights: [u32; 2]) -> Self {
        let changed = self.ground.set_weights(0, &weights, ALICE, self.now_ms).unwrap();
        self.take(changed);
        self
    }

    fn reload(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        let mut spec = Spec::clone(&self.ground.spec);
        change(&mut spec);
        let changed = self.ground.reload(Arc::new(spec), self.now_ms);
        self.take(changed);
        self
    }

    /// The process ends and begins again with `change` in the file.
    fn restart(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        let mut spec = Spec::clone(&self.ground.spec);
        change(&mut spec);
        let changed = Ground::meet(Arc::new(spec), self.ground.standing.clone(), self.now_ms);
        self.take(changed);
        self
    }

    fn tick(mut self, kind: VerdictKind, seconds: u64) -> Self {
        let verdict = verdict(kind);
        match self
            .ground
            .tick(0, &verdict, Duration::from_secs(seconds), true, self.now_ms)
        {
            Ticked::Baked(state) => self.ground.bake(0, state),
            Ticked::Moved(changed) => self.take(*changed),
        }
        self
    }

    /// Start, and both steps below 100 % passed: in `succeeded`.
    fn succeed(self) -> Self {
        let story = self
            .command(Verb::Start)
            .tick(VerdictKind::Pass, 10)
            .tick(VerdictKind::Pass, 10);
        story.stands(Phase::Succeeded, [0, 1_000_000])
    }

    #[track_caller]
    fn stands(self, phase: Phase, weights: [u32; 2]) -> Self {
        assert_eq!(self.ground.rollout(0).state.phase(), phase, "{:?}", self.happenings);
        assert_eq!(self.ground.in_force()[0].weights, weights, "{phase:?}");
        self
    }

    #[track_caller]
    fn keeps(self, lines: usize) -> Self {
        assert_eq!(self.ground.kept().len(), lines, "{:?}", self.ground.kept());
        self
    }

    /// Of the last happening: kind, who, before, after.
    #[track_caller]
    fn told(self, kind: &str, by: &str, from: &str, to: &str) -> Self {
        let last = self.happenings.last().expect("something happened");
        let kind_told = format!("{:?}", last.kind).to_lowercase();
        assert_eq!((kind_told.as_str(), last.by.as_str()), (kind, by), "{last:?}");
        assert_eq!((last.from.as_str(), last.to.as_str()), (from, to), "{last:?}");
        self
    }
}

fn verdict(kind: VerdictKind) -> Verdict {
    Verdict {
        kind,
        metric: None,
        reason: "as it is".into(),
        evidence: Evidence::default(),
    }
}

fn file() -> Story {
    Story::begin(spec(|_| {}))
}

#[test]
fn a_canary_without_weight_is_idle_and_one_with_weight_is_watched() {
    file().stands(Phase::Idle, [100, 0]);
    Story::begin(spec(|spec| weigh(spec, 0, [90, 10]))).stands(Phase::Watching, [90, 10]);
    file().by_hand([90, 10]).stands(Phase::Watching, [90, 10]);
    file().by_hand([90, 10]).by_hand([1, 0]).stands(Phase::Idle, [1, 0]);
}

#[test]
fn a_canary_with_a_voting_cohort_is_watched_without_weight() {
    let cohort = |evidence| CohortSpec {
        keys: Some(KeysSpec {
            inline: vec!["alice".into()],
            file: None,
        }),
        evidence,
        ..CohortSpec::of(name("beta"), Destination::Variant(1))
    };
    let with = |evidence| move |spec: &mut Spec| spec.routes[0].rules.cohorts = vec![cohort(evidence)];
    Story::begin(spec(with(true))).stands(Phase::Watching, [100, 0]);
    file()
        .reload(with(true))
        .stands(Phase::Watching, [100, 0])
        .reload(with(false))
        .stands(Phase::Idle, [100, 0]);
    // After an abort the weight that is withheld stays so, however the canary is watched.
    Story::begin(spec(|spec| weigh(spec, 0, [90, 10])))
        .command(Verb::Abort)
        .reload(with(true))
        .stands(Phase::Aborted, [1_000_000, 0])
        .reload(|spec| spec.backends[1].release = Some("v1.6.0".into()))
        .stands(Phase::Watching, [1_000_000, 0]);
}

#[test]
fn steps_move_the_pair_and_success_leaves_the_canary_everything() {
    file()
        .command(Verb::Start)
        .told("rollout", "alice", "idle", "progressing")
        .stands(Phase::Progressing, [950_000, 50_000])
        .tick(VerdictKind::Pass, 9)
        .tick(VerdictKind::Inconclusive, 9)
        .stands(Phase::Progressing, [950_000, 50_000])
        .tick(VerdictKind::Pass, 1)
        .told(
            "rollout",
            "serin",
            "progressing, step 1 of 3",
            "progressing, step 2 of 3",
        )
        .stands(Phase::Progressing, [750_000, 250_000]);
    file().succeed().told("rollout", "serin", "progressing", "succeeded");
}

#[test]
fn a_failed_verdict_takes_everything_and_nothing_of_the_file_brings_it_back() {
    let aborted = || {
        file()
            .command(Verb::Start)
            .tick(VerdictKind::Fail, 1)
            .told("rollout", "serin", "progressing", "aborted")
            .stands(Phase::Aborted, [1_000_000, 0])
    };
    aborted()
        .tick(VerdictKind::Pass, 99)
        .stands(Phase::Aborted, [1_000_000, 0]);
    aborted()
        .reload(|spec| weigh(spec, 0, [50, 50]))
        .stands(Phase::Aborted, [1_000_000, 0])
        .keeps(1);
    aborted().restart(|_| {}).stands(Phase::Aborted, [1_000_000, 0]);
    aborted()
        .reload(|spec| spec.rollouts[0].plan = plan(&[(500_000, 1), (1_000_000, 0)]))
        .stands(Phase::Aborted, [1_000_000, 0]);
    assert!(aborted().ground.in_force()[0].trial.as_ref().unwrap().aborted);
    assert!(aborted().ground.set_weights(0, &[90, 10], ALICE, 9).is_err());
}

#[test]
fn weights_by_hand_stand_until_the_file_says_otherwise() {
    file()
        .by_hand([90, 10])
        .told("weights", "alice", "stable=100 canary=0", "stable=90 canary=10")
        .reload(|spec| spec.routes.push(route("other")))
        .stands(Phase::Watching, [90, 10])
        .restart(|_| {})
        .stands(Phase::Watching, [90, 10])
        .reload(|spec| weigh(spec, 0, [80, 20]))
        .told("weights", "file", "stable=90 canary=10", "stable=80 canary=20")
        .stands(Phase::Watching, [80, 20]);
    file()
        .by_hand([90, 10])
        .restart(|spec| weigh(spec, 0, [99, 0]))
        .stands(Phase::Idle, [99, 0]);
}

#[test]
fn a_route_without_a_rollout_takes_the_newer_of_hand_and_file() {
    let ground = file().ground;
    let (ground, told) = ground.set_weights(1, &[1, 1], ALICE, 1).unwrap();
    assert_eq!((told.len(), ground.in_force()[1].weights.as_slice()), (1, &[1, 1][..]));
    let (kept, told) = ground.reload(spec(|_| {}), 2);
    assert_eq!((told.len(), kept.in_force()[1].weights.as_slice()), (0, &[1, 1][..]));
    let (changed, told) = kept.reload(spec(|spec| weigh(spec, 1, [3, 1])), 3);
    assert_eq!((told.len(), changed.in_force()[1].weights.as_slice()), (1, &[3, 1][..]));
    let (removed, _) = kept.reload(spec(|spec| spec.routes.truncate(1)), 4);
    assert!(!removed.standing.routes.contains_key(&name("plain")));
}

#[test]
fn weights_of_the_file_wait_while_a_plan_is_running() {
    let running = || {
        file()
            .command(Verb::Start)
            .reload(|spec| weigh(spec, 0, [100, 1]))
            .stands(Phase::Progressing, [950_000, 50_000])
            .keeps(1)
    };
    running()
        .tick(VerdictKind::Pass, 10)
        .stands(Phase::Progressing, [750_000, 250_000])
        .keeps(1);
    running()
        .restart(|_| {})
        .stands(Phase::Progressing, [950_000, 50_000])
        .keeps(1);
    running()
        .command(Verb::Pause)
        .stands(Phase::Paused, [950_000, 50_000])
        .keeps(1);
    // What a person sets in the pause knows the file as it is.
    running()
        .command(Verb::Pause)
        .by_hand([7, 3])
        .stands(Phase::Paused, [7, 3])
        .keeps(0)
        .command(Verb::Resume)
        .stands(Phase::Progressing, [950_000, 50_000]);
    // Taken back in the file: nothing waits any more.
    running().reload(|spec| weigh(spec, 0, [100, 0])).keeps(0);
    // Success allows them.
    running()
        .tick(VerdictKind::Pass, 10)
        .tick(VerdictKind::Pass, 10)
        .told("weights", "file", "stable=750000 canary=250000", "stable=100 canary=1")
        .stands(Phase::Succeeded, [100, 1])
        .keeps(0);
}

#[test]
fn weights_of_the_file_apply_after_success() {
    file()
        .succeed()
        .reload(|spec| weigh(spec, 0, [0, 1]))
        .stands(Phase::Succeeded, [0, 1])
        .restart(|_| {})
        .stands(Phase::Succeeded, [0, 1]);
}

#[test]
fn a_new_release_starts_the_plan_when_the_file_asks_for_it() {
    let release = |text: &'static str| move |spec: &mut Spec| spec.backends[1].release = Some(text.into());
    let auto = || Story::begin(spec(|spec| spec.rollouts[0].auto_start = true));
    auto().stands(Phase::Idle, [100, 0]);
    auto()
        .reload(release("v1.6.0"))
        .stands(Phase::Progressing, [950_000, 50_000]);
    auto()
        .restart(release("v1.6.0"))
        .stands(Phase::Progressing, [950_000, 50_000]);
    auto()
        .command(Verb::Abort)
        .reload(release("v1.6.0"))
        .stands(Phase::Progressing, [950_000, 50_000]);
    file().reload(release("v1.6.0")).stands(Phase::Idle, [100, 0]);
    file()
        .command(Verb::Start)
        .command(Verb::Abort)
        .reload(release("v1.6.0"))
        .stands(Phase::Idle, [1_000_000, 0]);
    // The first sight of a release is none, and a release left out is neither.
    let unnamed = || auto().reload(|spec| spec.backends[1].release = None);
    unnamed()
        .stands(Phase::Idle, [100, 0])
        .reload(release("v1.5.0"))
        .stands(Phase::Idle, [100, 0]);
    unnamed()
        .reload(release("v1.6.0"))
        .stands(Phase::Progressing, [950_000, 50_000]);
    Story::begin(spec(|spec| {
        spec.rollouts[0].auto_start = true;
        spec.backends[1].release = None;
    }))
    .reload(release("v1.5.0"))
    .stands(Phase::Idle, [100, 0]);
}

#[test]
fn a_new_release_and_new_weights_in_one_file_are_weights_first() {
    Story::begin(spec(|spec| spec.rollouts[0].auto_start = true))
        .succeed()
        .reload(|spec| {
            spec.backends[1].release = Some("v1.6.0".into());
            weigh(spec, 0, [1, 0]);
        })
        .stands(Phase::Progressing, [950_000, 50_000])
        .keeps(0);
}

#[test]
fn a_changed_plan_keeps_phase_and_weight() {
    let changed = |spec: &mut Spec| spec.rollouts[0].plan = plan(&[(10_000, 5), (60_000, 5), (1_000_000, 0)]);
    let story = file()
        .command(Verb::Start)
        .reload(changed)
        .stands(Phase::Progressing, [950_000, 50_000]);
    assert_eq!(story.ground.rollout(0).state.step(), Some(1));
    story
        .tick(VerdictKind::Pass, 5)
        .stands(Phase::Progressing, [940_000, 60_000]);
}

#[test]
fn the_epoch_rises_once_for_each_change_of_weight_or_step() {
    let epoch = |story: Story| story.ground.epoch(0);
    let first = epoch(file());
    assert_eq!(epoch(file().command(Verb::Start)), first + 1);
    assert_eq!(epoch(file().command(Verb::Start).tick(VerdictKind::Pass, 1)), first + 1);
    assert_eq!(
        epoch(file().command(Verb::Start).tick(VerdictKind::Pass, 10)),
        first + 2
    );
    assert_eq!(epoch(file().command(Verb::Start).command(Verb::Pause)), first + 1);
    assert_eq!(epoch(file().by_hand([9, 1])), first + 1);
    assert_eq!(epoch(file().reload(|spec| spec.routes.push(route("other")))), first);
    let two_at_once = |spec: &mut Spec| {
        spec.rollouts[0].plan = plan(&[(10_000, 5), (1_000_000, 0)]);
        spec.backends[1].release = Some("v1.6.0".into());
    };
    assert_eq!(epoch(file().command(Verb::Start).reload(two_at_once)), first + 2);
}

/// Requests that were sent in the trial before may end in the next one: they are another slot's.
#[test]
fn a_canary_that_comes_back_gets_the_other_slot() {
    let check = |exposed: Story, away: fn(Story) -> Story, back: fn(Story) -> Story| {
        let before = exposed.ground.epoch(0);
        let after = back(away(exposed)).ground.epoch(0);
        assert_eq!((after - before) % 2, 1, "{before} {after}");
    };
    let begun = || file().command(Verb::Start);
    let abort: fn(Story) -> Story = |story| story.command(Verb::Abort);
    check(begun(), abort, |story| story.command(Verb::Retry));
    check(begun(), abort, |story| story.command(Verb::Start));
    check(begun().tick(VerdictKind::Pass, 10), abort, |story| {
        story.command(Verb::Retry)
    });
    check(
        begun(),
        |story| story.tick(VerdictKind::Fail, 1),
        |story| {
            story.reload(|spec| {
                spec.backends[1].release = Some("v1.6.0".into());
                spec.rollouts[0].auto_start = true;
            })
        },
    );
    let taken: fn(Story) -> Story = |story| story.by_hand([1, 0]);
    check(file().by_hand([9, 1]), taken, |story| story.by_hand([9, 1]));
    check(file().by_hand([9, 1]), taken, |story| story.command(Verb::Start));
    check(
        file().by_hand([9, 1]),
        |story| story,
        |story| story.command(Verb::Start),
    );
}

#[test]
fn a_removed_rollout_leaves_the_file_in_force_and_is_forgotten() {
    let gone = file().command(Verb::Start).reload(|spec| spec.rollouts.clear());
    assert_eq!(gone.ground.in_force()[0].weights, [100, 0]);
    gone.told("weights", "file", "stable=950000 canary=50000", "stable=100 canary=0")
        .reload(|later| later.rollouts.clone_from(&spec(|_| {}).rollouts))
        .stands(Phase::Idle, [100, 0]);
}

#[test]
fn a_renamed_rollout_begins_anew_with_the_weights_of_the_file() {
    file()
        .command(Verb::Start)
        .reload(|spec| weigh(spec, 0, [90, 10]))
        .reload(|spec| spec.rollouts[0].name = name("shop-2"))
        .stands(Phase::Watching, [90, 10])
        .keeps(0);
}

#[test]
fn a_variant_that_joins_during_a_plan_waits_for_its_weight() {
    let story = file().command(Verb::Start).reload(|spec| {
        let mut third = spec.routes[0].variants[0].clone();
        (third.name, third.weight) = (name("third"), 50);
        spec.routes[0].variants.push(third);
    });
    assert_eq!(story.ground.in_force()[0].weights, [950_000, 50_000, 0]);
    story.keeps(1);
}

#[test]
fn reordered_variants_keep_their_weights() {
    let story = file().by_hand([90, 10]).reload(|spec| {
        spec.routes[0].variants.reverse();
        (spec.rollouts[0].from, spec.rollouts[0].to) = (1, 0);
    });
    story.stands(Phase::Watching, [10, 90]);
}

#[test]
fn a_command_that_is_not_possible_says_what_is() {
    let refusal = file()
        .ground
        .command(0, Verb::Resume, &Ordered::default(), ALICE, 1)
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("possible now: start"), "{refusal}");
}

#[test]
fn a_persons_reason_goes_into_the_record() {
    let story = file().command(Verb::Start);
    let reason = &story.happenings[0].reason;
    assert!(
        reason.starts_with("started") && reason.ends_with(": try it"),
        "{reason}"
    );
    assert_eq!(*reason, story.ground.rollout(0).reason);
}
