//! A server for tests that answers each connection by a script, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What is done with one connection once its request is read.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// These bytes, and the connection is closed.
    Raw(String),
    /// Nothing, until the client goes.
    Silence,
    /// A head and so many bytes.
    Flood(usize),
    /// A head, and a byte now and then, without end.
    Drip,
    /// A head without end.
    HugeHead,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Serves on a free port until it is dropped. Behind the end of its script it closes connections.
pub(crate) struct Server {
    authority: String,
    scheme: &'static str,
    marks: Arc<Marks>,
    task: JoinHandle<()>,
}

struct Marks {
    seen: Mutex<Vec<Seen>>,
    /// Requests, connections that ended, bytes that were sent.
    counts: watch::Sender<(usize, usize, usize)>,
}

impl Act {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        // 204 has no body, and no length.
        let length = match status {
            204 => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        Self::Raw(format!("HTTP/1.1 {status} Word\r\n{length}\r\n{body}"))
    }

    pub(crate) fn raw(text: &str) -> Self {
        Self::Raw(text.to_owned())
    }
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(found, _)| found == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} came twice");
        first
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

impl Server {
    pub(crate) async fn start(script: Vec<Act>) -> Self {
        Self::begin(script, None).await
    }

    pub(crate) async fn start_tls(script: Vec<Act>, acceptor: TlsAcceptor) -> Self {
        Self::begin(script, Some(acceptor)).await
    }

    async fn begin(script: Vec<Act>, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let marks = Arc::new(Marks {
            seen: Mutex::default(),
            counts: watch::Sender::default(),
        });
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let task = tokio::spawn(accept(listener, acceptor, script, Arc::clone(&marks)));
        Self {
            authority,
            scheme,
            marks,
            task,
        }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("{}://{}{target}", self.scheme, self.authority)
    }

    /// What was asked since the last time.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.marks.seen.lock().unwrap())
    }

    /// So many requests have come since the beginning.
    pub(crate) async fn seen(&self, count: usize) {
        let mut counts = self.marks.counts.subscribe();
        counts.wait_for(|counts| counts.0 >= count).await.unwrap();
    }

    pub(crate) async fn seen_one(&self) {
        self.seen(1).await;
    }

    /// A connection has ended.
    pub(crate) async fn closed_one(&self) {
        let mut counts = self.marks.counts.subscribe();
        counts.wait_for(|counts| counts.1 >= 1).await.unwrap();
    }

    /// How many bytes of body had gone out when the connection ended.
    pub(crate) async fn sent(&self) -> usize {
        self.closed_one().await;
        self.marks.counts.borrow().2
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, script: Vec<Act>, marks: Arc<Marks>) {
    let mut script = script.into_iter();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let act = script.next().unwrap_or(Act::Raw(String::new()));
        let (acceptor, marks) = (acceptor.clone(), Arc::clone(&marks));
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, act, &marks).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, act, &marks).await;
                    }
                }
            }
            marks.counts.send_modify(|counts| counts.1 += 1);
        });
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, act: Act, marks: &Marks) {
    let Some(seen) = request(&mut stream).await else { return };
    marks.seen.lock().unwrap().push(seen);
    marks.counts.send_modify(|counts| counts.0 += 1);
    // Whoever goes meanwhile ends it: a failed writing is no error here.
    let _ = answer(&mut stream, act, marks).await;
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), act: Act, marks: &Marks) -> std::io::Result<()> {
    match act {
        Act::Raw(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
        }
        Act::Silence => {}
        Act::Flood(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            for part in vec![b'x'; bytes].chunks(16 << 10) {
                stream.write_all(part).await?;
                marks.counts.send_modify(|counts| counts.2 += part.len());
            }
        }
        Act::Drip => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                .await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Act::HugeHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
    }
    // Until the client goes.
    let mut rest = [0; 64];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Reads one request whose body has a length.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(head_end);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { line, headers, body })
}

/// A server's certificate for 127.0.0.1, and the roots that vouch for it.
pub(crate) fn certified() -> (TlsAcceptor, RootCertStore) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}
