//! What releases came to over a time: how often, how fast, how well, how soon mended. Pure.
//!
//! The four numbers of dora.dev, from the audit log, for each route and all together:
//!
//! - **Deployment frequency**: how often a rollout reached `succeeded`.
//! - **Lead time for changes**: from the release's newest commit (the fact `commitTime` of a start) to `succeeded`.
//! - **Change failure rate**: trials that were aborted, by Serin or by a person, before or after the promotion, among
//!   all that ended. A trial that succeeded and is rolled back later is one trial that failed.
//! - **Time to restore service**: from when the canary last got more weight, at the latest (the fact `badSince`, where a
//!   record has it, says it better), to the abort. So it is an upper bound of how long users were exposed.
//!
//! Weights that people set by hand, without a plan, are no trials here.

use std::collections::BTreeMap;

use crate::audit::Record;

/// Milliseconds of a day.
const DAY_MS: f64 = 86_400_000.0;

/// What is reported of which time.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The period's beginning in Unix milliseconds.
    pub from_ms: u64,
    /// Its end.
    pub until_ms: u64,
    /// Its length in days, above 0.
    pub days: f64,
    /// All routes together.
    pub all: Figures,
    /// Each route that had a rollout in the period.
    pub routes: BTreeMap<String, Figures>,
}

/// The numbers of one route, or of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Trials that succeeded, those rolled back later too.
    pub deployments: u64,
    /// Trials that ended: succeeded or aborted.
    pub finished: u64,
    /// Those of them that were aborted or rolled back.
    pub failed: u64,
    /// From commit to success, where the commit is known.
    pub lead_time: Option<Spread>,
    /// From exposure to abort.
    pub time_to_restore: Option<Spread>,
}

/// How long something took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// How often; at least 1.
    pub count: u64,
    /// Half of them took at most so long, in milliseconds; the mean of the two in the middle where there are two.
    pub median_ms: u64,
    /// Nine in ten took at most so long, in milliseconds: the nearest rank, ⌈0.9 n⌉.
    pub p90_ms: u64,
}

impl Figures {
    /// Deployments each day of `days`.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub fn per_day(&self, days: f64) -> f64 {
        self.deployments as f64 / days
    }

    /// Failed trials among the finished, 0 to 1; `None` without any.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub fn change_failure_rate(&self) -> Option<f64> {
        (self.finished > 0).then(|| self.failed as f64 / self.finished as f64)
    }
}

impl Spread {
    /// `None` of nothing.
    #[must_use]
    pub fn of(mut times_ms: Vec<u64>) -> Option<Self> {
        times_ms.sort_unstable();
        let n = times_ms.len();
        let upper = *times_ms.get(n / 2)?;
        let median_ms = match n % 2 {
            1 => upper,
            _ => upper.midpoint(times_ms[n / 2 - 1]),
        };
        Some(Self {
            count: n as u64,
            median_ms,
            p90_ms: times_ms[(n * 9).div_ceil(10) - 1],
        })
    }
}

/// Takes records, oldest first, and counts.
#[derive(Debug)]
pub struct Reporter {
    from_ms: u64,
    until_ms: u64,
    route: Option<String>,
    rollouts: BTreeMap<String, Trial>,
    counts: BTreeMap<String, Counts>,
}

/// What is known of a rollout's present trial.
#[derive(Debug, Default)]
struct Trial {
    commit_ms: Option<u64>,
    /// When it last moved.
    moved_ms: Option<u64>,
    /// Whether its success was counted in the period.
    counted: bool,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    deployments: u64,
    finished: u64,
    failed: u64,
    lead_ms: Vec<u64>,
    restore_ms: Vec<u64>,
}

impl Reporter {
    /// Reports on what happened from `from_ms` to `until_ms`, ends in; of `route` alone, where one is named.
    #[must_use]
    pub fn new(from_ms: u64, until_ms: u64, route: Option<String>) -> Self {
        Self {
            from_ms,
            until_ms,
            route,
            rollouts: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// The next record. Those before the period say how a trial in it began.
    pub fn take(&mut self, record: &Record) {
        let (Some(rollout), Some(route)) = (&record.rollout, &record.route) else {
            return;
        };
        if record.kind != "rollout" || self.route.as_ref().is_some_and(|wanted| wanted != route) {
            return;
        }
        let trial = self.rollouts.entry(rollout.clone()).or_default();
        if !is_running(&record.from) && is_running(&record.to) {
            *trial = Trial::default();
        }
        if let Some(commit_ms) = record.facts.get("commitTime").and_then(|text| instant_ms(text)) {
            trial.commit_ms = Some(commit_ms);
        }
        let moved_ms = trial.moved_ms.replace(record.at_ms);
        if !(self.from_ms..=self.until_ms).contains(&record.at_ms) {
            return;
        }
        let counts = self.counts.entry(route.clone()).or_default();
        match (record.from.as_str(), record.to.as_str()) {
            (from, "succeeded") if from != "succeeded" => {
                counts.deployments += 1;
                counts.finished += 1;
                trial.counted = true;
                let lead = trial
                    .commit_ms
                    .and_then(|commit_ms| record.at_ms.checked_sub(commit_ms));
                counts.lead_ms.extend(lead);
            }
            (from, "aborted") if is_running(from) || from == "succeeded" => {
                counts.failed += 1;
                // Its success was counted as its end already.
                let ended = from == "succeeded" && trial.counted;
                counts.finished += u64::from(!ended);
                let bad_ms = record.facts.get("badSince").and_then(|text| instant_ms(text));
                let restore = bad_ms.or(moved_ms).and_then(|since| record.at_ms.checked_sub(since));
                counts.restore_ms.extend(restore);
            }
            _ => {}
        }
    }

    /// What it all came to.
    #[must_use]
    pub fn finish(self) -> Report {
        #[allow(clippy::cast_precision_loss)] // milliseconds of this age of the world
        let days = self.until_ms.saturating_sub(self.from_ms).max(1) as f64 / DAY_MS;
        let mut all = Counts::default();
        for counts in self.counts.values() {
            all.deployments += counts.deployments;
            all.finished += counts.finished;
            all.failed += counts.failed;
            all.lead_ms.extend(&counts.lead_ms);
            all.restore_ms.extend(&counts.restore_ms);
        }
        Report {
            from_ms: self.from_ms,
            until_ms: self.until_ms,
            days,
            all: all.into(),
            routes: (self.counts.into_iter())
                .map(|(route, counts)| (route, counts.into()))
                .collect(),
        }
    }
}

impl From<Counts> for Figures {
    fn from(counts: Counts) -> Self {
        Self {
            deployments: counts.deployments,
            finished: counts.finished,
            failed: counts.failed,
            lead_time: Spread::of(counts.lead_ms),
            time_to_restore: Spread::of(counts.restore_ms),
        }
    }
}

/// Whether a plan runs in this phase.
fn is_running(phase: &str) -> bool {
    matches!(phase, "progressing" | "paused" | "promoting")
}

/// Unix milliseconds, as such or as an instant of RFC 3339.
fn instant_ms(text: &str) -> Option<u64> {
    let from_text = || u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok();
    text.parse().ok().or_else(from_text)
}

#[cfg(test)]
mod tests;
