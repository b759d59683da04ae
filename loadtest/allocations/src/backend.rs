//! The child that is both backends: it answers every request with the same 1 KiB.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use anyhow::Context;

use crate::message::Reader;

/// Prints its two ports on one line, and serves until its standard input ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut ports = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        ports.push(listener.local_addr().context("no local address")?.port());
        thread::spawn(move || accept(&listener));
    }
    println!("{} {}", ports[0], ports[1]);
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot read the standard input")?;
    Ok(())
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A connection that breaks is its client's affair.
        thread::spawn(move || serve(Reader::new(stream)?));
    }
}

fn serve(mut reader: Reader) -> io::Result<()> {
    let body = "x".repeat(1024);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\ncache-control: no-store\r\n\r\n{body}",
        body.len()
    );
    while reader.read()?.is_some() {
        reader.stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
