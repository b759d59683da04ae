//! What a person writes about the world outside a rollout: webhooks and smoke tests.

use serde_json::Value as Json;

use crate::config::declare::{record, word_schema, words};
use crate::config::outside::{HeaderText, SentHeader, StatusRange, Target, Url};
use crate::config::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use crate::config::scalar::{Count, HeaderName, Text};
use crate::config::schema::Defs;
use crate::config::shapes::{Fields, OneOrMany};
use crate::config::tree::NodeId;
use crate::config::units::Limit;
use crate::head::Method;
use crate::name::Name;

record! {
    /// An address that is told of moments in a rollout, and may hold it.
    Webhook {
        /// A name that no other webhook of the rollout has.
        required "name" name: Name,
        /// When it is called: one of the moments, or a list of them.
        required "on" on: OneOrMany<On>,
        /// Where the payload is sent, by POST.
        required "url" url: Url,
        /// More request headers. Default: none.
        optional "headers" headers: Fields<SentHeader, HeaderText>,
        /// Handed on in the payload. Default: none.
        optional "metadata" metadata: Fields<Text, String>,
        /// For one call. Default: 10s.
        optional "timeout" timeout: Limit,
        /// How often a call that failed is tried again. Default: 3.
        optional "retries" retries: Count<0, 100>,
        /// How long after a refusal it is asked again. Default: 10s.
        optional "interval" interval: Limit,
        /// What follows when all tries have failed. Default: pause.
        optional "onFailure" on_failure: OnFailure,
    }
    later []
}

record! {
    /// A program that must agree.
    GateWebhook {
        /// A name that no other webhook of the rollout has.
        required "name" name: Name,
        /// Where the payload is sent, by POST.
        required "url" url: Url,
        /// More request headers. Default: none.
        optional "headers" headers: Fields<SentHeader, HeaderText>,
        /// Handed on in the payload. Default: none.
        optional "metadata" metadata: Fields<Text, String>,
        /// For one call. Default: 10s.
        optional "timeout" timeout: Limit,
        /// How often a call that failed is tried again. Default: 3.
        optional "retries" retries: Count<0, 100>,
        /// How long after a refusal it is asked again. Default: 10s.
        optional "interval" interval: Limit,
        /// What follows when all tries have failed. Default: pause.
        optional "onFailure" on_failure: OnFailure,
    }
    later []
}

words! {
    /// When a webhook is called.
    On {
        /// Before the first step; it may hold.
        "beforeStart" Start,
        /// Before each further part of the plan; it may hold.
        "beforeStep" Step,
        /// Before the part that reaches 100%; it may hold.
        "beforePromotion" Promotion,
        /// After an abort or a rollback; nothing waits for it.
        "onRollback" Rollback,
    }
    later []
}

words! {
    /// What follows when a webhook gives no answer.
    OnFailure {
        /// The rollout is paused, for a person.
        "pause" Pause,
        /// The rollout is aborted.
        "abort" Abort,
        /// As if it had agreed.
        "goOn" GoOn,
    }
    later []
}

record! {
    /// Checks over HTTP, sent to the canary's endpoints only: path and status of one, or a list.
    Smoke {
        /// The path of a single check, with its query.
        optional "path" path: Target,
        /// Statuses that pass the single check: numbers or classes. Default: 2xx.
        optional "status" status: OneOrMany<StatusRange>,
        /// Several checks; all must pass in one try.
        optional "checks" checks: AtLeastOne<SmokeCheck>,
        /// Tries until one passes. Default: 5.
        optional "attempts" attempts: Count<1, 1_000>,
        /// From one try to the next. Default: 10s.
        optional "interval" interval: Limit,
        /// For one request. Default: 5s.
        optional "timeout" timeout: Limit,
    }
    later []
}

record! {
    /// One request, and what its answer must be.
    SmokeCheck {
        /// The method. Default: GET.
        optional "method" method: Method,
        /// The path, with its query.
        required "path" path: Target,
        /// The host that is asked for. Default: the endpoint.
        optional "host" host: HeaderText,
        /// More request headers. Default: none.
        optional "headers" headers: Fields<SentHeader, HeaderText>,
        /// The body that is sent. Default: none.
        optional "body" body: Text,
        /// Statuses that pass: numbers or classes. Default: 2xx.
        optional "status" status: OneOrMany<StatusRange>,
        /// For each header of the answer a regular expression that must be found in it. Default: none.
        optional "expectHeaders" expect_headers: Fields<HeaderName, Text>,
        /// A regular expression that must be found in the first 64 KiB of the body. Default: none.
        optional "expectBody" expect_body: Text,
        /// From the request to the end of the answer. Default: the timeout.
        optional "maxLatency" max_latency: Limit,
    }
    later []
}
