use super::*;
use crate::analysis::Limits;
use crate::measure::{AT_P90, LIMITS, PATIENCE};

const PLAN: Term = Term::Plan {
    bake_time: Duration::from_secs(60),
};

/// What happens on one side in a tick of 100 ms.
#[derive(Clone, Copy, Default)]
struct Did {
    sent: u64,
    good: u64,
    bad: u64,
    gone: u64,
}

/// All that are sent are over in the same tick.
fn did(all: u64, bad: u64) -> Did {
    Did {
        sent: all,
        good: all - bad,
        bad,
        gone: 0,
    }
}

struct Run {
    judge: SequentialJudge,
    baseline: Baseline,
    reading: Reading,
}

impl Run {
    /// The canary at `weight`, stable watched for `before` ticks of `stable`.
    fn new(spec: &AnalysisSpec, weight: f64, before: u64, stable: Did) -> Self {
        let mut reading = Reading {
            weight,
            ..Reading::default()
        };
        let mut baseline = Baseline::default();
        for _ in 0..before {
            reading.now_ms += 100;
            add(&mut reading.stable.counts[0], stable);
            baseline.observe(reading.now_ms, &reading.stable);
        }
        Self {
            judge: SequentialJudge::new(spec, PLAN, reading),
            baseline,
            reading,
        }
    }

    fn tick(&mut self, canary: Did, stable: Did) -> Verdict {
        self.tick_of(100, canary, stable)
    }

    fn tick_of(&mut self, ms: u64, canary: Did, stable: Did) -> Verdict {
        let slot = usize::from(self.reading.slot);
        self.reading.now_ms += ms;
        add(&mut self.reading.canary.counts[slot], canary);
        add(&mut self.reading.stable.counts[slot], stable);
        self.baseline.observe(self.reading.now_ms, &self.reading.stable);
        self.judge.observe(self.reading, &self.baseline)
    }

    fn ticks(&mut self, n: u64, canary: Did, stable: Did) -> Verdict {
        for _ in 1..n {
            self.tick(canary, stable);
        }
        self.tick(canary, stable)
    }

    fn step(&mut self, weight: f64) {
        self.reading.slot ^= 1;
        self.reading.weight = weight;
        self.judge.begin_step(self.reading, &self.baseline);
    }

    fn m(&self) -> f64 {
        let panel = self.judge.critical.as_ref().unwrap();
        panel.weigh(&self.reading, self.judge.live, &self.baseline, false).all
    }
}

fn add(counts: &mut Counts, did: Did) {
    counts.dispatched += did.sent;
    counts.success += did.good;
    counts.failure += did.bad;
    counts.no_evidence += did.gone;
    counts.headed += did.good + did.bad;
    for index in 0..LIMITS {
        counts.fast[index] += did.good + did.bad;
    }
}

fn errors_alone() -> AnalysisSpec {
    AnalysisSpec {
        compare_with_stable: false,
        ..AnalysisSpec::default()
    }
}

fn beside() -> AnalysisSpec {
    AnalysisSpec {
        latency_factor: None,
        ..AnalysisSpec::default()
    }
}

#[test]
fn one_failure_of_three_is_too_little_to_say() {
    let mut run = Run::new(&AnalysisSpec::default(), 0.1, 0, did(0, 0));
    let found = run.tick(did(3, 1), did(27, 0));
    let panel = run.judge.critical.as_ref().unwrap();
    let part = panel.evidence[0].sum() / panel.criteria[0].weight * 0.25;
    assert!((part - 0.322).abs() < 5e-4, "{part}");
    assert_ne!(found.kind, VerdictKind::Fail, "{}", found.reason);
    let mut run = Run::new(&AnalysisSpec::default(), 0.1, 0, did(0, 0));
    let found = run.tick(did(3, 0), did(27, 0));
    assert_eq!(found.kind, VerdictKind::Inconclusive, "{}", found.reason);
    assert_eq!(
        found.reason,
        "3 requests of the canary in this step; 47 more are needed"
    );
}

#[test]
fn four_failures_of_four_abort_alone() {
    let mut run = Run::new(&errors_alone(), 0.1, 0, did(0, 0));
    let found = run.tick(did(4, 4), did(0, 0));
    assert_eq!((found.kind, found.metric), (VerdictKind::Fail, Some(Metric::ErrorRate)));
    assert!(
        found
            .reason
            .starts_with("canary errorRate 100 % (39.8 to 100 %, 4 of 4) is above the critical limit 5 %; evidence"),
        "{}",
        found.reason
    );
}

#[test]
fn what_stable_shows_as_well_holds() {
    let mut run = Run::new(&beside(), 0.1, 600, did(180, 0));
    let found = run.tick(did(200, 60), did(1800, 540));
    assert_eq!(found.kind, VerdictKind::Hold, "{}", found.reason);
    assert!(
        found
            .reason
            .starts_with("shared fault, or stable too quiet to tell: canary errorRate 30 %"),
        "{}",
        found.reason
    );
    for _ in 0..300 {
        let found = run.tick(did(20, 6), did(180, 54));
        assert_ne!(found.kind, VerdictKind::Fail, "{}", found.reason);
    }
    // When it is over the rollout goes on.
    let found = run.ticks(1200, did(20, 0), did(180, 0));
    assert_eq!(found.kind, VerdictKind::Pass, "{}", found.reason);
    // And is praised for what it did since.
    assert!(
        found.reason.starts_with("canary errorRate 0 % (0 to"),
        "{}",
        found.reason
    );
}

#[test]
fn where_nobody_acts_on_a_failure_it_ends_with_its_cause() {
    let mut run = Run::new(&beside(), 0.1, 600, did(180, 1));
    let found = run.ticks(50, did(20, 20), did(180, 1));
    assert_eq!(found.kind, VerdictKind::Fail, "{}", found.reason);
    let found = run.ticks(100, did(20, 0), did(180, 1));
    assert_ne!(found.kind, VerdictKind::Fail, "{}", found.reason);
}

#[test]
fn late_answers_of_the_step_before_are_not_among_the_least_requests() {
    let mut run = Run::new(&errors_alone(), 0.1, 0, did(0, 0));
    run.ticks(50, did(10, 0), did(90, 0));
    run.step(0.5);
    run.reading.canary.counts[0].dispatched += 500;
    run.reading.canary.counts[0].success += 500;
    let found = run.tick(did(40, 0), did(40, 0));
    assert_eq!(
        found.reason,
        "40 requests of the canary in this step; 10 more are needed"
    );
}

#[test]
fn nothing_resolved_is_no_data() {
    let mut run = Run::new(&beside(), 0.1, 0, did(0, 0));
    let found = run.ticks(10_000, did(0, 0), did(90, 0));
    let reason = "no request of the canary resolved in this step; 50 are needed";
    assert_eq!((found.kind, found.reason.as_str()), (VerdictKind::Inconclusive, reason));
}

#[test]
fn eight_percent_is_found_within_seconds_and_explained() {
    let mut run = Run::new(&beside(), 0.1, 600, did(180, 1));
    let mut ticks = 0;
    let found = loop {
        ticks += 1;
        // 8 % of 20 requests in a tick.
        let found = run.tick(did(20, [2, 1, 2, 1, 2][ticks % 5]), did(180, 1));
        assert!(ticks < 100, "{}", found.reason);
        if found.kind == VerdictKind::Fail {
            break found;
        }
    };
    assert!(ticks <= 40, "{ticks}");
    let measured = found.evidence.canary.measured.unwrap();
    assert!(measured.low < 0.08 && measured.high > 0.08, "{measured:?}");
    let statistic = found.evidence.statistic.unwrap();
    assert!(statistic.value >= 1000.0 && (statistic.level - 1000.0).abs() < 1e-9);
    assert!(
        found.reason.contains("times stable's plus 0.5 %; stable 0.") || found.reason.contains("limit 5 %; stable 0."),
        "{}",
        found.reason
    );
}

#[test]
fn a_healthy_canary_passes_when_enough_is_known() {
    let mut run = Run::new(&beside(), 0.1, 600, did(90, 0));
    let mut asked = None;
    for tick in 1..=200u64 {
        let found = run.tick(did(10, 0), did(90, 0));
        match found.kind {
            VerdictKind::Pass => {
                let reason = found.reason;
                assert!(reason.starts_with("canary errorRate 0 % (0 to"), "{reason}");
                assert!((60..=90).contains(&tick), "{tick}");
                assert!(asked.is_some());
                return;
            }
            VerdictKind::Inconclusive => asked = Some(found.reason),
            VerdictKind::Fail | VerdictKind::Hold => panic!("{}", found.reason),
        }
    }
    panic!("{asked:?}");
}

#[test]
fn a_step_needs_evidence_of_its_own() {
    let mut run = Run::new(&beside(), 0.1, 600, did(90, 0));
    assert_eq!(run.ticks(200, did(10, 0), did(90, 0)).kind, VerdictKind::Pass);
    run.step(0.5);
    let found = run.tick(did(0, 0), did(50, 0));
    assert_eq!(found.kind, VerdictKind::Inconclusive);
    // Late answers of the step before are no evidence for this one.
    run.reading.canary.counts[0].success += 5000;
    run.reading.canary.counts[0].dispatched += 5000;
    let found = run.tick(did(10, 0), did(50, 0));
    assert_ne!(found.kind, VerdictKind::Pass, "{}", found.reason);
    assert_eq!(run.ticks(100, did(50, 0), did(50, 0)).kind, VerdictKind::Pass);
}

#[test]
fn a_changed_weight_alone_is_no_evidence() {
    // 1 % of failures on both sides; only the weight goes up, in an outage that rises with it (Simpson).
    let mut run = Run::new(&beside(), 0.1, 600, did(90, 1));
    for _ in 0..100 {
        run.tick(did(100, 1), did(900, 9));
    }
    run.step(0.5);
    for _ in 0..100 {
        let found = run.tick(did(500, 50), did(500, 50));
        assert_ne!(found.kind, VerdictKind::Fail, "{}", found.reason);
    }
}

#[test]
fn five_thousand_clients_that_leave_at_once_are_no_evidence() {
    // Beside a twin in which they never came: M must not be larger for it.
    let [mut left, mut twin] = [(); 2].map(|()| Run::new(&beside(), 0.5, 0, did(0, 0)));
    for run in [&mut left, &mut twin] {
        run.ticks(50, did(100, 0), did(100, 0));
    }
    let hang = Did {
        sent: 500,
        ..Did::default()
    };
    let leave = Did {
        gone: 5000,
        ..Did::default()
    };
    for canary in std::iter::repeat_n(hang, 10).chain([leave]) {
        assert_ne!(left.tick(canary, did(0, 0)).kind, VerdictKind::Fail);
        twin.tick(did(0, 0), did(0, 0));
        assert!(left.m() <= twin.m(), "{} above {}", left.m(), twin.m());
    }
}

#[test]
fn errors_that_come_sooner_than_successes_are_waited_out() {
    // 100 sent a tick, 1 % fail at once, the rest succeeds after 400 ms.
    let mut run = Run::new(&errors_alone(), 0.5, 0, did(0, 0));
    for tick in 0..200 {
        let good = if tick < 4 { 0 } else { 99 };
        let found = run.tick(
            Did {
                sent: 100,
                good,
                bad: 1,
                gone: 0,
            },
            did(0, 0),
        );
        assert_ne!(found.kind, VerdictKind::Fail, "{tick}: {}", found.reason);
    }
}

#[test]
fn hanging_requests_do_not_let_a_step_pass() {
    let mut run = Run::new(&errors_alone(), 0.5, 0, did(0, 0));
    run.ticks(20, did(10, 0), did(10, 0));
    run.reading.canary.overdue[PATIENCE] = 20;
    run.reading.canary.counts[0].dispatched += 20;
    let found = run.tick(did(0, 0), did(10, 0));
    assert_ne!(found.kind, VerdictKind::Pass, "{}", found.reason);
}

#[test]
fn slowness_beside_stable_is_found_where_stable_is_known() {
    let spec = AnalysisSpec::default();
    let mut run = Run::new(&spec, 0.1, 0, did(0, 0));
    let slow = |counts: &mut Counts, all: u64, slow: u64| {
        counts.dispatched += all;
        counts.success += all;
        counts.headed += all;
        counts.slow[AT_P90] += slow;
        counts.fast[AT_P90] += all - slow;
    };
    let mut histogram = crate::measure::Histogram::default();
    run.baseline.latencies(0, histogram.clone());
    let fails = |run: &mut Run, ticks: u64| {
        for _ in 0..ticks {
            slow(&mut run.reading.canary.counts[0], 10, 4);
            slow(&mut run.reading.stable.counts[0], 90, 9);
            let found = run.tick(Did::default(), Did::default());
            if found.kind == VerdictKind::Fail {
                return Some(found);
            }
        }
        None
    };
    assert_eq!(fails(&mut run, 100), None);
    for _ in 0..1000 {
        histogram.record(100_000);
    }
    run.baseline.latencies(10_000, histogram);
    let found = fails(&mut run, 100).expect("four times as many slow ones are found");
    assert_eq!(found.metric, Some(Metric::LatencyFactorP90));
    assert!(
        found.reason.contains("1.25 times stable's p90 of 100"),
        "{}",
        found.reason
    );
}

#[test]
fn a_warning_holds() {
    let spec = AnalysisSpec {
        error_rate: Some(Limits {
            warn: Some(0.01),
            critical: Some(0.05),
        }),
        ..errors_alone()
    };
    let mut run = Run::new(&spec, 0.5, 0, did(0, 0));
    let mut held = None;
    for tick in 0..600u64 {
        let found = run.tick(did(10, u64::from(tick % 4 == 0)), did(10, 0));
        assert!(
            found.kind != VerdictKind::Fail && found.kind != VerdictKind::Pass,
            "{}",
            found.reason
        );
        if found.reason.contains("above the warn limit 1 %") {
            held = Some(found);
        }
    }
    assert_eq!(held.map(|held| held.kind), Some(VerdictKind::Hold));
}

#[test]
fn traffic_that_stops_in_mid_step_holds() {
    let mut run = Run::new(&beside(), 0.1, 600, did(90, 0));
    assert_eq!(run.ticks(200, did(10, 0), did(90, 0)).kind, VerdictKind::Pass);
    let found = run.ticks(101, did(0, 0), did(90, 0));
    assert_eq!(found.kind, VerdictKind::Hold, "{}", found.reason);
    assert_eq!(found.reason, "the canary has lost its traffic: no request for 10.0 s");
    assert_eq!(run.tick(did(10, 0), did(90, 0)).kind, VerdictKind::Pass);
}

#[test]
fn at_a_hundred_percent_nothing_is_compared_and_that_is_said() {
    let mut run = Run::new(&beside(), 1.0, 600, did(90, 0));
    let found = run.ticks(100, did(100, 0), did(0, 0));
    assert_eq!(found.kind, VerdictKind::Pass);
    assert!(
        found
            .reason
            .ends_with("not judged for want of comparison: errorRateRatio"),
        "{}",
        found.reason
    );
    let found = run.ticks(120, did(100, 12), did(0, 0));
    assert_eq!(found.kind, VerdictKind::Fail, "{}", found.reason);
}

#[test]
fn what_ends_late_on_stable_is_no_comparison_at_a_hundred_percent() {
    let mut run = Run::new(&beside(), 1.0, 600, did(90, 0));
    assert_eq!(run.tick(did(10, 0), did(3, 0)).kind, VerdictKind::Inconclusive);
    let found = run.ticks(100, did(100, 0), did(0, 0));
    assert_eq!(found.kind, VerdictKind::Pass, "{}", found.reason);
    assert!(
        found.reason.contains("not judged for want of comparison"),
        "{}",
        found.reason
    );
}

#[test]
fn counters_that_went_back_begin_a_new_test() {
    let mut run = Run::new(&errors_alone(), 0.5, 0, did(0, 0));
    run.ticks(200, did(10, 0), did(10, 0));
    run.reading.canary = super::super::reading::Side::default();
    let found = run.tick(did(0, 0), did(10, 0));
    assert_eq!(found.kind, VerdictKind::Inconclusive);
}

/// The recursion of the proof, written down once more: what a reader of the audit record does.
fn recompute(proof: &super::super::verdict::Proof) -> f64 {
    let absolute = [
        (1.2, 0.10),
        (1.6, 0.25),
        (2.5, 0.25),
        (5.0, 0.20),
        (20.0, 0.10),
        (400.0, 0.10),
    ];
    let relative = [(1.3, 0.15), (2.0, 0.25), (4.0, 0.25), (10.0, 0.20), (100.0, 0.15)];
    let mut value = 0.0;
    for (at, criterion) in proof.criteria.iter().enumerate() {
        let latency = criterion.metric.as_str().starts_with("latency");
        for j in 0..criterion.before.len() {
            let (mut s, mut block) = (criterion.before[j], criterion.block_before[j]);
            let mut good = 0.0;
            for tick in &proof.ticks {
                let input = &tick.inputs[at];
                let mut l = 0.0;
                let pi = match criterion.limit {
                    Some(limit) => {
                        let odds = absolute[j].0 * limit / (1.0 - limit);
                        let q = odds / (1.0 + odds);
                        good = ((1.0 - q) / (1.0 - limit)).ln() * input.tempering;
                        for slot in &input.slots {
                            l += slot.canary_bad as f64 * (q / limit).ln()
                                + (slot.canary - slot.canary_bad) as f64 * ((1.0 - q) / (1.0 - limit)).ln();
                        }
                        absolute[j].1
                    }
                    None => {
                        for slot in &input.slots {
                            let theta =
                                criterion.ratio * slot.share / (criterion.ratio * slot.share + 1.0 - slot.share);
                            let z = 1.0 + theta * (relative[j].0 - 1.0);
                            l += slot.canary_bad as f64 * relative[j].0.ln()
                                - (slot.canary_bad + slot.stable_bad) as f64 * z.ln()
                                - criterion.margin * (relative[j].0 / z - 1.0) * slot.dispatched as f64;
                        }
                        relative[j].1
                    }
                };
                if input.block_begins {
                    block = 0.0;
                }
                let mut nats = input.tempering * l;
                if latency {
                    let before = block.min(2.0);
                    block += nats;
                    nats = block.min(2.0) - before;
                }
                s = (s + criterion.weight * pi * input.prior) * nats.exp();
            }
            assert!((s - criterion.after[j]).abs() <= 1e-9 * s.abs().max(1e-300));
            if criterion.counts {
                value += s * (good * criterion.open as f64).exp();
            }
        }
    }
    value
}

#[test]
fn a_reader_recomputes_the_value_of_an_abort() {
    let spec = AnalysisSpec {
        latency: [
            None,
            None,
            Some(Limits {
                warn: None,
                critical: Some(Duration::from_millis(500)),
            }),
            None,
        ],
        ..AnalysisSpec::default()
    };
    let mut run = Run::new(&spec, 0.1, 600, did(180, 1));
    run.ticks(30, did(20, 0), did(180, 1));
    run.step(0.25);
    for tick in 0..100u64 {
        let canary = Did {
            sent: 52,
            good: 46,
            bad: 4,
            gone: 0,
        };
        let found = run.tick(canary, did(150, tick % 2));
        if found.kind == VerdictKind::Fail {
            let proof = found.evidence.proof.expect("an abort has its proof");
            let value = found.evidence.statistic.unwrap().value;
            assert!((recompute(&proof) / value - 1.0).abs() < 1e-9);
            assert!(value >= proof.level);
            return;
        }
    }
    panic!("it should have failed");
}

#[test]
fn a_canary_that_gets_everything_needs_no_alibi_of_a_stable_that_gets_nothing() {
    let mut run = Run::new(&beside(), 0.5, 600, did(100, 0));
    run.ticks(50, did(100, 0), did(100, 0));
    run.step(1.0);
    let found = run.tick(did(200, 200), did(0, 0));
    assert_eq!(
        (found.kind, found.metric),
        (VerdictKind::Fail, Some(Metric::ErrorRate)),
        "{}",
        found.reason
    );
    // Where stable still gets requests, by a cohort, it is asked.
    let mut run = Run::new(&beside(), 1.0, 600, did(100, 0));
    let found = run.tick(did(200, 60), did(20, 6));
    assert_eq!(found.kind, VerdictKind::Hold, "{}", found.reason);
}

#[test]
fn a_warning_does_not_outlast_its_cause_for_hours() {
    let spec = AnalysisSpec {
        error_rate: Some(Limits {
            warn: Some(0.005),
            critical: Some(0.05),
        }),
        ..beside()
    };
    let mut run = Run::new(&spec, 0.5, 600, did(100, 0));
    run.ticks(100, did(100, 0), did(100, 0));
    let found = run.ticks(300, did(100, 100), did(100, 100));
    assert_eq!(found.kind, VerdictKind::Hold, "{}", found.reason);
    // A minute at 100 requests a tick.
    let found = run.ticks(600, did(100, 0), did(100, 0));
    assert_ne!(found.kind, VerdictKind::Hold, "{}", found.reason);
}

#[test]
fn a_success_rate_is_told_as_successes_of_both() {
    let spec = AnalysisSpec {
        error_rate: None,
        success_rate: Some(Limits {
            warn: None,
            critical: Some(0.95),
        }),
        ..beside()
    };
    let mut run = Run::new(&spec, 1.0, 0, did(0, 0));
    let found = run.tick(did(10, 10), did(1, 0));
    let expected =
        "canary successRate 0 % (0 to 30.8 %, 0 of 10) is below the critical limit 95 %; stable 100 % (1 of 1)";
    assert!(found.reason.contains(expected), "{}", found.reason);
}
