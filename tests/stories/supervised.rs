//! A supervisor such as systemd: it is told how the process does, and may hold the sockets.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::{Backend, Client, Options, PATIENCE, Serin, binary, get, one, wait_until};

/// What the supervisor has been told and the story has not looked at yet.
struct Told {
    socket: UnixDatagram,
    kept: VecDeque<String>,
}

impl Told {
    fn listen(dir: &Path) -> Self {
        let socket = UnixDatagram::bind(dir.join("notify")).expect("the directory can be written");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            socket,
            kept: VecDeque::new(),
        }
    }

    /// The next message but signs of life.
    #[track_caller]
    fn next(&mut self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    #[track_caller]
    fn any(&mut self) -> String {
        if let Some(message) = self.kept.pop_front() {
            return message;
        }
        let mut bytes = [0; 1024];
        let n = self.socket.recv(&mut bytes).expect("something is told");
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }
}

fn supervised(env: &[(&str, &str)]) -> (TempDir, Told, Options) {
    let dir = TempDir::new().expect("a temporary directory");
    let told = Told::listen(dir.path());
    let path = dir.path().join("notify").display().to_string();
    let mut all = vec![("NOTIFY_SOCKET".to_owned(), path)];
    all.extend(
        env.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let options = Options {
        env: all,
        ..Options::default()
    };
    (dir, told, options)
}

#[test]
fn the_supervisor_knows_when_it_is_ready_reloads_is_replaced_and_ends() {
    let app = Backend::ok("x");
    let (dir, mut told, options) = supervised(&[]);
    let mut serin = Serin::in_dir(dir, options, &one(app.address()));
    assert_eq!(told.next(), format!("READY=1\nMAINPID={}", serin.id()));
    serin.signal(Signal::HUP);
    let reloading = told.next();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(since.is_some_and(|since| since.parse::<u64>().is_ok()), "{reloading}");
    assert!(told.next().starts_with("READY=1"));
    assert_eq!(serin.upgrade().code, Some(0));
    // First by the process that is known, then by the new one.
    assert_eq!(told.next(), format!("MAINPID={}", serin.id()));
    assert_eq!(told.next(), format!("READY=1\nMAINPID={}", serin.id()));
    serin.signal(Signal::TERM);
    assert_eq!(told.next(), "STOPPING=1");
    assert_eq!(serin.exit().code, Some(0));
}

#[test]
fn the_watchdog_hears_from_a_process_that_gets_on() {
    let app = Backend::ok("x");
    let (dir, mut told, options) = supervised(&[("WATCHDOG_USEC", "400000")]);
    let serin = Serin::in_dir(dir, options, &one(app.address()));
    assert!(told.next().starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(told.any(), "WATCHDOG=1");
    }
    // A process that is stopped says nothing more: that is what the supervisor waits for.
    serin.signal(Signal::STOP);
    told.socket
        .set_read_timeout(Some(Duration::from_millis(600)))
        .expect("a timeout");
    let silence = (0..10).find_map(|_| told.socket.recv(&mut [0; 64]).err());
    serin.signal(Signal::CONT);
    let silence = silence.expect("at most what was on its way");
    assert!(
        matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{silence}"
    );
}

/// A Serin that gets its sockets from the story, as systemd would hand them over.
struct Activated {
    child: Child,
}

impl Activated {
    /// `public` and `admin` become descriptors 3 and 4 on the way.
    fn start(dir: &Path, public: &TcpListener, admin: &TcpListener) -> Self {
        let passed = |socket: &TcpListener| OwnedFd::from(socket.try_clone().expect("a descriptor"));
        let log = File::options().create(true).append(true).open(dir.join("log"));
        let script = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=public:admin exec \"$@\" 3<&0 4<&1 </dev/null >&2";
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(binary().get_program())
            .args(["run", "-c", "serin.yaml", "--workers", "2"])
            .current_dir(dir)
            .stdin(Stdio::from(passed(public)))
            .stdout(Stdio::from(passed(admin)))
            .stderr(log.expect("the directory can be written"))
            .spawn()
            .expect("a shell");
        Self { child }
    }

    fn end(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), Signal::TERM).expect("it is ours");
        wait_until("it has drained", || {
            self.child.try_wait().expect("it is our child").is_some()
        });
        assert_eq!(self.child.wait().expect("it is our child").code(), Some(0));
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn sockets_of_the_supervisor_outlive_the_process() {
    let app = Backend::ok("x");
    let dir = TempDir::new().expect("a temporary directory");
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let (public, admin) = (bind(), bind());
    let address = |socket: &TcpListener| -> SocketAddr { socket.local_addr().expect("it is bound") };
    // The addresses in the file do not matter: the names do.
    let config = format!(
        "version: 1\nlisteners:\n- {{ name: public, address: \"127.0.0.1:1\" }}\nadmin: {{ address: \"127.0.0.1:2\" }}\n\
         state: {{ directory: state }}\nlog: {{ level: info, format: text, access: off }}\n{}",
        one(app.address())
    );
    fs::write(dir.path().join("serin.yaml"), config).expect("the directory can be written");
    // Who comes before it runs waits in the socket's queue, and is served.
    for _ in 0..2 {
        let mut early = Client::connect(address(&public));
        let serin = Activated::start(dir.path(), &public, &admin);
        assert_eq!(early.get("/").status, 200);
        assert_eq!(get(address(&public), "/").status, 200);
        let host = address(&admin).to_string();
        let status = crate::common::fetch(
            address(&admin),
            "GET",
            "/v1/status",
            &[("host", &host), ("connection", "close")],
            b"",
        );
        assert_eq!(status.json()["listeners"][0]["address"], address(&public).to_string());
        drop(early);
        serin.end();
    }
}
