//! What people and rollouts did outlives the process, and nothing outlives a state directory that cannot hold it.

use std::fs;

use crate::common::{Backend, Load, Options, Serin, binary, get, pair, rollout, wait_until};

const STEPS: &str = "[{ setWeight: 5%, bakeTime: 1h }, { setWeight: 25%, bakeTime: 1h }, { setWeight: 100% }]";

fn with_rollout(app: &Backend) -> String {
    pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", STEPS)
}

#[test]
fn weights_by_hand_survive_a_crash() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&pair(app.address(), app.address(), (9, 1)));
    assert_eq!(serin.weights(1, 3).status, 200);
    let before = serin.generation();
    serin.crash_and_restart();
    assert_eq!(
        (serin.share("canary"), &serin.variant("canary")["weight"]),
        (0.75, &3.into())
    );
    assert!(serin.generation() >= before, "a generation never falls");
    assert!(get(serin.address(), "/").generation() >= before);
}

#[test]
fn declared_weights_that_changed_while_it_was_down_win() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&pair(app.address(), app.address(), (9, 1)));
    assert_eq!(serin.weights(1, 3).status, 200);
    serin.crash();
    serin.write(&pair(app.address(), app.address(), (1, 1)));
    serin.crash_and_restart();
    assert_eq!(serin.share("canary"), 0.5);
}

#[test]
fn generations_rise_over_many_crashes() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&pair(app.address(), app.address(), (9, 1)));
    let mut last = 0;
    for n in 1..=4 {
        assert_eq!(serin.weights(9, n).status, 200);
        let now = serin.generation();
        assert!(now > last, "{now} after {last}");
        last = now;
        serin.crash_and_restart();
        assert!(serin.generation() >= last);
    }
}

#[test]
fn an_abort_survives_a_crash_and_a_reload() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    serin.tell("start");
    serin.tell("abort");
    serin.crash_and_restart();
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    assert!(
        serin.rollout()["reason"].to_string().contains("a story"),
        "{}",
        serin.rollout()
    );
    // Neither does a file with weight for the canary revive it, nor a person's weights.
    serin.write(&with_rollout(&app).replace("backend: v2, weight: 0", "backend: v2, weight: 50"));
    assert_eq!(serin.reload().status, 200);
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    serin.weights(1, 1).problem(409);
    let load = Load::start(serin.address(), 2, "/");
    wait_until("requests are served", || load.answered() > 300);
    let (samples, lost) = load.stop();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(samples.iter().all(|sample| sample.variant == "stable"));
    serin.tell("retry");
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("progressing", 0.05));
}

#[test]
fn a_running_plan_goes_on_where_it_was() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    serin.tell("start");
    serin.tell("promote");
    let before = serin.rollout();
    assert_eq!((&before["step"], serin.share("canary")), (&1.into(), 0.25));
    serin.crash_and_restart();
    let after = serin.rollout();
    assert_eq!((&after["phase"], &after["step"]), (&before["phase"], &before["step"]));
    assert_eq!(serin.share("canary"), 0.25);
    serin.tell("pause");
    serin.crash_and_restart();
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("paused", 0.25));
}

#[test]
fn a_changed_release_starts_the_plan_also_when_it_changed_while_down() {
    let app = Backend::ok("x");
    let config = |release: &str| {
        let config = with_rollout(&app).replace("name: v2,", &format!("name: v2, release: {release},"));
        config.replace("route: shop, from", "route: shop, autoStart: onReleaseChange, from")
    };
    let mut serin = Serin::start(&config("r1"));
    assert_eq!(serin.phase(), "idle", "the first sight of a release is no change");
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.phase(), "idle");
    serin.write(&config("r2"));
    assert_eq!(serin.reload().status, 200);
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("progressing", 0.05));
    serin.tell("abort");
    serin.crash();
    serin.write(&config("r3"));
    serin.crash_and_restart();
    serin.until_phase("progressing");
}

#[test]
fn a_state_directory_belongs_to_one_process() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (9, 1)));
    let state = serin.dir().join("state").display().to_string();
    let exit = Serin::refuses(
        Options {
            state: state.clone(),
            ..Options::default()
        },
        &pair(app.address(), app.address(), (9, 1)),
    );
    assert_eq!(exit.code, Some(1), "{}", exit.log);
    assert!(exit.log.contains(&state), "it says which: {}", exit.log);
    assert_eq!(get(serin.address(), "/").status, 200, "the first goes on");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_no_start() {
    let app = Backend::ok("x");
    let config = pair(app.address(), app.address(), (9, 1));
    // Permissions do not bind root; these bind everybody.
    for state in ["serin.yaml/state", "/proc/serin"] {
        let exit = Serin::refuses(
            Options {
                state: state.to_owned(),
                ..Options::default()
            },
            &config,
        );
        assert_eq!(exit.code, Some(1), "{state}: {}", exit.log);
        assert!(exit.log.contains("state"), "{state}: {}", exit.log);
    }
}

#[test]
fn a_torn_state_file_is_not_taken_for_an_empty_one() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    serin.tell("start");
    serin.tell("abort");
    serin.crash();
    let file = serin.dir().join("state/state.json");
    let text = fs::read(&file).expect("the state is there");
    fs::write(&file, &text[..text.len() / 2]).expect("a writable file");
    // It goes on with the state before it and says so, or refuses to start; it never begins anew.
    let admin = ["run", "-c", "serin.yaml"];
    let mut child = binary()
        .args(admin)
        .current_dir(serin.dir())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it is built");
    let mut phase = None;
    wait_until("it has decided", || {
        if child.try_wait().expect("our child").is_some() {
            return true;
        }
        let answer = std::panic::catch_unwind(|| serin.phase()).ok();
        phase = answer;
        phase.is_some()
    });
    child.kill().ok();
    child.wait().expect("our child");
    assert_ne!(phase.as_deref(), Some("idle"));
}

#[test]
fn without_a_disk_people_are_refused_and_an_abort_happens_all_the_same() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    serin.tell("start");
    let (state, away) = (serin.dir().join("state"), serin.dir().join("away"));
    fs::rename(&state, &away).expect("a rename");
    let before = serin.generation();
    serin.say("pause").problem(503);
    assert_eq!((serin.phase().as_str(), serin.generation()), ("progressing", before));
    assert_eq!(get(serin.address(), "/").status, 200, "traffic goes on");
    serin.tell("abort");
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    assert!(!serin.status()["stateProblem"].is_null(), "{}", serin.status());
    fs::rename(&away, &state).expect("a rename");
    wait_until("the abort is written", || serin.status()["stateProblem"].is_null());
    serin.crash_and_restart();
    assert_eq!(serin.phase(), "aborted");
}
