//! TLS: certificates and keys from their files, which of them a client is shown, whom we believe, and how backends are
//! spoken to.

mod certificate;
mod client;
mod identity;
mod names;
mod pem;
mod server;
mod shown;

pub use certificate::{BadPair, Certificate};
pub use client::{BadUpstream, Upstream, UpstreamFiles};
pub use identity::identity;
pub use names::Names;
pub use pem::{certificates, roots};
pub use server::{ListenerTls, Server, Setup, ticketer};
