//! `serin rollout wait`: looks until the rollout has ended, and says each step on the way.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::args::Output;
use super::client::{ClientError, Question};
use super::commands::Caller;
use super::{Exit, text};

/// Between two looks.
const PACE: Duration = Duration::from_millis(250);

/// How long a Serin that has answered before may be gone: it is being restarted, perhaps.
pub(super) const ABSENCE_MAX: Duration = Duration::from_secs(10);

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    /// Path of the rollout.
    pub(super) target: &'w str,
    /// The release whose end is meant; `None`: whatever is on trial now.
    pub(super) release: Option<&'w str>,
    /// At most so long.
    pub(super) timeout: Option<Duration>,
}

/// Looks at a rollout until it has ended.
pub(super) async fn wait(mut caller: Caller<'_, '_>, wanted: Wanted<'_>) -> Exit {
    let Wanted {
        target,
        release,
        timeout,
    } = wanted;
    let begun = Instant::now();
    let over = |now: Instant| timeout.is_some_and(|timeout| timeout <= now.duration_since(begun));
    let mut last_seen: Option<Instant> = None;
    let mut last_said = String::new();
    let mut was_on_trial = false;
    loop {
        let looked = caller.client.ask(Question::get(target)).await;
        let now = Instant::now();
        let absent = matches!(looked, Err(ClientError::Unreachable { .. }))
            && last_seen.is_some_and(|seen| now.duration_since(seen) < ABSENCE_MAX);
        if !absent {
            let answer = match caller.judge(looked) {
                Ok(answer) => answer,
                Err(exit) => return exit,
            };
            last_seen = Some(now);
            let said = text::progress(&answer.body);
            if caller.output == Output::Text && said != last_said {
                caller.console.say(&said);
                last_said = said;
            }
            was_on_trial |= is_on_trial(&answer.body, release);
            let end = end_of(&answer.body, release);
            if let Some(exit) = end.or(over(now).then_some(Exit::TimedOut)) {
                if let Some(release) = release.filter(|_| exit == Exit::TimedOut && !was_on_trial) {
                    caller.console.complain(&never_on_trial(release, &answer.body));
                }
                if caller.output == Output::Json {
                    caller.console.say(answer.text.trim_end());
                }
                return exit;
            }
        } else if over(now) {
            caller
                .console
                .complain("the time is over, and Serin does not answer just now");
            return Exit::TimedOut;
        }
        let left = timeout.map_or(PACE, |timeout| timeout.saturating_sub(now.duration_since(begun)));
        tokio::time::sleep(PACE.min(left)).await;
    }
}

/// Whether the rollout is, or has been, under way with `release`.
fn is_on_trial(rollout: &Value, release: Option<&str>) -> bool {
    let rests = rollout["phase"] == "idle" || rollout["phase"] == "watching";
    !rests && release.is_some_and(|release| rollout["release"] == release)
}

/// Why a release that was waited for by name has no end.
fn never_on_trial(release: &str, rollout: &Value) -> String {
    format!(
        "{release} was never on trial within this time; the rollout is {}, and its release is {}",
        text::word(&rollout["phase"]),
        text::word(&rollout["release"])
    )
}

/// How what is seen ends the waiting; `None`: it goes on. Right after a file was saved the rollout still
/// shows the release before: whoever waits for one by name waits until it has begun.
fn end_of(rollout: &Value, release: Option<&str>) -> Option<Exit> {
    let is_another = release.is_some_and(|wanted| rollout["release"].as_str() != Some(wanted));
    match rollout["phase"].as_str() {
        Some("idle" | "watching") if release.is_some() => None,
        Some("succeeded" | "aborted") if is_another => None,
        Some("succeeded") => Some(Exit::Done),
        Some("aborted") => Some(Exit::RolledBack),
        Some("idle" | "watching") => Some(Exit::Conflict),
        Some("progressing" | "paused" | "promoting") => None,
        _ => Some(Exit::Failed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::end_of;
    use crate::cli::Exit;
    use crate::rollout::Phase;

    #[test]
    fn only_an_end_ends_the_waiting() {
        let expected = |phase| match phase {
            Phase::Idle | Phase::Watching => Some(Exit::Conflict),
            Phase::Progressing | Phase::Paused | Phase::Promoting => None,
            Phase::Succeeded => Some(Exit::Done),
            Phase::Aborted => Some(Exit::RolledBack),
        };
        for phase in Phase::ALL {
            let rollout = json!({"phase": phase.as_str(), "release": "v1"});
            assert_eq!(end_of(&rollout, None), expected(phase), "{phase:?}");
        }
        assert_eq!(end_of(&json!({"phase": "resting"}), None), Some(Exit::Failed));
        assert_eq!(end_of(&json!({}), None), Some(Exit::Failed));
    }

    #[test]
    fn who_waits_for_a_release_waits_until_it_has_begun() {
        let check = |phase: &str, release: Option<&str>, expected: Option<Exit>| {
            let rollout = json!({"phase": phase, "release": release});
            assert_eq!(end_of(&rollout, Some("v2")), expected, "{phase} {release:?}");
        };
        check("idle", Some("v2"), None);
        check("watching", Some("v1"), None);
        check("succeeded", Some("v1"), None);
        check("aborted", Some("v1"), None);
        check("aborted", None, None);
        check("progressing", Some("v2"), None);
        check("succeeded", Some("v2"), Some(Exit::Done));
        check("aborted", Some("v2"), Some(Exit::RolledBack));
        check("resting", Some("v2"), Some(Exit::Failed));
    }
}
