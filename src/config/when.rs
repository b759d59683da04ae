//! Scalars of the calendar: times of day, time zones, instants.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::read::Scalar;
use crate::rollout::Window;

/// A time of day: `09:00`, to `24:00`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeOfDay(pub(super) String);

impl Scalar for TimeOfDay {
    fn parse(text: &str) -> Result<Self, String> {
        match Window::new(&["mon".into()], text, "24:00", "UTC") {
            Ok(_) => Ok(Self(text.into())),
            Err(_) => Err("is no time of day; write it as \"09:00\"".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "examples": ["09:00"] })
    }
}

/// The IANA name of a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone(pub(super) String);

impl Scalar for Zone {
    fn parse(text: &str) -> Result<Self, String> {
        match Window::new(&["mon".into()], "00:00", "24:00", text) {
            Ok(_) => Ok(Self(text.into())),
            Err(_) => Err("is no time zone; use a name of the IANA database, such as Europe/Berlin, or UTC".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["Europe/Berlin", "UTC"] })
    }
}

/// A point in time: RFC 3339, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PointInTime(pub(super) u64);

impl Scalar for PointInTime {
    fn parse(text: &str) -> Result<Self, String> {
        let time: Timestamp = text
            .parse()
            .map_err(|_| "is no time; write date, time and zone, such as \"2026-11-20T10:00:00Z\"")?;
        u64::try_from(time.as_millisecond())
            .map(Self)
            .map_err(|_| "is before 1970".into())
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["2026-11-20T10:00:00Z"] })
    }
}

#[cfg(test)]
mod tests {
    use super::{PointInTime, TimeOfDay, Zone};
    use crate::config::fixture::check;

    #[test]
    fn times_and_zones_are_those_of_windows() {
        check("09:00", Ok(TimeOfDay("09:00".into())));
        check("24:00", Ok(TimeOfDay("24:00".into())));
        check::<TimeOfDay>("9am", Err("write it as \"09:00\""));
        check::<TimeOfDay>("25:00", Err("no time of day"));
        check("Europe/Berlin", Ok(Zone("Europe/Berlin".into())));
        check::<Zone>("Mars/Olympus", Err("no time zone"));
    }

    #[test]
    fn points_in_time_carry_their_zone() {
        check("2026-11-20T10:00:00Z", Ok(PointInTime(1_795_168_800_000)));
        check("2026-11-20T11:00:00.5+01:00", Ok(PointInTime(1_795_168_800_500)));
        check::<PointInTime>("2026-11-20T10:00:00", Err("date, time and zone"));
        check::<PointInTime>("yesterday", Err("is no time"));
        check::<PointInTime>("1969-12-31T23:59:59Z", Err("before 1970"));
    }
}
