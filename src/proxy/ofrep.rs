//! What applications ask of flags on a listener that says `ofrep: true`: the worker answers by itself, from the
//! table that places requests. It reads the body, within limits; [`crate::ofrep`] decides the rest.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::body::{ClientBody, Frame, Length, Outgoing, Upload};
use super::fault::Fault;
use super::handle::Client;
use super::worker::Worker;
use crate::head::{Method, RequestHead};
use crate::measure::CodeClass;
use crate::ofrep::{self, BODY_BYTES_MAX, Call};

/// Bodies that one worker may be gathering at once: 64 MiB together. Those that come with their head do not count.
const GATHERED_MAX: usize = 1024;

/// A body of a few KiB takes no longer on its way.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// Where applications ask; a flag's key follows behind a slash.
const FLAGS: &str = "/ofrep/v1/evaluate/flags";

/// Whether a request for `path` is answered here and not by a route.
pub(super) fn is_call(path: &str) -> bool {
    let rest = path.strip_prefix(FLAGS);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a call. Also what is refused is counted.
///
/// # Errors
/// What the client has done to its body, or that there are too many of them.
pub(super) async fn serve(
    worker: &Worker,
    client: &Client,
    head: &RequestHead,
    body: Outgoing,
    upload: Option<Rc<Upload>>,
) -> Result<ofrep::Answer, Fault> {
    let is_post = *head.method() == Method::Post;
    let gathered = match body {
        // Nobody reads what will not be looked at.
        _ if !is_post => Ok(Some(Bytes::new())),
        Outgoing::Empty => Ok(Some(Bytes::new())),
        Outgoing::Whole(body) => Ok(Some(body)),
        Outgoing::Client(body) => match Gathering::begin(worker) {
            Some(gathering) => gathering.gather(body, client, upload.as_deref()).await,
            None => Err(Fault::Exhausted),
        },
    };
    let answer = gathered.map(|body| match body {
        Some(body) => {
            let call = Call {
                path: head.path(),
                is_post,
                if_none_match: head.fields().get("if-none-match"),
                body: &body,
            };
            let (draw, now_s) = (worker.draw(), worker.unix_s(worker.recent_us()));
            worker.with_table(|table| ofrep::answer(table, &call, draw, now_s))
        }
        None => ofrep::too_large(),
    });
    let status = answer
        .as_ref()
        .map_or_else(|fault| fault.status(), |answer| answer.status);
    worker.cells().asked_for_flags(CodeClass::of(status));
    answer
}

/// One body that is on its way, among those that its worker gathers.
struct Gathering<'w>(&'w Cell<usize>);

impl<'w> Gathering<'w> {
    /// `None`: there are too many.
    fn begin(worker: &'w Worker) -> Option<Self> {
        let gathering = &worker.gathering;
        let begun = gathering.get() + 1;
        (begun <= GATHERED_MAX).then(|| {
            gathering.set(begun);
            Self(gathering)
        })
    }

    /// The whole body; `None`: it is too large, and the rest of it is not read.
    async fn gather(
        self,
        mut body: ClientBody,
        client: &Client,
        upload: Option<&Upload>,
    ) -> Result<Option<Bytes>, Fault> {
        if matches!(body.length(), Length::Known(n) if n > BODY_BYTES_MAX as u64) {
            return Ok(None);
        }
        let mut whole = BytesMut::new();
        // For the whole of it: who sends a byte now and then must not keep its place from others.
        let end = Instant::now() + client.settings.body.min(BODY_TIME_MAX);
        loop {
            let next = poll_fn(|cx| body.poll_frame(cx));
            match timeout_at(end, next).await {
                Err(_) => return Err(Fault::ClientBodyTimeout),
                Ok(None | Some(Ok(Frame::Trailers(_)))) => return Ok(Some(whole.freeze())),
                Ok(Some(Ok(Frame::Data(data)))) if whole.len() + data.len() > BODY_BYTES_MAX => return Ok(None),
                Ok(Some(Ok(Frame::Data(data)))) => whole.extend_from_slice(&data),
                Ok(Some(Err(_))) => {
                    let fault = upload.and_then(Upload::fault);
                    return Err(fault.unwrap_or(Fault::ClientBody));
                }
            }
        }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::is_call;

    #[test]
    fn only_calls_for_flags_are_kept_from_the_routes() {
        let check = |path, expected| assert_eq!(is_call(path), expected, "{path}");
        check("/ofrep/v1/evaluate/flags", true);
        check("/ofrep/v1/evaluate/flags/", true);
        check("/ofrep/v1/evaluate/flags/checkout", true);
        check("/ofrep/v1/evaluate/flagship", false);
        check("/ofrep/v1/configuration", false);
        check("/x/ofrep/v1/evaluate/flags", false);
        check("/", false);
    }
}
