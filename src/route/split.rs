//! Shares side by side in file order; a draw falls into exactly one.

/// The ranges that a route's variants own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    ends: Box<[u32]>,
}

impl Split {
    /// From the exclusive upper ends of the ranges, rising, the last a million ([`crate::share::bounds`]).
    #[must_use]
    pub fn new(ends: Vec<u32>) -> Self {
        Self { ends: ends.into() }
    }

    /// The variant that owns `bucket`, below a million.
    #[must_use]
    pub fn variant_of(&self, bucket: u32) -> usize {
        self.ends
            .iter()
            .position(|&end| bucket < end)
            .expect("the last range ends at a million")
    }

    /// What `variant` owns, in parts per million.
    #[must_use]
    pub fn share_ppm(&self, variant: usize) -> u32 {
        self.ends[variant] - variant.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}
