//! TLS: certificates and keys from their files, which of them a client is shown, whom we believe, and how backends are
//! spoken to.

mod client;

pub use client::Upstream;
