//! Cohorts of a million users: their file is edited under load, and what is no whole file changes nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::common::{Backend, Client, Load, Options, Serin, binary, pair_with, wait_until};

const MILLION: usize = 1_000_000;
const LISTED: &str =
    "    key: { header: x-user-id }\n    cohorts:\n    - { name: listed, keysFile: users.txt, variant: canary }\n";

/// A million users with names as long as those that most systems make up.
fn users(prefix: &str) -> String {
    let mut text = String::with_capacity(37 * MILLION);
    for user in 0..MILLION {
        writeln!(text, "{prefix}-0000-0000-0000-{user:016}").expect("a text takes what is written");
    }
    text
}

fn user(prefix: &str, number: usize) -> String {
    format!("{prefix}-0000-0000-0000-{number:016}")
}

struct Site {
    serin: Serin,
    _backends: [Backend; 2],
}

fn site(list: &str) -> Site {
    let backends = ["v1", "v2"].map(Backend::ok);
    let [stable, canary] = backends.each_ref().map(Backend::address);
    let dir = TempDir::new().expect("a temporary directory");
    fs::write(dir.path().join("users.txt"), list).expect("it can be written");
    let body = pair_with(stable, canary, (1, 0), "", LISTED);
    Site {
        serin: Serin::in_dir(dir, Options::default(), &body),
        _backends: backends,
    }
}

impl Site {
    fn is_listed(&self, user: &str) -> bool {
        let mut client = Client::connect(self.serin.address());
        let response = client.request("GET", "/", &[("host", "h"), ("x-user-id", user)], b"");
        assert_eq!(response.status, 200);
        response.variant() == "canary"
    }

    fn list(&self) -> std::path::PathBuf {
        self.serin.dir().join("users.txt")
    }

    fn write_over(&self, list: &str) {
        let fresh = self.serin.dir().join("users.fresh");
        fs::write(&fresh, list).expect("it can be written");
        fs::rename(fresh, self.list()).expect("a rename");
    }

    /// Waits until a reading was refused, which tells of `expected`; then alice is still listed.
    #[track_caller]
    fn refuses(&self, expected: &str) {
        let problem = || self.serin.status()["lastReload"]["problems"][0].clone();
        let tells = |problem: &serde_json::Value| {
            let place = problem["place"].as_str().unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or_default();
            place.ends_with("users.txt") && detail.contains(expected)
        };
        wait_until(&format!("it tells of {expected:?}"), || tells(&problem()));
        assert!(self.is_listed("alice"));
    }
}

#[test]
fn a_million_users_are_edited_under_load_and_no_request_notices() {
    let site = site("# nobody yet\n");
    let empty = site.serin.resident();
    let load = Load::start(site.serin.address(), 4, "/");
    for prefix in ["11111111", "22222222"] {
        site.write_over(&users(prefix));
        wait_until("the list is live", || site.is_listed(&user(prefix, MILLION - 1)));
        assert!(site.is_listed(&user(prefix, 0)) && !site.is_listed(&user(prefix, MILLION)));
        // The list before is freed once nobody reads it.
        wait_until("the list takes at most 100 MiB", || {
            site.serin.resident().saturating_sub(empty) <= 100 << 20
        });
    }
    assert!(!site.is_listed(&user("11111111", 0)));
    let (samples, lost) = load.stop();
    assert_eq!(lost, [""; 0]);
    assert!(samples.len() > 10 && samples.iter().all(|sample| sample.status == 200));
    // Nor does a worker that has nothing to do hold on to it.
    let generation = site.serin.generation();
    site.write_over(&users("33333333"));
    wait_until("the list is live", || site.serin.generation() > generation);
    wait_until("the list takes at most 100 MiB", || {
        site.serin.resident().saturating_sub(empty) <= 100 << 20
    });
}

#[test]
fn what_is_no_whole_list_changes_nothing_and_is_told() {
    let site = site("alice\nbob\n");
    assert!(site.is_listed("alice") && !site.is_listed("carol"));
    fs::write(site.list(), "carol\nda").expect("it can be written");
    site.refuses("line 2: the file ends in the middle of a line");
    fs::write(site.list(), "").expect("it can be written");
    site.refuses("the file is empty");
    fs::remove_file(site.list()).expect("it can be removed");
    site.refuses("cannot be read");
    fs::write(site.list(), format!("carol\n{}\n", "x".repeat(2_000))).expect("it can be written");
    site.refuses("line 2: the key has more than");
    site.write_over("carol\n");
    wait_until("it is good again", || site.is_listed("carol"));
    assert!(!site.is_listed("alice"));
    assert_eq!(site.serin.status()["lastReload"]["ok"], true);
}

#[test]
fn check_reads_the_lists_that_a_file_names() {
    let site = site("alice\n");
    let check = |dir: &Path| {
        let output = binary()
            .current_dir(dir)
            .args(["check", "serin.yaml"])
            .output()
            .expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
        )
    };
    assert_eq!(check(site.serin.dir()).0, Some(0));
    fs::write(site.list(), "alice").expect("it can be written");
    let (code, told) = check(site.serin.dir());
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("users.txt") && told.contains("line 1: the file ends"),
        "{told}"
    );
}
