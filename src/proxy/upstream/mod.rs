//! Connections to endpoints: the bytes below, and HTTP/2 on them. HTTP/1.1 is in `proxy::h1_client`.

mod attempt;
mod connect;
mod exchange;
mod head;
mod link;
mod socket;
mod upload;

pub(super) use attempt::Attempt;
pub(super) use connect::{ClientAddresses, NOT_IN_TIME, Terms, dial};
pub(super) use exchange::Exchange;
pub(super) use link::{Link, OpenStream};
pub(super) use socket::Socket;
