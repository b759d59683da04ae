//! What control answers to each question, and which changes by people it refuses.

use std::sync::Arc;

use tokio::time::Instant;

use super::controller::{Controller, unix_ms};
use super::draft::Wish;
use super::flags::Switching;
use super::ground::{Ground, Ordered};
use super::handle::{Asked, Order, Refusal, SetWeights};
use super::journal::{Happening, Kind, REFUSED};
use super::readings::{Finished, Loaded, Reader};
use super::restart::needs_restart;
use super::view::{Entry, FreezeView, ReloadView, RolloutView, RouteView};
use super::weights::check_posted;
use crate::config::{Rollout, Spec, Tls};
use crate::people;
use crate::rollout::{Approval, Verb};

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
                order,
                if_match,
                reason,
                by,
                reply,
            } => {
                let wish = Wish::of(&by, &reason);
                drop(reply.send(self.command(&rollout, verb, (&order, if_match.as_deref()), wish)));
            }
            Asked::Approve {
                rollout,
                by,
                roles,
                reason,
                if_match,
                reply,
            } => {
                let wish = Wish::of(&by, &reason);
                drop(reply.send(self.approve(&rollout, roles, if_match.as_deref(), wish)));
            }
            Asked::Freeze {
                frozen,
                reason,
                by,
                reply,
            } => drop(reply.send(self.freeze(frozen, Wish::of(&by, &reason)))),
            Asked::Flags(reply) => drop(reply.send(self.flags())),
            Asked::SwitchFlag {
                flag,
                enabled,
                reason,
                by,
                if_match,
                dry_run,
                reply,
            } => {
                let asked = Switching {
                    flag: &flag,
                    enabled,
                    if_match: if_match.as_deref(),
                    dry_run,
                };
                drop(reply.send(self.switch_flag(asked, Wish::of(&by, &reason))));
            }
            Asked::SetFlagWeights(wanted, reply) => drop(reply.send(self.set_flag_weights(&wanted))),
            Asked::Reload { by, reply } => self.readings.want(Reader::Asked { by, reply }),
            Asked::Release(reply) => drop(reply.send(self.release())),
            Asked::Resume(reason, reply) => drop(reply.send(self.resume(&reason))),
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
        let might_be = self.set_route_weights(index, wanted)?;
        Ok(self.route(might_be.as_ref().unwrap_or(&self.ground), index))
    }

    /// The answer is the ground that might be, where nothing was to be changed.
    pub(super) fn set_route_weights(&mut self, index: usize, wanted: &SetWeights) -> Result<Option<Ground>, Refusal> {
        let variants = &self.ground.spec.routes[index].variants;
        let weights = check_posted(variants, &wanted.weights).map_err(Refusal::Invalid)?;
        self.check_generation(wanted.if_match.as_deref())?;
        let wish = Wish::of(&wanted.by, &wanted.reason);
        let changed = self.ground.set_weights(index, &weights, wish, unix_ms());
        let changed = changed.map_err(|refused| Refusal::Conflict(refused.0))?;
        if wanted.dry_run {
            return Ok(Some(changed.0));
        }
        self.commit(changed).map_err(Refusal::Unavailable)?;
        Ok(None)
    }

    /// Durable, then live; an abort needs no disk and is live first (rule 7).
    fn command(
        &mut self,
        rollout: &str,
        verb: Verb,
        (order, if_match): (&Order, Option<&str>),
        wish: Wish,
    ) -> Result<RolloutView, Refusal> {
        let index = self.rollout_named(rollout)?;
        let order = self.check_order(index, order).map_err(Refusal::Invalid)?;
        self.check_generation(if_match)?;
        let changed = self.ground.command(index, verb, &order, wish, unix_ms());
        let changed = changed.map_err(|refused| Refusal::Conflict(refused.0))?;
        if matches!(verb, Verb::Abort | Verb::Rollback) {
            self.commit_abort(changed);
            self.keep_up(Instant::now());
            self.tell_outside();
        } else {
            self.commit(changed).map_err(Refusal::Unavailable)?;
        }
        Ok(self.rollout(index))
    }

    /// Checks in the order 404, 412, 409; durable, then it counts.
    fn approve(
        &mut self,
        rollout: &str,
        roles: Vec<String>,
        if_match: Option<&str>,
        wish: Wish,
    ) -> Result<RolloutView, Refusal> {
        let index = self.rollout_named(rollout)?;
        self.check_generation(if_match)?;
        if let Some(why) = self.ground.unwanted(index, &roles) {
            return Err(Refusal::Forbidden(why));
        }
        let now_ms = unix_ms();
        let approval = Approval {
            by: wish.by.to_owned(),
            roles,
            reason: wish.reason.to_owned(),
            at_ms: now_ms,
            generation: self.publisher.generation(),
        };
        let changed = self.ground.approve(index, approval, wish, now_ms);
        self.commit(changed.map_err(|refused| Refusal::Conflict(refused.0))?)
            .map_err(Refusal::Unavailable)?;
        Ok(self.rollout(index))
    }

    /// Durable, then it holds. To freeze what is frozen keeps the first word; to unfreeze what is not does nothing.
    fn freeze(&mut self, frozen: bool, wish: Wish) -> Result<Option<FreezeView>, Refusal> {
        if self.ground.standing.frozen.is_some() != frozen {
            let changed = self.ground.freeze(frozen, wish, unix_ms());
            self.commit(changed).map_err(Refusal::Unavailable)?;
        }
        Ok(self.frozen())
    }

    fn rollout_named(&self, rollout: &str) -> Result<usize, Refusal> {
        let mut rollouts = self.ground.spec.rollouts.iter();
        rollouts
            .position(|known| known.name.as_str() == rollout)
            .ok_or_else(|| Refusal::NotFound(format!("no rollout is named {:?}", words(rollout))))
    }

    /// Any `If-Match` that is not the present tag is refused.
    pub(super) fn check_generation(&self, if_match: Option<&str>) -> Result<(), Refusal> {
        let generation = self.publisher.generation();
        match if_match.map(str::trim) {
            Some(tag) if tag != "*" && tag != format!("\"{generation}\"") => Err(Refusal::Stale { generation }),
            Some(_) | None => Ok(()),
        }
    }

    /// A direction is the pair of the rollout, one way or the other.
    fn check_order(&self, index: usize, order: &Order) -> Result<Ordered, Vec<Entry>> {
        let Rollout { route, from, to, .. } = self.ground.spec.rollouts[index];
        let variants = &self.ground.spec.routes[route].variants;
        let (one, other) = (variants[from].name.as_str(), variants[to].name.as_str());
        let direction = match &order.direction {
            None => None,
            Some((begin, end)) if (begin.as_str(), end.as_str()) == (one, other) => Some((from, to)),
            Some((begin, end)) if (begin.as_str(), end.as_str()) == (other, one) => Some((to, from)),
            Some((begin, _)) => {
                let path = if [one, other].contains(&begin.as_str()) {
                    "to"
                } else {
                    "from"
                };
                return Err(vec![Entry {
                    place: String::new(),
                    path: path.to_owned(),
                    message: format!("this rollout moves weight between {one} and {other}; name both, each once"),
                }]);
            }
        };
        Ok(Ordered {
            direction,
            commit_ms: order.commit_ms,
        })
    }

    /// The file has been read: a good one goes live, a bad one changes nothing and is told.
    pub(super) fn read(&mut self, (outcome, readers): Finished) {
        let asked = readers.iter().find_map(|reader| match reader {
            Reader::Asked { by, .. } => Some(words(by).to_owned()),
            Reader::Watch => None,
        });
        let outcome = outcome.and_then(|loaded| self.check_running(loaded));
        let is_live = |loaded: &Loaded| {
            loaded.text == self.text && loaded.spec == *self.ground.spec && loaded.tokens == *self.tokens.borrow()
        };
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
        let people = self.tokens.send_replace(loaded.tokens.clone());
        let people = people::changes(people.as_deref(), loaded.tokens.as_deref());
        let words = match &people {
            Some(people) => format!("the file was read: {people}"),
            None => "the file was read".to_owned(),
        };
        let words = match changed_certificates(&self.ground.spec, &loaded.spec) {
            Some(listeners) => format!("{words}; other certificates are shown by {listeners}"),
            None => words,
        };
        let told = |to| Happening {
            by,
            ..Happening::of_file(Kind::Reload, to, words)
        };
        self.text = loaded.text;
        self.ground.keep_approvals_of(loaded.tokens.as_deref());
        self.admin_tls.send_replace(loaded.spec.admin_listener_tls());
        if loaded.spec == *self.ground.spec {
            self.note_and_tell(vec![told(if people.is_some() { "live" } else { "unchanged" })]);
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

impl<'a> Wish<'a> {
    /// What somebody outside says.
    pub(super) fn of(by: &'a str, reason: &'a str) -> Self {
        Self {
            by: words(by),
            reason: words(reason),
        }
    }
}

/// The listeners, and the admin API, of which no more has changed than what their files of TLS hold; `None`: there are
/// none.
fn changed_certificates(old: &Spec, new: &Spec) -> Option<String> {
    let same_files = |old: &Tls, new: &Tls| {
        let unread = |tls: &Tls| Tls {
            server: None,
            ..tls.clone()
        };
        old.server != new.server && unread(old) == unread(new)
    };
    let changed = |old: &Option<Tls>, new: &Option<Tls>| match (old, new) {
        (Some(old), Some(new)) => same_files(old, new),
        _ => false,
    };
    let listeners = old.listeners.iter().zip(&new.listeners);
    let listeners = listeners.filter(|(old, new)| changed(&old.tls, &new.tls));
    let listeners = listeners.map(|(_, new)| new.name.as_str());
    let admin = changed(&old.admin_tls, &new.admin_tls).then_some("the admin API");
    let named: Vec<_> = listeners.chain(admin).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// The first characters of a text from outside.
pub(super) fn words(text: &str) -> &str {
    text.char_indices().nth(WORDS_MAX).map_or(text, |(end, _)| &text[..end])
}
