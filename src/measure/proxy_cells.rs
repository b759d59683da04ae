//! Counters of one worker that belong to no route: connections, refusals, tokens, panics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::outcome::CodeClass;

/// Why we ourselves refused something. The label values of `serin_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// A listener's connection limit.
    Connections,
    /// The head is no HTTP that we pass on.
    BadRequest,
    /// The head did not come in time.
    HeadTimeout,
    /// The body did not come in time.
    BodyTimeout,
    /// Too many or too large header fields.
    Headers,
    /// The request target is too long.
    Uri,
    /// No route matches.
    NoRoute,
    /// A backend's own limit of requests or connections.
    BackendLimit,
    /// A protocol change or method that we do not pass on.
    Unsupported,
    /// TLS handshakes that failed.
    Handshake,
    /// A panic while serving; one request each.
    Panic,
    /// Access log lines dropped because the writer fell behind.
    LogLine,
    /// Lines of the outcome log dropped because its writer fell behind.
    OutcomeLine,
    /// A client address has all the connections that it may.
    ConnectionsPerClient,
    /// A request for a host that the connection's certificate is not for.
    Misdirected,
    /// The process has no room for more.
    Overload,
    /// A listener's limit of tunnels.
    Upgrades,
    /// What came in front of a connection is no PROXY protocol, or from somebody who may not speak it.
    ProxyProtocol,
    /// An HTTP/2 connection that was ended because it costs more than it asks for.
    Flood,
}

impl RejectReason {
    /// All, in the order of their counters.
    pub const ALL: [Self; 19] = [
        Self::Connections,
        Self::BadRequest,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::Headers,
        Self::Uri,
        Self::NoRoute,
        Self::BackendLimit,
        Self::Unsupported,
        Self::Handshake,
        Self::Panic,
        Self::LogLine,
        Self::OutcomeLine,
        Self::ConnectionsPerClient,
        Self::Misdirected,
        Self::Overload,
        Self::Upgrades,
        Self::ProxyProtocol,
        Self::Flood,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::BadRequest => "bad_request",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::Headers => "headers",
            Self::Uri => "uri",
            Self::NoRoute => "no_route",
            Self::BackendLimit => "backend_limit",
            Self::Unsupported => "unsupported",
            Self::Handshake => "handshake",
            Self::Panic => "panic",
            Self::LogLine => "log_line",
            Self::OutcomeLine => "outcome_line",
            Self::ConnectionsPerClient => "connections_per_client",
            Self::Misdirected => "misdirected",
            Self::Overload => "overload",
            Self::Upgrades => "upgrades",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Flood => "flood",
        }
    }
}

/// Why a token (JWT) was not believed. The label values of `serin_jwt_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It has ended.
    Expired,
    /// It begins later.
    NotYet,
    /// It has no end.
    NoExpiry,
    /// It is for others.
    Audience,
    /// It is by nobody whose tokens are believed where it stands.
    Issuer,
    /// Its signature is not that of the key.
    Signature,
    /// The issuer has no such key, as far as is known.
    UnknownKey,
    /// It is signed in a way that is not verified, or that is not the key's.
    Algorithm,
    /// It was made for another purpose.
    Type,
    /// It is no token, or one that goes beyond the bounds.
    Malformed,
    /// Too many bad signatures came before it.
    Unchecked,
}

impl TokenRefusal {
    /// All, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::Expired,
        Self::NotYet,
        Self::NoExpiry,
        Self::Audience,
        Self::Issuer,
        Self::Signature,
        Self::UnknownKey,
        Self::Algorithm,
        Self::Type,
        Self::Malformed,
        Self::Unchecked,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::NoExpiry => "no_expiry",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Malformed => "malformed",
            Self::Unchecked => "unchecked",
        }
    }
}

/// One worker's counters. That worker alone writes.
#[derive(Debug)]
#[repr(align(128))]
pub struct ProxyCells {
    rejected: [AtomicU64; RejectReason::ALL.len()],
    connections: Box<[AtomicI64]>,
    tunnels: AtomicI64,
    /// Calls for flags, by the class of their answer.
    flag_calls: [AtomicU64; CodeClass::ALL.len()],
    tokens: [AtomicU64; TokenRefusal::ALL.len()],
    /// Rises as long as the worker gets on with its work, where somebody looks.
    beats: AtomicU64,
}

impl ProxyCells {
    /// All at 0, for `listeners` listeners.
    #[must_use]
    pub fn new(listeners: usize) -> Self {
        Self {
            rejected: Default::default(),
            connections: (0..listeners).map(|_| AtomicI64::new(0)).collect(),
            tunnels: AtomicI64::new(0),
            flag_calls: Default::default(),
            tokens: Default::default(),
            beats: AtomicU64::new(0),
        }
    }

    /// One more refusal.
    pub fn reject(&self, reason: RejectReason) {
        let counter = &self.rejected[reason as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Refusals for `reason` so far.
    #[must_use]
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize].load(Ordering::Relaxed)
    }

    /// One more request whose token was not believed.
    pub fn refuse_token(&self, why: TokenRefusal) {
        let counter = &self.tokens[why as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Tokens of requests that were not believed so far, for `why`.
    #[must_use]
    pub fn refused_tokens(&self, why: TokenRefusal) -> u64 {
        self.tokens[why as usize].load(Ordering::Relaxed)
    }

    /// An application's call for flags was answered so.
    pub fn asked_for_flags(&self, class: CodeClass) {
        let counter = &self.flag_calls[class as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Calls for flags that were answered so.
    #[must_use]
    pub fn flag_calls(&self, class: CodeClass) -> u64 {
        self.flag_calls[class as usize].load(Ordering::Relaxed)
    }

    /// The worker gets on with its work.
    pub fn beat(&self) {
        let beats = &self.beats;
        beats.store(beats.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How often it said so.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// A connection on `listener` came (+1) or went (-1).
    pub fn connection(&self, listener: usize, change: i64) {
        let gauge = &self.connections[listener];
        gauge.store(gauge.load(Ordering::Relaxed) + change, Ordering::Relaxed);
    }

    /// A tunnel was asked for (+1), or is over (-1).
    pub fn tunnel(&self, change: i64) {
        let tunnels = self.tunnels.load(Ordering::Relaxed) + change;
        self.tunnels.store(tunnels, Ordering::Relaxed);
    }

    /// Tunnels that are open, or asked for.
    #[must_use]
    pub fn tunnels(&self) -> i64 {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// Whether a connection is open on any listener.
    #[must_use]
    pub fn has_connections(&self) -> bool {
        let mut gauges = self.connections.iter();
        gauges.any(|gauge| gauge.load(Ordering::Relaxed) > 0)
    }

    /// Connections open on `listener`.
    #[must_use]
    pub fn connections(&self, listener: usize) -> i64 {
        self.connections[listener].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_label_of_its_own() {
        let cells = ProxyCells::new(0);
        for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| cells.reject(reason));
        }
        let mut labels = std::collections::HashSet::new();
        for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(cells.rejected(reason), index as u64 + 1);
            assert!(labels.insert(reason.as_str()));
        }
    }

    #[test]
    fn tokens_are_counted_by_why_they_are_not_believed() {
        let cells = ProxyCells::new(0);
        let mut labels = std::collections::HashSet::new();
        for (index, why) in TokenRefusal::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| cells.refuse_token(why));
        }
        for (index, why) in TokenRefusal::ALL.into_iter().enumerate() {
            assert_eq!(cells.refused_tokens(why), index as u64 + 1);
            assert!(labels.insert(why.as_str()));
        }
    }

    #[test]
    fn calls_for_flags_are_counted_by_class() {
        let cells = ProxyCells::new(0);
        [200, 304, 304, 404]
            .into_iter()
            .for_each(|status| cells.asked_for_flags(CodeClass::of(status)));
        let counts = CodeClass::ALL.map(|class| (class.as_str(), cells.flag_calls(class)));
        let counted: Vec<_> = counts.into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("2xx", 1), ("3xx", 2), ("4xx", 1)]);
    }

    #[test]
    fn connections_come_and_go_by_listener() {
        let cells = ProxyCells::new(2);
        cells.connection(1, 1);
        cells.connection(1, 1);
        cells.connection(1, -1);
        assert_eq!((cells.connections(0), cells.connections(1)), (0, 1));
        assert!(cells.has_connections());
        cells.connection(1, -1);
        assert!(!cells.has_connections());
    }
}
