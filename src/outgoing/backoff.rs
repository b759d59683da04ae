//! How long to wait before something that failed is tried again. Pure: chance comes from a seed, time as an
//! argument.

use std::time::{Duration, SystemTime};

/// Nobody makes us wait longer than this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Pauses that double from one try to the next, up to a cap, each 25 % longer or shorter by chance: those
/// who failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    cap: Duration,
    chance: fastrand::Rng,
}

impl Backoff {
    /// The first pause is about `first`, none is longer than `cap`. The same `seed` gives the same pauses.
    #[must_use]
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            next: first.min(cap),
            first,
            cap,
            chance: fastrand::Rng::with_seed(seed),
        }
    }

    /// How long to wait before the next try. What the other side asked for is a least.
    pub fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next.mul_f64(0.75 + self.chance.f64() / 2.0).min(self.cap);
        self.next = self.next.saturating_mul(2).min(self.cap);
        pause.max(asked.unwrap_or_default())
    }

    /// Something went well: begin with the first pause again.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.cap);
    }
}

/// What a `retry-after` field asks for (RFC 9110, 10.2.3): seconds, or a date, at most [`RETRY_AFTER_MAX`].
/// `None`: neither of the two. A date that is over asks for no pause.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time, too.
        value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        for seed in 0..100 {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), seed);
            for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
                let pause = backoff.pause(None).as_secs_f64();
                assert!(
                    pause >= 0.75 * expected && pause <= 1.25 * expected && pause <= 30.0,
                    "{pause}"
                );
            }
            backoff.reset();
            assert!(backoff.pause(None) <= Duration::from_millis(1_250));
        }
    }

    #[test]
    fn a_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), seed);
            [backoff.pause(None), backoff.pause(None)]
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    #[test]
    fn who_asks_for_a_longer_pause_gets_it() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), 1);
        assert_eq!(backoff.pause(Some(Duration::from_secs(60))), Duration::from_secs(60));
        assert!(backoff.pause(Some(Duration::ZERO)) > Duration::from_secs(1));
    }

    #[test]
    fn retry_after_is_read_and_bounded() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        };
        check("0", Some(0));
        check(" 17 ", Some(17));
        check("86400", Some(300));
        check("99999999999999999999999999", Some(300));
        check("Sun, 06 Nov 1994 08:50:07 GMT", Some(30));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(300));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("soon", None);
    }
}
