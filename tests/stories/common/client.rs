//! A client that sends exactly the bytes it is told to.

use std::io::{Error, ErrorKind, Result};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;
use super::wire::{Framing, Head, Wire};

/// One connection.
pub struct Client {
    wire: Wire<TcpStream>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Head,
    /// The 1xx heads that came before it, other than 101.
    pub interim: Vec<u16>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?} {}", self.text()))
    }

    /// The variant that Serin says has answered.
    #[track_caller]
    pub fn variant(&self) -> &str {
        self.head
            .get("x-serin-variant")
            .unwrap_or_else(|| panic!("no variant: {self:?}"))
    }

    /// The generation that Serin says the request saw.
    #[track_caller]
    pub fn generation(&self) -> u64 {
        let text = self
            .head
            .get("x-serin-generation")
            .unwrap_or_else(|| panic!("no generation: {self:?}"));
        text.parse().expect("the generation is a number")
    }

    /// Fails unless this is an answer of Serin's own making with this status; the parsed document.
    #[track_caller]
    pub fn problem(&self, status: u16) -> serde_json::Value {
        assert_eq!(self.status, status, "{self:?} {}", self.text());
        assert_eq!(
            self.head.get("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let document = self.json();
        assert_eq!(document["status"], status, "{document}");
        for member in ["type", "title", "detail"] {
            assert!(
                document[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member} is empty: {document}"
            );
        }
        document
    }
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|e| panic!("{address} does not accept: {e}"))
    }

    pub fn try_connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            wire: Wire::new(stream),
        })
    }

    /// From another loopback address than the usual one.
    #[track_caller]
    pub fn connect_from(from: [u8; 4], address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((from, 0)).into())
            .expect("a loopback address");
        socket.connect(&address.into()).expect("it accepts");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            wire: Wire::new(stream),
        }
    }

    pub fn wire(&mut self) -> &mut Wire<TcpStream> {
        &mut self.wire
    }

    pub fn stream(&mut self) -> &TcpStream {
        self.wire.stream()
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes.as_ref()).expect("the peer takes our bytes");
    }

    /// The same to a peer that may have had enough.
    ///
    /// # Errors
    /// It has.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.wire.send(bytes.as_ref())
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        self.stream().shutdown(Shutdown::Write).ok();
    }

    /// The final answer to a request with `method`.
    pub fn try_response(&mut self, method: &str) -> Result<Response> {
        let mut interim = Vec::new();
        loop {
            let head = self
                .wire
                .head()?
                .ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "closed, no answer"))?;
            let status = head.status()?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let without_body = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let (body, trailers) = match head.framing() {
                _ if without_body => Default::default(),
                Framing::None => (self.wire.rest()?, Head::default()),
                framing => self.wire.body(framing)?,
            };
            return Ok(Response {
                status,
                head,
                body,
                trailers,
                interim,
            });
        }
    }

    #[track_caller]
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method)
            .unwrap_or_else(|e| panic!("no answer to {method}: {e}"))
    }

    /// Sends a request and takes its answer. `host` stands in `fields` or is `serin.test`.
    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        self.wire.send(&request(method, target, fields, body))?;
        self.try_response(method)
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        self.try_request(method, target, fields, body)
            .unwrap_or_else(|e| panic!("{method} {target}: {e}"))
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    /// Whether the peer has closed (or reset) within a while, having sent nothing more.
    pub fn closed(&mut self) -> bool {
        match self.wire.rest() {
            Ok(rest) => rest.is_empty(),
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("host: serin.test\r\n");
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(body);
    bytes
}

/// One request on a connection of its own.
#[track_caller]
pub fn fetch(address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
    Client::connect(address).request(method, target, fields, body)
}

/// One `GET` on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Response {
    fetch(address, "GET", target, &[], b"")
}
