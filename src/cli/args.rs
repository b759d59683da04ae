//! The command line: what may be written, as types.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::demo;

/// A progressive-delivery traffic proxy that takes weight back from a bad canary by itself
#[derive(Debug, Parser)]
#[command(name = "serin", version, propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve
    Run(RunArgs),
    /// Watch a canary turn bad and lose its weight; needs no other program
    Demo(DemoArgs),
    /// Check configuration files, and list everything that is wrong with them
    Check {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Convert the flags of another system instead: what can be converted goes to standard output as a section
        /// of a configuration, the rest is listed on standard error, and then the exit code is 1
        #[arg(long, value_enum, value_name = "SYSTEM")]
        from: Option<FlagSystem>,
    },
    /// Replay a log of outcomes: when would each rollout have held, aborted or passed?
    Rehearse(RehearseArgs),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Show a running Serin: listeners, routes, rollouts, the last reading of its file
    Status(ClientArgs),
    /// Set the weights of a route by hand
    Weights(WeightsArgs),
    /// Look at rollouts, and direct them
    Rollout(RolloutArgs),
    /// Look at flags, and switch them
    Flag(FlagArgs),
    /// Nothing moves forward from now on; aborts still work
    Freeze(FreezeArgs),
    /// Rollouts may move forward again
    Unfreeze(FreezeArgs),
    /// Read the audit log, and verify it; needs no running Serin
    Audit(AuditArgs),
    /// Deployment frequency, lead time, change failure rate, time to restore: from the audit log
    Report(ReportArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Whose flags can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlagSystem {
    /// flagd's JSON file.
    Flagd,
}

/// `serin run`
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// How long open requests may take once the process is asked to end
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Take over from the serin that runs on the same state directory, and lose no request
    #[arg(long)]
    pub upgrade: bool,
}

/// `serin rehearse`
#[derive(Debug, clap::Args)]
pub struct RehearseArgs {
    /// The configuration file whose rollouts are rehearsed
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Logs that a proxy has written (outcomeLog), the oldest first
    #[arg(long, value_name = "LOG", required = true, num_args = 1..)]
    pub outcomes: Vec<PathBuf>,
    /// This rollout only [default: all of the file]
    #[arg(long, value_name = "NAME")]
    pub rollout: Option<String>,
    /// For people, or for programs (one JSON object a line, the last one is the summary)
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Output,
}

/// `serin demo`
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// What the canary does once the first step bakes
    #[arg(long, value_enum, default_value = "errors")]
    pub scenario: demo::Scenario,
    /// Stay up after the summary, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
    /// Requests per second
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = rate())]
    pub rate: u32,
}

/// How to reach a running Serin, and how to show what it says.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// Its admin address
    #[arg(long, value_name = "URL", env = "SERIN_ADMIN", default_value = DEFAULT_ADMIN, global = true)]
    pub admin: String,
    /// Sent as a bearer token
    #[arg(long, env = "SERIN_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// Over https: who may vouch for it, PEM (left out: whom the system trusts)
    #[arg(long, value_name = "FILE", env = "SERIN_CA", global = true)]
    pub ca: Option<PathBuf>,
    /// Over https: the certificate that we show, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SERIN_CERTIFICATE",
        requires = "certificate_key",
        global = true
    )]
    pub certificate: Option<PathBuf>,
    /// Over https: the key of that certificate, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SERIN_CERTIFICATE_KEY",
        requires = "certificate",
        global = true
    )]
    pub certificate_key: Option<PathBuf>,
    /// For people or for programs (the API's own JSON)
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, global = true)]
    pub output: Output,
}

/// Where the admin API is by default.
pub const DEFAULT_ADMIN: &str = "http://127.0.0.1:9901";

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// The API's JSON as it is.
    Json,
}

/// `serin weights`
#[derive(Debug, clap::Args)]
pub struct WeightsArgs {
    /// The route
    pub route: String,
    /// Every variant of the split with its weight, such as stable=90 canary=10
    #[arg(value_name = "VARIANT=WEIGHT", required = true, value_parser = weight)]
    pub weights: Vec<(String, u64)>,
    /// Why; it stands in the audit log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Only if this is still the generation
    #[arg(long, value_name = "GENERATION")]
    pub if_match: Option<u64>,
    /// Check and show, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach Serin.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `serin freeze`, `serin unfreeze`
#[derive(Debug, clap::Args)]
pub struct FreezeArgs {
    /// Why; it stands in the audit log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// How to reach Serin.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `serin report`
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = past)]
    pub since: Duration,
    /// This route only [default: each, and all together]
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Where the audit log is.
    #[command(flatten)]
    pub place: AuditPlace,
}

/// `serin rollout`
#[derive(Debug, clap::Args)]
pub struct RolloutArgs {
    /// How to reach Serin.
    #[command(flatten)]
    pub client: ClientArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: RolloutAction,
}

/// What to do with rollouts.
#[derive(Debug, Subcommand)]
pub enum RolloutAction {
    /// Show all rollouts
    List,
    /// Show one rollout: where it stands, its figures and its steps
    Get {
        /// The rollout
        name: String,
        /// Show it again whenever it changes, until Ctrl-C
        #[arg(short, long)]
        watch: bool,
    },
    /// Begin the plan at its first step
    Start {
        /// The variant that serves now [default: as the file and the last promotion have it]
        #[arg(long, value_name = "VARIANT", requires = "to")]
        from: Option<String>,
        /// The variant that is to serve
        #[arg(long, value_name = "VARIANT", requires = "from")]
        to: Option<String>,
        /// When the newest commit of the release was made, as `git log -1 --format=%cI` prints it
        #[arg(long, value_name = "TIME", value_parser = instant)]
        commit_time: Option<String>,
        /// Which, and why.
        #[command(flatten)]
        command: CommandArgs,
    },
    /// Go on to the next step without waiting
    Promote {
        /// Straight to 100 %
        #[arg(long)]
        full: bool,
        /// Which, and why.
        #[command(flatten)]
        command: CommandArgs,
    },
    /// The canary gets nothing, at once
    Abort(CommandArgs),
    /// Stay at the present step
    Pause(CommandArgs),
    /// Go on after a pause
    Resume(CommandArgs),
    /// Begin anew after an abort
    Retry(CommandArgs),
    /// Undo a promotion: the former version again, at once
    Rollback(CommandArgs),
    /// Give your word at the gate where it waits
    Approve {
        /// Only if this is still the generation
        #[arg(long, value_name = "GENERATION")]
        if_match: Option<u64>,
        /// Which, and why.
        #[command(flatten)]
        command: CommandArgs,
    },
    /// Wait for the end: 0 succeeded, 5 aborted, 6 timed out, 7 not running
    Wait {
        /// The rollout
        name: String,
        /// Wait until this release is on trial, too; without it a rollout that has not begun ends the waiting (7)
        #[arg(long, value_name = "RELEASE")]
        release: Option<String>,
        /// How long at most [default: for ever]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Show what happened to a rollout, oldest first
    History {
        /// The rollout
        name: String,
    },
}

/// A command to a rollout.
#[derive(Debug, clap::Args)]
pub struct CommandArgs {
    /// The rollout
    pub name: String,
    /// Why; it stands in the audit log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
}

/// `serin flag`
#[derive(Debug, clap::Args)]
pub struct FlagArgs {
    /// How to reach Serin.
    #[command(flatten)]
    pub client: ClientArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: FlagAction,
}

/// What to do with flags.
#[derive(Debug, Subcommand)]
pub enum FlagAction {
    /// Show all flags, those of routes included
    List,
    /// Show one flag: whether it is on, its variants, what they mean and their weights
    Get {
        /// How applications call it
        key: String,
    },
    /// Set the weights of a flag by hand; those of a route's flag are the route's
    Set {
        /// How applications call it
        key: String,
        /// Every variant of the flag with its weight, such as off=90 on=10
        #[arg(value_name = "VARIANT=WEIGHT", required = true, value_parser = weight)]
        weights: Vec<(String, u64)>,
        /// Why, and on what condition.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Switch a flag on
    Enable {
        /// How applications call it
        key: String,
        /// Why, and on what condition.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Switch a flag off, at once: everybody gets the default variant
    Disable {
        /// How applications call it
        key: String,
        /// Why, and on what condition.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// What would somebody get, and why?
    Evaluate(EvaluateArgs),
}

/// How a change is asked for.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    /// Why; it stands in the audit log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Only if this is still the generation
    #[arg(long, value_name = "GENERATION")]
    pub if_match: Option<u64>,
    /// Check and show, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `serin flag evaluate`
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// The flag; how applications call it
    pub flag: String,
    /// Who: the targeting key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A header of their request
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = named)]
    pub headers: Vec<(String, String)>,
    /// A cookie of their request
    #[arg(long = "cookie", value_name = "NAME=VALUE", value_parser = named)]
    pub cookies: Vec<(String, String)>,
    /// A parameter of their request's query
    #[arg(long = "query", value_name = "NAME=VALUE", value_parser = named)]
    pub query: Vec<(String, String)>,
    /// A claim of their verified token
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = named)]
    pub claims: Vec<(String, String)>,
    /// An attribute that the application gives
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = named)]
    pub attributes: Vec<(String, String)>,
    /// The address that they come from
    #[arg(long, value_name = "ADDRESS")]
    pub client_ip: Option<std::net::IpAddr>,
    /// Who their client certificate says they are
    #[arg(long, value_name = "NAME")]
    pub client_certificate: Option<String>,
    /// The host that they ask for
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

/// `serin audit`
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: AuditAction,
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditAction {
    /// Show records, the oldest of them first
    List(AuditListArgs),
    /// Find what was changed, removed, added or reordered: 0 nothing, 1 something
    Verify(AuditPlace),
}

/// Where the audit log is, and how to show what it says.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditPlace {
    /// The configuration file, which names the state directory
    #[arg(short, long, value_name = "FILE", default_value = "serin.yaml")]
    pub config: PathBuf,
    /// The state directory itself, or a copy of it
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
    pub state: Option<PathBuf>,
    /// For people, or for programs (JSON, one object a line)
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Output,
}

/// `serin audit list`
#[derive(Debug, clap::Args)]
pub struct AuditListArgs {
    /// Where it is.
    #[command(flatten)]
    pub place: AuditPlace,
    /// So many records, the newest
    #[arg(long, value_name = "N", default_value = "100", value_parser = limit)]
    pub limit: usize,
    /// Of this rollout only
    #[arg(long, value_name = "NAME")]
    pub rollout: Option<String>,
    /// Of this route only
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// By this person, file or program only
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Of this kind only
    #[arg(long, value_name = "KIND", value_parser = crate::audit::KINDS)]
    pub kind: Option<String>,
    /// Not before, such as 2026-11-21T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = crate::audit::Filter::time)]
    pub since: Option<u64>,
    /// Before
    #[arg(long, value_name = "TIME", value_parser = crate::audit::Filter::time)]
    pub until: Option<u64>,
}

fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|limit| (1..=100_000).contains(limit));
    number.ok_or_else(|| "write a whole number from 1 to 100000".to_owned())
}

fn rate() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*demo::RATES.start())..=i64::from(*demo::RATES.end()))
}

/// An instant of RFC 3339, handed on as written.
fn instant(text: &str) -> Result<String, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("write an instant with its zone, such as 2026-11-20T10:00:00Z".to_owned()),
    }
}

/// A length of time that is not nothing.
fn past(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("is no time at all; write 30d".to_owned()),
        past => Ok(past),
    }
}

/// Whole numbers with their units, the largest first: `250ms`, `30s`, `1m30s`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let wrong = || "write a duration with its unit, such as 250ms, 30s or 1m30s".to_owned();
    let (mut rest, mut sum_ms, mut smallest_ms) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*unit_ms));
        sum_ms = part.and_then(|part| sum_ms.checked_add(part)).ok_or_else(wrong)?;
        if *unit_ms >= smallest_ms {
            return Err(wrong());
        }
        (smallest_ms, rest) = (*unit_ms, tail);
    }
    if text.is_empty() || sum_ms > 365 * 86_400_000 {
        return Err(wrong());
    }
    Ok(Duration::from_millis(sum_ms))
}

fn named(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("write NAME=VALUE, such as x-plan=gold")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn weight(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("write VARIANT=WEIGHT, such as canary=10")?;
    let number = number
        .parse()
        .map_err(|_| format!("{number:?} is no weight: use a whole number from 0 to 1000000"))?;
    Ok((name.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser};

    use super::{Args, AuditAction, Command, DEFAULT_ADMIN, FlagSystem, Output, RolloutAction, duration, weight};

    fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
        let words = std::iter::once("serin").chain(line.split_whitespace());
        Args::try_parse_from(words)
            .map(|args| args.command)
            .map_err(|error| error.kind())
    }

    fn refused(line: &str) {
        assert!(parse(line).is_err(), "{line}");
    }

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_run_needs_its_file_and_has_defaults() {
        let Ok(Command::Run(run)) = parse("run -c serin.yaml") else {
            panic!()
        };
        assert_eq!(run.config.to_str(), Some("serin.yaml"));
        assert_eq!((run.workers, run.drain_timeout), (None, Duration::from_secs(30)));
        let Ok(Command::Run(run)) = parse("run --config f --workers 2 --drain-timeout 1m30s") else {
            panic!()
        };
        assert_eq!((run.workers, run.drain_timeout), (Some(2), Duration::from_secs(90)));
        refused("run");
        refused("run -c f --workers 0");
        refused("run -c f --drain-timeout 30");
        refused("");
        refused("walk");
    }

    #[test]
    fn client_commands_know_where_serin_is() {
        // The environment of a developer may have these.
        if std::env::var_os("SERIN_ADMIN").is_none() && std::env::var_os("SERIN_TOKEN").is_none() {
            let Ok(Command::Status(client)) = parse("status") else {
                panic!()
            };
            assert_eq!((client.admin.as_str(), client.token.as_deref()), (DEFAULT_ADMIN, None));
        }
        for line in [
            "rollout list --admin http://[::1]:1 --token t --output json",
            "rollout --admin http://[::1]:1 --token t --output json list",
        ] {
            let Ok(Command::Rollout(rollout)) = parse(line) else {
                panic!("{line}")
            };
            let client = rollout.client;
            assert_eq!((client.admin.as_str(), client.output), ("http://[::1]:1", Output::Json));
            assert_eq!(client.token.as_deref(), Some("t"));
        }
        refused("status --output yaml");
        refused("run -c f --admin http://127.0.0.1:1");
    }

    #[test]
    fn weights_name_variants_and_whole_numbers() {
        let line = "weights checkout stable=90 canary=10 --reason calm --if-match 42 --dry-run";
        let Ok(Command::Weights(weights)) = parse(line) else {
            panic!()
        };
        assert_eq!(weights.route, "checkout");
        assert_eq!(weights.weights, [("stable".to_owned(), 90), ("canary".to_owned(), 10)]);
        assert_eq!((weights.if_match, weights.dry_run), (Some(42), true));
        refused("weights checkout --reason calm");
        for text in ["stable", "=1", "a=", "a=-1", "a=1.5", "a=x"] {
            assert!(weight(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rollouts_take_the_verbs_of_the_api() {
        for verb in [
            "get", "start", "promote", "abort", "pause", "resume", "retry", "rollback", "approve", "wait", "history",
        ] {
            assert!(parse(&format!("rollout {verb} checkout")).is_ok(), "{verb}");
            refused(&format!("rollout {verb}"));
        }
        let Ok(Command::Rollout(rollout)) = parse("rollout promote checkout --full --reason sure") else {
            panic!()
        };
        let RolloutAction::Promote { full: true, command } = rollout.action else {
            panic!()
        };
        assert_eq!((command.name.as_str(), command.reason.as_str()), ("checkout", "sure"));
        refused("rollout start checkout --full");
        refused("rollout start checkout --from green");
        refused("rollout start checkout --commit-time yesterday");
        let line = "rollout start checkout --from green --to blue --commit-time 2026-11-20T10:00:00+01:00";
        assert!(parse(line).is_ok());
        assert!(parse("rollout approve checkout --reason well --if-match 42").is_ok());
        assert!(parse("rollout wait checkout --release v1.5.0 --timeout 30m").is_ok());
        assert!(parse("rollout get checkout --watch").is_ok());
        assert!(parse("freeze --reason sale").is_ok() && parse("unfreeze").is_ok());
    }

    #[test]
    fn the_rest_of_the_contract_is_there() {
        assert!(matches!(parse("check a.yaml b.yaml"), Ok(Command::Check { files, from: None }) if files.len() == 2));
        assert!(matches!(
            parse("check --from flagd flags.json"),
            Ok(Command::Check {
                from: Some(FlagSystem::Flagd),
                ..
            })
        ));
        assert!(parse("check --from nobody flags.json").is_err());
        assert!(matches!(parse("schema"), Ok(Command::Schema)));
        let Ok(Command::Rehearse(args)) = parse("rehearse -c f --outcomes a b --outcomes c --rollout shop") else {
            panic!()
        };
        assert_eq!((args.outcomes.len(), args.output), (3, Output::Text));
        let Ok(Command::Report(args)) = parse("report -c f --route shop") else {
            panic!()
        };
        assert_eq!(
            (args.since, args.route.as_deref()),
            (Duration::from_secs(30 * 86_400), Some("shop"))
        );
        refused("report -c f --since 0s");
        refused("rehearse -c f");
        refused("rehearse --outcomes a");
        assert!(parse("demo --scenario hang --keep --json --rate 500").is_ok());
        assert!(parse("completions bash").is_ok());
        refused("check");
        refused("demo --rate 99");
        refused("demo --rate 20001");
        refused("demo --scenario nice");
    }

    #[test]
    fn the_audit_log_is_found_by_the_file_or_by_its_directory() {
        let Ok(Command::Audit(args)) = parse("audit list --limit 5 --kind weights --since 2026-11-21T12:00:00Z") else {
            panic!()
        };
        let AuditAction::List(list) = args.action else { panic!() };
        assert_eq!((list.place.config.to_str(), list.limit), (Some("serin.yaml"), 5));
        assert!(parse("audit verify -c f").is_ok() && parse("audit verify --state d").is_ok());
        refused("audit");
        refused("audit verify -c f --state d");
        refused("audit list --kind weight");
        refused("audit list --limit 0");
        refused("audit list --until monday");
    }

    #[test]
    fn durations_have_units() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        check("250ms", Some(250));
        check("30s", Some(30_000));
        check("1h30m", Some(5_400_000));
        check("365d", Some(31_536_000_000));
        check("0s", Some(0));
        for bad in [
            "",
            "30",
            "s",
            "1x",
            "30s1m",
            "1s1s",
            "-1s",
            "1.5s",
            "366d",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            check(bad, None);
        }
    }
}
