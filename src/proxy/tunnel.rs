//! Bytes both ways after a switch of protocols, until either side ends or falls silent.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::forward::BackendBody;
use super::stream::Stream;
use super::worker::{Stage, Worker};

/// How long a tunnel may be silent in both directions: a hundred times the idle timeout of a
/// connection between two requests, because WebSockets are quiet by nature.
const PATIENCE: u32 = 100;

/// Bytes in flight in each direction.
const BUFFER: usize = 16 * 1024;

/// Passes bytes until both sides have ended. However it ends, the backend has done its part.
pub(super) async fn run(worker: &Rc<Worker>, mut client: Stream, body: BackendBody, idle: Duration) {
    let Some((mut backend, ahead, ledger)) = body.into_tunnel() else {
        return;
    };
    let _ = tokio::select! {
        done = pass(&mut client, &mut backend, &ahead, idle * PATIENCE) => done,
        () = worker.drain.reached(Stage::Closing) => Ok(()),
    };
    ledger.complete();
}

async fn pass(
    client: &mut Stream,
    backend: &mut super::hyper_client::Socket,
    ahead: &[u8],
    patience: Duration,
) -> io::Result<()> {
    client.write_all(ahead).await?;
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut backend_read, mut backend_write) = tokio::io::split(backend);
    let mut up = vec![0; BUFFER];
    let mut down = vec![0; BUFFER];
    let (mut up_open, mut down_open) = (true, true);
    while up_open || down_open {
        let step = async {
            tokio::select! {
                n = client_read.read(&mut up), if up_open => {
                    let n = n?;
                    if n == 0 {
                        up_open = false;
                        backend_write.shutdown().await
                    } else {
                        backend_write.write_all(&up[..n]).await
                    }
                }
                n = backend_read.read(&mut down), if down_open => {
                    let n = n?;
                    if n == 0 {
                        down_open = false;
                        client_write.shutdown().await
                    } else {
                        client_write.write_all(&down[..n]).await
                    }
                }
            }
        };
        tokio::time::timeout(patience, step).await.map_err(io::Error::from)??;
    }
    Ok(())
}
