//! Logs as files: what is told, how the command ends.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::rehearse;
use crate::cli::{Console, Exit, Output, RehearseArgs};
use crate::measure::Outcome;
use crate::outcome::{HEADER, Record, Vote};

const CONFIG: &str = "
version: 1
listeners: [{ name: public, address: '127.0.0.1:1' }]
backends: [{ name: v1, endpoints: ['127.0.0.1:2'] }, { name: v2, endpoints: ['127.0.0.1:3'] }]
routes:
- name: shop
  split: { variants: [{ name: stable, backend: v1, weight: 100 }, { name: canary, backend: v2, weight: 0 }] }
rollouts:
- { name: shop, route: shop, from: stable, to: canary, steps: [{ setWeight: 50%, bakeTime: 5s }, { setWeight: 100% }] }
";

/// A directory with a configuration and a log.
struct Desk {
    dir: tempfile::TempDir,
}

struct Ended {
    exit: Exit,
    out: String,
    err: String,
}

impl Desk {
    fn new(log: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("serin.yaml"), CONFIG).unwrap();
        std::fs::write(dir.path().join("log"), log).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, rollout: Option<&str>, output: Output) -> Ended {
        self.run_with(&self.path("serin.yaml"), &self.path("log"), rollout, output)
    }

    fn run_with(&self, config: &Path, log: &Path, rollout: Option<&str>, output: Output) -> Ended {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = RehearseArgs {
            config: config.to_owned(),
            outcomes: vec![log.to_owned()],
            rollout: rollout.map(str::to_owned),
            output,
        };
        let console = &mut Console {
            out: &mut out,
            err: &mut err,
        };
        let exit = rehearse(&args, console);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended {
            exit,
            out: text(out),
            err: text(err),
        }
    }
}

/// Twenty seconds of a hundred requests a second to each side, and every canary answer is an error.
fn log() -> Vec<u8> {
    let mut log = format!("{HEADER}\n").into_bytes();
    for number in 0..4000u64 {
        let is_canary = number % 2 == 1;
        let record = Record {
            at_ms: 1_795_262_400_000 + number * 5,
            route: "shop",
            variant: if is_canary { "canary" } else { "stable" },
            share_ppm: 500_000,
            vote: Vote::Full,
            key: None,
            outcome: if is_canary { Outcome::Failure } else { Outcome::Success },
            status: if is_canary { 500 } else { 200 },
            latency_us: Some(900),
            duration_us: 1000,
            waited_us: 0,
            worker: 0,
        };
        record.write(&mut log);
    }
    log
}

#[test]
fn a_log_is_told_to_people() {
    let ended = Desk::new(&log()).run(None, Output::Text);
    assert_eq!((ended.exit, ended.err.as_str()), (Exit::Done, ""));
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(lines[0].starts_with("2026-11-21T12:00:00.0"), "{}", ended.out);
    assert!(lines[0].contains("  shop    50 %  begins "), "{}", ended.out);
    assert!(ended.out.contains("  fail          canary errorRate "), "{}", ended.out);
    assert!(ended.out.contains("  aborts "), "{}", ended.out);
    assert!(
        ended.out.contains("4001 lines, 4000 requests of 19.9 s, replayed in "),
        "{}",
        ended.out
    );
    assert!(
        !ended.out.contains("make no sense") && !ended.out.contains("lost"),
        "{}",
        ended.out
    );
}

#[test]
fn a_log_is_told_to_programs_one_object_a_line() {
    let ended = Desk::new(&log()).run(Some("shop"), Output::Json);
    assert_eq!(ended.exit, Exit::Done);
    let lines: Vec<Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(
        events,
        ["begins", "verdict", "verdict", "aborts", "summary"],
        "{}",
        ended.out
    );
    assert_eq!(
        (&lines[2]["verdict"], &lines[2]["share"]),
        (&"fail".into(), &0.5.into())
    );
    let summary = &lines[4];
    assert_eq!(
        (&summary["requests"], &summary["garbledLines"]),
        (&4000.into(), &0.into())
    );
    assert_eq!(summary["rollouts"][0]["aborts"], 1);
    assert_eq!(summary["began"], "2026-11-21T12:00:00.000Z");
}

#[test]
fn what_makes_no_sense_is_counted_and_passed_over() {
    let mut log = log();
    let torn = log.iter().rposition(|&byte| byte == b'\t').unwrap();
    log.truncate(torn + 1);
    let whole = format!("{HEADER}\n").len();
    let mut garbled = log[..whole].to_vec();
    garbled.extend_from_slice(b"nonsense\n#lost 7\n\xff\xfe\n");
    garbled.extend(std::iter::repeat_n(b'x', 100_000));
    garbled.push(b'\n');
    garbled.extend_from_slice(b"1795262400000\tcart\tcanary\t1\tv\t-\ts\t200\t1\t1\t0\t0\n");
    garbled.extend_from_slice(&log[whole..]);
    let ended = Desk::new(&garbled).run(None, Output::Json);
    assert_eq!(ended.exit, Exit::Done);
    let summary: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    assert_eq!(summary["requests"], 3999);
    assert_eq!(
        (&summary["garbledLines"], &summary["lostLines"]),
        (&4.into(), &7.into())
    );
    assert_eq!(summary["requestsElsewhere"], 1);
    let told = Desk::new(&garbled).run(None, Output::Text).out;
    assert!(
        told.contains("\n4 lines that make no sense") && told.contains("\n7 lines were lost"),
        "{told}"
    );
}

#[test]
fn exit_codes_tell_a_bad_configuration_from_a_bad_log() {
    let desk = Desk::new(&log());
    let (config, log) = (desk.path("serin.yaml"), desk.path("log"));
    let check = |config: &Path, log: &Path, rollout, exit, part: &str| {
        let ended = desk.run_with(config, log, rollout, Output::Text);
        assert_eq!(ended.exit, exit, "{}", ended.err);
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    };
    check(&config, &log, None, Exit::Done, "");
    check(&desk.path("nope"), &log, None, Exit::ConfigInvalid, "cannot be read");
    check(&log, &log, None, Exit::ConfigInvalid, "problem");
    check(&config, &desk.path("nope"), None, Exit::Failed, "nope: cannot be read");
    check(&config, &config, None, Exit::Failed, "serin.yaml: is no outcome log");
    check(&config, &log, Some("cart"), Exit::Failed, "has no rollout \"cart\"");
    let newer = desk.path("newer");
    std::fs::write(&newer, "#serin-outcomes 2\n").unwrap();
    check(&config, &newer, None, Exit::Failed, "version 2");
    let guardless = desk.path("guardless.yaml");
    std::fs::write(&guardless, CONFIG.split("rollouts:").next().unwrap()).unwrap();
    check(&guardless, &log, None, Exit::Failed, "has no rollouts");
}

#[test]
fn an_empty_log_is_read() {
    let ended = Desk::new(b"#serin-outcomes 1\n").run(None, Output::Text);
    assert_eq!(ended.exit, Exit::Done);
    assert!(ended.out.contains("1 line, 0 requests, replayed in"), "{}", ended.out);
    assert!(ended.out.contains("none: no weight"), "{}", ended.out);
    assert_eq!(Desk::new(b"").run(None, Output::Text).exit, Exit::Done);
}
