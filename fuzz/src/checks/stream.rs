//! All that the codec reads in a stream of bytes, in a form that can be compared.

use bytes::BytesMut;

use crate::h1::{
    Asked, BodyDecoder, Framing, HeadLimits, Part, Refusal, Request, RequestDecoder, Response, ResponseDecoder,
};
use crate::head::{Fields, Version};
use crate::path::PathPolicy;

/// Below those of the peers that we compare with: what is too large is for us to refuse.
pub(super) const LIMITS: HeadLimits = HeadLimits {
    bytes: 2048,
    fields: 32,
    target_bytes: 512,
};

/// Names and values in order.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What was read before the input ended, or the reader stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) messages: Vec<Message>,
    pub(super) stop: Stop,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Pairs,
    pub(super) end: End,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) start: Start,
    pub(super) version: Version,
    pub(super) fields: Pairs,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    Request {
        method: String,
        target: String,
        authority: String,
    },
    Response {
        status: u16,
    },
}

/// How a message ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Refused(Refusal),
    /// The input ended before it.
    Open,
}

/// Why the reader stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Refused(Refusal),
    /// The input ended.
    Open,
    /// The last message was the connection's last.
    Closed,
}

/// Reads requests that come in these pieces.
pub(super) fn requests<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, policy: PathPolicy) -> Stream {
    let mut decoder = RequestDecoder::new(LIMITS, policy);
    read(pieces, |buf| {
        Ok(decoder.decode(buf)?.map(|request| Head::from(&request)))
    })
}

/// Reads responses, each to such a request, that come in these pieces.
pub(super) fn responses<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, asked: Asked) -> Stream {
    let mut decoder = ResponseDecoder::new(LIMITS);
    read(pieces, |buf| {
        Ok(decoder.decode(buf, asked)?.map(|response| Head::from(&response)))
    })
}

fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut next: impl FnMut(&mut BytesMut) -> Result<Option<Head>, Refusal>,
) -> Stream {
    let mut messages: Vec<Message> = Vec::new();
    let mut buf = BytesMut::new();
    let mut body: Option<BodyDecoder> = None;
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let closed = messages.last().is_some_and(|message| !message.head.keep_alive);
            match (&mut body, messages.last_mut()) {
                (Some(decoder), Some(message)) => match read_body(decoder, &mut buf, message) {
                    Ok(false) => break,
                    Ok(true) => {
                        message.end = End::Complete;
                        body = None;
                    }
                    Err(refusal) => {
                        message.end = End::Refused(refusal);
                        let stop = Stop::Refused(refusal);
                        return Stream { messages, stop };
                    }
                },
                _ if closed => {
                    let stop = Stop::Closed;
                    return Stream { messages, stop };
                }
                _ => match next(&mut buf) {
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        body = Some(BodyDecoder::new(head.framing));
                        messages.push(Message {
                            head,
                            body: Vec::new(),
                            trailers: Pairs::new(),
                            end: End::Open,
                        });
                    }
                    Err(refusal) => {
                        let stop = Stop::Refused(refusal);
                        return Stream { messages, stop };
                    }
                },
            }
        }
    }
    let ended = body.is_some_and(|mut decoder| decoder.end().is_ok());
    let stop = match messages.last_mut() {
        Some(message) if ended => {
            message.end = End::Complete;
            Stop::Closed
        }
        _ => Stop::Open,
    };
    Stream { messages, stop }
}

/// Whether all of the body has come.
fn read_body(decoder: &mut BodyDecoder, buf: &mut BytesMut, message: &mut Message) -> Result<bool, Refusal> {
    while let Some(part) = decoder.decode(buf)? {
        match part {
            Part::Data(data) => {
                assert!(!data.is_empty(), "a part without data");
                message.body.extend_from_slice(&data);
            }
            Part::Trailers(fields) => message.trailers = pairs(&fields),
        }
    }
    Ok(decoder.is_done())
}

impl From<&Request> for Head {
    fn from(request: &Request) -> Self {
        let head = &request.head;
        Self {
            start: Start::Request {
                method: head.method().as_str().to_owned(),
                target: head.target().to_owned(),
                authority: head.authority().to_owned(),
            },
            version: head.version(),
            fields: pairs(head.fields()),
            framing: request.framing,
            keep_alive: request.keep_alive,
            expects_continue: request.expects_continue,
        }
    }
}

impl From<&Response> for Head {
    fn from(response: &Response) -> Self {
        Self {
            start: Start::Response {
                status: response.head.status,
            },
            version: response.head.version,
            fields: pairs(&response.head.fields),
            framing: response.framing,
            keep_alive: response.keep_alive,
            expects_continue: false,
        }
    }
}

pub(super) fn pairs(fields: &Fields) -> Pairs {
    fields
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// Cuts the input where nothing but the input decides: each run does the same.
pub(super) fn cut(input: &[u8]) -> Vec<&[u8]> {
    // FNV-1a.
    let mut draw = input.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut rest = input;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        // Many short ones, so that cuts fall between any two bytes, and some that span lines.
        let len = if draw & 3 == 0 { draw >> 2 & 63 } else { draw >> 2 & 3 };
        let (piece, behind) = rest.split_at((len as usize + 1).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// The input byte by byte.
pub(super) fn bytes(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.chunks(1)
}
