//! Seeded lives of one rollout: people, verdicts, reloads, crashes, errands and a clock that jumps, with the
//! invariants of rules 4, 7 and 8 checked after each event. A failure prints the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::{Changed, Ground, Ordered, Ticked};
use crate::analysis::{Evidence, Verdict, VerdictKind};
use crate::config::Spec;
use crate::control::draft::Wish;
use crate::control::fixture::{self, weigh};
use crate::control::standing::Standing;
use crate::control::store::{self, Saved};
use crate::rollout::{
    After, Approval, Approvals, Errand, Moment, Needs, OnFailure, Phase, Plan, Schedule, Smoke, Step, Verb, Webhook,
    Window,
};
use crate::route::FlagId;
use crate::share::MILLION;

const LIVES: u64 = 800;
const EVENTS: usize = 150;
/// A Monday at noon, UTC.
const MONDAY_MS: u64 = 1_795_435_200_000;
const HOUR_MS: u64 = 3_600_000;

#[test]
fn no_life_breaks_a_rule() {
    let seeds = std::env::var("SERIN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seeds.map_or(0..LIVES, |seed: u64| seed..seed + 1);
    let mut met = BTreeMap::new();
    for seed in seeds.clone() {
        let mut life = Life::begin(seed);
        for event in 0..EVENTS {
            let words = life.live();
            if let Err(broken) = life.check() {
                panic!(
                    "seed {seed}, event {event} ({words}): {broken}\n{:#?}",
                    life.ground.rollout(0)
                );
            }
        }
        for (what, count) in life.met {
            *met.entry(what).or_insert(0_u64) += count;
        }
    }
    // A simulation that never gets anywhere finds nothing.
    if seeds.end - seeds.start > 1 {
        for what in Phase::ALL.map(Phase::as_str).into_iter().chain([
            "crash",
            "approved",
            "held",
            "swapped",
            "undone",
            "switched by the clock",
        ]) {
            assert!(met.get(what).is_some_and(|count| *count > 20), "{what} in {met:?}");
        }
    }
}

struct Life {
    rng: Rng,
    ground: Ground,
    /// What a crash leaves behind.
    disk: Vec<u8>,
    now_ms: u64,
    before: Ground,
    event: Event,
    met: BTreeMap<&'static str, u64>,
}

/// What an event was, as far as the rules ask.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    /// A tick with this verdict, which drained or not.
    Tick(VerdictKind),
    /// An errand ended well or badly.
    Errand(bool),
    Verb(Verb),
    Approve,
    Freeze,
    Weights,
    /// The file says the same about releases.
    Reload,
    Release,
    CatchUp,
    /// By a person: on or off.
    Switch(bool),
    /// What was due by the clock.
    Clock,
    Crash,
    Refused,
}

impl Life {
    fn begin(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let spec = fixture::spec(|spec| {
            spec.rollouts[0].plan = some_plan(&mut rng);
            spec.rollouts[0].auto_start = rng.bool();
            if rng.u32(0..3) == 0 {
                let days = ["mon", "tue"].map(str::to_owned);
                spec.rollouts[0].window = Some(Window::new(&days, "09:00", "17:00", "UTC").unwrap());
            }
        });
        let now_ms = MONDAY_MS;
        let (ground, _) = Ground::meet(spec, Standing::default(), now_ms);
        let mut life = Self {
            rng,
            before: ground.clone(),
            ground,
            disk: Vec::new(),
            now_ms,
            event: Event::Reload,
            met: BTreeMap::new(),
        };
        life.write();
        life
    }

    /// One event, in words.
    fn live(&mut self) -> String {
        self.before = self.ground.clone();
        self.now_ms += self.rng.u64(0..20_000);
        self.event = match self.rng.u32(0..44) {
            0..18 => self.tick(),
            18..21 => self.errand(),
            21..28 => self.verb(),
            28..31 => self.approve(),
            31 => self.freeze(),
            32 => self.weights(),
            33..35 => self.reload(),
            35 => self.release(),
            36 => self.catch_up(),
            37 => {
                // The clock of the wall jumps, either way.
                self.now_ms = (self.now_ms + self.rng.u64(0..12) * HOUR_MS).saturating_sub(6 * HOUR_MS);
                Event::Reload
            }
            38 => self.switch(),
            39 if !self.ground.in_force()[0].enabled => self.switch(),
            39..42 => self.clock(),
            _ => self.crash(),
        };
        let phase = self.ground.rollout(0).state.phase().as_str();
        *self.met.entry(phase).or_default() += 1;
        format!("{:?}", self.event)
    }

    fn tick(&mut self) -> Event {
        use VerdictKind::{Fail, Hold, Inconclusive, Pass};
        let kind = match self.rng.u32(0..40) {
            0 => Fail,
            1..5 => Hold,
            5..9 => Inconclusive,
            _ => Pass,
        };
        // Only where it is judged does a verdict come about; elsewhere time alone passes.
        let kind = if self.ground.is_judged(0) { kind } else { Inconclusive };
        if !self.ground.is_judged(0) && !self.ground.awaits_time(0) {
            return Event::Refused;
        }
        let verdict = Verdict {
            kind,
            metric: None,
            reason: kind.as_str().to_owned(),
            evidence: Evidence::default(),
        };
        let elapsed = Duration::from_secs(self.rng.u64(0..15));
        let drained = self.rng.bool();
        let ticked = self.ground.tick(0, &verdict, elapsed, drained, self.now_ms);
        self.follow(ticked);
        Event::Tick(kind)
    }

    fn errand(&mut self) -> Event {
        let well = self.rng.u32(0..4) > 0;
        let outcome = if well { Ok(()) } else { Err("no answer") };
        match self.ground.errand_ended(0, outcome, self.now_ms) {
            Some(ticked) => self.follow(ticked),
            None => return Event::Refused,
        }
        Event::Errand(well)
    }

    fn verb(&mut self) -> Event {
        // Lives that are over at once teach little.
        let over = self.ground.rollout(0).state.phase() == Phase::Aborted;
        let verb = match self.rng.u32(0..4) {
            0 | 1 if over => Verb::Start,
            _ => Verb::ALL[self.rng.usize(0..Verb::ALL.len())],
        };
        let direction = [None, None, None, Some((0, 1)), Some((1, 0))][self.rng.usize(0..5)];
        let order = Ordered {
            direction,
            commit_ms: None,
        };
        let swapped = self.ground.rollout(0).pair.clone();
        match self.ground.command(0, verb, &order, PERSON, self.now_ms) {
            Ok(changed) => {
                if changed.0.rollout(0).pair != swapped {
                    self.meet("swapped");
                }
                if verb == Verb::Rollback {
                    self.meet("undone");
                }
                self.put(changed);
                Event::Verb(verb)
            }
            Err(refused) => {
                assert!(
                    refused.0.contains("possible") || refused.0.contains("already"),
                    "{refused}"
                );
                if refused.0.contains("frozen") || refused.0.contains("window") {
                    self.meet("held");
                }
                Event::Refused
            }
        }
    }

    fn approve(&mut self) -> Event {
        let (by, role) = [("ann", "sre"), ("bob", "sre"), ("eve", "releaseManager")][self.rng.usize(0..3)];
        let approval = Approval {
            by: by.to_owned(),
            roles: vec![role.to_owned()],
            reason: String::new(),
            at_ms: self.now_ms,
            generation: 1,
        };
        match self.ground.approve(0, approval, PERSON, self.now_ms) {
            Ok(changed) => {
                self.meet("approved");
                self.put(changed);
                Event::Approve
            }
            Err(_) => Event::Refused,
        }
    }

    fn freeze(&mut self) -> Event {
        let frozen = self.ground.standing.frozen.is_none();
        let changed = self.ground.freeze(frozen, PERSON, self.now_ms);
        self.put(changed);
        Event::Freeze
    }

    fn weights(&mut self) -> Event {
        let weights = [[100, 0], [90, 10], [50, 50]][self.rng.usize(0..3)];
        match self.ground.set_weights(0, &weights, PERSON, self.now_ms) {
            Ok(changed) => {
                self.put(changed);
                Event::Weights
            }
            Err(_) => Event::Refused,
        }
    }

    fn reload(&mut self) -> Event {
        let mut spec = Spec::clone(&self.ground.spec);
        match self.rng.u32(0..8) {
            0 | 1 => spec.rollouts[0].plan = some_plan(&mut self.rng),
            2 => spec.routes[0].rules.schedule = some_schedule(&mut self.rng, self.now_ms),
            3 | 4 => weigh(&mut spec, 0, [[100, 0], [99, 1], [80, 20]][self.rng.usize(0..3)]),
            _ => {}
        }
        let changed = self.ground.reload(Arc::new(spec), self.now_ms);
        self.put(changed);
        Event::Reload
    }

    fn release(&mut self) -> Event {
        let mut spec = Spec::clone(&self.ground.spec);
        let backend = self.rng.usize(0..2);
        spec.backends[backend].release = Some(format!("v{}", self.rng.u32(0..1_000)));
        let changed = self.ground.reload(Arc::new(spec), self.now_ms);
        self.put(changed);
        Event::Release
    }

    fn switch(&mut self) -> Event {
        // What is off for long teaches little about the rest.
        let enabled = !self.ground.in_force()[0].enabled || self.rng.u32(0..3) > 0;
        match self.ground.switch(FLAG, enabled, PERSON, self.now_ms) {
            Ok(changed) => {
                self.put(changed);
                Event::Switch(enabled)
            }
            Err(_) => Event::Refused,
        }
    }

    fn clock(&mut self) -> Event {
        match self.ground.switch_due(self.now_ms) {
            Some((changed, _)) => {
                self.meet("switched by the clock");
                self.put(changed);
                Event::Clock
            }
            None => Event::Refused,
        }
    }

    fn catch_up(&mut self) -> Event {
        if self.ground.knock(0, self.now_ms).is_some() && self.rng.bool() {
            self.meet("knocked");
            self.ground.knocked(0);
        }
        match self.ground.catch_up(self.now_ms) {
            Some(changed) => self.put(changed),
            None => return Event::Refused,
        }
        Event::CatchUp
    }

    /// `kill -9`: what was acknowledged is on the disk, bake time since the last writing is not.
    fn crash(&mut self) -> Event {
        self.meet("crash");
        let saved = store::parse(std::str::from_utf8(&self.disk).unwrap()).unwrap();
        let changed = Ground::meet(Arc::clone(&self.ground.spec), saved.standing, self.now_ms);
        self.put(changed);
        Event::Crash
    }

    fn follow(&mut self, ticked: Ticked) {
        match ticked {
            Ticked::Baked(state) => self.ground.bake(0, state),
            Ticked::Moved(changed) => self.put(*changed),
        }
    }

    /// Takes effect, and is durable.
    fn put(&mut self, (ground, happenings): Changed) {
        for happening in &happenings {
            assert!(
                !happening.reason.is_empty() && !happening.by.is_empty(),
                "{happening:?}"
            );
        }
        self.ground = ground;
        self.write();
    }

    fn write(&mut self) {
        let saved = Saved {
            generation: 1,
            clean: false,
            standing: self.ground.standing.clone(),
            audit: None,
        };
        self.disk = store::text(&saved).unwrap();
    }

    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// The canary's part of the pair in force, of `variant`.
    fn part(ground: &Ground, variant: usize) -> u64 {
        let weights = ground.in_force_on(0);
        u64::from(weights[variant]) * u64::from(MILLION) / u64::from(weights[0] + weights[1])
    }

    fn check(&self) -> Result<(), String> {
        let (old, new) = (self.before.rollout(0), self.ground.rollout(0));
        let (phase_before, phase) = (old.state.phase(), new.state.phase());
        let (_, to) = self.ground.pair(0);
        let part = Self::part(&self.ground, to);
        let ensure = |holds: bool, rule: &str| if holds { Ok(()) } else { Err(rule.to_owned()) };
        // Rule 7.
        ensure(phase != Phase::Aborted || part == 0, "an aborted canary has weight")?;
        // What waited for a moment that it may begin in begins when the file is met again.
        let behind = self.before.is_behind(0);
        let leads_out = match self.event {
            Event::Verb(Verb::Start | Verb::Retry) | Event::Release | Event::CatchUp => true,
            Event::Reload | Event::Crash => behind,
            _ => false,
        };
        let left = phase_before == Phase::Aborted && phase != Phase::Aborted;
        ensure(!left || leads_out, "an aborted rollout was revived")?;
        ensure(
            self.event != Event::Verb(Verb::Abort) || phase == Phase::Aborted,
            "an abort did not abort",
        )?;
        // Rule 4: nothing that was acknowledged is lost, nor is anything made up.
        if self.event == Event::Crash && !behind {
            let same = (phase, part, &new.pair, &new.approvals, new.trial)
                == (
                    phase_before,
                    Self::part(&self.before, to),
                    &old.pair,
                    &old.approvals,
                    old.trial,
                );
            ensure(same, "a crash changed what stands")?;
            ensure(new.state.step() == old.state.step(), "a crash changed the step")?;
            ensure(
                self.before.standing.frozen == self.ground.standing.frozen,
                "a crash thawed it",
            )?;
            ensure(new.state.baked() <= old.state.baked(), "a crash baked")?;
        }
        // A flag that is off is off: for the canary, and for the rollout.
        let (was_on, on) = (self.before.in_force()[0].enabled, self.ground.in_force()[0].enabled);
        let switches = match self.event {
            Event::Switch(enabled) => on == enabled,
            Event::Clock | Event::Reload | Event::Release => true,
            // The clock went on while nobody was there.
            Event::Crash => true,
            _ => was_on == on,
        };
        ensure(switches, "a flag was switched by nobody")?;
        let rose = on && !was_on;
        ensure(
            !rose || self.before.standing.frozen.is_none(),
            "a flag was switched on while all was frozen",
        )?;
        let killed = self.before.standing.switches.values().any(|switch| {
            let said = switch.by_hand.as_ref();
            said.is_some_and(|said| !said.enabled) && switch.declared == self.ground.spec.routes[0].rules.schedule
        });
        ensure(
            !rose || !killed || self.event == Event::Switch(true),
            "what a person switched off came back",
        )?;
        // Rule 8, and what may hold: the canary only gets more when all that the step needs has come about.
        let same_side = self.before.pair(0) == self.ground.pair(0);
        let rises = same_side && part > Self::part(&self.before, to);
        let held = self.before.held(0, self.now_ms).is_some();
        // A window holds the rollout; a freeze holds people and the file as well.
        let frozen = self.before.standing.frozen.is_some();
        let by_rollout = matches!(
            self.event,
            Event::Tick(_) | Event::Errand(_) | Event::Verb(_) | Event::CatchUp
        );
        ensure(
            !rises || !(frozen || (held && by_rollout)),
            "weight rose while it was held",
        )?;
        if let Event::Tick(kind) = self.event {
            ensure(
                !rises || kind != VerdictKind::Hold || Self::part(&self.before, to) == 0,
                "it rose on a hold",
            )?;
            ensure(!rises || kind != VerdictKind::Fail, "it rose on a failure")?;
            let step = old.state.needs(&old.plan);
            let moved = old.state.step() != new.state.step() && phase != Phase::Aborted;
            match step.filter(|_| moved) {
                Some(Needs::Evidence { .. }) => ensure(kind == VerdictKind::Pass, "it moved on without evidence")?,
                Some(Needs::Approvals(gate)) => {
                    let missing = gate.missing(&old.approvals, self.now_ms);
                    ensure(missing.is_none(), "it passed a gate that was not approved")?;
                }
                Some(Needs::Person) => ensure(false, "it passed a pause without a person")?,
                Some(Needs::Time(_) | Needs::Window(_) | Needs::Errand(_) | Needs::Drained(_)) | None => {}
            }
            ensure(!moved || !held, "it moved on while it was held")?;
        }
        if let (Event::Verb(verb), Some(Needs::Approvals(_))) = (&self.event, old.state.needs(&old.plan)) {
            let moved = old.state.step() != new.state.step() && phase != Phase::Aborted;
            ensure(!moved, &format!("{} passed a gate of approvals", verb.as_str()))?;
        }
        // Approvals are of one gate.
        ensure(
            new.approvals.is_empty() || matches!(new.state.needs(&new.plan), Some(Needs::Approvals(_))),
            "approvals outlived their gate",
        )?;
        ensure(
            new.state.step().is_none_or(|step| step < new.plan.steps().len()),
            "no such step",
        )
    }
}

const PERSON: Wish<'static> = Wish {
    by: "ann",
    reason: "because",
};

/// The flag of the route with the rollout.
const FLAG: FlagId = FlagId::Route(0);

fn some_schedule(rng: &mut Rng, now_ms: u64) -> Schedule {
    let mut time = || rng.bool().then(|| now_ms + rng.u64(0..200_000) - 50_000);
    Schedule {
        enable_at_ms: time(),
        disable_at_ms: time(),
        enabled: rng.u32(0..8) > 0,
    }
}

fn some_plan(rng: &mut Rng) -> Plan {
    let mut steps = Vec::new();
    let mut weight = 0;
    for _ in 0..rng.usize(0..5) {
        let needs = match rng.u32(0..9) {
            0 => Needs::Time(Duration::from_secs(rng.u64(0..30))),
            1 => Needs::Person,
            2 | 3 => Needs::Approvals(Approvals {
                count: 2,
                roles: vec!["sre".to_owned()],
                expires: Duration::from_secs(3_600),
            }),
            4 => {
                let days = ["mon", "tue", "wed"].map(str::to_owned);
                Needs::Window(Window::new(&days, "08:00", "20:00", "UTC").unwrap())
            }
            5 => Needs::Errand(Arc::new(Errand::Webhook(webhook(rng)))),
            6 => Needs::Errand(Arc::new(Errand::Smoke(smoke()))),
            7 => Needs::Drained(Duration::from_secs(10)),
            _ => {
                weight = (weight + rng.u32(1..40) * 10_000).min(MILLION);
                Needs::Evidence {
                    bake_time: Duration::from_secs(rng.u64(0..30)),
                }
            }
        };
        steps.push(Step::new(weight, needs));
    }
    if rng.u32(0..8) > 0 {
        steps.push(Step::weigh(MILLION, Duration::from_secs(rng.u64(0..20))));
    } else {
        steps.clear();
    }
    let after = After {
        watch: Duration::from_secs(rng.u64(0..60)),
        standby: Duration::from_secs(rng.u64(0..60)),
        rollback_window: rng.bool().then(|| Duration::from_secs(600)),
        swap_roles: rng.bool(),
    };
    Plan::new(steps)
        .expect("never falls, and ends at the whole")
        .followed_by(after)
}

fn webhook(rng: &mut Rng) -> Webhook {
    Webhook {
        name: "gate".to_owned(),
        moment: Moment::Gate,
        url: "http://127.0.0.1:9/".to_owned(),
        headers: Vec::new(),
        metadata: Vec::new(),
        timeout: Duration::from_secs(1),
        retries: 0,
        interval: Duration::from_secs(1),
        on_failure: [OnFailure::Pause, OnFailure::Abort, OnFailure::GoOn][rng.usize(0..3)],
    }
}

fn smoke() -> Smoke {
    Smoke {
        checks: Vec::new(),
        attempts: 1,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        endpoints: None,
    }
}
