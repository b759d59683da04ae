//! A ramp as steps: the weight rises evenly, and each step lasts as long as the others. Pure.

use std::time::Duration;

use super::steps::Part;
use crate::rollout::Step;

/// Steps from `from` to `to` that last `over` together: at most 100, each a second and 0.1 % at least. Where
/// `from` is in force already, the first step goes beyond it.
pub(super) fn steps(before: u32, from: u32, to: u32, over: Duration) -> Part {
    let jumps = from > before;
    let by_time = u32::try_from(over.as_secs()).unwrap_or(STEPS_MAX);
    let by_weight = (to - from) / STRIDE_PPM + u32::from(jumps);
    let count = by_time.min(by_weight).min(STEPS_MAX).max(1 + u32::from(jumps));
    let strides = u64::from(count - u32::from(jumps));
    let weight = |stride: u64| {
        let risen = u64::from(to - from) * stride / strides;
        from + u32::try_from(risen).expect("no more than to - from")
    };
    (u64::from(!jumps)..=strides)
        .map(|stride| Step::weigh(weight(stride), over / count))
        .collect()
}

const STEPS_MAX: u32 = 100;
/// 0.1 %
const STRIDE_PPM: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::super::steps::as_in_the_file;
    use super::*;
    use crate::share::MILLION;
    use proptest::prelude::*;

    /// `before from to` in percent, over seconds: `weight@seconds` of the first steps and the last, and how many.
    fn check(percents: [u32; 3], seconds: u64, count: usize, expected: &str) {
        let [before, from, to] = percents.map(|percent| percent * 10_000);
        let steps = steps(before, from, to, Duration::from_secs(seconds));
        let words = |step: &Step| format!("{}@{:?}", as_in_the_file(step.weight_ppm), step.bake_time());
        let ends = [steps.first(), steps.get(1), steps.last()].map(|step| step.map(words).unwrap_or_default());
        assert_eq!((steps.len(), ends.join(" ").as_str()), (count, expected));
    }

    #[test]
    fn ramps_rise_evenly() {
        check([5, 5, 50], 1800, 100, "5.45%@18s 5.9%@18s 50%@18s");
        check([0, 5, 50], 4, 4, "5%@1s 20%@1s 50%@1s");
        check([5, 5, 6], 1800, 10, "5.1%@180s 5.2%@180s 6%@180s");
        check([0, 5, 6], 1100, 11, "5%@100s 5.1%@100s 6%@100s");
        check([0, 0, 100], 2, 2, "50%@1s 100%@1s 100%@1s");
        check([0, 99, 100], 2, 2, "99%@1s 100%@1s 100%@1s");
    }

    proptest! {
        #[test]
        fn a_ramp_is_bounded_and_arrives(
            before in 0u32..999_998, jump in 0u32..2, rise in 1u32..1_000_000, seconds in 2u64..100_000
        ) {
            let from = before + jump;
            let to = (from + rise).min(MILLION);
            let steps = steps(before, from, to, Duration::from_secs(seconds));
            prop_assert!(steps.len() <= 100);
            prop_assert_eq!(steps.last().map(|step| step.weight_ppm), Some(to));
            prop_assert!(steps.iter().all(|step| step.bake_time() >= Duration::from_secs(1)));
            prop_assert!(steps[0].weight_ppm > before);
            prop_assert!(steps.windows(2).all(|pair| pair[0].weight_ppm < pair[1].weight_ppm));
            let total: Duration = steps.iter().map(Step::bake_time).sum();
            prop_assert!(Duration::from_secs(seconds) - total < Duration::from_micros(1));
        }
    }
}
