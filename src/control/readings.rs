//! Readings of the configuration file: one at a time and on another thread, so that a long file
//! never holds up a judgement.

use std::fs::{self, File};
use std::io::{self, Read};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::key_files::KeyFiles;
use super::view::{Entry, ReloadView};
use crate::config::{self, Problems, Spec};
use crate::people::Tokens;

/// Bytes of a file that are read at most; `config` refuses shorter ones already.
const FILE_MAX: u64 = 32 << 20;

/// A checked file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program may rely on.
    pub spec: Spec,
    /// The text it was read from, as it may be shown.
    pub text: String,
    /// Who may use the admin API; `None`: whoever reaches it.
    pub tokens: Option<Arc<Tokens>>,
    /// The long lists that `spec` holds, so that the next reading may share them.
    pub key_files: Arc<KeyFiles>,
}

/// Reads and checks the file, or answers all of its problems.
pub(super) type Loader = Arc<dyn Fn(&Path) -> Outcome + Send + Sync>;

/// Reads and checks the configuration file, variables taken from the environment, and the files that it names:
/// of tokens, of keys, of those who sign tokens.
///
/// # Errors
/// All problems of the files, or those that they cannot be read.
pub fn read_config(file: &Path) -> Result<Loaded, Vec<Entry>> {
    read_again(file, &Arc::default())
}

/// [`read_config`], but what is in `key_files` and did not change is not read again.
pub(super) fn read_again(file: &Path, key_files: &Arc<KeyFiles>) -> Result<Loaded, Vec<Entry>> {
    let text = read_text(file).map_err(|error| vec![unreadable(file, &error)])?;
    if config::is_tokens_file(&text) {
        return Err(vec![Entry {
            place: file.display().to_string(),
            path: "tokens".to_owned(),
            message: "this is a tokens file; give the configuration whose `admin.tokensFile` names it, and both are \
                      checked"
                .to_owned(),
        }]);
    }
    let mut spec = check_config(&text, file);
    let named = spec.as_mut().map_or(Ok(()), |spec| key_files.read_into(spec));
    let tokens_file = match &spec {
        Ok(spec) => spec.tokens_file.clone(),
        Err(_) => config::tokens_file(&text, file, &variable),
    };
    let tokens = tokens_file.as_deref().map(read_tokens).transpose();
    let (spec, tokens) = match (spec, named, tokens) {
        (Ok(spec), Ok(()), Ok(tokens)) => (spec, tokens),
        (spec, named, tokens) => {
            let problems = [spec.err(), named.err(), tokens.err()];
            return Err(problems.into_iter().flatten().flatten().collect());
        }
    };
    if let Some(tokens) = &tokens {
        let closed = config::closed_gates(&spec, tokens);
        if !closed.is_empty() {
            let entry = |(rollout, message)| Entry {
                place: file.display().to_string(),
                path: format!("rollouts.{rollout}"),
                message,
            };
            return Err(closed.into_iter().map(entry).collect());
        }
    }
    Ok(Loaded {
        spec,
        text: config::shown(&text),
        tokens: tokens.map(Arc::new),
        key_files: Arc::clone(key_files),
    })
}

fn read_tokens(file: &Path) -> Result<Tokens, Vec<Entry>> {
    if may_never_end(file) {
        let error = io::Error::other("it is no regular file");
        return Err(vec![unreadable(file, &error)]);
    }
    let text = read_text(file).map_err(|error| vec![unreadable(file, &error)])?;
    config::tokens(&text, file).map_err(|problems| entries(&problems))
}

/// Checks `text` as if `file` held it. `${VAR}` comes from the environment of this process.
///
/// # Errors
/// All problems of the text.
pub fn check_config(text: &str, file: &Path) -> Result<Spec, Vec<Entry>> {
    config::load(text, file, &variable).map_err(|problems| entries(&problems))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn entries(problems: &Problems) -> Vec<Entry> {
    let entries = problems.iter().map(|problem| Entry {
        place: problem.place(),
        path: problem.path.clone(),
        message: problem.message.clone(),
    });
    entries.collect()
}

fn unreadable(file: &Path, error: &io::Error) -> Entry {
    Entry {
        place: file.display().to_string(),
        path: String::new(),
        message: format!("cannot be read: {error}"),
    }
}

/// The text of a file, cut where the configuration would refuse it for its length anyway.
fn read_text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Whether reading could wait for ever, and every later reading behind it: a pipe nobody writes to.
pub(super) fn may_never_end(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

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

/// A checked file, or all of its problems.
type Outcome = Result<Loaded, Vec<Entry>>;

/// What a reading came to, and for whom it was made.
pub(super) type Finished = (Outcome, Vec<Reader>);

/// At most one reading at a time; who asks meanwhile waits for the next one, since the present one
/// may have looked too early.
pub(super) struct Readings {
    file: PathBuf,
    loader: Loader,
    running: Option<(JoinHandle<Outcome>, Vec<Reader>)>,
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
        let task = tokio::task::spawn_blocking(move || {
            if may_never_end(&file) {
                let message = "is no regular file; nothing else is read again".to_owned();
                let (place, path) = (file.display().to_string(), String::new());
                return Err(vec![Entry { place, path, message }]);
            }
            loader(&file)
        });
        self.running = Some((task, mem::take(&mut self.waiting)));
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Readings};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_pipe_does_not_hold_up_the_readings_after_it() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("serin.yaml");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &file, kind, mode, 0).unwrap();
        let mut readings = Readings::new(file, Arc::new(|_| panic!("nobody may open it")));
        readings.want(Reader::Watch);
        let problems = readings.finished().await.0.unwrap_err();
        assert_eq!(problems[0].message, "is no regular file; nothing else is read again");
    }
}
