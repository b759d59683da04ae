//! One request of the table on its way through a proxy that need not do as the table says.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serin::h1::{BodyDecoder, HeadLimits, RequestDecoder};
use serin::path::PathPolicy;

use super::recorder::{Message, Recorder};
use super::table::{Case, Outcome, Step, Then};

/// A proxy that says nothing for so long waits for more of the request.
const QUIET: Duration = Duration::from_millis(250);

/// The whole of a case, if pieces keep coming.
const CASE_MAX: Duration = Duration::from_secs(3);

/// Sends a case in whole steps, and waits for all its answers, the end, or a silence.
pub(super) fn ask(address: SocketAddr, case: &Case) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(QUIET))?;
    stream.set_write_timeout(Some(CASE_MAX))?;
    let mut answers = Vec::new();
    for step in &case.steps {
        let done = match step {
            Step::Send(bytes) => stream.write_all(bytes).is_ok(),
            Step::AwaitContinue => read_some(&mut stream, &mut answers),
            Step::End => stream.shutdown(Shutdown::Write).is_ok(),
        };
        if !done {
            break; // It has refused, or it waits; the answers tell.
        }
    }
    let goes_on = matches!(
        case.outcomes.last(),
        Some(Outcome::Passed {
            then: Then::Open | Then::Kept,
            ..
        })
    );
    let deadline = Instant::now() + CASE_MAX;
    loop {
        // One answer more than is due may follow, unless all was legal.
        let done = goes_on && final_answers(&answers) >= case.outcomes.len();
        if done || Instant::now() > deadline || !read_some(&mut stream, &mut answers) {
            return Ok(());
        }
    }
}

/// Reads once; `false` at the end or after a silence.
fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let mut piece = [0; 16 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(read) => {
                into.extend(&piece[..read]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Status lines but those of interim answers. No body in this scenario holds one.
fn final_answers(bytes: &[u8]) -> usize {
    let status_lines = bytes
        .windows(11)
        .filter(|window| window.starts_with(b"HTTP/1.") && window[8] == b' ');
    status_lines.filter(|window| window[9] != b'1').count()
}

/// What the backend has got, once none of it is still coming.
pub(super) fn settled(recorder: &Recorder) -> Vec<Message> {
    let deadline = Instant::now() + CASE_MAX;
    loop {
        let messages = recorder.messages();
        if messages.iter().all(|message| message.whole || message.cut) || Instant::now() > deadline {
            return messages;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether Serin would take this request, and nothing is left behind it.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let limits = HeadLimits {
        bytes: 1 << 20,
        fields: 10_000,
        target_bytes: 1 << 20,
    };
    let mut buffer = BytesMut::from(bytes);
    let Ok(Some(request)) = RequestDecoder::new(limits, PathPolicy::Strict).decode(&mut buffer) else {
        return false;
    };
    let mut body = BodyDecoder::new(request.framing);
    while let Ok(Some(_)) = body.decode(&mut buffer) {}
    body.is_done() && buffer.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_not_counted() {
        let count = |text: &str| final_answers(text.as_bytes());
        assert_eq!(count(""), 0);
        assert_eq!(count("HTTP/1.1 100 Continue\r\n\r\n"), 0);
        assert_eq!(
            count("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nokHTTP/1.0 400 Bad\r\n\r\n"),
            2
        );
    }
}
