//! Which addresses clients must not be led to, however they are written: the services that a machine has for itself,
//! and the admin API of this process. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The IPv4 address that an IPv6 one stands for: mapped (RFC 4291 §2.5.5.2), compatible (§2.5.5.1), of a NAT64
/// (RFC 6052 §2.1) or of 6to4 (RFC 3056 §2). Any other address as it is.
#[must_use]
pub fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = ip else { return ip };
    let four = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match six.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            four(high, low)
        }
        // `::` and `::1` stand for themselves.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        _ => ip,
    }
}

/// RFC 3927 and RFC 4291 §2.5.6: where clouds keep their credentials.
#[must_use]
pub fn is_link_local(ip: IpAddr) -> bool {
    match plain(ip) {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether `address` is where `admin` listens. An unspecified address is every address of this machine: which those
/// are besides loopback, `is_own` says. Port 0 is no port yet, and nothing is there.
#[must_use]
pub fn is_admin(address: SocketAddr, admin: SocketAddr, is_own: impl FnOnce(IpAddr) -> bool) -> bool {
    if admin.port() == 0 || address.port() != admin.port() {
        return false;
    }
    let (ip, bound) = (plain(address.ip()), plain(admin.ip()));
    // The system takes 0.0.0.0 for this machine, too.
    if ip.is_loopback() || ip.is_unspecified() {
        return bound.is_loopback() || bound.is_unspecified();
    }
    ip == bound || (bound.is_unspecified() && is_own(ip))
}

#[cfg(test)]
mod tests {
    use super::{is_admin, is_link_local};

    #[test]
    fn link_local_addresses_are_known_in_every_spelling() {
        let check = |address: &str, expected| {
            assert_eq!(is_link_local(address.parse().unwrap()), expected, "{address}");
        };
        check("169.254.169.254", true);
        check("::ffff:169.254.169.254", true);
        check("::169.254.169.254", true);
        check("64:ff9b::169.254.169.254", true);
        check("2002:a9fe:a9fe::1", true);
        check("fe80::1", true);
        check("febf::1", true);
        check("fec0::1", false);
        check("127.0.0.1", false);
        check("::1", false);
        check("::", false);
        check("10.0.0.1", false);
        check("169.253.0.1", false);
        check("64:ff9b::10.0.0.1", false);
        check("2002:a00:1::a9fe:a9fe", false);
    }

    #[track_caller]
    fn admin(address: &str, bound: &str, expected: bool) {
        let is = is_admin(address.parse().unwrap(), bound.parse().unwrap(), |ip| {
            ip.to_string() == "10.0.0.1"
        });
        assert_eq!(is, expected, "{address} for {bound}");
    }

    #[test]
    fn the_admin_api_is_known_by_every_address_that_leads_there() {
        admin("127.0.0.1:9901", "127.0.0.1:9901", true);
        admin("127.9.9.9:9901", "127.0.0.1:9901", true);
        admin("[::1]:9901", "127.0.0.1:9901", true);
        admin("[::127.0.0.1]:9901", "127.0.0.1:9901", true);
        admin("[64:ff9b::7f00:1]:9901", "127.0.0.1:9901", true);
        admin("0.0.0.0:9901", "127.0.0.1:9901", true);
        admin("10.0.0.1:9901", "10.0.0.1:9901", true);
        admin("10.0.0.1:9901", "0.0.0.0:9901", true);
        admin("[::ffff:10.0.0.1]:9901", "[::]:9901", true);
        admin("10.0.0.2:9901", "0.0.0.0:9901", false);
        admin("10.0.0.1:9902", "0.0.0.0:9901", false);
        admin("10.0.0.1:9901", "127.0.0.1:9901", false);
        admin("127.0.0.1:9901", "10.0.0.1:9901", false);
        admin("127.0.0.1:0", "127.0.0.1:0", false);
    }
}
