//! The metrics page: families are built at the scrape, from the counters of the workers.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::process::Process;
use crate::analysis::VerdictKind;
use crate::control::{MetricsView, VariantMetrics};
use crate::measure::{CodeClass, Outcome, ProxyCells, Recorder, RejectReason, TokenRefusal, Track};
use crate::name::Name;
use crate::rollout::Phase;

/// Content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of the latency buckets in seconds, `+Inf` beside them.
const BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What the page shows.
pub(super) struct Scrape {
    /// From control.
    pub(super) view: MetricsView,
    /// One for each worker.
    pub(super) cells: Arc<[ProxyCells]>,
    /// The listeners' names, in the order of the cells' indexes.
    pub(super) listeners: Arc<[Name]>,
    /// Calls of the admin API that were refused, by reason.
    pub(super) refused: [(&'static str, u64); 2],
    /// New requests are refused for want of memory.
    pub(super) overloaded: bool,
}

impl Scrape {
    /// The page as text. Costs one pass over all histograms: not for the thread that decides.
    ///
    /// # Errors
    /// None that the families below can cause; the encoder's type has them.
    pub(super) fn render(self) -> Result<String, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(self))?;
        TextEncoder::new().encode_to_string(&registry.gather())
    }

    fn rejected(&self, reason: RejectReason) -> u64 {
        self.cells.iter().map(|cells| cells.rejected(reason)).sum()
    }

    fn connections(&self, listener: usize) -> i64 {
        self.cells.iter().map(|cells| cells.connections(listener)).sum()
    }
}

impl Collector for Scrape {
    /// None: each page has a registry of its own, so there is nobody to clash with.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = requests(&self.view.variants);
        families.extend(cohorts(&self.view.cohorts));
        families.extend(rollouts(&self.view));
        families.extend(issuers(self));
        families.extend(connections(self));
        families.extend(process(&Process::read()));
        families
    }
}

/// Families of routes, variants and backends.
fn requests(variants: &[VariantMetrics]) -> Vec<MetricFamily> {
    let mut answers = Family::counter(
        "serin_requests_total",
        "Answers to clients, by the variant that answered.",
    );
    let mut attempts = Family::counter(
        "serin_attempts_total",
        "Tries at a backend, by what they show about it.",
    );
    let mut cohorts = Family::counter(
        "serin_cohort_attempts_total",
        "Those of the tries that a cohort placed and that do not vote.",
    );
    let mut durations = Family::histogram(
        "serin_request_duration_seconds",
        "From request head complete to response head received.",
    );
    let mut in_flight = Family::gauge("serin_requests_in_flight", "Requests open now.");
    let mut shares = Family::gauge("serin_variant_share", "Part of the split, 0 to 1.");
    let mut drained = Family::counter(
        "serin_drained_total",
        "Exchanges that were ended because their variant had lost all its weight.",
    );
    for VariantMetrics {
        recorder,
        share,
        drained: ended,
    } in variants
    {
        let key = recorder.key();
        let pair = [("route", key.route.as_str()), ("variant", key.variant.as_str())];
        let triple = [pair[0], pair[1], ("backend", key.backend.as_str())];
        let (counts, cohort) = (recorder.all_counts(), recorder.counts(Track::Cohort));
        for (outcome, row) in Outcome::ALL.into_iter().zip(recorder.answers()) {
            let labels = [triple[0], triple[1], triple[2], ("outcome", outcome.as_str())];
            attempts.push(&labels, float(counts.of(outcome)));
            cohorts.push(&labels, float(cohort.of(outcome)));
            for (class, n) in CodeClass::ALL.into_iter().zip(row) {
                let usual = outcome == Outcome::Success && class == CodeClass::Success;
                if n > 0 || usual {
                    let [a, b, c, d] = labels;
                    answers.push(&[a, b, c, d, ("code_class", class.as_str())], float(n));
                }
            }
        }
        durations.push_histogram(&triple, &recorder.snapshot().latency);
        in_flight.push(&pair, float(recorder.in_flight()));
        shares.push(&pair, *share);
        if let Some(ended) = ended {
            drained.push(&pair, float(*ended));
        }
    }
    [answers, attempts, cohorts, durations, in_flight, shares, drained]
        .map(Family::done)
        .into()
}

/// Families of those whom cohorts placed.
fn cohorts(recorders: &[Arc<Recorder>]) -> Vec<MetricFamily> {
    let mut answers = Family::counter(
        "serin_cohort_requests_total",
        "Answers to clients whom a cohort placed, by the variant that answered.",
    );
    let mut durations = Family::histogram(
        "serin_cohort_request_duration_seconds",
        "From request head complete to response head received, of clients whom a cohort placed.",
    );
    for recorder in recorders {
        let key = recorder.key();
        let cohort = key.cohort.as_ref().map_or("", Name::as_str);
        let triple = [
            ("route", key.route.as_str()),
            ("cohort", cohort),
            ("variant", key.variant.as_str()),
        ];
        for (outcome, row) in Outcome::ALL.into_iter().zip(recorder.answers()) {
            let [a, b, c] = triple;
            answers.push(&[a, b, c, ("outcome", outcome.as_str())], float(row.iter().sum()));
        }
        durations.push_histogram(&triple, &recorder.snapshot().latency);
    }
    [answers, durations].map(Family::done).into()
}

/// Families of what control decided.
fn rollouts(view: &MetricsView) -> Vec<MetricFamily> {
    let mut generation = Family::gauge("serin_route_generation", "Generation of the live table.");
    generation.push(&[], float(view.generation));

    let mut phases = Family::gauge("serin_rollout_phase", "1 for the phase the rollout is in.");
    let mut steps = Family::gauge("serin_rollout_step", "Index of the step in force, from 0.");
    let mut verdicts = Family::gauge("serin_rollout_verdict", "1 for the last verdict.");
    let mut diverted = Family::counter(
        "serin_breaker_diverted_total",
        "Requests for the canary that its breaker sent to stable.",
    );
    for rollout in &view.rollouts {
        let name = ("rollout", rollout.name.as_str());
        for phase in Phase::ALL {
            phases.push(&[name, ("phase", phase.as_str())], one_if(rollout.phase == phase));
        }
        if let Some(step) = rollout.step {
            steps.push(&[name], float(step as u64));
        }
        diverted.push(&[name], float(rollout.diverted));
        for kind in VerdictKind::ALL {
            verdicts.push(
                &[name, ("verdict", kind.as_str())],
                one_if(rollout.verdict == Some(kind)),
            );
        }
    }

    let mut rollbacks = Family::counter("serin_rollbacks_total", "Aborts, by what decided.");
    for (name, reason, n) in &view.rollbacks {
        rollbacks.push(&[("rollout", name.as_str()), ("reason", reason)], float(*n));
    }

    let mut notifications = Family::counter(
        "serin_notifications_total",
        "Messages to a channel, by what became of them.",
    );
    for (channel, result, n) in &view.notifications {
        notifications.push(&[("channel", channel.as_str()), ("result", result)], float(*n));
    }

    let mut reloads = Family::counter("serin_config_reloads_total", "Readings of the configuration file.");
    reloads.push(&[("result", "success")], float(view.reloads_ok));
    reloads.push(&[("result", "failure")], float(view.reloads_failed));
    let mut last = Family::gauge(
        "serin_config_last_reload_success_timestamp_seconds",
        "When a reading of the file last went live.",
    );
    last.push(&[], view.last_reload_success);
    [
        generation,
        phases,
        steps,
        verdicts,
        diverted,
        rollbacks,
        notifications,
        reloads,
        last,
    ]
    .map(Family::done)
    .into()
}

/// Families of those whose tokens are believed.
fn issuers(scrape: &Scrape) -> Vec<MetricFamily> {
    let views = &scrape.view.issuers;
    let mut keys = Family::gauge("serin_jwks_keys", "Keys of an issuer that can verify tokens now.");
    let mut last = Family::gauge(
        "serin_jwks_last_success_timestamp_seconds",
        "When the keys of an issuer were last fetched.",
    );
    for view in views {
        let issuer = ("issuer", view.issuer.as_str());
        keys.push(&[issuer], float(view.keys as u64));
        if let Some(at_ms) = view.fetched_at_ms {
            last.push(&[issuer], float(at_ms) / 1000.0);
        }
    }
    let mut refused = Family::counter(
        "serin_jwt_refused_total",
        "Tokens of requests to routes that go by claims, which were not believed.",
    );
    for why in TokenRefusal::ALL {
        let tokens = scrape.cells.iter().map(|cells| cells.refused_tokens(why)).sum();
        // Without issuers nobody's token is looked at.
        if tokens > 0 || !views.is_empty() {
            refused.push(&[("reason", why.as_str())], float(tokens));
        }
    }
    [keys, last, refused].map(Family::done).into()
}

/// Families of sockets and refusals.
fn connections(scrape: &Scrape) -> Vec<MetricFamily> {
    let mut upstream = Family::gauge("serin_upstream_connections", "Open connections to backends.");
    let mut healthy = Family::gauge("serin_endpoint_healthy", "1 while the endpoint is used.");
    // Endpoints of one backend stand together in the view, but nothing here relies on it.
    let mut sums: std::collections::BTreeMap<&Name, (u64, u64)> = std::collections::BTreeMap::new();
    for endpoint in &scrape.view.endpoints {
        let (idle, open) = (u64::from(endpoint.idle()), u64::from(endpoint.connections()));
        let sum = sums.entry(&endpoint.backend).or_default();
        sum.0 += idle;
        sum.1 += open.saturating_sub(idle);
        let labels = [
            ("backend", endpoint.backend.as_str()),
            ("endpoint", &*endpoint.authority),
        ];
        // Nothing takes an endpoint out of use yet: health checks and ejection will.
        healthy.push(&labels, 1.0);
    }
    for (backend, (idle, active)) in sums {
        upstream.push(&[("backend", backend.as_str()), ("state", "idle")], float(idle));
        upstream.push(&[("backend", backend.as_str()), ("state", "active")], float(active));
    }

    let mut downstream = Family::gauge("serin_downstream_connections", "Open connections of clients.");
    for (index, name) in scrape.listeners.iter().enumerate() {
        #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
        downstream.push(&[("listener", name.as_str())], scrape.connections(index) as f64);
    }
    let mut rejected = Family::counter("serin_rejected_total", "What Serin itself refused, dropped or lost.");
    for reason in RejectReason::ALL {
        rejected.push(&[("reason", reason.as_str())], float(scrape.rejected(reason)));
    }
    let mut refused = Family::counter(
        "serin_admin_refused_total",
        "Calls of the admin API without a token, or without the role.",
    );
    for (reason, count) in scrape.refused {
        refused.push(&[("reason", reason)], float(count));
    }
    let mut flags = Family::counter(
        "serin_ofrep_requests_total",
        "Calls for flags that listeners answered, by class of status.",
    );
    for class in CodeClass::ALL {
        let calls = scrape.cells.iter().map(|cells| cells.flag_calls(class)).sum();
        if calls > 0 || class == CodeClass::Success {
            flags.push(&[("code_class", class.as_str())], float(calls));
        }
    }
    let mut expiry = Family::gauge(
        "serin_certificate_expiry_timestamp_seconds",
        "When a certificate that clients are shown expires, Unix time.",
    );
    for (listener, certificate, at_s) in &scrape.view.certificates {
        #[allow(clippy::cast_precision_loss)] // seconds of some thousand years
        expiry.push(
            &[("listener", listener.as_str()), ("certificate", certificate.as_str())],
            *at_s as f64,
        );
    }
    let mut reloads = Family::counter(
        "serin_certificate_reloads_total",
        "Certificates that were read again: shown from then on, or not usable.",
    );
    for (result, count) in [
        ("success", scrape.view.certificate_reloads.ok),
        ("failure", scrape.view.certificate_reloads.failed),
    ] {
        reloads.push(&[("result", result)], float(count));
    }
    let mut overloaded = Family::gauge("serin_overloaded", "1: new requests are refused for want of memory.");
    overloaded.push(&[], f64::from(u8::from(scrape.overloaded)));
    [
        upstream, healthy, downstream, rejected, overloaded, refused, flags, expiry, reloads,
    ]
    .map(Family::done)
    .into()
}

/// Families of this process.
fn process(process: &Process) -> Vec<MetricFamily> {
    let gauges = [
        (
            Family::counter("process_cpu_seconds_total", "Processor time used."),
            process.cpu_seconds,
        ),
        (
            Family::gauge("process_resident_memory_bytes", "Memory in RAM."),
            process.resident_bytes,
        ),
        (
            Family::gauge("process_virtual_memory_bytes", "Address space."),
            process.virtual_bytes,
        ),
        (
            Family::gauge("process_open_fds", "Files and sockets open."),
            process.open_fds,
        ),
        (
            Family::gauge("process_max_fds", "How many may be open."),
            process.max_fds,
        ),
        (
            Family::gauge("process_start_time_seconds", "When it started, Unix time."),
            process.start_seconds,
        ),
    ];
    gauges
        .into_iter()
        .map(|(mut family, value)| {
            if let Some(value) = value {
                family.push(&[], value);
            }
            family.done()
        })
        .collect()
}

/// One family in the making. Without samples it does not appear on the page.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
}

impl Family {
    const fn new(name: &'static str, help: &'static str, kind: MetricType) -> Self {
        Self {
            name,
            help,
            kind,
            samples: Vec::new(),
        }
    }

    const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn push(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut sample = Sample::from_label(pairs(labels));
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        self.samples.push(sample);
    }

    fn push_histogram(&mut self, labels: &[(&str, &str)], latency: &crate::measure::Histogram) {
        let mut histogram = Histogram::default();
        histogram.set_bucket(
            BUCKETS
                .iter()
                .map(|&bound| {
                    let mut bucket = Bucket::default();
                    bucket.set_upper_bound(bound);
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole µs up to 10^7
                    bucket.set_cumulative_count(latency.count_at_most((bound * 1e6).round() as u64));
                    bucket
                })
                .collect(),
        );
        histogram.set_sample_count(latency.count());
        histogram.set_sample_sum(float(latency.sum_us()) / 1e6);
        let mut sample = Sample::from_label(pairs(labels));
        sample.set_histogram(histogram);
        self.samples.push(sample);
    }

    fn done(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(self.samples);
        family
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}

fn one_if(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::Scrape;
    use crate::admin::fake::Fake;
    use crate::control::Asked;

    async fn page() -> String {
        let fake = Fake::start();
        let scrape = Scrape {
            view: fake.handle.ask(Asked::Metrics).await.unwrap(),
            cells: fake.context.cells,
            listeners: fake.context.listeners,
            overloaded: false,
            refused: [("unauthorized", 3), ("forbidden", 0)],
        };
        scrape.render().unwrap()
    }

    fn has(page: &str, line: &str) {
        assert!(page.lines().any(|is| is == line), "no line {line} in\n{page}");
    }

    #[tokio::test]
    async fn every_family_of_the_contract_is_there() {
        let page = page().await;
        let labels = r#"route="checkout",variant="canary",backend="checkout-v2""#;
        for line in [
            &format!(r#"serin_requests_total{{{labels},outcome="success",code_class="2xx"}} 1"#),
            &format!(r#"serin_requests_total{{{labels},outcome="failure",code_class="5xx"}} 1"#),
            &format!(r#"serin_attempts_total{{{labels},outcome="success"}} 1"#),
            &format!(r#"serin_attempts_total{{{labels},outcome="failure"}} 1"#),
            &format!(r#"serin_attempts_total{{{labels},outcome="noEvidence"}} 0"#),
            &format!(r#"serin_cohort_attempts_total{{{labels},outcome="success"}} 0"#),
            r#"serin_cohort_requests_total{route="checkout",cohort="beta",variant="canary",outcome="success"} 1"#,
            r#"serin_cohort_requests_total{route="checkout",cohort="beta",variant="canary",outcome="failure"} 0"#,
            r#"serin_cohort_request_duration_seconds_bucket{route="checkout",cohort="beta",variant="canary",le="0.005"} 1"#,
            &format!(r#"serin_request_duration_seconds_bucket{{{labels},le="0.005"}} 1"#),
            &format!(r#"serin_request_duration_seconds_bucket{{{labels},le="0.2"}} 2"#),
            &format!(r#"serin_request_duration_seconds_bucket{{{labels},le="0.5"}} 2"#),
            &format!(r#"serin_request_duration_seconds_bucket{{{labels},le="1"}} 2"#),
            &format!(r#"serin_request_duration_seconds_bucket{{{labels},le="10"}} 2"#),
            &format!(r#"serin_request_duration_seconds_bucket{{{labels},le="+Inf"}} 2"#),
            &format!(r#"serin_request_duration_seconds_sum{{{labels}}} 0.034"#),
            &format!(r#"serin_request_duration_seconds_count{{{labels}}} 2"#),
            r#"serin_requests_in_flight{route="checkout",variant="canary"} 1"#,
            r#"serin_variant_share{route="checkout",variant="canary"} 0.25"#,
            r#"serin_drained_total{route="checkout",variant="canary"} 3"#,
            "serin_route_generation 42",
            r#"serin_rollout_phase{rollout="checkout",phase="aborted"} 1"#,
            r#"serin_rollout_phase{rollout="checkout",phase="idle"} 0"#,
            r#"serin_rollout_step{rollout="checkout"} 1"#,
            r#"serin_rollout_verdict{rollout="checkout",verdict="fail"} 1"#,
            r#"serin_rollout_verdict{rollout="checkout",verdict="pass"} 0"#,
            r#"serin_rollbacks_total{rollout="checkout",reason="errorRate"} 1"#,
            r#"serin_notifications_total{channel="ops",result="failed"} 2"#,
            r#"serin_breaker_diverted_total{rollout="checkout"} 5"#,
            r#"serin_config_reloads_total{result="success"} 2"#,
            r#"serin_config_reloads_total{result="failure"} 1"#,
            r#"serin_admin_refused_total{reason="unauthorized"} 3"#,
            r#"serin_certificate_expiry_timestamp_seconds{listener="public",certificate="shop.example.com"} 1893456000"#,
            r#"serin_certificate_reloads_total{result="success"} 3"#,
            r#"serin_certificate_reloads_total{result="failure"} 1"#,
            "serin_config_last_reload_success_timestamp_seconds 1795262413.042",
            r#"serin_jwks_keys{issuer="https://id.example.com"} 2"#,
            r#"serin_jwks_last_success_timestamp_seconds{issuer="https://id.example.com"} 1795262413.042"#,
            r#"serin_jwt_refused_total{reason="expired"} 0"#,
            r#"serin_jwt_refused_total{reason="unknown_key"} 0"#,
            r#"serin_upstream_connections{backend="checkout-v2",state="idle"} 3"#,
            r#"serin_upstream_connections{backend="checkout-v2",state="active"} 1"#,
            r#"serin_endpoint_healthy{backend="checkout-v2",endpoint="10.0.2.10:8080"} 1"#,
            r#"serin_downstream_connections{listener="public"} 3"#,
            r#"serin_rejected_total{reason="no_route"} 1"#,
            r#"serin_rejected_total{reason="panic"} 0"#,
            r#"serin_ofrep_requests_total{code_class="2xx"} 0"#,
            "# TYPE serin_request_duration_seconds histogram",
            "# TYPE serin_attempts_total counter",
            "# TYPE process_cpu_seconds_total counter",
            "# TYPE process_open_fds gauge",
        ] {
            has(&page, line);
        }
    }

    #[tokio::test]
    async fn classes_that_never_came_are_left_out() {
        let page = page().await;
        assert!(!page.contains(r#"outcome="failure",code_class="2xx""#), "{page}");
    }
}
