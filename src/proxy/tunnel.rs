//! Bytes both ways after a switch of protocols, until either side ends or falls silent.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::forward::BackendBody;
use super::worker::{Stage, Worker};
use crate::measure::Outcome;

/// How long a tunnel may be silent in both directions: a hundred times the idle timeout of a
/// connection between two requests, because WebSockets are quiet by nature.
const PATIENCE: u32 = 100;

/// Bytes in flight in each direction.
const BUFFER: usize = 16 * 1024;

/// Passes bytes until both sides have ended, or we end it. However it ends, the backend has done its part.
pub(super) async fn run(
    worker: &Rc<Worker>,
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    body: BackendBody,
    idle: Duration,
) {
    let Some((mut backend, ahead, _counted, ledger)) = body.into_tunnel() else {
        return;
    };
    tokio::select! {
        _ = pass(&mut client, &mut backend, &ahead, idle * PATIENCE) => ledger.complete(),
        () = worker.drain.reached(Stage::Closing) => ledger.complete(),
        // Nobody else is late in a tunnel: the variant was taken out of service.
        _ = poll_fn(|cx| ledger.poll_late(cx)) => ledger.blame(Outcome::NoEvidence),
    }
}

async fn pass(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    backend: &mut TcpStream,
    ahead: &[u8],
    patience: Duration,
) -> io::Result<()> {
    client.write_all(ahead).await?;
    client.flush().await?;
    let (client_read, client_write) = tokio::io::split(client);
    let (backend_read, backend_write) = backend.split();
    let heard = Cell::new(Instant::now());
    // Each way on its own: a side that does not read must not keep us from reading the other.
    let both = async {
        tokio::try_join!(
            one_way(client_read, backend_write, &heard),
            one_way(backend_read, client_write, &heard)
        )
        .map(|_| ())
    };
    let silence = async {
        while heard.get().elapsed() < patience {
            sleep_until(heard.get() + patience).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    };
    tokio::select! {
        done = both => done,
        late = silence => late,
    }
}

/// Passes bytes on until `from` ends, then ends `to`.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    heard: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        heard.set(Instant::now());
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..n]).await?;
        // Encrypted, the last of it may have been taken and not sent.
        to.flush().await?;
        heard.set(Instant::now());
    }
}
