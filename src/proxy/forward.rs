//! The exchange with an endpoint: a connection, the request, the response's head and body.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::body::{Broken, Frame, Length, Outgoing, Upload};
use super::fault::Fault;
use super::h1_client::{BodyFault, Connection, Counted, SendFault};
use super::headers::Forwarding;
use super::ledger::{Late, Ledger};
use super::worker::Worker;
use crate::head::ResponseHead;
use crate::measure::Outcome;
use crate::route::{Backend, Endpoint, Variant};

/// A response whose head has come.
pub(super) struct Response {
    pub(super) head: Box<ResponseHead>,
    pub(super) body: BackendBody,
}

/// The body of a backend's response. Records the exchange when it ends, breaks or is dropped.
pub(super) struct BackendBody {
    /// What it comes on; `None` once it has ended: the connection is back in the pool.
    connection: Option<Box<Connection>>,
    ledger: Option<Ledger>,
    upload: Option<Rc<Upload>>,
    endpoint: Arc<Endpoint>,
}

/// Why there is no response.
pub(super) enum Missed {
    /// Somebody's fault; it is booked.
    Fault(Fault),
    /// The breaker has opened while the request waited for a connection: nothing of it was sent, and
    /// here is its body.
    Diverted(Outgoing),
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Sends a request to an endpoint of `variant` that is in rotation, and waits for the head of the response. A kept
/// connection that was closed before any byte of a response is replaced by a fresh one, where
/// repeating does no harm. Faults are booked in `ledger`.
pub(super) async fn exchange(
    ledger: Ledger,
    variant: &Variant,
    forwarding: &Forwarding<'_>,
    body: Outgoing,
    upload: Option<Rc<Upload>>,
) -> Result<Response, Missed> {
    match try_exchange(&ledger, variant, forwarding, body, upload.as_deref()).await {
        Ok((head, connection, endpoint)) => {
            ledger.headed(head.status);
            let mut body = BackendBody {
                connection: Some(connection),
                ledger: Some(ledger),
                upload,
                endpoint,
            };
            // A response without a body ends with its head; a switch of protocols does not.
            if head.status != 101 && body.connection.as_ref().is_some_and(|connection| connection.is_end()) {
                body.finish();
            }
            Ok(Response { head, body })
        }
        Err(Missed::Fault(fault)) => {
            ledger.fault(fault);
            Err(Missed::Fault(fault))
        }
        Err(Missed::Diverted(body)) => {
            ledger.divert();
            Err(Missed::Diverted(body))
        }
    }
}

async fn try_exchange(
    ledger: &Ledger,
    variant: &Variant,
    forwarding: &Forwarding<'_>,
    mut body: Outgoing,
    upload: Option<&Upload>,
) -> Result<(Box<ResponseHead>, Box<Connection>, Arc<Endpoint>), Missed> {
    let worker = ledger.worker();
    let Variant {
        backend, in_rotation, ..
    } = variant;
    let picked = backend.pick(worker.id, worker.draw(), in_rotation);
    let endpoint = picked.ok_or(Fault::BackendFull)?;
    ledger.set_endpoint(endpoint);
    let idempotent = forwarding.head.method().is_idempotent();
    let mut kept = kept_connection(worker, endpoint, idempotent);
    loop {
        let reused = kept.is_some();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            // Rare and large: boxed, so that every exchange is small.
            None => {
                let fresh = Box::pin(fresh_connection(ledger, backend, endpoint)).await?;
                if !ledger.is_admitted() {
                    return Err(Missed::Diverted(body));
                }
                fresh
            }
        };
        let host = match forwarding.head.authority_bytes() {
            b"" => endpoint.authority.as_bytes(), // HTTP/1.0 knows requests without
            authority => authority,
        };
        let sent = connection
            .send(&worker.buffers, forwarding, host, body, |cx| ledger.poll_late(cx))
            .await;
        match sent {
            Ok(head) => return Ok((head, connection, Arc::clone(endpoint))),
            Err(SendFault::Closed {
                unsent,
                body: Some(given_back),
            }) if reused && (unsent || idempotent) => body = given_back,
            Err(SendFault::Closed { .. } | SendFault::Truncated) => {
                return Err(blame_upload(upload, Fault::Closed).into());
            }
            Err(SendFault::Malformed(rule)) => {
                worker.warn_of_answer(&endpoint.authority, rule);
                return Err(blame_upload(upload, Fault::Malformed).into());
            }
            Err(SendFault::Upload) => return Err(blame_upload(upload, Fault::ClientBody).into()),
            Err(SendFault::Late(late)) => return Err(fault_of(late).into()),
        }
    }
}

/// What the client is told when there is no head yet.
const fn fault_of(late: Late) -> Fault {
    match late {
        Late::Backend => Fault::ResponseTimeout,
        Late::Client => Fault::ClientBodyTimeout,
        Late::Drained => Fault::Drained,
    }
}

/// What breaks upstream after the client's body broke is the client's fault.
fn blame_upload(upload: Option<&Upload>, fault: Fault) -> Fault {
    upload.and_then(Upload::fault).unwrap_or(fault)
}

/// A kept connection that still lives: it is read before it is used again. Requests that may be repeated need no
/// closer look.
fn kept_connection(worker: &Worker, endpoint: &Endpoint, repeatable: bool) -> Option<Box<Connection>> {
    loop {
        let connection = worker.pools.borrow_mut().take(endpoint)?;
        let quiet = if repeatable {
            connection.is_quiet()
        } else {
            connection.is_quiet_now()
        };
        if quiet {
            return Some(connection);
        }
    }
}

/// A fresh connection, in time and within the backend's limit.
async fn fresh_connection(
    ledger: &Ledger,
    backend: &Backend,
    endpoint: &Arc<Endpoint>,
) -> Result<Box<Connection>, Fault> {
    let worker = ledger.worker();
    if connections(backend) >= backend.max_connections
        && !(worker.pools.borrow_mut().evict(&backend.endpoints) && connections(backend) < backend.max_connections)
    {
        return Err(Fault::BackendFull);
    }
    let connect = async {
        let tcp = match endpoint.address {
            Some(address) => TcpStream::connect(address).await,
            None => connect_by_name(&endpoint.authority).await,
        };
        let tcp = tcp.map_err(|error| no_connection(&error))?;
        let _ = tcp.set_nodelay(true); // without it only slower
        Ok(Connection::new(tcp, Arc::clone(endpoint), worker.id))
    };
    let mut connect = std::pin::pin!(tokio::time::timeout(backend.connect_timeout, connect));
    std::future::poll_fn(|cx| match connect.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done.unwrap_or(Err(Fault::ConnectTimeout)).map(Box::new)),
        Poll::Pending => ledger.poll_late(cx).map(|late| Err(fault_of(late))),
    })
    .await
}

/// A connection that we ourselves could not open says nothing about the backend: otherwise a flood
/// of clients would speak against a release.
fn no_connection(error: &std::io::Error) -> Fault {
    use rustix::io::Errno;
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    match Errno::from_io_error(error) {
        Some(errno) if ours.contains(&errno) => Fault::Exhausted,
        _ => Fault::Connect,
    }
}

/// Connections open to all endpoints of a backend. A fresh connection is rare enough to add up.
fn connections(backend: &Backend) -> u32 {
    backend.endpoints.iter().map(|endpoint| endpoint.connections()).sum()
}

/// Looks the name up and tries its addresses in turn.
async fn connect_by_name(authority: &str) -> std::io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(authority).await?.collect();
    TcpStream::connect(addresses.as_slice()).await
}

impl BackendBody {
    /// The next part. Ends the exchange with the last one.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        let (Some(connection), Some(ledger)) = (&mut self.connection, &self.ledger) else {
            return Poll::Ready(None);
        };
        match connection.poll_frame(cx, &ledger.worker().buffers) {
            Poll::Ready(Some(Ok(frame))) => {
                let drained = ledger.hears_backend();
                // Nobody asks again after trailers.
                if connection.is_end() || matches!(frame, Frame::Trailers(_)) {
                    self.finish();
                } else if drained {
                    self.break_off(Outcome::NoEvidence);
                    return Poll::Ready(Some(Err(Broken)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(fault))) => {
                let by_client = self.upload.as_ref().is_some_and(|upload| upload.is_broken());
                if let BodyFault::Malformed(rule) = fault {
                    ledger.worker().warn_of_answer(&self.endpoint.authority, rule);
                }
                self.break_off(match fault {
                    BodyFault::Endpoint | BodyFault::Malformed(_) if !by_client => Outcome::Failure,
                    BodyFault::Endpoint | BodyFault::Malformed(_) | BodyFault::Upload => Outcome::NoEvidence,
                });
                Poll::Ready(Some(Err(Broken)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ledger.waits_for_backend();
                match ledger.poll_late(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(late) => {
                        self.break_off(match late {
                            Late::Backend => Outcome::Failure,
                            Late::Client | Late::Drained => Outcome::NoEvidence,
                        });
                        Poll::Ready(Some(Err(Broken)))
                    }
                }
            }
        }
    }

    /// Goes on with the request while the client takes no more of the response: it may read only once it has sent
    /// everything. Ready when the exchange has to end, however slowly the client reads.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let (Some(connection), Some(ledger)) = (&mut self.connection, &self.ledger) else {
            return Poll::Pending;
        };
        connection.poll_upload(cx, &ledger.worker().buffers);
        ready!(ledger.poll_drained(cx));
        self.break_off(Outcome::NoEvidence);
        Poll::Ready(Broken)
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        self.connection.is_none()
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        self.connection
            .as_ref()
            .map_or(Length::Empty, |connection| connection.length())
    }

    /// After a 101: the bare stream with what was read ahead, what counts it, and the exchange's ledger.
    pub(super) fn into_tunnel(mut self) -> Option<(TcpStream, Bytes, Counted, Ledger)> {
        let (tcp, ahead, counted) = self.connection.take()?.into_stream();
        Some((tcp, ahead, counted, self.ledger.take()?))
    }

    /// All is well: the exchange is over, and the connection may serve another.
    fn finish(&mut self) {
        let (Some(mut connection), Some(ledger)) = (self.connection.take(), self.ledger.take()) else {
            return;
        };
        ledger.complete();
        let worker = ledger.worker();
        if connection.end(&worker.buffers) {
            // More idle ones than this worker's part of the limit would keep the others from any.
            let part = ledger.max_connections() as usize / worker.count();
            let mut pools = worker.pools.borrow_mut();
            pools.put(self.endpoint.id, connection, worker.recent_us(), part);
        }
    }

    /// The exchange is over; it is recorded when the body is dropped, with what the client was sent.
    fn break_off(&mut self, outcome: Outcome) {
        if let (Some(mut connection), Some(ledger)) = (self.connection.take(), &self.ledger) {
            ledger.blame(outcome);
            connection.end(&ledger.worker().buffers);
        }
    }

    /// The answer broke before anything of it had gone out: books what the client is sent instead, which is the
    /// answer. `by_client` is what the client itself has done to its body.
    pub(super) fn retract(&self, by_client: Option<Fault>) -> Fault {
        let drained = self.ledger.as_ref().is_some_and(Ledger::is_drained);
        let fault = by_client.unwrap_or(if drained { Fault::Drained } else { Fault::Truncated });
        if let Some(ledger) = &self.ledger {
            ledger.fault(fault);
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, no_connection};
    use rustix::io::Errno;

    fn check(errno: Errno, expected: Fault) {
        assert_eq!(no_connection(&errno.into()), expected);
    }

    #[test]
    fn only_what_the_backend_did_speaks_against_it() {
        check(Errno::CONNREFUSED, Fault::Connect);
        check(Errno::HOSTUNREACH, Fault::Connect);
        check(Errno::CONNRESET, Fault::Connect);
        check(Errno::MFILE, Fault::Exhausted);
        check(Errno::NFILE, Fault::Exhausted);
        check(Errno::ADDRNOTAVAIL, Fault::Exhausted);
    }
}
