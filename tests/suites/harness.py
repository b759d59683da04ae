"""Starts what the third-party suites need: a Serin with a configuration of its own, certificates, other programs.

Everything runs on loopback and on free ports, lives in a temporary directory, and is ended by its id.
"""

import contextlib
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

# Whoever ends us ends what we started: as an exception it passes every `finally`.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Where `make suites` has put the programs.
TOOLS = pathlib.Path(os.environ.get("SUITES", ROOT / "target" / "suites"))

# How long a program may take to start or to end.
PATIENCE_S = 20


def serin_program():
    """The program under test: $SERIN, else the release build, else the debug build."""
    named = os.environ.get("SERIN")
    candidates = [pathlib.Path(named)] if named else [ROOT / "target" / kind / "serin" for kind in ("release", "debug")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    sys.exit(f"no Serin at {', '.join(map(str, candidates))}: run `cargo build --release`, or set SERIN")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tool(path, hint="make suites"):
    """A program that was installed for the suites."""
    found = TOOLS / path
    if not found.exists():
        sys.exit(f"{found} is missing: `{hint}` installs it")
    return str(found)


@contextlib.contextmanager
def process(arguments, log, port=None, **more):
    """Runs a program in a group of its own until the block ends; with `port`, waits until that accepts."""
    with open(log, "wb") as output:
        child = subprocess.Popen(
            [str(word) for word in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **more,
        )
    try:
        if port is not None:
            wait_open(port, child, log)
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def wait_open(port, child, log):
    """Returns once something accepts connections on `port`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        if child.poll() is not None:
            sys.exit(f"{child.args[0]} ended with {child.returncode}:\n{tail(log)}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        if time.monotonic() > deadline:
            sys.exit(f"nothing listens on {port} after {PATIENCE_S} s:\n{tail(log)}")
        time.sleep(0.05)


def tail(log):
    return pathlib.Path(log).read_text(errors="replace")[-4000:]


class Site:
    """A temporary directory, an authority with a certificate for `serin.test` and `localhost`, and a Serin."""

    def __init__(self, stack):
        self.dir = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serin-suite-")))
        self.stack = stack
        self.clear_port = free_port()
        self.tls_port = free_port()
        self.admin_port = free_port()
        self.authority = self.dir / "ca.pem"

    def certificates(self, names=("serin.test", "localhost")):
        """ECDSA P-256, as most are today; signed by an authority of our own."""
        make_certificate(self.dir, names)
        return self

    def serin(self, backends, routes=None, listener="", workers=2, top=""):
        """Starts it with a listener in clear and one with TLS over the same backends; `backends` is YAML."""
        routes = routes or "- { name: app, match: { pathPrefix: / }, split: { variants: [{ name: app, backend: app, weight: 1 }] } }"
        tls = f"tls: {{ certificates: [{{ certificate: '{self.dir}/cert.pem', key: '{self.dir}/key.pem' }}] }}"
        text = f"""version: 1
listeners:
- {{ name: clear, address: '127.0.0.1:{self.clear_port}'{listener} }}
- {{ name: secret, address: '127.0.0.1:{self.tls_port}', {tls}{listener} }}
admin: {{ address: '127.0.0.1:{self.admin_port}' }}
log: {{ level: warn, access: off }}
state: {{ directory: '{self.dir}/state' }}
{top}backends:
{backends}
routes:
{routes}
"""
        file = self.dir / "serin.yaml"
        file.write_text(text)
        self.log = self.dir / "serin.log"
        words = [serin_program(), "run", "--workers", workers, "-c", file]
        child = self.stack.enter_context(process(words, self.log, self.admin_port))
        wait_open(self.clear_port, child, self.log)
        wait_open(self.tls_port, child, self.log)
        return child

    def run(self, arguments, name, port, **more):
        """Starts another program and waits until it listens."""
        return self.stack.enter_context(process(arguments, self.dir / f"{name}.log", port, **more))


def nginx(site):
    """A service that does not suffer itself: `/` has 1 KiB, `/long` has 1 MB. Returns its port."""
    port = free_port()
    (site.dir / "index.html").write_bytes(b"x" * 1024)
    (site.dir / "long").write_bytes(b"x" * 1_000_000)
    temporary = "".join(f"{kind}_temp_path temporary;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (site.dir / "nginx.conf").write_text(
        f"daemon off; pid nginx.pid; user root; worker_processes 1; events {{ worker_connections 8192; }}"
        f"http {{ {temporary} access_log off; server {{ listen 127.0.0.1:{port} backlog=4096; root '{site.dir}'; }} }}"
    )
    site.run(["nginx", "-e", "stderr", "-p", site.dir, "-c", "nginx.conf"], "nginx", port, env=system_path())
    return port


def system_path():
    """Debian's daemons lie where people's PATH does not look."""
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


def make_certificate(directory, names):
    """Writes ca.pem, cert.pem and key.pem."""
    names = ",".join(f"DNS:{name}" for name in names) + ",IP:127.0.0.1"
    extensions = directory / "extensions"
    extensions.write_text(
        f"subjectAltName={names}\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=suite",
            "-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(directory, "req", *key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=serin.test")
    openssl(directory, "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "30", "-extfile", "extensions", "-out", "leaf.pem")
    chain = (directory / "leaf.pem").read_text() + (directory / "ca.pem").read_text()
    (directory / "cert.pem").write_text(chain)


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def trusting(authority):
    """A client's TLS settings that know only our authority."""
    context = ssl.create_default_context(cafile=str(authority))
    return context


@contextlib.contextmanager
def site():
    with contextlib.ExitStack() as stack:
        yield Site(stack).certificates()


def verdict(passed, failed):
    """The last line of each suite, and its exit code."""
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
