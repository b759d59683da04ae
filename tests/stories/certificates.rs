//! Certificates of listeners: which one a client is shown, and what becomes of them when their files change.

use std::fs;
use std::os::unix::fs::symlink;

use rustls::SignatureScheme;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::tls::{Hello, OnDisk, Secure, certificate, install, issue, replace};
use crate::common::{Backend, Client, Metrics, Options, Serin, one, wait_until};

/// A Serin with these pairs, by the names of their files, and more keys in its `tls`.
fn site(dir: TempDir, pairs: &[&str], more: &str) -> (Serin, Backend) {
    let app = Backend::ok("in secret");
    let options = Options {
        listener: tls(pairs, more),
        ..Options::default()
    };
    let serin = Serin::in_dir(dir, options, &one(app.address()));
    (serin, app)
}

fn tls(pairs: &[&str], more: &str) -> String {
    let pair = |name: &&str| format!("{{ certificate: {name}.pem, key: {name}.key }}");
    let pairs: Vec<_> = pairs.iter().map(pair).collect();
    format!("tls: {{ certificates: [{}]{more} }}", pairs.join(", "))
}

fn dir() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

#[track_caller]
fn shown(serin: &Serin, name: &str, hello: Hello) -> Vec<u8> {
    let mut client = Secure::connect(serin.address(), name, &hello.config()).expect("a handshake");
    let (head, body) = client.get(name, "/").expect("an exchange");
    assert_eq!((head.status().expect("a status"), &*body), (200, "in secret"));
    client.shown().to_vec()
}

fn hello() -> Hello {
    Hello::new(rustls::ALL_VERSIONS)
}

fn is_shown(serin: &Serin, name: &str, expected: &OnDisk) -> bool {
    shown(serin, name, hello()) == expected.der.to_vec()
}

fn certificates(serin: &Serin) -> Value {
    serin.status()["listeners"][0]["certificates"].clone()
}

fn reloads(serin: &Serin, result: &str) -> f64 {
    Metrics::of(serin).sum("serin_certificate_reloads_total", &[("result", result)])
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let dir = dir();
    let first = certificate(dir.path(), "first", &["first.test"]);
    let wild = certificate(dir.path(), "wild", &["*.shop.test", "shop.test"]);
    let exact = certificate(dir.path(), "exact", &["eu.shop.test"]);
    let (serin, _app) = site(dir, &["first", "wild", "exact"], "");
    for (name, expected) in [
        ("first.test", &first),
        ("eu.shop.test", &exact),
        ("us.shop.test", &wild),
        ("shop.test", &wild),
        ("SHOP.test", &wild),
        ("a.b.shop.test", &first),
        ("other.test", &first),
    ] {
        assert!(is_shown(&serin, name, expected), "{name}");
    }
    assert_eq!(shown(&serin, "eu.shop.test", hello().nameless()), first.der.to_vec());
    let shown = certificates(&serin);
    assert_eq!(shown[1]["names"], serde_json::json!(["*.shop.test", "shop.test"]));
    assert!(
        shown[1]["file"].as_str().is_some_and(|file| file.ends_with("wild.pem")),
        "{shown}"
    );
    assert!(
        shown[1]["problem"].is_null() && shown[1]["notAfter"].is_string(),
        "{shown}"
    );
    let labels = [("listener", "public"), ("certificate", "*.shop.test")];
    let expiry = Metrics::of(&serin).sum("serin_certificate_expiry_timestamp_seconds", &labels);
    assert!(expiry > 4_000_000_000.0 / 2.0, "{expiry}");
}

#[test]
fn of_two_kinds_of_key_for_one_name_a_client_gets_the_one_that_it_can_verify() {
    let dir = dir();
    let ecdsa = certificate(dir.path(), "ecdsa", &["shop.test"]);
    let rsa = issue(&["shop.test"], &rcgen::PKCS_RSA_SHA256);
    install(dir.path(), "rsa", &rsa);
    let (serin, _app) = site(dir, &["ecdsa", "rsa"], "");
    let only_rsa = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    assert_eq!(shown(&serin, "shop.test", Hello::verifying(only_rsa)), rsa.der.to_vec());
    let only_ecdsa = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    assert_eq!(
        shown(&serin, "shop.test", Hello::verifying(only_ecdsa)),
        ecdsa.der.to_vec()
    );
    assert!(
        is_shown(&serin, "shop.test", &ecdsa),
        "who can verify both gets the first"
    );
}

#[test]
fn a_new_pair_is_shown_from_then_on_and_what_is_open_goes_on() {
    let dir = dir();
    let old = certificate(dir.path(), "shop", &["shop.test"]);
    let (serin, _app) = site(dir, &["shop"], "");
    let mut open = Secure::connect(serin.address(), "shop.test", &hello().config()).expect("a handshake");
    open.get("shop.test", "/").expect("an exchange");
    let new = certificate(serin.dir(), "shop", &["shop.test", "more.test"]);
    wait_until("the new certificate is shown", || is_shown(&serin, "shop.test", &new));
    let (_, body) = open
        .get("shop.test", "/")
        .expect("an exchange on the connection of before");
    assert_eq!((&*body, open.shown()), ("in secret", old.der));
    assert_eq!(reloads(&serin, "success"), 1.0);
    let audit = serin.api_text("/v1/audit");
    assert!(audit.contains("other certificates are shown by public"), "{audit}");
    assert_eq!(
        certificates(&serin)[0]["names"],
        serde_json::json!(["shop.test", "more.test"])
    );
}

#[test]
fn a_pair_that_cannot_be_used_changes_nothing_but_what_is_said_of_it() {
    let dir = dir();
    let old = certificate(dir.path(), "shop", &["shop.test"]);
    let (serin, _app) = site(dir, &["shop"], "");
    let generation = serin.generation();
    let key = serin.dir().join("shop.key");
    let other = issue(&["shop.test"], &rcgen::PKCS_ECDSA_P256_SHA256);
    let cut = &other.key[..other.key.len() / 2];
    for (times, (bad, told)) in (1..).zip([
        (cut, "middle of a section"),
        ("", "no private key"),
        (&*other.key, "not for this key"),
    ]) {
        replace(&key, bad);
        wait_until(told, || {
            certificates(&serin)[0]["problem"]
                .as_str()
                .is_some_and(|problem| problem.contains(told))
        });
        assert!(is_shown(&serin, "shop.test", &old), "{told}");
        assert_eq!(reloads(&serin, "failure"), f64::from(times));
    }
    fs::remove_file(&key).expect("it was there");
    wait_until("its absence is told", || {
        certificates(&serin)[0]["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("cannot be read"))
    });
    // A person who asks finds no other problem, and the old one serves.
    assert_eq!(serin.reload().status, 200);
    assert!(is_shown(&serin, "shop.test", &old));
    assert_eq!(serin.generation(), generation, "nothing was changed");
    let log = serin.log();
    assert!(
        log.contains("the last good one goes on") && !log.contains("PRIVATE"),
        "{log}"
    );
    install(serin.dir(), "shop", &other);
    wait_until("the mended pair is shown", || is_shown(&serin, "shop.test", &other));
    assert!(certificates(&serin)[0]["problem"].is_null());
}

/// `shop.pem -> ..data/shop.pem`, `..data -> ..<time>`.
#[test]
fn a_mounted_secret_that_is_swapped_is_noticed() {
    let dir = dir();
    let publish = |at: &std::path::Path, version: &str| {
        let directory = at.join(format!("..{version}"));
        fs::create_dir(&directory).expect("it is new");
        let issued = certificate(&directory, "shop", &["shop.test"]);
        symlink(format!("..{version}"), at.join("..data_tmp")).expect("a link");
        fs::rename(at.join("..data_tmp"), at.join("..data")).expect("a rename");
        issued
    };
    let first = publish(dir.path(), "v1");
    for name in ["shop.pem", "shop.key"] {
        symlink(format!("..data/{name}"), dir.path().join(name)).expect("a link");
    }
    let (serin, _app) = site(dir, &["shop"], "");
    assert!(is_shown(&serin, "shop.test", &first));
    for version in ["v2", "v3"] {
        let next = publish(serin.dir(), version);
        wait_until("the next one is shown", || is_shown(&serin, "shop.test", &next));
    }
}

#[test]
fn a_listener_takes_over_another_tls_section_without_a_restart() {
    let dir = dir();
    let first = certificate(dir.path(), "first", &["first.test"]);
    let second = certificate(dir.path(), "second", &["second.test"]);
    let (serin, app) = site(dir, &["first"], "");
    let tls12 = || Hello::new(&[&rustls::version::TLS12]).config();
    assert!(is_shown(&serin, "second.test", &first));
    Secure::connect(serin.address(), "first.test", &tls12()).expect("1.2 is enough");
    let before = tls(&["first"], "");
    let now = tls(&["second", "first"], ", minVersion: \"1.3\", hsts: { maxAge: 1h }");
    let text = serin.text(&one(app.address()));
    assert!(text.contains(&before));
    serin.write_text(&text.replace(&before, &now));
    wait_until("the new default is shown", || is_shown(&serin, "other.test", &second));
    Secure::connect(serin.address(), "first.test", &tls12())
        .map(drop)
        .expect_err("1.2 is not enough any more");
    let mut client = Secure::connect(serin.address(), "first.test", &hello().config()).expect("a handshake");
    let (head, _) = client.get("first.test", "/").expect("an exchange");
    assert_eq!(head.get("strict-transport-security"), Some("max-age=3600"));
    // A file that was never good is a problem of the configuration.
    let gone = now.replace("second.pem", "gone.pem");
    serin.write_text(&text.replace(&before, &gone));
    wait_until("the reload is refused", || serin.status()["lastReload"]["ok"] == false);
    let problem = serin.status()["lastReload"]["problems"][0].clone();
    assert!(
        problem.to_string().contains("gone.pem") && problem.to_string().contains("listeners.public.tls"),
        "{problem}"
    );
    assert!(is_shown(&serin, "other.test", &second));
}

#[test]
fn a_session_is_resumed_by_every_worker_and_also_after_a_reload() {
    let dir = dir();
    certificate(dir.path(), "shop", &["shop.test"]);
    certificate(dir.path(), "other", &["other.test"]);
    let (serin, _app) = site(dir, &["shop", "other"], "");
    for version in rustls::ALL_VERSIONS {
        let config = Hello::new(&[version]).config();
        let resumed = || {
            let mut client = Secure::connect(serin.address(), "shop.test", &config).expect("a handshake");
            client.get("shop.test", "/").expect("an exchange");
            client.was_resumed()
        };
        assert!(!resumed(), "the first has nothing to resume");
        for _ in 0..8 {
            assert!(resumed(), "{version:?}");
        }
        // Its own certificate has not changed.
        let other = certificate(serin.dir(), "other", &["other.test"]);
        wait_until("the other one is shown", || is_shown(&serin, "other.test", &other));
        assert!(resumed(), "{version:?}");
    }
}

#[test]
fn a_handshake_has_its_time() {
    let dir = dir();
    certificate(dir.path(), "shop", &["shop.test"]);
    let app = Backend::ok("x");
    let options = Options {
        listener: format!("{}, timeouts: {{ handshake: 300ms }}", tls(&["shop"], "")),
        ..Options::default()
    };
    let serin = Serin::in_dir(dir, options, &one(app.address()));
    let mut silent = Client::connect(serin.address());
    assert!(silent.closed());
    wait_until("it is counted", || {
        Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "handshake")]) == 1.0
    });
}

#[test]
fn a_pair_that_does_not_fit_is_no_start_and_the_words_say_how_to_mend_it() {
    let dir = dir();
    certificate(dir.path(), "shop", &["shop.test"]);
    certificate(dir.path(), "other", &["shop.test"]);
    fs::copy(dir.path().join("other.key"), dir.path().join("shop.key")).expect("a copy");
    let app = Backend::ok("x");
    let text = format!(
        "version: 1\nlisteners:\n- {{ name: public, address: \"127.0.0.1:0\", {} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n{}",
        tls(&["shop"], ""),
        one(app.address())
    );
    fs::write(dir.path().join("serin.yaml"), text).expect("it can be written");
    for command in ["run", "check"] {
        let mut serin = crate::common::binary();
        serin.current_dir(dir.path()).arg(command);
        if command == "run" {
            serin.arg("-c");
        }
        let output = serin.arg("serin.yaml").output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{command}: {told}");
        for word in [
            "shop.pem",
            "the certificate is not for this key",
            "listeners.public.tls",
        ] {
            assert!(told.contains(word), "{command}: {word} in {told}");
        }
    }
}
