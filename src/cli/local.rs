//! Commands that need no running Serin.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::{Args, Console, Exit};
use crate::config::Spec;
use crate::control::Entry;

/// `serin check FILE...`: `load` reads and checks one file. Every file is looked at.
pub fn check(files: &[PathBuf], load: impl Fn(&Path) -> Result<Spec, Vec<Entry>>, console: &mut Console<'_>) -> Exit {
    let mut exit = Exit::Done;
    for file in files {
        match load(file) {
            Ok(spec) => console.say(&format!("{}: ok ({})", file.display(), inventory(&spec))),
            Err(problems) => {
                exit = Exit::ConfigInvalid;
                console.say(&report(file, &problems));
            }
        }
    }
    exit
}

/// `serin completions SHELL`
pub fn completions(shell: clap_complete::Shell, console: &mut Console<'_>) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "serin", &mut script);
    console.say(String::from_utf8_lossy(&script).trim_end());
    Exit::Done
}

fn inventory(spec: &Spec) -> String {
    [
        count(spec.listeners.len(), "listener"),
        count(spec.backends.len(), "backend"),
        count(spec.routes.len(), "route"),
        count(spec.rollouts.len(), "rollout"),
    ]
    .join(", ")
}

fn report(file: &Path, problems: &[Entry]) -> String {
    let mut text = format!("{}: {}", file.display(), count(problems.len(), "problem"));
    for Entry { place, path, message } in problems {
        text.push_str("\n  ");
        for (part, end) in [(place, " "), (path, ": ")] {
            if !part.is_empty() {
                text.push_str(part);
                text.push_str(end);
            }
        }
        text.push_str(message);
    }
    text
}

fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{check, completions};
    use crate::cli::{Console, Exit};
    use crate::config::{Log, Spec};
    use crate::control::Entry;
    use crate::route::AccessLog;

    fn load(file: &Path) -> Result<Spec, Vec<Entry>> {
        let entry = |place: &str, path: &str, message: &str| Entry {
            place: place.into(),
            path: path.into(),
            message: message.into(),
        };
        match file.to_str() {
            Some("good.yaml") => Ok(Spec {
                environment: None,
                listeners: Vec::new(),
                trusted_proxies: Vec::new(),
                admin: ([127, 0, 0, 1], 9901).into(),
                log: Log {
                    level: "info".into(),
                    json: true,
                    access: AccessLog::Errors,
                },
                state_directory: "state".into(),
                backends: Vec::new(),
                routes: Vec::new(),
                rollouts: Vec::new(),
            }),
            Some("bad.yaml") => Err(vec![
                entry("bad.yaml:1:1", "version", "is missing"),
                entry("bad.yaml:9:3", "routes", "is empty"),
            ]),
            _ => Err(vec![entry("", "", "no such file")]),
        }
    }

    fn said(files: &[&str], exit: Exit, expected: &str) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let console = &mut Console {
            out: &mut out,
            err: &mut err,
        };
        assert_eq!(check(&files, load, console), exit);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(err.is_empty());
    }

    #[test]
    fn every_problem_of_every_file_is_listed() {
        let good = "good.yaml: ok (0 listeners, 0 backends, 0 routes, 0 rollouts)\n";
        let bad = "bad.yaml: 2 problems\n  bad.yaml:1:1 version: is missing\n  bad.yaml:9:3 routes: is empty\n";
        said(&["good.yaml"], Exit::Done, good);
        said(&["bad.yaml", "good.yaml"], Exit::ConfigInvalid, &format!("{bad}{good}"));
        said(
            &["good.yaml", "nope"],
            Exit::ConfigInvalid,
            &format!("{good}nope: 1 problem\n  no such file\n"),
        );
    }

    #[test]
    fn shells_can_complete_all_commands() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let console = &mut Console {
            out: &mut out,
            err: &mut err,
        };
        assert_eq!(completions(clap_complete::Shell::Bash, console), Exit::Done);
        let script = String::from_utf8(out).unwrap();
        for word in ["rollout", "--drain-timeout", "history", "--if-match"] {
            assert!(script.contains(word), "{word}");
        }
    }
}
