//! The allocator of the real program, with a count of calls and bytes for each thread.
//!
//! A thread takes a slot at its first allocation and is the only one to write it, so counting costs no lock and needs no
//! allocation itself.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use mimalloc::MiMalloc;

use crate::trace;

/// More threads than Serin has with one worker; those beyond share the last slot.
const SLOTS: usize = 64;

/// What this program allocates with.
pub(crate) struct Counting;

struct Slot {
    /// The kernel's id of the thread, 0 while the slot is free.
    thread: AtomicI32,
    calls: AtomicU64,
    bytes: AtomicU64,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        thread: AtomicI32::new(0),
        calls: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    }
}; SLOTS];

static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Without a destructor and made in place: reading it never allocates.
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

/// What one thread has asked the allocator for since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// The kernel's id of the thread.
    pub(crate) thread: i32,
    /// New and resized blocks.
    pub(crate) calls: u64,
    /// Bytes asked for in these calls.
    pub(crate) bytes: u64,
}

/// The counts of all threads that have allocated, in the order of their first allocation.
pub(crate) fn read() -> Vec<Count> {
    let taken = TAKEN.load(Ordering::Acquire).min(SLOTS);
    TABLE[..taken]
        .iter()
        .map(|slot| Count {
            thread: slot.thread.load(Ordering::Relaxed),
            calls: slot.calls.load(Ordering::Relaxed),
            bytes: slot.bytes.load(Ordering::Relaxed),
        })
        .collect()
}

fn count(bytes: usize) {
    let own = OWN.get().unwrap_or_else(take_slot);
    TABLE[own].calls.fetch_add(1, Ordering::Relaxed);
    TABLE[own].bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    trace::note(bytes);
}

fn take_slot() -> usize {
    let own = TAKEN.fetch_add(1, Ordering::AcqRel).min(SLOTS - 1);
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    TABLE[own].thread.store(thread, Ordering::Relaxed);
    OWN.set(Some(own));
    own
}

// SAFETY: every call goes on to `MiMalloc` as it came, and its answer is handed back as it is. What happens before
// does not unwind, and allocates at most while `trace` is on, which then does not enter itself again.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: our caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: our caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: `block` came from `MiMalloc`; our caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { MiMalloc.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `MiMalloc`; our caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_what_it_asks_for() {
        let of_us = || {
            let own = rustix::thread::gettid().as_raw_nonzero().get();
            let counts = read();
            *counts
                .iter()
                .find(|count| count.thread == own)
                .expect("we have allocated")
        };
        drop(std::hint::black_box(vec![1_u8]));
        let before = of_us();
        let block = std::hint::black_box(vec![0_u8; 10_000]);
        let after = of_us();
        // Reading allocates too, but far less.
        assert!(after.calls > before.calls && after.bytes >= before.bytes + 10_000);
        drop(block);
    }
}
