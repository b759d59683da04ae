//! What a client gets, byte for byte.

use super::case::Said;

/// In the place of the date that Serin writes.
pub const DATE: &str = "< the date and time of now  >";

/// What Serin says of an answer that is no HTTP.
pub const MALFORMED: &str = "the backend's answer is not valid HTTP";

/// What Serin says of an answer that breaks off.
pub const CLOSED: &str = "the backend closed the connection before its answer was complete";

/// What Serin says of an answer whose body breaks before anything of it has gone out.
pub const TRUNCATED: &str = "the backend's answer broke off, or broke its own framing";

/// What Serin says when there is no answer in time.
pub const LATE: &str = "the backend did not answer in time";

/// What Serin adds to each answer.
const STAMP: &str = "x-serin-variant: only\r\nx-serin-generation: 1\r\n";

/// A problem document of Serin's own.
pub fn problem(status: u16, detail: &str) -> Vec<u8> {
    document(status, detail, "")
}

/// [`problem`] on a connection that Serin closes after it.
pub fn last_problem(status: u16, detail: &str) -> Vec<u8> {
    document(status, detail, "connection: close\r\n")
}

/// The head of a [`problem`], in answer to `HEAD`.
pub fn bare_problem(status: u16, detail: &str) -> Vec<u8> {
    let mut whole = document(status, detail, "");
    let body = whole.iter().position(|&byte| byte == b'{').expect("a document");
    whole.truncate(body);
    whole
}

fn document(status: u16, detail: &str, close: &str) -> Vec<u8> {
    let title = match status {
        502 => "Bad Gateway",
        504 => "Gateway Timeout",
        _ => unreachable!("no case has it"),
    };
    let body =
        format!("{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},\"detail\":\"{detail}\"}}\n");
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\nserver: serin\r\ndate: {DATE}\r\ncontent-length: {length}\r\n{STAMP}{close}\r\n{body}"
    )
    .into_bytes()
}

/// A head with the backend's own fields as they pass, and what follows it.
pub fn whole(status: &str, fields: impl Said, body: impl Said) -> Vec<u8> {
    message(status, fields, "", body)
}

/// [`whole`] on a connection that Serin closes after it.
pub fn last(status: &str, fields: impl Said, body: impl Said) -> Vec<u8> {
    message(status, fields, "connection: close\r\n", body)
}

/// A head before chunks.
pub fn chunked(status: &str, fields: impl Said) -> Vec<u8> {
    message(status, fields, "transfer-encoding: chunked\r\n", "")
}

/// The head of a switch to WebSocket. It has no date.
pub fn switched(fields: &str) -> Vec<u8> {
    let start = "HTTP/1.1 101 Switching Protocols\r\n";
    let end = "connection: upgrade\r\nupgrade: websocket\r\n\r\n";
    format!("{start}{fields}{STAMP}{end}").into_bytes()
}

/// `200 OK` with this content and its length.
pub fn ok(content: &str) -> Vec<u8> {
    whole("200 OK", format!("content-length: {}\r\n", content.len()), content)
}

/// Serin writes the date and its stamp behind the backend's fields, and then what delimits the body: a length
/// among the fields goes there.
fn message(status: &str, fields: impl Said, end: &str, body: impl Said) -> Vec<u8> {
    let fields = fields.bytes();
    let lines = || fields.split_inclusive(|&byte| byte == b'\n');
    let is_length = |line: &&[u8]| line.starts_with(b"content-length: ");
    let mut bytes = format!("HTTP/1.1 {status}\r\n").bytes();
    lines()
        .filter(|line| !is_length(line))
        .for_each(|line| bytes.extend(line));
    bytes.extend(format!("date: {DATE}\r\n{STAMP}").bytes());
    lines().filter(is_length).for_each(|line| bytes.extend(line));
    bytes.extend(format!("{end}\r\n").bytes());
    bytes.extend(body.bytes());
    bytes
}
