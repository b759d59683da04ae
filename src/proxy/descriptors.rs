//! How many descriptors clients and backends may use up: the last ones are for the admin API, the state and other
//! files, so that a rollout can be aborted whatever clients do.

use std::os::fd::{AsRawFd, RawFd};

use rustix::process::{Resource, getrlimit};

/// Kept for ourselves at most; of small limits an eighth.
const OWN_MAX: i32 = 64;

/// Kept for what clients cost further on, such as connections to backends, at most; of small limits an eighth.
const FURTHER_MAX: i32 = 1024;

/// The first descriptors that are not to be had. The system hands out the lowest number that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    clients: RawFd,
    all: RawFd,
}

impl Descriptors {
    /// Of this process, as its limit is now.
    pub(super) fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::of(i32::try_from(limit).unwrap_or(i32::MAX))
    }

    fn of(limit: i32) -> Self {
        let all = limit - (limit / 8).min(OWN_MAX);
        Self {
            clients: all - (limit / 8).min(FURTHER_MAX),
            all,
        }
    }

    /// Whether a client's connection may be served that has this descriptor.
    pub(super) fn has_room_for_client(self, connection: &impl AsRawFd) -> bool {
        connection.as_raw_fd() < self.clients
    }

    /// Whether whatever is not for ourselves, such as a connection to a backend, may have this descriptor.
    pub(super) fn has_room(self, socket: &impl AsRawFd) -> bool {
        socket.as_raw_fd() < self.all
    }
}

#[cfg(test)]
mod tests {
    use super::Descriptors;

    #[test]
    fn the_last_descriptors_are_ours() {
        let check = |limit, clients, all| assert_eq!(Descriptors::of(limit), Descriptors { clients, all });
        check(128, 96, 112);
        check(1024, 832, 960);
        check(1 << 20, (1 << 20) - 64 - 1024, (1 << 20) - 64);
        check(i32::MAX, i32::MAX - 64 - 1024, i32::MAX - 64);
    }
}
