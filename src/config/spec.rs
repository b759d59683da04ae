//! What the program may rely on: the checked configuration. Every index is in range, every name
//! is unique in its list, every limit is above 0.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use crate::analysis::AnalysisSpec;
use crate::jwt::{IssuerSpec, Keys};
use crate::measure::FailureStatuses;
use crate::name::Name;
use crate::path::PathPolicy;
use crate::proxy_protocol::ProxyVersion;
use crate::rollout::{Plan, Schedule, Webhook, Window};
use crate::route::{
    AccessLog, BackendProtocol, CohortSpec, FieldMatch, Hsts, KeySet, KeySpec, LoadBalancing, Match, Prerequisite,
    StickySpec,
};
use crate::tls;

/// One whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Free label of the place this process serves, such as `prod`.
    pub environment: Option<String>,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Peers whose forwarded headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// TLS of the admin API; `None`: clear text.
    pub admin_tls: Option<Tls>,
    /// From so many bytes of resident memory on, new requests are answered 503. `None`: nine tenths of what the
    /// process may have.
    pub memory_max: Option<u64>,
    /// What is logged and how.
    pub log: Log,
    /// Where outcomes are logged for `serin rehearse`; `None`: nowhere.
    pub outcome_log: Option<OutcomeLog>,
    /// Who may use the admin API, and in which roles; the file's directory is joined in front. `None`: whoever
    /// reaches it, without a name.
    pub tokens_file: Option<PathBuf>,
    /// How long the audit log is kept.
    pub audit: Audit,
    /// Who is told of what happens to rollouts.
    pub notifications: Vec<Channel>,
    /// Where rollout states and weights set by hand are kept; the file's directory is joined in front.
    pub state_directory: PathBuf,
    /// At least one.
    pub backends: Vec<Backend>,
    /// At least one.
    pub routes: Vec<Route>,
    /// At most one per route.
    pub rollouts: Vec<Rollout>,
    /// Flags for applications alone.
    pub flags: Vec<Flag>,
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerSpec>,
    /// What TLS towards each backend needs, by its index. `None`, or left out: clear text, or its files are not read yet.
    pub upstream_tls: Vec<Option<Arc<tls::Upstream>>>,
    /// The keys of each issuer, by its index, where they stand in a file. `None`, or left out: fetched from an
    /// address, or not read yet.
    pub jwks: Vec<Option<Arc<Keys>>>,
    /// Files of keys that cohorts name, and what they hold; the file's directory is joined in front. `None`: not
    /// read yet.
    pub key_files: Vec<(PathBuf, Option<Arc<KeySet>>)>,
}

impl Spec {
    /// What is spoken on the admin API.
    #[must_use]
    pub fn admin_listener_tls(&self) -> tls::ListenerTls {
        Tls::spoken(self.admin_tls.as_ref())
    }
}

impl Listener {
    /// What is spoken on it.
    #[must_use]
    pub fn listener_tls(&self) -> tls::ListenerTls {
        Tls::spoken(self.tls.as_ref())
    }
}

/// An address we accept connections on.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique among listeners.
    pub name: Name,
    /// Port 0 asks the system for a free one.
    pub address: SocketAddr,
    /// `None`: clear text.
    pub tls: Option<Tls>,
    /// Clocks of a client's connection.
    pub timeouts: ListenerTimeouts,
    /// Bounds of what clients may ask for.
    pub limits: ListenerLimits,
    /// What becomes of ambiguous paths.
    pub paths: PathPolicy,
    /// Answers applications that ask for flags (OFREP).
    pub ofrep: bool,
    /// Trusted peers say in front of each connection for whom it is (PROXY protocol).
    pub proxy_protocol: bool,
    /// Every request is answered with a redirect to `https` on this port. `None`: served.
    pub redirect_to_https: Option<u16>,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one; the first is shown to who names no host, or one that none is for.
    pub certificates: Vec<CertificateFiles>,
    /// Refuse TLS 1.2.
    pub only_1_3: bool,
    /// Who may sign the certificates of clients, PEM. `None`: clients are asked for none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate; only with `client_ca`.
    pub client_required: bool,
    /// What answers say of `Strict-Transport-Security`. `None`: nothing.
    pub hsts: Option<Hsts>,
    /// What its files came to. `None`: not read yet.
    pub server: Option<Arc<tls::Server>>,
}

impl Tls {
    fn spoken(written: Option<&Self>) -> tls::ListenerTls {
        match written.map(|tls| &tls.server) {
            None => tls::ListenerTls::Clear,
            Some(None) => tls::ListenerTls::Unread,
            Some(Some(server)) => tls::ListenerTls::Ready(Arc::clone(server)),
        }
    }
}

/// A certificate chain and its key, both PEM; the file's directory is joined in front.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// Private key of the leaf.
    pub key: PathBuf,
}

/// TLS towards a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendTls {
    /// Who may vouch for the backend, PEM; the file's directory is joined in front. `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The name that its certificate must be for, and that it is asked by (SNI). `None`: each endpoint's host.
    pub server_name: Option<String>,
    /// What we show. `None`: nothing.
    pub certificate: Option<CertificateFiles>,
}

/// Clocks of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// For a TLS handshake, and for the head of the PROXY protocol. Default 10 s.
    pub handshake: Duration,
    /// From the first byte of a head to its end. Default 10 s.
    pub request_head: Duration,
    /// Between two reads of a body. Default 30 s.
    pub body: Duration,
    /// Between two requests. Default 60 s.
    pub idle: Duration,
    /// A connection older than this is asked to leave. `None`: it may stay.
    pub connection_age: Option<Duration>,
}

/// Bounds of what clients may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open connections of the whole process. Default 16,384.
    pub connections: u32,
    /// Open connections of one client address. Default: as many as `connections`.
    pub connections_per_client: u32,
    /// Streams that an HTTP/2 client may have open. Default 128.
    pub streams: u32,
    /// Tunnels (WebSocket) open at once, of the whole process. Default 4,096.
    pub upgrades: u32,
    /// Fields in a head. Default 100.
    pub headers: u32,
    /// Bytes of a head. Default 64 KiB.
    pub header_bytes: u32,
    /// Bytes of a request target. Default 16 KiB.
    pub uri_bytes: u32,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any address inside.
    pub address: IpAddr,
    /// Leading bits that count: 0 to 32, or 0 to 128.
    pub prefix_bits: u8,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// One JSON object a line; otherwise text.
    pub json: bool,
    /// Which exchanges get a line.
    pub access: AccessLog,
}

/// The compact log of outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeLog {
    /// The file that is written; the file's directory is joined in front.
    pub file: PathBuf,
    /// A file that has reached this size, in bytes, is put aside. Default 64 MiB.
    pub max_bytes: u64,
    /// How many files that were put aside are kept. Default 4.
    pub keep: u32,
}

/// How long the audit log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// A file that has reached this size, in bytes, is put aside. Default 64 MiB.
    pub max_bytes: u64,
    /// Files put aside whose newest record is older than this are removed. Default 7 years.
    pub retention: Duration,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            retention: Duration::from_secs(7 * 365 * 24 * 3600),
        }
    }
}

/// Somebody who is told of what happens to rollouts.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Unique among channels.
    pub name: Name,
    /// What it speaks.
    pub service: Service,
    /// The least that it is told of.
    pub severity: Severity,
    /// Whether it is also told of what goes well: started, moved on, promoted.
    pub progress: bool,
    /// Indexes of the rollouts it is told of; empty: all.
    pub rollouts: Vec<usize>,
}

/// What a channel speaks. URLs and keys are secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Service {
    /// An incoming webhook of Slack.
    Slack {
        /// Its address.
        url: String,
    },
    /// A workflow webhook of Microsoft Teams: an adaptive card.
    Teams {
        /// Its address.
        url: String,
    },
    /// PagerDuty, Events API v2.
    PagerDuty {
        /// Where events are sent. Default `https://events.pagerduty.com/v2/enqueue`.
        url: String,
        /// The integration key.
        routing_key: String,
    },
    /// A plain webhook.
    Webhook {
        /// Its address.
        url: String,
        /// More request headers.
        headers: Vec<(String, String)>,
        /// The body, with `{{placeholders}}`; `None`: the event as JSON.
        template: Option<String>,
    },
}

impl std::fmt::Debug for Service {
    /// Without what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Slack { .. } => "Slack",
            Self::Teams { .. } => "Teams",
            Self::PagerDuty { .. } => "PagerDuty",
            Self::Webhook { .. } => "Webhook",
        })
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A rollout waits: a hold, a pause that Serin made, a gate that waits for people.
    Warn,
    /// A canary lost everything.
    Critical,
}

/// A named version of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Unique among backends.
    pub name: Name,
    /// Image tag, git revision; compared by value.
    pub release: Option<String>,
    /// When the newest commit in this release was made, in Unix milliseconds: the lead time begins here.
    pub commit_ms: Option<u64>,
    /// At least one, no two alike.
    pub endpoints: Vec<Endpoint>,
    /// How the next endpoint is picked.
    pub load_balancing: LoadBalancing,
    /// What is spoken to it.
    pub protocol: BackendProtocol,
    /// TLS towards it; `None`: clear text.
    pub tls: Option<BackendTls>,
    /// It is told for whom each connection is (PROXY protocol); such connections are not shared by clients.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Its endpoints may be link-local addresses (also after a look-up), or this process's admin address.
    pub allow_internal: bool,
    /// What this backend is asked to bear.
    pub limits: BackendLimits,
}

/// `host:port` of one address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// An IP address (no brackets) or a DNS name.
    pub host: String,
    /// 1 to 65,535.
    pub port: u16,
}

/// What one backend is asked to bear, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendLimits {
    /// Exchanges at once; more are answered 503. Default 65,536.
    pub max_in_flight: u32,
    /// Open connections; more are answered 503. Default 65,536.
    pub max_connections: u32,
    /// Default 1 s; a TLS handshake included.
    pub connect_timeout: Duration,
    /// Streams that we open on one HTTP/2 connection; fewer where the backend says so. Default 100.
    pub max_streams: u32,
}

/// A match, and the split it leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique among routes.
    pub name: Name,
    /// Which requests.
    pub matches: Match,
    /// Until the response head. Default 5 s.
    pub timeout: Duration,
    /// Between two reads of a response's body. `None`: as the listener's `timeouts.body`.
    pub body_timeout: Option<Duration>,
    /// For a whole exchange, its body included. `None`: it may last. Tunnels are bound by it, too.
    pub total_timeout: Option<Duration>,
    /// In file order; at least one; weights add up to more than 0.
    pub variants: Vec<Variant>,
    /// Who gets which of them.
    pub rules: Rules,
    /// Which statuses of its backends are their failures. Default 500 and above.
    pub failure_statuses: FailureStatuses,
    /// Responses carry `x-serin-variant` and `x-serin-generation`. Default true.
    pub expose_variant: bool,
}

/// One side of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Unique in the split.
    pub name: Name,
    /// Index in `Spec::backends`.
    pub backend: usize,
    /// Relative; 0 to 1,000,000. Of the environment that the file runs in.
    pub weight: u32,
    /// What it means to applications; of all variants of a split, or of none.
    pub value: Option<Json>,
}

/// A flag for applications alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// Unique among the keys of all flags, those of routes included.
    pub name: Name,
    /// In file order; at least one; weights add up to more than 0.
    pub variants: Vec<FlagVariant>,
    /// Who gets which of them.
    pub rules: Rules,
}

/// One side of a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagVariant {
    /// Unique in the flag.
    pub name: Name,
    /// Relative; 0 to 1,000,000. Of the environment that the file runs in.
    pub weight: u32,
    /// What it means; of all variants of a flag, or of none.
    pub value: Option<Json>,
}

/// Who gets which variant of a split, beside the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How applications call it: unique among all flags.
    pub flag: Name,
    /// Whether it is among the answers for all flags: it is one without a route, has a key, or says how it is called.
    pub listed: bool,
    /// What keeps a user on one side; `None`: each request draws anew.
    pub key: Option<KeySpec>,
    /// Hashed between the name and the key; empty: nothing.
    pub salt: String,
    /// Whether it is on, and when.
    pub schedule: Schedule,
    /// The variant of those whom it is not for; `None`: the rollout's `from`, else the first.
    pub default: Option<usize>,
    /// All of these, else the default. No circles; their number is bounded, theirs included.
    pub prerequisites: Vec<Prerequisite>,
    /// Tried in order, before the weights. Those of other environments are left out.
    pub cohorts: Vec<CohortSpec>,
    /// For clients without a key; routes only.
    pub sticky: Option<StickySpec>,
}

/// One trial of a canary on one route.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Unique among rollouts.
    pub name: Name,
    /// Index in `Spec::routes`.
    pub route: usize,
    /// Index of stable in the route's variants; a neighbour of `to`.
    pub from: usize,
    /// Index of the canary in the route's variants.
    pub to: usize,
    /// A changed `release` of `to`'s backend starts the plan.
    pub auto_start: bool,
    /// What is judged; the limits.
    pub analysis: AnalysisSpec,
    /// Judge and report, but move nothing.
    pub observe: bool,
    /// The canary's requests that may be open without a response head at once; `None`: any number.
    pub in_flight_max: Option<u32>,
    /// How long after the bake time of a step evidence is waited for before the rollout is paused.
    pub patience: Duration,
    /// One key casts at most so many votes in ten seconds and worker, where there are many keys;
    /// `None`: any number.
    pub max_votes_per_key: Option<u32>,
    /// Latencies of so many first requests of an endpoint are no evidence.
    pub warm_up: u32,
    /// Steps; empty for a standing guard.
    pub plan: Plan,
    /// How the canary takes over.
    pub strategy: Strategy,
    /// When it may move forward; `None`: at any time.
    pub window: Option<Window>,
    /// Requests that reach the idle side of the pair at weight 0; never evidence.
    pub preview: Option<Preview>,
    /// Exchanges on a side that lost all its weight are cut after so long; `None`: they end by themselves.
    pub drain: Option<Duration>,
    /// Called after an abort or a rollback.
    pub on_rollback: Vec<Arc<Webhook>>,
}

/// How a canary takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// In rising shares.
    #[default]
    Canary,
    /// All at once, after checks at weight 0.
    BlueGreen,
    /// Endpoint by endpoint.
    Rolling,
}

/// Which requests reach the idle side: those to one of the hosts, and those with the header.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Lower case, without port; the route matches them, too.
    pub hosts: Vec<String>,
    /// A condition on a header.
    pub header: Option<FieldMatch>,
}

impl Rules {
    /// Nobody is placed by rule.
    #[must_use]
    pub fn of(flag: Name) -> Self {
        Self {
            flag,
            listed: false,
            key: None,
            salt: String::new(),
            schedule: Schedule::default(),
            default: None,
            prerequisites: Vec::new(),
            cohorts: Vec::new(),
            sticky: None,
        }
    }

    /// Whether a cohort names a file of keys.
    #[must_use]
    pub fn reads_keys(&self) -> bool {
        let mut keys = self.cohorts.iter().filter_map(|cohort| cohort.keys.as_ref());
        keys.any(|keys| keys.file.is_some())
    }

    /// Whether other flags are asked.
    #[must_use]
    pub fn asks_flags(&self) -> bool {
        !self.prerequisites.is_empty() || self.cohorts.iter().any(|cohort| !cohort.prerequisites.is_empty())
    }
}
