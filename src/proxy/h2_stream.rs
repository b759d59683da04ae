//! The life of one HTTP/2 stream: its head is read, handled, answered, and the answer sent as far as the client's
//! windows allow. A task of its own, which ends when the client resets the stream.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Request;

use super::body::{AnswerBody, Broken, ClientBody, Frame, Outgoing, Source, Upload};
use super::connection::{ConnectionClock, Offer, Phase};
use super::fault::Fault;
use super::grpc::is_grpc;
use super::h2_account::Account;
use super::h2_answer as answer;
use super::h2_body::{StreamBody, to_trailers};
use super::h2_head::{Around, Asked, Refused, to_head};
use super::h2_io::Duplex;
use super::handle::{Answer, Client, Stamp, handle};
use super::tunnel;
use super::worker::Worker;
use crate::measure::RejectReason;

/// What all streams of a connection share.
pub(super) struct Shared {
    pub(super) worker: Rc<Worker>,
    pub(super) client: Rc<Client>,
    pub(super) clock: Rc<ConnectionClock>,
    pub(super) account: Rc<Account>,
    /// Streams that are open.
    pub(super) open: Cell<usize>,
}

/// Counts a stream among the open ones; the last to close makes the connection idle.
pub(super) struct OpenStream {
    shared: Rc<Shared>,
    /// Since when, to the worker's last look at the clock.
    since_us: u64,
}

impl OpenStream {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        shared.open.set(shared.open.get() + 1);
        shared.clock.enter(Phase::Busy, 0);
        Self {
            shared: Rc::clone(shared),
            since_us: shared.worker.recent_us(),
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.open.set(shared.open.get() - 1);
        if shared.open.get() == 0 {
            shared.clock.enter(Phase::Idle, shared.worker.now_us());
        }
    }
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Our side has said everything. What the client still sends is refused by the engine without blame.
    Said,
    /// Reset, by either side, before that.
    Reset,
}

/// Serves one stream. A panic on the way costs no other.
pub(super) async fn serve(open: OpenStream, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let shared = Rc::clone(&open.shared);
    let exchange = AssertUnwindSafe(exchange(&shared, request, respond)).catch_unwind();
    let end = exchange.await.unwrap_or_else(|_| {
        shared.worker.cells().reject(RejectReason::Panic);
        End::Said
    });
    if end == End::Reset {
        shared.account.charge_reset(open.since_us, shared.worker.now_us());
        // It may have been the last straw.
        shared.clock.wake();
    }
}

async fn exchange(shared: &Rc<Shared>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> End {
    let (worker, client) = (&shared.worker, &shared.client);
    let (parts, receive) = request.into_parts();
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let more = !receive.is_end_stream();
    let around = Around {
        protocol: protocol.map(h2::ext::Protocol::as_str),
        more,
        fields_max: client.settings.headers as usize,
        paths: client.settings.paths,
    };
    let head_only = parts.method == http::Method::HEAD;
    let asked = match to_head(&parts, around) {
        Ok(asked) => asked,
        Err(refused) => {
            let fault = fault_of(refused);
            if let Some(reason) = fault.reject_reason() {
                worker.cells().reject(reason);
            }
            let stamp = Stamp {
                grpc: speaks_grpc(&parts),
                ..client.stamp()
            };
            // To a client of gRPC the answer's end is the answer.
            let reset = matches!(refused, Refused::Malformed(_)) && !stamp.grpc;
            let own = answer::of_fault(worker, fault, stamp, head_only);
            return match reset {
                true => tell_and_reset(respond, own).await,
                false => Sending::send(shared, respond, own, Poll::Pending).await,
            };
        }
    };
    drop(parts);
    let mut receive = Some(receive);
    let (body, upload) = match receive.take_if(|_| more && !asked.tunnel) {
        Some(receive) => {
            let upload = Upload::new();
            let source = Source::Http2(StreamBody::new(receive, asked.length));
            let body = ClientBody::new(source, &upload, worker);
            (Outgoing::Client(body), Some(upload))
        }
        None => (Outgoing::Empty, None),
    };
    let Some(answer) = ask(shared, &mut respond, asked, body, upload.as_ref()).await else {
        return End::Reset;
    };
    let mut first = Poll::Pending;
    let own = match answer {
        Answer::Backend { head, mut body, stamp } => {
            let length = body.length();
            first = first_frame(&mut body).await;
            if matches!(first, Poll::Ready(Some(Err(Broken)))) {
                // Nothing has gone out: the client can still be told.
                let fault = body.retract(upload.as_ref().and_then(|upload| upload.fault()));
                first = Poll::Pending;
                answer::of_fault(worker, fault, stamp, head_only)
            } else {
                let response = answer::of_backend(worker, &head, length, stamp);
                worker.buffers.borrow_mut().give_head(head);
                (response, body)
            }
        }
        Answer::Switched { head, tunnel, stamp } => {
            let response = answer::of_switch(worker, &head, stamp);
            // Nobody but who asked for a tunnel is given one, and whoever asked for one has sent no body.
            let (Ok(send), Some(receive)) = (respond.send_response(response, false), receive) else {
                return End::Reset;
            };
            shared.account.earn_frame(0);
            Box::pin(tunnel::run(
                worker,
                Duplex::new(send, receive).earning(&shared.account),
                tunnel,
                client.settings.idle,
            ))
            .await;
            return End::Said;
        }
        Answer::Flags(flags, stamp) => answer::of_flags(worker, flags, stamp, head_only),
        Answer::Redirect(location) => answer::of_redirect(worker, location),
        Answer::Own(fault, stamp) => answer::of_fault(worker, fault, stamp, head_only),
    };
    Sending::send(shared, respond, own, first).await
}

/// Resets the stream of a malformed request (RFC 9113 §8.1.1); says before what is wrong with it, if the client has room
/// for that now. The answer does not end the stream: nothing could be reset behind its end.
async fn tell_and_reset(mut respond: SendResponse<Bytes>, (head, mut body): answer::Own) -> End {
    let Ok(mut send) = respond.send_response(head, false) else {
        return End::Reset;
    };
    if let Poll::Ready(Some(Ok(Frame::Data(text)))) = first_frame(&mut body).await {
        send.reserve_capacity(text.len());
        if send.capacity() >= text.len() {
            // A stream that does not take it any more is met next.
            let _ = send.send_data(text, false);
        }
    }
    // The engine takes both at its next turn, which comes before ours. A reset throws away what it has not taken.
    tokio::task::yield_now().await;
    send.send_reset(Reason::PROTOCOL_ERROR);
    End::Reset
}

/// Has a request handled; `None` when the client has reset it, or left. A panic on the way costs this request only.
async fn ask(
    shared: &Shared,
    respond: &mut SendResponse<Bytes>,
    asked: Asked,
    body: Outgoing,
    upload: Option<&Rc<Upload>>,
) -> Option<Answer> {
    let Shared { worker, client, .. } = shared;
    let mut continue_due = asked.expects_continue;
    let handled = handle(worker, client, Rc::new(asked.head), body, upload.cloned());
    let mut handled = pin!(AssertUnwindSafe(handled).catch_unwind());
    std::future::poll_fn(|cx| {
        // Asked first: of a request that was reset as it came, nothing is dispatched.
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        match handled.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => return Poll::Ready(Some(answer)),
            Poll::Ready(Err(_)) => {
                worker.cells().reject(RejectReason::Panic);
                return Poll::Ready(Some(Answer::Own(Fault::Panic, client.stamp())));
            }
            Poll::Pending => {}
        }
        if continue_due && upload.is_some_and(|upload| upload.is_waiting()) {
            continue_due = false;
            let mut response = http::Response::new(());
            *response.status_mut() = http::StatusCode::CONTINUE;
            // A stream that does not take it any more is met at the next look.
            let _ = respond.send_informational(response);
        }
        Poll::Pending
    })
    .await
}

type NextFrame = Poll<Option<Result<Frame, Broken>>>;

/// What there is of a body already.
async fn first_frame(body: &mut AnswerBody) -> NextFrame {
    if body.is_end() {
        return Poll::Ready(None);
    }
    std::future::poll_fn(|cx| Poll::Ready(body.poll_frame(cx))).await
}

/// An answer whose head is under way.
struct Sending<'s> {
    shared: &'s Shared,
    send: SendStream<Bytes>,
    body: AnswerBody,
    /// Of the body, and not with the engine yet.
    part: Bytes,
    /// What the client's windows hold up, and its place with the clock; from the first time on that they do.
    offer: Option<(usize, Rc<Offer>)>,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some((key, _)) = self.offer {
            self.shared.clock.forget(key);
        }
    }
}

impl<'s> Sending<'s> {
    /// Sends an answer, of whose body `first` has come.
    async fn send(
        shared: &'s Shared,
        mut respond: SendResponse<Bytes>,
        (head, body): answer::Own,
        first: NextFrame,
    ) -> End {
        let over = matches!(first, Poll::Ready(None)) || (first.is_pending() && body.is_end());
        let Ok(send) = respond.send_response(head, over) else {
            return End::Reset;
        };
        shared.account.earn_frame(0);
        if over {
            return End::Said;
        }
        let mut sending = Sending {
            shared,
            send,
            body,
            part: Bytes::new(),
            offer: None,
        };
        if let Poll::Ready(Some(Ok(frame))) = first
            && let Some(end) = sending.take(frame)
        {
            return end;
        }
        std::future::poll_fn(|cx| sending.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            while !self.part.is_empty() {
                // No more is given to the engine than the client has room for.
                self.send.reserve_capacity(self.part.len());
                let room = self.send.capacity();
                if room == 0 {
                    match self.send.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(_) => return Poll::Ready(End::Reset),
                        Poll::Pending => return self.poll_stalled(cx),
                    }
                }
                if let Some((_, offer)) = &self.offer {
                    offer.taken();
                }
                let piece = self.part.split_to(room.min(self.part.len()));
                self.shared.account.earn_frame(piece.len());
                let over = self.part.is_empty() && self.body.is_end();
                match self.send.send_data(piece, over) {
                    Err(_) => return Poll::Ready(End::Reset),
                    Ok(()) if over => return Poll::Ready(End::Said),
                    Ok(()) => {}
                }
            }
            let end = match self.body.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.take(frame),
                Poll::Ready(Some(Err(Broken))) => {
                    self.send.send_reset(Reason::INTERNAL_ERROR);
                    Some(End::Said)
                }
                Poll::Ready(None) => Some(End::of(self.send.send_data(Bytes::new(), true))),
                Poll::Pending => return self.send.poll_reset(cx).map(|_| End::Reset),
            };
            if let Some(end) = end {
                return Poll::Ready(end);
            }
        }
    }

    /// Takes the next frame of the body; the answer may be over with it.
    fn take(&mut self, frame: Frame) -> Option<End> {
        match frame {
            Frame::Data(data) => {
                self.part = data;
                None
            }
            Frame::Trailers(fields) => {
                let trailers = to_trailers(&fields);
                Some(End::of(match trailers.is_empty() {
                    true => self.send.send_data(Bytes::new(), true),
                    false => self.send.send_trailers(trailers),
                }))
            }
        }
    }

    /// The client has no room. Its time is limited, the request's body goes on, and so does the exchange's clock.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let shared = self.shared;
        let (_, offer) = self.offer.get_or_insert_with(|| {
            let offer = Rc::default();
            (shared.clock.watch(Rc::clone(&offer)), offer)
        });
        let late = offer.poll_late(cx, shared.worker.recent_us()).is_ready();
        if late || self.body.poll_upload(cx).is_ready() {
            self.send
                .send_reset(if late { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
            return Poll::Ready(End::Said);
        }
        Poll::Pending
    }
}

impl End {
    fn of(said: Result<(), h2::Error>) -> Self {
        match said {
            Ok(()) => Self::Said,
            Err(_) => Self::Reset,
        }
    }
}

const fn fault_of(refused: Refused) -> Fault {
    match refused {
        Refused::Malformed(detail) | Refused::Bad(detail) => Fault::BadRequest(detail),
        Refused::TooManyFields => Fault::HeadTooLarge,
        Refused::Method => Fault::MethodNotAllowed,
        Refused::Protocol => Fault::Protocol,
        Refused::Expectation => Fault::Expectation,
    }
}

fn speaks_grpc(parts: &http::request::Parts) -> bool {
    let kind = parts.headers.get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| is_grpc(kind.as_bytes()))
}
