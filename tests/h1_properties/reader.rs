//! Reads a connection with the codec and notes what came of it.

use bytes::BytesMut;
use serin::h1::{
    Asked, BodyDecoder, Framing, HeadLimits, Part, Refusal, RequestDecoder, ResponseDecoder, put_end_of_head,
    put_field, put_request_line, put_status_line,
};
use serin::head::Fields;
use serin::path::PathPolicy;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 600,
    fields: 8,
    target_bytes: 120,
};

/// Who sends: clients, or a backend that was asked so.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Client(PathPolicy),
    Backend(Asked),
}

/// What was read off a connection.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    /// Heads with what follows from them, contents, trailers.
    pub(crate) events: Vec<String>,
    /// The content of a message that is not complete.
    content: Vec<u8>,
    /// What ended it.
    pub(crate) refusal: Option<Refusal>,
    /// Heads and trailers, as we would write them.
    pub(crate) written: Vec<u8>,
}

enum Decoder {
    Request(RequestDecoder),
    Response(ResponseDecoder, Asked),
}

impl Decoder {
    fn new(side: Side) -> Self {
        match side {
            Side::Client(policy) => Self::Request(RequestDecoder::new(LIMITS, policy)),
            Side::Backend(asked) => Self::Response(ResponseDecoder::new(LIMITS), asked),
        }
    }

    /// The next head: noted, written, and how its body is delimited.
    fn head(&mut self, buf: &mut BytesMut, read: &mut Read) -> Result<Option<Framing>, Refusal> {
        match self {
            Self::Request(decoder) => Ok(decoder.decode(buf)?.map(|request| {
                let head = &request.head;
                read.events.push(format!(
                    "{:?} {:?} {} {:?} {} {} {}",
                    head.method(),
                    head.version(),
                    head.authority(),
                    request.framing,
                    request.keep_alive,
                    request.expects_continue,
                    head.path(),
                ));
                put_request_line(&mut read.written, head.method(), head.target_bytes());
                read.fields(head.fields());
                request.framing
            })),
            Self::Response(decoder, asked) => Ok(decoder.decode(buf, *asked)?.map(|response| {
                let (framing, keep_alive) = (response.framing, response.keep_alive);
                read.events
                    .push(format!("{:?} {framing:?} {keep_alive}", response.head.version));
                put_status_line(&mut read.written, response.head.status);
                read.fields(&response.head.fields);
                framing
            })),
        }
    }
}

impl Read {
    /// Reads `pieces` one after the other.
    pub(crate) fn of<'a>(side: Side, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut read, mut decoder, mut body) = (Self::default(), Decoder::new(side), None);
        let mut buf = BytesMut::new();
        for piece in pieces {
            buf.extend_from_slice(piece);
            if let Err(refusal) = read.go_on(&mut decoder, &mut body, &mut buf) {
                read.refusal = Some(refusal);
                break;
            }
        }
        read
    }

    fn go_on(
        &mut self,
        decoder: &mut Decoder,
        body: &mut Option<BodyDecoder>,
        buf: &mut BytesMut,
    ) -> Result<(), Refusal> {
        loop {
            let Some(current) = body else {
                let Some(framing) = decoder.head(buf, self)? else {
                    return Ok(());
                };
                *body = Some(BodyDecoder::new(framing));
                continue;
            };
            match current.decode(buf)? {
                Some(Part::Data(data)) => {
                    assert!(!data.is_empty());
                    self.content.extend_from_slice(&data);
                }
                Some(Part::Trailers(trailers)) => self.fields(&trailers),
                None if current.is_done() => {
                    self.events.push(self.content.escape_ascii().to_string());
                    self.content.clear();
                    *body = None;
                }
                None => return Ok(()),
            }
        }
    }

    fn fields(&mut self, fields: &Fields) {
        for (name, value) in fields.iter() {
            assert!(!name.iter().any(u8::is_ascii_uppercase));
            put_field(&mut self.written, name, value);
        }
        put_end_of_head(&mut self.written);
    }
}
