//! What a webhook is told: the keys that Flagger's webhooks know, and our own beside them. Pure.

use serde_json::{Value, json};

use crate::rollout::{Moment, Webhook};

/// What a webhook is told of, beside its own metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// The rollout's name.
    pub rollout: String,
    /// The route's name.
    pub route: String,
    /// The environment of the file; `None`: told as `serin`.
    pub environment: Option<String>,
    /// Of [`checksum`].
    pub checksum: String,
    /// The step that is entered, from 1; `None`: none.
    pub step: Option<usize>,
    /// Number of steps of the plan.
    pub of: usize,
    /// The canary's weight in the pair now, 0 to 1.
    pub weight: f64,
    /// The canary's.
    pub release: Option<String>,
    /// The present one.
    pub generation: u64,
    /// Stable's variant.
    pub from: String,
    /// The canary's variant.
    pub to: String,
    /// Why this is asked now: who started it, why it was aborted.
    pub reason: String,
}

impl Payload {
    /// The body for `webhook`.
    #[must_use]
    pub fn json(&self, webhook: &Webhook) -> Value {
        let metadata: serde_json::Map<String, Value> = webhook
            .metadata
            .iter()
            .map(|(key, value)| (key.clone(), Value::String(value.clone())))
            .collect();
        json!({
            "name": self.rollout,
            "namespace": self.environment.as_deref().unwrap_or("serin"),
            "phase": phase(webhook.moment),
            "checksum": self.checksum,
            "metadata": metadata,
            "serin": {
                "rollout": self.rollout,
                "route": self.route,
                "webhook": webhook.name,
                "moment": webhook.moment.as_str(),
                "step": self.step,
                "of": self.of,
                "weight": self.weight,
                "release": self.release,
                "generation": self.generation,
                "from": self.from,
                "to": self.to,
                "reason": self.reason,
            },
        })
    }
}

/// The phase that Flagger would name: it asks all that may hold a canary in `Progressing`, and tells of the end
/// of a bad one in `Failed`.
const fn phase(moment: Moment) -> &'static str {
    match moment {
        Moment::Start | Moment::Step | Moment::Promotion | Moment::Gate => "Progressing",
        Moment::Rollback => "Failed",
    }
}

/// What tells one trial of a release by a plan from another one: the same release and plan have the same
/// checksum, also after a restart. 16 hexadecimal digits, the beginning of a SHA-256.
#[must_use]
pub fn checksum(release: Option<&str>, marks: &[String]) -> String {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let parts = std::iter::once(release.unwrap_or_default()).chain(marks.iter().map(String::as_str));
    for part in parts {
        // With its length in front no part runs over into the next.
        digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let digest = digest.finish();
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
