//! Smoke tests: their defaults, one check or several, and regular expressions that compile.

use std::time::Duration;

use super::matches::findable;
use super::webhooks::headers;
use crate::config::file;
use crate::config::outside::StatusRange;
use crate::config::read::{Reader, Slot};
use crate::config::scalar::{HeaderName, Text};
use crate::config::shapes::{Fields, OneOrMany};
use crate::head::Method;
use crate::rollout::{Smoke, SmokeCheck};

/// The smoke test; all endpoints of the canary.
pub(super) fn smoke(slot: &Slot<file::Smoke>, reader: &mut Reader<'_>) -> Option<Smoke> {
    let written = slot.get()?;
    let checks = match (written.path.left_out, written.checks.left_out) {
        (false, true) => vec![SmokeCheck {
            method: "GET".to_owned(),
            path: written.path.get()?.0.clone(),
            headers: Vec::new(),
            body: None,
            statuses: statuses(&written.status)?,
            answer_headers: Vec::new(),
            answer_body: None,
            latency_max: None,
        }],
        (true, false) => {
            if !written.status.left_out {
                reader.refuse(written.status.at, "belongs to a check; write it into `checks`");
            }
            let checks: Vec<_> = written.checks.items().map(|check| self::check(check, reader)).collect();
            checks.into_iter().collect::<Option<_>>()?
        }
        (true, true) => {
            reader.refuse(slot.at, "tests nothing; give `path: /health`, or `checks`");
            return None;
        }
        (false, false) => {
            reader.refuse(slot.at, "has `path` and `checks`; keep one of them");
            return None;
        }
    };
    if checks.is_empty() {
        return None;
    }
    Some(Smoke {
        checks,
        attempts: written.attempts.value.map_or(5, |count| count.0),
        interval: written.interval.value.map_or(TEN_SECONDS, |limit| limit.0),
        timeout: written.timeout.value.map_or(Duration::from_secs(5), |limit| limit.0),
        endpoints: None,
    })
}

fn check(slot: &Slot<file::SmokeCheck>, reader: &mut Reader<'_>) -> Option<SmokeCheck> {
    let written = slot.get()?;
    let answer_headers = answer_headers(&written.expect_headers, reader);
    let answer_body = written.expect_body.get().map(|text| text.0.clone());
    if let Some(text) = &answer_body {
        check_regex(&written.expect_body, text, reader);
    }
    let is_head = matches!(written.method.get(), Some(Method::Head));
    if is_head && answer_body.is_some() {
        reader.refuse(written.expect_body.at, "the answer to HEAD has no body; use GET");
    }
    let host = written.host.get().map(|host| ("host".to_owned(), host.0.clone()));
    let mut headers = headers(&written.headers)?;
    headers.extend(host);
    Some(SmokeCheck {
        method: match written.method.get() {
            Some(method) => method.as_str().to_owned(),
            None if written.method.left_out => "GET".to_owned(),
            None => return None,
        },
        path: written.path.get()?.0.clone(),
        headers,
        body: written.body.get().map(|text| text.0.clone()),
        statuses: statuses(&written.status)?,
        answer_headers: answer_headers?,
        answer_body,
        latency_max: written.max_latency.value.map(|limit| limit.0),
    })
}

fn statuses(slot: &Slot<OneOrMany<StatusRange>>) -> Option<Vec<(u16, u16)>> {
    if slot.left_out {
        return Some(vec![(200, 299)]);
    }
    slot.get()?
        .as_ref()
        .iter()
        .map(|status| Some(status.get()?.0))
        .collect()
}

fn answer_headers(slot: &Slot<Fields<HeaderName, Text>>, reader: &mut Reader<'_>) -> Option<Vec<(String, String)>> {
    let Some(fields) = slot.get() else {
        return slot.left_out.then(Vec::new);
    };
    let mut found = Some(Vec::new());
    for (name, slot) in fields.slots() {
        match (slot.get(), &mut found) {
            (Some(pattern), found) => {
                check_regex(slot, &pattern.0, reader);
                if let Some(found) = found {
                    found.push((name.0.clone(), pattern.0.clone()));
                }
            }
            (None, _) => found = None,
        }
    }
    found
}

fn check_regex<T>(slot: &Slot<T>, pattern: &str, reader: &mut Reader<'_>) {
    if let Err(why) = findable(pattern) {
        reader.refuse_text(slot.at, &why);
    }
}

const TEN_SECONDS: Duration = Duration::from_secs(10);
