//! Frames of HTTP/2 as bytes (RFC 9113 §4 and §6), with fields as plain literals (RFC 7541 §6.2.2): what no engine would
//! send can be sent. And what comes back, as far as the cases ask.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::common::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const HAS_PRIORITY: u8 = 0x20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames of the tests are small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A setting.
pub fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A number with a prefix of `bits` bits (RFC 7541 §5.1).
pub fn number(first: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1usize << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).expect("it fits")];
    }
    let mut bytes = vec![first | u8::try_from(most).expect("it fits")];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).expect("it fits") | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("it fits"));
    bytes
}

/// A field that no table remembers; `first` is 0x40 for one that it does.
pub fn literal_as(first: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    for text in [name, value] {
        bytes.extend(number(0, 7, text.len()));
        bytes.extend(text);
    }
    bytes
}

/// A header block of these fields.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter();
    fields
        .flat_map(|(name, value)| literal_as(0, name.as_bytes(), value.as_bytes()))
        .collect()
}

/// A client's connection, in clear or not.
pub enum Socket {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// One that is ready for the first frame after the client's own settings.
    pub fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Self {
        let tcp = TcpStream::connect(address).expect("it accepts");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a limit");
        tcp.set_write_timeout(Some(PATIENCE)).expect("a limit");
        tcp.set_nodelay(true).expect("no delay");
        let mut socket = match tls {
            None => Self::Clear(tcp),
            Some(config) => {
                let name = ServerName::try_from("serin.test").expect("a name");
                let connection = ClientConnection::new(Arc::clone(config), name).expect("a sound configuration");
                Self::Tls(Box::new(StreamOwned::new(connection, tcp)))
            }
        };
        // Without a table of its own the peer says every status in full.
        let settings = frame(SETTINGS, 0, 0, &setting(1, 0));
        socket.send(&[PREFACE, &settings].concat());
        socket
    }

    /// Sends as much as the peer takes: it may close while we speak.
    pub fn send(&mut self, bytes: &[u8]) {
        let sent = match self {
            Self::Clear(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        drop(sent); // what came of it is read
    }

    /// Reads so many bytes; or says why there are none.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), &'static str> {
        let read = match self {
            Self::Clear(stream) => stream.read_exact(bytes),
            Self::Tls(stream) => stream.read_exact(bytes),
        };
        read.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "silence",
            _ => "end",
        })
    }

    /// So many bytes of the data that comes next.
    pub fn data(&mut self, many: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < many {
            let mut head = [0; 9];
            self.fill(&mut head).expect("a frame");
            let [a, b, c, kind, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.fill(&mut payload).expect("a whole frame");
            assert!(kind != RST_STREAM && kind != GOAWAY, "data, not {head:?} {payload:?}");
            if kind == DATA {
                data.extend(payload);
            }
        }
        data
    }

    /// The next thing that the cases ask about, as text: a status, with `over` behind it where the stream ends with it;
    /// `over` where it ends later; `rst` or `goaway` with its code; the `end` of the connection, or `silence`.
    pub fn event(&mut self) -> String {
        loop {
            let mut head = [0; 9];
            if let Err(why) = self.fill(&mut head) {
                return why.to_owned();
            }
            let [a, b, c, kind, flags, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            if let Err(why) = self.fill(&mut payload) {
                return why.to_owned();
            }
            let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
            let ends = flags & END_STREAM != 0;
            match kind {
                HEADERS => match status(&payload) {
                    Some(status) if ends => return format!("{status} over"),
                    Some(status) => return status,
                    None => return "over".to_owned(),
                },
                DATA if ends => return "over".to_owned(),
                RST_STREAM => return format!("rst {}", code(0)),
                // The first one of a graceful end says nothing yet.
                GOAWAY if code(4) != 0 => return format!("goaway {}", code(4)),
                _ => {}
            }
        }
    }
}

/// The status that a header block begins with; trailers begin with another field.
fn status(block: &[u8]) -> Option<String> {
    const INDEXED: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];
    // Changes of the table's size come first.
    let sizes = block.iter().take_while(|&&byte| byte & 0xe0 == 0x20).count();
    let (&first, rest) = block[sizes..].split_first()?;
    match first {
        0x88..=0x8e => Some(INDEXED[usize::from(first - 0x88)].to_owned()),
        // A literal value of an indexed name.
        0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e => {
            let (&length, value) = rest.split_first()?;
            let value = &value[..usize::from(length & 0x7f)];
            match length & 0x80 {
                0 => Some(String::from_utf8_lossy(value).into_owned()),
                _ => Some(digits(value)),
            }
        }
        _ => None,
    }
}

/// Three digits in the code of RFC 7541, appendix B: five bits for 0 to 2, six for 3 to 9.
fn digits(value: &[u8]) -> String {
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    let mut text = String::new();
    while text.len() < 3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next().expect("three digits");
        }
        let digit = match code {
            0..=2 => code,
            _ => (code << 1 | bits.next().expect("three digits")) - 0b01_1001 + 3,
        };
        text.push(char::from(b'0' + digit));
    }
    text
}
