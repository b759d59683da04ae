//! Whole messages: what we read hyper reads too, with the same bodies; or we refuse.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};

use super::hyper_io::{Peer, run};
use super::stream::{End, Message, Pairs, Start, Stop, cut, requests, responses};
use crate::h1::Asked;
use crate::head::Version;
use crate::path::{PathPolicy, canonical};

/// Streams of requests.
pub fn request_hyper(input: &[u8]) {
    // What it accepts keeps every byte that `hyper_has_no_uri` looks for.
    let policy = PathPolicy::Strict;
    let ours = requests(cut(input), policy);
    if ours.messages.is_empty() && ours.stop != Stop::Open {
        return;
    }
    let theirs = hyper_requests(input);
    for (at, message) in ours.messages.iter().enumerate() {
        let Start::Request { method, target, .. } = &message.head.start else {
            panic!("a response among requests");
        };
        let Some(seen) = theirs.get(at) else {
            assert!(hyper_has_no_uri(target), "hyper does not see request {at}: {message:?}");
            return;
        };
        let mut form = seen.target.clone().into_bytes();
        let len = match &form[..] {
            b"*" => 1,
            _ => canonical(&mut form, policy).expect("it was accepted").len,
        };
        assert_eq!((method, target.as_bytes()), (&seen.method, &form[..len]));
        agree(message, seen);
    }
    if !matches!(ours.stop, Stop::Refused(_)) {
        assert_eq!(ours.messages.len(), theirs.len(), "hyper sees more requests");
    }
}

/// Responses to GET and to HEAD.
pub fn response_hyper(input: &[u8]) {
    for head in [false, true] {
        let asked = Asked { head, upgrade: false };
        let ours = responses(cut(input), asked);
        let method = if head { Method::HEAD } else { Method::GET };
        match (ours.messages.first(), hyper_response(input, method)) {
            (None, seen) => assert!(seen.is_none() || ours.stop != Stop::Open, "hyper sees more"),
            (Some(message), None) => panic!("hyper does not see {message:?}"),
            (Some(message), Some(seen)) => {
                let Start::Response { status } = message.head.start else {
                    panic!("a request among responses");
                };
                assert_eq!(status, seen.status);
                agree(message, &seen);
            }
        }
    }
}

/// What hyper read.
#[derive(Debug, Default)]
struct Seen {
    method: String,
    target: String,
    status: u16,
    version: hyper::Version,
    fields: Pairs,
    body: Vec<u8>,
    trailers: Pairs,
    complete: bool,
}

fn agree(ours: &Message, theirs: &Seen) {
    let version = match ours.head.version {
        Version::Http10 => hyper::Version::HTTP_10,
        _ => hyper::Version::HTTP_11,
    };
    assert_eq!(version, theirs.version);
    assert_eq!(by_name(&ours.head.fields), theirs.fields);
    let common = ours.body.len().min(theirs.body.len());
    assert_eq!(ours.body[..common], theirs.body[..common], "bodies");
    match ours.end {
        End::Complete => {
            assert!(theirs.complete, "hyper wants more than {ours:?}");
            assert_eq!(ours.body, theirs.body);
            assert_eq!(by_name(&ours.trailers), theirs.trailers);
        }
        End::Open => assert!(!theirs.complete, "hyper wants less than {ours:?}"),
        End::Refused(_) => {}
    }
}

/// hyper keeps no order among different names.
fn by_name(fields: &Pairs) -> Pairs {
    let mut sorted = fields.clone();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted
}

fn pairs(fields: &HeaderMap) -> Pairs {
    let pair = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    by_name(&fields.iter().map(pair).collect())
}

/// An exception: RFC 3986 does not have these bytes in a URI, and `http::Uri` refuses some of them. Clients send
/// them nevertheless, and no reader takes them for anything but data.
fn hyper_has_no_uri(target: &str) -> bool {
    target.contains(['"', '<', '>', '^', '`', '{', '|', '}', '\\'])
}

/// Reads as hyper's server does, to the end of the input.
fn hyper_requests(input: &[u8]) -> Vec<Seen> {
    let all = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let mut seen = Seen {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            version: head.version,
            fields: pairs(&head.headers),
            ..Seen::default()
        };
        let all = &all;
        async move {
            read_body(body, &mut seen).await;
            all.borrow_mut().push(seen);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    // The input ends before hyper has answered.
    server.half_close(true);
    // How the connection ends is no matter: what was seen is.
    let _ = run(server.serve_connection(Peer::asking(input), service));
    all.into_inner()
}

/// Reads a response as hyper's client does, if it takes it for one.
fn hyper_response(input: &[u8], method: Method) -> Option<Seen> {
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "h")
        .body(Empty::<Bytes>::new())
        .expect("it is well formed");
    let handshake = hyper::client::conn::http1::handshake(Peer::answering(input));
    run(async {
        let (mut sender, connection) = handshake.await.ok()?;
        let mut exchange = pin!(async {
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let mut seen = Seen {
                status: head.status.as_u16(),
                version: head.version,
                fields: pairs(&head.headers),
                ..Seen::default()
            };
            read_body(body, &mut seen).await;
            Some(seen)
        });
        let mut connection = pin!(connection);
        let mut connected = true;
        poll_fn(|cx| {
            if connected {
                connected = connection.as_mut().poll(cx).is_pending();
            }
            match exchange.as_mut().poll(cx) {
                Poll::Pending if !connected => panic!("an exchange without a connection"),
                poll => poll,
            }
        })
        .await
    })
}

async fn read_body(mut body: Incoming, seen: &mut Seen) {
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => seen.body.extend_from_slice(&data),
            Ok(Err(frame)) => seen.trailers = pairs(&frame.into_trailers().expect("the other kind of frame")),
            Err(_) => return,
        }
    }
    seen.complete = true;
}
