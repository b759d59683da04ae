//! The result of a scenario: a table for people, JSON for machines.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use crate::machine::Machine;

/// What every scenario hands over: `rounds` as measured, `summary` as judged.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report<R, S> {
    /// The scenario's name.
    pub(crate) scenario: &'static str,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// How it ran: options, versions, what was missing.
    pub(crate) settings: Value,
    /// Each single measurement, in order.
    pub(crate) rounds: Vec<R>,
    /// Medians, ratios, conditions.
    pub(crate) summary: Vec<S>,
}

/// Something that had to hold, and whether it did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// What had to hold.
    pub(crate) name: String,
    /// Whether it did.
    pub(crate) held: bool,
    /// The figures behind it.
    pub(crate) figures: String,
}

impl<R: Serialize, S: Serialize> Report<R, S> {
    /// Writes the JSON where asked.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_json(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        let mut text = serde_json::to_string_pretty(self).context("cannot write the report as JSON")?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Prints conditions, one to a line, and answers whether all held.
pub(crate) fn print_conditions(conditions: &[Condition]) -> bool {
    for condition in conditions {
        let mark = if condition.held { "ok  " } else { "FAIL" };
        println!("{mark} {}: {}", condition.name, condition.figures);
    }
    conditions.iter().all(|condition| condition.held)
}

/// Columns under their headings: the first to the left, numbers to the right.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// A number with `digits` after the point; `-` for none.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: f64) -> f64 {
    bytes / (1024.0 * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["serin".to_owned(), "1.25".to_owned()],
            vec!["x".to_owned(), "-".to_owned()],
        ];
        assert_eq!(
            table(&["proxy", "µs"], &rows),
            "proxy    µs\nserin  1.25\nx         -\n"
        );
    }

    #[test]
    fn no_number_is_a_dash() {
        assert_eq!(number(None, 2), "-");
        assert_eq!(number(Some(1.005), 1), "1.0");
    }
}
