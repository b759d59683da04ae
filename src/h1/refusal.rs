//! Why bytes are no message that we take, with the rule that they break.

use thiserror::Error;

use crate::path::PathProblem;

/// Why bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{}", self.detail())]
pub enum Refusal {
    /// A line that does not end in CRLF, or a CR elsewhere (RFC 9112 §2.2).
    LineEnd,
    /// More than one empty line before a request line (RFC 9112 §2.2).
    EmptyLines,
    /// A request line that is not three parts with one space between each (RFC 9112 §3).
    RequestLine,
    /// A method that is no token of at most 32 bytes (RFC 9112 §3.1).
    MethodName,
    /// CONNECT and TRACE, which a gateway has no use for (RFC 9110 §9.3.6 and §9.3.8).
    Method,
    /// A version other than HTTP/1.1 and HTTP/1.0 (RFC 9112 §2.3).
    Version,
    /// A target longer than the limit (RFC 9112 §3).
    TargetTooLong,
    /// A target in absolute or authority form, or in none (RFC 9112 §3.2).
    TargetForm,
    /// A target that no URI has, or without a canonical form.
    Path(PathProblem),
    /// A status line that is none (RFC 9112 §4).
    StatusLine,
    /// A status outside 100 to 599 (RFC 9110 §15).
    Status,
    /// A 101 that nobody asked for (RFC 9110 §15.2.2).
    UnaskedSwitch,
    /// More or larger interim responses than anybody needs (RFC 9110 §15.2).
    InterimFlood,
    /// A 1xx or 204 with the framing of a body (RFC 9110 §8.6, RFC 9112 §6.1).
    BodyForbidden,
    /// A head, or a trailer section, that is larger than the limit.
    HeadTooLarge,
    /// More fields than the limit.
    TooManyFields,
    /// A line that begins with white space: obsolete folding (RFC 9112 §5.2), or before the first field (§2.2).
    Fold,
    /// A field line without a colon (RFC 9112 §5).
    NoColon,
    /// A field without a name (RFC 9112 §5).
    NameEmpty,
    /// A field name that is no token (RFC 9110 §5.1).
    Name,
    /// White space between a name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// A control character in a field value (RFC 9110 §5.5).
    Value,
    /// No Host (RFC 9112 §3.2).
    HostMissing,
    /// More than one Host (RFC 9112 §3.2).
    HostRepeated,
    /// A Host that is no host with an optional port (RFC 9110 §7.2, RFC 3986 §3.2.2).
    Host,
    /// A Transfer-Encoding that is not just chunked (RFC 9112 §6.1).
    TransferEncoding,
    /// A Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1).
    TransferEncodingOld,
    /// Transfer-Encoding beside Content-Length (RFC 9112 §6.1).
    LengthBesideCoding,
    /// A Content-Length that is no decimal number (RFC 9110 §8.6).
    ContentLength,
    /// More than one Content-Length (RFC 9112 §6.3).
    ContentLengthRepeated,
    /// A Connection field that is no list of tokens (RFC 9110 §7.6.1).
    Connection,
    /// A Connection option that would take away framing or host (RFC 9110 §7.6.1).
    ConnectionOption,
    /// An expectation other than 100-continue (RFC 9110 §10.1.1).
    Expectation,
    /// A chunk size that is no hexadecimal number below 2^63 (RFC 9112 §7.1).
    ChunkSize,
    /// Chunk extensions against their grammar (RFC 9112 §7.1.1).
    ChunkExtension,
    /// Chunk extensions beyond all reason (RFC 9112 §7.1.1).
    ChunkExtensionsTooLarge,
    /// A chunk that is longer than its size (RFC 9112 §7.1).
    ChunkEnd,
    /// The stream ended within a message (RFC 9112 §8).
    Truncated,
}

/// What sort of answer a refusal calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// 400.
    Malformed,
    /// 405: CONNECT and TRACE.
    Method,
    /// 413: chunk extensions beyond all reason.
    ContentTooLarge,
    /// 414.
    TargetTooLong,
    /// 417: an expectation that we do not know.
    Expectation,
    /// 431: more or larger fields, or trailers, than the limits.
    HeadTooLarge,
}

impl Refusal {
    /// What sort of answer it calls for.
    #[must_use]
    pub const fn kind(self) -> RefusalKind {
        match self {
            Self::Method => RefusalKind::Method,
            Self::ChunkExtensionsTooLarge => RefusalKind::ContentTooLarge,
            Self::TargetTooLong => RefusalKind::TargetTooLong,
            Self::Expectation => RefusalKind::Expectation,
            Self::HeadTooLarge | Self::TooManyFields => RefusalKind::HeadTooLarge,
            Self::LineEnd
            | Self::EmptyLines
            | Self::RequestLine
            | Self::MethodName
            | Self::Version
            | Self::TargetForm
            | Self::Path(_)
            | Self::StatusLine
            | Self::Status
            | Self::UnaskedSwitch
            | Self::InterimFlood
            | Self::BodyForbidden
            | Self::Fold
            | Self::NoColon
            | Self::NameEmpty
            | Self::Name
            | Self::SpaceBeforeColon
            | Self::Value
            | Self::HostMissing
            | Self::HostRepeated
            | Self::Host
            | Self::TransferEncoding
            | Self::TransferEncodingOld
            | Self::LengthBesideCoding
            | Self::ContentLength
            | Self::ContentLengthRepeated
            | Self::Connection
            | Self::ConnectionOption
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Truncated => RefusalKind::Malformed,
        }
    }

    /// One plain sentence without quotes, backslashes or control characters: what is wrong.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::LineEnd => "a line does not end in CRLF, or holds a CR",
            Self::EmptyLines => "more than one empty line before the request line",
            Self::RequestLine => "the request line is not method, target and version with one space between each",
            Self::MethodName => "the method is no token of at most 32 bytes",
            Self::Method => "this method is not served here",
            Self::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
            Self::TargetTooLong => "the target is longer than the limit",
            Self::TargetForm => "the target is not a path, nor the asterisk of OPTIONS",
            Self::Path(problem) => problem.detail(),
            Self::StatusLine => "the status line is not version, three digits and a reason",
            Self::Status => "the status is not between 100 and 599",
            Self::UnaskedSwitch => "status 101 without a request for an upgrade",
            Self::InterimFlood => "too many or too large interim responses",
            Self::BodyForbidden => "the framing of a body on a status that has none",
            Self::HeadTooLarge => "the head or the trailer section is larger than the limit",
            Self::TooManyFields => "there are more fields than the limit",
            Self::Fold => "a field line begins with white space",
            Self::NoColon => "a field line has no colon",
            Self::NameEmpty => "a field has no name",
            Self::Name => "a field name holds a byte that no name has",
            Self::SpaceBeforeColon => "there is white space before the colon of a field",
            Self::Value => "a field value holds a control character",
            Self::HostMissing => "there is no Host field",
            Self::HostRepeated => "there is more than one Host field",
            Self::Host => "the Host field is not a host with an optional port",
            Self::TransferEncoding => "the Transfer-Encoding is not just chunked",
            Self::TransferEncodingOld => "HTTP/1.0 knows no Transfer-Encoding",
            Self::LengthBesideCoding => "there are both a Transfer-Encoding and a Content-Length",
            Self::ContentLength => "the Content-Length is no decimal number",
            Self::ContentLengthRepeated => "there is more than one Content-Length field",
            Self::Connection => "the Connection field is no list of names",
            Self::ConnectionOption => "the Connection field names a field of framing or routing",
            Self::Expectation => "the expectation is not 100-continue",
            Self::ChunkSize => "a chunk size is no hexadecimal number below 2^63",
            Self::ChunkExtension => "a chunk extension is malformed",
            Self::ChunkExtensionsTooLarge => "the chunk extensions are larger than the limit",
            Self::ChunkEnd => "a chunk does not end where its size says",
            Self::Truncated => "the message breaks off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;
    use crate::path::PathProblem;

    #[test]
    fn details_are_plain_and_short() {
        for refusal in [
            Refusal::LineEnd,
            Refusal::RequestLine,
            Refusal::Path(PathProblem::HiddenDots),
            Refusal::ChunkSize,
        ] {
            let detail = refusal.to_string();
            assert!(detail.len() <= 90, "{detail}");
            assert!(
                detail
                    .bytes()
                    .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'),
                "{detail}"
            );
        }
    }
}
