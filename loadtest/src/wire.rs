//! Where an HTTP/1.1 message ends: its head, and its body by length, by chunks or by the end of the connection. Pure.
//!
//! Both sides of the scenarios with an unruly backend read with it, and `pace`. It is written apart from the codec of
//! Serin, so that no mistake of that one can hide here; and it takes what is well formed only.

use memchr::memmem;

/// The most bytes of a head, or of a line between chunks.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What breaks RFC 9112, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A whole head at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// The request line or status line.
    pub(crate) line: &'a str,
    fields: &'a str,
    /// Its bytes, the empty line included.
    pub(crate) length: usize,
}

impl<'a> Head<'a> {
    /// The head that begins `input`; `None` while it is not complete.
    ///
    /// # Errors
    /// When it is too long, or no text.
    pub(crate) fn parse(input: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let Some(end) = memmem::find(input, b"\r\n\r\n") else {
            return if input.len() > HEAD_BYTES_MAX {
                Err(Malformed("endless head"))
            } else {
                Ok(None)
            };
        };
        let text = std::str::from_utf8(&input[..end]).map_err(|_| Malformed("head is not UTF-8"))?;
        let (line, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        Ok(Some(Self {
            line,
            fields,
            length: end + 4,
        }))
    }

    /// The status of a response.
    ///
    /// # Errors
    /// When the line is no status line.
    pub(crate) fn status(&self) -> Result<u16, Malformed> {
        self.line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or(Malformed("status line"))
    }

    /// The value of the only field of this name; `None` if there are none or several.
    pub(crate) fn only_value(&self, name: &str) -> Option<&'a str> {
        let mut values = self
            .fields
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_matches([' ', '\t']));
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }

    /// Whether its sender closes the connection after this message.
    pub(crate) fn closes(&self) -> bool {
        self.only_value("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// How the body of this request is framed (RFC 9112 §6.3).
    ///
    /// # Errors
    /// When length or coding is not readable.
    pub(crate) fn request_body(&self) -> Result<Body, Malformed> {
        Ok(self.framed()?.unwrap_or(Body::Over))
    }

    /// How the body of this response is framed, which answers HEAD or another method (RFC 9112 §6.3).
    ///
    /// # Errors
    /// When status, length or coding is not readable.
    pub(crate) fn response_body(&self, to_head: bool) -> Result<Body, Malformed> {
        let status = self.status()?;
        if to_head || status < 200 || status == 204 || status == 304 {
            return Ok(Body::Over);
        }
        Ok(self.framed()?.unwrap_or(Body::UntilClose))
    }

    fn framed(&self) -> Result<Option<Body>, Malformed> {
        match (self.only_value("transfer-encoding"), self.only_value("content-length")) {
            (Some("chunked"), None) => Ok(Some(Body::Chunked(Chunk::Size))),
            (None, Some("0")) => Ok(Some(Body::Over)),
            (None, Some(length)) => length
                .parse()
                .map(|left| Some(Body::Length(left)))
                .map_err(|_| Malformed("content-length")),
            (None, None) => Ok(None),
            (Some(_), _) => Err(Malformed("transfer-encoding")),
        }
    }
}

/// What is to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing.
    Over,
    /// So many bytes.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked(Chunk),
    /// All that comes until the connection ends.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Before the line with a size.
    Size,
    /// In a chunk, so many bytes before its end.
    Data(u64),
    /// Before the line end behind a chunk.
    End,
    /// Before a trailer field or the last line.
    Trailer,
}

impl Body {
    /// Reads on: hands each piece of content in `input` to `on_piece`, and answers how many bytes of `input` it took.
    /// What it left belongs to the next message, or is the beginning of a line.
    ///
    /// # Errors
    /// When the chunks are not well formed.
    pub(crate) fn read(&mut self, input: &[u8], mut on_piece: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match *self {
                Self::Over => return Ok(at),
                _ if rest.is_empty() => return Ok(at),
                Self::UntilClose => {
                    on_piece(rest);
                    return Ok(input.len());
                }
                Self::Length(left) => {
                    let piece = &rest[..clamp(left, rest.len())];
                    on_piece(piece);
                    at += piece.len();
                    let left = left - piece.len() as u64;
                    *self = if left == 0 { Self::Over } else { Self::Length(left) };
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let piece = &rest[..clamp(left, rest.len())];
                    on_piece(piece);
                    at += piece.len();
                    let left = left - piece.len() as u64;
                    *self = Self::Chunked(if left == 0 { Chunk::End } else { Chunk::Data(left) });
                }
                Self::Chunked(chunk) => {
                    let Some(line) = line(rest)? else {
                        return Ok(at);
                    };
                    at += line.len() + 2;
                    *self = after_line(chunk, line)?;
                }
            }
        }
    }
}

/// Where a line between chunks leads.
fn after_line(chunk: Chunk, line: &[u8]) -> Result<Body, Malformed> {
    let next = match chunk {
        Chunk::Size => match chunk_size(line)? {
            0 => Chunk::Trailer,
            size => Chunk::Data(size),
        },
        Chunk::End if line.is_empty() => Chunk::Size,
        Chunk::End => return Err(Malformed("bytes after a chunk")),
        Chunk::Trailer if line.is_empty() => return Ok(Body::Over),
        Chunk::Trailer => Chunk::Trailer,
        Chunk::Data(_) => unreachable!("data is not read by lines"),
    };
    Ok(Body::Chunked(next))
}

/// A size, and perhaps extensions, which are skipped.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let end = line.iter().position(|&byte| byte == b';').unwrap_or(line.len());
    std::str::from_utf8(line[..end].trim_ascii())
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(Malformed("chunk size"))
}

/// The line that begins `input`, without its end; `None` while that has not come.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    match memmem::find(input, b"\r\n") {
        Some(end) => Ok(Some(&input[..end])),
        None if input.len() > HEAD_BYTES_MAX => Err(Malformed("endless line")),
        None => Ok(None),
    }
}

fn clamp(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head<'_> {
        Head::parse(text.as_bytes()).expect("well formed").expect("complete")
    }

    #[test]
    fn a_head_ends_with_its_empty_line() {
        assert_eq!(Head::parse(b"GET / HTTP/1.1\r\n"), Ok(None));
        assert_eq!(head("GET / HTTP/1.1\r\n\r\nGET").length, 18);
        assert!(Head::parse(&[b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_value_is_the_only_one_or_none() {
        let head = head("GET / HTTP/1.1\r\nA: 1\r\na:\t2 \r\nB: 3\r\n\r\n");
        assert_eq!(head.only_value("a"), None);
        assert_eq!(head.only_value("b"), Some("3"));
        assert_eq!(head.only_value("c"), None);
    }

    #[test]
    fn framing_follows_status_method_and_fields() {
        let check = |fields: &str, status: u16, to_head, expected: Result<Body, &'static str>| {
            let text = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
            let found = head(&text).response_body(to_head).map_err(|Malformed(what)| what);
            assert_eq!(found, expected, "{text}");
        };
        check("content-length: 5\r\n", 200, false, Ok(Body::Length(5)));
        check("content-length: 5\r\n", 200, true, Ok(Body::Over));
        check("content-length: 5\r\n", 304, false, Ok(Body::Over));
        check("content-length: 0\r\n", 200, false, Ok(Body::Over));
        check(
            "transfer-encoding: chunked\r\n",
            200,
            false,
            Ok(Body::Chunked(Chunk::Size)),
        );
        check("", 200, false, Ok(Body::UntilClose));
        check("", 103, false, Ok(Body::Over));
        check("content-length: x\r\n", 200, false, Err("content-length"));
        check("transfer-encoding: gzip\r\n", 200, false, Err("transfer-encoding"));
        let both = "transfer-encoding: chunked\r\ncontent-length: 5\r\n";
        check(both, 200, false, Err("transfer-encoding"));
        assert_eq!(head("GET / HTTP/1.1\r\n\r\n").request_body(), Ok(Body::Over));
    }

    /// Content and bytes left after reading `input` in pieces of each length.
    fn check_body(body: Body, input: &str, expected: Result<(&str, &str), &'static str>) {
        for size in 1..=input.len() {
            let (mut body, mut buffer, mut content) = (body, Vec::new(), Vec::new());
            let mut result = Ok(());
            for piece in input.as_bytes().chunks(size) {
                buffer.extend_from_slice(piece);
                match body.read(&buffer, |piece| content.extend_from_slice(piece)) {
                    Ok(taken) => drop(buffer.drain(..taken)),
                    Err(Malformed(what)) => result = Err(what),
                }
            }
            let content = String::from_utf8(content).expect("text");
            let left = String::from_utf8(buffer).expect("text");
            let found = result.map(|()| (content.as_str(), left.as_str()));
            assert_eq!(found, expected, "{input:?} by {size}");
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let chunked = Body::Chunked(Chunk::Size);
        check_body(Body::Length(3), "abcHTTP", Ok(("abc", "HTTP")));
        check_body(Body::UntilClose, "abc", Ok(("abc", "")));
        check_body(Body::Over, "HTTP", Ok(("", "HTTP")));
        check_body(chunked, "3\r\nabc\r\n0\r\n\r\nHTTP", Ok(("abc", "HTTP")));
        check_body(chunked, "1;x=y\r\na\r\n002\r\nbc\r\n0\r\nt: u\r\n\r\n", Ok(("abc", "")));
        check_body(chunked, "3\r\nabc\r\n0\r\n", Ok(("abc", "")));
        check_body(chunked, "x\r\n", Err("chunk size"));
        check_body(chunked, "1\r\nab\r\n", Err("bytes after a chunk"));
    }
}
