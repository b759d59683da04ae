//! What requests on an HTTP/2 connection become on a connection of HTTP/1.1: the engine, our reading of its heads and
//! our writing of them, without anybody being asked. For tests of the translation; nothing is served.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::{Frame, Outgoing};
use super::h1_send::Sending;
use super::h2_body::StreamBody;
use super::h2_head::{Around, to_head};
use super::h2_server::builder;
use super::headers::{Forwarding, asks_for_websocket};
use super::trace::Made;
use super::upstream::ClientAddresses;
use crate::h1::put_last_chunk;
use crate::head::{Fields, Method, RequestHead};
use crate::path::PathPolicy;
use crate::route::ListenerSettings;

/// One request that was taken.
#[derive(Debug)]
pub struct Translated {
    /// As routes match it.
    pub head: RequestHead,
    /// Its body, as far as it came, and whether that is all of it.
    pub body: (Vec<u8>, bool),
    /// What a backend of HTTP/1.1 is sent for it, with that body.
    pub sent: Vec<u8>,
    /// The last chunk and the trailers that a backend is sent where it came with some.
    pub last_chunk: Option<Vec<u8>>,
}

/// What becomes of the requests in `input`, the bytes of a connection with its preface, under `settings`.
#[must_use]
pub fn translate(input: &[u8], settings: &ListenerSettings, paths: PathPolicy) -> Vec<Translated> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut handshake = pin!(builder(settings).handshake::<_, Bytes>(Wire(input)));
    let Poll::Ready(Ok(mut engine)) = handshake.as_mut().poll(&mut cx) else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    // Whoever answers is kept: a stream that nobody will answer is reset.
    let mut answering = Vec::new();
    while let Poll::Ready(Some(Ok((request, respond)))) = engine.poll_accept(&mut cx) {
        taken.push(request);
        answering.push(respond);
    }
    let read = |request| translated(request, settings, paths, &mut cx);
    taken.into_iter().filter_map(read).collect()
}

fn translated(
    request: Request<RecvStream>,
    settings: &ListenerSettings,
    paths: PathPolicy,
    cx: &mut Context<'_>,
) -> Option<Translated> {
    let (parts, receive) = request.into_parts();
    let more = !receive.is_end_stream();
    let around = Around {
        protocol: parts
            .extensions
            .get::<h2::ext::Protocol>()
            .map(h2::ext::Protocol::as_str),
        more,
        fields_max: settings.headers as usize,
        paths,
    };
    let asked = to_head(&parts, around).ok()?;
    let (mut body, mut whole, mut trailers) = (Vec::new(), !more, None::<Box<Fields>>);
    if more && !asked.tunnel {
        let mut stream = StreamBody::new(receive, asked.length);
        loop {
            match stream.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => body.extend_from_slice(&data),
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => trailers = Some(fields),
                Poll::Ready(None) => {
                    whole = true;
                    break;
                }
                Poll::Ready(Some(Err(_))) | Poll::Pending => break,
            }
        }
    }
    let outgoing = match more && !asked.tunnel {
        true => Outgoing::Whole(Bytes::from(body.clone())),
        false => Outgoing::Empty,
    };
    Some(Translated {
        sent: sent(&asked.head, outgoing, cx),
        head: asked.head,
        body: (body, whole),
        last_chunk: trailers.map(|fields| {
            let mut out = Vec::new();
            put_last_chunk(&mut out, Some(&fields));
            out
        }),
    })
}

/// The bytes that an outsider's request is sent on with.
fn sent(head: &RequestHead, body: Outgoing, cx: &mut Context<'_>) -> Vec<u8> {
    let made = Made::new(head, [1, 2, 3, 4]);
    let name = Bytes::from_static(b"route");
    let nobody = SocketAddr::from(([192, 0, 2, 1], 1));
    let forwarding = Forwarding {
        head,
        peer: "192.0.2.1",
        addresses: ClientAddresses {
            source: nobody,
            destination: nobody,
        },
        peer_trusted: false,
        https: true,
        certificate: None,
        upgrade: *head.method() == Method::Get && matches!(body, Outgoing::Empty) && asks_for_websocket(head),
        grpc_timeout: None,
        route: &name,
        variant: &name,
        cohort: None,
        secret: &[],
        made: &made,
    };
    let mut sending = Sending::default();
    sending.begin(Vec::new(), &forwarding, head.authority_bytes(), body);
    let mut socket = Vec::new();
    let _ = sending.poll(cx, &mut socket);
    socket
}

/// A client that has sent what it has to say, waits, and takes everything.
struct Wire<'i>(&'i [u8]);

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let (now, rest) = self.0.split_at(self.0.len().min(buf.remaining()));
        buf.put_slice(now);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use crate::path::PathPolicy;

    #[test]
    fn a_request_in_frames_becomes_one_in_lines() {
        let mut input = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        // RFC 7541 appendix A: GET, https, the path /, and an authority.
        input.extend_from_slice(b"\0\0\x09\x01\x05\0\0\0\x01\x82\x87\x84\x41\x04shop");
        let settings = crate::proxy::h2_server::tests::settings();
        let found = super::translate(&input, &settings, PathPolicy::Strict);
        let [request] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(
            request
                .sent
                .starts_with(b"GET / HTTP/1.1\r\nhost: shop\r\nx-forwarded-for: ")
        );
        assert_eq!((request.body.1, &request.last_chunk), (true, &None));
    }
}
