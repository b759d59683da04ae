//! Whom Serin believes: what only proxies may say counts from proxies alone, in every spelling, and what insiders may
//! use stops here where it comes from others.

use tempfile::TempDir;

use crate::common::{Backend, Client, Options, Serin, backend, fetch, free_address, get, one, pair_with};

/// A Serin whose peers, all on this machine, are trusted or not.
fn serin(trusted: bool, body: &str) -> Serin {
    let top = if trusted { "trustedProxies: [127.0.0.0/8]\n" } else { "" };
    let options = Options {
        top: top.to_owned(),
        ..Options::default()
    };
    Serin::with(options, body)
}

/// Whether a backend could take `name` for `known`: CGI and its heirs know neither case nor hyphens.
fn folds_to(name: &str, known: &str) -> bool {
    name.to_ascii_lowercase().replace('_', "-") == known
}

#[test]
fn no_spelling_of_our_own_words_reaches_a_backend() {
    let app = Backend::ok("x");
    let names = [
        "x-serin-route",
        "x-serin-variant",
        "x-serin-cohort",
        "x-serin-client-certificate",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
    ];
    let spell = |name: &str| {
        let capitals = name.to_ascii_uppercase();
        let mixed = name.replacen('-', "_", 1);
        [
            name.to_owned(),
            name.replace('-', "_"),
            capitals.replace('-', "_"),
            capitals,
            mixed,
        ]
    };
    for trusted in [false, true] {
        let serin = serin(trusted, &one(app.address()));
        for name in names {
            for spelt in spell(name) {
                let response = fetch(serin.address(), "GET", "/", &[(&spelt, "evil")], b"");
                assert_eq!(response.status, 200);
                let head = app.seen().pop().expect("it was asked").head;
                let said: Vec<_> = head.fields.iter().filter(|(own, _)| folds_to(own, name)).collect();
                let may_say = trusted && spelt.eq_ignore_ascii_case(name) && name.starts_with("x-forwarded-");
                assert!(said.len() <= 1, "{spelt}: {head:?}");
                let got_through = said.iter().any(|(_, value)| value.contains("evil"));
                assert_eq!(got_through, may_say, "{spelt} from trusted ({trusted}): {head:?}");
            }
        }
        let others = [("X_Forwarded_Port", "9"), ("x_user", "7"), ("forwarded", "for=evil")];
        fetch(serin.address(), "GET", "/", &others, b"");
        let head = app.seen().pop().expect("it was asked").head;
        assert_eq!(head.get("x_user"), Some("7"));
        assert_eq!(
            (head.get("x_forwarded_port").is_some(), head.get("forwarded").is_some()),
            (trusted, trusted)
        );
    }
}

#[test]
fn routes_go_by_what_proxies_say_only_where_proxies_say_it() {
    let (public, internal) = (Backend::ok("public"), Backend::ok("internal"));
    let body = format!(
        "backends:\n{}{}routes:\n\
         - {{ name: public, split: {{ variants: [{{ name: only, backend: public, weight: 1 }}] }} }}\n\
         - {{ name: internal, match: {{ headers: [{{ name: x-forwarded-user, present: true }}] }}, split: {{ variants: [{{ name: only, backend: internal, weight: 1 }}] }} }}\n\
         - {{ name: named, match: {{ path: /named, headers: [{{ name: forwarded, present: false }}, {{ name: x-serin-route, present: false }}] }}, split: {{ variants: [{{ name: only, backend: internal, weight: 1 }}] }} }}\n",
        backend("public", public.address()),
        backend("internal", internal.address()),
    );
    let check = |serin: &Serin, target: &str, field: (&str, &str), expected: &str| {
        let response = fetch(serin.address(), "GET", target, &[field], b"");
        assert_eq!(response.text(), expected, "{target} {field:?}");
    };
    let serin_of = |trusted| serin(trusted, &body);
    let (believing, wary) = (serin_of(true), serin_of(false));
    check(&believing, "/", ("x-forwarded-user", "root"), "internal");
    check(&wary, "/", ("x-forwarded-user", "root"), "public");
    check(&wary, "/", ("X-Forwarded-User", "root"), "public");
    check(&believing, "/", ("x-a", "b"), "public");
    // An outsider's words are as if they had not been said.
    check(&believing, "/named", ("forwarded", "for=1.2.3.4"), "public");
    check(&wary, "/named", ("forwarded", "for=1.2.3.4"), "internal");
    check(&wary, "/named", ("x-serin-route", "public"), "internal");
}

const INTERNAL: &str = "    cohorts:
    - { name: staff, internal: true, clientIps: [203.0.113.0/24], headers: [{ name: x-preview, present: true }, { name: user-agent, present: true }], variant: canary }
    - { name: testers, headers: [{ name: x-tester, present: true }], variant: canary }
";

#[test]
fn what_insiders_may_use_stops_here_where_it_comes_from_others() {
    let apps = ["v1", "v2"].map(Backend::ok);
    let [stable, canary] = apps.each_ref().map(Backend::address);
    let serin = serin(true, &pair_with(stable, canary, (1, 0), "", INTERNAL));
    let mut client = Client::connect(serin.address());
    let mut check = |from: &str, spelt: &str, more: &[(&str, &str)], variant: &str, passes: bool| {
        let mut fields = vec![("x-forwarded-for", from), (spelt, "1"), ("user-agent", "story")];
        fields.extend(more);
        let response = client.request("GET", "/", &fields, b"");
        assert_eq!(response.variant(), variant, "{from} {spelt}");
        let served = usize::from(variant == "canary");
        let head = apps[served].seen().pop().expect("it was asked").head;
        let found = head.fields.iter().any(|(name, _)| folds_to(name, "x-preview"));
        assert_eq!(found, passes, "{from} {spelt}: {head:?}");
        assert_eq!(head.get("user-agent"), Some("story"));
    };
    check("203.0.113.7", "x-preview", &[], "canary", true);
    check("192.0.2.7", "x-preview", &[], "stable", false);
    check("192.0.2.7", "X_Preview", &[], "stable", false);
    check("203.0.113.7", "x_preview", &[], "stable", false);
    check("192.0.2.7", "x-preview", &[("x-tester", "1")], "canary", false);
}

#[test]
fn a_log_line_is_one_line_whatever_a_client_sends() {
    for format in ["json", "text"] {
        let app = Backend::ok("x");
        let admin = free_address();
        let whole = format!(
            "version: 1\nlisteners: [{{ name: public, address: '127.0.0.1:0' }}]\nadmin: {{ address: '{admin}' }}\n\
             log: {{ access: all, format: {format} }}\n{}",
            one(app.address())
        );
        let dir = TempDir::new().expect("a temporary directory");
        let serin = Serin::with_text(dir, Options::default(), admin, &whole);
        let hostile = [
            ("x-request-id", "a\u{1b}[31m\" forged=\"yes"),
            ("user-agent", "\u{1b}]0;title\u{7}"),
            ("referer", "x\u{9b}31m"),
            ("cookie", "session=s3cr3t"),
            ("authorization", "Bearer s3cr3t"),
        ];
        for (at, field) in hostile.into_iter().enumerate() {
            let mut client = Client::connect(serin.address());
            client.send(format!(
                "GET /n{at}?token=s3cr3t HTTP/1.1\r\nhost: h\r\n{}: {}\r\n\r\n",
                field.0, field.1
            ));
            let _ = client.try_response("GET");
        }
        get(serin.address(), "/%1b%5b31m");
        assert_eq!(get(serin.address(), "/last").status, 200);
        crate::common::wait_until("the last line is written", || serin.log().contains("/last"));
        let log = serin.log();
        let strange = log
            .chars()
            .find(|&c| c != '\n' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')));
        assert_eq!(strange, None, "{log}");
        assert!(!log.contains("s3cr3t") && !log.contains("forged"), "{log}");
    }
}

#[test]
fn the_admin_api_is_not_reached_through_a_backend_whatever_it_is_called() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    let port = serin.admin_address().port();
    let livez = |host: &str, more: &str| {
        serin.write(
            &one(app.address())
                .replace(&app.address().to_string(), &format!("{host}:{port}"))
                .replace("\"] }", &format!("\"]{more} }}")),
        );
        assert_eq!(serin.reload().status, 200, "{host}: a name, as far as the file says");
        let mut client = Client::connect(serin.address());
        client.request("GET", "/livez", &[("host", "localhost")], b"").status
    };
    assert_eq!(livez("0x7f000001", ""), 502);
    assert_eq!(livez("0x7f000001", ", allowInternal: true"), 200);
    // The second lock, for ways that nobody thought of.
    let through = [("x-serin-route", "app")];
    assert_eq!(
        serin.admin_with("GET", "/v1/status", &through, "").status,
        200,
        "it is allowed"
    );
    assert_eq!(livez("0x7f000001", ""), 502);
    serin.admin_with("GET", "/v1/status", &through, "").problem(403);
}
