//! The words of an answer: a flag's variant, value and reason, or what went wrong, as JSON.

use serde_json::json;

use super::context::{BadContext, Context};
use super::{Answer, BODY_BYTES_MAX, Call, etag};
use crate::route::{Decision, Flag, FlagId, KeySource, Table, Why};

/// Why a call, or one flag of it, has no value.
#[derive(Debug)]
pub(super) enum Failure<'t> {
    /// 404: none of our paths.
    NoSuchPath,
    /// 405
    WrongMethod,
    /// 413
    TooLarge,
    /// 404: no flag of that key.
    NoSuchFlag,
    /// 400
    BadContext(BadContext),
    /// 400: more than one call may cost.
    TooCostly,
    /// 400: without a key chance would decide, and decide otherwise the next time.
    NoKey(&'t KeySource),
}

/// Answers a call for one flag.
pub(super) fn one(table: &Table, key: &str, body: &[u8], draw: u64, now_s: u64) -> Answer {
    let Some(id) = table.flag_keys.find(key) else {
        return Failure::NoSuchFlag.answer(Some(key));
    };
    let context = match Context::read(body, now_s) {
        Ok(context) => context,
        Err(bad) => return Failure::BadContext(bad).answer(Some(key)),
    };
    let mut body = Vec::with_capacity(EVALUATION_BYTES);
    match evaluate(table, id, &context, draw) {
        _ if context.is_exhausted() => return Failure::TooCostly.answer(Some(key)),
        Ok(decision) => write_evaluation(&mut body, table, id, &decision),
        Err(failure) => return failure.answer(Some(key)),
    }
    Answer {
        status: 200,
        etag: None,
        body,
    }
}

/// Answers a call for all flags.
pub(super) fn all(table: &Table, call: &Call<'_>, draw: u64, now_s: u64) -> Answer {
    let context = match Context::read(call.body, now_s) {
        Ok(context) => context,
        Err(bad) => return Failure::BadContext(bad).answer(None),
    };
    let listed = table.flag_keys.listed();
    let mut body = Vec::with_capacity(EVALUATION_BYTES * (listed.len() + 1));
    body.extend_from_slice(b"{\"flags\":[");
    for (at, &id) in listed.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        match evaluate(table, id, &context, draw) {
            _ if context.is_exhausted() => return Failure::TooCostly.answer(None),
            Ok(decision) => write_evaluation(&mut body, table, id, &decision),
            Err(failure) => failure.write(&mut body, Some(table.flag(id).key.as_str())),
        }
    }
    body.extend_from_slice(b"],\"metadata\":{\"generation\":");
    body.extend_from_slice(&table.generation_text);
    body.extend_from_slice(b"}}");
    let tag = etag::tag_of(&body);
    let is_known = call.if_none_match.is_some_and(|field| etag::is_named(field, &tag));
    Answer {
        status: if is_known { 304 } else { 200 },
        etag: Some(tag),
        body: if is_known { Vec::new() } else { body },
    }
}

/// What `decision` of `flag` is called by OpenFeature: `TARGETING_MATCH`, `SPLIT`, `DISABLED` or `DEFAULT`.
#[must_use]
pub fn reason(flag: &Flag, decision: &Decision) -> &'static str {
    match decision.why {
        Why::Disabled => "DISABLED",
        Why::Prerequisite(_) => "DEFAULT",
        Why::Cohort(_) => "TARGETING_MATCH",
        // Nobody was drawn where everybody gets the default.
        Why::Split if flag.split.is_whole() && decision.variant == flag.default => "DEFAULT",
        Why::Split => "SPLIT",
    }
}

/// What one flag answers. A flag without a key draws anew each time, as its route does.
fn evaluate<'t>(table: &'t Table, id: FlagId, context: &Context, draw: u64) -> Result<Decision, Failure<'t>> {
    let flag = table.flag(id);
    let decision = table.decide(flag, context, draw);
    match &flag.rule {
        Some(rule) if decision.by_chance && decision.hash.is_none() => Err(Failure::NoKey(&rule.spec().source)),
        _ => Ok(decision),
    }
}

/// Room for one flag's answer; longer values make more.
const EVALUATION_BYTES: usize = 256;

/// Names need no escapes in JSON.
fn write_evaluation(out: &mut Vec<u8>, table: &Table, id: FlagId, decision: &Decision) {
    let flag = table.flag(id);
    let variant = &flag.names[decision.variant];
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[b"{\"key\":\"", flag.key.header(), b"\",\"reason\":\""]);
    put(&[
        reason(flag, decision).as_bytes(),
        b"\",\"variant\":\"",
        variant.header(),
    ]);
    put(&[b"\",\"value\":"]);
    match &flag.values {
        Some(values) => {
            serde_json::to_writer(&mut *out, &values[decision.variant]).expect("a vector takes what is written");
        }
        None => [b"\"", &variant.header()[..], b"\""]
            .iter()
            .for_each(|part| out.extend_from_slice(part)),
    }
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[b",\"metadata\":{\"generation\":", &table.generation_text]);
    if let Why::Cohort(cohort) = decision.why {
        put(&[b",\"cohort\":\"", flag.cohorts[cohort].name.header(), b"\""]);
    }
    if let FlagId::Route(route) = id {
        put(&[b",\"route\":\"", table.routes[route].name.header(), b"\""]);
    }
    put(&[b"}}"]);
}

impl Failure<'_> {
    /// The whole answer; `key` is the flag's, of a call for one.
    pub(super) fn answer(&self, key: Option<&str>) -> Answer {
        let mut body = Vec::new();
        self.write(&mut body, key);
        Answer {
            status: match self {
                Self::NoSuchPath | Self::NoSuchFlag => 404,
                Self::WrongMethod => 405,
                Self::TooLarge => 413,
                Self::BadContext(_) | Self::TooCostly | Self::NoKey(_) => 400,
            },
            etag: None,
            body,
        }
    }

    fn write(&self, out: &mut Vec<u8>, key: Option<&str>) {
        let mut object = json!({ "errorCode": self.code(), "errorDetails": self.details() });
        if let Some(key) = key {
            object["key"] = key.chars().take(KEY_CHARS_MAX).collect::<String>().into();
        }
        serde_json::to_writer(out, &object).expect("a vector takes what is written");
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchPath | Self::WrongMethod | Self::TooLarge => "GENERAL",
            Self::NoSuchFlag => "FLAG_NOT_FOUND",
            Self::BadContext(BadContext::NoJson(_)) => "PARSE_ERROR",
            Self::BadContext(_) | Self::TooCostly => "INVALID_CONTEXT",
            Self::NoKey(_) => "TARGETING_KEY_MISSING",
        }
    }

    fn details(&self) -> String {
        match self {
            Self::NoSuchPath => "no such path; there is /ofrep/v1/evaluate/flags, and the same with /KEY".to_owned(),
            Self::WrongMethod => "this path takes POST".to_owned(),
            Self::TooLarge => format!("the body is larger than {BODY_BYTES_MAX} bytes"),
            Self::NoSuchFlag => "no flag is called so".to_owned(),
            Self::TooCostly => {
                "the context has more values than one call may have compared; send fewer, or shorter ones".to_owned()
            }
            Self::BadContext(bad) => bad.to_string(),
            Self::NoKey(source) => {
                let place = match source {
                    KeySource::Header(name) => format!(" or headers.{name}"),
                    KeySource::Cookie(name) => format!(" or cookies.{name}"),
                    KeySource::Query(name) => format!(" or query.{name}"),
                    KeySource::Claim(name) => format!(" or claims.{name}"),
                    KeySource::ClientCertificate => " or clientCertificate".to_owned(),
                    KeySource::ClientIp => " or clientIp".to_owned(),
                    KeySource::TargetingKey => String::new(),
                    KeySource::Attribute(name) => {
                        return format!("the context has no {name}, which keeps a user on one side");
                    }
                };
                format!("the context has no targetingKey{place}, which keeps a user on one side")
            }
        }
    }
}

/// Characters of a key that is repeated to who asked for it.
const KEY_CHARS_MAX: usize = 80;
