//! Where allocations come from: back traces of the first ones while tracing is on, grouped by place.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

/// Enough to see each place of a steady state.
const TRACES_MAX: usize = 5000;

/// Frames of a place that are shown.
const FRAMES_SHOWN: usize = 6;

/// Parts of a path outside the registry that are shown.
const PARTS_SHOWN: usize = 4;

/// The thread that is traced; 0 for none.
static TRACED: AtomicI32 = AtomicI32::new(0);

static TRACES: Mutex<Vec<(usize, Backtrace)>> = Mutex::new(Vec::new());

thread_local! {
    /// Set while this thread takes a trace, which allocates itself.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Traces the allocations of the thread with this kernel id from now on.
pub(crate) fn start(thread: i32) {
    TRACED.store(thread, Ordering::Release);
}

/// Ends tracing; each place with its number of allocations, the most frequent first.
pub(crate) fn end() -> Vec<(usize, String)> {
    TRACED.store(0, Ordering::Release);
    let traces = std::mem::take(&mut *TRACES.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    let mut places: HashMap<String, usize> = HashMap::new();
    for (bytes, trace) in traces {
        *places
            .entry(format!("{bytes} bytes\n{}", place(&trace.to_string())))
            .or_default() += 1;
    }
    let mut places: Vec<_> = places.into_iter().map(|(place, count)| (count, place)).collect();
    places.sort_by(|a, b| b.cmp(a));
    places
}

/// Takes a trace if this thread is traced. The allocator calls it, also for what it allocates itself.
pub(crate) fn note(bytes: usize) {
    let traced = TRACED.load(Ordering::Relaxed);
    if traced == 0 || BUSY.get() || rustix::thread::gettid().as_raw_nonzero().get() != traced {
        return;
    }
    BUSY.set(true);
    let mut traces = TRACES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if traces.len() < TRACES_MAX {
        traces.push((bytes, Backtrace::force_capture()));
    }
    drop(traces);
    BUSY.set(false);
}

/// The first frames that say something: those of this program and of the standard library do not.
fn place(trace: &str) -> String {
    let lines: Vec<&str> = trace.lines().map(str::trim).collect();
    // A frame is a line `N: FUNCTION`, and after it `at FILE:LINE:COLUMN` where that is known.
    let frames = lines.windows(2).filter_map(|pair| {
        let (number, function) = pair[0].split_once(": ")?;
        number.parse::<u32>().ok()?;
        Some((function, pair[1].strip_prefix("at ")?))
    });
    frames
        .filter(|(_, file)| !file.starts_with("/rustc/") && !file.contains("/rustlib/") && !is_own(file))
        .take(FRAMES_SHOWN)
        .map(|(function, file)| format!("    {}  {}\n", short_name(function), short_path(file)))
        .collect()
}

/// Whether a frame is of the counting, or of the allocator behind it.
fn is_own(file: &str) -> bool {
    ["/counting.rs:", "/trace.rs:", "/mimalloc-"]
        .iter()
        .any(|part| file.contains(part))
}

/// A function without its type arguments.
fn short_name(function: &str) -> &str {
    match function.split_once('<') {
        Some((name, _)) if !name.is_empty() => name,
        _ => function,
    }
}

/// A path from the name of its crate on, or its last parts.
fn short_path(file: &str) -> &str {
    let in_registry = file
        .split_once("/registry/src/")
        .and_then(|(_, rest)| rest.split_once('/'));
    if let Some((_, file)) = in_registry {
        return file;
    }
    let slashes: Vec<usize> = file.match_indices('/').map(|(at, _)| at).collect();
    let from = slashes
        .len()
        .checked_sub(PARTS_SHOWN)
        .map_or(0, |index| slashes[index] + 1);
    &file[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_frames_without_machinery() {
        let trace = "   0: push<u8>\n             at /rustc/x/vec.rs:1:2\n   1: count\n             at \
                     ./src/counting.rs:1:2\n   2: run\n             at /home/x/serin/src/proxy/handle.rs:3:4\n   \
                     3: unknown\n   4: poll<F, S>\n             at /x/registry/src/index/tokio-1.0/src/task.rs:5:6\n";
        assert_eq!(
            place(trace),
            "    run  serin/src/proxy/handle.rs:3:4\n    poll  tokio-1.0/src/task.rs:5:6\n"
        );
    }
}
