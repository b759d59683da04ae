//! `serin rehearse`: reads a log of outcomes as fast as it comes, and tells what would have become of
//! each rollout.

mod words;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::Instant;

use super::local::load;
use super::{Console, Exit, Output, RehearseArgs};
use crate::outcome::LONGEST;
use crate::rehearse::Rehearsal;
use words::{json_event, json_summary, text_event, text_summary};

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// `serin rehearse -c FILE --outcomes LOG...`
pub fn rehearse(args: &RehearseArgs, console: &mut Console<'_>) -> Exit {
    let began = Instant::now();
    let spec = match load(&args.config) {
        Ok(spec) => spec,
        Err(report) => {
            console.complain(&format!("{}: {report}", args.config.display()));
            return Exit::ConfigInvalid;
        }
    };
    let Some(mut rehearsal) = Rehearsal::new(&spec, args.rollout.as_deref()) else {
        let what = args
            .rollout
            .as_ref()
            .map_or("no rollouts".to_owned(), |name| format!("no rollout {name:?}"));
        console.complain(&format!("{} has {what}", args.config.display()));
        return Exit::Failed;
    };
    for log in &args.outcomes {
        if let Err(error) = read(log, &mut rehearsal, |rehearsal| show(rehearsal, args.output, console)) {
            console.complain(&format!("{}: {error}", log.display()));
            return Exit::Failed;
        }
    }
    rehearsal.finish();
    show(&mut rehearsal, args.output, console);
    let summary = rehearsal.summary();
    console.say(&match args.output {
        Output::Text => text_summary(&summary, began.elapsed()),
        Output::Json => json_summary(&summary, began.elapsed()),
    });
    Exit::Done
}

/// What happened since the last call.
fn show(rehearsal: &mut Rehearsal, output: Output, console: &mut Console<'_>) {
    for event in rehearsal.take_events() {
        console.say(&match output {
            Output::Text => text_event(&event),
            Output::Json => json_event(&event),
        });
    }
}

/// Reads a log line by line; `after` is called after each buffer or so.
fn read(log: &Path, rehearsal: &mut Rehearsal, mut after: impl FnMut(&mut Rehearsal)) -> Result<(), String> {
    let refused = |error: io::Error| format!("cannot be read: {error}");
    let mut lines = BufReader::with_capacity(BUFFER, File::open(log).map_err(refused)?);
    let mut line = Vec::with_capacity(LONGEST);
    rehearsal.begin_file();
    let mut since_after = 0;
    loop {
        line.clear();
        let taken = (&mut lines)
            .take(LONGEST as u64)
            .read_until(b'\n', &mut line)
            .map_err(refused)?;
        let result = match line.split_last() {
            None => break,
            Some((b'\n', line)) => rehearsal.line(line),
            Some(_) => {
                // Torn, or longer than any line: what is left of it is passed over.
                lines.skip_until(b'\n').map_err(refused)?;
                rehearsal.garbled_line()
            }
        };
        result.map_err(|error| error.to_string())?;
        since_after += taken;
        if since_after > BUFFER {
            since_after = 0;
            after(rehearsal);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
