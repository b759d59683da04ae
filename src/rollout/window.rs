//! Times of the week in which a rollout may move forward, in a time zone.

use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Days of the week, and a part of each, in a time zone.
#[derive(Clone, PartialEq)]
pub struct Window {
    /// At least one.
    days: Vec<Weekday>,
    /// The first moment that is in.
    from: Time,
    /// The first moment that is out again; `from` or before it: that of the next day.
    to: Time,
    zone: TimeZone,
}

/// Why texts are no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum WindowError {
    #[error("has no days; name some, such as [mon, tue, wed, thu]")]
    NoDays,
    #[error("`{0}` is no day; use mon, tue, wed, thu, fri, sat or sun")]
    Day(String),
    #[error("`{0}` is no time of day; write it as \"09:00\"")]
    Time(String),
    #[error("`{0}` is no time zone; use a name of the IANA database, such as Europe/Berlin, or UTC")]
    Zone(String),
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl Window {
    /// `days` as `mon` to `sun`; `from` and `to` as `09:00`, where `24:00` is the end of the day; `zone` as a
    /// name of the IANA time zone database. A window that ends before it begins goes over midnight.
    ///
    /// # Errors
    /// [`WindowError`]
    pub fn new(days: &[String], from: &str, to: &str, zone: &str) -> Result<Self, WindowError> {
        let day = |text: &String| {
            let known = DAYS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
            known.map(|(_, day)| *day).ok_or_else(|| WindowError::Day(text.clone()))
        };
        let days: Vec<Weekday> = days.iter().map(day).collect::<Result<_, _>>()?;
        if days.is_empty() {
            return Err(WindowError::NoDays);
        }
        Ok(Self {
            days,
            from: time(from)?,
            to: time(to)?,
            zone: TimeZone::get(zone).map_err(|_| WindowError::Zone(zone.to_owned()))?,
        })
    }

    /// Whether the window is open at `now_ms`, in Unix milliseconds.
    #[must_use]
    pub fn is_open(&self, now_ms: u64) -> bool {
        let Some(now) = timestamp(now_ms) else { return false };
        let now = now.to_zoned(self.zone.clone());
        let (today, time) = (now.weekday(), now.time());
        let begun_today = self.days.contains(&today) && self.from <= time;
        if self.from < self.to {
            return begun_today && time < self.to;
        }
        begun_today || (self.days.contains(&today.previous()) && time < self.to)
    }

    /// When it opens next after `now_ms`, for people: `2026-11-23 09:00 Europe/Berlin`; `None` while it is open.
    #[must_use]
    pub fn opens(&self, now_ms: u64) -> Option<String> {
        if self.is_open(now_ms) {
            return None;
        }
        let now = timestamp(now_ms)?.to_zoned(self.zone.clone());
        (0..8).find_map(|day| {
            let date = now.date().checked_add(Span::new().days(day)).ok()?;
            let at = date.to_datetime(self.from).to_zoned(self.zone.clone()).ok()?;
            let due = self.days.contains(&date.weekday()) && at > now;
            due.then(|| format!("{} {}", at.strftime("%Y-%m-%d %H:%M"), self.zone_name()))
        })
    }

    fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

impl fmt::Display for Window {
    /// `mon, fri from 09:00 to 17:00 Europe/Berlin`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = DAYS
            .iter()
            .filter(|(_, day)| self.days.contains(day))
            .map(|(name, _)| *name)
            .collect();
        let time = |time: Time| time.strftime("%H:%M").to_string();
        write!(
            f,
            "{} from {} to {} {}",
            names.join(", "),
            time(self.from),
            time(self.to),
            self.zone_name()
        )
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({self})")
    }
}

fn timestamp(unix_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()
}

fn time(text: &str) -> Result<Time, WindowError> {
    let refuse = || WindowError::Time(text.to_owned());
    if text == "24:00" {
        return Ok(Time::midnight());
    }
    let (hour, minute) = text.split_once(':').ok_or_else(refuse)?;
    let digits = |part: &str| {
        (part.len() == 2)
            .then(|| part.parse::<i8>().ok())
            .flatten()
            .ok_or_else(refuse)
    };
    Time::new(digits(hour)?, digits(minute)?, 0, 0).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &str, from: &str, to: &str, zone: &str) -> Result<Window, WindowError> {
        let days: Vec<String> = days.split_whitespace().map(str::to_owned).collect();
        Window::new(&days, from, to, zone)
    }

    fn ms(time: &str) -> u64 {
        u64::try_from(time.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[track_caller]
    fn check(window: &Window, time: &str, expected: Option<&str>) {
        assert_eq!(window.opens(ms(time)).as_deref(), expected, "{time} in {window}");
        assert_eq!(window.is_open(ms(time)), expected.is_none(), "{time} in {window}");
    }

    #[test]
    fn it_is_open_on_its_days_from_the_first_moment_to_before_the_last() {
        // 2026-11-23 is a Monday.
        let office = window("mon tue", "09:00", "17:00", "UTC").unwrap();
        check(&office, "2026-11-23T09:00:00Z", None);
        check(&office, "2026-11-23T16:59:59Z", None);
        check(&office, "2026-11-23T17:00:00Z", Some("2026-11-24 09:00 UTC"));
        check(&office, "2026-11-24T18:00:00Z", Some("2026-11-30 09:00 UTC"));
        check(&office, "2026-11-23T08:59:59Z", Some("2026-11-23 09:00 UTC"));
    }

    #[test]
    fn it_keeps_the_time_of_its_zone_in_summer_and_winter() {
        let office = window("mon", "09:00", "17:00", "Europe/Berlin").unwrap();
        check(&office, "2026-07-06T07:00:00Z", None);
        check(&office, "2026-11-23T07:00:00Z", Some("2026-11-23 09:00 Europe/Berlin"));
        check(&office, "2026-11-23T08:00:00Z", None);
    }

    #[test]
    fn it_may_go_over_midnight() {
        let night = window("fri", "22:00", "04:00", "UTC").unwrap();
        check(&night, "2026-11-27T23:00:00Z", None);
        check(&night, "2026-11-28T03:59:00Z", None);
        check(&night, "2026-11-28T04:00:00Z", Some("2026-12-04 22:00 UTC"));
        check(&night, "2026-11-27T03:00:00Z", Some("2026-11-27 22:00 UTC"));
        let day = window("fri", "00:00", "24:00", "UTC").unwrap();
        check(&day, "2026-11-27T00:00:00Z", None);
        check(&day, "2026-11-28T00:00:00Z", Some("2026-12-04 00:00 UTC"));
    }

    #[test]
    fn what_is_no_window_is_said() {
        let check = |found: Result<Window, WindowError>, expected: &str| {
            assert!(found.unwrap_err().to_string().contains(expected));
        };
        check(window("", "09:00", "17:00", "UTC"), "has no days");
        check(window("monday", "09:00", "17:00", "UTC"), "`monday` is no day");
        check(window("mon", "9:00", "17:00", "UTC"), "`9:00` is no time of day");
        check(window("mon", "09:00", "25:00", "UTC"), "`25:00` is no time of day");
        check(window("mon", "09:00", "17:00", "Mars/Olympus"), "is no time zone");
    }
}
