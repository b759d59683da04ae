//! Serves HTTP/2 to a client: one future drives the engine, gives each request a task of its own, and keeps the
//! connection's clocks, its account, and its way out.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use h2::{Error, Reason};

use super::batch::{Gathering, gather};
use super::client_io::ClientIo;
use super::connection::{ConnectionClock, Phase, Watched};
use super::h2_account::Account;
use super::h2_desks::Desks;
use super::h2_stream::{OpenStream, Shared};
use super::handle::Client;
use super::listener::linger;
use super::stream::Stream;
use super::worker::{Stage, Worker};
use crate::measure::RejectReason;
use crate::route::ListenerSettings;

/// Serves HTTP/2 on `stream` until it ends.
pub(super) async fn serve_http2(worker: &Rc<Worker>, stream: Stream, client: Rc<Client>) {
    let now_us = worker.now_us();
    let watched = Watched::new(worker, ConnectionClock::new(client.settings, Phase::Idle, now_us));
    let shared = Rc::new(Shared {
        worker: Rc::clone(worker),
        clock: Rc::clone(&watched.clock),
        account: Rc::new(Account::new(now_us)),
        open: Cell::new(0),
        client,
    });
    let (io, sender) = gather(ClientIo::new(stream, worker, &shared.clock, &shared.account));
    let end = {
        let mut driven = pin!(drive(&shared, io));
        poll_fn(|cx| match driven.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => match sender.poll_send(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(End::Lost),
                _ => Poll::Pending,
            },
        })
        .await
    };
    drop(watched);
    if end == End::Lost {
        return;
    }
    let farewell = async {
        if end == End::Flood {
            // All that it held is free already but its socket. Told at once, it would only begin anew at once.
            tokio::time::sleep(CALM).await;
        }
        poll_fn(|cx| sender.poll_send(cx)).await.ok()?;
        // What it was told last arrives only if nothing that it still sends meets a closed socket.
        linger(sender.into_stream()?.into_stream()).await;
        Some(())
    };
    let _ = Box::pin(tokio::time::timeout(FAREWELL, farewell)).await; // or it does not take it
}

/// How long a client that floods waits to be told so.
const CALM: Duration = Duration::from_millis(500);

/// What the last words to a client may take in all.
const FAREWELL: Duration = Duration::from_secs(3);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All is said, by either side.
    Over,
    /// It costs more than it asks for.
    Flood,
    /// Its socket is broken, or takes nothing.
    Lost,
}

/// What the engine allows. Its own bounds against floods are those of small numbers: frames of one head, streams that
/// are reset before we have seen them, streams that are reset for what they break, small frames that nobody has taken.
pub(super) fn builder(settings: &ListenerSettings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.streams)
        .max_header_list_size(settings.header_bytes)
        .max_frame_size(16 * 1024)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buffer_size(64 * 1024)
        // What is on its way to a stream that was answered early is no error of the client's.
        .max_concurrent_reset_streams(256)
        .max_pending_accept_reset_streams(400)
        .max_local_error_reset_streams(Some(256))
        .enable_connect_protocol();
    builder
}

type Engine = Connection<Gathering<ClientIo>, Bytes>;

/// Drives the engine until the connection has ended.
async fn drive(shared: &Rc<Shared>, io: Gathering<ClientIo>) -> End {
    let mut handshake = pin!(builder(&shared.client.settings).handshake(io));
    let begun = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(begun) => Poll::Ready(begun.ok()),
        Poll::Pending if shared.clock.is_late(cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    let Some(mut engine) = begun.await else {
        return End::Over;
    };
    let mut leaving = Leaving::Not;
    let desks = Desks::default();
    poll_fn(|cx| poll(shared, &mut engine, &desks, &mut leaving, cx)).await
}

/// How far a connection is on its way out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Not,
    /// Its client has been asked to leave, at this time. Streams go on.
    Asked {
        at_us: u64,
    },
    /// Its client is told why; nothing goes on. This is how it will have ended.
    Cut(End),
}

/// How long a client that has been asked to leave an idle connection may take to say that it has heard.
const FAREWELL_US: u64 = 1_000_000;

fn poll(
    shared: &Rc<Shared>,
    engine: &mut Engine,
    desks: &Desks,
    leaving: &mut Leaving,
    cx: &mut Context<'_>,
) -> Poll<End> {
    let Shared {
        worker, clock, account, ..
    } = &**shared;
    loop {
        match engine.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                account.earn_request();
                desks.serve(OpenStream::new(shared), request, respond);
                continue;
            }
            Poll::Ready(Some(Err(error))) => {
                if let Leaving::Cut(end) = *leaving {
                    return Poll::Ready(end);
                }
                let reason = reject_reason(&error);
                if let Some(reason) = reason {
                    worker.cells().reject(reason);
                }
                return Poll::Ready(match reason {
                    Some(RejectReason::Flood) => End::Flood,
                    _ => End::Over,
                });
            }
            Poll::Ready(None) => {
                return Poll::Ready(match *leaving {
                    Leaving::Cut(end) => end,
                    Leaving::Not | Leaving::Asked { .. } => End::Over,
                });
            }
            Poll::Pending => {}
        }
        let late = clock.is_late(cx);
        if clock.rests() {
            desks.rest();
        }
        // What is decided here is written when the engine is driven again.
        match *leaving {
            Leaving::Cut(_) if late => return Poll::Ready(End::Lost),
            Leaving::Cut(_) => return Poll::Pending,
            _ if let Some(reason) = account.over() => {
                let (counted, end) = match reason {
                    Reason::ENHANCE_YOUR_CALM => (RejectReason::Flood, End::Flood),
                    _ => (RejectReason::BadRequest, End::Over),
                };
                worker.cells().reject(counted);
                engine.abrupt_shutdown(reason);
                *leaving = Leaving::Cut(end);
            }
            _ if late && clock.head_is_late() => {
                worker.cells().reject(RejectReason::HeadTimeout);
                return Poll::Ready(End::Lost);
            }
            _ if late && clock.is_stuck() => return Poll::Ready(End::Lost),
            Leaving::Asked { at_us } => {
                let patient = worker.recent_us().saturating_sub(at_us) < FAREWELL_US;
                return if late && !patient {
                    Poll::Ready(End::Over)
                } else {
                    Poll::Pending
                };
            }
            Leaving::Not if late || clock.is_old(worker.recent_us()) || worker.stage() >= Stage::Announcing => {
                engine.graceful_shutdown();
                *leaving = Leaving::Asked { at_us: worker.now_us() };
            }
            Leaving::Not => return Poll::Pending,
        }
    }
}

/// How the end of a connection is counted, where the engine refused what came.
fn reject_reason(error: &Error) -> Option<RejectReason> {
    match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_library() => Some(RejectReason::Flood),
        Some(_) if error.is_library() => Some(RejectReason::BadRequest),
        _ => None,
    }
}
