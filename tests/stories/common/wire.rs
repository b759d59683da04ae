//! HTTP/1 as bytes: just enough reading for both ends of a story, and strict about what ends early.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// A start line and its fields. Names are kept as sent; look-ups ignore case.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub start: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(':').ok_or_else(|| bad(&format!("no field: {line:?}"))))
            .map(|pair| pair.map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect::<Result<_>>()?;
        Ok(Self { start, fields })
    }

    /// Every value of `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of `name`, which stands there at most once.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands there {} times: {self:?}", all.len());
        all.first().copied()
    }

    /// The number in a status line.
    pub fn status(&self) -> Result<u16> {
        let word = self.start.split(' ').nth(1).unwrap_or_default();
        word.parse()
            .map_err(|_| bad(&format!("no status line: {:?}", self.start)))
    }

    /// How the body that follows is framed, by the fields alone.
    pub fn framing(&self) -> Framing {
        if self
            .all("transfer-encoding")
            .iter()
            .any(|v| v.to_ascii_lowercase().contains("chunked"))
        {
            return Framing::Chunked;
        }
        match self.all("content-length").first().and_then(|v| v.parse().ok()) {
            Some(length) => Framing::Length(length),
            None => Framing::None,
        }
    }
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    None,
}

/// Reads messages from a stream.
pub struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next head; `None` when the peer has closed before its first byte.
    pub fn head(&mut self) -> Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = Head::parse(&self.buffer[..end])?;
                self.buffer.drain(..end + 4);
                return Ok(Some(head));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(cut("in a head"))
                };
            }
        }
    }

    /// A whole body and its trailers.
    pub fn body(&mut self, framing: Framing) -> Result<(Vec<u8>, Head)> {
        match framing {
            Framing::Length(length) => Ok((self.exactly(length)?, Head::default())),
            Framing::Chunked => self.chunks(),
            Framing::None => Ok((Vec::new(), Head::default())),
        }
    }

    /// The next `length` bytes.
    pub fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(cut(&format!("after {} of {length} bytes", self.buffer.len())));
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads `length` bytes and keeps none.
    pub fn skip(&mut self, mut length: usize) -> Result<()> {
        while length > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(cut(&format!("{length} bytes before the end")));
            }
            let taken = length.min(self.buffer.len());
            self.buffer.drain(..taken);
            length -= taken;
        }
        Ok(())
    }

    /// Everything until the peer closes.
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// One line without its end.
    pub fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\n") {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.fill()? == 0 {
                return Err(cut("in a line"));
            }
        }
    }

    fn chunks(&mut self) -> Result<(Vec<u8>, Head)> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| bad(&format!("no chunk size: {line:?}")))?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size)?);
            if self.exactly(2)? != b"\r\n" {
                return Err(bad("no line end after a chunk"));
            }
        }
        let mut trailers = b"\r\n".to_vec();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((body, Head::parse(&trailers)?));
            }
            trailers.extend(line.as_bytes());
            trailers.extend(b"\r\n");
        }
    }

    fn fill(&mut self) -> Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn cut(place: &str) -> Error {
    Error::new(ErrorKind::UnexpectedEof, format!("closed {place}"))
}

fn bad(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text.to_owned())
}
