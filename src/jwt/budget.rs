//! How many bad signatures are looked at: checking one costs some hundred times what making one up does.
//!
//! Only failures are counted. Who sends many spends the share of their own address first, so that a flood from a few
//! addresses denies nobody else their token; a flood from everywhere is bounded for the whole worker.

use std::hash::BuildHasher;
use std::net::IpAddr;

/// Bad signatures in a second that are looked at for one address (and those that share its place in the table),
const OF_ONE_MAX: u8 = 20;
/// and for all together: about a tenth of a core.
const OF_ALL_MAX: u16 = 1_000;
/// Addresses are told apart in so many places.
const PLACES: usize = 1_024;

/// Bad signatures of the present second.
pub(super) struct Budget {
    second: u64,
    of_all: u16,
    of_one: Box<[u8; PLACES]>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            second: 0,
            of_all: 0,
            of_one: Box::new([0; PLACES]),
        }
    }

    /// Whether another signature for `client` may be looked at. `now_s` are seconds of any clock.
    pub(super) fn is_left(&mut self, client: IpAddr, now_s: u64, hasher: &impl BuildHasher) -> bool {
        if now_s != self.second {
            self.second = now_s;
            if self.of_all > 0 {
                self.of_all = 0;
                self.of_one.fill(0);
            }
        }
        self.of_all < OF_ALL_MAX && self.of_one[place(client, hasher)] < OF_ONE_MAX
    }

    /// One that was looked at was bad.
    pub(super) fn spend(&mut self, client: IpAddr, hasher: &impl BuildHasher) {
        self.of_all = self.of_all.saturating_add(1);
        let of_one = &mut self.of_one[place(client, hasher)];
        *of_one = of_one.saturating_add(1);
    }
}

fn place(client: IpAddr, hasher: &impl BuildHasher) -> usize {
    // Who has an IPv6 network has 2^64 addresses.
    let network = match client {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        #[allow(clippy::cast_possible_truncation)] // the upper half
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    };
    #[allow(clippy::cast_possible_truncation)] // any bits will do
    let hash = hasher.hash_one(network) as usize;
    hash % PLACES
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::{Budget, OF_ALL_MAX, OF_ONE_MAX};

    fn spent(budget: &mut Budget, hasher: &RandomState, client: IpAddr, now_s: u64) -> u32 {
        let looks = (0..10_000).take_while(|_| {
            let left = budget.is_left(client, now_s, hasher);
            if left {
                budget.spend(client, hasher);
            }
            left
        });
        u32::try_from(looks.count()).unwrap()
    }

    #[test]
    fn one_address_spends_its_own_share_and_gets_it_again_in_the_next_second() {
        let (mut budget, hasher) = (Budget::new(), RandomState::new());
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(spent(&mut budget, &hasher, client, 5), u32::from(OF_ONE_MAX));
        assert_eq!(spent(&mut budget, &hasher, client, 5), 0);
        assert_eq!(spent(&mut budget, &hasher, client, 6), u32::from(OF_ONE_MAX));
    }

    #[test]
    fn all_together_have_a_bound() {
        let (mut budget, hasher) = (Budget::new(), RandomState::new());
        let clients = (0..5_000).map(|n| IpAddr::V4(Ipv4Addr::from_bits(n)));
        let all: u32 = clients.map(|client| spent(&mut budget, &hasher, client, 5)).sum();
        assert_eq!(all, u32::from(OF_ALL_MAX));
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let (mut budget, hasher) = (Budget::new(), RandomState::new());
        let client = |low| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | low));
        spent(&mut budget, &hasher, client(1), 5);
        assert!(!budget.is_left(client(2), 5, &hasher));
    }
}
