//! Heads of responses from bytes (RFC 9112 §4, §5 and §6).

use bytes::{Buf, BytesMut};

use super::body::Framing;
use super::framing::Control;
use super::grammar::text_len;
use super::refusal::Refusal;
use super::section::{HeadLimits, Section};
use crate::head::{Fields, ResponseHead, Version};

/// What was asked, as far as a response depends on it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// By HEAD: there is no body.
    pub head: bool,
    /// For an upgrade: a 101 may come.
    pub upgrade: bool,
}

/// The head of a final response or of a 101, and what follows from it.
#[derive(Clone, Debug)]
pub struct Response {
    /// Names in lower case.
    pub head: ResponseHead,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
}

/// Reads heads of responses (RFC 9112 §4, §5, §6) as they come, in pieces of any size. Interim responses (1xx but
/// 101) are read over, so many and no more.
#[derive(Clone, Debug)]
pub struct ResponseDecoder {
    limits: HeadLimits,
    /// Interim responses that came before the one that is awaited, and their bytes.
    interim: (usize, usize),
    /// The status line, once it has been read.
    line: Option<(Version, u16)>,
    control: Control,
    section: Section,
}

/// Interim responses to one request: a 100, and many a 102 or 103.
const INTERIM_MAX: usize = 16;
/// Their bytes, in heads of the largest size.
const INTERIM_HEADS: usize = 4;

impl ResponseDecoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            interim: (0, 0),
            line: None,
            control: Control::default(),
            section: Section::default(),
        }
    }

    /// Takes the next head off the front of `buf`; `None` when it is not complete yet.
    ///
    /// # Errors
    /// As soon as what has come can be no acceptable head. The decoder must not be used again.
    pub fn decode(&mut self, buf: &mut BytesMut, asked: Asked) -> Result<Option<Response>, Refusal> {
        loop {
            let Some((version, status)) = self.read_line(buf)? else {
                return Ok(None);
            };
            let control = &mut self.control;
            let complete = self
                .section
                .read_fields(buf, self.limits, |field| control.note(field, version))?;
            if !complete {
                return Ok(None);
            }
            let control = std::mem::take(&mut self.control);
            let framing = control.of_response(status, asked.head)?;
            self.line = None;
            if matches!(status, 100 | 102..=199) {
                self.read_over_interim(buf)?;
                continue;
            }
            if status == 101 && !asked.upgrade {
                return Err(Refusal::UnaskedSwitch);
            }
            self.interim = (0, 0);
            let (len, entries) = self.section.take();
            return Ok(Some(Response {
                head: ResponseHead {
                    status,
                    version,
                    fields: Fields::from_parts(buf.split_to(len).freeze(), entries),
                },
                framing,
                // After a 101 the connection speaks another protocol.
                keep_alive: framing != Framing::Close && status != 101 && control.persists(version),
            }));
        }
    }

    /// The status line (RFC 9112 §4), as soon as it is complete.
    fn read_line(&mut self, buf: &[u8]) -> Result<Option<(Version, u16)>, Refusal> {
        if self.line.is_none() {
            // What speaks another protocol need not be waited for.
            if buf.iter().zip(b"HTTP/1.").any(|(came, due)| came != due) {
                return Err(Refusal::Version);
            }
            let limit = self.limits.bytes;
            if let Some(line) = self.section.read_start_line(buf, limit, Refusal::HeadTooLarge)? {
                self.line = Some(split_line(&buf[..line])?);
            }
        }
        Ok(self.line)
    }

    /// Drops an interim response.
    fn read_over_interim(&mut self, buf: &mut BytesMut) -> Result<(), Refusal> {
        let (len, _) = self.section.take();
        buf.advance(len);
        self.interim.0 += 1;
        self.interim.1 += len;
        if self.interim.0 > INTERIM_MAX || self.interim.1 > INTERIM_HEADS * self.limits.bytes {
            return Err(Refusal::InterimFlood);
        }
        Ok(())
    }
}

/// Takes a status line apart. The reason says nothing; some servers leave it out with the space before it.
fn split_line(line: &[u8]) -> Result<(Version, u16), Refusal> {
    if line.contains(&b'\r') {
        return Err(Refusal::LineEnd);
    }
    let (version, rest) = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', rest @ ..] => (Version::Http11, rest),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', rest @ ..] => (Version::Http10, rest),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', ..] => return Err(Refusal::StatusLine),
        _ => return Err(Refusal::Version),
    };
    let ([a, b, c], reason) = rest.split_first_chunk().ok_or(Refusal::StatusLine)?;
    if ![a, b, c].iter().all(|digit| digit.is_ascii_digit())
        || !matches!(reason, [] | [b' ', ..])
        || text_len(reason) < reason.len()
    {
        return Err(Refusal::StatusLine);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    match digit(a) * 100 + digit(b) * 10 + digit(c) {
        status @ 100..=599 => Ok((version, status)),
        _ => Err(Refusal::Status),
    }
}

#[cfg(test)]
mod tests;
