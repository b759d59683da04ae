//! The scenarios: healthy canaries, bad ones, and trouble that is not the canary's.

use super::bounds::wald;
use super::latency::Latency;
use super::scenario::{Bad, Both, Luck, Moment, Scenario, USUAL_MS, compared, errors_alone, latency_alone};

/// Index of the critical limit of p95.
const P95_CRITICAL: usize = 5;

/// How many rollouts the rows of false aborts stand on.
pub(super) const MANY: u64 = 20_000;
/// The same for each of the three healthy rows.
const A_THIRD: u64 = 7_000;
/// For rows at other borders.
const SOME: u64 = 3_000;

/// A plan of a realistic shape, as short as may be: five and a half minutes.
const STEPS: &[(u32, u64)] = &[(5, 60), (10, 60), (25, 60), (50, 60), (75, 60), (100, 30)];

/// Low, middling and high traffic.
const RATES: &[f64] = &[50.0, 200.0, 1_000.0];

/// How long the rules of others are given.
const PEERS_S: u64 = 1_500;

/// All scenarios, in the order of the tables.
pub(super) fn all() -> Vec<Scenario> {
    let mut all = healthy();
    all.extend(failing());
    all.extend(alone());
    all.extend(slow());
    all.extend(shared());
    all.extend(odd());
    all
}

/// Canaries that no verdict should abort: as good as stable, or exactly at a limit.
fn healthy() -> Vec<Scenario> {
    let healthy = |name, about, canary: f64, stable: f64| Scenario {
        replicates: A_THIRD,
        rps: RATES,
        horizon_s: 420,
        ..Scenario::new(name, about, move |_, _| Both::failing(canary, stable)).on(STEPS)
    };
    vec![
        healthy("healthy-0.1", "Both sides fail 0.1 %; limit 5 %.", 0.001, 0.001),
        healthy("healthy-0.5", "Both sides fail 0.5 %.", 0.005, 0.005),
        healthy("healthy-4", "Both sides fail 4 %: just below the limit.", 0.04, 0.04),
        Scenario {
            replicates: MANY,
            spec: errors_alone(),
            ..healthy(
                "limit-alone",
                "Exactly at the limit of 5 %, compared with nothing.",
                0.05,
                0.0,
            )
        },
        Scenario {
            replicates: SOME,
            ..healthy(
                "limit-both",
                "5 % beside a stable of 3 %: exactly at the limit, and exactly 1.5 times stable plus 0.5 points.",
                0.05,
                0.03,
            )
        },
        Scenario {
            spec: latency_alone(),
            ..healthy_at(
                "p95-at-limit",
                "A p95 of exactly 500 ms, compared with nothing.",
                Latency::with_p95(500.0),
            )
        },
        Scenario {
            replicates: 600,
            tick_ms: 1_000,
            horizon_s: 6_000,
            ..healthy(
                "healthy-hours",
                "0.5 % on both sides, one hour at 5 %; a look each second.",
                0.005,
                0.005,
            )
        }
        .on(&[(5, 3_600), (25, 600), (100, 30)]),
    ]
}

fn healthy_at(name: &'static str, about: &'static str, latency: Latency) -> Scenario {
    Scenario {
        replicates: SOME,
        rps: RATES,
        horizon_s: 420,
        ..Scenario::new(name, about, move |_, _| Both::alike(0.002).with_latency(latency)).on(STEPS)
    }
}

/// Canaries that fail too often, beside a stable that fails 0.5 or 1 %.
fn failing() -> Vec<Scenario> {
    let from_start = |name, about, failing: f64| Scenario {
        peers_s: PEERS_S,
        ..Scenario::new(name, about, move |_, luck| Both::failing(failing, stable_of(luck)))
    };
    let twenty = |name, about, failing| Scenario {
        peers_s: 0,
        rps: &[200.0],
        ..from_start(name, about, failing)
    };
    let later = |name, about, failing: f64| Scenario {
        peers_s: PEERS_S,
        onset_s: after_a_minute,
        ..Scenario::new(name, about, move |now_s, luck| {
            let ill = now_s >= after_a_minute(luck);
            Both::failing(if ill { failing } else { 0.005 }, stable_of(luck))
        })
    };
    let dead = |name, about, rps, percent: u32| Scenario {
        rps,
        ..Scenario::new(name, about, |_, luck| Both::failing(1.0, stable_of(luck))).on(&[(percent, 300), (100, 30)])
    };
    vec![
        from_start("errors-8", "8 % from the start, 100 canary requests a second.", 0.08),
        from_start("errors-15", "15 % from the start.", 0.15),
        from_start("errors-100", "Everything fails from the start.", 1.0),
        later("errors-8-later", "8 %, beginning in mid-rollout.", 0.08),
        later("errors-15-later", "15 %, beginning in mid-rollout.", 0.15),
        later("errors-100-later", "Everything fails, beginning in mid-rollout.", 1.0),
        Scenario {
            rps: &[10_000.0],
            peers_s: 0,
            ..later("dead-busy-later", "The same at 1000 canary requests a second.", 1.0)
        },
        twenty(
            "errors-8-at-20",
            "8 % from the start, 20 canary requests a second.",
            0.08,
        ),
        twenty(
            "errors-15-at-20",
            "15 % from the start, 20 canary requests a second.",
            0.15,
        ),
        dead(
            "dead-5",
            "Everything fails at 5 %, 2.5 canary requests a second.",
            &[50.0],
            5,
        ),
        dead(
            "dead-20",
            "Everything fails at 20 %, 2 canary requests a second.",
            &[10.0],
            20,
        ),
        dead(
            "dead-50",
            "Everything fails at 50 %, 2 canary requests a second.",
            &[4.0],
            50,
        ),
        Scenario {
            peers_s: PEERS_S,
            ..Scenario::new(
                "ramp",
                "Errors rise from 0.5 % to 20 % in five minutes.",
                |now_s, luck| {
                    let canary = 0.005 + 0.195 * (now_s / 300.0).clamp(0.0, 1.0);
                    Both::failing(canary, stable_of(luck))
                },
            )
        },
        with_streams(
            "dead-streams",
            "500 streams are open on the canary when everything begins to fail.",
        ),
        Scenario {
            spec: errors_alone(),
            ..with_streams("dead-streams-alone", "The same, the limit alone.")
        },
        Scenario {
            ..Scenario::new(
                "hangs",
                "A tenth of the canary's requests is never answered.",
                |_, luck| {
                    let mut both = Both::failing(0.005, stable_of(luck));
                    both.canary.latency.hanging = 0.1;
                    both
                },
            )
        },
    ]
}

/// Streams that were opened in good times stay open, and count as coming successes, while everything else fails.
fn with_streams(name: &'static str, about: &'static str) -> Scenario {
    Scenario {
        onset_s: after_a_minute,
        ..Scenario::new(name, about, |now_s, luck| {
            let ill = now_s >= after_a_minute(luck);
            let mut both = Both::failing(if ill { 1.0 } else { 0.005 }, stable_of(luck));
            both.canary.streams = if (0.0..50.0).contains(&now_s) { 10.0 } else { 0.0 };
            both
        })
    }
}

/// The error limit alone, compared with nothing: held against what no test can beat.
fn alone() -> Vec<Scenario> {
    let from_start = |name, about, failing: f64| Scenario {
        spec: errors_alone(),
        wald: Some(wald(0.05, failing, 0.001, 0.001)),
        replicates: 1_000,
        ..Scenario::new(name, about, move |_, _| Both::failing(failing, 0.005))
    };
    vec![
        from_start("alone-8", "8 % from the start, the limit alone.", 0.08),
        from_start("alone-15", "15 % from the start, the limit alone.", 0.15),
        Scenario {
            onset_s: after_a_minute,
            informed: Some(0.08),
            world: Box::new(|now_s, luck| {
                let ill = now_s >= after_a_minute(luck);
                Both::failing(if ill { 0.08 } else { 0.005 }, 0.005)
            }),
            ..from_start("alone-8-later", "8 % beginning in mid-rollout, the limit alone.", 0.08)
        },
    ]
}

/// Canaries that are too slow.
fn slow() -> Vec<Scenario> {
    // A tenth of the answers is slower than 500 ms.
    let p95_600 = Latency::with_p95(600.0);
    let bound = Some(wald(0.05, p95_600.slower(500.0), 0.001, 0.001));
    let slow = |name, about, onset_s: fn(&Luck) -> f64, before: Latency, after: Latency| Scenario {
        bad: Bad::Slow(P95_CRITICAL),
        onset_s,
        ..Scenario::new(name, about, move |now_s, luck| {
            let mut both = Both::alike(0.002).with_latency(before);
            if now_s >= onset_s(luck) {
                both.canary.latency = after;
            }
            both
        })
    };
    let alone = |name, about| Scenario {
        spec: latency_alone(),
        wald: bound,
        ..slow(name, about, from_the_start, Latency::with_p95(340.0), p95_600)
    };
    let grown = |name, about, onset_s| Scenario {
        peers_s: PEERS_S,
        ..slow(name, about, onset_s, Latency::with_p95(340.0), p95_600)
    };
    let doubled = |name, about, onset_s| Scenario {
        peers_s: PEERS_S,
        ..slow(name, about, onset_s, Latency::of(USUAL_MS), Latency::of(2.0 * USUAL_MS))
    };
    vec![
        alone("p95-600-alone", "p95 600 ms from the start, the limit of 500 ms alone."),
        Scenario {
            rps: &[200.0],
            ..alone("p95-600-alone-at-20", "The same with 20 canary requests a second.")
        },
        grown(
            "p95-340-600",
            "p95 600 ms from the start, stable 340 ms; limit 500 ms.",
            from_the_start,
        ),
        grown(
            "p95-340-600-later",
            "p95 goes from 340 to 600 ms in mid-rollout.",
            after_a_minute,
        ),
        doubled(
            "latency-doubled",
            "Twice stable's latency from the start, far below the limit.",
            from_the_start,
        ),
        doubled(
            "latency-doubled-later",
            "Latency doubles in mid-rollout.",
            after_a_minute,
        ),
    ]
}

/// Trouble that is not the canary's alone.
fn shared() -> Vec<Scenario> {
    vec![
        Scenario {
            onset_s: after_a_minute,
            peers_s: PEERS_S,
            ..Scenario::new(
                "outage",
                "30, 60 or 100 % fail on both sides for 30 s.",
                |now_s, luck| {
                    let failing = [0.3, 0.6, 1.0][(luck.replicate % 3) as usize];
                    Both::alike(if lasts_30_s(now_s, luck) { failing } else { 0.005 })
                },
            )
            .on(STEPS)
        },
        Scenario {
            onset_s: after_a_minute,
            ..Scenario::new(
                "slowdown",
                "Both sides take five times as long for 30 s; p95 805 ms.",
                |now_s, luck| {
                    let factor = if lasts_30_s(now_s, luck) { 5.0 } else { 1.0 };
                    Both::alike(0.005).with_latency(Latency::of(USUAL_MS).times(factor))
                },
            )
            .on(STEPS)
        },
        Scenario::new(
            "broken-stable",
            "Stable fails 30 %, the canary 10 % or 0.5 %: better, if not good.",
            |_, luck| Both::failing([0.1, 0.005][(luck.replicate % 2) as usize], 0.3),
        )
        .on(STEPS),
        Scenario {
            rps: &[0.0],
            ..Scenario::new("no-traffic", "Nobody comes.", |_, _| Both::alike(0.0)).on(STEPS)
        },
    ]
}

/// Healthy canaries with traffic of a kind that misleads.
fn odd() -> Vec<Scenario> {
    let low = |name, about, failing: f64| Scenario {
        rps: &[5.0],
        horizon_s: 900,
        ..Scenario::new(name, about, move |_, _| Both::failing(failing, 0.005)).on(&[(20, 300), (100, 30)])
    };
    let streams = |now_s: f64, luck: &Luck| {
        let mut both = Both::alike(0.01);
        let open = |moment: &mut Moment| {
            moment.streams = if (0.0..50.0).contains(&now_s) { 100.0 } else { 0.0 };
            moment.leave = now_s >= 60.0;
        };
        open([&mut both.canary, &mut both.stable][(luck.replicate % 2) as usize]);
        both
    };
    vec![
        low(
            "low-healthy",
            "5 requests a second, one of them to the canary; both fail 0.5 %.",
            0.005,
        ),
        low("low-15", "5 requests a second, the canary fails 15 %.", 0.15),
        low("low-100", "5 requests a second, the canary fails always.", 1.0),
        Scenario::new(
            "bursts",
            "Failures come five at a time on both sides, 1 % of all.",
            |_, _| {
                let mut both = Both::alike(0.01);
                (both.canary.cluster, both.stable.cluster) = (5, 5);
                both
            },
        )
        .on(STEPS),
        Scenario {
            fine_warm_up: true,
            ..Scenario::new(
                "stalls",
                "Each side stops for half a second every 30 s, on a clock of its own.",
                |now_s, luck| {
                    let mut both = Both::alike(0.005);
                    both.canary.latency.stall_ms = stall_ms(now_s, luck.phases[0]);
                    both.stable.latency.stall_ms = stall_ms(now_s, luck.phases[1]);
                    both
                },
            )
            .on(STEPS)
        },
        Scenario {
            horizon_s: 2_100,
            ..Scenario::new(
                "drift",
                "A keyed split whose canary gets 5 %, in half an hour 15 % of requests; both fail 2 %.",
                |now_s, _| Both {
                    share: Some(0.05 + 0.1 * (now_s / 1_800.0).clamp(0.0, 1.0)),
                    ..Both::alike(0.02)
                },
            )
            .on(&[(10, 1_800), (100, 30)])
        },
        Scenario::new(
            "heavy-users",
            "The canary's users send twice as much; both sides fail 2 %.",
            |_, _| {
                let mut both = Both::alike(0.02);
                both.canary.rate = 2.0;
                both
            },
        )
        .on(STEPS),
        Scenario::new(
            "leavers",
            "5,000 clients of streams leave one of the sides at once; both fail 1 %.",
            streams,
        )
        .on(STEPS),
        Scenario {
            replicates: 1_000,
            spec: compared(),
            ..Scenario::new(
                "late-successes",
                "Errors (2 %) return at once, good answers after 400 ms; the canary has just begun.",
                |_, _| failing_at_once(0.02),
            )
            .on(STEPS)
        },
        Scenario {
            replicates: 1_000,
            spec: errors_alone(),
            ..Scenario::new(
                "late-successes-alone",
                "The same at 4 %, the limit of 5 % alone.",
                |_, _| failing_at_once(0.04),
            )
            .on(STEPS)
        },
    ]
}

/// Both sides fail at `rate` at once, and answer well after 400 ms.
fn failing_at_once(rate: f64) -> Both {
    Both::alike(rate).with_latency(Latency {
        sigma: 0.03,
        ..Latency::of(400.0)
    })
}

/// Stable fails 0.5 or 1 %.
fn stable_of(luck: &Luck) -> f64 {
    [0.005, 0.01][(luck.replicate % 2) as usize]
}

fn from_the_start(_: &Luck) -> f64 {
    0.0
}

/// A moment in the second minute.
fn after_a_minute(luck: &Luck) -> f64 {
    60.0 + 60.0 * luck.phases[0]
}

fn lasts_30_s(now_s: f64, luck: &Luck) -> bool {
    let since = now_s - after_a_minute(luck);
    (0.0..30.0).contains(&since)
}

/// How long a stall of half a second, each 30 s, still lasts.
fn stall_ms(now_s: f64, phase: f64) -> f64 {
    let into = (now_s + 30.0 * phase).rem_euclid(30.0);
    (500.0 - 1e3 * into).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_worlds_are_possible() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
        for scenario in &all {
            let luck = Luck {
                replicate: 1,
                phases: [0.5; 3],
            };
            for now_s in [-1.0, 0.05, 61.0, 95.0, 5_000.0] {
                let both = (scenario.world)(now_s, &luck);
                for moment in [both.canary, both.stable] {
                    assert!((0.0..=1.0).contains(&moment.failing), "{}", scenario.name);
                    assert!(moment.latency.median_ms > 0.0 && moment.latency.stall_ms >= 0.0);
                }
            }
        }
    }

    #[test]
    fn a_stall_takes_half_a_second_of_thirty() {
        let stalled = (0..3_000).filter(|tick| stall_ms(f64::from(*tick) / 100.0, 0.3) > 0.0);
        assert_eq!(stalled.count(), 50);
    }
}
