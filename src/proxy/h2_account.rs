//! What a client's HTTP/2 connection costs beside its requests: an account of points. Pure: the caller brings the time.
//!
//! The engine answers PING and SETTINGS, and takes PRIORITY, WINDOW_UPDATE and empty frames, as often as they come. Each
//! costs a point here; what the connection is for (requests, and what is sent in answer) earns some back, as does time.
//! Who runs out asks for more than they are worth (RFC 9113 §10.5).

use std::cell::Cell;
use std::time::Duration;

use h2::Reason;

/// Points that a connection begins with: enough to reset all the streams that it may have by default.
const POINTS_FIRST: i64 = 1_000;

/// Points that a connection may be ahead.
const POINTS_MAX: i64 = 2_000;

/// Points that a second earns.
const POINTS_PER_SECOND: u64 = 200;

/// What a request earns: its head costs a point, the rest is for what goes with it.
const REQUEST: i64 = 4;

/// What a stream costs that ends before its answer is complete, whoever has reset it, by its age. With its frames (a head
/// and a reset, a point each) and what its request earned, one that is reset as it comes costs 7: 28 may be each second.
/// A rapid reset (CVE-2023-44487) and its sisters need thousands. A person who types or scrolls gives up dozens each
/// second, a little older, for 3. An older one has held one of the places of its connection all that time, which bounds
/// their number, and costs nothing: deadlines end as many as there are calls.
const RESETS: [(Duration, i64); 2] = [(Duration::from_millis(10), 9), (Duration::from_millis(50), 5)];

/// The same for one that is older.
const RESET_LATE: i64 = 2;

/// Bytes sent that earn a point: the client tells us as often that it has read.
const BYTES_PER_POINT: usize = 2_048;

/// The points of one connection.
#[derive(Debug)]
pub(super) struct Account {
    points: Cell<i64>,
    /// Up to when time has been paid for.
    paid_us: Cell<u64>,
    /// Why nothing more of it is read: there were no points left once, or a frame has broken the protocol.
    over: Cell<Option<Reason>>,
}

impl Account {
    /// That of a new connection.
    pub(super) const fn new(now_us: u64) -> Self {
        Self {
            points: Cell::new(POINTS_FIRST),
            paid_us: Cell::new(now_us),
            over: Cell::new(None),
        }
    }

    /// Takes points. The clock is asked only when there are none left.
    pub(super) fn charge(&self, points: i64, now_us: impl FnOnce() -> u64) {
        let left = self.points.get() - points;
        self.points.set(left);
        if left < 0 {
            let now_us = now_us();
            let earned = now_us
                .saturating_sub(self.paid_us.get())
                .saturating_mul(POINTS_PER_SECOND)
                / 1_000_000;
            self.paid_us.set(now_us);
            let left = left
                .saturating_add(i64::try_from(earned).unwrap_or(POINTS_MAX))
                .min(POINTS_MAX);
            self.points.set(left);
            if left < 0 {
                self.end(Reason::ENHANCE_YOUR_CALM);
            }
        }
    }

    /// A stream that was opened at `opened_us` has ended before its answer was complete.
    pub(super) fn charge_reset(&self, opened_us: u64, now_us: u64) {
        let age = Duration::from_micros(now_us.saturating_sub(opened_us));
        let cost = RESETS.iter().find(|(most, _)| age < *most);
        self.charge(cost.map_or(RESET_LATE, |&(_, points)| points), || now_us);
    }

    /// A request has come.
    pub(super) fn earn_request(&self) {
        self.earn(REQUEST);
    }

    /// A frame of `bytes` was sent in answer: the client may tell twice that it has taken it, for stream and connection.
    pub(super) fn earn_frame(&self, bytes: usize) {
        self.earn(2 + i64::try_from(bytes / BYTES_PER_POINT).unwrap_or(POINTS_MAX));
    }

    fn earn(&self, points: i64) {
        self.points.set((self.points.get() + points).min(POINTS_MAX));
    }

    /// The connection is over, for this reason unless there is one already.
    pub(super) fn end(&self, reason: Reason) {
        self.over.set(self.over.get().or(Some(reason)));
    }

    /// Why the connection is over; ENHANCE_YOUR_CALM where it costs more than it asks for.
    pub(super) const fn over(&self) -> Option<Reason> {
        self.over.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_overdrawn_by_floods_and_not_by_work() {
        let account = Account::new(0);
        for _ in 0..1_000_000 {
            account.charge(1, || 0);
            account.earn_request();
            account.charge(2, || 0);
            account.earn_frame(100);
        }
        assert_eq!(account.over(), None);
        for _ in 0..POINTS_MAX + 200 {
            account.charge(1, || 1_000_000);
        }
        assert_eq!(account.over(), None, "a second earns 200");
        account.charge(1, || 1_000_000);
        assert_eq!(account.over(), Some(Reason::ENHANCE_YOUR_CALM));
        account.earn_frame(1 << 20);
        account.end(Reason::PROTOCOL_ERROR);
        assert_eq!(account.over(), Some(Reason::ENHANCE_YOUR_CALM), "it stays so");
    }

    #[test]
    fn many_resets_at_once_are_a_flood() {
        let resets = resets(Duration::ZERO, 10_000);
        assert!((128..200).contains(&resets), "{resets}");
    }

    #[test]
    fn clients_that_give_up_are_no_flood() {
        let minute = |each_second: u64| each_second * 60;
        assert_eq!(resets(Duration::from_millis(20), 40), minute(40), "a person who types");
        assert_eq!(resets(Duration::from_millis(500), 1_000), minute(1_000), "deadlines");
        assert!(resets(Duration::ZERO, 60) < minute(10), "as they come");
    }

    /// How many of the streams that come in a minute, so many each second, and are reset at that age, pass.
    fn resets(age: Duration, each_second: u64) -> u64 {
        let account = Account::new(0);
        let resets = (0..each_second * 60).take_while(|n| {
            let opened_us = n * 1_000_000 / each_second;
            let now_us = opened_us + age.as_micros() as u64;
            account.charge(2, || now_us);
            account.earn_request();
            account.charge_reset(opened_us, now_us);
            account.over().is_none()
        });
        resets.count() as u64
    }
}
