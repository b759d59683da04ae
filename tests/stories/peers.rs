//! Programs that others wrote, behind and in front of Serin. One that is not installed is passed over,
//! and the output says so.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::{Backend, Client, Metrics, Serin, free_address, noise, ok, one, pair, wait_until};

/// A server by somebody else; its process ends with it.
struct Peer {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts a server in a directory with the files of [`content`]; `None` when the program is not installed.
fn peer(program: &str, arguments: impl Fn(&Path, SocketAddr) -> Vec<String>) -> Option<Peer> {
    let dir = TempDir::new().expect("a temporary directory");
    fs::write(dir.path().join("small.txt"), "small\n").expect("it can be written");
    fs::write(dir.path().join("large.bin"), content()).expect("it can be written");
    let address = free_address();
    let mut command = Command::new(program);
    command.args(arguments(dir.path(), address)).current_dir(dir.path());
    let Ok(child) = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        eprintln!("{program} is not installed");
        return None;
    };
    let peer = Peer {
        child,
        address,
        _dir: dir,
    };
    wait_until(&format!("{program} accepts"), || TcpStream::connect(address).is_ok());
    Some(peer)
}

fn content() -> Vec<u8> {
    noise(3 * 1024 * 1024 + 11)
}

fn nginx() -> Option<Peer> {
    let program = if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    };
    peer(program, |dir, address| {
        let root = dir.display();
        let text = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root};\n\
             uwsgi_temp_path {root}; scgi_temp_path {root}; gzip on; gzip_types text/plain;\n\
             server {{ listen {address}; root {root}; location /moved {{ return 301 /small.txt; }} }} }}\n"
        );
        fs::write(dir.join("nginx.conf"), text).expect("it can be written");
        ["-p", &root.to_string(), "-c", "nginx.conf"]
            .map(str::to_owned)
            .to_vec()
    })
}

fn python() -> Option<Peer> {
    peer("python3", |dir, address| {
        let (port, dir) = (address.port().to_string(), dir.display().to_string());
        ["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory", &dir]
            .map(str::to_owned)
            .to_vec()
    })
}

#[test]
fn nginx_behind_serin() {
    let Some(nginx) = nginx() else { return };
    let serin = Serin::start(&one(nginx.address));
    let mut client = Client::connect(serin.address());
    let small = client.get("/small.txt");
    assert_eq!((small.status, small.text().as_str()), (200, "small\n"));
    assert!(client.get("/large.bin").body == content());
    let part = client.request("GET", "/large.bin", &[("range", "bytes=10-19")], b"");
    assert_eq!((part.status, &part.body[..]), (206, &content()[10..20]));
    let etag = small.head.get("etag").expect("nginx gives one").to_owned();
    assert_eq!(
        client
            .request("GET", "/small.txt", &[("if-none-match", &etag)], b"")
            .status,
        304
    );
    assert_eq!(
        client
            .request("HEAD", "/large.bin", &[], b"")
            .head
            .get("content-length"),
        Some("3145739")
    );
    assert_eq!(client.get("/moved").status, 301);
    assert_eq!(client.get("/none").status, 404);
    assert_eq!(client.request("POST", "/small.txt", &[], b"x").status, 405);
    assert_eq!(Metrics::of(&serin).requests("app", "stable"), (6, 0, 2));
}

#[test]
fn pythons_http_server_behind_serin() {
    let Some(python) = python() else { return };
    let serin = Serin::start(&one(python.address));
    let mut client = Client::connect(serin.address());
    // It speaks HTTP/1.0 and closes after each answer.
    for _ in 0..5 {
        assert_eq!(client.get("/small.txt").text(), "small\n");
    }
    assert!(client.get("/large.bin").body == content());
    assert!(client.get("/").text().contains("large.bin"), "the listing");
    assert_eq!(client.get("/none").status, 404);
    assert_eq!(Metrics::of(&serin).requests("app", "stable"), (7, 0, 1));
}

#[test]
fn nginx_and_python_side_by_side_in_one_split() {
    let (Some(nginx), Some(python)) = (nginx(), python()) else {
        return;
    };
    let serin = Serin::start(&pair(nginx.address, python.address, (50, 50)));
    let mut client = Client::connect(serin.address());
    for _ in 0..60 {
        let answer = client.get("/small.txt");
        let server = answer.head.get("server").expect("both say who they are");
        let by = if answer.variant() == "stable" {
            "nginx"
        } else {
            "SimpleHTTP"
        };
        assert!(server.starts_with(by), "{} was answered by {server}", answer.variant());
        assert_eq!(answer.text(), "small\n");
    }
}

/// Runs a client program; `None` when it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(arguments).stdin(Stdio::null()).output() else {
        eprintln!("{program} is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(text)
}

#[test]
fn curl_in_front_of_serin() {
    let app = Backend::start(|request| {
        if request.method() == "POST" {
            ok("posted")
        } else {
            ok("hello")
        }
    });
    let serin = Serin::start(&one(app.address()));
    let url = format!("http://{}/", serin.address());
    let format = "%{http_version} %{response_code} %header{x-serin-variant}";
    for (version, word) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let get = ["-sS", "-m", "20", version, "-w", format, &url];
        let Some(text) = run("curl", &get) else { return };
        assert_eq!(text, format!("hello{word} 200 stable"));
        let large = "x".repeat(5000);
        let text = run("curl", &["-sS", "-m", "20", version, "-d", &large, "-w", format, &url]).unwrap_or_default();
        assert_eq!(text, format!("posted{word} 200 stable"));
        assert_eq!(app.seen().pop().map(|seen| seen.body.len()), Some(5000));
    }
}

#[test]
fn h2load_in_front_of_serin() {
    let app = Backend::ok("hello");
    let serin = Serin::start(&one(app.address()));
    let url = format!("http://{}/", serin.address());
    let Some(text) = run("h2load", &["-n", "1000", "-c", "4", "-m", "10", &url]) else {
        return;
    };
    assert!(
        text.contains("1000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{text}"
    );
    wait_until("all are in the books", || {
        Metrics::of(&serin).requests("app", "stable") == (1000, 0, 0)
    });
}
