//! Sticky cookies: who has no key is drawn once and stays; until the releases are others, or an abort.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};

use crate::common::{
    Backend, Client, H2, Options, Response, Serin, backend, close, fetch, pair_with, rollout, wait_until,
};

/// What a client keeps of an answer: the variant, and the cookie that was set.
#[derive(Debug)]
struct Told {
    variant: String,
    /// The whole `set-cookie` field.
    set: Option<String>,
}

impl Told {
    fn of(response: &Response) -> Self {
        Self {
            variant: response.variant().to_owned(),
            set: response.head.get("set-cookie").map(str::to_owned),
        }
    }

    /// `name=value`, as a client sends it back.
    #[track_caller]
    fn cookie(&self) -> &str {
        let set = self.set.as_deref().expect("a cookie is set");
        set.split_once(';').map_or(set, |(cookie, _)| cookie)
    }
}

fn ask(client: &mut Client, cookie: &str) -> Told {
    let fields: &[(&str, &str)] = if cookie.is_empty() { &[] } else { &[("cookie", cookie)] };
    Told::of(&client.request("GET", "/", fields, b""))
}

/// Asks without a cookie until `variant` answers; the cookie that came with it.
fn cookie_for(client: &mut Client, variant: &str) -> String {
    let told = (0..1000).map(|_| ask(client, "")).find(|told| told.variant == variant);
    told.expect("a thousand draws reach each variant").cookie().to_owned()
}

const STICKY: &str = "    sticky: {}\n";

fn site(weights: (u32, u32), split: &str) -> (Serin, Backend, Backend) {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let serin = Serin::start(&pair_with(v1.address(), v2.address(), weights, "", split));
    (serin, v1, v2)
}

#[test]
fn who_was_drawn_once_stays_while_weights_rise() {
    let (serin, _v1, v2) = site((80, 20), STICKY);
    let mut client = Client::connect(serin.address());
    let canary = cookie_for(&mut client, "canary");
    let others: Vec<Told> = (0..100).map(|_| ask(&mut client, "")).collect();
    let mut on_canary = 0;
    for canary_weight in [20, 35, 50, 75] {
        assert_eq!(serin.weights(100 - canary_weight, canary_weight).status, 200);
        wait_until("the weights are in force", || {
            serin.share("canary") * 100.0 >= f64::from(canary_weight)
        });
        for _ in 0..50 {
            let told = ask(&mut client, &canary);
            assert_eq!((told.variant.as_str(), told.set.as_deref()), ("canary", None));
        }
        let moved = others.iter().filter(|other| {
            let told = ask(&mut client, other.cookie());
            assert!(told.set.is_none(), "it is young: {told:?}");
            assert!(
                other.variant == "stable" || told.variant == "canary",
                "nobody goes back"
            );
            told.variant == "canary"
        });
        let moved = moved.count();
        assert!(moved >= on_canary, "more weight only adds clients");
        on_canary = moved;
    }
    assert!(on_canary > 40, "{on_canary} of 100 at 75 %");
    // Where the cookie goes besides is the backend's business, as with any other.
    assert!(v2.seen().iter().any(|seen| seen.head.get("cookie") == Some(&canary)));
}

#[test]
fn a_forged_or_foreign_cookie_is_no_cookie() {
    let (serin, _v1, _v2) = site((50, 50), STICKY);
    let (other, _o1, _o2) = site((50, 50), STICKY);
    let mut client = Client::connect(serin.address());
    let good = cookie_for(&mut client, "canary");
    let foreign = cookie_for(&mut Client::connect(other.address()), "canary");
    let (name, value) = good.split_once('=').expect("a pair");
    assert_eq!(name, "serin-shop");
    let mut flipped = value.to_owned().into_bytes();
    flipped[2] = if flipped[2] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("base64");
    for bad in [
        foreign.clone(),
        format!("{name}={flipped}"),
        format!("{name}={value}x"),
        format!("{name}="),
        format!("{name}=\u{e9}{}", &value[2..]),
        format!("Serin-shop={value}"),
        format!("{name}={}", "x".repeat(4_000)),
    ] {
        let told = ask(&mut client, &bad);
        assert!(told.set.is_some(), "{bad} is taken for a cookie of ours");
    }
    for still_good in [
        format!("a=b; {good}; c=d"),
        format!("{name}=\"{value}\""),
        // A forged one does not hide the good one.
        format!("{name}={flipped}; {good}"),
    ] {
        let told = ask(&mut client, &still_good);
        assert_eq!((told.variant.as_str(), told.set), ("canary", None), "{still_good}");
    }
}

#[test]
fn processes_with_one_secret_share_clients_and_a_restart_forgets_nobody() {
    let secret = format!("    sticky: {{ cookie: side, secret: \"{}\" }}\n", "s".repeat(32));
    let (one, _a, _b) = site((50, 50), &secret);
    let (two, _c, _d) = site((50, 50), &secret);
    let cookies =
        ["canary", "stable"].map(|variant| (variant, cookie_for(&mut Client::connect(one.address()), variant)));
    for (variant, cookie) in &cookies {
        assert!(cookie.starts_with("side="));
        let told = ask(&mut Client::connect(two.address()), cookie);
        assert_eq!((told.variant.as_str(), told.set), (*variant, None));
    }
    // Without a secret in the file the process keeps one of its own.
    let (mut alone, _e, _f) = site((50, 50), STICKY);
    let cookie = cookie_for(&mut Client::connect(alone.address()), "canary");
    alone.crash_and_restart();
    let told = ask(&mut Client::connect(alone.address()), &cookie);
    assert_eq!((told.variant.as_str(), told.set), ("canary", None));
}

#[test]
fn another_release_draws_anew() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let body = |release: &str, timeout: &str| {
        let canary = backend("v2", v2.address());
        let released = canary.replace("name: v2", &format!("name: v2, release: {release}"));
        assert_ne!(canary, released);
        let route = format!("  timeout: {timeout}\n");
        pair_with(v1.address(), v2.address(), (50, 50), &route, STICKY).replace(&canary, &released)
    };
    let serin = Serin::start(&body("v1.5.0", "5s"));
    let mut client = Client::connect(serin.address());
    let cookie = cookie_for(&mut client, "canary");
    serin.write(&body("v1.5.0", "4s"));
    assert_eq!(serin.reload().status, 200);
    assert!(ask(&mut client, &cookie).set.is_none(), "the releases are the same");
    serin.write(&body("v1.6.0", "4s"));
    assert_eq!(serin.reload().status, 200);
    wait_until("its cookie is void", || ask(&mut client, &cookie).set.is_some());
}

#[test]
fn an_abort_takes_everybody_off_the_canary_and_a_retry_draws_anew() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let analysis = "{ compareWith: none, minRequests: 1, errorRate: { critical: 50% } }";
    let body = pair_with(v1.address(), v2.address(), (100, 0), "", STICKY)
        + &rollout(analysis, "[{ setWeight: 50%, bakeTime: 2h }, { setWeight: 100% }]");
    let serin = Serin::start(&body);
    let mut client = Client::connect(serin.address());
    assert!(ask(&mut client, "").set.is_none(), "there is nothing to draw");
    serin.tell("start");
    let cookies: Vec<_> = (0..20).map(|_| cookie_for(&mut client, "canary")).collect();
    serin.tell("abort");
    for cookie in &cookies {
        let told = ask(&mut client, cookie);
        assert_eq!((told.variant.as_str(), told.set), ("stable", None));
    }
    serin.tell("retry");
    let anew: Vec<_> = cookies.iter().map(|cookie| ask(&mut client, cookie)).collect();
    assert!(anew.iter().all(|told| told.set.is_some()), "drawn anew: {anew:?}");
    // That twenty fresh draws at 50 % all fall on the canary has a chance of 1e-6.
    assert!(anew.iter().any(|told| told.variant == "stable"), "{anew:?}");
}

#[test]
fn scripts_other_sites_and_eavesdroppers_do_not_get_it() {
    let (v1, v2) = (Backend::start(|_| close()), Backend::ok("v2"));
    let body = |sticky: &str| pair_with(v1.address(), v2.address(), (50, 50), "  exposeVariant: false\n", sticky);
    let trusting = Options {
        top: "trustedProxies: [127.0.0.0/8]\n".to_owned(),
        ..Options::default()
    };
    let set = |serin: &Serin, proto: &str| {
        let response = fetch(serin.address(), "GET", "/", &[("x-forwarded-proto", proto)], b"");
        assert!(response.head.get("x-serin-variant").is_none());
        let field = response
            .head
            .get("set-cookie")
            .expect("a cookie, whoever answered")
            .to_owned();
        let (_, attributes) = field.split_once(';').expect("attributes");
        attributes.trim().to_owned()
    };
    let plain = Serin::start(&body("    sticky: { maxAge: 2h, sameSite: strict }\n"));
    // Also when the variant that was drawn fails: the draw stands.
    for _ in 0..10 {
        assert_eq!(set(&plain, "https"), "Path=/; Max-Age=7200; HttpOnly; SameSite=Strict");
    }
    let behind = Serin::with(trusting, &body(STICKY));
    assert_eq!(
        set(&behind, "https"),
        "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"
    );
    assert_eq!(set(&behind, "http"), "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    let abroad = Serin::start(&body("    sticky: { sameSite: none }\n"));
    assert!(set(&abroad, "http").ends_with("SameSite=None; Secure"));
}

#[test]
fn who_has_a_key_gets_no_cookie_and_heeds_none() {
    let (serin, _v1, _v2) = site((50, 50), "    key: { header: x-user-id }\n    sticky: {}\n");
    let mut client = Client::connect(serin.address());
    let canary = cookie_for(&mut client, "canary");
    let side = |client: &mut Client, cookie: &str, user: &str| {
        let fields = [("cookie", cookie), ("x-user-id", user)];
        let told = Told::of(&client.request("GET", "/", &fields, b""));
        assert!(told.set.is_none(), "{user} has a key");
        told.variant
    };
    let sides: Vec<_> = (0..50)
        .map(|n| side(&mut client, &canary, &format!("user-{n}")))
        .collect();
    assert!(
        sides.iter().any(|side| side == "stable"),
        "the key decides, not the cookie"
    );
    assert_eq!(ask(&mut client, &canary).variant, "canary");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_http2_get_it_too() {
    let (serin, _v1, _v2) = site((50, 50), STICKY);
    let mut client = H2::connect(serin.address()).await;
    let get = |cookie: &str| {
        let mut request = Request::get("http://serin.test/");
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        request.body(Empty::<Bytes>::new().boxed()).expect("a request")
    };
    let (head, ..) = client.exchange(get("")).await;
    let set = head.headers["set-cookie"].to_str().expect("ASCII").to_owned();
    let cookie = set.split_once(';').expect("attributes").0;
    let variant = head.headers["x-serin-variant"].clone();
    for _ in 0..30 {
        let (head, ..) = client.exchange(get(cookie)).await;
        assert_eq!(head.headers["x-serin-variant"], variant);
        assert!(!head.headers.contains_key("set-cookie"));
    }
}
