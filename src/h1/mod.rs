//! HTTP/1 on the wire, without I/O (RFC 9110 and RFC 9112): bytes in, heads and parts of bodies out, and back.
//!
//! No sockets, no clock, no `async`. One codec serves both sides: [`RequestDecoder`] reads what clients
//! send, [`ResponseDecoder`] what backends send, [`BodyDecoder`] the bodies of both, and the `put_`
//! functions write. What is ambiguous is refused, never repaired: each [`Refusal`] names the section of the rule that
//! was broken.

mod body;
mod chunked;
mod encode;
mod framing;
mod grammar;
mod host;
mod refusal;
mod request;
mod response;
mod section;

pub use body::{BodyDecoder, Framing, Part};
pub use encode::{
    is_forbidden_trailer, put_chunk_size, put_end_of_head, put_field, put_fields, put_last_chunk, put_request_line,
    put_status_line,
};
pub use host::is_host;
pub use refusal::{Refusal, RefusalKind};
pub use request::{METHOD_BYTES_MAX, Request, RequestDecoder};
pub use response::{Asked, Response, ResponseDecoder};
pub use section::HeadLimits;
