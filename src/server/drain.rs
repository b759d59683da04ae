//! The end: no request is lost, and it comes in time.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sockets::Giving;
use super::{LAST_LINES, Server};
use crate::proxy::Stage;

/// Answers still announce the end for so long before idle connections are closed: long enough for
/// those who balance load to look at `/readyz`.
const QUIET: Duration = Duration::from_secs(2);

impl Server {
    /// readyz fails first; then answers ask clients to leave; after a quiet period idle connections
    /// are closed and nothing new is taken; open requests have until the drain timeout. What another process has taken
    /// over is not accepted from the beginning.
    pub(super) async fn drain(&mut self) {
        let deadline = Instant::now() + self.drain_timeout;
        if !self.is_replaced {
            self.supervisor.stopping();
        }
        self.ready.store(false, Ordering::Release);
        self.drain.set(Stage::Announcing);
        let quiet_end = Instant::now() + QUIET.min(self.drain_timeout / 4);
        while Instant::now() < quiet_end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // From here on there is nothing to take over; the workers have duplicates of their own.
        self.give_up_sockets();
        self.drain.set(Stage::Closing);
        while Instant::now() < deadline && !self.workers.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left: i64 = self
            .cells
            .iter()
            .map(|cells| {
                (0..self.listeners.len())
                    .map(|listener| cells.connections(listener))
                    .sum::<i64>()
            })
            .sum();
        if left > 0 {
            tracing::warn!(
                connections = left,
                "the drain timeout is over; what is still open is cut off"
            );
        } else {
            tracing::info!("drained");
        }
        // The last lines are written once all workers have ended; those that have not are cut off.
        let deadline = Instant::now() + LAST_LINES;
        let is_writing = |server: &Self| {
            server
                .outcome_writer
                .as_ref()
                .is_some_and(|thread| !thread.is_finished())
        };
        while is_writing(self) && self.workers.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn give_up_sockets(&self) {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever may be about to serve them must not find them deaf.
        let may_be_taken = !self.is_replaced && stock.giving == Giving::Passing;
        if let Some(sockets) = stock.sockets.take().filter(|_| !may_be_taken) {
            sockets.refuse_handshakes();
        }
    }
}
