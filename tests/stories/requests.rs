//! Requests byte for byte: what each becomes at the backend, in the answer and in the counters, whether it comes in
//! one piece or in many. The table stands in `requests/`; `requests/table.rs` says how it is read.

mod counts;
mod exchange;
mod expected;
pub mod recorder;
mod table;
mod text;

use std::time::{Duration, Instant};

use crate::common::{Options, PATIENCE, Serin, one};
use counts::{Counts, reject_reason};
use exchange::{Manner, Talk};
use expected::{STAMP, head_of_problem, matches_pattern, passed, problem, written_out};
use recorder::{Message, Recorder};
use table::{Case, FILES, Outcome, Theme, Then};
use text::escape;

/// What goes through after a case whose connection stays open.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: probe.test\r\n\r\n";
const PROBE_PATTERN: &[u8] = b"GET /probe HTTP/1.1\r\nhost: probe.test\r\n{added}\r\n\r\n";

/// So many failures are told.
const TOLD: usize = 40;

macro_rules! themes {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn each_file_is_run() {
            assert_eq!(FILES.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

themes! {
    start_line target path host fields line_ends content_length transfer_encoding chunks bodies expect pipelining
    hop_by_hop forwarding limits
}

#[test]
fn the_table_is_large() {
    let themes = FILES.map(|(_, text)| Theme::parse(text).unwrap_or_else(|e| panic!("{e}")));
    let outcomes = || {
        themes
            .iter()
            .flat_map(|theme| &theme.cases)
            .map(|case| case.outcomes.last())
    };
    let passed = outcomes()
        .filter(|last| matches!(last, Some(Outcome::Passed { .. })))
        .count();
    assert!(outcomes().count() >= 250, "{} cases", outcomes().count());
    assert!(passed >= 90, "{passed} cases are passed on");
}

/// Runs a theme on a Serin of its own, one case after the other, each in both manners.
#[track_caller]
fn run(file: &str) {
    let (_, text) = FILES.iter().find(|(name, _)| *name == file).expect("it is a file");
    let theme = Theme::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let recorder = Recorder::start().expect("loopback has a free port");
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &one(recorder.address()));
    let mut failures = Vec::new();
    for case in &theme.cases {
        let mut details = Vec::new();
        for manner in [Manner::Whole, Manner::Pieces] {
            let stage = Stage {
                serin: &serin,
                recorder: &recorder,
                before: Counts::of(&serin),
            };
            recorder.forget();
            match stage.run(case, manner) {
                Ok(detail) => details.push(detail),
                Err(why) => failures.push(format!("{file}.txt:{} {:?}, {manner:?}: {why}", case.line, case.name)),
            }
        }
        if let [whole, pieces] = &details[..]
            && whole != pieces
        {
            failures.push(format!(
                "{file}.txt:{} {:?}: {whole:?}, but in pieces {pieces:?}",
                case.line, case.name
            ));
        }
    }
    let told = failures.iter().take(TOLD).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        failures.is_empty(),
        "{} of {} failed\n{told}",
        failures.len(),
        2 * theme.cases.len()
    );
}

/// Where a case is run.
struct Stage<'a> {
    serin: &'a Serin,
    recorder: &'a Recorder,
    before: Counts,
}

impl Stage<'_> {
    /// Runs one case; what a refusal said, or what is not as the table says.
    fn run(&self, case: &Case, manner: Manner) -> Result<String, String> {
        let mut talk = Talk::open(self.serin.address(), PATIENCE).map_err(|e| format!("no connection: {e}"))?;
        talk.perform(&case.steps, manner)?;
        let mut detail = String::new();
        let mut patterns = Vec::new();
        for outcome in &case.outcomes {
            match outcome {
                Outcome::Passed { pattern, then } => {
                    patterns.push(pattern.as_slice());
                    passed(&talk.answer(pattern.starts_with(b"HEAD "))?, *then)?;
                }
                Outcome::Refused { status, .. } if case.asks_by_head() => {
                    head_of_problem(&talk.answer(true)?, *status)?;
                }
                Outcome::Refused { status, .. } => detail = problem(&talk.answer(false)?, *status, &[])?,
                Outcome::Broken { status, .. } => detail = problem(&talk.answer(false)?, *status, &STAMP)?,
            }
        }
        let last = case.outcomes.last();
        match last {
            Some(Outcome::Passed {
                then: Then::Open | Then::Kept,
                ..
            }) => {
                talk.send(PROBE)
                    .map_err(|e| format!("the connection takes no probe: {e}"))?;
                patterns.push(PROBE_PATTERN);
                let answer = talk.answer(false);
                let right = answer.and_then(|answer| passed(&answer, Then::Open));
                right.map_err(|e| format!("probe: {e}"))?;
            }
            _ => talk.ended()?,
        }
        self.check_counts(case, patterns.len() as u64)?;
        self.check_messages(&patterns, matches!(last, Some(Outcome::Broken { .. })))?;
        Ok(detail)
    }

    /// What has reached the backend is what the patterns say, and nothing else but for a request that broke off.
    fn check_messages(&self, patterns: &[&[u8]], broken: bool) -> Result<(), String> {
        let settled = || {
            let messages = self.recorder.messages();
            messages
                .iter()
                .all(|message| message.whole || message.cut)
                .then_some(messages)
        };
        let mut messages = until(settled).ok_or_else(|| {
            let messages = self.recorder.messages();
            format!(
                "a request is neither whole nor broken off at the backend: {}",
                show(&messages)
            )
        })?;
        if broken {
            messages.retain(|message| message.whole);
        }
        if messages.len() != patterns.len() {
            return Err(format!(
                "{} requests at the backend, not {}: {}",
                messages.len(),
                patterns.len(),
                show(&messages)
            ));
        }
        for (message, pattern) in messages.iter().zip(patterns) {
            if !message.whole || message.flawed {
                return Err(format!("not whole, or oddly chunked: {}", show(&messages)));
            }
            if !matches_pattern(&written_out(pattern, self.recorder.address()), &message.joined) {
                let (expected, got) = (escape(pattern, 2000), escape(&message.joined, 2000));
                return Err(format!("the backend saw\n    {got}\n  not\n    {expected}"));
            }
        }
        Ok(())
    }

    /// The counters have moved by what the outcomes say, and by nothing else.
    fn check_counts(&self, case: &Case, passed: u64) -> Result<(), String> {
        let (reason, broken) = match case.outcomes.last() {
            Some(Outcome::Refused { status, .. }) => (reject_reason(*status), false),
            Some(Outcome::Broken { status, .. }) => (reject_reason(*status), true),
            Some(Outcome::Passed { .. }) | None => (None, false),
        };
        let moved = || Counts::of(self.serin).since(&self.before);
        let right = |moved: &Counts| {
            // A body may be seen to be broken before a backend is chosen.
            let no_evidence = if broken {
                moved.no_evidence <= 1
            } else {
                moved.no_evidence == 0
            };
            let rejected = match reason {
                Some(reason) => moved.rejected == [(reason.to_owned(), 1)],
                None => moved.rejected.is_empty(),
            };
            (moved.success, moved.failure) == (passed, 0) && no_evidence && rejected
        };
        until(|| right(&moved()).then_some(()))
            .ok_or_else(|| format!("recorded {:?}, not {passed} successes and {reason:?}", moved()))
    }
}

fn show(messages: &[Message]) -> String {
    let one = |message: &Message| format!("\n    {}", escape(&message.raw, 400));
    messages.iter().map(one).collect()
}

/// What `look` finds, or `None` when that is nothing for [`PATIENCE`].
fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)), // between two looks
            found => return found,
        }
    }
}
