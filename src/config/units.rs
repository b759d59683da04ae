//! Values with a unit: durations, percentages, sizes. A number without its unit is refused.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::read::Scalar;
use crate::share::MILLION;

/// From 0 to 365 days, to the microsecond: `250ms`, `1m30s`, `1.5h`.
impl Scalar for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        match nanos(text)? {
            n if n > DURATION_MAX => Err("is longer than 365d".into()),
            n => Ok(Self::from_nanos(u64::try_from(n).expect("a year in nanoseconds fits"))),
        }
    }

    fn schema() -> Json {
        json!({
            "type": "string",
            "pattern": r"^([0-9]+(\.[0-9]+)?(us|µs|ms|s|m|h|d|w|y))+$",
            "examples": ["250ms", "30s", "1m30s", "2h"],
        })
    }
}

/// Whole microseconds in nanoseconds; of any length.
fn nanos(text: &str) -> Result<u128, String> {
    let mut nanos: u128 = 0;
    let mut rest = text;
    let mut last_unit = u128::MAX;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or("has no unit; write one, such as 250ms, 30s or 2h")?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(unit_end);
        let unit = DURATION_UNITS
            .iter()
            .find(|(unit, _)| *unit == name)
            .map(|(_, nanos)| *nanos)
            .ok_or(NO_DURATION)?;
        if unit >= last_unit {
            return Err("has its units in the wrong order; write the largest first, such as 1m30s".into());
        }
        nanos += decimal(number, unit).ok_or(NO_DURATION)?;
        last_unit = unit;
        rest = after;
    }
    match nanos {
        _ if text.is_empty() => Err(NO_DURATION.into()),
        n if n % 1_000 != 0 => Err("is finer than a microsecond".into()),
        n => Ok(n),
    }
}

/// A duration above 0: a limit of nothing would refuse everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Limit(pub(super) Duration);

impl Scalar for Limit {
    fn parse(text: &str) -> Result<Self, String> {
        match Duration::parse(text)? {
            Duration::ZERO => Err("is no limit; give a duration above 0".into()),
            duration => Ok(Self(duration)),
        }
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

/// How long records are kept: from a second to a hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention(pub(super) Duration);

impl Scalar for Retention {
    fn parse(text: &str) -> Result<Self, String> {
        let seconds = nanos(text)? / 1_000_000_000;
        match u64::try_from(seconds) {
            Ok(0) => Err("is shorter than a second".into()),
            Ok(seconds) if seconds <= RETENTION_MAX_S => Ok(Self(Duration::from_secs(seconds))),
            _ => Err("is longer than 100y".into()),
        }
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

/// How long others may remember something: whole seconds, from none to a hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaxAge {
    /// `0..=3_153_600_000`.
    pub(super) seconds: u64,
}

impl Scalar for MaxAge {
    fn parse(text: &str) -> Result<Self, String> {
        let nanos = nanos(text)?;
        match u64::try_from(nanos / 1_000_000_000) {
            _ if nanos % 1_000_000_000 != 0 => Err("is finer than a second".into()),
            Ok(seconds) if seconds <= RETENTION_MAX_S => Ok(Self { seconds }),
            _ => Err("is longer than 100y".into()),
        }
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

/// A percentage from 0% to 100%, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Percent {
    /// `0..=1_000_000`.
    pub(super) ppm: u32,
}

impl Percent {
    /// 0 to 1.
    pub(super) fn share(self) -> f64 {
        f64::from(self.ppm) / f64::from(MILLION)
    }
}

impl Scalar for Percent {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text
            .strip_suffix('%')
            .ok_or("has no percent sign; write it as 5% or 0.5%")?;
        if number
            .strip_prefix('-')
            .is_some_and(|n| decimal(n, 1_000_000_000).is_some())
        {
            return Err("is below 0%".into());
        }
        // In units of 10⁻⁹ of a percent first, so that finer digits are seen and not rounded away.
        let fine = decimal(number, 1_000_000_000).ok_or("is no percentage; write it as 5% or 0.5%")?;
        match fine {
            n if n > 100_000_000_000 => Err("is above 100%".into()),
            n if n % 100_000 != 0 => Err("is finer than 0.0001%".into()),
            n => Ok(Self {
                ppm: u32::try_from(n / 100_000).expect("at most a million"),
            }),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$", "examples": ["5%", "0.5%"] })
    }
}

/// A number of bytes from `MIN` to `MAX`: `64KiB`, `512B`, `1MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// Bytes of something that is held in memory; only for a `MAX` below 4 GiB.
    pub(super) fn in_memory(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64) };
        u32::try_from(self.0).expect("at most MAX")
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    fn parse(text: &str) -> Result<Self, String> {
        let number_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(number_end);
        if unit.is_empty() && !number.is_empty() {
            return Err("has no unit; write one, such as 512B, 64KiB or 1MiB".into());
        }
        let unit = SIZE_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, bytes)| *bytes)
            .ok_or(NO_SIZE)?;
        let bytes = decimal(number, unit).ok_or(NO_SIZE)?;
        match u64::try_from(bytes) {
            Ok(bytes) if (MIN..=MAX).contains(&bytes) => Ok(Self(bytes)),
            _ => Err(format!("is out of range; give {} to {}", in_words(MIN), in_words(MAX))),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(B|KB|KiB|MB|MiB|GB|GiB|TB|TiB)$", "examples": ["512B", "64KiB"] })
    }
}

/// `number × unit` for `12` and `1.5`; `None` for anything else, for more than 12 digits on
/// either side, and where the result is no whole number.
pub(super) fn decimal(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = fraction.parse::<u128>().ok()? * unit;
    fraction.is_multiple_of(scale).then_some(())?;
    Some(whole.parse::<u128>().ok()? * unit + fraction / scale)
}

fn in_words(bytes: u64) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(name, unit)| name.contains('i') && bytes != 0 && u128::from(bytes) % unit == 0);
    match unit {
        Some((name, unit)) => format!("{}{name}", u128::from(bytes) / unit),
        None => format!("{bytes}B"),
    }
}

const NO_DURATION: &str =
    "is no duration; write a number and a unit (us, ms, s, m, h, d, w, y), such as 250ms, 1m30s or 2h";
const NO_SIZE: &str =
    "is no size; write a whole number and a unit (B, KB, KiB, MB, MiB, GB, GiB, TB, TiB), such as 64KiB";
const DURATION_MAX: u128 = 365 * 86_400 * 1_000_000_000;
/// A hundred years of 365 days.
const RETENTION_MAX_S: u64 = 100 * 365 * 86_400;
/// A year has 365 days.
const DURATION_UNITS: [(&str, u128); 9] = [
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("y", 365 * 86_400_000_000_000),
];
/// Largest first.
const SIZE_UNITS: [(&str, u128); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

#[cfg(test)]
mod tests {
    use super::{Limit, MaxAge, Percent, Retention, Size};
    use crate::config::fixture::check;
    use crate::config::read::Scalar;
    use std::time::Duration;

    #[test]
    fn durations_carry_units() {
        check("250ms", Ok(Duration::from_millis(250)));
        check("2h", Ok(Duration::from_secs(7200)));
        check("1m30s", Ok(Duration::from_secs(90)));
        check("1.5h", Ok(Duration::from_secs(5400)));
        check("15us", Ok(Duration::from_micros(15)));
        check("15µs", Ok(Duration::from_micros(15)));
        check("1d2h3m4s5ms6us", Ok(Duration::from_micros(93_784_005_006)));
        check("0s", Ok(Duration::ZERO));
        check("365d", Ok(Duration::from_secs(31_536_000)));
        check("1y", Ok(Duration::from_secs(31_536_000)));
        check("2w1d", Ok(Duration::from_secs(15 * 86_400)));
    }

    #[test]
    fn records_are_kept_for_years() {
        check("7y", Ok(Retention(Duration::from_secs(7 * 31_536_000))));
        check("100y", Ok(Retention(Duration::from_secs(100 * 31_536_000))));
        check("1s", Ok(Retention(Duration::from_secs(1))));
        check::<Retention>("100y1s", Err("longer than 100y"));
        check::<Retention>("999ms", Err("shorter than a second"));
        check::<Retention>("7", Err("has no unit"));
        check("0s", Ok(MaxAge { seconds: 0 }));
        check("2y", Ok(MaxAge { seconds: 63_072_000 }));
        check::<MaxAge>("1500ms", Err("finer than a second"));
        check::<MaxAge>("101y", Err("longer than 100y"));
    }

    #[test]
    fn other_durations_are_refused() {
        check::<Duration>("5", Err("has no unit"));
        check::<Duration>("1m30", Err("has no unit"));
        check::<Duration>("", Err("no duration"));
        check::<Duration>("s", Err("no duration"));
        check::<Duration>("5 s", Err("no duration"));
        check::<Duration>("-5s", Err("no duration"));
        check::<Duration>("5sec", Err("no duration"));
        check::<Duration>("1..5s", Err("no duration"));
        check::<Duration>("30s1m", Err("largest first"));
        check::<Duration>("1s1s", Err("largest first"));
        check::<Duration>("0.5us", Err("finer than a microsecond"));
        check::<Duration>("366d", Err("longer than 365d"));
        check::<Duration>("9999999999999s", Err("no duration"));
        check::<Limit>("0ms", Err("no limit"));
    }

    #[test]
    fn percentages_carry_their_sign() {
        check("5%", Ok(Percent { ppm: 50_000 }));
        check("0.5%", Ok(Percent { ppm: 5_000 }));
        check("0.0001%", Ok(Percent { ppm: 1 }));
        check("0%", Ok(Percent { ppm: 0 }));
        check("100.0%", Ok(Percent { ppm: 1_000_000 }));
        check::<Percent>("5", Err("no percent sign"));
        check::<Percent>("0.00001%", Err("finer than 0.0001%"));
        check::<Percent>("100.1%", Err("above 100%"));
        check::<Percent>("-5%", Err("below 0%"));
        check::<Percent>("%", Err("no percentage"));
        check::<Percent>("five%", Err("no percentage"));
        assert_eq!(Percent::parse("0.5%").map(Percent::share), Ok(0.005));
    }

    #[test]
    fn sizes_carry_units() {
        check::<Size<1, 1_000_000>>("64KiB", Ok(Size(65_536)));
        check::<Size<1, 1_000_000>>("64KB", Ok(Size(64_000)));
        check::<Size<1, 1_000_000>>("512B", Ok(Size(512)));
        check::<Size<1, 2_097_152>>("1MiB", Ok(Size(1_048_576)));
        check::<Size<1, 1_000_000>>("64", Err("has no unit"));
        check::<Size<1, 1_000_000>>("64kb", Err("no size"));
        check::<Size<1, 1_000_000>>("KiB", Err("no size"));
        check::<Size<1, 1_000_000>>("0.5KiB", Err("no size"));
        check::<Size<1024, 1_048_576>>("1B", Err("give 1KiB to 1MiB"));
        check::<Size<1024, 1_048_576>>("5GiB", Err("out of range"));
        check::<Size<1, 1_099_511_627_776>>("1TiB", Ok(Size(1 << 40)));
        check::<Size<1, 1_099_511_627_776>>("1025GiB", Err("give 1B to 1TiB"));
        check::<Size<1, 1_099_511_627_776>>("999999999999TiB", Err("out of range"));
    }
}
