//! Fetches the keys of issuers that have them at an address: at the start, again after a while, and soon after a token
//! named a key that is not known. What cannot be fetched changes nothing: the last good keys go on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::controller::unix_ms;
use super::view::IssuerView;
use crate::jwt::{Issuer, JWKS_BYTES_MAX, Keys, KeysAt};
use crate::outgoing::{Backoff, Call, Client, End, Rest};

/// For one fetch, all of it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tokens with unknown keys bring about one fetch in this time: anybody can make them up.
const MISS_PAUSE: Duration = Duration::from_secs(10);
/// The first pause after a failure, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Those who fetch, one task for each issuer that has an address.
#[derive(Default)]
pub(super) struct Jwks {
    /// Those that it was made for.
    issuers: Arc<[Arc<Issuer>]>,
    fetchers: Vec<Fetcher>,
}

struct Fetcher {
    issuer: Arc<Issuer>,
    health: Arc<Mutex<Health>>,
    task: AbortHandle,
}

/// What became of the fetches so far.
#[derive(Clone, Debug, Default)]
struct Health {
    fetched_at_ms: Option<u64>,
    /// Of the last one.
    problem: Option<String>,
}

impl Jwks {
    /// From now on the keys of `issuers` are fetched, and of no others.
    pub(super) fn follow(&mut self, issuers: &Arc<[Arc<Issuer>]>) {
        if Arc::ptr_eq(&self.issuers, issuers) {
            return;
        }
        let mut before = std::mem::take(&mut self.fetchers);
        for issuer in &**issuers {
            let KeysAt::Url { url, refresh } = &issuer.spec().keys else {
                continue;
            };
            let known = before.iter().position(|fetcher| Arc::ptr_eq(&fetcher.issuer, issuer));
            let fetcher = known.map(|at| before.swap_remove(at)).unwrap_or_else(|| {
                // An issuer that was edited keeps its keys, and what is known of them.
                let mut same = before
                    .iter()
                    .filter(|fetcher| fetcher.issuer.shares_keys_with(issuer.spec()));
                let health = same.next().map(|fetcher| look(&fetcher.health).clone());
                Fetcher::begin(issuer, url.clone(), *refresh, health.unwrap_or_default())
            });
            self.fetchers.push(fetcher);
        }
        self.issuers = Arc::clone(issuers);
    }

    /// How it stands with the keys of each issuer.
    pub(super) fn views(&self) -> Vec<IssuerView> {
        let view = |issuer: &Arc<Issuer>| {
            let mut fetchers = self.fetchers.iter();
            let fetcher = fetchers.find(|fetcher| Arc::ptr_eq(&fetcher.issuer, issuer));
            let health = fetcher.map(|fetcher| look(&fetcher.health).clone()).unwrap_or_default();
            IssuerView {
                issuer: issuer.spec().issuer.clone(),
                keys: issuer.keys().map_or(0, |keys| keys.count()),
                fetched_at_ms: health.fetched_at_ms,
                problem: health.problem,
            }
        };
        self.issuers.iter().map(view).collect()
    }
}

fn look(health: &Mutex<Health>) -> std::sync::MutexGuard<'_, Health> {
    // Whoever panicked left a whole value.
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetcher {
    fn begin(issuer: &Arc<Issuer>, url: String, refresh: Duration, health: Health) -> Self {
        let health = Arc::new(Mutex::new(health));
        let task = fetch_on(Arc::clone(issuer), url, refresh, Arc::clone(&health));
        Self {
            issuer: Arc::clone(issuer),
            health,
            task: tokio::task::spawn_local(task).abort_handle(),
        }
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fetches until it is aborted.
async fn fetch_on(issuer: Arc<Issuer>, url: String, refresh: Duration, health: Arc<Mutex<Health>>) {
    let (first, cap) = RETRY;
    let mut backoff = Backoff::new(first, cap.min(refresh), fastrand::u64(..));
    let name = &issuer.spec().issuer;
    loop {
        let began = Instant::now();
        let pause = match fetch(&url).await {
            Ok(keys) => {
                backoff.reset();
                let count = keys.count();
                if issuer.set_keys(Arc::new(keys)) {
                    tracing::info!(issuer = name, keys = count, "the keys of an issuer were fetched");
                }
                let now_ms = unix_ms();
                let mut health = look(&health);
                health.fetched_at_ms = Some(now_ms);
                if health.problem.take().is_some() {
                    tracing::info!(issuer = name, "the keys of an issuer can be fetched again");
                }
                // Replicas do not come all at once.
                refresh.mul_f64(0.9 + 0.1 * fastrand::f64())
            }
            Err((problem, retry_after)) => {
                let mut health = look(&health);
                if health.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        issuer = name,
                        problem,
                        "the keys of an issuer cannot be fetched; the last good ones go on"
                    );
                    health.problem = Some(problem);
                }
                backoff.pause(retry_after)
            }
        };
        let missed = async {
            issuer.missed().await;
            sleep_until(began + MISS_PAUSE).await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = missed => {}
        }
    }
}

/// Fetches a set once; or why it cannot be, in words that show no path, and how long the other side wants us to wait.
async fn fetch(url: &str) -> Result<Keys, (String, Option<Duration>)> {
    let call = Call {
        method: "GET",
        url,
        headers: vec![("accept", "application/jwk-set+json, application/json")],
        body: bytes::Bytes::new(),
        timeout: TIMEOUT,
        rest: Rest::Cut,
    };
    // One fetch is one client: minutes lie between them, and the system's roots may change.
    let client = Client::new().keeping(JWKS_BYTES_MAX);
    let answer = client.call(&call).await.map_err(|error| (error.to_string(), None))?;
    if answer.status != 200 {
        return Err((format!("the answer is {}, not 200", answer.status), answer.retry_after));
    }
    let problem = match answer.end {
        End::Whole => None,
        End::Cut => Some(format!("the key set has more than {JWKS_BYTES_MAX} bytes")),
        End::Late => Some(format!("the answer was not over within {} s", TIMEOUT.as_secs())),
        End::Broken(why) => Some(format!("the answer broke off: {why}")),
    };
    match problem {
        Some(problem) => Err((problem, None)),
        None => Keys::parse(&answer.body).map_err(|bad| (bad.to_string(), None)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::{sleep, timeout};

    use super::Jwks;
    use crate::jwt::fixture::{Signer, spec};
    use crate::jwt::{Issuer, IssuerSpec, JWKS_BYTES_MAX, KeysAt};
    use crate::outgoing::fixture::{Act, Server};

    fn at(url: &str, refresh: Duration) -> IssuerSpec {
        let url = url.to_owned();
        IssuerSpec {
            keys: KeysAt::Url { url, refresh },
            ..spec()
        }
    }

    fn issuers(spec: IssuerSpec) -> Arc<[Arc<Issuer>]> {
        [Arc::new(Issuer::new(spec, None))].into()
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.expect("it comes about");
    }

    async fn locally<T>(test: impl Future<Output = T>) -> T {
        LocalSet::new().run_until(test).await
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn keys_are_fetched_at_once_and_again_and_outlive_their_place() {
        locally(async {
            let (one, two) = (Signer::ed25519("one"), Signer::ed25519("two"));
            let script = [one.jwks(), two.jwks()].map(|set| Act::status(200, &set));
            let server = Server::start(script.into()).await;
            let issuers = issuers(at(&server.url("/keys"), Duration::from_millis(20)));
            let mut jwks = Jwks::default();
            jwks.follow(&issuers);
            assert_eq!((jwks.views()[0].keys, jwks.views()[0].fetched_at_ms), (0, None));
            until(|| issuers[0].keys() == Some(Arc::new(one.keys()))).await;
            until(|| issuers[0].keys() == Some(Arc::new(two.keys()))).await;
            // Behind its script the server closes connections.
            until(|| jwks.views()[0].problem.is_some()).await;
            let view = jwks.views().remove(0);
            assert_eq!((view.keys, view.fetched_at_ms.is_some()), (1, true));
            assert_eq!(issuers[0].keys(), Some(Arc::new(two.keys())));
            assert_eq!(
                server.take_seen()[0].header("accept"),
                Some("application/jwk-set+json, application/json")
            );
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_no_key_set_changes_nothing_and_is_told() {
        locally(async {
            let long = " ".repeat(JWKS_BYTES_MAX + 1);
            for (act, expected) in [
                (Act::status(503, "{}"), "the answer is 503, not 200"),
                (Act::status(302, "{}"), "the answer is 302, not 200"),
                (Act::status(200, "<html>"), "it is no key set (JWKS): "),
                (Act::status(200, r#"{"keys":[]}"#), "the key set is empty"),
                (Act::status(200, &long), "the key set has more than 262144 bytes"),
            ] {
                let server = Server::start(vec![act]).await;
                let issuers = issuers(at(&server.url("/secret"), HOUR));
                let mut jwks = Jwks::default();
                jwks.follow(&issuers);
                until(|| jwks.views()[0].problem.is_some()).await;
                let problem = jwks.views().remove(0).problem.unwrap();
                assert!(
                    problem.starts_with(expected) && !problem.contains("secret"),
                    "{problem}"
                );
                assert!(issuers[0].keys().is_none());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn an_issuer_that_was_edited_keeps_what_is_known() {
        locally(async {
            let signer = Signer::ed25519("one");
            let server = Server::start(vec![Act::status(200, &signer.jwks())]).await;
            let before = issuers(at(&server.url("/keys"), HOUR));
            let mut jwks = Jwks::default();
            jwks.follow(&before);
            until(|| before[0].keys().is_some()).await;
            until(|| jwks.views()[0].fetched_at_ms.is_some()).await;
            let mut edited = at(&server.url("/keys"), HOUR);
            edited.audiences.push("more".to_owned());
            let after = issuers(edited);
            jwks.follow(&after);
            assert!(jwks.views()[0].fetched_at_ms.is_some());
            jwks.follow(&Arc::default());
            assert!(jwks.views().is_empty() && jwks.fetchers.is_empty());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_brings_about_a_fetch_soon_but_not_at_once() {
        locally(async {
            let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
            let script = [old.jwks(), new.jwks()].map(|set| Act::status(200, &set));
            let server = Server::start(script.into()).await;
            let issuers = issuers(at(&server.url("/keys"), HOUR));
            let mut jwks = Jwks::default();
            jwks.follow(&issuers);
            until(|| issuers[0].keys().is_some()).await;
            let fetched = tokio::time::Instant::now();
            issuers[0].miss();
            until(|| issuers[0].keys() == Some(Arc::new(new.keys()))).await;
            let took = fetched.elapsed();
            assert!(
                took >= Duration::from_secs(9) && took < Duration::from_secs(15),
                "{took:?}"
            );
        })
        .await;
    }
}
