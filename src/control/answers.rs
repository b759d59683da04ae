//! What control answers to each question, and which changes by people it refuses.

use std::sync::Arc;

use tokio::time::Instant;

use super::controller::{Controller, unix_ms};
use super::draft::Wish;
use super::handle::{Asked, Refusal, SetWeights};
use super::journal::{Happening, Kind, REFUSED};
use super::readings::{Finished, Loaded, Reader};
use super::restart::needs_restart;
use super::view::{Entry, ReloadView, RolloutView, RouteView};
use super::weights::check_posted;
use crate::rollout::Verb;

/// Reasons in people's words, and their names, are kept up to this many characters.
const WORDS_MAX: usize = 1_000;

impl Controller {
    /// Answers one question. Who has gone away meanwhile gets no answer; what they asked is done.
    pub(super) fn answer(&mut self, asked: Asked) {
        match asked {
            Asked::Status(reply) => drop(reply.send(self.status())),
            Asked::Routes(reply) => drop(reply.send(self.routes())),
            Asked::Route(name, reply) => drop(reply.send(self.route_named(&name))),
            Asked::Backends(reply) => drop(reply.send(self.backends())),
            Asked::Rollouts(reply) => drop(reply.send(self.rollouts())),
            Asked::Metrics(reply) => drop(reply.send(self.metrics())),
            Asked::Config(reply) => drop(reply.send(self.text.clone())),
            Asked::SetWeights(wanted, reply) => drop(reply.send(self.set_weights(&wanted))),
            Asked::Command {
                rollout,
                verb,
                order: _,
                reason,
                by,
                reply,
            } => drop(reply.send(self.command(&rollout, verb, &by, &reason))),
            Asked::Approve { reply, .. } => drop(reply.send(Err(Refusal::Conflict("no gate waits".into())))),
            Asked::Freeze { reply, .. } => drop(reply.send(Err(Refusal::Conflict("no freeze".into())))),
            Asked::Reload { by, reply } => self.readings.want(Reader::Asked { by, reply }),
            Asked::Audit(reply) => drop(reply.send(self.saver.audit_view())),
            Asked::Events(last_seen, reply) => drop(reply.send(self.journal.follow(last_seen))),
        }
    }

    /// Checks in the order 404, 422, 412, 409; then durable, then live.
    fn set_weights(&mut self, wanted: &SetWeights) -> Result<RouteView, Refusal> {
        let mut routes = self.ground.spec.routes.iter();
        let Some(index) = routes.position(|route| route.name.as_str() == wanted.route) else {
            return Err(Refusal::NotFound(format!(
                "no route is named {:?}",
                words(&wanted.route)
            )));
        };
        let variants = &self.ground.spec.routes[index].variants;
        let weights = check_posted(variants, &wanted.weights).map_err(Refusal::Invalid)?;
        let generation = self.publisher.generation();
        let tag = wanted.if_match.as_deref().map(str::trim);
        if tag.is_some_and(|tag| tag != "*" && tag != format!("\"{generation}\"")) {
            return Err(Refusal::Stale { generation });
        }
        let wish = Wish {
            by: words(&wanted.by),
            reason: words(&wanted.reason),
        };
        let changed = self.ground.set_weights(index, &weights, wish, unix_ms());
        let changed = changed.map_err(|refused| Refusal::Conflict(refused.0))?;
        if wanted.dry_run {
            return Ok(self.route(&changed.0, index));
        }
        self.commit(changed).map_err(Refusal::Unavailable)?;
        Ok(self.route(&self.ground, index))
    }

    /// Durable, then live; an abort needs no disk and is live first (rule 7).
    fn command(&mut self, rollout: &str, verb: Verb, by: &str, reason: &str) -> Result<RolloutView, Refusal> {
        let mut rollouts = self.ground.spec.rollouts.iter();
        let Some(index) = rollouts.position(|known| known.name.as_str() == rollout) else {
            return Err(Refusal::NotFound(format!("no rollout is named {:?}", words(rollout))));
        };
        let wish = Wish {
            by: words(by),
            reason: words(reason),
        };
        let changed = self.ground.command(index, verb, wish, unix_ms());
        let changed = changed.map_err(|refused| Refusal::Conflict(refused.0))?;
        if verb == Verb::Abort {
            self.commit_abort(changed);
            self.keep_up(Instant::now());
        } else {
            self.commit(changed).map_err(Refusal::Unavailable)?;
        }
        Ok(self.rollout(index))
    }

    /// The file has been read: a good one goes live, a bad one changes nothing and is told.
    pub(super) fn read(&mut self, (outcome, readers): Finished) {
        let asked = readers.iter().find_map(|reader| match reader {
            Reader::Asked { by, .. } => Some(words(by).to_owned()),
            Reader::Watch => None,
        });
        let outcome = outcome.and_then(|loaded| self.check_running(loaded));
        let is_live = |loaded: &Loaded| loaded.text == self.text && loaded.spec == *self.ground.spec;
        if asked.is_none() && self.last_reload.ok && outcome.as_ref().is_ok_and(is_live) {
            return;
        }
        let by = asked.unwrap_or_else(|| "file".to_owned());
        let at_ms = unix_ms();
        let problems = match outcome {
            Ok(loaded) => {
                (self.reloads.ok, self.reloads.last_ok_ms) = (self.reloads.ok + 1, at_ms);
                self.go_live(loaded, by, at_ms);
                Vec::new()
            }
            Err(problems) => {
                self.reloads.failed += 1;
                self.refuse(&problems, by);
                problems
            }
        };
        self.last_reload = ReloadView {
            at_ms,
            ok: problems.is_empty(),
            problems,
        };
        for reader in readers {
            if let Reader::Asked { reply, .. } = reader {
                drop(reply.send(self.last_reload.clone()));
            }
        }
    }

    fn go_live(&mut self, loaded: Loaded, by: String, now_ms: u64) {
        let told = |to| Happening {
            by,
            ..Happening::of_file(Kind::Reload, to, "the file was read".to_owned())
        };
        self.text = loaded.text;
        if loaded.spec == *self.ground.spec {
            self.note_and_tell(vec![told("unchanged")]);
        } else {
            let (ground, mut happenings) = self.ground.reload(Arc::new(loaded.spec), now_ms);
            happenings.insert(0, told("live"));
            self.commit_at_once((ground, happenings));
        }
    }

    fn refuse(&mut self, problems: &[Entry], by: String) {
        let lines: Vec<String> = problems.iter().map(Entry::to_string).collect();
        let count = problems.len();
        let reason = format!(
            "{}: {count} problem{}, nothing was changed\n{}",
            self.file.display(),
            if count == 1 { "" } else { "s" },
            lines.join("\n")
        );
        self.note_and_tell(vec![Happening {
            by,
            ..Happening::of_file(Kind::Reload, REFUSED, reason)
        }]);
    }

    /// Refuses what a running process cannot take over.
    fn check_running(&self, loaded: Loaded) -> Result<Loaded, Vec<Entry>> {
        let place = self.file.display().to_string();
        let mut problems = needs_restart(&self.ground.spec, &loaded.spec, &place);
        if !self.saver.may_run_ahead(self.publisher.generation()) {
            problems.push(Entry {
                place,
                path: "state.directory".to_owned(),
                message: format!(
                    "{}; after so many changes that are not durable no more are taken from the file",
                    self.saver.problem().unwrap_or("the state is not durable")
                ),
            });
        }
        if let Err(problem) = self.saver.has_room() {
            problems.push(Entry {
                place: self.file.display().to_string(),
                path: "state.directory".to_owned(),
                message: problem,
            });
        }
        if problems.is_empty() { Ok(loaded) } else { Err(problems) }
    }
}

/// The first characters of a text from outside.
fn words(text: &str) -> &str {
    text.char_indices().nth(WORDS_MAX).map_or(text, |(end, _)| &text[..end])
}
