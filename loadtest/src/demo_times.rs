//! Scenario `demo-times`: how long does a bad canary live, measured over many runs of `serin demo`?

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::peer::find_serin;
use crate::report::{Report, number, table};
use crate::stats::median;

/// Asks: how long does a bad canary live, from its first bad response to its last request?
///
/// Runs `serin demo --json` again and again and shows, for each scenario, least, median and greatest value of every
/// number in the demo's summary (nested ones by dotted names), and how many runs did not end as expected.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// Scenarios of the demo.
    #[arg(long, value_delimiter = ',', default_values_t = ["errors".to_owned(), "down".to_owned()])]
    scenarios: Vec<String>,
    /// Runs of each scenario.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Requests per second of the demo's load; left out: the demo's default.
    #[arg(long)]
    rate: Option<u32>,
    /// The longest that one run may take, in seconds.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
}

/// One run of the demo.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    scenario: String,
    round: u32,
    /// Exit code; none when it was ended by a signal.
    exit_code: Option<i32>,
    summary: Value,
}

/// The runs of one scenario together.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    scenario: String,
    runs: usize,
    /// Runs that did not exit with 0.
    unexpected: usize,
    /// By name: least, median, greatest.
    values: BTreeMap<String, [f64; 3]>,
}

/// Runs all; `false` when a run did not end as expected.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    let serin = find_serin()?;
    let mut rounds = Vec::new();
    // Scenarios take turns, so that a slow phase of the machine meets all of them.
    for round in 1..=options.runs {
        for scenario in &options.scenarios {
            let measured = run_demo(&serin, scenario, round, options).await?;
            println!(
                "run {round}/{} {scenario}: exit code {:?}",
                options.runs, measured.exit_code
            );
            rounds.push(measured);
        }
    }
    let summary: Vec<Summary> = options
        .scenarios
        .iter()
        .map(|scenario| summarise(scenario, &rounds))
        .collect();
    for one in &summary {
        println!(
            "\n{}: {} runs, {} not as expected",
            one.scenario, one.runs, one.unexpected
        );
        let rows: Vec<Vec<String>> = one.values.iter().map(|(name, values)| row(name, values)).collect();
        print!("{}", table(&["value", "least", "median", "greatest"], &rows));
    }
    let held = summary.iter().all(|one| one.unexpected == 0);
    let report = Report {
        scenario: "demo-times",
        machine,
        settings: json!({ "options": options }),
        rounds,
        summary,
    };
    report.write_json(options.json.as_deref())?;
    Ok(held)
}

async fn run_demo(serin: &PathBuf, scenario: &str, round: u32, options: &Options) -> anyhow::Result<Round> {
    let mut command = tokio::process::Command::new(serin);
    command
        .args(["demo", "--json", "--scenario", scenario])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(rate) = options.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let output = tokio::time::timeout(Duration::from_secs(options.timeout.into()), command.output())
        .await
        .with_context(|| format!("the demo {scenario} did not end within {} s", options.timeout))?
        .context("cannot run the demo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = last_json(&text).with_context(|| {
        format!(
            "the demo {scenario} printed no JSON:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok(Round {
        scenario: scenario.to_owned(),
        round,
        exit_code: output.status.code(),
        summary,
    })
}

/// The whole text as JSON, or else its last line that is an object: live lines may stand before the summary.
fn last_json(text: &str) -> Option<Value> {
    let whole = serde_json::from_str(text).ok();
    whole.or_else(|| {
        text.lines()
            .rev()
            .find_map(|line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object))
    })
}

fn summarise(scenario: &str, rounds: &[Round]) -> Summary {
    let own: Vec<&Round> = rounds.iter().filter(|round| round.scenario == scenario).collect();
    let mut numbers: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in &own {
        collect_numbers("", &round.summary, &mut numbers);
    }
    let spread = |values: Vec<f64>| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        median(&values).map(|middle| [least, middle, greatest])
    };
    Summary {
        scenario: scenario.to_owned(),
        runs: own.len(),
        unexpected: own.iter().filter(|round| round.exit_code != Some(0)).count(),
        values: numbers
            .into_iter()
            .filter_map(|(name, values)| Some((name, spread(values)?)))
            .collect(),
    }
}

/// All numbers below `value` by dotted name; lists are left out, since their length may differ from run to run.
fn collect_numbers(name: &str, value: &Value, numbers: &mut BTreeMap<String, Vec<f64>>) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                numbers.entry(name.to_owned()).or_default().push(number);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                collect_numbers(&name, field, numbers);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
    }
}

fn row(name: &str, values: &[f64; 3]) -> Vec<String> {
    let digits = if values.iter().all(|value| value.fract() == 0.0) {
        0
    } else {
        3
    };
    std::iter::once(name.to_owned())
        .chain(values.iter().map(|value| number(Some(*value), digits)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_last_object() {
        let check = |text: &str, expected: Option<Value>| assert_eq!(last_json(text), expected, "{text}");
        check("{\n \"a\": 1\n}\n", Some(json!({ "a": 1 })));
        check("{\"a\": 1}\nplain\n{\"a\": 2}\nbye\n", Some(json!({ "a": 2 })));
        check("plain\n", None);
    }

    #[test]
    fn every_number_is_summarised_by_its_dotted_name() {
        let round = |round, exit_code, bad| Round {
            scenario: "errors".to_owned(),
            round,
            exit_code: Some(exit_code),
            summary: json!({ "outcome": "aborted", "bad": bad, "time": { "s": 0.5 }, "list": [1] }),
        };
        let summary = summarise("errors", &[round(1, 0, 10), round(2, 1, 30), round(3, 0, 11)]);
        assert_eq!((summary.runs, summary.unexpected), (3, 1));
        let expected = [("bad".to_owned(), [10.0, 11.0, 30.0]), ("time.s".to_owned(), [0.5; 3])];
        assert_eq!(summary.values, BTreeMap::from(expected));
    }
}
