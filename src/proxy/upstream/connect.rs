//! From an endpoint to a byte stream that leads there: look-up, connect, PROXY header, handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::socket::Socket;
use crate::proxy::fault::Fault;
use crate::proxy::worker::Worker;
use crate::proxy_protocol::{self, ProxyVersion};
use crate::route::{Backend, BackendProtocol, Endpoint};
use crate::tls;

/// Why there is no connection, where the time for it was over.
pub(in crate::proxy) const NOT_IN_TIME: &str = "it was not there within `limits.connectTimeout`";

/// What a connection was made for: it serves nobody who asks for something else. By default: clear, for everybody.
#[derive(Default)]
pub(in crate::proxy) struct Terms {
    tls: Option<Arc<tls::Upstream>>,
    /// The endpoint was told that the connection is this client's.
    client: Option<(ProxyVersion, IpAddr)>,
}

impl Terms {
    /// What `backend` asks for, for a request of `client`.
    pub(in crate::proxy) fn of(backend: &Backend, client: IpAddr) -> Self {
        Self {
            tls: backend.tls.clone(),
            client: backend.proxy_protocol.map(|version| (version, client)),
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
        self.tls == backend.tls && self.client.map(|(version, _)| version) == backend.proxy_protocol
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
        Some(address) => TcpStream::connect(address).await,
        None => connect_by_name(&endpoint.authority, backend.allow_internal).await,
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

/// Looks the name up and tries its addresses in turn. Who answers for a name must not lead us to the services that a
/// machine has for itself, such as the metadata of its cloud.
async fn connect_by_name(authority: &str, allow_internal: bool) -> io::Result<TcpStream> {
    let mut refused = None;
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(authority)
        .await?
        .filter(|address| {
            let is_fit = allow_internal || !is_link_local(address.ip());
            if !is_fit {
                refused = Some(address.ip());
            }
            is_fit
        })
        .collect();
    match refused {
        Some(address) if addresses.is_empty() => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("its name leads to {address}, a link-local address; `allowInternal: true` allows it"),
        )),
        _ => TcpStream::connect(addresses.as_slice()).await,
    }
}

/// RFC 3927 and RFC 4291 §2.5.6, also where the former is written as the latter's kind.
fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, connect_by_name, is_link_local, no_connection, server_name};
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

    #[test]
    fn link_local_addresses_are_known_in_every_spelling() {
        for (address, expected) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("10.0.0.1", false),
            ("169.253.0.1", false),
        ] {
            assert_eq!(is_link_local(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_link_local_address_is_refused() {
        // An address in the place of a name is its own answer.
        let error = connect_by_name("169.254.1.1:80", false).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("169.254.1.1"), "{error}");
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
