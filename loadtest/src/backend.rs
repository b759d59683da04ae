//! The service behind every proxy: a cheap HTTP/1.1 responder, run as a process of its own.
//!
//! It answers each request that has no body with the same bytes (1 KiB by default), keeps connections open, and answers pipelined requests in
//! order. `GET /requests` answers how many of the others it has seen, so that a split can be verified.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Length of the answer's body in bytes, unless another is asked for.
pub(crate) const BODY_BYTES: usize = 1024;

/// Path whose answer is the count of requests; asking for it does not count.
pub(crate) const COUNT_PATH: &str = "/requests";

/// The most bytes of a request head; the load and the proxies send a few hundred.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Serves the fixed answer on a loopback port until it is ended. The other scenarios start it by themselves.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Value of the answer's `x-served-by`, by which a client sees who answered.
    #[arg(long, default_value = "backend")]
    name: String,
    /// Length of the answer's body.
    #[arg(long, default_value_t = BODY_BYTES)]
    body_bytes: usize,
}

/// What the connections share: one thread serves them all.
struct Shared {
    name: String,
    body_bytes: usize,
    requests: Cell<u64>,
    answer: RefCell<Vec<u8>>,
}

/// Serves until an error on the listener.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .await
        .context("cannot listen")?;
    let (name, body_bytes) = (options.name.clone(), options.body_bytes);
    let answer = RefCell::new(render_answer(&name, body_bytes, SystemTime::now()));
    let shared = Rc::new(Shared {
        name,
        body_bytes,
        requests: Cell::new(0),
        answer,
    });
    tokio::task::LocalSet::new().run_until(accept(listener, shared)).await
}

/// Accepts connections, and renders the answer anew each second for its date.
async fn accept(listener: TcpListener, shared: Rc<Shared>) -> anyhow::Result<bool> {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("cannot accept")?;
                stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
                // A connection that breaks is its client's affair.
                tokio::task::spawn_local(serve(stream, Rc::clone(&shared)));
            }
            _ = second.tick() => *shared.answer.borrow_mut() = render_answer(&shared.name, shared.body_bytes, SystemTime::now()),
        }
    }
}

/// Answers one connection's requests until it ends or sends what we do not serve.
async fn serve(mut stream: TcpStream, shared: Rc<Shared>) -> std::io::Result<()> {
    let mut input = Vec::with_capacity(4096);
    let mut output = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut input).await? == 0 || input.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
        let mut taken = 0;
        while let Some(length) = head_length(&input[taken..]) {
            let head = &input[taken..taken + length];
            if head.starts_with(b"GET /requests ") {
                output.extend_from_slice(&render(
                    "text/plain",
                    &shared.name,
                    shared.requests.get().to_string().as_bytes(),
                ));
            } else if head.starts_with(b"GET ") {
                shared.requests.set(shared.requests.get() + 1);
                output.extend_from_slice(&shared.answer.borrow());
            } else {
                return Ok(());
            }
            taken += length;
        }
        input.drain(..taken);
        stream.write_all(&output).await?;
        output.clear();
    }
}

/// Length of the head that begins `input`, its empty line included; `None` while it is not complete.
fn head_length(input: &[u8]) -> Option<usize> {
    input
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn render_answer(name: &str, body_bytes: usize, now: SystemTime) -> Vec<u8> {
    let date = httpdate::fmt_http_date(now);
    let body = "x".repeat(body_bytes);
    format!(
        "HTTP/1.1 200 OK\r\nserver: loadtest\r\ndate: {date}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {body_bytes}\r\ncache-control: no-store\r\nx-served-by: {name}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn render(content_type: &str, name: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nx-served-by: {name}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_stated_length() {
        let answer = render_answer("stable", BODY_BYTES, SystemTime::UNIX_EPOCH);
        let head = head_length(&answer).expect("a head");
        assert_eq!(answer.len() - head, BODY_BYTES);
        let text = String::from_utf8_lossy(&answer[..head]).into_owned();
        assert!(text.contains("date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{text}");
        assert!(text.contains("x-served-by: stable\r\n"), "{text}");
    }

    #[test]
    fn a_head_ends_with_its_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n\r\nGET"), Some(18));
    }
}
