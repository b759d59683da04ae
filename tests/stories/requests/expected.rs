//! What a case makes Serin write: the head at the backend by its pattern, the answer by its fields.

use std::net::SocketAddr;

use super::exchange::Answer;
use super::table::Then;

/// What each answer to a request that has a route tells of its way.
pub const STAMP: [&str; 2] = ["x-serin-generation: 1", "x-serin-variant: stable"];

/// Fails unless this is the backend's answer as Serin passes it on.
pub fn passed(answer: &Answer, then: Then) -> Result<(), String> {
    let connection = match then {
        Then::Open => None,
        Then::Kept => Some("connection: keep-alive"),
        Then::Closed => Some("connection: close"),
    };
    let fields: Vec<_> = ["content-length: 2"]
        .into_iter()
        .chain(STAMP)
        .chain(connection)
        .collect();
    let right = answer.start == "HTTP/1.1 200 OK" && answer.has_only(&fields);
    right
        .then_some(())
        .ok_or_else(|| format!("not the backend's answer ({then:?}): {answer:?}"))
}

/// Fails unless this is a problem document of Serin's with this status, which closes; its detail.
pub fn problem(answer: &Answer, status: u16, stamp: &[&str]) -> Result<String, String> {
    let wrong = || format!("no problem {status} as it should be: {answer:?}");
    let length = format!("content-length: {}", answer.body.len());
    let mut fields = stamp.to_vec();
    fields.extend([
        "content-type: application/problem+json",
        "server: serin",
        "connection: close",
        &length,
    ]);
    if status == 405 {
        fields.push("allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    let document: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
    let detail = document["detail"].as_str().unwrap_or_default();
    let start = format!("HTTP/1.1 {status} ");
    let right = answer.start.starts_with(&start) && answer.has_only(&fields) && document["status"] == status;
    if right && !detail.is_empty() {
        Ok(detail.to_owned())
    } else {
        Err(wrong())
    }
}

/// Fails unless this is the head of such a document, in answer to HEAD.
pub fn head_of_problem(answer: &Answer, status: u16) -> Result<(), String> {
    let has = |field: &str| answer.fields.iter().any(|has| has == field);
    let right = answer.start.starts_with(&format!("HTTP/1.1 {status} "))
        && has("content-type: application/problem+json")
        && has("connection: close");
    right
        .then_some(())
        .ok_or_else(|| format!("no head of a problem {status}: {answer:?}"))
}

/// The pattern with `{backend}` and the line `{added}` written out.
pub fn written_out(pattern: &[u8], backend: SocketAddr) -> Vec<u8> {
    let backend = backend.to_string();
    let pattern = replaced(pattern, b"{backend}", backend.as_bytes());
    let text = String::from_utf8_lossy(&pattern);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.filter(|host| *host != backend);
    let host = host.map_or(String::new(), |host| format!("x-forwarded-host: {host}\r\n"));
    let added = format!(
        "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n{host}x-request-id: {{hex32}}\r\n\
             traceparent: 00-{{hex32}}-{{hex16}}-00\r\nx-serin-route: app\r\nx-serin-variant: stable\r\n"
    );
    replaced(&pattern, b"{added}\r\n", added.as_bytes())
}

/// Whether `text` is `pattern` with digits in the place of `{hex16}` and `{hex32}`.
pub fn matches_pattern(mut pattern: &[u8], mut text: &[u8]) -> bool {
    while !pattern.is_empty() {
        let digits = match pattern {
            [b'{', b'h', b'e', b'x', b'1', b'6', b'}', ..] => 16,
            [b'{', b'h', b'e', b'x', b'3', b'2', b'}', ..] => 32,
            [first, rest @ ..] => {
                if text.first() != Some(first) {
                    return false;
                }
                (pattern, text) = (rest, &text[1..]);
                continue;
            }
            [] => break,
        };
        let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match text.get(..digits) {
            Some(word) if word.iter().all(is_digit) => (pattern, text) = (&pattern[7..], &text[digits..]),
            _ => return false,
        }
    }
    text.is_empty()
}

/// `text` with the first `mark` replaced.
fn replaced(text: &[u8], mark: &[u8], by: &[u8]) -> Vec<u8> {
    match text.windows(mark.len()).position(|window| window == mark) {
        Some(at) => [&text[..at], by, &text[at + mark.len()..]].concat(),
        None => text.to_vec(),
    }
}
