//! When state is written: before a change by people, after an abort, and again until it is durable.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::audit_log::{Audit, AuditQuery, AuditView, Mark, list_audit};
use super::controller::unix_ms;
use super::directory::StateError;
use super::ground::Ground;
use super::journal::Happening;
use super::store::{Found, Saved, Store};
use crate::audit::{Filter, parse};

/// After a writing that failed, the next one by ourselves is tried this much later.
const RETRY: Duration = Duration::from_secs(1);
/// Bake time is written this often; so much of it may be lost in a crash.
const BAKED: Duration = Duration::from_secs(10);
/// Old files of the audit log are looked for this often.
const PRUNE: Duration = Duration::from_secs(3600);
/// What trials spend of their budgets is written this often, while they do.
const SPENT: Duration = Duration::from_secs(1);
/// After an unclean end the generations that may have been used unwritten are left out.
const GENERATIONS_LEFT_OUT: u64 = 100;

/// The state directory, and how far it is behind.
#[derive(Debug)]
pub(super) struct Saver {
    /// `None`: another process has the directory, and nothing is written.
    store: Option<Store>,
    audit: Audit,
    /// The newest record when the directory was let go of.
    released_seq: u64,
    /// When the file of the audit log was last written after a failure, and when old ones were looked for.
    appended: Instant,
    pruned: Option<Instant>,
    /// The newest generation that is durable.
    generation: u64,
    /// Something took effect that is not durable yet.
    behind: bool,
    /// The writing of an abort is followed by another, so that the file before it holds the abort
    /// too: to fall back to that one must not revive a canary.
    again: bool,
    /// Why the last writing failed.
    problem: Option<String>,
    tried: Instant,
    saved: Instant,
    /// What trials had spent when it was written last.
    spent: f64,
}

impl Saver {
    /// Nothing is durable yet of what begins now.
    pub(super) fn new(store: Store, audit: Audit, now: Instant) -> Self {
        Self {
            store: Some(store),
            audit,
            released_seq: 0,
            appended: now,
            pruned: None,
            generation: 0,
            behind: true,
            again: false,
            problem: None,
            tried: now,
            saved: now,
            spent: 0.0,
        }
    }

    /// The generation to begin with after `saved`: above all that were ever used.
    pub(super) fn first_generation(saved: Option<&Saved>) -> u64 {
        match saved {
            None => 1,
            Some(saved) if saved.clean => saved.generation + 1,
            Some(saved) => saved.generation + GENERATIONS_LEFT_OUT,
        }
    }

    /// The generation to begin with where the state was lost: the audit log knows one that was used.
    pub(super) fn generation_after_loss(directory: &Path) -> u64 {
        let newest = AuditQuery {
            limit: 1,
            next: None,
            filter: Filter::default(),
        };
        let page = list_audit(directory, &newest).ok().flatten().unwrap_or_default();
        let record = page.lines.first().and_then(|line| parse(line.as_bytes()).ok());
        record.map_or(1, |record| record.generation + GENERATIONS_LEFT_OUT)
    }

    /// Writes `ground` as of `generation`; durable when it returns. `clean`: the process ends with it.
    ///
    /// # Errors
    /// Why not, in words; nothing was changed then.
    pub(super) fn save(&mut self, ground: &Ground, generation: u64, clean: bool, now: Instant) -> Result<(), String> {
        let Some(store) = &mut self.store else {
            return Err("another process is taking over; ask it in a moment".to_owned());
        };
        self.tried = now;
        self.audit.sync();
        let saved = Saved {
            generation,
            clean,
            standing: ground.standing.clone(),
            audit: Some(self.audit.anchor()),
        };
        match store.save(&saved) {
            Ok(()) => {
                if self.problem.take().is_some() {
                    tracing::info!("the state directory can be written again");
                }
                (self.generation, self.behind, self.saved) = (generation, false, now);
                self.audit.was_saved(ground.spec.audit.max_bytes);
                self.spent = ground.spent();
                Ok(())
            }
            Err(error) => {
                let problem = format!("the state directory cannot be written: {error}");
                if self.problem.is_none() {
                    tracing::error!(%error, "the state directory cannot be written; changes by people are refused");
                }
                self.problem = Some(problem.clone());
                Err(problem)
            }
        }
    }

    /// Writes what has already taken effect; when that fails it is tried again until it is durable.
    pub(super) fn save_later(&mut self, ground: &Ground, generation: u64, now: Instant) {
        self.behind = true;
        // The problem is kept, and shown.
        let _ = self.save(ground, generation, false, now);
    }

    /// An abort took effect.
    pub(super) fn owe_abort(&mut self) {
        (self.behind, self.again) = (true, true);
    }

    /// Writes again what is not durable yet, and bake time now and then.
    pub(super) fn keep_up(&mut self, ground: &Ground, generation: u64, baking: bool, now: Instant) {
        if self.is_released() {
            return;
        }
        self.keep_log(ground, now);
        let age = now.duration_since(self.saved);
        let spends = (ground.spent() - self.spent).abs() >= 1.0;
        let due =
            self.behind || self.again || self.audit.is_ahead() || (baking && age >= BAKED) || (spends && age >= SPENT);
        if due && self.may_try(now) {
            self.save_later(ground, generation, now);
            if self.again && !self.behind {
                self.again = false;
                self.save_later(ground, generation, now);
            }
        }
    }

    /// Writes to the audit log what could not be written, and looks for what is too old.
    fn keep_log(&mut self, ground: &Ground, now: Instant) {
        if self.audit.is_behind() && now.duration_since(self.appended) >= RETRY {
            self.appended = now;
            self.audit.append(ground.spec.audit.max_bytes);
        }
        if self.pruned.is_none_or(|last| now.duration_since(last) >= PRUNE) {
            self.pruned = Some(now);
            self.audit.prune(ground.spec.audit.retention, unix_ms());
        }
    }

    /// Notes what happened for the audit log; durable with the next writing of the state.
    /// Each learns under which number it is recorded.
    pub(super) fn note(&mut self, happenings: &mut [Happening], generation: u64) -> Mark {
        let (at_ms, mark) = (unix_ms(), self.audit.mark());
        for happening in happenings {
            let before = self.audit.seq();
            if let Some(record) = happening.record(generation, at_ms) {
                self.audit.note(record);
            }
            happening.seq = Some(self.audit.seq()).filter(|seq| *seq > before);
        }
        mark
    }

    /// Lets go of the directory: what is noted from now on is kept in memory.
    pub(super) fn release(&mut self) {
        self.store = None;
        self.released_seq = self.audit.seq();
    }

    /// Whether another process has the directory.
    pub(super) const fn is_released(&self) -> bool {
        self.store.is_none()
    }

    /// Takes the directory again. What was noted meanwhile follows what the other one has written. The answer is the
    /// newest generation that may have been used there.
    ///
    /// # Errors
    /// [`StateError`]: it is not free, or cannot be used.
    pub(super) fn take_again(&mut self, directory: &Path) -> Result<u64, StateError> {
        let (store, Found { saved, note, .. }) = Store::open(directory)?;
        if let Some(note) = &note {
            tracing::error!("{note}");
        }
        let newest = Self::first_generation(saved.as_ref());
        let anchor = saved.and_then(|saved| saved.audit);
        let (mut audit, _) = Audit::open(directory, anchor, note.is_some());
        for record in self.audit.noted_since(self.released_seq) {
            audit.note(record);
        }
        (self.store, self.audit, self.behind) = (Some(store), audit, true);
        Ok(newest)
    }

    /// The number of the newest record.
    pub(super) fn audit_seq(&self) -> u64 {
        self.audit.seq()
    }

    /// What was noted since `mark` did not happen.
    pub(super) fn take_back(&mut self, mark: Mark) {
        self.audit.take_back(mark);
    }

    /// Whether changes may add to the audit log.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn has_room(&self) -> Result<(), String> {
        if self.audit.has_room() {
            return Ok(());
        }
        let problem = self.audit.problem().unwrap_or("the audit log cannot be written");
        Err(format!(
            "{problem}, and the state holds as many of its records as it may"
        ))
    }

    /// For those who read the audit log.
    pub(super) fn audit_view(&self) -> AuditView {
        self.audit.view()
    }

    /// Whether a change by ourselves may try to write now.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.problem.is_none() || now.duration_since(self.tried) >= RETRY
    }

    /// Whether `generation` may be used unwritten: after a crash it must not be used again.
    pub(super) fn may_run_ahead(&self, generation: u64) -> bool {
        // The margin is left to aborts, which ask nobody.
        generation < self.generation + GENERATIONS_LEFT_OUT / 2
    }

    /// Why the state directory, or only the audit log in it, cannot be written just now.
    pub(super) fn any_problem(&self) -> Option<&str> {
        self.problem().or(self.audit.problem())
    }

    /// Whether something has taken effect that is not durable.
    pub(super) const fn is_behind(&self) -> bool {
        self.behind
    }

    /// Why the state cannot be written just now.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::{BAKED, RETRY, Saver};
    use crate::control::audit_log::Audit;
    use crate::control::fixture::spec;
    use crate::control::ground::Ground;
    use crate::control::journal::{Happening, Kind};
    use crate::control::standing::Standing;
    use crate::control::store::{Saved, Store};
    use std::fs;
    use std::path::Path;
    use tokio::time::Instant;

    fn ground() -> Ground {
        Ground::meet(spec(|_| {}), Standing::default(), 0).0
    }

    fn saver(directory: &Path, now: Instant) -> Saver {
        let (store, _) = Store::open(directory).unwrap();
        Saver::new(store, Audit::open(directory, None, false).0, now)
    }

    #[test]
    fn a_generation_is_never_used_twice() {
        let saved = |clean| Saved {
            generation: 42,
            clean,
            standing: Standing::default(),
            audit: None,
        };
        assert_eq!(Saver::first_generation(None), 1);
        assert_eq!(Saver::first_generation(Some(&saved(true))), 43);
        assert_eq!(Saver::first_generation(Some(&saved(false))), 142);
        let temp = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut saver = saver(temp.path(), now);
        saver.save(&ground(), 42, false, now).unwrap();
        assert!(saver.may_run_ahead(91) && !saver.may_run_ahead(92));
    }

    #[test]
    fn what_could_not_be_written_is_written_as_soon_as_it_can_be() {
        let temp = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut saver = saver(temp.path(), now);
        let obstacle = temp.path().join("state.json.new");
        fs::create_dir(&obstacle).unwrap();
        saver.save_later(&ground(), 7, now);
        assert!(saver.problem().is_some() && !saver.may_try(now));
        fs::remove_dir(&obstacle).unwrap();
        saver.keep_up(&ground(), 7, false, now);
        assert!(saver.problem().is_some(), "too early to try again");
        saver.keep_up(&ground(), 7, false, now + RETRY);
        assert_eq!((saver.problem(), saver.generation), (None, 7));
    }

    #[test]
    fn what_another_process_has_is_not_written_and_what_was_noted_meanwhile_follows_it() {
        let temp = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut first = saver(temp.path(), now);
        first.save(&ground(), 1, false, now).unwrap();
        assert!(Store::open(temp.path()).is_err(), "it is held");
        first.release();
        assert!(first.is_released());
        let refusal = first.save(&ground(), 2, false, now).unwrap_err();
        assert!(refusal.contains("taking over") && first.problem().is_none());
        let note = |saver: &mut Saver, what: &'static str| {
            let happening = Happening::of_file(Kind::Start, what, String::new());
            saver.note(&mut [happening], 1);
        };
        note(&mut first, "noted here");
        {
            let (store, found) = Store::open(temp.path()).expect("it is free");
            let anchor = found.saved.and_then(|saved| saved.audit);
            let mut second = Saver::new(store, Audit::open(temp.path(), anchor, false).0, now);
            note(&mut second, "noted there");
            second.save(&ground(), 50, false, now).unwrap();
            assert!(first.take_again(temp.path()).is_err(), "it is held");
        }
        assert_eq!(first.take_again(temp.path()).unwrap(), 150);
        first.save(&ground(), 151, false, now).unwrap();
        let log = fs::read_to_string(temp.path().join("audit.jsonl")).unwrap();
        let (there, here) = (log.find("noted there").unwrap(), log.find("noted here").unwrap());
        assert!(there < here, "{log}");
    }

    #[test]
    fn an_abort_stands_in_both_files() {
        let temp = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut saver = saver(temp.path(), now);
        saver.save(&ground(), 1, false, now).unwrap();
        saver.owe_abort();
        for _ in 0..3 {
            saver.keep_up(&ground(), 2, false, now);
        }
        let read = |name| fs::read_to_string(temp.path().join(name)).unwrap();
        assert_eq!(read("state.json"), read("state.json.bak"));
        assert!(!saver.behind && !saver.again);
    }

    #[test]
    fn bake_time_is_written_now_and_then_and_nothing_else_without_need() {
        let temp = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut saver = saver(temp.path(), now);
        saver.save(&ground(), 1, false, now).unwrap();
        let check = |saver: &mut Saver, baking, later, written: bool| {
            let generation = saver.generation + 1;
            saver.keep_up(&ground(), generation, baking, now + later);
            assert_eq!(saver.generation == generation, written);
        };
        check(&mut saver, false, 10 * BAKED, false);
        check(&mut saver, true, BAKED / 2, false);
        check(&mut saver, true, BAKED, true);
    }
}
