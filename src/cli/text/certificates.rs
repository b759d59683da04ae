//! The certificates of a running Serin, and which of them somebody must see to.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::table::Table;
use super::{items, one_line, word};

/// So long before its end a certificate should have been renewed.
const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What `GET /v1/status` says of certificates, at `now`; `None`: there are none.
pub(in crate::cli) fn certificates(status: &Value, now: Timestamp) -> Option<String> {
    let mut table = Table::new(&["CERTIFICATE", "LISTENER", "EXPIRES", "STATE"]);
    let mut any = false;
    let listeners = items(&status["listeners"]).iter();
    let listeners = listeners.map(|listener| (word(&listener["name"]), listener));
    for (listener, of) in listeners.chain([("(admin)".to_owned(), &status["admin"])]) {
        for certificate in items(&of["certificates"]) {
            any = true;
            let name = match items(&certificate["names"]) {
                [] => word(&certificate["file"]),
                [name] => word(name),
                [name, more @ ..] => format!("{} +{}", word(name), more.len()),
            };
            let state = state(certificate, now);
            table.row(vec![name, listener.clone(), word(&certificate["notAfter"]), state]);
        }
        let ca = &of["clientCa"];
        if !ca["problem"].is_null() {
            any = true;
            let state = format!("NOT RELOADED: {}", one_line(&ca["problem"]));
            table.row(vec![word(&ca["file"]), listener, "-".to_owned(), state]);
        }
    }
    any.then(|| table.render())
}

fn state(certificate: &Value, now: Timestamp) -> String {
    let time = |field: &str| certificate[field].as_str()?.parse::<Timestamp>().ok();
    let date = match (time("notBefore"), time("notAfter")) {
        (Some(before), _) if before > now => "NOT VALID YET".to_owned(),
        (_, Some(after)) if after <= now => "EXPIRED".to_owned(),
        (_, Some(after)) => {
            let left = after.duration_since(now);
            let days = left.as_hours() / 24;
            if left < WARN_BEFORE {
                format!("EXPIRES in {days} days")
            } else {
                format!("good for {days} days")
            }
        }
        (_, None) => "-".to_owned(),
    };
    match &certificate["problem"] {
        Value::Null => date,
        problem => format!("{date}; NOT RELOADED: {}", one_line(problem)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::certificates;

    fn lines(status: &Value) -> Vec<String> {
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        let text = certificates(status, now).unwrap_or_default();
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(squeeze).collect()
    }

    #[test]
    fn what_ends_soon_or_was_not_taken_stands_out() {
        let one = |name: &str, before: &str, after: &str, problem: Value| json!({"names": [name, "x"], "notBefore": before, "notAfter": after, "file": "f", "problem": problem});
        let status = json!({
            "listeners": [{"name": "public", "certificates": [
                one("a", "2026-01-01T00:00:00Z", "2027-11-22T00:00:00Z", Value::Null),
                one("b", "2026-01-01T00:00:00Z", "2026-12-05T23:00:00Z", json!("it ends\nearly")),
                one("c", "2026-01-01T00:00:00Z", "2026-11-22T00:00:00Z", Value::Null),
                one("d", "2026-11-23T00:00:00Z", "2027-11-22T00:00:00Z", Value::Null),
            ], "clientCa": {"file": "ca.pem", "problem": "no certificate in it"}}],
            "admin": {"certificates": [{"names": [], "file": "admin.pem", "notAfter": "2027-11-22T00:00:00Z"}]},
        });
        assert_eq!(
            lines(&status),
            [
                "CERTIFICATE LISTENER EXPIRES STATE",
                "a +1 public 2027-11-22T00:00:00Z good for 365 days",
                "b +1 public 2026-12-05T23:00:00Z EXPIRES in 13 days; NOT RELOADED: it ends early",
                "c +1 public 2026-11-22T00:00:00Z EXPIRED",
                "d +1 public 2027-11-22T00:00:00Z NOT VALID YET",
                "ca.pem public - NOT RELOADED: no certificate in it",
                "admin.pem (admin) 2027-11-22T00:00:00Z good for 365 days",
            ]
        );
        assert!(lines(&json!({"listeners": [{"name": "public", "certificates": []}]})).is_empty());
    }
}
