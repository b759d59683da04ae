//! Seeded chance: uniform, normal and Poisson draws that depend on seed, scenario and replicate only.

use std::sync::LazyLock;

use statrs::function::erf::erfc_inv;
use statrs::function::factorial::ln_factorial;

/// A generator of its own for each replicate, so that results do not depend on threads.
pub(super) struct Chance(fastrand::Rng);

/// Normal quantiles at the middle of equal parts: a draw is one of them. The largest is 3.7.
static NORMAL: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let quantile = |p: f64| -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p);
    (0..NORMALS)
        .map(|i| quantile((f64::from(i) + 0.5) / f64::from(NORMALS)))
        .collect()
});

const NORMALS: u32 = 1 << 12;

impl Chance {
    /// The generator of one replicate of one scenario.
    pub(super) fn new(seed: u64, scenario: &str, replicate: u64) -> Self {
        // FNV-1a over the name, so that another list of scenarios changes none of them.
        let name = scenario.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(fastrand::Rng::with_seed(mix(mix(seed ^ name) ^ replicate)))
    }

    /// From 0 to 1, 1 excluded.
    pub(super) fn uniform(&mut self) -> f64 {
        self.0.f64()
    }

    /// Standard normal.
    pub(super) fn normal(&mut self) -> f64 {
        NORMAL[self.0.u32(0..NORMALS) as usize]
    }

    /// Poisson with `mean` (0 or more): by inversion where it is small, else by PTRS (Hörmann 1993, "The transformed
    /// rejection method for generating Poisson random variables").
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean < 10.0 {
            self.inverted(mean)
        } else {
            self.rejected(mean)
        }
    }

    fn inverted(&mut self, mean: f64) -> u64 {
        let mut rest = self.uniform();
        let mut part = (-mean).exp();
        let mut k = 0;
        while rest >= part && part > 0.0 {
            rest -= part;
            k += 1;
            part *= mean / k as f64;
        }
        k
    }

    fn rejected(&mut self, mean: f64) -> u64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.024_83 * b;
        let v_r = 0.927_7 - 3.622_4 / (b - 2.0);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let u_s = 0.5 - u.abs();
            let k = ((2.0 * a / u_s + b) * u + mean + 0.43).floor();
            if u_s >= 0.07 && v <= v_r {
                return k as u64;
            }
            if k < 0.0 || (u_s < 0.013 && v > u_s) {
                continue;
            }
            let inv_alpha = 1.123_9 + 1.132_8 / (b - 3.4);
            let accept = k * mean.ln() - mean - ln_factorial(k as u64);
            if (v * inv_alpha / (a / (u_s * u_s) + b)).ln() <= accept {
                return k as u64;
            }
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of many draws, within five standard errors.
    fn check(mean: f64) {
        let mut chance = Chance::new(7, "poisson", mean.to_bits());
        let n = 20_000;
        let draws: Vec<f64> = (0..n).map(|_| chance.poisson(mean) as f64).collect();
        let found = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|draw| (draw - found).powi(2)).sum::<f64>() / f64::from(n);
        let error = (mean / f64::from(n)).sqrt();
        assert!((found - mean).abs() <= 5.0 * error, "mean {found} of {mean}");
        // The variance of the sample variance of a Poisson is (mean + 2 mean^2) / n.
        let error = ((mean + 2.0 * mean * mean) / f64::from(n)).sqrt();
        assert!((variance - mean).abs() <= 5.0 * error, "variance {variance} of {mean}");
    }

    #[test]
    fn counts_have_the_mean_and_variance_of_poisson() {
        for mean in [0.0, 0.001, 0.1, 1.0, 9.9, 10.0, 12.0, 90.0, 5_000.0] {
            check(mean);
        }
    }

    #[test]
    fn a_replicate_is_the_same_whatever_ran_before_it() {
        let draw = |scenario, replicate| Chance::new(1, scenario, replicate).uniform();
        assert_eq!(draw("healthy", 3), draw("healthy", 3));
        assert_ne!(draw("healthy", 3), draw("healthy", 4));
        assert_ne!(draw("healthy", 3), draw("ramp", 3));
    }

    #[test]
    fn normal_draws_have_mean_0_and_variance_1() {
        let sum: f64 = NORMAL.iter().sum();
        let square: f64 = NORMAL.iter().map(|z| z * z).sum();
        assert!(sum.abs() < 1e-6);
        assert!((square / f64::from(NORMALS) - 1.0).abs() < 0.002);
    }
}
