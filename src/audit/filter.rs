//! Which records somebody wants to see.

use super::Record;

/// What a record must be; `None`: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this rollout.
    pub rollout: Option<String>,
    /// Of this route.
    pub route: Option<String>,
    /// By this person, file or program.
    pub by: Option<String>,
    /// One of [`super::KINDS`].
    pub kind: Option<String>,
    /// Not before, in Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Before, in Unix milliseconds.
    pub until_ms: Option<u64>,
}

impl Filter {
    /// Whether `record` is all of it.
    #[must_use]
    pub fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
        is(&self.rollout, record.rollout.as_ref())
            && is(&self.route, record.route.as_ref())
            && is(&self.by, Some(&record.by))
            && is(&self.kind, Some(&record.kind))
            && self.since_ms.is_none_or(|since| since <= record.at_ms)
            && self.until_ms.is_none_or(|until| record.at_ms < until)
    }

    /// A time of RFC 3339, such as `2026-11-21T12:00:00Z`, in Unix milliseconds.
    ///
    /// # Errors
    /// How it must look.
    pub fn time(text: &str) -> Result<u64, String> {
        let time = text.parse::<jiff::Timestamp>().ok();
        time.and_then(|time| u64::try_from(time.as_millisecond()).ok())
            .ok_or_else(|| "must be a time such as 2026-11-21T12:00:00Z".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::audit::Record;

    #[test]
    fn a_record_must_be_all_that_is_asked_for() {
        let record = Record {
            at_ms: 1_000,
            kind: "weights".into(),
            by: "alice".into(),
            route: Some("shop".into()),
            ..Record::default()
        };
        let check = |change: fn(&mut Filter), expected: bool| {
            let mut filter = Filter::default();
            change(&mut filter);
            assert_eq!(filter.takes(&record), expected, "{filter:?}");
        };
        check(|_| {}, true);
        check(|filter| filter.route = Some("shop".into()), true);
        check(|filter| filter.route = Some("sho".into()), false);
        check(|filter| filter.rollout = Some("shop".into()), false);
        check(|filter| filter.by = Some("alice".into()), true);
        check(|filter| filter.by = Some("bob".into()), false);
        check(|filter| filter.kind = Some("weights".into()), true);
        check(|filter| filter.kind = Some("rollout".into()), false);
        check(|filter| filter.since_ms = Some(1_000), true);
        check(|filter| filter.since_ms = Some(1_001), false);
        check(|filter| filter.until_ms = Some(1_001), true);
        check(|filter| filter.until_ms = Some(1_000), false);
        check(
            |filter| (filter.kind, filter.by) = (Some("weights".into()), Some("bob".into())),
            false,
        );
    }

    #[test]
    fn times_carry_their_zone() {
        let check = |text, expected| assert_eq!(Filter::time(text).ok(), expected, "{text}");
        check("1970-01-01T00:00:01Z", Some(1_000));
        check("1970-01-01T01:00:00.5+01:00", Some(500));
        check("1970-01-01T00:00:01", None);
        check("1969-12-31T23:59:59Z", None);
        check("yesterday", None);
    }
}
