//! Brings one message to its channel, and says what became of it.

use std::time::Duration;

use bytes::Bytes;

use super::letter::Letter;
use super::{pager_duty, plain, slack, teams};
use crate::config::Service;
use crate::outgoing::{Answer, Call, CallError, Client, Rest, excerpt_without};

/// For one try.
const TIMEOUT: Duration = Duration::from_secs(10);

/// By which calls go out; tests have one of their own.
pub(super) trait Carry {
    /// Makes one call, bounded in time.
    async fn carry(&self, call: &Call<'_>) -> Result<Answer, CallError>;
}

impl Carry for Client {
    async fn carry(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        self.call(call).await
    }
}

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was taken.
    Delivered,
    /// It will never be taken.
    Refused(String),
    /// It may be taken later.
    Failed(String, Option<Duration>),
}

/// One try. `None`: there is nothing to be sent.
pub(super) async fn bring<C: Carry>(
    carry: &C,
    service: &Service,
    letter: &Letter,
    environment: Option<&str>,
    left_out: u64,
) -> Option<Fate> {
    let event = &letter.event;
    let (url, headers, body) = match service {
        Service::Slack { url } => (url, &[][..], slack::message(event, environment, left_out).to_string()),
        Service::Teams { url } => (url, &[][..], teams::message(event, environment, left_out).to_string()),
        Service::PagerDuty { url, routing_key } => {
            let message = pager_duty::message(letter, routing_key, environment, left_out)?;
            (url, &[][..], message.to_string())
        }
        Service::Webhook { url, headers, template } => {
            let body = match template {
                Some(template) => plain::filled(template, event, environment, left_out),
                None => plain::message(event, environment, left_out).to_string(),
            };
            (url, &headers[..], body)
        }
    };
    let given = |name: &str| headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
    let ours = [("content-type", "application/json")];
    let ours = ours.into_iter().filter(|(name, _)| !given(name));
    let call = Call {
        method: "POST",
        url,
        headers: ours
            .chain(headers.iter().map(|(name, value)| (&**name, &**value)))
            .collect(),
        body: Bytes::from(body),
        timeout: TIMEOUT,
        rest: Rest::Cut,
    };
    Some(fate(carry.carry(&call).await, &secrets(service)))
}

/// What must not be shown though the other side may repeat it.
fn secrets(service: &Service) -> Vec<&str> {
    match service {
        Service::Slack { url } | Service::Teams { url } => vec![url],
        Service::PagerDuty { url, routing_key } => vec![url, routing_key],
        Service::Webhook { url, headers, .. } => {
            let values = headers.iter().map(|(_, value)| value.as_str());
            std::iter::once(url.as_str()).chain(values).collect()
        }
    }
}

/// Only the status counts. 408 and 429 are the refusals that pass; redirects may be those of a proxy that is
/// in the way for a while.
fn fate(answer: Result<Answer, CallError>, secrets: &[&str]) -> Fate {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ (CallError::Url(_) | CallError::Header(..))) => return Fate::Refused(error.to_string()),
        Err(error) => return Fate::Failed(error.to_string(), None),
    };
    let status = answer.status;
    let words = match excerpt_without(&answer.body, secrets) {
        body if body.is_empty() => format!("status {status}"),
        body => format!("status {status}: {body}"),
    };
    match status {
        200..=299 => Fate::Delivered,
        408 | 429 => Fate::Failed(words, answer.retry_after),
        400..=499 => Fate::Refused(words),
        _ => Fate::Failed(words, answer.retry_after),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Severity;
    use crate::notify::event_of;
    use crate::notify::fixture::{channel, record};
    use crate::notify::letter::letters;
    use crate::outgoing::fixture::{Act, Seen, Server};

    /// What became of an abort, and the request that was made.
    async fn tell(service: impl FnOnce(String) -> Service, act: Act) -> (Fate, Seen) {
        let server = Server::start(vec![act]).await;
        let service = service(server.url("/services/T000/B000/secret-path"));
        let channel = channel(service.clone(), Severity::Warn, true);
        let event = event_of(&record(1, "progressing", "aborted")).unwrap();
        let letter = letters(&channel, &BTreeSet::new(), &event).remove(0);
        let fate = bring(&Client::new(), &service, &letter, Some("prod"), 0).await;
        (fate.expect("an abort is told"), server.take_seen().remove(0))
    }

    fn plain(url: String) -> Service {
        Service::Webhook {
            url,
            headers: vec![("authorization".to_owned(), "Bearer secret-4711".to_owned())],
            template: None,
        }
    }

    #[tokio::test]
    async fn every_service_gets_what_it_documents() {
        let ok = || Act::status(200, "ok");
        let (fate, seen) = tell(|url| Service::Slack { url }, ok()).await;
        assert_eq!(fate, Fate::Delivered);
        assert_eq!(seen.header("content-type"), Some("application/json"));
        slack::tests::hold_to_schema(&seen.json());

        let (fate, seen) = tell(|url| Service::Teams { url }, Act::status(202, "")).await;
        assert_eq!(fate, Fate::Delivered);
        teams::tests::hold_to_schema(&seen.json());

        let pager = |url| Service::PagerDuty {
            url,
            routing_key: "e93facc04764012d7bfb002500d5d1a6".to_owned(),
        };
        let (fate, seen) = tell(pager, Act::status(202, r#"{"status":"success"}"#)).await;
        assert_eq!(fate, Fate::Delivered);
        pager_duty::tests::hold_to_schema(&seen.json());
        assert_eq!(seen.json()["routing_key"], "e93facc04764012d7bfb002500d5d1a6");

        let (fate, seen) = tell(plain, ok()).await;
        assert_eq!(fate, Fate::Delivered);
        assert_eq!(seen.header("authorization"), Some("Bearer secret-4711"));
        assert_eq!(seen.json()["what"], "aborted");

        let form = |url| Service::Webhook {
            url,
            headers: vec![("Content-Type".to_owned(), "application/vnd.own+json".to_owned())],
            template: Some(r#"{"say":"{{rollout}} {{what}}"}"#.to_owned()),
        };
        let (_, seen) = tell(form, ok()).await;
        assert_eq!(seen.header("content-type"), Some("application/vnd.own+json"));
        assert_eq!(&seen.body[..], br#"{"say":"checkout-v2 aborted"}"#);
    }

    #[tokio::test]
    async fn answers_have_their_meaning() {
        let check = async |act: Act, expected: Fate| {
            assert_eq!(tell(plain, act.clone()).await.0, expected, "{act:?}");
        };
        let failed = |why: &str, after: Option<u64>| Fate::Failed(why.to_owned(), after.map(Duration::from_secs));
        check(Act::status(204, ""), Fate::Delivered).await;
        check(Act::status(400, "bad"), Fate::Refused("status 400: bad".to_owned())).await;
        check(Act::status(410, ""), Fate::Refused("status 410".to_owned())).await;
        check(Act::status(408, ""), failed("status 408", None)).await;
        check(Act::status(503, "x"), failed("status 503: x", None)).await;
        check(Act::status(302, ""), failed("status 302", None)).await;
        let busy = Act::raw("HTTP/1.1 429 Busy\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n");
        check(busy, failed("status 429", Some(30))).await;
        check(Act::Flood(10 << 20), Fate::Delivered).await;
    }

    #[tokio::test]
    async fn nothing_secret_is_told_back() {
        let echo = Act::status(400, "Bearer secret-4711 may not post");
        let (fate, _) = tell(plain, echo).await;
        assert_eq!(fate, Fate::Refused("status 400: [secret] may not post".to_owned()));
    }
}
