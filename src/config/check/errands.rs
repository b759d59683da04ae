//! Webhooks and smoke tests: their defaults, names that stand once, and regular expressions that compile.

use std::collections::HashMap;
use std::time::Duration;

use super::matches::findable;
use crate::config::file;
use crate::config::outside::{HeaderText, SentHeader, StatusRange, Url};
use crate::config::read::{Reader, Slot};
use crate::config::scalar::{Count, HeaderName, Text};
use crate::config::shapes::{Fields, OneOrMany};
use crate::config::units::Limit;
use crate::head::Method;
use crate::name::Name;
use crate::rollout::{Moment, OnFailure, Smoke, SmokeCheck, Webhook};

/// The webhooks of one rollout, by name: the line of each.
#[derive(Default)]
pub(super) struct Errands<'f>(HashMap<&'f Name, u32>);

impl<'f> Errands<'f> {
    /// Reports a name that another webhook has.
    fn check_unique(&mut self, slot: &'f Slot<Name>, reader: &mut Reader<'_>) {
        let Some(name) = slot.get() else { return };
        let line = reader.tree.get(slot.at).place.0;
        if let Some(first) = self.0.insert(name, line) {
            let message = format!("is the name of the webhook on line {first} already; give each of a rollout its own");
            reader.refuse_text(slot.at, &message);
        }
    }
}

/// A webhook that stands as a step of its own.
pub(super) fn gate_webhook<'f>(
    slot: &'f Slot<file::GateWebhook>,
    errands: &mut Errands<'f>,
    reader: &mut Reader<'_>,
) -> Option<Webhook> {
    let written = slot.get()?;
    errands.check_unique(&written.name, reader);
    let call = Call {
        name: &written.name,
        url: &written.url,
        headers: &written.headers,
        metadata: &written.metadata,
        timeout: &written.timeout,
        retries: &written.retries,
        interval: &written.interval,
        on_failure: &written.on_failure,
    };
    call.webhook(Moment::Gate)
}

/// A webhook of the list: one for each of its moments.
pub(super) fn webhook<'f>(
    slot: &'f Slot<file::Webhook>,
    errands: &mut Errands<'f>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Webhook>> {
    let written = slot.get()?;
    errands.check_unique(&written.name, reader);
    let call = Call {
        name: &written.name,
        url: &written.url,
        headers: &written.headers,
        metadata: &written.metadata,
        timeout: &written.timeout,
        retries: &written.retries,
        interval: &written.interval,
        on_failure: &written.on_failure,
    };
    let mut moments = Vec::new();
    for on in written.on.items() {
        let moment = match *on.get()? {
            file::On::Start => Moment::Start,
            file::On::Step => Moment::Step,
            file::On::Promotion => Moment::Promotion,
            file::On::Rollback => Moment::Rollback,
        };
        if moments.contains(&moment) {
            reader.refuse_text(on.at, "stands twice; keep one");
        } else {
            moments.push(moment);
        }
    }
    moments.into_iter().map(|moment| call.webhook(moment)).collect()
}

/// What both kinds of webhooks say.
struct Call<'f> {
    name: &'f Slot<Name>,
    url: &'f Slot<Url>,
    headers: &'f Slot<Fields<SentHeader, HeaderText>>,
    metadata: &'f Slot<Fields<Text, String>>,
    timeout: &'f Slot<Limit>,
    retries: &'f Slot<Count<0, 100>>,
    interval: &'f Slot<Limit>,
    on_failure: &'f Slot<file::OnFailure>,
}

impl Call<'_> {
    fn webhook(&self, moment: Moment) -> Option<Webhook> {
        let metadata = match self.metadata.get() {
            Some(fields) => fields
                .pairs()?
                .into_iter()
                .map(|(key, value)| (key.0.clone(), value.clone()))
                .collect(),
            None => Vec::new(),
        };
        Some(Webhook {
            name: self.name.get()?.as_str().to_owned(),
            moment,
            url: self.url.get()?.0.clone(),
            headers: headers(self.headers)?,
            metadata,
            timeout: self.timeout.value.map_or(TEN_SECONDS, |limit| limit.0),
            retries: self.retries.value.map_or(3, |count| count.0),
            interval: self.interval.value.map_or(TEN_SECONDS, |limit| limit.0),
            on_failure: match self.on_failure.or(file::OnFailure::Pause) {
                file::OnFailure::Pause => OnFailure::Pause,
                file::OnFailure::Abort => OnFailure::Abort,
                file::OnFailure::GoOn => OnFailure::GoOn,
            },
        })
    }
}

/// Headers that we send; those left out are none.
pub(super) fn headers(slot: &Slot<Fields<SentHeader, HeaderText>>) -> Option<Vec<(String, String)>> {
    match slot.get() {
        Some(fields) => {
            let pairs = fields.pairs()?;
            let owned = pairs.into_iter().map(|(name, value)| (name.0.clone(), value.0.clone()));
            Some(owned.collect())
        }
        None => slot.left_out.then(Vec::new),
    }
}

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
