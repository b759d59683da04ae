//! A request's body on its way up an HTTP/2 stream, as far as the windows of the endpoint allow: never more and never
//! less than its head says.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use crate::proxy::body::{Broken, Frame, Length, Outgoing};
use crate::proxy::h2_body::to_trailers;

/// So much of a window is asked for at once.
const RESERVE_MAX: usize = 32 * 1024;

/// What is sent of one request's body.
pub(super) struct Upload {
    send: SendStream<Bytes>,
    body: Outgoing,
    /// Taken, and not handed to the engine yet.
    part: Bytes,
    trailers: Option<HeaderMap>,
    /// Bytes of the body that the client must still send; `None`: as many as it likes.
    left: Option<u64>,
    /// The whole body has been taken.
    taken: bool,
    /// A part of a body that cannot be sent again has been taken.
    spent: bool,
    /// The whole of the client's body, where it came in one part: that can be sent again.
    only: Option<Bytes>,
    /// The engine has been told the end.
    ended: bool,
    /// The endpoint takes no more.
    failed: bool,
    /// The client's body broke off.
    broken: bool,
}

impl Upload {
    /// `body` on `send`; its head has gone out, and `is_whole` says that with it all was said.
    pub(super) fn new(send: SendStream<Bytes>, body: Outgoing, is_whole: bool) -> Self {
        let (part, left, taken) = match &body {
            Outgoing::Empty => (Bytes::new(), None, true),
            Outgoing::Whole(bytes) => (bytes.clone(), None, true),
            Outgoing::Client(client) => {
                let left = match client.length() {
                    Length::Empty => Some(0),
                    Length::Known(n) => Some(n),
                    Length::Unknown => None,
                };
                (Bytes::new(), left, false)
            }
        };
        Self {
            send,
            body,
            part,
            trailers: None,
            left,
            taken,
            spent: false,
            only: None,
            ended: is_whole,
            failed: false,
            broken: false,
        }
    }

    /// Hands on what there is room for, and asks the client for more once there is. Ready when nothing is left to do,
    /// also because the endpoint takes no more.
    ///
    /// # Errors
    /// When the client's body has broken off, or is not as long as it said.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.ended && !self.failed {
            if self.broken {
                return Poll::Ready(Err(Broken));
            }
            if !self.part.is_empty() {
                ready!(self.poll_part(cx));
            } else if self.taken {
                let told = match self.trailers.take() {
                    Some(trailers) => self.send.send_trailers(trailers),
                    None => self.send.send_data(Bytes::new(), true),
                };
                (self.ended, self.failed) = (true, told.is_err());
            } else if ready!(self.poll_client(cx)).is_err() {
                self.broken = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether all of the request has gone to the engine.
    pub(super) const fn is_complete(&self) -> bool {
        self.ended && !self.failed
    }

    /// The body, for another try; `None` when a part of it is gone.
    pub(super) fn take_back(&mut self) -> Option<Outgoing> {
        if self.spent {
            return self.only.take().filter(|_| self.taken).map(Outgoing::Whole);
        }
        Some(std::mem::take(&mut self.body))
    }

    /// Ends the stream before its time.
    pub(super) fn reset(&mut self, reason: h2::Reason) {
        self.send.send_reset(reason);
    }

    /// The stream, for a tunnel.
    pub(super) fn into_stream(self) -> SendStream<Bytes> {
        self.send
    }

    /// Hands on a piece of the part at hand.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.reserve_capacity(self.part.len().min(RESERVE_MAX));
        // Asked first: waiting is for an increase, not for what there is.
        if self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.failed = true,
            }
            return Poll::Ready(());
        }
        let piece = self.part.split_to(self.send.capacity().min(self.part.len()));
        let is_last = self.part.is_empty() && self.taken && self.trailers.is_none();
        self.failed = self.send.send_data(piece, is_last).is_err();
        self.ended = is_last;
        Poll::Ready(())
    }

    /// Takes the next part from the client.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Outgoing::Client(body) = &mut self.body else {
            self.taken = true;
            return Poll::Ready(Ok(()));
        };
        let frame = ready!(body.poll_frame(cx)).transpose();
        let is_first = !std::mem::replace(&mut self.spent, true);
        match frame? {
            Some(Frame::Data(data)) => {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(data.len() as u64).ok_or(Broken)?;
                }
                self.taken = body.is_end();
                self.only = is_first.then(|| data.clone());
                self.part = data;
            }
            Some(Frame::Trailers(trailers)) => {
                self.only = None;
                self.trailers = Some(to_trailers(&trailers));
                self.taken = true;
            }
            None => self.taken = true,
        }
        match self.left {
            Some(1..) if self.taken => Poll::Ready(Err(Broken)),
            _ => Poll::Ready(Ok(())),
        }
    }
}
