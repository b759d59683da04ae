//! `GET /v1/audit`: a page of the audit log, the newest record first.

use axum::body::Body;
use axum::extract::{Query, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Uri, header};

use super::handlers::{Answer, Shared, aside};
use super::problem::{Kind, Problem};
use crate::audit::{Filter, KINDS};
use crate::control::{Asked, AuditPage, AuditQuery, Entry, audit_page};

/// Records of a page where nobody says.
const LIMIT: usize = 100;
/// And at most.
const LIMIT_MAX: usize = 1_000;
/// Parameters that a call may have; each stands once.
const PARAMETERS_MAX: usize = 16;

/// The lines go out as they stand in the file: their hashes can be worked out from the answer.
pub(super) async fn audit(State(admin): Shared, RawQuery(query): RawQuery) -> Answer {
    let query = read(query.as_deref().unwrap_or(""))?;
    let log = admin.ask(Asked::Audit).await?;
    let page = aside(move || audit_page(&log.directory, &log.waiting, &query)).await?;
    match page {
        Ok(Some(page)) => Ok(answer(&page)),
        Ok(None) => Err(invalid("next", "comes from no page of this call".to_owned())),
        Err(error) => {
            let detail = format!("the audit log cannot be read: {error}");
            Err(Problem::new(Kind::Unavailable, detail))
        }
    }
}

fn answer(page: &AuditPage) -> Response {
    let next = serde_json::to_string(&page.next).expect("a text is JSON");
    let text = format!("{{\"records\":[{}],\"next\":{next}}}", page.lines.join(","));
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], Body::from(text)).into_response()
}

/// Refuses what is unknown, so that a misspelt filter never shows everything.
fn read(query: &str) -> Result<AuditQuery, Problem> {
    // Escapes are axum's to undo.
    let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
    let uri = uri.map_err(|_| invalid("query", "is no query".to_owned()))?;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri)
        .map_err(|error| invalid("query", format!("is no query: {error}")))?;
    if pairs.len() > PARAMETERS_MAX {
        return Err(invalid("query", format!("has more than {PARAMETERS_MAX} parameters")));
    }
    let mut wanted = AuditQuery {
        limit: LIMIT,
        next: None,
        filter: Filter::default(),
    };
    let mut problems = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in &pairs {
        let read = if seen.contains(&name.as_str()) {
            Err("is given twice".to_owned())
        } else {
            take(&mut wanted, name, value)
        };
        problems.extend(read.err().map(|message| entry(name, message)));
        seen.push(name);
    }
    if problems.is_empty() {
        Ok(wanted)
    } else {
        Err(Problem::invalid(problems))
    }
}

fn take(wanted: &mut AuditQuery, name: &str, value: &str) -> Result<(), String> {
    let filter = &mut wanted.filter;
    match name {
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            wanted.limit = limit.ok_or_else(|| format!("must be a whole number from 1 to {LIMIT_MAX}"))?;
        }
        "next" => wanted.next = Some(value.to_owned()),
        "rollout" => filter.rollout = Some(value.to_owned()),
        "route" => filter.route = Some(value.to_owned()),
        "by" => filter.by = Some(value.to_owned()),
        "kind" if KINDS.contains(&value) => filter.kind = Some(value.to_owned()),
        "kind" => return Err(format!("must be one of {}", KINDS.join(", "))),
        "since" => filter.since_ms = Some(Filter::time(value)?),
        "until" => filter.until_ms = Some(Filter::time(value)?),
        _ => {
            let known = "limit, next, rollout, route, by, kind, since and until";
            return Err(format!("is no parameter of this call; known are {known}"));
        }
    }
    Ok(())
}

fn invalid(name: &str, message: String) -> Problem {
    Problem::invalid(vec![entry(name, message)])
}

fn entry(name: &str, message: String) -> Entry {
    Entry {
        place: String::new(),
        path: name.chars().take(80).collect(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, read};
    use crate::audit::Filter;
    use crate::control::AuditQuery;

    fn check(query: &str, expected: Option<AuditQuery>) {
        let got = read(query).ok().map(|query| format!("{query:?}"));
        assert_eq!(got, expected.map(|query| format!("{query:?}")), "{query}");
    }

    fn wanted(change: impl FnOnce(&mut AuditQuery)) -> Option<AuditQuery> {
        let mut query = AuditQuery {
            limit: LIMIT,
            next: None,
            filter: Filter::default(),
        };
        change(&mut query);
        Some(query)
    }

    #[test]
    fn parameters_are_read_strictly() {
        check("", wanted(|_| {}));
        check("limit=1000", wanted(|query| query.limit = 1_000));
        check("next=5-120", wanted(|query| query.next = Some("5-120".into())));
        check("by=a%20b", wanted(|query| query.filter.by = Some("a b".into())));
        check(
            "kind=weights",
            wanted(|query| query.filter.kind = Some("weights".into())),
        );
        check(
            "since=1970-01-01T01:00:01%2B01:00&route=shop",
            wanted(|query| (query.filter.since_ms, query.filter.route) = (Some(1_000), Some("shop".into()))),
        );
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=",
            "kind=weight",
            "since=monday",
            "rolout=a",
            "by=a&by=b",
            "=",
            "until=1",
            "limit=1&limit=2",
        ] {
            check(bad, None);
        }
        check(&"by=a&".repeat(100), None);
    }
}
