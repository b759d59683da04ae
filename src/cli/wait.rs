//! `serin rollout wait`: looks until the rollout has ended, and says each step on the way.

use std::time::Duration;

use tokio::time::Instant;

use super::args::Output;
use super::client::{ClientError, Question};
use super::commands::Caller;
use super::{Exit, text};

/// Between two looks.
const PACE: Duration = Duration::from_millis(250);

/// How long a Serin that has answered before may be gone: it is being restarted, perhaps.
const ABSENCE_MAX: Duration = Duration::from_secs(10);

/// Looks at `target` until the rollout there has ended, at most for `timeout`.
pub(super) async fn wait(mut caller: Caller<'_, '_>, target: &str, timeout: Option<Duration>) -> Exit {
    let begun = Instant::now();
    let over = |now: Instant| timeout.is_some_and(|timeout| timeout <= now.duration_since(begun));
    let mut last_seen: Option<Instant> = None;
    let mut last_said = String::new();
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
            let end = end_of(answer.body["phase"].as_str());
            if let Some(exit) = end.or(over(now).then_some(Exit::TimedOut)) {
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

/// How a phase ends the waiting; `None`: it goes on.
fn end_of(phase: Option<&str>) -> Option<Exit> {
    match phase {
        Some("succeeded") => Some(Exit::Done),
        Some("aborted") => Some(Exit::RolledBack),
        Some("idle" | "watching") => Some(Exit::Conflict),
        Some("progressing" | "paused" | "promoting") => None,
        _ => Some(Exit::Failed),
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(end_of(Some(phase.as_str())), expected(phase), "{phase:?}");
        }
        assert_eq!(end_of(Some("resting")), Some(Exit::Failed));
        assert_eq!(end_of(None), Some(Exit::Failed));
    }
}
