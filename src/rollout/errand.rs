//! What a step may ask of the world outside: a webhook that agrees, checks that the canary passes.

use std::time::Duration;

/// Something outside that a step waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// Somebody else's word.
    Webhook(Webhook),
    /// Requests of our own to the canary.
    Smoke(Smoke),
}

/// An address that is told of a moment in a rollout, and may hold it.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// What people call it; unique in its rollout.
    pub name: String,
    /// When it is called.
    pub moment: Moment,
    /// `http://` or `https://`; checked.
    pub url: String,
    /// More request headers, such as `authorization`. Secret.
    pub headers: Vec<(String, String)>,
    /// Handed on in the payload.
    pub metadata: Vec<(String, String)>,
    /// For one call. Default 10 s.
    pub timeout: Duration,
    /// How often a call that failed (no answer, or 5xx) is tried again. Default 3.
    pub retries: u32,
    /// How long after a refusal (4xx) it is asked again. Default 10 s.
    pub interval: Duration,
    /// What follows when all tries have failed.
    pub on_failure: OnFailure,
}

/// When a webhook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first step.
    Start,
    /// Before each further step of the file.
    Step,
    /// Before the canary gets everything.
    Promotion,
    /// After an abort or a rollback. Nothing waits for it.
    Rollback,
    /// A step of its own.
    Gate,
}

/// What follows when a webhook gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The rollout is paused, for a person.
    Pause,
    /// The rollout is aborted.
    Abort,
    /// As if it had agreed.
    GoOn,
}

/// Checks over HTTP, sent to the canary's endpoints only. They are no evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Smoke {
    /// All must pass in one try, at every endpoint. At least one.
    pub checks: Vec<SmokeCheck>,
    /// Tries until one passes. Default 5.
    pub attempts: u32,
    /// From one try to the next. Default 10 s.
    pub interval: Duration,
    /// For one request. Default 5 s.
    pub timeout: Duration,
    /// Which of the canary's endpoints, by their places in the file; `None`: all.
    pub endpoints: Option<(usize, usize)>,
}

/// One request, and what its answer must be.
#[derive(Clone, Debug, PartialEq)]
pub struct SmokeCheck {
    /// `GET`, `HEAD` or another method, upper case.
    pub method: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// More request headers; `host` among them stands instead of the endpoint's own.
    pub headers: Vec<(String, String)>,
    /// The body that is sent.
    pub body: Option<String>,
    /// Statuses that pass, both ends in. Default 200 to 299.
    pub statuses: Vec<(u16, u16)>,
    /// Answer headers (lower case), each with a regular expression that must be found in its value.
    pub answer_headers: Vec<(String, String)>,
    /// A regular expression that must be found in the first 64 KiB of the answer's body.
    pub answer_body: Option<String>,
    /// From the request to the end of the answer.
    pub latency_max: Option<Duration>,
}

impl Moment {
    /// The word in the file and in payloads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "beforeStart",
            Self::Step => "beforeStep",
            Self::Promotion => "beforePromotion",
            Self::Rollback => "onRollback",
            Self::Gate => "gate",
        }
    }
}

impl Errand {
    /// What is waited for, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Webhook(webhook) => format!("webhook {}", webhook.name),
            Self::Smoke(smoke) => match smoke.checks.len() {
                1 => "a smoke test".to_owned(),
                many => format!("{many} smoke tests"),
            },
        }
    }
}

impl std::fmt::Debug for Webhook {
    /// Without the values of headers, which are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("moment", &self.moment)
            .field("url", &self.url)
            .field("headers", &names)
            .field("metadata", &self.metadata)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("interval", &self.interval)
            .field("on_failure", &self.on_failure)
            .finish()
    }
}
