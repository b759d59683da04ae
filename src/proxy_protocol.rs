//! The PROXY protocol: for whom a connection is, in front of its first byte.

/// A version of the PROXY protocol (haproxy's proxy-protocol.txt §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text (§2.1).
    V1,
    /// Binary (§2.2).
    V2,
}
