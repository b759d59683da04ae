//! Heads of requests from bytes (RFC 9112 §3, §5 and §6).

use bytes::{Buf, BytesMut};

use super::body::Framing;
use super::framing::Control;
use super::grammar::is_token_byte;
use super::host::is_host;
use super::refusal::Refusal;
use super::section::{FieldLine, HeadLimits, Section};
use crate::head::{Fields, Method, RequestHead, Span, Version};
use crate::path::{PathPolicy, canonical};

/// The head of a request, and what follows from it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names in lower case; `host` is among the fields; the target is in origin form (or `*`) and canonical.
    pub head: RequestHead,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 (Continue)` before it sends the body.
    pub expects_continue: bool,
}

/// Reads heads of requests (RFC 9112 §3, §5, §6) as they come, in pieces of any size.
#[derive(Clone, Debug)]
pub struct RequestDecoder {
    limits: HeadLimits,
    policy: PathPolicy,
    /// An empty line has been read over.
    after_empty_line: bool,
    /// The request line, once it has been read.
    line: Option<RequestLine>,
    said: Said,
    section: Section,
}

/// A method longer than any that is registered, with room to spare.
pub const METHOD_BYTES_MAX: usize = 32;
/// What follows the target: a space, the version, and the line end.
const AFTER_TARGET: usize = " HTTP/1.1\r\n".len();

#[derive(Clone, Debug)]
struct RequestLine {
    method: Method,
    version: Version,
    target: Span,
    path_len: usize,
}

/// What the fields have said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    control: Control,
    host: Option<Span>,
    expects_continue: bool,
}

impl RequestDecoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new(limits: HeadLimits, policy: PathPolicy) -> Self {
        Self {
            limits,
            policy,
            after_empty_line: false,
            line: None,
            said: Said::default(),
            section: Section::default(),
        }
    }

    /// Takes the next head off the front of `buf`, which holds all that has come since the last message ended;
    /// `None` when it is not complete yet. Each byte is looked at once, whatever the pieces.
    ///
    /// # Errors
    /// As soon as what has come can be no acceptable head. The decoder must not be used again.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Request>, Refusal> {
        if self.line.is_none() {
            self.line = self.read_line(buf)?;
        }
        let Some(line) = &self.line else {
            return Ok(None);
        };
        let (version, said) = (line.version, &mut self.said);
        let complete = self
            .section
            .read_fields(buf, self.limits, |field| said.note(field, version))?;
        if !complete {
            return Ok(None);
        }
        self.finish(buf)
    }

    /// The request line (RFC 9112 §3), as soon as it is complete.
    fn read_line(&mut self, buf: &mut BytesMut) -> Result<Option<RequestLine>, Refusal> {
        if !self.skip_empty_line(buf)? {
            return Ok(None);
        }
        let Some(first) = buf.first() else {
            return Ok(None);
        };
        // A TLS handshake and other protocols show themselves by their first byte.
        if !is_token_byte(*first) {
            return Err(Refusal::MethodName);
        }
        let longest = METHOD_BYTES_MAX + 1 + self.limits.target_bytes + AFTER_TARGET;
        let limit = longest.min(self.limits.bytes);
        match self.section.read_start_line(buf, limit, Refusal::TargetTooLong) {
            Ok(None) => Ok(None),
            Ok(Some(line)) => {
                let line = &mut buf[..line];
                let parts = split_line(line, self.limits.target_bytes, self.policy);
                parts.map(Some).map_err(|problem| match line.contains(&b'\r') {
                    true => Refusal::LineEnd,
                    false => problem,
                })
            }
            Err(Refusal::TargetTooLong) if !buf[..limit.min(METHOD_BYTES_MAX + 1)].contains(&b' ') => {
                Err(Refusal::MethodName)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Reads over one empty line before the request line, as some clients send behind a body (RFC 9112 §2.2). False
    /// when more bytes are wanted.
    fn skip_empty_line(&mut self, buf: &mut BytesMut) -> Result<bool, Refusal> {
        match buf[..] {
            [b'\r', ..] if self.after_empty_line => Err(Refusal::EmptyLines),
            [b'\r'] => Ok(false),
            [b'\r', b'\n', ..] => {
                buf.advance(2);
                self.after_empty_line = true;
                self.skip_empty_line(buf)
            }
            [b'\r' | b'\n', ..] => Err(Refusal::LineEnd),
            _ => Ok(true),
        }
    }

    /// What follows from a complete head.
    fn finish(&mut self, buf: &mut BytesMut) -> Result<Option<Request>, Refusal> {
        let Some(line) = self.line.take() else {
            return Ok(None);
        };
        let said = std::mem::take(&mut self.said);
        self.after_empty_line = false;
        if said.host.is_none() && line.version != Version::Http10 {
            return Err(Refusal::HostMissing);
        }
        let framing = said.control.of_request();
        let (len, entries) = self.section.take();
        let fields = Fields::from_parts(buf.split_to(len).freeze(), entries);
        let (authority, target) = (said.host.unwrap_or_default(), (line.target, line.path_len));
        Ok(Some(Request {
            framing,
            keep_alive: said.control.persists(line.version),
            // A recipient ignores it in HTTP/1.0 (RFC 9110 §10.1.1), and there is nothing to wait with without a body.
            expects_continue: said.expects_continue && line.version != Version::Http10 && framing != Framing::Empty,
            head: RequestHead::from_parts(line.method, line.version, authority, target, fields),
        }))
    }
}

impl Said {
    fn note(&mut self, field: &FieldLine<'_>, version: Version) -> Result<(), Refusal> {
        match field.name {
            b"host" if self.host.is_some() => Err(Refusal::HostRepeated),
            b"host" if !is_host(field.value) => Err(Refusal::Host),
            b"host" => {
                self.host = Some(field.span);
                Ok(())
            }
            b"expect" if self.expects_continue || !field.value.eq_ignore_ascii_case(b"100-continue") => {
                Err(Refusal::Expectation)
            }
            b"expect" => {
                self.expects_continue = true;
                Ok(())
            }
            _ => self.control.note(field, version),
        }
    }
}

/// Takes a request line apart, which begins the buffer, and brings its target into canonical form.
fn split_line(line: &mut [u8], target_bytes: usize, policy: PathPolicy) -> Result<RequestLine, Refusal> {
    let method_len = line.iter().take_while(|&&byte| is_token_byte(byte)).count();
    if method_len > METHOD_BYTES_MAX || !matches!(line.get(method_len), None | Some(b' ')) {
        return Err(Refusal::MethodName);
    }
    let method = match std::str::from_utf8(&line[..method_len]).map(Method::parse) {
        Ok(Method::Connect | Method::Trace) => return Err(Refusal::Method),
        Ok(method) => method,
        Err(_) => return Err(Refusal::MethodName),
    };
    let (before, version) = match line {
        [before @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'] => (before, Version::Http11),
        [before @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'] => (before, Version::Http10),
        _ => return Err(Refusal::Version),
    };
    let start = method_len + 1;
    let target = before.get_mut(start..).ok_or(Refusal::RequestLine)?;
    if target.len() > target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let (len, path_len) = match target {
        [] | [b' ', ..] | [.., b' '] => return Err(Refusal::RequestLine),
        [b'*'] if method == Method::Options => (1, 1),
        [b'/', ..] => {
            let canonical = canonical(target, policy).map_err(Refusal::Path)?;
            (canonical.len, canonical.path_len)
        }
        // The absolute form is for proxies that clients know of (RFC 9112 §3.2.2): here it is a second host.
        _ => return Err(Refusal::TargetForm),
    };
    Ok(RequestLine {
        method,
        version,
        target: Span::new(start, start + len),
        path_len,
    })
}

#[cfg(test)]
mod tests;
