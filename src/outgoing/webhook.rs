//! Asks a webhook until it agrees, or until it has failed too often.

use std::time::Duration;

use bytes::Bytes;

use super::client::{Answer, Call, CallError, Client, Rest};
use super::{Backoff, Outcome, Payload, Progress, excerpt_without};
use crate::rollout::Webhook;

/// Pauses between the tries of a call that fails: from here, doubled …
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// … to here.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Who refuses is not asked again earlier than this, whatever the file says.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What one call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 2xx.
    Agrees(String),
    /// 4xx: not now.
    Refuses {
        /// Status and the beginning of the body.
        why: String,
        /// The pause that was asked for.
        after: Option<Duration>,
    },
    /// Any other status, or no answer.
    Fails {
        /// What went wrong.
        why: String,
        /// The pause that was asked for.
        after: Option<Duration>,
    },
}

/// Asks until the other side agrees, which may be never: refusals have no limit, and whoever drops the future
/// ends it. A call that fails is tried again `retries` times in a row, with pauses that double. `tell` hears
/// of each refusal and each failure that is followed by another try. `seed` spreads the pauses.
pub async fn ask(client: &Client, webhook: &Webhook, payload: &Payload, seed: u64, tell: &dyn Fn(Progress)) -> Outcome {
    ask_by(webhook, seed, tell, async || call(client, webhook, payload).await).await
}

/// One call.
pub async fn call(client: &Client, webhook: &Webhook, payload: &Payload) -> Reply {
    let body = Bytes::from(payload.json(webhook).to_string());
    let headers = webhook.headers.iter().map(|(name, value)| (&**name, &**value));
    let call = Call {
        method: "POST",
        url: &webhook.url,
        headers: [("content-type", "application/json")]
            .into_iter()
            .chain(headers)
            .collect(),
        body,
        timeout: webhook.timeout,
        rest: Rest::Cut,
    };
    // Whoever is called may repeat what it was sent, and what it says is shown and kept.
    let secrets: Vec<&str> = webhook.headers.iter().map(|(_, value)| &**value).collect();
    reply(client.call(&call).await, &secrets)
}

async fn ask_by(
    webhook: &Webhook,
    seed: u64,
    tell: &dyn Fn(Progress),
    mut call: impl AsyncFnMut() -> Reply,
) -> Outcome {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX, seed);
    let mut failures = 0_u32;
    loop {
        let pause = match call().await {
            Reply::Agrees(words) => return Outcome::Passed(words),
            Reply::Refuses { why, after } => {
                failures = 0;
                backoff.reset();
                tell(Progress::Refused(why));
                webhook.interval.max(INTERVAL_MIN).max(after.unwrap_or_default())
            }
            Reply::Fails { why, .. } if failures >= webhook.retries => {
                let times = match failures {
                    0 => "once".to_owned(),
                    many => format!("{} times in a row, at last", many.saturating_add(1)),
                };
                return Outcome::Failed(format!("webhook {} failed {times}: {why}", webhook.name));
            }
            Reply::Fails { why, after } => {
                failures += 1;
                tell(Progress::Retrying(why));
                backoff.pause(after)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What an answer means. Only its status counts: a body that breaks off takes nothing back.
fn reply(answer: Result<Answer, CallError>, secrets: &[&str]) -> Reply {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            return Reply::Fails {
                why: error.to_string(),
                after: None,
            };
        }
    };
    let (status, after) = (answer.status, answer.retry_after);
    let words = match excerpt_without(&answer.body, secrets) {
        body if body.is_empty() => format!("status {status}"),
        body => format!("status {status}: {body}"),
    };
    match status {
        200..=299 => Reply::Agrees(words),
        300..=399 => Reply::Fails {
            why: format!("status {status}: redirects are not followed; give the address that it leads to"),
            after,
        },
        400..=499 => Reply::Refuses { why: words, after },
        _ => Reply::Fails { why: words, after },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::outgoing::fixture::{Act, Server, certified};
    use crate::rollout::{Moment, OnFailure};

    fn webhook(url: &str) -> Webhook {
        Webhook {
            name: "gate".to_owned(),
            moment: Moment::Start,
            url: url.to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer secret-4711".to_owned())],
            metadata: vec![("team".to_owned(), "checkout".to_owned())],
            timeout: Duration::from_secs(10),
            retries: 3,
            interval: Duration::from_secs(10),
            on_failure: OnFailure::Pause,
        }
    }

    fn payload() -> Payload {
        Payload {
            rollout: "checkout-v2".to_owned(),
            route: "checkout".to_owned(),
            environment: Some("prod".to_owned()),
            checksum: "85d557f47b0c1a2e".to_owned(),
            step: Some(1),
            of: 3,
            weight: 0.05,
            release: Some("v2.0.0".to_owned()),
            generation: 42,
            from: "stable".to_owned(),
            to: "canary".to_owned(),
            reason: "started by ana: release v2.0.0".to_owned(),
        }
    }

    fn refuses(why: &str) -> Reply {
        Reply::Refuses {
            why: why.to_owned(),
            after: None,
        }
    }

    fn fails(why: &str) -> Reply {
        Reply::Fails {
            why: why.to_owned(),
            after: None,
        }
    }

    /// Asks somebody who answers by `script`, with a clock of its own: what came out, what was told, and
    /// after how many seconds.
    async fn ask_script(script: Vec<Reply>) -> (Outcome, Vec<Progress>, f64) {
        let told = RefCell::new(Vec::new());
        let began = Instant::now();
        let mut script = script.into_iter();
        let tell = |progress| told.borrow_mut().push(progress);
        let asked = async || script.next().expect("not asked so often");
        let outcome = ask_by(&webhook("http://gate"), 7, &tell, asked).await;
        (outcome, told.take(), began.elapsed().as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn who_agrees_at_once_is_asked_once() {
        let (outcome, told, seconds) = ask_script(vec![Reply::Agrees("status 200".to_owned())]).await;
        assert_eq!(outcome, Outcome::Passed("status 200".to_owned()));
        assert!(told.is_empty() && seconds < 0.1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_refuses_is_asked_again_without_end() {
        let mut script = vec![refuses("status 403: not today"); 1_000];
        script.push(Reply::Agrees("status 200".to_owned()));
        let (outcome, told, seconds) = ask_script(script).await;
        assert_eq!(outcome, Outcome::Passed("status 200".to_owned()));
        assert_eq!(told, vec![Progress::Refused("status 403: not today".to_owned()); 1_000]);
        assert!((10_000.0..10_010.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_is_tried_again_with_longer_pauses() {
        let (outcome, told, seconds) = ask_script(vec![fails("status 503"); 4]).await;
        let expected = "webhook gate failed 4 times in a row, at last: status 503";
        assert_eq!(outcome, Outcome::Failed(expected.to_owned()));
        assert_eq!(told, vec![Progress::Retrying("status 503".to_owned()); 3]);
        assert!((5.25..=8.75 + 0.1).contains(&seconds), "1 + 2 + 4 s: {seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_between_failures_begins_their_count_anew() {
        let mut script = vec![fails("status 503"); 3];
        script.push(refuses("status 403"));
        script.extend(vec![fails("status 503"); 3]);
        script.push(Reply::Agrees("status 204".to_owned()));
        assert_eq!(ask_script(script).await.0, Outcome::Passed("status 204".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_that_is_asked_for_is_kept() {
        let after = Some(Duration::from_secs(120));
        let busy = |why: &str| Reply::Refuses {
            why: why.to_owned(),
            after,
        };
        let down = Reply::Fails {
            why: "status 503".to_owned(),
            after,
        };
        let (_, _, seconds) = ask_script(vec![busy("status 429"), down, Reply::Agrees(String::new())]).await;
        assert!((240.0..241.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test]
    async fn statuses_have_their_meaning() {
        let check = async |act: Act, expected: Reply| {
            let server = Server::start(vec![act.clone()]).await;
            let found = call(&Client::new(), &webhook(&server.url("/gate?key=secret")), &payload()).await;
            assert_eq!(found, expected, "{act:?}");
        };
        check(Act::status(200, "yes"), Reply::Agrees("status 200: yes".to_owned())).await;
        check(Act::status(204, ""), Reply::Agrees("status 204".to_owned())).await;
        let echo = Act::status(401, "no such token: Bearer secret-4711");
        check(echo, refuses("status 401: no such token: [secret]")).await;
        check(Act::status(403, "no\r\nfun"), refuses("status 403: no\\r\\nfun")).await;
        check(Act::status(404, ""), refuses("status 404")).await;
        check(Act::status(500, "oops"), fails("status 500: oops")).await;
        let moved = "redirects are not followed; give the address that it leads to";
        check(
            Act::raw("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"),
            fails(&format!("status 302: {moved}")),
        )
        .await;
        let busy = Reply::Refuses {
            why: "status 429".to_owned(),
            after: Some(Duration::from_secs(7)),
        };
        check(
            Act::raw("HTTP/1.1 429 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n"),
            busy,
        )
        .await;
        // An answer whose body breaks off is an answer.
        check(
            Act::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nye"),
            Reply::Agrees("status 200: ye".to_owned()),
        )
        .await;
    }

    #[tokio::test]
    async fn no_answer_fails_and_says_so_without_secrets() {
        let check = async |act: Act, expected: &str| {
            let server = Server::start(vec![act.clone()]).await;
            let webhook = Webhook {
                timeout: Duration::from_millis(150),
                ..webhook(&server.url("/gate?key=secret"))
            };
            let Reply::Fails { why, .. } = call(&Client::new(), &webhook, &payload()).await else {
                panic!("{act:?} is no answer");
            };
            assert!(why.contains(expected) && !why.contains("secret"), "{act:?}: {why}");
        };
        check(Act::Silence, "no answer within 150 ms").await;
        check(Act::raw(""), "connection closed").await;
        check(Act::raw("HELLO\r\n\r\n"), "").await;
        check(Act::HugeHead, "").await;
        let gone = Server::start(vec![]).await.url("/gate?key=secret");
        let found = call(&Client::new(), &webhook(&gone), &payload()).await;
        assert!(
            matches!(&found, Reply::Fails { why, .. } if why.starts_with("no connection to 127.0.0.1:")),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn ten_megabytes_are_not_read() {
        let server = Server::start(vec![Act::Flood(10 << 20)]).await;
        let found = call(&Client::new(), &webhook(&server.url("/")), &payload()).await;
        assert_eq!(found, Reply::Agrees(format!("status 200: {}…", "x".repeat(200))));
        assert!(server.sent().await < 10 << 20, "the connection was closed before");
    }

    #[tokio::test]
    async fn a_dripping_body_ends_in_time() {
        let server = Server::start(vec![Act::Drip]).await;
        let webhook = Webhook {
            timeout: Duration::from_millis(200),
            ..webhook(&server.url("/"))
        };
        assert!(matches!(
            call(&Client::new(), &webhook, &payload()).await,
            Reply::Agrees(_)
        ));
    }

    #[tokio::test]
    async fn who_stops_waiting_closes_the_connection() {
        let server = Server::start(vec![Act::Silence]).await;
        let (client, webhook, payload) = (Client::new(), webhook(&server.url("/")), payload());
        tokio::select! {
            _ = ask(&client, &webhook, &payload, 1, &|_| {}) => panic!("nobody answered"),
            () = server.seen_one() => {}
        }
        server.closed_one().await;
    }

    #[tokio::test]
    async fn tls_is_spoken_with_those_who_are_vouched_for() {
        let (acceptor, roots) = certified();
        let server = Server::start_tls(vec![Act::status(200, "yes"), Act::status(200, "yes")], acceptor).await;
        let webhook = webhook(&server.url("/gate"));
        let found = call(&Client::trusting(roots), &webhook, &payload()).await;
        assert_eq!(found, Reply::Agrees("status 200: yes".to_owned()));
        let stranger = Client::trusting(certified().1);
        let found = call(&stranger, &webhook, &payload()).await;
        assert!(
            matches!(&found, Reply::Fails { why, .. } if why.contains("no TLS with")),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn the_request_is_what_flagger_sends_and_more() {
        let server = Server::start(vec![Act::status(200, "")]).await;
        call(&Client::new(), &webhook(&server.url("/gate?x=1")), &payload()).await;
        let seen = server.take_seen();
        assert_eq!(seen[0].line, "POST /gate?x=1 HTTP/1.1");
        assert_eq!(seen[0].header("content-type"), Some("application/json"));
        assert_eq!(seen[0].header("authorization"), Some("Bearer secret-4711"));
        assert_eq!(seen[0].header("user-agent"), Some(crate::outgoing::USER_AGENT));
        assert_eq!(seen[0].header("host"), Some(server.authority()));
        let body = seen[0].json();
        assert_eq!(body["name"], "checkout-v2");
        assert_eq!(body["namespace"], "prod");
        assert_eq!(body["phase"], "Progressing");
        assert_eq!(body["checksum"], "85d557f47b0c1a2e");
        assert_eq!(body["metadata"], json!({ "team": "checkout" }));
    }

    #[test]
    fn the_documentation_shows_what_is_sent() {
        let text = include_str!("../../docs/webhooks.md");
        let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
        let shown: serde_json::Value = serde_json::from_str(example.unwrap()).unwrap();
        assert_eq!(shown, payload().json(&webhook("https://gate.example/")));
    }
}
