//! The life of a request, on one screen.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::access_log::{AccessLine, AccessNote};
use super::body::{AnswerBody, Outgoing, Upload};
use super::clients::Seat;
use super::course::{self, Course};
use super::fault::Fault;
use super::forward::{self, BackendBody, Missed};
use super::grpc;
use super::headers::{Forwarding, asks_for_websocket};
use super::ledger::{Ledger, Opening, Placed};
use super::ofrep;
use super::trace::Made;
use super::tunnel::Tunnel;
use super::upstream::ClientAddresses;
use super::worker::Worker;
use crate::head::{Method, RequestHead, ResponseHead, Version};
use crate::measure::{Outcome, Room};
use crate::route::{AccessLog, ListenerSettings, Table, is_in};
use crate::tls;

/// What is known of the connection that a request came on.
pub(super) struct Client {
    pub(super) peer: IpAddr,
    /// The two ends of its connection; `peer` is the source's address.
    pub(super) addresses: ClientAddresses,
    /// `peer` as text.
    pub(super) peer_text: String,
    pub(super) https: bool,
    /// Who its verified certificate says it is.
    pub(super) certificate: Option<Box<str>>,
    /// Passed on by a peer that does not know who it is: `peer` is that one, and is not believed for it.
    pub(super) is_unknown: bool,
    /// What it asked for in its handshake; `None`: nothing, or there was none.
    pub(super) asked: Option<Asked>,
    /// What its answers say of `strict-transport-security`.
    pub(super) hsts: Option<Bytes>,
    /// The index of the listener that it came to.
    pub(super) listener: usize,
    /// Its place among the connections that a client may have, where those are bounded.
    pub(super) seat: Option<Seat>,
    pub(super) settings: ListenerSettings,
    /// When it ended its side of the connection, in worker microseconds; 0: it has not.
    pub(super) left_us: Rc<Cell<u64>>,
}

/// For whom a connection was opened.
pub(super) struct Asked {
    /// The name in the handshake (SNI).
    pub(super) name: Box<str>,
    /// What the handshake was made with.
    pub(super) server: Arc<tls::Server>,
}

impl Client {
    /// Whoever is at the source of `addresses`, as far as that tells.
    pub(super) fn new(addresses: ClientAddresses, https: bool, listener: usize, settings: ListenerSettings) -> Self {
        let peer = addresses.source.ip().to_canonical();
        Self {
            peer,
            addresses,
            peer_text: peer.to_string(),
            https,
            certificate: None,
            is_unknown: false,
            asked: None,
            hsts: None,
            listener,
            seat: None,
            settings,
            left_us: Rc::default(),
        }
    }

    /// It is not who connected to us, but who connected to them.
    pub(super) fn is_at(&mut self, addresses: ClientAddresses) {
        self.addresses = addresses;
        self.peer = addresses.source.ip().to_canonical();
        self.peer_text = self.peer.to_string();
    }

    /// Whether its own forwarding fields are believed.
    pub(super) fn is_trusted(&self, table: &Table) -> bool {
        !self.is_unknown && is_in(&table.trusted_proxies, self.peer)
    }

    /// What every answer to it carries.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            hsts: self.hsts.clone(),
            ..Stamp::default()
        }
    }
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
    Flags(crate::ofrep::Answer, Stamp),
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
    let call = grpc_call(&head);
    if let Err(fault) = check(worker, &head, client) {
        return refuse(worker, client, &head, fault);
    }
    if let Some(port) = client.settings.redirect_to_https
        && !came_encrypted(worker, &head, client)
    {
        return redirect(worker, client, &head, port);
    }
    if client.settings.ofrep && ofrep::is_call(head.path()) {
        return Box::pin(answer_call(worker, client, &head, body, upload)).await;
    }
    let course = match Course::choose(worker, &head, client, start_us) {
        Ok(course) => course,
        Err(fault) => return refuse(worker, client, &head, fault),
    };
    let upgrade = asks_for_tunnel(&head, &body);
    let tunnel = match upgrade
        .then(|| Tunnel::begin(worker, client.settings.upgrades))
        .transpose()
    {
        Ok(tunnel) => tunnel,
        Err(fault) => return refuse(worker, client, &head, fault),
    };
    let made = Made::new(&head, random(worker));
    let request = Attempted {
        worker,
        client,
        course: &course,
        head: &head,
        made: &made,
        upgrade,
        call,
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
        hsts: client.hsts.clone(),
        grpc: call.is_some(),
    };
    match answered {
        Ok(response) if response.head.status == 101 => Answer::Switched {
            head: response.head,
            tunnel: response.body.counted_by(tunnel),
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
    /// It asks for a WebSocket.
    upgrade: bool,
    /// It is a call of gRPC, and perhaps how long the client gives it.
    call: Option<Option<Duration>>,
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
            upgrade,
            call,
            start_us,
        } = *self;
        let body_timeout = course.route.body_timeout.unwrap_or(client.settings.body);
        let chosen = &course.route.variants[placed.variant];
        let opening = Opening {
            route: Arc::clone(&course.route),
            placed,
            key: course.key,
            cohort: course.cohort,
            upload: upload.clone(),
            start_us,
            body_timeout,
            // Streams of calls are quiet both ways, and a quiet one is no slow upload.
            upload_timeout: if call.is_some() {
                body_timeout
            } else {
                client.settings.body
            },
            call,
            left_us: Rc::clone(&client.left_us),
            access: access_note(course, head, made),
        };
        let forwarding = Forwarding {
            head,
            peer: &client.peer_text,
            addresses: client.addresses,
            peer_trusted: course.peer_trusted,
            https: client.https,
            certificate: client.certificate.as_deref(),
            upgrade,
            grpc_timeout: call.flatten().map(|time| {
                let spent = Duration::from_micros(worker.recent_us().saturating_sub(start_us));
                time.saturating_sub(spent)
            }),
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
fn check(worker: &Worker, head: &RequestHead, client: &Client) -> Result<(), Fault> {
    if worker.room() != Room::Ample {
        return Err(Fault::Overloaded);
    }
    if matches!(head.method(), Method::Connect | Method::Trace) {
        return Err(Fault::MethodNotAllowed);
    }
    if head.target_bytes().len() > client.settings.uri_bytes as usize {
        return Err(Fault::UriTooLong);
    }
    // A client that named no host in its handshake was shown the default, and knows what it does. A proxy that is
    // believed speaks for many hosts on one connection.
    if let Some(Asked { name, server }) = &client.asked
        && !head.host().is_empty()
        && !server.may_ask(name, head.host())
        && !worker.with_table(|table| client.is_trusted(table))
    {
        return Err(Fault::Misdirected);
    }
    Ok(())
}

/// Whether a proxy that is believed has ended TLS for it: sent to `https`, it would come back here for ever.
fn came_encrypted(worker: &Worker, head: &RequestHead, client: &Client) -> bool {
    worker.with_table(|table| client.is_trusted(table)) && course::came_encrypted(head)
}

/// Sends the client to the same by `https`. The authority is one, or the head would have been refused.
fn redirect(worker: &Worker, client: &Client, head: &RequestHead, port: u16) -> Answer {
    if head.host().is_empty() {
        return refuse(worker, client, head, Fault::BadRequest(NO_HOST));
    }
    // As what goes well: a line is for those who want them all.
    if worker.with_table(|table| table.access_log) == AccessLog::All {
        log_own(worker, client, head, 308, None);
    }
    Answer::Redirect(https_location(head.host(), port, head.target()))
}

/// Why a request without a host is not sent to `https`.
const NO_HOST: &str = "there is no host in this request that it could be sent to by https";

/// `https://host[:port]/target`.
fn https_location(host: &str, port: u16, target: &str) -> Bytes {
    let mut location = format!("https://{host}");
    if port != 443 {
        location.push(':');
        location.push_str(itoa::Buffer::new().format(port));
    }
    // `*` asks for the server itself (RFC 9110 §7.1).
    location.push_str(if target.starts_with('/') { target } else { "/" });
    location.into()
}

/// Whether it asks for a WebSocket: by GET and without content (RFC 6455 §4.1), what follows the head belongs to the
/// tunnel.
fn asks_for_tunnel(head: &RequestHead, body: &Outgoing) -> bool {
    head.version() != Version::Http10
        && *head.method() == Method::Get
        && matches!(body, Outgoing::Empty)
        && asks_for_websocket(head)
}

/// Whether it is a call of gRPC, which there is over HTTP/2 only, and how long the client gives it: a deadline that
/// nobody can understand is passed on as it is.
fn grpc_call(head: &RequestHead) -> Option<Option<Duration>> {
    if head.version() != Version::Http2 || !head.fields().get("content-type").is_some_and(grpc::is_grpc) {
        return None;
    }
    Some(head.fields().get("grpc-timeout").and_then(grpc::timeout))
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
                log_own(worker, client, head, answer.status, None);
            }
            Answer::Flags(answer, client.stamp())
        }
        Err(fault) => refuse(worker, client, head, fault),
    }
}

/// An answer of ours to a request that has no course.
fn refuse(worker: &Worker, client: &Client, head: &RequestHead, fault: Fault) -> Answer {
    if let Some(reason) = fault.reject_reason() {
        worker.cells().reject(reason);
    }
    let grpc = grpc_call(head).is_some();
    let (status, grpc_status) = match grpc {
        true => (200, Some(fault.grpc_status())),
        false => (fault.status(), None),
    };
    log_own(worker, client, head, status, grpc_status);
    let stamp = Stamp { grpc, ..client.stamp() };
    Answer::Own(fault, stamp)
}

/// The access line of an answer that no backend had part in.
fn log_own(worker: &Worker, client: &Client, head: &RequestHead, status: u16, grpc_status: Option<u8>) {
    if worker.with_table(|table| table.access_log) != AccessLog::Off {
        let mut line = AccessLine::new(head, client.peer, Bytes::new());
        line.finish(Outcome::NoEvidence, status, None, 0);
        line.grpc_status = grpc_status;
        worker.log_access(line);
    }
}

#[cfg(test)]
mod tests {
    use super::https_location;

    #[test]
    fn a_client_is_sent_to_the_same_place() {
        let check = |host, port, target, expected: &str| {
            assert_eq!(https_location(host, port, target), expected);
        };
        check("shop.test", 443, "/a?b=c", "https://shop.test/a?b=c");
        check("shop.test", 8443, "/", "https://shop.test:8443/");
        check("[::1]", 443, "//evil.test/", "https://[::1]//evil.test/");
        check("shop.test", 443, "*", "https://shop.test/");
    }
}
