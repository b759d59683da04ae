//! The endpoints of a backend, and the next one to use.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::name::Name;
use crate::proxy_protocol::ProxyVersion;
use crate::tls;

/// How the next endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadBalancing {
    /// Of two at random the one with fewer requests in flight.
    #[default]
    LeastRequest,
    /// Each in turn.
    RoundRobin,
}

/// What is spoken on connections to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge in clear.
    Http2,
}

/// A number that stays with an endpoint for as long as the process runs; pools hang on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// One address of a backend, with what each worker has open there.
#[derive(Debug)]
pub struct Endpoint {
    /// Stable over swaps.
    pub id: EndpointId,
    /// The backend it belongs to.
    pub backend: Name,
    /// `host:port`, as a `Host` header or a resolver wants it.
    pub authority: Arc<str>,
    /// `None`: a DNS name, looked up at each connect.
    pub address: Option<SocketAddr>,
    /// Requests so far, until they are as many as warm it up; hardly ever written after that.
    warmed: AtomicU32,
    cells: Box<[EndpointCell]>,
}

/// What one worker has open to one endpoint. That worker alone writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointCell {
    in_flight: AtomicU32,
    connections: AtomicU32,
    idle: AtomicU32,
    failures: AtomicU64,
    /// When the log last had a warning of it, in worker microseconds; 0: never.
    warned_us: AtomicU64,
}

impl Endpoint {
    /// An endpoint with nothing open.
    #[must_use]
    pub fn new(
        id: EndpointId,
        backend: Name,
        authority: Arc<str>,
        address: Option<SocketAddr>,
        workers: usize,
    ) -> Self {
        Self {
            id,
            backend,
            authority,
            address,
            warmed: AtomicU32::new(0),
            cells: (0..workers).map(|_| EndpointCell::default()).collect(),
        }
    }

    /// The cell that `worker` writes.
    #[must_use]
    pub fn cell(&self, worker: usize) -> &EndpointCell {
        &self.cells[worker]
    }

    /// Whether the request that is about to be sent here is one of the first `warm_up`, and counts it
    /// as such. One load once the endpoint is warm.
    #[must_use]
    pub fn warms_up(&self, warm_up: u32) -> bool {
        self.warmed.load(Ordering::Relaxed) < warm_up && self.warmed.fetch_add(1, Ordering::Relaxed) < warm_up
    }

    /// A new trial begins: its first requests warm it up again.
    pub fn warm_up_again(&self) {
        self.warmed.store(0, Ordering::Relaxed);
    }

    /// Exchanges open, all workers together.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.cells.iter().map(EndpointCell::in_flight).sum()
    }

    /// Connections open (idle ones too), all workers together.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.cells
            .iter()
            .map(|cell| cell.connections.load(Ordering::Relaxed))
            .sum()
    }

    /// Exchanges that failed by its fault, all workers together.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.failures.load(Ordering::Relaxed))
            .sum()
    }

    /// Idle connections, all workers together.
    #[must_use]
    pub fn idle(&self) -> u32 {
        self.cells.iter().map(|cell| cell.idle.load(Ordering::Relaxed)).sum()
    }
}

/// Between two warnings of one endpoint.
const WARN_EVERY_US: u64 = 1_000_000;

impl EndpointCell {
    /// Exchanges this worker has open there.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// An exchange began (+1) or ended (-1).
    pub fn add_in_flight(&self, change: i32) {
        add(&self.in_flight, change);
    }

    /// A connection opened (+1) or closed (-1).
    pub fn add_connections(&self, change: i32) {
        add(&self.connections, change);
    }

    /// A connection became idle (+1) or ceased to be (-1).
    pub fn add_idle(&self, change: i32) {
        add(&self.idle, change);
    }

    /// Whether the log may have one more warning of the endpoint from this worker: at most one each second. Then it
    /// has had one. The endpoint's own, so that one that is bad all the time does not hide another.
    #[must_use]
    pub fn may_warn(&self, now_us: u64) -> bool {
        let before_us = self.warned_us.load(Ordering::Relaxed);
        let may = before_us == 0 || now_us.saturating_sub(before_us) >= WARN_EVERY_US;
        if may {
            self.warned_us.store(now_us.max(1), Ordering::Relaxed);
        }
        may
    }

    /// An exchange failed by the endpoint's fault.
    pub fn add_failure(&self) {
        self.failures
            .store(self.failures.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// A named version of a service.
#[derive(Debug)]
pub struct Backend {
    /// Its name.
    pub name: Name,
    /// At least one.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// How the next endpoint is picked.
    pub load_balancing: LoadBalancing,
    /// Exchanges at once, all workers together.
    pub max_in_flight: u32,
    /// Open connections, all workers together.
    pub max_connections: u32,
    /// For a new connection, its TLS handshake included.
    pub connect_timeout: Duration,
    /// What is spoken on its connections.
    pub protocol: BackendProtocol,
    /// Streams on one HTTP/2 connection.
    pub max_streams: u32,
    /// For TLS; `None`: clear text.
    pub tls: Option<Arc<tls::Upstream>>,
    /// Each connection begins with the client's address, and serves that client alone.
    pub proxy_protocol: Option<ProxyVersion>,
    /// It may lead to link-local addresses, and to `admin`.
    pub allow_internal: bool,
    /// Where the admin API of this process listens; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    desks: Box<[Desk]>,
    /// How many workers bear more than their part of `max_in_flight`.
    crowded: AtomicU32,
}

/// What is asked of a backend, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendSettings {
    /// How the next endpoint is picked.
    pub load_balancing: LoadBalancing,
    /// Exchanges at once, all workers together.
    pub max_in_flight: u32,
    /// Open connections, all workers together.
    pub max_connections: u32,
    /// For a new connection, its TLS handshake included.
    pub connect_timeout: Duration,
    /// What is spoken on its connections.
    pub protocol: BackendProtocol,
    /// Streams on one HTTP/2 connection.
    pub max_streams: u32,
    /// For TLS; `None`: clear text.
    pub tls: Option<Arc<tls::Upstream>>,
    /// Each connection begins with the client's address, and serves that client alone.
    pub proxy_protocol: Option<ProxyVersion>,
    /// It may lead to link-local addresses, and to `admin`.
    pub allow_internal: bool,
    /// Where the admin API of this process listens; `None`: nowhere.
    pub admin: Option<SocketAddr>,
}

impl Default for BackendSettings {
    /// What a file says that says nothing.
    fn default() -> Self {
        Self {
            load_balancing: LoadBalancing::default(),
            max_in_flight: 65_536,
            max_connections: 65_536,
            connect_timeout: Duration::from_secs(1),
            protocol: BackendProtocol::default(),
            max_streams: 100,
            tls: None,
            proxy_protocol: None,
            allow_internal: false,
            admin: None,
        }
    }
}

/// Where one worker picks. That worker alone writes.
#[derive(Debug)]
#[repr(align(128))]
struct Desk {
    /// Where round robin stands.
    turn: AtomicU32,
    /// Whether this worker counts in `Backend::crowded`.
    crowded: AtomicBool,
}

impl Backend {
    /// A backend whose endpoints may already bear requests, picked from by an older table.
    ///
    /// # Panics
    /// Without endpoints or workers.
    #[must_use]
    pub fn new(name: Name, endpoints: Vec<Arc<Endpoint>>, settings: BackendSettings, workers: usize) -> Self {
        assert!(
            !endpoints.is_empty() && workers > 0,
            "a backend has endpoints and workers"
        );
        let part = settings.max_in_flight as usize / workers;
        let desk = |worker: usize| Desk {
            // The workers begin at different endpoints, or the first would get all first requests.
            turn: AtomicU32::new(worker as u32),
            crowded: AtomicBool::new(own_in_flight(&endpoints, worker) as usize >= part),
        };
        let desks: Box<[Desk]> = (0..workers).map(desk).collect();
        let crowded = desks.iter().filter(|desk| desk.crowded.load(Ordering::Relaxed));
        Self {
            crowded: AtomicU32::new(crowded.count() as u32),
            name,
            load_balancing: settings.load_balancing,
            max_in_flight: settings.max_in_flight,
            max_connections: settings.max_connections,
            connect_timeout: settings.connect_timeout,
            protocol: settings.protocol,
            max_streams: settings.max_streams,
            tls: settings.tls,
            proxy_protocol: settings.proxy_protocol,
            allow_internal: settings.allow_internal,
            admin: settings.admin,
            desks,
            endpoints: endpoints.into(),
        }
    }

    /// Which endpoint of those `among` which may be used (indexes; at least one) `worker` should use; `None`
    /// when the backend bears all the requests it may. `draw` is uniform; it may be the one that chose the
    /// variant. Costs a load for each endpoint; only near the limit one for each endpoint and worker.
    ///
    /// Requests in flight of *this* worker decide between endpoints: others' counters are written
    /// all the time and would be fetched from their caches for each request. Picks by several
    /// workers at the same instant may exceed the limit by their number less one.
    ///
    /// # Panics
    /// When the range is empty or goes beyond the endpoints.
    #[must_use]
    pub fn pick(&self, worker: usize, draw: u64, among: &Range<usize>) -> Option<&Arc<Endpoint>> {
        if !self.has_room(worker) {
            return None;
        }
        let endpoints = &self.endpoints[among.clone()];
        let count = endpoints.len();
        let index = match self.load_balancing {
            _ if count == 1 => 0,
            LoadBalancing::LeastRequest => {
                let [first, second] = two_of(count, draw);
                let in_flight = |index: usize| endpoints[index].cell(worker).in_flight();
                if in_flight(second) < in_flight(first) {
                    second
                } else {
                    first
                }
            }
            LoadBalancing::RoundRobin => {
                let turn = &self.desks[worker].turn;
                let now = turn.load(Ordering::Relaxed);
                turn.store(now.wrapping_add(1), Ordering::Relaxed);
                now as usize % count
            }
        };
        Some(&endpoints[index])
    }

    /// Exchanges open, all workers together.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.endpoints.iter().map(|endpoint| endpoint.in_flight()).sum()
    }

    /// Whether one more exchange is within the limit. While every worker bears less than its part
    /// of the limit, so do all together, and nobody needs to add up.
    fn has_room(&self, worker: usize) -> bool {
        let own = own_in_flight(&self.endpoints, worker);
        let crowded = own as usize >= self.max_in_flight as usize / self.desks.len();
        let desk = &self.desks[worker];
        if desk.crowded.load(Ordering::Relaxed) != crowded {
            desk.crowded.store(crowded, Ordering::Relaxed);
            if crowded {
                self.crowded.fetch_add(1, Ordering::Relaxed);
            } else {
                self.crowded.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.crowded.load(Ordering::Relaxed) == 0 || self.in_flight() < self.max_in_flight
    }
}

fn own_in_flight(endpoints: &[Arc<Endpoint>], worker: usize) -> u32 {
    endpoints.iter().map(|endpoint| endpoint.cell(worker).in_flight()).sum()
}

/// Two different ones of `count` (2 or more), each pair as likely as any other.
fn two_of(count: usize, draw: u64) -> [usize; 2] {
    // Finalizer of SplitMix64 (Steele, Lea, Flood 2014): bits that chose the variant are spent.
    let mixed = (draw ^ (draw >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ (mixed >> 31);
    let below = |bits: u64, bound: usize| (((bits & 0xffff_ffff) * bound as u64) >> 32) as usize;
    let first = below(mixed >> 32, count);
    let second = below(mixed, count - 1);
    [first, second + usize::from(second >= first)]
}

fn add(gauge: &AtomicU32, change: i32) {
    gauge.store(
        gauge.load(Ordering::Relaxed).saturating_add_signed(change),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Backend, BackendSettings, Endpoint, EndpointId, LoadBalancing, two_of};
    use crate::name::Name;

    fn backend(load_balancing: LoadBalancing, endpoints: u32, max_in_flight: u32, workers: usize) -> Backend {
        let name = Name::new("checkout-v1").unwrap();
        let endpoint = |id| {
            let authority = format!("10.0.0.{id}:80");
            let address = authority.parse().ok();
            Arc::new(Endpoint::new(
                EndpointId(id),
                name.clone(),
                authority.into(),
                address,
                workers,
            ))
        };
        let settings = BackendSettings {
            load_balancing,
            max_in_flight,
            max_connections: 10,
            connect_timeout: Duration::from_secs(1),
            ..BackendSettings::default()
        };
        Backend::new(name.clone(), (0..endpoints).map(endpoint).collect(), settings, workers)
    }

    fn all(backend: &Backend) -> Range<usize> {
        0..backend.endpoints.len()
    }

    /// Sends `requests` by `worker` that never end; the answer is how many each endpoint got.
    fn send(backend: &Backend, worker: usize, requests: u64) -> Vec<u32> {
        for draw in 0..requests {
            let draw = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if let Some(endpoint) = backend.pick(worker, draw, &all(backend)) {
                endpoint.cell(worker).add_in_flight(1);
            }
        }
        backend.endpoints.iter().map(|endpoint| endpoint.in_flight()).collect()
    }

    #[test]
    fn the_first_requests_warm_an_endpoint_up() {
        let backend = backend(LoadBalancing::RoundRobin, 2, 100, 1);
        let check = |endpoint: usize, warm_up, expected| {
            let warming = (0..10).filter(|_| backend.endpoints[endpoint].warms_up(warm_up));
            assert_eq!(warming.count(), expected);
        };
        check(0, 0, 0);
        check(0, 3, 3);
        check(0, 3, 0);
        check(0, 4, 1);
        check(1, 3, 3);
        backend.endpoints[0].warm_up_again();
        check(0, 3, 3);
        check(1, 3, 0);
    }

    #[test]
    fn round_robin_takes_each_in_turn() {
        assert_eq!(
            send(&backend(LoadBalancing::RoundRobin, 3, 100, 1), 0, 30),
            [10, 10, 10]
        );
        let two_workers = backend(LoadBalancing::RoundRobin, 3, 100, 2);
        let first = |worker| two_workers.pick(worker, 0, &(0..3)).unwrap().id;
        assert_eq!([first(0), first(1)], [EndpointId(0), EndpointId(1)]);
    }

    #[test]
    fn least_request_avoids_the_busier_of_two() {
        let pair = backend(LoadBalancing::LeastRequest, 2, 100, 1);
        pair.endpoints[0].cell(0).add_in_flight(5);
        assert!((0..100).all(|draw| pair.pick(0, draw << 40, &(0..2)).unwrap().id == EndpointId(1)));
        assert!(
            send(&backend(LoadBalancing::LeastRequest, 5, 5000, 1), 0, 1000)
                .iter()
                .all(|&n| n.abs_diff(200) < 10)
        );
        assert_eq!(send(&backend(LoadBalancing::LeastRequest, 1, 100, 1), 0, 10), [10]);
    }

    #[test]
    fn the_limit_holds_for_all_workers_together() {
        let shared = backend(LoadBalancing::LeastRequest, 2, 10, 2);
        // One worker alone may use the whole limit; then the other has no room, though it bears nothing.
        assert_eq!(send(&shared, 0, 9).iter().sum::<u32>(), 9);
        assert_eq!(send(&shared, 1, 9).iter().sum::<u32>(), 10);
        assert_eq!(send(&shared, 0, 9).iter().sum::<u32>(), 10);
        let busy = shared
            .endpoints
            .iter()
            .find(|endpoint| endpoint.cell(0).in_flight() > 0)
            .unwrap();
        busy.cell(0).add_in_flight(-1);
        assert_eq!(send(&shared, 1, 9).iter().sum::<u32>(), 10);
        // A limit below the number of workers holds too.
        assert_eq!(send(&backend(LoadBalancing::RoundRobin, 1, 1, 4), 3, 9), [1]);
    }

    proptest! {
        #[test]
        fn the_limit_is_met_whoever_comes_and_goes(
            steps in prop::collection::vec((0usize..3, any::<bool>(), any::<u64>()), 0..200),
            limit in 1u32..12,
        ) {
            let backend = backend(LoadBalancing::LeastRequest, 2, limit, 3);
            for (worker, begins, draw) in steps {
                if begins {
                    let before = backend.in_flight();
                    let picked = backend.pick(worker, draw, &(0..2));
                    prop_assert_eq!(picked.is_some(), before < limit);
                    picked.into_iter().for_each(|endpoint| endpoint.cell(worker).add_in_flight(1));
                } else if let Some(endpoint) = backend.endpoints.iter().find(|e| e.cell(worker).in_flight() > 0) {
                    endpoint.cell(worker).add_in_flight(-1);
                }
            }
        }

        #[test]
        fn only_those_in_rotation_are_picked(
            (from, count) in (0usize..5).prop_flat_map(|from| (Just(from), 1..=5 - from)),
            draws in prop::collection::vec(any::<u64>(), 100),
            round_robin in any::<bool>(),
        ) {
            let load_balancing = if round_robin { LoadBalancing::RoundRobin } else { LoadBalancing::LeastRequest };
            let backend = backend(load_balancing, 5, 1000, 1);
            let mut sent = [0; 5];
            for draw in draws {
                let endpoint = backend.pick(0, draw, &(from..from + count)).unwrap();
                endpoint.cell(0).add_in_flight(1);
                sent[endpoint.id.0 as usize] += 1;
            }
            for (endpoint, sent) in sent.into_iter().enumerate() {
                prop_assert_eq!(sent > 0, (from..from + count).contains(&endpoint));
            }
        }

        #[test]
        fn two_endpoints_are_never_the_same(count in 2usize..50, draw in any::<u64>()) {
            let [first, second] = two_of(count, draw);
            prop_assert!(first != second && first < count && second < count);
        }
    }
}
