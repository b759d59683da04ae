//! Where things are: socket addresses, networks, endpoints, hosts, paths.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::{Value as Json, json};

use super::read::Scalar;
use super::spec::{Endpoint, Network};
use crate::route::HostMatch;

impl Scalar for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            "is no address to listen on; write an IP address and a port, such as 0.0.0.0:8080 or [::1]:8080".into()
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^([0-9.]+|\[[0-9A-Fa-f:.]+(%[0-9]+)?\]):[0-9]{1,5}$" })
    }
}

/// `10.0.0.0/8`; an address alone is itself.
impl Scalar for Network {
    fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| "is no network; write it as 10.0.0.0/8 or fd00::/8")?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|n| *n <= most && !bits.starts_with('+'))
                .ok_or_else(|| format!("has no good number of bits after the slash; give 0 to {most}"))?,
        };
        Ok(Self { address, prefix_bits })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" })
    }
}

/// `10.0.1.10:8080`, `[fd00::1]:8080` or `checkout.internal:8080`.
impl Scalar for Endpoint {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err("is no endpoint; leave scheme and path out: host:port".into());
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("has no port; write host:port, such as 10.0.1.10:8080")?;
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|n| *n > 0 && port.bytes().all(|b| b.is_ascii_digit()))
            .ok_or("has no good port; give 1 to 65535 after the colon")?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner
                .parse::<Ipv6Addr>()
                .map_err(|_| "has no IPv6 address in its brackets")?
                .to_string(),
            None if host.contains(':') => {
                return Err("has an IPv6 address without brackets; write [fd00::1]:8080".into());
            }
            None => host_name(host)?,
        };
        Ok(Self { host, port })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$" })
    }
}

/// What a certificate is for, and what a server is asked by: a DNS name in lower case, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerName(pub(super) String);

impl Scalar for ServerName {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('*') {
            return Err("is no name of one server; write a whole name that its certificate is for".into());
        }
        if text.contains(':') && text.parse::<Ipv6Addr>().is_err() {
            return Err("is no name of a server; write the name alone, without a port".into());
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.to_string())),
            Err(_) => host_name(text).map(Self),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([A-Za-z0-9._-]+|[0-9A-Fa-f:.]+)$" })
    }
}

/// `shop.example.com` or `*.example.com`, in any case.
impl Scalar for HostMatch {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Err("is not needed; a match without `hosts` takes every host".into());
        }
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
            return match address {
                Some(address) => Ok(Self::Exact(format!("[{address}]"))),
                None => Err("is no host; write an IPv6 address as [fd00::1], without a port".into()),
            };
        }
        if text.contains(':') {
            return Err("names a port; hosts match whatever the port is, so leave it out".into());
        }
        match text.strip_prefix("*.") {
            Some(suffix) if suffix.parse::<IpAddr>().is_err() => Ok(Self::Wildcard(host_name(suffix)?)),
            _ if text.contains('*') => {
                Err("has its `*` in the wrong place; only `*.` in front of a name is a wildcard".into())
            }
            _ => Ok(Self::Exact(host_name(text)?)),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^((\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])$" })
    }
}

/// A path as in a request: from `/` on, without a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UrlPath(pub(super) String);

impl Scalar for UrlPath {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            Err("does not begin with `/`; a path does".into())
        } else if text.contains(['?', '#']) {
            Err("has a query or fragment; write conditions on the query under `query`".into())
        } else if text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err("has characters that no request's path has; percent-encode them, such as %20".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[!-~]*$" })
    }
}

/// An IPv4 address or a DNS name, in lower case.
fn host_name(text: &str) -> Result<String, String> {
    let good_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    if !text.is_ascii() {
        Err("has letters that DNS does not know; write it in punycode (xn--…)".into())
    } else if text.ends_with('.') {
        Err("ends with a dot; leave that out".into())
    } else if text.len() > 253 || !text.split('.').all(good_label) {
        Err("is no host name; use letters, digits, '-' and dots".into())
    } else if last.bytes().all(|b| b.is_ascii_digit()) && text.parse::<IpAddr>().is_err() {
        Err("is neither an IP address nor a name".into())
    } else {
        Ok(text.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::{HostMatch, ServerName, UrlPath};
    use crate::config::fixture::check;
    use crate::config::{Endpoint, Network};
    use std::net::SocketAddr;

    fn endpoint(host: &str, port: u16) -> Result<Endpoint, &'static str> {
        Ok(Endpoint {
            host: host.into(),
            port,
        })
    }

    #[test]
    fn endpoints_are_host_and_port() {
        check("10.0.1.10:8080", endpoint("10.0.1.10", 8080));
        check("[FD00::1]:80", endpoint("fd00::1", 80));
        check("Checkout.internal:80", endpoint("checkout.internal", 80));
        check("a_b-c:1", endpoint("a_b-c", 1));
        check::<Endpoint>("10.0.1.10", Err("has no port"));
        check::<Endpoint>("10.0.1.10:0", Err("1 to 65535"));
        check::<Endpoint>("10.0.1.10:70000", Err("1 to 65535"));
        check::<Endpoint>("10.0.1.10:+80", Err("1 to 65535"));
        check::<Endpoint>("http://a:80", Err("leave scheme and path out"));
        check::<Endpoint>("fd00::1:80", Err("without brackets"));
        check::<Endpoint>("[fd00::g]:80", Err("no IPv6 address"));
        check::<Endpoint>("10.0.1:80", Err("neither an IP address nor a name"));
        check::<Endpoint>("10.0.1.256:80", Err("neither an IP address nor a name"));
        check::<Endpoint>("-a:80", Err("no host name"));
        check::<Endpoint>(":80", Err("no host name"));
        check::<Endpoint>("bücher.example:80", Err("punycode"));
    }

    #[test]
    fn hosts_are_exact_or_wildcards() {
        check("Shop.Example.com", Ok(HostMatch::Exact("shop.example.com".into())));
        check("*.Example.com", Ok(HostMatch::Wildcard("example.com".into())));
        check("10.0.0.1", Ok(HostMatch::Exact("10.0.0.1".into())));
        check("[::1]", Ok(HostMatch::Exact("[::1]".into())));
        check::<HostMatch>("a.com:80", Err("names a port"));
        check::<HostMatch>("*", Err("is not needed"));
        check::<HostMatch>("a.*.com", Err("wrong place"));
        check::<HostMatch>("*.10.0.0.1", Err("wrong place"));
        check::<HostMatch>("a..com", Err("no host name"));
        check::<HostMatch>("a.com.", Err("ends with a dot"));
        check::<HostMatch>("", Err("no host name"));
    }

    #[test]
    fn servers_go_by_one_name() {
        check("App.internal", Ok(ServerName("app.internal".into())));
        check("10.0.0.1", Ok(ServerName("10.0.0.1".into())));
        check("FD00::1", Ok(ServerName("fd00::1".into())));
        check::<ServerName>("*.internal", Err("of one server"));
        check::<ServerName>("app.internal:443", Err("without a port"));
        check::<ServerName>("[fd00::1]", Err("without a port"));
        check::<ServerName>("app.internal.", Err("ends with a dot"));
        check::<ServerName>("a b", Err("no host name"));
        check::<ServerName>("", Err("no host name"));
    }

    #[test]
    fn addresses_to_listen_on_are_numbers() {
        check("0.0.0.0:80", Ok(SocketAddr::from(([0, 0, 0, 0], 80))));
        check("127.0.0.1:0", Ok(SocketAddr::from(([127, 0, 0, 1], 0))));
        check::<SocketAddr>("localhost:80", Err("no address to listen on"));
        check::<SocketAddr>(":80", Err("no address to listen on"));
    }

    #[test]
    fn networks_are_address_and_bits() {
        let network = |address: &str, prefix_bits| {
            Ok(Network {
                address: address.parse().expect("an address"),
                prefix_bits,
            })
        };
        check("10.0.0.0/8", network("10.0.0.0", 8));
        check("fd00::/8", network("fd00::", 8));
        check("10.1.2.3", network("10.1.2.3", 32));
        check::<Network>("10.0.0.0/33", Err("give 0 to 32"));
        check::<Network>("10.0.0.0/-1", Err("give 0 to 32"));
        check::<Network>("10.0.0.0/", Err("give 0 to 32"));
        check::<Network>("10.0/8", Err("no network"));
    }

    #[test]
    fn paths_begin_with_a_slash() {
        check("/api/checkout", Ok(UrlPath("/api/checkout".into())));
        check::<UrlPath>("api", Err("does not begin"));
        check::<UrlPath>("/a?b=1", Err("query"));
        check::<UrlPath>("/a b", Err("percent-encode"));
    }
}
