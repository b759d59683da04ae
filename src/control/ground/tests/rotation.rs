//! Endpoints that are replaced one by one, and come back after an abort.

use super::*;

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
