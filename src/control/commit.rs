//! How a new ground takes effect: written down, published and told of, in the order that its cause
//! needs. People's changes are durable before they are live; an abort is live before it is durable.

use std::sync::Arc;

use tokio::time::Instant;

use super::audit_log::Mark;
use super::controller::{Controller, unix_ms};
use super::ground::{Changed, Ground};
use super::journal::Happening;
use crate::analysis::Verdict;
use crate::audit::Record;
use crate::name::Name;
use crate::notify::Roster;

/// So many records wait to be durable before channels are told of them.
const UNTOLD_MAX: usize = 256;

/// What channels are to be told.
#[derive(Debug)]
pub(super) struct Untold {
    record: Record,
    /// Whether they were told before it was durable.
    early: bool,
}

impl Controller {
    /// Durable first, then live.
    ///
    /// # Errors
    /// Why it could not be written; nothing was changed.
    pub(super) fn commit(&mut self, mut changed: Changed) -> Result<(), String> {
        let generation = self.publisher.generation() + 1;
        self.saver.has_room()?;
        let mark = self.note(&mut changed, generation);
        if let Err(problem) = self.saver.save(&changed.0, generation, false, Instant::now()) {
            self.saver.take_back(mark);
            return Err(problem);
        }
        self.put(changed);
        self.tell_outside();
        Ok(())
    }

    /// Live first, then written, and again until that is durable.
    pub(super) fn commit_at_once(&mut self, mut changed: Changed) {
        self.note(&mut changed, self.publisher.generation() + 1);
        self.put(changed);
        let generation = self.publisher.generation();
        self.saver.save_later(&self.ground, generation, Instant::now());
    }

    /// Live at once; [`Controller::keep_up`] writes it, so that one abort never waits for another's
    /// disk.
    pub(super) fn commit_abort(&mut self, mut changed: Changed) {
        self.note(&mut changed, self.publisher.generation() + 1);
        self.put(changed);
        self.saver.owe_abort();
    }

    /// Writes what is live but not durable, as far as may be.
    pub(super) fn keep_up(&mut self, now: Instant) {
        let generation = self.publisher.generation();
        let baking = self.is_baking();
        self.saver.keep_up(&self.ground, generation, baking, now);
    }

    /// A rollout that goes on by itself waits until that can be durable.
    pub(super) fn commit_when_durable(&mut self, changed: Changed) {
        if self.saver.may_try(Instant::now()) {
            // The rollout stays where it is, and the status says why.
            let _ = self.commit(changed);
        }
    }

    fn is_baking(&self) -> bool {
        (0..self.ground.spec.rollouts.len()).any(|index| self.ground.awaits_time(index))
    }

    /// Adds the figures of this moment to what happened, and all of it to the audit log.
    fn note(&mut self, (_, happenings): &mut Changed, generation: u64) -> Mark {
        for happening in &mut *happenings {
            let rollout = happening.rollout.as_ref();
            let verdict = rollout.and_then(|rollout| self.court.present_verdict(rollout));
            happening.stand_beside(verdict);
        }
        self.saver.note(happenings, generation)
    }

    fn put(&mut self, (ground, happenings): Changed) {
        self.warm_up(&ground);
        self.publisher.publish(&ground);
        let aborted = happenings.iter().filter(|happening| happening.is_abort());
        let aborted: Vec<Name> = aborted.filter_map(|happening| happening.rollout.clone()).collect();
        let same_file = Arc::ptr_eq(&self.ground.spec, &ground.spec);
        self.ground = ground;
        if same_file {
            self.court.follow(&self.ground, self.publisher.table(), self.moment());
            self.tell(happenings);
        } else {
            self.follow(happenings);
        }
        let generation = self.publisher.generation();
        self.errands.follow(&self.ground, generation);
        for (index, rollout) in self.ground.spec.rollouts.iter().enumerate() {
            if aborted.contains(&rollout.name) {
                self.errands.tell_rollback(&self.ground, index, generation);
            }
        }
    }

    /// The endpoints of a canary that is about to be judged anew begin warming again: before it is
    /// live, so that none of its first requests is missed.
    fn warm_up(&self, next: &Ground) {
        for (index, rollout) in next.spec.rollouts.iter().enumerate() {
            let (before, after) = (self.ground.standing.rollouts.get(&rollout.name), next.rollout(index));
            let goes_on =
                before.is_some_and(|before| before.trial == after.trial && before.state.is_judged(&before.plan));
            if rollout.warm_up > 0 && next.is_judged(index) && !goes_on {
                let canary = &next.spec.routes[rollout.route].variants[next.pair(index).1];
                let backend = &next.spec.backends[canary.backend].name;
                self.publisher.warm_up_again(backend);
            }
        }
    }

    /// Follows another file.
    pub(super) fn follow(&mut self, happenings: Vec<Happening>) {
        let now = self.moment();
        let table = self.publisher.table();
        self.court.follow(&self.ground, table, now);
        self.windows.follow(self.publisher.recorders(), now.ms);
        let rollouts = &self.ground.standing.rollouts;
        self.teller.follow(Roster::of(&self.ground.spec));
        self.journal.retain(|name| rollouts.contains_key(name));
        self.rollbacks.retain(|(name, _), _| rollouts.contains_key(name));
        self.tell(happenings);
    }

    /// What changed nothing that is durable; [`Controller::keep_up`] writes its record.
    pub(super) fn note_and_tell(&mut self, mut happenings: Vec<Happening>) {
        self.saver.note(&mut happenings, self.publisher.generation());
        self.tell(happenings);
    }

    /// Tells channels what happened. A record that is not durable yet may get another number after a crash:
    /// it is told as one that stands in no log, and again when it is durable.
    pub(super) fn tell_outside(&mut self) {
        let durable = !self.saver.is_behind();
        for Untold { record, early } in &mut self.untold {
            if durable && (record.seq > 0 || !*early) {
                self.teller.tell(record);
            } else if !durable && !std::mem::replace(early, true) {
                self.teller.tell(&Record {
                    seq: 0,
                    ..record.clone()
                });
            }
        }
        if durable {
            self.untold.clear();
        } else {
            let surplus = self.untold.len().saturating_sub(UNTOLD_MAX);
            // They are in the log, and read there.
            self.untold.drain(..surplus);
        }
    }

    pub(super) fn tell(&mut self, happenings: Vec<Happening>) {
        let generation = self.publisher.generation();
        for happening in happenings {
            happening.log(generation);
            self.untold.push(Untold {
                record: happening.told(generation, unix_ms()),
                early: false,
            });
            if let (Some(rollout), Some(reason)) = (&happening.rollout, happening.rollback()) {
                *self.rollbacks.entry((rollout.clone(), reason)).or_default() += 1;
            }
            self.journal.record(happening, generation, unix_ms());
        }
    }

    pub(super) fn tell_verdict(&mut self, index: usize, verdict: &Verdict) {
        let rollout = &self.ground.spec.rollouts[index];
        let Some(before) = self.court.news(&rollout.name, self.clock_ms()) else {
            return;
        };
        let route = &self.ground.spec.routes[rollout.route].name;
        let happening = Happening::of_verdict(rollout.name.clone(), route.clone(), before, verdict);
        self.note_and_tell(vec![happening]);
    }
}
