use std::sync::Arc;

use super::{Court, Moment, Stand};
use crate::analysis::{Term, VerdictKind};
use crate::compile::{Book, compile};
use crate::config::Spec;
use crate::control::draft::Wish;
use crate::control::fixture::{name, route, spec};
use crate::control::ground::{Ground, Ordered};
use crate::control::standing::Standing;
use crate::measure::{AT_P90, AT_P99, NO_LIMIT, Outcome, Recorder, Track};
use crate::rollout::Verb;
use crate::route::{Bounds, Table};
use std::time::Duration;

/// A court, and what it looks at.
struct Scene {
    ground: Ground,
    book: Book,
    table: Table,
    court: Court,
    now_ms: u64,
}

const WISH: Wish = Wish {
    by: "alice",
    reason: "",
};

impl Scene {
    fn new(change: impl FnOnce(&mut Spec)) -> Self {
        let (ground, _) = Ground::meet(spec(change), Standing::default(), 0);
        let mut book = Book::new(1);
        let table = compile(&ground.spec, &ground.in_force(), 1, &mut book, None);
        let mut scene = Self {
            ground,
            book,
            table,
            court: Court::default(),
            now_ms: 0,
        };
        scene.follow();
        scene
    }

    fn now(&self) -> Moment {
        Moment {
            ms: self.now_ms,
            live_us: self.now_ms * 1_000,
        }
    }

    fn follow(&mut self) {
        let in_force = self.ground.in_force();
        let generation = self.table.generation + 1;
        self.table = compile(&self.ground.spec, &in_force, generation, &mut self.book, None);
        self.court.follow(&self.ground, &self.table, self.now());
    }

    fn say(&mut self, verb: Verb) {
        self.ground = self
            .ground
            .command(0, verb, &Ordered::default(), WISH, self.now_ms)
            .unwrap()
            .0;
        self.follow();
    }

    fn weigh(&mut self, weights: [u32; 2]) {
        self.ground = self.ground.set_weights(0, &weights, WISH, self.now_ms).unwrap().0;
        self.follow();
    }

    fn look(&mut self, after_ms: u64) -> Vec<(usize, VerdictKind)> {
        self.now_ms += after_ms;
        let verdicts = self.court.look(&self.ground, self.now());
        verdicts
            .into_iter()
            .map(|(index, verdict)| (index, verdict.kind))
            .collect()
    }

    fn recorder(&self, route: usize, variant: usize) -> &Arc<Recorder> {
        &self.table.routes[route].variants[variant].recorder
    }

    fn serve(&self, route: usize, variant: usize, outcome: Outcome, requests: usize) {
        let recorder = self.recorder(route, variant);
        let slot = self.table.routes[route].variants[variant].slot;
        for _ in 0..requests {
            let track = Track::Draw { slot };
            recorder.cell(0).dispatched(track);
            recorder.cell(0).headed(track, recorder, 20_000, 0);
            recorder.cell(0).resolved(track, outcome);
        }
    }

    fn limits(&self, route: usize) -> [[u64; 2]; 2] {
        [0, 1].map(|variant| [AT_P90, AT_P99].map(|at| self.recorder(route, variant).limit_us(at)))
    }

    fn stand(&self) -> Stand {
        Stand::of(&self.ground, 0)
    }
}

#[test]
fn limits_move_with_stable_also_while_nothing_is_on_trial() {
    let mut scene = Scene::new(|_| {});
    assert!(scene.look(100).is_empty());
    assert_eq!(scene.limits(0), [[NO_LIMIT; 2]; 2]);
    scene.serve(0, 0, Outcome::Success, 500);
    scene.look(10_000);
    let [[stable, none], [canary, _]] = scene.limits(0);
    assert!((19_000..=21_000).contains(&stable), "{stable}");
    assert_eq!((canary, none), ((stable * 5).div_ceil(4), NO_LIMIT));
    // A start is no other stable, and a step neither.
    scene.say(Verb::Start);
    assert_eq!(scene.limits(0)[0][0], stable);
    scene.say(Verb::Promote { full: false });
    assert_eq!(scene.limits(0)[1][0], canary);
}

#[test]
fn many_rollouts_do_not_measure_at_once_and_none_is_forgotten() {
    const ROLLOUTS: usize = 100;
    let mut scene = Scene::new(|spec| {
        let first = spec.rollouts[0].clone();
        spec.routes = (0..ROLLOUTS).map(|n| route(&format!("r{n}"))).collect();
        let rollouts = (0..ROLLOUTS).map(|n| crate::config::Rollout {
            name: name(&format!("r{n}")),
            route: n,
            ..first.clone()
        });
        spec.rollouts = rollouts.collect();
    });
    let measured = |scene: &Scene| {
        let moved = |route: &usize| scene.limits(*route)[0][0] != NO_LIMIT;
        (0..ROLLOUTS).filter(moved).count()
    };
    // The first measurement of each is what the second is compared with.
    for _ in 0..100 {
        scene.look(100);
    }
    for route in 0..ROLLOUTS {
        scene.serve(route, 0, Outcome::Success, 200);
    }
    let mut last = 0;
    for _ in 0..100 {
        scene.look(100);
        let now = measured(&scene);
        assert!(now - last <= 3, "{} in one look", now - last);
        last = now;
    }
    assert_eq!(last, ROLLOUTS);
}

#[test]
fn evidence_comes_about_under_the_weight_and_the_term_in_force() {
    let mut scene = Scene::new(|_| {});
    let plan = Term::Plan {
        bake_time: Duration::from_secs(20),
    };
    let check = |scene: &Scene, weight: f64, term| {
        let stand = scene.stand();
        assert!((stand.weight - weight).abs() < 1e-6, "{}", stand.weight);
        assert_eq!(stand.term, term);
    };
    check(&scene, 0.0, Term::Watch);
    scene.weigh([3, 1]);
    check(&scene, 0.25, Term::Watch);
    scene.say(Verb::Start);
    check(&scene, 0.05, plan);
    scene.say(Verb::Promote { full: false });
    check(&scene, 0.25, plan);
    scene.say(Verb::Pause);
    check(&scene, 0.25, plan);
    scene.weigh([1, 1]);
    check(&scene, 0.5, Term::Watch);
    scene.say(Verb::Resume);
    check(&scene, 0.25, plan);
}

#[test]
fn a_step_keeps_what_was_seen_against_the_canary_and_a_hand_begins_anew() {
    let suspects = |act: fn(&mut Scene)| {
        let mut scene = Scene::new(|_| {});
        scene.say(Verb::Start);
        // Enough to be suspected, far too little to abort.
        scene.serve(0, 0, Outcome::Success, 100);
        scene.serve(0, 1, Outcome::Failure, 2);
        assert_eq!(scene.look(100), [(0, VerdictKind::Hold)]);
        act(&mut scene);
        scene.look(100)[0].1
    };
    assert_eq!(
        suspects(|scene| scene.say(Verb::Promote { full: false })),
        VerdictKind::Hold
    );
    let by_hand = |scene: &mut Scene| {
        scene.say(Verb::Pause);
        scene.weigh([1, 1]);
    };
    assert_eq!(suspects(by_hand), VerdictKind::Inconclusive);
    let new_trial = |scene: &mut Scene| {
        scene.say(Verb::Abort);
        scene.say(Verb::Retry);
    };
    assert_eq!(suspects(new_trial), VerdictKind::Inconclusive);
}

#[test]
fn the_breaker_is_granted_what_is_left_at_every_look() {
    let mut scene = Scene::new(|spec| spec.rollouts[0].analysis.failed_requests = Some(4));
    scene.say(Verb::Start);
    let (breaker, _) = scene.table.routes[0].variants[1].breaker.clone().unwrap();
    breaker.set_bounds(Bounds {
        failures: true,
        in_flight: None,
    });
    let admits = |now_ms: u64| breaker.admits_still(Track::Draw { slot: 0 }, now_ms * 1_000);
    scene.look(100);
    assert!(admits(scene.now_ms));
    // Two failures, seen by both; 1.9 of them are beyond what the limit allows two requests.
    scene.serve(0, 1, Outcome::Failure, 2);
    (0..2).for_each(|_| breaker.take_failure());
    scene.look(100);
    assert!(admits(scene.now_ms));
    // The rest of the budget, and nobody has looked since.
    (0..3).for_each(|_| breaker.take_failure());
    assert!(!admits(scene.now_ms));
    scene.look(100);
    assert!(admits(scene.now_ms), "judged: nothing of the budget was spent by them");
    assert!(!admits(scene.now_ms + 1_001), "control sleeps");
}
