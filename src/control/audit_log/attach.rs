//! Opens the file that is written and compares its end with what the state knows: what a crash tore off
//! is mended, what somebody changed is told and left for the verifier to find.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::files::{ACTIVE, identity, open_to_write, put_aside, record_behind, tail};
use super::{Audit, files, sync_directory};
use crate::audit::{Chain, Record, records_are};

/// The file that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) file: File,
    /// Its bytes, as far as we wrote them.
    pub(super) len: u64,
    /// As many of them as are durable, where that is known.
    durable: Option<u64>,
    identity: (u64, u64),
}

/// What a start may make of records behind all that the state knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// They are not ours: a line is in the durable state before it is in the file.
    Refused,
    /// A newer state was lost, which knew them. They are taken where they follow the record that this one knows.
    Following,
    /// Nothing is known of the log.
    Any,
}

/// What did not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// As a crash or a full disk leaves it; nothing is missing.
    Mended(String),
    /// No crash of ours does that.
    Damaged(String),
}

impl Active {
    /// Whether it still is the file in the directory, and as long as we made it.
    pub(super) fn is_ours(&self, directory: &Path) -> bool {
        fs::metadata(directory.join(ACTIVE))
            .is_ok_and(|found| identity(&found) == self.identity && found.len() == self.len)
    }

    /// Durable when it returns. When that fails, what was not durable is cut off again, to be written
    /// anew: a system that could not write a page may take it for written from then on.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let synced = self.file.sync_data();
        match (&synced, self.durable) {
            (Ok(()), _) => self.durable = Some(self.len),
            (Err(_), Some(durable)) => self.file.set_len(durable)?,
            (Err(_), None) => {}
        }
        synced
    }
}

impl Audit {
    /// Opens the file, made where there is none, and finds out which of the waiting lines stand in it.
    /// Records behind all that we know are the head from now on where `behind` lets them.
    pub(super) fn attach(&mut self, behind: Behind) -> io::Result<Option<Finding>> {
        let mut file = open_to_write(&self.directory.join(ACTIVE))?;
        let mut found = tail(&file)?;
        if file.metadata()?.len() == 0 {
            sync_directory(&self.directory)?;
        }
        if found.last.is_none() {
            found.last = self.last_put_aside()?;
        }
        let last = found
            .last
            .take()
            .map_or_else(|| self.pruned.clone(), |(chain, _)| chain);
        let damage = self.meet(&last, behind)?;
        let finding = match (damage, found.rest.as_slice()) {
            (None, []) => None,
            (None, _) if self.knows_what_follows(&last, &found.rest) => {
                let torn = file.metadata()?.len() - found.end;
                file.set_len(found.end)?;
                Some(Finding::Mended(format!(
                    "a torn line of {torn} bytes at its end was cut off, and is written again whole"
                )))
            }
            (damage, rest) => {
                if rest.last().is_some_and(|&byte| byte != b'\n') {
                    // What stands there is kept for the verifier, and ours begins on a line of its own.
                    file.write_all(b"\n")?;
                }
                let garbage = "what stands at its end is no record".to_owned();
                Some(Finding::Damaged(damage.unwrap_or(garbage)))
            }
        };
        let metadata = file.metadata()?;
        self.active = Some(Active {
            file,
            len: metadata.len(),
            durable: (self.appended == 0).then_some(metadata.len()),
            identity: identity(&metadata),
        });
        Ok(finding)
    }

    /// What stands last before the file that is written. Files put aside are not mended; the verifier
    /// finds what is wrong with one.
    fn last_put_aside(&self) -> io::Result<Option<(Chain, Record)>> {
        let newest = put_aside(&self.directory)?.pop();
        let opened = newest.map(|file| files::open(&file.path)).transpose()?.flatten();
        Ok(opened.as_ref().map(tail).transpose()?.and_then(|tail| tail.last))
    }

    /// The last record of the files meets what we know; what does not fit, in words.
    fn meet(&mut self, last: &Chain, behind: Behind) -> io::Result<Option<String>> {
        let durable = self.head.seq.saturating_sub(self.waiting.len() as u64);
        self.appended = 0;
        if last.seq > self.head.seq {
            let mut what = format!(
                "{} not known to the state, whose newest is {}",
                records_are(self.head.seq + 1, last.seq),
                self.head.seq
            );
            let follows = match behind {
                Behind::Refused => false,
                Behind::Following => self.is_followed()?,
                Behind::Any => true,
            };
            if follows {
                self.adopted = last.seq - self.head.seq.max(self.pruned.seq);
                self.head = last.clone();
                self.waiting.clear();
                self.saved = 0;
            } else if behind == Behind::Following {
                what += ", and they do not follow that one: the log was written anew";
            }
            return Ok(Some(what));
        }
        if last.seq < durable {
            return Ok(Some(format!(
                "{} missing at its end",
                records_are(last.seq + 1, durable)
            )));
        }
        let written = usize::try_from(last.seq - durable).unwrap_or(usize::MAX);
        self.appended = written.min(self.saved);
        Ok((self.hash_of(written).as_ref() != Some(&last.hash))
            .then(|| format!("record {}, the last one, is not the one that was written", last.seq)))
    }

    /// Whether the record behind the newest one that we know was written behind that one.
    fn is_followed(&self) -> io::Result<bool> {
        let next = record_behind(&self.directory, self.head.seq)?;
        Ok(next.is_some_and(|record| record.previous == self.head.hash))
    }

    /// The hash of the record before waiting line `n`, where it is known.
    fn hash_of(&self, n: usize) -> Option<String> {
        match self.waiting.get(n) {
            None => Some(self.head.hash.clone()),
            Some(line) => Some(crate::audit::parse(line.as_bytes()).ok()?.previous),
        }
    }

    /// Whether `rest`, behind `last`, is of a line that we write again, or a torn one that nobody was
    /// told of.
    fn knows_what_follows(&self, last: &Chain, rest: &[u8]) -> bool {
        self.appended < self.saved || (last.seq >= self.head.seq && rest.last() != Some(&b'\n'))
    }
}
