//! Reads the log of a state directory from beginning to end, and tells whether it is the one that was
//! written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::files::{all, open, read_anchor, strays};
use crate::audit::{Anchor, LINE_MAX, Report, Verifier};

/// While a Serin writes, its files may be put aside or removed under the reader, who begins anew then.
const TRIES: usize = 5;

/// Verifies the log in `directory`, also while a Serin writes it. The text says why there is no anchor,
/// where there is none.
///
/// # Errors
/// What the system says.
pub fn verify_audit(directory: &Path) -> io::Result<(Report, Option<String>)> {
    let (mut report, unanchored) = verify_chain(directory)?;
    report.strays = strays(directory)?;
    Ok((report, unanchored))
}

fn verify_chain(directory: &Path) -> io::Result<(Report, Option<String>)> {
    for _ in 1..TRIES {
        let (report, before, after) = verify_once(directory)?;
        if report.is_whole() || before == after {
            return Ok((report, before.err()));
        }
    }
    let (report, before, _) = verify_once(directory)?;
    Ok((report, before.err()))
}

type Known = Result<Anchor, String>;

fn verify_once(directory: &Path) -> io::Result<(Report, Known, Known)> {
    let before = read_anchor(directory);
    let pruned = before.as_ref().map_or(0, |anchor| anchor.pruned.seq);
    let mut verifier = Verifier::new(before.as_ref().ok().cloned());
    for (file, opened) in all(directory, pruned)? {
        if let Some(opened) = opened.map_or_else(|| open(&file.path), |opened| Ok(Some(opened)))? {
            verifier.begin_file(&file.name());
            read(&opened, &mut verifier)?;
        }
    }
    let after = read_anchor(directory);
    let report = verifier.finish(after.as_ref().ok());
    Ok((report, before, after))
}

fn read(file: &File, verifier: &mut Verifier) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than any line has, and its end.
        let most = LINE_MAX as u64 + 2;
        (&mut reader).take(most).read_until(b'\n', &mut line)?;
        match line.split_last() {
            None => return Ok(()),
            Some((b'\n', line)) => verifier.line(line),
            Some(_) if line.len() as u64 == most => {
                verifier.line(&line);
                reader.skip_until(b'\n')?;
            }
            Some(_) => verifier.torn(&line),
        }
    }
}
