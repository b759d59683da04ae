//! The life of a request, on one screen.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::access_log::{AccessLine, AccessNote};
use super::body::{AnswerBody, Outgoing, Upload};
use super::fault::Fault;
use super::forward::{self, BackendBody, Missed};
use super::headers::{Forwarding, asks_for_websocket};
use super::ledger::{Ledger, Opening, Placed};
use super::ofrep;
use super::trace::Made;
use super::worker::Worker;
use crate::head::{Method, RequestHead, ResponseHead, Version};
use crate::jwt;
use crate::measure::{Outcome, Track};
use crate::route::{AccessLog, Admission, ListenerSettings, Request, Route, Table, is_in};

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
}

/// Which variant of which generation answered.
pub(super) struct Served {
    pub(super) variant: Bytes,
    pub(super) generation: Bytes,
}

/// Where a request goes: what it takes from the one table that it sees.
struct Course {
    route: Arc<Route>,
    variant: usize,
    cohort: Option<usize>,
    track: Track,
    key: Option<u32>,
    /// The sticky cookie that the answer sets.
    cookie: Option<Bytes>,
    generation: Bytes,
    peer_trusted: bool,
    client: IpAddr,
    access: AccessLog,
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
    let course = match choose(worker, &head, client, start_us) {
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
    let placed = admit(worker, &course, start_us);
    let variant = placed.variant;
    let (variant, answered) = match request.attempt(placed, body, upload.clone()).await {
        Err(Missed::Diverted(body)) => {
            let placed = divert(&course);
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
            secret: &course.route.secret_headers,
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

/// One look at the table. Its guard ends here, before anything is awaited.
fn choose(worker: &Worker, head: &RequestHead, client: &Client, now_us: u64) -> Result<Course, Fault> {
    let draw = worker.draw();
    worker.with_table(|table| {
        let route = table.find(head).ok_or(Fault::NoRoute)?;
        let peer_trusted = is_in(&table.trusted_proxies, client.peer);
        let origin = if peer_trusted {
            origin(table, head, client.peer)
        } else {
            client.peer
        };
        let now_s = worker.unix_s(now_us);
        let asked = jwt::Asked {
            issuers: &table.issuers,
            head,
            client: origin,
            now_s,
        };
        let asks_claims = table.routes[route].flag.asks_claims;
        let claims = asks_claims.then(|| worker.claims(&asked)).flatten();
        let request = Request {
            head,
            client: origin,
            certificate: client.certificate.as_deref(),
            claims: claims.as_deref(),
            now_s,
        };
        let choice = table.choose(route, &request, draw);
        let cookie = choice.cookie.and_then(|draw| {
            let https = client.https || (peer_trusted && came_encrypted(head));
            let field = choice.route.flag.sticky.as_ref()?.seal(draw, now_s, https);
            Some(Bytes::from(field))
        });
        Ok(Course {
            route: Arc::clone(choice.route),
            variant: choice.variant,
            cohort: choice.cohort,
            track: choice.track,
            key: choice.key,
            cookie,
            generation: table.generation_text.clone(),
            peer_trusted,
            client: origin,
            access: table.access_log,
        })
    })
}

/// The rightmost address of `x-forwarded-for` that is no trusted proxy.
fn origin(table: &Table, head: &RequestHead, peer: IpAddr) -> IpAddr {
    let mut origin = peer;
    let values: smallvec::SmallVec<[&[u8]; 4]> = head.fields().get_all("x-forwarded-for").collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(|&b| b == b','));
    for hop in hops {
        let Some(address) = std::str::from_utf8(hop)
            .ok()
            .and_then(|hop| hop.trim().parse::<IpAddr>().ok())
        else {
            break;
        };
        origin = address.to_canonical();
        if !is_in(&table.trusted_proxies, origin) {
            break;
        }
    }
    origin
}

/// Whether a proxy that is believed says that its client came over TLS.
fn came_encrypted(head: &RequestHead) -> bool {
    let proto = head.fields().get("x-forwarded-proto");
    proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
}

/// Asks the breaker, and whether the key may vote once more. Both before anything is known of how the
/// request will end.
fn admit(worker: &Worker, course: &Course, now_us: u64) -> Placed {
    let variant = &course.route.variants[course.variant];
    let place = match &variant.breaker {
        None => None,
        Some((breaker, _)) => match breaker.admit(course.track, now_us) {
            Admission::Canary(place) => place,
            Admission::Stable => return divert(course),
        },
    };
    let votes = course.track != Track::Cohort && variant.hears(worker.id, course.key, now_us);
    Placed {
        variant: course.variant,
        track: if votes { course.track } else { Track::Cohort },
        chosen: course.track,
        place,
    }
}

/// What the breaker refuses goes to stable, and is no evidence for it.
fn divert(course: &Course) -> Placed {
    let breaker = course.route.variants[course.variant].breaker.as_ref();
    Placed {
        variant: breaker.map_or(course.variant, |&(_, stable)| stable),
        track: Track::Cohort,
        chosen: Track::Cohort,
        place: None,
    }
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
