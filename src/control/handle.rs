//! By which others ask control: a channel of closed questions, each with its answer.

use tokio::sync::{broadcast, mpsc, oneshot};

use super::audit_log::AuditView;
use super::view::{
    BackendView, Entry, EventRecord, FlagView, FreezeView, MetricsView, ReloadView, RolloutView, RouteView, StatusView,
};
use crate::rollout::Verb;

/// Who asks, for the record.
pub type By = String;

/// Why control did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 403: not this person, as at a gate that wants other roles.
    Forbidden(String),
    /// 404: no such route, rollout or backend.
    NotFound(String),
    /// 422: the body's fields, each named.
    Invalid(Vec<Entry>),
    /// 412: the generation moved on.
    Stale {
        /// The present one.
        generation: u64,
    },
    /// 409: not in this phase; says what is possible.
    Conflict(String),
    /// 503: could not be made durable; nothing was changed.
    Unavailable(String),
}

/// `PUT /v1/routes/{route}/weights`
#[derive(Clone, Debug)]
pub struct SetWeights {
    /// The route's name.
    pub route: String,
    /// Variant to weight, as posted: names and numbers are unchecked.
    pub weights: Vec<(String, serde_json::Value)>,
    /// Why, in the person's words.
    pub reason: String,
    /// Who.
    pub by: By,
    /// The `If-Match` header as sent.
    pub if_match: Option<String>,
    /// Check and answer, change nothing.
    pub dry_run: bool,
}

/// What a start says beside the verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Variants `from` and `to`, as posted; `None`: as the file and the last promotion have it.
    pub direction: Option<(String, String)>,
    /// When the newest commit in the release was made, in Unix milliseconds.
    pub commit_ms: Option<u64>,
}

/// A question with the place for its answer.
#[derive(Debug)]
#[allow(missing_docs)] // each question is named after the call that asks it
pub enum Asked {
    Status(oneshot::Sender<StatusView>),
    Routes(oneshot::Sender<Vec<RouteView>>),
    /// One route by name; `None` where there is none. Costs no more with many routes.
    Route(String, oneshot::Sender<Option<RouteView>>),
    Backends(oneshot::Sender<Vec<BackendView>>),
    Rollouts(oneshot::Sender<Vec<RolloutView>>),
    Metrics(oneshot::Sender<MetricsView>),
    /// The live file as YAML or JSON text, secrets hidden.
    Config(oneshot::Sender<String>),
    SetWeights(SetWeights, oneshot::Sender<Result<RouteView, Refusal>>),
    Command {
        rollout: String,
        verb: Verb,
        order: Order,
        /// The `If-Match` header as sent.
        if_match: Option<String>,
        reason: String,
        by: By,
        reply: oneshot::Sender<Result<RolloutView, Refusal>>,
    },
    /// One person's approval of the gate that a rollout stands at.
    Approve {
        rollout: String,
        by: By,
        /// Of the token.
        roles: Vec<String>,
        reason: String,
        /// The `If-Match` header as sent: the generation that is approved.
        if_match: Option<String>,
        reply: oneshot::Sender<Result<RolloutView, Refusal>>,
    },
    /// Nothing moves forward from now on, or may again.
    Freeze {
        frozen: bool,
        reason: String,
        by: By,
        reply: oneshot::Sender<Result<Option<FreezeView>, Refusal>>,
    },
    /// Every flag, those of routes and those without.
    Flags(oneshot::Sender<Vec<FlagView>>),
    /// Switches a flag on or off.
    SwitchFlag {
        /// How applications call it.
        flag: String,
        enabled: bool,
        reason: String,
        by: By,
        /// The `If-Match` header as sent.
        if_match: Option<String>,
        /// Check and answer, change nothing.
        dry_run: bool,
        reply: oneshot::Sender<Result<FlagView, Refusal>>,
    },
    /// Weights of a flag; its key stands in `route`. That of a route's flag is that of the route.
    SetFlagWeights(SetWeights, oneshot::Sender<Result<FlagView, Refusal>>),
    Reload {
        by: By,
        reply: oneshot::Sender<ReloadView>,
    },
    /// Writes everything down and lets go of the state directory: another process is about to take it. From then on
    /// aborts alone take effect here, and nothing is written.
    Release(oneshot::Sender<Result<(), String>>),
    /// Takes the state directory again: the other process did not become ready, for this reason.
    Resume(String, oneshot::Sender<Result<(), String>>),
    /// Where the audit log is, and what is not in its files yet.
    Audit(oneshot::Sender<AuditView>),
    /// Past events after this id (those still kept), and the live ones from there on.
    Events(
        Option<u64>,
        oneshot::Sender<(Vec<EventRecord>, broadcast::Receiver<EventRecord>)>,
    ),
}

/// Asks control. Cheap to clone; every call waits for control's turn, some microseconds.
#[derive(Clone, Debug)]
pub struct Handle {
    tx: mpsc::Sender<Asked>,
}

impl Handle {
    /// A handle, and the end that control listens on.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (tx, rx) = mpsc::channel(64);
        (Self { tx }, rx)
    }

    /// Puts one question and waits for its answer; `None` when control has ended (the process is
    /// then ending too).
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tx.send(question(reply)).await.ok()?;
        answer.await.ok()
    }

    /// The same from a thread that has no runtime.
    pub fn ask_blocking<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tx.blocking_send(question(reply)).ok()?;
        answer.blocking_recv().ok()
    }
}
