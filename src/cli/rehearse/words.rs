//! What a rehearsal tells, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use crate::admin::rfc3339;
use crate::analysis::{Metric, VerdictKind, figures};
use crate::cli::local::count;
use crate::cli::table::Table;
use crate::rehearse::{Event, Summary, What};

/// `2026-11-21T12:00:13.400Z  checkout  25 %  hold  canary errorRate ...`
pub(super) fn text_event(event: &Event) -> String {
    let (word, detail) = match &event.what {
        What::Begun => ("begins", "the canary has weight: a trial begins".to_owned()),
        What::Moved => ("moves", "the canary's weight changed".to_owned()),
        What::Verdict(verdict) => (verdict.kind.as_str(), verdict.reason.clone()),
        What::Passed { step, of, after } => ("passes", of_step("would have been passed", *step, *of, *after)),
        What::Paused { step, of, after } => {
            let detail = of_step("would have been paused, for want of evidence,", *step, *of, *after);
            ("pauses", detail)
        }
        What::Promoted => (
            "succeeds",
            "the trial would have ended: the canary has everything".to_owned(),
        ),
        What::Aborted => ("aborts", "the canary would have got nothing from here on".to_owned()),
        What::Ended => ("ends", "the canary has no weight any more".to_owned()),
    };
    let Event { at_ms, rollout, .. } = event;
    let share = figures::measured(event.share);
    format!("{}  {rollout}  {share:>6}  {word:<12}  {detail}", rfc3339(*at_ms))
}

/// The last lines, for people.
pub(super) fn text_summary(summary: &Summary, took: Duration) -> String {
    let tally = &summary.tally;
    let mut table = Table::new(&[
        "rollout",
        ">trials",
        ">would abort",
        ">canary",
        ">stable",
        ">no vote",
        "verdict",
    ]);
    for rollout in &summary.rollouts {
        table.row(vec![
            rollout.rollout.to_string(),
            rollout.trials.to_string(),
            rollout.aborts.to_string(),
            rollout.canary_requests.to_string(),
            rollout.stable_requests.to_string(),
            rollout.without_vote.to_string(),
            rollout
                .verdict
                .map_or("none: no weight", VerdictKind::as_str)
                .to_owned(),
        ]);
    }
    let (lines, requests) = (count(tally.lines, "line"), count(tally.requests, "request"));
    let mut text = format!("\n{}\n\n{lines}, {requests}", table.render());
    if let (Some(began_ms), Some(ended_ms)) = (tally.began_ms, tally.ended_ms) {
        let span = figures::time(Duration::from_millis(ended_ms.saturating_sub(began_ms)));
        text.push_str(&format!(" of {span}"));
    }
    text.push_str(&format!(", replayed in {}", figures::time(took)));
    for (count, what) in [
        (tally.elsewhere, "requests of other routes and variants, left out"),
        (tally.garbled, "lines that make no sense, left out"),
        (tally.lost, "lines were lost when the log was written"),
        (
            tally.late,
            "requests that took over a minute or stand out of order, taken late",
        ),
    ] {
        if count > 0 {
            text.push_str(&format!("\n{count} {what}"));
        }
    }
    text
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventLine<'e> {
    time: String,
    rollout: &'e str,
    share: f64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'e str>,
    /// From 1, as people count.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_seconds: Option<f64>,
}

/// One JSON object in a line.
pub(super) fn json_event(event: &Event) -> String {
    let mut line = EventLine {
        time: rfc3339(event.at_ms),
        rollout: event.rollout.as_str(),
        share: event.share,
        event: match event.what {
            What::Begun => "begins",
            What::Moved => "moves",
            What::Verdict(_) => "verdict",
            What::Passed { .. } => "passes",
            What::Paused { .. } => "pauses",
            What::Promoted => "succeeds",
            What::Aborted => "aborts",
            What::Ended => "ends",
        },
        verdict: None,
        metric: None,
        reason: None,
        step: None,
        after_seconds: None,
    };
    match &event.what {
        What::Verdict(verdict) => {
            line.verdict = Some(verdict.kind.as_str());
            line.metric = verdict.metric.map(Metric::as_str);
            line.reason = Some(&verdict.reason);
        }
        What::Passed { step, after, .. } | What::Paused { step, after, .. } => {
            line.step = Some(step + 1);
            line.after_seconds = Some(after.as_secs_f64());
        }
        What::Begun | What::Moved | What::Promoted | What::Aborted | What::Ended => {}
    }
    json(&line)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SummaryLine<'s> {
    event: &'static str,
    began: Option<String>,
    ended: Option<String>,
    took_seconds: f64,
    lines: u64,
    requests: u64,
    requests_elsewhere: u64,
    garbled_lines: u64,
    lost_lines: u64,
    late_requests: u64,
    rollouts: Vec<RolloutLine<'s>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RolloutLine<'s> {
    name: &'s str,
    trials: u64,
    aborts: u64,
    canary_requests: u64,
    stable_requests: u64,
    requests_without_vote: u64,
    verdict: Option<&'static str>,
}

/// The last line, for programs.
pub(super) fn json_summary(summary: &Summary, took: Duration) -> String {
    let tally = &summary.tally;
    let rollouts = summary.rollouts.iter().map(|rollout| RolloutLine {
        name: rollout.rollout.as_str(),
        trials: rollout.trials,
        aborts: rollout.aborts,
        canary_requests: rollout.canary_requests,
        stable_requests: rollout.stable_requests,
        requests_without_vote: rollout.without_vote,
        verdict: rollout.verdict.map(VerdictKind::as_str),
    });
    json(&SummaryLine {
        event: "summary",
        began: tally.began_ms.map(rfc3339),
        ended: tally.ended_ms.map(rfc3339),
        took_seconds: took.as_secs_f64(),
        lines: tally.lines,
        requests: tally.requests,
        requests_elsewhere: tally.elsewhere,
        garbled_lines: tally.garbled,
        lost_lines: tally.lost,
        late_requests: tally.late,
        rollouts: rollouts.collect(),
    })
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("texts, numbers and lists are always JSON")
}

fn of_step(what: &str, step: usize, of: usize, after: Duration) -> String {
    format!("step {} of {of} {what} after {}", step + 1, figures::time(after))
}
