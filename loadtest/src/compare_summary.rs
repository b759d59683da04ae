//! What the rounds of scenario `compare` come to: medians, ratios, targets, a table. Pure.

use serde::Serialize;

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
}

/// What CPU per request may be at most, as a multiple of a peer's: the project's targets.
fn cpu_ratio_max(protocol: Protocol, peer: Kind) -> Option<f64> {
    match (protocol, peer) {
        (Protocol::H1, Kind::Nginx) => Some(1.25),
        (Protocol::H1, Kind::Haproxy) => Some(1.20),
        (Protocol::H1, Kind::Envoy) => Some(0.37),
        (Protocol::H2, Kind::Nginx) => Some(0.95),
        (Protocol::H2, Kind::Haproxy | Kind::Envoy) | (_, Kind::Serin) => None,
    }
}

/// Medians of `proxy`; ratios are taken within each round, and then their median.
pub(crate) fn summarise(protocol: Protocol, proxy: Kind, rounds: &[Round]) -> Summary {
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
        cpu_ratio_max: cpu_ratio_max(protocol, proxy),
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
    let targets = summary.iter().filter_map(|row| {
        let maximum = row.cpu_ratio_max?;
        Some(Condition {
            name: format!("CPU per request at most {maximum} × {}", row.proxy.name()),
            held: row.cpu_ratio.is_some_and(|ratio| ratio <= maximum),
            figures: format!("{} ×", number(row.cpu_ratio, 2)),
        })
    });
    errors.chain(targets).collect()
}

/// The table for people.
pub(crate) fn render(summary: &[Summary]) -> String {
    let headings = [
        "proxy",
        "req/s",
        "CPU µs/req",
        "busy %",
        "p50 ms",
        "p99 ms",
        "RSS MiB",
        "canary %",
        "errors",
        "CPU serin÷",
        "target",
        "req/s serin÷",
    ];
    let rows: Vec<Vec<String>> = summary
        .iter()
        .map(|row| {
            vec![
                row.proxy.name().to_owned(),
                number(row.requests_per_second, 0),
                number(row.cpu_us_per_request, 2),
                number(row.busy.map(|busy| busy * 100.0), 0),
                number(row.p50_us.map(|us| us / 1e3), 2),
                number(row.p99_us.map(|us| us / 1e3), 2),
                number(row.resident_bytes.map(mib), 1),
                number(row.canary_share.map(|share| share * 100.0), 2),
                row.errors.to_string(),
                number(row.cpu_ratio, 2),
                row.cpu_ratio_max
                    .map_or_else(|| "-".to_owned(), |maximum| format!("≤{maximum:.2}")),
                number(row.throughput_ratio, 2),
            ]
        })
        .collect();
    table(&headings, &rows)
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
        let summary = summarise(Protocol::H1, Kind::Nginx, &rounds);
        assert_eq!(summary.cpu_ratio, Some(1.5));
        assert_eq!(summary.cpu_us_per_request, Some(10.0));
        assert_eq!(summary.errors, 3);
    }

    #[test]
    fn a_missing_serin_gives_no_ratio_and_holds_no_target() {
        let summary = summarise(Protocol::H1, Kind::Nginx, &[round(1, Kind::Nginx, 10.0)]);
        assert_eq!(summary.cpu_ratio, None);
        assert!(!conditions(&[summary])[0].held);
    }

    #[test]
    fn a_target_is_held_up_to_its_bound() {
        let check = |us, held| {
            let rounds = [round(1, Kind::Serin, us), round(1, Kind::Nginx, 10.0)];
            assert_eq!(
                conditions(&[summarise(Protocol::H1, Kind::Nginx, &rounds)])[0].held,
                held,
                "{us}"
            );
        };
        check(12.5, true);
        check(12.6, false);
    }
}
