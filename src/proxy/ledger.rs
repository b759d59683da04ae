//! One for each exchange: whose fault, how long, recorded exactly once, on drop.
//!
//! The entry itself lives in the worker's wheel, so that one tick finds what is late without a
//! timer for each request; [`Ledger`] is the key to it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::access_log::{AccessLine, AccessNote};
use super::body::Upload;
use super::fault::Fault;
use super::grpc::{self, Status};
use super::outcome_log::OutcomeLine;
use super::wheel::{Key, TICK_US};
use super::worker::{Timed, Worker};
use crate::head::{Fields, ResponseHead};
use crate::measure::{CodeClass, Outcome, PATIENCE, Recorder, Track};
use crate::outcome::Vote;
use crate::route::{Endpoint, Place, Route, Variant};

/// What one exchange with a backend has come to so far.
pub(super) struct Exchange {
    route: Arc<Route>,
    placed: Placed,
    /// Hash of the request's key.
    key: Option<u32>,
    /// Index of the cohort that placed it; it counts there, too.
    cohort: Option<usize>,
    endpoint: Option<Arc<Endpoint>>,
    start_us: u64,
    left_us: Rc<Cell<u64>>,
    upload: Option<Rc<Upload>>,
    stage: Stage,
    /// The first blame wins.
    outcome: Option<Outcome>,
    /// Latency limits met by the clock, a bit each.
    slow: u16,
    /// The endpoint warms up: its latency is no evidence.
    warming: bool,
    /// Sent to the client; 0 while nothing was.
    status: u16,
    latency_us: u64,
    timeout_us: u64,
    /// Between two reads of the answer's body.
    idle_us: u64,
    /// Between two reads of the request's body.
    upload_idle_us: u64,
    /// When the exchange has had all the time that its route gives it, in worker microseconds.
    total_due_us: u64,
    call: Option<Call>,
    /// Spent waiting for the answer's body so far, without the present wait.
    body_waited_us: u64,
    /// Something of the answer's body has come.
    heard: bool,
    late: Option<Late>,
    waker: Option<Waker>,
    access: Option<AccessNote>,
    /// Another exchange answers for it.
    diverted: bool,
}

/// A call of gRPC: its status says how it ended, not HTTP's.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// When the client wants to hear no more, in worker microseconds; `u64::MAX`: it did not say.
    due_us: u64,
    /// The answer is one of gRPC, and owes a status.
    is_answered: bool,
    /// What its head says of it already.
    status: Option<Status>,
    /// The number that the client was told at the end.
    told: Option<u8>,
    /// It was told so by us, in an answer of ours: that is a 200, whatever the fault.
    is_own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No response head yet.
    Head,
    /// The head has come; waiting for the backend's next bytes since then, or (0) for the client.
    Body { waiting_since_us: u64 },
}

/// Who was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The backend: no head in `timeout`, or no more of its body.
    Backend,
    /// The client: no more of its body.
    Client,
    /// Nobody: the variant lost its weight, and what is open there has had its time. It stays so.
    Drained,
    /// The route's limit of the whole exchange is met. It stays so.
    Total,
    /// The client's own deadline is over. It stays so.
    Deadline,
}

impl Late {
    /// Whether the exchange has to end, whatever comes still.
    const fn is_final(self) -> bool {
        matches!(self, Self::Drained | Self::Total | Self::Deadline)
    }
}

/// Where a request goes, now that breaker and votes have been asked.
pub(super) struct Placed {
    pub(super) variant: usize,
    /// The book it is kept in.
    pub(super) track: Track,
    /// The one that the table chose. Another one, where the request's key has voted often enough: what
    /// it costs a canary is counted all the same.
    pub(super) chosen: Track,
    /// Held until the response head has come.
    pub(super) place: Option<Place>,
}

/// What opens a ledger.
pub(super) struct Opening {
    pub(super) route: Arc<Route>,
    pub(super) placed: Placed,
    /// Hash of the request's key.
    pub(super) key: Option<u32>,
    /// Index of the cohort that placed it.
    pub(super) cohort: Option<usize>,
    pub(super) upload: Option<Rc<Upload>>,
    /// When the request's head was complete, in worker microseconds.
    pub(super) start_us: u64,
    /// Between two reads of the answer's body.
    pub(super) body_timeout: Duration,
    /// Between two reads of the request's body.
    pub(super) upload_timeout: Duration,
    /// It is a call of gRPC, and perhaps how long the client gives it.
    pub(super) call: Option<Option<Duration>>,
    /// When the client ended its side, in worker microseconds; 0: it has not.
    pub(super) left_us: Rc<Cell<u64>>,
    pub(super) access: Option<AccessNote>,
}

/// The key to one exchange's entry. Dropping it records the exchange.
pub(super) struct Ledger {
    worker: Rc<Worker>,
    key: Key,
}

impl Ledger {
    /// Opens an entry: the request counts as dispatched from here on.
    pub(super) fn open(worker: &Rc<Worker>, opening: Opening) -> Self {
        let total = opening.route.total_timeout;
        let call = opening.call.map(|deadline| Call {
            due_us: deadline.map_or(u64::MAX, |time| opening.start_us.saturating_add(micros(time))),
            is_answered: false,
            status: None,
            told: None,
            is_own: false,
        });
        let exchange = Exchange {
            timeout_us: micros(opening.route.timeout),
            total_due_us: total.map_or(u64::MAX, |time| opening.start_us.saturating_add(micros(time))),
            call,
            route: opening.route,
            placed: opening.placed,
            key: opening.key,
            cohort: opening.cohort,
            endpoint: None,
            start_us: opening.start_us,
            left_us: opening.left_us,
            upload: opening.upload,
            stage: Stage::Head,
            outcome: None,
            slow: 0,
            warming: false,
            status: 0,
            latency_us: 0,
            idle_us: micros(opening.body_timeout),
            upload_idle_us: micros(opening.upload_timeout),
            body_waited_us: 0,
            heard: false,
            late: None,
            waker: None,
            access: opening.access,
            diverted: false,
        };
        exchange
            .variant()
            .recorder
            .cell(worker.id)
            .dispatched(exchange.placed.track);
        if let Some(cohort) = exchange.cohort_recorder() {
            cohort.cell(worker.id).dispatched(COHORTS);
        }
        let due = exchange.due_us(opening.start_us).min(exchange.end_us()) / TICK_US + 1;
        let key = worker.begin_exchange(due, Timed::Exchange(exchange));
        Self {
            worker: Rc::clone(worker),
            key,
        }
    }

    /// The worker it belongs to.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Connections that its backend may have.
    pub(super) fn max_connections(&self) -> u32 {
        self.with(|exchange| exchange.variant().backend.max_connections)
    }

    /// What its route says of silence between two parts of a body.
    pub(super) fn body_timeout(&self) -> Option<Duration> {
        self.with(|exchange| exchange.route.body_timeout)
    }

    /// The endpoint that is tried.
    pub(super) fn set_endpoint(&self, endpoint: &Arc<Endpoint>) {
        self.with(|exchange| {
            let cell = |endpoint: &Arc<Endpoint>, change| endpoint.cell(self.worker.id).add_in_flight(change);
            if let Some(before) = exchange.endpoint.replace(Arc::clone(endpoint)) {
                cell(&before, -1);
            }
            cell(endpoint, 1);
            exchange.warming = endpoint.warms_up(exchange.variant().warm_up);
        });
    }

    /// Says whose fault it is, unless that is known already.
    pub(super) fn blame(&self, outcome: Outcome) {
        self.with(|exchange| {
            exchange.outcome.get_or_insert(outcome);
        });
    }

    /// Books a fault, and the status that the client is sent for it.
    pub(super) fn fault(&self, fault: Fault) {
        let now_us = self.worker.now_us();
        self.with(|exchange| {
            // A client that has left was given time; what the backend failed to do in that time is judged by when it left.
            let outcome = match fault {
                Fault::ResponseTimeout if exchange.left_us.get() != 0 => exchange.abandoned(now_us),
                Fault::Deadline | Fault::TotalTimeout => exchange.outcome_of_late(exchange.late, now_us),
                _ => fault.outcome(),
            };
            exchange.outcome.get_or_insert(outcome);
            exchange.status = fault.status();
            if let Some(call) = &mut exchange.call {
                (call.told, call.is_own) = (Some(fault.grpc_status()), true);
            }
        });
    }

    /// Whether the breaker still lets this request be dispatched. It is asked again after each wait:
    /// an abort must not be overtaken by a request that was admitted before it.
    pub(super) fn is_admitted(&self) -> bool {
        let now_us = self.worker.now_us();
        self.with(|exchange| match &exchange.variant().breaker {
            Some((breaker, _)) => breaker.admits_still(exchange.placed.chosen, now_us),
            None => true,
        })
    }

    /// It was not sent after all, and goes elsewhere: no evidence, and no answer of this variant.
    pub(super) fn divert(&self) {
        self.blame(Outcome::NoEvidence);
        self.with(|exchange| exchange.diverted = true);
    }

    /// The response head has come.
    pub(super) fn headed(&self, head: &ResponseHead) {
        let status = head.status;
        let now_us = self.worker.now_us();
        self.with(|exchange| {
            exchange.latency_us = exchange.age_us(now_us);
            if let Some(upload) = &exchange.upload {
                upload.head_came(now_us);
            }
            exchange.status = status;
            exchange.stage = Stage::Body { waiting_since_us: 0 };
            // It came, if only just.
            exchange.forgive();
            exchange.placed.place = None;
            let track = exchange.placed.track;
            let recorder = &exchange.variant().recorder;
            let cell = recorder.cell(self.worker.id);
            if exchange.warming {
                cell.headed_warming(track);
            } else {
                cell.headed(track, recorder, exchange.latency_us, exchange.slow);
            }
            let cohort = exchange.cohort_recorder();
            if let Some(cohort) = cohort {
                // Everybody's latency is shown, also a cold endpoint's; nobody is judged by it.
                cohort
                    .cell(self.worker.id)
                    .headed(COHORTS, cohort, exchange.latency_us, 0);
            }
            let statuses = &exchange.route.failure_statuses;
            let outcome = statuses.outcome_of(status);
            if outcome == Outcome::Success {
                return exchange.call_answered(head);
            }
            if exchange.outcome.is_some() {
                return;
            }
            // What a broken upload is answered is this client's doing, whoever served it.
            if statuses.is_client_error(status) && !exchange.upload_is_broken() {
                cell.client_error(track);
                if let Some(cohort) = cohort {
                    cohort.cell(self.worker.id).client_error(COHORTS);
                }
            }
            exchange.outcome = Some(outcome);
        });
    }

    /// We wait for the backend's next bytes.
    pub(super) fn waits_for_backend(&self) {
        let now_us = self.worker.now_us();
        self.with(|exchange| {
            if let Stage::Body { waiting_since_us } = &mut exchange.stage
                && *waiting_since_us == 0
            {
                *waiting_since_us = now_us.max(1);
            }
        });
    }

    /// They have come. Why the exchange has to end all the same, if it has to.
    pub(super) fn hears_backend(&self) -> Option<Late> {
        let recent_us = self.worker.recent_us();
        self.with(|exchange| {
            if let Stage::Body { waiting_since_us } = &mut exchange.stage {
                let since_us = std::mem::take(waiting_since_us);
                if since_us != 0 {
                    exchange.body_waited_us += recent_us.saturating_sub(since_us);
                }
                exchange.heard = true;
                exchange.forgive();
            }
            exchange.late.filter(|late| late.is_final())
        })
    }

    /// The backend has done its part: an answer came to its end, with these `trailers`. A call of gRPC is judged by
    /// the status that it ends with.
    pub(super) fn complete(&self, trailers: Option<&Fields>) {
        let now_us = self.worker.recent_us();
        self.with(|exchange| {
            let said = trailers.and_then(Status::of);
            if let Some(call) = exchange.call.as_mut().filter(|call| call.is_answered) {
                call.told = said.or(call.status).map(Status::number);
            }
            let Some(call) = exchange
                .call
                .filter(|call| call.is_answered && exchange.outcome.is_none())
            else {
                exchange.outcome.get_or_insert(Outcome::Success);
                return;
            };
            let status = said.or(call.status).unwrap_or(Status::UNKNOWN);
            let mut outcome = status.outcome();
            // A client must not speak against a release by giving it no time.
            let hurried = status == Status::DEADLINE_EXCEEDED && call.due_us != u64::MAX;
            if hurried && !exchange.has_waited(now_us) {
                outcome = Outcome::NoEvidence;
            } else if outcome == Outcome::NoEvidence && status != Status::CANCELLED {
                // As a 4xx: no failure, but what stable does not answer as often.
                let cell = |recorder: &Recorder, track| recorder.cell(self.worker.id).client_error(track);
                cell(&exchange.variant().recorder, exchange.placed.track);
                if let Some(cohort) = exchange.cohort_recorder() {
                    cell(cohort, COHORTS);
                }
            }
            exchange.outcome = Some(outcome);
        });
    }

    /// What it shows about the backend that the exchange ends because of `late`, after the head has come.
    pub(super) fn blame_late(&self, late: Late) {
        let now_us = self.worker.recent_us();
        let outcome = self.with(|exchange| exchange.outcome_of_late(Some(late), now_us));
        self.blame(outcome);
    }

    /// Whether the client is to be told by the status of gRPC that its deadline is over. Then it is.
    pub(super) fn tells_deadline(&self) -> bool {
        self.with(|exchange| match &mut exchange.call {
            Some(call) if call.is_answered => {
                call.told = Some(Status::DEADLINE_EXCEEDED.number());
                true
            }
            _ => false,
        })
    }

    /// Ready when somebody was too slow.
    pub(super) fn poll_late(&self, cx: &Context<'_>) -> Poll<Late> {
        self.with(|exchange| match exchange.late {
            Some(late) => Poll::Ready(late),
            None => exchange.listen(cx),
        })
    }

    /// Ready when the exchange has to end, whoever is slow.
    pub(super) fn poll_final(&self, cx: &Context<'_>) -> Poll<Late> {
        self.with(|exchange| match exchange.late {
            Some(late) if late.is_final() => Poll::Ready(late),
            _ => exchange.listen(cx),
        })
    }

    /// Why the exchange has to end, if it has to.
    pub(super) fn final_late(&self) -> Option<Late> {
        self.with(|exchange| exchange.late.filter(|late| late.is_final()))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Exchange) -> R) -> R {
        self.worker.with_exchange(self.key, f)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let exchange = self.worker.end_exchange(self.key);
        exchange.record(&self.worker);
    }
}

impl Exchange {
    /// Serves a tick: counts what grew slow, notes who is late. The answer is when to look again.
    pub(super) fn tick(&mut self, worker_id: usize, now_us: u64) -> Option<u64> {
        let curfew_us = self.route.curfew_us(self.placed.variant);
        let late = match self.stage {
            _ if self.late.is_some_and(Late::is_final) => self.late,
            Stage::Head => {
                let age_us = self.age_us(now_us);
                if !self.warming {
                    let recorder = &self.route.variants[self.placed.variant].recorder;
                    for (index, limit_us) in recorder.limits_but(self.slow) {
                        if age_us > limit_us {
                            self.slow |= 1 << index;
                            recorder.cell(worker_id).slow(self.placed.track, index);
                        }
                    }
                }
                if age_us >= self.timeout_us {
                    Some(Late::Backend)
                } else {
                    (self.upload_wait_us(now_us) >= self.upload_idle_us).then_some(Late::Client)
                }
            }
            Stage::Body { waiting_since_us } => {
                let is_late = waiting_since_us != 0 && now_us.saturating_sub(waiting_since_us) >= self.idle_us;
                // While the client still uploads, it is the client that we wait for.
                let waits_for_client = self.upload_wait_us(now_us) > 0;
                is_late.then_some(if waits_for_client { Late::Client } else { Late::Backend })
            }
        };
        let ends_us = self.end_us().min(curfew_us);
        match late.or_else(|| (now_us >= ends_us).then(|| self.late_at(now_us))) {
            Some(late) => {
                self.expire(late);
                // The head may have come at this very moment, and then its body has a limit too; more of the body
                // may lie there untaken, and then nobody is late: look again.
                Some(now_us / TICK_US + 100)
            }
            None => Some(self.due_us(now_us).min(ends_us) / TICK_US + 1),
        }
    }

    fn listen<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The answer has begun well, as far as HTTP goes. Where it is that of a call, its end is judged.
    fn call_answered(&mut self, head: &ResponseHead) {
        let Some(call) = &mut self.call else {
            return;
        };
        call.is_answered = head.fields.get("content-type").is_some_and(grpc::is_grpc);
        call.status = Status::of(&head.fields);
        if !call.is_answered {
            // Whoever calls what is no service of gRPC learns nothing about it, and shows nothing.
            self.outcome.get_or_insert(Outcome::NoEvidence);
        }
    }

    /// Who was late has done something after all.
    fn forgive(&mut self) {
        self.late.take_if(|late| !late.is_final());
    }

    /// When it has to end because of its own limits, in worker microseconds.
    fn end_us(&self) -> u64 {
        self.call.map_or(u64::MAX, |call| call.due_us).min(self.total_due_us)
    }

    /// Why it has to end now that it has to.
    fn late_at(&self, now_us: u64) -> Late {
        match self.call {
            Some(call) if now_us >= call.due_us => Late::Deadline,
            _ if now_us >= self.total_due_us => Late::Total,
            _ => Late::Drained,
        }
    }

    fn expire(&mut self, late: Late) {
        self.late = Some(late);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// When something may have to be done, in worker microseconds.
    fn due_us(&self, now_us: u64) -> u64 {
        match self.stage {
            Stage::Head => {
                let waiting = self.upload_wait_us(now_us);
                if waiting > 0 {
                    // The clock stands still: look again when the client may be late, soon enough
                    // for limits once it goes on.
                    return now_us + (self.upload_idle_us.saturating_sub(waiting)).clamp(TICK_US, 100_000);
                }
                let counted = if self.warming { u16::MAX } else { self.slow };
                let limits = self.variant().recorder.limits_but(counted);
                let next_limit_us = limits.map(|(_, limit_us)| limit_us).fold(self.timeout_us, u64::min);
                // Limits move: one that came down meanwhile is met within a second.
                let due_us = now_us + next_limit_us.saturating_sub(self.age_us(now_us)).min(1_000_000);
                if self.upload.as_ref().is_some_and(|upload| !upload.is_complete()) {
                    // A wait for the client may begin at any moment.
                    return due_us.min(now_us + (self.upload_idle_us / 4).clamp(TICK_US, 100_000));
                }
                due_us
            }
            Stage::Body { waiting_since_us: 0 } => now_us + self.idle_us.min(1_000_000),
            Stage::Body { waiting_since_us } => (waiting_since_us + self.idle_us).min(now_us + 1_000_000),
        }
    }

    /// Age without the time in which we waited for the client.
    fn age_us(&self, now_us: u64) -> u64 {
        let waited_us = self.upload.as_ref().map_or(0, |upload| upload.waited_us(now_us));
        now_us.saturating_sub(self.start_us).saturating_sub(waited_us)
    }

    /// The variant that it is sent to.
    fn variant(&self) -> &Variant {
        &self.route.variants[self.placed.variant]
    }

    /// Where the cohort that placed it counts, if one did and counts what goes to this variant.
    fn cohort_recorder(&self) -> Option<&Recorder> {
        let cohort = &self.route.flag.cohorts[self.cohort?];
        cohort.recorder(self.placed.variant).map(Arc::as_ref)
    }

    fn upload_is_broken(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_broken())
    }

    fn upload_wait_us(&self, now_us: u64) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.present_wait_us(now_us))
    }

    /// The outcome where nobody was blamed: the exchange was dropped before its end, because the
    /// client left. A client that got no head for longer than the critical latency, or half the
    /// timeout, left because of the backend.
    fn abandoned(&self, now_us: u64) -> Outcome {
        // It may have been given time after it left.
        let now_us = match self.left_us.get() {
            0 => now_us,
            left_us => left_us,
        };
        if self.stage == Stage::Head && self.has_waited(now_us) {
            Outcome::Failure
        } else {
            Outcome::NoEvidence
        }
    }

    /// Whether the backend has had so much time by now that it is its fault where it has not answered.
    fn has_waited(&self, now_us: u64) -> bool {
        let critical_us = self.variant().recorder.limit_us(PATIENCE);
        self.age_us(now_us) > critical_us.min(self.timeout_us / 2)
    }

    /// What it shows that the exchange ends because somebody was `late`.
    fn outcome_of_late(&self, late: Option<Late>, now_us: u64) -> Outcome {
        let is_failure = match late {
            Some(Late::Backend) => true,
            Some(Late::Client | Late::Drained) | None => false,
            // How soon it is over is for the client to say; whoever sends something at least is at work.
            Some(Late::Deadline) => !self.heard && self.has_waited(now_us),
            // Most of the time must have been the backend's: a client that reads slowly is not its fault.
            Some(Late::Total) => {
                let spent_us = match self.stage {
                    Stage::Head => self.age_us(now_us),
                    Stage::Body { waiting_since_us: 0 } => self.latency_us + self.body_waited_us,
                    Stage::Body { waiting_since_us } => {
                        self.latency_us + self.body_waited_us + now_us.saturating_sub(waiting_since_us)
                    }
                };
                spent_us > self.total_due_us.saturating_sub(self.start_us) / 2
            }
        };
        if is_failure {
            Outcome::Failure
        } else {
            Outcome::NoEvidence
        }
    }

    fn record(mut self, worker: &Worker) {
        let outcome = match self.outcome {
            Some(outcome) => outcome,
            None if self.upload_is_broken() => Outcome::NoEvidence,
            None => self.abandoned(worker.now_us()),
        };
        let Placed { track, chosen, .. } = self.placed;
        let variant = &self.route.variants[self.placed.variant];
        let cell = variant.recorder.cell(worker.id);
        if self.stage == Stage::Head {
            cell.headless(track, self.slow);
        }
        let streak = cell.resolved(track, outcome);
        if let Some((breaker, _)) = &variant.breaker {
            if outcome == Outcome::Failure && chosen != Track::Cohort {
                breaker.take_failure();
            }
            if streak >= STREAK {
                worker.live.ring();
            }
        }
        if !self.diverted {
            cell.answered(outcome, CodeClass::of(self.status));
        }
        if let Some(cohort) = self.cohort_recorder() {
            let cell = cohort.cell(worker.id);
            if self.stage == Stage::Head {
                cell.headless(COHORTS, 0);
            }
            cell.resolved(COHORTS, outcome);
            if !self.diverted {
                cell.answered(outcome, CodeClass::of(self.status));
            }
        }
        if let Some(endpoint) = &self.endpoint {
            let cell = endpoint.cell(worker.id);
            cell.add_in_flight(-1);
            if outcome == Outcome::Failure {
                cell.add_failure();
            }
        }
        if self.late == Some(Late::Drained) && outcome == Outcome::NoEvidence {
            self.tell_drained(variant, worker.now_us());
        }
        let note = self.access.take().filter(|_| !self.diverted);
        if let Some(note) = note.filter(|note| note.always || outcome != Outcome::Success) {
            let mut line = AccessLine::new(&note.head, note.client, note.request_id.to_bytes());
            let latency_us = (self.stage != Stage::Head).then_some(self.latency_us);
            let duration_us = worker.now_us().saturating_sub(self.start_us);
            let is_own_call = self.call.is_some_and(|call| call.is_own);
            line.finish(
                outcome,
                if is_own_call { 200 } else { self.status },
                latency_us,
                duration_us,
            );
            line.grpc_status = self.call.and_then(|call| call.told);
            line.route = Some(self.route.name.clone());
            line.variant = Some(variant.name.clone());
            line.cohort = note.cohort.map(|index| self.route.flag.cohorts[index].name.clone());
            line.backend = Some(variant.backend.name.clone());
            line.endpoint = self.endpoint.as_ref().map(|endpoint| Arc::clone(&endpoint.authority));
            worker.log_access(line);
        }
        if worker.logs_outcomes() && self.route.variants.iter().any(|variant| variant.breaker.is_some()) {
            worker.log_outcome(self.into_outcome_line(outcome, worker.id, worker.now_us()));
        }
    }

    fn tell_drained(&self, variant: &Variant, now_us: u64) {
        if let Some(curfew) = &variant.curfew {
            curfew.count();
        }
        tracing::debug!(
            route = %self.route.name,
            variant = %variant.name,
            endpoint = self.endpoint.as_ref().map(|endpoint| &*endpoint.authority),
            duration_ms = now_us.saturating_sub(self.start_us) / 1000,
            "an exchange was ended: its variant has lost all its weight"
        );
    }

    /// For the outcome log; its time is the worker's.
    fn into_outcome_line(self, outcome: Outcome, worker: usize, now_us: u64) -> OutcomeLine {
        let has_head = self.stage != Stage::Head;
        let waited_us = self
            .upload
            .as_ref()
            .map_or(0, |upload| upload.waited_for_head_us(now_us));
        OutcomeLine {
            at_us: self.start_us,
            variant: self.placed.variant,
            vote: match (self.placed.track, self.placed.chosen) {
                (Track::Draw { .. }, _) if self.warming => Vote::Warming,
                (Track::Draw { .. }, _) => Vote::Full,
                (Track::Cohort, Track::Draw { .. }) => Vote::Unheard,
                (Track::Cohort, Track::Cohort) => Vote::None,
            },
            key: self.key,
            worker,
            outcome,
            status: self.status,
            latency_us: has_head.then_some(self.latency_us),
            duration_us: now_us.saturating_sub(self.start_us),
            waited_us,
            route: self.route,
        }
    }
}

/// The book of a cohort's recorders: theirs are no evidence, so votes and others stand in one.
const COHORTS: Track = Track::Draw { slot: 0 };

/// So many failures in a row wake control before its next tick.
const STREAK: u32 = 4;

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
