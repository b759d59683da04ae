//! One channel: how far it has read in the log, what waits, and what it has been told that is not over. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::event::{Event, event_of};
use super::letter::{Letter, Trouble, Turn, concerns, letters};
use super::places::Place;
use super::queue::{Pushed, Queue, is_needed};
use crate::audit::Record;
use crate::config::Channel;

/// News that is older than this when it is read from the log is nobody's news any more.
const NEWS_MS: u64 = 3_600_000;

/// One channel.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) channel: Channel,
    /// Names of the rollouts it is told of; `None`: all.
    only: Option<BTreeSet<String>>,
    /// Records up to this one have been considered.
    seen: u64,
    /// There are records up to this one.
    head: u64,
    /// Until the head of the start only aborts since then are told, in Unix milliseconds: the place was lost.
    again: Option<(u64, u64)>,
    pub(super) queue: Queue,
    open: BTreeSet<Trouble>,
    pub(super) counts: Arc<Counts>,
}

/// What became of the messages of one channel since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) delivered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Line {
    /// A channel that has been told of everything up to `place`. `rollouts` are the names of all.
    pub(super) fn new(channel: Channel, rollouts: &[String], place: Place, head: u64) -> Self {
        let mut line = Self {
            only: None,
            channel,
            // A log that was cut has no records up to there any more.
            seen: place.seq.min(head),
            head,
            again: None,
            queue: Queue::default(),
            open: place.open,
            counts: Arc::default(),
        };
        line.concern(rollouts);
        line
    }

    /// A channel whose place was lost: of the records from `start` to `head` it is told of aborts since
    /// `since_ms` only.
    pub(super) fn begin_again(channel: Channel, rollouts: &[String], start: u64, head: u64, since_ms: u64) -> Self {
        let place = Place {
            seq: start,
            open: BTreeSet::new(),
        };
        Self {
            again: Some((head, since_ms)),
            ..Self::new(channel, rollouts, place, head)
        }
    }

    /// The file says something else of it now.
    pub(super) fn change(&mut self, channel: Channel, rollouts: &[String]) {
        self.channel = channel;
        self.concern(rollouts);
    }

    fn concern(&mut self, rollouts: &[String]) {
        let names = self
            .channel
            .rollouts
            .iter()
            .filter_map(|&index| rollouts.get(index).cloned());
        self.only = (!self.channel.rollouts.is_empty()).then(|| names.collect());
    }

    /// Something has happened, just now; `event` is what channels may be told of it. What came before and was
    /// not heard is read from the log first.
    pub(super) fn hear(&mut self, seq: u64, event: Option<&Event>) {
        if seq == 0 {
            // Not in the log: told if there is room.
            if let Some(event) = event.filter(|event| self.concerns(event)) {
                self.push(event.clone());
            }
            return;
        }
        let follows = !self.is_behind() && seq == self.seen + 1;
        self.head = self.head.max(seq);
        if follows {
            self.consider(seq, event);
        }
    }

    /// There are records up to `head`.
    pub(super) fn hear_of(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// Whether there are records that have to be read from the log.
    pub(super) fn is_behind(&self) -> bool {
        self.seen < self.head
    }

    /// Up to where it has read.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Records from the log, in order, from behind [`Line::seen`]. Ends early where there is no room.
    pub(super) fn read(&mut self, records: &[Record], now_ms: u64) {
        for record in records.iter().filter(|record| record.seq > 0) {
            if record.seq <= self.seen {
                continue;
            }
            let event = event_of(record).filter(|event| self.is_news(event, now_ms));
            if !self.consider(record.seq, event.as_ref()) {
                return;
            }
        }
    }

    /// The log does not hold what there should be: it is given up.
    pub(super) fn give_up_reading(&mut self) {
        self.seen = self.head;
    }

    fn is_news(&self, event: &Event, now_ms: u64) -> bool {
        let age_ms = now_ms.saturating_sub(event.at_ms);
        match self.again {
            Some((until, since_ms)) if event.seq <= until => event.is_critical() && event.at_ms >= since_ms,
            _ => is_needed(event) || age_ms <= NEWS_MS,
        }
    }

    /// Whether it was considered; otherwise there is no room for it.
    fn consider(&mut self, seq: u64, event: Option<&Event>) -> bool {
        if let Some(event) = event.filter(|event| self.concerns(event))
            && self.push(event.clone()) == Pushed::NoRoom
        {
            return false;
        }
        self.seen = seq;
        true
    }

    fn push(&mut self, event: Event) -> Pushed {
        let pushed = self.queue.push(event);
        if pushed == Pushed::LeftOut {
            Counts::add(&self.counts.dropped);
        }
        pushed
    }

    fn concerns(&self, event: &Event) -> bool {
        let chosen = match (&self.only, &event.rollout) {
            (None, _) => true,
            (Some(only), Some(rollout)) => only.contains(rollout),
            (Some(_), None) => false,
        };
        chosen && concerns(&self.channel, event)
    }

    /// What the oldest event that waits comes to; `None`: nothing waits.
    pub(super) fn letters(&self) -> Option<Vec<Letter>> {
        let event = self.queue.front()?;
        Some(letters(&self.channel, &self.open, event))
    }

    /// A message has arrived that said that `told` events were left out.
    pub(super) fn delivered(&mut self, letter: &Letter, told: u64) {
        match &letter.turn {
            Turn::Opens(trouble) => {
                self.open.insert(trouble.clone());
            }
            Turn::Closes(trouble) => {
                self.open.remove(trouble);
            }
            Turn::News => {}
        }
        self.queue.left_out = self.queue.left_out.saturating_sub(told);
        Counts::add(&self.counts.delivered);
    }

    /// Whether the place that was lost is still being made up for: there is no place to be remembered yet.
    pub(super) fn is_lost(&self) -> bool {
        self.again.is_some_and(|(until, _)| self.place().seq < until)
    }

    /// What has to be remembered: everything before it has been told.
    pub(super) fn place(&self) -> Place {
        let seq = self.queue.oldest().map_or(self.seen, |oldest| oldest - 1);
        Place {
            seq,
            open: self.open.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Service, Severity};
    use crate::notify::fixture::{NOON_MS, channel, record};

    fn line(seq: u64, head: u64) -> Line {
        let service = Service::Slack { url: String::new() };
        let place = Place {
            seq,
            open: BTreeSet::new(),
        };
        Line::new(channel(service, Severity::Warn, false), &[], place, head)
    }

    fn hear(line: &mut Line, seq: u64, to: &str) {
        let record = record(seq, "progressing", to);
        line.hear(seq, event_of(&record).as_ref());
    }

    fn waiting(line: &mut Line) -> Vec<u64> {
        let mut found = Vec::new();
        while let Some(event) = line.queue.front() {
            found.push(event.seq);
            line.queue.pop();
        }
        found
    }

    #[test]
    fn what_is_heard_in_order_waits_in_order() {
        let mut line = line(4, 4);
        hear(&mut line, 5, "aborted");
        hear(&mut line, 6, "idle");
        hear(&mut line, 6, "aborted");
        hear(&mut line, 7, "paused");
        assert_eq!(line.place().seq, 4);
        assert_eq!(waiting(&mut line), [5, 7]);
        assert_eq!(line.place().seq, 7);
    }

    #[test]
    fn a_gap_is_read_from_the_log() {
        let mut line = line(4, 4);
        hear(&mut line, 6, "aborted");
        assert!(line.is_behind() && line.queue.front().is_none());
        hear(&mut line, 7, "aborted");
        let log: Vec<_> = (5..=7).map(|seq| record(seq, "progressing", "aborted")).collect();
        line.read(&log, NOON_MS);
        assert!(!line.is_behind());
        assert_eq!(waiting(&mut line), [5, 6, 7]);
    }

    #[test]
    fn what_was_not_told_before_a_restart_is_told_after_it() {
        let mut line = line(4, 6);
        assert!(line.is_behind());
        let old = |seq, to| record(seq, "progressing", to);
        line.read(&[old(5, "aborted"), old(6, "paused")], NOON_MS + 2 * NEWS_MS);
        assert_eq!(waiting(&mut line), [5], "a pause of two hours ago is no news");
    }

    #[test]
    fn where_the_place_was_lost_aborts_are_told_again() {
        let service = Service::Slack { url: String::new() };
        let channel = channel(service, Severity::Warn, true);
        let mut line = Line::begin_again(channel, &[], 0, 4, NOON_MS);
        let mut early = record(1, "progressing", "aborted");
        early.at_ms -= 1;
        let others = [(2, "aborted"), (3, "paused"), (4, "succeeded"), (5, "paused")];
        let others = others.map(|(seq, to)| record(seq, "progressing", to));
        line.read(&[early], NOON_MS);
        line.read(&others, NOON_MS);
        assert_eq!(waiting(&mut line), [2, 5]);
    }

    #[test]
    fn too_many_aborts_wait_in_the_log() {
        let mut line = line(0, 0);
        for seq in 1..=1_100 {
            hear(&mut line, seq, "aborted");
        }
        assert!(line.is_behind());
        assert_eq!(line.seen(), 1_024);
        assert_eq!(waiting(&mut line).len(), 1_024);
        let log: Vec<_> = (1_025..=1_100)
            .map(|seq| record(seq, "progressing", "aborted"))
            .collect();
        line.read(&log, NOON_MS);
        assert_eq!(waiting(&mut line).len(), 76);
        assert!(!line.is_behind());
    }

    #[test]
    fn a_channel_is_told_of_its_rollouts_only() {
        let rollouts = ["search-v3".to_owned(), "checkout-v2".to_owned()];
        let check = |chosen: &[usize], expected: usize| {
            let mut line = line(0, 0);
            let channel = Channel {
                rollouts: chosen.to_vec(),
                ..line.channel.clone()
            };
            line.change(channel, &rollouts);
            hear(&mut line, 1, "aborted");
            assert_eq!(waiting(&mut line).len(), expected, "{chosen:?}");
            assert!(!line.is_behind());
        };
        check(&[], 1);
        check(&[1], 1);
        check(&[0, 1], 1);
        check(&[0], 0);
    }

    #[test]
    fn what_is_not_in_the_log_moves_no_place() {
        let mut line = line(4, 4);
        let mut hold = record(0, "pass", "hold");
        hold.kind = "verdict".to_owned();
        line.hear(0, event_of(&hold).as_ref());
        assert_eq!(line.place().seq, 4);
        assert_eq!(waiting(&mut line), [0]);
    }
}
