//! `GET /v1/events`: every change and verdict as server-sent events, resumable by their ids.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Admin;
use super::api;
use super::caller::Caller;
use super::problem::{Kind, Problem};
use super::seats::Stays;
use crate::control::{Asked, Entry, EventRecord};
use crate::people::Tokens;

/// Readers of the stream at once, well below the connections that we take, so that a command
/// always finds a way in.
pub(super) const READERS_MAX: usize = 64;

/// Proxies and clients give up on a silent stream after some half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn events(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event_id(&headers)?;
    let permit = Arc::clone(&admin.readers)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Kind::Unavailable, format!("{READERS_MAX} readers of events already")))?;
    let (past, live) = admin.ask(|reply| Asked::Events(after, reply)).await?;
    let stream = Feed {
        past: past.into(),
        live,
        last_id: after.unwrap_or(0),
        shutdown: admin.shutdown.clone(),
        caller,
        tokens: admin.context.tokens.clone(),
        _permit: permit,
    };
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE);
    let mut answer = sse::Sse::new(stream.run()).keep_alive(keep_alive).into_response();
    answer.extensions_mut().insert(Stays);
    Ok(answer)
}

/// Events still kept from this id on are sent first. Left out: only what happens from now on.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = id.to_str().ok().and_then(|text| text.trim().parse().ok());
    id.map(Some).ok_or_else(|| {
        Problem::invalid(vec![Entry {
            place: String::new(),
            path: "Last-Event-ID".to_owned(),
            message: "must be the number of an event".to_owned(),
        }])
    })
}

/// One reader's stream.
struct Feed {
    past: VecDeque<EventRecord>,
    live: broadcast::Receiver<EventRecord>,
    /// No event is sent twice, also one that is both past and live.
    last_id: u64,
    shutdown: watch::Receiver<bool>,
    caller: Caller,
    tokens: watch::Receiver<Option<Arc<Tokens>>>,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// Ends at the shutdown, for a reader whose token was taken away, and for one that fell behind: it
    /// comes back with its last id.
    fn run(self) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static {
        stream::unfold(self, |mut feed| async move {
            let record = feed.next().await?;
            let data = serde_json::to_string(&api::Event::from(&record)).expect("an event is JSON");
            let event = sse::Event::default()
                .id(record.id.to_string())
                .event(record.kind)
                .data(data);
            Some((Ok(event), feed))
        })
    }

    async fn next(&mut self) -> Option<EventRecord> {
        loop {
            let record = match self.past.pop_front() {
                Some(record) => record,
                None => tokio::select! {
                    record = self.live.recv() => match record {
                        Ok(record) => record,
                        Err(RecvError::Closed | RecvError::Lagged(_)) => return None,
                    },
                    _ = self.shutdown.wait_for(|over| *over) => return None,
                    // An error here is the end of control, and of everything.
                    _ = self.tokens.wait_for(|tokens| !self.caller.is_among(tokens.as_deref())) => return None,
                },
            };
            if record.id > self.last_id {
                self.last_id = record.id;
                return Some(record);
            }
        }
    }
}
