//! One simulated rollout: traffic in, the real baseline, judge and rollout state at work, and what came of it.

use std::time::Duration;

use serin::analysis::{Baseline, Judge, Metric, Reading, Term, Verdict, VerdictKind};
use serin::measure::{AT_P90, AT_P99, NO_LIMIT};
use serin::rollout::{Phase, State, Tick, Verb};
use serin::share::MILLION;

use super::bounds::Informed;
use super::chance::Chance;
use super::flow::{Flow, Load};
use super::latency::TIMEOUT_MS;
use super::peers::{Peer, RULES};
use super::scenario::{Bad, Both, Luck, Moment, Scenario};

/// How long stable is watched before a rollout starts.
const WARM_UP_MS: u64 = 300_000;
/// Looks before the rollout, where they need not be fine; and after its end, for the rules of others.
const COARSE_MS: u64 = 1_000;
/// Latencies that go into stable's histogram, per second and side at most.
const SAMPLES_PER_S: u64 = 120;
/// Where 500 ms are counted for the rules of others: the warn limit of p99, which no scenario sets.
const AT_500_MS: usize = 6;

/// What came of a rollout.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    pub(super) end: End,
    /// Bad requests that the canary got until the end, from the onset on.
    pub(super) bad: u64,
    /// Those of them that were known to be bad by then: slow ones once they are too old.
    pub(super) known_bad: u64,
    /// The share of looks that said hold.
    pub(super) holding: f64,
    /// What the verdict says at the end, where it was an abort.
    pub(super) reason: String,
    pub(super) peers: [Option<Caught>; RULES.len()],
    pub(super) informed: [Option<Caught>; 2],
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// At the horizon it was still in some step.
    #[default]
    Held,
    /// The canary got everything, and baked.
    Promoted,
    /// So many milliseconds after the onset; negative: before it.
    Aborted { delay_ms: i64, metric: Option<Metric> },
}

/// When another detector raised its alarm, and what that cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caught {
    pub(super) delay_ms: i64,
    pub(super) bad: u64,
}

/// What is simulated.
struct Trial<'a> {
    scenario: &'a Scenario,
    chance: Chance,
    luck: Luck,
    rps: f64,
    canary: Flow,
    stable: Flow,
    now_ms: u64,
    slot: u8,
    weight: f64,
    /// Streams open on each side, by slot.
    streams: [[u64; 2]; 2],
    bad: u64,
    /// What the recorders said at the onset.
    known_bad_before: u64,
    baseline: Baseline,
    next_second_ms: u64,
}

/// Simulates one rollout of `scenario`. The answer depends on the arguments only.
pub(super) fn run(scenario: &Scenario, seed: u64, replicate: u64, informed: Option<[Informed; 2]>) -> Ending {
    let mut trial = Trial::new(scenario, seed, replicate);
    trial.warm_up();
    trial.roll_out(informed)
}

/// The readings of a rollout that is left in its first step, whatever a verdict would say.
pub(super) struct Recorded {
    /// At its start.
    pub(super) first: Reading,
    /// At each look.
    pub(super) readings: Vec<Reading>,
    /// What stable did before.
    pub(super) baseline: Baseline,
}

/// Records `looks` readings of `scenario`.
pub(super) fn record(scenario: &Scenario, seed: u64, looks: u64) -> Recorded {
    let mut trial = Trial::new(scenario, seed, 0);
    trial.warm_up();
    let baseline = trial.baseline.clone();
    let started = State::initial(false, 0).command(&scenario.plan, Verb::Start, 0);
    trial.follow(&started.expect("an idle rollout can start").state);
    let first = trial.reading();
    trial.set_tick_ms(scenario.tick_ms);
    let look = |_| {
        trial.tick(scenario.tick_ms);
        trial.reading()
    };
    Recorded {
        first,
        readings: (0..looks).map(look).collect(),
        baseline,
    }
}

impl<'a> Trial<'a> {
    fn new(scenario: &'a Scenario, seed: u64, replicate: u64) -> Self {
        let mut chance = Chance::new(seed, scenario.name, replicate);
        let luck = Luck::new(replicate, &mut chance);
        let rates = scenario.rps;
        let mut limits_us = scenario.spec.limits_us(Duration::from_millis(TIMEOUT_MS));
        if scenario.peers_s > 0 && limits_us[AT_500_MS] == NO_LIMIT {
            limits_us[AT_500_MS] = 500_000;
        }
        Self {
            scenario,
            chance,
            luck,
            rps: rates[(replicate % rates.len() as u64) as usize],
            canary: Flow::new(limits_us),
            stable: Flow::new(limits_us),
            now_ms: 0,
            slot: 0,
            weight: 0.0,
            streams: [[0; 2]; 2],
            bad: 0,
            known_bad_before: 0,
            baseline: Baseline::default(),
            next_second_ms: 0,
        }
    }

    fn warm_up(&mut self) {
        let fine = self.scenario.fine_warm_up;
        let tick_ms = if fine { self.scenario.tick_ms } else { COARSE_MS };
        self.set_tick_ms(tick_ms);
        while self.now_ms < WARM_UP_MS {
            self.tick(tick_ms);
        }
    }

    fn roll_out(&mut self, mut informed: Option<[Informed; 2]>) -> Ending {
        let scenario = self.scenario;
        let plan = &scenario.plan;
        let start_ms = self.now_ms;
        let onset_ms = start_ms as f64 + 1e3 * (scenario.onset_s)(&self.luck);
        let delay_ms = |now_ms: u64| (now_ms as f64 - onset_ms).round() as i64;
        let started = State::initial(false, start_ms).command(plan, Verb::Start, start_ms);
        let mut state = started.expect("an idle rollout can start").state;
        self.follow(&state);
        let bake_time = plan.bake_time();
        let mut judge = Judge::new(&scenario.spec, Term::Plan { bake_time }, self.reading());
        let mut peers = RULES.map(|rule| Peer::new(rule, AT_500_MS, start_ms, &self.canary.side));
        let mut ending = Ending::default();
        let (mut looks, mut holds) = (0_u64, 0_u64);
        let mut before = self.canary.side.sum();
        let mut over = false;
        self.set_tick_ms(scenario.tick_ms);
        let mut tick_ms = scenario.tick_ms;
        let end_ms = start_ms + 1_000 * scenario.horizon_s;
        let peers_end_ms = start_ms + 1_000 * scenario.peers_s;
        loop {
            self.tick(tick_ms);
            if (self.now_ms as f64) <= onset_ms {
                self.bad = 0;
                self.known_bad_before = self.known_bad();
            }
            let caught = Caught {
                delay_ms: delay_ms(self.now_ms),
                bad: self.bad,
            };
            if !over {
                let verdict = judge.observe(self.reading(), &self.baseline);
                looks += 1;
                holds += u64::from(verdict.kind == VerdictKind::Hold);
                let tick = Tick {
                    plan,
                    verdict: &verdict,
                    elapsed: Duration::from_millis(tick_ms),
                    patience: Duration::MAX,
                    observe: false,
                    held: false,
                    cleared: false,
                    now_ms: self.now_ms,
                };
                state = match state.tick(tick) {
                    Err(state) => state,
                    Ok(moved) => {
                        over = self.end(&moved.state, &verdict, caught, &mut ending);
                        if !over {
                            self.follow(&moved.state);
                            judge.begin_step(self.reading(), &self.baseline);
                        }
                        moved.state
                    }
                };
                if !over && self.now_ms >= end_ms {
                    ending.bad = self.bad;
                    over = true;
                }
            }
            if let Some(detectors) = &mut informed {
                let now = self.canary.side.sum();
                let (good, bad) = (now.success - before.success, now.failure - before.failure);
                before = now;
                for (detector, found) in detectors.iter_mut().zip(&mut ending.informed) {
                    if found.is_none() && detector.observe(good, bad, tick_ms as f64 / 1e3) {
                        *found = Some(caught);
                    }
                }
            }
            if scenario.peers_s > 0 {
                for (peer, found) in peers.iter_mut().zip(&mut ending.peers) {
                    if found.is_none() && peer.observe(self.now_ms, &self.canary.side) {
                        *found = Some(caught);
                    }
                }
            }
            let peers_done =
                self.now_ms >= peers_end_ms || ending.end == End::Promoted || ending.peers.iter().all(Option::is_some);
            let informed_done =
                informed.is_none() || ending.informed.iter().all(Option::is_some) || self.now_ms >= end_ms;
            if over && peers_done && informed_done {
                ending.holding = holds as f64 / looks as f64;
                return ending;
            }
            if over && informed_done && tick_ms < COARSE_MS && self.now_ms.is_multiple_of(COARSE_MS) {
                tick_ms = COARSE_MS;
                self.set_tick_ms(tick_ms);
            }
        }
    }

    /// Whether the rollout is over, and how.
    fn end(&self, state: &State, verdict: &Verdict, caught: Caught, ending: &mut Ending) -> bool {
        ending.end = match state.phase() {
            Phase::Aborted => End::Aborted {
                delay_ms: caught.delay_ms,
                metric: verdict.metric,
            },
            Phase::Succeeded => End::Promoted,
            Phase::Idle | Phase::Watching | Phase::Progressing | Phase::Paused | Phase::Promoting => return false,
        };
        ending.bad = caught.bad;
        ending.known_bad = self.known_bad() - self.known_bad_before;
        ending.reason.clone_from(&verdict.reason);
        true
    }

    fn known_bad(&self) -> u64 {
        let sum = self.canary.side.sum();
        match self.scenario.bad {
            Bad::Failing => sum.failure,
            Bad::Slow(index) => sum.slow[index],
        }
    }

    /// Puts the weight of `state` in force: a new epoch.
    fn follow(&mut self, state: &State) {
        let ppm = state.canary_ppm(&self.scenario.plan).unwrap_or(0);
        self.weight = f64::from(ppm) / f64::from(MILLION);
        self.slot ^= 1;
    }

    fn set_tick_ms(&mut self, tick_ms: u64) {
        self.canary.set_tick_ms(tick_ms);
        self.stable.set_tick_ms(tick_ms);
    }

    fn reading(&self) -> Reading {
        Reading {
            now_ms: self.now_ms,
            slot: self.slot,
            weight: self.weight,
            canary: self.canary.side,
            stable: self.stable.side,
        }
    }

    /// Both sides do what they do in one tick, and the baseline looks at it.
    fn tick(&mut self, tick_ms: u64) {
        let middle_ms = self.now_ms as f64 - WARM_UP_MS as f64 + tick_ms as f64 / 2.0;
        let both = (self.scenario.world)(middle_ms / 1e3, &self.luck);
        let Both { canary, stable, share } = both;
        let share = share
            .filter(|_| self.weight > 0.0 && self.weight < 1.0)
            .unwrap_or(self.weight);
        let requests = self.rps * tick_ms as f64 / 1e3;
        let slot = usize::from(self.slot);
        let samples = SAMPLES_PER_S * tick_ms / 1_000;
        let load = |moment: &Moment, share: f64| Load {
            mean: requests * share * moment.rate,
            failing: moment.failing,
            cluster: moment.cluster,
            latency: moment.latency,
        };
        let sent = self.canary.tick(slot, &load(&canary, share), 0, &mut self.chance);
        self.stable
            .tick(slot, &load(&stable, 1.0 - share), samples, &mut self.chance);
        self.bad += match self.scenario.bad {
            Bad::Failing => sent.failing,
            Bad::Slow(index) => sent.slow[index],
        };
        for (side, moment) in [canary, stable].into_iter().enumerate() {
            self.stream(side, &moment, tick_ms);
        }
        self.now_ms += tick_ms;
        self.watch_stable();
    }

    fn stream(&mut self, side: usize, moment: &Moment, tick_ms: u64) {
        if moment.streams == 0.0 && !moment.leave {
            return;
        }
        let opened = self.chance.poisson(moment.streams * tick_ms as f64 / 1e3);
        let flow = if side == 0 { &mut self.canary } else { &mut self.stable };
        let slot = usize::from(self.slot);
        flow.open_streams(slot, opened);
        self.streams[side][slot] += opened;
        if moment.leave {
            for (slot, open) in self.streams[side].iter_mut().enumerate() {
                flow.leave(slot, std::mem::take(open));
            }
        }
    }

    /// As control does: once a second its counters, every ten its latencies, and the limits that follow from them.
    fn watch_stable(&mut self) {
        if self.now_ms < self.next_second_ms {
            return;
        }
        self.next_second_ms = self.now_ms + 1_000;
        self.baseline.observe(self.now_ms, &self.stable.side);
        if !self.baseline.wants_latencies(self.now_ms) {
            return;
        }
        self.baseline.latencies(self.now_ms, self.stable.latencies.clone());
        let factor = self.scenario.spec.latency_factor;
        let compared = self.scenario.spec.compare_with_stable;
        for (index, quantile_us) in [AT_P90, AT_P99].into_iter().zip(self.baseline.quantiles_us()) {
            let Some((quantile_us, factor)) = quantile_us.zip(factor).filter(|_| compared) else {
                continue;
            };
            self.stable.set_limit_us(index, Some(quantile_us));
            self.canary
                .set_limit_us(index, Some((quantile_us as f64 * factor) as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead() -> Scenario {
        Scenario::new("dead", "Everything fails.", |_, _| Both::failing(1.0, 0.005))
    }

    #[test]
    fn a_replicate_ends_the_same_each_time() {
        let found = [0, 0].map(|replicate| run(&dead(), 1, replicate, None));
        assert_eq!(found[0].end, found[1].end);
        assert_eq!(found[0].bad, found[1].bad);
    }

    #[test]
    fn a_dead_canary_is_aborted_soon_and_others_find_it_on_the_same_requests() {
        let scenario = Scenario {
            peers_s: 1_000,
            ..dead()
        };
        let found = run(&scenario, 1, 0, None);
        let End::Aborted { delay_ms, .. } = found.end else {
            panic!("{found:?}")
        };
        assert!((0..=2_000).contains(&delay_ms), "{delay_ms}");
        assert!(found.bad > 0);
        let delays = found.peers.map(|caught| caught.map(|caught| caught.delay_ms / 1_000));
        assert_eq!(delays, [Some(300), Some(20), Some(900), Some(60)]);
    }

    #[test]
    fn a_canary_without_requests_is_held_to_the_horizon() {
        let quiet = Scenario {
            rps: &[0.0],
            horizon_s: 20,
            ..Scenario::new("quiet", "Nobody comes.", |_, _| Both::alike(0.0))
        };
        assert_eq!(run(&quiet, 1, 0, None).end, End::Held);
    }
}
