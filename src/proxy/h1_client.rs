//! HTTP/1.1 to endpoints. No task and no channel: a connection is polled by whoever uses it, and holds buffers
//! of its worker only while bytes pass. What happened is seen at the socket.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::body::{Frame, Length, Outgoing};
use super::buffers::Buffers;
use super::h1_input::Input;
use super::h1_send::Sending;
use super::headers::{Forwarding, names_upgrade};
use super::ledger::Late;
use super::upstream::{Socket, Terms};
use crate::h1::{Asked, BodyDecoder, Framing, HeadLimits, Part, Response, ResponseDecoder};
use crate::head::{Method, ResponseHead, Version};
use crate::route::Endpoint;

/// Heads of responses: more than any server sends in earnest, and what one exchange may cost us at most.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 128 * 1024,
    fields: 256,
    target_bytes: 0, // of requests only
};

/// A connection to an endpoint.
pub(super) struct Connection {
    socket: Socket,
    terms: Terms,
    counted: Counted,
    sending: Sending,
    heads: ResponseDecoder,
    body: BodyDecoder,
    framing: Framing,
    input: Input,
    /// A byte has come since the present request was begun.
    heard: bool,
    /// Another request may follow, as far as the response says.
    keep_alive: bool,
}

/// Why a request got no response head.
pub(super) enum SendFault {
    /// Closed from the other side before any byte of a response; the body comes back when none of it is gone and
    /// the request may be repeated if it is one that bears it. `unsent`: it was certainly not worked on.
    Closed { unsent: bool, body: Option<Outgoing> },
    /// The response began and broke off.
    Truncated,
    /// What came is no response.
    Malformed(&'static str),
    /// The client's body broke off, or is not as long as it said.
    Upload,
    /// The request cannot be said in the words of this protocol.
    Inexpressible(&'static str),
    /// Somebody was too slow.
    Late(Late),
}

/// Whose fault it is that a body did not come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The endpoint broke off.
    Endpoint,
    /// The endpoint broke a rule.
    Malformed(&'static str),
    /// The client's own body broke, which was still on its way up.
    Upload,
}

impl Connection {
    /// Speaks HTTP/1.1 on `socket`, which leads to `endpoint` and was made by `terms`.
    pub(super) fn new(socket: Socket, terms: Terms, endpoint: Arc<Endpoint>, worker: usize) -> Self {
        Self {
            socket,
            terms,
            counted: Counted::new(endpoint, worker),
            sending: Sending::default(),
            heads: ResponseDecoder::new(LIMITS),
            body: BodyDecoder::new(Framing::Empty),
            framing: Framing::Empty,
            input: Input::default(),
            heard: false,
            keep_alive: false,
        }
    }

    /// What it was made for.
    pub(super) const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether an idle connection may be used: nothing has come on it, not even its end. Looks only where the
    /// runtime has seen something: that costs no system call.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.socket.is_quiet()
    }

    /// The same, with a look at the socket itself: for requests that must not be lost on a connection that was
    /// closed a moment ago.
    pub(super) fn is_quiet_now(&mut self) -> bool {
        self.is_quiet() && self.socket.is_empty_now()
    }

    /// Books the connection as idle, or no longer.
    pub(super) fn set_idle(&self, idle: bool) {
        self.counted.set_idle(idle);
    }

    /// Sends a request and waits for the head of its response, which may come before the whole request has gone
    /// out. `host` goes out as `Host`; `late` is asked whenever there is nothing to do.
    pub(super) async fn send(
        &mut self,
        buffers: &RefCell<Buffers>,
        forwarding: &Forwarding<'_>,
        host: &[u8],
        body: Outgoing,
        mut late: impl FnMut(&Context<'_>) -> Poll<Late>,
    ) -> Result<Box<ResponseHead>, SendFault> {
        let out = buffers.borrow_mut().output();
        self.sending.begin(out, forwarding, host, body);
        self.heard = false;
        self.input.begin();
        let asked = Asked {
            head: *forwarding.head.method() == Method::Head,
            upgrade: forwarding.upgrade,
        };
        let sent = poll_fn(|cx| {
            if self.poll_send(cx, buffers).is_err() {
                return Poll::Ready(Err(SendFault::Upload));
            }
            match self.poll_head(cx, buffers, asked) {
                Poll::Pending => late(cx).map(|late| Err(SendFault::Late(late))),
                ready => ready,
            }
        })
        .await;
        if sent.is_err() {
            self.end(buffers);
        }
        sent
    }

    /// The next part of the response's body. Goes on with the request where the answer was early.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &RefCell<Buffers>,
    ) -> Poll<Option<Result<Frame, BodyFault>>> {
        self.poll_send(cx, buffers)?;
        loop {
            if !self.input.bytes.is_empty() {
                match self.body.decode(&mut self.input.bytes) {
                    Ok(part) if self.body.is_done() && !self.input.bytes.is_empty() => {
                        // Bytes behind the end belong to nobody: neither end nor body can be trusted.
                        drop(part);
                        let rule = "there are bytes behind the end of the answer";
                        return Poll::Ready(Some(Err(BodyFault::Malformed(rule))));
                    }
                    Ok(Some(Part::Data(data))) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                    Ok(Some(Part::Trailers(fields))) => return Poll::Ready(Some(Ok(Frame::Trailers(fields)))),
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(Some(Err(BodyFault::Malformed(refusal.detail())))),
                }
            }
            if self.body.is_done() {
                return Poll::Ready(None);
            }
            self.input.expect(self.body.remaining().unwrap_or(0));
            match ready!(self.input.poll_read(cx, &mut self.socket, buffers)) {
                Ok(n) if n > 0 => {}
                Ok(_) if self.body.end().is_ok() => return Poll::Ready(None),
                Ok(_) | Err(_) => return Poll::Ready(Some(Err(BodyFault::Endpoint))),
            }
        }
    }

    /// Goes on with the request while nobody takes the response. What goes wrong is told with the next part.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>, buffers: &RefCell<Buffers>) {
        let _ = self.poll_send(cx, buffers); // told again
    }

    /// Whether the response's body is over.
    pub(super) fn is_end(&self) -> bool {
        self.body.is_done()
    }

    /// What is still to come of it.
    pub(super) fn length(&self) -> Length {
        match (self.framing, self.body.remaining()) {
            _ if self.is_end() => Length::Empty,
            (Framing::Length(_), Some(n)) => Length::Known(n),
            _ => Length::Unknown,
        }
    }

    /// Ends an exchange: gives the buffers back. `true` when another one may follow on this connection.
    pub(super) fn end(&mut self, buffers: &RefCell<Buffers>) -> bool {
        let over = self.body.is_done() && self.input.bytes.is_empty() && self.sending.is_complete();
        let out = self.sending.end();
        if out.capacity() > 0 {
            buffers.borrow_mut().give_output(out);
        }
        self.input.end(buffers);
        over && self.keep_alive
    }

    /// After a 101: the bare stream, what was read of it already, and what counts it for as long as it is kept.
    pub(super) fn into_stream(self) -> (Socket, Bytes, Counted) {
        (self.socket, self.input.bytes.freeze(), self.counted)
    }

    /// Goes on with the request, as far as that is possible now.
    fn poll_send(&mut self, cx: &mut Context<'_>, buffers: &RefCell<Buffers>) -> Result<(), BodyFault> {
        if self.sending.is_over() {
            return Ok(());
        }
        if let Poll::Ready(Err(_)) = self.sending.poll(cx, &mut self.socket) {
            return Err(BodyFault::Upload);
        }
        if let Some(out) = self.sending.spare() {
            buffers.borrow_mut().give_output(out);
        }
        Ok(())
    }

    /// Reads until the head of a response is there. What the endpoint said before it stopped taking our bytes
    /// counts: a failed write is no end.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &RefCell<Buffers>,
        asked: Asked,
    ) -> Poll<Result<Box<ResponseHead>, SendFault>> {
        loop {
            let ended = match ready!(self.input.poll_read(cx, &mut self.socket, buffers)) {
                Ok(n) => n == 0,
                Err(_) => true,
            };
            // What came before we said anything is no answer.
            if (ended && !self.heard) || self.sending.is_unsent() {
                return Poll::Ready(Err(SendFault::Closed {
                    unsent: self.sending.is_unsent(),
                    body: self.sending.take_back(),
                }));
            }
            if ended {
                return Poll::Ready(Err(SendFault::Truncated));
            }
            self.heard = true;
            match self.heads.decode(&mut self.input.bytes, asked) {
                Ok(Some(response)) => return Poll::Ready(self.accept(response, buffers)),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Err(SendFault::Malformed(refusal.detail()))),
            }
        }
    }

    /// Makes ready for the body of `response`.
    fn accept(&mut self, response: Response, buffers: &RefCell<Buffers>) -> Result<Box<ResponseHead>, SendFault> {
        let Response {
            head,
            framing,
            keep_alive,
        } = response;
        let here = self.input.bytes.len() as u64;
        let acceptable = match framing {
            // What follows a switch of protocols is the tunnel's.
            Framing::Empty if head.status == 101 => switches_to_websocket(&head),
            Framing::Empty => here == 0,
            Framing::Length(n) => here <= n,
            Framing::Chunked | Framing::Close => true,
        };
        if !acceptable {
            return Err(SendFault::Malformed(match head.status {
                101 => "the switch of protocols is not the one that was asked for",
                _ => "there are bytes behind the end of the answer",
            }));
        }
        self.framing = framing;
        self.body = BodyDecoder::new(framing);
        self.keep_alive = keep_alive;
        Ok(buffers.borrow_mut().head(head))
    }
}

/// Whether a 101 is the switch that was asked for (RFC 9110 §7.8): we ask for no other.
fn switches_to_websocket(head: &ResponseHead) -> bool {
    let mut protocols = head.fields.get_all("upgrade");
    head.version == Version::Http11
        && protocols
            .next()
            .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && protocols.next().is_none()
        && names_upgrade(&head.fields)
}

/// Counts a connection among its endpoint's for as long as it is kept.
pub(super) struct Counted {
    endpoint: Arc<Endpoint>,
    worker: usize,
}

impl Counted {
    /// A connection to `endpoint` that `worker` has.
    pub(super) fn new(endpoint: Arc<Endpoint>, worker: usize) -> Self {
        endpoint.cell(worker).add_connections(1);
        Self { endpoint, worker }
    }

    /// Books the connection as idle, or no longer.
    pub(super) fn set_idle(&self, idle: bool) {
        self.endpoint.cell(self.worker).add_idle(if idle { 1 } else { -1 });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.endpoint.cell(self.worker).add_connections(-1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::task::Poll;

    use bytes::Bytes;

    use super::{BodyFault, Connection, SendFault, switches_to_websocket};
    use crate::head::{HeadBuilder, Method, Version};
    use crate::name::Name;
    use crate::proxy::body::{Frame, Outgoing};
    use crate::proxy::buffers::Buffers;
    use crate::proxy::h1_send::tests::Sample;
    use crate::proxy::headers::Forwarding;
    use crate::proxy::upstream::{Socket, Terms};
    use crate::route::{Endpoint, EndpointId};

    /// A connection, and the endpoint's side of it.
    struct Pair {
        connection: Connection,
        endpoint: Arc<Endpoint>,
        backend: TcpStream,
        buffers: RefCell<Buffers>,
    }

    impl Pair {
        fn open() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("its address");
            let name = Name::new("app").expect("a name");
            let authority = address.to_string().into();
            let endpoint = Arc::new(Endpoint::new(EndpointId(0), name, authority, Some(address), 1));
            let tcp = TcpStream::connect(address).expect("it listens");
            tcp.set_nonblocking(true).expect("a socket");
            let tcp = tokio::net::TcpStream::from_std(tcp).expect("a socket");
            let (backend, _) = listener.accept().expect("it was connected");
            Self {
                connection: Connection::new(Socket::Clear(tcp), Terms::default(), Arc::clone(&endpoint), 0),
                endpoint,
                backend,
                buffers: RefCell::default(),
            }
        }

        /// One exchange: the endpoint takes the request and answers. What came, and whether the connection
        /// may be used again.
        async fn exchange(&mut self, method: Method, answer: &str) -> (Result<Vec<u8>, BodyFault>, bool) {
            let sample = Sample::new(method);
            let mut backend = self.backend.try_clone().expect("a second handle");
            let answer = answer.to_owned();
            let answering = std::thread::spawn(move || {
                read_head(&mut backend);
                backend.write_all(answer.as_bytes()).expect("it is open");
            });
            let came = self.ask(&sample.forwarding()).await;
            answering.join().expect("no panic");
            (came, self.connection.end(&self.buffers))
        }

        async fn ask(&mut self, forwarding: &Forwarding<'_>) -> Result<Vec<u8>, BodyFault> {
            let body = Outgoing::Whole(Bytes::new());
            let sent = self
                .connection
                .send(&self.buffers, forwarding, b"shop", body, |_| Poll::Pending);
            let head = sent.await.map_err(|_| BodyFault::Endpoint)?;
            self.buffers.borrow_mut().give_head(head);
            let mut content = Vec::new();
            while let Some(frame) = poll_fn(|cx| self.connection.poll_frame(cx, &self.buffers)).await {
                if let Frame::Data(data) = frame? {
                    content.extend_from_slice(&data);
                }
            }
            Ok(content)
        }
    }

    fn read_head(backend: &mut TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            backend.read_exact(&mut byte).expect("a whole head");
            head.extend(byte);
        }
    }

    #[test]
    fn only_the_switch_that_was_asked_for_is_one() {
        let check = |version, fields: &[(&str, &str)], expected| {
            let mut head = HeadBuilder::default();
            for (name, value) in fields {
                head.field(name.as_bytes(), value.as_bytes());
            }
            assert_eq!(
                switches_to_websocket(&head.response(101, version)),
                expected,
                "{fields:?}"
            );
        };
        let asked = [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
        check(Version::Http11, &asked, true);
        check(Version::Http10, &asked, false);
        check(Version::Http11, &asked[..1], false);
        check(Version::Http11, &asked[1..], false);
        check(Version::Http11, &[("upgrade", "h2c"), asked[1]], false);
        check(Version::Http11, &[asked[0], asked[1], ("upgrade", "h2c")], false);
        check(Version::Http11, &[asked[0], ("connection", "close")], false);
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffers_and_is_counted() {
        let mut pair = Pair::open();
        assert_eq!(pair.endpoint.connections(), 1);
        let large = "x".repeat(300_000);
        for (answer, content) in [
            ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), ""),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_owned(), "hi"),
            (
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{large}", large.len()),
                &large,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
                "hi",
            ),
        ] {
            let (came, again) = pair.exchange(Method::Get, &answer).await;
            assert!(came.is_ok_and(|came| came == content.as_bytes()) && again, "{answer}");
            assert_eq!(pair.connection.input.bytes.capacity(), 0, "{answer}");
        }
        drop(pair.connection);
        assert_eq!(pair.endpoint.connections(), 0);
    }

    #[tokio::test]
    async fn what_follows_an_answer_spoils_it() {
        for answer in [
            "HTTP/1.1 204 No Content\r\n\r\nX",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiX",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nX",
        ] {
            let (came, again) = Pair::open().exchange(Method::Get, answer).await;
            assert!(came.is_err() && !again, "{answer}");
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
        let (came, again) = Pair::open().exchange(Method::Head, answer).await;
        assert!(came.is_ok_and(|came| came.is_empty()) && again);
        let (came, again) = Pair::open().exchange(Method::Head, &format!("{answer}hi")).await;
        assert!(came.is_err() && !again);
    }

    #[tokio::test]
    async fn a_close_that_the_runtime_has_not_seen_is_seen_at_the_socket() {
        let mut pair = Pair::open();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        assert!(pair.exchange(Method::Get, answer).await.1);
        assert!(pair.connection.is_quiet() && pair.connection.is_quiet_now());
        // Nothing is awaited from here on: the runtime has no chance to look.
        drop(pair.backend);
        while pair.connection.is_quiet_now() {
            std::thread::yield_now();
        }
        assert!(pair.connection.is_quiet());
    }

    #[tokio::test]
    async fn what_comes_before_anything_was_said_is_no_answer() {
        let mut pair = Pair::open();
        let poison = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        pair.backend.write_all(poison).expect("it is open");
        // The endpoint reads no more: our first write fails.
        let reset = socket2::SockRef::from(&pair.backend);
        reset.set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
        drop(pair.backend);
        while pair.connection.is_quiet_now() {
            std::thread::yield_now();
        }
        let sample = Sample::new(Method::Post);
        let body = Outgoing::Whole(Bytes::from_static(b"money"));
        let forwarding = sample.forwarding();
        let sent = pair
            .connection
            .send(&pair.buffers, &forwarding, b"shop", body, |_| Poll::Pending);
        let fault = sent.await.expect_err("nobody answered");
        let SendFault::Closed { unsent, body } = fault else {
            panic!("it was closed");
        };
        assert!(unsent && matches!(body, Some(Outgoing::Whole(_))));
    }
}
