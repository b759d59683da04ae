//! Users whom an identity provider vouches for: tokens that another library signs, and keys that come, go and come back.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::common::{Backend, Client, Metrics, Options, Serin, ok, pair_with, status, wait_until};

const ISSUER: &str = "https://id.example.com";

/// Keys by name, each with its algorithm, and tokens in order. `None`: there is no Python with `cryptography`.
fn signed(keys: &[(&str, &str)], tokens: &[Json]) -> Option<(BTreeMap<String, Json>, Vec<String>)> {
    let order = json!({"keys": keys.iter().copied().collect::<BTreeMap<_, _>>(), "tokens": tokens});
    let mut python = Command::new("python3")
        .args(["-c", include_str!("tokens_jwt/sign.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut input = python.stdin.take().expect("it is piped");
    // A program that ends early says so by its exit.
    input.write_all(order.to_string().as_bytes()).ok();
    drop(input);
    let output = python.wait_with_output().expect("it ends");
    if !output.status.success() {
        eprintln!("python3 with cryptography is not installed");
        return None;
    }
    let made: Json = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let keys = serde_json::from_value(made["jwks"].clone()).expect("keys by name");
    let tokens = serde_json::from_value(made["tokens"].clone()).expect("a list of texts");
    Some((keys, tokens))
}

/// A token of somebody from the staff; `change` makes something else of it.
fn token(by: &str, alg: &str, change: impl FnOnce(&mut Json)) -> Json {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    let claims = json!({"iss": ISSUER, "aud": ["shop"], "sub": "alice", "exp": now + 3600, "roles": ["staff"]});
    let mut wanted = json!({"by": by, "header": {"alg": alg, "kid": by, "typ": "JWT"}, "claims": claims});
    change(&mut wanted);
    wanted
}

fn set(keys: &BTreeMap<String, Json>, names: &[&str]) -> String {
    json!({"keys": names.iter().map(|name| &keys[*name]).collect::<Vec<_>>()}).to_string()
}

const STAFF: &str = "    key: { jwt: sub, fallback: clientIp }\n    cohorts:\n    - { name: staff, claims: [{ name: roles, exact: staff }], variant: canary }\n";

struct Site {
    serin: Serin,
    _backends: [Backend; 2],
}

/// A split whose canary is for the staff alone; `keys` says where the issuer's keys are.
fn site(dir: TempDir, keys: &str) -> Site {
    let backends = ["v1", "v2"].map(Backend::ok);
    let options = Options {
        top: format!("jwt:\n- {{ issuer: \"{ISSUER}\", audiences: [shop], cookie: id, {keys} }}\n"),
        ..Options::default()
    };
    let [stable, canary] = backends.each_ref().map(Backend::address);
    let body = pair_with(stable, canary, (1, 0), "", STAFF);
    Site {
        serin: Serin::in_dir(dir, options, &body),
        _backends: backends,
    }
}

impl Site {
    /// The variant that answers who shows `token` in this field.
    fn variant(&self, name: &str, value: &str) -> String {
        let mut client = Client::connect(self.serin.address());
        let response = client.request("GET", "/", &[("host", "h"), (name, value)], b"");
        assert_eq!(response.status, 200);
        response.variant().to_owned()
    }

    #[track_caller]
    fn check(&self, what: &str, token: &str, expected: &str) {
        let variant = self.variant("authorization", &format!("Bearer {token}"));
        assert_eq!(variant, expected, "{what}");
    }

    fn is_believed(&self, token: &str) -> bool {
        self.variant("authorization", &format!("Bearer {token}")) == "canary"
    }
}

fn write_over(file: &Path, text: &str) {
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, text).expect("it can be written");
    fs::rename(fresh, file).expect("a rename");
}

#[test]
fn tokens_by_another_library_count_when_they_are_good_and_else_not_at_all() {
    let algorithms = ["RS256", "PS384", "ES256", "ES384", "EdDSA"];
    let keys = algorithms.map(|alg| (alg, alg));
    let mut keys = keys.to_vec();
    keys.push(("next", "ES256"));
    let good = algorithms.map(|alg| (alg, "canary", token(alg, alg, |_| {})));
    let bad = |what, change: &dyn Fn(&mut Json)| (what, "stable", token("RS256", "RS256", |wanted| change(wanted)));
    let others = [
        bad("expired", &|wanted| wanted["claims"]["exp"] = json!(1_700_000_000)),
        bad("without an end", &|wanted| wanted["claims"]["exp"] = Json::Null),
        bad("not yet", &|wanted| {
            wanted["claims"]["nbf"] = wanted["claims"]["exp"].clone()
        }),
        bad("for others", &|wanted| wanted["claims"]["aud"] = json!("bank")),
        bad("by others", &|wanted| {
            wanted["claims"]["iss"] = json!("https://evil.example.com")
        }),
        bad("no staff", &|wanted| wanted["claims"]["roles"] = json!(["customer"])),
        bad("alg none", &|wanted| wanted["header"]["alg"] = json!("none")),
        bad("HS256 with the public key", &|wanted| {
            wanted["header"]["alg"] = json!("HS256")
        }),
        bad("another's key", &|wanted| wanted["by"] = json!("next")),
        bad("an unknown key", &|wanted| wanted["header"]["kid"] = json!("gone")),
        bad("an extension", &|wanted| wanted["header"]["crit"] = json!(["exp"])),
        bad("a logout token", &|wanted| {
            wanted["header"]["typ"] = json!("logout+jwt")
        }),
    ];
    let next = ("next", "stable", token("next", "ES256", |_| {}));
    let cases: Vec<_> = good.into_iter().chain(others).chain([next]).collect();
    let wanted: Vec<_> = cases.iter().map(|(_, _, token)| token.clone()).collect();
    let Some((keys, tokens)) = signed(&keys, &wanted) else {
        return;
    };

    let dir = TempDir::new().expect("a temporary directory");
    let file = dir.path().join("jwks.json");
    fs::write(&file, set(&keys, &algorithms)).expect("it can be written");
    let site = site(dir, "jwksFile: jwks.json");
    // The second time what was remembered answers.
    for _ in 0..2 {
        for ((what, expected, _), token) in cases.iter().zip(&tokens) {
            site.check(what, token, expected);
        }
    }
    let metrics = Metrics::of(&site.serin);
    for (reason, times) in [
        ("expired", 2.0),
        ("no_expiry", 2.0),
        ("not_yet", 2.0),
        ("audience", 2.0),
        ("issuer", 2.0),
        ("algorithm", 4.0),
        ("signature", 2.0),
        ("unknown_key", 4.0),
        ("malformed", 2.0),
        ("type", 2.0),
        ("unchecked", 0.0),
    ] {
        let refused = metrics.sum("serin_jwt_refused_total", &[("reason", reason)]);
        assert!((refused - times).abs() < 0.5, "{reason}: {refused}");
    }
    assert_eq!(site.variant("cookie", &format!("id={}", tokens[0])), "canary");
    for (name, value) in [
        ("authorization", tokens[0].as_str()),
        ("authorization", "Bearer"),
        ("cookie", "id=x.y.z"),
    ] {
        assert_eq!(site.variant(name, value), "stable", "{name}");
    }
    assert_eq!(site.serin.status()["jwt"][0]["keys"], 5);

    // A file that was cut off changes nothing; one that is good again does.
    fs::write(&file, &set(&keys, &["next"])[..100]).expect("it can be written");
    wait_until("the reload is refused", || {
        site.serin.status()["lastReload"]["ok"] == false
    });
    let problem = site.serin.status()["lastReload"]["problems"][0].clone();
    assert!(
        problem["place"]
            .as_str()
            .is_some_and(|place| place.ends_with("jwks.json")),
        "{problem}"
    );
    assert!(site.is_believed(&tokens[0]));
    write_over(&file, &set(&keys, &["next"]));
    let of_next = tokens.last().expect("there are some");
    wait_until("the new key counts", || site.is_believed(of_next));
    site.check("by a key that is gone", &tokens[0], "stable");
    assert!(!site.serin.log().contains(&tokens[0][..40]), "tokens are secret");
}

#[test]
fn keys_at_an_address_come_late_change_and_outlive_it() {
    let wanted = ["old", "new", "never"].map(|key| token(key, "EdDSA", |_| {}));
    let made = signed(&[("old", "EdDSA"), ("new", "EdDSA"), ("never", "EdDSA")], &wanted);
    let Some((keys, tokens)) = made else { return };
    let served = Arc::new(Mutex::new(None::<String>));
    let shared = Arc::clone(&served);
    let provider = Backend::start(move |_| match &*shared.lock().expect("nobody panics") {
        Some(set) => ok(set),
        None => status(503),
    });
    let serve = |names: &[&str]| *served.lock().expect("nobody panics") = Some(set(&keys, names));

    let url = format!("jwksUrl: \"http://{}/secret-path\", refresh: 1h", provider.address());
    let site = site(TempDir::new().expect("a temporary directory"), &url);
    let told = || site.serin.status()["jwt"][0].clone();
    wait_until("the first fetch has failed", || {
        told()["problem"] == "the answer is 503, not 200"
    });
    site.check("nobody has keys yet", &tokens[0], "stable");
    serve(&["old"]);
    wait_until("keys have come", || site.is_believed(&tokens[0]));
    assert_eq!((&told()["keys"], &told()["problem"]), (&json!(1), &Json::Null));
    assert!(told()["fetchedAt"].is_string());

    // Keys are rotated: a token by the new one brings about a fetch, long before the hour is over.
    serve(&["new", "old"]);
    wait_until("the new key counts", || site.is_believed(&tokens[1]));
    site.check("the old one still counts", &tokens[0], "canary");
    let fetches = provider.requests();

    // The provider vanishes. An unknown key makes us ask, and what is known goes on.
    drop(provider);
    site.check("unknown", &tokens[2], "stable");
    wait_until("a fetch has failed", || {
        site.is_believed(&tokens[2]);
        told()["problem"].is_string()
    });
    assert!(site.is_believed(&tokens[0]) && site.is_believed(&tokens[1]));
    assert!(fetches < 8, "{fetches} fetches");
    let metrics = Metrics::of(&site.serin);
    assert_eq!(metrics.sum("serin_jwks_keys", &[("issuer", ISSUER)]), 2.0);
    assert!(metrics.sum("serin_jwks_last_success_timestamp_seconds", &[("issuer", ISSUER)]) > 1e9);
    assert!(!site.serin.log().contains("secret-path"));
}
