//! One exchange on a stream of an HTTP/2 connection to an endpoint.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};

use super::head::{self, Expected};
use super::link::{Link, OpenStream};
use super::upload::Upload;
use crate::head::{Method, ResponseHead};
use crate::proxy::body::{Frame, Length, Outgoing};
use crate::proxy::h1_client::{BodyFault, SendFault};
use crate::proxy::h2_body::StreamBody;
use crate::proxy::h2_io::Duplex;
use crate::proxy::headers::Forwarding;
use crate::proxy::ledger::Late;

/// An exchange whose answer has begun. Dropped before its end, the stream is reset: the endpoint need not go on.
pub(in crate::proxy) struct Exchange {
    parts: Option<Parts>,
    /// The answer is one without content, and its end has been seen.
    is_bare: bool,
}

struct Parts {
    open: OpenStream,
    upload: Upload,
    body: Option<StreamBody>,
    /// After a switch: what the tunnel reads.
    tunnel: Option<RecvStream>,
}

impl Exchange {
    /// Sends a request and waits for the head of its answer, which may come before the whole request has gone out.
    /// `authority` names the host where the client named none; `late` is asked whenever there is nothing to do.
    pub(in crate::proxy) async fn send(
        link: &Rc<Link>,
        forwarding: &Forwarding<'_>,
        authority: &str,
        body: Outgoing,
        mut late: impl FnMut(&Context<'_>) -> Poll<Late>,
    ) -> Result<(ResponseHead, Self), SendFault> {
        let is_whole = matches!(body, Outgoing::Empty) && !forwarding.upgrade;
        let request = match head::request(forwarding, authority, &body, link.terms().is_tls()) {
            Ok(request) => request,
            Err(rule) => return Err(SendFault::Inexpressible(rule)),
        };
        let written = link.written();
        let Some((open, mut response, send)) = link.begin(request, is_whole) else {
            return Err(SendFault::Closed {
                unsent: true,
                body: Some(body),
            });
        };
        let mut upload = Upload::new(send, body, is_whole);
        let came = poll_fn(|cx| {
            // What an open tunnel carries is not for us to end.
            if !forwarding.upgrade && matches!(upload.poll(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Err(SendFault::Upload));
            }
            match Pin::new(&mut response).poll(cx) {
                Poll::Ready(came) => Poll::Ready(came.map_err(|error| closed(&error, link, written, &mut upload))),
                Poll::Pending => late(cx).map(|late| Err(SendFault::Late(late))),
            }
        })
        .await;
        let (parts, stream) = match came {
            Ok(response) => response.into_parts(),
            Err(fault) => {
                upload.reset(Reason::CANCEL);
                return Err(fault);
            }
        };
        link.serves();
        drop::<ResponseFuture>(response);
        let expected = Expected {
            head: *forwarding.head.method() == Method::Head,
            upgrade: forwarding.upgrade,
        };
        let (head, declared) = match head::response(&parts, expected) {
            Ok(read) => read,
            Err(rule) => {
                upload.reset(Reason::PROTOCOL_ERROR);
                return Err(SendFault::Malformed(rule));
            }
        };
        let mut exchange = Self {
            is_bare: false,
            parts: Some(Parts {
                open,
                upload,
                body: None,
                tunnel: None,
            }),
        };
        let parts = exchange.parts.as_mut().expect("it was just made");
        if head.status == 101 {
            parts.tunnel = Some(stream);
            return Ok((head, exchange));
        }
        let mut body = StreamBody::new(stream, declared);
        if expected.head || matches!(head.status, 204 | 304) {
            // Whoever writes such an answer must know that nothing follows: what does is no answer (RFC 9110 §6.4.1).
            let end = poll_fn(|cx| match body.poll_frame(cx) {
                Poll::Ready(None) => Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(Frame::Trailers(_)))) => Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(Frame::Data(_)))) => {
                    Poll::Ready(Err(SendFault::Malformed("there is content in an answer that has none")))
                }
                Poll::Ready(Some(Err(_))) => Poll::Ready(Err(SendFault::Truncated)),
                Poll::Pending => late(cx).map(|late| Err(SendFault::Late(late))),
            });
            end.await?;
            exchange.is_bare = true;
        }
        parts.body = Some(body);
        Ok((head, exchange))
    }

    /// The next part of the answer's body. Goes on with the request where the answer was early.
    pub(in crate::proxy) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        let Some(Parts {
            upload,
            body: Some(body),
            ..
        }) = &mut self.parts
        else {
            return Poll::Ready(None);
        };
        if self.is_bare {
            return Poll::Ready(None);
        }
        let upload_broke = matches!(upload.poll(cx), Poll::Ready(Err(_)));
        if upload_broke {
            return Poll::Ready(Some(Err(BodyFault::Upload)));
        }
        let frame = ready!(body.poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|_| match body.reset() {
                // Said by the engine itself: the endpoint would not blame its own answer.
                Some(Reason::PROTOCOL_ERROR | Reason::FLOW_CONTROL_ERROR) => {
                    BodyFault::Malformed("its frames break the rules of HTTP/2, or its length was not as declared")
                }
                _ => BodyFault::Endpoint,
            })
        }))
    }

    /// Goes on with the request while nobody takes the answer. What goes wrong is told with the next part.
    pub(in crate::proxy) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Some(parts) = &mut self.parts {
            let _ = parts.upload.poll(cx); // told again
        }
    }

    /// Whether the answer's body is over.
    pub(in crate::proxy) fn is_end(&self) -> bool {
        let body = self.parts.as_ref().and_then(|parts| parts.body.as_ref());
        self.is_bare || body.is_none_or(StreamBody::is_end)
    }

    /// What is still to come of it.
    pub(in crate::proxy) fn length(&self) -> Length {
        let body = self.parts.as_ref().and_then(|parts| parts.body.as_ref());
        match body {
            Some(body) if !self.is_end() => body.length(),
            _ => Length::Empty,
        }
    }

    /// After a switch: the stream as bytes, and what counts it.
    pub(in crate::proxy) fn into_tunnel(mut self) -> Option<(Duplex, OpenStream)> {
        let parts = self.parts.take()?;
        Some((Duplex::new(parts.upload.into_stream(), parts.tunnel?), parts.open))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let is_end = self.is_end();
        if let Some(parts) = &mut self.parts
            && !(is_end && parts.upload.is_complete())
        {
            parts.upload.reset(Reason::CANCEL);
        }
    }
}

/// What the end of a stream before its head says. What the endpoint has certainly not worked on may be sent again
/// (RFC 9113 §8.7).
fn closed(error: &h2::Error, link: &Link, written: u64, upload: &mut Upload) -> SendFault {
    let refused = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    let beyond = error.is_go_away() && error.is_remote();
    if error.is_library() {
        return SendFault::Malformed("its frames break the rules of HTTP/2");
    }
    let ended = !error.is_reset();
    if ended {
        link.retire();
    }
    let unsent = refused || beyond || link.written() == written;
    SendFault::Closed {
        unsent,
        // Whoever resets a stream has seen its request: that is an answer, not an accident of the connection.
        body: upload.take_back().filter(|_| unsent || ended),
    }
}
