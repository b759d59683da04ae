//! Whole releases: gates, directions, freezes, windows, what follows success, and pairs that the file changes.

use super::*;

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

    pub(super) fn freeze(mut self, frozen: bool) -> Self {
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
