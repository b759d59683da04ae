//! A client that speaks HTTP/2 from the first byte.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// One connection; clones share it.
#[derive(Clone)]
pub struct H2 {
    sender: http2::SendRequest<BoxBody<Bytes, Infallible>>,
}

impl H2 {
    /// In clear, by prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("it accepts")).await
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a handshake");
        tokio::spawn(async move { connection.await.ok() });
        Self { sender }
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&mut self, request: Request<BoxBody<Bytes, Infallible>>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// A whole exchange: status and fields, body, trailers.
    pub async fn exchange(
        &mut self,
        request: Request<BoxBody<Bytes, Infallible>>,
    ) -> (http::response::Parts, Bytes, Option<HeaderMap>) {
        let (parts, body) = self.send(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body");
        let trailers = body.trailers().cloned();
        (parts, body.to_bytes(), trailers)
    }
}
