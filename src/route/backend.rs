//! The endpoints of a backend, and the next one to use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::name::Name;

/// How the next endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadBalancing {
    /// Of two at random the one with fewer requests in flight.
    #[default]
    LeastRequest,
    /// Each in turn.
    RoundRobin,
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
            cells: (0..workers).map(|_| EndpointCell::default()).collect(),
        }
    }

    /// The cell that `worker` writes.
    #[must_use]
    pub fn cell(&self, worker: usize) -> &EndpointCell {
        &self.cells[worker]
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

    /// Idle connections, all workers together.
    #[must_use]
    pub fn idle(&self) -> u32 {
        self.cells.iter().map(|cell| cell.idle.load(Ordering::Relaxed)).sum()
    }
}

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
    /// For a new connection.
    pub connect_timeout: Duration,
    /// Where round robin stands; one for each worker.
    turns: Box<[AtomicU32]>,
}

impl Backend {
    /// Which endpoint `worker` should use; `None` when the backend bears all the requests it may.
    #[must_use]
    pub fn pick(&self, _worker: usize, _draw: u64) -> Option<&Arc<Endpoint>> {
        todo!()
    }
}

fn add(gauge: &AtomicU32, change: i32) {
    gauge.store(
        gauge.load(Ordering::Relaxed).saturating_add_signed(change),
        Ordering::Relaxed,
    );
}
