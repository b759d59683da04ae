//! Runs errands for real: beside control, on its thread.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::errands::{Launch, Reporter, Task, Word};
use crate::outgoing::{Client, Outcome, Progress, smoke, webhook};
use crate::rollout::{Errand, Moment};

/// The world outside.
#[derive(Debug, Default)]
pub(super) struct Outside;

impl Launch for Outside {
    fn launch(&self, task: Task, reporter: Reporter) -> AbortHandle {
        tokio::task::spawn_local(run(task, Rc::new(reporter))).abort_handle()
    }
}

async fn run(task: Task, reporter: Rc<Reporter>) {
    // One errand is one client: it may be days before the next one.
    let client = Client::new();
    let (refused, no) = (Cell::new(None), Notify::new());
    let tell = |progress| match progress {
        Progress::Refused(why) => {
            refused.set(Some(why.clone()));
            no.notify_one();
            reporter.tell_news(why);
        }
        Progress::Retrying(why) => reporter.tell_news(why),
    };
    let outcome = match &*task.errand {
        Errand::Webhook(hook) => {
            let ask = webhook::ask(&client, hook, &task.payload, fastrand::u64(..), &tell);
            // Nothing waits for what is told of a rollback: a refusal is an answer.
            let is_told = async {
                no.notified().await;
                if hook.moment != Moment::Rollback {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                outcome = ask => outcome,
                () = is_told => Outcome::Failed(refused.take().unwrap_or_default()),
            }
        }
        Errand::Smoke(checks) => smoke::run(&client, checks, &task.endpoints, task.host.as_deref(), &tell).await,
    };
    let word = match outcome {
        Outcome::Passed(_) => Word::Done,
        Outcome::Failed(why) => Word::Failed(why),
    };
    reporter.tell(word).await;
}
