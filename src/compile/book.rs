//! Which recorder, breaker and endpoint belongs to which name, for as long as some table uses it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config;
use crate::jwt::{Issuer, IssuerSpec, Keys};
use crate::measure::{Recorder, RecorderKey};
use crate::name::Name;
use crate::route::{Breaker, Curfew, Endpoint, EndpointId, KeySpec, Table};

/// Identities that outlive tables.
#[derive(Debug)]
pub struct Book {
    pub(super) workers: usize,
    pub(super) recorders: HashMap<RecorderKey, Arc<Recorder>>,
    breakers: HashMap<Name, Arc<Breaker>>,
    /// By route and variant.
    curfews: HashMap<(Name, Name), Arc<Curfew>>,
    pub(super) endpoints: HashMap<(Name, String), Arc<Endpoint>>,
    /// Most routes use one of a few keys, which then stays in the caches.
    keys: HashSet<Arc<KeySpec>>,
    issuers: HashMap<IssuerSpec, Arc<Issuer>>,
    /// Signs sticky cookies where the file has no secret.
    cookie_secret: Vec<u8>,
    /// Never handed out again: a pool may still know an endpoint that the book has forgotten.
    next_endpoint: EndpointId,
}

impl Book {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            recorders: HashMap::new(),
            breakers: HashMap::new(),
            curfews: HashMap::new(),
            endpoints: HashMap::new(),
            keys: HashSet::new(),
            issuers: HashMap::new(),
            cookie_secret: Vec::new(),
            next_endpoint: EndpointId(0),
        }
    }

    /// The recorder for `key`, made on first use.
    pub fn recorder(&mut self, key: &RecorderKey) -> Arc<Recorder> {
        if let Some(known) = self.recorders.get(key) {
            return Arc::clone(known);
        }
        let recorder = Arc::new(Recorder::new(key.clone(), self.workers));
        self.recorders.insert(key.clone(), Arc::clone(&recorder));
        recorder
    }

    /// The recorder for `key`, if there is one.
    #[must_use]
    pub fn known_recorder(&self, key: &RecorderKey) -> Option<&Arc<Recorder>> {
        self.recorders.get(key)
    }

    /// The breaker of `rollout`, made on first use (closed circuit: it admits).
    pub fn breaker(&mut self, rollout: &Name) -> Arc<Breaker> {
        let breaker = self.breakers.entry(rollout.clone());
        Arc::clone(breaker.or_insert_with(|| Arc::new(Breaker::new(true))))
    }

    /// The curfew of a variant, made on first use (none is set).
    pub(super) fn curfew(&mut self, route: &Name, variant: &Name) -> Arc<Curfew> {
        let curfew = self.curfews.entry((route.clone(), variant.clone()));
        Arc::clone(curfew.or_default())
    }

    /// The endpoint at `address` of `backend`, made on first use.
    pub(super) fn endpoint(&mut self, backend: &Name, address: &config::Endpoint) -> Arc<Endpoint> {
        let ip: Option<IpAddr> = address.host.parse().ok();
        let socket = ip.map(|ip| (ip, address.port).into());
        let authority = match socket {
            Some(socket) => SocketAddr::to_string(&socket),
            None => format!("{}:{}", address.host, address.port),
        };
        let (workers, next) = (self.workers, &mut self.next_endpoint);
        let endpoint = self.endpoints.entry((backend.clone(), authority));
        let endpoint = endpoint.or_insert_with_key(|(backend, authority)| {
            let id = *next;
            next.0 += 1;
            Arc::new(Endpoint::new(
                id,
                backend.clone(),
                authority.as_str().into(),
                socket,
                workers,
            ))
        });
        Arc::clone(endpoint)
    }

    /// The one copy of `spec` that routes share.
    pub(super) fn key(&mut self, spec: &KeySpec) -> Arc<KeySpec> {
        if let Some(known) = self.keys.get(spec) {
            return Arc::clone(known);
        }
        let key = Arc::new(spec.clone());
        self.keys.insert(Arc::clone(&key));
        key
    }

    /// `secret` signs sticky cookies from now on, where the file has none.
    pub fn set_cookie_secret(&mut self, secret: Vec<u8>) {
        self.cookie_secret = secret;
    }

    pub(super) fn cookie_secret(&self) -> &[u8] {
        &self.cookie_secret
    }

    /// The issuer that `spec` names, made on first use. `read` are its keys, where they stand in a file: with others
    /// than before it is another one, so that each table has the keys that it was made with. Keys that were fetched
    /// stay while they are still to be found where they came from.
    pub(super) fn issuer(&mut self, spec: &IssuerSpec, read: Option<&Arc<Keys>>) -> Arc<Issuer> {
        let known = self.issuers.get(spec);
        if let Some(known) = known.filter(|known| read.is_none() || known.keys().as_ref() == read) {
            return Arc::clone(known);
        }
        let fetched = || {
            let mut others = self.issuers.values();
            others.find(|other| other.shares_keys_with(spec))?.keys()
        };
        let keys = read.map(Arc::clone).or_else(fetched);
        let issuer = Arc::new(Issuer::new(spec.clone(), keys));
        self.issuers.insert(spec.clone(), Arc::clone(&issuer));
        issuer
    }

    pub(super) fn forget_all_but(&mut self, table: &Table) {
        let variants = || table.routes.iter().flat_map(|route| &route.variants);
        let cohorts = table.routes.iter().flat_map(|route| {
            let variants = 0..route.variants.len();
            let cohorts = route.flag.cohorts.iter();
            cohorts.flat_map(move |cohort| variants.clone().filter_map(|variant| cohort.recorder(variant)))
        });
        let recorders = variants().map(|variant| &variant.recorder).chain(cohorts);
        let recorders: HashSet<_> = recorders.map(Arc::as_ptr).collect();
        let breakers: HashSet<_> = variants()
            .filter_map(|variant| Some(Arc::as_ptr(&variant.breaker.as_ref()?.0)))
            .collect();
        let endpoints = table.backends.iter().flat_map(|backend| &backend.endpoints);
        let endpoints: HashSet<_> = endpoints.map(|endpoint| endpoint.id).collect();
        self.recorders
            .retain(|_, recorder| recorders.contains(&Arc::as_ptr(recorder)));
        self.breakers
            .retain(|_, breaker| breakers.contains(&Arc::as_ptr(breaker)));
        // Also those that exchanges still hold: their side may come back.
        self.curfews.retain(|_, curfew| Arc::strong_count(curfew) > 1);
        self.keys.retain(|key| Arc::strong_count(key) > 1);
        self.issuers.retain(|_, issuer| Arc::strong_count(issuer) > 1);
        self.endpoints.retain(|_, endpoint| endpoints.contains(&endpoint.id));
    }
}
