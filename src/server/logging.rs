//! Sets up the log of the process, and has panics stand in it.

use std::io;
use std::panic;

use crate::config;

/// By the configuration. A second set-up in one process changes nothing.
pub(super) fn init_logging(log: &config::Log) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(directives(&log.level)).unwrap_or_else(|_| EnvFilter::new("info"));
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

/// What is logged at `level`. Libraries warn of each odd frame that a peer sends: a flood of them would be one of
/// records. Whoever looks for such things asks for `debug`.
fn directives(level: &str) -> String {
    let quiet = match level {
        "info" | "warn" => ",h2=error,hyper=error,rustls=error",
        _ => "",
    };
    format!("{level}{quiet}")
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use tracing_subscriber::filter::Targets;

    use super::directives;

    /// Whether a warning of `target` is logged at `level`.
    fn check(level: &str, target: &str, expected: bool) {
        let filter = Targets::from_str(&directives(level)).expect("directives");
        let logged = filter.would_enable(target, &tracing::Level::WARN);
        assert_eq!(logged, expected, "{target} at {level}");
    }

    #[test]
    fn libraries_warn_only_those_who_look_closer() {
        for level in ["info", "warn", "debug", "trace"] {
            check(level, "serin::proxy", true);
        }
        for library in ["h2::proto::ping_pong", "hyper::proto", "rustls::conn"] {
            check("info", library, false);
            check("warn", library, false);
            check("debug", library, true);
            check("trace", library, true);
            check("error", library, false);
        }
    }
}
