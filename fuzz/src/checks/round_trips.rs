//! Messages that we write: we read in them what we wrote, and httparse and hyper do, too.
//!
//! The input is a plan in lines: `METHOD TARGET` or a status; fields, `name: value`; an empty line; trailers in the
//! same form; an empty line; the body. What of it no message can hold is bent until it fits.

use std::iter::once;

use super::against_httparse::{request_head, response_head};
use super::against_hyper::{request_hyper, response_hyper};
use super::stream::{End, LIMITS, Message, Pairs, Start, Stop, Stream, requests, responses};
use crate::h1::{
    Asked, is_forbidden_trailer, put_chunk_size, put_end_of_head, put_field, put_last_chunk, put_request_line,
    put_status_line,
};
use crate::head::{HeadBuilder, Method, Version};
use crate::path::{PathPolicy, canonical};

/// A request or a response.
pub fn round_trip(input: &[u8]) {
    let plan = Plan::of(input);
    let message = match plan.status() {
        Some(status) => {
            let mut out = Vec::new();
            put_status_line(&mut out, status);
            plan.put_rest(&mut out);
            response_head(&out);
            response_hyper(&out);
            let message = only(responses(once(&out[..]), Asked::default()));
            assert_eq!(message.head.start, Start::Response { status });
            message
        }
        None => {
            let (method, target) = plan.request_line();
            let mut out = Vec::new();
            put_request_line(&mut out, &Method::parse(&method), target.as_bytes());
            plan.put_rest(&mut out);
            request_head(&out);
            request_hyper(&out);
            let message = only(requests(once(&out[..]), PathPolicy::Normalize));
            let authority = "h".to_owned();
            let expected = Start::Request {
                method,
                target,
                authority,
            };
            assert_eq!(message.head.start, expected);
            message
        }
    };
    assert_eq!(message.body, plan.body);
    assert_eq!(message.head.fields, plan.all_fields());
    let kept = |field: &&(Vec<u8>, Vec<u8>)| plan.is_chunked() && !is_forbidden_trailer(&field.0);
    assert_eq!(
        message.trailers,
        plan.trailers.iter().filter(kept).cloned().collect::<Pairs>()
    );
}

fn only(mut stream: Stream) -> Message {
    assert_eq!((stream.messages.len(), &stream.stop), (1, &Stop::Open));
    let message = stream.messages.remove(0);
    assert_eq!(message.end, End::Complete);
    assert!(message.head.keep_alive);
    message
}

/// What is to be written.
struct Plan<'a> {
    start: &'a [u8],
    fields: Pairs,
    trailers: Pairs,
    body: &'a [u8],
}

impl<'a> Plan<'a> {
    fn of(mut input: &'a [u8]) -> Self {
        let start = next_line(&mut input);
        let mut fields = next_fields(&mut input);
        fields.retain(|field| !is_control(&field.0));
        let trailers = next_fields(&mut input);
        Self {
            start,
            fields,
            trailers,
            body: input,
        }
    }

    /// Of a response that may have a body.
    fn status(&self) -> Option<u16> {
        let status = std::str::from_utf8(self.start).ok()?.parse().ok()?;
        (matches!(status, 200..=599) && !matches!(status, 204 | 304)).then_some(status)
    }

    fn request_line(&self) -> (String, String) {
        let mut parts = self.start.splitn(2, |&byte| byte == b' ');
        let mut method = parts.next().map(token).unwrap_or_default();
        method.truncate(32);
        let method = match &method[..] {
            b"" | b"CONNECT" | b"TRACE" => "GET".to_owned(),
            _ => String::from_utf8(method).expect("a token is ASCII"),
        };
        let mut target = [b"/", parts.next().unwrap_or_default()].concat();
        target.truncate(LIMITS.target_bytes);
        let target = match canonical(&mut target, PathPolicy::Normalize) {
            Ok(form) => String::from_utf8(target[..form.len].to_vec()).expect("a form is ASCII"),
            Err(_) => "/".to_owned(),
        };
        (method, target)
    }

    fn is_chunked(&self) -> bool {
        !self.trailers.is_empty() || self.body.len() % 2 == 1
    }

    fn all_fields(&self) -> Pairs {
        let framing = match self.is_chunked() {
            true => (b"transfer-encoding".to_vec(), b"chunked".to_vec()),
            false => (b"content-length".to_vec(), self.body.len().to_string().into_bytes()),
        };
        let mut fields = vec![(b"host".to_vec(), b"h".to_vec())];
        fields.extend(self.fields.iter().cloned());
        fields.push(framing);
        fields
    }

    fn put_rest(&self, out: &mut Vec<u8>) {
        for (name, value) in self.all_fields() {
            put_field(out, &name, &value);
        }
        put_end_of_head(out);
        if !self.is_chunked() {
            out.extend_from_slice(self.body);
            return;
        }
        // The first byte of what is left decides how long its chunk is.
        let mut rest = self.body;
        while let Some(&first) = rest.first() {
            let (chunk, behind) = rest.split_at((usize::from(first) + 1).min(rest.len()));
            put_chunk_size(out, chunk.len());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
            rest = behind;
        }
        let mut head = HeadBuilder::default();
        for (name, value) in &self.trailers {
            head.field(name, value);
        }
        put_last_chunk(out, Some(&head.response(200, Version::Http11).fields));
    }
}

fn next_line<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let (line, rest) = match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (*input, &b""[..]),
    };
    *input = rest;
    line
}

/// Fields up to the empty line; few and short enough for any head.
fn next_fields(input: &mut &[u8]) -> Pairs {
    let mut fields = Pairs::new();
    loop {
        let line = next_line(input);
        if line.is_empty() {
            return fields;
        }
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let mut name = parts.next().map(token).unwrap_or_default();
        name.make_ascii_lowercase();
        let text = parts.next().unwrap_or_default();
        let value = text.iter().copied().filter(|byte| *byte >= b' ' && *byte != 0x7F);
        let value = value.take(80).collect::<Vec<u8>>();
        if !name.is_empty() && fields.len() < 8 {
            name.truncate(40);
            fields.push((name, value.trim_ascii().to_vec()));
        }
    }
}

/// Fields that say where the message ends, or what follows it.
fn is_control(name: &[u8]) -> bool {
    [
        &b"host"[..],
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"expect",
    ]
    .contains(&name)
}

fn token(text: &[u8]) -> Vec<u8> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    text.iter().copied().filter(is_token).collect()
}
