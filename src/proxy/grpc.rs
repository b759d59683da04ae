//! What gRPC says in the fields of HTTP: whether a call is one, how long it may take, how it ended
//! (gRPC over HTTP/2, "Requests" and "Responses"; design rule 5).

use std::time::Duration;

use crate::head::{Fields, HeadBuilder, Version};
use crate::measure::Outcome;

/// How a call ended. Statuses beyond the known ones are UNKNOWN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(u8);

impl Status {
    /// The call was cancelled, as a rule by its client.
    pub(super) const CANCELLED: Self = Self(1);
    /// Not known, also because it is missing where there has to be one.
    pub(super) const UNKNOWN: Self = Self(2);
    /// The time was over before the call was.
    pub(super) const DEADLINE_EXCEEDED: Self = Self(4);

    /// What `grpc-status` says among these fields; `None`: nothing.
    pub(super) fn of(fields: &Fields) -> Option<Self> {
        let said = fields.get("grpc-status")?;
        let digits = Some(said).filter(|said| said.iter().all(u8::is_ascii_digit));
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Some(number.filter(|number| *number <= 16).map_or(Self::UNKNOWN, Self))
    }

    /// As it is written.
    pub(super) const fn number(self) -> u8 {
        self.0
    }

    /// What it shows about the backend, where the client gave it time.
    pub(super) const fn outcome(self) -> Outcome {
        match self.0 {
            0 => Outcome::Success,
            // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            2 | 4 | 13..=15 => Outcome::Failure,
            _ => Outcome::NoEvidence,
        }
    }
}

/// Whether a message with this `content-type` is of gRPC. gRPC-Web is another protocol: its end stands in its body.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let Some((start, rest)) = content_type.split_at_checked(b"application/grpc".len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(b"application/grpc") && matches!(rest, [] | [b'+' | b';' | b' ', ..])
}

/// The end of a call whose time is over before the backend has ended it.
pub(super) fn deadline_exceeded() -> Fields {
    let mut trailers = HeadBuilder::default();
    trailers.field(b"grpc-status", b"4");
    trailers.field(b"grpc-message", b"the deadline that came with the call is over");
    trailers.response(200, Version::Http2).fields
}

/// What `grpc-timeout` says: up to 8 digits and a unit. `None`: nothing that could be understood.
pub(super) fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The same as text, in the finest unit that has room for it, rounded down.
pub(super) fn timeout_text(time: Duration) -> String {
    const MAX: u128 = 99_999_999;
    let micros = time.as_micros();
    let units = [
        ("u", 1),
        ("m", 1_000),
        ("S", 1_000_000),
        ("M", 60_000_000),
        ("H", 3_600_000_000),
    ];
    let fitting = units.into_iter().find(|(_, size)| micros / size <= MAX);
    let (unit, size) = fitting.unwrap_or(units[4]);
    format!("{}{unit}", (micros / size).min(MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{HeadBuilder, Outcome, Status, Version, is_grpc, timeout, timeout_text};

    #[test]
    fn a_call_is_known_by_its_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("Application/GRPC", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcs", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(kind.as_bytes()), expected, "{kind}");
        }
    }

    #[test]
    fn a_timeout_is_eight_digits_and_a_unit() {
        let check = |text: &str, expected: Option<Duration>| assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("4m", Some(Duration::from_millis(4)));
        check("5u", Some(Duration::from_micros(5)));
        check("6n", Some(Duration::from_nanos(6)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
        check("0S", Some(Duration::ZERO));
        for bad in ["", "S", "100000000S", "1", "1s", "-1S", "+1S", "1.5S", " 1S", "1S "] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_left_is_said_in_the_finest_unit() {
        let check = |time: Duration, expected: &str| assert_eq!(timeout_text(time), expected);
        check(Duration::ZERO, "0u");
        check(Duration::from_nanos(1_999), "1u");
        check(Duration::from_secs(99), "99000000u");
        check(Duration::from_secs(100), "100000m");
        check(Duration::from_secs(100_000), "100000S");
        check(Duration::from_secs(99_999_999 * 3600), "99999999H");
        check(Duration::from_secs(u64::MAX), "99999999H");
    }

    #[test]
    fn the_status_decides_whose_fault_it_was() {
        let check = |text: &str, expected: Outcome| {
            let mut head = HeadBuilder::default();
            head.field(b"grpc-status", text.as_bytes());
            let fields = head.response(200, Version::Http2).fields;
            assert_eq!(Status::of(&fields).unwrap().outcome(), expected, "{text}");
        };
        check("0", Outcome::Success);
        for backend in ["2", "4", "13", "14", "15", "17", "x", "", "-1", "+0", "300"] {
            check(backend, Outcome::Failure);
        }
        for client in ["1", "3", "5", "6", "7", "8", "9", "10", "11", "12", "16"] {
            check(client, Outcome::NoEvidence);
        }
        assert_eq!(
            Status::of(&HeadBuilder::default().response(200, Version::Http2).fields),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_no_more(micros in 0u64..1 << 50) {
            let time = Duration::from_micros(micros);
            let read = timeout(timeout_text(time).as_bytes()).unwrap();
            prop_assert!(read <= time && time - read <= time / 1000 + Duration::from_micros(1));
        }
    }
}
