//! The rows as Markdown, for `docs/verdicts.md`.

use super::cost::Cost;
use super::row::{Found, Row};
use crate::report::{Condition, number};

/// Between these lines of a document the tables stand.
const BEGIN: &str = "<!-- verdicts: begin -->";
const END: &str = "<!-- verdicts: end -->";

/// All tables.
pub(super) fn markdown(rows: &[Row], cost: &Cost, conditions: &[Condition], command: &str) -> String {
    let mut text = format!("`{command}`\n\n");
    text += "| scenario | rollouts | aborted | at most | held | promoted | looks that hold | median delay s | 95 % | \
             bad: median | mean | × Wald |\n";
    text += &format!("| --- |{}\n", " ---: |".repeat(11));
    for row in rows {
        text += &ours(row);
    }
    text += "\nBad requests until the abort, and how many times as many each rule served:\n\n";
    text += &peers(rows);
    text += &informed(rows);
    text += "\n| what was promised | | found |\n| --- | --- | --- |\n";
    for condition in conditions {
        let mark = if condition.held { "kept" } else { "**missed**" };
        text += &format!("| {} | {mark} | {} |\n", condition.name, condition.figures);
    }
    text += &format!(
        "\nA look takes {:.2} µs, one that says fail {:.0} µs; 100 rollouts with ten looks a second take {:.2} % of a \
         core.\n",
        cost.tick_us,
        cost.fail_us,
        100.0 * cost.core_share
    );
    text
}

/// `document` with what stands between the two lines replaced by `tables`; `None` without those lines.
pub(super) fn put_into(document: &str, tables: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}{END}{after}"))
}

fn ours(row: &Row) -> String {
    let share = |n: u64| percent(n as f64 / row.rollouts as f64);
    let Found {
        delay_median_s,
        delay_95_s,
        bad_median,
        bad_mean,
        ..
    } = row.serin;
    format!(
        "| **{}**: {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        row.name,
        row.about,
        row.rollouts,
        share(row.aborted),
        percent(row.aborted_at_most),
        share(row.held),
        share(row.promoted),
        percent(row.holding),
        number(delay_median_s, 1),
        number(delay_95_s, 1),
        number(bad_median, 0),
        number(bad_mean, 1),
        number(row.times_wald, 2),
    )
}

fn peers(rows: &[Row]) -> String {
    let followed: Vec<_> = rows.iter().filter(|row| !row.peers.is_empty()).collect();
    let Some(first) = followed.first() else {
        return "(not followed)\n".to_owned();
    };
    let mut text = "| scenario | Serin: aborted, median s, mean bad |".to_owned();
    for peer in &first.peers {
        text += &format!(" {}: rolled back, median s, mean bad (×) |", peer.rule);
    }
    text += &format!("\n| --- |{}\n", " --- |".repeat(first.peers.len() + 1));
    for row in followed {
        let aborted = percent(row.aborted_share());
        let found = &row.serin;
        let (delay, bad) = (number(found.delay_median_s, 1), number(found.bad_mean, 1));
        text += &format!("| {} | {aborted}, {delay}, {bad} |", row.name);
        for peer in &row.peers {
            let rolled_back = percent(peer.rolled_back);
            let (delay, bad) = (number(peer.found.delay_median_s, 0), number(peer.found.bad_mean, 0));
            let times = number(peer.times_serin, 1);
            text += &format!(" {rolled_back}, {delay}, {bad} ({times}) |");
        }
        text += "\n";
    }
    text
}

/// What detectors that know the share do.
fn informed(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let [page, mixture] = row.informed.as_ref()?;
        let mean = |found: &Found| number(found.bad_mean, 1);
        Some(format!(
            "\nOn the requests of {}, where Serin serves {} bad ones in the mean: Page's sum, told both shares and set to \
             as many false aborts as are allowed, {}; the judge's own recursion, told the share, {}.\n",
            row.name,
            mean(&row.serin),
            mean(page),
            mean(mixture),
        ))
    };
    rows.iter().filter_map(line).collect()
}

/// `0.015 %`, `100 %`: two significant figures, or one decimal.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let text = match percent {
        p if p >= 1.0 => format!("{p:.1}"),
        p if p >= 0.1 => format!("{p:.2}"),
        p => format!("{p:.3}"),
    };
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_as_a_person_writes_them() {
        let check = |share, expected: &str| assert_eq!(percent(share), expected);
        check(0.0, "0 %");
        check(1.0, "100 %");
        check(0.000_15, "0.015 %");
        check(0.002_5, "0.25 %");
        check(0.305, "30.5 %");
        check(0.5, "50 %");
    }

    #[test]
    fn tables_take_the_place_of_those_before() {
        let document = format!("# Title\n{BEGIN}\nold\n{END}\nrest\n");
        let found = put_into(&document, "new\n").unwrap();
        assert_eq!(found, format!("# Title\n{BEGIN}\nnew\n{END}\nrest\n"));
        assert_eq!(put_into("# Title\n", "new\n"), None);
    }
}
