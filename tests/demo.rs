//! `serin demo`, as people run it: every scenario ends as it should, and loses no request.

use std::process::{Command, Stdio};

use serde_json::Value;

/// A thin load, so that all scenarios together ask little of a machine that also runs other tests;
/// enough for the evidence of the first step within half a minute.
const RATE: &str = "600";

fn check(scenario: &str, outcome: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["demo", "--json", "--rate", RATE, "--scenario", scenario])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let context = format!("{scenario}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_str(&text).expect(&context);
    assert_eq!(summary["outcome"], outcome, "{context}");
    assert_eq!(summary["ok"], true, "{context}");
    assert_eq!(summary["lost"], 0, "{context}");
    assert_eq!(output.status.code(), Some(0), "{context}");
    assert!(!summary["reason"].as_str().unwrap_or_default().is_empty(), "{context}");
    let has_times = ["first_bad_to_last_canary_ms", "first_bad_to_weight_zero_ms"].map(|key| summary[key].is_number());
    assert_eq!(has_times, [outcome == "aborted"; 2], "{context}");
}

#[test]
fn a_healthy_canary_is_promoted() {
    check("healthy", "succeeded");
}

#[test]
fn a_canary_with_errors_is_aborted() {
    check("errors", "aborted");
}

#[test]
fn a_slow_canary_is_aborted() {
    check("slow", "aborted");
}

#[test]
fn a_canary_that_hangs_is_aborted() {
    check("hang", "aborted");
}

#[test]
fn a_canary_that_is_down_is_aborted() {
    check("down", "aborted");
}
