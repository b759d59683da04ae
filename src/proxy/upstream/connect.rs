//! From an endpoint to a byte stream that leads there: look-up, connect, PROXY header, handshake.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::socket::Socket;
use crate::proxy::descriptors::Descriptors;
use crate::proxy::fault::Fault;
use crate::proxy::worker::Worker;
use crate::proxy_protocol::{self, ProxyVersion};
use crate::route::{Backend, BackendProtocol, Endpoint, is_admin, is_link_local};
use crate::tls;

/// Why there is no connection, where the time for it was over.
pub(in crate::proxy) const NOT_IN_TIME: &str = "it was not there within `limits.connectTimeout`";

/// What a connection was made for: it serves nobody who asks for something else. By default: clear, for everybody.
#[derive(Default)]
pub(in crate::proxy) struct Terms {
    tls: Option<Arc<tls::Upstream>>,
    /// The endpoint was told that the connection is this client's.
    client: Option<(ProxyVersion, IpAddr)>,
    /// It may lead where only an internal backend may.
    internal: bool,
}

impl Terms {
    /// What `backend` asks for, for a request of `client`.
    pub(in crate::proxy) fn of(backend: &Backend, client: IpAddr) -> Self {
        Self {
            tls: backend.tls.clone(),
            client: backend.proxy_protocol.map(|version| (version, client)),
            internal: backend.allow_internal,
        }
    }

    /// Whether the connection can serve a request of `client` to `backend`.
    pub(in crate::proxy) fn fit(&self, backend: &Backend, client: IpAddr) -> bool {
        self.are_of(backend) && self.client.is_none_or(|(_, its)| its == client)
    }

    /// Whether it is encrypted.
    pub(in crate::proxy) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the connection can serve some request to `backend`.
    pub(in crate::proxy) fn are_of(&self, backend: &Backend) -> bool {
        self.tls == backend.tls
            && self.client.map(|(version, _)| version) == backend.proxy_protocol
            && self.internal == backend.allow_internal
    }
}

/// The two ends of a client's connection, for the PROXY protocol.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct ClientAddresses {
    /// The client's.
    pub(in crate::proxy) source: SocketAddr,
    /// Ours, as the client knows it.
    pub(in crate::proxy) destination: SocketAddr,
}

#[cfg(test)]
impl ClientAddresses {
    /// For tests in which nobody is told.
    pub(in crate::proxy) fn of_nobody() -> Self {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            source: nobody,
            destination: nobody,
        }
    }
}

/// Connects to `endpoint`, and goes as far as the first byte of HTTP. The caller brings the clock.
pub(in crate::proxy) async fn dial(
    worker: &Worker,
    backend: &Backend,
    endpoint: &Endpoint,
    client: ClientAddresses,
) -> Result<Socket, Fault> {
    let connected = match endpoint.address {
        Some(address) => connect(&[address], Guard::of(backend), worker.descriptors).await,
        None => connect_by_name(&endpoint.authority, Guard::of(backend), worker.descriptors).await,
    };
    let mut tcp = connected.map_err(|error| {
        worker.warn_of_endpoint(endpoint, &error);
        no_connection(&error)
    })?;
    let _ = tcp.set_nodelay(true); // without it only slower
    if let Some(version) = backend.proxy_protocol {
        let mut header = Vec::new();
        proxy_protocol::put(version, client.source, client.destination, &mut header);
        tcp.write_all(&header).await.map_err(|error| {
            worker.warn_of_endpoint(endpoint, &error);
            no_connection(&error)
        })?;
    }
    let Some(tls) = &backend.tls else {
        return Ok(Socket::Clear(tcp));
    };
    let shaken = match server_name(tls, &endpoint.authority) {
        Ok(name) => TlsConnector::from(Arc::clone(&tls.config)).connect(name, tcp).await,
        Err(error) => Err(error),
    };
    let checked = shaken.and_then(|stream| match (backend.protocol, stream.get_ref().1.alpn_protocol()) {
        (BackendProtocol::Http2, Some(b"h2")) | (BackendProtocol::Http1, None | Some(b"http/1.1")) => Ok(stream),
        (BackendProtocol::Http2, _) => Err(io::Error::other("it does not offer HTTP/2 (ALPN h2)")),
        (BackendProtocol::Http1, Some(_)) => Err(io::Error::other("it does not offer HTTP/1.1 (ALPN)")),
    });
    match checked {
        Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
        // It is not tried in clear, and not with less care: whoever answers may not be the backend.
        Err(error) => {
            worker.warn_of_endpoint(endpoint, &format_args!("TLS: {error}"));
            Err(Fault::Connect)
        }
    }
}

/// What the endpoint's certificate must be for.
fn server_name(tls: &tls::Upstream, authority: &str) -> io::Result<ServerName<'static>> {
    if let Some(name) = &tls.server_name {
        return Ok(name.clone());
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}

/// A connection that we ourselves could not open says nothing about the backend: otherwise a flood
/// of clients would speak against a release.
fn no_connection(error: &io::Error) -> Fault {
    use rustix::io::Errno;
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    match Errno::from_io_error(error) {
        Some(errno) if ours.contains(&errno) => Fault::Exhausted,
        _ => Fault::Connect,
    }
}

/// What keeps clients from where a backend must not lead.
#[derive(Clone, Copy)]
struct Guard {
    allow_internal: bool,
    admin: Option<SocketAddr>,
}

impl Guard {
    const fn of(backend: &Backend) -> Self {
        Self {
            allow_internal: backend.allow_internal,
            admin: backend.admin,
        }
    }

    /// What `address` is that is refused.
    fn refusal(self, address: SocketAddr) -> Option<&'static str> {
        if self.allow_internal {
            None
        } else if is_link_local(address.ip()) {
            Some("a link-local address")
        } else if self.admin.is_some_and(|admin| is_admin(address, admin, is_own)) {
            Some("the admin API of this process")
        } else {
            None
        }
    }
}

/// Whether an address is this machine's: only then can a socket have it. Asked for the admin's port alone.
fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Looks the name up and tries its addresses in turn.
async fn connect_by_name(authority: &str, guard: Guard, descriptors: Descriptors) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(authority).await?.collect();
    connect(&addresses, guard, descriptors).await
}

/// Tries addresses in turn, but those that `guard` refuses: who answers for a name must not lead us to the services
/// that a machine has for itself, such as the metadata of its cloud.
async fn connect(addresses: &[SocketAddr], guard: Guard, descriptors: Descriptors) -> io::Result<TcpStream> {
    let mut last = None;
    let mut refused = None;
    for &address in addresses {
        if let Some(what) = guard.refusal(address) {
            refused = Some(format!(
                "it leads to {address}, {what}; `allowInternal: true` allows it"
            ));
            continue;
        }
        match connect_to(address, descriptors).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = Some(error),
        }
    }
    Err(match (last, refused) {
        (Some(error), _) => error,
        (None, Some(why)) => io::Error::new(io::ErrorKind::PermissionDenied, why),
        (None, None) => io::Error::new(io::ErrorKind::NotFound, "its name has no address"),
    })
}

/// Connects, unless the last descriptors would go: those are not for clients and what they cost.
async fn connect_to(address: SocketAddr, descriptors: Descriptors) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if !descriptors.has_room(&socket) {
        return Err(rustix::io::Errno::MFILE.into());
    }
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::{Descriptors, Fault, Guard, connect_by_name, is_own, no_connection, server_name};
    use crate::tls;
    use rustix::io::Errno;

    fn check(errno: Errno, expected: Fault) {
        assert_eq!(no_connection(&errno.into()), expected);
    }

    #[test]
    fn only_what_the_backend_did_speaks_against_it() {
        check(Errno::CONNREFUSED, Fault::Connect);
        check(Errno::HOSTUNREACH, Fault::Connect);
        check(Errno::CONNRESET, Fault::Connect);
        check(Errno::MFILE, Fault::Exhausted);
        check(Errno::NFILE, Fault::Exhausted);
        check(Errno::ADDRNOTAVAIL, Fault::Exhausted);
    }

    const GUARD: Guard = Guard {
        allow_internal: false,
        admin: None,
    };

    /// A name's address, as an address in its place is its own answer, is refused as what is said.
    async fn refused(authority: &str, guard: Guard, what: &str) {
        let connected = connect_by_name(authority, guard, Descriptors::of_process()).await;
        let error = connected.expect_err("it is refused");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains(what), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_link_local_address_is_refused() {
        refused("169.254.1.1:80", GUARD, "169.254.1.1:80, a link-local").await;
    }

    #[tokio::test]
    async fn a_name_that_leads_to_the_admin_api_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        let guard = |admin, allow_internal| Guard { allow_internal, admin };
        let port = admin.port();
        let every = std::net::SocketAddr::from(([0, 0, 0, 0], port));
        for bound in [admin, every] {
            for host in ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "0.0.0.0"] {
                refused(&format!("{host}:{port}"), guard(Some(bound), false), "the admin API").await;
            }
        }
        let descriptors = Descriptors::of_process();
        for passes in [guard(Some(admin), true), guard(None, false)] {
            let connected = connect_by_name(&admin.to_string(), passes, descriptors).await;
            connected.expect("it may be reached");
        }
    }

    #[test]
    fn an_address_is_our_own_if_we_can_have_it() {
        assert!(is_own([127, 0, 0, 2].into()));
        // Kept for documentation (RFC 5737).
        assert!(!is_own([192, 0, 2, 1].into()));
    }

    #[test]
    fn the_endpoints_host_is_what_its_certificate_must_be_for() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["app".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let files = tls::UpstreamFiles {
            ca: Some(pem.as_bytes()),
            shown: None,
        };
        let tls = tls::Upstream::new(files, None, false).unwrap();
        for (authority, expected) in [
            ("app.internal:443", "app.internal"),
            ("[::1]:443", "::1"),
            ("10.0.0.1:1", "10.0.0.1"),
        ] {
            assert_eq!(server_name(&tls, authority).unwrap().to_str(), expected);
        }
        assert!(server_name(&tls, "not a name:1").is_err());
        let named = tls::Upstream::new(files, Some("shop.internal"), false).unwrap();
        assert_eq!(server_name(&named, "10.0.0.1:1").unwrap().to_str(), "shop.internal");
    }
}
