//! The listening sockets: made here, or taken over from those who made them before.
//!
//! Every worker has a socket of its own on each listener (`SO_REUSEPORT`), so that the kernel divides
//! connections among them. A duplicate of each stays here, for a process that takes over, and for the end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use super::StartError;
use crate::config::Spec;

/// How the admin side's sockets are called where listeners are called by their names.
pub(super) const ADMIN: &str = "admin";

/// Connections that wait to be accepted, for each socket.
const BACKLOG: i32 = 4096;

/// For whom sockets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The listener of this name.
    Listener(String),
    /// The admin side.
    Admin,
}

/// Sockets that are bound to one address.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) owner: Owner,
    /// As configured; its port may be 0.
    pub(super) declared: SocketAddr,
    /// As bound.
    pub(super) address: SocketAddr,
    /// At least one; not blocking.
    pub(super) sockets: Vec<TcpListener>,
    /// Whether another process holds them too, and serves their queues when this one does not any more.
    pub(super) kept: Arc<AtomicBool>,
    /// The number of the group of another process that they came from, if they did.
    pub(super) from: Option<usize>,
}

/// Sockets that somebody else has made.
#[derive(Debug)]
pub(super) struct Inherited {
    /// Its number among the groups of the process that passed it.
    pub(super) group: Option<usize>,
    /// For whom they were; `None`: nobody said.
    pub(super) owner: Option<Owner>,
    /// The address that they were configured with; `None`: nobody said.
    pub(super) declared: Option<SocketAddr>,
    pub(super) sockets: Vec<TcpListener>,
    /// Whether who made them keeps them.
    pub(super) kept: bool,
}

/// All listening sockets of the process, in the order of the listeners; the admin side's is the last one.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) groups: Vec<Group>,
}

/// The sockets of a running process, and whether they may be given away: a process either ends or is replaced.
#[derive(Debug)]
pub(super) struct Stock {
    /// `None`: they are being closed.
    pub(super) sockets: Option<Sockets>,
    pub(super) giving: Giving,
}

/// How it stands with giving them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giving {
    /// Whoever asks may have them.
    Possible,
    /// Another process is taking over, or has.
    Passing,
    /// The process ends by itself.
    Over,
}

impl Stock {
    pub(super) fn new(sockets: Sockets) -> Self {
        Self {
            sockets: Some(sockets),
            giving: Giving::Possible,
        }
    }

    /// From one to the other; false: it does not stand there.
    pub(super) fn turn(&mut self, from: Giving, to: Giving) -> bool {
        let stands = self.giving == from;
        if stands {
            self.giving = to;
        }
        stands
    }
}

impl Sockets {
    /// What `spec` wants for so many workers: of `inherited` what fits, else new ones. What fits nobody is closed.
    ///
    /// # Errors
    /// [`StartError::Bind`].
    pub(super) fn acquire(spec: &Spec, workers: usize, mut inherited: Vec<Inherited>) -> Result<Self, StartError> {
        let mut groups = Vec::with_capacity(spec.listeners.len() + 1);
        for listener in &spec.listeners {
            let owner = Owner::Listener(listener.name.to_string());
            groups.push(Group::acquire(owner, listener.address, workers, &mut inherited)?);
        }
        groups.push(Group::acquire(Owner::Admin, spec.admin, 1, &mut inherited)?);
        for left in inherited.iter().filter(|left| left.kept) {
            let address = left.sockets.first().and_then(|socket| socket.local_addr().ok());
            let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            tracing::warn!(
                address,
                "a socket that was handed to this process is of no listener, and not used"
            );
        }
        Ok(Self { groups })
    }

    /// The group of the listener at `index`.
    pub(super) fn listener(&self, index: usize) -> &Group {
        &self.groups[index]
    }

    /// The admin side's.
    pub(super) fn admin(&self) -> &Group {
        self.groups.last().expect("the admin side has a socket")
    }

    /// From now on no handshake begins at sockets that nobody else keeps; those that have begun end well. To be called
    /// before the sockets are closed: closing one resets what its kernel queue holds, and half-done handshakes can be
    /// taken out of it only by letting them end.
    pub(super) fn refuse_handshakes(&self) {
        for group in &self.groups {
            if group.owner != Owner::Admin && !group.kept.load(Ordering::Acquire) {
                for socket in &group.sockets {
                    if let Err(error) = SockRef::from(socket).attach_filter(&no_handshakes()) {
                        tracing::debug!(%error, "no filter; a handshake of this moment may be reset");
                    }
                }
            }
        }
    }
}

impl Group {
    fn acquire(
        owner: Owner,
        declared: SocketAddr,
        count: usize,
        inherited: &mut Vec<Inherited>,
    ) -> Result<Self, StartError> {
        let cannot = |cause| StartError::Bind {
            name: owner.name().to_owned(),
            address: declared,
            cause,
        };
        if let Some(index) = find(&owner, declared, inherited) {
            let found = inherited.swap_remove(index);
            let (kept, from) = (found.kept, found.group);
            let sockets = complete(found.sockets, count).map_err(cannot)?;
            let address = sockets[0].local_addr().map_err(cannot)?;
            return Ok(Self {
                owner,
                declared,
                address,
                sockets,
                kept: Arc::new(AtomicBool::new(kept)),
                from,
            });
        }
        let mut address = declared;
        let mut sockets = Vec::with_capacity(count);
        let share = owner != Owner::Admin;
        if share && address.port() != 0 {
            // SO_REUSEPORT would let a second Serin share the port in silence.
            drop(bind(address, false).map_err(cannot)?);
        }
        for _ in 0..count {
            let socket = bind(address, share).map_err(cannot)?;
            address = socket.local_addr().map_err(cannot)?;
            sockets.push(socket);
        }
        Ok(Self {
            owner,
            declared,
            address,
            sockets,
            kept: Arc::default(),
            from: None,
        })
    }

    /// Duplicates for worker `id` of `workers`: each socket has a worker, and each worker has a socket.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(super) fn of_worker(&self, id: usize, workers: usize) -> io::Result<Vec<TcpListener>> {
        let own = self.sockets.iter().skip(id).step_by(workers);
        own.map(TcpListener::try_clone).collect()
    }
}

impl Owner {
    /// For messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Listener(name) => name,
            Self::Admin => ADMIN,
        }
    }
}

/// Which of `inherited` are for `owner` at `declared`: by the name if the address fits, else by the address.
fn find(owner: &Owner, declared: SocketAddr, inherited: &[Inherited]) -> Option<usize> {
    let is_bound_to = |found: &Inherited| {
        let bound = found.sockets.first().and_then(|socket| socket.local_addr().ok());
        bound == Some(declared)
    };
    let fits = |found: &Inherited| match found.declared {
        Some(address) => address == declared,
        // The name is all that systemd says: its address stands in the socket's unit.
        None => true,
    };
    let by_name = |found: &Inherited| found.owner.as_ref() == Some(owner) && fits(found);
    inherited
        .iter()
        .position(by_name)
        .or_else(|| inherited.iter().position(is_bound_to))
}

/// At least `count` sockets: others on the same port, or where that cannot be shared, duplicates.
fn complete(mut sockets: Vec<TcpListener>, count: usize) -> io::Result<Vec<TcpListener>> {
    let given = sockets.len();
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    while sockets.len() < count {
        let first = &sockets[0];
        let more = match SockRef::from(first).reuse_port() {
            Ok(true) => bind(first.local_addr()?, true).ok(),
            Ok(false) | Err(_) => None,
        };
        let more = more.map_or_else(|| sockets[sockets.len() % given].try_clone(), Ok)?;
        sockets.push(more);
    }
    Ok(sockets)
}

fn bind(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it: a system call less for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A program for the kernel (classic BPF, see its networking/filter documentation) that drops segments with SYN and
/// without ACK. It sees a segment from its TCP header on, in which byte 13 has the flags (RFC 9293 §3.1).
fn no_handshakes() -> [SockFilter; 5] {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Duration;

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn listener(name: &str) -> Owner {
        Owner::Listener(name.to_owned())
    }

    fn fresh(owner: Owner, count: usize) -> Group {
        Group::acquire(owner, any(), count, &mut Vec::new()).expect("a port is free")
    }

    /// As another process would get it.
    fn inherit(group: &Group, kept: bool) -> Inherited {
        Inherited {
            group: None,
            owner: Some(group.owner.clone()),
            declared: Some(group.declared),
            sockets: group
                .sockets
                .iter()
                .map(|socket| socket.try_clone().expect("a descriptor"))
                .collect(),
            kept,
        }
    }

    #[test]
    fn a_socket_that_takes_no_handshakes_keeps_what_it_has_taken() {
        let sockets = Sockets {
            groups: vec![fresh(listener("public"), 1)],
        };
        let address = sockets.groups[0].address;
        let _waiting = TcpStream::connect(address).expect("it listens");
        sockets.refuse_handshakes();
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(50)).expect_err("nobody answers");
        assert!(
            matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock),
            "{error}"
        );
        sockets.groups[0].sockets[0]
            .accept()
            .expect("the one before is still there");
    }

    #[test]
    fn sockets_that_others_keep_go_on_taking_handshakes() {
        let group = fresh(listener("public"), 1);
        group.kept.store(true, Ordering::Release);
        let address = group.address;
        let sockets = Sockets { groups: vec![group] };
        sockets.refuse_handshakes();
        TcpStream::connect(address).expect("it listens");
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        let check = |given: usize, workers: usize, shared: bool| {
            let group = Group {
                sockets: complete(
                    fresh(if shared { listener("public") } else { Owner::Admin }, given).sockets,
                    workers,
                )
                .expect("they can be completed"),
                ..fresh(listener("public"), 1)
            };
            let per_worker: Vec<usize> = (0..workers)
                .map(|id| group.of_worker(id, workers).expect("descriptors").len())
                .collect();
            assert!(per_worker.iter().all(|count| *count > 0), "{per_worker:?}");
            assert_eq!(per_worker.iter().sum::<usize>(), given.max(workers));
        };
        check(1, 1, true);
        check(2, 2, true);
        check(2, 5, true);
        check(5, 2, true);
        check(1, 3, false);
    }

    #[test]
    fn sockets_are_found_by_name_and_address() {
        let (public, admin) = (fresh(listener("public"), 2), fresh(Owner::Admin, 1));
        let check = |owner: Owner, declared: SocketAddr, expected: Option<usize>| {
            let inherited = [inherit(&public, false), inherit(&admin, false)];
            assert_eq!(find(&owner, declared, &inherited), expected, "{owner:?} {declared}");
        };
        check(listener("public"), any(), Some(0));
        check(Owner::Admin, any(), Some(1));
        // Renamed, at the address that the other one was bound to.
        check(listener("edge"), public.address, Some(0));
        // Another address is another socket, whatever its name.
        check(listener("public"), SocketAddr::from(([127, 0, 0, 2], 0)), None);
        check(listener("edge"), any(), None);
    }

    #[test]
    fn what_systemd_names_needs_no_address() {
        let public = fresh(listener("public"), 1);
        let named = |owner| Inherited {
            owner,
            declared: None,
            ..inherit(&public, true)
        };
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], 80));
        assert_eq!(
            find(&listener("public"), elsewhere, &[named(Some(listener("public")))]),
            Some(0)
        );
        assert_eq!(find(&listener("public"), elsewhere, &[named(None)]), None);
        assert_eq!(find(&listener("public"), public.address, &[named(None)]), Some(0));
    }

    #[test]
    fn a_port_that_somebody_else_has_is_not_shared() {
        let public = fresh(listener("public"), 2);
        let error = Group::acquire(listener("other"), public.address, 1, &mut Vec::new());
        assert!(matches!(error, Err(StartError::Bind { .. })), "{error:?}");
    }
}
