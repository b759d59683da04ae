//! What the clients of the demo saw: every request, who answered, how, and how late. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::files::LATENCY_MAX;

/// The live figures are of so long.
const RECENT: Duration = Duration::from_secs(1);

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The variant that serves today.
    Stable,
    /// The variant on trial.
    Canary,
}

/// One request as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// When it was sent.
    pub(super) sent: Instant,
    /// How it ended.
    pub(super) end: End,
}

/// How a request ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A whole HTTP answer came.
    Answered {
        /// By the `x-serin-variant` header, if it was there.
        side: Option<Side>,
        /// The status.
        status: u16,
        /// From sending to the answer's head.
        latency: Duration,
    },
    /// None came.
    Lost,
}

/// All requests so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    totals: Totals,
    /// Of the last second, in order of their ends.
    recent: VecDeque<(Instant, Exchange)>,
}

/// Sums over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Requests that have ended.
    pub(super) requests: u64,
    /// Among them those that the canary answered, or that Serin answered in its stead.
    pub(super) canary_requests: u64,
    /// Among all: errors (5xx), and answers for the canary slower than its critical latency.
    pub(super) bad_responses: u64,
    /// Among all: those without a whole HTTP answer.
    pub(super) lost: u64,
    /// What the first of those died of.
    pub(super) first_loss: Option<String>,
    /// Requests that were due but not sent, since too many were open already.
    pub(super) unsent: u64,
    /// When the last request that went to the canary was sent.
    pub(super) last_canary: Option<Instant>,
}

/// What one side did in the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Answers.
    pub(super) answers: u32,
    /// 5xx among them, 0 to 1; `None` without answers.
    pub(super) error_rate: Option<f64>,
    /// 95 % of answers were at least so fast; `None` without answers.
    pub(super) p95: Option<Duration>,
}

impl Side {
    /// By the value of `x-serin-variant`.
    pub(super) fn of(variant: &[u8]) -> Option<Self> {
        match variant {
            b"stable" => Some(Self::Stable),
            b"canary" => Some(Self::Canary),
            _ => None,
        }
    }
}

impl Book {
    /// Takes in one request that ended `now`; `cause` is what a lost one died of.
    pub(super) fn enter(&mut self, now: Instant, exchange: Exchange, cause: Option<String>) {
        let totals = &mut self.totals;
        totals.requests += 1;
        match exchange.end {
            End::Answered { side, status, latency } => {
                let by_canary = side == Some(Side::Canary);
                if by_canary {
                    totals.canary_requests += 1;
                    totals.last_canary = totals.last_canary.max(Some(exchange.sent));
                }
                totals.bad_responses += u64::from(status >= 500 || by_canary && latency > LATENCY_MAX);
            }
            End::Lost => {
                totals.lost += 1;
                totals.first_loss = totals.first_loss.take().or(cause);
            }
        }
        self.recent.push_back((now, exchange));
        self.forget(now);
    }

    /// A request that was due was not sent.
    pub(super) fn skip(&mut self) {
        self.totals.unsent += 1;
    }

    /// Sums so far.
    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What `side` did in the second before `now`.
    pub(super) fn figures(&self, now: Instant, side: Side) -> Figures {
        let fresh = self.recent.iter().filter(|(ended, _)| *ended + RECENT > now);
        let (mut errors, mut latencies) = (0u32, Vec::new());
        for (_, exchange) in fresh {
            match exchange.end {
                End::Answered {
                    side: Some(by),
                    status,
                    latency,
                } if by == side => {
                    errors += u32::from(status >= 500);
                    latencies.push(latency);
                }
                End::Answered { .. } | End::Lost => {}
            }
        }
        latencies.sort_unstable();
        let answers = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
        Figures {
            answers,
            error_rate: (answers > 0).then(|| f64::from(errors) / f64::from(answers)),
            // Nearest rank: the smallest that 95 % do not exceed.
            p95: (latencies.len() * 95)
                .div_ceil(100)
                .checked_sub(1)
                .map(|rank| latencies[rank]),
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|(ended, _)| *ended + RECENT <= now) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answered(sent: Instant, side: Side, status: u16, latency_ms: u32) -> Exchange {
        let end = End::Answered {
            side: Some(side),
            status,
            latency: MS * latency_ms,
        };
        Exchange { sent, end }
    }

    #[test]
    fn totals_say_what_was_bad_and_what_was_lost() {
        let start = Instant::now();
        let mut book = Book::default();
        book.enter(start, answered(start, Side::Stable, 200, 900), None);
        book.enter(start, answered(start + MS, Side::Canary, 200, 5), None);
        book.enter(start, answered(start, Side::Canary, 200, 251), None);
        book.enter(start, answered(start, Side::Stable, 503, 5), None);
        book.enter(
            start,
            Exchange {
                sent: start,
                end: End::Lost,
            },
            Some("reset".into()),
        );
        book.enter(
            start,
            Exchange {
                sent: start,
                end: End::Lost,
            },
            Some("late".into()),
        );
        book.skip();
        let expected = Totals {
            requests: 6,
            canary_requests: 2,
            bad_responses: 2,
            lost: 2,
            first_loss: Some("reset".into()),
            unsent: 1,
            last_canary: Some(start + MS),
        };
        assert_eq!(*book.totals(), expected);
    }

    #[test]
    fn figures_are_of_the_last_second_and_one_side() {
        let start = Instant::now();
        let mut book = Book::default();
        book.enter(start, answered(start, Side::Canary, 500, 700), None);
        let now = start + RECENT;
        for latency_ms in 1..=100 {
            let status = if latency_ms % 25 == 0 { 500 } else { 200 };
            book.enter(now, answered(start, Side::Canary, status, latency_ms), None);
        }
        book.enter(now, answered(start, Side::Stable, 200, 9), None);
        let expected = Figures {
            answers: 100,
            error_rate: Some(0.04),
            p95: Some(MS * 95),
        };
        assert_eq!(book.figures(now, Side::Canary), expected);
        let expected = Figures {
            answers: 1,
            error_rate: Some(0.0),
            p95: Some(MS * 9),
        };
        assert_eq!(book.figures(now, Side::Stable), expected);
        assert_eq!(book.figures(now + RECENT, Side::Stable), Figures::default());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let start = Instant::now();
        let mut book = Book::default();
        for second in 0..5 {
            let now = start + RECENT * second;
            (0..10).for_each(|_| book.enter(now, answered(now, Side::Stable, 200, 1), None));
        }
        assert_eq!(book.recent.len(), 10);
    }
}
