//! The exchange with an endpoint: a connection, the request, the response's head and body.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::body::{Broken, Frame, Length, Outgoing, Upload};
use super::fault::Fault;
use super::headers::{self, Forwarding};
use super::hyper_client::{Connection, ResponseBody, SendFault, Socket};
use super::ledger::{Late, Ledger};
use super::worker::Worker;
use crate::head::ResponseHead;
use crate::measure::Outcome;
use crate::route::{Backend, Endpoint};

/// A response whose head has come.
pub(super) struct Response {
    pub(super) head: Box<ResponseHead>,
    pub(super) body: BackendBody,
}

/// The body of a backend's response. Records the exchange when it ends, breaks or is dropped.
pub(super) struct BackendBody {
    /// `None` once the body has ended: the connection is back in the pool.
    stream: Option<ResponseBody>,
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

/// Sends a request to an endpoint of `backend` and waits for the head of the response. A kept
/// connection that was closed before any byte of a response is replaced by a fresh one, where
/// repeating does no harm. Faults are booked in `ledger`.
pub(super) async fn exchange(
    ledger: Ledger,
    backend: &Backend,
    forwarding: &Forwarding<'_>,
    body: Outgoing,
    upload: Option<Rc<Upload>>,
) -> Result<Response, Missed> {
    match try_exchange(&ledger, backend, forwarding, body, upload.as_deref()).await {
        Ok((head, stream, endpoint)) => {
            ledger.headed(head.status);
            let mut body = BackendBody {
                stream: Some(stream),
                ledger: Some(ledger),
                upload,
                endpoint,
            };
            // A response without a body ends with its head; a switch of protocols does not.
            if head.status != 101 && body.stream.as_ref().is_some_and(ResponseBody::is_end) {
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
    backend: &Backend,
    forwarding: &Forwarding<'_>,
    mut body: Outgoing,
    upload: Option<&Upload>,
) -> Result<(Box<ResponseHead>, ResponseBody, Arc<Endpoint>), Missed> {
    let worker = ledger.worker();
    let endpoint = backend.pick(worker.id, worker.draw()).ok_or(Fault::BackendFull)?;
    ledger.set_endpoint(endpoint);
    let mut kept = kept_connection(worker, endpoint);
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
        let host = match forwarding.head.authority() {
            "" => Bytes::copy_from_slice(endpoint.authority.as_bytes()),
            _ => forwarding.head.authority_shared(),
        };
        let had_body = matches!(body, Outgoing::Client(_));
        let fields = |out: &mut dyn FnMut(&[u8], Bytes)| {
            let mut text = Vec::new();
            headers::put_request_fields(forwarding, &mut text);
            for line in text.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
                let at = line.iter().position(|&b| b == b':').unwrap_or(0);
                out(&line[..at], Bytes::copy_from_slice(&line[at + 2..line.len() - 1]));
            }
        };
        let sent = connection
            .send(forwarding.head, host, fields, body, |cx| ledger.poll_late(cx))
            .await;
        match sent {
            Ok((head, _)) if head.status == 101 && !forwarding.upgrade => return Err(Fault::Malformed.into()),
            Ok((head, incoming)) => {
                return Ok((head, ResponseBody::new(incoming, connection), Arc::clone(endpoint)));
            }
            Err(SendFault::Closed {
                unsent,
                body: given_back,
            }) => {
                let untouched = !had_body || (given_back.is_some() && !upload.is_some_and(Upload::has_begun));
                let harmless = unsent || forwarding.head.method().is_idempotent();
                if !(reused && untouched && harmless) {
                    return Err(blame_upload(upload, Fault::Closed).into());
                }
                body = given_back.unwrap_or(Outgoing::Empty);
            }
            Err(SendFault::Truncated) => return Err(blame_upload(upload, Fault::Closed).into()),
            Err(SendFault::Malformed) => return Err(blame_upload(upload, Fault::Malformed).into()),
            Err(SendFault::Late(Late::Backend)) => return Err(Fault::ResponseTimeout.into()),
            Err(SendFault::Late(Late::Client)) => return Err(Fault::ClientBodyTimeout.into()),
        }
    }
}

/// What breaks upstream after the client's body broke is the client's fault.
fn blame_upload(upload: Option<&Upload>, fault: Fault) -> Fault {
    if upload.is_some_and(Upload::is_broken) {
        Fault::ClientBody
    } else {
        fault
    }
}

/// A kept connection that still lives: it is read before it is used again.
fn kept_connection(worker: &Worker, endpoint: &Endpoint) -> Option<Box<Connection>> {
    // Who uses it will poll it again, and be woken then.
    let mut quiet = Context::from_waker(Waker::noop());
    loop {
        let mut connection = worker.pools.borrow_mut().take(endpoint)?;
        if connection.is_ready(&mut quiet) {
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
        Connection::open(tcp, Arc::clone(endpoint), worker.id)
            .await
            .map_err(|_| Fault::Connect)
    };
    let mut connect = std::pin::pin!(tokio::time::timeout(backend.connect_timeout, connect));
    std::future::poll_fn(|cx| match connect.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done.unwrap_or(Err(Fault::ConnectTimeout)).map(Box::new)),
        Poll::Pending => ledger.poll_late(cx).map(|late| {
            Err(match late {
                Late::Backend => Fault::ResponseTimeout,
                Late::Client => Fault::ClientBodyTimeout,
            })
        }),
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
        let (Some(stream), Some(ledger)) = (&mut self.stream, &self.ledger) else {
            return Poll::Ready(None);
        };
        match stream.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                ledger.wait_for_backend(false);
                // Nobody asks again after trailers.
                if stream.is_end() || matches!(frame, Frame::Trailers(_)) {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(broken))) => {
                let by_client = self.upload.as_ref().is_some_and(|upload| upload.is_broken());
                self.break_off(if by_client {
                    Outcome::NoEvidence
                } else {
                    Outcome::Failure
                });
                Poll::Ready(Some(Err(broken)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ledger.wait_for_backend(true);
                match ledger.poll_late(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(late) => {
                        self.break_off(match late {
                            Late::Backend => Outcome::Failure,
                            Late::Client => Outcome::NoEvidence,
                        });
                        Poll::Ready(Some(Err(Broken)))
                    }
                }
            }
        }
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        self.stream.is_none()
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        self.stream.as_ref().map_or(Length::Empty, ResponseBody::length)
    }

    /// After a 101: the bare stream with what was read ahead, and the exchange's ledger.
    pub(super) fn into_tunnel(mut self) -> Option<(Socket, Bytes, Ledger)> {
        let (socket, ahead) = self.stream.take()?.into_connection().into_stream();
        Some((socket, ahead, self.ledger.take()?))
    }

    /// All is well: the exchange is over, and the connection may serve another.
    fn finish(&mut self) {
        let (Some(stream), Some(ledger)) = (self.stream.take(), self.ledger.take()) else {
            return;
        };
        ledger.complete();
        let uploaded = self.upload.as_ref().is_none_or(|upload| upload.is_complete());
        let mut connection = stream.into_connection();
        let worker = ledger.worker();
        // More idle ones than this worker's part of the limit would keep the others from any.
        let part = ledger.max_connections() as usize / worker.count();
        if uploaded && connection.is_ready(&mut Context::from_waker(Waker::noop())) {
            let mut pools = worker.pools.borrow_mut();
            pools.put(self.endpoint.id, connection, worker.recent_us(), part);
        }
    }

    fn break_off(&mut self, outcome: Outcome) {
        if let Some(ledger) = self.ledger.take() {
            ledger.blame(outcome);
        }
        self.stream = None;
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
