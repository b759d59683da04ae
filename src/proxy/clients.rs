//! How many connections each client has, on all workers together. Exact, and no larger than what is
//! open: an entry goes with its last connection.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many locks: workers that accept at the same moment seldom meet.
const SHARDS: usize = 16;

/// One listener's clients by address: an IPv4 address, or the /64 that one IPv6 host has to itself.
type Key = (usize, u128);

/// The open connections of each client. Asked once for each connection, and only where a client may
/// have fewer than the listener.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Secret, so that nobody can choose addresses that meet in one shard.
    hasher: RandomState,
    shards: [Mutex<HashMap<Key, u32>>; SHARDS],
}

/// One of the connections that a client may have; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    clients: Arc<Clients>,
    key: Key,
}

impl Clients {
    /// Nobody is here.
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// One more connection of `address` on `listener`; `None`: it has `max` already.
    pub(super) fn take(self: &Arc<Self>, listener: usize, address: IpAddr, max: u32) -> Option<Seat> {
        let key = (listener, host(address));
        let mut shard = self.shard(&key);
        if shard.get(&key).copied().unwrap_or(0) >= max {
            return None;
        }
        *shard.entry(key).or_default() += 1;
        Some(Seat {
            clients: Arc::clone(self),
            key,
        })
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, u32>> {
        // The low bits choose within the map; these choose the map.
        let index = (self.hasher.hash_one(key) >> 60) as usize;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.clients.shard(&self.key).entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What tells one client from another: hosts have an IPv6 network of 64 bits each (RFC 6177 §2), and
/// every address in it.
fn host(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // Below the networks, whose low half is 0.
        IpAddr::V4(address) => 1 << 32 | u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(clients: &Clients) -> usize {
        clients
            .shards
            .iter()
            .map(|shard| shard.lock().expect("not poisoned").len())
            .sum()
    }

    #[test]
    fn a_client_has_as_many_as_it_may_on_each_listener() {
        let clients = Arc::new(Clients::new());
        let address = "10.0.0.1".parse().expect("an address");
        let first = clients.take(0, address, 2).expect("the first");
        let _second = clients.take(0, address, 2).expect("the second");
        assert!(clients.take(0, address, 2).is_none());
        let _elsewhere = clients.take(1, address, 2).expect("another listener");
        drop(first);
        let _again = clients.take(0, address, 2).expect("room again");
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let clients = Arc::new(Clients::new());
        let seats: Vec<_> = (0..1000u32)
            .filter_map(|n| clients.take(0, IpAddr::from(n.to_be_bytes()), 1))
            .collect();
        assert_eq!((seats.len(), open(&clients)), (1000, 1000));
        assert!(clients.take(0, IpAddr::from([0, 0, 0, 7]), 0).is_none());
        drop(seats);
        assert_eq!(open(&clients), 0);
    }

    #[test]
    fn a_host_is_an_ipv4_address_or_a_network_of_64_bits() {
        let check = |one: &str, two: &str, same: bool| {
            let of = |text: &str| host(text.parse().expect("an address"));
            assert_eq!(of(one) == of(two), same, "{one} {two}");
        };
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("10.0.0.1", "::ffff:10.0.0.1", true);
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("0.0.0.0", "::", false);
        check("::1", "::2", true);
    }
}
