//! One trial in a rehearsal: what the judge says of it, and what would follow.

use std::time::Duration;

use super::event::What;
use crate::analysis::{Baseline, Judge, Reading, Term, Verdict, VerdictKind};
use crate::rollout::{Needs, Plan};
use crate::share::MILLION;

/// A word that goes to and fro is told at most this often; a failure at once.
const TELL_US: u64 = 1_000_000;

/// What the file says about the course of a trial.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) plan: Plan,
    /// How long beyond a step's bake time evidence is waited for.
    pub(super) patience: Duration,
}

impl Course {
    /// How long tests are expected to run.
    pub(super) fn term(&self) -> Term {
        match self.plan.is_guard() {
            true => Term::Watch,
            false => Term::Plan {
                bake_time: self.plan.bake_time(),
            },
        }
    }

    /// Whether a canary that has everything has succeeded at once: its last step bakes no time.
    pub(super) fn ends_at_once(&self) -> bool {
        self.plan.steps().last().is_some_and(|step| step.bake_time().is_zero())
    }
}

/// Whether there is a trial.
#[derive(Debug)]
pub(super) enum Trial {
    /// The canary has no weight.
    None,
    /// It is judged.
    Running(Box<Running>),
    /// It was aborted, or has everything: what the log goes on to show is of no consequence.
    Over,
}

/// A trial that is judged.
#[derive(Debug)]
pub(super) struct Running {
    judge: Judge,
    /// The word that was told, and when.
    told: Option<(VerdictKind, u64)>,
    /// When the weight in force began.
    since_us: u64,
    /// Spent with too little evidence since the step's bake time was over.
    waited_us: u64,
    /// When it was judged last.
    judged_us: u64,
    /// What the step in force came to is told once.
    decided: bool,
}

impl Running {
    /// A trial begins at `now_us` under a weight that has stood since `since_us`.
    pub(super) fn new(judge: Judge, since_us: u64, now_us: u64) -> Self {
        Self {
            judge,
            told: None,
            since_us,
            waited_us: 0,
            judged_us: now_us,
            decided: false,
        }
    }

    /// Another weight stands since `since_us`; `reading` is of the new epoch.
    pub(super) fn moved(&mut self, term: Term, reading: Reading, baseline: &Baseline, since_us: u64) {
        match term {
            Term::Plan { .. } => self.judge.begin_step(reading, baseline),
            Term::Watch => self.judge.begin_test(term, reading),
        }
        (self.since_us, self.waited_us, self.decided) = (since_us, 0, false);
    }

    /// The word of this moment; and what is to be told: a word that is new, and what follows from it.
    pub(super) fn look(
        &mut self,
        reading: Reading,
        baseline: &Baseline,
        course: &Course,
        now_us: u64,
    ) -> (VerdictKind, [Option<What>; 2]) {
        let verdict = self.judge.observe(reading, baseline);
        let kind = verdict.kind;
        let is_news = match self.told {
            None => true,
            Some((told, _)) if told == kind => false,
            Some((_, told_us)) => kind == VerdictKind::Fail || told_us + TELL_US <= now_us,
        };
        if is_news {
            self.told = Some((kind, now_us));
        }
        let follows = self.follows(&verdict, course, reading.weight, now_us);
        (kind, [is_news.then(|| What::Verdict(Box::new(verdict))), follows])
    }

    /// What follows from a verdict, told once in each step.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of a million
    fn follows(&mut self, verdict: &Verdict, course: &Course, weight: f64, now_us: u64) -> Option<What> {
        let elapsed_us = now_us - std::mem::replace(&mut self.judged_us, now_us);
        if verdict.kind == VerdictKind::Fail {
            return Some(What::Aborted);
        }
        if self.decided {
            return None;
        }
        // The weight in the log need not be one of this plan: the nearest step counts.
        let weight_ppm = (weight * f64::from(MILLION)).round() as u32;
        // A log knows no gates: what is judged counts.
        let steps = course.plan.steps().iter();
        let steps: Vec<_> = steps
            .filter(|step| matches!(step.needs, Needs::Evidence { .. }))
            .collect();
        let of = steps.len();
        let step = (0..of).min_by_key(|&step| steps[step].weight_ppm.abs_diff(weight_ppm))?;
        let after = Duration::from_micros(now_us - self.since_us);
        let over = after.checked_sub(steps[step].bake_time())?;
        let what = match verdict.kind {
            VerdictKind::Pass if step + 1 == of => What::Promoted,
            VerdictKind::Pass => What::Passed { step, of, after },
            VerdictKind::Inconclusive => {
                let over_us = u64::try_from(over.as_micros()).unwrap_or(u64::MAX);
                self.waited_us += elapsed_us.min(over_us);
                if Duration::from_micros(self.waited_us) < course.patience {
                    return None;
                }
                What::Paused { step, of, after }
            }
            VerdictKind::Hold | VerdictKind::Fail => return None,
        };
        self.decided = true;
        Some(what)
    }
}
