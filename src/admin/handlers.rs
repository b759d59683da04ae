//! One function for each endpoint: asks control, decides nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::Present;
use super::body::Takes;
use super::caller::Caller;
use super::problem::{Kind, Problem};
use super::prometheus::{CONTENT_TYPE, Scrape};
use super::{Admin, api, body};
use crate::control::{Asked, Entry, RolloutView, RouteView, SetWeights};
use crate::measure::Room;
use crate::name::Name;
use crate::people::Right;
use crate::rollout::Verb;

/// Names in the path. What is no UTF-8 names nothing here.
pub(super) struct Segment<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segment<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(names) = Path::from_request_parts(parts, state).await?;
        Ok(Self(names))
    }
}

pub(super) type Shared = State<Arc<Admin>>;
pub(super) type Answer = Result<Response, Problem>;
pub(super) type Body = Result<Bytes, BytesRejection>;

pub(super) async fn livez() -> &'static str {
    "alive\n"
}

pub(super) async fn readyz(State(admin): Shared) -> Answer {
    if admin.context.ready.load(Ordering::Acquire) {
        Ok("ready\n".into_response())
    } else {
        Err(Problem::new(Kind::Unavailable, "not ready: starting or draining"))
    }
}

pub(super) async fn metrics(State(admin): Shared) -> Answer {
    let scrape = Scrape {
        view: admin.ask(Asked::Metrics).await?,
        cells: Arc::clone(&admin.context.cells),
        listeners: Arc::clone(&admin.context.listeners),
        refused: admin.refusals.counts(),
        overloaded: admin.context.pressure.room() != Room::Ample,
    };
    let page = aside(|| scrape.render())
        .await?
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response())
}

pub(super) async fn status(State(admin): Shared) -> Answer {
    let view = admin.ask(Asked::Status).await?;
    let ready = admin.context.ready.load(Ordering::Acquire);
    let overloaded = admin.context.pressure.room() != Room::Ample;
    let version = env!("CARGO_PKG_VERSION");
    Ok(json(&api::Status::new(&view, version, ready, overloaded)))
}

pub(super) async fn config(State(admin): Shared) -> Answer {
    let text = admin.ask(Asked::Config).await?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

pub(super) async fn check_config(State(admin): Shared, body: Body) -> Answer {
    let text = String::from_utf8(body?.to_vec()).map_err(|_| Problem::new(Kind::Malformed, "the file is not UTF-8"))?;
    let check = Arc::clone(&admin.context.check);
    match aside(move || check(&text)).await? {
        Ok(()) => Ok(json(&api::Ok { ok: true })),
        Err(problems) => Err(Problem::invalid_configuration(problems, "see `errors`")),
    }
}

pub(super) async fn reload(State(admin): Shared, caller: Caller, body: Body) -> Answer {
    admin.allow(&caller, Right::Direct)?;
    body::nothing(&body?)?;
    let by = caller.by();
    let view = admin.ask(|reply| Asked::Reload { by, reply }).await?;
    if view.ok {
        Ok(json(&api::Reload::from(&view)))
    } else {
        let detail = "see `errors`; nothing was changed";
        Err(Problem::invalid_configuration(view.problems, detail))
    }
}

pub(super) async fn routes(State(admin): Shared) -> Answer {
    let views = admin.ask(Asked::Routes).await?;
    Ok(json(&api::Routes {
        routes: views.iter().map(api::Route::from).collect(),
    }))
}

pub(super) async fn route(State(admin): Shared, Segment(name): Segment<String>) -> Answer {
    Ok(route_answer(&find_route(&admin, &name).await?))
}

pub(super) async fn set_weights(
    State(admin): Shared,
    caller: Caller,
    Segment(name): Segment<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    admin.allow(&caller, Right::Direct)?;
    let question = match weights_wanted(&name, &caller, query.as_deref(), &headers, body) {
        Ok(question) => question,
        Err(problem) => {
            // A route that does not exist is said first, whatever else is wrong.
            find_route(&admin, &name).await?;
            return Err(problem);
        }
    };
    let view = admin.ask(|reply| Asked::SetWeights(question, reply)).await??;
    Ok(route_answer(&view))
}

/// Weights of the route or flag `name`, as they were put.
pub(super) fn weights_wanted(
    name: &str,
    caller: &Caller,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<SetWeights, Problem> {
    let dry_run = dry_run(query);
    let body = body::Weights::read(&body?)?;
    Ok(SetWeights {
        route: name.to_owned(),
        weights: body.weights,
        reason: body.reason,
        by: caller.by(),
        if_match: if_match(headers),
        dry_run: dry_run?,
    })
}

pub(super) async fn backends(State(admin): Shared) -> Answer {
    let views = admin.ask(Asked::Backends).await?;
    Ok(json(&api::Backends {
        backends: views.iter().map(api::Backend::from).collect(),
    }))
}

pub(super) async fn backend(State(admin): Shared, Segment(name): Segment<String>) -> Answer {
    let views = admin.ask(Asked::Backends).await?;
    let view = find(&views, &name, "backend", |view| &view.name)?;
    Ok(json(&api::Backend::from(view)))
}

pub(super) async fn rollouts(State(admin): Shared) -> Answer {
    let present = present(&admin).await?;
    let views = admin.ask(Asked::Rollouts).await?;
    Ok(json(&api::Rollouts {
        rollouts: views.iter().map(|view| api::Rollout::brief(view, present)).collect(),
    }))
}

pub(super) async fn rollout(State(admin): Shared, Segment(name): Segment<String>) -> Answer {
    let present = present(&admin).await?;
    Ok(rollout_answer(&find_rollout(&admin, &name).await?, present))
}

pub(super) async fn verdict(State(admin): Shared, Segment(name): Segment<String>) -> Answer {
    let view = find_rollout(&admin, &name).await?;
    let route = admin.ask(|reply| Asked::Route(view.route.to_string(), reply)).await?;
    let mut variants = route.iter().flat_map(|route| &route.variants);
    let canary = variants.find(|variant| variant.name == view.to);
    Ok(json(&api::VerdictBody::new(&view, canary)))
}

pub(super) async fn command(
    State(admin): Shared,
    caller: Caller,
    Segment((name, word)): Segment<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let right = if word == "abort" { Right::Abort } else { Right::Direct };
    admin.allow(&caller, right)?;
    let read = match (verb(&word), body) {
        (Err(problem), _) => Err(problem),
        (_, Err(rejection)) => Err(rejection.into()),
        (Ok(verb), Ok(bytes)) => body::Command::read(&bytes, takes(verb)).map(|body| (verb, body)),
    };
    let (verb, body) = match read {
        Ok(read) => read,
        Err(problem) => {
            find_rollout(&admin, &name).await?;
            return Err(problem);
        }
    };
    let verb = match verb {
        Verb::Promote { .. } => Verb::Promote { full: body.full },
        verb @ (Verb::Start | Verb::Abort | Verb::Pause | Verb::Resume | Verb::Retry | Verb::Rollback) => verb,
    };
    let view = admin
        .ask(|reply| Asked::Command {
            rollout: name,
            verb,
            order: body.order,
            if_match: if_match(&headers),
            reason: body.reason,
            by: caller.by(),
            reply,
        })
        .await??;
    Ok(rollout_answer(&view, present(&admin).await?))
}

pub(super) async fn approve(
    State(admin): Shared,
    caller: Caller,
    Segment(name): Segment<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    admin.allow(&caller, Right::Approve)?;
    let read = match body {
        Ok(bytes) => body::Command::read(&bytes, Takes::Reason),
        Err(rejection) => Err(rejection.into()),
    };
    let body = match read {
        Ok(body) => body,
        Err(problem) => {
            find_rollout(&admin, &name).await?;
            return Err(problem);
        }
    };
    let view = admin
        .ask(|reply| Asked::Approve {
            rollout: name,
            by: caller.by(),
            roles: caller.roles(),
            reason: body.reason,
            if_match: if_match(&headers),
            reply,
        })
        .await??;
    Ok(rollout_answer(&view, present(&admin).await?))
}

pub(super) async fn freeze_shown(State(admin): Shared) -> Answer {
    let status = admin.ask(Asked::Status).await?;
    Ok(json(&api::Freeze::from(status.frozen.as_ref())))
}

pub(super) async fn freeze(State(admin): Shared, caller: Caller, body: Body) -> Answer {
    set_frozen(&admin, &caller, &body?, true).await
}

pub(super) async fn unfreeze(State(admin): Shared, caller: Caller, body: Body) -> Answer {
    set_frozen(&admin, &caller, &body?, false).await
}

async fn set_frozen(admin: &Admin, caller: &Caller, body: &[u8], frozen: bool) -> Answer {
    admin.allow(caller, Right::Freeze)?;
    let body = body::Command::read(body, Takes::Reason)?;
    let view = admin
        .ask(|reply| Asked::Freeze {
            frozen,
            reason: body.reason,
            by: caller.by(),
            reply,
        })
        .await??;
    Ok(json(&api::Freeze::from(view.as_ref())))
}

pub(super) async fn no_such_path() -> Problem {
    Problem::new(Kind::NotFound, "no such path; GET /v1/status is a good place to begin")
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "this path takes the methods in `Allow`")
}

/// The verb that a path names.
fn verb(word: &str) -> Result<Verb, Problem> {
    match word {
        "start" => Ok(Verb::Start),
        "promote" => Ok(Verb::Promote { full: false }),
        "abort" => Ok(Verb::Abort),
        "pause" => Ok(Verb::Pause),
        "resume" => Ok(Verb::Resume),
        "retry" => Ok(Verb::Retry),
        "rollback" => Ok(Verb::Rollback),
        _ => Err(Problem::new(
            Kind::NotFound,
            "no such verb; there are start, promote, abort, pause, resume, retry, rollback and approve",
        )),
    }
}

/// What the body of a verb may hold beside the reason.
const fn takes(verb: Verb) -> Takes {
    match verb {
        Verb::Start => Takes::Order,
        Verb::Promote { .. } => Takes::Full,
        Verb::Abort | Verb::Pause | Verb::Resume | Verb::Retry | Verb::Rollback => Takes::Reason,
    }
}

/// `?dryRun=true`; nothing else is known, so that a misspelt dry run changes nothing.
pub(super) fn dry_run(query: Option<&str>) -> Result<bool, Problem> {
    let refuse = |name: &str, message: &str| {
        Err(Problem::invalid(vec![Entry {
            place: String::new(),
            path: name.chars().take(80).collect(),
            message: message.to_owned(),
        }]))
    };
    let mut dry_run = None;
    for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        match (name, value) {
            ("dryRun", _) if dry_run.is_some() => return refuse(name, "is given twice"),
            ("dryRun", "true") => dry_run = Some(true),
            ("dryRun", "false") => dry_run = Some(false),
            ("dryRun", _) => return refuse(name, "must be true or false"),
            _ => return refuse(name, "is no parameter of this call; known is dryRun"),
        }
    }
    Ok(dry_run.unwrap_or(false))
}

/// The header as sent. Several are one list (RFC 9110 §5.3), which never is the present tag.
pub(super) fn if_match(headers: &HeaderMap) -> Option<String> {
    let tags: Vec<_> = headers
        .get_all(header::IF_MATCH)
        .iter()
        .map(|tag| String::from_utf8_lossy(tag.as_bytes()))
        .collect();
    (!tags.is_empty()).then(|| tags.join(", "))
}

fn route_answer(view: &RouteView) -> Response {
    ([(header::ETAG, tag(view.generation))], json(&api::Route::from(view))).into_response()
}

fn rollout_answer(view: &RolloutView, present: Present) -> Response {
    let shape = api::Rollout::whole(view, present);
    ([(header::ETAG, tag(present.generation))], json(&shape)).into_response()
}

pub(super) fn tag(generation: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{generation}\"")).expect("digits in quotes")
}

/// Asked before a rollout is looked at: its tag is never newer than what it stands beside.
async fn present(admin: &Admin) -> Result<Present, Problem> {
    let status = admin.ask(Asked::Status).await?;
    Ok(Present {
        generation: status.generation,
        frozen: status.frozen.is_some(),
    })
}

async fn find_route(admin: &Admin, name: &str) -> Result<RouteView, Problem> {
    let view = admin.ask(|reply| Asked::Route(name.to_owned(), reply)).await?;
    view.ok_or_else(|| none_named("route", name))
}

async fn find_rollout(admin: &Admin, name: &str) -> Result<RolloutView, Problem> {
    let views = admin.ask(Asked::Rollouts).await?;
    find(&views, name, "rollout", |view| &view.name).cloned()
}

pub(super) fn find<'v, T>(views: &'v [T], name: &str, what: &str, name_of: fn(&T) -> &Name) -> Result<&'v T, Problem> {
    let mut views = views.iter();
    views
        .find(|view| name_of(view).as_str() == name)
        .ok_or_else(|| none_named(what, name))
}

pub(super) fn none_named(what: &str, name: &str) -> Problem {
    let name: String = name.chars().take(80).collect();
    Problem::new(Kind::NotFound, format!("no {what} {name:?}"))
}

/// Runs `work` on a thread of its own: control, which shares ours, goes on deciding meanwhile.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Problem::new(Kind::Internal, "a fault of ours; the log says more"))
}

pub(super) fn json(shape: &impl Serialize) -> Response {
    (StatusCode::OK, Json(shape)).into_response()
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::new(Kind::NotFound, "no such path: a name in it is not UTF-8")
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::new(
                Kind::TooLarge,
                format!("the body is larger than {} bytes", super::BODY_BYTES_MAX),
            )
        } else {
            Self::new(Kind::Malformed, "the body did not arrive whole")
        }
    }
}
