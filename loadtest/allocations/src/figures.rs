//! What counts come to: allocations per request by thread, and whether they are within the target. Pure.

use std::collections::BTreeMap;

use crate::counting::Count;

/// The most allocations per request: next to none. What is left of it is for buffers that grow once.
const PER_REQUEST_MAX: f64 = 0.01;

/// Calls and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    calls: u64,
    bytes: u64,
}

/// What all rounds of one kind of exchange used.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    /// Exchanges that were made.
    pub(crate) exchanges: usize,
    /// Exchanges without a 200.
    pub(crate) failed: usize,
    /// By thread, while requests passed.
    pub(crate) busy: BTreeMap<i32, Used>,
    /// By thread, in silences as long.
    pub(crate) idle: BTreeMap<i32, Used>,
}

/// Something that had to hold, with its figures.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) held: bool,
    pub(crate) text: String,
}

/// Adds what each thread used between two counts.
pub(crate) fn add(used: &mut BTreeMap<i32, Used>, before: &[Count], after: &[Count]) {
    for after in after {
        let before = before.iter().find(|before| before.thread == after.thread);
        let of = used.entry(after.thread).or_default();
        of.calls += after.calls - before.map_or(0, |before| before.calls);
        of.bytes += after.bytes - before.map_or(0, |before| before.bytes);
    }
}

impl Kind {
    /// One line for each thread that allocated; `name` tells a thread by its id, or that it is not Serin's.
    pub(crate) fn lines(&self, kind: &str, name: impl Fn(i32) -> Option<String>) -> Vec<String> {
        let mut lines = Vec::new();
        for (&thread, busy) in &self.busy {
            let idle = self.idle.get(&thread).copied().unwrap_or_default();
            let Some(name) = name(thread).filter(|_| busy.calls + idle.calls > 0) else {
                continue;
            };
            let (calls, bytes) = (self.per_request(busy.calls), self.per_request(busy.bytes));
            lines.push(format!(
                "{kind:<4} {name:<16} {:>9} calls  {calls:>9.4} a request  {bytes:>10.1} bytes a request  {:>6} calls in equal silence",
                busy.calls, idle.calls
            ));
        }
        lines
    }

    /// What must hold: for the threads that `is_worker` names as they are, and for all that `is_ours` names less what
    /// they do in silence.
    pub(crate) fn conditions(
        &self,
        kind: &str,
        is_worker: impl Fn(i32) -> bool,
        is_ours: impl Fn(i32) -> bool,
    ) -> Vec<Condition> {
        let calls = |used: &BTreeMap<i32, Used>, counts: &dyn Fn(i32) -> bool| -> u64 {
            let of = used.iter().filter(|&(&thread, _)| counts(thread));
            of.map(|(_, used)| used.calls).sum()
        };
        let of_workers = self.per_request(calls(&self.busy, &is_worker));
        let less_idle = calls(&self.busy, &is_ours).saturating_sub(calls(&self.idle, &is_ours));
        let of_all = self.per_request(less_idle);
        let target = |what: &str, value: f64| Condition {
            held: value <= PER_REQUEST_MAX,
            text: format!("{kind}: {what} allocate at most {PER_REQUEST_MAX} times a request: {value:.4}"),
        };
        vec![
            Condition {
                held: self.failed == 0 && self.exchanges > 0,
                text: format!("{kind}: no exchange failed: {} of {}", self.failed, self.exchanges),
            },
            target("workers", of_workers),
            target("all threads, less what they do in silence,", of_all),
        ]
    }

    fn per_request(&self, value: u64) -> f64 {
        value as f64 / self.exchanges.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(thread: i32, calls: u64) -> Count {
        Count {
            thread,
            calls,
            bytes: calls * 8,
        }
    }

    #[test]
    fn what_is_used_lies_between_two_counts() {
        let mut used = BTreeMap::new();
        add(&mut used, &[count(1, 5)], &[count(1, 7), count(2, 3)]);
        add(&mut used, &[count(1, 7)], &[count(1, 8)]);
        assert_eq!(used[&1], Used { calls: 3, bytes: 24 });
        assert_eq!(used[&2], Used { calls: 3, bytes: 24 });
    }

    /// Thread 1 is a worker, 2 is control, 3 is not Serin's.
    fn check(worker: u64, control: [u64; 2], failed: usize, expected: [bool; 3]) {
        let used = |calls| Used { calls, bytes: 0 };
        let kind = Kind {
            exchanges: 1000,
            failed,
            busy: BTreeMap::from([(1, used(worker)), (2, used(control[0])), (3, used(9999))]),
            idle: BTreeMap::from([(2, used(control[1]))]),
        };
        let conditions = kind.conditions("get", |thread| thread == 1, |thread| thread != 3);
        let held: Vec<bool> = conditions.iter().map(|condition| condition.held).collect();
        assert_eq!(held, expected, "{conditions:?}");
        let names = |thread: i32| (thread != 3).then(|| thread.to_string());
        assert_eq!(kind.lines("get", names).len(), 1 + usize::from(worker > 0));
    }

    #[test]
    fn a_request_may_cost_next_to_nothing() {
        check(0, [0, 1], 0, [true, true, true]);
        check(10, [50, 50], 0, [true, true, true]);
        check(11, [0, 5], 0, [true, false, true]);
        check(0, [61, 50], 0, [true, true, false]);
        check(0, [5, 50], 1, [false, true, true]);
    }
}
