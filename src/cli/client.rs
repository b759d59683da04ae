//! Asks a running Serin over its admin API: one connection for each question.

use std::time::Duration;

use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::trust::Trust;

/// Between the first packet and the whole answer. The server itself gives up after 10 s.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of an answer: 10,000 routes are some 5 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a Serin is, and with which token we come.
#[derive(Clone, Debug)]
pub struct Client {
    host: String,
    port: u16,
    token: Option<String>,
    /// For `https`.
    secure: bool,
    trust: Trust,
}

/// One question.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Path and query, names already escaped by [`segment`].
    pub target: String,
    /// Sent as `If-Match`.
    pub if_match: Option<u64>,
    /// JSON.
    pub body: Option<Value>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its JSON.
    pub body: Value,
    /// Its text as sent.
    pub text: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no address we can use.
    #[error("--admin {url:?}: {why}")]
    BadUrl {
        /// As given.
        url: String,
        /// What to mend.
        why: &'static str,
    },
    /// Nobody there, or it went away before it had answered.
    #[error("no Serin answers at {address}: {why}; is it running, and is this its admin address?")]
    Unreachable {
        /// Scheme, host and port.
        address: String,
        /// The system's words.
        why: String,
    },
    /// Somebody is there who is no Serin.
    #[error("what answers at {address} is no Serin: {why}")]
    Foreign {
        /// Scheme, host and port.
        address: String,
        /// What was wrong with its answer.
        why: String,
    },
}

impl Client {
    /// For the Serin whose admin API is at `url`, such as `http://127.0.0.1:9901` or an `https` one.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`]
    pub fn new(url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let bad = |why| ClientError::BadUrl {
            url: url.to_owned(),
            why,
        };
        let whole = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let uri: Uri = whole.parse().map_err(|_| bad("is no URL; write http://HOST:PORT"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("is no URL; write http://HOST:PORT or https://HOST:PORT")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("has a path; write http://HOST:PORT or https://HOST:PORT"));
        }
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("has a user in it; use --token"));
        }
        if token.is_some_and(|token| token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(bad("the token must be printable ASCII without spaces"));
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            token: token.map(str::to_owned),
            secure,
            trust: Trust::default(),
        })
    }

    /// This client, but over `https` it believes and shows what `trust` says.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    fn address(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] and [`ClientError::Foreign`]
    pub async fn ask(&self, question: Question) -> Result<Answer, ClientError> {
        let asked = tokio::time::timeout(TIMEOUT, self.exchange(question)).await;
        let late = || self.unreachable(format!("no answer within {} s", TIMEOUT.as_secs()));
        asked.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(&self, question: Question) -> Result<Answer, ClientError> {
        // An IPv6 address stands in brackets in a URL, and without them at a socket.
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let unreachable = |error: &dyn std::fmt::Display| self.unreachable(error.to_string());
        let stream = TcpStream::connect((host, self.port))
            .await
            .map_err(|e| unreachable(&e))?;
        if self.secure {
            let stream = self.trust.connect(host, stream).await.map_err(|e| unreachable(&e))?;
            return self.converse(stream, question).await;
        }
        self.converse(stream, question).await
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        question: Question,
    ) -> Result<Answer, ClientError> {
        let unreachable = |error: &dyn std::fmt::Display| self.unreachable(error.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        tokio::spawn(connection);
        let response = sender
            .send_request(self.request(question))
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| unreachable(&error))?
            .to_bytes();
        let foreign = |why: String| ClientError::Foreign {
            address: self.address(),
            why,
        };
        let text = String::from_utf8(body.to_vec()).map_err(|_| foreign(format!("status {status}, no text")))?;
        let body = serde_json::from_str(&text).map_err(|_| foreign(format!("status {status}, no JSON")))?;
        Ok(Answer { status, body, text })
    }

    fn request(&self, question: Question) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.target)
            .header(header::HOST, self.authority())
            .header(header::USER_AGENT, concat!("serin/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(generation) = question.if_match {
            request = request.header(header::IF_MATCH, format!("\"{generation}\""));
        }
        let body = match question.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Full::from(body.to_string())
            }
            None => Full::default(),
        };
        request.body(body).expect("the parts were checked one by one")
    }

    fn unreachable(&self, why: String) -> ClientError {
        ClientError::Unreachable {
            address: self.address(),
            why,
        }
    }
}

impl Question {
    /// Looks, changes nothing.
    #[must_use]
    pub fn get(target: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: target.into(),
            if_match: None,
            body: None,
        }
    }

    /// Changes something.
    #[must_use]
    pub fn change(method: Method, target: impl Into<String>, body: Value) -> Self {
        Self {
            method,
            target: target.into(),
            if_match: None,
            body: Some(body),
        }
    }
}

/// A name as one segment of a path: what is no plain letter is escaped (RFC 3986 §2.1).
#[must_use]
pub fn segment(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && name.len() > 2) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Client, segment};

    fn goes_to(url: &str, expected: Option<&str>) {
        let authority = Client::new(url, None).ok().map(|client| client.authority());
        assert_eq!(authority.as_deref(), expected, "{url}");
    }

    #[test]
    fn an_admin_url_is_a_host_and_a_port() {
        goes_to("http://127.0.0.1:9901", Some("127.0.0.1:9901"));
        goes_to("http://[::1]:9901/", Some("[::1]:9901"));
        goes_to("localhost:9901", Some("localhost:9901"));
        goes_to("http://serin", Some("serin:80"));
        goes_to("https://127.0.0.1:9901", Some("127.0.0.1:9901"));
        goes_to("https://serin", Some("serin:443"));
        goes_to("http://127.0.0.1:9901/v1", None);
        goes_to("http://127.0.0.1:9901/?a", None);
        goes_to("http://me@127.0.0.1", None);
        goes_to("ftp://127.0.0.1", None);
        goes_to("http://", None);
        goes_to("", None);
        goes_to("http://a b", None);
    }

    #[test]
    fn tokens_cannot_break_out_of_their_header() {
        for (token, ok) in [
            ("abc-123._~", true),
            ("", false),
            ("a b", false),
            ("a\r\nx: y", false),
            ("ä", false),
        ] {
            assert_eq!(Client::new("http://h", Some(token)).is_ok(), ok, "{token:?}");
        }
    }

    #[test]
    fn names_are_one_segment() {
        assert_eq!(segment("checkout-v1.2_x"), "checkout-v1.2_x");
        assert_eq!(segment("a/b ?ä"), "a%2Fb%20%3F%C3%A4");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
