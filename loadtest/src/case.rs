//! The shapes of load that scenario `compare` knows, and what Serin must reach in each. Pure.

use serde::Serialize;

use crate::backend::BODY_BYTES;
use crate::load::Protocol;
use crate::peer::Kind;

/// What the clients do.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Case {
    /// Connections that stay open, one request after the other, answers of 1 KiB.
    Keepalive,
    /// A new connection for each request, which asks to have it closed; answers of 1 KiB.
    Close,
    /// Connections that stay open, answers of 64 KiB.
    Bodies64k,
    /// Requests at a fixed rate, whether or not answers have come; answers of 1 KiB.
    Rate,
}

impl Case {
    /// Length of each answer's body.
    pub(crate) fn body_bytes(self) -> usize {
        match self {
            Self::Keepalive | Self::Close | Self::Rate => BODY_BYTES,
            Self::Bodies64k => 64 * 1024,
        }
    }

    /// What Serin's CPU per request may be at most, as a multiple of a peer's: the project's targets.
    pub(crate) fn cpu_ratio_max(self, protocol: Protocol, tls: bool, peer: Kind) -> Option<f64> {
        let [nginx, haproxy, envoy] = match (protocol, tls, self) {
            (Protocol::H1, false, Self::Keepalive) => [0.90, 0.85, 0.28].map(Some),
            (Protocol::H1, false, Self::Close) => [1.00, 1.05, 0.50].map(Some),
            (Protocol::H1, false, Self::Bodies64k) => [0.60, 0.80, 0.45].map(Some),
            (Protocol::H1, true, Self::Keepalive) => [Some(0.80), None, Some(0.30)],
            (Protocol::H2, false, Self::Keepalive) => [Some(0.70), None, Some(0.33)],
            _ => [None; 3],
        };
        match peer {
            Kind::Serin => None,
            Kind::Nginx => nginx,
            Kind::Haproxy => haproxy,
            Kind::Envoy => envoy,
        }
    }

    /// What Serin's median latency may be at most, as a multiple of a peer's. Only a fixed rate has one: a closed loop
    /// at full load shows queueing.
    pub(crate) fn p50_ratio_max(self, peer: Kind) -> Option<f64> {
        (self == Self::Rate && peer == Kind::Nginx).then_some(1.00)
    }

    /// Whether `protocol`, over TLS or in clear, can be loaded this way.
    ///
    /// # Errors
    /// Names what can be.
    pub(crate) fn require(self, protocol: Protocol, tls: bool) -> anyhow::Result<()> {
        anyhow::ensure!(
            !(tls && self == Self::Rate),
            "--tls does not go with --case rate: its load speaks in clear only"
        );
        anyhow::ensure!(
            protocol == Protocol::H1 || self == Self::Keepalive,
            "--protocol h2 goes with --case keepalive only"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_its_targets() {
        let check = |case: Case, protocol, tls, expected: [Option<f64>; 3]| {
            let peers = [Kind::Nginx, Kind::Haproxy, Kind::Envoy];
            assert_eq!(
                peers.map(|peer| case.cpu_ratio_max(protocol, tls, peer)),
                expected,
                "{case:?}"
            );
            assert_eq!(case.cpu_ratio_max(protocol, tls, Kind::Serin), None);
        };
        check(Case::Keepalive, Protocol::H1, false, [0.90, 0.85, 0.28].map(Some));
        check(Case::Close, Protocol::H1, false, [1.00, 1.05, 0.50].map(Some));
        check(Case::Bodies64k, Protocol::H1, false, [0.60, 0.80, 0.45].map(Some));
        check(Case::Rate, Protocol::H1, false, [None; 3]);
        check(Case::Keepalive, Protocol::H1, true, [Some(0.80), None, Some(0.30)]);
        check(Case::Close, Protocol::H1, true, [None; 3]);
        check(Case::Keepalive, Protocol::H2, false, [Some(0.70), None, Some(0.33)]);
        check(Case::Keepalive, Protocol::H2, true, [None; 3]);
    }

    #[test]
    fn only_a_fixed_rate_bounds_the_median() {
        assert_eq!(Case::Rate.p50_ratio_max(Kind::Nginx), Some(1.00));
        assert_eq!(Case::Rate.p50_ratio_max(Kind::Haproxy), None);
        assert_eq!(Case::Keepalive.p50_ratio_max(Kind::Nginx), None);
    }

    #[test]
    fn h2_has_one_case() {
        assert!(Case::Keepalive.require(Protocol::H2, false).is_ok());
        assert!(Case::Close.require(Protocol::H2, false).is_err());
        assert!(Case::Rate.require(Protocol::H1, false).is_ok());
        assert!(Case::Rate.require(Protocol::H1, true).is_err());
    }
}
