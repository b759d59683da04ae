//! Reads the lines of a head or a trailer section as they come, in pieces of any size (RFC 9112 §2.2 and §5).

use memchr::memchr;

use super::grammar::{is_space, lower_token, text_len, trim_ows, trim_start};
use super::refusal::Refusal;
use crate::head::{FieldSpans, Span};

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, from the first of the start line to the last of the empty line.
    pub bytes: usize,
    /// Number of fields.
    pub fields: usize,
    /// Bytes of a request's target.
    pub target_bytes: usize,
}

/// A field line taken apart.
pub(super) struct FieldLine<'a> {
    /// In lower case.
    pub(super) name: &'a [u8],
    /// All that follows the colon.
    pub(super) padded: &'a [u8],
    /// The same without the white space around it.
    pub(super) value: &'a [u8],
    /// Where the value lies.
    pub(super) span: Span,
}

/// What has been read of a section that begins a buffer to which bytes are only added. Each byte is looked at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    /// What lies before has been looked at.
    at: usize,
    /// Where the field line begins that is not complete yet.
    line: usize,
    /// Where its colon is, once that has come.
    colon: Option<usize>,
    entries: FieldSpans,
}

impl Section {
    /// The length of the start line without its CRLF; `None` when it is not complete yet. With its CRLF it must end within
    /// the first `limit` bytes: as soon as it cannot, it is refused as `too_long`.
    pub(super) fn read_start_line(
        &mut self,
        buf: &[u8],
        limit: usize,
        too_long: Refusal,
    ) -> Result<Option<usize>, Refusal> {
        let end = buf.len().min(limit);
        let Some(found) = memchr(b'\n', &buf[self.at..end]) else {
            self.at = end;
            return if buf.len() < limit { Ok(None) } else { Err(too_long) };
        };
        let line_feed = self.at + found;
        // RFC 9112 §2.2 lets a recipient take a bare LF for a line end. Two readers that differ in it see two messages.
        let [line @ .., b'\r'] = &buf[..line_feed] else {
            return Err(Refusal::LineEnd);
        };
        self.at = line_feed + 1;
        self.line = self.at;
        Ok(Some(line.len()))
    }

    /// Reads field lines up to the empty line, and shows each to `note`. False when the section is not complete yet.
    pub(super) fn read_fields(
        &mut self,
        buf: &mut [u8],
        limits: HeadLimits,
        mut note: impl FnMut(&FieldLine<'_>) -> Result<(), Refusal>,
    ) -> Result<bool, Refusal> {
        let (incomplete, end) = match buf.len() < limits.bytes {
            true => (Ok(false), buf.len()),
            false => (Err(Refusal::HeadTooLarge), limits.bytes),
        };
        let buf = &mut buf[..end];
        loop {
            let colon = match self.colon {
                Some(colon) => colon,
                None => {
                    self.at += lower_token(&mut buf[self.at..]);
                    match buf[self.at..] {
                        [b':', ..] if self.at > self.line => {}
                        [b'\r', b'\n', ..] if self.at == self.line => {
                            self.at += 2;
                            return Ok(true);
                        }
                        [] => return incomplete,
                        [b'\r'] if self.at == self.line => return incomplete,
                        [byte, ..] => return Err(name_problem(byte, self.at == self.line)),
                    }
                    self.colon = Some(self.at);
                    self.at += 1;
                    self.at - 1
                }
            };
            self.at += text_len(&buf[self.at..]);
            match buf[self.at..] {
                [b'\r', b'\n', ..] => {}
                [] | [b'\r'] => return incomplete,
                [b'\r' | b'\n', ..] => return Err(Refusal::LineEnd),
                _ => return Err(Refusal::Value),
            }
            if self.entries.len() == limits.fields {
                return Err(Refusal::TooManyFields);
            }
            let padded = &buf[colon + 1..self.at];
            let value = trim_ows(padded);
            let value_start = self.at - trim_start(padded).len();
            let span = Span::new(value_start, value_start + value.len());
            note(&FieldLine {
                name: &buf[self.line..colon],
                padded,
                value,
                span,
            })?;
            self.entries.push((Span::new(self.line, colon), span));
            self.at += 2;
            self.line = self.at;
            self.colon = None;
        }
    }

    /// The section's length in bytes with all its line ends, and where its fields lie. The next section is as new.
    pub(super) fn take(&mut self) -> (usize, FieldSpans) {
        self.line = 0;
        self.colon = None;
        (std::mem::take(&mut self.at), std::mem::take(&mut self.entries))
    }
}

/// Why a field name does not go on with `byte`, or does not begin with it (RFC 9112 §5).
#[cold]
const fn name_problem(byte: u8, begins: bool) -> Refusal {
    match byte {
        b'\n' => Refusal::LineEnd,
        b'\r' if begins => Refusal::LineEnd,
        b'\r' => Refusal::NoColon,
        // Before the first field line too (§2.2): it would belong to no field.
        _ if is_space(byte) && begins => Refusal::Fold,
        _ if is_space(byte) => Refusal::SpaceBeforeColon,
        b':' => Refusal::NameEmpty,
        _ => Refusal::Name,
    }
}
