//! One worker's idle connections to endpoints: last in, first out; bounded in number and age.

use std::sync::Arc;

use super::h1_client::Connection;
use crate::route::{Endpoint, EndpointId};

/// Idle connections that a worker keeps to one endpoint.
const IDLE_MAX: usize = 1024;

/// How long a connection may be idle.
const IDLE_US: u64 = 60_000_000;

/// Idle connections by endpoint.
#[derive(Default)]
pub(super) struct Pools {
    by_endpoint: Vec<Vec<Idle>>,
    len: usize,
}

struct Idle {
    connection: Box<Connection>,
    since_us: u64,
}

impl Pools {
    /// Whether no connection is idle.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The connection to `endpoint` that was used last.
    pub(super) fn take(&mut self, endpoint: &Endpoint) -> Option<Box<Connection>> {
        let idle = self.by_endpoint.get_mut(endpoint.id.0 as usize)?.pop()?;
        self.len -= 1;
        idle.connection.set_idle(false);
        Some(idle.connection)
    }

    /// Closes the idle connection to one of `endpoints` that was used least recently there; `false`
    /// when there is none.
    pub(super) fn evict(&mut self, endpoints: &[Arc<Endpoint>]) -> bool {
        for endpoint in endpoints {
            if let Some(pool) = self.by_endpoint.get_mut(endpoint.id.0 as usize)
                && !pool.is_empty()
            {
                pool.remove(0).connection.set_idle(false);
                self.len -= 1;
                return true;
            }
        }
        false
    }

    /// Keeps a connection for the next exchange, or closes it when there are `enough`.
    pub(super) fn put(&mut self, EndpointId(at): EndpointId, connection: Box<Connection>, now_us: u64, enough: usize) {
        let at = at as usize;
        if self.by_endpoint.len() <= at {
            self.by_endpoint.resize_with(at + 1, Vec::new);
        }
        if self.by_endpoint[at].len() < IDLE_MAX.min(enough) {
            connection.set_idle(true);
            self.by_endpoint[at].push(Idle {
                connection,
                since_us: now_us,
            });
            self.len += 1;
        }
    }

    /// Closes what was closed from the other side or has spoken unasked, and what has been idle too long.
    pub(super) fn sweep(&mut self, now_us: u64) {
        for pool in &mut self.by_endpoint {
            pool.retain_mut(|idle| {
                let keep = now_us.saturating_sub(idle.since_us) < IDLE_US && idle.connection.is_quiet();
                if !keep {
                    idle.connection.set_idle(false);
                    self.len -= 1;
                }
                keep
            });
            if pool.is_empty() {
                pool.shrink_to_fit();
            }
        }
    }
}
