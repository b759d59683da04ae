//! What went wrong, on whose side, and the answer that follows from it.

use bytes::Bytes;

use crate::h1::{Refusal, RefusalKind};
use crate::measure::{Outcome, RejectReason};

/// Why an exchange did not end with the backend's own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No route matches.
    NoRoute,
    /// The head is no request that we pass on; says what is wrong with it.
    BadRequest(&'static str),
    /// The target is longer than `limits.uriBytes`.
    UriTooLong,
    /// More or larger header fields than this listener takes.
    HeadTooLarge,
    /// The head did not come in time.
    HeadTimeout,
    /// More connections than this listener takes.
    TooManyConnections,
    /// This client has all the connections that one may have.
    TooManyOfClient,
    /// CONNECT and TRACE.
    MethodNotAllowed,
    /// An extended CONNECT for another protocol than WebSocket (RFC 8441 §4).
    Protocol,
    /// Chunk extensions beyond all reason.
    ContentTooLarge,
    /// An `Expect` other than `100-continue`.
    Expectation,
    /// The client's body broke its own framing, or ended too early.
    ClientBody,
    /// The client's body did not come in time.
    ClientBodyTimeout,
    /// The backend bears all the requests or connections that its limits allow.
    BackendFull,
    /// This process or host has no descriptor, port or memory for one more connection or body.
    Exhausted,
    /// No connection could be made.
    Connect,
    /// No connection could be made in time.
    ConnectTimeout,
    /// The backend closed or reset a fresh connection, or one that had begun to answer.
    Closed,
    /// What came is no HTTP response.
    Malformed,
    /// The body of the backend's answer broke off, or broke its framing, and nothing had gone out.
    Truncated,
    /// No response head in time.
    ResponseTimeout,
    /// The variant lost all its weight, and the time that what was open there had is over.
    Drained,
    /// The host is none that the connection's certificate is for.
    Misdirected,
    /// The process has no room for more.
    Overloaded,
    /// This listener has all the tunnels that it may.
    TooManyUpgrades,
    /// The exchange took longer than its route allows in all.
    TotalTimeout,
    /// The backend takes no WebSockets over HTTP/2.
    NoTunnel,
    /// The client's own deadline (`grpc-timeout`) is over.
    Deadline,
    /// Our own fault: a panic.
    Panic,
}

impl Fault {
    /// What a client has done whose bytes the codec refuses.
    pub(super) const fn of(refusal: Refusal) -> Self {
        match refusal.kind() {
            RefusalKind::Malformed => Self::BadRequest(refusal.detail()),
            RefusalKind::Method => Self::MethodNotAllowed,
            RefusalKind::ContentTooLarge => Self::ContentTooLarge,
            RefusalKind::TargetTooLong => Self::UriTooLong,
            RefusalKind::HeadTooLarge => Self::HeadTooLarge,
            RefusalKind::Expectation => Self::Expectation,
        }
    }

    /// What it shows about the backend.
    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Connect
            | Self::ConnectTimeout
            | Self::Closed
            | Self::Malformed
            | Self::Truncated
            | Self::ResponseTimeout
            | Self::TotalTimeout => Outcome::Failure,
            Self::NoRoute
            | Self::BadRequest(_)
            | Self::UriTooLong
            | Self::HeadTooLarge
            | Self::HeadTimeout
            | Self::TooManyConnections
            | Self::TooManyOfClient
            | Self::MethodNotAllowed
            | Self::Protocol
            | Self::ContentTooLarge
            | Self::Expectation
            | Self::ClientBody
            | Self::ClientBodyTimeout
            | Self::BackendFull
            | Self::Exhausted
            | Self::Drained
            | Self::Misdirected
            | Self::Overloaded
            | Self::TooManyUpgrades
            // Who asks for one is not to speak against a backend that has none.
            | Self::NoTunnel
            // How soon it comes is for the client to say; what the backend had time for is judged by the ledger.
            | Self::Deadline
            | Self::Panic => Outcome::NoEvidence,
        }
    }

    /// The counter of our own refusals that it belongs to.
    pub(super) const fn reject_reason(self) -> Option<RejectReason> {
        match self {
            Self::NoRoute => Some(RejectReason::NoRoute),
            Self::BadRequest(_) | Self::ContentTooLarge | Self::ClientBody => Some(RejectReason::BadRequest),
            Self::UriTooLong => Some(RejectReason::Uri),
            Self::HeadTooLarge => Some(RejectReason::Headers),
            Self::HeadTimeout => Some(RejectReason::HeadTimeout),
            Self::TooManyConnections | Self::Exhausted => Some(RejectReason::Connections),
            Self::TooManyOfClient => Some(RejectReason::ConnectionsPerClient),
            Self::MethodNotAllowed | Self::Protocol | Self::Expectation => Some(RejectReason::Unsupported),
            Self::ClientBodyTimeout => Some(RejectReason::BodyTimeout),
            Self::BackendFull => Some(RejectReason::BackendLimit),
            Self::Panic => Some(RejectReason::Panic),
            Self::Misdirected => Some(RejectReason::Misdirected),
            Self::Overloaded => Some(RejectReason::Overload),
            Self::TooManyUpgrades => Some(RejectReason::Upgrades),
            Self::Connect
            | Self::ConnectTimeout
            | Self::Closed
            | Self::Malformed
            | Self::Truncated
            | Self::ResponseTimeout
            | Self::TotalTimeout
            | Self::NoTunnel
            | Self::Deadline
            | Self::Drained => None,
        }
    }

    /// The status that the client is sent.
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::NoRoute => 404,
            Self::BadRequest(_) | Self::ClientBody => 400,
            Self::ContentTooLarge => 413,
            Self::UriTooLong => 414,
            Self::Expectation => 417,
            Self::MethodNotAllowed => 405,
            Self::Misdirected => 421,
            Self::HeadTooLarge => 431,
            Self::ClientBodyTimeout | Self::HeadTimeout => 408,
            Self::BackendFull
            | Self::TooManyConnections
            | Self::TooManyOfClient
            | Self::Exhausted
            | Self::Overloaded
            | Self::TooManyUpgrades
            | Self::Drained => 503,
            Self::Connect | Self::Closed | Self::Malformed | Self::Truncated | Self::NoTunnel => 502,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::TotalTimeout | Self::Deadline => 504,
            Self::Panic => 500,
            Self::Protocol => 501,
        }
    }

    /// Whether the client's connection must not serve another request.
    pub(super) const fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::UriTooLong
                | Self::HeadTooLarge
                | Self::HeadTimeout
                | Self::TooManyConnections
                | Self::TooManyOfClient
                | Self::MethodNotAllowed
                | Self::ContentTooLarge
                | Self::Expectation
                | Self::ClientBody
                | Self::ClientBodyTimeout
                | Self::Panic
        )
    }

    /// The short reason that the client is told.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::NoRoute => "no route matches this request",
            Self::BadRequest(detail) => detail,
            Self::UriTooLong => "the request target is longer than this listener's limit",
            Self::HeadTooLarge => "the request's header fields are more or larger than this listener takes",
            Self::HeadTimeout => "the request's head did not come in time",
            Self::TooManyConnections => "this listener has all the connections it may; try again",
            Self::TooManyOfClient => "this client has all the connections that it may; try again",
            Self::MethodNotAllowed => "this method is not passed on",
            Self::Protocol => "no other protocol than websocket is passed on",
            Self::ContentTooLarge => "the request body has more chunk extensions than any sender needs",
            Self::Expectation => "only 100-continue can be expected",
            Self::ClientBody => "the request body ended early or broke its framing",
            Self::ClientBodyTimeout => "the request body did not come in time",
            Self::BackendFull => "the backend has all the requests it may; try again",
            Self::Exhausted => "this cannot be served for want of resources; try again",
            Self::Connect => "no connection to the backend",
            Self::ConnectTimeout => "no connection to the backend in time",
            Self::Closed => "the backend closed the connection before its answer was complete",
            Self::Malformed => "the backend's answer is not valid HTTP",
            Self::Truncated => "the backend's answer broke off, or broke its own framing",
            Self::ResponseTimeout => "the backend did not answer in time",
            Self::Drained => "this version was taken out of service before the request was done; try again",
            Self::Misdirected => "this connection's certificate is not for this host; open another one",
            Self::Overloaded => "there is no room for more at the moment; try again",
            Self::TooManyUpgrades => "this listener has all the tunnels that it may; try again",
            Self::NoTunnel => "the backend opens no WebSocket",
            Self::TotalTimeout => "the exchange took longer than it may in all",
            Self::Deadline => "the deadline that came with the request is over",
            Self::Panic => "an internal error; it has been counted and logged",
        }
    }

    /// The reason phrase of its status (RFC 9110 §15).
    pub(super) const fn title(self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            _ => "Gateway Timeout",
        }
    }

    /// The same in the words of gRPC (its statuses and their codes; from HTTP by `doc/http-grpc-status-mapping.md` of
    /// grpc/grpc, and where that knows one word for many statuses of ours, by what the client can do).
    pub(super) const fn grpc_status(self) -> u8 {
        const UNKNOWN: u8 = 2;
        const DEADLINE_EXCEEDED: u8 = 4;
        const PERMISSION_DENIED: u8 = 7;
        const RESOURCE_EXHAUSTED: u8 = 8;
        const UNIMPLEMENTED: u8 = 12;
        const INTERNAL: u8 = 13;
        const UNAVAILABLE: u8 = 14;
        const UNAUTHENTICATED: u8 = 16;
        match self.status() {
            // The call may have run: UNAVAILABLE would ask the client to try it again.
            _ if matches!(self, Self::Deadline | Self::TotalTimeout | Self::ResponseTimeout) => DEADLINE_EXCEEDED,
            400 => INTERNAL,
            401 => UNAUTHENTICATED,
            403 => PERMISSION_DENIED,
            404 => UNIMPLEMENTED,
            408 => DEADLINE_EXCEEDED,
            413 | 431 => RESOURCE_EXHAUSTED,
            429 | 502 | 503 | 504 => UNAVAILABLE,
            _ => UNKNOWN,
        }
    }

    /// The field that goes with its status.
    pub(super) const fn field(self) -> Option<(&'static str, &'static str)> {
        match self.status() {
            405 => Some(("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
            503 => Some(("retry-after", "1")),
            _ => None,
        }
    }

    /// The problem document (RFC 9457).
    pub(super) fn problem(self) -> Bytes {
        // None of the texts holds a quote, a backslash or a control character.
        Bytes::from(format!(
            "{{\"type\":\"about:blank\",\"title\":\"{}\",\"status\":{},\"detail\":\"{}\"}}\n",
            self.title(),
            self.status(),
            self.detail()
        ))
    }
}
