//! Runs errands for real: beside control, on its thread.

use std::rc::Rc;

use tokio::task::AbortHandle;

use super::errands::{Launch, Reporter, Task, Word};
use crate::outgoing::{Client, Outcome, Progress, smoke, webhook};
use crate::rollout::Errand;

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
    let tell = |progress| match progress {
        Progress::Refused(why) | Progress::Retrying(why) => reporter.tell_news(why),
    };
    let outcome = match &*task.errand {
        Errand::Webhook(hook) => webhook::ask(&client, hook, &task.payload, fastrand::u64(..), &tell).await,
        Errand::Smoke(checks) => smoke::run(&client, checks, &task.endpoints, task.host.as_deref(), &tell).await,
    };
    let word = match outcome {
        Outcome::Passed(_) => Word::Done,
        Outcome::Failed(why) => Word::Failed(why),
    };
    reporter.tell(word).await;
}
