//! From ground to the published table: compiles, sets what stands beside the table (breakers,
//! latency limits), swaps, and frees the tables that nobody reads any more.

use std::sync::Arc;

use super::cookie_secret::cookie_secret;
use super::ground::Ground;
use crate::compile::{Book, InForce, compile};
use crate::config::{Rollout, Spec};
use crate::live::Live;
use crate::measure::{AT_P90, AT_P99, LIMITS, NO_LIMIT, Recorder, RecorderKey};
use crate::name::Name;
use crate::rollout::Phase;
use crate::route::{Bounds, Table};

/// The one who publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    live: Arc<Live>,
    book: Book,
    spec: Arc<Spec>,
    in_force: Vec<InForce>,
    table: Arc<Table>,
    /// Whether the book has a secret for sticky cookies.
    can_sign: bool,
    /// Replaced, but perhaps still read.
    retired: Vec<Arc<Table>>,
}

/// Where those whom a cohort placed are counted.
#[derive(Clone, Debug)]
pub(super) struct CohortRecorders<'p> {
    /// The cohort's.
    pub(super) name: &'p Name,
    /// By index of the variant, as far as its members may go there.
    pub(super) recorders: Vec<(usize, &'p Arc<Recorder>)>,
}

impl Publisher {
    /// Compiles the first table.
    pub(super) fn new(ground: &Ground, generation: u64, workers: usize) -> Self {
        let mut book = Book::new(workers);
        let in_force = ground.in_force();
        let can_sign = must_sign(&ground.spec);
        if can_sign {
            book.set_cookie_secret(cookie_secret(&ground.spec.state_directory));
        }
        let table = Arc::new(compile(&ground.spec, &in_force, generation, &mut book, None));
        set_breakers(&mut book, ground);
        set_limits(&ground.spec, &table);
        Self {
            live: Arc::new(Live::new(Arc::clone(&table))),
            book,
            spec: Arc::clone(&ground.spec),
            in_force,
            table,
            can_sign,
            retired: Vec::new(),
        }
    }

    /// Makes `ground` the published table, under the next generation. A canary that is to get
    /// nothing meets its breaker first: compiling takes its time.
    pub(super) fn publish(&mut self, ground: &Ground) {
        self.publish_as(ground, self.table.generation + 1);
    }

    /// The same under `generation`, which is above the present one.
    pub(super) fn publish_as(&mut self, ground: &Ground, generation: u64) {
        self.stop_aborted(ground);
        if !self.can_sign && must_sign(&ground.spec) {
            self.can_sign = true;
            self.book.set_cookie_secret(cookie_secret(&ground.spec.state_directory));
        }
        let in_force = ground.in_force();
        let last = Some((&self.spec, self.in_force.as_slice(), &*self.table));
        let table = Arc::new(compile(&ground.spec, &in_force, generation, &mut self.book, last));
        set_breakers(&mut self.book, ground);
        if !Arc::ptr_eq(&self.spec, &ground.spec) {
            set_limits(&ground.spec, &table);
            self.spec = Arc::clone(&ground.spec);
        }
        self.in_force = in_force;
        self.retired.push(self.live.publish(Arc::clone(&table)));
        self.table = table;
        self.set_curfews();
        self.sweep();
    }

    /// Frees the tables that nobody reads any more.
    pub(super) fn sweep(&mut self) {
        self.retired.retain(|table| Arc::strong_count(table) > 1);
    }

    /// Where readers find the table, and ring.
    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The published table.
    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The recorders of all variants, and of all cohorts.
    pub(super) fn recorders(&self) -> impl Iterator<Item = &Arc<Recorder>> + Clone {
        let variants = self.table.routes.iter().flat_map(|route| &route.variants);
        let cohorts = (0..self.table.routes.len()).flat_map(|route| self.cohorts(route));
        let cohorts = cohorts.flat_map(|cohort| cohort.recorders);
        let cohorts = cohorts.map(|(_, recorder)| recorder);
        variants.map(|variant| &variant.recorder).chain(cohorts)
    }

    /// The cohorts of the route with this index, in their order; also those that an abort or a switch has taken
    /// away, for what they did is what people ask for then.
    pub(super) fn cohorts(&self, route: usize) -> Vec<CohortRecorders<'_>> {
        let (written, served) = (&self.spec.routes[route], &self.table.routes[route]);
        let written_names = written.rules.cohorts.iter().map(|cohort| &cohort.name);
        // Those of a preview stand in no list of cohorts; it has one for its hosts and one for its header.
        let served_names = served.flag.cohorts.iter().map(|cohort| &cohort.name);
        let mut previews: Vec<_> = served_names
            .filter(|name| written_names.clone().all(|written| written != *name))
            .collect();
        previews.dedup();
        let names = previews.into_iter().chain(written_names);
        let recorders = |cohort: &Name| {
            let variants = served.variants.iter().enumerate();
            let known = variants.filter_map(|(index, variant)| {
                let key = RecorderKey {
                    cohort: Some(cohort.clone()),
                    ..variant.recorder.key().clone()
                };
                Some((index, self.book.known_recorder(&key)?))
            });
            known.collect()
        };
        names
            .map(|name| CohortRecorders {
                name,
                recorders: recorders(name),
            })
            .collect()
    }

    /// Its generation.
    pub(super) fn generation(&self) -> u64 {
        self.table.generation
    }

    /// The endpoints of `backend` begin warming again. Those that come later are cold by themselves.
    pub(super) fn warm_up_again(&self, backend: &Name) {
        let backends = self.table.backends.iter().filter(|known| known.name == *backend);
        for endpoint in backends.flat_map(|backend| &backend.endpoints) {
            endpoint.warm_up_again();
        }
    }

    /// What began on a side that has lost all its weight ends when the rollout's policy says so.
    fn set_curfews(&self) {
        let now_us = self.live.now_us();
        for rollout in &self.spec.rollouts {
            let route = &self.table.routes[rollout.route];
            for side in [rollout.from, rollout.to] {
                if let Some(curfew) = &route.variants[side].curfew {
                    curfew.heed(route.flag.split.share_ppm(side) > 0, rollout.drain, now_us);
                }
            }
        }
    }

    fn stop_aborted(&mut self, ground: &Ground) {
        let is_live = |name: &Name| self.spec.rollouts.iter().any(|rollout| rollout.name == *name);
        for name in aborted(ground).filter(|name| is_live(name)) {
            self.book.breaker(name).set_open(true);
        }
    }
}

/// Whether sticky cookies of `spec` are signed with a secret of our own.
fn must_sign(spec: &Spec) -> bool {
    let mut sticky = spec.routes.iter().filter_map(|route| route.rules.sticky.as_ref());
    sticky.any(|sticky| sticky.secret.is_none())
}

fn aborted(ground: &Ground) -> impl Iterator<Item = &Name> {
    let rollouts = ground.spec.rollouts.iter().enumerate();
    rollouts
        .filter(|&(index, _)| ground.rollout(index).state.phase() == Phase::Aborted)
        .map(|(_, rollout)| &rollout.name)
}

/// A breaker is open exactly while its rollout is aborted, and bounds what the canary may cost while
/// it is judged and may be acted upon.
fn set_breakers(book: &mut Book, ground: &Ground) {
    for (index, rollout) in ground.spec.rollouts.iter().enumerate() {
        let phase = ground.rollout(index).state.phase();
        let bounds = Bounds {
            failures: rollout.analysis.failed_requests.is_some(),
            in_flight: rollout.in_flight_max,
        };
        let bounded = ground.is_judged(index) && !rollout.observe;
        let breaker = book.breaker(&rollout.name);
        breaker.set_bounds(if bounded { bounds } else { Bounds::default() });
        breaker.set_open(phase == Phase::Aborted);
    }
}

/// Both sides of a rollout count at the limits of its analysis, all others at none. The limits that
/// move with stable are the [`Yardstick`](super::yardstick::Yardstick)'s while there is a rollout.
fn set_limits(spec: &Spec, table: &Table) {
    let mut limits = vec![None; table.routes.len()];
    for rollout in &spec.rollouts {
        let timeout = spec.routes[rollout.route].timeout;
        limits[rollout.route] = Some((rollout, rollout.analysis.limits_us(timeout)));
    }
    for (route, limits) in table.routes.iter().zip(limits) {
        for (index, variant) in route.variants.iter().enumerate() {
            let judged = |rollout: &Rollout| index == rollout.from || index == rollout.to;
            let limits = limits.as_ref().filter(|(rollout, _)| judged(rollout));
            for at in 0..LIMITS {
                match limits {
                    Some(_) if at == AT_P90 || at == AT_P99 => {}
                    Some((_, limits)) => variant.recorder.set_limit_us(at, limits[at]),
                    None => variant.recorder.set_limit_us(at, NO_LIMIT),
                }
            }
        }
    }
}
