//! Rule 4 and its neighbours as facts about one small configuration.

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
use crate::route::CohortSpec;

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
        name: name("beta"),
        headers: Vec::new(),
        keys: vec!["alice".into()],
        variant: 1,
        evidence,
    };
    let with = |evidence| move |spec: &mut Spec| spec.routes[0].cohorts = vec![cohort(evidence)];
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

/// A plan of `steps` before 100 %.
fn with_plan(steps: Vec<Step>, after: After) -> impl FnOnce(&mut Spec) {
    move |spec| {
        let whole = Step::weigh(1_000_000, Duration::ZERO);
        let steps = steps.into_iter().chain([whole]).collect();
        spec.rollouts[0].plan = Plan::new(steps).unwrap().followed_by(after);
    }
}

fn two_people() -> Step {
    let approvals = Approvals {
        count: 2,
        roles: vec!["sre".to_owned()],
        expires: Duration::from_secs(60),
    };
    Step::new(0, Needs::Approvals(approvals))
}

impl Story {
    #[track_caller]
    fn refuses(self, verb: Verb, expected: &str) -> Self {
        let refused = self.ground.command(0, verb, &Ordered::default(), ALICE, self.now_ms);
        let refused = refused.unwrap_err().0;
        assert!(refused.contains(expected), "{refused}");
        self
    }

    fn start_towards(mut self, direction: (usize, usize)) -> Result<Self, Refused> {
        let order = Ordered {
            direction: Some(direction),
            commit_ms: None,
        };
        let changed = self.ground.command(0, Verb::Start, &order, ALICE, self.now_ms)?;
        self.take(changed);
        Ok(self)
    }

    fn approve(mut self, by: &str, roles: &[&str]) -> Result<Self, Refused> {
        let approval = Approval {
            by: by.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            reason: String::new(),
            at_ms: self.now_ms,
            generation: 7,
        };
        let changed = self.ground.approve(0, approval, ALICE, self.now_ms)?;
        self.take(changed);
        Ok(self)
    }

    fn freeze(mut self, frozen: bool) -> Self {
        let changed = self.ground.freeze(frozen, ALICE, self.now_ms);
        self.take(changed);
        self
    }

    fn catch_up(mut self) -> Self {
        if let Some(changed) = self.ground.catch_up(self.now_ms) {
            self.take(changed);
        }
        self
    }

    #[track_caller]
    fn says(self, fact: &str, expected: &str) -> Self {
        let last = self.happenings.last().unwrap();
        let found = last.facts.iter().find(|(name, _)| *name == fact);
        assert_eq!(found.map(|(_, value)| value.as_str()), Some(expected), "{last:?}");
        self
    }
}

#[test]
fn a_gate_opens_for_two_people_and_no_verb_passes_it() {
    let story = Story::begin(spec(with_plan(vec![two_people()], After::default())))
        .command(Verb::Start)
        .stands(Phase::Progressing, [1_000_000, 0])
        .refuses(
            Verb::Promote { full: false },
            "waits for people to approve; possible now",
        )
        .refuses(Verb::Promote { full: true }, "waits for people to approve")
        .approve("ann", &["sre"])
        .unwrap()
        .says("roles", "sre")
        .tick(VerdictKind::Pass, 100)
        .stands(Phase::Progressing, [1_000_000, 0]);
    assert_eq!(story.ground.waiting(0, 0).as_deref(), Some("1 of 2 approvals"));
    let refused = |story: Story, by, role: &str| story.approve(by, &[role]).err().unwrap().0;
    let story = story.approve("ann", &["sre"]).unwrap().tick(VerdictKind::Pass, 1);
    let story = story
        .stands(Phase::Progressing, [1_000_000, 0])
        .approve("bob", &["sre"])
        .unwrap();
    story
        .tick(VerdictKind::Inconclusive, 1)
        .stands(Phase::Succeeded, [0, 1_000_000]);
    let gate = Story::begin(spec(with_plan(vec![two_people()], After::default())));
    assert!(refused(gate, "ann", "sre").contains("no gate of this rollout waits"));
    let gate = Story::begin(spec(with_plan(vec![two_people()], After::default()))).command(Verb::Start);
    let unwanted = |role: &str| gate.ground.unwanted(0, &[role.to_owned()]);
    assert!(unwanted("viewer").unwrap().contains("none of your roles is asked for"));
    assert_eq!(unwanted("sre"), None);
}

#[test]
fn approvals_are_for_one_release_and_one_plan() {
    let approved = || {
        Story::begin(spec(with_plan(vec![two_people()], After::default())))
            .command(Verb::Start)
            .approve("ann", &["sre"])
            .unwrap()
    };
    assert_eq!(approved().ground.rollout(0).approvals.len(), 1);
    assert_eq!(approved().restart(|_| {}).ground.rollout(0).approvals.len(), 1);
    let other_route = approved().reload(|spec| spec.routes[1].timeout = Duration::from_secs(9));
    assert_eq!(other_route.ground.rollout(0).approvals.len(), 1);
    let endpoints = approved().reload(|spec| spec.backends[1].endpoints[0].port = 10);
    assert_eq!(endpoints.ground.rollout(0).approvals.len(), 0);
    let limits = approved().reload(|spec| spec.rollouts[0].warm_up = 7);
    assert_eq!(limits.ground.rollout(0).approvals.len(), 0);
    let released = approved().reload(|spec| spec.backends[1].release = Some("v1.6.0".into()));
    assert_eq!(released.ground.rollout(0).approvals.len(), 0);
    let planned = approved().reload(with_plan(vec![two_people(), two_people()], After::default()));
    assert_eq!(planned.ground.rollout(0).approvals.len(), 0);
}

#[test]
fn after_a_success_the_roles_are_exchanged_where_the_file_says_so() {
    let after = After {
        swap_roles: true,
        ..After::default()
    };
    let half = || vec![Step::weigh(500_000, Duration::ZERO)];
    let story = Story::begin(spec(with_plan(half(), after)))
        .command(Verb::Start)
        .says("direction", "stable to canary")
        .stands(Phase::Progressing, [500_000, 500_000])
        .tick(VerdictKind::Pass, 1)
        .stands(Phase::Succeeded, [0, 1_000_000])
        .command(Verb::Start)
        .says("direction", "canary to stable")
        .stands(Phase::Progressing, [500_000, 500_000])
        .restart(|_| {})
        .command(Verb::Abort)
        .stands(Phase::Aborted, [0, 1_000_000])
        .command(Verb::Retry)
        .says("direction", "canary to stable");
    story
        .tick(VerdictKind::Pass, 1)
        .stands(Phase::Succeeded, [1_000_000, 0]);
    // Without it a start begins the same again.
    let story = Story::begin(spec(with_plan(half(), After::default()))).command(Verb::Start);
    story
        .tick(VerdictKind::Pass, 1)
        .command(Verb::Start)
        .says("direction", "stable to canary");
}

#[test]
fn a_release_that_may_not_begin_yet_is_not_the_one_on_trial() {
    let check = |story: &Story, expected: Option<&str>| {
        assert_eq!(
            story.ground.release_on_trial(0).as_deref(),
            expected,
            "{:?}",
            story.happenings
        );
    };
    let to = |release: Option<&str>| {
        let release = release.map(str::to_owned);
        move |spec: &mut Spec| spec.backends[1].release = release
    };
    let story = Story::begin(spec(|spec| spec.rollouts[0].auto_start = true)).succeed();
    check(&story, Some("v1.5.0"));
    let story = story.freeze(true).reload(to(Some("v1.6.0")));
    check(&story, Some("v1.5.0"));
    let mut story = story.freeze(false);
    story.ground.knocked(0);
    let story = story.catch_up();
    check(&story, Some("v1.6.0"));
    check(&story.reload(to(None)), None);
}

#[test]
fn an_aborted_rollout_knows_the_step_that_it_was_in() {
    let check = |story: Story, expected: Option<usize>| {
        assert_eq!(story.ground.rollout(0).aborted_in, expected, "{:?}", story.happenings);
    };
    let begun = || Story::begin(spec(|_| {}));
    let second = || begun().command(Verb::Start).tick(VerdictKind::Pass, 10);
    check(second(), None);
    check(begun().command(Verb::Abort), None);
    check(begun().command(Verb::Start).command(Verb::Abort), Some(0));
    check(second().tick(VerdictKind::Fail, 1), Some(1));
    check(
        second().command(Verb::Pause).command(Verb::Abort).restart(|_| {}),
        Some(1),
    );
    check(begun().succeed().command(Verb::Rollback), Some(3));
    check(second().command(Verb::Abort).command(Verb::Retry), None);
    let planned = |spec: &mut Spec| spec.rollouts[0].plan = plan(&[(50_000, 10), (1_000_000, 0)]);
    check(second().command(Verb::Abort).reload(planned), None);
}

#[test]
fn after_a_success_it_is_known_until_when_what_goes_on() {
    let seconds = Duration::from_secs;
    let after = |rollback_window| After {
        watch: seconds(10),
        standby: seconds(20),
        rollback_window,
        swap_roles: false,
    };
    let half = || vec![Step::weigh(500_000, Duration::ZERO)];
    let story = Story::begin(spec(with_plan(half(), after(Some(seconds(60)))))).command(Verb::Start);
    let until = |story: &Story, now_ms| {
        let found = story.ground.afterwards(0, now_ms);
        [found.standby_ms, found.watch_ms, found.rollback_ms]
    };
    assert_eq!(until(&story, 5_000), [None; 3], "not yet");
    let story = story
        .tick(VerdictKind::Pass, 1)
        .stands(Phase::Succeeded, [0, 1_000_000]);
    let closes = Some(story.ground.rollout(0).state.since_ms() + 60_000);
    assert_eq!(until(&story, 5_000), [Some(25_000), Some(15_000), closes]);
    // Serin was up for twelve seconds of these forty.
    let story = story.tick(VerdictKind::Pass, 12);
    assert_eq!(until(&story, 45_000), [Some(53_000), None, closes]);
    let story = story.tick(VerdictKind::Pass, 12);
    assert_eq!(until(&story, 100_000), [None; 3]);
    assert_eq!(until(&story.command(Verb::Rollback), 5_000), [None; 3]);
    let open = Story::begin(spec(with_plan(half(), after(None)))).command(Verb::Start);
    assert_eq!(until(&open.tick(VerdictKind::Pass, 1), 5_000)[2], None);
}

#[test]
fn a_direction_is_towards_the_side_that_has_less() {
    let half = || spec(with_plan(vec![Step::weigh(500_000, Duration::ZERO)], After::default()));
    let refused = Story::begin(half()).start_towards((1, 0)).err().unwrap().0;
    assert!(
        refused.contains("stable has at least as much weight already"),
        "{refused}"
    );
    let story = Story::begin(half()).command(Verb::Start).tick(VerdictKind::Pass, 1);
    let story = story
        .stands(Phase::Succeeded, [0, 1_000_000])
        .start_towards((1, 0))
        .unwrap();
    story
        .says("direction", "canary to stable")
        .stands(Phase::Progressing, [500_000, 500_000]);
}

#[test]
fn the_release_that_starts_a_rollout_is_that_of_the_next_canary() {
    let after = After {
        swap_roles: true,
        ..After::default()
    };
    let story = Story::begin(spec(|spec| {
        with_plan(vec![Step::weigh(500_000, Duration::ZERO)], after)(spec);
        spec.rollouts[0].auto_start = true;
    }))
    .command(Verb::Start)
    .tick(VerdictKind::Pass, 1)
    .reload(|spec| spec.backends[1].release = Some("v1.5.1".into()))
    .stands(Phase::Succeeded, [0, 1_000_000])
    .reload(|spec| spec.backends[0].release = Some("v1.6.0".into()))
    .stands(Phase::Progressing, [500_000, 500_000]);
    assert_eq!(story.ground.pair(0), (1, 0));
    story.tick(VerdictKind::Fail, 1).stands(Phase::Aborted, [0, 1_000_000]);
}

#[test]
fn nothing_moves_forward_while_all_is_frozen_and_an_abort_does() {
    let story = Story::begin(spec(|spec| spec.rollouts[0].auto_start = true))
        .command(Verb::Start)
        .freeze(true)
        .tick(VerdictKind::Pass, 100)
        .stands(Phase::Progressing, [950_000, 50_000])
        .refuses(
            Verb::Promote { full: false },
            "frozen by alice (try it); possible now: abort, pause",
        )
        .reload(|spec| spec.backends[1].release = Some("v1.6.0".into()))
        .restart(|_| {})
        .stands(Phase::Progressing, [950_000, 50_000]);
    assert_eq!(story.ground.rollout(0).trial, 1, "the new release waits");
    let story = story
        .command(Verb::Abort)
        .stands(Phase::Aborted, [1_000_000, 0])
        .refuses(Verb::Start, "frozen")
        .catch_up()
        .stands(Phase::Aborted, [1_000_000, 0])
        .freeze(false)
        .stands(Phase::Aborted, [1_000_000, 0])
        .catch_up()
        .stands(Phase::Progressing, [950_000, 50_000]);
    assert_eq!(story.ground.rollout(0).trial, 2);
}

#[test]
fn weights_wait_for_the_thaw_and_may_only_be_taken_from_a_canary() {
    let story = Story::begin(spec(|spec| weigh(spec, 0, [80, 20])))
        .freeze(true)
        .reload(|spec| weigh(spec, 0, [50, 50]))
        .stands(Phase::Watching, [80, 20])
        .keeps(1);
    let refused = |story: &Story, route, weights: [u32; 2]| {
        let found = story.ground.set_weights(route, &weights, ALICE, 0);
        found.map(|_| String::new()).unwrap_or_else(|refused| refused.0)
    };
    assert!(refused(&story, 0, [70, 30]).contains("frozen by alice"));
    assert!(refused(&story, 1, [70, 30]).contains("frozen by alice"));
    assert_eq!(refused(&story, 0, [90, 10]), "");
    story
        .freeze(false)
        .catch_up()
        .stands(Phase::Watching, [50, 50])
        .keeps(0);
}

#[test]
fn a_rollout_starts_within_its_window_only() {
    // The epoch was a Thursday.
    let open = |days: &[&str]| {
        let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
        Some(Window::new(&days, "00:00", "24:00", "UTC").unwrap())
    };
    let spec = |window: Option<Window>| {
        spec(|spec| {
            spec.rollouts[0].auto_start = true;
            spec.rollouts[0].window = window;
        })
    };
    Story::begin(spec(open(&["thu"]))).command(Verb::Start);
    Story::begin(spec(open(&["fri"])))
        .refuses(Verb::Start, "outside of its window, which opens 1970-01-02 00:00 UTC")
        .reload(|spec| spec.backends[1].release = Some("v1.6.0".into()))
        .stands(Phase::Idle, [100, 0])
        .reload(|spec| spec.rollouts[0].window = None)
        .stands(Phase::Progressing, [950_000, 50_000]);
}

#[test]
fn a_promotion_is_watched_and_rolled_back() {
    let after = After {
        watch: Duration::from_secs(60),
        standby: Duration::from_secs(5),
        ..After::default()
    };
    let succeeded = || {
        let story = Story::begin(spec(with_plan(vec![], after))).command(Verb::Start);
        story.stands(Phase::Succeeded, [0, 1_000_000])
    };
    let story = succeeded().tick(VerdictKind::Pass, 59);
    assert!(story.ground.is_judged(0) && story.ground.awaits_time(0));
    assert!(story.happenings.last().unwrap().reason.contains("stood by for 5.0 s"));
    let story = story
        .restart(|_| {})
        .tick(VerdictKind::Pass, 1)
        .stands(Phase::Succeeded, [0, 1_000_000]);
    assert!(!story.ground.is_judged(0) && !story.ground.awaits_time(0));
    assert!(
        story
            .happenings
            .last()
            .unwrap()
            .reason
            .contains("watched for 1 min 0 s")
    );
    succeeded()
        .tick(VerdictKind::Fail, 1)
        .stands(Phase::Aborted, [1_000_000, 0]);
    succeeded()
        .command(Verb::Rollback)
        .stands(Phase::Aborted, [1_000_000, 0]);
}

#[test]
fn the_undo_of_a_promotion_has_its_window() {
    let after = After {
        rollback_window: Some(Duration::from_millis(1)),
        ..After::default()
    };
    let mut story = Story::begin(spec(with_plan(vec![], after))).command(Verb::Start);
    story.now_ms += 10;
    story
        .refuses(Verb::Rollback, "the rollback window of 1 ms after success is over")
        .command(Verb::Abort);
}

/// Three endpoints, replaced one by one.
fn rolling(spec: &mut Spec) {
    let endpoints = |first: u16| {
        let endpoint = |port| Endpoint {
            host: "127.0.0.1".into(),
            port,
        };
        (first..first + 3).map(endpoint).collect()
    };
    spec.backends[0].endpoints = endpoints(1);
    spec.backends[1].endpoints = endpoints(11);
    let rotation = |from_out, to_in| Some(Rotation { from_out, to_in });
    let health = |first: usize| {
        Needs::Errand(Arc::new(Errand::Smoke(Smoke {
            checks: Vec::new(),
            attempts: 1,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            endpoints: Some((first, first + 1)),
        })))
    };
    let batch = |done: u32| {
        let step = |weight_ppm, needs, rotation| Step {
            rotation,
            ..Step::new(weight_ppm, needs)
        };
        let weight = |to_in: u32| to_in * 1_000_000 / 3;
        [
            step(
                weight(done),
                Needs::Drained(Duration::from_secs(1)),
                rotation(done + 1, done),
            ),
            step(weight(done), health(done as usize), rotation(done + 1, done)),
            step(
                weight(done + 1),
                Needs::Evidence {
                    bake_time: Duration::from_secs(1),
                },
                rotation(done + 1, done + 1),
            ),
        ]
    };
    let steps = (0..3).flat_map(batch).collect();
    spec.rollouts[0].plan = Plan::new(steps).unwrap();
}

impl Story {
    fn errand_passes(mut self) -> Self {
        match self.ground.errand_ended(0, Ok(()), self.now_ms) {
            Some(Ticked::Baked(state)) => self.ground.bake(0, state),
            other => panic!("{other:?}"),
        }
        self
    }

    /// Of each side how many endpoints are out of the rotation, and in it.
    #[track_caller]
    fn rotates(self, expected: Option<(u32, u32)>) -> Self {
        let found = self.ground.in_force()[0].trial.as_ref().unwrap().rotation;
        assert_eq!(found.map(|rotation| (rotation.from_out, rotation.to_in)), expected);
        self
    }
}

#[test]
fn endpoints_that_were_replaced_come_back_batch_by_batch_after_an_abort() {
    let one_replaced = || {
        Story::begin(spec(rolling))
            .command(Verb::Start)
            .rotates(Some((1, 0)))
            .tick(VerdictKind::Inconclusive, 1)
            .errand_passes()
            .tick(VerdictKind::Inconclusive, 1)
            .stands(Phase::Progressing, [666_667, 333_333])
            .rotates(Some((1, 1)))
    };
    let check = |story: &Story| match story.ground.return_check(0) {
        Some(Errand::Smoke(smoke)) => smoke.endpoints,
        other => panic!("{other:?}"),
    };
    let two_replaced = one_replaced()
        .tick(VerdictKind::Pass, 1)
        .rotates(Some((2, 1)))
        .tick(VerdictKind::Fail, 1)
        .stands(Phase::Aborted, [1_000_000, 0])
        .rotates(Some((2, 0)))
        .restart(|_| {})
        .rotates(Some((2, 0)));
    assert_eq!(check(&two_replaced), Some((1, 2)));
    assert_eq!(
        two_replaced
            .ground
            .task(0, Arc::new(two_replaced.ground.return_check(0).unwrap()), 1)
            .endpoints[1],
        "127.0.0.1:2"
    );
    let mut story = two_replaced;
    for (expected, next) in [((1, 0), Some((0, 1))), ((0, 0), None)] {
        let changed = story.ground.take_back(0, 5);
        story.take(changed);
        match next {
            Some(next) => assert_eq!(check(&story), Some(next)),
            None => assert_eq!(story.ground.return_check(0), None),
        }
        story = story.rotates(Some(expected).filter(|expected| expected.0 > 0));
    }
    // A start does not wait for them; it begins with all of them.
    let aborted = one_replaced().command(Verb::Abort).rotates(Some((1, 0)));
    aborted
        .command(Verb::Start)
        .rotates(Some((1, 0)))
        .stands(Phase::Progressing, [1_000_000, 0]);
    // Where none is left that could serve meanwhile, all are back at once.
    let last = one_replaced().command(Verb::Promote { full: true });
    last.rotates(Some((3, 3))).command(Verb::Abort).rotates(None);
}

#[test]
fn the_next_release_waits_until_the_side_that_gets_its_weight_back_answers() {
    let story = Story::begin(spec(|spec| spec.rollouts[0].auto_start = true))
        .succeed()
        .reload(|spec| spec.backends[1].release = Some("v1.6.0".into()))
        .catch_up()
        .stands(Phase::Succeeded, [0, 1_000_000]);
    let waiting = story.ground.waiting(0, story.now_ms).unwrap();
    assert!(waiting.starts_with("stable (v1.4.2) to answer"), "{waiting}");
    let knock = story.ground.knock(0, story.now_ms).unwrap();
    assert_eq!(story.ground.task(0, Arc::new(knock), 1).endpoints.len(), 1);
    let mut story = story;
    story.ground.knocked(0);
    let story = story.catch_up().stands(Phase::Progressing, [950_000, 50_000]);
    assert!(story.ground.knock(0, story.now_ms).is_none());
    // A person is asked to know.
    Story::begin(spec(|_| {}))
        .succeed()
        .command(Verb::Start)
        .stands(Phase::Progressing, [950_000, 50_000]);
}

#[test]
fn an_aborted_canary_stays_without_weight_whatever_the_file_makes_of_the_pair() {
    let aborted = || {
        file()
            .command(Verb::Start)
            .command(Verb::Abort)
            .stands(Phase::Aborted, [1_000_000, 0])
    };
    let exchanged = |spec: &mut Spec| (spec.rollouts[0].from, spec.rollouts[0].to) = (1, 0);
    aborted().reload(exchanged).stands(Phase::Aborted, [1_000_000, 0]);
    aborted().restart(exchanged).stands(Phase::Aborted, [1_000_000, 0]);
    file()
        .succeed()
        .reload(exchanged)
        .stands(Phase::Succeeded, [0, 1_000_000]);
    file()
        .command(Verb::Start)
        .reload(exchanged)
        .stands(Phase::Progressing, [950_000, 50_000]);
    // Another name brings nothing back, nor does the end of the rollout.
    let by_hand = || {
        file()
            .by_hand([70, 30])
            .command(Verb::Abort)
            .stands(Phase::Aborted, [1_000_000, 0])
    };
    by_hand()
        .reload(|spec| spec.rollouts[0].name = name("shop-2"))
        .stands(Phase::Aborted, [1_000_000, 0]);
    let gone = by_hand().reload(|spec| spec.rollouts.clear());
    assert_eq!(gone.ground.in_force()[0].weights, [100, 0]);
}

#[test]
fn a_trial_of_other_variants_is_none_of_this_one() {
    let third = |spec: &mut Spec| {
        let mut third = spec.routes[0].variants[1].clone();
        (third.name, third.weight) = (name("third"), 10);
        spec.routes[0].variants.push(third);
    };
    let story = file()
        .reload(third)
        .command(Verb::Start)
        .command(Verb::Abort)
        .reload(|spec| (spec.rollouts[0].from, spec.rollouts[0].to) = (1, 2));
    assert_eq!(story.ground.in_force()[0].weights, [100, 0, 10]);
    assert_eq!(story.ground.rollout(0).state.phase(), Phase::Watching);
}

#[test]
fn by_hand_nobody_goes_past_people_who_have_to_approve() {
    let gated = || Story::begin(spec(with_plan(vec![two_people()], After::default())));
    let refused = |story: &Story, weights: [u32; 2]| {
        let found = story.ground.set_weights(0, &weights, ALICE, 0);
        found.map_or_else(|refused| refused.0, |_| String::new())
    };
    assert!(refused(&gated(), [50, 50]).contains("people have to approve"));
    let paused = gated().command(Verb::Start).command(Verb::Pause);
    assert!(refused(&paused, [0, 100]).contains("people have to approve"));
    assert_eq!(refused(&paused, [100, 0]), "");
}

#[test]
fn the_word_of_somebody_who_is_gone_counts_no_more() {
    let people = |list: &[(&str, &str)]| {
        let token = |&(by, role): &(&str, &str)| Token {
            name: name(by),
            hash: TokenHash::of(by),
            roles: vec![role.to_owned()],
        };
        Tokens::new(list.iter().map(token).collect()).unwrap()
    };
    let missing = |list: &[(&str, &str)]| {
        let mut story = Story::begin(spec(with_plan(vec![two_people()], After::default())))
            .command(Verb::Start)
            .approve("ann", &["sre"])
            .unwrap();
        story.ground.keep_approvals_of(Some(&people(list)));
        story.ground.waiting(0, story.now_ms).unwrap()
    };
    assert_eq!(missing(&[("ann", "sre"), ("bob", "sre")]), "1 of 2 approvals");
    assert!(missing(&[("ann", "viewer"), ("bob", "sre")]).starts_with("0 of 2 approvals"));
    assert!(missing(&[("bob", "sre")]).starts_with("0 of 2 approvals"));
}
