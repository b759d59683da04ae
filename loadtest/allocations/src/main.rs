//! Counts what a request costs Serin in allocations once everything is warm.
//!
//! Serin runs in this process, under an allocator that counts. Its client and its backends are children of this
//! program in processes of their own, so that nothing of theirs is counted.

mod backend;
mod children;
mod client;
mod counting;
mod figures;
mod message;
mod run;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Asks: how often does Serin allocate for a request in the steady state?
///
/// Two variants by key, cohorts, a rollout with analysis and budget, and the outcome log are on. After a warm-up, each
/// round makes GETs that are answered with 1 KiB and POSTs of 200 bytes over connections that stay open, and after each
/// of these waits as long in silence. Allocations of the worker's thread are those of requests. Those of all threads are
/// shown too, and what control does in an equal silence is taken off.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    #[command(flatten)]
    options: run::Options,
}

#[derive(Subcommand)]
enum Child {
    /// The client; started by the program itself.
    #[command(hide = true)]
    Client(client::Options),
    /// Both backends; started by the program itself.
    #[command(hide = true)]
    Backend,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.child {
        None => run::run(&arguments.options),
        Some(Child::Client(options)) => client::run(&options).map(|()| true),
        Some(Child::Backend) => backend::run().map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("allocations: {error:#}");
            ExitCode::FAILURE
        }
    }
}
