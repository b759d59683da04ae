//! A load for a stated time, and what it measured: in a closed loop by wrk (HTTP/1.1) or h2load (HTTP/2), at a fixed
//! rate by our own `pace`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::process::Command;

use crate::case::Case;
use crate::client::Client;
use crate::process::find_on_path;
use crate::stats::quantile;
use crate::workdir::Workdir;

/// Beyond its own duration a load tool gets this long to start and to end.
const MARGIN: Duration = Duration::from_secs(15);

/// Different values of `x-user-id` that HTTP/1.1 clients send in turn.
pub(crate) const USERS: usize = 1000;

/// Makes wrk print its own counts on one line that is easy to read; `done` costs nothing while the load runs.
const WRK_DONE: &str = r#"done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("loadtest %d %d %d %d %d\n", summary.requests - e.status, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"#;

/// What the clients speak; every proxy speaks HTTP/1.1 to the backends.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// HTTP/1.1 with keep-alive, one request at a time on each connection.
    H1,
    /// HTTP/2, several streams on each connection; in clear with prior knowledge, over TLS by ALPN.
    H2,
}

impl Protocol {
    /// Its name in a TLS handshake.
    pub(crate) fn alpn(self) -> &'static str {
        match self {
            Self::H1 => "http/1.1",
            Self::H2 => "h2",
        }
    }
}

/// How the load is shaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// What the clients speak.
    pub(crate) protocol: Protocol,
    /// Over TLS.
    pub(crate) tls: bool,
    /// Connections at once.
    pub(crate) connections: u32,
    /// Streams at once on each connection; HTTP/2 only.
    pub(crate) streams: u32,
    /// What the clients do.
    pub(crate) case: Case,
    /// Requests per second; [`Case::Rate`] only.
    pub(crate) rate: u32,
}

/// What one load measured from the clients' side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    /// Requests answered with success.
    pub(crate) requests: u64,
    /// Requests or connections that failed.
    pub(crate) errors: u64,
    /// How long the load ran.
    pub(crate) seconds: f64,
    /// Median latency in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99_us: f64,
}

impl Measured {
    /// `loadtest REQUESTS DURATION ERRORS P50 P99`, times in microseconds.
    pub(crate) fn to_line(self) -> String {
        let Self {
            requests,
            errors,
            seconds,
            p50_us,
            p99_us,
        } = self;
        format!(
            "loadtest {requests} {:.0} {errors} {p50_us:.1} {p99_us:.1}",
            seconds * 1e6
        )
    }
}

impl Load {
    /// The tool that this load needs, or what is missing.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn require_tool(self) -> anyhow::Result<()> {
        let (tool, package) = match (self.protocol, self.case) {
            (Protocol::H1, Case::Rate) => return Ok(()),
            (Protocol::H1, _) => ("wrk", "wrk"),
            (Protocol::H2, _) => ("h2load", "nghttp2-client"),
        };
        find_on_path(tool)
            .map(|_| ())
            .with_context(|| format!("{tool} is missing; install the Debian package {package}"))
    }

    /// Runs for `seconds` against a loopback port.
    ///
    /// # Errors
    /// When the tool fails, hangs, or prints what we do not know.
    pub(crate) async fn run(self, port: u16, seconds: u32, workdir: &Workdir) -> anyhow::Result<Measured> {
        match (self.protocol, self.case) {
            (Protocol::H1, Case::Rate) => self.run_pace(port, seconds).await,
            (Protocol::H1, _) => self.run_wrk(port, seconds, workdir).await,
            (Protocol::H2, _) => self.run_h2load(port, seconds, workdir).await,
        }
    }

    /// Our own program as a process: it is no more in the way of this runtime than the other tools.
    async fn run_pace(self, port: u16, seconds: u32) -> anyhow::Result<Measured> {
        let own = std::env::current_exe().context("cannot find our own program")?;
        let mut command = Command::new(own);
        command.arg("pace");
        for (name, value) in [
            ("--port", u32::from(port)),
            ("--rate", self.rate),
            ("--seconds", seconds),
            ("--connections", self.connections),
        ] {
            command.arg(name).arg(value.to_string());
        }
        let output = run_tool(command, seconds).await?;
        parse_counts(&output).with_context(|| format!("cannot read what pace printed:\n{output}"))
    }

    async fn run_wrk(self, port: u16, seconds: u32, workdir: &Workdir) -> anyhow::Result<Measured> {
        let script = workdir.write("wrk.lua", &wrk_script(self.case))?;
        let mut command = Command::new("wrk");
        command.args([
            "-t1",
            &format!("-c{}", self.connections),
            &format!("-d{seconds}s"),
            "--timeout",
            "5s",
            "-s",
        ]);
        command.arg(script).arg(url(self.tls, port));
        let output = run_tool(command, seconds).await?;
        parse_counts(&output).with_context(|| format!("cannot read what wrk printed:\n{output}"))
    }

    async fn run_h2load(self, port: u16, seconds: u32, workdir: &Workdir) -> anyhow::Result<Measured> {
        // h2load appends to its log, so each run has to find none.
        let log = workdir.path().join("h2load.log");
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new("h2load");
        command.args([
            "-t1",
            &format!("-c{}", self.connections),
            &format!("-m{}", self.streams),
        ]);
        command
            .args([&format!("-D{seconds}"), "--log-file"])
            .arg(&log)
            .arg(url(self.tls, port));
        let output = run_tool(command, seconds).await?;
        let counts = parse_h2load(&output).with_context(|| format!("cannot read what h2load printed:\n{output}"))?;
        let log = std::fs::read_to_string(&log).context("cannot read the log of h2load")?;
        let latencies_us = parse_h2load_log(&log);
        let at = |q| quantile(&latencies_us, q).map_or(0.0, |value| value as f64);
        Ok(Measured {
            requests: counts.succeeded,
            errors: counts.failed,
            seconds: f64::from(seconds),
            p50_us: at(0.50),
            p99_us: at(0.99),
        })
    }
}

/// One request of the protocol, over TLS or in clear, succeeds on this loopback port.
///
/// # Errors
/// When it does not.
pub(crate) async fn probe(protocol: Protocol, tls: bool, port: u16) -> anyhow::Result<()> {
    match (protocol, tls) {
        (Protocol::H1, false) => {
            let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
            let status = client.exchange(&get(port, "/")).await?.status;
            anyhow::ensure!(status == 200, "status {status}");
        }
        (Protocol::H2, _) | (Protocol::H1, true) => {
            // h2load tells a refused connection in its counts; look first, it is cheaper.
            drop(Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?);
            let mut command = Command::new("h2load");
            command.args(["-n1", "-c1", "-m1"]);
            if protocol == Protocol::H1 {
                command.arg("--h1");
            }
            command.arg(url(tls, port));
            let output = run_tool(command, 1).await?;
            let counts = parse_h2load(&output).context("cannot read what h2load printed")?;
            anyhow::ensure!(counts.succeeded == 1, "the request failed");
        }
    }
    Ok(())
}

fn url(tls: bool, port: u16) -> String {
    let scheme = if tls { "https" } else { "http" };
    // A name, so that the client sends it in the handshake.
    let host = if tls { "localhost" } else { "127.0.0.1" };
    format!("{scheme}://{host}:{port}/")
}

/// A GET for a loopback port, as bytes.
pub(crate) fn get(port: u16, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n").into_bytes()
}

/// Runs a tool for its time, and kills it when it takes longer.
async fn run_tool(mut command: Command, seconds: u32) -> anyhow::Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    let limit = Duration::from_secs(u64::from(seconds)) + MARGIN;
    let output = tokio::time::timeout(limit, command.output())
        .await
        .with_context(|| format!("{name} did not end"))?
        .with_context(|| format!("cannot run {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "{name}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// A request for each user, made once, and sent in turn.
fn wrk_script(case: Case) -> String {
    let connection = match case {
        Case::Close => "  wrk.headers[\"Connection\"] = \"close\"\n",
        Case::Keepalive | Case::Bodies64k | Case::Rate => "",
    };
    format!(
        "local requests, turn = {{}}, 0
init = function(args)
{connection}  for user = 1, {USERS} do
    wrk.headers[\"x-user-id\"] = \"user-\" .. user
    requests[user] = wrk.format(\"GET\", \"/\")
  end
end
request = function()
  turn = turn % {USERS} + 1
  return requests[turn]
end
{WRK_DONE}"
    )
}

/// The line of [`Measured::to_line`], which our wrk script writes too.
fn parse_counts(output: &str) -> Option<Measured> {
    let line = output.lines().find_map(|line| line.strip_prefix("loadtest "))?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [requests, duration_us, errors, p50, p99] = words[..] else {
        return None;
    };
    Some(Measured {
        requests: requests.parse().ok()?,
        errors: errors.parse().ok()?,
        seconds: duration_us.parse::<f64>().ok()? / 1e6,
        p50_us: p50.parse().ok()?,
        p99_us: p99.parse().ok()?,
    })
}

/// The counts in h2load's line `requests: …` and `status codes: …`.
#[derive(Debug, PartialEq, Eq)]
struct H2Counts {
    succeeded: u64,
    /// Not answered, or answered with a status that is not 2xx.
    failed: u64,
}

fn parse_h2load(output: &str) -> Option<H2Counts> {
    let requests = counted(output, "requests: ")?;
    let statuses = counted(output, "status codes: ")?;
    let of = |counts: &[(u64, &str)], what| counts.iter().find(|(_, name)| *name == what).map(|(count, _)| *count);
    // `failed` holds `errored`, `timeout` and statuses from 400 on.
    Some(H2Counts {
        succeeded: of(&statuses, "2xx")?,
        failed: of(&requests, "failed")? + of(&statuses, "3xx")?,
    })
}

/// Reads `PREFIX12 total, 3 failed` as numbers with their names.
fn counted<'a>(output: &'a str, prefix: &str) -> Option<Vec<(u64, &'a str)>> {
    let line = output.lines().find_map(|line| line.strip_prefix(prefix))?;
    line.split(", ")
        .map(|part| {
            part.split_once(' ')
                .and_then(|(count, name)| Some((count.parse().ok()?, name)))
        })
        .collect()
}

/// Latencies of all requests, sorted; each line is start, status and latency in microseconds.
fn parse_h2load_log(log: &str) -> Vec<u64> {
    let mut latencies: Vec<u64> = log
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok())
        .collect();
    latencies.sort_unstable();
    latencies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_on_one_line() {
        let output = "Running 1s test\n  Requests/sec: 1\nloadtest 45000 1000500 2 830 2100\n";
        let expected = Measured {
            requests: 45_000,
            errors: 2,
            seconds: 1.0005,
            p50_us: 830.0,
            p99_us: 2100.0,
        };
        assert_eq!(parse_counts(output), Some(expected));
        assert_eq!(parse_counts(&expected.to_line()), Some(expected));
        assert_eq!(parse_counts("loadtest 1 2 3\n"), None);
        assert_eq!(parse_counts("unable to connect\n"), None);
    }

    #[test]
    fn only_the_case_close_asks_to_close() {
        for case in [Case::Keepalive, Case::Close, Case::Bodies64k] {
            let script = wrk_script(case);
            assert_eq!(script.contains("\"close\""), case == Case::Close, "{script}");
            assert!(script.contains("done = function"), "{script}");
        }
    }

    #[test]
    fn h2load_counts_what_is_not_2xx_as_failed() {
        let check = |requests: &str, statuses: &str, expected: Option<(u64, u64)>| {
            let output = format!("finished in 1.00s\nrequests: {requests}\nstatus codes: {statuses}\ntraffic: 1B\n");
            let expected = expected.map(|(succeeded, failed)| H2Counts { succeeded, failed });
            assert_eq!(parse_h2load(&output), expected, "{output}");
        };
        let all = "10 total, 12 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout";
        check(all, "10 2xx, 0 3xx, 0 4xx, 0 5xx", Some((10, 0)));
        check(all, "9 2xx, 1 3xx, 0 4xx, 0 5xx", Some((9, 1)));
        let some = "10 total, 12 started, 10 done, 7 succeeded, 3 failed, 1 errored, 1 timeout";
        check(some, "7 2xx, 0 3xx, 0 4xx, 1 5xx", Some((7, 3)));
        check("nonsense", "7 2xx", None);
    }

    #[test]
    fn latencies_come_sorted_from_the_log() {
        assert_eq!(parse_h2load_log("1\t200\t387\n2\t200\t26\ncut"), [26, 387]);
    }
}
