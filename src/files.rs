//! Reads configuration files: from a path to a checked `Spec`, or every problem with its place.

use std::io::Read as _;
use std::path::Path;

use crate::config::{self, Problems, Spec};
use crate::control::{Entry, Loaded};

/// Larger files are refused: 100,000 routes fit.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads and checks `file`; `${VAR}` is taken from the environment.
///
/// # Errors
/// Every problem, with its place and how to mend it.
pub fn read(file: &Path) -> Result<Loaded, Vec<Entry>> {
    let cannot_read = |message: String| {
        vec![Entry {
            place: file.display().to_string(),
            path: String::new(),
            message,
        }]
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(cannot_read(format!("is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        cannot_read(format!("is not UTF-8 text: see line {line}"))
    })?;
    let spec = check(&text, file)?;
    let text = config::shown(&text);
    Ok(Loaded { spec, text })
}

/// Checks `text` as if it were what `file` holds.
///
/// # Errors
/// Every problem, with its place and how to mend it.
pub fn check(text: &str, file: &Path) -> Result<Spec, Vec<Entry>> {
    config::load(text, file, &|name| std::env::var(name).ok()).map_err(|problems| entries(&problems))
}

fn entries(problems: &Problems) -> Vec<Entry> {
    let entry = |problem: &config::Problem| Entry {
        place: problem.place(),
        path: problem.path.clone(),
        message: problem.message.clone(),
    };
    problems.iter().map(entry).collect()
}
