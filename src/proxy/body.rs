//! Bodies as they pass the seam: frames of data, then perhaps trailers.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::fault::Fault;
use super::forward::BackendBody;
use super::h1_server::Conversation;
use super::h2_body::StreamBody;
use super::worker::Worker;
use crate::head::Fields;

/// A part of a body.
#[derive(Debug)]
pub(super) enum Frame {
    /// Bytes of the content.
    Data(Bytes),
    /// Trailer fields; nothing follows.
    Trailers(Box<Fields>),
}

/// The body did not come whole. Whose fault it is stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body did not come whole")]
pub(super) struct Broken;

/// How long a body is, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Nothing comes.
    Empty,
    /// This many bytes.
    Known(u64),
    /// Until it ends.
    Unknown,
}

/// The body of a request on its way up.
#[derive(Default)]
pub(super) enum Outgoing {
    /// None.
    #[default]
    Empty,
    /// All of it came with the head: it can be sent again.
    Whole(Bytes),
    /// As the client sends it.
    Client(ClientBody),
}

/// The body of a request as the client sends it.
pub(super) struct ClientBody {
    source: Source,
    upload: Rc<Upload>,
    worker: Rc<Worker>,
}

/// What a client's body is read from.
pub(super) enum Source {
    /// Its connection.
    Http1(Rc<Conversation>),
    /// One of its streams.
    Http2(StreamBody),
}

impl ClientBody {
    pub(super) fn new(source: Source, upload: &Rc<Upload>, worker: &Rc<Worker>) -> Self {
        Self {
            source,
            upload: Rc::clone(upload),
            worker: Rc::clone(worker),
        }
    }

    /// The next part. Notes when we wait for the client, and when it breaks off.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        let polled = match &mut self.source {
            Source::Http1(conversation) => conversation.poll_body(cx),
            Source::Http2(stream) => stream
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|Broken| Fault::ClientBody))),
        };
        let Poll::Ready(frame) = polled else {
            self.upload.wait(self.worker.now_us());
            return Poll::Pending;
        };
        self.upload.arrived(|| self.worker.now_us());
        match &frame {
            Some(Err(fault)) => self.upload.break_off(*fault),
            None | Some(Ok(Frame::Trailers(_))) => self.upload.complete(),
            Some(Ok(Frame::Data(_))) if self.is_end() => self.upload.complete(),
            Some(Ok(Frame::Data(_))) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| Broken)))
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        match &self.source {
            Source::Http1(conversation) => conversation.body_is_done(),
            Source::Http2(stream) => stream.is_end(),
        }
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        match &self.source {
            Source::Http1(conversation) => conversation.body_length(),
            Source::Http2(stream) => stream.length(),
        }
    }
}

/// The body of an answer to a client.
pub(super) enum AnswerBody {
    /// Written by us.
    Own(Option<Bytes>),
    /// Streamed from a backend.
    Backend(BackendBody),
}

impl AnswerBody {
    /// The next part.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        match self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::Data(bytes)))),
            Self::Backend(body) => body.poll_frame(cx),
        }
    }

    /// Goes on with the request while the client takes no more of the answer.
    /// Ready when the answer has to end.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match self {
            Self::Own(_) => Poll::Pending,
            Self::Backend(body) => body.poll_upload(cx),
        }
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Backend(body) => body.is_end(),
        }
    }

    /// It broke before anything of the answer had gone out: what the client is told instead. `by_client` is what
    /// the client itself has done to its body.
    pub(super) fn retract(&self, by_client: Option<Fault>) -> Fault {
        match self {
            Self::Own(_) => by_client.unwrap_or(Fault::Truncated),
            Self::Backend(body) => body.retract(by_client),
        }
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        match self {
            Self::Own(None) => Length::Empty,
            Self::Own(Some(bytes)) => Length::Known(bytes.len() as u64),
            Self::Backend(body) => body.length(),
        }
    }
}

/// What happens to a client's body while it streams up; shared with the exchange's clock, which
/// stands still while we wait for the client.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// Since when we have waited for the client, in worker microseconds; 0: we do not.
    waiting_since_us: Cell<u64>,
    /// Time spent waiting so far, without the present wait.
    waited_us: Cell<u64>,
    /// The same at the moment when the response head came.
    waited_for_head_us: Cell<Option<u64>>,
    /// The client's framing was broken, or it left.
    fault: Cell<Option<Fault>>,
    /// All of it has come.
    complete: Cell<bool>,
}

impl Upload {
    /// A body of which nothing has come yet.
    pub(super) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Nothing has come; we wait from `now_us` on.
    pub(super) fn wait(&self, now_us: u64) {
        if self.waiting_since_us.get() == 0 {
            self.waiting_since_us.set(now_us.max(1));
        }
    }

    /// Whether somebody waits for the client.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting_since_us.get() != 0
    }

    /// The response head has come at `now_us`.
    pub(super) fn head_came(&self, now_us: u64) {
        self.waited_for_head_us.set(Some(self.waited_us(now_us)));
    }

    /// Time spent waiting before the response head came, or until now where none came.
    pub(super) fn waited_for_head_us(&self, now_us: u64) -> u64 {
        self.waited_for_head_us.get().unwrap_or_else(|| self.waited_us(now_us))
    }

    /// Something has come.
    pub(super) fn arrived(&self, now_us: impl FnOnce() -> u64) {
        let since = self.waiting_since_us.replace(0);
        if since != 0 {
            self.waited_us
                .set(self.waited_us.get() + now_us().saturating_sub(since));
        }
    }

    /// It ended as its framing said.
    pub(super) fn complete(&self) {
        self.complete.set(true);
    }

    /// It broke.
    pub(super) fn break_off(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    /// Why it broke, if it did.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Whether it broke: then what follows upstream is the client's fault.
    pub(super) fn is_broken(&self) -> bool {
        self.fault.get().is_some()
    }

    /// Whether all of it has come.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// How long we have waited for the client until `now_us`, all together.
    pub(super) fn waited_us(&self, now_us: u64) -> u64 {
        self.waited_us.get() + self.present_wait_us(now_us)
    }

    /// How long we have waited since the last byte; 0 when we do not wait.
    pub(super) fn present_wait_us(&self, now_us: u64) -> u64 {
        match self.waiting_since_us.get() {
            0 => 0,
            since => now_us.saturating_sub(since),
        }
    }
}
