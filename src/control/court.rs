//! The judges of the rollouts under judgement, and what they said last.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ground::Ground;
use crate::analysis::{AnalysisSpec, Baseline, Judge, Reading, Side, Term, Verdict, VerdictKind};
use crate::config::Rollout;
use crate::measure::{Recorder, Track};
use crate::name::Name;
use crate::rollout::Phase;
use crate::route::Table;

/// A word that goes to and fro is told at most this often.
const TELL_MS: u64 = 1_000;

/// One judge for each rollout whose canary votes.
#[derive(Debug, Default)]
pub(super) struct Court {
    cases: BTreeMap<Name, Case>,
    /// The last verdict of each rollout that has one, also after its case is closed.
    said: BTreeMap<Name, Said>,
}

#[derive(Debug)]
struct Case {
    judge: Judge,
    subject: Subject,
    epoch: u32,
}

/// What is judged, and by what. Another subject is another case.
#[derive(Debug)]
struct Subject {
    canary: Arc<Recorder>,
    stable: Arc<Recorder>,
    analysis: AnalysisSpec,
    trial: u32,
}

#[derive(Debug)]
struct Said {
    verdict: Verdict,
    told: Option<(VerdictKind, u64)>,
}

impl Court {
    /// Follows a change of the table: opens and closes cases, and begins evidence anew where the
    /// epoch rose. Other counters or other limits are another case.
    pub(super) fn follow(&mut self, ground: &Ground, table: &Table, now_ms: u64) {
        let mut known = std::mem::take(&mut self.cases);
        let mut said = std::mem::take(&mut self.said);
        for (index, rollout) in ground.spec.rollouts.iter().enumerate() {
            let phase = ground.rollout(index).state.phase();
            let last = said.remove(&rollout.name).filter(|_| phase != Phase::Idle);
            if !phase.is_judged() {
                self.said.extend(last.map(|last| (rollout.name.clone(), last)));
                continue;
            }
            let epoch = ground.epoch(rollout.route);
            let subject = Subject::of(rollout, table, ground.rollout(index).trial);
            let reading = subject.reading(epoch, now_ms);
            let (mut case, last) = match known.remove(&rollout.name) {
                Some(case) if case.subject.is(&subject) => (case, last),
                Some(_) | None => (Case::new(subject, epoch, reading), None),
            };
            if case.epoch != epoch {
                case.epoch = epoch;
                case.judge.begin_step(reading, &Baseline::default());
            }
            // What stands now is judged now: nobody is shown a word about the step before.
            let said = Said {
                verdict: case.judge.observe(reading, &Baseline::default()),
                told: last.and_then(|last| last.told),
            };
            self.said.insert(rollout.name.clone(), said);
            self.cases.insert(rollout.name.clone(), case);
        }
    }

    /// Reads the counters of every case and judges: the index of each rollout with its verdict.
    pub(super) fn look(&mut self, ground: &Ground, now_ms: u64) -> Vec<(usize, Verdict)> {
        let mut verdicts = Vec::new();
        for (index, rollout) in ground.spec.rollouts.iter().enumerate() {
            let Some(case) = self.cases.get_mut(&rollout.name) else {
                continue;
            };
            let verdict = case
                .judge
                .observe(case.subject.reading(case.epoch, now_ms), &Baseline::default());
            let told = self.said.get(&rollout.name).and_then(|said| said.told);
            let said = Said {
                verdict: verdict.clone(),
                told,
            };
            self.said.insert(rollout.name.clone(), said);
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

    /// The last verdict on a rollout.
    pub(super) fn verdict(&self, rollout: &Name) -> Option<&Verdict> {
        self.said.get(rollout).map(|said| &said.verdict)
    }

    /// The counters that are read ten times a second.
    pub(super) fn recorders(&self) -> impl Iterator<Item = &Arc<Recorder>> {
        self.cases
            .values()
            .flat_map(|case| [&case.subject.canary, &case.subject.stable])
    }
}

impl Case {
    fn new(subject: Subject, epoch: u32, first: Reading) -> Self {
        Self {
            judge: Judge::new(&subject.analysis, Term::Watch, first),
            subject,
            epoch,
        }
    }
}

impl Subject {
    fn of(rollout: &Rollout, table: &Table, trial: u32) -> Self {
        let variants = &table.routes[rollout.route].variants;
        Self {
            canary: Arc::clone(&variants[rollout.to].recorder),
            stable: Arc::clone(&variants[rollout.from].recorder),
            analysis: rollout.analysis.clone(),
            trial,
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.canary, &other.canary)
            && Arc::ptr_eq(&self.stable, &other.stable)
            && self.analysis == other.analysis
            && self.trial == other.trial
    }

    fn reading(&self, epoch: u32, now_ms: u64) -> Reading {
        let side = |recorder: &Recorder| Side {
            counts: [0, 1].map(|slot| recorder.counts(Track::Draw { slot })),
            ..Side::default()
        };
        Reading {
            now_ms,
            slot: u8::from(epoch % 2 == 1),
            weight: 0.0,
            canary: side(&self.canary),
            stable: side(&self.stable),
        }
    }
}
