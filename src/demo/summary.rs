//! What a run of the demo came to: for people, and as one JSON object.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::book::Totals;
use super::scenario::{Outcome, Scenario};
use super::service::{Marks, Moment};
use crate::control::RolloutView;
use crate::rollout::Phase;

/// What is known at the end of a run.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// What the canary did.
    pub(super) scenario: Scenario,
    /// Requests in a second that were asked for.
    pub(super) rate: u32,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// From the rollout's start to that end.
    pub(super) duration: Duration,
    /// What the clients saw.
    pub(super) totals: Totals,
    /// What the canary noted.
    pub(super) canary: Marks,
    /// Where the rollout stands.
    pub(super) rollout: RolloutView,
}

/// The sums of a run. As JSON these names are a promise; times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    scenario: &'static str,
    expected: &'static str,
    outcome: &'static str,
    /// It ended as expected, and not before the canary had turned bad.
    pub(super) ok: bool,
    rate: u32,
    requests: u64,
    canary_requests: u64,
    bad_responses: u64,
    lost: u64,
    first_loss: Option<String>,
    unsent: u64,
    /// From the canary's first harm to the last request that went its way; `null` without harm.
    first_bad_to_last_canary_ms: Option<f64>,
    /// From the canary's first harm to its weight being 0; `null` without harm or abort.
    first_bad_to_weight_zero_ms: Option<u64>,
    duration_ms: u64,
    phase: &'static str,
    step: Option<usize>,
    steps: usize,
    reason: String,
}

impl Summary {
    pub(super) fn of(ended: &Ended) -> Self {
        let Ended {
            scenario,
            outcome,
            totals,
            canary,
            rollout,
            ..
        } = ended;
        let turned_bad = canary.first_bad.is_some();
        let last = canary.last_request.max(totals.last_canary);
        Self {
            scenario: scenario.as_str(),
            expected: scenario.expected().as_str(),
            outcome: outcome.as_str(),
            ok: *outcome == scenario.expected() && turned_bad == (*scenario != Scenario::Healthy),
            rate: ended.rate,
            requests: totals.requests,
            canary_requests: totals.canary_requests,
            bad_responses: totals.bad_responses,
            lost: totals.lost,
            first_loss: totals.first_loss.clone(),
            unsent: totals.unsent,
            first_bad_to_last_canary_ms: canary.first_bad.map(|first| exposure_ms(first, last)),
            first_bad_to_weight_zero_ms: canary
                .first_bad
                .filter(|_| rollout.phase == Phase::Aborted)
                .map(|first| rollout.since_ms.saturating_sub(first.unix_ms)),
            duration_ms: u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX),
            phase: rollout.phase.as_str(),
            step: rollout.step,
            steps: rollout.steps,
            reason: rollout.reason.clone(),
        }
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain fields and text keys are always JSON")
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let as_expected = match (self.ok, self.outcome == Outcome::Interrupted.as_str()) {
            (true, _) => ", as expected",
            (false, true) => "",
            (false, false) => ", NOT as expected",
        };
        let seconds = |ms: Option<f64>| ms.map_or_else(|| "-".into(), |ms| format!("{:.2} s", ms / 1e3));
        // Of an end that no verdict brought there is only how far the rollout had come.
        let decided = [Outcome::Succeeded, Outcome::Aborted].map(Outcome::as_str);
        let reason = if decided.contains(&self.outcome) {
            "reason"
        } else {
            "last move of the rollout"
        };
        let mut rows = vec![
            ("outcome", format!("{}{as_expected}", self.outcome)),
            (reason, self.reason.clone()),
        ];
        if self.scenario != Scenario::Healthy.as_str() {
            #[allow(clippy::cast_precision_loss)] // some seconds
            let weight_zero_ms = self.first_bad_to_weight_zero_ms.map(|ms| ms as f64);
            rows.push(("first bad response to weight 0", seconds(weight_zero_ms)));
            rows.push((
                "first bad response to the canary's last request",
                seconds(self.first_bad_to_last_canary_ms),
            ));
        }
        rows.push(("bad responses served", self.bad_responses.to_string()));
        let because = self
            .first_loss
            .as_ref()
            .map_or_else(String::new, |cause| format!(" ({cause})"));
        rows.push(("requests lost", format!("{}{because}", self.lost)));
        rows.push((
            "requests",
            format!("{}, {} of them to the canary", self.requests, self.canary_requests),
        ));
        if self.unsent > 0 {
            rows.push((
                "requests due but not sent",
                format!("{}: too many were open already", self.unsent),
            ));
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        rows.iter()
            .map(|(name, value)| format!("  {name:width$}  {value}\n"))
            .collect()
    }
}

/// From the first harm to the last request, 0 when that came before.
fn exposure_ms(first: Moment, last: Option<Instant>) -> f64 {
    let exposed = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(first.at));
    (exposed.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Course;
    use crate::name::Name;

    fn ended(scenario: Scenario, outcome: Outcome, phase: Phase) -> Ended {
        let name = |text| Name::new(text).unwrap();
        let start = Instant::now();
        let first = Moment {
            at: start,
            unix_ms: 1_700_000_000_000,
        };
        Ended {
            scenario,
            rate: 1000,
            outcome,
            duration: Duration::from_millis(3_210),
            totals: Totals {
                requests: 5_000,
                canary_requests: 400,
                bad_responses: 14,
                last_canary: Some(start + Duration::from_micros(512_340)),
                ..Totals::default()
            },
            canary: Marks {
                requests: 400,
                last_request: Some(start + Duration::from_millis(500)),
                first_bad: (scenario != Scenario::Healthy).then_some(first),
            },
            rollout: RolloutView {
                name: name("shop"),
                route: name("shop"),
                from: name("stable"),
                to: name("canary"),
                observe: false,
                phase,
                step: Some(1),
                steps: 4,
                step_weights: Vec::new(),
                course: Course::default(),
                since_ms: 1_700_000_000_480,
                baked_seconds: 0.0,
                bake_seconds: 2.0,
                share: 0.0,
                verdict: None,
                reason: "canary errorRate 8.1 %".into(),
                history: Vec::new(),
            },
        }
    }

    #[test]
    fn the_json_is_one_object_of_plain_values() {
        let summary = Summary::of(&ended(Scenario::Errors, Outcome::Aborted, Phase::Aborted));
        let expected = concat!(
            r#"{"scenario":"errors","expected":"aborted","outcome":"aborted","ok":true,"rate":1000,"requests":5000,"#,
            r#""canary_requests":400,"bad_responses":14,"lost":0,"first_loss":null,"unsent":0,"#,
            r#""first_bad_to_last_canary_ms":512.3,"first_bad_to_weight_zero_ms":480,"duration_ms":3210,"#,
            r#""phase":"aborted","step":1,"steps":4,"reason":"canary errorRate 8.1 %"}"#,
        );
        assert_eq!(summary.json(), expected);
    }

    #[test]
    fn as_expected_is_the_right_end_for_the_right_cause() {
        let check = |scenario, outcome, phase, ok| {
            assert_eq!(
                Summary::of(&ended(scenario, outcome, phase)).ok,
                ok,
                "{scenario:?} {outcome:?}"
            );
        };
        check(Scenario::Healthy, Outcome::Succeeded, Phase::Succeeded, true);
        check(Scenario::Healthy, Outcome::Aborted, Phase::Aborted, false);
        check(Scenario::Slow, Outcome::Aborted, Phase::Aborted, true);
        check(Scenario::Slow, Outcome::TimedOut, Phase::Progressing, false);
        check(Scenario::Down, Outcome::Succeeded, Phase::Succeeded, false);
        check(Scenario::Down, Outcome::Interrupted, Phase::Progressing, false);
        let mut early = ended(Scenario::Errors, Outcome::Aborted, Phase::Aborted);
        early.canary.first_bad = None;
        assert!(!Summary::of(&early).ok, "aborted before it was bad");
    }

    #[test]
    fn the_text_names_what_was_lost() {
        let mut ended = ended(Scenario::Errors, Outcome::Aborted, Phase::Aborted);
        ended.totals.lost = 2;
        ended.totals.first_loss = Some("no connection: refused".into());
        let text = Summary::of(&ended).text();
        let expected = "  first bad response to the canary's last request  0.51 s\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("2 (no connection: refused)\n"), "{text}");
    }
}
