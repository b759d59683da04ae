//! Clients with certificates, as curl shows them: who they are decides, and bad ones end in the handshake.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use tempfile::TempDir;

use crate::common::tls::replace;
use crate::common::{Backend, Options, Serin, binary, pair_with, wait_until};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Writes `NAME.pem` and `NAME.key`, signed by `ca`, for `identity`.
fn client(dir: &Path, name: &str, ca: &Ca, identity: &str, expired: bool) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(identity.try_into().expect("ASCII"))];
    params.distinguished_name.push(DnType::CommonName, name);
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, ca).expect("a certificate");
    fs::write(dir.join(format!("{name}.pem")), certificate.pem()).expect("it can be written");
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("it can be written");
}

const STAFF: &str = "    key: { clientCertificate: true, fallback: clientIp }\n    cohorts:\n    - { name: staff, clientCertificates: [{ prefix: \"spiffe://example.com/staff/\" }], variant: canary, internal: true }\n";

struct Site {
    serin: Serin,
    backends: [Backend; 2],
}

fn site() -> Site {
    site_with("")
}

/// With more keys in the listener's `tls`.
fn site_with(more: &str) -> Site {
    let dir = TempDir::new().expect("a temporary directory");
    let at = dir.path();
    let server = rcgen::generate_simple_self_signed(["serin.test".to_owned()]).expect("a certificate");
    fs::write(at.join("cert.pem"), server.cert.pem()).expect("it can be written");
    fs::write(at.join("cert.key"), server.signing_key.serialize_pem()).expect("it can be written");
    let (ours, others) = (ca("ours"), ca("others"));
    fs::write(at.join("clients.pem"), ours.pem()).expect("it can be written");
    fs::write(at.join("others.pem"), others.pem()).expect("it can be written");
    client(at, "alice", &ours, "spiffe://example.com/staff/alice", false);
    client(at, "bob", &ours, "spiffe://example.com/customer/bob", false);
    client(at, "old", &ours, "spiffe://example.com/staff/old", true);
    client(at, "eve", &others, "spiffe://example.com/staff/eve", false);
    let backends = ["v1", "v2"].map(Backend::ok);
    let [stable, canary] = backends.each_ref().map(Backend::address);
    let options = Options {
        listener: format!(
            "tls: {{ certificates: [{{ certificate: cert.pem, key: cert.key }}], clientCa: clients.pem{more} }}"
        ),
        ..Options::default()
    };
    let body = pair_with(stable, canary, (1, 0), "", STAFF);
    Site {
        serin: Serin::in_dir(dir, options, &body),
        backends,
    }
}

impl Site {
    /// What curl says to one request by `who`; `None`: curl is not installed.
    fn curl(&self, version: &str, who: Option<&str>) -> Option<Output> {
        let port = self.serin.address().port();
        let mut curl = Command::new("curl");
        curl.current_dir(self.serin.dir());
        curl.args([
            "-sS",
            version,
            "--max-time",
            "20",
            "--noproxy",
            "*",
            "--cacert",
            "cert.pem",
        ]);
        curl.args(["--resolve", &format!("serin.test:{port}:127.0.0.1")]);
        if let Some(who) = who {
            curl.args(["--cert", &format!("{who}.pem"), "--key", &format!("{who}.key")]);
        }
        let output = curl.arg(format!("https://serin.test:{port}/")).output();
        output.inspect_err(|_| eprintln!("curl is not installed")).ok()
    }
}

#[test]
fn who_a_certificate_names_decides_and_bad_ones_end_in_the_handshake() {
    let site = site();
    for version in ["--http1.1", "--http2"] {
        for (who, expected) in [(Some("alice"), "v2"), (Some("bob"), "v1"), (None, "v1")] {
            let Some(output) = site.curl(version, who) else { return };
            let body = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(
                body,
                expected,
                "{version} {who:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        for who in ["old", "eve"] {
            let Some(output) = site.curl(version, Some(who)) else {
                return;
            };
            assert!(!output.status.success() && output.stdout.is_empty(), "{version} {who}");
        }
    }
    let seen = site.backends[1].seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.head.get("x-serin-cohort") == Some("staff")));
    wait_until("refused handshakes are counted", || {
        site.serin
            .api_text("/metrics")
            .contains("serin_rejected_total{reason=\"handshake\"} 4")
    });
}

#[test]
fn where_a_certificate_is_required_nobody_comes_in_without_one() {
    let site = site_with(", clientAuth: required");
    for version in ["--http1.1", "--http2"] {
        let Some(output) = site.curl(version, Some("bob")) else {
            return;
        };
        assert_eq!(output.stdout, b"v1", "{version}");
        for who in [None, Some("old"), Some("eve")] {
            let Some(output) = site.curl(version, who) else { return };
            assert!(
                !output.status.success() && output.stdout.is_empty(),
                "{version} {who:?}"
            );
        }
    }
    let status = site.serin.status();
    assert_eq!(status["listeners"][0]["clientCa"]["required"], true, "{status}");
}

#[test]
fn who_may_sign_for_clients_changes_with_the_file() {
    let site = site_with(", clientAuth: required");
    let Some(output) = site.curl("--http1.1", Some("bob")) else {
        return;
    };
    assert!(output.status.success());
    let file = site.serin.dir().join("clients.pem");
    let problem = || site.serin.status()["listeners"][0]["clientCa"]["problem"].clone();
    // Of no use: those of before still sign.
    replace(&file, "nothing\n");
    wait_until("the problem is told", || problem().is_string());
    assert!(
        site.curl("--http1.1", Some("bob"))
            .is_some_and(|output| output.status.success())
    );
    let others = fs::read_to_string(site.serin.dir().join("others.pem")).expect("it can be read");
    replace(&file, &others);
    wait_until("eve comes in", || {
        site.curl("--http1.1", Some("eve"))
            .is_some_and(|output| output.status.success())
    });
    assert!(problem().is_null());
    assert!(
        site.curl("--http1.1", Some("bob"))
            .is_some_and(|output| !output.status.success())
    );
}

#[test]
fn a_file_of_signers_without_certificates_is_told_at_the_start() {
    let dir = TempDir::new().expect("a temporary directory");
    let site = site();
    for name in ["cert.pem", "cert.key"] {
        fs::copy(site.serin.dir().join(name), dir.path().join(name)).expect("it can be copied");
    }
    fs::write(dir.path().join("clients.pem"), "nothing\n").expect("it can be written");
    let text = fs::read_to_string(site.serin.file()).expect("it can be read");
    fs::write(dir.path().join("serin.yaml"), text).expect("it can be written");
    let output = binary()
        .current_dir(dir.path())
        .args(["run", "-c", "serin.yaml"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("clients.pem: no certificate in it"), "{told}");
}
