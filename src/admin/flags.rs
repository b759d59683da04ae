//! Flags: what applications ask of them (OFREP), what people see of them, and how people change them. The first two
//! are answered from the live table, by the code that places requests.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body as Content;
use axum::extract::{Query, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Map, Value as Json};

use super::body::{self, Takes};
use super::caller::Caller;
use super::handlers::{
    Answer, Body, Segment, Shared, aside, dry_run, find, if_match, json, none_named, tag, weights_wanted,
};
use super::problem::{Kind, Problem};
use super::{Admin, api};
use crate::control::{Asked, Entry, FlagView};
use crate::name::Name;
use crate::ofrep::{self, Call, Context};
use crate::people::Right;
use crate::rollout::Phase;
use crate::route::Table;

/// `/ofrep/…`
pub(super) async fn ofrep(
    State(admin): Shared,
    caller: Caller,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    admin.allow(&caller, Right::Read)?;
    let body = match body.map_err(Problem::from) {
        Ok(body) => body,
        Err(problem) if problem.kind() == Kind::TooLarge => return Ok(response(ofrep::too_large())),
        Err(problem) => return Err(problem),
    };
    let table = admin.context.live.table();
    let answer = aside(move || {
        let call = Call {
            path: uri.path(),
            is_post: method == Method::POST,
            if_none_match: headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes),
            body: &body,
        };
        ofrep::answer(&table, &call, fastrand::u64(..), now_s())
    });
    Ok(response(answer.await?))
}

/// `GET /v1/flags`
pub(super) async fn flags(State(admin): Shared, caller: Caller) -> Answer {
    admin.allow(&caller, Right::Read)?;
    let views = admin.ask(Asked::Flags).await?;
    let table = admin.context.live.table();
    Ok(json(&api::Flags {
        flags: views.iter().map(|view| api::Flag::new(view, &table)).collect(),
    }))
}

/// `GET /v1/flags/{key}`
pub(super) async fn flag(State(admin): Shared, caller: Caller, Segment(key): Segment<String>) -> Answer {
    admin.allow(&caller, Right::Read)?;
    Ok(flag_answer(&admin, &find_flag(&admin, &key).await?))
}

/// `GET /v1/flags/{key}/evaluate`
pub(super) async fn evaluate(
    State(admin): Shared,
    caller: Caller,
    Segment(key): Segment<String>,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    admin.allow(&caller, Right::Read)?;
    let find = |table: &Table| table.flag_keys.find(&key).ok_or_else(|| none_named("flag", &key));
    find(&admin.context.live.table())?;
    let Query(parameters) = query.map_err(|_| Problem::new(Kind::Malformed, "the query is not well escaped"))?;
    let context = context_of(parameters).map_err(Problem::invalid)?;
    let (cohorts, aborted, generation) = left_out(&admin, &key).await?;
    let shown = admin.ask(Asked::Config).await?;
    // It may have moved on since: then nobody can say what an abort left out of it.
    let table = admin.context.live.table();
    let id = find(&table)?;
    let beside = api::Beside {
        cohorts: if generation == table.generation {
            cohorts
        } else {
            Vec::new()
        },
        aborted,
        public: aside(move || texts_of(&shown)).await?,
    };
    let explanation = ofrep::explain(&table, id, &context, fastrand::u64(..));
    Ok(json(&api::Evaluation::new(
        &key,
        table.generation,
        &explanation,
        &beside,
    )))
}

/// The cohorts of a flag whose canary was aborted, as the file has them, and who aborted what; and of which generation
/// that is. Nothing of a flag without an abort.
async fn left_out(admin: &Admin, key: &str) -> Result<(Vec<Name>, String, u64), Problem> {
    let views = admin.ask(Asked::Flags).await?;
    let aborted = views.into_iter().find_map(|view| match view.rollout {
        Some((rollout, Phase::Aborted)) if view.key.as_str() == key => Some((view.cohorts, rollout, view.generation)),
        _ => None,
    });
    let Some((cohorts, rollout, generation)) = aborted else {
        return Ok((Vec::new(), String::new(), 0));
    };
    let rollouts = admin.ask(Asked::Rollouts).await?;
    let canary = rollouts.iter().find(|view| view.name == rollout);
    let canary = canary.map_or("its canary", |view| view.to.as_str());
    Ok((cohorts, format!("the rollout {rollout} aborted {canary}"), generation))
}

/// The texts and numbers of a file as it may be shown, versions also without what is asked of them.
fn texts_of(shown: &str) -> HashSet<String> {
    let mut texts = HashSet::new();
    let mut rest = vec![serde_json::from_str(shown).unwrap_or(Json::Null)];
    while let Some(value) = rest.pop() {
        match value {
            Json::String(text) => {
                let version = text.trim_start_matches(['=', '!', '<', '>', '^', '~', 'v', 'V', ' ']);
                texts.insert(version.to_owned());
                texts.insert(text);
            }
            Json::Number(number) => drop(texts.insert(number.to_string())),
            Json::Bool(value) => drop(texts.insert(value.to_string())),
            Json::Array(items) => rest.extend(items),
            Json::Object(members) => rest.extend(members.into_iter().map(|(_, value)| value)),
            Json::Null => {}
        }
    }
    texts
}

/// `POST /v1/flags/{key}/enable`
pub(super) async fn enable(
    shared: Shared,
    caller: Caller,
    key: Segment<String>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let said = Said {
        caller,
        query,
        headers,
        body,
    };
    switch(&shared.0, key.0, true, said).await
}

/// `POST /v1/flags/{key}/disable`
pub(super) async fn disable(
    shared: Shared,
    caller: Caller,
    key: Segment<String>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let said = Said {
        caller,
        query,
        headers,
        body,
    };
    switch(&shared.0, key.0, false, said).await
}

/// A change, as it was posted.
struct Said {
    caller: Caller,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
}

async fn switch(admin: &Admin, flag: String, enabled: bool, said: Said) -> Answer {
    let right = if enabled { Right::Direct } else { Right::Abort };
    admin.allow(&said.caller, right)?;
    let read = match (said.body, dry_run(said.query.0.as_deref())) {
        (Ok(bytes), Ok(dry_run)) => body::Command::read(&bytes, Takes::Reason).map(|body| (body, dry_run)),
        (Err(rejection), _) => Err(rejection.into()),
        (_, Err(problem)) => Err(problem),
    };
    let (body, dry_run) = match read {
        Ok(read) => read,
        Err(problem) => {
            // A flag that does not exist is said first, whatever else is wrong.
            find_flag(admin, &flag).await?;
            return Err(problem);
        }
    };
    let view = admin
        .ask(|reply| Asked::SwitchFlag {
            flag,
            enabled,
            reason: body.reason,
            by: said.caller.by(),
            if_match: if_match(&said.headers),
            dry_run,
            reply,
        })
        .await??;
    Ok(flag_answer(admin, &view))
}

/// `PUT /v1/flags/{key}/weights`
pub(super) async fn set_weights(
    State(admin): Shared,
    caller: Caller,
    Segment(key): Segment<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    admin.allow(&caller, Right::Direct)?;
    let question = match weights_wanted(&key, &caller, query.as_deref(), &headers, body) {
        Ok(question) => question,
        Err(problem) => {
            find_flag(&admin, &key).await?;
            return Err(problem);
        }
    };
    let view = admin.ask(|reply| Asked::SetFlagWeights(question, reply)).await??;
    Ok(flag_answer(&admin, &view))
}

fn flag_answer(admin: &Admin, view: &FlagView) -> Response {
    let table = admin.context.live.table();
    (
        [(header::ETAG, tag(view.generation))],
        json(&api::Flag::new(view, &table)),
    )
        .into_response()
}

async fn find_flag(admin: &Admin, key: &str) -> Result<FlagView, Problem> {
    let views = admin.ask(Asked::Flags).await?;
    find(&views, key, "flag", |view| &view.key).cloned()
}

/// The context that a query describes: `key`, `clientIp`, `clientCertificate` and `host`, and `header.NAME`,
/// `cookie.NAME`, `query.NAME`, `claim.NAME` and `attribute.NAME`, which may be given more than once.
fn context_of(parameters: Vec<(String, String)>) -> Result<Context, Vec<Entry>> {
    const OBJECTS: [(&str, &str); 4] = [
        ("header", "headers"),
        ("cookie", "cookies"),
        ("query", "query"),
        ("claim", "claims"),
    ];
    let mut context = Map::new();
    let mut errors = Vec::new();
    for (name, value) in parameters {
        let single = match name.as_str() {
            "key" => Some("targetingKey"),
            "clientIp" | "clientCertificate" | "host" => Some(name.as_str()),
            _ => None,
        };
        if let Some(single) = single {
            if context.insert(single.to_owned(), value.into()).is_some() {
                errors.push(entry(&name, "is given twice"));
            }
            continue;
        }
        let (kind, of) = name.split_once('.').unwrap_or((&name, ""));
        let object = OBJECTS.iter().find(|(known, _)| *known == kind);
        let values = match object {
            _ if of.is_empty() => None,
            Some((_, object)) => {
                let object = context
                    .entry(*object)
                    .or_insert_with(|| Json::Object(Map::new()))
                    .as_object_mut();
                object.map(|object| object.entry(of).or_insert_with(|| Json::Array(Vec::new())))
            }
            None if kind == "attribute" => Some(context.entry(of).or_insert_with(|| Json::Array(Vec::new()))),
            None => None,
        };
        match values.and_then(Json::as_array_mut) {
            Some(values) => values.push(value.into()),
            None => errors.push(entry(
                &name,
                "is no parameter of this call; known are key, clientIp, clientCertificate, host, header.NAME, \
                 cookie.NAME, query.NAME, claim.NAME and attribute.NAME",
            )),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Context::of(context, now_s()).map_err(|bad| vec![entry("", &bad.to_string())])
}

fn entry(path: &str, message: &str) -> Entry {
    Entry {
        place: String::new(),
        path: path.chars().take(80).collect(),
        message: message.to_owned(),
    }
}

fn response(answer: ofrep::Answer) -> Response {
    let mut response = Response::new(Content::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("a status of HTTP");
    let headers = response.headers_mut();
    if answer.status != 304 {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ofrep::CONTENT_TYPE));
    }
    if answer.status == 405 {
        headers.insert(header::ALLOW, HeaderValue::from_static(ofrep::ALLOW));
    }
    if let Some(tag) = answer.etag {
        headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("digits in quotes"));
    }
    response
}

fn now_s() -> u64 {
    // A clock before 1970 only makes cookies too young.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
