//! Commands that need no running Serin.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::{Args, Console, Exit};
use crate::config::{self, Spec};
use crate::{control, import};

/// `serin check FILE...`: every problem of every file. `${VAR}` comes from this process's environment.
pub fn check(files: &[PathBuf], console: &mut Console<'_>) -> Exit {
    let mut exit = Exit::Done;
    for file in files {
        match load(file) {
            Ok(spec) => console.say(&format!("{}: ok ({})", file.display(), inventory(&spec))),
            Err(report) => {
                exit = Exit::ConfigInvalid;
                console.say(&format!("{}: {report}", file.display()));
            }
        }
    }
    exit
}

/// `serin check --from flagd FILE`: its flags as a section of a configuration, and what could not be converted.
pub fn convert(files: &[PathBuf], console: &mut Console<'_>) -> Exit {
    let [file] = files else {
        console.complain("--from takes one file at a time");
        return Exit::Usage;
    };
    let converted = read_bounded(file)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|text| import::from_flagd(&text).map_err(|bad| bad.to_string()));
    let converted = match converted {
        Ok(converted) => converted,
        Err(why) => {
            console.complain(&format!("{}: {why}", file.display()));
            return Exit::ConfigInvalid;
        }
    };
    let name = file.display().to_string();
    let all = count(converted.of, "flag");
    let flags = match converted.count {
        some if some < converted.of => format!("{some} of {all}"),
        _ => all,
    };
    console.say(&format!("# From flagd: {}, {flags}.", name.escape_debug()));
    console.say(converted.flags.trim_end());
    for gap in &converted.gaps {
        console.complain(&gap.to_string());
    }
    if converted.gaps.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// The file, or as much of it as shows that it is too long.
fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let bound = import::FILE_BYTES_MAX as u64 + 1;
    File::open(file)?.take(bound).read_to_end(&mut text)?;
    Ok(text)
}

/// `serin schema`
pub fn schema(console: &mut Console<'_>) -> Exit {
    console.say(&format!("{:#}", config::schema()));
    Exit::Done
}

/// `serin completions SHELL`
pub fn completions(shell: clap_complete::Shell, console: &mut Console<'_>) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "serin", &mut script);
    console.say(String::from_utf8_lossy(&script).trim_end());
    Exit::Done
}

/// Reads the file, and the tokens file that it names.
pub(super) fn load(file: &Path) -> Result<Spec, String> {
    let problems = match control::read_config(file) {
        Ok(loaded) => return Ok(loaded.spec),
        Err(problems) => problems,
    };
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(format!("{}\n  {}", count(lines.len(), "problem"), lines.join("\n  ")))
}

fn inventory(spec: &Spec) -> String {
    let mut parts = vec![
        count(spec.listeners.len(), "listener"),
        count(spec.backends.len(), "backend"),
        count(spec.routes.len(), "route"),
        count(spec.rollouts.len(), "rollout"),
    ];
    let of_routes = spec.routes.iter().filter(|route| route.rules.listed).count();
    match of_routes + spec.flags.len() {
        0 => {}
        flags => parts.push(count(flags, "flag")),
    }
    parts.join(", ")
}

/// `1 problem`, `2 problems`.
pub(super) fn count<N: Display + PartialEq + From<u8>>(n: N, what: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::{check, completions, convert, schema};
    use crate::cli::{Console, Exit};

    const GOOD: &str = "
version: 1
listeners: [{ name: public, address: 127.0.0.1:0 }]
backends:
- { name: a, endpoints: ['127.0.0.1:1'] }
- { name: b, endpoints: ['127.0.0.1:2'] }
routes: [{ name: all, split: { variants: [{ name: stable, backend: a, weight: 1 }] } }]
";

    fn said(command: impl FnOnce(&mut Console<'_>) -> Exit) -> (Exit, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = command(&mut Console {
            out: &mut out,
            err: &mut err,
        });
        assert!(err.is_empty());
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_file_is_looked_at_and_every_problem_listed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("good.yaml"), GOOD).unwrap();
        let bad = GOOD
            .replace("version: 1", "version: 1\nlistners: []")
            .replace("weight: 1", "weight: 0");
        std::fs::write(path("bad.yaml"), bad).unwrap();

        let (exit, text) = said(|console| check(&[path("good.yaml")], console));
        let good = format!(
            "{}: ok (1 listener, 2 backends, 1 route, 0 rollouts)",
            path("good.yaml").display()
        );
        assert_eq!((exit, text.trim_end()), (Exit::Done, good.as_str()));

        let files = [path("bad.yaml"), path("good.yaml"), path("nope.yaml")];
        let (exit, text) = said(|console| check(&files, console));
        assert_eq!(exit, Exit::ConfigInvalid);
        let lines: Vec<&str> = text.lines().collect();
        let bad = path("bad.yaml").display().to_string();
        assert_eq!(lines[0], format!("{bad}: 2 problems"));
        assert!(lines[1].starts_with(&format!("  {bad}:3:1 listners: ")), "{text}");
        assert!(lines[2].starts_with(&format!("  {bad}:8:")), "{text}");
        assert_eq!(lines[3], good);
        assert!(lines[4].ends_with("nope.yaml: 1 problem"), "{text}");
        assert!(lines[5].contains("nope.yaml cannot be read: "), "{text}");
        assert_eq!(lines.len(), 6, "{text}");
    }

    #[test]
    fn a_tokens_file_is_called_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.yaml");
        std::fs::write(&path, "tokens: []\n").unwrap();
        let (exit, text) = said(|console| check(std::slice::from_ref(&path), console));
        assert_eq!(exit, Exit::ConfigInvalid);
        assert!(
            text.contains("1 problem\n") && text.contains("this is a tokens file"),
            "{text}"
        );
    }

    #[test]
    fn flags_of_flagd_are_converted_and_what_is_lost_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flags.json");
        let flag = |targeting: &str| {
            format!(
                r#"{{"state": "ENABLED", "variants": {{"a": 1, "b": 2}}, "defaultVariant": "a", "targeting": {targeting}}}"#
            )
        };
        let ended = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let exit = convert(
                std::slice::from_ref(&path),
                &mut Console {
                    out: &mut out,
                    err: &mut err,
                },
            );
            (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        };
        let (exit, out, err) = ended(&format!(r#"{{"flags": {{"x": {}}}}}"#, flag("{}")));
        assert_eq!((exit, err.as_str()), (Exit::Done, ""));
        let first = format!("# From flagd: {}, 1 flag.\nflags:\n- name: x\n", path.display());
        assert!(out.starts_with(&first), "{out}");

        let both = format!(
            r#"{{"flags": {{"x": {}, "y": {}}}}}"#,
            flag("{}"),
            flag(r#"{"max": [1, 2]}"#)
        );
        let (exit, out, err) = ended(&both);
        assert_eq!(exit, Exit::Failed);
        let first = format!("# From flagd: {}, 1 of 2 flags.\n", path.display());
        assert!(out.starts_with(&first), "{out}");
        assert!(out.contains("- name: x\n") && out.contains("# y: left out"), "{out}");
        assert!(
            err.starts_with("y: targeting: the variant is what `max` computes; "),
            "{err}"
        );

        let (exit, out, err) = ended("{");
        assert_eq!((exit, out.as_str()), (Exit::ConfigInvalid, ""));
        assert!(err.contains("flags.json: is not JSON as flagd reads it: ") && err.contains("line 1 column 1"));
        let two = [path.clone(), path.clone()];
        let mut err = Vec::new();
        let exit = convert(
            &two,
            &mut Console {
                out: &mut Vec::new(),
                err: &mut err,
            },
        );
        assert_eq!((exit, err.is_empty()), (Exit::Usage, false));
    }

    #[test]
    fn the_schema_is_json() {
        let (exit, text) = said(schema);
        assert_eq!(exit, Exit::Done);
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(schema["$schema"].is_string() && schema["title"].is_string());
    }

    #[test]
    fn shells_can_complete_all_commands() {
        let (exit, script) = said(|console| completions(clap_complete::Shell::Bash, console));
        assert_eq!(exit, Exit::Done);
        for word in ["rollout", "--drain-timeout", "history", "--if-match"] {
            assert!(script.contains(word), "{word}");
        }
    }
}
