//! What the rounds of scenario `compare` come to: medians, ratios, targets, a table. Pure.

use serde::Serialize;

use crate::case::Case;
use crate::load::{Measured, Protocol};
use crate::peer::Kind;
use crate::report::{Condition, mib, number, table};
use crate::stats::median;

/// One measurement of one proxy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Round {
    /// Counts from 1.
    pub(crate) round: u32,
    /// Which proxy.
    pub(crate) proxy: Kind,
    /// The clients' view.
    #[serde(flatten)]
    pub(crate) load: Measured,
    /// Successful ones only.
    pub(crate) requests_per_second: f64,
    /// Microseconds of processor time per successful request; none if no request succeeded.
    pub(crate) cpu_us_per_request: Option<f64>,
    /// Part of its core that the proxy used, 0 to 1.
    pub(crate) busy: f64,
    /// Resident memory of its processes right after the load.
    pub(crate) resident_bytes: u64,
    /// Part of the requests that the canary got, 0 to 1; none where the backends do not count.
    pub(crate) canary_share: Option<f64>,
}

/// Medians of one proxy over the rounds, in the units of [`Round`]; none without a value.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) proxy: Kind,
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) cpu_us_per_request: Option<f64>,
    pub(crate) busy: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) resident_bytes: Option<f64>,
    pub(crate) canary_share: Option<f64>,
    /// Sum over the rounds.
    pub(crate) errors: u64,
    /// Serin's CPU per request divided by this proxy's.
    pub(crate) cpu_ratio: Option<f64>,
    /// Serin's throughput divided by this proxy's.
    pub(crate) throughput_ratio: Option<f64>,
    /// What `cpu_ratio` should not exceed.
    pub(crate) cpu_ratio_max: Option<f64>,
    /// Serin's median latency divided by this proxy's.
    pub(crate) p50_ratio: Option<f64>,
    /// What `p50_ratio` should not exceed.
    pub(crate) p50_ratio_max: Option<f64>,
    /// Serin's 99th percentile of the latency divided by this proxy's.
    pub(crate) p99_ratio: Option<f64>,
}

/// Medians of `proxy`; ratios are taken within each round, and then their median.
pub(crate) fn summarise(case: Case, protocol: Protocol, tls: bool, proxy: Kind, rounds: &[Round]) -> Summary {
    let own: Vec<&Round> = rounds.iter().filter(|round| round.proxy == proxy).collect();
    let of =
        |value: fn(&Round) -> Option<f64>| median(&own.iter().filter_map(|round| value(round)).collect::<Vec<_>>());
    let ratio = |value: fn(&Round) -> Option<f64>| {
        let pairs = own.iter().filter_map(|round| {
            let serin = rounds
                .iter()
                .find(|other| other.proxy == Kind::Serin && other.round == round.round)?;
            Some(value(serin)? / value(round)?).filter(|ratio| ratio.is_finite())
        });
        median(&pairs.collect::<Vec<_>>())
    };
    Summary {
        proxy,
        requests_per_second: of(|round| Some(round.requests_per_second)),
        cpu_us_per_request: of(|round| round.cpu_us_per_request),
        busy: of(|round| Some(round.busy)),
        p50_us: of(|round| Some(round.load.p50_us)),
        p99_us: of(|round| Some(round.load.p99_us)),
        resident_bytes: of(|round| Some(round.resident_bytes as f64)),
        canary_share: of(|round| round.canary_share),
        errors: own.iter().map(|round| round.load.errors).sum(),
        cpu_ratio: ratio(|round| round.cpu_us_per_request),
        throughput_ratio: ratio(|round| Some(round.requests_per_second)),
        cpu_ratio_max: case.cpu_ratio_max(protocol, tls, proxy),
        p50_ratio: ratio(|round| Some(round.load.p50_us)),
        p50_ratio_max: case.p50_ratio_max(proxy),
        p99_ratio: ratio(|round| Some(round.load.p99_us)),
    }
}

/// The targets of the project, and that Serin lost nothing.
pub(crate) fn conditions(summary: &[Summary]) -> Vec<Condition> {
    let errors = summary
        .iter()
        .filter(|row| row.proxy == Kind::Serin)
        .map(|row| Condition {
            name: "no request through Serin failed".to_owned(),
            held: row.errors == 0 && row.requests_per_second.is_some_and(|rate| rate > 0.0),
            figures: format!("{} errors", row.errors),
        });
    let targets = summary.iter().flat_map(|row| {
        let target = |what: &str, ratio: Option<f64>, maximum: Option<f64>| {
            maximum.map(|maximum| Condition {
                name: format!("{what} at most {maximum} × {}", row.proxy.name()),
                held: ratio.is_some_and(|ratio| ratio <= maximum),
                figures: format!("{} ×", number(ratio, 3)),
            })
        };
        let cpu = target("CPU per request", row.cpu_ratio, row.cpu_ratio_max);
        let p50 = target("p50", row.p50_ratio, row.p50_ratio_max);
        cpu.into_iter().chain(p50)
    });
    errors.chain(targets).collect()
}

/// The table for people. At a fixed rate all proxies have the same throughput, and latency is what differs.
pub(crate) fn render(case: Case, summary: &[Summary]) -> String {
    let (digits, last) = match case {
        Case::Rate => (3, ["CPU serin÷", "p50 serin÷", "target", "p99 serin÷"].as_slice()),
        Case::Keepalive | Case::Close | Case::Bodies64k => (2, ["CPU serin÷", "target", "req/s serin÷"].as_slice()),
    };
    let first = [
        "proxy",
        "req/s",
        "CPU µs/req",
        "busy %",
        "p50 ms",
        "p99 ms",
        "RSS MiB",
        "canary %",
        "errors",
    ];
    let rows: Vec<Vec<String>> = summary
        .iter()
        .map(|row| {
            let mut cells = vec![
                row.proxy.name().to_owned(),
                number(row.requests_per_second, 0),
                number(row.cpu_us_per_request, 2),
                number(row.busy.map(|busy| busy * 100.0), 0),
                number(row.p50_us.map(|us| us / 1e3), digits),
                number(row.p99_us.map(|us| us / 1e3), digits),
                number(row.resident_bytes.map(mib), 1),
                number(row.canary_share.map(|share| share * 100.0), 2),
                row.errors.to_string(),
                number(row.cpu_ratio, 2),
            ];
            cells.extend(match case {
                Case::Rate => vec![
                    number(row.p50_ratio, 2),
                    target(row.p50_ratio_max),
                    number(row.p99_ratio, 2),
                ],
                Case::Keepalive | Case::Close | Case::Bodies64k => {
                    vec![target(row.cpu_ratio_max), number(row.throughput_ratio, 2)]
                }
            });
            cells
        })
        .collect();
    table(&[first.as_slice(), last].concat(), &rows)
}

fn target(maximum: Option<f64>) -> String {
    maximum.map_or_else(|| "-".to_owned(), |maximum| format!("≤{maximum:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(round: u32, proxy: Kind, cpu_us: f64) -> Round {
        let load = Measured {
            requests: 1000,
            errors: 1,
            seconds: 1.0,
            p50_us: 500.0,
            p99_us: 900.0,
        };
        Round {
            round,
            proxy,
            load,
            requests_per_second: 1000.0,
            cpu_us_per_request: Some(cpu_us),
            busy: 1.0,
            resident_bytes: 1 << 20,
            canary_share: None,
        }
    }

    #[test]
    fn ratios_pair_the_rounds_before_the_median() {
        // Medians alone would give 12 / 10; in each round Serin takes half as much again.
        let rounds: Vec<Round> = [(1, 10.0), (2, 20.0), (3, 8.0)]
            .into_iter()
            .flat_map(|(n, us)| [round(n, Kind::Serin, us * 1.5), round(n, Kind::Nginx, us)])
            .collect();
        let summary = summarise(Case::Keepalive, Protocol::H1, false, Kind::Nginx, &rounds);
        assert_eq!(summary.cpu_ratio, Some(1.5));
        assert_eq!(summary.cpu_us_per_request, Some(10.0));
        assert_eq!(summary.errors, 3);
    }

    #[test]
    fn a_missing_serin_gives_no_ratio_and_holds_no_target() {
        let summary = summarise(
            Case::Keepalive,
            Protocol::H1,
            false,
            Kind::Nginx,
            &[round(1, Kind::Nginx, 10.0)],
        );
        assert_eq!(summary.cpu_ratio, None);
        assert!(!conditions(&[summary])[0].held);
    }

    #[test]
    fn a_target_is_held_up_to_its_bound() {
        let check = |us, held| {
            let rounds = [round(1, Kind::Serin, us), round(1, Kind::Nginx, 10.0)];
            assert_eq!(
                conditions(&[summarise(Case::Keepalive, Protocol::H1, false, Kind::Nginx, &rounds)])[0].held,
                held,
                "{us}"
            );
        };
        check(9.0, true);
        check(9.1, false);
    }

    #[test]
    fn at_a_fixed_rate_the_median_has_a_target_and_cpu_has_none() {
        let check = |p50_us, held| {
            let mut rounds = [round(1, Kind::Serin, 99.0), round(1, Kind::Nginx, 10.0)];
            rounds[0].load.p50_us = p50_us;
            let summary = [summarise(Case::Rate, Protocol::H1, false, Kind::Nginx, &rounds)];
            assert_eq!(
                conditions(&summary)
                    .iter()
                    .map(|target| target.held)
                    .collect::<Vec<_>>(),
                [held]
            );
            assert!(render(Case::Rate, &summary).contains("≤1.00"));
        };
        check(500.0, true);
        check(506.0, false);
    }
}
