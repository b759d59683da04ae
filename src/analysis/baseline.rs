//! What stable does, watched also while nothing is on trial: its latency quantiles of the last minute,
//! and how far its bad requests come in clusters.

use super::reading::Side;
use crate::measure::Histogram;

/// Stable's recent past. Some 60 KB.
#[derive(Clone, Debug, Default)]
pub struct Baseline {}

impl Baseline {
    /// Takes in stable's cumulative counters; to be called once a second or oftener.
    pub fn observe(&mut self, _now_ms: u64, _stable: &Side) {}

    /// Whether it is time for [`Baseline::latencies`]: every ten seconds.
    #[must_use]
    pub fn wants_latencies(&self, _now_ms: u64) -> bool {
        false
    }

    /// Takes in stable's cumulative latencies.
    pub fn latencies(&mut self, _now_ms: u64, _stable: Histogram) {}

    /// Stable's p90 and p99 of the minute before the last [`Baseline::latencies`], in microseconds;
    /// `None` on fewer than 100 and 1000 responses.
    #[must_use]
    pub fn quantiles_us(&self) -> [Option<u64>; 2] {
        [None, None]
    }
}
