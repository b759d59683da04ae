//! One HTTP/1.1 call and its answer, bounded in time and size.
//!
//! Each call has a connection of its own: calls are minutes apart, and a connection that nobody else uses
//! ends with its call. There are no redirects, no cookies, no proxies.

use std::cell::Cell;
use std::future::pending;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::backoff::retry_after;
use super::connect::{self, Trust};

/// So much of an answer's body is kept, unless a client is told otherwise.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// So much of an answer's head is read.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Makes calls. Futures of one client may run side by side.
#[derive(Debug)]
pub struct Client {
    trust: Trust,
    body_bytes_max: usize,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

/// What is asked of whom.
#[derive(Clone)]
pub struct Call<'c> {
    /// Upper case.
    pub method: &'c str,
    /// `http://` or `https://`; may be secret.
    pub url: &'c str,
    /// `host` and `user-agent` among them stand instead of our own.
    pub headers: Vec<(&'c str, &'c str)>,
    /// Empty for none.
    pub body: Bytes,
    /// For all of it: name, connection, request, head and body.
    pub timeout: Duration,
    /// What becomes of a body that is longer than the client keeps.
    pub rest: Rest,
}

/// What becomes of the rest of a long body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is not read: the connection is closed.
    Cut,
    /// It is read until its end and dropped.
    Read,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200 to 999; interim answers are no answers.
    pub status: u16,
    /// As sent.
    pub headers: HeaderMap,
    /// The beginning of the body, at most [`BODY_BYTES_MAX`] bytes or what the client keeps.
    pub body: Bytes,
    /// How the body ended.
    pub end: End,
    /// From the request, on a connection that stood, to the end of the answer.
    pub took: Duration,
    /// What `retry-after` asked for, within bounds.
    pub retry_after: Option<Duration>,
}

/// How the body of an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is whole, though perhaps only its beginning was kept.
    Whole,
    /// It was too long, and cut.
    Cut,
    /// It was not over in time.
    Late,
    /// It broke off; how.
    Broken(String),
}

/// Why there is no answer. No message shows a path or a query: they may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum CallError {
    #[error("the address is no URL: {0}")]
    Url(&'static str),
    #[error("the request header {0} cannot be sent: {1}")]
    Header(String, &'static str),
    #[error("the name {0} cannot be resolved: {1}")]
    Resolve(String, String),
    #[error("no connection to {0}: {1}")]
    Connect(String, String),
    #[error("no TLS with {0}: {1}")]
    Tls(String, String),
    #[error("{0}")]
    Trust(String),
    #[error("{0}")]
    Exchange(String),
    #[error("{stage} within {} ms", .limit.as_millis())]
    Late { stage: &'static str, limit: Duration },
}

/// Whom a URL names.
struct Place {
    secure: bool,
    /// Without brackets.
    host: String,
    port: u16,
    /// For `host` in the request.
    authority: HeaderValue,
    /// Path and query.
    target: Uri,
}

impl Client {
    /// A client that believes the certificates that the system trusts; they are read at the first `https` call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client that believes the certificates that `roots` vouch for.
    #[must_use]
    pub fn trusting(roots: RootCertStore) -> Self {
        Self {
            trust: Trust::of(roots),
            ..Self::default()
        }
    }

    /// This client, but it keeps so much of an answer's body.
    #[must_use]
    pub fn keeping(self, body_bytes_max: usize) -> Self {
        Self { body_bytes_max, ..self }
    }

    /// Makes one call. An answer whose head came is an answer, even if its body breaks off or comes late;
    /// see [`Answer::end`].
    ///
    /// # Errors
    /// [`CallError`], when there is no head.
    pub async fn call(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let place = Place::of(call.url)?;
        let request = place.request(call)?;
        let deadline = Instant::now() + call.timeout;
        let stage = Cell::new("no connection");
        let body = (call.rest, self.body_bytes_max);
        let exchange = async {
            let stream = connect::tcp(&place.host, place.port, deadline).await?;
            if place.secure {
                stage.set("no TLS");
                let stream = connect::tls(&self.trust, &place.host, stream).await?;
                converse(stream, request, body, deadline, &stage).await
            } else {
                converse(stream, request, body, deadline, &stage).await
            }
        };
        let late = |_| CallError::Late {
            stage: stage.get(),
            limit: call.timeout,
        };
        timeout_at(deadline, exchange).await.map_err(late)?
    }
}

/// Sends `request` on `stream` and reads its answer.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    (rest, bytes_max): (Rest, usize),
    deadline: Instant,
    stage: &Cell<&'static str>,
) -> Result<Answer, CallError> {
    stage.set("no answer");
    let began = Instant::now();
    let failed = |error: hyper::Error| CallError::Exchange(why(&error));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // The connection is driven here and by nobody else, so that it ends with this future. That it has ended
    // is no news: whoever waits for an answer is told.
    let drive = async {
        let _ = connection.await;
        pending::<()>().await;
    };
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let (body, end) = read(body, (rest, bytes_max), deadline).await;
        let asked = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: asked.and_then(|value| retry_after(value, SystemTime::now())),
            headers: head.headers,
            body,
            end,
            took: began.elapsed(),
        })
    };
    tokio::select! {
        answer = exchange => answer,
        () = drive => unreachable!("it never ends"),
    }
}

/// Reads a body, and keeps its beginning.
async fn read(mut body: Incoming, (rest, bytes_max): (Rest, usize), deadline: Instant) -> (Bytes, End) {
    let mut kept = Vec::new();
    let end = loop {
        if body.is_end_stream() {
            break End::Whole;
        }
        match timeout_at(deadline, body.frame()).await {
            Err(_) => break End::Late,
            Ok(None) => break End::Whole,
            Ok(Some(Err(error))) => break End::Broken(why(&error)),
            Ok(Some(Ok(frame))) => {
                let Some(data) = frame.data_ref() else { continue };
                let room = bytes_max - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room && rest == Rest::Cut {
                    break End::Cut;
                }
            }
        }
    };
    (kept.into(), end)
}

/// The chain of causes on one line.
fn why(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

impl Place {
    fn of(url: &str) -> Result<Self, CallError> {
        let uri: Uri = url
            .parse()
            .map_err(|_| CallError::Url("write http://HOST/PATH or https://HOST/PATH"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(CallError::Url("it begins with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or(CallError::Url("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(CallError::Url(
                "it has a user in it; put an `authorization` header beside it",
            ));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(CallError::Url("it names no host"));
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            secure,
            host,
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| CallError::Url("its host is no name"))?,
            target: target.parse().map_err(|_| CallError::Url("its path cannot be sent"))?,
        })
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() =
            Method::from_bytes(call.method.as_bytes()).map_err(|_| CallError::Url("its method is no word"))?;
        *request.uri_mut() = self.target.clone();
        let headers = request.headers_mut();
        for &(name, value) in &call.headers {
            let bad = |why| CallError::Header(super::excerpt(name.as_bytes()), why);
            let name = HeaderName::try_from(name).map_err(|_| bad("it is no name of a field"))?;
            let value = HeaderValue::try_from(value).map_err(|_| bad("its value has control characters"))?;
            headers.append(name, value);
        }
        headers.entry(HOST).or_insert_with(|| self.authority.clone());
        let ours = || HeaderValue::from_static(super::USER_AGENT);
        headers.entry(USER_AGENT).or_insert_with(ours);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }
}

impl std::fmt::Debug for Call<'_> {
    /// Without what may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
