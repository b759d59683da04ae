//! Reads lines and sections of field lines that come in pieces (RFC 9112 §2.2 and §5).

use std::ops::Range;

use memchr::memchr;

use super::grammar::{TOKEN_LOWER, is_space, is_text, trim_ows};
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

/// What has been read of a section: lines that lie one behind the other from the front of a buffer, to which
/// bytes are only added. Each byte is searched once.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    /// Where the line begins that is not complete yet.
    line: usize,
    /// The bytes before hold no line end behind `line`.
    searched: usize,
    entries: FieldSpans,
}

impl Section {
    /// The next line without its CRLF; `None` when it is not complete yet. With its CRLF it must end within the first
    /// `limit` bytes of `buf`: as soon as it cannot, it is refused as `too_long`.
    pub(super) fn next_line(
        &mut self,
        buf: &[u8],
        limit: usize,
        too_long: Refusal,
    ) -> Result<Option<Range<usize>>, Refusal> {
        let end = buf.len().min(limit);
        let Some(found) = memchr(b'\n', &buf[self.searched..end]) else {
            self.searched = end;
            return if buf.len() < limit { Ok(None) } else { Err(too_long) };
        };
        let line_feed = self.searched + found;
        // RFC 9112 §2.2 lets a recipient take a bare LF for a line end. Two readers that differ in it see two messages.
        let [.., b'\r'] = buf[self.line..line_feed] else {
            return Err(Refusal::LineEnd);
        };
        let line = self.line..line_feed - 1;
        self.line = line_feed + 1;
        self.searched = self.line;
        Ok(Some(line))
    }

    /// Reads field lines up to the empty line, and shows each to `note`. False when the section is not complete yet.
    pub(super) fn read_fields(
        &mut self,
        buf: &mut [u8],
        limits: HeadLimits,
        mut note: impl FnMut(&FieldLine<'_>) -> Result<(), Refusal>,
    ) -> Result<bool, Refusal> {
        while let Some(line) = self.next_line(buf, limits.bytes, Refusal::HeadTooLarge)? {
            if line.is_empty() {
                return Ok(true);
            }
            if self.entries.len() == limits.fields {
                return Err(Refusal::TooManyFields);
            }
            let name_len = lower_name(&mut buf[line.clone()])?;
            let name = line.start..line.start + name_len;
            let field = split_field(buf, name.clone(), line.end)?;
            note(&field)?;
            self.entries.push((Span::new(name.start, name.end), field.span));
        }
        Ok(false)
    }

    /// The section's length in bytes with all its line ends, and where its fields lie. The next section is as new.
    pub(super) fn take(&mut self) -> (usize, FieldSpans) {
        let len = std::mem::take(&mut self.line);
        self.searched = 0;
        (len, std::mem::take(&mut self.entries))
    }
}

/// Brings the name of a field line into lower case, and gives its length; the colon follows at once
/// (RFC 9112 §5.1).
fn lower_name(line: &mut [u8]) -> Result<usize, Refusal> {
    let mut len = 0;
    for byte in line.iter_mut() {
        let lower = TOKEN_LOWER[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        *byte = lower;
        len += 1;
    }
    match line.get(len) {
        Some(b':') if len > 0 => Ok(len),
        _ => Err(name_problem(line, len)),
    }
}

/// Why the name of a field line is none; `len` bytes of it are token characters.
#[cold]
fn name_problem(line: &[u8], len: usize) -> Refusal {
    match &line[len..] {
        // Before the first field line too (RFC 9112 §2.2): it would belong to no field.
        [first, ..] if len == 0 && is_space(*first) => Refusal::Fold,
        [b':', ..] => Refusal::NameEmpty,
        [] => Refusal::NoColon,
        rest if trim_ows(rest).first() == Some(&b':') => Refusal::SpaceBeforeColon,
        _ => Refusal::Name,
    }
}

/// The field whose name is `name`, and whose line ends before `end`.
fn split_field(buf: &[u8], name: Range<usize>, end: usize) -> Result<FieldLine<'_>, Refusal> {
    let after_colon = name.end + 1;
    let padded = &buf[after_colon..end];
    if !is_text(padded) {
        return Err(if padded.contains(&b'\r') {
            Refusal::LineEnd
        } else {
            Refusal::Value
        });
    }
    let leading = padded.iter().take_while(|&&byte| is_space(byte)).count();
    let value = trim_ows(&padded[leading..]);
    let start = after_colon + leading;
    Ok(FieldLine {
        name: &buf[name],
        padded,
        value,
        span: Span::new(start, start + value.len()),
    })
}
