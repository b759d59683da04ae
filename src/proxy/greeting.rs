//! What comes before a connection's first request: for whom it is (PROXY protocol), its TLS handshake, and which
//! protocol is spoken.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::connection::{ConnectionClock, Phase, Watched};
use super::fault::Fault;
use super::h1_server::Refused;
use super::h2_server::serve_http2;
use super::handle::{Asked, Client};
use super::listener::{First, LINGER, converse, first_bytes, refuse};
use super::stream::Stream;
use super::upstream::ClientAddresses;
use super::worker::Worker;
use crate::measure::RejectReason;
use crate::proxy_protocol::{self, Header, Malformed};
use crate::route::{Hsts, is_in};
use crate::tls::{ListenerTls, Server, identity};

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are looked at for a PROXY header in one go: more than the usual ones have.
const PEEK_BYTES: usize = 256;

/// Serves a connection that was let in, until it ends.
pub(super) async fn greet(worker: &Rc<Worker>, tls: ListenerTls, mut tcp: TcpStream, mut client: Client) {
    let deadline = Instant::now() + client.settings.handshake;
    if client.settings.proxy_protocol && !Box::pin(announced(worker, &mut tcp, &mut client, deadline)).await {
        worker.cells().reject(RejectReason::ProxyProtocol);
        return;
    }
    if client.settings.proxy_protocol {
        // Only now it is known who the client is.
        match worker.seat(client.listener, client.peer, &client.settings) {
            Ok(seat) => client.seat = seat,
            Err(fault) if tls == ListenerTls::Clear => {
                return Box::pin(refuse(worker, Stream::clear(tcp), Refused::of(fault))).await;
            }
            Err(_) => return,
        }
    }
    match tls {
        ListenerTls::Clear => serve_clear(worker, tcp, Rc::new(client)).await,
        ListenerTls::Ready(server) => Box::pin(serve_tls(worker, server, tcp, client, deadline)).await,
        ListenerTls::Unread => worker.cells().reject(RejectReason::Handshake),
    }
}

/// Reads the PROXY header, and has `client` be whom it names. False: there is none, or it comes from somebody who is no
/// trusted proxy, or not in time.
///
/// Who passes a connection on has not written what comes on it: whether forwarding fields in it are believed goes by
/// the client that was announced. Where that is unknown, nothing is.
async fn announced(worker: &Worker, tcp: &mut TcpStream, client: &mut Client, deadline: Instant) -> bool {
    if !worker.with_table(|table| is_in(&table.trusted_proxies, client.peer)) {
        tracing::debug!(peer = %client.peer, "a PROXY header is due, but this peer is no trusted proxy");
        return false;
    }
    let header = match timeout_at(deadline, read_header(tcp)).await {
        Ok(Ok(header)) => header,
        Ok(Err(why)) => {
            tracing::debug!(peer = %client.peer, %why, "no PROXY header");
            return false;
        }
        Err(_) => {
            tracing::debug!(peer = %client.peer, "no PROXY header in time");
            return false;
        }
    };
    match header {
        Header::Own => {}
        Header::Unknown => client.is_unknown = true,
        Header::Relayed { source, destination } => client.is_at(ClientAddresses { source, destination }),
    }
    true
}

/// Takes the header from the socket, and not a byte more: what follows is the handshake's.
async fn read_header(tcp: &mut TcpStream) -> io::Result<Header> {
    let bad = |why: Malformed| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut head = Vec::with_capacity(PEEK_BYTES);
    let mut ahead = [0; PEEK_BYTES];
    loop {
        let seen = tcp.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let taken = head.len();
        head.extend_from_slice(&ahead[..seen]);
        match proxy_protocol::parse(&head).map_err(bad)? {
            // All of what was seen belongs to it: the next look shows what comes after.
            None => tcp.read_exact(&mut ahead[..seen]).await?,
            Some((header, length)) => {
                tcp.read_exact(&mut ahead[..length - taken]).await?;
                return Ok(header);
            }
        };
    }
}

async fn serve_tls(worker: &Rc<Worker>, server: Arc<Server>, tcp: TcpStream, mut client: Client, deadline: Instant) {
    let acceptor = TlsAcceptor::from(Arc::clone(server.config()));
    let tls = match timeout_at(deadline, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        failed => {
            worker.cells().reject(RejectReason::Handshake);
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "it took too long".to_owned(),
            };
            tracing::debug!(peer = %client.peer, why, "a TLS handshake failed");
            return;
        }
    };
    // Once for each connection: HTTP/1 and HTTP/2 alike have one client.
    let session = tls.get_ref().1;
    let shown = session.peer_certificates().and_then(<[_]>::first);
    client.certificate = shown.and_then(|certificate| identity(certificate));
    client.asked = session.server_name().map(|name| Asked {
        name: name.into(),
        server,
    });
    client.hsts = client.settings.hsts.map(hsts);
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let client = Rc::new(client);
    if is_http2 {
        return Box::pin(serve_http2(worker, Stream::tls(tls), client)).await;
    }
    let ahead = worker.buffers.borrow_mut().input();
    let watched = watch(worker, &client);
    converse(worker, Stream::tls(tls), ahead, &client, &watched.clock).await;
}

/// `Strict-Transport-Security` (RFC 6797 §6.1).
fn hsts(hsts: Hsts) -> Bytes {
    let mut field = format!("max-age={}", hsts.max_age_s);
    for (said, word) in [
        (hsts.include_subdomains, "; includeSubDomains"),
        (hsts.preload, "; preload"),
    ] {
        field.push_str(if said { word } else { "" });
    }
    field.into()
}

async fn serve_clear(worker: &Rc<Worker>, tcp: TcpStream, client: Rc<Client>) {
    let watched = watch(worker, &client);
    let mut stream = Stream::clear(tcp);
    let mut ahead = match first_bytes(worker, &mut stream, &watched.clock).await {
        First::Bytes(ahead) => ahead,
        // It may be on its way to its first request.
        First::Closing => match Box::pin(timeout(LINGER, stream.first_bytes(&worker.buffers))).await {
            Ok(Ok(ahead)) => ahead,
            _ => return,
        },
        First::Late | First::Gone => return,
    };
    if PREFACE.starts_with(&ahead) {
        match Box::pin(timeout(
            client.settings.request_head,
            read_preface(&mut stream, &mut ahead),
        ))
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return worker.buffers.borrow_mut().give_input(ahead),
            Err(_) => {
                worker.cells().reject(RejectReason::HeadTimeout);
                return Box::pin(refuse(worker, stream, Refused::of(Fault::HeadTimeout))).await;
            }
        }
    }
    if ahead.starts_with(PREFACE) {
        drop(watched);
        stream.unread(Bytes::copy_from_slice(&ahead));
        worker.buffers.borrow_mut().give_input(ahead);
        return Box::pin(serve_http2(worker, stream, client)).await;
    }
    converse(worker, stream, ahead, &client, &watched.clock).await;
}

fn watch(worker: &Rc<Worker>, client: &Client) -> Watched {
    Watched::new(
        worker,
        ConnectionClock::new(client.settings, Phase::Idle, worker.now_us()),
    )
}

/// Reads until it is plain whether the client speaks HTTP/2.
async fn read_preface(stream: &mut Stream, ahead: &mut BytesMut) -> io::Result<()> {
    while ahead.len() < PREFACE.len() && PREFACE.starts_with(ahead) {
        if stream.read_buf(ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
