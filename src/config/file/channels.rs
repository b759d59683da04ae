//! What a person writes about those who are told: Slack, Teams, PagerDuty, plain webhooks.

use serde_json::Value as Json;

use crate::config::declare::{record, word_schema, words};
use crate::config::outside::{HeaderText, SentHeader, Template, Url};
use crate::config::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use crate::config::scalar::Text;
use crate::config::schema::Defs;
use crate::config::shapes::Fields;
use crate::config::tree::NodeId;
use crate::name::Name;

record! {
    /// Somebody who is told of what happens to rollouts, by exactly one of slack, teams, pagerDuty, webhook.
    Channel {
        /// A name that no other channel has.
        required "name" name: Name,
        /// An incoming webhook of Slack.
        optional "slack" slack: Hook,
        /// A workflow webhook of Microsoft Teams.
        optional "teams" teams: Hook,
        /// PagerDuty, Events API v2.
        optional "pagerDuty" pager_duty: PagerDuty,
        /// A plain webhook.
        optional "webhook" webhook: PlainWebhook,
        /// The least that it is told of. Default: warn.
        optional "severity" severity: Severity,
        /// Whether it is also told of what goes well. Default: false.
        optional "progress" progress: bool,
        /// The rollouts that it is told of. Default: all.
        optional "rollouts" rollouts: AtLeastOne<Name>,
    }
    later []
}

words! {
    /// How much an event matters.
    Severity {
        /// A rollout waits.
        "warn" Warn,
        /// A canary lost everything.
        "critical" Critical,
    }
    later []
}

record! {
    /// A webhook that the service made.
    Hook {
        /// Its address, which is secret.
        required "url" url: Url,
    }
    later []
}

record! {
    /// PagerDuty, Events API v2.
    PagerDuty {
        /// The integration key, which is secret.
        required "routingKey" routing_key: Text,
        /// Where events are sent. Default: https://events.pagerduty.com/v2/enqueue.
        optional "url" url: Url,
    }
    later []
}

record! {
    /// A plain webhook.
    PlainWebhook {
        /// Its address, which is secret.
        required "url" url: Url,
        /// More request headers, which are secret. Default: none.
        optional "headers" headers: Fields<SentHeader, HeaderText>,
        /// The body, with {{placeholders}}; see notifications.md. Default: the event as JSON.
        optional "template" template: Template,
    }
    later []
}
