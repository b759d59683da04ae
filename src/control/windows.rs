//! What each variant did in the last ten seconds or so, for those who look: a few snapshots of
//! every recorder, and their difference from now.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::view::VariantStats;
use crate::measure::{Recorder, RecorderKey, Snapshot};

/// A view shows at least this much of the past, once there is as much.
const WINDOW_MS: u64 = 10_000;

/// Snapshots by recorder, oldest first: as many as reach back a window. A recorder in which
/// nothing happens shares one snapshot among its entries.
#[derive(Debug, Default)]
pub(super) struct Windows {
    snapshots: HashMap<RecorderKey, VecDeque<(u64, Arc<Snapshot>)>>,
}

impl Windows {
    /// Takes a snapshot of each of `recorders` at `now_ms` of a clock that never goes back.
    pub(super) fn take<'r>(&mut self, recorders: impl Iterator<Item = &'r Arc<Recorder>>, now_ms: u64) {
        for recorder in recorders {
            let entries = match self.snapshots.get_mut(recorder.key()) {
                Some(entries) => entries,
                None => self.snapshots.entry(recorder.key().clone()).or_default(),
            };
            let unchanged = entries
                .back()
                .filter(|(_, latest)| latest.counts + latest.cohort == recorder.all_counts());
            let snapshot = match unchanged {
                Some((_, latest)) => Arc::clone(latest),
                None => Arc::new(recorder.snapshot()),
            };
            entries.push_back((now_ms, snapshot));
            while entries.get(1).is_some_and(|(at_ms, _)| at_ms + WINDOW_MS <= now_ms) {
                entries.pop_front();
            }
        }
    }

    /// Forgets the recorders that are not among `recorders`, and begins with those that are new.
    pub(super) fn follow<'r>(&mut self, recorders: impl Iterator<Item = &'r Arc<Recorder>> + Clone, now_ms: u64) {
        let mut known = std::mem::take(&mut self.snapshots);
        let kept = recorders
            .clone()
            .filter_map(|recorder| known.remove_entry(recorder.key()));
        self.snapshots = kept.collect();
        let new: Vec<_> = recorders
            .filter(|recorder| !self.snapshots.contains_key(recorder.key()))
            .collect();
        self.take(new.into_iter(), now_ms);
    }

    /// What `recorder` counted in the last window.
    #[allow(clippy::cast_precision_loss)] // milliseconds of a window
    pub(super) fn stats(&self, recorder: &Recorder, now_ms: u64) -> VariantStats {
        let in_flight = recorder.in_flight();
        let entries = self.snapshots.get(recorder.key());
        let reaching = entries.and_then(|entries| {
            let back = entries.iter().rev().find(|(at_ms, _)| at_ms + WINDOW_MS <= now_ms);
            back.or_else(|| entries.front())
        });
        let Some((at_ms, before)) = reaching else {
            return VariantStats {
                in_flight,
                ..VariantStats::default()
            };
        };
        let now = recorder.snapshot();
        let Snapshot {
            counts,
            cohort,
            latency,
        } = now.since(before);
        VariantStats {
            window_seconds: now_ms.saturating_sub(*at_ms) as f64 / 1000.0,
            requests: counts.resolved(),
            failures: counts.failure,
            error_rate: counts.error_rate(),
            cohort_requests: cohort.resolved(),
            cohort_failures: cohort.failure,
            p50_us: latency.quantile_us(0.5),
            p95_us: latency.quantile_us(0.95),
            p99_us: latency.quantile_us(0.99),
            in_flight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Windows;
    use crate::control::fixture::name;
    use crate::measure::{Outcome, Recorder, RecorderKey, Track};
    use std::sync::Arc;

    fn recorder(variant: &str) -> Arc<Recorder> {
        let key = RecorderKey {
            route: name("shop"),
            variant: name(variant),
            backend: name("v1"),
            cohort: None,
        };
        Arc::new(Recorder::new(key, 1))
    }

    fn serve(recorder: &Recorder, outcomes: &[Outcome]) {
        let track = Track::Draw { slot: 0 };
        for &outcome in outcomes {
            recorder.cell(0).dispatched(track);
            recorder.cell(0).headed(track, recorder, 1_000, 0);
            recorder.cell(0).resolved(track, outcome);
        }
    }

    #[test]
    fn a_view_shows_the_last_window_only() {
        let recorder = recorder("canary");
        let mut windows = Windows::default();
        for second in (0..=60).step_by(5) {
            windows.take([&recorder].into_iter(), second * 1000);
            serve(&recorder, &[Outcome::Success, Outcome::Failure]);
        }
        let stats = windows.stats(&recorder, 62_000);
        assert_eq!((stats.window_seconds, stats.requests, stats.failures), (12.0, 6, 3));
        assert_eq!(stats.error_rate, Some(0.5));
        assert!(windows.snapshots[recorder.key()].len() <= 3);
    }

    #[test]
    fn a_cohort_without_a_vote_is_counted_apart() {
        let recorder = recorder("canary");
        let mut windows = Windows::default();
        windows.follow([&recorder].into_iter(), 0);
        serve(
            &recorder,
            &[Outcome::Success, Outcome::Failure, Outcome::Success, Outcome::Success],
        );
        for outcome in [
            Outcome::Failure,
            Outcome::Failure,
            Outcome::Success,
            Outcome::NoEvidence,
        ] {
            recorder.cell(0).dispatched(Track::Cohort);
            recorder.cell(0).resolved(Track::Cohort, outcome);
        }
        let stats = windows.stats(&recorder, 1_000);
        assert_eq!((stats.requests, stats.failures, stats.error_rate), (4, 1, Some(0.25)));
        assert_eq!((stats.cohort_requests, stats.cohort_failures), (3, 2));
    }

    #[test]
    fn a_young_recorder_shows_what_there_is() {
        let recorder = recorder("canary");
        let mut windows = Windows::default();
        assert_eq!(windows.stats(&recorder, 500).requests, 0);
        windows.follow([&recorder].into_iter(), 500);
        serve(&recorder, &[Outcome::Success]);
        let stats = windows.stats(&recorder, 2_500);
        assert_eq!((stats.window_seconds, stats.requests), (2.0, 1));
        let p95 = stats.p95_us.unwrap();
        assert!((970..=1032).contains(&p95), "{p95}");
    }

    #[test]
    fn a_quiet_recorder_costs_one_snapshot() {
        let recorder = recorder("canary");
        let mut windows = Windows::default();
        for second in 0..5 {
            windows.take([&recorder].into_iter(), second * 1000);
        }
        let entries = &windows.snapshots[recorder.key()];
        assert!(entries.iter().all(|(_, snapshot)| Arc::ptr_eq(snapshot, &entries[0].1)));
    }

    #[test]
    fn recorders_that_are_gone_are_forgotten() {
        let (old, new) = (recorder("canary"), recorder("blue"));
        let mut windows = Windows::default();
        windows.follow([&old].into_iter(), 0);
        windows.follow([&new].into_iter(), 5);
        assert_eq!(windows.snapshots.keys().collect::<Vec<_>>(), [new.key()]);
    }
}
