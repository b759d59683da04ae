//! A request on its way to an endpoint: its head with a small body in one write, the rest of the body as the
//! client sends it, never more and never less than its head says.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use super::body::{Broken, Frame, Length, Outgoing};
use super::buffers::SMALL;
use super::headers::{self, Forwarding};
use crate::h1;
use crate::head::Fields;

/// Parts of a body up to this size are copied behind what goes out before them: cheaper than a second slice.
const COPY_MAX: usize = 4 * 1024;

/// Room that the lines around a chunk need.
const CHUNK_LINES: usize = 32;

/// What is written of one request. A connection has one, and uses it again.
#[derive(Default)]
pub(super) struct Sending {
    /// Goes out first: the head, small parts of the body, the lines around chunks.
    out: Vec<u8>,
    /// Bytes of `out` that have gone out.
    out_gone: usize,
    /// A larger part of the body; goes out after `out`.
    part: Bytes,
    /// Goes out after `part`.
    part_end: &'static [u8],
    body: Outgoing,
    /// Bytes of the body that the client must still send; `None`: it goes out in chunks.
    left: Option<u64>,
    /// The whole body has been taken.
    taken: bool,
    /// A part of a body that cannot be sent again has been taken.
    spent: bool,
    /// A byte has gone out.
    begun: bool,
    /// What was written may still stand with the socket: encrypted, it is taken before it is sent.
    unflushed: bool,
    /// The endpoint takes no more.
    failed: bool,
    /// The client's body broke off.
    broken: bool,
}

impl Sending {
    /// Makes a request ready; `out` is an empty buffer, `host` goes out as `Host`. How its body is delimited is
    /// for us to say, whatever the client used (RFC 9112 §6).
    pub(super) fn begin(&mut self, out: Vec<u8>, forwarding: &Forwarding<'_>, host: &[u8], body: Outgoing) {
        *self = Self {
            out,
            taken: true,
            body,
            ..Self::default()
        };
        let head = forwarding.head;
        h1::put_request_line(&mut self.out, head.method(), head.target_bytes());
        h1::put_field(&mut self.out, b"host", host);
        match &self.body {
            Outgoing::Empty if head.fields().get("content-length").is_some() => self.put_length(0),
            Outgoing::Empty => {}
            Outgoing::Whole(bytes) => self.put_length(bytes.len() as u64),
            Outgoing::Client(body) => {
                // Trailers need chunks.
                self.left = match body.length() {
                    _ if head.fields().get("trailer").is_some() => None,
                    Length::Empty => Some(0),
                    Length::Known(n) => Some(n),
                    Length::Unknown => None,
                };
                self.taken = self.left == Some(0);
                match self.left {
                    Some(n) => self.put_length(n),
                    None => h1::put_field(&mut self.out, b"transfer-encoding", b"chunked"),
                }
            }
        }
        headers::put_request_fields(forwarding, &mut self.out);
        h1::put_end_of_head(&mut self.out);
        if let Outgoing::Whole(bytes) = &self.body {
            if self.out.len() + bytes.len() <= SMALL {
                self.out.extend_from_slice(bytes);
            } else {
                self.part = bytes.clone();
            }
        }
    }

    /// Writes what there is to write, and asks the client for more of its body once there is room. Ready when
    /// nothing is left to do, also because the endpoint takes no more.
    ///
    /// # Errors
    /// When the client's body has broken off, or is not as long as it said.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        while !self.failed {
            if self.broken || self.gather(cx).is_err() {
                self.broken = true;
                return Poll::Ready(Err(Broken));
            }
            if self.is_handed_over() {
                if self.unflushed {
                    let flushed = ready!(Pin::new(&mut *socket).poll_flush(cx));
                    self.unflushed = false;
                    if flushed.is_err() {
                        self.failed = true;
                        break;
                    }
                }
                return if self.taken { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            match self.poll_write(cx, socket) {
                Poll::Ready(Ok(n)) if n > 0 => self.advance(n),
                Poll::Ready(_) => self.failed = true,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether all of the request has gone out.
    pub(super) fn is_complete(&self) -> bool {
        self.taken && self.is_written() && !self.failed
    }

    /// Whether there is nothing left to do: it has gone out, or the endpoint takes no more.
    pub(super) fn is_over(&self) -> bool {
        self.failed || self.is_complete()
    }

    /// Whether not one byte has gone out.
    pub(super) fn is_unsent(&self) -> bool {
        !self.begun
    }

    /// The body, for another try; `None` when a part of it is gone.
    pub(super) fn take_back(&mut self) -> Option<Outgoing> {
        (!self.spent).then(|| std::mem::take(&mut self.body))
    }

    /// Lets go of the body, and gives the buffer back.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.body = Outgoing::Empty;
        self.part = Bytes::new();
        std::mem::take(&mut self.out)
    }

    /// Gives the buffer back as soon as nothing more will be put into it.
    pub(super) fn spare(&mut self) -> Option<Vec<u8>> {
        (self.is_over() && self.out.capacity() > 0).then(|| std::mem::take(&mut self.out))
    }

    fn put_length(&mut self, n: u64) {
        h1::put_field(
            &mut self.out,
            b"content-length",
            itoa::Buffer::new().format(n).as_bytes(),
        );
    }

    fn is_written(&self) -> bool {
        self.is_handed_over() && !self.unflushed
    }

    fn is_handed_over(&self) -> bool {
        self.out.len() == self.out_gone && self.part.is_empty() && self.part_end.is_empty()
    }

    /// Takes what the client has sent, as long as there is room. While there is, the client is asked at each
    /// call: otherwise it would seem to be waited for although it has gone on.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        while !self.taken && self.part.is_empty() && self.part_end.is_empty() && self.out.len() < SMALL {
            let Outgoing::Client(body) = &mut self.body else {
                break;
            };
            let Poll::Ready(frame) = body.poll_frame(cx) else {
                break;
            };
            let ended = body.is_end();
            self.spent = true;
            match frame.transpose()? {
                Some(Frame::Data(data)) => {
                    self.put_data(data)?;
                    if ended || self.left == Some(0) {
                        self.put_end(None)?;
                    }
                }
                Some(Frame::Trailers(trailers)) => self.put_end(Some(&trailers))?,
                None => self.put_end(None)?,
            }
        }
        Ok(())
    }

    fn put_data(&mut self, data: Bytes) -> Result<(), Broken> {
        if data.is_empty() {
            return Ok(()); // an empty chunk would end the body
        }
        let end: &[u8] = match &mut self.left {
            Some(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Broken)?;
                b""
            }
            None => {
                h1::put_chunk_size(&mut self.out, data.len());
                b"\r\n"
            }
        };
        if data.len() <= COPY_MAX && self.out.len() + data.len() + CHUNK_LINES <= SMALL {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(end);
        } else {
            self.part = data;
            self.part_end = if end.is_empty() { b"" } else { b"\r\n" };
        }
        Ok(())
    }

    fn put_end(&mut self, trailers: Option<&Fields>) -> Result<(), Broken> {
        self.taken = true;
        match self.left {
            Some(0) => Ok(()),
            Some(_) => Err(Broken),
            None => {
                // A large chunk may still have to go out before the last one.
                if self.part.is_empty() {
                    h1::put_last_chunk(&mut self.out, trailers);
                } else {
                    self.part_end = b"\r\n0\r\n\r\n";
                }
                Ok(())
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, socket: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<usize>> {
        let (out, socket) = (&self.out[self.out_gone..], Pin::new(socket));
        if self.part.is_empty() && self.part_end.is_empty() {
            return socket.poll_write(cx, out);
        }
        let slices = [out, &self.part, self.part_end].map(IoSlice::new);
        socket.poll_write_vectored(cx, &slices)
    }

    fn advance(&mut self, mut n: usize) {
        (self.begun, self.unflushed) = (true, true);
        let of_out = n.min(self.out.len() - self.out_gone);
        self.out_gone += of_out;
        n -= of_out;
        let of_part = n.min(self.part.len());
        self.part.advance(of_part);
        n -= of_part;
        self.part_end = &self.part_end[n..];
        if self.out_gone == self.out.len() {
            self.out.clear();
            self.out_gone = 0;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use tokio::io::AsyncWrite;

    use super::{SMALL, Sending};
    use crate::head::{HeadBuilder, Method, RequestHead, Version};
    use crate::proxy::body::Outgoing;
    use crate::proxy::headers::Forwarding;
    use crate::proxy::trace::Made;
    use crate::proxy::upstream::ClientAddresses;

    /// Takes so many bytes at a call, and so many in all; then it fails.
    struct Socket {
        taken: Vec<u8>,
        writes: usize,
        at_once: usize,
        in_all: usize,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let n = bytes.len().min(self.at_once).min(self.in_all - self.taken.len());
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.taken.extend_from_slice(&bytes[..n]);
            self.writes += 1;
            Poll::Ready(Ok(n))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A request to be sent on.
    pub(in crate::proxy) struct Sample {
        head: RequestHead,
        made: Made,
        name: Bytes,
    }

    impl Sample {
        /// With a `content-length` field that is wrong.
        pub(in crate::proxy) fn new(method: Method) -> Self {
            let mut head = HeadBuilder::default();
            head.field(b"content-length", b"77");
            let head = head.request(method, Version::Http11, "shop", "/a?b");
            let made = Made::new(&head, [7; 4]);
            let name = Bytes::from_static(b"name");
            Self { head, made, name }
        }

        pub(in crate::proxy) fn forwarding(&self) -> Forwarding<'_> {
            Forwarding {
                head: &self.head,
                peer: "192.0.2.1",
                addresses: ClientAddresses::of_nobody(),
                peer_trusted: false,
                https: false,
                certificate: None,
                upgrade: false,
                grpc_timeout: None,
                route: &self.name,
                variant: &self.name,
                cohort: None,
                secret: &[],
                made: &self.made,
            }
        }
    }

    /// Sends a request with this body to a socket.
    fn send(body: Outgoing, at_once: usize, in_all: usize) -> (Sending, Socket) {
        let sample = Sample::new(Method::Post);
        let mut sending = Sending::default();
        let mut socket = Socket {
            taken: Vec::new(),
            writes: 0,
            at_once,
            in_all,
        };
        sending.begin(Vec::with_capacity(SMALL), &sample.forwarding(), b"shop", body);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sending.poll(&mut cx, &mut socket).is_ready());
        (sending, socket)
    }

    fn check(body: Outgoing, length: &str, content: &[u8], writes: usize) {
        let again = match &body {
            Outgoing::Whole(bytes) => Outgoing::Whole(bytes.clone()),
            _ => Outgoing::Empty,
        };
        let (sending, socket) = send(body, usize::MAX, usize::MAX);
        assert!(sending.is_complete() && !sending.is_unsent());
        let end = socket.taken.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let (head, sent) = socket.taken.split_at(end.expect("a head") + 4);
        let head = String::from_utf8_lossy(head);
        let start = format!("POST /a?b HTTP/1.1\r\nhost: shop\r\ncontent-length: {length}\r\n");
        assert!(head.starts_with(&start), "{head}");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
        assert!(sent == content);
        assert_eq!(socket.writes, writes);

        let (sending, dripped) = send(again, 7, usize::MAX);
        assert!(sending.is_complete() && dripped.taken == socket.taken);
    }

    #[test]
    fn a_whole_body_goes_out_in_one_write_with_its_head() {
        check(Outgoing::Empty, "0", b"", 1);
        check(Outgoing::Whole(Bytes::new()), "0", b"", 1);
        check(Outgoing::Whole(Bytes::from_static(b"hello")), "5", b"hello", 1);
        let large = vec![b'x'; 3 * SMALL];
        check(Outgoing::Whole(large.clone().into()), "49152", &large, 1);
    }

    #[test]
    fn a_failed_write_is_over_and_gives_a_whole_body_back() {
        let body = || Outgoing::Whole(Bytes::from_static(b"hello"));
        for (in_all, unsent) in [(0, true), (1, false), (100, false)] {
            let (mut sending, _) = send(body(), 50, in_all);
            assert!(sending.is_over() && !sending.is_complete());
            assert_eq!(sending.is_unsent(), unsent);
            assert!(matches!(sending.take_back(), Some(Outgoing::Whole(bytes)) if &bytes[..] == b"hello"));
        }
    }
}
