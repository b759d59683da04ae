//! What a running process cannot change: sockets, the held directory, and where its own lines go.

use super::view::Entry;
use crate::config::{Listener, Spec};

/// The parts of `new` that take effect only after a restart, each as a problem; `place` is the file.
pub(super) fn needs_restart(old: &Spec, new: &Spec, place: &str) -> Vec<Entry> {
    let mut problems = Vec::new();
    let mut problem = |path: String, what: String| {
        problems.push(Entry {
            place: place.to_owned(),
            path,
            message: format!("{what} in a running process; restart to change it, or take the change back"),
        });
    };
    let names = |spec: &Spec| {
        spec.listeners
            .iter()
            .map(|listener| listener.name.clone())
            .collect::<Vec<_>>()
    };
    if names(old) == names(new) {
        for (old, new) in old.listeners.iter().zip(&new.listeners) {
            for key in changed_keys(old, new) {
                let path = format!("listeners.{}.{key}", new.name);
                problem(path, "the socket of a listener cannot change".to_owned());
            }
        }
    } else {
        let what = "listeners cannot be added, removed, renamed or reordered".to_owned();
        problem("listeners".to_owned(), what);
    }
    if old.admin != new.admin {
        problem(
            "admin.address".to_owned(),
            format!("{} cannot become {}", old.admin, new.admin),
        );
    }
    if old.state_directory != new.state_directory {
        problem(
            "state.directory".to_owned(),
            "the state directory cannot move".to_owned(),
        );
    }
    if old.memory_max != new.memory_max {
        problem(
            "limits.memory".to_owned(),
            "the bound of memory cannot change".to_owned(),
        );
    }
    if old.log.level != new.log.level {
        problem(
            "log.level".to_owned(),
            format!("{} cannot become {}", old.log.level, new.log.level),
        );
    }
    if old.log.json != new.log.json {
        problem(
            "log.format".to_owned(),
            "the format of the log cannot change".to_owned(),
        );
    }
    if old.outcome_log != new.outcome_log {
        problem("outcomeLog".to_owned(), "the outcome log cannot change".to_owned());
    }
    problems
}

fn changed_keys(old: &Listener, new: &Listener) -> impl Iterator<Item = &'static str> {
    // Whether there is TLS, and what of, stands in the table: each connection begins by the one of its moment.
    let changed = [(old.address != new.address, "address")];
    changed.into_iter().filter_map(|(changed, key)| changed.then_some(key))
}

#[cfg(test)]
mod tests {
    use super::needs_restart;
    use crate::config::Spec;
    use crate::control::fixture::{listener, name, route, spec, weigh};
    use crate::route::AccessLog;
    use std::time::Duration;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Spec), expected: &[&str]) {
        let problems = needs_restart(&spec(|_| {}), &spec(change), "serin.yaml");
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, expected);
        assert!(
            problems
                .iter()
                .all(|problem| problem.message.contains("restart to change it"))
        );
    }

    #[test]
    fn what_is_compiled_into_the_table_may_change() {
        check(|_| {}, &[]);
        check(|spec| weigh(spec, 0, [1, 1]), &[]);
        check(|spec| spec.routes.push(route("new")), &[]);
        check(|spec| spec.rollouts.clear(), &[]);
        check(|spec| spec.listeners[0].timeouts.idle = Duration::from_secs(1), &[]);
        check(|spec| spec.listeners[0].limits.headers = 7, &[]);
        check(|spec| spec.log.access = AccessLog::All, &[]);
        check(|spec| spec.environment = Some("prod".into()), &[]);
    }

    #[test]
    fn sockets_and_places_may_not() {
        check(|spec| spec.listeners.push(listener("second")), &["listeners"]);
        check(|spec| spec.listeners[0].name = name("other"), &["listeners"]);
        let address = "127.0.0.1:1".parse().unwrap();
        check(
            |spec| spec.listeners[0].address = address,
            &["listeners.public.address"],
        );
        check(|spec| spec.admin = address, &["admin.address"]);
        check(|spec| spec.state_directory = "elsewhere".into(), &["state.directory"]);
        check(|spec| spec.memory_max = Some(1 << 30), &["limits.memory"]);
        check(
            |spec| {
                spec.log.level = "debug".into();
                spec.log.json = false;
            },
            &["log.level", "log.format"],
        );
        let outcome_log = crate::config::OutcomeLog {
            file: "outcomes.log".into(),
            max_bytes: 1 << 26,
            keep: 4,
        };
        check(|spec| spec.outcome_log = Some(outcome_log), &["outcomeLog"]);
    }
}
