//! The life of a request, on one screen.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::access_log::{AccessLine, AccessNote};
use super::body::{AnswerBody, Outgoing, Upload};
use super::course::Course;
use super::fault::Fault;
use super::forward::{self, BackendBody, Missed};
use super::headers::{Forwarding, asks_for_websocket};
use super::ledger::{Ledger, Opening, Placed};
use super::ofrep;
use super::trace::Made;
use super::worker::Worker;
use crate::head::{Method, RequestHead, ResponseHead, Version};
use crate::measure::Outcome;
use crate::route::{AccessLog, ListenerSettings};

/// What is known of the connection that a request came on.
pub(super) struct Client {
    pub(super) peer: IpAddr,
    /// `peer` as text.
    pub(super) peer_text: String,
    pub(super) https: bool,
    /// Who its verified certificate says it is.
    pub(super) certificate: Option<Box<str>>,
    pub(super) settings: ListenerSettings,
    /// When it ended its side of the connection, in worker microseconds; 0: it has not.
    pub(super) left_us: Rc<Cell<u64>>,
}

/// What the client is sent.
pub(super) enum Answer {
    /// A backend's response.
    Backend {
        head: Box<ResponseHead>,
        body: AnswerBody,
        stamp: Stamp,
    },
    /// A backend has switched protocols: from here on bytes pass both ways.
    Switched {
        head: Box<ResponseHead>,
        tunnel: BackendBody,
        stamp: Stamp,
    },
    /// Ours, to an application that asked for flags.
    Flags(crate::ofrep::Answer),
    /// Ours: the same by `https`, at this address.
    Redirect(Bytes),
    /// Ours.
    Own(Fault, Stamp),
}

/// What we add to an answer.
#[derive(Default)]
pub(super) struct Stamp {
    /// Unless the route hides it.
    pub(super) served: Option<Served>,
    /// The value of a `set-cookie` field.
    pub(super) cookie: Option<Bytes>,
    /// Of `strict-transport-security`.
    pub(super) hsts: Option<Bytes>,
    /// The client speaks gRPC: what goes wrong is told in its words.
    pub(super) grpc: bool,
}

/// Which variant of which generation answered.
pub(super) struct Served {
    pub(super) variant: Bytes,
    pub(super) generation: Bytes,
}

/// Serves one request: choose, ask the breaker, forward. The ledger records on drop.
pub(super) async fn handle(
    worker: &Rc<Worker>,
    client: &Client,
    head: Rc<RequestHead>,
    body: Outgoing,
    upload: Option<Rc<Upload>>,
) -> Answer {
    let start_us = worker.now_us();
    if let Err(fault) = check(&head, client) {
        return refuse(worker, client, &head, fault);
    }
    if client.settings.ofrep && ofrep::is_call(head.path()) {
        return Box::pin(answer_call(worker, client, &head, body, upload)).await;
    }
    let course = match Course::choose(worker, &head, client, start_us) {
        Ok(course) => course,
        Err(fault) => return refuse(worker, client, &head, fault),
    };
    let made = Made::new(&head, random(worker));
    let request = Attempted {
        worker,
        client,
        course: &course,
        head: &head,
        made: &made,
        start_us,
    };
    let placed = course.admit(worker, start_us);
    let variant = placed.variant;
    let (variant, answered) = match request.attempt(placed, body, upload.clone()).await {
        Err(Missed::Diverted(body)) => {
            let placed = course.divert();
            let stable = placed.variant;
            (stable, Box::pin(request.attempt(placed, body, upload)).await)
        }
        answered => (variant, answered),
    };
    let stamp = Stamp {
        served: course.route.expose_variant.then(|| Served {
            variant: course.route.variants[variant].name.header().clone(),
            generation: course.generation.clone(),
        }),
        cookie: course.cookie.clone(),
        hsts: None,
        grpc: false,
    };
    match answered {
        Ok(response) if response.head.status == 101 => Answer::Switched {
            head: response.head,
            tunnel: response.body,
            stamp,
        },
        Ok(response) => Answer::Backend {
            head: response.head,
            body: AnswerBody::Backend(response.body),
            stamp,
        },
        Err(missed) => {
            let fault = match missed {
                Missed::Fault(fault) => fault,
                // Stable has no breaker of its own.
                Missed::Diverted(_) => Fault::BackendFull,
            };
            if let Some(reason) = fault.reject_reason() {
                worker.cells().reject(reason);
            }
            Answer::Own(fault, stamp)
        }
    }
}

/// One request, and what is known of it before it is sent anywhere.
struct Attempted<'r> {
    worker: &'r Rc<Worker>,
    client: &'r Client,
    course: &'r Course,
    head: &'r Rc<RequestHead>,
    made: &'r Made,
    start_us: u64,
}

impl Attempted<'_> {
    /// Sends it to the variant where it was placed.
    async fn attempt(
        &self,
        placed: Placed,
        body: Outgoing,
        upload: Option<Rc<Upload>>,
    ) -> Result<forward::Response, Missed> {
        let Self {
            worker,
            client,
            course,
            head,
            made,
            start_us,
        } = *self;
        let chosen = &course.route.variants[placed.variant];
        let opening = Opening {
            route: Arc::clone(&course.route),
            placed,
            key: course.key,
            cohort: course.cohort,
            upload: upload.clone(),
            start_us,
            body_timeout: client.settings.body,
            left_us: Rc::clone(&client.left_us),
            access: access_note(course, head, made),
        };
        let forwarding = Forwarding {
            head,
            peer: &client.peer_text,
            peer_trusted: course.peer_trusted,
            https: client.https,
            // By GET and without content (RFC 6455 §4.1): what follows the head belongs to the tunnel.
            upgrade: head.version() == Version::Http11
                && *head.method() == Method::Get
                && matches!(body, Outgoing::Empty)
                && asks_for_websocket(head),
            route: course.route.name.header(),
            variant: chosen.name.header(),
            cohort: course
                .cohort
                .map(|index| course.route.flag.cohorts[index].name.header()),
            secret: course.route.withheld.from(course.cohort),
            made,
        };
        let ledger = Ledger::open(worker, opening);
        forward::exchange(ledger, chosen, &forwarding, body, upload).await
    }
}

/// What we do not pass on, whatever the routes say.
fn check(head: &RequestHead, client: &Client) -> Result<(), Fault> {
    if matches!(head.method(), Method::Connect | Method::Trace) {
        return Err(Fault::MethodNotAllowed);
    }
    if head.target_bytes().len() > client.settings.uri_bytes as usize {
        return Err(Fault::UriTooLong);
    }
    Ok(())
}

fn random(worker: &Worker) -> [u64; 4] {
    std::array::from_fn(|_| worker.draw())
}

fn access_note(course: &Course, head: &Rc<RequestHead>, made: &Made) -> Option<AccessNote> {
    (course.access != AccessLog::Off).then(|| AccessNote {
        head: Rc::clone(head),
        client: course.client,
        request_id: made.request_id.clone(),
        cohort: course.cohort,
        always: course.access == AccessLog::All,
    })
}

/// Answers an application that asks for flags.
async fn answer_call(
    worker: &Worker,
    client: &Client,
    head: &RequestHead,
    body: Outgoing,
    upload: Option<Rc<Upload>>,
) -> Answer {
    match ofrep::serve(worker, client, head, body, upload).await {
        Ok(answer) => {
            if worker.with_table(|table| table.access_log) == AccessLog::All || answer.status >= 400 {
                log_own(worker, client, head, answer.status);
            }
            Answer::Flags(answer)
        }
        Err(fault) => refuse(worker, client, head, fault),
    }
}

/// An answer of ours to a request that has no course.
fn refuse(worker: &Worker, client: &Client, head: &RequestHead, fault: Fault) -> Answer {
    if let Some(reason) = fault.reject_reason() {
        worker.cells().reject(reason);
    }
    log_own(worker, client, head, fault.status());
    Answer::Own(fault, Stamp::default())
}

/// The access line of an answer that no backend had part in.
fn log_own(worker: &Worker, client: &Client, head: &RequestHead, status: u16) {
    if worker.with_table(|table| table.access_log) != AccessLog::Off {
        let mut line = AccessLine::new(head, client.peer, Bytes::new());
        line.finish(Outcome::NoEvidence, status, None, 0);
        worker.log_access(line);
    }
}
