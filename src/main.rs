//! The `serin` program: reads the command line, does what it says, and answers with an exit code.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serin::cli::{self, Args, Command, Console, DemoArgs, Exit, FlagSystem, RunArgs};
use serin::{demo, server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    // Not locked: other threads of `run` and `demo` write here too.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let console = &mut Console {
        out: &mut out,
        err: &mut err,
    };
    let exit = dispatch(args.command, console).unwrap_or_else(|error| {
        console.complain(&format!("serin: {error:#}"));
        Exit::Failed
    });
    exit.into()
}

fn dispatch(command: Command, console: &mut Console<'_>) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => Ok(run(args, console)),
        Command::Demo(args) => demo(&args),
        Command::Check { files, from: None } => Ok(cli::check(&files, console)),
        Command::Check {
            files,
            from: Some(FlagSystem::Flagd),
        } => Ok(cli::convert(&files, console)),
        Command::Rehearse(args) => Ok(cli::rehearse(&args, console)),
        Command::Audit(args) => Ok(cli::audit(&args, console)),
        Command::Schema => Ok(cli::schema(console)),
        Command::Completions { shell } => Ok(cli::completions(shell, console)),
        Command::Status(args) => ask(cli::status(&args, console)),
        Command::Weights(args) => ask(cli::weights(&args, console)),
        Command::Rollout(args) => ask(cli::rollout(&args, console)),
        Command::Flag(args) => ask(cli::flag(&args, console)),
        Command::Freeze(args) => ask(cli::freeze(&args, true, console)),
        Command::Report(args) => Ok(cli::report(&args, console)),
        Command::Unfreeze(args) => ask(cli::freeze(&args, false, console)),
    }
}

/// `serin run`
fn run(args: RunArgs, console: &mut Console<'_>) -> Exit {
    let options = server::Options {
        config_file: args.config,
        workers: args.workers.map(usize::from),
        drain_timeout: args.drain_timeout,
        init_logging: true,
        upgrade: args.upgrade,
    };
    match server::run(options) {
        Ok(()) => Exit::Done,
        Err(error) => {
            console.complain(&format!("serin: {error}"));
            match error {
                server::StartError::Config { .. } => Exit::ConfigInvalid,
                _ => Exit::Failed,
            }
        }
    }
}

/// `serin demo`
fn demo(args: &DemoArgs) -> anyhow::Result<Exit> {
    let options = demo::Options {
        scenario: args.scenario,
        keep: args.keep,
        json: args.json,
        rate: args.rate,
    };
    let as_expected = demo::run(options)?;
    Ok(if as_expected { Exit::Done } else { Exit::Failed })
}

/// Runs a client command.
fn ask(command: impl Future<Output = Exit>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    Ok(runtime.block_on(command))
}
