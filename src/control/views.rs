//! What stands now, as plain values for those who ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::controller::{Controller, unix_ms};
use super::ground::Ground;
use super::publisher::CohortRecorders;
use super::view::{
    BackendView, CertificateView, CohortView, Course, EndpointView, FreezeView, ListenerView, MetricsView,
    RolloutMetrics, RolloutView, RouteView, StatusView, VariantMetrics, VariantView,
};
use crate::config::{Listener, Strategy};
use crate::rollout::{Errand, Needs, Step};
use crate::route::{Endpoint, FlagId};
use crate::share::MILLION;

impl Controller {
    pub(super) fn status(&self) -> StatusView {
        #[allow(clippy::cast_precision_loss)] // milliseconds since the start
        let uptime_seconds = self.clock_ms() as f64 / 1000.0;
        let rollouts = self.ground.spec.rollouts.iter().enumerate();
        StatusView {
            generation: self.publisher.generation(),
            uptime_seconds,
            config_file: self.file.display().to_string(),
            environment: self.ground.spec.environment.clone(),
            listeners: self.listeners(),
            admin_certificates: self.admin_certificates(),
            last_reload: self.last_reload.clone(),
            rollouts: rollouts
                .map(|(index, rollout)| (rollout.name.clone(), self.ground.rollout(index).state.phase()))
                .collect(),
            kept: self.ground.kept(),
            state_problem: self.saver.any_problem().map(str::to_owned),
            issuers: self.jwks.views(),
            workers: self.workers,
            frozen: self.frozen(),
        }
    }

    /// As bound, with what is spoken on them now.
    fn listeners(&self) -> Vec<ListenerView> {
        let written = self.ground.spec.listeners.iter();
        let view = |(bound, written): (&ListenerView, &Listener)| {
            let tls = written.tls.as_ref();
            ListenerView {
                tls: tls.is_some(),
                certificates: tls.map_or_else(Vec::new, |tls| self.key_files.certificates.views(tls)),
                client_ca: tls.and_then(|tls| self.key_files.certificates.client_ca(tls)),
                ..bound.clone()
            }
        };
        self.listeners.iter().zip(written).map(view).collect()
    }

    fn admin_certificates(&self) -> Vec<CertificateView> {
        let tls = self.ground.spec.admin_tls.as_ref();
        tls.map_or_else(Vec::new, |tls| self.key_files.certificates.views(tls))
    }

    /// When certificates expire; of several with one first name the first to do so.
    fn expiries(&self) -> Vec<(String, String, i64)> {
        let listeners = self.listeners().into_iter();
        let listeners = listeners.map(|listener| (listener.name.to_string(), listener.certificates));
        // No name of a listener has a space.
        let all = listeners.chain([("admin API".to_owned(), self.admin_certificates())]);
        let mut expiries = BTreeMap::new();
        for (listener, certificates) in all {
            for certificate in certificates {
                let name = certificate.names.into_iter().next().unwrap_or(certificate.file);
                let expiry = expiries.entry((listener.clone(), name)).or_insert(i64::MAX);
                *expiry = certificate.not_after_s.min(*expiry);
            }
        }
        let flat = |((listener, name), expiry)| (listener, name, expiry);
        expiries.into_iter().map(flat).collect()
    }

    pub(super) fn routes(&self) -> Vec<RouteView> {
        let routes = 0..self.ground.spec.routes.len();
        routes.map(|index| self.route(&self.ground, index)).collect()
    }

    pub(super) fn route_named(&self, name: &str) -> Option<RouteView> {
        let mut routes = self.ground.spec.routes.iter();
        let index = routes.position(|route| route.name.as_str() == name)?;
        Some(self.route(&self.ground, index))
    }

    /// The route as it stands on `ground`: the live one, or one that is only tried, of the same file.
    pub(super) fn route(&self, ground: &Ground, index: usize) -> RouteView {
        let route = &ground.spec.routes[index];
        let weights = ground.in_force_on(index);
        let parts = ground.shares(FlagId::Route(index));
        let served = &self.publisher.table().routes[index].variants;
        let variants = route.variants.iter().zip(&**served).zip(weights).zip(parts);
        let now_ms = self.clock_ms();
        RouteView {
            name: route.name.clone(),
            generation: self.publisher.generation(),
            variants: variants
                .map(|(((variant, served), weight), share)| {
                    let backend = &ground.spec.backends[variant.backend];
                    VariantView {
                        name: variant.name.clone(),
                        backend: backend.name.clone(),
                        release: backend.release.clone(),
                        weight,
                        share,
                        stats: self.windows.stats(&served.recorder, now_ms),
                    }
                })
                .collect(),
            cohorts: self.cohorts(index, now_ms),
            enabled: ground.is_on(FlagId::Route(index)),
            rollout: ground.rollout_on(index).map(|index| {
                let name = ground.spec.rollouts[index].name.clone();
                (name, ground.rollout(index).state.phase())
            }),
        }
    }

    /// What became of those whom cohorts placed.
    fn cohorts(&self, route: usize, now_ms: u64) -> Vec<CohortView> {
        let cohorts = self.publisher.cohorts(route).into_iter();
        let variants = &self.publisher.table().routes[route].variants;
        let view = |cohort: CohortRecorders<'_>| CohortView {
            name: cohort.name.clone(),
            variants: cohort
                .recorders
                .iter()
                .map(|&(index, recorder)| (variants[index].name.clone(), self.windows.stats(recorder, now_ms)))
                .collect(),
        };
        cohorts.map(view).collect()
    }

    pub(super) fn backends(&self) -> Vec<BackendView> {
        let served = self.publisher.table().backends.iter();
        let backends = self.ground.spec.backends.iter().zip(served);
        backends
            .map(|(backend, served)| BackendView {
                name: backend.name.clone(),
                release: backend.release.clone(),
                endpoints: served
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint_view(endpoint))
                    .collect(),
            })
            .collect()
    }

    pub(super) fn rollouts(&self) -> Vec<RolloutView> {
        let rollouts = 0..self.ground.spec.rollouts.len();
        rollouts.map(|index| self.rollout(index)).collect()
    }

    pub(super) fn rollout(&self, index: usize) -> RolloutView {
        let rollout = &self.ground.spec.rollouts[index];
        let route = &self.ground.spec.routes[rollout.route];
        let standing = self.ground.rollout(index);
        let (from, to) = self.ground.pair(index);
        let steps = standing.plan.steps();
        let step = standing.state.step();
        RolloutView {
            name: rollout.name.clone(),
            route: route.name.clone(),
            from: route.variants[from].name.clone(),
            to: route.variants[to].name.clone(),
            observe: rollout.observe,
            phase: standing.state.phase(),
            step,
            steps: steps.len(),
            step_weights: steps.iter().map(|step| fraction(step.weight_ppm)).collect(),
            course: self.course(index),
            since_ms: standing.state.since_ms(),
            baked_seconds: standing.state.baked().as_secs_f64(),
            bake_seconds: step
                .and_then(|step| steps.get(step))
                .map_or(0.0, |step| step.least_time().as_secs_f64()),
            share: self.ground.shares(FlagId::Route(rollout.route))[to],
            verdict: self.court.verdict(&rollout.name).cloned(),
            reason: match self.saver.problem() {
                Some(problem) if step.is_some() => format!("{}; held: {problem}", standing.reason),
                Some(problem) if self.saver.is_behind() => {
                    format!("{}; in force, but lost with the process: {problem}", standing.reason)
                }
                Some(_) | None => standing.reason.clone(),
            },
            history: self.journal.history(&rollout.name),
        }
    }

    /// How it is done.
    fn course(&self, index: usize) -> Course {
        let rollout = &self.ground.spec.rollouts[index];
        let standing = self.ground.rollout(index);
        let kind = |step: &Step| {
            let kind = match &step.needs {
                Needs::Evidence { .. } => "evidence",
                Needs::Time(_) | Needs::Person => "pause",
                Needs::Approvals(_) => "approvals",
                Needs::Window(_) => "window",
                Needs::Errand(errand) => match **errand {
                    Errand::Webhook(_) => "webhook",
                    Errand::Smoke(_) => "smoke",
                },
                Needs::Drained(_) => "drain",
            };
            (kind, step.part)
        };
        Course {
            step_kinds: standing.plan.steps().iter().map(kind).collect(),
            strategy: match rollout.strategy {
                Strategy::Canary => "canary",
                Strategy::BlueGreen => "blueGreen",
                Strategy::Rolling => "rolling",
            },
            release: self.ground.release_on_trial(index),
            aborted_in: standing.aborted_in,
            after: self.ground.afterwards(index, unix_ms()),
            waiting: self
                .ground
                .waiting(index, unix_ms())
                .map(|waiting| match self.errands.news(&rollout.name) {
                    Some(news) => format!("{waiting}: {news}"),
                    None => waiting,
                }),
            approvals: standing.approvals.clone(),
        }
    }

    pub(super) fn frozen(&self) -> Option<FreezeView> {
        let frozen = self.ground.standing.frozen.as_ref()?;
        Some(FreezeView {
            by: frozen.by.clone(),
            reason: frozen.reason.clone(),
            since_ms: frozen.since_ms,
        })
    }

    #[allow(clippy::cast_precision_loss)] // milliseconds of this age of the world
    pub(super) fn metrics(&self) -> MetricsView {
        let table = self.publisher.table();
        let variants = table.routes.iter().enumerate().flat_map(|(at, route)| {
            let variants = route.variants.iter().zip(self.ground.shares(FlagId::Route(at)));
            variants.map(|(variant, share)| VariantMetrics {
                recorder: Arc::clone(&variant.recorder),
                share,
                drained: variant.curfew.as_ref().map(|curfew| curfew.ended()),
            })
        });
        let endpoints = table.backends.iter().flat_map(|backend| &backend.endpoints);
        let rollouts = self.ground.spec.rollouts.iter().enumerate();
        MetricsView {
            generation: table.generation,
            variants: variants.collect(),
            cohorts: (0..table.routes.len())
                .flat_map(|route| self.publisher.cohorts(route))
                .flat_map(|cohort| cohort.recorders)
                .map(|(_, recorder)| Arc::clone(recorder))
                .collect(),
            endpoints: endpoints.cloned().collect(),
            rollouts: rollouts
                .map(|(index, rollout)| RolloutMetrics {
                    name: rollout.name.clone(),
                    phase: self.ground.rollout(index).state.phase(),
                    step: self.ground.rollout(index).state.step(),
                    verdict: self.court.verdict(&rollout.name).map(|verdict| verdict.kind),
                    diverted: table.routes[rollout.route].variants[self.ground.pair(index).1]
                        .breaker
                        .as_ref()
                        .map_or(0, |(breaker, _)| breaker.diverted()),
                })
                .collect(),
            issuers: self.jwks.views(),
            reloads_ok: self.reloads.ok,
            reloads_failed: self.reloads.failed,
            last_reload_success: self.reloads.last_ok_ms as f64 / 1000.0,
            rollbacks: self
                .rollbacks
                .iter()
                .map(|((rollout, reason), count)| (rollout.clone(), (*reason).to_owned(), *count))
                .collect(),
            notifications: self.teller.counts(),
            certificates: self.expiries(),
            certificate_reloads: self.key_files.certificates.reloads(),
        }
    }
}

fn endpoint_view(endpoint: &Endpoint) -> EndpointView {
    EndpointView {
        address: Arc::clone(&endpoint.authority),
        // Health checks and ejection come with a later issue: refused in the file, so all are in use.
        healthy: true,
        ejected: false,
        in_flight: endpoint.in_flight(),
        connections: endpoint.connections(),
        idle: endpoint.idle(),
    }
}

fn fraction(ppm: u32) -> f64 {
    f64::from(ppm) / f64::from(MILLION)
}
