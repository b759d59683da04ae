//! One rollout in a rehearsal: its counters, looked at as control looks at them, and its trials.

use super::epoch::{CANARY, Epochs, STABLE, Seen};
use super::event::{Event, RolloutSummary, What};
use super::side::{Open, SideBook};
use super::trial::{Course, Running, Trial};
use crate::analysis::{AnalysisSpec, Baseline, Judge, Reading, slow_us};
use crate::config::{Rollout, Spec};
use crate::measure::{AT_P90, AT_P99, FailureStatuses, NO_LIMIT};
use crate::name::Name;
use crate::outcome::{Record, Vote};
use crate::route::Votes;
use crate::share::{MILLION, shares};

/// While requests come, a look so often.
const TICK_US: u64 = 100_000;

/// While none come, for ten minutes a look so often, and then after each hundredth of the silence.
const IDLE_TICK_US: u64 = 1_000_000;
const SILENCE_US: u64 = 600_000_000;

/// A change of weight may have stood so long before the first request that shows it. A step is taken
/// to have begun as early as may be: one that was passed in its last moment was passed.
const UNSEEN_US: u64 = 10_000_000;

/// Votes of a key are counted by worker, of so many at most; those with higher numbers share.
const WORKERS: u16 = 64;

/// One rollout.
#[derive(Debug)]
pub(super) struct Case {
    name: Name,
    /// Stable's name and the canary's.
    variants: [Name; 2],
    analysis: AnalysisSpec,
    course: Course,
    failure_statuses: FailureStatuses,
    /// Where the votes of one key are limited: who has voted on each side, and how often one may.
    votes: Option<([Votes; 2], u32)>,
    sides: [SideBook; 2],
    epochs: Epochs,
    /// The parity of the present epoch, and the canary's part of the weight in it.
    slot: u8,
    weight: f64,
    baseline: Baseline,
    trial: Trial,
    /// The last look and the next one; 0 before the log begins.
    looked_us: u64,
    look_us: u64,
    /// When something last happened.
    busy_us: u64,
    /// When a request was last dispatched.
    dispatched_us: Option<u64>,
    summary: RolloutSummary,
}

/// What one line says about one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    side: usize,
    share_ppm: u32,
    vote: Vote,
    key: Option<u32>,
    worker: u16,
    /// Without its slot, and with its own times.
    open: Open,
}

impl Case {
    /// Before the log begins.
    pub(super) fn new(spec: &Spec, rollout: &Rollout) -> Self {
        let route = &spec.routes[rollout.route];
        let limits_us = rollout.analysis.limits_us(route.timeout);
        let weights: Vec<u32> = route.variants.iter().map(|variant| variant.weight).collect();
        let parts = shares(&weights).unwrap_or_default();
        let others: u32 = (0..parts.len())
            .filter(|&at| at != rollout.from && at != rollout.to)
            .map(|at| parts[at])
            .sum();
        let max = rollout.max_votes_per_key.filter(|_| route.rules.key.is_some());
        let votes = || Votes::new(usize::from(WORKERS));
        Self {
            name: rollout.name.clone(),
            variants: [rollout.from, rollout.to].map(|at| route.variants[at].name.clone()),
            analysis: rollout.analysis.clone(),
            course: Course {
                plan: rollout.plan.clone(),
                patience: rollout.patience,
            },
            failure_statuses: route.failure_statuses,
            votes: max.map(|max| ([votes(), votes()], max)),
            sides: [SideBook::new(limits_us), SideBook::new(limits_us)],
            epochs: Epochs::new(MILLION - others),
            slot: 0,
            weight: 0.0,
            baseline: Baseline::default(),
            trial: Trial::None,
            looked_us: 0,
            look_us: 0,
            busy_us: 0,
            dispatched_us: None,
            summary: RolloutSummary {
                rollout: rollout.name.clone(),
                trials: 0,
                aborts: 0,
                canary_requests: 0,
                stable_requests: 0,
                without_vote: 0,
                verdict: None,
            },
        }
    }

    /// What `record` says, if it is of one of the two sides.
    pub(super) fn exchange(&self, record: &Record<'_>) -> Option<Exchange> {
        let side = self.variants.iter().position(|name| name.as_str() == record.variant)?;
        Some(Exchange {
            side,
            share_ppm: record.share_ppm,
            vote: record.vote,
            key: record.key,
            worker: record.worker,
            open: Open {
                slot: None,
                at_us: record.at_us(),
                head_us: record.head_us(),
                end_us: record.end_us(),
                latency_us: record.latency_us.unwrap_or(0),
                waited_us: record.waited_us,
                outcome: record.outcome_by(&self.failure_statuses),
                client_error: record.is_client_error(&self.failure_statuses),
                warming: record.vote == Vote::Warming,
                slow: 0,
            },
        })
    }

    /// Looks as often as is due until `now_us`. Nothing was dispatched since the last call.
    pub(super) fn advance(&mut self, now_us: u64, events: &mut Vec<Event>) {
        if self.look_us == 0 {
            self.looked_us = now_us - now_us % TICK_US;
            self.look_us = self.looked_us + TICK_US;
            self.busy_us = self.looked_us;
        }
        while self.look_us <= now_us {
            self.look(self.look_us, events);
        }
    }

    /// A request was dispatched at `now_us`, which [`Case::advance`] has reached.
    pub(super) fn dispatch(&mut self, now_us: u64, exchange: Exchange, events: &mut Vec<Event>) {
        // After a silence: what the last moment before this one looked like.
        let moment_us = now_us - now_us % TICK_US;
        if moment_us > self.looked_us {
            self.look(moment_us, events);
        }
        self.look_us = self.look_us.min(moment_us + TICK_US);
        self.busy_us = now_us;
        let Exchange { side, share_ppm, .. } = exchange;
        let slot = match self.epochs.see(side, share_ppm, now_us) {
            Seen::Known(slot) => slot,
            Seen::New { slot, before, weight } => {
                // What control saw when it changed the weight.
                self.settle(now_us);
                self.judge(now_us, events);
                (self.slot, self.weight) = (slot, weight);
                self.weight_changed(before, now_us, events);
                slot
            }
        };
        self.dispatched_us = Some(now_us);
        let votes = self.hears(&exchange, now_us);
        let requests = match (votes, side) {
            (false, _) => &mut self.summary.without_vote,
            (true, CANARY) => &mut self.summary.canary_requests,
            (true, _) => &mut self.summary.stable_requests,
        };
        *requests += 1;
        self.sides[side].dispatched(Open {
            slot: votes.then_some(slot),
            at_us: now_us,
            ..exchange.open
        });
    }

    /// The log has ended; nothing later than `end_us` is in it.
    pub(super) fn finish(&mut self, end_us: u64, events: &mut Vec<Event>) {
        if self.look_us == 0 {
            return;
        }
        let last_us = end_us.max(self.looked_us).next_multiple_of(TICK_US);
        self.advance(last_us, events);
        if self.looked_us < last_us {
            self.look(last_us, events);
        }
    }

    /// Where it stands.
    pub(super) fn summary(&self) -> RolloutSummary {
        self.summary.clone()
    }

    /// Whether the request votes: its key may have had its say.
    fn hears(&self, exchange: &Exchange, now_us: u64) -> bool {
        match (exchange.vote, &self.votes, exchange.key) {
            (Vote::None, _, _) => false,
            (_, Some((votes, max)), Some(key)) => {
                let worker = usize::from(exchange.worker % WORKERS);
                votes[exchange.side].cast(worker, key, *max, now_us)
            }
            (_, None, _) | (_, _, None) => true,
        }
    }

    /// One look, as control takes it: latencies, stable's past, the verdict, and what follows from it.
    fn look(&mut self, now_us: u64, events: &mut Vec<Event>) {
        self.settle(now_us);
        let now_ms = now_us / 1000;
        if let Some(factor) = self.analysis.compared_latency_factor()
            && self.baseline.wants_latencies(now_ms)
        {
            self.baseline.latencies(now_ms, self.sides[STABLE].latencies().clone());
            self.set_moving_limits(factor);
        }
        self.baseline.observe(now_ms, &self.sides[STABLE].side());
        self.judge(now_us, events);
        self.looked_us = now_us;
        if self.sides.iter().any(|side| side.has_young(now_us)) {
            self.busy_us = now_us;
        }
        let silence_us = now_us - self.busy_us;
        self.look_us = now_us
            + match silence_us {
                0..TICK_US => TICK_US,
                TICK_US..SILENCE_US => IDLE_TICK_US,
                SILENCE_US.. => silence_us / 100,
            };
    }

    /// Both sides count as slow where stable's quantiles say.
    fn set_moving_limits(&mut self, factor: f64) {
        for (index, quantile_us) in [AT_P90, AT_P99].into_iter().zip(self.baseline.quantiles_us()) {
            let canary_us = quantile_us.map(|quantile_us| slow_us(quantile_us, factor));
            self.sides[STABLE].set_limit_us(index, quantile_us.unwrap_or(NO_LIMIT));
            self.sides[CANARY].set_limit_us(index, canary_us.unwrap_or(NO_LIMIT));
        }
    }

    /// The counters are those of `now_us`.
    fn settle(&mut self, now_us: u64) {
        self.sides.iter_mut().for_each(|side| side.settle(now_us));
    }

    fn reading(&self, now_us: u64) -> Reading {
        Reading {
            now_ms: now_us / 1000,
            slot: self.slot,
            weight: self.weight,
            canary: self.sides[CANARY].side(),
            stable: self.sides[STABLE].side(),
        }
    }

    /// The canary's part of the weight was `before` until now.
    fn weight_changed(&mut self, before: f64, now_us: u64, events: &mut Vec<Event>) {
        let (weight, reading) = (self.weight, self.reading(now_us));
        // It was changed after the request before this one.
        let since_us = self.dispatched_us.unwrap_or(now_us);
        let since_us = since_us.max(now_us.saturating_sub(UNSEEN_US));
        let is_new = match &self.trial {
            Trial::None => true,
            Trial::Running(_) => false,
            // After an abort or a success: what has been without weight, or had all of it, begins anew.
            Trial::Over => before <= 0.0 || before >= 1.0,
        };
        let term = self.course.term();
        if weight <= 0.0 {
            if matches!(self.trial, Trial::Running(_)) {
                self.tell(now_us, What::Ended, events);
            }
            self.trial = Trial::None;
            return;
        }
        if is_new {
            self.summary.trials += 1;
            self.tell(now_us, What::Begun, events);
        }
        if weight >= 1.0 && self.course.ends_at_once() {
            if is_new || matches!(self.trial, Trial::Running(_)) {
                self.tell(now_us, What::Promoted, events);
            }
            self.trial = Trial::Over;
        } else if is_new {
            let judge = Judge::new(&self.analysis, term, reading);
            self.trial = Trial::Running(Box::new(Running::new(judge, since_us, now_us)));
            self.judge(now_us, events);
        } else if let Trial::Running(running) = &mut self.trial {
            running.moved(term, reading, &self.baseline, since_us);
            self.tell(now_us, What::Moved, events);
            self.judge(now_us, events);
        }
    }

    /// Judges the trial that is running, and tells what is new.
    fn judge(&mut self, now_us: u64, events: &mut Vec<Event>) {
        let reading = self.reading(now_us);
        let Trial::Running(running) = &mut self.trial else {
            return;
        };
        let (kind, news) = running.look(reading, &self.baseline, &self.course, now_us);
        self.summary.verdict = Some(kind);
        for what in news.into_iter().flatten() {
            self.summary.aborts += u64::from(what == What::Aborted);
            if matches!(what, What::Aborted | What::Promoted) {
                self.trial = Trial::Over;
            }
            self.tell(now_us, what, events);
        }
    }

    fn tell(&self, now_us: u64, what: What, events: &mut Vec<Event>) {
        events.push(Event {
            at_ms: now_us / 1000,
            rollout: self.name.clone(),
            share: self.weight,
            what,
        });
    }
}
