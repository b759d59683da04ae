//! Serves HTTP/1 to a client: reads a head, has it handled, writes the answer, and again.
//!
//! No task and no channel: one future polls the client's side and, within [`handle`], the backend's. What a
//! connection holds while it waits for a request is given back by ending with [`End::Resting`].

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;

use super::answer::{Sending, Sent};
use super::body::{ClientBody, Frame, Length, Outgoing, Source, Upload};
use super::buffers::SMALL;
use super::connection::{ConnectionClock, Phase};
use super::fault::Fault;
use super::forward::BackendBody;
use super::handle::{Answer, Client, Stamp, handle};
use super::stream::Stream;
use super::wire::Wire;
use super::worker::{Stage, Worker};
use crate::h1::{BodyDecoder, Framing, HeadLimits, Part, Request, RequestDecoder};
use crate::head::{Method, RequestHead, Version};
use crate::measure::RejectReason;

/// How a conversation ended.
pub(super) enum End {
    /// Nothing more is owed to the client, who may still send: close it so that the answer arrives.
    Closed(Stream),
    /// Nothing more is owed to the client, who knows it and has sent nothing more.
    Done(Stream),
    /// Closed from the other side, or broken: nothing to say.
    Gone,
    /// We refuse what came and say so.
    Refused(Stream, Refused),
    /// Bytes pass both ways from here on.
    Switched(Stream, BackendBody),
    /// Idle for a while: nothing is held for it any more.
    Resting(Stream),
}

/// What is refused.
pub(super) struct Refused {
    pub(super) fault: Fault,
    /// It is a HEAD, as far as it can be read: its answer has no body (RFC 9110 §9.3.2).
    pub(super) head_only: bool,
    /// What goes with its answer.
    pub(super) stamp: Stamp,
}

/// A client's connection, shared by the loop that serves it and the body of a request on its way up.
pub(super) struct Conversation {
    worker: Rc<Worker>,
    clock: Rc<ConnectionClock>,
    /// As in [`Client`].
    left_us: Rc<Cell<u64>>,
    wire: RefCell<Wire>,
}

/// What reading a head came to.
#[allow(clippy::large_enum_variant)] // moved once, from where it is made to where it is used
enum Next {
    Request(Request),
    Refused(Fault),
    /// Nothing is asked, and nothing more will be served.
    Closing,
    Resting,
    Gone,
}

/// Serves HTTP/1 on `stream`, of which `ahead` was read already, until it ends.
pub(super) async fn serve_http1(
    worker: &Rc<Worker>,
    stream: Stream,
    ahead: BytesMut,
    client: &Client,
    clock: &Rc<ConnectionClock>,
) -> End {
    clock.enter(Phase::Head, worker.now_us());
    let conversation = Rc::new(Conversation::new(worker, Rc::clone(clock), client, stream, ahead));
    let end = conversation.serve(client).await;
    conversation.give_back();
    end
}

impl Conversation {
    fn new(worker: &Rc<Worker>, clock: Rc<ConnectionClock>, client: &Client, stream: Stream, ahead: BytesMut) -> Self {
        let wire = RefCell::new(Wire::new(stream, ahead, worker.buffers.borrow_mut().output()));
        let worker = Rc::clone(worker);
        let left_us = Rc::clone(&client.left_us);
        Self {
            worker,
            clock,
            left_us,
            wire,
        }
    }

    fn give_back(&self) {
        let mut wire = self.wire.borrow_mut();
        let mut buffers = self.worker.buffers.borrow_mut();
        buffers.give_input(std::mem::take(&mut wire.input));
        buffers.give_output(std::mem::take(&mut wire.output));
    }

    async fn serve(self: &Rc<Self>, client: &Client) -> End {
        let settings = &client.settings;
        let limits = HeadLimits {
            bytes: settings.header_bytes as usize,
            fields: settings.headers as usize,
            target_bytes: settings.uri_bytes as usize,
        };
        let mut decoder = RequestDecoder::new(limits, settings.paths);
        // Made once for each connection; used again as long as nobody else keeps it.
        let mut kept_head: Option<Rc<RequestHead>> = None;
        loop {
            let request = match std::future::poll_fn(|cx| self.poll_request(cx, &mut decoder)).await {
                Next::Request(request) => request,
                Next::Refused(fault) => {
                    if let Some(reason) = fault.reject_reason() {
                        self.worker.cells().reject(reason);
                    }
                    let head_only = self.wire.borrow().input.starts_with(b"HEAD ");
                    let refused = Refused {
                        fault,
                        head_only,
                        stamp: client.stamp(),
                    };
                    return self.end_with(|stream| End::Refused(stream, refused));
                }
                Next::Closing => return self.end_with(End::Closed),
                Next::Resting => return self.end_with(End::Resting),
                Next::Gone => return End::Gone,
            };
            self.clock.enter(Phase::Busy, 0);
            self.clock.renew_half_closed(self.worker.recent_us());
            let (body, upload) = self.take_body(&request);
            let mut sending = Sending {
                head_only: *request.head.method() == Method::Head,
                http10: request.head.version() == Version::Http10,
                keep_alive: request.keep_alive,
                client_closes: !request.keep_alive,
                upload: upload.clone(),
            };
            let head = keep(&mut kept_head, request.head);
            let Some(answer) = self.ask(client, head, body, upload).await else {
                return End::Gone;
            };
            sending.keep_alive &=
                self.worker.stage() < Stage::Announcing && !self.clock.is_old(self.worker.recent_us());
            let sent = sending.send(self, answer).await;
            if let Some(head) = kept_head.as_mut().and_then(Rc::get_mut) {
                // Nobody else has it: the buffer that it lies in can be used again.
                head.clear();
            }
            match sent {
                Sent::Kept => self.clock.enter(Phase::Idle, self.worker.recent_us()),
                Sent::Close if sending.client_closes && self.owes_nothing() => {
                    return self.end_with(End::Done);
                }
                Sent::Close => return self.end_with(End::Closed),
                Sent::Switched(tunnel) => return self.end_with(|stream| End::Switched(stream, tunnel)),
                Sent::Broken => return End::Gone,
            }
        }
    }

    /// Has a request handled. A panic on the way costs this request only. `None`: the client has left.
    async fn ask(
        &self,
        client: &Client,
        head: Rc<RequestHead>,
        body: Outgoing,
        upload: Option<Rc<Upload>>,
    ) -> Option<Answer> {
        let handled = AssertUnwindSafe(handle(&self.worker, client, head, body, upload)).catch_unwind();
        let mut handled = pin!(handled);
        std::future::poll_fn(|cx| match handled.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Some(answer)),
            Poll::Ready(Err(_)) => {
                self.worker.cells().reject(RejectReason::Panic);
                Poll::Ready(Some(Answer::Own(Fault::Panic, client.stamp())))
            }
            Poll::Pending => self.poll_left(cx).map(|()| None),
        })
        .await
    }

    /// The next head.
    fn poll_request(&self, cx: &mut Context<'_>, decoder: &mut RequestDecoder) -> Poll<Next> {
        let wire = &mut *self.wire.borrow_mut();
        loop {
            match decoder.decode(&mut wire.input) {
                Ok(Some(request)) => return Poll::Ready(Next::Request(request)),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Next::Refused(Fault::of(refusal))),
            }
            let begun = !wire.input.is_empty();
            if begun && self.clock.phase() == Phase::Idle {
                self.clock.enter(Phase::Head, self.worker.recent_us());
            }
            if self.clock.poll_late(cx).is_ready() {
                return Poll::Ready(if begun {
                    Next::Refused(Fault::HeadTimeout)
                } else {
                    Next::Closing
                });
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Gone),
                Poll::Ready(Ok(_)) => {}
                // What was readable has been read: who is idle now has not asked for anything.
                Poll::Pending if !begun && self.worker.stage() == Stage::Closing => {
                    return Poll::Ready(Next::Closing);
                }
                Poll::Pending if !begun && self.clock.rests() => return Poll::Ready(Next::Resting),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The body of a request, as it is passed on: at once if all of it is there.
    fn take_body(self: &Rc<Self>, request: &Request) -> (Outgoing, Option<Rc<Upload>>) {
        let wire = &mut *self.wire.borrow_mut();
        (wire.continue_due, wire.answering) = (false, false);
        match request.framing {
            Framing::Empty | Framing::Close => {
                wire.body = BodyDecoder::new(Framing::Empty);
                return (Outgoing::Empty, None);
            }
            Framing::Length(n) if wire.input.len() as u64 >= n => {
                wire.body = BodyDecoder::new(Framing::Empty);
                let len = usize::try_from(n).expect("it is in the buffer");
                return (Outgoing::Whole(wire.input.split_to(len).freeze()), None);
            }
            Framing::Length(_) | Framing::Chunked => {}
        }
        wire.body = BodyDecoder::new(request.framing);
        wire.continue_due = request.expects_continue;
        let upload = Upload::new();
        let body = ClientBody::new(Source::Http1(Rc::clone(self)), &upload, &self.worker);
        (Outgoing::Client(body), Some(upload))
    }

    /// The next part of the present request's body, or what the client has done to it.
    pub(super) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Fault>>> {
        let wire = &mut *self.wire.borrow_mut();
        loop {
            match wire.body.decode(&mut wire.input) {
                Ok(Some(Part::Data(data))) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Some(Part::Trailers(fields))) => return Poll::Ready(Some(Ok(Frame::Trailers(fields)))),
                Ok(None) if wire.body.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Some(Err(Fault::of(refusal)))),
            }
            if std::mem::take(&mut wire.continue_due) {
                wire.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            // Nothing but a 100 can be in the output before the answer. What is there after is for the answer to write.
            if !wire.answering
                && let Poll::Ready(Err(_)) = wire.poll_flush(cx)
            {
                return Poll::Ready(Some(Err(Fault::ClientBody)));
            }
            match ready!(wire.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(Fault::ClientBody))),
                Ok(_) => {}
            }
        }
    }

    /// Whether all of the present request's body has come.
    pub(super) fn body_is_done(&self) -> bool {
        self.wire.borrow().body.is_done()
    }

    /// What is still to come of the present request's body.
    pub(super) fn body_length(&self) -> Length {
        let wire = self.wire.borrow();
        match wire.body.remaining() {
            _ if wire.body.is_done() => Length::Empty,
            Some(n) => Length::Known(n),
            None => Length::Unknown,
        }
    }

    /// Ready when the client has left, as far as that can be known: what it sends ahead is read, so much and no
    /// more; while it owes us a body, whoever reads that will notice.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let wire = &mut *self.wire.borrow_mut();
        while !self.clock.is_half_closed() && wire.body.is_done() && wire.input.len() < SMALL {
            match ready!(wire.poll_fill(cx)) {
                Ok(0) => {
                    let now_us = self.worker.now_us();
                    self.left_us.set(now_us);
                    self.clock.half_close(now_us);
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        if self.clock.is_half_closed() {
            return self.clock.poll_half_closed(cx, self.worker.recent_us());
        }
        Poll::Pending
    }

    /// Whether nothing has come, and nothing is still to come, behind the request that was answered: not even the
    /// rest of its body.
    fn owes_nothing(&self) -> bool {
        let wire = self.wire.borrow();
        wire.body.is_done() && wire.input.is_empty()
    }

    /// The wire, for writing the answer.
    pub(super) fn wire(&self) -> std::cell::RefMut<'_, Wire> {
        self.wire.borrow_mut()
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(super) fn clock(&self) -> &ConnectionClock {
        &self.clock
    }

    /// Ends the conversation; what was read and not used goes back to the stream.
    fn end_with(&self, end: impl FnOnce(Stream) -> End) -> End {
        let wire = &mut *self.wire.borrow_mut();
        match wire.stream.take() {
            Some(mut stream) => {
                if !wire.input.is_empty() {
                    stream.unread(Bytes::copy_from_slice(&wire.input));
                }
                end(stream)
            }
            None => End::Gone,
        }
    }
}

impl Refused {
    /// Something of which no head has been seen.
    pub(super) fn of(fault: Fault) -> Self {
        Self {
            fault,
            head_only: false,
            stamp: Stamp::default(),
        }
    }
}

/// Puts a head where the last one was, unless somebody still holds that.
fn keep(kept: &mut Option<Rc<RequestHead>>, head: RequestHead) -> Rc<RequestHead> {
    match kept.as_mut().and_then(Rc::get_mut) {
        Some(place) => *place = head,
        None => *kept = Some(Rc::new(head)),
    }
    Rc::clone(kept.as_ref().expect("it has just been filled"))
}
