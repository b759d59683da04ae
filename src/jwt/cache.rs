//! Tokens that were verified lately, and those that were refused: a signature is looked at once and not per request.
//!
//! One for each worker, without locks. A hit costs a hash and a comparison of the token, and allocates nothing.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashTable;

use super::budget::Budget;
use super::issuer::Issuer;
use super::place::find;
use super::token::{Refused, TOKEN_BYTES_MAX, Unverified, Verified};
use crate::head::RequestHead;
use crate::values::Values;

/// Tokens that are remembered,
const TOKENS_MAX: usize = 1_024;
/// and their bytes, those of their claims among them.
const BYTES_MAX: usize = 4 << 20;
/// What an entry takes beside its texts, roughly.
const ENTRY_BYTES: usize = 128;
/// What a claim takes beside its texts, roughly.
const CLAIM_BYTES: usize = 32;
/// Refusals that are remembered.
const REFUSED_MAX: usize = 1_024;
/// For so many seconds.
const REFUSED_FOR_S: u64 = 5;

/// Who somebody is, by tokens that were verified.
pub struct Cache {
    hasher: RandomState,
    /// Those of the last question.
    issuers: Arc<[Arc<Issuer>]>,
    entries: Vec<Option<Entry>>,
    /// Empty ones.
    free: Vec<u16>,
    /// Where in `entries` a token is.
    index: HashTable<u16>,
    bytes: usize,
    /// The entry that is asked first to give way.
    hand: usize,
    refused: Box<[RefusedEntry]>,
    budget: Budget,
}

/// A request whose token is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'r> {
    /// Those of the table.
    pub issuers: &'r Arc<[Arc<Issuer>]>,
    /// What may carry a token.
    pub head: &'r RequestHead,
    /// Who pays for looking at it, should it be bad.
    pub client: IpAddr,
    /// Unix seconds.
    pub now_s: u64,
}

struct Entry {
    hash: u64,
    token: Box<[u8]>,
    claims: Rc<Values>,
    issuer: Arc<Issuer>,
    generation: u32,
    ends_s: u64,
    /// Since it was last asked to give way.
    used: bool,
}

/// A token that was refused, known by its hash alone: no one can aim at another's, since the hash is seeded.
#[derive(Clone, Copy, Default)]
struct RefusedEntry {
    hash: u64,
    until_s: u64,
    /// Whose it claimed to be, and the generation of their keys. `None`: nobody's that we know.
    by: Option<(usize, u32)>,
    /// `None`: nothing was refused here so far.
    why: Option<Refused>,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// Remembers nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            issuers: Arc::default(),
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            bytes: 0,
            hand: 0,
            refused: [RefusedEntry::default(); REFUSED_MAX].into(),
            budget: Budget::new(),
        }
    }

    /// What the token of a request says, of the first issuer whose good token it carries. `None`: it carries none; then
    /// `tell` hears of each token that it does carry why that is not believed, remembered or not.
    pub fn claims(&mut self, asked: &Asked<'_>, mut tell: impl FnMut(Refused)) -> Option<Rc<Values>> {
        if !Arc::ptr_eq(&self.issuers, asked.issuers) {
            self.meet(asked.issuers);
        }
        // Issuers that share a place share its token, which is looked up once.
        let mut last: (&[u8], Option<usize>) = (&[], None);
        let mut is_misplaced = false;
        for issuer in &**asked.issuers {
            let Some(token) = find(issuer.spec(), asked.head) else {
                continue;
            };
            let at = if std::ptr::eq(token, last.0) {
                last.1
            } else {
                self.believed(token, asked).map_err(&mut tell).ok()
            };
            last = (token, at);
            let Some(entry) = at.and_then(|at| self.entries[at].as_ref()) else {
                continue;
            };
            if Arc::ptr_eq(&entry.issuer, issuer) {
                return Some(Rc::clone(&entry.claims));
            }
            is_misplaced = true;
        }
        if is_misplaced {
            tell(Refused::Issuer);
        }
        None
    }

    /// Tokens of issuers that are no more among `issuers` are forgotten; what was refused has another chance.
    fn meet(&mut self, issuers: &Arc<[Arc<Issuer>]>) {
        for at in 0..self.entries.len() {
            let is_gone = |entry: &Entry| !issuers.iter().any(|issuer| Arc::ptr_eq(issuer, &entry.issuer));
            if self.entries[at].as_ref().is_some_and(is_gone) {
                self.remove(at);
            }
        }
        self.refused.fill(RefusedEntry::default());
        self.issuers = Arc::clone(issuers);
    }

    /// The entry of `token`, if it is to be believed now.
    fn believed(&mut self, token: &[u8], asked: &Asked<'_>) -> Result<usize, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Large);
        }
        let hash = self.hasher.hash_one(token);
        let entries = &mut self.entries;
        let known = self.index.find(hash, |&at| is(&entries[usize::from(at)], hash, token));
        if let Some(&at) = known {
            let at = usize::from(at);
            if let Some(entry) = &mut entries[at]
                && asked.now_s < entry.ends_s
                && entry.generation == entry.issuer.generation()
            {
                entry.used = true;
                return Ok(at);
            }
            self.remove(at);
        }
        if let Some(why) = self.known_refusal(hash, asked.now_s) {
            return Err(why);
        }
        match self.verify(hash, token, asked) {
            Ok(entry) => Ok(self.insert(entry, asked.now_s)),
            Err(No::Remember(why, by)) => {
                self.refused[slot(hash)] = RefusedEntry {
                    hash,
                    until_s: asked.now_s.saturating_add(REFUSED_FOR_S),
                    by,
                    why: Some(why),
                };
                Err(why)
            }
            Err(No::AskAgain) => Err(Refused::Flood),
        }
    }

    /// Why the token with this hash was refused lately, if that still holds.
    fn known_refusal(&self, hash: u64, now_s: u64) -> Option<Refused> {
        let refused = &self.refused[slot(hash)];
        let same_keys = |(by, generation): (usize, u32)| self.issuers[by].generation() == generation;
        let holds = refused.hash == hash && now_s < refused.until_s && refused.by.is_none_or(same_keys);
        refused.why.filter(|_| holds)
    }

    fn verify(&mut self, hash: u64, token: &[u8], asked: &Asked<'_>) -> Result<Entry, No> {
        let unverified = Unverified::read(token).map_err(|why| No::Remember(why, None))?;
        let mut issuers = self.issuers.iter();
        let by = issuers.position(|issuer| unverified.issuer() == Some(&issuer.spec().issuer));
        let by = by.ok_or(No::Remember(Refused::Issuer, None))?;
        let issuer = &self.issuers[by];
        // Before the keys: should they change in between, this is looked at again.
        let generation = issuer.generation();
        if !self.budget.is_left(asked.client, asked.now_s, &self.hasher) {
            return Err(No::AskAgain);
        }
        match unverified.verify(issuer.spec(), issuer.keys().as_deref(), asked.now_s) {
            Ok(Verified { claims, ends_s }) => Ok(Entry {
                hash,
                token: token.into(),
                claims: Rc::new(claims),
                issuer: Arc::clone(issuer),
                generation,
                ends_s,
                used: false,
            }),
            Err(why) => {
                match why {
                    Refused::UnknownKey => issuer.miss(),
                    Refused::Signature => self.budget.spend(asked.client, &self.hasher),
                    _ => {}
                }
                Err(No::Remember(why, Some((by, generation))))
            }
        }
    }

    /// Makes room for `entry`, and takes it in. Its place.
    fn insert(&mut self, entry: Entry, now_s: u64) -> usize {
        let bytes = entry.bytes();
        while !self.index.is_empty() && (self.index.len() >= TOKENS_MAX || self.bytes + bytes > BYTES_MAX) {
            self.evict(now_s);
        }
        self.bytes += bytes;
        let hash = entry.hash;
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.entries.push(None);
                u16::try_from(self.entries.len() - 1).expect("their number is bounded")
            }
        };
        self.entries[usize::from(at)] = Some(entry);
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |&at| {
            entries[usize::from(at)].as_ref().map_or(0, |entry| entry.hash)
        });
        usize::from(at)
    }

    /// The first that has ended, or was not used since the hand last passed it, gives way.
    fn evict(&mut self, now_s: u64) {
        loop {
            self.hand = (self.hand + 1) % self.entries.len();
            match &mut self.entries[self.hand] {
                Some(entry) if entry.used && now_s < entry.ends_s => entry.used = false,
                Some(_) => return self.remove(self.hand),
                None => {}
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(entry) = self.entries[at].take() else { return };
        self.bytes -= entry.bytes();
        let place = u16::try_from(at).expect("their number is bounded");
        if let Ok(found) = self.index.find_entry(entry.hash, |&other| other == place) {
            found.remove();
        }
        self.free.push(place);
    }
}

/// Why there is no entry.
enum No {
    /// The token is no good, and will not be soon.
    Remember(Refused, Option<(usize, u32)>),
    /// It was not looked at.
    AskAgain,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.token.len() + self.claims.bytes() + CLAIM_BYTES * self.claims.len()
    }
}

fn is(entry: &Option<Entry>, hash: u64, token: &[u8]) -> bool {
    entry
        .as_ref()
        .is_some_and(|entry| entry.hash == hash && *entry.token == *token)
}

fn slot(hash: u64) -> usize {
    #[allow(clippy::cast_possible_truncation)] // any bits will do
    let bits = hash as usize;
    bits % REFUSED_MAX
}

impl fmt::Debug for Cache {
    /// Numbers alone: a token is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("tokens", &self.index.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::rc::Rc;
    use std::sync::Arc;

    use serde_json::{Value as Json, json};

    use super::{Asked, BYTES_MAX, Cache, Issuer, REFUSED_FOR_S, TOKENS_MAX};
    use crate::head::{HeadBuilder, Method, RequestHead, Version};
    use crate::jwt::fixture::{NOW_S, Signer, claims, spec};
    use crate::jwt::{IssuerSpec, KeysAt, Refused};

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn head(token: &str) -> RequestHead {
        let mut head = HeadBuilder::default();
        head.field(b"authorization", format!("Bearer {token}").as_bytes());
        head.request(Method::Get, Version::Http11, "h", "/")
    }

    fn issuers(specs: impl IntoIterator<Item = (IssuerSpec, Signer)>) -> Arc<[Arc<Issuer>]> {
        let issuer = |(spec, signer): (IssuerSpec, Signer)| Arc::new(Issuer::new(spec, Some(Arc::new(signer.keys()))));
        specs.into_iter().map(issuer).collect()
    }

    struct Stage {
        cache: Cache,
        issuers: Arc<[Arc<Issuer>]>,
        now_s: u64,
        /// What was told of the last token.
        told: Vec<Refused>,
    }

    impl Stage {
        fn of(issuers: Arc<[Arc<Issuer>]>) -> Self {
            let cache = Cache::new();
            let now_s = NOW_S;
            Self {
                cache,
                issuers,
                now_s,
                told: Vec::new(),
            }
        }

        fn ask(&mut self, token: &str) -> Option<String> {
            self.told.clear();
            let asked = Asked {
                issuers: &self.issuers,
                head: &head(token),
                client: CLIENT,
                now_s: self.now_s,
            };
            let claims = self.cache.claims(&asked, |why| self.told.push(why))?;
            claims.all("sub").next().map(str::to_owned)
        }

        fn entry(&self, sub: &str) -> Option<Rc<crate::values::Values>> {
            let mut entries = self.cache.entries.iter().flatten();
            let entry = entries.find(|entry| entry.claims.all("sub").next() == Some(sub))?;
            Some(Rc::clone(&entry.claims))
        }
    }

    fn of(sub: &str) -> Json {
        let mut claims = claims();
        claims["sub"] = json!(sub);
        claims
    }

    #[test]
    fn a_token_is_verified_once_and_until_it_ends() {
        let signer = Signer::ed25519("k");
        let token = signer.token(&claims());
        let mut stage = Stage::of(issuers([(spec(), signer)]));
        assert_eq!(stage.ask(&token).as_deref(), Some("alice"));
        let first = stage.entry("alice").unwrap();
        assert_eq!(stage.ask(&token).as_deref(), Some("alice"));
        assert!(Rc::ptr_eq(&first, &stage.entry("alice").unwrap()));
        stage.now_s += 359;
        assert_eq!(stage.ask(&token).as_deref(), Some("alice"));
        stage.now_s += 1;
        assert_eq!(stage.ask(&token), None);
        assert_eq!((stage.cache.index.len(), stage.cache.bytes), (0, 0));
    }

    #[test]
    fn keys_that_change_are_asked_at_once() {
        let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
        let (before, after) = (old.token(&of("before")), new.token(&of("after")));
        let keys = Arc::new(new.keys());
        let mut stage = Stage::of(issuers([(spec(), old)]));
        assert_eq!(stage.ask(&before).as_deref(), Some("before"));
        assert_eq!(stage.ask(&after), None);
        assert!(stage.issuers[0].set_keys(keys));
        assert_eq!(stage.ask(&before), None);
        assert_eq!(stage.ask(&after).as_deref(), Some("after"));
    }

    #[test]
    fn what_was_refused_has_another_chance_with_other_issuers_or_later() {
        let signer = Signer::ed25519("k");
        let mut late = claims();
        late["nbf"] = json!(NOW_S + 61);
        let token = signer.token(&late);
        let mut stage = Stage::of(issuers([(spec(), signer)]));
        assert_eq!(stage.ask(&token), None);
        assert_eq!(stage.told, [Refused::NotYet]);
        stage.now_s += 1;
        assert_eq!(stage.ask(&token), None, "remembered");
        assert_eq!(stage.told, [Refused::NotYet]);
        stage.now_s += REFUSED_FOR_S;
        assert_eq!(stage.ask(&token).as_deref(), Some("alice"));

        let (one, other) = (Signer::ed25519("k"), Signer::ed25519("k"));
        let token = other.token(&claims());
        let mut stage = Stage::of(issuers([(spec(), one)]));
        assert_eq!(stage.ask(&token), None);
        assert_eq!(stage.told, [Refused::Signature]);
        stage.issuers = issuers([(spec(), other)]);
        assert_eq!(stage.ask(&token).as_deref(), Some("alice"));
        assert_eq!(stage.told, []);
    }

    #[test]
    fn issuers_that_share_a_place_are_told_apart_by_their_name() {
        let (one, two) = (Signer::ed25519("k"), Signer::p256("k"));
        let mut other = spec();
        other.issuer = "https://other.example.com".to_owned();
        let mut theirs = of("bob");
        theirs["iss"] = json!(other.issuer);
        let tokens = [one.token(&claims()), two.token(&theirs), one.token(&theirs)];
        let mut stage = Stage::of(issuers([(spec(), one), (other, two)]));
        for _ in 0..2 {
            assert_eq!(stage.ask(&tokens[0]).as_deref(), Some("alice"));
            assert_eq!(stage.ask(&tokens[1]).as_deref(), Some("bob"));
            assert_eq!(stage.told, []);
            assert_eq!(stage.ask(&tokens[2]), None);
            assert_eq!(stage.told, [Refused::Algorithm], "once, though two issuers look there");
        }
    }

    #[test]
    fn a_token_counts_at_its_issuers_own_place_alone() {
        let (one, two) = (Signer::ed25519("k"), Signer::ed25519("k"));
        let mut other = spec();
        other.issuer = "https://other.example.com".to_owned();
        other.header = "x-token".to_owned();
        let mut theirs = claims();
        theirs["iss"] = json!(other.issuer);
        let token = two.token(&theirs);
        let mut stage = Stage::of(issuers([(spec(), one), (other, two)]));
        for _ in 0..2 {
            assert_eq!(stage.ask(&token), None);
            assert_eq!(stage.told, [Refused::Issuer]);
        }
    }

    #[test]
    fn a_flood_of_good_tokens_takes_bounded_room_and_spares_those_in_use() {
        let signer = Signer::ed25519("k");
        let used = signer.token(&of("used"));
        let tokens: Vec<_> = (0..2 * TOKENS_MAX)
            .map(|n| signer.token(&of(&format!("user-{n}"))))
            .collect();
        let mut stage = Stage::of(issuers([(spec(), signer)]));
        stage.ask(&used).unwrap();
        let first = stage.entry("used").unwrap();
        for token in &tokens {
            assert!(stage.ask(token).is_some() && stage.ask(&used).is_some());
            assert!(stage.cache.index.len() <= TOKENS_MAX);
        }
        assert!(Rc::ptr_eq(&first, &stage.entry("used").unwrap()));
        assert_eq!(stage.cache.entries.len(), TOKENS_MAX);
    }

    #[test]
    fn large_claims_take_bounded_room() {
        let signer = Signer::ed25519("k");
        let mut stage = Stage::of(issuers([(spec(), signer.clone())]));
        for n in 0..100 {
            let mut claims = of(&format!("user-{n}"));
            claims["n".repeat(60)] = json!(vec![n; 900]);
            assert!(stage.ask(&signer.token(&claims)).is_some());
            assert!(stage.cache.bytes <= BYTES_MAX);
        }
        assert!(stage.cache.index.len() < 100);
    }

    #[tokio::test]
    async fn an_unknown_key_is_told_to_those_who_fetch_keys() {
        let signer = Signer::ed25519("new");
        let mut at = spec();
        at.keys = KeysAt::Url {
            url: "https://id.example.com/keys".to_owned(),
            refresh: std::time::Duration::from_secs(300),
        };
        let mut stage = Stage::of(issuers([(at, Signer::ed25519("old"))]));
        assert_eq!(stage.ask(&signer.token(&claims())), None);
        stage.issuers[0].missed().await;
    }

    #[test]
    fn bad_signatures_are_looked_at_a_bounded_number_of_times() {
        let (signer, forger) = (Signer::ed25519("k"), Signer::ed25519("k"));
        let known = signer.token(&of("known"));
        let new = signer.token(&of("new"));
        let mut stage = Stage::of(issuers([(spec(), signer)]));
        assert!(stage.ask(&known).is_some());
        for n in 0..30 {
            assert_eq!(stage.ask(&forger.token(&of(&format!("eve-{n}")))), None);
        }
        assert!(stage.ask(&known).is_some());
        assert_eq!(stage.ask(&new), None, "this client has spent its share");
        assert_eq!(stage.told, [Refused::Flood]);
        stage.now_s += 1;
        assert!(stage.ask(&new).is_some());
    }
}
