//! How figures are written for a person: `8.1 %`, `5 %`, `250 ms`, `2 h 5 min`.

use std::time::Duration;

/// A measured share (0 to 1) with two significant figures or one decimal: `0.052 %`, `0.25 %`, `8.1 %`, `100 %`.
pub(crate) fn measured(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = match percent {
        p if p >= 1.0 => 1,
        p if p >= 0.1 => 2,
        p if p >= 0.01 => 3,
        _ => 4,
    };
    format!("{} %", trimmed(percent, decimals))
}

/// A measured share that is above `limit`, with as many decimals as it takes to read so:
/// `5.03 %` beside a limit of `5 %`.
pub(crate) fn measured_above(share: f64, limit: f64) -> String {
    let usual = measured(share);
    let reads_above = |text: &str| {
        text.trim_end_matches(" %")
            .parse()
            .is_ok_and(|shown: f64| shown > limit * 100.0)
    };
    if reads_above(&usual) {
        return usual;
    }
    let mut longer = (2..=12).map(|decimals| format!("{} %", trimmed(share * 100.0, decimals)));
    longer.find(|text| reads_above(text)).unwrap_or(usual)
}

/// A share as somebody wrote it, to the ppm: `5 %`, `0.25 %`.
pub(crate) fn written(share: f64) -> String {
    format!("{} %", trimmed(share * 100.0, 4))
}

/// A plain number as somebody wrote it: `1.5`, `2`.
pub(crate) fn number(value: f64) -> String {
    trimmed(value, 4)
}

/// Parts per million as a share: `5 %`.
pub(crate) fn ppm(ppm: u32) -> String {
    written(f64::from(ppm) / 1e6)
}

/// A measured time: `250 ms`, `12.3 s`, `5 min 4 s`, `2 h 5 min`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A latency limit as somebody wrote it: `500 ms`, `1 s`, `1.5 s`.
pub(crate) fn limit(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", trimmed(duration.as_secs_f64() * 1e3, 3))
    } else {
        format!("{} s", trimmed(duration.as_secs_f64(), 3))
    }
}

/// `value` with at most `decimals` decimals and no zeros at the end.
fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_a_person_writes_them() {
        let check = |figure: String, expected: &str| assert_eq!(figure, expected);
        check(measured(0.081_05), "8.1 %");
        check(measured(1.0), "100 %");
        check(measured(0.0), "0 %");
        check(measured(0.004), "0.4 %");
        check(measured(0.000_52), "0.052 %");
        check(measured_above(0.0503, 0.05), "5.03 %");
        check(measured_above(0.050_001_2, 0.05), "5.0001 %");
        check(measured_above(0.0812, 0.05), "8.1 %");
        check(measured_above(0.002_51, 0.0025), "0.251 %");
        check(measured_above(0.05, 0.05), "5 %");
        check(written(0.05), "5 %");
        check(written(0.0025), "0.25 %");
        check(ppm(1_000_000), "100 %");
        check(ppm(1), "0.0001 %");
        check(time(Duration::from_millis(1_000)), "1.0 s");
        check(time(Duration::from_millis(12_399)), "12.3 s");
        check(time(Duration::from_millis(250)), "250 ms");
        check(time(Duration::from_secs(304)), "5 min 4 s");
        check(time(Duration::from_secs(7_500)), "2 h 5 min");
        check(limit(Duration::from_millis(500)), "500 ms");
        check(limit(Duration::from_millis(1_500)), "1.5 s");
    }
}
