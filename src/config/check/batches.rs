//! A rolling release in batches: which endpoints leave and join when, and the weight that follows. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::steps::Part;
use crate::config::scalar::Portion;
use crate::rollout::{Errand, Needs, Rotation, Smoke, Step};
use crate::share::MILLION;

/// The endpoints of one side, which those of the other replace one by one.
pub(super) struct Fleet {
    /// How many either side has. At least 1.
    pub(super) count: u32,
    /// So many more than `count` may be in rotation.
    pub(super) surge: u32,
    /// So many fewer than `count` may be in rotation. Not both this and `surge` are 0.
    pub(super) unavailable: u32,
    /// How long each batch is judged at least.
    pub(super) bake_time: Duration,
    /// How long endpoints that were taken out are waited for.
    pub(super) drain: Duration,
    /// What new endpoints must pass before they join.
    pub(super) health: Option<Smoke>,
}

impl Fleet {
    /// By the rules of Kubernetes' Deployments: a share of `surge` is rounded up, one of `unavailable` down, and
    /// where both come out as 0, one endpoint may be unavailable.
    pub(super) fn new(count: u32, surge: Portion, unavailable: Portion) -> Self {
        let of = |portion, round: fn(u64) -> u64| match portion {
            Portion::Count(count) => count,
            Portion::Share(ppm) => {
                let rounded = round(u64::from(count) * u64::from(ppm)) / u64::from(MILLION);
                u32::try_from(rounded).unwrap_or(u32::MAX)
            }
        };
        let surge = of(surge, |millionths| millionths + u64::from(MILLION) - 1).min(count);
        let unavailable = of(unavailable, |millionths| millionths).min(count);
        Self {
            count,
            surge,
            unavailable: unavailable.max(u32::from(surge == 0)),
            bake_time: Duration::ZERO,
            drain: Duration::ZERO,
            health: None,
        }
    }

    /// One part for each batch: as many of the old ones leave as may and are drained; as many of the new ones as
    /// may are tried, join and are judged. The last batch ends when all old ones have left. Some are always in
    /// rotation as long as `unavailable` is below `count`.
    pub(super) fn batches(&self) -> Vec<Part> {
        let mut now = Rotation { from_out: 0, to_in: 0 };
        let mut batches = Vec::new();
        while now.to_in < self.count {
            let mut part = Part::new();
            let leave = (self.in_rotation(now) - (self.count - self.unavailable)).min(self.count - now.from_out);
            if leave > 0 {
                now.from_out += leave;
                part.push(self.step(now, Needs::Drained(self.drain)));
            }
            let join = (self.count + self.surge - self.in_rotation(now)).min(self.count - now.to_in);
            if let Some(health) = &self.health {
                let (first, end) = (now.to_in as usize, (now.to_in + join) as usize);
                let smoke = Smoke {
                    endpoints: Some((first, end)),
                    ..health.clone()
                };
                part.push(self.step(now, Needs::Errand(Arc::new(Errand::Smoke(smoke)))));
            }
            now.to_in += join;
            let bake_time = self.bake_time;
            part.push(self.step(now, Needs::Evidence { bake_time }));
            if now.to_in == self.count && now.from_out < self.count {
                now.from_out = self.count;
                part.push(self.step(now, Needs::Drained(self.drain)));
            }
            batches.push(part);
        }
        batches
    }

    fn in_rotation(&self, now: Rotation) -> u32 {
        self.count - now.from_out + now.to_in
    }

    /// Each endpoint in rotation gets as much as any other.
    fn step(&self, now: Rotation, needs: Needs) -> Step {
        let share = u64::from(now.to_in) * u64::from(MILLION) / u64::from(self.in_rotation(now).max(1));
        Step {
            rotation: Some(now),
            ..Step::new(u32::try_from(share).expect("to_in is part of it"), needs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fleet(count: u32, surge: Portion, unavailable: Portion) -> Fleet {
        let smoke = Smoke {
            checks: Vec::new(),
            attempts: 1,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            endpoints: None,
        };
        Fleet {
            health: Some(smoke),
            ..Fleet::new(count, surge, unavailable)
        }
    }

    /// One line for each batch: for each step old and new endpoints in rotation, the weight, and what it needs.
    #[track_caller]
    fn check(fleet: &Fleet, expected: &[&str]) {
        let words = |step: &Step| {
            let rotation = step.rotation.unwrap();
            let needs = match &step.needs {
                Needs::Drained(_) => "drain".to_owned(),
                Needs::Evidence { .. } => "judge".to_owned(),
                Needs::Errand(errand) => match &**errand {
                    Errand::Smoke(smoke) => format!("try {:?}", smoke.endpoints.unwrap()),
                    Errand::Webhook(_) => unreachable!(),
                },
                other => unreachable!("{other:?}"),
            };
            let old = fleet.count - rotation.from_out;
            format!("{old}+{} {}% {needs}", rotation.to_in, step.weight_ppm / 10_000)
        };
        let found: Vec<String> = fleet
            .batches()
            .iter()
            .map(|part| part.iter().map(words).collect::<Vec<_>>().join(" | "))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn three_with_one_more_and_none_fewer() {
        check(
            &fleet(3, Portion::Count(1), Portion::Count(0)),
            &[
                "3+0 0% try (0, 1) | 3+1 25% judge",
                "2+1 33% drain | 2+1 33% try (1, 2) | 2+2 50% judge",
                "1+2 66% drain | 1+2 66% try (2, 3) | 1+3 75% judge | 0+3 100% drain",
            ],
        );
    }

    #[test]
    fn four_with_a_quarter_more_and_a_quarter_fewer() {
        let quarter = Portion::Share(250_000);
        check(
            &fleet(4, quarter, quarter),
            &[
                "3+0 0% drain | 3+0 0% try (0, 2) | 3+2 40% judge",
                "1+2 66% drain | 1+2 66% try (2, 4) | 1+4 80% judge | 0+4 100% drain",
            ],
        );
    }

    #[test]
    fn one_is_replaced_by_one_more() {
        let quarter = Portion::Share(250_000);
        check(
            &fleet(1, quarter, quarter),
            &["1+0 0% try (0, 1) | 1+1 50% judge | 0+1 100% drain"],
        );
    }

    #[test]
    fn without_a_surge_old_ones_leave_first() {
        check(
            &fleet(4, Portion::Count(0), Portion::Count(2)),
            &[
                "2+0 0% drain | 2+0 0% try (0, 2) | 2+2 50% judge",
                "0+2 100% drain | 0+2 100% try (2, 4) | 0+4 100% judge",
            ],
        );
    }

    #[test]
    fn shares_are_rounded_as_kubernetes_does() {
        let check = |count, surge, unavailable, expected: (u32, u32)| {
            let fleet = Fleet::new(count, surge, unavailable);
            assert_eq!((fleet.surge, fleet.unavailable), expected);
        };
        let quarter = Portion::Share(250_000);
        check(10, quarter, quarter, (3, 2));
        check(4, quarter, quarter, (1, 1));
        check(3, quarter, quarter, (1, 0));
        check(3, Portion::Count(0), quarter, (0, 1));
        check(3, Portion::Count(9), Portion::Count(9), (3, 3));
    }

    proptest! {
        #[test]
        fn batches_keep_to_their_bounds(count in 1u32..60, surge in 0u32..20, unavailable in 0u32..20) {
            let fleet = Fleet::new(count, Portion::Count(surge), Portion::Count(unavailable));
            prop_assume!(fleet.unavailable < count);
            let steps: Vec<Step> = fleet.batches().into_iter().flatten().collect();
            let mut before = 0;
            for (index, step) in steps.iter().enumerate() {
                let in_rotation = fleet.in_rotation(step.rotation.unwrap());
                prop_assert!(in_rotation >= count - fleet.unavailable && in_rotation >= 1);
                prop_assert!(in_rotation <= count + fleet.surge);
                prop_assert!(step.weight_ppm >= before);
                prop_assert!(index > 0 || step.weight_ppm < MILLION);
                before = step.weight_ppm;
            }
            let last = steps.last().unwrap();
            prop_assert_eq!(last.weight_ppm, MILLION);
            prop_assert_eq!(last.rotation, Some(Rotation { from_out: count, to_in: count }));
        }
    }
}
