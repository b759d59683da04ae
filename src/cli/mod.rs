//! The command line: what may be written, and the commands that ask a running Serin or read files.
//! `run` and `demo` are the program's own and are called by `main`.

mod args;
mod audit;
mod client;
mod commands;
mod local;
mod rehearse;
mod report;
mod table;
mod text;
mod tree;
mod trust;
mod wait;
mod watch;

#[cfg(test)]
mod tests;

pub use args::{
    Args, AuditAction, AuditArgs, AuditListArgs, AuditPlace, ClientArgs, Command, CommandArgs, DEFAULT_ADMIN, DemoArgs,
    FlagSystem, FreezeArgs, Output, RehearseArgs, ReportArgs, RolloutAction, RolloutArgs, RunArgs, WeightsArgs,
};
pub use audit::audit;
pub use client::{Answer, Client, ClientError, Question, segment};
pub use commands::{flag, freeze, rollout, status, weights};
pub use local::{check, completions, convert, schema};
pub use rehearse::rehearse;
pub use report::report;

use std::process::ExitCode;

/// How a command ended. The numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done as asked.
    Done,
    /// 1: refused or failed.
    Failed,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: a configuration is invalid.
    ConfigInvalid,
    /// 4: no Serin answers.
    Unreachable,
    /// 5: the rollout was aborted.
    RolledBack,
    /// 6: not within the time given.
    TimedOut,
    /// 7: not in this phase, or the generation moved on.
    Conflict,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::ConfigInvalid => 3,
            Self::Unreachable => 4,
            Self::RolledBack => 5,
            Self::TimedOut => 6,
            Self::Conflict => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Where a command writes: what was asked for, and what went wrong.
pub struct Console<'c> {
    /// Standard output, as a rule.
    pub out: &'c mut dyn std::io::Write,
    /// Standard error.
    pub err: &'c mut dyn std::io::Write,
}

impl Console<'_> {
    /// One line or more of what was asked for. A reader that has left (`| head`) is no error.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// One line or more about what went wrong.
    pub fn complain(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }
}
