//! What rollouts ask of the world outside, one errand each: begun when a step needs it, dropped when it
//! does not any more, and its end told to the controller.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::controller::unix_ms;
use super::ground::Ground;
use crate::name::Name;
use crate::outgoing::Payload;
use crate::rollout::Errand;

/// Words of errands that wait to be heard; there is at most one of each rollout under way.
const REPORTS_MAX: usize = 256;

/// Begins errands, somewhere beside control.
pub(super) trait Launch: Send {
    /// Begins `task` and tells `reporter` what becomes of it. It ends early when it is aborted.
    fn launch(&self, task: Task, reporter: Reporter) -> AbortHandle;
}

/// One errand, with all that it takes to run it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) errand: Arc<Errand>,
    /// `host:port` of the canary's endpoints, in file order.
    pub(super) endpoints: Vec<String>,
    /// The first exact host of the route, if it has one.
    pub(super) host: Option<String>,
    /// What a webhook is told.
    pub(super) payload: Payload,
}

/// By which an errand tells control of itself.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    rollout: Name,
    serial: Serial,
    tx: mpsc::Sender<Report>,
}

/// What an errand tells.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) rollout: Name,
    serial: Serial,
    pub(super) word: Word,
}

/// How far an errand is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It goes on; why, for people.
    News(String),
    /// It has come about.
    Done,
    /// It has failed for good.
    Failed(String),
}

/// Which place of which trial an errand belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    trial: u32,
    step: usize,
    since_ms: u64,
}

/// What an errand is told apart by: no two that were ever begun have the same.
type Serial = u64;

/// Calls that tell of rollbacks at once, of each rollout; older ones give way.
const ROLLBACK_CALLS_MAX: usize = 8;

/// The errands under way.
pub(super) struct Errands {
    launch: Box<dyn Launch>,
    running: BTreeMap<Name, Running>,
    /// Calls that tell of rollbacks; nobody waits for them.
    telling: BTreeMap<Name, VecDeque<Running>>,
    last: Serial,
    tx: mpsc::Sender<Report>,
    rx: mpsc::Receiver<Report>,
}

struct Running {
    serial: Serial,
    place: Place,
    errand: Arc<Errand>,
    endpoints: Vec<String>,
    abort: AbortHandle,
    news: Option<String>,
}

impl Reporter {
    /// Tells control. An errand that nobody waits for any more is not heard.
    pub(super) async fn tell(&self, word: Word) {
        // Control has ended, and with it all that could follow.
        let _ = self.tx.send(self.report(word)).await;
    }

    /// Tells control, unless it is far behind: news may get lost.
    pub(super) fn tell_news(&self, news: String) {
        let _ = self.tx.try_send(self.report(Word::News(news)));
    }

    fn report(&self, word: Word) -> Report {
        Report {
            rollout: self.rollout.clone(),
            serial: self.serial,
            word,
        }
    }
}

impl Errands {
    pub(super) fn new(launch: Box<dyn Launch>) -> Self {
        let (tx, rx) = mpsc::channel(REPORTS_MAX);
        Self {
            launch,
            running: BTreeMap::new(),
            telling: BTreeMap::new(),
            last: 0,
            tx,
            rx,
        }
    }

    /// Begins what the rollouts of `ground` need now, and drops what they do not. `generation`: the live one.
    pub(super) fn follow(&mut self, ground: &Ground, generation: u64) {
        let mut known = std::mem::take(&mut self.running);
        for (index, rollout) in ground.spec.rollouts.iter().enumerate() {
            let standing = ground.rollout(index);
            let other = ground.return_check(index).or_else(|| ground.knock(index, unix_ms()));
            let other = other.map(Arc::new);
            let Some(errand) = standing.state.errand(&standing.plan).or(other.as_ref()) else {
                continue;
            };
            let place = Place {
                trial: standing.trial,
                // Of an aborted rollout no step is in force; its batches are told apart all the same.
                step: standing.state.step().unwrap_or(standing.returning as usize),
                since_ms: standing.state.since_ms(),
            };
            let task = ground.task(index, Arc::clone(errand), generation);
            let running = match known.remove(&rollout.name) {
                Some(running) if running.is_for(place, &task) => running,
                other => {
                    drop(other);
                    self.begin(&rollout.name, place, task)
                }
            };
            self.running.insert(rollout.name.clone(), running);
        }
        self.telling
            .retain(|name, _| ground.spec.rollouts.iter().any(|rollout| rollout.name == *name));
    }

    /// Tells webhooks of a rollback. Nothing waits for them: they are told as often as they are to be tried,
    /// and what becomes of it is logged.
    pub(super) fn tell_rollback(&mut self, ground: &Ground, index: usize, generation: u64) {
        let rollout = &ground.spec.rollouts[index];
        for webhook in &rollout.on_rollback {
            let errand = Arc::new(Errand::Webhook(webhook.as_ref().clone()));
            let place = Place {
                trial: ground.rollout(index).trial,
                step: 0,
                since_ms: 0,
            };
            let running = self.begin(&rollout.name, place, ground.task(index, errand, generation));
            let telling = self.telling.entry(rollout.name.clone()).or_default();
            telling.push_back(running);
            if telling.len() > ROLLBACK_CALLS_MAX {
                telling.pop_front();
            }
        }
    }

    fn begin(&mut self, rollout: &Name, place: Place, task: Task) -> Running {
        self.last += 1;
        let reporter = Reporter {
            rollout: rollout.clone(),
            serial: self.last,
            tx: self.tx.clone(),
        };
        Running {
            serial: self.last,
            place,
            errand: Arc::clone(&task.errand),
            endpoints: task.endpoints.clone(),
            abort: self.launch.launch(task, reporter),
            news: None,
        }
    }

    /// The next word of an errand under way. Cancel safe.
    pub(super) async fn heard(&mut self) -> Report {
        loop {
            // We hold a sender: the channel never ends.
            let report = self.rx.recv().await.expect("a sender is ours");
            if self
                .running
                .get(&report.rollout)
                .is_some_and(|running| running.serial == report.serial)
            {
                return report;
            }
            self.told_of_rollback(&report);
        }
    }

    /// A call that told of a rollback, or tried to, is over.
    fn told_of_rollback(&mut self, report: &Report) {
        let Report { rollout, serial, word } = report;
        let Some(telling) = self.telling.get_mut(rollout) else {
            return;
        };
        match word {
            Word::News(_) => return,
            Word::Done => {}
            Word::Failed(reason) => {
                tracing::warn!(%rollout, %reason, "a webhook was not told of the rollback");
            }
        }
        telling.retain(|running| running.serial != *serial);
    }

    /// Takes down the last word of an errand, for people.
    pub(super) fn note(&mut self, rollout: &Name, news: String) {
        if let Some(running) = self.running.get_mut(rollout) {
            running.news = Some(news);
        }
    }

    /// An errand has ended: should its step still want it, it is begun again.
    pub(super) fn ended(&mut self, rollout: &Name) {
        self.running.remove(rollout);
    }

    /// The last word of the errand that a rollout waits for.
    pub(super) fn news(&self, rollout: &Name) -> Option<&str> {
        self.running.get(rollout)?.news.as_deref()
    }
}

impl Running {
    /// Whether it is what a step wants now: the same question to the same ones.
    fn is_for(&self, place: Place, task: &Task) -> bool {
        self.place == place && self.errand == task.errand && self.endpoints == task.endpoints
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.abort.abort();
    }
}
