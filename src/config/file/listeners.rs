//! What a person writes about where clients come in: listeners, their certificates, clocks and bounds.

use std::net::SocketAddr;

use serde_json::{Value as Json, json};

use crate::config::declare::{record, word_schema, words};
use crate::config::read::{AtLeastOne, Field, Reader, Scalar, Slot, Written};
use crate::config::scalar::{Count, Text};
use crate::config::schema::Defs;
use crate::config::tree::{NodeId, Value};
use crate::config::units::{Limit, MaxAge, Size};
use crate::name::Name;

record! {
    /// An address we accept connections on.
    Listener {
        /// A name that no other listener has.
        required "name" name: Name,
        /// An IP address and a port. Port 0 asks the system for a free one.
        required "address" address: SocketAddr,
        /// Whether each connection begins with a head of the PROXY protocol, version 1 or 2, that says for whom it is.
        /// Only peers among trustedProxies may come in then. Default: false.
        optional "proxyProtocol" proxy_protocol: bool,
        /// Answer every request with a redirect to https: true, or the port of the listener that serves it. Default: false.
        optional "redirectToHttps" redirect_to_https: Redirect,
        /// Certificates; clear text when left out.
        optional "tls" tls: Tls,
        /// Clocks of a client's connection.
        optional "timeouts" timeouts: ListenerTimeouts,
        /// Bounds of what clients may ask for.
        optional "limits" limits: ListenerLimits,
        /// What becomes of paths that two readers could take for two places. Default: strict.
        optional "paths" paths: Paths,
        /// Whether it answers applications that ask for flags (OFREP), under /ofrep/v1/. Default: false.
        optional "ofrep" ofrep: bool,
    }
    later []
}

words! {
    /// What becomes of paths that two readers could take for two places.
    Paths {
        /// They are refused.
        "strict" Strict,
        /// They are brought into the form that they are an alias of.
        "normalize" Normalize,
    }
    later []
}

/// Whether requests are sent to https, and to which port there.
#[derive(Debug)]
pub(in crate::config) enum Redirect {
    /// To the port that https has by itself, or not at all.
    Word(bool),
    /// To another port.
    To(RedirectTo),
}

impl Written for Redirect {
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        if matches!(reader.tree.get(at).value, Value::Map(_)) {
            return RedirectTo::read(at, reader).map(Self::To);
        }
        bool::read(at, reader).map(Self::Word)
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [<bool as Written>::schema(defs), RedirectTo::schema(defs)] })
    }
}

record! {
    /// Where https is served.
    RedirectTo {
        /// The port that clients find it at. Default: 443.
        optional "port" port: Count<1, 65_535>,
    }
    later []
}

record! {
    /// TLS towards clients.
    Tls {
        /// The certificates; a client is shown the one for the host it names, else the first.
        required "certificates" certificates: AtLeastOne<Certificate>,
        /// The oldest version that is spoken. Default: "1.2".
        optional "minVersion" min_version: TlsVersion,
        /// A PEM file with who may sign the certificates of clients. A relative path begins at this file's directory.
        /// Default: clients are asked for none.
        optional "clientCa" client_ca: Text,
        /// Whether a client must show a certificate that clientCa vouches for. Default: optional.
        optional "clientAuth" client_auth: ClientAuth,
        /// Tell browsers to come by https only (Strict-Transport-Security). Default: answers say nothing of it.
        optional "hsts" hsts: Hsts,
    }
    later []
}

words! {
    /// A version of TLS.
    TlsVersion {
        /// RFC 5246.
        "1.2" Tls12,
        /// RFC 8446.
        "1.3" Tls13,
    }
    later []
}

words! {
    /// Whether clients must show a certificate.
    ClientAuth {
        /// Who has none comes in all the same; a bad one is refused.
        "optional" Optional,
        /// Who has none is refused in the handshake.
        "required" Required,
    }
    later []
}

record! {
    /// A certificate and its key, both PEM files; relative paths begin at this file's directory.
    Certificate {
        /// The chain, leaf first.
        required "certificate" certificate: Text,
        /// The private key of the leaf.
        required "key" key: Text,
    }
    later []
}

record! {
    /// What browsers are told: RFC 6797.
    Hsts {
        /// For how long they shall come by https only; 0s takes it back. Default: 365d.
        optional "maxAge" max_age: MaxAge,
        /// Whether that holds for all hosts below, too. Default: false.
        optional "includeSubdomains" include_subdomains: bool,
        /// Whether they may have it built in; needs includeSubdomains and a maxAge of at least 365d. Default: false.
        optional "preload" preload: bool,
    }
    later []
}

record! {
    /// Clocks of a client's connection.
    ListenerTimeouts {
        /// For the TLS handshake, and for the head of the PROXY protocol. Default: 10s.
        optional "handshake" handshake: Limit,
        /// From the first byte of a head to its end. Default: 10s.
        optional "requestHead" request_head: Limit,
        /// Between two reads of a body. Default: 30s.
        optional "body" body: Limit,
        /// Between two requests. Default: 60s.
        optional "idle" idle: Limit,
        /// A connection older than this is asked to leave once its requests are answered; at least 1s. Default: it may stay.
        optional "connectionAge" connection_age: Limit,
    }
    later []
}

record! {
    /// Bounds of what clients may ask for.
    ListenerLimits {
        /// Open connections. Default: 16384.
        optional "connections" connections: Count<1, 1_000_000>,
        /// Open connections of one client address. Default: as many as connections.
        optional "connectionsPerClient" connections_per_client: Count<1, 1_000_000>,
        /// Requests at once on one HTTP/2 connection. Default: 128.
        optional "streams" streams: Count<1, 1_000>,
        /// Tunnels (WebSocket) open at once. Default: 4096.
        optional "upgrades" upgrades: Count<1, 1_000_000>,
        /// Fields in a head. Default: 100.
        optional "headers" headers: Count<1, 1_000>,
        /// Size of a head. Default: 64KiB.
        optional "headerBytes" header_bytes: Size<1_024, 1_048_576>,
        /// Size of a request target. Default: 16KiB.
        optional "uriBytes" uri_bytes: Size<64, 1_048_576>,
    }
    later []
}

/// The port of https (RFC 9110 §4.2.2).
pub(in crate::config) const HTTPS: Count<1, 65_535> = Count(443);
