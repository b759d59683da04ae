//! One canonical path: what is matched is what the backend gets, and no other way of writing a path leads past
//! a rule. The same tables hold over HTTP/1.1 and HTTP/2.

use std::fs;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};

use crate::common::{Backend, Client, H2, Metrics, Options, Serin, backend, fetch, get, ok, one, wait_until};

/// A target as sent, and what becomes of it: the route that it matches and the target that the
/// backend gets, or the detail of the refusal.
type Row = (&'static str, Result<(&'static str, &'static str), &'static str>);

const DOTS: &str = "the path holds a dot segment";
const HIDDEN: &str = "the path holds a dot segment with a parameter or an encoded separator";
const EMPTY: &str = "the path holds an empty segment";
const SLASH: &str = "the path holds an encoded slash";
const BACKSLASH: &str = "the path holds a backslash";
const ENCODED_BACKSLASH: &str = "the path holds an encoded backslash";
const CONTROL: &str = "the path holds an encoded control character";
const ESCAPE: &str = "the path holds a percent sign without two hexadecimal digits";
const ROOT: &str = "the path climbs above its root";
const BYTE: &str = "the target holds a byte that no target has";

/// Alike under both policies.
const COMMON: [Row; 24] = [
    ("/admin", Ok(("admin", "/admin"))),
    ("/admin/", Ok(("admin", "/admin/"))),
    ("/admin/x?y=/../z", Ok(("admin", "/admin/x?y=/../z"))),
    ("/%61dmin", Ok(("admin", "/admin"))),
    ("/%61%64%6D%69%6e/%7e", Ok(("admin", "/admin/~"))),
    ("/admin%", Err(ESCAPE)),
    ("/admin%2", Err(ESCAPE)),
    ("/admin%zz", Err(ESCAPE)),
    ("/admin%00", Err(CONTROL)),
    ("/admin%0d%0ax", Err(CONTROL)),
    ("/x\\..\\admin", Err(BACKSLASH)),
    ("/\\admin", Err(BACKSLASH)),
    ("/..;/admin", Err(HIDDEN)),
    ("/x/..;a=b/admin", Err(HIDDEN)),
    ("/x/%2e%2e%3b/admin", Err(HIDDEN)),
    ("/é", Err(BYTE)),
    // Escapes are decoded once: to a backend that does the same, these are no dots and no slashes.
    ("/x/%252e%252e/admin", Ok(("rest", "/x/%252e%252e/admin"))),
    ("/admin%252fx", Ok(("rest", "/admin%252fx"))),
    ("/Admin", Ok(("rest", "/Admin"))),
    ("/admin;x", Ok(("rest", "/admin;x"))),
    ("/caf%c3%a9%20x", Ok(("rest", "/caf%C3%A9%20x"))),
    ("/.well-known/x..y", Ok(("rest", "/.well-known/x..y"))),
    ("/?%61=%2e%2f//\\%&b=%zz", Ok(("rest", "/?%61=%2e%2f//\\%&b=%zz"))),
    ("/x?../admin", Ok(("rest", "/x?../admin"))),
];

const STRICT: [Row; 17] = [
    ("//admin", Err(EMPTY)),
    ("/admin//x", Err(EMPTY)),
    ("/x//", Err(EMPTY)),
    ("/./admin", Err(DOTS)),
    ("/%2e/admin", Err(DOTS)),
    ("/%2E/admin", Err(DOTS)),
    ("/x/../admin", Err(DOTS)),
    ("/x/%2e%2e/admin", Err(DOTS)),
    ("/x/.%2e/%61dmin", Err(DOTS)),
    ("/admin/..", Err(DOTS)),
    ("/../admin", Err(DOTS)),
    ("/admin%2fx", Err(SLASH)),
    ("/admin%2F", Err(SLASH)),
    ("/%2fadmin", Err(SLASH)),
    ("/x/..%2fadmin", Err(SLASH)),
    ("/x%5c..%5cadmin", Err(ENCODED_BACKSLASH)),
    ("/x//..%2f", Err(SLASH)),
];

const NORMALIZE: [Row; 20] = [
    ("//admin", Ok(("admin", "/admin"))),
    ("///admin//x", Ok(("admin", "/admin/x"))),
    ("/x//", Ok(("rest", "/x/"))),
    ("/./admin", Ok(("admin", "/admin"))),
    ("/%2e/admin", Ok(("admin", "/admin"))),
    ("/x/../admin", Ok(("admin", "/admin"))),
    ("/x/%2e%2E/admin/.", Ok(("admin", "/admin/"))),
    ("/x/.%2e/%61dmin?a=..", Ok(("admin", "/admin?a=.."))),
    ("/x//../admin", Ok(("admin", "/admin"))),
    ("/admin/..", Ok(("rest", "/"))),
    ("/admin/../x", Ok(("rest", "/x"))),
    ("/../admin", Err(ROOT)),
    ("/x/../../admin", Err(ROOT)),
    ("/%2e%2e/admin", Err(ROOT)),
    // Data: they are part of a segment here, and reach the backend as they are.
    ("/admin%2fx", Ok(("rest", "/admin%2Fx"))),
    ("/admin/x%2fy", Ok(("admin", "/admin/x%2Fy"))),
    ("/x%5cy", Ok(("rest", "/x%5Cy"))),
    ("/x/..%2fadmin", Err(HIDDEN)),
    ("/x%2f..%2fadmin", Err(HIDDEN)),
    ("/x%5c%2e%2e%5cadmin", Err(HIDDEN)),
];

/// A Serin with a rule for `/admin` and one for the rest, before a backend that tells what it got.
fn guarded(listener: &str) -> (Backend, Serin) {
    let app = Backend::start(|request| {
        let route = request.head.get("x-serin-route").unwrap_or_default();
        ok(format!("{route} {}", request.target()))
    });
    let mut config = format!("backends:\n{}routes:\n", backend("app", app.address()));
    for (name, prefix) in [("admin", "/admin"), ("rest", "/")] {
        config.push_str(&format!(
            "- {{ name: {name}, match: {{ pathPrefix: {prefix} }}, split: {{ variants: [{{ name: only, backend: app, weight: 1 }}] }} }}\n"
        ));
    }
    let options = Options {
        listener: listener.to_owned(),
        ..Options::default()
    };
    (app, Serin::with(options, &config))
}

/// Fails unless an answer is what the table says.
#[track_caller]
fn check(sent: &str, expected: Result<(&str, &str), &str>, status: u16, body: &str) {
    match expected {
        Ok((route, target)) => assert_eq!((status, body), (200, &*format!("{route} {target}")), "{sent}"),
        Err(detail) => {
            let document: serde_json::Value = serde_json::from_str(body).expect("a problem document");
            assert_eq!((status, document["detail"].as_str()), (400, Some(detail)), "{sent}");
        }
    }
}

/// Nothing of what was refused has reached the backend, and each refusal is counted.
#[track_caller]
fn count(serin: &Serin, app: &Backend, rows: &[Row]) {
    let passed = rows.iter().filter(|row| row.1.is_ok()).count();
    assert_eq!(app.requests(), passed);
    wait_until("each refusal is counted", || {
        let rejected = Metrics::of(serin).sum("serin_rejected_total", &[("reason", "bad_request")]);
        rejected == (rows.len() - passed) as f64
    });
}

#[track_caller]
fn over_http1(listener: &str, rows: &[Row]) {
    let (app, serin) = guarded(listener);
    for &(sent, expected) in rows {
        let mut client = Client::connect(serin.address());
        let response = client.get(sent);
        check(sent, expected, response.status, &response.text());
        if expected.is_err() {
            response.problem(400);
            assert!(client.closed(), "{sent}");
        }
    }
    count(&serin, &app, rows);
}

async fn over_http2(listener: &str, rows: &[Row]) {
    let (app, serin) = guarded(listener);
    let mut client = H2::connect(serin.address()).await;
    for &(sent, expected) in rows {
        // One connection for all: a refusal costs its stream alone.
        let request = Request::get(format!("http://serin.test{sent}"))
            .body(Empty::<Bytes>::new().boxed())
            .expect("a request");
        let (head, body, _) = client.exchange(request).await;
        check(sent, expected, head.status.as_u16(), &String::from_utf8_lossy(&body));
    }
    count(&serin, &app, rows);
}

#[test]
fn ambiguous_paths_are_refused_over_http1() {
    over_http1("", &[&COMMON[..], &STRICT].concat());
}

#[test]
fn paths_are_normalized_over_http1() {
    over_http1("paths: normalize", &[&COMMON[..], &NORMALIZE].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_paths_are_refused_over_http2() {
    over_http2("paths: strict", &[&COMMON[..], &STRICT].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_normalized_over_http2() {
    over_http2("paths: normalize", &[&COMMON[..], &NORMALIZE].concat()).await;
}

#[test]
fn the_absolute_form_is_refused() {
    let (app, serin) = guarded("");
    for target in ["http://serin.test/admin", "http://serin.test", "https://serin.test/"] {
        get(serin.address(), target).problem(400);
    }
    assert_eq!(app.requests(), 0);
}

#[test]
fn an_asterisk_is_for_options_alone() {
    let app = Backend::ok("x");
    let config = one(app.address()).replace("  match: { pathPrefix: / }\n", "");
    let serin = Serin::start(&config);
    assert_eq!(fetch(serin.address(), "OPTIONS", "*", &[], b"").status, 200);
    fetch(serin.address(), "GET", "*", &[], b"").problem(400);
    let seen = app.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].head.start, "OPTIONS * HTTP/1.1");
}

#[test]
fn the_access_log_shows_the_canonical_path() {
    let app = Backend::ok("x");
    let options = Options {
        listener: "paths: normalize".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &one(app.address()));
    let text = fs::read_to_string(serin.file()).expect("it is there");
    fs::write(serin.file(), text.replace("access: off", "access: all")).expect("it can be written");
    assert_eq!(serin.reload().status, 200);
    wait_until("a line is written", || {
        assert_eq!(get(serin.address(), "/x/..//%61%3a?q").status, 200);
        serin.log().contains(" GET serin.test/a%3A 200 ")
    });
}

#[test]
fn a_reload_changes_the_policy_of_new_connections() {
    let (_app, serin) = guarded("");
    get(serin.address(), "//admin").problem(400);
    let text = fs::read_to_string(serin.file()).expect("it is there");
    let normalizing = text.replacen("name: public", "name: public, paths: normalize", 1);
    fs::write(serin.file(), normalizing).expect("it can be written");
    assert_eq!(serin.reload().status, 200);
    wait_until("the new policy holds", || {
        let response = get(serin.address(), "//admin");
        response.status == 200 && response.text() == "admin /admin"
    });
}
