//! Runs errands for real: beside control, on its thread.

use tokio::task::AbortHandle;

use super::errands::{Launch, Reporter, Task, Word};

/// The world outside.
#[derive(Debug, Default)]
pub(super) struct Outside;

impl Launch for Outside {
    fn launch(&self, task: Task, reporter: Reporter) -> AbortHandle {
        let run = async move {
            reporter
                .tell(Word::Failed(format!("{} cannot be run", task.errand.words())))
                .await;
        };
        tokio::task::spawn_local(run).abort_handle()
    }
}
