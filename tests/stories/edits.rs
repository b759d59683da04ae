//! The file is edited in the middle of a release, or behind it: no edit moves users where nobody sent them.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{Backend, Load, Options, Serin, get, pair, status, wait_until};

const STEPS: &str = "[{ setWeight: 10%, bakeTime: 1h }, { setWeight: 100% }]";

fn rollout(from: &str, to: &str, more: &str) -> String {
    format!("rollouts:\n- {{ name: shop, route: shop, from: {from}, to: {to}, steps: {STEPS}{more} }}\n")
}

fn full(serin: &Serin) {
    serin.api("POST", "/v1/rollouts/shop/promote", r#"{"full":true}"#);
}

/// What the canary has after the file exchanged `from` and `to`, when `verbs` were said before.
fn share_after_exchange(verbs: &[&str], restart: bool) -> (String, f64) {
    let app = Backend::ok("x");
    let body = |from, to| pair(app.address(), app.address(), (100, 0)) + &rollout(from, to, "");
    let mut serin = Serin::start(&body("stable", "canary"));
    for verb in verbs {
        match *verb {
            "full" => full(&serin),
            verb => serin.tell(verb),
        }
    }
    if restart {
        serin.crash();
        serin.write(&body("canary", "stable"));
        serin.crash_and_restart();
    } else {
        serin.write(&body("canary", "stable"));
        assert_eq!(serin.reload().status, 200);
    }
    (serin.phase(), serin.share("canary"))
}

#[test]
fn an_aborted_canary_does_not_come_back_when_the_file_exchanges_the_sides() {
    for restart in [false, true] {
        let (_, share) = share_after_exchange(&["start", "abort"], restart);
        assert_eq!(share, 0.0);
    }
}

#[test]
fn a_promoted_version_keeps_what_it_has_when_the_file_exchanges_the_sides() {
    for restart in [false, true] {
        let (_, share) = share_after_exchange(&["start", "full"], restart);
        assert_eq!(share, 1.0, "nobody has started a trial of the other one");
    }
}

#[test]
fn a_running_trial_does_not_give_the_canary_more_when_the_file_exchanges_the_sides() {
    for restart in [false, true] {
        let (_, share) = share_after_exchange(&["start"], restart);
        assert!(share <= 0.1, "{share}");
    }
}

#[test]
fn an_idle_rollout_is_turned_round_by_the_file() {
    let (_, share) = share_after_exchange(&[], false);
    assert_eq!(share, 0.0);
}

#[test]
fn a_rollout_that_the_file_puts_on_another_route_brings_no_weight_along() {
    let app = Backend::ok("x");
    let body = |route: &str| {
        let other = "- name: other\n  match: { hosts: [other.test], pathPrefix: / }\n  split: { variants: [{ name: stable, \
             backend: v1, weight: 100 }, { name: canary, backend: v2, weight: 0 }] }\n";
        pair(app.address(), app.address(), (100, 0))
            + other
            + &rollout("stable", "canary", "").replace("route: shop", &format!("route: {route}"))
    };
    let serin = Serin::start(&body("shop"));
    serin.tell("start");
    full(&serin);
    serin.write(&body("other"));
    assert_eq!(serin.reload().status, 200);
    let other = serin.api("GET", "/v1/routes/other", "");
    assert_eq!(other["variants"][1]["share"], 0.0, "{}", serin.phase());
}

#[test]
fn a_rollout_that_leaves_the_file_leaves_the_weights_of_the_file_and_says_so() {
    let (stable, canary) = (Backend::ok("s"), Backend::ok("c"));
    let body = pair(stable.address(), canary.address(), (100, 0));
    let serin = Serin::start(&(body.clone() + &rollout("stable", "canary", "")));
    serin.tell("start");
    full(&serin);
    assert_eq!(get(serin.address(), "/").text(), "c");
    serin.write(&body);
    assert_eq!(serin.reload().status, 200);
    assert_eq!(get(serin.address(), "/").text(), "s");
    let told = serin.api("GET", "/v1/audit?route=shop&kind=weights&limit=1", "");
    let record = &told["records"][0];
    assert_eq!(
        (&record["by"], &record["to"]),
        (&"file".into(), &"stable=100 canary=0".into()),
        "{told}"
    );
    // It comes back as one that nobody has seen.
    serin.write(&(body + &rollout("stable", "canary", "")));
    assert_eq!(serin.reload().status, 200);
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("idle", 0.0));
}

#[test]
fn a_rolling_release_goes_on_at_its_batch_after_a_crash_and_when_endpoints_come() {
    let old: Vec<Backend> = (0..4).map(|_| Backend::ok("old")).collect();
    let new: Vec<Backend> = (0..4).map(|_| Backend::ok("new")).collect();
    let list = |backends: &[Backend]| {
        let all: Vec<String> = backends
            .iter()
            .map(|backend| format!("\"{}\"", backend.address()))
            .collect();
        all.join(", ")
    };
    let body = |count: usize, bake: &str| {
        format!(
            "backends:\n- {{ name: v1, endpoints: [{}] }}\n- {{ name: v2, endpoints: [{}] }}\nroutes:\n- name: shop\n  match: \
             {{ pathPrefix: / }}\n  split: {{ variants: [{{ name: stable, backend: v1, weight: 100 }}, {{ name: canary, backend: \
             v2, weight: 0 }}] }}\nrollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, strategy: rolling, analysis: \
             {{ test: threshold, minRequests: 10 }}, rolling: {{ maxSurge: 1, maxUnavailable: 0, bakeTime: {bake}, drain: 1s }} }}\n",
            list(&old[..count]),
            list(&new[..count])
        )
    };
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let mut serin = Serin::with(options, &body(3, "1h"));
    serin.tell("start");
    wait_until("the first batch has joined", || serin.share("canary") > 0.2);
    let before = (serin.rollout()["step"].clone(), serin.share("canary"));
    serin.crash_and_restart();
    assert_eq!((serin.rollout()["step"].clone(), serin.share("canary")), before);
    let load = Load::start(serin.address(), 2, "/");
    let counts = || -> Vec<usize> { old.iter().chain(&new).map(Backend::requests).collect() };
    let answered = load.answered();
    let earlier = counts();
    wait_until("requests come", || load.answered() > answered + 200);
    let since: Vec<usize> = counts().iter().zip(earlier).map(|(now, before)| now - before).collect();
    assert!(
        since[4] > 0 && since[5] == 0 && since[6] == 0,
        "one new endpoint takes requests: {since:?}"
    );
    // A fourth endpoint on either side, and less patience.
    serin.write(&body(4, "100ms"));
    assert_eq!(serin.reload().status, 200);
    serin.until_phase("succeeded");
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    assert!(samples.iter().all(|sample| sample.status == 200));
    wait_until("all new ones serve", || {
        let before = counts();
        for _ in 0..40 {
            assert_eq!(get(serin.address(), "/").text(), "new");
        }
        counts().iter().zip(before).skip(4).all(|(now, before)| *now > before)
    });
}

#[test]
fn approvals_count_for_as_long_as_the_file_says() {
    let app = Backend::ok("x");
    let dir = TempDir::new().expect("a temporary directory");
    let person = |name: &str| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("- {{ name: {name}, hash: \"sha256:{hash}\", roles: [operator, sre] }}\n")
    };
    let people = |names: &[&str]| format!("tokens:\n{}", names.iter().map(|name| person(name)).collect::<String>());
    std::fs::write(dir.path().join("tokens.yaml"), people(&["ann", "bob", "cem"])).expect("a file");
    let options = Options {
        token: Some("ann"),
        ..Options::default()
    };
    let steps = |expires: &str| {
        format!(
            "[{{ gate: {{ approvals: {{ count: 2, roles: [sre], expires: {expires} }} }} }}, {{ setWeight: 10%, bakeTime: 1h }}, {{ setWeight: 100% }}]"
        )
    };
    let body = |expires: &str| {
        pair(app.address(), app.address(), (100, 0)) + &rollout("stable", "canary", "").replace(STEPS, &steps(expires))
    };
    let serin = Serin::in_dir(dir, options, &body("1s"));
    serin.tell("start");
    let waiting = || serin.rollout()["waiting"].as_str().unwrap_or_default().to_owned();
    let approve = |who: &str| {
        let bearer = format!("Bearer {who}");
        let fields = [("authorization", &*bearer)];
        let answer = serin.admin_with("POST", "/v1/rollouts/shop/approve", &fields, r#"{"reason":"x"}"#);
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    approve("ann");
    assert!(waiting().contains("1 of 2"), "{}", waiting());
    wait_until("it expires", || waiting().contains("0 of 2"));
    approve("bob");
    assert_eq!(
        (waiting().contains("1 of 2"), serin.rollout()["step"].as_u64()),
        (true, Some(0))
    );
    serin.write(&body("1h"));
    assert_eq!(serin.reload().status, 200);
    approve("bob");
    assert_eq!(serin.rollout()["step"], 0);
    approve("cem");
    wait_until("two of them agree", || serin.share("canary") == 0.1);
}

#[test]
fn a_smoke_test_tries_the_endpoints_that_the_file_names_now() {
    let (stable, first, second) = (Backend::ok("s"), Backend::start(|_| status(503)), Backend::ok("c"));
    let steps = "[{ smoke: { path: /, attempts: 1000, interval: 100ms } }, { setWeight: 10%, bakeTime: 1h }, { setWeight: 100% }]";
    let body = |canary: &Backend| {
        pair(stable.address(), canary.address(), (100, 0)) + &rollout("stable", "canary", "").replace(STEPS, steps)
    };
    let serin = Serin::start(&body(&first));
    serin.tell("start");
    wait_until("it is tried", || first.requests() > 1);
    serin.write(&body(&second));
    assert_eq!(serin.reload().status, 200);
    let before = first.requests();
    wait_until("the one or the other is tried", || {
        second.requests() > 0 || first.requests() > before + 5
    });
    assert!(second.requests() > 0, "the former one is tried on");
    wait_until("it goes on", || serin.share("canary") == 0.1);
}

#[test]
fn a_ramp_takes_about_as_long_as_it_says_where_few_come() {
    const OVER: Duration = Duration::from_secs(4);
    let app = Backend::ok("x");
    let steps = "[{ ramp: { from: 20%, to: 40%, over: 4s } }, { setWeight: 100%, bakeTime: 1h }]";
    let text = rollout("stable", "canary", ", analysis: { test: threshold, minRequests: 50 }").replace(STEPS, steps);
    let serin = Serin::start(&(pair(app.address(), app.address(), (100, 0)) + &text));
    serin.tell("start");
    let begun = Instant::now();
    // Some 50 requests in a second: while it rises as many come to the canary as the plan wants once.
    while serin.share("canary") < 0.4 {
        assert!(
            begun.elapsed() < 2 * OVER,
            "{:?}: {}",
            begun.elapsed(),
            serin.rollout()["verdictReason"]
        );
        assert_eq!(get(serin.address(), "/").status, 200);
        // The pace itself.
        std::thread::sleep(Duration::from_millis(15));
    }
}

#[test]
fn an_aborted_canary_does_not_come_back_when_its_rollout_gets_another_name() {
    let app = Backend::ok("x");
    let body = |name: &str| {
        pair(app.address(), app.address(), (50, 50))
            + &rollout("stable", "canary", "").replace("name: shop", &format!("name: {name}"))
    };
    let serin = Serin::start(&body("shop"));
    serin.tell("start");
    serin.tell("abort");
    serin.write(&body("other"));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.share("canary"), 0.0, "{}", serin.api_text("/v1/rollouts/other"));
}

#[test]
fn a_third_variant_that_the_file_puts_on_trial_gets_nothing_of_what_the_former_had() {
    let app = Backend::ok("x");
    let body = |to: &str, order: [&str; 2]| {
        let backends = format!(
            "backends:\n- {{ name: v1, endpoints: [\"{0}\"] }}\n- {{ name: v2, endpoints: [\"{0}\"] }}\n- {{ name: v3, endpoints: [\"{0}\"] }}\n",
            app.address()
        );
        let variant = |name: &str, backend: &str| format!(", {{ name: {name}, backend: {backend}, weight: 0 }}");
        let others: String = order
            .iter()
            .map(|name| variant(name, if *name == "canary" { "v2" } else { "v3" }))
            .collect();
        format!(
            "{backends}routes:\n- name: shop\n  match: {{ pathPrefix: / }}\n  split: {{ variants: [{{ name: stable, backend: v1, weight: 100 }}{others}] }}\n"
        ) + &rollout("stable", to, "")
    };
    let serin = Serin::start(&body("canary", ["canary", "next"]));
    serin.tell("start");
    full(&serin);
    serin.write(&body("next", ["next", "canary"]));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.share("next"), 0.0, "{}", serin.phase());
}
