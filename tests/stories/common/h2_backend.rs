//! Backends that speak HTTP/2 (or anything else) as a story says, in clear or over TLS, on the story's own runtime.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A stream to a client, in clear or over TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A request, and the way to answer it.
pub struct Call {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
    /// Number of the connection that it came on, from 0.
    pub connection: usize,
}

/// A certificate and its key.
pub struct Pair {
    pub certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Pair {
    /// Signed by itself, for these names.
    pub fn of(names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let signed = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            certificate: signed.cert.der().clone(),
            certificate_pem: signed.cert.pem(),
            key_pem: signed.signing_key.serialize_pem(),
        }
    }

    /// What a server needs that shows it; with `clients`, only they are let in.
    pub fn acceptor(&self, protocol: &str, clients: Option<&Self>) -> TlsAcceptor {
        use rustls::pki_types::pem::PemObject as _;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .expect("versions that the provider knows");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(pair.certificate.clone()).expect("a certificate");
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("roots"))
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key");
        let mut config = builder
            .with_single_cert(vec![self.certificate.clone()], key)
            .expect("they fit");
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A listening socket whose connections are served by the story.
pub struct Peer {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    accepting: tokio::task::AbortHandle,
}

impl Peer {
    /// Serves every connection by `serve`, which is given its number; over TLS where there is an acceptor.
    pub async fn start<F>(
        tls: Option<TlsAcceptor>,
        serve: impl Fn(Box<dyn Stream>, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let serve = Arc::new(serve);
        let accepting = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let nth = count.fetch_add(1, Ordering::SeqCst);
                let (tls, serve) = (tls.clone(), Arc::clone(&serve));
                tokio::spawn(async move {
                    tcp.set_nodelay(true).ok();
                    match tls {
                        None => serve(Box::new(tcp), nth).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                serve(Box::new(stream), nth).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            accepted,
            accepting: accepting.abort_handle(),
        }
    }

    /// Speaks HTTP/2 as `builder` says, and answers every request by `answer`.
    pub async fn http2<F>(
        tls: Option<TlsAcceptor>,
        builder: h2::server::Builder,
        answer: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self::start(tls, move |stream, connection| {
            let (builder, answer) = (builder.clone(), Arc::clone(&answer));
            async move {
                let Ok(mut serving) = builder.handshake::<_, Bytes>(stream).await else {
                    return;
                };
                while let Some(Ok((request, respond))) = serving.accept().await {
                    tokio::spawn(answer(Call {
                        request,
                        respond,
                        connection,
                    }));
                }
            }
        })
        .await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Call {
    /// All of the request's body, and its trailers.
    pub async fn whole(&mut self) -> Option<(Vec<u8>, Option<HeaderMap>)> {
        let body = self.request.body_mut();
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.ok()?;
            body.flow_control().release_capacity(data.len()).ok()?;
            all.extend_from_slice(&data);
        }
        Some((all, body.trailers().await.ok()?))
    }

    /// Answers with this head, body and trailers; with an end in the head where there is neither.
    pub async fn answer(&mut self, head: http::response::Builder, body: impl Into<Bytes>, trailers: Option<HeaderMap>) {
        let body = body.into();
        let head: Response<()> = head.body(()).expect("a head");
        let bare = body.is_empty() && trailers.is_none();
        let Ok(mut send) = self.respond.send_response(head, bare) else {
            return;
        };
        if !bare {
            send_all(&mut send, body, trailers).await;
        }
    }
}

/// Sends a whole body as the windows allow, and ends the stream.
pub async fn send_all(send: &mut SendStream<Bytes>, mut body: Bytes, trailers: Option<HeaderMap>) {
    while !body.is_empty() {
        send.reserve_capacity(body.len());
        match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(room)) => {
                let piece = body.split_to(room.min(body.len()));
                if send.send_data(piece, false).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
    match trailers {
        Some(trailers) => send.send_trailers(trailers).ok(),
        None => send.send_data(Bytes::new(), true).ok(),
    };
}

/// The same as fields.
pub fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, http::HeaderValue::from_static(value));
    }
    map
}
