//! Sets up the log of the process, and has panics stand in it.

use std::io;
use std::panic;

use crate::config;

/// By the configuration. A second set-up in one process changes nothing.
pub(super) fn init_logging(log: &config::Log) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let set_up = if log.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    if set_up.is_ok() {
        // One record of one line, as everything else that is logged.
        panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            tracing::error!(thread = thread.name().unwrap_or_default(), "a fault of ours: {panic}");
        }));
    }
}
