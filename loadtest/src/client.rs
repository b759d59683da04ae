//! A raw HTTP/1.1 client that keeps one connection and hides nothing: no retry, no reconnect, each oddity is an error.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest wait for one answer; far above any timeout that a scenario configures.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer that we take.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

/// One answer, as long as the next request has not been sent.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// Status code.
    pub(crate) status: u16,
    /// The header lines, without the status line.
    fields: &'a str,
    /// The whole body.
    pub(crate) body: &'a [u8],
}

/// Why there is no answer. After any of them the connection is of no more use.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The other side closed the connection, or it was reset.
    Dropped(std::io::Error),
    /// No whole answer within ten seconds.
    Late,
    /// An answer that breaks RFC 9112, or that this client does not read.
    Malformed(&'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(error) => write!(f, "connection dropped: {error}"),
            Self::Late => write!(f, "no answer within {} s", ANSWER_TIMEOUT.as_secs()),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Dropped(error)
    }
}

impl Client {
    /// Opens the connection.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Broken> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    /// Sends one request, given as bytes, and reads its answer.
    ///
    /// # Errors
    /// When the answer does not come whole, or more comes than it.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Broken> {
        self.input.clear();
        let shape =
            match tokio::time::timeout(ANSWER_TIMEOUT, exchange(&mut self.stream, &mut self.input, request)).await {
                Ok(result) => result?,
                Err(_) => return Err(Broken::Late),
            };
        let fields =
            std::str::from_utf8(&self.input[shape.fields]).map_err(|_| Broken::Malformed("header is not UTF-8"))?;
        Ok(Answer {
            status: shape.status,
            fields,
            body: &self.input[shape.body],
        })
    }
}

impl<'a> Answer<'a> {
    /// The values of all header lines of this name, in order.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values(self.fields, name)
    }

    /// The value of the only header line of this name; `None` if there are none or several.
    pub(crate) fn only_value(&self, name: &str) -> Option<&'a str> {
        let mut values = self.values(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }
}

/// Where the parts of an answer lie in its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    status: u16,
    fields: Range<usize>,
    body: Range<usize>,
}

async fn exchange(stream: &mut TcpStream, input: &mut Vec<u8>, request: &[u8]) -> Result<Shape, Broken> {
    stream.write_all(request).await?;
    loop {
        if stream.read_buf(input).await? == 0 {
            return Err(Broken::Dropped(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match parse(input)? {
            Some(shape) if shape.body.end == input.len() => return Ok(shape),
            Some(shape) if shape.body.end < input.len() => return Err(Broken::Malformed("bytes after the answer")),
            Some(_) | None if input.len() > ANSWER_BYTES_MAX => {
                return Err(Broken::Malformed("the answer is too long"));
            }
            Some(_) | None => {}
        }
    }
}

/// Reads the head in `input`; `None` while it is not complete. The body may reach beyond what has come.
fn parse(input: &[u8]) -> Result<Option<Shape>, Broken> {
    let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&input[..end]).map_err(|_| Broken::Malformed("header is not UTF-8"))?;
    let (line, fields) = text.split_once("\r\n").unwrap_or((text, ""));
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or(Broken::Malformed("status line"))?;
    let mut lengths = values(fields, "content-length");
    let length: usize = match (lengths.next(), lengths.next()) {
        (Some(length), None) => length.parse().map_err(|_| Broken::Malformed("content-length"))?,
        (None, _) if status == 204 || status == 304 => 0,
        (None, _) => return Err(Broken::Malformed("no content-length")),
        (Some(_), Some(_)) => return Err(Broken::Malformed("two content-lengths")),
    };
    let body = end + 4;
    Ok(Some(Shape {
        status,
        fields: end - fields.len()..end,
        body: body..body.saturating_add(length),
    }))
}

fn values<'a>(fields: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    fields
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_by_its_length() {
        let input = b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\nhi";
        let shape = parse(input).expect("well formed").expect("complete");
        assert_eq!((shape.status, &input[shape.body]), (200, &b"hi"[..]));
        let fields = std::str::from_utf8(&input[shape.fields]).expect("text");
        assert_eq!(fields, "A: 1\r\nContent-Length: 2");
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        let check = |input: &[u8], expected: &str| match parse(input) {
            Ok(shape) => assert_eq!(expected, if shape.is_some() { "whole" } else { "partial" }),
            Err(error) => assert_eq!(error.to_string(), format!("malformed answer: {expected}")),
        };
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", "partial");
        check(b"HTTP/1.1 204 No Content\r\n\r\n", "whole");
        check(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "status line");
        check(b"HTTP/1.1 200 OK\r\n\r\n", "no content-length");
        check(
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
            "two content-lengths",
        );
        check(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "content-length");
    }

    #[test]
    fn a_value_is_the_only_one_or_none() {
        let answer = Answer {
            status: 200,
            fields: "A: 1\r\na:\t2 \r\nB: 3",
            body: b"",
        };
        assert_eq!(answer.values("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(answer.only_value("a"), None);
        assert_eq!(answer.only_value("b"), Some("3"));
        assert_eq!(answer.only_value("c"), None);
    }
}
