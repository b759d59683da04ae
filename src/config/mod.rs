//! From the text a person writes to a checked `Spec`. Pure but for `${VAR}`, which the caller supplies.

mod address;
mod asker;
mod check;
mod declare;
mod expand;
mod file;
#[cfg(test)]
mod fixture;
mod outside;
mod problem;
mod read;
mod scalar;
mod schema;
mod shapes;
mod show;
mod spec;
pub mod template;
mod tokens;
mod tree;
mod units;
mod value;
mod when;
mod yaml;

use std::path::Path;

pub use problem::{Problem, Problems};
pub use schema::schema;
pub use show::shown;
pub use spec::{
    Audit, Backend, BackendLimits, BackendTls, CertificateFiles, Channel, Endpoint, Flag, FlagVariant, Listener,
    ListenerLimits, ListenerTimeouts, Log, Network, OutcomeLog, Preview, Rollout, Route, Rules, Service, Severity,
    Spec, Strategy, Tls, Variant,
};

pub use tokens::{closed_gates, is_tokens_file, tokens, tokens_file};

use read::{Reader, Written};

/// Reads and checks the text of a configuration file. `file` names it in problems, and its directory
/// is where relative paths inside begin; nothing is read from it. `env` answers what a variable
/// holds. What variables hold never stands in a problem.
///
/// # Errors
/// [`Problems`]: all of them, not only the first.
pub fn load(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Spec, Problems> {
    let mut report = problem::Report::new(file.display().to_string());
    let directory = file.parent().unwrap_or(Path::new(""));
    let spec = yaml::parse(text, &mut report).and_then(|(mut tree, root)| {
        expand::expand_all(&mut tree, env, &mut report);
        let mut reader = Reader::new(&tree, &mut report);
        let file = file::File::read(root, &mut reader)?;
        check::check(&file, directory, &mut reader)
    });
    match (spec, report.is_empty()) {
        (Some(spec), true) => Ok(spec),
        _ => Err(report.into_problems()),
    }
}
