//! How soon do verdicts fall, and how often are they wrong? Seeded traffic through the real `serin::analysis`.

mod bounds;
mod chance;
mod cost;
mod flow;
mod latency;
mod list;
mod peers;
mod row;
mod scenario;
mod table;
mod targets;
mod trial;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use self::row::Row;
use self::scenario::Scenario;
use self::trial::Ending;
use crate::report::{self, Condition};

/// How soon do verdicts fall, and how often are they wrong?
///
/// Simulates rollouts with seeded traffic: no sockets, no clock, the same result on every machine (but for the cost). The
/// tables go to the standard output.
#[derive(Args)]
pub(crate) struct Options {
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A fiftieth of the rollouts: to see whether it works.
    #[arg(long)]
    quick: bool,
    /// So many rollouts of each scenario.
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    rollouts: Option<u64>,
    /// Exits with 1 when a promised figure is missed.
    #[arg(long)]
    check: bool,
    /// Only scenarios whose name begins so.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Prints the reason of the first aborts of each scenario.
    #[arg(long)]
    reasons: bool,
    /// How many threads; default: one for each core. The result does not depend on it.
    #[arg(long)]
    threads: Option<usize>,
    /// Writes rows and conditions as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Puts the tables into this document, between its two marks.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

/// A whole run has this many times the rollouts of a quick one.
const QUICK: u64 = 50;
/// At most so many reasons for each scenario.
const REASONS: usize = 5;

/// Simulates, prints, and answers whether every promise was kept (always, unless `--check`).
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let wanted = |scenario: &Scenario| {
        let only = &options.only;
        only.is_empty() || only.iter().any(|name| scenario.name.starts_with(name))
    };
    let scenarios: Vec<_> = list::all().into_iter().filter(wanted).collect();
    anyhow::ensure!(!scenarios.is_empty(), "no scenario is called so");
    let mut rows = Vec::new();
    for scenario in &scenarios {
        let began = Instant::now();
        let endings = options.simulate(scenario);
        eprintln!(
            "{}: {} rollouts in {:.1} s",
            scenario.name,
            endings.len(),
            began.elapsed().as_secs_f64()
        );
        if options.reasons {
            let reasons = endings.iter().map(|ending| &ending.reason);
            let reasons = reasons.filter(|reason| !reason.is_empty());
            reasons.take(REASONS).for_each(|reason| eprintln!("  {reason}"));
        }
        rows.push(Row::of(scenario, &endings));
    }
    let cost = cost::measure(options.seed, if options.quick { 20_000 } else { 500_000 });
    let conditions = targets::conditions(&rows, &cost, !options.quick && options.rollouts.is_none());
    let tables = table::markdown(&rows, &cost, &conditions, &options.command());
    println!("{tables}");
    options.write(&rows, &cost, &conditions, &tables)?;
    Ok(!options.check || report::print_conditions(&conditions))
}

impl Options {
    fn command(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let rollouts = self.rollouts.map_or_else(String::new, |n| format!(" --rollouts {n}"));
        let seed = self.seed;
        format!("cargo run -p loadtest --release -- verdicts --seed {seed}{quick}{rollouts}")
    }

    fn rollouts(&self, whole: u64) -> u64 {
        let whole = self.rollouts.unwrap_or(whole);
        if self.quick { whole.div_ceil(QUICK) } else { whole }
    }

    /// All rollouts of `scenario`, in order, on all threads.
    fn simulate(&self, scenario: &Scenario) -> Vec<Ending> {
        let informed = row::informed(scenario, self.seed, if self.quick { 1_000 } else { list::MANY });
        let rollouts = self.rollouts(scenario.replicates);
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let next = AtomicU64::new(0);
        let work = || {
            let mut found = Vec::new();
            loop {
                let replicate = next.fetch_add(1, Ordering::Relaxed);
                if replicate >= rollouts {
                    return found;
                }
                found.push((replicate, trial::run(scenario, self.seed, replicate, informed)));
            }
        };
        let mut found = std::thread::scope(|scope| {
            let threads = self.threads.unwrap_or_else(cores).max(1);
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let parts = workers.into_iter();
            let parts = parts.map(|worker| worker.join().expect("a simulated rollout does not panic"));
            parts.flatten().collect::<Vec<_>>()
        });
        found.sort_unstable_by_key(|&(replicate, _)| replicate);
        found.into_iter().map(|(_, ending)| ending).collect()
    }

    fn write(&self, rows: &[Row], cost: &cost::Cost, conditions: &[Condition], tables: &str) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            let report = json!({
                "scenario": "verdicts",
                "settings": { "seed": self.seed, "quick": self.quick },
                "rows": rows,
                "cost": cost,
                "conditions": conditions,
            });
            let text = serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?;
            std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(path) = &self.document {
            let named = || path.display().to_string();
            let document = std::fs::read_to_string(path).with_context(named)?;
            let document = table::put_into(&document, tables).with_context(|| format!("{} has no marks", named()))?;
            std::fs::write(path, document).with_context(named)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(threads: usize) -> Options {
        Options {
            seed: 7,
            quick: false,
            rollouts: Some(3),
            check: false,
            only: Vec::new(),
            reasons: false,
            threads: Some(threads),
            json: None,
            document: None,
        }
    }

    #[test]
    fn every_scenario_runs() {
        let options = Options {
            rollouts: Some(1),
            ..options(2)
        };
        for scenario in list::all() {
            let short = Scenario {
                horizon_s: 20,
                peers_s: scenario.peers_s.min(30),
                informed: None,
                ..scenario
            };
            let row = Row::of(&short, &options.simulate(&short));
            assert_eq!(row.aborted + row.promoted + row.held, 1, "{}", row.name);
        }
    }

    #[test]
    fn the_result_does_not_depend_on_threads() {
        let scenario = &list::all()[7];
        assert_eq!(scenario.name, "errors-8");
        let ends = |threads| {
            let endings = options(threads).simulate(scenario);
            endings
                .iter()
                .map(|ending| (ending.end, ending.bad))
                .collect::<Vec<_>>()
        };
        assert_eq!(ends(1), ends(3));
    }

    #[test]
    fn the_command_repeats_the_run() {
        let check = |options: Options, expected: &str| {
            let command = options.command();
            assert_eq!(
                command.strip_prefix("cargo run -p loadtest --release -- "),
                Some(expected)
            );
        };
        check(options(1), "verdicts --seed 7 --rollouts 3");
        let quick = Options {
            quick: true,
            rollouts: None,
            ..options(1)
        };
        check(quick, "verdicts --seed 7 --quick");
    }
}
