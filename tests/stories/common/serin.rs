//! One Serin as a process of its own: its directory, its configuration, its end.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Response, fetch, wait_for, wait_until};

/// The program under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command
        .env_remove("SERIN_ADMIN")
        .env_remove("SERIN_TOKEN")
        .env_remove("SERIN_CA")
        .env_remove("SERIN_CERTIFICATE")
        .env_remove("SERIN_CERTIFICATE_KEY")
        .stdin(Stdio::null());
    command
}

/// What differs from story to story besides backends, routes and rollouts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Further keys of the listener, in YAML's flow style, such as `limits: { headers: 20 }`.
    pub listener: String,
    /// Further top-level lines.
    pub top: String,
    pub workers: usize,
    /// The state directory; relative to the configuration's directory.
    pub state: String,
    /// Path of the file below the story's directory.
    pub file: String,
    pub env: Vec<(String, String)>,
    /// The token that the story's own calls show. With one the configuration names `tokens.yaml`.
    pub token: Option<&'static str>,
    /// How long a drain may take, as `--drain-timeout` takes it.
    pub drain_timeout: Option<&'static str>,
    /// How many files and sockets it may have open, at most.
    pub descriptors: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listener: String::new(),
            top: String::new(),
            workers: 2,
            state: "./state".to_owned(),
            file: "serin.yaml".to_owned(),
            env: Vec::new(),
            token: None,
            drain_timeout: None,
            descriptors: None,
        }
    }
}

/// How a Serin that was meant to end has ended.
#[derive(Debug)]
pub struct Exit {
    pub code: Option<i32>,
    pub log: String,
}

/// A running Serin. Its process ends with it.
pub struct Serin {
    child: Child,
    options: Options,
    dir: TempDir,
    admin: SocketAddr,
    public: SocketAddr,
}

impl Serin {
    /// Starts with these backends, routes and rollouts, and waits until it is ready.
    #[track_caller]
    pub fn start(body: &str) -> Self {
        Self::with(Options::default(), body)
    }

    #[track_caller]
    pub fn with(options: Options, body: &str) -> Self {
        Self::in_dir(TempDir::new().expect("a temporary directory"), options, body)
    }

    /// The same in a directory that the story has prepared.
    #[track_caller]
    pub fn in_dir(dir: TempDir, options: Options, body: &str) -> Self {
        let admin = free_address();
        let whole = text(&options, admin, body);
        Self::with_text(dir, options, admin, &whole)
    }

    /// The same with a whole file, whose admin address is `admin`.
    #[track_caller]
    pub fn with_text(dir: TempDir, options: Options, admin: SocketAddr, text: &str) -> Self {
        fs::write(dir.path().join(&options.file), text).expect("the directory can be written");
        let child = spawn(dir.path(), &options, &[]);
        let mut serin = Self {
            child,
            options,
            dir,
            admin,
            public: admin,
        };
        serin.until_ready();
        serin
    }

    /// Starts one that is expected to give up by itself.
    #[track_caller]
    pub fn refuses(options: Options, body: &str) -> Exit {
        let dir = TempDir::new().expect("a temporary directory");
        fs::write(dir.path().join(&options.file), text(&options, free_address(), body)).expect("it can be written");
        let mut child = spawn(dir.path(), &options, &[]);
        let status = ended(&mut child).unwrap_or_else(|| {
            child.kill().ok();
            panic!("it runs on: {}", log(dir.path()))
        });
        Exit {
            code: status.code(),
            log: log(dir.path()),
        }
    }

    /// Where clients are served.
    pub fn address(&self) -> SocketAddr {
        self.public
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// For `--admin`.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join(&self.options.file)
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        log(self.dir.path())
    }

    /// One call of the admin API; a body that is not empty is JSON.
    #[track_caller]
    pub fn admin(&self, method: &str, target: &str, body: &str) -> Response {
        self.admin_with(method, target, &[], body)
    }

    #[track_caller]
    pub fn admin_with(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Response {
        let host = self.admin.to_string();
        let mut all = vec![("connection", "close")];
        if !fields.iter().any(|(name, _)| *name == "host") {
            all.push(("host", &host));
        }
        if !body.is_empty() && !fields.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/json"));
        }
        let bearer = format!("Bearer {}", self.options.token.unwrap_or_default());
        if self.options.token.is_some() && !fields.iter().any(|(name, _)| *name == "authorization") {
            all.push(("authorization", &bearer));
        }
        all.extend(fields);
        fetch(self.admin, method, target, &all, body.as_bytes())
    }

    /// One call by the owner of `token`; `None`: no answer came.
    pub fn try_admin(&self, method: &str, target: &str, token: &str, body: &str) -> Option<Response> {
        let (host, bearer) = (self.admin.to_string(), format!("Bearer {token}"));
        let mut fields = vec![("connection", "close"), ("host", &*host), ("authorization", &*bearer)];
        if !body.is_empty() {
            fields.push(("content-type", "application/json"));
        }
        let mut client = super::Client::try_connect(self.admin).ok()?;
        client.try_request(method, target, &fields, body.as_bytes()).ok()
    }

    /// A call that must succeed; its JSON.
    #[track_caller]
    pub fn api(&self, method: &str, target: &str, body: &str) -> Value {
        let response = self.admin(method, target, body);
        assert_eq!(response.status, 200, "{method} {target}: {}", response.text());
        response.json()
    }

    /// The text of a `GET` that must succeed.
    #[track_caller]
    pub fn api_text(&self, target: &str) -> String {
        let response = self.admin("GET", target, "");
        assert_eq!(response.status, 200, "GET {target}: {}", response.text());
        response.text()
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.api("GET", "/v1/status", "")
    }

    #[track_caller]
    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().expect("a number")
    }

    #[track_caller]
    pub fn rollout(&self) -> Value {
        self.api("GET", "/v1/rollouts/shop", "")
    }

    #[track_caller]
    pub fn phase(&self) -> String {
        self.rollout()["phase"].as_str().expect("a word").to_owned()
    }

    /// Says `verb` to the rollout `shop`; the answer whatever it is.
    #[track_caller]
    pub fn say(&self, verb: &str) -> Response {
        self.admin("POST", &format!("/v1/rollouts/shop/{verb}"), r#"{"reason":"a story"}"#)
    }

    /// Says `verb` to the rollout `shop`, which must do it.
    #[track_caller]
    pub fn tell(&self, verb: &str) {
        let response = self.say(verb);
        assert_eq!(response.status, 200, "{verb}: {}", response.text());
    }

    #[track_caller]
    pub fn until_phase(&self, phase: &str) {
        wait_until(&format!("the rollout is {phase}"), || self.phase() == phase);
    }

    /// Weight of a variant of `shop` as shown.
    #[track_caller]
    pub fn variant(&self, variant: &str) -> Value {
        let route = self.api("GET", "/v1/routes/shop", "");
        let variants = route["variants"].as_array().expect("a list");
        let found = variants.iter().find(|v| v["name"] == variant);
        found.unwrap_or_else(|| panic!("no {variant} in {route}")).clone()
    }

    #[track_caller]
    pub fn share(&self, variant: &str) -> f64 {
        self.variant(variant)["share"].as_f64().expect("a number")
    }

    /// Sets the weights of `shop`; the answer whatever it is.
    #[track_caller]
    pub fn weights(&self, stable: u32, canary: u32) -> Response {
        let body = format!(r#"{{"weights":{{"stable":{stable},"canary":{canary}}},"reason":"a story"}}"#);
        self.admin("PUT", "/v1/routes/shop/weights", &body)
    }

    /// Replaces the file by a rename. Serin is told nothing.
    #[track_caller]
    pub fn write(&self, body: &str) {
        self.write_text(&self.text(body));
    }

    /// [`Serin::write`] of a whole file.
    #[track_caller]
    pub fn write_text(&self, text: &str) {
        let fresh = self.dir.path().join("fresh.tmp");
        fs::write(&fresh, text).expect("the directory can be written");
        fs::rename(&fresh, self.file()).expect("a rename");
    }

    /// The whole file with this body.
    pub fn text(&self, body: &str) -> String {
        text(&self.options, self.admin, body)
    }

    /// Asks it to read the file again; the answer whatever it is.
    #[track_caller]
    pub fn reload(&self) -> Response {
        self.admin("POST", "/v1/config/reload", "")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).expect("it is ours, and not waited for");
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn exit(&mut self) -> Exit {
        let status = ended(&mut self.child).unwrap_or_else(|| panic!("it runs on"));
        Exit {
            code: status.code(),
            log: self.log(),
        }
    }

    /// Starts another process that takes over, waits until it has, and until the one before has ended. Its end is the
    /// answer.
    #[track_caller]
    pub fn upgrade(&mut self) -> Exit {
        let next = spawn(self.dir.path(), &self.options, &["--upgrade"]);
        let mut before = std::mem::replace(&mut self.child, next);
        let status = ended(&mut before).unwrap_or_else(|| {
            before.kill().ok();
            before.wait().ok();
            panic!("the process before runs on")
        });
        self.until_ready();
        Exit {
            code: status.code(),
            log: self.log(),
        }
    }

    /// The same with so many workers.
    #[track_caller]
    pub fn upgrade_to(&mut self, workers: usize) -> Exit {
        self.options.workers = workers;
        self.upgrade()
    }

    /// Starts one that is to take over and is expected not to: it gives up by itself.
    #[track_caller]
    pub fn upgrade_fails(&self) -> Exit {
        let mut next = spawn(self.dir.path(), &self.options, &["--upgrade"]);
        let status = ended(&mut next).unwrap_or_else(|| {
            next.kill().ok();
            next.wait().ok();
            panic!("it runs on")
        });
        Exit {
            code: status.code(),
            log: self.log(),
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a warning and starts it again on the same directory.
    #[track_caller]
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.child = spawn(self.dir.path(), &self.options, &[]);
        self.until_ready();
    }

    /// Kills it without a warning.
    pub fn crash(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("it is our child");
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("Linux says so");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number");
        kib * 1024
    }

    #[track_caller]
    fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ready() {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("serin ended at once with {status}");
            }
            assert!(Instant::now() < deadline, "serin is not ready after {PATIENCE:?}");
            // The pause between two looks.
            std::thread::sleep(Duration::from_millis(10));
        }
        self.public = wait_for("the listener's address is known", || {
            self.status()["listeners"][0]["address"]
                .as_str()
                .and_then(|text| text.parse().ok())
        });
        assert_ne!(self.public.port(), 0, "the bound port is shown");
    }

    fn ready(&self) -> bool {
        let host = self.admin.to_string();
        let Ok(mut client) = super::Client::try_connect(self.admin) else {
            return false;
        };
        let answer = client.try_request("GET", "/readyz", &[("host", &host), ("connection", "close")], b"");
        answer.is_ok_and(|response| response.status == 200)
    }
}

impl Drop for Serin {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- what serin said ---\n{}\n---", self.log());
        }
    }
}

fn text(options: &Options, admin: SocketAddr, body: &str) -> String {
    let Options {
        listener, top, state, ..
    } = options;
    let listener = if listener.is_empty() {
        String::new()
    } else {
        format!(", {listener}")
    };
    let tokens = match options.token {
        Some(_) => ", tokensFile: tokens.yaml",
        None => "",
    };
    format!(
        "version: 1\nlisteners:\n- {{ name: public, address: \"127.0.0.1:0\"{listener} }}\nadmin: {{ address: \"{admin}\"{tokens} }}\n\
         state: {{ directory: {state} }}\nlog: {{ level: info, format: text, access: off }}\n{top}{body}"
    )
}

fn spawn(dir: &Path, options: &Options, more: &[&str]) -> Child {
    let output = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("the directory can be written");
    let mut command = match options.descriptors {
        None => binary(),
        Some(max) => {
            let mut shell = Command::new("sh");
            let limited = format!("ulimit -n {max}; exec \"$@\"");
            shell.args(["-c", &limited, "sh"]).arg(binary().get_program());
            shell
        }
    };
    command
        .args(["run", "-c", &options.file, "--workers", &options.workers.to_string()])
        .args(options.drain_timeout.iter().flat_map(|time| ["--drain-timeout", time]))
        .args(more)
        .stdin(Stdio::null())
        .envs(options.env.iter().cloned())
        .current_dir(dir)
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output)
        .spawn()
        .expect("the binary is built")
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().expect("it is our child") {
            // The pause between two looks.
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            status => return status,
        }
    }
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// A loopback address that is free now. Below the range that the system hands out by itself, so that
/// no outgoing connection takes it before Serin does.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % 200 * 100;
    loop {
        let offset = u32::from(NEXT.fetch_add(1, Ordering::SeqCst));
        let port = 10_000 + (start + offset) % 20_000;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("below 30,000")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
