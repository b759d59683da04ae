//! The whole table from what stands now: `Spec` + what is in force on each route + known identities.
//! Pure. What did not change since the last table is shared with it, not built again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Spec;
use crate::measure::{Recorder, RecorderKey};
use crate::name::Name;
use crate::route::{Breaker, Endpoint, EndpointId, Table};

/// What is in force on one route beyond its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// A weight for each variant, in file order; they add up to more than 0.
    pub weights: Vec<u32>,
    /// Rises with each change of weight; its parity is the slot of evidence.
    pub epoch: u32,
    /// The rollout on this route.
    pub trial: Option<Trial>,
}

/// The rollout on a route, as far as the table must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The rollout's name; its breaker hangs on it.
    pub rollout: Name,
    /// Index of stable.
    pub from: usize,
    /// Index of the canary.
    pub to: usize,
    /// The canary gets nothing at all: no weight, no cohorts.
    pub aborted: bool,
}

/// Identities that outlive tables.
#[derive(Debug)]
pub struct Book {
    workers: usize,
    recorders: HashMap<RecorderKey, Arc<Recorder>>,
    breakers: HashMap<Name, Arc<Breaker>>,
    endpoints: HashMap<(Name, String), Arc<Endpoint>>,
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
            endpoints: HashMap::new(),
            next_endpoint: EndpointId(0),
        }
    }

    /// The recorder for `key`, made on first use.
    pub fn recorder(&mut self, key: &RecorderKey) -> Arc<Recorder> {
        let _ = (key, self.workers, &self.recorders, &self.endpoints, self.next_endpoint);
        todo!()
    }

    /// The breaker of `rollout`, made on first use (closed circuit: it admits).
    pub fn breaker(&mut self, rollout: &Name) -> Arc<Breaker> {
        let _ = (rollout, &self.breakers);
        todo!()
    }
}

/// Makes the table of `generation`. `in_force` has one entry for each route of `spec`, in order.
/// `last` is the table before, with the spec and state it was made from: parts whose inputs are
/// equal are shared. Identities that the new table does not use are forgotten by `book`.
#[must_use]
pub fn compile(
    _spec: &Arc<Spec>,
    _in_force: &[InForce],
    _generation: u64,
    _book: &mut Book,
    _last: Option<(&Arc<Spec>, &[InForce], &Table)>,
) -> Table {
    todo!()
}
