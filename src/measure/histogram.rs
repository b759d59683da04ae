//! Log-linear latency buckets: atomic with one writer, of fixed size, with a stated error bound.

/// Latencies in microseconds as plain counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    buckets: Vec<u64>,
}

/// Latencies in microseconds, written by one worker and read by anyone.
#[derive(Debug, Default)]
pub struct LatencyHistogram {}

impl LatencyHistogram {
    /// Counts one latency. One writer only.
    pub fn record(&self, _latency_us: u64) {
        todo!()
    }

    /// Adds all that was recorded to `sum`.
    pub fn add_to(&self, _sum: &mut Histogram) {
        todo!()
    }
}

impl Histogram {
    /// The quantile `q` (0 to 1) in microseconds; `None` when empty.
    #[must_use]
    pub fn quantile_us(&self, _q: f64) -> Option<u64> {
        let _ = &self.buckets;
        todo!()
    }

    /// What was recorded since `earlier`.
    #[must_use]
    pub fn since(&self, _earlier: &Self) -> Self {
        todo!()
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        todo!()
    }

    /// Sum of values in microseconds, from bucket middles or exact.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        todo!()
    }

    /// Number of values at most `bound_us` (a bucket that straddles counts as above).
    #[must_use]
    pub fn count_at_most(&self, _bound_us: u64) -> u64 {
        todo!()
    }
}
