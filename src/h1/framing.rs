//! What delimits a body, and whether the connection outlives the message: Transfer-Encoding, Content-Length and
//! Connection (RFC 9112 §6 and §9.3).

use super::body::Framing;
use super::grammar::{is_token, trim_ows};
use super::refusal::Refusal;
use super::section::FieldLine;
use crate::head::Version;

/// What the fields that control a message have said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    /// There is a Transfer-Encoding, and it is `chunked`.
    chunked: bool,
    /// The value of Content-Length.
    length: Option<u64>,
    /// `close` is among the connection options.
    close: bool,
    /// `keep-alive` is among the connection options.
    keep_alive: bool,
}

impl Control {
    /// Takes a field into account; most say nothing.
    pub(super) fn note(&mut self, field: &FieldLine<'_>, version: Version) -> Result<(), Refusal> {
        match field.name {
            b"connection" => self.note_connection(field.value),
            b"content-length" => self.note_length(field.value),
            b"transfer-encoding" => self.note_coding(field, version),
            _ => Ok(()),
        }
    }

    /// How the body of a request is delimited (RFC 9112 §6.3, items 3 to 7).
    pub(super) fn of_request(self) -> Framing {
        match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        }
    }

    /// How the body of a response is delimited (RFC 9112 §6.3).
    pub(super) fn of_response(self, status: u16, head_asked: bool) -> Result<Framing, Refusal> {
        // No such message may announce a body (RFC 9110 §8.6, RFC 9112 §6.1), and readers that believe
        // the announcement wait for it.
        if matches!(status, 100..=199 | 204) {
            return if self.chunked || self.length.is_some_and(|length| length > 0) {
                Err(Refusal::BodyForbidden)
            } else {
                Ok(Framing::Empty)
            };
        }
        Ok(match self.length {
            // What these fields describe then is the body that is not sent.
            _ if head_asked || status == 304 => Framing::Empty,
            _ if self.chunked => Framing::Chunked,
            None => Framing::Close,
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        })
    }

    /// Whether the connection may serve another message (RFC 9112 §9.3).
    pub(super) fn persists(self, version: Version) -> bool {
        !self.close && (version != Version::Http10 || self.keep_alive)
    }

    /// Exactly one final `chunked` is what all readers agree on; a coding before it is nothing that we could take off
    /// or pass on (RFC 9112 §6.1 and §7).
    fn note_coding(&mut self, field: &FieldLine<'_>, version: Version) -> Result<(), Refusal> {
        if version == Version::Http10 {
            return Err(Refusal::TransferEncodingOld);
        }
        // Some readers do not take a tab for white space, and so see another coding.
        let plain = field.value.eq_ignore_ascii_case(b"chunked") && !field.padded.contains(&b'\t');
        if !plain || self.chunked {
            return Err(Refusal::TransferEncoding);
        }
        self.chunked = true;
        self.agree()
    }

    /// `1*DIGIT` (RFC 9110 §8.6), once. A list of equal values might be repaired, and is not.
    fn note_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::ContentLengthRepeated);
        }
        self.length = Some(decimal(value).ok_or(Refusal::ContentLength)?);
        self.agree()
    }

    /// Transfer-Encoding beside Content-Length is how requests are smuggled (RFC 9112 §6.1).
    fn agree(self) -> Result<(), Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::LengthBesideCoding);
        }
        Ok(())
    }

    /// `#connection-option` (RFC 9110 §7.6.1), where empty members of the list say nothing (§5.6.1.2).
    fn note_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in value.split(|&byte| byte == b',').map(trim_ows) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if is_vital(option) {
                return Err(Refusal::ConnectionOption);
            } else if !option.is_empty() && !is_token(option) {
                return Err(Refusal::Connection);
            }
        }
        Ok(())
    }
}

/// Whether a proxy that removes the field of this name changes where the message ends or goes.
fn is_vital(option: &[u8]) -> bool {
    [&b"content-length"[..], b"transfer-encoding", b"host"]
        .iter()
        .any(|name| option.eq_ignore_ascii_case(name))
}

/// A decimal number of 1 to 19 digits: no such number overflows, and no body is longer.
fn decimal(digits: &[u8]) -> Option<u64> {
    if !(1..=19).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}
