//! Suites that others wrote, as tests/suites/ drives them: the quick one, when it is installed.

use std::path::Path;
use std::process::Command;

/// Runs a driver against the program under test; its last line counts what passed.
#[track_caller]
fn suite(driver: &str, tools: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for tool in tools {
        let installed = root.join("target/suites").join(tool);
        if !installed.exists() {
            eprintln!("{} is not installed; `make suite-tools` does", installed.display());
            return;
        }
    }
    let mut words = driver.split(' ');
    let script = root
        .join("tests/suites")
        .join(words.next().expect("a driver has a name"));
    let output = Command::new("python3")
        .arg(script)
        .args(words)
        .env("SERIN", env!("CARGO_BIN_EXE_serin"))
        .env("SUITES", root.join("target/suites"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 runs");
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.ends_with(" passed, 0 failed\n"), "{text}{errors}");
}

#[test]
fn every_interoperability_case_of_grpc_passes_in_clear_and_over_tls() {
    suite("interop.py --python", &["python/bin/python", "grpc/installed"]);
}
