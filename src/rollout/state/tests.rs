//! How time, verdicts and edits move a rollout, as facts.

use super::super::plan::Step;
use super::*;
use crate::analysis::Evidence;
use crate::rollout::Verb;

/// Steps as (percent, seconds of baking).
pub(in crate::rollout) fn plan(steps: &[(u32, u64)]) -> Plan {
    let step = |&(percent, seconds): &(u32, u64)| Step::weigh(percent * 10_000, Duration::from_secs(seconds));
    Plan::new(steps.iter().map(step).collect()).unwrap()
}

pub(in crate::rollout) fn three_steps() -> Plan {
    plan(&[(5, 10), (25, 10), (100, 10)])
}

fn verdict(kind: VerdictKind) -> Verdict {
    Verdict {
        kind,
        metric: None,
        reason: format!("the verdict is {}", kind.as_str()),
        evidence: Evidence::default(),
    }
}

/// Longer than any test waits.
const PATIENT: Duration = Duration::from_secs(1_000_000);

fn tick_of<'a>(plan: &'a Plan, verdict: &'a Verdict, seconds: u64) -> Tick<'a> {
    Tick {
        plan,
        verdict,
        elapsed: Duration::from_secs(seconds),
        patience: PATIENT,
        observe: false,
        held: false,
        cleared: false,
        now_ms: 99,
    }
}

/// The state after one tick of `seconds`.
fn ticked(state: &State, plan: &Plan, kind: VerdictKind, seconds: u64) -> State {
    let verdict = verdict(kind);
    let ticked = state.tick(tick_of(plan, &verdict, seconds));
    ticked.map_or_else(|baked| baked, |moved| moved.state)
}

/// The state after one tick of `seconds` with so many seconds of patience.
fn tried(state: &State, kind: VerdictKind, seconds: u64, patience: u64) -> State {
    let (plan, verdict) = (three_steps(), verdict(kind));
    let ticked = state.tick(Tick {
        patience: Duration::from_secs(patience),
        ..tick_of(&plan, &verdict, seconds)
    });
    ticked.map_or_else(|baked| baked, |moved| moved.state)
}

/// A state in `phase`, in the second step where there is one.
pub(in crate::rollout) fn in_phase(phase: Phase) -> State {
    let plan = three_steps();
    let verb = |state: State, verb| state.command(&plan, verb, 1).unwrap().state;
    let begun = verb(State::initial(false, 1), Verb::Start);
    let second = verb(begun.clone(), Verb::Promote { full: false });
    let found = match phase {
        Phase::Idle => State::initial(false, 1),
        Phase::Watching => State::initial(true, 1),
        Phase::Progressing => second,
        Phase::Paused => verb(second, Verb::Pause),
        Phase::Promoting => verb(begun, Verb::Promote { full: true }),
        Phase::Succeeded => ticked(&in_phase(Phase::Promoting), &plan, VerdictKind::Pass, 10),
        Phase::Aborted => verb(begun, Verb::Abort),
    };
    assert_eq!(found.phase(), phase);
    found
}

#[test]
fn a_verdict_and_a_tick_move_each_phase_only_as_the_table_says() {
    use Phase::{Aborted, Idle, Paused, Progressing, Promoting, Succeeded, Watching};
    use VerdictKind::{Fail, Hold, Inconclusive, Pass};
    let check = |phase, kind, seconds, expected| {
        let found = ticked(&in_phase(phase), &three_steps(), kind, seconds).phase();
        assert_eq!(found, expected, "{phase:?} {kind:?} {seconds} s");
    };
    for waits in [Hold, Inconclusive] {
        for phase in Phase::ALL {
            check(phase, waits, 10_000, phase);
        }
    }
    for settled in [Idle, Succeeded, Aborted] {
        for kind in VerdictKind::ALL {
            check(settled, kind, 10_000, settled);
        }
    }
    for judged in [Watching, Progressing, Paused, Promoting] {
        check(judged, Fail, 0, Aborted);
        assert!(judged.is_judged());
    }
    for waits in [Watching, Paused] {
        check(waits, Pass, 10_000, waits);
    }
    check(Progressing, Pass, 9, Progressing);
    check(Progressing, Pass, 10, Promoting);
    check(Promoting, Pass, 9, Promoting);
    check(Promoting, Pass, 10, Succeeded);
}

#[test]
fn steps_follow_each_other_to_the_end() {
    let plan = three_steps();
    let mut state = in_phase(Phase::Idle).command(&plan, Verb::Start, 5).unwrap().state;
    let mut seen = Vec::new();
    while state.phase() != Phase::Succeeded {
        seen.push((state.step(), state.canary_ppm(&plan)));
        state = ticked(&state, &plan, VerdictKind::Pass, 10);
    }
    let step = |index, ppm| (Some(index), Some(ppm));
    assert_eq!(seen, [step(0, 50_000), step(1, 250_000), step(2, 1_000_000)]);
    assert_eq!(
        (state.step(), state.canary_ppm(&plan), state.since_ms()),
        (None, Some(1_000_000), 99)
    );
}

#[test]
fn baking_adds_up_over_ticks_and_begins_anew_with_a_step() {
    let plan = three_steps();
    let state = in_phase(Phase::Progressing);
    let baked = ticked(
        &ticked(&state, &plan, VerdictKind::Hold, 6),
        &plan,
        VerdictKind::Inconclusive,
        3,
    );
    assert_eq!(
        (baked.baked(), baked.since_ms()),
        (Duration::from_secs(9), state.since_ms())
    );
    let next = ticked(&baked, &plan, VerdictKind::Pass, 1);
    assert_eq!((next.phase(), next.baked()), (Phase::Promoting, Duration::ZERO));
}

#[test]
fn nothing_bakes_in_a_pause() {
    let paused = ticked(&in_phase(Phase::Paused), &three_steps(), VerdictKind::Pass, 500);
    assert_eq!(paused.baked(), Duration::ZERO);
}

#[test]
fn a_last_step_without_bake_time_is_success_at_once() {
    let plan = plan(&[(50, 0), (100, 0)]);
    let state = State::initial(false, 0).command(&plan, Verb::Start, 0).unwrap().state;
    assert_eq!(ticked(&state, &plan, VerdictKind::Pass, 0).phase(), Phase::Succeeded);
}

#[test]
fn a_move_says_where_it_was_and_why() {
    let (plan, state) = (three_steps(), in_phase(Phase::Progressing));
    let reason = |kind| {
        let moved = state.tick(tick_of(&plan, &verdict(kind), 12)).unwrap();
        assert_eq!(moved.state.reason(), moved.reason);
        moved.reason
    };
    assert_eq!(reason(VerdictKind::Fail), "step 2 of 3 (25 %): the verdict is fail");
    assert_eq!(
        reason(VerdictKind::Pass),
        "step 2 of 3 (25 %) passed after 12.0 s: the verdict is pass"
    );
}

#[test]
fn patience_with_thin_evidence_ends_in_a_pause() {
    use VerdictKind::{Hold, Inconclusive};
    let check = |kind, seconds, patience, expected| {
        let found = tried(&in_phase(Phase::Progressing), kind, seconds, patience);
        assert_eq!(found.phase(), expected, "{kind:?} {seconds} s, patience {patience} s");
    };
    check(Inconclusive, 9, 0, Phase::Progressing);
    check(Inconclusive, 10, 0, Phase::Paused);
    check(Inconclusive, 14, 5, Phase::Progressing);
    check(Inconclusive, 15, 5, Phase::Paused);
    check(Hold, 10_000, 0, Phase::Progressing);
    let paused = tried(&in_phase(Phase::Promoting), Inconclusive, 15, 5);
    assert_eq!(
        (paused.phase(), paused.canary_ppm(&three_steps())),
        (Phase::Paused, Some(MILLION))
    );
    let reason = "step 3 of 3 (100 %): bake time over, evidence too thin: the verdict is inconclusive; resume \
                      to go on waiting, promote to go on without";
    assert_eq!(paused.reason(), reason);
}

#[test]
fn only_time_with_thin_evidence_spends_the_patience() {
    use VerdictKind::{Hold, Inconclusive};
    let held = tried(&in_phase(Phase::Progressing), Hold, 500, 5);
    let waits = tried(&held, Inconclusive, 4, 5);
    assert_eq!(waits.phase(), Phase::Progressing);
    assert_eq!(
        tried(&tried(&waits, Hold, 9, 5), Inconclusive, 1, 5).phase(),
        Phase::Paused
    );
}

#[test]
fn who_resumes_after_thin_evidence_waits_again() {
    use VerdictKind::{Inconclusive, Pass};
    let plan = three_steps();
    let resumed = |patience| {
        let paused = tried(&in_phase(Phase::Progressing), Inconclusive, 2_000, patience);
        assert_eq!(paused.phase(), Phase::Paused);
        paused.command(&plan, Verb::Resume, 7).unwrap().state
    };
    let check = |patience, seconds, expected| {
        let found = tried(&resumed(patience), Inconclusive, seconds, patience).phase();
        assert_eq!(found, expected, "{seconds} s, patience {patience} s");
    };
    check(500, 499, Phase::Progressing);
    check(500, 500, Phase::Paused);
    // Without any patience it would be paused at once, and nobody could wait.
    check(0, 59, Phase::Progressing);
    check(0, 60, Phase::Paused);
    assert_eq!(tried(&resumed(0), Pass, 1, 0).phase(), Phase::Promoting);
    // A pause before the end of the bake time is none for want of evidence.
    let early = in_phase(Phase::Paused).command(&plan, Verb::Resume, 7).unwrap().state;
    assert_eq!(tried(&early, Inconclusive, 10, 0).phase(), Phase::Paused);
}

#[test]
fn who_observes_moves_nothing() {
    let plan = three_steps();
    for phase in Phase::ALL {
        for kind in VerdictKind::ALL {
            let (state, verdict) = (in_phase(phase), verdict(kind));
            let found = state.tick(Tick {
                observe: true,
                patience: Duration::ZERO,
                ..tick_of(&plan, &verdict, 50)
            });
            let baked = found.expect_err("nothing moved");
            assert_eq!((baked.phase(), baked.step()), (phase, state.step()));
            let runs = matches!(phase, Phase::Progressing | Phase::Promoting);
            assert_eq!(baked.baked(), Duration::from_secs(if runs { 50 } else { 0 }));
        }
    }
}

#[test]
fn the_canary_gets_what_the_phase_says() {
    let check = |phase, expected| assert_eq!(in_phase(phase).canary_ppm(&three_steps()), expected, "{phase:?}");
    check(Phase::Idle, None);
    check(Phase::Watching, None);
    check(Phase::Progressing, Some(250_000));
    check(Phase::Paused, Some(250_000));
    check(Phase::Promoting, Some(1_000_000));
    check(Phase::Succeeded, Some(1_000_000));
    check(Phase::Aborted, Some(0));
}

#[test]
fn a_changed_plan_keeps_phase_and_weight_and_takes_the_nearest_step() {
    let check = |phase, new: &[(u32, u64)], step, ppm| {
        let new = plan(new);
        let found = in_phase(phase).plan_changed(&three_steps(), &new, 7);
        assert_eq!(
            (found.phase(), found.step(), found.canary_ppm(&new)),
            (phase, step, ppm),
            "{phase:?}"
        );
    };
    check(Phase::Progressing, &[(5, 1), (30, 1), (100, 1)], Some(1), Some(250_000));
    check(
        Phase::Progressing,
        &[(25, 1), (50, 1), (100, 1)],
        Some(0),
        Some(250_000),
    );
    check(Phase::Progressing, &[(100, 1)], Some(0), Some(250_000));
    check(Phase::Paused, &[(5, 1), (100, 1)], Some(0), Some(250_000));
    check(Phase::Promoting, &[(5, 1), (100, 1)], Some(1), Some(1_000_000));
    check(Phase::Succeeded, &[(5, 1), (100, 1)], None, Some(1_000_000));
    check(Phase::Aborted, &[(5, 1), (100, 1)], None, Some(0));
    check(Phase::Idle, &[], None, None);
    check(Phase::Aborted, &[], None, Some(0));
}

#[test]
fn after_a_changed_plan_the_next_step_is_above_the_weight_in_force() {
    let new = plan(&[(25, 1), (30, 1), (100, 1)]);
    let kept = in_phase(Phase::Progressing).plan_changed(&three_steps(), &new, 7);
    let next = ticked(&kept, &new, VerdictKind::Pass, 1);
    assert_eq!((next.step(), next.canary_ppm(&new)), (Some(1), Some(300_000)));
}

#[test]
fn a_plan_whose_steps_are_gone_leaves_its_weight_watched() {
    let gone = Plan::default();
    let left = in_phase(Phase::Promoting).plan_changed(&three_steps(), &gone, 7);
    assert_eq!(
        (left.phase(), left.canary_ppm(&gone)),
        (Phase::Watching, Some(1_000_000))
    );
    let by_hand = in_phase(Phase::Paused).weights_set(true, 3).unwrap().state;
    let left = by_hand.plan_changed(&three_steps(), &gone, 7);
    assert_eq!((left.phase(), left.canary_ppm(&gone)), (Phase::Watching, None));
}

#[test]
fn a_new_release_starts_the_plan_where_it_may() {
    let check = |phase, auto_start, expected: Option<(Phase, u32)>| {
        let plan = three_steps();
        let moved = in_phase(phase).release_changed(&plan, auto_start, 7);
        let found = moved.map(|m| (m.state.phase(), m.state.canary_ppm(&plan).unwrap()));
        assert_eq!(found, expected, "{phase:?}");
    };
    for phase in Phase::ALL {
        let phase_after = if phase == Phase::Paused {
            Phase::Paused
        } else {
            Phase::Progressing
        };
        check(phase, true, Some((phase_after, 50_000)));
        check(phase, false, (phase == Phase::Aborted).then_some((Phase::Idle, 0)));
    }
}

#[test]
fn a_new_release_of_an_aborted_guard_leads_to_idle_without_weight() {
    let guard = Plan::default();
    let aborted = State::initial(true, 0).command(&guard, Verb::Abort, 1).unwrap().state;
    let idle = aborted.release_changed(&guard, true, 2).unwrap().state;
    assert_eq!((idle.phase(), idle.canary_ppm(&guard)), (Phase::Idle, Some(0)));
    assert_eq!(idle.release_changed(&guard, true, 3), None);
    let watched = idle.weights_set(true, 4).unwrap().state;
    assert_eq!((watched.phase(), watched.canary_ppm(&guard)), (Phase::Watching, None));
}
