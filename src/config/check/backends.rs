//! Backends: their endpoints, what is spoken to them, and which of them nobody means.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::{duration_or, tls};
use crate::config::file::{self, Balancing, Protocol, ProxyProtocol};
use crate::config::read::Reader;
use crate::config::spec::{Backend, BackendLimits, Endpoint};
use crate::proxy_protocol::ProxyVersion;
use crate::route::{self, BackendProtocol, LoadBalancing};

/// The backend that is `written`; `None` when a part is missing, which is then reported.
pub(super) fn backend(
    written: &file::Backend,
    admin: SocketAddr,
    directory: &Path,
    reader: &mut Reader<'_>,
) -> Option<Backend> {
    check_unique(written, reader);
    // A value that does not fit may have meant yes.
    let allow_internal = written.allow_internal.known_or(false);
    if allow_internal == Some(false) {
        check_internal(written, admin, reader);
    }
    let endpoints: Option<Vec<_>> = written.endpoints.items().map(|slot| slot.get().cloned()).collect();
    let tls = match written.tls.left_out {
        true => Some(None),
        false => written
            .tls
            .get()
            .and_then(|tls| tls::of_backend(tls, directory, reader))
            .map(Some),
    };
    let protocol = match written.protocol.known_or(Protocol::Http1) {
        Some(Protocol::Http1) => Some(BackendProtocol::Http1),
        Some(Protocol::Http2) => Some(BackendProtocol::Http2),
        None => None,
    };
    let limits = written.limits.get();
    if let Some(streams) = limits.map(|l| &l.max_streams).filter(|streams| !streams.left_out)
        && protocol == Some(BackendProtocol::Http1)
    {
        reader.refuse(
            streams.at,
            "is for HTTP/2, which is not spoken here; write `protocol: http2`, or leave it out",
        );
    }
    Some(Backend {
        name: written.name.get()?.clone(),
        release: written.release.get().map(|text| text.0.clone()),
        commit_ms: written.commit_time.value.map(|time| time.0),
        endpoints: endpoints?,
        load_balancing: match written.load_balancing.or(Balancing::LeastRequest) {
            Balancing::LeastRequest => LoadBalancing::LeastRequest,
            Balancing::RoundRobin => LoadBalancing::RoundRobin,
        },
        protocol: protocol?,
        tls: tls?,
        proxy_protocol: match written.proxy_protocol.get() {
            Some(ProxyProtocol::V1) => Some(ProxyVersion::V1),
            Some(ProxyProtocol::V2) => Some(ProxyVersion::V2),
            None => None,
        },
        allow_internal: allow_internal?,
        limits: BackendLimits {
            max_in_flight: limits.and_then(|l| l.max_in_flight.value).map_or(65_536, |n| n.0),
            max_connections: limits.and_then(|l| l.max_connections.value).map_or(65_536, |n| n.0),
            connect_timeout: duration_or(limits.map(|l| &l.connect_timeout), Duration::from_secs(1)),
            max_streams: limits.and_then(|l| l.max_streams.value).map_or(100, |n| n.0),
        },
    })
}

fn check_unique(written: &file::Backend, reader: &mut Reader<'_>) {
    let mut seen = HashMap::new();
    for slot in written.endpoints.items() {
        let Some(endpoint) = slot.get() else { continue };
        if let Some(line) = seen.insert(endpoint, reader.tree.get(slot.at).place.0) {
            reader.refuse_text(slot.at, &format!("stands on line {line} already; keep one"));
        }
    }
}

/// Refuses endpoints that would let clients reach what only this machine should: metadata services of clouds, and our
/// own admin API. Names are looked up later, and their addresses are looked at then.
fn check_internal(written: &file::Backend, admin: SocketAddr, reader: &mut Reader<'_>) {
    for slot in written.endpoints.items() {
        let Some(endpoint) = slot.get() else { continue };
        let ip = endpoint.host.parse::<IpAddr>().ok();
        let what = if ip.is_some_and(route::is_link_local) {
            "is a link-local address, where clouds keep their credentials"
        } else if is_admin(endpoint, ip, admin) {
            "is the admin API of this process"
        } else {
            continue;
        };
        reader.refuse_text(
            slot.at,
            &format!("{what}; write `allowInternal: true` if clients may reach it"),
        );
    }
}

/// Whether `endpoint` is where `admin` listens. An unspecified address is every address of this machine; of those only
/// the loopback ones are known here.
fn is_admin(endpoint: &Endpoint, ip: Option<IpAddr>, admin: SocketAddr) -> bool {
    match ip {
        // The system knows this name without asking anybody.
        None if endpoint.host == "localhost" => {
            let ours = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), endpoint.port);
            route::is_admin(ours, admin, |_| false)
        }
        None => false,
        Some(ip) => route::is_admin(SocketAddr::new(ip, endpoint.port), admin, |_| false),
    }
}

#[cfg(test)]
mod tests {
    use super::is_admin;
    use crate::config::read::Scalar;
    use crate::config::spec::Endpoint;

    #[track_caller]
    fn check(endpoint: &str, admin: &str, expected: bool) {
        let parsed = Endpoint::parse(endpoint).expect("an endpoint");
        let ip = parsed.host.parse().ok();
        let admin = admin.parse().expect("an address");
        assert_eq!(is_admin(&parsed, ip, admin), expected, "{endpoint} for {admin}");
    }

    #[test]
    fn the_admin_api_has_many_names() {
        check("127.0.0.1:9901", "127.0.0.1:9901", true);
        check("127.9.9.9:9901", "127.0.0.1:9901", true);
        check("[::1]:9901", "127.0.0.1:9901", true);
        check("[::ffff:127.0.0.1]:9901", "127.0.0.1:9901", true);
        check("0.0.0.0:9901", "127.0.0.1:9901", true);
        check("localhost:9901", "[::1]:9901", true);
        check("LocalHost:9901", "0.0.0.0:9901", true);
        check("10.0.0.1:9901", "10.0.0.1:9901", true);
        check("127.0.0.1:9902", "127.0.0.1:9901", false);
        check("10.0.0.2:9901", "10.0.0.1:9901", false);
        check("127.0.0.1:9901", "10.0.0.1:9901", false);
        check("app.internal:9901", "127.0.0.1:9901", false);
        check("127.0.0.1:1", "127.0.0.1:0", false);
    }
}
