//! One who signs tokens, and the keys of this moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::jwks::Keys;

/// Whose tokens are believed, and where they stand in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerSpec {
    /// The `iss` that a token must have; unique among issuers.
    pub issuer: String,
    /// One of them must be among a token's `aud`; empty: any.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: KeysAt,
    /// The request header that carries a token, lower case; after `Bearer ` in `authorization`.
    pub header: String,
    /// The cookie that carries one where the header does not.
    pub cookie: Option<String>,
    /// How far clocks may be apart. Default 60 s.
    pub leeway: Duration,
}

/// Where the public keys of an issuer are (JWKS, RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeysAt {
    /// A file; watched like the configuration.
    File(PathBuf),
    /// An address that is asked again after `refresh`, and when a token names a key that is not known.
    Url {
        /// `https://`, or `http://` for loopback addresses alone.
        url: String,
        /// Default 5 min.
        refresh: Duration,
    },
}

impl KeysAt {
    /// Whether the keys of `self` and `other` come from the same place, however often they are asked for.
    fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(two)) => one == two,
            (Self::Url { url: one, .. }, Self::Url { url: two, .. }) => one == two,
            (Self::File(_), Self::Url { .. }) | (Self::Url { .. }, Self::File(_)) => false,
        }
    }
}

/// One issuer, and its keys of this moment. It outlives swaps of the table.
#[derive(Debug)]
pub struct Issuer {
    spec: IssuerSpec,
    keys: ArcSwapOption<Keys>,
    /// Rises after each change of the keys.
    generation: AtomicU32,
    missed: AtomicBool,
    bell: Notify,
}

impl Issuer {
    /// Without keys it believes nobody.
    #[must_use]
    pub fn new(spec: IssuerSpec, keys: Option<Arc<Keys>>) -> Self {
        Self {
            spec,
            keys: ArcSwapOption::new(keys),
            generation: AtomicU32::new(0),
            missed: AtomicBool::new(false),
            bell: Notify::new(),
        }
    }

    /// What the file says of it.
    #[must_use]
    pub const fn spec(&self) -> &IssuerSpec {
        &self.spec
    }

    /// The keys of this moment. `None`: there were none so far.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.load_full()
    }

    /// These are its keys from now on. Whether they are others than before.
    pub fn set_keys(&self, keys: Arc<Keys>) -> bool {
        if self.keys.load().as_ref().is_some_and(|known| **known == *keys) {
            return false;
        }
        self.keys.store(Some(keys));
        // After the keys: who has read the new number verifies with the new keys.
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// Rises after each change of the keys: what was verified under another number is verified again.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the keys of `spec` are to be found where these are; then they may stay until they are asked for again.
    #[must_use]
    pub fn shares_keys_with(&self, spec: &IssuerSpec) -> bool {
        self.spec.issuer == spec.issuer && self.spec.keys.is_same_place(&spec.keys)
    }

    /// A token names a key that is not known: perhaps there is a new one.
    pub fn miss(&self) {
        if !self.missed.load(Ordering::Relaxed) && !self.missed.swap(true, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }

    /// Waits until [`Issuer::miss`] was called since the last time.
    pub async fn missed(&self) {
        self.bell.notified().await;
        self.missed.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Issuer, KeysAt};
    use crate::jwt::fixture::{Signer, spec};

    #[test]
    fn only_other_keys_are_a_new_generation() {
        let (one, two) = (Signer::ed25519("one"), Signer::ed25519("two"));
        let issuer = Issuer::new(spec(), None);
        assert!(issuer.keys().is_none());
        assert!(issuer.set_keys(Arc::new(one.keys())));
        let before = issuer.generation();
        assert!(!issuer.set_keys(Arc::new(one.keys())));
        assert_eq!(issuer.generation(), before);
        assert!(issuer.set_keys(Arc::new(two.keys())));
        assert_ne!(issuer.generation(), before);
    }

    #[test]
    fn keys_stay_with_the_place_that_they_came_from() {
        let at = |issuer: &str, url: &str, seconds| {
            let mut spec = spec();
            spec.issuer = issuer.to_owned();
            spec.keys = KeysAt::Url {
                url: url.to_owned(),
                refresh: Duration::from_secs(seconds),
            };
            spec
        };
        let issuer = Issuer::new(at("a", "https://a/k", 1), None);
        assert!(issuer.shares_keys_with(&at("a", "https://a/k", 2)));
        assert!(!issuer.shares_keys_with(&at("a", "https://b/k", 1)));
        assert!(!issuer.shares_keys_with(&at("b", "https://a/k", 1)));
        assert!(!issuer.shares_keys_with(&spec()));
    }

    #[tokio::test]
    async fn a_miss_is_heard_once() {
        let issuer = Issuer::new(spec(), None);
        issuer.miss();
        issuer.miss();
        issuer.missed().await;
        let again = tokio::time::timeout(Duration::ZERO, issuer.missed());
        assert!(again.await.is_err());
        issuer.miss();
        issuer.missed().await;
    }
}
