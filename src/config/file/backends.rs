//! What a person writes about where requests go: backends, and how each is spoken to.

use serde_json::Value as Json;

use crate::config::address::ServerName;
use crate::config::declare::{record, word_schema, words};
use crate::config::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use crate::config::scalar::{Count, Text};
use crate::config::schema::Defs;
use crate::config::spec::Endpoint;
use crate::config::tree::NodeId;
use crate::config::units::Limit;
use crate::config::when::PointInTime;
use crate::name::Name;

record! {
    /// A named version of a service.
    Backend {
        /// A name that no other backend has.
        required "name" name: Name,
        /// Image tag or git revision; a change of it may start a rollout.
        optional "release" release: Text,
        /// When the newest commit of the release was made, such as "2026-11-20T10:00:00Z". Default: not known.
        optional "commitTime" commit_time: PointInTime,
        /// Its addresses, each as host:port.
        required "endpoints" endpoints: AtLeastOne<Endpoint>,
        /// How the next endpoint is picked. Default: leastRequest.
        optional "loadBalancing" load_balancing: Balancing,
        /// What is spoken to it. Default: http1.
        optional "protocol" protocol: Protocol,
        /// TLS towards it; `{}` asks for a certificate that the system trusts. Default: clear text.
        optional "tls" tls: BackendTls,
        /// The version of the PROXY protocol that tells it for whom each connection is. Default: it is not told.
        optional "proxyProtocol" proxy_protocol: ProxyProtocol,
        /// Whether endpoints may be link-local addresses, such as 169.254.169.254, or this process's admin address.
        /// Default: false.
        optional "allowInternal" allow_internal: bool,
        /// What it is asked to bear.
        optional "limits" limits: BackendLimits,
    }
    later ["healthCheck", "ejection"]
}

words! {
    /// How the next endpoint is picked.
    Balancing {
        /// Of two at random the one with fewer requests in flight.
        "leastRequest" LeastRequest,
        /// Each in turn.
        "roundRobin" RoundRobin,
    }
    later ["ewma"]
}

words! {
    /// What is spoken to a backend.
    Protocol {
        /// HTTP/1.1.
        "http1" Http1,
        /// HTTP/2: agreed on in the handshake (ALPN) over TLS, by prior knowledge in clear text.
        "http2" Http2,
    }
    later []
}

words! {
    /// A version of the PROXY protocol.
    ProxyProtocol {
        /// A line of text.
        "v1" V1,
        /// Binary.
        "v2" V2,
    }
    later []
}

record! {
    /// TLS towards a backend. Its certificate is always verified.
    BackendTls {
        /// A PEM file with who may sign its certificate. A relative path begins at this file's directory. Default: whom
        /// the system trusts.
        optional "ca" ca: Text,
        /// The name that it is asked by (SNI), and that its certificate must be for. Default: each endpoint's host.
        optional "serverName" server_name: ServerName,
        /// A PEM file with the chain that we show, leaf first; needs key. Default: none.
        optional "certificate" certificate: Text,
        /// A PEM file with the private key of certificate.
        optional "key" key: Text,
    }
    later []
}

record! {
    /// What one backend is asked to bear.
    BackendLimits {
        /// Requests at once; more are answered 503. Default: 65536.
        optional "maxInFlight" max_in_flight: Count<1, 1_000_000>,
        /// Open connections. Default: 65536.
        optional "maxConnections" max_connections: Count<1, 1_000_000>,
        /// Requests at once on one HTTP/2 connection; fewer where the backend says so. Default: 100.
        optional "maxStreams" max_streams: Count<1, 1_000>,
        /// How long connecting may take, a TLS handshake included. Default: 1s.
        optional "connectTimeout" connect_timeout: Limit,
    }
    later []
}
