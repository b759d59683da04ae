//! The bounded journal: what changed, by whom and why, for those who follow and those who ask later.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::broadcast;

use super::view::EventRecord;
use crate::analysis::{Metric, Verdict, VerdictKind};
pub(super) use crate::audit::WOULD_ABORT;
use crate::name::Name;
use crate::rollout::Phase;

/// Events kept for followers who come back with the last id they saw.
const EVENTS_MAX: usize = 1_000;
/// What a reading of the file is told to have come to, when it has problems.
pub(super) const REFUSED: &str = "refused";
/// Changes kept for each rollout.
const HISTORY_MAX: usize = 100;
/// Of each rollout so many aborts, the newest, keep the proof of their verdict: some 30 KB each.
const PROOFS_MAX: usize = 3;

/// Something that has changed, before it has an id and a generation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Happening {
    /// What kind of change.
    pub(super) kind: Kind,
    /// Who: `file`, `serin`, `api`, or a person's name.
    pub(super) by: String,
    /// Whom it concerns.
    pub(super) route: Option<Name>,
    /// Whom it concerns.
    pub(super) rollout: Option<Name>,
    /// Before, in words.
    pub(super) from: String,
    /// After, in words.
    pub(super) to: String,
    /// Why, with figures.
    pub(super) reason: String,
    /// What else is known.
    pub(super) facts: Vec<(&'static str, String)>,
    /// Its number in the audit log, if it stands there.
    pub(super) seq: Option<u64>,
    /// Whether the verdict brought it about.
    pub(super) decided: bool,
    /// The verdict of that moment, where the canary was judged.
    pub(super) verdict: Option<Verdict>,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Weights by file or person.
    Weights,
    /// A rollout moved on.
    Rollout,
    /// A verdict says another word than before.
    Verdict,
    /// The file was read again.
    Reload,
    /// This process began.
    Start,
    /// This process ends in order.
    Stop,
    /// Endpoints that a rollout had replaced take requests again.
    Return,
    /// Somebody approved a gate.
    Approval,
    /// Nothing moves forward, or may again.
    Freeze,
    /// A flag was switched on or off.
    Flag,
}

/// What happened, newest last.
#[derive(Debug)]
pub(super) struct Journal {
    next_id: u64,
    events: VecDeque<EventRecord>,
    histories: BTreeMap<Name, VecDeque<EventRecord>>,
    followers: broadcast::Sender<EventRecord>,
}

impl Happening {
    /// Something about the whole process or file.
    pub(super) fn of_file(kind: Kind, to: &str, reason: String) -> Self {
        Self {
            kind,
            by: "file".to_owned(),
            route: None,
            rollout: None,
            from: String::new(),
            to: to.to_owned(),
            reason,
            facts: Vec::new(),
            seq: None,
            decided: false,
            verdict: None,
        }
    }

    /// Verdicts on a rollout say another word than `before`.
    pub(super) fn of_verdict(rollout: Name, route: Name, before: Option<VerdictKind>, verdict: &Verdict) -> Self {
        Self {
            kind: Kind::Verdict,
            by: "serin".to_owned(),
            route: Some(route),
            rollout: Some(rollout),
            from: before.map_or("", VerdictKind::as_str).to_owned(),
            to: verdict.kind.as_str().to_owned(),
            reason: verdict.reason.clone(),
            facts: Vec::new(),
            seq: None,
            decided: true,
            verdict: Some(without_proof(verdict)),
        }
    }

    /// Why a canary lost everything, in one word for a label: the metric that decided, or `manual`.
    /// `None`: this is no abort.
    pub(super) fn rollback(&self) -> Option<&'static str> {
        let reason = match self.verdict.as_ref().filter(|_| self.decided) {
            None => "manual",
            Some(verdict) => verdict.metric.map_or("analysis", Metric::as_str),
        };
        self.is_abort().then_some(reason)
    }

    pub(super) fn is_abort(&self) -> bool {
        self.kind == Kind::Rollout && self.to == Phase::Aborted.as_str()
    }

    /// Where no verdict decided, the verdict of that moment and its counts are told all the same
    /// (rule 10).
    pub(super) fn stand_beside(&mut self, verdict: Option<&Verdict>) {
        if self.verdict.is_none() {
            self.verdict = verdict.map(without_proof);
        }
    }
}

/// What is told often goes without the proof, which is long.
fn without_proof(verdict: &Verdict) -> Verdict {
    let mut verdict = verdict.clone();
    verdict.evidence.proof = None;
    verdict
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Rollout => "rollout",
            Self::Verdict => "verdict",
            Self::Reload => "reload",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Return => "return",
            Self::Approval => "approval",
            Self::Freeze => "freeze",
            Self::Flag => "flag",
        }
    }
}

impl Journal {
    /// Empty. Ids begin at `now_ms`, the Unix time in milliseconds, so that a follower who comes back
    /// after a restart has seen none of the new ones: nothing here makes a thousand events a second.
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            next_id: now_ms.max(1),
            events: VecDeque::new(),
            histories: BTreeMap::new(),
            followers: broadcast::Sender::new(EVENTS_MAX),
        }
    }

    /// Writes down `happening`, tells the followers, and adds all but verdicts to the rollout's history:
    /// a word that goes to and fro must not push changes out of it.
    pub(super) fn record(&mut self, happening: Happening, generation: u64, now_ms: u64) {
        let event = EventRecord {
            id: self.next_id,
            at_ms: now_ms,
            kind: happening.kind.as_str(),
            generation,
            by: happening.by,
            route: happening.route,
            rollout: happening.rollout,
            from: happening.from,
            to: happening.to,
            reason: happening.reason,
            facts: happening.facts,
            verdict: happening.verdict,
        };
        self.next_id += 1;
        if let Some(rollout) = event.rollout.as_ref().filter(|_| is_change(happening.kind, &event)) {
            push(
                self.histories.entry(rollout.clone()).or_default(),
                event.clone(),
                HISTORY_MAX,
            );
        }
        push(&mut self.events, event.clone(), EVENTS_MAX);
        if has_proof(&event) {
            let of_rollout = |other: &&mut EventRecord| other.rollout == event.rollout;
            let history = event.rollout.as_ref().and_then(|name| self.histories.get_mut(name));
            drop_old_proofs(history.into_iter().flatten());
            drop_old_proofs(self.events.iter_mut().filter(of_rollout));
        }
        // Nobody follows: then nobody is told.
        let _ = self.followers.send(event);
    }

    /// The events after `last_seen` that are still kept (`None`: none), and all from now on.
    pub(super) fn follow(&self, last_seen: Option<u64>) -> (Vec<EventRecord>, broadcast::Receiver<EventRecord>) {
        let past = last_seen.map_or_else(Vec::new, |id| {
            self.events.iter().filter(|event| event.id > id).cloned().collect()
        });
        (past, self.followers.subscribe())
    }

    /// What changed for `rollout`, newest last.
    pub(super) fn history(&self, rollout: &Name) -> Vec<EventRecord> {
        self.histories
            .get(rollout)
            .map_or_else(Vec::new, |history| history.iter().cloned().collect())
    }

    /// Forgets the histories of rollouts that are no more.
    pub(super) fn retain(&mut self, lives: impl Fn(&Name) -> bool) {
        self.histories.retain(|rollout, _| lives(rollout));
    }
}

fn has_proof(event: &EventRecord) -> bool {
    event
        .verdict
        .as_ref()
        .is_some_and(|verdict| verdict.evidence.proof.is_some())
}

/// Of the events of one rollout only the newest keep their proofs.
fn drop_old_proofs<'e>(events: impl DoubleEndedIterator<Item = &'e mut EventRecord>) {
    let proven = events.rev().filter(|event| has_proof(event));
    for verdict in proven.skip(PROOFS_MAX).filter_map(|event| event.verdict.as_mut()) {
        verdict.evidence.proof = None;
    }
}

/// Whether it belongs in a history: what changed, and what would have but for `mode: observe`.
fn is_change(kind: Kind, event: &EventRecord) -> bool {
    kind != Kind::Verdict || event.reason.starts_with(WOULD_ABORT)
}

fn push(events: &mut VecDeque<EventRecord>, event: EventRecord, max: usize) {
    if events.len() == max {
        events.pop_front();
    }
    events.push_back(event);
}

#[cfg(test)]
mod tests {
    use super::{EVENTS_MAX, HISTORY_MAX, Happening, Journal, Kind, PROOFS_MAX, has_proof};
    use crate::analysis::{Evidence, Metric, Proof, Verdict, VerdictKind};
    use crate::name::Name;
    use std::sync::Arc;

    fn name() -> Name {
        Name::new("checkout").unwrap()
    }

    fn happening(kind: Kind) -> Happening {
        Happening {
            kind,
            by: "serin".into(),
            route: None,
            rollout: Some(name()),
            from: "progressing".into(),
            to: "aborted".into(),
            reason: "8.1 %".into(),
            facts: Vec::new(),
            seq: None,
            decided: false,
            verdict: None,
        }
    }

    fn failed() -> Verdict {
        Verdict {
            kind: VerdictKind::Fail,
            metric: Some(Metric::LatencyFactorP99),
            reason: "8.1 %".into(),
            evidence: Evidence {
                proof: Some(Arc::new(Proof::default())),
                ..Evidence::default()
            },
        }
    }

    fn journal_of(events: usize, kind: Kind) -> Journal {
        let mut journal = Journal::new(1000);
        for n in 0..events {
            journal.record(happening(kind), n as u64, 5);
        }
        journal
    }

    #[test]
    fn a_follower_goes_on_where_it_was() {
        let check = |last_seen, expected: &[u64]| {
            let (past, _) = journal_of(3, Kind::Rollout).follow(last_seen);
            assert_eq!(past.iter().map(|event| event.id).collect::<Vec<_>>(), expected);
        };
        check(None, &[]);
        check(Some(0), &[1000, 1001, 1002]);
        check(Some(1000), &[1001, 1002]);
        check(Some(1002), &[]);
        check(Some(9999), &[]);
    }

    #[test]
    fn a_follower_hears_what_comes_after_the_past_it_was_given() {
        let mut journal = journal_of(2, Kind::Rollout);
        let (past, mut live) = journal.follow(Some(1000));
        journal.record(happening(Kind::Weights), 7, 6);
        let event = live.try_recv().unwrap();
        assert_eq!(
            (past.len(), event.id, event.kind, event.generation),
            (1, 1002, "weights", 7)
        );
        assert!(live.try_recv().is_err());
    }

    #[test]
    fn the_journal_and_each_history_are_bounded() {
        let journal = journal_of(EVENTS_MAX + 5, Kind::Rollout);
        assert_eq!(journal.follow(Some(0)).0.len(), EVENTS_MAX);
        let history = journal.history(&name());
        assert_eq!(
            (history.len(), history[0].id),
            (HISTORY_MAX, 1000 + EVENTS_MAX as u64 + 5 - 100)
        );
    }

    #[test]
    fn verdicts_are_told_and_do_not_fill_the_history() {
        let journal = journal_of(3, Kind::Verdict);
        assert_eq!(journal.follow(Some(0)).0.len(), 3);
        assert!(journal.history(&name()).is_empty());
    }

    #[test]
    fn only_the_newest_aborts_keep_their_proof() {
        let mut journal = Journal::new(1000);
        for n in 0..10 {
            let abort = Happening {
                facts: Vec::new(),
                seq: None,
                decided: true,
                verdict: Some(failed()),
                ..happening(Kind::Rollout)
            };
            journal.record(abort, n, 5);
            journal.record(happening(Kind::Weights), n, 5);
        }
        for kept in [journal.history(&name()), journal.follow(Some(0)).0] {
            let proven = kept.iter().filter(|event| has_proof(event));
            let ids: Vec<u64> = proven.map(|event| event.id).collect();
            assert_eq!((ids.len(), ids[0]), (PROOFS_MAX, 1014));
        }
    }

    #[test]
    fn an_abort_has_the_metric_that_decided_or_a_person_for_a_reason() {
        let check = |decided, verdict, expected| {
            let mut told = happening(Kind::Rollout);
            (told.decided, told.verdict) = (decided, verdict);
            told.stand_beside(Some(&failed()));
            assert_eq!(told.rollback(), Some(expected));
            assert!(told.verdict.is_some());
        };
        check(true, Some(failed()), "latencyFactorP99");
        check(false, None, "manual");
        let mut told = happening(Kind::Rollout);
        told.to = "paused".into();
        assert_eq!(told.rollback(), None);
    }

    #[test]
    fn a_removed_rollout_has_no_history() {
        let mut journal = journal_of(3, Kind::Rollout);
        journal.retain(|_| false);
        assert!(journal.history(&name()).is_empty());
    }
}
