//! Why bytes are no message that we take, with the rule that they break.

/// Why bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A line that does not end in CRLF (RFC 9112 §2.2).
    LineEnd,
    /// The head is larger than the limit.
    HeadTooLarge,
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
    /// 431: more or larger fields, or trailers, than the limits.
    HeadTooLarge,
}

impl Refusal {
    /// What sort of answer it calls for.
    #[must_use]
    pub const fn kind(self) -> RefusalKind {
        match self {
            Self::HeadTooLarge => RefusalKind::HeadTooLarge,
            Self::LineEnd | Self::Truncated => RefusalKind::Malformed,
        }
    }

    /// One plain sentence without quotes, backslashes or control characters: what is wrong.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::LineEnd => "a line does not end in CRLF",
            Self::HeadTooLarge => "the head is larger than the limit",
            Self::Truncated => "the message breaks off",
        }
    }
}
