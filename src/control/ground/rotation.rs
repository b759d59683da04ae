//! Which endpoints take requests while one side replaces the other, how they come back after an abort, and what
//! it takes to ask them. Pure.

use std::sync::Arc;

use super::{Changed, Ground};
use crate::config;
use crate::control::draft::{Draft, Wish, release};
use crate::control::errands::Task;
use crate::control::standing::RolloutStanding;
use crate::outgoing::{Payload, checksum};
use crate::rollout::{Errand, Phase, Rotation, Smoke, State};
use crate::route::HostMatch;
use crate::share::MILLION;

impl Ground {
    /// Which endpoints of the pair take requests; `None`: all.
    pub(in crate::control) fn rotation(&self, rollout: usize) -> Option<Rotation> {
        let standing = self.rollout(rollout);
        if standing.returning > 0 {
            return Some(Rotation {
                from_out: standing.returning,
                to_in: 0,
            });
        }
        standing.plan.steps().get(standing.state.step()?)?.rotation
    }

    /// How many of stable's endpoints are out after a move to `state`: an abort ends the canary's exposure at
    /// once, and those that the canary's had replaced come back as they prove well. Where none is left to
    /// serve meanwhile, or nobody says how to check them, all are back at once.
    pub(in crate::control) fn returning_after(&self, rollout: usize, state: &State) -> u32 {
        let standing = self.rollout(rollout);
        if state.phase() != Phase::Aborted {
            return 0;
        }
        if standing.state.phase() == Phase::Aborted {
            return standing.returning;
        }
        let spec = &self.spec;
        let (from, _) = self.pair(rollout);
        let stable = &spec.routes[spec.rollouts[rollout].route].variants[from];
        let endpoints = spec.backends[stable.backend].endpoints.len();
        let out = self.rotation(rollout).map_or(0, |rotation| rotation.from_out);
        let some_are_left = (out as usize) < endpoints;
        if some_are_left && standing.plan.health().is_some() {
            out
        } else {
            0
        }
    }

    /// The check that the next batch of former endpoints must pass; `None`: all are back.
    pub(in crate::control) fn return_check(&self, rollout: usize) -> Option<Errand> {
        let RolloutStanding { plan, returning, .. } = self.rollout(rollout);
        let out = Some(*returning).filter(|out| *out > 0)?;
        let first = plan.out_before(out);
        let health = plan.health().cloned();
        Some(Errand::Smoke(Smoke {
            // They are asked until they answer, or somebody starts anew.
            attempts: u32::MAX,
            endpoints: Some((first as usize, out as usize)),
            ..health?
        }))
    }

    /// A batch of former endpoints has passed its check.
    pub(in crate::control) fn take_back(&self, rollout: usize, now_ms: u64) -> Changed {
        let mut draft = Draft::new(self.clone(), Wish::SERIN, now_ms);
        draft.take_back(rollout);
        draft.finish()
    }

    /// What it takes to run an errand of a rollout.
    pub(in crate::control) fn task(&self, index: usize, errand: Arc<Errand>, generation: u64) -> Task {
        let spec = &self.spec;
        let rollout = &spec.rollouts[index];
        let route = &spec.routes[rollout.route];
        let RolloutStanding {
            state,
            plan,
            marks,
            reason,
            ..
        } = self.rollout(index);
        let (from, to) = self.pair(index);
        let knocks = self.must_knock(index);
        let side = match self.rollout(index).returning > 0 || knocks {
            true => from,
            false => to,
        };
        let endpoints = spec.backends[route.variants[side].backend].endpoints.iter();
        let canary = release(spec, rollout.route, to);
        Task {
            errand,
            endpoints: endpoints.map(authority).collect(),
            host: route.matches.hosts.iter().find_map(|host| match host {
                HostMatch::Exact(name) => Some(name.clone()),
                _ => None,
            }),
            payload: Payload {
                rollout: rollout.name.to_string(),
                route: route.name.to_string(),
                environment: spec.environment.clone(),
                checksum: checksum(canary.as_deref(), marks),
                step: state.step().map(|step| step + 1),
                of: plan.steps().len(),
                weight: f64::from(state.canary_ppm(plan).unwrap_or(0)) / f64::from(MILLION),
                release: canary,
                generation,
                from: route.variants[from].name.to_string(),
                to: route.variants[to].name.to_string(),
                reason: reason.clone(),
            },
        }
    }
}

/// `host:port`, with brackets where the host is an IPv6 address.
fn authority(endpoint: &config::Endpoint) -> String {
    match endpoint.host.contains(':') {
        true => format!("[{}]:{}", endpoint.host, endpoint.port),
        false => format!("{}:{}", endpoint.host, endpoint.port),
    }
}
