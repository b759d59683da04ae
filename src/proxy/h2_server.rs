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

/// Bytes that a stream may send before its backend takes them.
const WINDOW: u32 = 128 * 1024;

/// What small frames that nobody has taken yet may cost, in bytes: each of fewer than 256 costs what it lacks of them,
/// about what it takes to remember it. A whole window in frames of 5, the smallest message of gRPC, has room.
const SMALL_FRAMES: usize = WINDOW.div_ceil(5) as usize * 251;

/// What the engine allows. Its own bounds against floods are those of small numbers: frames of one head, streams that
/// are reset before we have seen them, streams that are reset for what they break, small frames that nobody has taken.
pub(super) fn builder(settings: &ListenerSettings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.streams)
        .max_header_list_size(settings.header_bytes)
        .max_frame_size(16 * 1024)
        .initial_window_size(WINDOW)
        .data_frame_budget(SMALL_FRAMES)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buffer_size(64 * 1024)
        // What is on its way to a stream that was answered early is no error of the client's.
        .max_concurrent_reset_streams(256)
        .max_pending_accept_reset_streams((settings.streams as usize).max(400))
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

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::{WINDOW, builder};
    use crate::path::PathPolicy;
    use crate::route::ListenerSettings;

    /// Of a listener with small bounds.
    pub(in crate::proxy) fn settings() -> ListenerSettings {
        let clock = Duration::from_secs(1);
        ListenerSettings {
            handshake: clock,
            request_head: clock,
            body: clock,
            idle: clock,
            connection_age: None,
            connections: 1,
            connections_per_client: 1,
            streams: 1,
            upgrades: 1,
            headers: 10,
            header_bytes: 1024,
            uri_bytes: 1024,
            paths: PathPolicy::Strict,
            ofrep: false,
            proxy_protocol: false,
            redirect_to_https: None,
            hsts: None,
        }
    }

    /// A window full of frames of that size, of which nobody takes any: the connection goes on.
    async fn check(size: usize) {
        let (mut client, server) = duplex(1024 * 1024);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        // Our settings count from when they are acknowledged.
        bytes.extend_from_slice(b"\0\0\0\x04\x01\0\0\0\0");
        // RFC 7541 appendix A: POST, https, the path /, and an authority.
        bytes.extend_from_slice(b"\0\0\x09\x01\x04\0\0\0\x01\x83\x87\x84\x41\x04shop");
        client.write_all(&bytes).await.expect("there is room");
        let mut engine = builder(&settings())
            .handshake::<_, bytes::Bytes>(server)
            .await
            .expect("a handshake");
        let held = engine.accept().await.expect("it goes on").expect("a request");
        let mut bytes = Vec::new();
        let piece = [&[0, 0, size as u8, 0, 0, 0, 0, 0, 1][..], &vec![0; size]].concat();
        bytes.extend(piece.repeat(WINDOW as usize / size));
        bytes.extend_from_slice(b"\0\0\x08\x06\0\0\0\0\0whatever");
        client.write_all(&bytes).await.expect("there is room");
        let answered = async {
            loop {
                let mut head = [0; 9];
                client.read_exact(&mut head).await.expect("a frame");
                let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
                client.read_exact(&mut payload).await.expect("a whole one");
                match head[3] {
                    7 => panic!("{size}: it was told to leave"),
                    6 => break,
                    _ => {}
                }
            }
        };
        tokio::select! {
            () = answered => {}
            more = engine.accept() => panic!("{size}: {:?}", more.map(|more| more.is_ok())),
        }
        drop(held);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_window_of_small_messages_may_wait() {
        for size in [5, 15, 50, 255] {
            check(size).await;
        }
    }
}
