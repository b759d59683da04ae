//! Writes the audit log. A line is in the durable state before it is in the file, and stays there until
//! the file is durable too: a crash, a torn write or a full disk loses none.

mod attach;
mod backwards;
mod behind;
mod files;
mod page;
mod proof;
mod record;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use attach::{Active, Behind, Finding};
pub use behind::records_behind;
use files::{ACTIVE, aside, put_aside, tail};
pub use page::{AuditPage, AuditQuery, audit_page, list_audit};
pub use proof::verify_audit;

use crate::audit::{Anchor, Chain, Record, records_are};

/// While so many lines wait for the file, people's changes are refused: the state that holds them is
/// written whole with every change.
const WAITING_MAX: usize = 1_000;

/// Where the log is, and what is not in its files yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditView {
    /// The state directory.
    pub directory: PathBuf,
    /// The newest lines that the state holds, oldest first.
    pub waiting: Vec<String>,
}

/// The log, and how far its file is behind.
#[derive(Debug)]
pub(super) struct Audit {
    directory: PathBuf,
    /// The newest record.
    head: Chain,
    pruned: Chain,
    /// The newest lines, oldest first, which may not be durable in the file. First come `appended` that
    /// were written to it, then those up to `saved` which the durable state holds, then the others.
    waiting: Vec<String>,
    appended: usize,
    saved: usize,
    /// The newest record that the durable state knows.
    saved_seq: u64,
    /// `None`: to be opened, and to be compared with what we know.
    active: Option<Active>,
    /// Files whose records are removed as soon as the state that says so is durable.
    removals: Vec<PathBuf>,
    /// Why the last writing failed.
    problem: Option<String>,
    /// Records that were not kept for want of room.
    left_out: u64,
    /// Records that the start took over though no state told of them.
    adopted: u64,
}

/// What a start found that did not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    /// In words.
    pub(super) what: String,
    /// So many records were taken over though the state that is left does not know them.
    pub(super) adopted: u64,
}

/// How the log stood, to go back to when a change could not be made durable.
#[derive(Debug)]
pub(super) struct Mark(Chain);

impl Audit {
    /// The log in `directory`, of which the last state said `anchor`. `fell_back`: a newer state was damaged,
    /// which may have known more records. What does not fit is for the record of the start. A file that cannot
    /// be read is tried again with each writing.
    pub(super) fn open(directory: &Path, anchor: Option<Anchor>, fell_back: bool) -> (Self, Option<Misfit>) {
        let behind = match (&anchor, fell_back) {
            (None, _) => Behind::Any,
            (Some(_), true) => Behind::Following,
            (Some(_), false) => Behind::Refused,
        };
        // A state that was lost says nothing of what was removed for its age before.
        let begins = match &anchor {
            None => files::beginning(directory).unwrap_or_default(),
            Some(_) => None,
        };
        let mut anchor = anchor.unwrap_or_default();
        if let Some(before) = &begins {
            anchor.pruned.clone_from(before);
        }
        let mut audit = Self {
            directory: directory.to_owned(),
            saved_seq: anchor.head.seq,
            head: anchor.head,
            pruned: anchor.pruned,
            saved: anchor.pending.len(),
            waiting: anchor.pending,
            appended: 0,
            active: None,
            removals: Vec::new(),
            problem: None,
            left_out: 0,
            adopted: 0,
        };
        let finding = match audit.attach(behind) {
            Ok(finding) => finding,
            Err(error) => {
                audit.fail(&error);
                None
            }
        };
        let told = finding.map(|finding| match (finding, begins) {
            (Finding::Mended(what), _) => {
                tracing::warn!("the audit log: {what}");
                what
            }
            (Finding::Damaged(mut what), begins) => {
                if let Some(before) = begins {
                    what += &format!("; it begins with record {}, and no state says why", before.seq + 1);
                }
                tracing::error!("the audit log is not as it was written: {what}; see `serin audit verify`");
                what
            }
        });
        let adopted = audit.adopted;
        (audit, told.map(|what| Misfit { what, adopted }))
    }

    /// How the log stands.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.head.clone())
    }

    /// The number of the newest record; 0: there is none.
    pub(super) const fn seq(&self) -> u64 {
        self.head.seq
    }

    /// Adds a record, in memory. Beyond the bound one that nobody's change waits for is only counted.
    pub(super) fn note(&mut self, record: Record) {
        if !self.has_room() && matches!(record.kind.as_str(), "reload" | "verdict") {
            self.left_out += 1;
            return;
        }
        if self.has_room() && self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            let reason = format!(
                "{left_out} records of readings and observed verdicts were not kept: the file of the audit log could not be written"
            );
            self.push(about_log("left out", reason, &record));
        }
        self.push(record);
    }

    /// The records behind the one numbered `seq` that are in memory still, oldest first.
    pub(super) fn noted_since(&self, seq: u64) -> impl Iterator<Item = Record> {
        let newer = usize::try_from(self.head.seq.saturating_sub(seq)).unwrap_or(usize::MAX);
        let lines = &self.waiting[self.waiting.len().saturating_sub(newer)..];
        lines
            .iter()
            .filter_map(|line| crate::audit::parse(line.as_bytes()).ok())
    }

    /// Forgets what was noted since `mark`; no state that holds it was written.
    pub(super) fn take_back(&mut self, mark: Mark) {
        // Older lines may have become durable meanwhile, and wait no more: what was noted stands last.
        let noted = usize::try_from(self.head.seq - mark.0.seq).unwrap_or(usize::MAX);
        self.waiting.truncate(self.waiting.len().saturating_sub(noted));
        self.head = mark.0;
    }

    /// Makes durable what was appended. The next state need not hold it any more.
    pub(super) fn sync(&mut self) {
        if self.appended == 0 {
            return;
        }
        let Some(active) = &mut self.active else { return };
        match active.sync() {
            Ok(()) => {
                self.waiting.drain(..self.appended);
                self.saved -= self.appended;
                self.appended = 0;
            }
            Err(error) => self.fail(&error),
        }
    }

    /// What the next state must hold.
    pub(super) fn anchor(&self) -> Anchor {
        Anchor {
            head: self.head.clone(),
            pending: self.waiting.clone(),
            pruned: self.pruned.clone(),
        }
    }

    /// The state of [`Audit::anchor`] is durable: what waits may stand in the file.
    pub(super) fn was_saved(&mut self, max_bytes: u64) {
        self.saved = self.waiting.len();
        self.saved_seq = self.head.seq;
        for path in std::mem::take(&mut self.removals) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, "{} is too old and cannot be removed", path.display());
            }
        }
        self.append(max_bytes);
    }

    /// Writes to the file what the durable state holds.
    pub(super) fn append(&mut self, max_bytes: u64) {
        match self.try_append(max_bytes) {
            Ok(()) => {
                if self.problem.take().is_some() {
                    tracing::info!("the audit log can be written again");
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    fn try_append(&mut self, max_bytes: u64) -> io::Result<()> {
        if self
            .active
            .as_ref()
            .is_some_and(|active| !active.is_ours(&self.directory))
        {
            self.active = None;
        }
        if self.active.is_none() {
            self.attach_again()?;
        }
        if self.active.as_ref().is_some_and(|active| active.len >= max_bytes) && self.appended < self.saved {
            self.put_aside()?;
        }
        let lines = &self.waiting[self.appended..self.saved];
        if let Some(active) = &mut self.active
            && !lines.is_empty()
        {
            let mut text = lines.join("\n");
            text.push('\n');
            if let Err(error) = active.file.write_all(text.as_bytes()) {
                // Part of it may have been written.
                self.active = None;
                return Err(error);
            }
            active.len += text.len() as u64;
            self.appended = self.saved;
        }
        Ok(())
    }

    /// Opens the file while we run; damage is told and recorded.
    fn attach_again(&mut self) -> io::Result<()> {
        match self.attach(Behind::Refused)? {
            None => {}
            Some(Finding::Mended(what)) => tracing::info!("the audit log: {what}"),
            Some(Finding::Damaged(what)) => {
                tracing::error!("the audit log is not as it was written: {what}; see `serin audit verify`");
                let like = self.newest();
                let mut record = about_log("damaged", what.clone(), &like);
                record.facts.insert("audit".to_owned(), what);
                self.push(record);
            }
        }
        Ok(())
    }

    /// Begins another file.
    fn put_aside(&mut self) -> io::Result<()> {
        let Some(mut active) = self.active.take() else {
            return Ok(());
        };
        active.sync()?;
        self.waiting.drain(..self.appended);
        self.saved -= self.appended;
        self.appended = 0;
        let to = aside(&self.directory, files::first_seq(&active.file)?);
        if fs::exists(&to)? {
            // Never over a file that holds records; the active one goes on growing.
            tracing::error!("the audit log is not put aside: {} is there already", to.display());
            self.active = Some(active);
            return Ok(());
        }
        fs::rename(self.directory.join(ACTIVE), to)?;
        self.attach_again()
    }

    /// Marks files for removal whose newest record is older than `retention`. They are removed when the
    /// next state is durable, which says where the log begins then.
    pub(super) fn prune(&mut self, retention: Duration, now_ms: u64) {
        match self.try_prune(retention, now_ms) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "old files of the audit log cannot be looked at"),
        }
    }

    fn try_prune(&mut self, retention: Duration, now_ms: u64) -> io::Result<()> {
        let keep_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        let before = self.pruned.seq;
        for file in put_aside(&self.directory)? {
            let Some(opened) = files::open(&file.path)? else {
                continue;
            };
            // What holds no record is not understood, and not removed.
            let Some((last, record)) = tail(&opened)?.last else {
                break;
            };
            if last.seq > self.pruned.seq {
                if record.at_ms.saturating_add(keep_ms) >= now_ms {
                    break;
                }
                self.pruned = last;
            }
            if !self.removals.contains(&file.path) {
                self.removals.push(file.path);
            }
        }
        if self.pruned.seq > before {
            let reason = format!(
                "{} older than the {} days that the configuration keeps them",
                records_are(before + 1, self.pruned.seq),
                retention.as_secs() / 86_400
            );
            let like = self.newest();
            self.push(Record {
                at_ms: now_ms,
                ..about_log("removed", reason, &like)
            });
        }
        Ok(())
    }

    /// Whether a state must be written for what was noted.
    pub(super) fn is_ahead(&self) -> bool {
        self.head.seq > self.saved_seq
    }

    /// Whether the file lacks lines that it may have.
    pub(super) fn is_behind(&self) -> bool {
        self.appended < self.saved
    }

    /// Whether people's changes may add to what waits.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Why the file cannot be written just now.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// For those who read the log while we write it: nothing that a crash could still take back.
    pub(super) fn view(&self) -> AuditView {
        AuditView {
            directory: self.directory.clone(),
            waiting: self.waiting[self.appended..self.saved].to_vec(),
        }
    }

    fn push(&mut self, record: Record) {
        let line = self.head.append(record);
        self.waiting.push(line);
    }

    /// Time and generation of the newest record that is known, for one about the log itself.
    fn newest(&self) -> Record {
        let newest = self
            .waiting
            .last()
            .and_then(|line| crate::audit::parse(line.as_bytes()).ok());
        newest.unwrap_or_default()
    }

    fn fail(&mut self, error: &io::Error) {
        let path = self.directory.join(ACTIVE);
        let problem = format!("the audit log {} cannot be written: {error}", path.display());
        if self.problem.is_none() {
            tracing::error!("{problem}; its records are kept in the state until it can be");
        }
        self.problem = Some(problem);
        // Whether what was appended is durable is not known any more.
        self.active = None;
    }
}

/// A record about the log itself, at the time of another.
fn about_log(to: &str, reason: String, like: &Record) -> Record {
    Record {
        at_ms: like.at_ms,
        generation: like.generation,
        kind: "audit".to_owned(),
        by: "serin".to_owned(),
        to: to.to_owned(),
        reason,
        ..Record::default()
    }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
