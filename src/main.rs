//! The program: flags, the command they name, the exit code. The rest is the library.

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use serin::cli::{Args, Command, Console, Exit};
use serin::{cli, demo, files, server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let exit = match Args::parse().command {
        Command::Run(run) => serve(run, &mut console),
        Command::Demo(options) => match demo::run(&options) {
            Ok(true) => Exit::Done,
            Ok(false) => Exit::Failed,
            Err(error) => {
                console.complain(&format!("serin: {error}"));
                Exit::Failed
            }
        },
        Command::Check { files } => {
            cli::check(&files, |file| files::read(file).map(|loaded| loaded.spec), &mut console)
        }
        Command::Schema => {
            console.say(&serde_json::to_string_pretty(&serin::config::schema())?);
            Exit::Done
        }
        Command::Completions { shell } => cli::completions(shell, &mut console),
        client => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                match &client {
                    Command::Status(args) => cli::status(args, &mut console).await,
                    Command::Weights(args) => cli::weights(args, &mut console).await,
                    Command::Rollout(args) => cli::rollout(args, &mut console).await,
                    _ => unreachable!("the others were taken above"),
                }
            })
        }
    };
    Ok(exit.into())
}

fn serve(run: cli::RunArgs, console: &mut Console<'_>) -> Exit {
    let options = server::Options {
        config_file: run.config,
        workers: run.workers.map(usize::from),
        drain_timeout: run.drain_timeout,
        init_logging: true,
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
