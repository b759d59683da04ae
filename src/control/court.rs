//! The judges of the rollouts under judgement, and what they said last.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ground::Ground;
use super::journal::WOULD_ABORT;
use super::yardstick::Yardstick;
use crate::analysis::{AnalysisSpec, Judge, Reading, Side, Term, Verdict, VerdictKind};
use crate::config::Rollout;
use crate::measure::{LIMITS, Recorder, Track};
use crate::name::Name;
use crate::rollout::Phase;
use crate::route::{Breaker, Table};

/// A word that goes to and fro is told at most this often.
const TELL_MS: u64 = 1_000;

/// How many rollouts at most measure stable's latencies in one look: one, and one of so many, so
/// that a hundred of them do not do it at once, and all of them within ten seconds.
const LATENCIES_ONE_OF: usize = 50;

/// A moment on the clocks of control and of the workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Milliseconds since control began.
    pub(super) ms: u64,
    /// Microseconds on the clock that breakers go by.
    pub(super) live_us: u64,
}

/// One judge for each rollout whose canary votes, and a yardstick for every rollout of the file.
#[derive(Debug, Default)]
pub(super) struct Court {
    yardsticks: BTreeMap<Name, Yardstick>,
    cases: BTreeMap<Name, Case>,
    /// The last verdict of each rollout that has one, also after its case is closed.
    said: BTreeMap<Name, Said>,
}

#[derive(Debug)]
struct Case {
    judge: Judge,
    subject: Subject,
    stand: Stand,
}

/// What is judged, and by what. Another subject is another case.
#[derive(Debug)]
struct Subject {
    canary: Arc<Recorder>,
    stable: Arc<Recorder>,
    /// What the canary may still cost hangs here.
    breaker: Option<Arc<Breaker>>,
    analysis: AnalysisSpec,
    trial: u32,
}

/// Under what the evidence comes about. It changes in the course of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stand {
    epoch: u32,
    /// The canary's part of the two variants' weight, 0 to 1.
    weight: f64,
    term: Term,
    /// The part of the file whose steps are strides of one ramp.
    ramp: Option<usize>,
    observe: bool,
}

#[derive(Debug)]
struct Said {
    verdict: Arc<Verdict>,
    told: Option<(VerdictKind, u64)>,
}

impl Court {
    /// Follows a change of the table: opens and closes cases, and begins evidence anew where the
    /// epoch rose. Other counters or other limits are another case.
    pub(super) fn follow(&mut self, ground: &Ground, table: &Table, now: Moment) {
        let mut yardsticks = std::mem::take(&mut self.yardsticks);
        let mut known = std::mem::take(&mut self.cases);
        let mut said = std::mem::take(&mut self.said);
        for (index, rollout) in ground.spec.rollouts.iter().enumerate() {
            let name = &rollout.name;
            let subject = Subject::of(ground, index, table);
            let yardstick = yardsticks.remove(name);
            let yardstick = Yardstick::follow(yardstick, &subject.stable, &subject.canary, &rollout.analysis);
            let phase = ground.rollout(index).state.phase();
            let last = said.remove(name).filter(|_| phase != Phase::Idle);
            if ground.is_judged(index) {
                let stand = Stand::of(ground, index);
                let (mut case, last) = match known.remove(name) {
                    Some(case) if case.subject.is(&subject) => (case, last),
                    Some(before) if before.subject.is_on_trial_with(&subject) => {
                        let mut case = Case::open(subject, stand, now);
                        case.judge.keep_spent(&before.judge);
                        (case, None)
                    }
                    Some(_) | None => {
                        let mut case = Case::open(subject, stand, now);
                        case.judge.begin_with_spent(ground.rollout(index).spent);
                        (case, None)
                    }
                };
                case.stand(stand, &yardstick, now);
                // What stands now is judged now: nobody is shown a word about the step before.
                let verdict = Arc::new(case.look(&yardstick, case.subject.stable_side(), now));
                let told = last.and_then(|last| last.told);
                self.said.insert(name.clone(), Said { verdict, told });
                self.cases.insert(name.clone(), case);
            } else if let Some(last) = last {
                self.said.insert(name.clone(), last);
            }
            self.yardsticks.insert(name.clone(), yardstick);
        }
    }

    /// Reads the counters of every case and judges: the index of each rollout with its verdict.
    pub(super) fn look(&mut self, ground: &Ground, now: Moment) -> Vec<(usize, Arc<Verdict>)> {
        let mut verdicts = Vec::new();
        let mut measurements = 1 + self.yardsticks.len() / LATENCIES_ONE_OF;
        for (index, Rollout { name, .. }) in ground.spec.rollouts.iter().enumerate() {
            let Some(yardstick) = self.yardsticks.get_mut(name) else {
                continue;
            };
            if measurements > 0 && yardstick.wants_latencies(now.ms) {
                measurements -= 1;
                yardstick.take_latencies(now.ms);
            }
            let Some(case) = self.cases.get_mut(name) else {
                if yardstick.is_due(now.ms) {
                    yardstick.observe(now.ms, &side(yardstick.stable()));
                }
                continue;
            };
            let stable = case.subject.stable_side();
            yardstick.observe(now.ms, &stable);
            let verdict = Arc::new(case.look(yardstick, stable, now));
            let said = self.said.get_mut(name).expect("a case begins with a verdict");
            said.verdict = Arc::clone(&verdict);
            verdicts.push((index, verdict));
        }
        verdicts
    }

    /// The word that was told before, when the present one is another and it is time to tell it.
    /// A failure is told at once.
    pub(super) fn news(&mut self, rollout: &Name, now_ms: u64) -> Option<Option<VerdictKind>> {
        let said = self.said.get_mut(rollout)?;
        let kind = said.verdict.kind;
        let due = match said.told {
            None => true,
            Some((told, _)) if told == kind => false,
            Some((_, at_ms)) => kind == VerdictKind::Fail || at_ms + TELL_MS <= now_ms,
        };
        due.then(|| said.told.replace((kind, now_ms)).map(|(before, _)| before))
    }

    /// What the trial of a rollout under judgement has spent of its budget.
    pub(super) fn spent(&self, rollout: &Name) -> Option<f64> {
        self.cases.get(rollout).map(|case| case.judge.spent())
    }

    /// The last verdict on a rollout.
    pub(super) fn verdict(&self, rollout: &Name) -> Option<&Verdict> {
        self.said.get(rollout).map(|said| &*said.verdict)
    }

    /// What is said at this moment of a rollout under judgement.
    pub(super) fn present_verdict(&self, rollout: &Name) -> Option<&Verdict> {
        self.verdict(rollout).filter(|_| self.cases.contains_key(rollout))
    }

    /// The counters that are read ten times a second.
    pub(super) fn recorders(&self) -> impl Iterator<Item = &Arc<Recorder>> {
        self.cases
            .values()
            .flat_map(|case| [&case.subject.canary, &case.subject.stable])
    }
}

impl Case {
    fn open(subject: Subject, stand: Stand, now: Moment) -> Self {
        let first = subject.reading(stand, subject.stable_side(), now.ms);
        Self {
            judge: Judge::new(&subject.analysis, stand.term, first),
            subject,
            stand,
        }
    }

    /// Evidence comes about under `stand` from now on. A plan that goes on is the same test;
    /// whatever else moves the weight was a person or the file, and begins another.
    fn stand(&mut self, stand: Stand, yardstick: &Yardstick, now: Moment) {
        let before = std::mem::replace(&mut self.stand, stand);
        if (before.epoch, before.term) == (stand.epoch, stand.term) {
            return;
        }
        let reading = self.subject.reading(stand, self.subject.stable_side(), now.ms);
        let in_plan = matches!(stand.term, Term::Plan { .. });
        if in_plan && before.term == stand.term && stand.ramp.is_some() && before.ramp == stand.ramp {
            self.judge.change_weight(reading, yardstick.baseline());
        } else if in_plan && before.term == stand.term {
            self.judge.begin_step(reading, yardstick.baseline());
        } else {
            self.judge.begin_test(stand.term, reading);
        }
    }

    /// Judges, and tells the breaker what the canary may still cost.
    fn look(&mut self, yardstick: &Yardstick, stable: Side, now: Moment) -> Verdict {
        // Before the counters are read: no failure may stand in neither of the two.
        let failures = self.subject.breaker.as_ref().map(|breaker| breaker.failures());
        let reading = self.subject.reading(self.stand, stable, now.ms);
        let mut verdict = self.judge.observe(reading, yardstick.baseline());
        if let (Some(breaker), Some(failures)) = (&self.subject.breaker, failures)
            && let Some(left) = self.judge.failures_left()
        {
            breaker.grant(failures.saturating_add(left), now.live_us);
        }
        if self.stand.observe && verdict.kind == VerdictKind::Fail {
            verdict.reason.insert_str(0, WOULD_ABORT);
        }
        verdict
    }
}

impl Stand {
    fn of(ground: &Ground, index: usize) -> Self {
        let Rollout { route, observe, .. } = ground.spec.rollouts[index];
        let (from, to) = ground.pair(index);
        let weights = ground.in_force_on(route);
        let [stable, canary] = [from, to].map(|variant| f64::from(weights[variant]));
        let both = stable + canary;
        Self {
            epoch: ground.epoch(route),
            weight: if both > 0.0 { canary / both } else { 0.0 },
            term: ground.term(index),
            ramp: ground.ramp(index),
            observe,
        }
    }
}

impl Subject {
    fn of(ground: &Ground, index: usize, table: &Table) -> Self {
        let rollout = &ground.spec.rollouts[index];
        let (from, to) = ground.pair(index);
        let variants = &table.routes[rollout.route].variants;
        let canary = &variants[to];
        Self {
            canary: Arc::clone(&canary.recorder),
            stable: Arc::clone(&variants[from].recorder),
            breaker: canary.breaker.as_ref().map(|(breaker, _)| Arc::clone(breaker)),
            analysis: rollout.analysis.clone(),
            trial: ground.rollout(index).trial,
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.is_on_trial_with(other) && self.analysis == other.analysis
    }

    /// The same, perhaps under other limits.
    fn is_on_trial_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.canary, &other.canary)
            && Arc::ptr_eq(&self.stable, &other.stable)
            && self.trial == other.trial
    }

    fn stable_side(&self) -> Side {
        side(&self.stable)
    }

    fn reading(&self, stand: Stand, stable: Side, now_ms: u64) -> Reading {
        Reading {
            now_ms,
            slot: u8::from(stand.epoch % 2 == 1),
            weight: stand.weight,
            canary: side(&self.canary),
            stable,
        }
    }
}

/// What a recorder says at this moment: its counters first, so that what is overdue among the open is no
/// more than it was.
fn side(recorder: &Recorder) -> Side {
    let tracks = [0, 1].map(|slot| Track::Draw { slot });
    let counts = tracks.map(|track| recorder.counts(track));
    let mut overdue = [0; LIMITS];
    for track in tracks {
        for (sum, more) in overdue.iter_mut().zip(recorder.overdue(track)) {
            *sum += more;
        }
    }
    Side { counts, overdue }
}

#[cfg(test)]
mod tests;
