//! One HTTP/1.1 message with a length, read from a blocking socket. Both children read with it.

use std::io::{self, Read};
use std::net::TcpStream;

use memchr::memmem;

/// A connection and what has been read of it.
pub(crate) struct Reader {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// When the socket cannot be set up.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    /// Reads the next message and answers its first line; `None` when the connection ended before it.
    ///
    /// # Errors
    /// When it does not come whole.
    pub(crate) fn read(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some((line, length)) = parse(&self.input).filter(|&(_, length)| length <= self.input.len()) {
                let line = line.to_owned();
                self.input.drain(..length);
                return Ok(Some(line));
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece)? {
                0 if self.input.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.input.extend_from_slice(&piece[..length]),
            }
        }
    }
}

/// First line and length of the message that begins `input`; `None` while its head is not complete.
fn parse(input: &[u8]) -> Option<(&str, usize)> {
    let end = memmem::find(input, b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&input[..end]).ok()?.split("\r\n");
    let line = lines.next()?;
    let body = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, length)| length.trim().parse().ok())?;
    Some((line, end + 4 + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_with_its_body() {
        let check = |input: &str, expected| assert_eq!(parse(input.as_bytes()), expected, "{input}");
        check("GET / HTTP/1.1\r\n", None);
        check("GET / HTTP/1.1\r\n\r\nGET", Some(("GET / HTTP/1.1", 18)));
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Some(("HTTP/1.1 200 OK", 43)),
        );
    }
}
