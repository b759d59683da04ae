//! What strangers send to the admin address, byte for byte: each is refused, none changes anything, and people are
//! served all the while.

use std::fs;
use std::io::Write as _;

use tempfile::TempDir;

use crate::common::{Backend, Client, Options, Serin, pair, rollout};
use crate::people::tokens;

/// What becomes of a request: its status, or a connection that ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Status(u16),
    Closed,
}
use Fate::{Closed, Status};

/// A request and its fate, with and without tokens in force. `HOST` is the admin address; a caller who needs a token
/// shows one.
type Case = (&'static str, &'static str, Fate);

/// `{T}` is a good token's field, `{H}` the address.
const CASES: &[Case] = &[
    // Framing.
    (
        "two lengths",
        "POST /v1/freeze HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 2\r\ncontent-length: 3\r\n\r\n{}}",
        Status(400),
    ),
    (
        "an odd length",
        "POST /v1/freeze HTTP/1.1\r\nhost: {H}\r\n{T}content-length: +2\r\n\r\n{}",
        Status(400),
    ),
    (
        "a huge length",
        "POST /v1/freeze HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 99999999999999999999\r\n\r\n",
        Status(400),
    ),
    (
        "an odd encoding",
        "POST /v1/freeze HTTP/1.1\r\nhost: {H}\r\n{T}transfer-encoding: gzip\r\n\r\n",
        Status(400),
    ),
    (
        "a chunk size that is none",
        "POST /v1/freeze HTTP/1.1\r\nhost: {H}\r\n{T}transfer-encoding: chunked\r\n\r\nzz\r\n",
        Status(400),
    ),
    (
        "a space before a colon",
        "GET /v1/status HTTP/1.1\r\nhost : {H}\r\n{T}\r\n",
        Status(400),
    ),
    (
        "a folded line",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\n{T}x-a: 1\r\n 2\r\n\r\n",
        Status(400),
    ),
    (
        "a NUL in a value",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\n{T}x-a: a\0b\r\n\r\n",
        Status(400),
    ),
    ("no HTTP at all", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", Status(400)),
    ("a preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Closed),
    (
        "an unknown version",
        "GET /v1/status HTTP/3.7\r\nhost: {H}\r\n\r\n",
        Status(400),
    ),
    (
        "a space in the target",
        "GET /v1/ status HTTP/1.1\r\nhost: {H}\r\n{T}\r\n",
        Status(400),
    ),
    // Bodies where none belongs.
    (
        "a GET with a body",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 2\r\n\r\n{}",
        Status(400),
    ),
    (
        "a GET with chunks",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\n{T}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        Status(400),
    ),
    (
        "a HEAD with a body",
        "HEAD /v1/status HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 1\r\n\r\nx",
        Status(400),
    ),
    (
        "a probe with a body",
        "GET /livez HTTP/1.1\r\nhost: {H}\r\ncontent-length: 1\r\n\r\nx",
        Status(400),
    ),
    // Who asks.
    ("nobody", "GET /v1/status HTTP/1.1\r\nhost: {H}\r\n\r\n", Status(401)),
    (
        "a wrong token",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\nauthorization: Bearer olga-toke\r\n\r\n",
        Status(401),
    ),
    (
        "a longer token",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\nauthorization: Bearer olga-tokens\r\n\r\n",
        Status(401),
    ),
    (
        "the hash of a token",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\nauthorization: Bearer sha256:00\r\n\r\n",
        Status(401),
    ),
    (
        "another scheme",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\nauthorization: Basic b2xnYTo=\r\n\r\n",
        Status(401),
    ),
    (
        "two tokens",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\n{T}{T}\r\n",
        Status(401),
    ),
    (
        "a token in the query",
        "GET /v1/status?token=olga-token HTTP/1.1\r\nhost: {H}\r\n\r\n",
        Status(401),
    ),
    (
        "a token in a cookie",
        "GET /v1/status HTTP/1.1\r\nhost: {H}\r\ncookie: token=olga-token\r\n\r\n",
        Status(401),
    ),
    (
        "a viewer who writes",
        "POST /v1/freeze HTTP/1.1\r\nhost: {H}\r\nauthorization: Bearer vic-token\r\ncontent-length: 0\r\n\r\n",
        Status(403),
    ),
    (
        "a viewer who promotes",
        "POST /v1/rollouts/shop/promote HTTP/1.1\r\nhost: {H}\r\nauthorization: Bearer vic-token\r\ncontent-length: 0\r\n\r\n",
        Status(403),
    ),
    (
        "a way round by dots",
        "GET /livez/../v1/status HTTP/1.1\r\nhost: {H}\r\n\r\n",
        Status(401),
    ),
    (
        "a way round by escapes",
        "GET /v1%2fstatus HTTP/1.1\r\nhost: {H}\r\n\r\n",
        Status(401),
    ),
    (
        "a way round by a slash",
        "GET //v1/status HTTP/1.1\r\nhost: {H}\r\n\r\n",
        Status(401),
    ),
    // From whose page.
    (
        "a rebound name",
        "GET /livez HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        Status(421),
    ),
    (
        "a name that begins like ours",
        "GET /livez HTTP/1.1\r\nhost: localhost.evil.example\r\n\r\n",
        Status(421),
    ),
    (
        "a name as the target",
        "GET http://evil.example/livez HTTP/1.1\r\nhost: {H}\r\n\r\n",
        Status(421),
    ),
    (
        "two hosts",
        "GET /livez HTTP/1.1\r\nhost: {H}\r\nhost: {H}\r\n\r\n",
        Status(400),
    ),
    (
        "a page of another origin that asks for flags",
        "POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: {H}\r\norigin: https://evil.example\r\ncontent-length: 2\r\n\r\n{}",
        Status(401),
    ),
    // What is asked.
    (
        "another method",
        "PATCH /v1/freeze HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 0\r\n\r\n",
        Status(405),
    ),
    ("CONNECT", "CONNECT {H} HTTP/1.1\r\nhost: {H}\r\n{T}\r\n", Status(404)),
    (
        "a path of nothing",
        "GET /etc/passwd HTTP/1.1\r\nhost: {H}\r\n{T}\r\n",
        Status(404),
    ),
    (
        "a name that is none",
        "GET /v1/rollouts/..%2f..%2fetc HTTP/1.1\r\nhost: {H}\r\n{T}\r\n",
        Status(404),
    ),
    (
        "a verb that is none",
        "POST /v1/rollouts/shop/destroy HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 0\r\n\r\n",
        Status(404),
    ),
    (
        "no JSON",
        "PUT /v1/routes/shop/weights HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 5\r\n\r\nhello",
        Status(400),
    ),
    (
        "JSON that is no object",
        "PUT /v1/routes/shop/weights HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 2\r\n\r\n[]",
        Status(400),
    ),
    (
        "a key twice",
        "PUT /v1/routes/shop/weights HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 47\r\n\r\n{\"weights\":{\"stable\":1,\"stable\":9,\"canary\":0} }",
        Status(422),
    ),
    (
        "a number that is none",
        "PUT /v1/routes/shop/weights HTTP/1.1\r\nhost: {H}\r\n{T}content-length: 43\r\n\r\n{\"weights\":{\"stable\":1e999,\"canary\":\"NaN\"}}",
        Status(400),
    ),
    (
        "an odd tag",
        "PUT /v1/routes/shop/weights HTTP/1.1\r\nhost: {H}\r\n{T}if-match: \"99\"\r\ncontent-length: 37\r\n\r\n{\"weights\":{\"stable\":1,\"canary\":100}}",
        Status(412),
    ),
];

/// The site's own people: `olga` may all but approve, `vic` may look.
fn site(app: &Backend) -> Serin {
    let dir = TempDir::new().expect("a temporary directory");
    let people = tokens(&["olga: operator", "vic: viewer"]);
    fs::write(dir.path().join("tokens.yaml"), people).expect("a file");
    let options = Options {
        token: Some("olga-token"),
        ..Options::default()
    };
    let body = pair(app.address(), app.address(), (100, 0))
        + &rollout(
            "{ minRequests: 20 }",
            "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]",
        );
    Serin::in_dir(dir, options, &body)
}

/// What becomes of `request`.
fn fate(serin: &Serin, request: &[u8]) -> Fate {
    let mut client = Client::connect(serin.admin_address());
    // It may be refused before all of it has gone out.
    let _ = client.stream().write_all(request);
    let method = if request.starts_with(b"HEAD") { "HEAD" } else { "GET" };
    match client.try_response(method) {
        Ok(response) => Status(response.status),
        Err(_) => Closed,
    }
}

fn filled(serin: &Serin, request: &str) -> Vec<u8> {
    let host = serin.admin_address().to_string();
    let token = "authorization: Bearer olga-token\r\n";
    request.replace("{H}", &host).replace("{T}", token).into_bytes()
}

#[test]
fn strangers_are_refused_and_change_nothing() {
    assert!(CASES.len() >= 40);
    let app = Backend::ok("x");
    let serin = site(&app);
    let before = (serin.generation(), serin.api("GET", "/v1/routes/shop", ""));
    let mut wrong = Vec::new();
    for (name, request, expected) in CASES {
        let found = fate(&serin, &filled(&serin, request));
        if found != *expected {
            wrong.push(format!("{name}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let after = (serin.generation(), serin.api("GET", "/v1/routes/shop", ""));
    assert_eq!(before.0, after.0);
    assert_eq!(before.1["variants"][0]["weight"], after.1["variants"][0]["weight"]);
    assert_eq!(serin.phase(), "idle");
    let log = serin.log();
    assert!(!log.contains("olga-token") && !log.contains("panic"), "{log}");
}

#[test]
fn what_is_too_much_is_refused() {
    let app = Backend::ok("x");
    let serin = site(&app);
    let head = "PUT /v1/routes/shop/weights HTTP/1.1\r\nhost: {H}\r\n{T}";
    let sized = |body: &str| filled(&serin, &format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
    let deep = format!("{}1{}", "{\"weights\":".repeat(200), "}".repeat(200));
    let wide = format!("{{\"weights\":{{{}}}}}", vec!["\"a\":1"; 20_000].join(","));
    let fields = (0..80).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let long = format!("x-long: {}\r\n", "a".repeat(64 << 10));
    let target = format!("GET /v1/{} HTTP/1.1\r\nhost: {{H}}\r\n{{T}}\r\n", "a".repeat(64 << 10));
    for (name, request, expected) in [
        ("depth", sized(&deep), vec![Status(400)]),
        (
            "a list of depth",
            sized(&format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))),
            vec![Status(400)],
        ),
        ("keys", sized(&wide), vec![Status(422)]),
        (
            "a body",
            filled(&serin, &format!("{head}content-length: 2000000\r\n\r\n")),
            vec![Status(413)],
        ),
        (
            "fields",
            filled(&serin, &format!("{head}{fields}\r\n")),
            vec![Status(431)],
        ),
        (
            "a field",
            filled(&serin, &format!("{head}{long}\r\n")),
            vec![Status(431), Closed],
        ),
        (
            "a target",
            filled(&serin, &target),
            vec![Status(414), Status(431), Closed],
        ),
    ] {
        let found = fate(&serin, &request);
        assert!(expected.contains(&found), "{name}: {found:?}");
    }
    assert_eq!(serin.admin("GET", "/livez", "").status, 200);
}

/// Connections that were opened and say no more than this.
fn silent(serin: &Serin, count: usize, says: &str) -> Vec<Client> {
    let connect = |_| {
        let mut client = Client::connect(serin.admin_address());
        let _ = client.stream().write_all(says.as_bytes());
        client
    };
    (0..count).map(connect).collect()
}

#[test]
fn who_says_nothing_keeps_nobody_out() {
    let app = Backend::ok("x");
    let serin = site(&app);
    // More than there are seats.
    let idle = silent(&serin, 150, "");
    let slow = silent(&serin, 150, "POST /v1/freeze HTTP/1.1\r\nhost: ");
    for _ in 0..5 {
        assert_eq!(serin.admin("GET", "/livez", "").status, 200);
        assert_eq!(serin.admin("GET", "/v1/status", "").status, 200);
    }
    drop((idle, slow));
}

#[test]
fn without_tokens_web_pages_stay_out() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (100, 0)));
    let host = serin.admin_address().to_string();
    let port = serin.admin_address().port();
    let check = |method: &str, fields: &[(&str, &str)], status: u16| {
        let body = if method == "GET" { "" } else { "{}" };
        let target = if method == "GET" { "/v1/status" } else { "/v1/freeze" };
        let response = serin.admin_with(method, target, fields, body);
        assert_eq!(response.status, status, "{method} {fields:?}: {}", response.text());
    };
    check("GET", &[("host", "evil.example")], 421);
    check("GET", &[("host", "127.0.0.1.evil.example")], 421);
    check("POST", &[("origin", "http://evil.example")], 403);
    check("POST", &[("origin", "null")], 403);
    check("POST", &[("origin", &format!("http://evil.example:{port}"))], 403);
    check("POST", &[("origin", &format!("https://{host}"))], 403);
    check("POST", &[("origin", &format!("http://{host}.evil.example"))], 403);
    check(
        "POST",
        &[("origin", "http://evil.example"), ("content-type", "text/plain")],
        403,
    );
    check("GET", &[("origin", "http://evil.example")], 200);
    assert_eq!(serin.api("GET", "/v1/freeze", "")["frozen"], false);
    check("POST", &[("origin", &format!("http://{host}"))], 200);
}
