//! Conditions of routes and cohorts: regular expressions are compiled, alternatives exclude each other.

use crate::config::address::UrlPath;
use crate::config::file::{self, HeaderCondition, QueryCondition};
use crate::config::read::{Reader, Slot};
use crate::config::scalar::Text;
use crate::config::tree::{NodeId, quote};
use crate::path::{PathPolicy, canonical};
use crate::route::{FieldMatch, FieldTest, Match, PathMatch};

/// The match of a route; its path must be one that requests have under `paths`.
pub(super) fn route_match(written: &file::Match, paths: PathPolicy, reader: &mut Reader<'_>) -> Option<Match> {
    let hosts: Option<Vec<_>> = written.hosts.items().map(|slot| slot.get().cloned()).collect();
    let methods: Option<Vec<_>> = written.methods.items().map(|slot| slot.get().cloned()).collect();
    let path = path_match(written, paths, reader);
    let headers = headers(written.headers.items(), reader);
    let query: Vec<_> = written.query.items().map(|slot| query_match(slot, reader)).collect();
    Some(Match {
        hosts: hosts?,
        path: path?,
        methods: methods?,
        headers: headers?,
        query: query.into_iter().collect::<Option<_>>()?,
    })
}

/// Conditions on headers.
pub(super) fn headers<'a>(
    slots: impl Iterator<Item = &'a Slot<HeaderCondition>>,
    reader: &mut Reader<'_>,
) -> Option<Vec<FieldMatch>> {
    let all: Vec<_> = slots.map(|slot| header_match(slot, reader)).collect();
    all.into_iter().collect()
}

fn header_match(slot: &Slot<HeaderCondition>, reader: &mut Reader<'_>) -> Option<FieldMatch> {
    let written = slot.get()?;
    let test = field_test(
        slot,
        (&written.exact, &written.prefix, &written.regex, &written.present),
        reader,
    );
    Some(FieldMatch {
        name: written.name.get()?.0.clone(),
        test: test?,
    })
}

fn query_match(slot: &Slot<QueryCondition>, reader: &mut Reader<'_>) -> Option<FieldMatch> {
    let written = slot.get()?;
    let test = field_test(
        slot,
        (&written.exact, &written.prefix, &written.regex, &written.present),
        reader,
    );
    Some(FieldMatch {
        name: written.name.get()?.0.clone(),
        test: test?,
    })
}

/// The four ways to test a value.
type Tests<'a> = (&'a Slot<String>, &'a Slot<Text>, &'a Slot<Text>, &'a Slot<bool>);

fn field_test<T>(
    condition: &Slot<T>,
    (exact, prefix, regex, present): Tests<'_>,
    reader: &mut Reader<'_>,
) -> Option<FieldTest> {
    let left_out = [exact.left_out, prefix.left_out, regex.left_out, present.left_out];
    match left_out.iter().filter(|left_out| !**left_out).count() {
        1 => {}
        0 => {
            reader.refuse(condition.at, "tests nothing; give one of exact, prefix, regex, present");
            return None;
        }
        _ => {
            reader.refuse(
                condition.at,
                "has several tests; keep one of exact, prefix, regex, present",
            );
            return None;
        }
    }
    if let Some(text) = exact.get() {
        return Some(FieldTest::Exact(text.clone()));
    }
    if let Some(text) = prefix.get() {
        return Some(FieldTest::Prefix(text.0.clone()));
    }
    if let Some(text) = regex.get() {
        return value_regex(regex.at, text, reader);
    }
    present.value.map(FieldTest::Present)
}

/// The expression at `at`, for whole values.
pub(super) fn value_regex(at: NodeId, pattern: &Text, reader: &mut Reader<'_>) -> Option<FieldTest> {
    match whole(&pattern.0, bytes_regex) {
        Ok(regex) => Some(FieldTest::Regex(regex)),
        Err(why) => {
            reader.refuse_text(at, &why);
            None
        }
    }
}

fn path_match(written: &file::Match, paths: PathPolicy, reader: &mut Reader<'_>) -> Option<PathMatch> {
    let (path, prefix, regex) = (&written.path, &written.path_prefix, &written.path_regex);
    let mut given = [
        (!path.left_out).then_some(path.at),
        (!prefix.left_out).then_some(prefix.at),
        (!regex.left_out).then_some(regex.at),
    ]
    .into_iter()
    .flatten();
    if given.next().is_none() {
        return Some(PathMatch::Any);
    }
    if let Some(second) = given.next() {
        reader.refuse(second, "path, pathPrefix and pathRegex exclude each other; keep one");
        return None;
    }
    if let Some(path) = path.get() {
        check_canonical(written.path.at, path, paths, reader);
        return Some(PathMatch::Exact(path.0.clone()));
    }
    if let Some(prefix) = prefix.get() {
        check_canonical(written.path_prefix.at, prefix, paths, reader);
        if prefix.0.ends_with('*') {
            reader.refuse(
                written.path_prefix.at,
                "ends with `*`, which would be a character of the path; a prefix is whole segments and all that is below \
                 them: leave the `*` out, or take pathRegex",
            );
            return None;
        }
        // `/api/` and `/api` say the same: whole segments.
        let trimmed = prefix.0.trim_end_matches('/');
        return Some(PathMatch::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.into()));
    }
    match whole(&regex.get()?.0, text_regex) {
        Ok(regex) => Some(PathMatch::Regex(regex)),
        Err(why) => {
            reader.refuse_text(regex.at, &why);
            None
        }
    }
}

/// Requests are matched in canonical form: a path in another form would match none.
fn check_canonical(at: NodeId, path: &UrlPath, paths: PathPolicy, reader: &mut Reader<'_>) {
    let form = |policy| {
        let mut form = path.0.clone().into_bytes();
        canonical(&mut form, policy).map(|found| {
            form.truncate(found.len);
            form
        })
    };
    let written = path.0.as_bytes();
    let why = match (form(paths), form(PathPolicy::Normalize)) {
        (Ok(form), _) if form == written => return,
        (Err(problem), Ok(form)) if form == written => {
            format!("{problem}, which only a listener with `paths: normalize` takes")
        }
        // What a variable holds is not shown.
        (_, Ok(_)) if reader.tree.is_expanded(at) => "it is not in canonical form".to_owned(),
        (_, Ok(form)) => format!("write it as {}", quote(&String::from_utf8_lossy(&form))),
        (_, Err(problem)) => problem.to_string(),
    };
    reader.refuse_text(at, &format!("matches no request; {why}"));
}

/// Compiles `pattern` so that it must match the whole of a text. It is compiled alone first: put
/// into a group, `a)|(?:b` would be a regular expression.
fn whole<R>(pattern: &str, compile: fn(&str) -> Result<R, regex::Error>) -> Result<R, String> {
    compile(pattern)
        .and_then(|_| compile(&format!("^(?:{pattern})$")))
        .map_err(in_words)
}

/// Whether `pattern` compiles, to be found anywhere in a text.
pub(super) fn findable(pattern: &str) -> Result<(), String> {
    bytes_regex(pattern).map(|_| ()).map_err(in_words)
}

fn in_words(error: regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            format!("is a regular expression that compiles to more than {REGEX_BYTES_MAX} bytes; make it simpler")
        }
        // The first lines draw the pattern, which may hold what a variable holds.
        other => format!(
            "is no regular expression: {}",
            other
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
        ),
    }
}

fn text_regex(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .nest_limit(REGEX_DEPTH_MAX)
        .build()
}

fn bytes_regex(pattern: &str) -> Result<regex::bytes::Regex, regex::Error> {
    regex::bytes::RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .nest_limit(REGEX_DEPTH_MAX)
        .build()
}

/// A class such as `\w{1,30}` needs some 100 KiB, for Unicode's sake.
const REGEX_BYTES_MAX: usize = 1 << 20;
const REGEX_DEPTH_MAX: u32 = 50;
