//! Readings of the configuration file: one at a time and on another thread, so that a long file
//! never holds up a judgement.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::view::{Entry, ReloadView};
use crate::config::Spec;

/// A checked file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program may rely on.
    pub spec: Spec,
    /// The text it was read from, as it may be shown.
    pub text: String,
}

/// Reads and checks the file, or answers all of its problems.
pub type Loader = Arc<dyn Fn(&std::path::Path) -> Result<Loaded, Vec<Entry>> + Send + Sync>;

/// Who wants the file read.
#[derive(Debug)]
pub(super) enum Reader {
    /// The file was changed.
    Watch,
    /// Somebody asked.
    Asked {
        by: String,
        reply: oneshot::Sender<ReloadView>,
    },
}

/// What a reading came to, and for whom it was made.
pub(super) type Finished = (Result<Loaded, Vec<Entry>>, Vec<Reader>);

/// At most one reading at a time; who asks meanwhile waits for the next one, since the present one
/// may have looked too early.
pub(super) struct Readings {
    file: PathBuf,
    loader: Loader,
    running: Option<(JoinHandle<Result<Loaded, Vec<Entry>>>, Vec<Reader>)>,
    waiting: Vec<Reader>,
}

impl Readings {
    pub(super) fn new(file: PathBuf, loader: Loader) -> Self {
        Self {
            file,
            loader,
            running: None,
            waiting: Vec::new(),
        }
    }

    /// Reads the file as soon as may be.
    pub(super) fn want(&mut self, reader: Reader) {
        self.waiting.push(reader);
        if self.running.is_none() {
            self.begin();
        }
    }

    /// Waits for the present reading; for ever, when there is none. May be dropped and called again.
    pub(super) async fn finished(&mut self) -> Finished {
        let Some((task, _)) = &mut self.running else {
            return std::future::pending().await;
        };
        let outcome = task.await;
        let readers = self.running.take().map_or_else(Vec::new, |(_, readers)| readers);
        if !self.waiting.is_empty() {
            self.begin();
        }
        // A panic over a file must not end a process that serves well.
        let outcome = outcome.unwrap_or_else(|error| {
            Err(vec![Entry {
                place: self.file.display().to_string(),
                path: String::new(),
                message: format!("Serin failed while reading the file, which is a bug of Serin: {error}"),
            }])
        });
        (outcome, readers)
    }

    fn begin(&mut self) {
        let (loader, file) = (Arc::clone(&self.loader), self.file.clone());
        let task = tokio::task::spawn_blocking(move || loader(&file));
        self.running = Some((task, mem::take(&mut self.waiting)));
    }
}
