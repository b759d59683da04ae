//! Keeps strangers away from the admin address: those without a token, where there are tokens, and web
//! pages. A page in somebody's browser can send requests here, under a name of its own (DNS rebinding)
//! or from another origin; it knows no token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderMap, Method, header};

use super::caller::Caller;
use super::problem::{Kind, Problem};
use super::{Admin, BODY_BYTES_MAX};
use crate::tls::ListenerTls;

/// Lets a request pass, with who sends it, or answers 401, 403 or 421.
pub(super) async fn guard(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    match enter(&admin, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn enter(admin: &Admin, request: &Request) -> Result<Caller, Problem> {
    check_body(request.method(), request.headers())?;
    check_path(request.headers(), || {
        let backends = &admin.context.live.table().backends;
        backends.iter().any(|backend| backend.allow_internal)
    })?;
    let uri = request.uri();
    let caller = admin.caller(request.headers(), uri.path())?;
    match caller {
        // Whoever shows a token may call us by any name.
        Caller::Person(_) => {}
        Caller::Anyone | Caller::Stranger => {
            let named = uri.authority().map(Authority::as_str);
            let us = Us {
                bound: admin.address,
                https: matches!(*admin.context.tls.borrow(), ListenerTls::Ready(_)),
            };
            check(us, named, request.method(), request.headers())?;
        }
    }
    Ok(caller)
}

/// What asks for something says it in its target: a body of a GET or a HEAD means nothing (RFC 9110 §9.3.1), and is
/// where requests are hidden from those who read it otherwise. One that is too large is refused before it has come.
fn check_body(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let malformed = |detail: String| Err(Problem::new(Kind::Malformed, detail));
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return match chunked && reads(method) {
            true => malformed(format!("a {method} has no body here")),
            false => Ok(()),
        };
    };
    let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(0) => Ok(()),
        _ if reads(method) => malformed(format!("a {method} has no body here")),
        Some(length) if length <= BODY_BYTES_MAX as u64 => Ok(()),
        _ => {
            let detail = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            Err(Problem::new(Kind::TooLarge, detail))
        }
    }
}

fn reads(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// What carries the mark of a proxy such as we are comes from that one's clients, by a backend that leads here: a
/// second lock besides the look at where backends lead. `allowed`: a backend says that it may.
fn check_path(headers: &HeaderMap, allowed: impl FnOnce() -> bool) -> Result<(), Problem> {
    if headers.contains_key("x-serin-route") && !allowed() {
        return Err(Problem::new(
            Kind::Proxied,
            "this request came through a route of Serin, and clients of a proxy have no business here; ask the admin \
             address itself, or write `allowInternal: true` at the backend",
        ));
    }
    Ok(())
}

/// How people reach us.
#[derive(Clone, Copy)]
struct Us {
    /// The address that we are bound to.
    bound: SocketAddr,
    /// By TLS.
    https: bool,
}

/// `Host` must be an address of ours: loopback, `localhost`, or the one we are bound to. A rebound
/// name is none of them. No `Host` at all passes: no browser leaves it out. `Origin`, which
/// browsers add to every write, must then be the same host.
fn check(us: Us, named: Option<&str>, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().unwrap_or("?")),
        (Some(_), Some(_)) => return Err(Problem::new(Kind::Malformed, "more than one Host")),
    };
    // A whole address as the target names the host as well, and before the field does.
    if let Some(host) = named.into_iter().chain(host).find(|host| !is_ours(host, us.bound)) {
        let host: String = host.chars().take(80).collect();
        return Err(Problem::new(
            Kind::ForeignHost,
            format!("{host:?} is not this admin address; use localhost or the address itself"),
        ));
    }
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    let same_origin = |origin: &http::HeaderValue| {
        origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix(if us.https { "https://" } else { "http://" }))
            .is_some_and(|authority| Some(authority) == host)
    };
    if !reads && !headers.get_all(header::ORIGIN).iter().all(same_origin) {
        return Err(Problem::new(
            Kind::ForeignOrigin,
            "web pages of other origins may not change anything here",
        ));
    }
    Ok(())
}

fn is_ours(host: &str, bound: SocketAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let name = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    name.parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback() || ip == bound.ip() || bound.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, Method};

    use super::{Us, check, check_body, check_path};

    fn us(bound: &str, https: bool) -> Us {
        let bound = bound.parse().unwrap();
        Us { bound, https }
    }

    fn passes(bound: &str, method: Method, fields: &[(&str, &str)]) -> bool {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        check(us(bound, false), None, &method, &headers).is_ok()
    }

    #[test]
    fn what_came_through_a_route_is_refused_unless_a_backend_may_lead_here() {
        let through = |name: &str, allowed| {
            let name = name.parse::<HeaderName>().unwrap();
            check_path(&HeaderMap::from_iter([(name, "shop".parse().unwrap())]), || allowed).is_ok()
        };
        assert!(!through("x-serin-route", false));
        assert!(!through("X-Serin-Route", false));
        assert!(through("x-serin-route", true));
        assert!(through("x-request-id", false));
    }

    fn host(host: &str, expected: bool) {
        let is = passes("10.1.2.3:9901", Method::GET, &[("host", host)]);
        assert_eq!(is, expected, "{host}");
    }

    fn origin(origin: &str, expected: bool) {
        let fields = [("host", "localhost:9901"), ("origin", origin)];
        assert_eq!(passes("127.0.0.1:9901", Method::POST, &fields), expected, "{origin}");
        assert!(passes("127.0.0.1:9901", Method::GET, &fields), "reading {origin}");
    }

    #[test]
    fn only_our_own_addresses_are_hosts() {
        host("localhost:9901", true);
        host("LOCALHOST", true);
        host("127.0.0.1:9901", true);
        host("127.8.8.8", true);
        host("[::1]:9901", true);
        host("10.1.2.3:9901", true);
        host("10.1.2.4:9901", false);
        host("evil.example", false);
        host("localhost.evil.example:9901", false);
        host("127.0.0.1.evil.example", false);
        host("user@localhost", false);
        host("", false);
        assert!(passes("0.0.0.0:9901", Method::GET, &[("host", "192.168.7.7:9901")]));
        assert!(passes("0.0.0.0:9901", Method::GET, &[]));
        assert!(!passes(
            "0.0.0.0:9901",
            Method::GET,
            &[("host", "localhost"), ("host", "localhost")]
        ));
    }

    #[test]
    fn the_target_names_a_host_as_well() {
        let headers: HeaderMap = [(http::header::HOST, "localhost".parse().unwrap())]
            .into_iter()
            .collect();
        let named = |named| check(us("127.0.0.1:9901", false), named, &Method::GET, &headers).is_ok();
        assert!(named(None) && named(Some("127.0.0.1:9901")));
        assert!(!named(Some("evil.example")));
    }

    #[test]
    fn over_tls_our_own_origin_is_https() {
        let check = |origin: &str, expected: bool| {
            let fields = [("host", "localhost:9901"), ("origin", origin)];
            let fields = fields.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
            let headers: HeaderMap = fields.into_iter().collect();
            let passes = check(us("127.0.0.1:9901", true), None, &Method::POST, &headers).is_ok();
            assert_eq!(passes, expected, "{origin}");
        };
        check("https://localhost:9901", true);
        check("http://localhost:9901", false);
        check("https://evil.example", false);
    }

    #[test]
    fn bodies_are_where_they_belong_and_bounded() {
        let check = |method: Method, field: (&'static str, &'static str), expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(field.0, field.1.parse().unwrap());
            assert_eq!(check_body(&method, &headers).is_ok(), expected, "{method} {field:?}");
        };
        check(Method::GET, ("content-length", "1"), false);
        check(Method::HEAD, ("content-length", "7"), false);
        check(Method::POST, ("content-length", "1048576"), true);
        check(Method::POST, ("content-length", "1048577"), false);
        check(Method::GET, ("transfer-encoding", "chunked"), false);
        check(Method::GET, ("content-length", "0"), true);
        check(Method::GET, ("accept", "*/*"), true);
        check(Method::POST, ("content-length", "1"), true);
        check(Method::DELETE, ("content-length", "1"), true);
    }

    #[test]
    fn pages_of_other_origins_may_not_write() {
        origin("http://localhost:9901", true);
        origin("http://localhost", false);
        origin("https://localhost:9901", false);
        origin("http://evil.example", false);
        origin("null", false);
        assert!(passes("127.0.0.1:9901", Method::PUT, &[("host", "localhost:9901")]));
    }
}
