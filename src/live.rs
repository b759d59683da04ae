//! The one published table; many readers, one writer. The bell by which readers wake the writer, and
//! the clock that both sides read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use tokio::sync::Notify;

use crate::route::Table;

/// The table of this moment.
#[derive(Debug)]
pub struct Live {
    table: Arc<ArcSwap<Table>>,
    bell: Bell,
    epoch: Instant,
}

/// Wakes the control side early, at most once until it has looked.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

/// One reader's cheap view of [`Live`].
#[derive(Debug)]
pub struct Reader {
    table: Arc<ArcSwap<Table>>,
    /// Holds the table that was read last; `None`: at rest.
    cache: Option<Cache<Arc<ArcSwap<Table>>, Arc<Table>>>,
}

impl Live {
    /// Begins with `table`.
    #[must_use]
    pub fn new(table: Arc<Table>) -> Self {
        Self {
            table: Arc::new(ArcSwap::new(table)),
            bell: Bell::default(),
            epoch: Instant::now(),
        }
    }

    /// When this process began to publish: the zero of its clock.
    #[must_use]
    pub const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Microseconds since [`Live::epoch`].
    ///
    /// # Panics
    /// After 500,000 years.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).expect("younger than 500,000 years")
    }

    /// A view for one thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            table: Arc::clone(&self.table),
            cache: None,
        }
    }

    /// The table of this moment, for those who look seldom.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Publishes `table`; the answer is the one it replaces, to be freed by the caller in its own time.
    pub fn publish(&self, table: Arc<Table>) -> Arc<Table> {
        self.table.swap(table)
    }

    /// Wakes control, unless it has been woken since it last looked.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Waits for the bell; from then on it can be rung again.
    pub async fn rung(&self) {
        self.bell.rung().await;
    }
}

impl Bell {
    fn ring(&self) {
        if !self.rung.load(Ordering::Relaxed) && !self.rung.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    async fn rung(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Release);
    }
}

impl Reader {
    /// The table of this moment. One relaxed load when nothing has changed.
    pub fn table(&mut self) -> &Arc<Table> {
        let table = &self.table;
        let cache = self.cache.get_or_insert_with(|| Cache::new(Arc::clone(table)));
        cache.load()
    }

    /// Lets go of the table that was read last: it may have been replaced, and its lists are long.
    pub fn rest(&mut self) {
        self.cache = None;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::Bell;

    fn check(bell: &Bell, expected: Poll<()>) {
        assert_eq!(
            pin!(bell.rung()).poll(&mut Context::from_waker(Waker::noop())),
            expected
        );
    }

    #[test]
    fn control_is_woken_at_most_once_until_it_has_looked() {
        let bell = Bell::default();
        check(&bell, Poll::Pending);
        (0..5).for_each(|_| bell.ring());
        check(&bell, Poll::Ready(()));
        check(&bell, Poll::Pending);
        bell.ring();
        check(&bell, Poll::Ready(()));
    }
}
