//! A changed file is noticed however it is changed, taken as a whole or not at all, and drops nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::{Act, Backend, Client, Load, Metrics, Options, Serin, get, ok, pair, wait_until};

fn share_becomes(serin: &Serin, share: f64) {
    wait_until(&format!("the canary's share is {share}"), || {
        serin.share("canary") == share
    });
}

#[test]
fn a_file_renamed_over_is_noticed_each_time() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    for (weights, share) in [((1, 1), 0.5), ((1, 3), 0.75), ((4, 1), 0.2)] {
        serin.write(&pair(app.address(), app.address(), weights));
        share_becomes(&serin, share);
    }
}

#[test]
fn a_file_written_in_place_is_noticed() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    fs::write(serin.file(), serin.text(&pair(app.address(), app.address(), (1, 1)))).expect("a writable file");
    share_becomes(&serin, 0.5);
}

#[test]
fn a_config_map_that_swaps_its_symlink_is_noticed_each_time() {
    // As the kubelet lays it out: serin.yaml -> ..data/serin.yaml, ..data -> ..1, and `..data` is renamed over.
    let app = Backend::ok("x");
    let dir = TempDir::new().expect("a temporary directory");
    let mount = dir.path().join("mount");
    fs::create_dir_all(mount.join("..1")).expect("a directory");
    symlink("..1", mount.join("..data")).expect("a link");
    symlink("..data/serin.yaml", mount.join("serin.yaml")).expect("a link");
    let options = Options {
        file: "mount/serin.yaml".to_owned(),
        ..Options::default()
    };
    let serin = Serin::in_dir(dir, options, &pair(app.address(), app.address(), (3, 1)));
    for (version, weights, share) in [("..2", (1, 1), 0.5), ("..3", (1, 3), 0.75)] {
        fs::create_dir(mount.join(version)).expect("a directory");
        let text = serin.text(&pair(app.address(), app.address(), weights));
        fs::write(mount.join(version).join("serin.yaml"), text).expect("a file");
        symlink(version, mount.join("..data_tmp")).expect("a link");
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("a rename");
        share_becomes(&serin, share);
    }
}

#[test]
fn a_hangup_and_a_post_read_the_file_again() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    serin.write(&pair(app.address(), app.address(), (1, 1)));
    serin.signal(Signal::HUP);
    share_becomes(&serin, 0.5);
    serin.write(&pair(app.address(), app.address(), (1, 3)));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.share("canary"), 0.75, "in force when it is answered");
    let metrics = Metrics::of(&serin);
    assert!(metrics.sum("serin_config_reloads_total", &[("result", "success")]) >= 2.0);
}

#[test]
fn an_unchanged_file_is_no_new_generation() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    let before = serin.generation();
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.generation(), before);
}

#[test]
fn a_bad_file_that_is_noticed_keeps_the_old_table() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    let before = serin.generation();
    serin.write("routes: [\n");
    wait_until("the bad file is noticed", || {
        serin.status()["lastReload"]["ok"] == false
    });
    assert_eq!((serin.generation(), serin.share("canary")), (before, 0.25));
    assert_eq!(get(serin.address(), "/").status, 200);
    serin.write(&pair(app.address(), app.address(), (1, 1)));
    share_becomes(&serin, 0.5);
    assert_eq!(serin.status()["lastReload"]["ok"], true);
}

#[test]
fn what_cannot_change_in_a_running_process_is_refused_as_a_whole() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    let text = serin.text(&pair(app.address(), app.address(), (1, 1)));
    fs::write(serin.file(), text.replace("directory: ./state", "directory: ./other")).expect("a writable file");
    let document = serin.reload().problem(422);
    assert!(document.to_string().contains("restart"), "{document}");
    assert_eq!(serin.share("canary"), 0.25);
}

#[test]
fn a_request_in_flight_keeps_what_it_began_with() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let old = Backend::start(move |_| [vec![Act::Until(Arc::clone(&gate))], ok("old")].concat());
    let new = Backend::ok("new");
    let serin = Serin::start(&pair(old.address(), old.address(), (1, 0)));
    let (address, before) = (serin.address(), serin.generation());
    let waiting = thread::spawn(move || get(address, "/"));
    wait_until("it is with the backend", || old.requests() == 1);
    // Its backend goes, and its route gets another shape.
    serin.write(&pair(new.address(), new.address(), (0, 1)));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(get(address, "/").text(), "new");
    open.store(true, Ordering::SeqCst);
    let answer = waiting.join().expect("an answer");
    assert_eq!(
        (answer.text().as_str(), answer.variant(), answer.generation()),
        ("old", "stable", before)
    );
}

#[test]
fn swaps_under_load_lose_nothing_and_generations_never_fall() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let config = |weights| pair(v1.address(), v2.address(), weights);
    let serin = Serin::start(&config((50, 50)));
    let load = Load::start(serin.address(), 4, "/");
    for n in 1..=30_u32 {
        if n % 2 == 0 {
            assert_eq!(serin.weights(100 - n, n).status, 200);
        } else {
            serin.write(&config((100 - n, n)));
            assert_eq!(serin.reload().status, 200);
        }
    }
    let enough = load.answered() + 200;
    wait_until("requests came after the last swap", || load.answered() > enough);
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    assert!(samples.iter().all(|sample| sample.status == 200));
    // A request that was sent after another was answered sees the same generation or a later one.
    let mut by_time = samples.clone();
    by_time.sort_by_key(|sample| sample.done);
    let mut answered: Vec<(std::time::Instant, u64)> = Vec::new();
    for sample in &by_time {
        let highest = answered.last().map_or(0, |last| last.1).max(sample.generation);
        answered.push((sample.done, highest));
    }
    for sample in &samples {
        let before = answered.partition_point(|(done, _)| *done < sample.sent);
        let seen = before.checked_sub(1).map_or(0, |index| answered[index].1);
        assert!(sample.generation >= seen, "{} after {seen} was seen", sample.generation);
    }
}

#[test]
fn weights_by_hand_outlive_a_reload_that_does_not_declare_others() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    assert_eq!(serin.weights(1, 1).status, 200);
    // Something else in the file changes: the weights set by hand stay.
    let config = pair(app.address(), app.address(), (3, 1));
    serin.write(&config.replace("match: { pathPrefix: / }", "match: { pathPrefix: /app }"));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(get(serin.address(), "/elsewhere").status, 404, "the file is in force");
    assert_eq!(serin.share("canary"), 0.5);
    // Declared weights that differ by value are a change, and win.
    serin.write(&pair(app.address(), app.address(), (4, 1)));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.share("canary"), 0.2);
}

#[test]
fn a_connection_lives_through_reloads() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair(app.address(), app.address(), (3, 1)));
    let mut client = Client::connect(serin.address());
    for weights in [(1, 1), (1, 2), (1, 3)] {
        serin.write(&pair(app.address(), app.address(), weights));
        assert_eq!(serin.reload().status, 200);
        assert_eq!(client.get("/").generation(), serin.generation());
    }
    assert!(app.connections() <= 2, "the backend's connections are kept too");
}
