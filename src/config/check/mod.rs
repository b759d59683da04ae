//! Written form to `Spec`: defaults, names that must exist, and rules between keys. Goes on after a
//! problem, so that all of them are found at once.

mod ambiguity;
mod analysis;
mod batches;
mod channels;
mod cohorts;
mod conditions;
mod environment;
mod flags;
mod gates;
mod issuers;
mod keys;
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
mod weave;
mod webhooks;
mod whole;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::file::{self, Access, Balancing, File, LogFormat, LogLevel, Paths, Protocol, TlsVersion};
use super::read::{Reader, Slot};
use super::spec::{
    Audit, Backend, BackendLimits, CertificateFiles, Listener, ListenerLimits, ListenerTimeouts, Log, OutcomeLog, Spec,
    Tls,
};
use super::units::{Limit, Size};
use crate::path::PathPolicy;
use crate::route::{AccessLog, BackendProtocol, LoadBalancing};

use names::{Names, check_unique};

/// The `Spec` that `file` describes; paths in it begin at `directory`. `None` when a part is missing,
/// which is then reported; of use only when nothing at all was reported.
pub(super) fn check(file: &File, directory: &Path, reader: &mut Reader<'_>) -> Option<Spec> {
    check_unique(
        reader,
        "listener",
        file.listeners.items().filter_map(Slot::get).map(|l| &l.name),
    );
    let listeners: Option<Vec<_>> = file
        .listeners
        .items()
        .map(|slot| listener(slot.get()?, directory))
        .collect();
    let admin = admin(file, reader);
    let outcome_log = match file.outcome_log.get() {
        Some(written) => outcome_log(written, directory, reader).map(Some),
        None => file.outcome_log.left_out.then_some(None),
    };
    check_addresses(file, reader);

    let backend_slots: Vec<_> = file.backends.items().filter_map(Slot::get).collect();
    check_unique(reader, "backend", backend_slots.iter().map(|b| &b.name));
    let backends: Option<Vec<_>> = file.backends.items().map(|slot| backend(slot.get()?, reader)).collect();
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
        listeners: listeners?,
        trusted_proxies: trusted_proxies?,
        admin,
        admin_tls: None,
        memory_max: None,
        log: log(file),
        outcome_log: outcome_log?,
        tokens_file: tokens_file.map(|text| directory.join(&text.0)),
        audit: audit(state),
        notifications: notifications?,
        state_directory: directory.join(state_directory.map_or(STATE_DIRECTORY, |text| &text.0)),
        backends: backends?,
        routes: routes?,
        rollouts: rollouts?,
        flags: flags?,
        issuers: issuers?,
        key_files: whole.key_files.into_iter().map(|path| (path, None)).collect(),
        upstream_tls: Vec::new(),
        jwks: Vec::new(),
    })
}

fn listener(written: &file::Listener, directory: &Path) -> Option<Listener> {
    let tls = match written.tls.get() {
        Some(written) => Some(tls(written, directory)?),
        None => None,
    };
    let timeouts = written.timeouts.get();
    let clock = |slot: Option<&Slot<Limit>>, default| duration_or(slot, default);
    let limits = written.limits.get();
    Some(Listener {
        name: written.name.get()?.clone(),
        address: *written.address.get()?,
        tls,
        timeouts: ListenerTimeouts {
            handshake: Duration::from_secs(10),
            request_head: clock(timeouts.map(|t| &t.request_head), Duration::from_secs(10)),
            body: clock(timeouts.map(|t| &t.body), Duration::from_secs(30)),
            idle: clock(timeouts.map(|t| &t.idle), Duration::from_secs(60)),
            connection_age: None,
        },
        limits: ListenerLimits {
            connections: limits.and_then(|l| l.connections.value).map_or(16_384, |n| n.0),
            connections_per_client: limits.and_then(|l| l.connections.value).map_or(16_384, |n| n.0),
            streams: 128,
            upgrades: 4_096,
            headers: limits.and_then(|l| l.headers.value).map_or(100, |n| n.0),
            header_bytes: limits
                .and_then(|l| l.header_bytes.value)
                .map_or(64 << 10, Size::in_memory),
            uri_bytes: limits.and_then(|l| l.uri_bytes.value).map_or(16 << 10, Size::in_memory),
        },
        paths: match written.paths.or(Paths::Strict) {
            Paths::Strict => PathPolicy::Strict,
            Paths::Normalize => PathPolicy::Normalize,
        },
        ofrep: written.ofrep.known_or(false)?,
        proxy_protocol: false,
        redirect_to_https: None,
    })
}

fn tls(written: &file::Tls, directory: &Path) -> Option<Tls> {
    let files = |written: &file::Certificate| {
        Some(CertificateFiles {
            certificate: directory.join(&written.certificate.get()?.0),
            key: directory.join(&written.key.get()?.0),
        })
    };
    let certificates: Option<Vec<_>> = written.certificates.items().map(|slot| files(slot.get()?)).collect();
    Some(Tls {
        certificates: certificates?,
        client_required: false,
        hsts: None,
        server: None,
        only_1_3: written.min_version.or(TlsVersion::Tls12) == TlsVersion::Tls13,
        client_ca: match written.client_ca.left_out {
            true => None,
            false => Some(directory.join(&written.client_ca.get()?.0)),
        },
    })
}

fn admin(file: &File, reader: &mut Reader<'_>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 9901));
    let Some(written) = file.admin.get() else {
        return default;
    };
    let address = written.address.or(default);
    if !address.ip().to_canonical().is_loopback() && written.tokens_file.left_out {
        reader.refuse_text(
            written.address.at,
            "is no loopback address; give one, such as 127.0.0.1:9901, or a `tokensFile` that says who may use it",
        );
    }
    address
}

/// No two sockets on one address. Port 0 is a free port each time.
fn check_addresses(file: &File, reader: &mut Reader<'_>) {
    let listeners = file
        .listeners
        .items()
        .filter_map(Slot::get)
        .map(|listener| &listener.address);
    let admin = file.admin.get().map(|admin| &admin.address);
    let mut taken = HashMap::new();
    for slot in listeners.chain(admin) {
        let Some(address) = slot.get().filter(|address| address.port() != 0) else {
            continue;
        };
        if let Some(line) = taken.insert(*address, reader.tree.get(slot.at).place.0) {
            reader.refuse_text(
                slot.at,
                &format!("is taken on line {line} already; give this one another port"),
            );
        }
    }
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

fn backend(written: &file::Backend, reader: &mut Reader<'_>) -> Option<Backend> {
    let mut seen = HashMap::new();
    for slot in written.endpoints.items() {
        let Some(endpoint) = slot.get() else { continue };
        if let Some(line) = seen.insert(endpoint, reader.tree.get(slot.at).place.0) {
            reader.refuse_text(slot.at, &format!("stands on line {line} already; keep one"));
        }
    }
    let endpoints: Option<Vec<_>> = written.endpoints.items().map(|slot| slot.get().cloned()).collect();
    match written.protocol.or(Protocol::Http1) {
        Protocol::Http1 => {}
    }
    let limits = written.limits.get();
    Some(Backend {
        name: written.name.get()?.clone(),
        release: written.release.get().map(|text| text.0.clone()),
        commit_ms: written.commit_time.value.map(|time| time.0),
        endpoints: endpoints?,
        load_balancing: match written.load_balancing.or(Balancing::LeastRequest) {
            Balancing::LeastRequest => LoadBalancing::LeastRequest,
            Balancing::RoundRobin => LoadBalancing::RoundRobin,
        },
        protocol: BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        allow_internal: false,
        limits: BackendLimits {
            max_streams: 100,
            max_in_flight: limits.and_then(|l| l.max_in_flight.value).map_or(65_536, |n| n.0),
            max_connections: limits.and_then(|l| l.max_connections.value).map_or(65_536, |n| n.0),
            connect_timeout: duration_or(limits.map(|l| &l.connect_timeout), Duration::from_secs(1)),
        },
    })
}

fn duration_or(slot: Option<&Slot<Limit>>, default: Duration) -> Duration {
    slot.and_then(|slot| slot.value).map_or(default, |limit| limit.0)
}

const STATE_DIRECTORY: &str = "state";
