//! Webhooks: their defaults, their moments, and names that stand once in a rollout.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::file;
use crate::config::outside::{HeaderText, SentHeader, Url};
use crate::config::read::{Reader, Slot};
use crate::config::scalar::{Count, Text};
use crate::config::shapes::Fields;
use crate::config::units::Limit;
use crate::name::Name;
use crate::rollout::{Moment, OnFailure, Webhook};

/// The webhooks of one rollout, by name: the line of each.
#[derive(Default)]
pub(super) struct WebhookNames<'f>(HashMap<&'f Name, u32>);

impl<'f> WebhookNames<'f> {
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
    names: &mut WebhookNames<'f>,
    reader: &mut Reader<'_>,
) -> Option<Webhook> {
    let written = slot.get()?;
    names.check_unique(&written.name, reader);
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
    names: &mut WebhookNames<'f>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Webhook>> {
    let written = slot.get()?;
    names.check_unique(&written.name, reader);
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

const TEN_SECONDS: Duration = Duration::from_secs(10);
