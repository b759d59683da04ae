//! One worker's connections to endpoints that wait for exchanges: of HTTP/1.1 the idle ones, last in, first out; of
//! HTTP/2 all. Bounded in number and age.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::h1_client::Connection;
use super::upstream::{Attempt, Link};
use crate::route::{Backend, Endpoint, EndpointId};

/// Idle connections that a worker keeps to one endpoint.
const IDLE_MAX: usize = 1024;

/// How long a connection may be idle.
const IDLE_US: u64 = 60_000_000;

/// Connections by endpoint.
#[derive(Default)]
pub(super) struct Pools {
    by_endpoint: Vec<Vec<Idle>>,
    links: Vec<Links>,
    /// Idle ones and links.
    len: usize,
}

struct Idle {
    connection: Box<Connection>,
    since_us: u64,
}

/// HTTP/2 to one endpoint.
#[derive(Default)]
struct Links {
    open: Vec<Rc<Link>>,
    /// On their way to be open.
    attempts: Vec<Rc<Attempt>>,
}

impl Pools {
    /// Whether there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The connection to `endpoint` that was used last and can serve a request of `client` to `backend`.
    pub(super) fn take(&mut self, endpoint: &Endpoint, backend: &Backend, client: IpAddr) -> Option<Box<Connection>> {
        let idle = self.by_endpoint.get_mut(endpoint.id.0 as usize)?;
        loop {
            let taken = match idle.last()?.connection.terms() {
                terms if terms.fit(backend, client) => idle.pop(),
                // Made for what the backend was before a reload: of no use to anybody.
                terms if !terms.are_of(backend) => {
                    idle.pop()?.connection.set_idle(false);
                    self.len -= 1;
                    continue;
                }
                _ => {
                    let at = idle
                        .iter()
                        .rposition(|idle| idle.connection.terms().fit(backend, client))?;
                    Some(idle.remove(at))
                }
            }?;
            self.len -= 1;
            taken.connection.set_idle(false);
            return Some(taken.connection);
        }
    }

    /// Closes the idle connection to one of `endpoints` that was used least recently there, if there is one.
    pub(super) fn evict(&mut self, endpoints: &[Arc<Endpoint>]) {
        for endpoint in endpoints {
            if let Some(pool) = self.by_endpoint.get_mut(endpoint.id.0 as usize)
                && !pool.is_empty()
            {
                pool.remove(0).connection.set_idle(false);
                self.len -= 1;
                return;
            }
            if let Some(links) = self.links.get_mut(endpoint.id.0 as usize)
                && let Some(at) = links.open.iter().position(|link| link.is_idle())
            {
                links.open.remove(at).close();
                self.len -= 1;
                return;
            }
        }
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

    /// An open connection to `endpoint` with room for one more stream, other than `full`, for a request of `client` to
    /// `backend`.
    pub(super) fn link(
        &self,
        endpoint: &Endpoint,
        backend: &Backend,
        client: IpAddr,
        full: Option<&Rc<Link>>,
    ) -> Option<Rc<Link>> {
        let links = self.links.get(endpoint.id.0 as usize)?;
        let others = |link: &&Rc<Link>| full.is_none_or(|full| !Rc::ptr_eq(link, full));
        let mut open = links.open.iter().filter(others);
        open.find(|link| link.has_room(backend.max_streams) && link.terms().fit(backend, client))
            .map(Rc::clone)
    }

    /// An attempt to make one in which there is room for one more.
    pub(super) fn attempt(&self, endpoint: &Endpoint, backend: &Backend, client: IpAddr) -> Option<Rc<Attempt>> {
        let links = self.links.get(endpoint.id.0 as usize)?;
        let mut attempts = links.attempts.iter();
        attempts.find(|attempt| attempt.joins(backend, client)).map(Rc::clone)
    }

    /// Keeps an attempt until it is over.
    pub(super) fn begin(&mut self, endpoint: EndpointId, attempt: Rc<Attempt>) {
        self.links_mut(endpoint).attempts.push(attempt);
    }

    /// An attempt is over, and has come to a connection or not.
    pub(super) fn end(&mut self, endpoint: EndpointId, attempt: &Rc<Attempt>, link: Option<Rc<Link>>) {
        self.len += usize::from(link.is_some());
        let links = self.links_mut(endpoint);
        links.attempts.retain(|other| !Rc::ptr_eq(other, attempt));
        links.open.extend(link);
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
        for links in &mut self.links {
            links.open.retain(|link| {
                let keep = link.look(now_us, IDLE_US);
                self.len -= usize::from(!keep);
                keep
            });
        }
    }

    fn links_mut(&mut self, EndpointId(at): EndpointId) -> &mut Links {
        let at = at as usize;
        if self.links.len() <= at {
            self.links.resize_with(at + 1, Links::default);
        }
        &mut self.links[at]
    }
}
