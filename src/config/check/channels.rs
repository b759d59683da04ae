//! Who is told: each channel speaks one service, about rollouts that exist.

use super::names::{Names, check_unique};
use super::webhooks;
use crate::config::file::{self, File};
use crate::config::read::{Reader, Slot};
use crate::config::spec::{Channel, Service, Severity};

/// All channels; `None` when one does not come about, which is then reported.
pub(super) fn check(file: &File, reader: &mut Reader<'_>) -> Option<Vec<Channel>> {
    check_unique(
        reader,
        "channel",
        file.notifications.items().filter_map(Slot::get).map(|c| &c.name),
    );
    let rollouts = Names::of(
        reader,
        "rollout",
        file.rollouts.items().map(|r| r.get().map(|r| &r.name)),
    );
    let channels: Vec<_> = file
        .notifications
        .items()
        .map(|slot| channel(slot, &rollouts, reader))
        .collect();
    let channels: Option<Vec<_>> = channels.into_iter().collect();
    channels.filter(|_| file.notifications.value.is_some() || file.notifications.left_out)
}

fn channel(slot: &Slot<file::Channel>, rollouts: &Names<'_>, reader: &mut Reader<'_>) -> Option<Channel> {
    let written = slot.get()?;
    let about: Vec<_> = written
        .rollouts
        .items()
        .map(|slot| rollouts.find(slot, reader))
        .collect();
    let about = about
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .filter(|_| written.rollouts.value.is_some() || written.rollouts.left_out);
    let service = service(slot, written, reader);
    Some(Channel {
        name: written.name.get()?.clone(),
        service: service?,
        severity: match written.severity.or(file::Severity::Warn) {
            file::Severity::Warn => Severity::Warn,
            file::Severity::Critical => Severity::Critical,
        },
        progress: written.progress.or(false),
        rollouts: about?,
    })
}

fn service(slot: &Slot<file::Channel>, written: &file::Channel, reader: &mut Reader<'_>) -> Option<Service> {
    let given = [
        !written.slack.left_out,
        !written.teams.left_out,
        !written.pager_duty.left_out,
        !written.webhook.left_out,
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        reader.refuse(slot.at, "needs exactly one of slack, teams, pagerDuty and webhook");
        return None;
    }
    if let Some(slack) = written.slack.get() {
        let url = slack.url.get()?.0.clone();
        return Some(Service::Slack { url });
    }
    if let Some(teams) = written.teams.get() {
        let url = teams.url.get()?.0.clone();
        return Some(Service::Teams { url });
    }
    if let Some(pager_duty) = written.pager_duty.get() {
        return Some(Service::PagerDuty {
            url: match pager_duty.url.get() {
                Some(url) => url.0.clone(),
                None if pager_duty.url.left_out => PAGER_DUTY.to_owned(),
                None => return None,
            },
            routing_key: pager_duty.routing_key.get()?.0.clone(),
        });
    }
    let webhook = written.webhook.get()?;
    Some(Service::Webhook {
        url: webhook.url.get()?.0.clone(),
        headers: webhooks::headers(&webhook.headers)?,
        template: webhook.template.get().map(|text| text.0.clone()),
    })
}

/// Where PagerDuty takes events of version 2.
const PAGER_DUTY: &str = "https://events.pagerduty.com/v2/enqueue";
