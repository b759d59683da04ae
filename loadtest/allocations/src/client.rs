//! The child that asks: on command it makes so many exchanges over connections that stay open from first to last.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::Context;

use crate::message::Reader;

/// Length of a POST's body.
const POST_BYTES: usize = 200;

/// Different values of `x-user-id`.
const USERS: usize = 1000;

/// What the client needs to know.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Port of Serin on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Connections, each with one request at a time.
    #[arg(long)]
    connections: usize,
}

/// Obeys lines such as `get 10000` and `post 10000` until its standard input ends; answers each with the number of
/// exchanges that succeeded.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut connections = (0..options.connections)
        .map(|_| Reader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, options.port))?))
        .collect::<io::Result<Vec<Reader>>>()
        .context("cannot connect")?;
    for line in io::stdin().lock().lines() {
        let line = line.context("cannot read a command")?;
        let (kind, count) = line.split_once(' ').context("a command is a kind and a count")?;
        let count = count.parse().context("the count is no number")?;
        let requests: Vec<Vec<u8>> = (0..USERS).map(|user| request(kind, user, options.port)).collect();
        println!("{}", exchange(&mut connections, &requests, count)?);
    }
    Ok(())
}

/// Makes `count` exchanges, one on each connection at a time, and answers how many got a 200.
fn exchange(connections: &mut [Reader], requests: &[Vec<u8>], count: usize) -> anyhow::Result<usize> {
    let (mut made, mut good) = (0, 0);
    while made < count {
        let batch = connections.len().min(count - made);
        for (index, connection) in connections[..batch].iter_mut().enumerate() {
            connection
                .stream
                .write_all(&requests[(made + index) % requests.len()])?;
        }
        for connection in &mut connections[..batch] {
            let line = connection.read()?.context("the connection ended")?;
            good += usize::from(line.starts_with("HTTP/1.1 200"));
        }
        made += batch;
    }
    Ok(good)
}

fn request(kind: &str, user: usize, port: u16) -> Vec<u8> {
    let fields = format!("host: 127.0.0.1:{port}\r\nx-user-id: user-{user}\r\n");
    match kind {
        "post" => {
            let body = "x".repeat(POST_BYTES);
            format!("POST / HTTP/1.1\r\n{fields}content-length: {POST_BYTES}\r\n\r\n{body}")
        }
        _ => format!("GET / HTTP/1.1\r\n{fields}\r\n"),
    }
    .into_bytes()
}
