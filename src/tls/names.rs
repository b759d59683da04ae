//! Which hosts a certificate is for (RFC 9525 §6).

use std::net::IpAddr;

/// The longest name of a host (RFC 1035 §2.3.4), as text and without the last dot.
pub(super) const HOST_BYTES_MAX: usize = 253;

/// The hosts that one certificate is for. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// As they stand in the certificate, wildcards among them.
    listed: Box<[Box<str>]>,
    addresses: Box<[IpAddr]>,
}

impl Names {
    /// Of alternative names: DNS names, `*.example.com` among them, and addresses. What can be no host is left out:
    /// a wildcard anywhere but as the whole first label counts as nothing (RFC 9525 §6.3).
    pub fn new<'n>(dns: impl Iterator<Item = &'n str>, addresses: impl Iterator<Item = IpAddr>) -> Self {
        Self {
            listed: dns
                .filter(|name| is_host(name.strip_prefix("*.").unwrap_or(name)))
                .map(|name| name.to_ascii_lowercase().into())
                .collect(),
            addresses: addresses.collect(),
        }
    }

    /// The DNS names, then nothing else.
    pub fn dns(&self) -> impl Iterator<Item = &str> + Clone {
        self.listed.iter().map(|name| &**name)
    }

    /// All names as text, in the order of the certificate, DNS names first.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        self.dns().map(str::to_owned).chain(addresses)
    }

    /// Whether `host`, a name in any case or an address (of IPv6 in brackets), is one of them.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        if let Some(address) = address(host) {
            return self.addresses.contains(&address);
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let parent = parent(host);
        self.dns().any(|name| match name.strip_prefix("*.") {
            Some(under) => parent.is_some_and(|parent| parent.eq_ignore_ascii_case(under)),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

/// What follows the first label, which must have something in it.
pub(super) fn parent(host: &str) -> Option<&str> {
    let (label, parent) = host.split_once('.')?;
    (!label.is_empty() && !parent.is_empty()).then_some(parent)
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn is_host(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    name.len() <= HOST_BYTES_MAX
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[track_caller]
    fn check(names: &[&str], host: &str, expected: bool) {
        let addresses = ["192.0.2.7", "2001:db8::7"].map(|text| text.parse().unwrap());
        let names = Names::new(names.iter().copied(), addresses.into_iter());
        assert_eq!(names.covers(host), expected, "{host} of {names:?}");
    }

    #[test]
    fn a_name_is_itself_in_any_case() {
        check(&["shop.example.com"], "shop.example.com", true);
        check(&["Shop.Example.com"], "sHOP.example.COM", true);
        check(&["shop.example.com"], "shop.example.com.", true);
        check(&["shop.example.com"], "example.com", false);
        check(&["shop.example.com"], "a.shop.example.com", false);
        check(&["shop.example.com"], "", false);
        check(&[], "shop.example.com", false);
    }

    #[test]
    fn a_wildcard_is_one_whole_label() {
        check(&["*.example.com"], "shop.example.com", true);
        check(&["*.example.com"], "SHOP.EXAMPLE.COM", true);
        check(&["*.example.com"], "example.com", false);
        check(&["*.example.com"], "a.b.example.com", false);
        check(&["*.example.com"], ".example.com", false);
        check(&["s*.example.com"], "shop.example.com", false);
        check(&["*"], "localhost", false);
        check(&["*.*.com"], "a.b.com", false);
    }

    #[test]
    fn an_address_is_itself_and_nobody_elses_name() {
        check(&[], "192.0.2.7", true);
        check(&[], "192.0.2.8", false);
        check(&[], "[2001:db8::7]", true);
        check(&[], "[2001:DB8:0::7]", true);
        check(&[], "2001:db8::7", false);
        check(&["192.0.2.9", "*.0.2.9"], "192.0.2.9", false);
    }

    #[test]
    fn what_can_be_no_host_is_left_out() {
        let names = Names::new(
            ["a b", "x\0.com", "", "ok.com", "é.com", "a..b"].into_iter(),
            std::iter::empty(),
        );
        assert_eq!(names.texts().collect::<Vec<_>>(), ["ok.com"]);
    }
}
