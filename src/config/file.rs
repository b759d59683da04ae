//! What a person writes: keys, types, ranges and defaults of the configuration file. The only place
//! where they are declared; what reads the file and what describes it both follow from here.

mod analysis;
mod channels;
mod conditions;
mod errands;
mod flags;
mod rollouts;
mod splits;
mod steps;

use std::net::SocketAddr;

pub(super) use analysis::{Analysis, ClientErrors, CompareWith, OnInsufficientData, Test};
pub(super) use channels::{Channel, Severity};
pub(super) use conditions::{AskerCertificate, Tests};
pub(super) use errands::{GateWebhook, On, OnFailure, Smoke, SmokeCheck, Webhook};
pub(super) use flags::{Flag, FlagCohort, FlagKey, Issuer};
pub(super) use rollouts::{AutoStart, Budget, Mode, OnSuccess, Preview, Rollout, Strategy};
pub(super) use splits::{Cohort, Environment, Fallback, Key, Prerequisite, SameSite, Secret, Split, Sticky, Variant};
pub(super) use steps::{Approvals, Day, Gate, Judging, Pause, Ramp, Step, Window};

use serde_json::Value as Json;

use super::address::UrlPath;
use super::declare::{record, word_schema, words};
use super::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use super::scalar::{Count, HeaderName, Statuses, Text, Version};
use super::schema::Defs;
use super::spec::{Endpoint, Network};
use super::tree::NodeId;
use super::units::{Limit, Retention, Size};
use super::when::PointInTime;
use crate::head::Method;
use crate::name::Name;
use crate::route::HostMatch;

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
    /// An address we accept connections on.
    Listener {
        /// A name that no other listener has.
        required "name" name: Name,
        /// An IP address and a port. Port 0 asks the system for a free one.
        required "address" address: SocketAddr,
        /// Certificates; clear text when left out.
        optional "tls" tls: Tls,
        /// Clocks of a client's connection.
        optional "timeouts" timeouts: ListenerTimeouts,
        /// Bounds of what clients may ask for.
        optional "limits" limits: ListenerLimits,
        /// What becomes of paths that two readers could take for two places. Default: strict.
        optional "paths" paths: Paths,
        /// Whether it answers applications that ask for flags (OFREP), under /ofrep/v1/. Default: false.
        optional "ofrep" ofrep: bool,
    }
    later []
}

words! {
    /// What becomes of paths that two readers could take for two places.
    Paths {
        /// They are refused.
        "strict" Strict,
        /// They are brought into the form that they are an alias of.
        "normalize" Normalize,
    }
    later []
}

record! {
    /// TLS towards clients.
    Tls {
        /// The certificate; one for now.
        required "certificates" certificates: AtLeastOne<Certificate>,
        /// The oldest version that is spoken. Default: "1.2".
        optional "minVersion" min_version: TlsVersion,
        /// A PEM file with who may sign the certificates of clients; who has none comes in all the same. A relative
        /// path begins at this file's directory. Default: clients are asked for none.
        optional "clientCa" client_ca: Text,
    }
    later []
}

words! {
    /// A version of TLS.
    TlsVersion {
        /// RFC 5246.
        "1.2" Tls12,
        /// RFC 8446.
        "1.3" Tls13,
    }
    later []
}

record! {
    /// A certificate and its key, both PEM files; relative paths begin at this file's directory.
    Certificate {
        /// The chain, leaf first.
        required "certificate" certificate: Text,
        /// The private key of the leaf.
        required "key" key: Text,
    }
    later []
}

record! {
    /// Clocks of a client's connection.
    ListenerTimeouts {
        /// From the first byte of a head to its end. Default: 10s.
        optional "requestHead" request_head: Limit,
        /// Between two reads of a body. Default: 30s.
        optional "body" body: Limit,
        /// Between two requests. Default: 60s.
        optional "idle" idle: Limit,
    }
    later []
}

record! {
    /// Bounds of what clients may ask for.
    ListenerLimits {
        /// Open connections. Default: 16384.
        optional "connections" connections: Count<1, 1_000_000>,
        /// Fields in a head. Default: 100.
        optional "headers" headers: Count<1, 1_000>,
        /// Size of a head. Default: 64KiB.
        optional "headerBytes" header_bytes: Size<1_024, 1_048_576>,
        /// Size of a request target. Default: 16KiB.
        optional "uriBytes" uri_bytes: Size<64, 1_048_576>,
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

record! {
    /// A named version of a service.
    Backend {
        /// A name that no other backend has.
        required "name" name: Name,
        /// Image tag or git revision; a change of it may start a rollout.
        optional "release" release: Text,
        /// When the newest commit of the release was made, such as "2026-11-20T10:00:00Z". Default: not known.
        optional "commitTime" commit_time: PointInTime,
        /// Its addresses, each as host:port.
        required "endpoints" endpoints: AtLeastOne<Endpoint>,
        /// How the next endpoint is picked. Default: leastRequest.
        optional "loadBalancing" load_balancing: Balancing,
        /// What is spoken to it. Default: http1.
        optional "protocol" protocol: Protocol,
        /// What it is asked to bear.
        optional "limits" limits: BackendLimits,
    }
    later ["tls", "healthCheck", "ejection"]
}

words! {
    /// How the next endpoint is picked.
    Balancing {
        /// Of two at random the one with fewer requests in flight.
        "leastRequest" LeastRequest,
        /// Each in turn.
        "roundRobin" RoundRobin,
    }
    later ["ewma"]
}

words! {
    /// What is spoken to a backend.
    Protocol {
        /// HTTP/1.1.
        "http1" Http1,
    }
    later ["http2"]
}

record! {
    /// What one backend is asked to bear.
    BackendLimits {
        /// Requests at once; more are answered 503. Default: 65536.
        optional "maxInFlight" max_in_flight: Count<1, 1_000_000>,
        /// Open connections. Default: 65536.
        optional "maxConnections" max_connections: Count<1, 1_000_000>,
        /// How long connecting may take. Default: 1s.
        optional "connectTimeout" connect_timeout: Limit,
    }
    later []
}

record! {
    /// Which requests go where.
    Route {
        /// A name that no other route has.
        required "name" name: Name,
        /// Which requests. All when left out.
        optional "match" matches: Match,
        /// Until the head of the response. Default: 5s.
        optional "timeout" timeout: Limit,
        /// How requests divide among variants.
        required "split" split: Split,
        /// Which answers of its backends are their failures: statuses such as 404, classes 4xx and 5xx. Default: [5xx].
        optional "failureStatuses" failure_statuses: AtLeastOne<Statuses>,
        /// Whether responses carry x-serin-variant and x-serin-generation. Default: true.
        optional "exposeVariant" expose_variant: bool,
    }
    later ["retry", "replay", "mirror"]
}

record! {
    /// Which requests a route wants: all conditions must hold.
    Match {
        /// Any of these: a name, or `*.` and a name for every host below it.
        optional "hosts" hosts: List<HostMatch>,
        /// The whole path.
        optional "path" path: UrlPath,
        /// The path and all below it, in whole segments.
        optional "pathPrefix" path_prefix: UrlPath,
        /// A regular expression for the whole path.
        optional "pathRegex" path_regex: Text,
        /// Any of these.
        optional "methods" methods: List<Method>,
        /// All of these.
        optional "headers" headers: List<HeaderCondition>,
        /// All of these.
        optional "query" query: List<QueryCondition>,
    }
    later []
}

record! {
    /// A condition on a header: its name and one of exact, prefix, regex, present.
    HeaderCondition {
        /// The name of the header, in any case.
        required "name" name: HeaderName,
        /// The value is this.
        optional "exact" exact: String,
        /// The value begins so.
        optional "prefix" prefix: Text,
        /// A regular expression for the whole value.
        optional "regex" regex: Text,
        /// Whether there is such a header at all.
        optional "present" present: bool,
    }
    later []
}

record! {
    /// A condition on a query parameter: its name and one of exact, prefix, regex, present.
    QueryCondition {
        /// The name of the parameter, as in the request.
        required "name" name: Text,
        /// The value is this.
        optional "exact" exact: String,
        /// The value begins so.
        optional "prefix" prefix: Text,
        /// A regular expression for the whole value.
        optional "regex" regex: Text,
        /// Whether there is such a parameter at all.
        optional "present" present: bool,
    }
    later []
}
