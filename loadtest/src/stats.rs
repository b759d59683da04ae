//! Medians, quantiles and the error of a split. Pure.

/// The middle value, or the mean of the middle two; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The smallest value that at least the fraction `q` (0 to 1) of `sorted` does not exceed; `None` of nothing.
pub(crate) fn quantile(sorted: &[u64], q: f64) -> Option<u64> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// How many standard deviations `hits` of `trials` lies from the expected share `p` (binomial; Laplace's normal
/// approximation, good for the thousands of trials here). 0 without trials.
pub(crate) fn deviations(hits: u64, trials: u64, p: f64) -> f64 {
    let expected = trials as f64 * p;
    let sigma = (expected * (1.0 - p)).sqrt();
    if sigma > 0.0 {
        (hits as f64 - expected) / sigma
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let check = |values: &[f64], expected| assert_eq!(median(values), expected, "{values:?}");
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[9.0, 1.0, 5.0], Some(5.0));
        check(&[4.0, 1.0, 2.0, 9.0], Some(3.0));
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let check = |sorted: &[u64], q, expected| assert_eq!(quantile(sorted, q), expected, "{sorted:?} {q}");
        check(&[], 0.5, None);
        check(&[7], 0.99, Some(7));
        check(&[1, 2, 3, 4], 0.0, Some(1));
        check(&[1, 2, 3, 4], 0.5, Some(2));
        check(&[1, 2, 3, 4], 0.99, Some(4));
        check(&[1, 2, 3, 4], 1.0, Some(4));
    }

    #[test]
    fn deviations_follow_the_binomial() {
        // n = 10,000, p = 0.5: sigma = 50.
        assert_eq!(deviations(5_100, 10_000, 0.5), 2.0);
        assert_eq!(deviations(4_950, 10_000, 0.5), -1.0);
        assert_eq!(deviations(0, 0, 0.5), 0.0);
        assert_eq!(deviations(5, 5, 1.0), 0.0);
    }
}
