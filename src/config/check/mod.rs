//! Written form to `Spec`: defaults, names that must exist, and rules between keys. Goes on after a
//! problem, so that all of them are found at once.

mod ambiguity;
mod analysis;
mod backends;
mod batches;
mod channels;
mod cohorts;
mod conditions;
mod environment;
mod flags;
mod gates;
mod issuers;
mod keys;
mod listeners;
mod matches;
mod names;
mod prerequisites;
mod preview;
mod ramp;
mod rolling;
mod rollouts;
mod routes;
mod rules;
mod shadows;
mod smoke;
mod steps;
mod sticky;
mod strategy;
mod tls;
mod weave;
mod webhooks;
mod whole;

use std::path::Path;
use std::time::Duration;

use super::file::{self, Access, File, LogFormat, LogLevel};
use super::read::{Reader, Slot};
use super::spec::{Audit, Log, OutcomeLog, Spec};
use super::units::Limit;
use crate::route::AccessLog;

use names::{Names, check_unique};

/// The `Spec` that `file` describes; paths in it begin at `directory`. `None` when a part is missing,
/// which is then reported; of use only when nothing at all was reported.
pub(super) fn check(file: &File, directory: &Path, reader: &mut Reader<'_>) -> Option<Spec> {
    check_unique(
        reader,
        "listener",
        file.listeners.items().filter_map(Slot::get).map(|l| &l.name),
    );
    // All of them, also behind one that does not come about.
    let listeners: Vec<_> = file
        .listeners
        .items()
        .map(|slot| listeners::listener(slot.get()?, file, directory, reader))
        .collect();
    let admin = listeners::admin(file, reader);
    let admin_tls = match file.admin.get().map(|admin| &admin.tls) {
        Some(slot) if !slot.left_out => slot
            .get()
            .and_then(|written| tls::of_admin(written, directory, reader))
            .map(Some),
        _ => Some(None),
    };
    let outcome_log = match file.outcome_log.get() {
        Some(written) => outcome_log(written, directory, reader).map(Some),
        None => file.outcome_log.left_out.then_some(None),
    };
    listeners::check_addresses(file, reader);

    let backend_slots: Vec<_> = file.backends.items().filter_map(Slot::get).collect();
    check_unique(reader, "backend", backend_slots.iter().map(|b| &b.name));
    let backends: Vec<_> = file
        .backends
        .items()
        .map(|slot| backends::backend(slot.get()?, admin, directory, reader))
        .collect();
    let backend_names = Names::of(
        reader,
        "backend",
        file.backends.items().map(|b| b.get().map(|b| &b.name)),
    );

    let issuers = issuers::check(file, directory, reader);
    let mut whole = whole::Whole::of(file, directory, reader);
    let routes = routes::check(file, &backend_names, &mut whole, reader);
    let flags = flags::check(file, &mut whole, reader);
    prerequisites::check(&whole, reader);
    environment::check(file, reader);
    let rollouts = rollouts::check(file, routes.as_deref(), reader);
    if let (Some(rollouts), Some(routes)) = (&rollouts, &routes) {
        preview::check_hosts(file, rollouts, routes, reader);
        preview::check_names(file, rollouts, routes, reader);
    }
    let notifications = channels::check(file, reader);

    file.version.get()?;
    let state = file.state.get();
    let state_directory = state.and_then(|state| state.directory.get());
    let tokens_file = file.admin.get().and_then(|admin| admin.tokens_file.get());
    let trusted_proxies: Option<Vec<_>> = file.trusted_proxies.items().map(|slot| slot.get().copied()).collect();
    Some(Spec {
        environment: file.environment.get().map(|text| text.0.clone()),
        listeners: listeners.into_iter().collect::<Option<_>>()?,
        trusted_proxies: trusted_proxies?,
        admin,
        admin_tls: admin_tls?,
        memory_max: file
            .limits
            .get()
            .and_then(|limits| limits.memory.value)
            .map(|size| size.0),
        log: log(file),
        outcome_log: outcome_log?,
        tokens_file: tokens_file.map(|text| directory.join(&text.0)),
        audit: audit(state),
        notifications: notifications?,
        state_directory: directory.join(state_directory.map_or(STATE_DIRECTORY, |text| &text.0)),
        backends: backends.into_iter().collect::<Option<_>>()?,
        routes: routes?,
        rollouts: rollouts?,
        flags: flags?,
        issuers: issuers?,
        key_files: whole.key_files.into_iter().map(|path| (path, None)).collect(),
        upstream_tls: Vec::new(),
        jwks: Vec::new(),
    })
}

fn log(file: &File) -> Log {
    let written = file.log.get();
    let level = match written.and_then(|log| log.level.value).unwrap_or(LogLevel::Info) {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    Log {
        level: level.into(),
        json: written.and_then(|log| log.format.value) != Some(LogFormat::Text),
        access: match written.and_then(|log| log.access.value).unwrap_or(Access::Errors) {
            Access::Off => AccessLog::Off,
            Access::Errors => AccessLog::Errors,
            Access::All => AccessLog::All,
        },
    }
}

fn audit(written: Option<&file::State>) -> Audit {
    let default = Audit::default();
    Audit {
        max_bytes: written
            .and_then(|state| state.audit_max_size.value)
            .map_or(default.max_bytes, |size| size.0),
        retention: written
            .and_then(|state| state.audit_retention.value)
            .map_or(default.retention, |retention| retention.0),
    }
}

fn outcome_log(written: &file::OutcomeLog, directory: &Path, reader: &mut Reader<'_>) -> Option<OutcomeLog> {
    let file = &written.file.get()?.0;
    if file.ends_with('/') || Path::new(file).file_name().is_none() {
        reader.refuse_text(
            written.file.at,
            "is a directory; name a file in it, such as outcomes.log",
        );
    }
    Some(OutcomeLog {
        file: directory.join(file),
        max_bytes: written.max_size.value.map_or(64 << 20, |size| size.0),
        keep: written.keep.value.map_or(4, |n| n.0),
    })
}

fn duration_or(slot: Option<&Slot<Limit>>, default: Duration) -> Duration {
    slot.and_then(|slot| slot.value).map_or(default, |limit| limit.0)
}

const STATE_DIRECTORY: &str = "state";
