//! The routes of this moment, compiled: `choose(request, client, draw) -> Choice`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::backend::Backend;
use super::breaker::Breaker;
use super::cohort::{CohortSpec, KeySpec};
use super::matcher::SharedIndex;
use super::split::Split;
use crate::head::RequestHead;
use crate::measure::{Recorder, Track};
use crate::name::Name;

/// One generation of everything a request needs to know.
#[derive(Debug)]
pub struct Table {
    /// Rises with every change.
    pub generation: u64,
    /// `generation` in decimal, for the response header.
    pub generation_text: Bytes,
    /// Settings of each listener, by its index.
    pub listeners: Arc<[ListenerSettings]>,
    /// Peers whose forwarded headers are believed: address and leading bits.
    pub trusted_proxies: Arc<[(IpAddr, u8)]>,
    /// Which exchanges get a line in the access log.
    pub access_log: AccessLog,
    /// Arranged matches; positions in `routes`.
    pub index: SharedIndex,
    /// In file order.
    pub routes: Box<[Arc<Route>]>,
}

/// Which exchanges get a line in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those whose outcome is not a success.
    Errors,
    /// Every one.
    All,
}

/// Clocks and bounds of a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in config::spec
pub struct ListenerSettings {
    pub request_head: Duration,
    pub body: Duration,
    pub idle: Duration,
    pub connections: u32,
    pub headers: u32,
    pub header_bytes: u32,
    pub uri_bytes: u32,
}

/// A route, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Name,
    /// Until the response head.
    pub timeout: Duration,
    /// What keeps a user on one side.
    pub key: Option<KeySpec>,
    /// Tried in order, before the split. Those of an aborted canary are not here.
    pub cohorts: Box<[CohortSpec]>,
    /// Which variant owns which buckets.
    pub split: Split,
    /// In file order.
    pub variants: Box<[Variant]>,
    /// Whether responses name variant and generation.
    pub expose_variant: bool,
}

/// One side of a split, ready to serve.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub name: Name,
    /// Where it leads.
    pub backend: Arc<Backend>,
    /// Where its exchanges are counted.
    pub recorder: Arc<Recorder>,
    /// Parity of the epoch of evidence.
    pub slot: u8,
    /// Asked before each dispatch: the breaker, and the variant that takes what it refuses.
    pub breaker: Option<(Arc<Breaker>, usize)>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'t> {
    /// The route it matched.
    pub route: &'t Arc<Route>,
    /// Index in the route's variants.
    pub variant: usize,
    /// Index in the route's cohorts, if one placed it.
    pub cohort: Option<usize>,
    /// The book it is kept in.
    pub track: Track,
}

impl Table {
    /// Where a request from `client` goes; `None` when no route matches. `draw` is uniform and
    /// fresh. Pure; does not allocate.
    #[must_use]
    pub fn choose<'t>(&'t self, head: &RequestHead, client: IpAddr, draw: u64) -> Option<Choice<'t>> {
        let _ = (head, client, draw);
        todo!()
    }
}
