//! Writes answers in HTTP/1: a head, then the body as it comes; head and small body in one write.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::body::{AnswerBody, Broken, Frame, Length, Upload};
use super::buffers::SMALL;
use super::fault::Fault;
use super::forward::BackendBody;
use super::h1_server::Conversation;
use super::handle::{Answer, Stamp};
use super::headers::{ofrep_fields, put_response_fields};
use super::wire::Wire;
use super::worker::Worker;
use crate::h1::{put_chunk_size, put_end_of_head, put_field, put_last_chunk, put_status_line};
use crate::head::ResponseHead;
use crate::ofrep;

/// What an answer depends on besides itself.
pub(super) struct Sending {
    /// HEAD was asked: no body.
    pub(super) head_only: bool,
    /// The client speaks HTTP/1.0: it knows no chunks.
    pub(super) http10: bool,
    /// Another request may follow, as far as we know.
    pub(super) keep_alive: bool,
    /// The client itself closes after this answer.
    pub(super) client_closes: bool,
    /// The request's body, where it is still on its way.
    pub(super) upload: Option<Rc<Upload>>,
}

/// What became of an answer.
pub(super) enum Sent {
    /// All of it has gone out; the next request may come.
    Kept,
    /// All of it has gone out; nothing more will be served.
    Close,
    /// A 101 has gone out.
    Switched(BackendBody),
    /// It broke off.
    Broken,
}

/// How the end of a body is told to the client (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimited {
    /// By its length, or there is none.
    Length,
    Chunks,
    Close,
}

impl Sending {
    /// Writes an answer.
    pub(super) async fn send(&mut self, conversation: &Conversation, answer: Answer) -> Sent {
        self.keep_alive &= self.upload.as_ref().is_none_or(|upload| upload.is_complete());
        conversation.wire().begin_answer();
        let worker = conversation.worker();
        let mut kept_stamp = Stamp::default();
        let (body, delimited) = match answer {
            Answer::Own(fault, stamp) => {
                self.put_own(conversation, fault, &stamp);
                (AnswerBody::Own(None), Delimited::Length)
            }
            Answer::Redirect(location) => {
                self.put_redirect(conversation, &location);
                (AnswerBody::Own(None), Delimited::Length)
            }
            Answer::Flags(answer, stamp) => {
                let own = self.put_flags(conversation, answer, &stamp);
                (own, Delimited::Length)
            }
            Answer::Backend { head, body, stamp } => {
                let delimited = self.put_head(&mut conversation.wire(), worker, &head, &body, &stamp);
                worker.buffers.borrow_mut().give_head(head);
                kept_stamp = stamp;
                (body, delimited)
            }
            Answer::Switched { head, tunnel, stamp } => {
                put_switch(&mut conversation.wire().output, &head, &stamp);
                worker.buffers.borrow_mut().give_head(head);
                let mut passing = Passing::new(AnswerBody::Own(None), Delimited::Length);
                return match std::future::poll_fn(|cx| passing.poll(conversation, cx)).await {
                    Ok(()) => Sent::Switched(tunnel),
                    Err(_) => Sent::Broken,
                };
            }
        };
        let mut passing = Passing::new(body, delimited);
        match std::future::poll_fn(|cx| passing.poll(conversation, cx)).await {
            Ok(()) if self.keep_alive && conversation.body_is_done() => Sent::Kept,
            Ok(()) => Sent::Close,
            Err(Halt::Nothing) => {
                let by_client = self.upload.as_ref().and_then(|upload| upload.fault());
                let fault = passing.body.retract(by_client);
                self.keep_alive = false;
                self.put_own(conversation, fault, &kept_stamp);
                let mut passing = Passing::new(AnswerBody::Own(None), Delimited::Length);
                match std::future::poll_fn(|cx| passing.poll(conversation, cx)).await {
                    Ok(()) => Sent::Close,
                    Err(_) => Sent::Broken,
                }
            }
            Err(Halt::Broken) => {
                if delimited == Delimited::Close {
                    conversation.wire().reset_on_close();
                }
                Sent::Broken
            }
        }
    }

    fn put_own(&mut self, conversation: &Conversation, fault: Fault, stamp: &Stamp) {
        self.keep_alive &= !fault.closes();
        let out = &mut conversation.wire().output;
        put_problem_head(out, conversation.worker(), fault);
        put_stamp(out, stamp);
        self.put_connection(out);
        put_end_of_head(out);
        if !self.head_only {
            out.extend_from_slice(&fault.problem());
        }
    }

    fn put_redirect(&self, conversation: &Conversation, location: &[u8]) {
        let out = &mut conversation.wire().output;
        put_status_line(out, 308);
        put_field(out, b"location", location);
        put_field(out, b"server", b"serin");
        conversation.worker().put_date(out);
        put_field(out, b"content-length", b"0");
        self.put_connection(out);
        put_end_of_head(out);
    }

    /// Writes the head of an answer to a call for flags; hands its body back.
    fn put_flags(&self, conversation: &Conversation, answer: ofrep::Answer, stamp: &Stamp) -> AnswerBody {
        let out = &mut conversation.wire().output;
        put_status_line(out, answer.status);
        for (name, value) in ofrep_fields(&answer) {
            put_field(out, name.as_bytes(), value.as_bytes());
        }
        conversation.worker().put_date(out);
        put_stamp(out, stamp);
        // A 304 would have to say how long the body is that it does not send (RFC 9110 §8.6).
        if answer.status != 304 {
            put_field(
                out,
                b"content-length",
                itoa::Buffer::new().format(answer.body.len()).as_bytes(),
            );
        }
        self.put_connection(out);
        put_end_of_head(out);
        AnswerBody::Own((!self.head_only && !answer.body.is_empty()).then(|| answer.body.into()))
    }

    fn put_head(
        &mut self,
        wire: &mut Wire,
        worker: &Worker,
        head: &ResponseHead,
        body: &AnswerBody,
        stamp: &Stamp,
    ) -> Delimited {
        let out = &mut wire.output;
        put_status_line(out, head.status);
        if !put_response_fields(head, stamp.hsts.is_some(), out) {
            worker.put_date(out);
        }
        put_stamp(out, stamp);
        let mut delimited = Delimited::Length;
        match body.length() {
            // They describe a body that is not sent (RFC 9110 §8.6).
            Length::Empty if self.head_only || head.status == 304 => {
                if let Some(length) = head.fields.get("content-length") {
                    put_field(out, b"content-length", length);
                }
            }
            Length::Empty if head.status == 204 => {}
            Length::Empty => put_field(out, b"content-length", b"0"),
            Length::Known(n) => put_field(out, b"content-length", itoa::Buffer::new().format(n).as_bytes()),
            Length::Unknown if self.http10 => {
                delimited = Delimited::Close;
                self.keep_alive = false;
            }
            Length::Unknown => {
                delimited = Delimited::Chunks;
                put_field(out, b"transfer-encoding", b"chunked");
            }
        }
        self.put_connection(out);
        put_end_of_head(out);
        delimited
    }

    fn put_connection(&self, out: &mut Vec<u8>) {
        if !self.keep_alive {
            put_field(out, b"connection", b"close");
        } else if self.http10 {
            put_field(out, b"connection", b"keep-alive");
        }
    }
}

/// Writes the head of an answer of ours up to, and without, what depends on the connection.
pub(super) fn put_problem_head(out: &mut Vec<u8>, worker: &Worker, fault: Fault) {
    put_status_line(out, fault.status());
    put_field(out, b"content-type", b"application/problem+json");
    put_field(out, b"server", b"serin");
    worker.put_date(out);
    if let Some((name, value)) = fault.field() {
        put_field(out, name.as_bytes(), value.as_bytes());
    }
    let length = fault.problem().len();
    put_field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
}

pub(super) fn put_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    if let Some(served) = &stamp.served {
        put_field(out, b"x-serin-variant", &served.variant);
        put_field(out, b"x-serin-generation", &served.generation);
    }
    if let Some(cookie) = &stamp.cookie {
        put_field(out, b"set-cookie", cookie);
    }
    if let Some(hsts) = &stamp.hsts {
        put_field(out, b"strict-transport-security", hsts);
    }
}

/// The head of a granted upgrade.
fn put_switch(out: &mut Vec<u8>, head: &ResponseHead, stamp: &Stamp) {
    put_status_line(out, head.status);
    put_response_fields(head, stamp.hsts.is_some(), out);
    put_stamp(out, stamp);
    put_field(out, b"connection", b"upgrade");
    put_field(out, b"upgrade", b"websocket");
    put_end_of_head(out);
}

/// Why an answer did not go out whole.
enum Halt {
    /// Nothing has gone out: the client can still be told.
    Nothing,
    Broken,
}

/// An answer on its way: what is in the output, then the body.
struct Passing {
    body: AnswerBody,
    delimited: Delimited,
    /// A part of the body too large to be copied; goes out after the output.
    part: Bytes,
    /// What follows `part`.
    ends_chunk: bool,
    /// Nothing more comes of the body.
    ended: bool,
    /// It ended too early.
    broken: bool,
}

impl Passing {
    const fn new(body: AnswerBody, delimited: Delimited) -> Self {
        Self {
            body,
            delimited,
            part: Bytes::new(),
            ends_chunk: false,
            ended: false,
            broken: false,
        }
    }

    fn poll(&mut self, conversation: &Conversation, cx: &mut Context<'_>) -> Poll<Result<(), Halt>> {
        let (clock, worker) = (conversation.clock(), conversation.worker());
        loop {
            let gathered = self.gather(conversation, cx);
            if gathered == Poll::Ready(Err(Broken)) {
                if conversation.wire().take_back() {
                    return Poll::Ready(Err(Halt::Nothing));
                }
                // What came before the break is still due; then the client sees it.
                (self.ended, self.broken) = (true, true);
            }
            match self.flush(conversation, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Halt::Broken)),
                Poll::Pending => {
                    clock.blocked(|| worker.now_us());
                    if self.body.poll_upload(cx).is_ready() {
                        return Poll::Ready(Err(Halt::Broken));
                    }
                    return clock.poll_late(cx).map(|()| Err(Halt::Broken));
                }
            }
            clock.unblocked();
            if self.ended {
                return Poll::Ready(if self.broken { Err(Halt::Broken) } else { Ok(()) });
            }
            if gathered.is_pending() {
                return conversation.poll_left(cx).map(|()| Err(Halt::Broken));
            }
        }
    }

    /// Takes parts of the body into the output while there are some and there is room. Pending: the backend has
    /// no more for now.
    fn gather(&mut self, conversation: &Conversation, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let by_chunks = self.delimited == Delimited::Chunks;
        while !self.ended && self.part.is_empty() {
            // Not held over the poll: the body of the request may be read there.
            let frame = ready!(self.body.poll_frame(cx)).transpose()?;
            let out = &mut conversation.wire().output;
            match frame {
                Some(Frame::Data(data)) => {
                    if by_chunks {
                        put_chunk_size(out, data.len());
                    }
                    if out.len() + data.len() > SMALL - 2 {
                        self.part = data;
                        self.ends_chunk = by_chunks;
                    } else {
                        out.extend_from_slice(&data);
                        out.extend_from_slice(if by_chunks { b"\r\n" } else { b"" });
                    }
                }
                Some(Frame::Trailers(fields)) => {
                    self.ended = true;
                    if by_chunks {
                        put_last_chunk(out, Some(&fields));
                    }
                }
                None => {
                    self.ended = true;
                    if by_chunks {
                        put_last_chunk(out, None);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, conversation: &Conversation, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let wire = &mut *conversation.wire();
        let due = wire.unwritten() + self.part.len();
        let written = wire.poll_write(cx, &mut self.part);
        if wire.unwritten() + self.part.len() < due {
            // A slow client, but it reads: its limit is between two writes.
            conversation.clock().unblocked();
            conversation
                .clock()
                .renew_half_closed(conversation.worker().recent_us());
        }
        ready!(written)?;
        if std::mem::take(&mut self.ends_chunk) {
            // Goes out with the next part, or alone once there is none for now.
            wire.output.extend_from_slice(b"\r\n");
        }
        Poll::Ready(Ok(()))
    }
}
