//! The admin listener: what people and programs ask of a running Serin, over HTTP. On top of
//! control, which decides; here stand only paths, shapes and what keeps strangers away.

mod api;
mod audit;
mod body;
mod caller;
mod events;
mod flags;
mod guard;
mod handlers;
mod instant;
mod problem;
mod process;
mod prometheus;
mod seats;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use axum::{BoxError, Router, middleware};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;

#[doc(hidden)]
pub use self::body::read_as;
use self::caller::Refusals;
pub(crate) use self::instant::rfc3339;
use self::problem::{Kind, Problem};
use self::seats::{Answering, Seat, Seats, Stays};
use crate::control::{Asked, Entry, Handle};
use crate::live::Live;
use crate::measure::{Pressure, ProxyCells};
use crate::name::Name;
use crate::ofrep;
use crate::people::Tokens;
use crate::tls::ListenerTls;

/// Bytes of a request's body. A configuration of 10,000 routes is larger, and is checked with
/// `serin check`.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Connections at once: people, scrapers and readers of events. When there is one more, a quiet one is closed. More
/// than requests and readers of events together, so that there always is a quiet one.
const CONNECTIONS_MAX: usize = 256;

/// Requests at once; they all wait for the one control task.
const REQUESTS_MAX: usize = 64;

/// Pages of metrics at once. They need no token, so that they must not take the room of requests that do.
const METRICS_MAX: usize = 8;

/// Questions of applications for flags at once. They are many, and must not take the room of people.
const QUESTIONS_MAX: usize = 64;

/// For the answer's head, the request's body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Fields of a request: browsers send some thirty, and proxies in front add theirs.
const HEADERS_MAX: usize = 64;

/// Bytes of a request's head, and of what is read at once.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// For a request's head, and how long a connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is said that nothing can be accepted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How long exchanges may go on after the shutdown.
const LINGER: Duration = Duration::from_secs(1);

/// Checks the text of a configuration file. Pure; it may take long for a large one.
pub type Check = Arc<dyn Fn(&str) -> Result<(), Vec<Entry>> + Send + Sync>;

/// What the admin side shows beside control's answers.
#[derive(Clone)]
pub struct AdminContext {
    /// A table is live and the listeners accept; false again while draining.
    pub ready: Arc<AtomicBool>,
    /// Whether there is room for more.
    pub pressure: Arc<Pressure>,
    /// The counters of each worker.
    pub cells: Arc<[ProxyCells]>,
    /// Names of the listeners, by their index in the cells.
    pub listeners: Arc<[Name]>,
    /// What applications ask flags of.
    pub live: Arc<Live>,
    /// Whether new connections are taken.
    pub doors: watch::Receiver<Doors>,
    /// For `POST /v1/config/check`.
    pub check: Check,
    /// Who may come in; `None`: whoever reaches the address.
    pub tokens: watch::Receiver<Option<Arc<Tokens>>>,
    /// What is spoken here.
    pub tls: watch::Receiver<ListenerTls>,
}

impl fmt::Debug for AdminContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminContext")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// Whether the admin side takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doors {
    /// It does.
    Open,
    /// They wait in the socket's queue: another process may be about to serve them.
    Shut,
    /// Another process serves them. What is open here ends.
    HandedOver,
}

/// What handlers share.
struct Admin {
    handle: Handle,
    context: AdminContext,
    /// Where we are bound.
    address: SocketAddr,
    /// Bounds the readers of events.
    readers: Arc<Semaphore>,
    /// Those who were turned away.
    refusals: Refusals,
    /// Becomes true at the end.
    shutdown: watch::Receiver<bool>,
}

impl Admin {
    /// Puts one question to control.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Result<T, Problem> {
        self.handle
            .ask(question)
            .await
            .ok_or_else(|| Problem::new(Kind::Unavailable, "control has ended; the process is ending"))
    }
}

/// Serves the admin API on `socket` (non-blocking, listening) until `shutdown` is over, then ends
/// within a second. Spawns a task for each connection on the present runtime.
///
/// # Errors
/// When `socket` is no listening socket; never by a client's doing.
pub async fn serve(
    socket: std::net::TcpListener,
    handle: Handle,
    context: AdminContext,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let mut doors = context.doors.clone();
    let (over, ending) = watch::channel(false);
    let tls = context.tls.clone();
    let app = router(handle, context, listener.local_addr()?, ending.clone());
    let seats = Seats::new(CONNECTIONS_MAX);
    let mut warned: Option<Instant> = None;
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &seats, &mut doors) => accepted,
            () = shutdown.as_mut() => break,
        };
        match accepted {
            Ok((stream, seat)) => {
                let tls = tls.borrow().clone();
                tokio::spawn(serve_connection(stream, tls, seat, app.clone(), ending.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most often: some are free again in a moment.
                if warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "the admin listener cannot accept; trying again ten times a second");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    over.send_replace(true);
    let all = u32::try_from(CONNECTIONS_MAX).expect("a small number");
    let _ = tokio::time::timeout(LINGER, seats.all_gone(all)).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    seats: &Arc<Seats>,
    doors: &mut watch::Receiver<Doors>,
) -> io::Result<(TcpStream, Arc<Seat>)> {
    loop {
        // Without anybody to shut them they stay as they are.
        let _ = doors.wait_for(|doors| *doors == Doors::Open).await;
        tokio::select! {
            accepted = listener.accept() => return Ok((accepted?.0, seats.take().await)),
            Ok(()) = doors.changed() => {}
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: ListenerTls,
    seat: Arc<Seat>,
    app: Router,
    shutdown: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let server = match tls {
        ListenerTls::Clear => return converse(stream, seat, app, shutdown).await,
        ListenerTls::Unread => return,
        ListenerTls::Ready(server) => server,
    };
    let shaking = TlsAcceptor::from(Arc::clone(server.config())).accept(stream);
    tokio::select! {
        biased;
        () = seat.evicted() => {}
        shaken = tokio::time::timeout(HEAD_TIMEOUT, shaking) => match shaken {
            Ok(Ok(stream)) => converse(stream, seat, app, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake of the admin API failed"),
            Err(_) => tracing::debug!("a TLS handshake of the admin API took too long"),
        },
    }
}

/// Answers what is asked on one connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seat: Arc<Seat>,
    app: Router,
    mut shutdown: watch::Receiver<bool>,
) {
    let place = Arc::clone(&seat);
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (app, seat) = (app.clone(), Arc::clone(&place));
        async move {
            let Some(busy) = seat.begin() else {
                // What could not be answered any more must not be done: the connection ends right here.
                return std::future::pending().await;
            };
            let answer = app.oneshot(request).await?;
            let stays = answer.extensions().get::<Stays>().is_some();
            Ok::<_, Infallible>(answer.map(|body| Answering::new(body, stays.then_some(busy))))
        }
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    // An error here is the client's: it left, or sent what is no HTTP.
    tokio::select! {
        biased;
        () = seat.evicted() => return,
        _ = connection.as_mut() => return,
        _ = shutdown.wait_for(|over| *over) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(LINGER, connection).await;
}

/// All paths, in tower's coat.
fn router(handle: Handle, context: AdminContext, address: SocketAddr, shutdown: watch::Receiver<bool>) -> Router {
    let admin = Arc::new(Admin {
        handle,
        context,
        address,
        readers: Arc::new(Semaphore::new(events::READERS_MAX)),
        refusals: Refusals::default(),
        shutdown,
    });
    let guard = middleware::from_fn_with_state(Arc::clone(&admin), guard::guard);
    // Outside of the limits: whoever watches the process must not take a busy one for a dead one.
    let probes = Router::new()
        .route("/livez", get(handlers::livez))
        .route("/readyz", get(handlers::readyz))
        .method_not_allowed_fallback(handlers::wrong_method)
        .layer(guard.clone());
    let metrics = Router::new()
        .route("/metrics", get(handlers::metrics))
        .method_not_allowed_fallback(handlers::wrong_method)
        .layer(guard.clone());
    let questions = Router::new()
        .route("/ofrep/{*rest}", any(flags::ofrep))
        .layer(DefaultBodyLimit::max(ofrep::BODY_BYTES_MAX))
        .layer(guard.clone());
    let rest = Router::new()
        .route("/v1/status", get(handlers::status))
        .route("/v1/config", get(handlers::config))
        .route("/v1/config/check", post(handlers::check_config))
        .route("/v1/config/reload", post(handlers::reload))
        .route("/v1/routes", get(handlers::routes))
        .route("/v1/routes/{route}", get(handlers::route))
        .route("/v1/routes/{route}/weights", put(handlers::set_weights))
        .route("/v1/backends", get(handlers::backends))
        .route("/v1/backends/{backend}", get(handlers::backend))
        .route("/v1/rollouts", get(handlers::rollouts))
        .route("/v1/rollouts/{rollout}", get(handlers::rollout))
        .route("/v1/rollouts/{rollout}/verdict", get(handlers::verdict))
        .route("/v1/rollouts/{rollout}/approve", post(handlers::approve))
        .route("/v1/rollouts/{rollout}/{verb}", post(handlers::command))
        .route(
            "/v1/freeze",
            get(handlers::freeze_shown)
                .post(handlers::freeze)
                .delete(handlers::unfreeze),
        )
        .route("/v1/events", get(events::events))
        .route("/v1/audit", get(audit::audit))
        .route("/v1/flags", get(flags::flags))
        .route("/v1/flags/{key}", get(flags::flag))
        .route("/v1/flags/{key}/evaluate", get(flags::evaluate))
        .route("/v1/flags/{key}/enable", post(flags::enable))
        .route("/v1/flags/{key}/disable", post(flags::disable))
        .route("/v1/flags/{key}/weights", put(flags::set_weights))
        .fallback(handlers::no_such_path)
        .method_not_allowed_fallback(handlers::wrong_method)
        .layer(guard);
    coat(rest, REQUESTS_MAX)
        .merge(coat(metrics, METRICS_MAX))
        .merge(coat(questions, QUESTIONS_MAX))
        .merge(probes)
        .with_state(admin)
}

/// Keeps what a router does within limits, with so many requests at once.
fn coat(router: Router<Arc<Admin>>, requests: usize) -> Router<Arc<Admin>> {
    router.layer(
        ServiceBuilder::new()
            .layer(CatchPanicLayer::custom(|_| {
                Problem::new(Kind::Internal, "a fault of ours; the log says more").into_response()
            }))
            .layer(HandleErrorLayer::new(move |error| refused_by_coat(error, requests)))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(requests))
            .layer(TimeoutLayer::new(REQUEST_TIMEOUT))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
    )
}

/// What the limits of the coat answer.
async fn refused_by_coat(error: BoxError, requests: usize) -> Response {
    let detail = if error.is::<tower::timeout::error::Elapsed>() {
        format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())
    } else {
        format!("{requests} requests are open already")
    };
    Problem::new(Kind::Unavailable, detail).into_response()
}
