//! Drives rollouts through seeded time, traffic, people, reloads and restarts, and checks after
//! each event what must always hold. A run that fails names its seed; `SEED=n` runs it alone.

use std::panic::catch_unwind;
use std::time::Duration;

use fastrand::Rng;
use serin::analysis::{AnalysisSpec, Baseline, Judge, Limits, Reading, Term, VerdictKind};
use serin::measure::Counts;
use serin::rollout::{Phase, Plan, State, Step, Tick, Verb};
use serin::share::MILLION;

const TICK: Duration = Duration::from_millis(100);

/// How both sides do for a while: requests in a tick, and the chance of a failure.
#[derive(Clone, Copy)]
struct Weather {
    requests: u64,
    canary_fails: f64,
    stable_fails: f64,
}

/// One rollout and its surroundings.
struct World {
    rng: Rng,
    plan: Plan,
    spec: AnalysisSpec,
    state: State,
    judge: Judge,
    baseline: Baseline,
    reading: Reading,
    /// The canary's part by file or person, where the rollout leaves it to them.
    written_ppm: u32,
    weather: Weather,
    patience: Duration,
    observe: bool,
    /// The simulation's own account of the step: time in it, how much of that beyond the bake time
    /// on thin evidence, whether a person resumed it then, and the canary's requests.
    baked: Duration,
    waited: Duration,
    resumed: bool,
    resolved: u64,
}

type Checked = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let spec = AnalysisSpec {
            compare_with_stable: rng.bool(),
            min_requests: rng.u64(0..80),
            error_rate: Some(Limits {
                warn: rng.bool().then_some(0.01),
                critical: Some(0.05),
            }),
            ..AnalysisSpec::default()
        };
        let written_ppm = if rng.bool() { 0 } else { rng.u32(1..MILLION) };
        let reading = Reading {
            weight: f64::from(written_ppm) / f64::from(MILLION),
            ..Reading::default()
        };
        let plan = some_plan(&mut rng);
        let weather = some_weather(&mut rng);
        Self {
            plan,
            state: State::initial(written_ppm > 0, 0),
            judge: Judge::new(&spec, Term::Watch, reading),
            spec,
            baseline: Baseline::default(),
            reading,
            written_ppm,
            weather,
            patience: if rng.bool() {
                Duration::MAX
            } else {
                TICK * rng.u32(0..30)
            },
            observe: rng.u32(0..6) == 0,
            rng,
            baked: Duration::ZERO,
            waited: Duration::ZERO,
            resumed: false,
            resolved: 0,
        }
    }

    /// The step is another one, or the same anew.
    fn begin_step(&mut self) {
        (self.baked, self.waited, self.resumed) = (Duration::ZERO, Duration::ZERO, false);
    }

    fn bake_time(&self) -> Duration {
        let step = self.state.step().and_then(|step| self.plan.steps().get(step));
        step.map_or(Duration::MAX, Step::bake_time)
    }

    /// How long beyond the bake time evidence is waited for.
    fn patience(&self) -> Duration {
        if self.resumed {
            self.patience.max(self.bake_time()).max(Duration::from_secs(60))
        } else {
            self.patience
        }
    }

    fn in_force_ppm(&self) -> u32 {
        self.state.canary_ppm(&self.plan).unwrap_or(self.written_ppm)
    }

    /// What control tells the judge of the test.
    fn term(&self) -> Term {
        let steps = self.plan.steps().iter();
        let sets_weight = self.state.canary_ppm(&self.plan).is_some();
        match self.state.step().filter(|_| sets_weight) {
            Some(_) => Term::Plan {
                bake_time: steps.map(Step::bake_time).sum(),
            },
            None => Term::Watch,
        }
    }

    /// The state is another one now: what its weight was decides whether evidence begins anew.
    fn become_state(&mut self, state: State) {
        let (ppm, step, term) = (self.in_force_ppm(), self.state.step(), self.term());
        self.state = state;
        if (self.in_force_ppm(), self.state.step()) != (ppm, step) || self.term() != term {
            self.begin_epoch(term);
        }
    }

    /// A plan that goes on is the same test; everything else begins another.
    fn begin_epoch(&mut self, before: Term) {
        self.reading.slot ^= 1;
        self.reading.weight = f64::from(self.in_force_ppm()) / f64::from(MILLION);
        let term = self.term();
        if before == term && term != Term::Watch {
            self.judge.begin_step(self.reading, &self.baseline);
        } else {
            self.judge.begin_test(term, self.reading);
        }
        self.resolved = 0;
    }

    fn begin_trial(&mut self) {
        self.judge = Judge::new(&self.spec, self.term(), self.reading);
        self.resolved = 0;
    }

    /// Time and traffic.
    fn tick(&mut self) -> Checked {
        self.serve();
        self.baseline.observe(self.reading.now_ms, &self.reading.stable);
        let verdict = self.judge.observe(self.reading, &self.baseline);
        let before = self.state.clone();
        let before_ppm = self.in_force_ppm();
        let elapsed = TICK * self.rng.u32(1..3);
        let now_ms = self.reading.now_ms;
        let runs = matches!(before.phase(), Phase::Progressing | Phase::Promoting);
        if runs {
            let over = (self.baked + elapsed).saturating_sub(self.baked.max(self.bake_time()));
            self.baked += elapsed;
            if verdict.kind == VerdictKind::Inconclusive {
                self.waited += over;
            }
        }
        let ends = verdict.kind == VerdictKind::Inconclusive
            && runs
            && self.baked >= self.bake_time()
            && self.waited >= self.patience();
        let tick = Tick {
            plan: &self.plan,
            verdict: &verdict,
            elapsed,
            patience: self.patience,
            observe: self.observe,
            held: false,
            cleared: false,
            now_ms,
        };
        match before.tick(tick) {
            Ok(moved) => {
                ensure(!self.observe, || "it moved while it was only observed".to_owned())?;
                ensure(!moved.reason.is_empty(), || "a move without a reason".to_owned())?;
                let needed = (self.baked, self.resolved);
                self.become_state(moved.state);
                if verdict.kind == VerdictKind::Inconclusive {
                    let paused = (Phase::Paused, before.step(), before_ppm);
                    let found = (self.state.phase(), self.state.step(), self.in_force_ppm());
                    ensure(ends && found == paused, || format!("thin evidence led to {found:?}"))?;
                } else {
                    self.check_move(&before, before_ppm, verdict.kind, needed)?;
                    self.begin_step();
                }
            }
            Err(baked) => {
                ensure((baked.phase(), baked.step()) == (before.phase(), before.step()), || {
                    "baking on moved it".to_owned()
                })?;
                let fails = verdict.kind == VerdictKind::Fail && before.phase().is_judged();
                ensure(self.observe || !fails, || {
                    format!("{:?} outlived a failed verdict", before.phase())
                })?;
                ensure(self.observe || !ends, || "patience had no end".to_owned())?;
                self.become_state(baked);
                ensure(
                    self.state.baked() == if runs { self.baked } else { before.baked() },
                    || format!("baked {:?}, not {:?}", self.state.baked(), self.baked),
                )?;
            }
        }
        ensure(before.phase() != Phase::Aborted || self.state == before, || {
            "a tick revived it".to_owned()
        })
    }

    /// One tick's requests, by the weights in force.
    fn serve(&mut self) {
        let canary_share = f64::from(self.in_force_ppm()) / f64::from(MILLION);
        let slot = usize::from(self.reading.slot);
        for _ in 0..self.weather.requests {
            let to_canary = self.rng.f64() < canary_share;
            let (side, fails) = if to_canary {
                self.resolved += 1;
                (&mut self.reading.canary.counts[slot], self.weather.canary_fails)
            } else {
                (&mut self.reading.stable.counts[slot], self.weather.stable_fails)
            };
            let failed = u64::from(self.rng.f64() < fails);
            *side = *side
                + Counts {
                    dispatched: 1,
                    headed: 1,
                    failure: failed,
                    success: 1 - failed,
                    ..Counts::default()
                };
        }
        self.reading.now_ms += 100;
    }

    /// A verdict moved it from `before`: to abort, or one step up on time and evidence.
    fn check_move(&self, before: &State, before_ppm: u32, kind: VerdictKind, needed: (Duration, u64)) -> Checked {
        let phase = self.state.phase();
        if kind == VerdictKind::Fail {
            return ensure(before.phase().is_judged() && phase == Phase::Aborted, || {
                format!("{:?} failed into {phase:?}", before.phase())
            });
        }
        let (baked, resolved) = needed;
        let step = before.step().ok_or("moved up from no step")?;
        let bake_time = self.plan.steps()[step].bake_time();
        ensure(kind == VerdictKind::Pass, || format!("moved up on {kind:?}"))?;
        ensure(baked >= bake_time, || {
            format!("moved up after {baked:?} of {bake_time:?}")
        })?;
        ensure(resolved >= self.spec.min_requests.max(1), || {
            format!("moved up on {resolved} requests")
        })?;
        let next = self
            .plan
            .steps()
            .iter()
            .map(|step| step.weight_ppm)
            .find(|&ppm| ppm > before_ppm);
        ensure(self.in_force_ppm() == next.unwrap_or(MILLION), || {
            format!("moved from {before_ppm} to {} ppm", self.in_force_ppm())
        })
    }

    /// A person, a reload, a release or a restart.
    fn event(&mut self) -> Checked {
        let before = self.state.clone();
        let now_ms = self.reading.now_ms;
        match self.rng.u32(0..10) {
            0..=3 => {
                let verb = Verb::ALL[self.rng.usize(0..Verb::ALL.len())];
                let done = before.command(&self.plan, verb, now_ms);
                match done {
                    Ok(moved) => {
                        let paused = matches!(verb, Verb::Pause | Verb::Resume);
                        self.become_state(moved.state);
                        if matches!(verb, Verb::Start | Verb::Retry) {
                            self.begin_trial();
                        }
                        if !paused {
                            self.begin_step();
                        }
                        if verb == Verb::Resume {
                            (self.waited, self.resumed) = (Duration::ZERO, self.baked >= self.bake_time());
                        }
                        let out = matches!(verb, Verb::Start | Verb::Retry);
                        ensure(out || before.phase() != Phase::Aborted, || {
                            format!("{verb:?} revived it")
                        })
                    }
                    Err(refused) => ensure(refused.0.contains("possible now: "), || refused.0),
                }
            }
            4 | 5 => {
                let written_ppm = if self.rng.bool() { 0 } else { self.rng.u32(1..MILLION) };
                match before.weights_set(written_ppm > 0, now_ms) {
                    Ok(moved) => {
                        self.written_ppm = written_ppm;
                        self.become_state(moved.state);
                        self.begin_epoch(Term::Watch);
                        ensure(before.phase().allows_weights_by_hand(), || {
                            "weights against the phase".to_owned()
                        })?;
                        ensure(self.in_force_ppm() == written_ppm, || {
                            "other weights than set".to_owned()
                        })
                    }
                    Err(refused) => ensure(
                        !refused.0.is_empty() && !before.phase().allows_weights_by_hand(),
                        || format!("weights refused in {:?}", before.phase()),
                    ),
                }
            }
            6 | 7 => {
                let new = some_plan(&mut self.rng);
                let changed = if new == self.plan {
                    before.clone()
                } else {
                    before.plan_changed(&self.plan, &new, now_ms)
                };
                let ppm = self.in_force_ppm();
                if new != self.plan {
                    (self.waited, self.resumed) = (Duration::ZERO, false);
                }
                self.plan = new;
                self.become_state(changed);
                ensure(self.in_force_ppm() == ppm, || {
                    "a changed plan moved the weight".to_owned()
                })?;
                let kept = self.state.phase() == before.phase() || self.plan.is_guard();
                ensure(kept, || format!("a changed plan led to {:?}", self.state.phase()))
            }
            8 => {
                let auto_start = self.rng.bool();
                if let Some(moved) = before.release_changed(&self.plan, auto_start, now_ms) {
                    self.become_state(moved.state);
                    self.begin_trial();
                    self.begin_step();
                }
                let first = self.plan.steps().first().map_or(0, |step| step.weight_ppm);
                let bound = if auto_start { first } else { 0 };
                ensure(before.phase() != Phase::Aborted || self.in_force_ppm() <= bound, || {
                    "a new release got weight of no step".to_owned()
                })
            }
            _ => {
                self.state = State::restore(before.parts(), &self.plan);
                ensure(self.state == before, || {
                    format!("{before:?} came back as {:?}", self.state)
                })?;
                self.reading = Reading {
                    now_ms,
                    weight: self.reading.weight,
                    ..Reading::default()
                };
                self.baseline = Baseline::default();
                self.begin_trial();
                Ok(())
            }
        }
    }

    /// What holds at every moment.
    fn check(&self) -> Checked {
        let (phase, step) = (self.state.phase(), self.state.step());
        let placed = matches!(phase, Phase::Progressing | Phase::Paused | Phase::Promoting);
        ensure(step.is_some() == placed, || format!("{phase:?} with step {step:?}"))?;
        ensure(step.is_none_or(|step| step < self.plan.steps().len()), || {
            format!("step {step:?} of {}", self.plan.steps().len())
        })?;
        let ppm = self.state.canary_ppm(&self.plan);
        let fits = match phase {
            Phase::Aborted => ppm == Some(0),
            Phase::Promoting => ppm == Some(MILLION),
            Phase::Progressing => ppm.is_some_and(|ppm| 0 < ppm && ppm < MILLION),
            Phase::Succeeded => ppm.is_none_or(|ppm| ppm == MILLION),
            Phase::Idle => ppm.is_none_or(|ppm| ppm == 0),
            Phase::Watching | Phase::Paused => true,
        };
        ensure(fits, || format!("{phase:?} gives the canary {ppm:?}"))?;
        ensure(!self.state.reason().is_empty(), || "no reason".to_owned())
    }
}

fn some_plan(rng: &mut Rng) -> Plan {
    let bake = |rng: &mut Rng| TICK * rng.u32(0..15);
    if rng.u32(0..8) == 0 {
        return Plan::default();
    }
    let mut weights: Vec<u32> = (0..rng.u32(0..4)).map(|_| rng.u32(1..100) * 10_000).collect();
    weights.push(MILLION);
    weights.sort_unstable();
    weights.dedup();
    let steps = weights.into_iter().map(|weight_ppm| Step::weigh(weight_ppm, bake(rng)));
    Plan::new(steps.collect()).expect("rising to the whole")
}

fn some_weather(rng: &mut Rng) -> Weather {
    let requests = [0, 1, 20, 60][rng.usize(0..4)];
    let (canary_fails, stable_fails) =
        [(0.0, 0.0), (0.0, 0.0), (0.002, 0.002), (0.3, 0.0), (1.0, 1.0)][rng.usize(0..5)];
    Weather {
        requests,
        canary_fails,
        stable_fails,
    }
}

/// One seeded life of 20 seconds or more.
fn live(seed: u64) -> Checked {
    let mut world = World::new(seed);
    let restless = world.rng.u32(3..60);
    for _ in 0..200 {
        if world.rng.u32(0..40) == 0 {
            world.weather = some_weather(&mut world.rng);
        }
        world.tick()?;
        world.check()?;
        if world.rng.u32(0..restless) == 0 {
            world.event()?;
            world.check()?;
        }
    }
    Ok(())
}

/// Runs `life` for each seed, and names the one that fails.
fn for_each_seed(seeds: u64, life: fn(u64) -> Checked) {
    let only: Option<u64> = std::env::var("SEED")
        .ok()
        .map(|seed| seed.parse().expect("SEED is a number"));
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        match catch_unwind(|| life(seed)) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => panic!("SEED={seed}: {why}"),
            Err(_) => panic!("SEED={seed} panicked"),
        }
    }
}

/// A rollout of two steps or more that nobody touches, in one weather; the phase it ends in.
fn undisturbed(seed: u64, weather: Weather) -> Result<Phase, String> {
    let mut world = World::new(seed);
    world.spec.compare_with_stable = true;
    (world.observe, world.patience) = (false, Duration::MAX);
    while world.plan.steps().len() < 2 {
        world.plan = some_plan(&mut world.rng);
    }
    let started = world
        .state
        .command(&world.plan, Verb::Start, 0)
        .map_err(|refused| refused.0)?;
    world.become_state(started.state);
    world.begin_trial();
    for _ in 0..1_000 {
        if !world.state.phase().is_judged() {
            break;
        }
        world.weather = weather;
        world.tick()?;
        world.check()?;
    }
    Ok(world.state.phase())
}

#[test]
fn a_rollout_keeps_its_promises_whatever_happens() {
    for_each_seed(2_000, live);
}

#[test]
fn a_healthy_canary_is_promoted() {
    for_each_seed(200, |seed| {
        let weather = Weather {
            requests: 100,
            canary_fails: 0.0,
            stable_fails: 0.0,
        };
        let phase = undisturbed(seed, weather)?;
        ensure(phase == Phase::Succeeded, || format!("ended {phase:?}"))
    });
}

#[test]
fn a_broken_canary_is_aborted() {
    for_each_seed(200, |seed| {
        let weather = Weather {
            requests: 100,
            canary_fails: 0.5,
            stable_fails: 0.002,
        };
        let phase = undisturbed(seed, weather)?;
        // A step of 100 % that bakes no time is success at once, before any request.
        ensure(phase == Phase::Aborted || phase == Phase::Succeeded, || {
            format!("ended {phase:?}")
        })
    });
}

#[test]
fn an_outage_of_both_neither_promotes_nor_aborts() {
    for_each_seed(200, |seed| {
        let weather = Weather {
            requests: 100,
            canary_fails: 0.9,
            stable_fails: 0.9,
        };
        let phase = undisturbed(seed, weather)?;
        ensure(phase == Phase::Progressing, || format!("ended {phase:?}"))
    });
}
