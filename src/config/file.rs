//! What a person writes: keys, types, ranges and defaults of the configuration file. The only place
//! where they are declared; what reads the file and what describes it both follow from here.

mod analysis;
mod backends;
mod channels;
mod conditions;
mod errands;
mod flags;
mod listeners;
mod rollouts;
mod routes;
mod splits;
mod steps;

use std::net::SocketAddr;

pub(super) use analysis::{Analysis, ClientErrors, CompareWith, OnInsufficientData, Test};
pub(super) use backends::{Backend, BackendTls, Balancing, Protocol, ProxyProtocol};
pub(super) use channels::{Channel, Severity};
pub(super) use conditions::{AskerCertificate, Tests};
pub(super) use errands::{GateWebhook, On, OnFailure, Smoke, SmokeCheck, Webhook};
pub(super) use flags::{Flag, FlagCohort, FlagKey, Issuer};
pub(super) use listeners::{Certificate, ClientAuth, HTTPS, Hsts, Listener, Paths, Redirect, Tls, TlsVersion};
pub(super) use rollouts::{AutoStart, Budget, Mode, OnSuccess, Preview, Rollout, Strategy};
pub(super) use routes::{HeaderCondition, Match, QueryCondition, Route};
pub(super) use splits::{Cohort, Environment, Fallback, Key, Prerequisite, SameSite, Secret, Split, Sticky, Variant};
pub(super) use steps::{Approvals, Day, Gate, Judging, Pause, Ramp, Step, Window};

use serde_json::Value as Json;

use super::declare::{record, word_schema, words};
use super::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use super::scalar::{Count, Text, Version};
use super::schema::Defs;
use super::spec::Network;
use super::tree::NodeId;
use super::units::{Retention, Size};

/// A list that may be empty.
pub(super) type List<T> = Vec<Slot<T>>;

record! {
    /// A whole configuration file.
    File {
        /// The version of this format: 1.
        required "version" version: Version,
        /// A free label of the place this process serves, such as prod.
        optional "environment" environment: Text,
        /// Where connections are accepted.
        required "listeners" listeners: AtLeastOne<Listener>,
        /// Whose tokens (JWT) are believed. Default: nobody's.
        optional "jwt" jwt: List<Issuer>,
        /// Peers whose forwarded headers are believed. Default: none.
        optional "trustedProxies" trusted_proxies: List<Network>,
        /// The admin API.
        optional "admin" admin: Admin,
        /// Bounds of the whole process.
        optional "limits" limits: ProcessLimits,
        /// What is logged and how.
        optional "log" log: Log,
        /// A compact log of how exchanges ended, for `serin rehearse`. Default: none is written.
        optional "outcomeLog" outcome_log: OutcomeLog,
        /// What outlives the process.
        optional "state" state: State,
        /// Named versions of services.
        required "backends" backends: AtLeastOne<Backend>,
        /// Which requests go where. The most specific match wins, not the order of the file.
        required "routes" routes: AtLeastOne<Route>,
        /// Flags for applications alone.
        optional "flags" flags: List<Flag>,
        /// Trials of canaries, at most one for each route.
        optional "rollouts" rollouts: List<Rollout>,
        /// Who is told of what happens to rollouts. Default: nobody.
        optional "notifications" notifications: List<Channel>,
    }
    later []
}

record! {
    /// The admin API.
    Admin {
        /// An IP address and a port; without a tokensFile a loopback address. Default: 127.0.0.1:9901.
        optional "address" address: SocketAddr,
        /// The file that says who may use the API, and in which roles. A relative path begins at this file's
        /// directory. Default: whoever reaches the address.
        optional "tokensFile" tokens_file: Text,
        /// Certificates; clear text when left out. It has no hsts.
        optional "tls" tls: Tls,
    }
    later []
}

record! {
    /// Bounds of the whole process.
    ProcessLimits {
        /// From so much memory on, new requests are answered 503. Default: nine tenths of what the process may have.
        optional "memory" memory: Size<67_108_864, 1_099_511_627_776>,
    }
    later []
}

record! {
    /// What is logged and how.
    Log {
        /// The least important line that is written. Default: info.
        optional "level" level: LogLevel,
        /// One JSON object a line, or text. Default: json.
        optional "format" format: LogFormat,
        /// Which exchanges get a line. Default: errors.
        optional "access" access: Access,
    }
    later []
}

words! {
    /// How important a line is.
    LogLevel {
        /// Something failed.
        "error" Error,
        /// Something will.
        "warn" Warn,
        /// What changed.
        "info" Info,
        /// Why.
        "debug" Debug,
        /// Everything.
        "trace" Trace,
    }
    later []
}

words! {
    /// The form of a line.
    LogFormat {
        /// One object a line.
        "json" Json,
        /// For people.
        "text" Text,
    }
    later []
}

words! {
    /// Which exchanges get a line.
    Access {
        /// None.
        "off" Off,
        /// Those that were no success.
        "errors" Errors,
        /// Every one.
        "all" All,
    }
    later []
}

record! {
    /// A compact log of how exchanges ended, on routes with a rollout. It is bounded, and loses lines rather than time.
    OutcomeLog {
        /// The file that is written. A relative path begins at this file's directory.
        required "file" file: Text,
        /// A file that has reached this size is put aside. Default: 64MiB.
        optional "maxSize" max_size: Size<1_048_576, 1_099_511_627_776>,
        /// How many files that were put aside are kept. Default: 4.
        optional "keep" keep: Count<1, 100>,
    }
    later []
}

record! {
    /// What outlives the process.
    State {
        /// Where rollout states and weights set by hand are kept; created when absent. Default: ./state beside this file.
        optional "directory" directory: Text,
        /// The file of the audit log is put aside when it has reached this size. Default: 64MiB.
        optional "auditMaxSize" audit_max_size: Size<65_536, 1_099_511_627_776>,
        /// Files of the audit log that were put aside are kept for so long. Default: 7y.
        optional "auditRetention" audit_retention: Retention,
    }
    later []
}
