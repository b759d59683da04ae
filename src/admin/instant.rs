//! Writes an instant as RFC 3339 text in UTC with milliseconds.

/// Unix milliseconds as `2026-11-21T12:00:00.000Z`. Years beyond 9999 do not occur.
///
/// The civil date is Howard Hinnant's `civil_from_days` ("chrono-Compatible Low-Level Date
/// Algorithms", 2013), with an era of 400 years that begins on 1 March of year 0.
#[must_use]
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    fn check(unix_ms: u64, expected: &str) {
        assert_eq!(rfc3339(unix_ms), expected);
    }

    #[test]
    fn instants_are_utc_with_milliseconds() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(86_399_999, "1970-01-01T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(951_868_800_000, "2000-03-01T00:00:00.000Z");
        check(1_078_012_800_007, "2004-02-29T00:00:00.007Z");
        check(1_795_262_413_042, "2026-11-21T12:00:13.042Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(253_402_300_799_999, "9999-12-31T23:59:59.999Z");
    }
}
