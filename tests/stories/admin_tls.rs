//! The admin API over TLS, as the command line comes to it.

use std::fs;
use std::process::Output;

use tempfile::TempDir;

use crate::common::tls::{certificate, install, issue};
use crate::common::{Backend, Options, Serin, binary, one, wait_until};

/// A Serin in whose directory there are `admin.pem`, for the admin address, and `me.pem`, both with their keys.
fn site() -> (Serin, Backend, String) {
    let dir = TempDir::new().expect("a temporary directory");
    certificate(dir.path(), "admin", &["127.0.0.1"]);
    install(dir.path(), "me", &issue(&["me.test"], &rcgen::PKCS_ECDSA_P256_SHA256));
    let app = Backend::ok("x");
    let serin = Serin::in_dir(dir, Options::default(), &one(app.address()));
    let text = fs::read_to_string(serin.file()).expect("it can be read");
    (serin, app, text)
}

/// Gives the admin API this `tls` in the running process.
fn write(serin: &Serin, text: &str, more: &str) {
    let address = format!("\"{}\"", serin.admin_address());
    let tls = format!("{address}, tls: {{ certificates: [{{ certificate: admin.pem, key: admin.key }}]{more} }}");
    serin.write_text(&text.replacen(&address, &tls, 1));
}

fn status(serin: &Serin, scheme: &str, more: &[&str]) -> Output {
    let mut serin_status = binary();
    serin_status.current_dir(serin.dir()).arg("status");
    serin_status.args(["--admin", &format!("{scheme}://{}", serin.admin_address())]);
    serin_status.args(more).output().expect("it runs")
}

fn works(serin: &Serin, scheme: &str, more: &[&str]) -> bool {
    status(serin, scheme, more).status.success()
}

#[test]
fn the_command_line_speaks_tls_and_believes_nobody_by_itself() {
    let (serin, _app, text) = site();
    assert!(works(&serin, "http", &[]));
    write(&serin, &text, "");
    let trusting = ["--ca", "admin.pem"];
    wait_until("it speaks TLS", || works(&serin, "https", &trusting));
    let shown = status(&serin, "https", &trusting);
    let shown = String::from_utf8_lossy(&shown.stdout);
    let line = shown
        .lines()
        .find(|line| line.contains("(admin)"))
        .expect("its certificate is shown");
    assert!(line.starts_with("127.0.0.1") && line.contains("good for"), "{line}");
    for (scheme, more) in [("https", &[][..]), ("https", &["--ca", "me.pem"]), ("http", &[])] {
        let output = status(&serin, scheme, more);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{scheme} {more:?}"
        );
    }
    let told = status(&serin, "https", &[]);
    let told = String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("no TLS") && told.contains("--ca FILE"), "{told}");
    // A new certificate is taken over here, too.
    certificate(serin.dir(), "admin", &["127.0.0.1"]);
    wait_until("the new one is shown", || works(&serin, "https", &trusting));
}

#[test]
fn who_shows_no_certificate_where_one_is_required_is_not_let_in() {
    let (serin, _app, text) = site();
    write(&serin, &text, ", clientCa: me.pem, clientAuth: required");
    let showing = [
        "--ca",
        "admin.pem",
        "--certificate",
        "me.pem",
        "--certificate-key",
        "me.key",
    ];
    wait_until("it is let in", || works(&serin, "https", &showing));
    assert!(!works(&serin, "https", &["--ca", "admin.pem"]));
    let stranger = [
        "--ca",
        "admin.pem",
        "--certificate",
        "admin.pem",
        "--certificate-key",
        "admin.key",
    ];
    assert!(!works(&serin, "https", &stranger));
}
