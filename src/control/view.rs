//! What control shows: plain values, converted to JSON by `admin::api`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::certificates::CertificateReloads;
use crate::analysis::{Verdict, VerdictKind};
use crate::measure::Recorder;
use crate::name::Name;
use crate::rollout::{Approval, Phase, Schedule};
use crate::route::Endpoint;

/// `GET /v1/status`
#[derive(Clone, Debug)]
pub struct StatusView {
    /// The live table's.
    pub generation: u64,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// The file we run with.
    pub config_file: String,
    /// Free label.
    pub environment: Option<String>,
    /// Where we accept.
    pub listeners: Vec<ListenerView>,
    /// Certificates of the admin API; empty: it is in clear text.
    pub admin_certificates: Vec<CertificateView>,
    /// The last reading of the file.
    pub last_reload: ReloadView,
    /// Phases by rollout.
    pub rollouts: Vec<(Name, Phase)>,
    /// Changed weights of the file that a rollout keeps from being applied, in words.
    pub kept: Vec<String>,
    /// Why the state directory cannot be written just now.
    pub state_problem: Option<String>,
    /// How it stands with the keys of each issuer of tokens.
    pub issuers: Vec<IssuerView>,
    /// Number of worker threads.
    pub workers: usize,
    /// Nothing moves forward.
    pub frozen: Option<FreezeView>,
}

/// How it stands with the keys of one issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerView {
    /// Its `iss`.
    pub issuer: String,
    /// How many can verify tokens now; 0: nobody is believed.
    pub keys: usize,
    /// When they were last fetched, in Unix milliseconds. `None`: never, or they stand in a file.
    pub fetched_at_ms: Option<u64>,
    /// Why the last fetch failed.
    pub problem: Option<String>,
}

/// Since when nothing moves forward, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the words of the contract
pub struct FreezeView {
    pub by: String,
    pub reason: String,
    /// Unix milliseconds.
    pub since_ms: u64,
}

/// A listener as bound.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are the words of the contract
pub struct ListenerView {
    pub name: Name,
    pub address: SocketAddr,
    pub tls: bool,
    /// In the order of the file, the default first.
    pub certificates: Vec<CertificateView>,
    /// Who vouches for its clients; `None`: they are asked for no certificate.
    pub client_ca: Option<ClientCaView>,
}

/// A certificate as it is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateView {
    /// Whom it is for: DNS names, then addresses.
    pub names: Vec<String>,
    /// From when on it counts, in Unix seconds.
    pub not_before_s: i64,
    /// Until when it counts, in Unix seconds.
    pub not_after_s: i64,
    /// Where its chain stands.
    pub file: String,
    /// Why what its files hold now is not shown.
    pub problem: Option<String>,
}

/// Who vouches for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCaView {
    /// Where they stand.
    pub file: String,
    /// Whether clients must show a certificate.
    pub required: bool,
    /// Why what the file holds now is not used.
    pub problem: Option<String>,
}

/// The last reading of the file.
#[derive(Clone, Debug, Default)]
pub struct ReloadView {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Whether it is live.
    pub ok: bool,
    /// Empty when it is.
    pub problems: Vec<Entry>,
}

/// One problem of a file or of a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `file:line:column`, empty for bodies.
    pub place: String,
    /// `routes.checkout.split`, or the field of a body.
    pub path: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Entry {
    /// `place path: message`, without what is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{} ", self.place)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// `GET /v1/routes/{route}`
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Its name.
    pub name: Name,
    /// The table's generation.
    pub generation: u64,
    /// In file order.
    pub variants: Vec<VariantView>,
    /// The rollout on it, if any, and its phase.
    pub rollout: Option<(Name, Phase)>,
    /// Whether its flag is on; while it is off everybody gets the default variant.
    pub enabled: bool,
    /// Those whom cohorts placed, in the order of the cohorts.
    pub cohorts: Vec<CohortView>,
}

/// Those whom one cohort placed.
#[derive(Clone, Debug)]
pub struct CohortView {
    /// Its name.
    pub name: Name,
    /// By each variant that they may go to; of the last window, votes and others together.
    pub variants: Vec<(Name, VariantStats)>,
}

/// `GET /v1/flags/{key}`
#[derive(Clone, Debug)]
pub struct FlagView {
    /// How applications call it.
    pub key: Name,
    /// The route whose split it is; `None`: it is for applications alone.
    pub route: Option<Name>,
    /// The table's generation.
    pub generation: u64,
    /// Whether it is on now.
    pub enabled: bool,
    /// What the file says of that.
    pub schedule: Schedule,
    /// What a person said of that since.
    pub by_hand: Option<ByHandView>,
    /// Other flags that must answer so, else everybody gets the default: flag and variant.
    pub prerequisites: Vec<(Name, Name)>,
    /// The one of them that cannot be met now: everybody gets the default.
    pub held_by: Option<Name>,
    /// The variant of those whom it is not for.
    pub default: Name,
    /// In file order.
    pub variants: Vec<FlagVariantView>,
    /// Names of the cohorts, in the order in which they are tried.
    pub cohorts: Vec<Name>,
    /// The rollout that moves its weights, if any, and its phase.
    pub rollout: Option<(Name, Phase)>,
}

/// One side of a flag.
#[derive(Clone, Debug)]
pub struct FlagVariantView {
    /// Its name.
    pub name: Name,
    /// What it means to applications; `None`: its name.
    pub value: Option<serde_json::Value>,
    /// As [`VariantView::weight`].
    pub weight: u32,
    /// 0 to 1; of the default 1 while the flag is off.
    pub share: f64,
}

/// A person switched a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the words of the contract
pub struct ByHandView {
    pub enabled: bool,
    pub by: String,
    pub reason: String,
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// One side of a split.
#[derive(Clone, Debug)]
pub struct VariantView {
    /// Its name.
    pub name: Name,
    /// Where it leads.
    pub backend: Name,
    /// The backend's release.
    pub release: Option<String>,
    /// As in force: as written by file or person; parts per million once a rollout moved it.
    pub weight: u32,
    /// 0 to 1.
    pub share: f64,
    /// Of the last window.
    pub stats: VariantStats,
}

/// What happened in the last window (some 10 s).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VariantStats {
    /// Length of the window in seconds.
    pub window_seconds: f64,
    /// Attempts that were evidence.
    pub requests: u64,
    /// Failures among them.
    pub failures: u64,
    /// `None` without requests.
    pub error_rate: Option<f64>,
    /// Attempts that a cohort placed and that do not vote; not in `requests`.
    pub cohort_requests: u64,
    /// Failures among them.
    pub cohort_failures: u64,
    /// Quantiles in microseconds; `None` without answers.
    pub p50_us: Option<u64>,
    /// See `p50_us`.
    pub p95_us: Option<u64>,
    /// See `p50_us`.
    pub p99_us: Option<u64>,
    /// Open now.
    pub in_flight: u64,
}

/// `GET /v1/backends/{backend}`
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are the words of the contract
pub struct BackendView {
    pub name: Name,
    pub release: Option<String>,
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are the words of the contract
pub struct EndpointView {
    pub address: Arc<str>,
    pub healthy: bool,
    pub ejected: bool,
    pub in_flight: u32,
    pub connections: u32,
    pub idle: u32,
}

/// `GET /v1/rollouts/{rollout}`
#[derive(Clone, Debug)]
pub struct RolloutView {
    /// Its name.
    pub name: Name,
    /// The route.
    pub route: Name,
    /// Stable's variant.
    pub from: Name,
    /// The canary's variant.
    pub to: Name,
    /// Judged and reported only: nothing moves by itself.
    pub observe: bool,
    /// Where it stands.
    pub phase: Phase,
    /// Index of the step in force.
    pub step: Option<usize>,
    /// Number of steps of the plan.
    pub steps: usize,
    /// The canary's weight in the pair by plan, 0 to 1, of each step.
    pub step_weights: Vec<f64>,
    /// How it is done.
    pub course: Course,
    /// When phase and step began, in Unix milliseconds.
    pub since_ms: u64,
    /// How long the step has baked, and must, in seconds.
    pub baked_seconds: f64,
    /// See `baked_seconds`.
    pub bake_seconds: f64,
    /// The canary's share of the split, 0 to 1.
    pub share: f64,
    /// The last verdict; `None` before the first.
    pub verdict: Option<Verdict>,
    /// Why it stands where it stands.
    pub reason: String,
    /// Newest last.
    pub history: Vec<EventRecord>,
}

/// How a rollout is done, beside where it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// What each step waits for: `evidence`, `pause`, `approvals`, `window`, `webhook`, `smoke`, `drain`, and
    /// the part of the file's list that it comes of.
    pub step_kinds: Vec<(&'static str, usize)>,
    /// How the canary takes over: `canary`, `blueGreen` or `rolling`.
    pub strategy: &'static str,
    /// The release on trial, or last on trial.
    pub release: Option<String>,
    /// Aborted: the index of the step that it was in then; the number of steps: it had passed all.
    pub aborted_in: Option<usize>,
    /// What still runs after its success.
    pub after: Afterwards,
    /// What it waits for just now beside time and evidence, in words.
    pub waiting: Option<String>,
    /// Given for the gate that it stands at.
    pub approvals: Vec<Approval>,
}

/// Until when what follows a success goes on, in Unix milliseconds. `None`: it is over, or there is none.
/// What counts the time that Serin was up assumes that it stays up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Afterwards {
    /// The former version stands by.
    pub standby_ms: Option<u64>,
    /// The canary is judged on.
    pub watch_ms: Option<u64>,
    /// `rollback` is possible; also `None` where it is until the next start.
    pub rollback_ms: Option<u64>,
}

/// One change or verdict: in the journal, the events and a rollout's history.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// Rises by one each; resumable with `Last-Event-ID`.
    pub id: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// `weights`, `rollout`, `verdict`, `reload`, `start`.
    pub kind: &'static str,
    /// The live generation after it.
    pub generation: u64,
    /// Who: `file`, `serin`, `api`, or a person's name.
    pub by: String,
    /// Whom it concerns.
    pub route: Option<Name>,
    /// Whom it concerns.
    pub rollout: Option<Name>,
    /// What it was before, in words: a phase, or weights such as `stable=90 canary=10`.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// In words, with figures.
    pub reason: String,
    /// What else is known, such as `release`, `commitTime`, `direction` or `metric`.
    pub facts: Vec<(&'static str, String)>,
    /// The verdict of that moment, where the canary was judged. With its proof only where it failed
    /// and that brought about an abort, and only the newest of them.
    pub verdict: Option<Verdict>,
}

/// What the metrics page is made of, beside the workers' own cells. Recorders and endpoints are
/// shared, so that their numbers are read at the scrape and not before.
#[derive(Clone, Debug, Default)]
pub struct MetricsView {
    /// The live table's.
    pub generation: u64,
    /// Every (route, variant, backend) of the live table; a removed one is gone from the page.
    pub variants: Vec<VariantMetrics>,
    /// Every (route, cohort, variant) whose exchanges are counted.
    pub cohorts: Vec<Arc<Recorder>>,
    /// Every endpoint of the live table.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Every rollout.
    pub rollouts: Vec<RolloutMetrics>,
    /// Readings of the file that went live (the first one at the start included).
    pub reloads_ok: u64,
    /// Readings that were refused.
    pub reloads_failed: u64,
    /// When a reading last went live, in Unix seconds.
    pub last_reload_success: f64,
    /// Aborts so far by rollout and reason: the word of the metric that decided, or `manual`.
    pub rollbacks: Vec<(Name, String, u64)>,
    /// How it stands with the keys of each issuer of tokens.
    pub issuers: Vec<IssuerView>,
    /// Notifications so far by channel and what became of them: `delivered`, `failed` or `dropped`.
    pub notifications: Vec<(Name, &'static str, u64)>,
    /// When certificates expire: the listener (`admin` for the admin API), the certificate's first name, Unix seconds.
    pub certificates: Vec<(String, String, i64)>,
    /// Readings of certificates after the first one.
    pub certificate_reloads: CertificateReloads,
}

/// One variant of one route.
#[derive(Clone, Debug)]
pub struct VariantMetrics {
    /// Its counters; they name route, variant and backend.
    pub recorder: Arc<Recorder>,
    /// Of the split, 0 to 1.
    pub share: f64,
    /// Exchanges that were ended after it lost its weight; `None`: no rollout drains it.
    pub drained: Option<u64>,
}

/// Where one rollout stands.
#[derive(Clone, Debug)]
pub struct RolloutMetrics {
    /// Its name.
    pub name: Name,
    /// Its phase.
    pub phase: Phase,
    /// Index of the step in force.
    pub step: Option<usize>,
    /// The last verdict; `None` before the first.
    pub verdict: Option<VerdictKind>,
    /// Requests for the canary that its breaker sent to stable.
    pub diverted: u64,
}
