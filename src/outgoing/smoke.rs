//! Smoke tests: requests of our own to the endpoints of a canary, and whether the answers are as expected.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use regex::bytes::{Regex, RegexBuilder};

use super::client::{Answer, Call, Client, End, Rest};
use super::{Outcome, Progress, excerpt};
use crate::rollout::{Smoke, SmokeCheck};

/// How smoke tests call themselves.
pub const SMOKE_AGENT: &str = concat!("serin-smoke/", env!("CARGO_PKG_VERSION"));
/// So many endpoints are asked at once.
const ENDPOINTS_AT_ONCE: usize = 8;
/// What one regular expression may take, compiled, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A check with its expressions compiled.
struct Ready<'s> {
    check: &'s SmokeCheck,
    answer_headers: Vec<(&'s str, Regex)>,
    answer_body: Option<Regex>,
}

/// Tries until all checks pass at all endpoints in one try, at most `attempts` times. `endpoints` are all of
/// the canary's, `host:port`, in the order of the file. The `host` of a request is the check's, or else
/// `host`, or else the endpoint. `tell` hears of each failed try that is followed by another.
pub async fn run(
    client: &Client,
    smoke: &Smoke,
    endpoints: &[String],
    host: Option<&str>,
    tell: &dyn Fn(Progress),
) -> Outcome {
    let ready: Result<Vec<_>, String> = smoke.checks.iter().map(Ready::new).collect();
    let checks = match ready {
        Ok(checks) => checks,
        Err(why) => return Outcome::Failed(why),
    };
    let (first, end) = smoke.endpoints.unwrap_or((0, endpoints.len()));
    let endpoints = match endpoints.get(first..end.min(endpoints.len())) {
        Some(found) if !found.is_empty() => found,
        _ => return Outcome::Failed("the canary has no endpoint to test".to_owned()),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let why = match all(client, smoke.timeout, &checks, endpoints, host).await {
            Ok(()) => return Outcome::Passed(passed(checks.len(), endpoints.len(), tries)),
            Err(why) => why,
        };
        if tries >= smoke.attempts {
            return Outcome::Failed(format!("smoke test failed, try {tries} of {}: {why}", smoke.attempts));
        }
        tell(Progress::Retrying(format!("try {tries} of {}: {why}", smoke.attempts)));
        tokio::time::sleep(smoke.interval).await;
    }
}

/// One try; the error is that of the first endpoint in order that failed.
async fn all(
    client: &Client,
    timeout: Duration,
    checks: &[Ready<'_>],
    endpoints: &[String],
    host: Option<&str>,
) -> Result<(), String> {
    let at = async |endpoint: &String| {
        for check in checks {
            let found = check.run(client, timeout, endpoint, host).await;
            found.map_err(|why| format!("{endpoint}, {} {}: {why}", check.check.method, check.path()))?;
        }
        Ok(())
    };
    stream::iter(endpoints)
        .map(at)
        .buffered(ENDPOINTS_AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await
}

impl<'s> Ready<'s> {
    fn new(check: &'s SmokeCheck) -> Result<Self, String> {
        let compiled = |pattern: &str| {
            let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
            built.map_err(|error| format!("the regular expression `{}`: {error}", excerpt(pattern.as_bytes())))
        };
        let headers = check.answer_headers.iter();
        Ok(Self {
            check,
            answer_headers: headers
                .map(|(name, pattern)| Ok((name.as_str(), compiled(pattern)?)))
                .collect::<Result<_, String>>()?,
            answer_body: check.answer_body.as_deref().map(compiled).transpose()?,
        })
    }

    async fn run(&self, client: &Client, timeout: Duration, endpoint: &str, host: Option<&str>) -> Result<(), String> {
        let given = |name: &str| {
            self.check
                .headers
                .iter()
                .any(|(found, _)| found.eq_ignore_ascii_case(name))
        };
        let mut headers = vec![("x-serin-smoke", "true")];
        let ours = [("user-agent", SMOKE_AGENT), ("accept-encoding", "identity")];
        headers.extend(ours.into_iter().filter(|(name, _)| !given(name)));
        headers.extend(host.filter(|_| !given("host")).map(|host| ("host", host)));
        headers.extend(self.check.headers.iter().map(|(name, value)| (&**name, &**value)));
        let call = Call {
            method: &self.check.method,
            url: &format!("http://{endpoint}{}", self.check.path),
            headers,
            body: self.check.body.clone().map(Bytes::from).unwrap_or_default(),
            timeout,
            rest: Rest::Read,
        };
        let answer = client.call(&call).await.map_err(|error| error.to_string())?;
        self.judge(&answer, timeout)
    }

    /// Without the query, which may hold a key.
    fn path(&self) -> &str {
        let path = self.check.path.as_str();
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// What was expected and what was found, where they differ.
    fn judge(&self, answer: &Answer, timeout: Duration) -> Result<(), String> {
        let check = self.check;
        let status = answer.status;
        if !check.statuses.iter().any(|&(low, high)| (low..=high).contains(&status)) {
            let mut why = format!("expected status {}, found {status}", ranges(&check.statuses));
            if !answer.body.is_empty() {
                let _ = write!(why, " (`{}`)", excerpt(&answer.body));
            }
            return Err(why);
        }
        match &answer.end {
            End::Whole | End::Cut => {}
            End::Late => return Err(format!("the body was not over within {} ms", timeout.as_millis())),
            End::Broken(how) => return Err(format!("the body broke off: {how}")),
        }
        for (name, expression) in &self.answer_headers {
            let values = || answer.headers.get_all(*name).iter();
            if !values().any(|value| expression.is_match(value.as_bytes())) {
                let found = match values().next() {
                    Some(value) => format!("`{}`", excerpt(value.as_bytes())),
                    None => "none".to_owned(),
                };
                return Err(format!("expected a header {name} with `{expression}`, found {found}"));
            }
        }
        if let Some(expression) = &self.answer_body
            && !expression.is_match(&answer.body)
        {
            let found = excerpt(&answer.body);
            return Err(format!("expected a body with `{expression}`, found `{found}`"));
        }
        match check.latency_max {
            Some(most) if answer.took > most => Err(format!(
                "expected an answer within {} ms, found {} ms",
                most.as_millis(),
                answer.took.as_millis()
            )),
            _ => Ok(()),
        }
    }
}

/// `200 to 299 or 304`
fn ranges(statuses: &[(u16, u16)]) -> String {
    let range = |&(low, high): &(u16, u16)| match low == high {
        true => low.to_string(),
        false => format!("{low} to {high}"),
    };
    statuses.iter().map(range).collect::<Vec<_>>().join(" or ")
}

fn passed(checks: usize, endpoints: usize, tries: u32) -> String {
    let plural = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        many => format!("{many} {one}s"),
    };
    format!(
        "{} passed at {}, try {tries}",
        plural(checks, "smoke test"),
        plural(endpoints, "endpoint")
    )
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::outgoing::fixture::{Act, Server};

    fn check() -> SmokeCheck {
        SmokeCheck {
            method: "GET".to_owned(),
            path: "/health".to_owned(),
            headers: Vec::new(),
            body: None,
            statuses: vec![(200, 299)],
            answer_headers: Vec::new(),
            answer_body: None,
            latency_max: None,
        }
    }

    fn smoke(check: SmokeCheck) -> Smoke {
        Smoke {
            checks: vec![check],
            attempts: 1,
            interval: Duration::from_millis(1),
            timeout: Duration::from_secs(5),
            endpoints: None,
        }
    }

    async fn run_at(servers: &[&Server], smoke: &Smoke) -> (Outcome, Vec<Progress>) {
        let endpoints: Vec<String> = servers.iter().map(|server| server.authority().to_owned()).collect();
        let told = RefCell::new(Vec::new());
        let tell = |progress| told.borrow_mut().push(progress);
        let outcome = run(&Client::new(), smoke, &endpoints, Some("shop.example"), &tell).await;
        (outcome, told.take())
    }

    #[tokio::test]
    async fn an_answer_is_held_against_what_is_expected() {
        let test = async |act: Act, check: SmokeCheck, expected: Option<&str>| {
            let server = Server::start(vec![act.clone()]).await;
            let (outcome, _) = run_at(&[&server], &smoke(check)).await;
            match (&outcome, expected) {
                (Outcome::Passed(words), None) => assert_eq!(words, "1 smoke test passed at 1 endpoint, try 1"),
                (Outcome::Failed(why), Some(expected)) => {
                    let place = format!("smoke test failed, try 1 of 1: {}, GET /health: ", server.authority());
                    assert!(why.starts_with(&place) && why.contains(expected), "{act:?}: {why}");
                }
                _ => panic!("{act:?}: {outcome:?}"),
            }
        };
        let ok = || Act::status(200, "version 2, ready");
        test(ok(), check(), None).await;
        test(
            Act::status(503, "down\n"),
            check(),
            Some("expected status 200 to 299, found 503 (`down`)"),
        )
        .await;
        let statuses = |statuses: &[(u16, u16)]| SmokeCheck {
            statuses: statuses.to_vec(),
            ..check()
        };
        test(Act::status(404, ""), statuses(&[(200, 204), (404, 404)]), None).await;
        test(
            ok(),
            statuses(&[(201, 204), (404, 404)]),
            Some("expected status 201 to 204 or 404, found 200"),
        )
        .await;
        let body = |pattern: &str| SmokeCheck {
            answer_body: Some(pattern.to_owned()),
            ..check()
        };
        test(ok(), body("ready$"), None).await;
        test(
            ok(),
            body("^ready"),
            Some("expected a body with `^ready`, found `version 2, ready`"),
        )
        .await;
        let header = |name: &str, pattern: &str| SmokeCheck {
            answer_headers: vec![(name.to_owned(), pattern.to_owned())],
            ..check()
        };
        test(ok(), header("content-length", "^16$"), None).await;
        test(
            ok(),
            header("x-version", "2"),
            Some("expected a header x-version with `2`, found none"),
        )
        .await;
        test(ok(), header("content-length", "17"), Some("found `16`")).await;
        let quick = SmokeCheck {
            latency_max: Some(Duration::ZERO),
            ..check()
        };
        test(ok(), quick, Some("expected an answer within 0 ms, found")).await;
        let broken = Act::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nye");
        test(broken, check(), Some("the body broke off")).await;
        // What is beyond 64 KiB is read, but not kept.
        test(Act::Flood(200 << 10), body("^x+$"), None).await;
    }

    #[tokio::test]
    async fn the_query_of_a_check_is_sent_and_never_told() {
        let asked = |path: &str| {
            smoke(SmokeCheck {
                path: path.to_owned(),
                ..check()
            })
        };
        let server = Server::start(vec![Act::status(503, ""), Act::Silence]).await;
        let refused = run_at(&[&server], &asked("/health?key=s3cr3t")).await.0;
        assert_eq!(server.take_seen()[0].line, "GET /health?key=s3cr3t HTTP/1.1");
        let impatient = Smoke {
            timeout: Duration::from_millis(100),
            ..asked("/health?key=s3cr3t")
        };
        let late = run_at(&[&server], &impatient).await.0;
        for outcome in [refused, late] {
            let told = format!("{outcome:?}");
            assert!(told.contains("GET /health: ") && !told.contains("s3cr3t"), "{told}");
        }
    }

    #[tokio::test]
    async fn an_expression_that_cannot_be_built_is_an_error() {
        let server = Server::start(vec![]).await;
        for pattern in ["(", "(?:a{1000}){1000}"] {
            let bad = SmokeCheck {
                answer_body: Some(pattern.to_owned()),
                ..check()
            };
            let (outcome, _) = run_at(&[&server], &smoke(bad)).await;
            assert!(
                matches!(&outcome, Outcome::Failed(why) if why.starts_with("the regular expression")),
                "{outcome:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_later_try_may_pass() {
        let server = Server::start(vec![Act::status(503, ""), Act::raw(""), Act::status(200, "")]).await;
        let patient = Smoke {
            attempts: 5,
            ..smoke(check())
        };
        let (outcome, told) = run_at(&[&server], &patient).await;
        assert_eq!(
            outcome,
            Outcome::Passed("1 smoke test passed at 1 endpoint, try 3".to_owned())
        );
        assert_eq!(told.len(), 2);
        assert!(matches!(&told[0], Progress::Retrying(why) if why.starts_with("try 1 of 5: 127.0.0.1:")));
    }

    #[tokio::test]
    async fn every_endpoint_must_pass_in_the_same_try() {
        let well = Server::start(vec![Act::status(200, ""); 4]).await;
        let ill = Server::start(vec![Act::status(500, ""); 2]).await;
        let twice = Smoke {
            attempts: 2,
            ..smoke(check())
        };
        let (outcome, _) = run_at(&[&well, &ill], &twice).await;
        assert!(
            matches!(&outcome, Outcome::Failed(why) if why.contains(ill.authority())),
            "{outcome:?}"
        );
        assert_eq!(well.take_seen().len(), 2);
        let only_first = Smoke {
            endpoints: Some((0, 1)),
            ..smoke(check())
        };
        assert!(matches!(
            run_at(&[&well, &ill], &only_first).await.0,
            Outcome::Passed(_)
        ));
        let nobody = Smoke {
            endpoints: Some((2, 3)),
            ..smoke(check())
        };
        assert!(matches!(run_at(&[&well, &ill], &nobody).await.0, Outcome::Failed(_)));
    }

    #[tokio::test]
    async fn an_endpoint_that_never_answers_costs_the_timeout() {
        let server = Server::start(vec![Act::Silence]).await;
        let quick = Smoke {
            timeout: Duration::from_millis(100),
            ..smoke(check())
        };
        let (outcome, _) = run_at(&[&server], &quick).await;
        assert!(
            matches!(&outcome, Outcome::Failed(why) if why.ends_with("no answer within 100 ms")),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn a_request_says_who_it_is_and_whom_it_means() {
        let server = Server::start(vec![Act::status(200, ""); 2]).await;
        let own = SmokeCheck {
            method: "POST".to_owned(),
            headers: vec![("Host".to_owned(), "own.example".to_owned())],
            body: Some("{}".to_owned()),
            ..check()
        };
        run_at(&[&server], &smoke(check())).await;
        run_at(&[&server], &smoke(own)).await;
        let seen = server.take_seen();
        assert_eq!(seen[0].line, "GET /health HTTP/1.1");
        assert_eq!(seen[0].header("host"), Some("shop.example"));
        assert_eq!(seen[0].header("user-agent"), Some(SMOKE_AGENT));
        assert_eq!(seen[0].header("x-serin-smoke"), Some("true"));
        assert_eq!(seen[1].line, "POST /health HTTP/1.1");
        assert_eq!(seen[1].header("host"), Some("own.example"));
        assert_eq!(&seen[1].body[..], b"{}");
    }
}
