//! One line for each exchange, written by a thread of its own; lossy rather than slow.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::trace::RequestId;
use crate::head::RequestHead;
use crate::measure::Outcome;
use crate::name::Name;

/// Lines that may wait for the writer; more are dropped and counted.
const QUEUE: usize = 8192;

/// What is known of one exchange.
pub(super) struct AccessLine {
    at_ms: u64,
    client: IpAddr,
    method: String,
    host: String,
    path: String,
    request_id: Bytes,
    pub(super) route: Option<Name>,
    pub(super) variant: Option<Name>,
    pub(super) cohort: Option<Name>,
    pub(super) backend: Option<Name>,
    pub(super) endpoint: Option<Arc<str>>,
    outcome: &'static str,
    status: u16,
    /// How a call of gRPC ended, as its client was told; `None`: it is none, or it was told nothing.
    pub(super) grpc_status: Option<u8>,
    /// `None`: no response head came.
    latency_us: Option<u64>,
    duration_us: u64,
}

/// What a line will need of a request, kept while it is served: a few pointers. Most exchanges end
/// well and get no line.
pub(super) struct AccessNote {
    pub(super) head: Rc<RequestHead>,
    pub(super) client: IpAddr,
    pub(super) request_id: RequestId,
    /// Index in the route's cohorts.
    pub(super) cohort: Option<usize>,
    /// A line is due whatever the outcome.
    pub(super) always: bool,
}

impl AccessLine {
    /// Of a request that has just ended.
    pub(super) fn new(head: &RequestHead, client: IpAddr, request_id: Bytes) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            client,
            method: head.method().as_str().into(),
            host: head.host().into(),
            path: head.path().into(),
            request_id,
            route: None,
            variant: None,
            cohort: None,
            backend: None,
            endpoint: None,
            outcome: Outcome::NoEvidence.as_str(),
            status: 0,
            grpc_status: None,
            latency_us: None,
            duration_us: 0,
        }
    }

    /// How it ended; its time is that of its beginning.
    pub(super) fn finish(&mut self, outcome: Outcome, status: u16, latency_us: Option<u64>, duration_us: u64) {
        self.at_ms = self.at_ms.saturating_sub(duration_us / 1000);
        self.outcome = outcome.as_str();
        self.status = status;
        self.latency_us = latency_us;
        self.duration_us = duration_us;
    }

    fn write(&self, json: bool, out: &mut Vec<u8>) {
        let name = |name: &Option<Name>| name.as_ref().map_or(String::new(), ToString::to_string);
        let endpoint = self.endpoint.as_deref().unwrap_or("");
        let request_id = String::from_utf8_lossy(&self.request_id);
        let text = json_text;
        let grpc = |before: &str, after: &str| {
            let status = self.grpc_status;
            status.map_or(String::new(), |status| format!("{before}{status}{after}"))
        };
        let _ = if json {
            writeln!(
                out,
                "{{\"access\":true,\"time\":{},\"client\":\"{}\",\"method\":{},\"host\":{},\"path\":{},\"status\":{},{}\
                 \"route\":\"{}\",\"variant\":\"{}\",\"cohort\":\"{}\",\"backend\":\"{}\",\"endpoint\":{},\
                 \"outcome\":\"{}\",\"latencyMs\":{},\"durationMs\":{:.3},\"requestId\":{}}}",
                self.at_ms,
                self.client,
                text(&self.method),
                text(&self.host),
                text(&self.path),
                self.status,
                grpc("\"grpcStatus\":", ","),
                name(&self.route),
                name(&self.variant),
                name(&self.cohort),
                name(&self.backend),
                text(endpoint),
                self.outcome,
                self.latency_us.map_or("null".into(), |us| format!("{:.3}", millis(us))),
                millis(self.duration_us),
                text(&request_id),
            )
        } else {
            writeln!(
                out,
                "access {} {} {} {}{} {}{} {} route={} variant={} endpoint={} latency={} duration={:.3}ms id={}",
                self.at_ms,
                self.client,
                self.method.escape_default(),
                self.host.escape_default(),
                self.path.escape_default(),
                self.status,
                grpc(" grpc=", ""),
                self.outcome,
                name(&self.route),
                name(&self.variant),
                endpoint,
                self.latency_us.map_or("-".into(), |us| format!("{:.3}ms", millis(us))),
                millis(self.duration_us),
                request_id.escape_default(),
            )
        };
    }
}

/// `text` as JSON, without what a terminal takes for a command or for the end of a line: JSON itself lets the controls
/// above 0x7e and the separators of Unicode stand.
fn json_text(text: &str) -> String {
    let mut json = serde_json::Value::from(text).to_string();
    let is_odd = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
    if json.contains(is_odd) {
        json = json.chars().fold(String::new(), |mut out, c| {
            match is_odd(c) {
                true => write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes everything"),
                false => out.push(c),
            }
            out
        });
    }
    json
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn millis(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Where workers put their lines. `false` when the line was dropped.
#[derive(Clone)]
pub(crate) struct AccessLogWriter(SyncSender<AccessLine>);

impl AccessLogWriter {
    /// Starts the writer, to standard output.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(json: bool) -> std::io::Result<Self> {
        let (tx, rx) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&rx, json))?;
        Ok(Self(tx))
    }

    pub(super) fn put(&self, line: AccessLine) -> bool {
        self.0.try_send(line).is_ok()
    }
}

fn write_all(lines: &Receiver<AccessLine>, json: bool) {
    let mut out = Vec::with_capacity(64 * 1024);
    while let Ok(line) = lines.recv() {
        line.write(json, &mut out);
        while let Ok(line) = lines.try_recv() {
            line.write(json, &mut out);
            if out.len() > 60 * 1024 {
                break;
            }
        }
        // Nobody reads the output any longer: serving goes on.
        let _ = std::io::stdout().lock().write_all(&out);
        out.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::AccessLine;
    use crate::head::{HeadBuilder, Method, Version};
    use crate::measure::Outcome;

    /// The line of a request that says `text` wherever it may.
    fn line(text: &str, json: bool) -> String {
        let head = HeadBuilder::default();
        let head = head.request(Method::Other(text.into()), Version::Http11, text, text);
        let id = bytes::Bytes::copy_from_slice(text.as_bytes());
        let line = AccessLine::new(&head, [192, 0, 2, 1].into(), id);
        let mut out = Vec::new();
        line.write(json, &mut out);
        String::from_utf8(out).expect("a line is text")
    }

    #[test]
    fn a_call_of_grpc_says_how_it_ended() {
        let head = HeadBuilder::default().request(Method::Post, Version::Http2, "shop", "/a.B/C");
        let mut line = AccessLine::new(&head, [192, 0, 2, 1].into(), bytes::Bytes::new());
        line.finish(Outcome::Failure, 200, None, 0);
        line.grpc_status = Some(4);
        let mut out = Vec::new();
        line.write(true, &mut out);
        let read: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!((&read["status"], &read["grpcStatus"]), (&200.into(), &4.into()));
        out.clear();
        line.write(false, &mut out);
        let text = String::from_utf8(out).expect("a line is text");
        assert!(text.contains(" 200 grpc=4 failure "), "{text}");
    }

    #[test]
    fn nothing_in_a_line_is_taken_for_another_line_or_for_a_command() {
        for text in [
            "a\nb",
            "\u{1b}[31m",
            "\u{9b}31m",
            "\"",
            "a\u{2028}b",
            "\u{7f}",
            "\\",
            "a\r\nb",
        ] {
            for json in [true, false] {
                let line = line(text, json);
                let line = line.strip_suffix('\n').expect("it ends");
                let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
                assert!(!line.contains(odd), "{line:?}");
                if json {
                    let read: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
                    assert_eq!((&read["method"], &read["requestId"]), (&text.into(), &text.into()));
                }
            }
        }
    }
}
