//! What systemd is told and what it gives, over the protocols that other supervisors speak too: sd_notify(3) and
//! sd_listen_fds(3). Without their variables in the environment nothing is told, and nothing given.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

use super::StartError;
use super::sockets::{ADMIN, Inherited, Owner};

/// Variables that are about one process, and not for those that it starts.
pub(super) const OWN_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Whoever wants to know how the process does.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment says.
    pub(super) fn of_environment() -> Self {
        let named = env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty());
        let socket = named.and_then(|name| match reach(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be reached; nobody is told that this process is ready");
                None
            }
        });
        let variable = |name| env::var(name).ok();
        let watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Self { socket, watchdog }
    }

    /// How long it waits for a sign of life before it takes us for dead; `None`: it does not.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some())
    }

    /// A configuration is live and the listeners accept; or a reading of the file is over.
    pub(super) fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    /// The file is read again; [`Supervisor::ready`] follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// The process drains.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Another process has taken over.
    pub(super) fn main_process_is(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    /// Control and the workers are alive.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Who does not listen misses it: serving does not depend on a supervisor.
    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, state, "the supervisor does not listen");
        }
    }
}

/// A socket that reaches the one of this name; `@` begins an abstract one (unix(7)).
fn reach(name: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The watchdog's patience, where it is about the process `own`.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec = usec.and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0);
    usec.filter(|_| is_ours).map(Duration::from_micros)
}

/// The sockets that the environment gives to this process. To be asked once, before other threads begin.
///
/// # Errors
/// [`StartError::Activation`]: one of them is no TCP socket.
pub(super) fn activated() -> Result<Vec<Inherited>, StartError> {
    let mut given = ListenFd::from_env();
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut groups: Vec<Inherited> = Vec::new();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default();
        let socket = given.take_tcp_listener(index);
        let socket = socket.map_err(|error| StartError::Activation(format!("socket {index} ({name}): {error}")))?;
        let Some(socket) = socket else { continue };
        let address = socket.local_addr().ok();
        let owner = owner(name);
        // Several of one name and address are a port that workers share.
        let same = |group: &&mut Inherited| {
            group.owner == owner && group.sockets.first().and_then(|first| first.local_addr().ok()) == address
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.sockets.push(socket),
            None => groups.push(Inherited {
                group: None,
                owner,
                declared: None,
                sockets: vec![socket],
                kept: true,
            }),
        }
    }
    Ok(groups)
}

/// For whom a socket of this name is. Without `FileDescriptorName=` systemd calls it after its unit: that is nobody's
/// name, and the address tells.
fn owner(name: &str) -> Option<Owner> {
    match name {
        "" | "unknown" => None,
        ADMIN => Some(Owner::Admin),
        name => Some(Owner::Listener(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_about_one_process() {
        let check = |usec, pid, expected: Option<u64>| {
            assert_eq!(
                watchdog(usec, pid, 7),
                expected.map(Duration::from_micros),
                "{usec:?} {pid:?}"
            );
        };
        check(None, None, None);
        check(Some("3000"), None, Some(3000));
        check(Some("3000"), Some("7"), Some(3000));
        check(Some("3000"), Some("8"), None);
        check(Some("0"), None, None);
        check(Some("soon"), None, None);
    }

    #[test]
    fn the_supervisor_hears_at_a_path_and_at_an_abstract_name() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("notify");
        let name = format!("serin-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).expect("a socket");
        let by_name = SocketAddr::from_abstract_name(&name).and_then(|address| UnixDatagram::bind_addr(&address));
        let by_name = by_name.expect("a socket");
        for (listening, name) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))] {
            let supervisor = Supervisor {
                socket: Some(reach(&name).expect("somebody listens")),
                watchdog: None,
            };
            supervisor.main_process_is(42);
            let mut heard = [0; 64];
            let n = listening.recv(&mut heard).expect("something is told");
            assert_eq!(&heard[..n], b"MAINPID=42");
        }
        assert!(reach("/nowhere/at/all").is_err());
    }

    #[test]
    fn nobody_is_told_where_nobody_wants_to_know() {
        let supervisor = Supervisor::default();
        supervisor.ready();
        supervisor.alive();
        assert_eq!(supervisor.watchdog(), None);
    }

    #[test]
    fn a_socket_is_for_whom_its_name_says() {
        assert_eq!(owner("public"), Some(Owner::Listener("public".into())));
        assert_eq!(owner("admin"), Some(Owner::Admin));
        assert_eq!((owner(""), owner("unknown")), (None, None));
    }
}
