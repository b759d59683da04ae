"""Every client in each protocol that it speaks, against Serin in front of a plain service: a table.

curl, wget, Chromium, Python httpx, h2load and nghttp; HTTP/1.1 and HTTP/2, in clear and over TLS. Each asks for a page
and, where it can, sends a body and compares what comes back. Usage: clients.py [NAME…]
"""

import os
import pathlib
import subprocess
import sys

import harness

LIMIT_S = 60

# The sent body: longer than one window of HTTP/2, and not the same everywhere.
BODY_BYTES = 300_000


class Ways:
    def __init__(self, site):
        self.site = site
        self.clear = f"http://localhost:{site.clear_port}"
        self.tls = f"https://localhost:{site.tls_port}"
        self.authority = str(site.authority)
        self.body = site.dir / "body"
        self.body.write_bytes(bytes(range(256)) * (BODY_BYTES // 256))


def curl(ways):
    """Its answer must name the version that was asked for, and the echo must be the body."""
    for label, url, words in [
        ("h1 clear", ways.clear, ["--http1.1"]),
        ("h1 tls", ways.tls, ["--http1.1"]),
        ("h1 tls 1.2", ways.tls, ["--http1.1", "--tls-max", "1.2"]),
        ("h2c prior knowledge", ways.clear, ["--http2-prior-knowledge"]),
        ("h2 tls", ways.tls, ["--http2"]),
    ]:
        more = ["--cacert", ways.authority, "-sS", "--data-binary", f"@{ways.body}", "-w", "%{stderr}%{http_version}"]
        done = run(["curl", *words, *more, url + "/echo"])
        version = "2" if "h2" in label else "1.1"
        yield label, done.stdout == ways.body.read_bytes() and done.stderr.strip().decode().endswith(version), done


def wget(ways):
    """HTTP/1.1 only."""
    for label, url in [("h1 clear", ways.clear), ("h1 tls", ways.tls)]:
        done = run(["wget", "-q", "-O-", f"--ca-certificate={ways.authority}", f"--post-file={ways.body}", url + "/echo"])
        yield label, done.stdout == ways.body.read_bytes(), done


def chromium(ways):
    """The page of an answer as its DOM; over TLS it takes HTTP/2 by ALPN, which the access log confirms elsewhere."""
    for label, url in [("h1 clear", ways.clear), ("h2 tls", ways.tls)]:
        home = ways.site.dir / ("chromium-" + label.replace(" ", "-"))
        words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom",
                 f"--user-data-dir={home}", "--ignore-certificate-errors", "--no-first-run", "--disable-background-networking",
                 url + "/?bytes=2000"]
        done = run(words, env={**os.environ, "HOME": str(ways.site.dir)})
        yield label, b"x" * 2000 in done.stdout, done


HTTPX = """
import sys, httpx
url, authority, body, version = sys.argv[1:]
body = open(body, "rb").read()
with httpx.Client(http1=version == "HTTP/1.1", http2=version == "HTTP/2", verify=authority) as client:
    for _ in range(3):
        answer = client.post(url, content=body)
        assert answer.status_code == 200 and answer.content == body and answer.http_version == version, answer.http_version
"""


def httpx(ways):
    for label, url, version in [
        ("h1 clear", ways.clear, "HTTP/1.1"),
        ("h1 tls", ways.tls, "HTTP/1.1"),
        ("h2c prior knowledge", ways.clear, "HTTP/2"),
        ("h2 tls", ways.tls, "HTTP/2"),
    ]:
        done = run([harness.tool("python/bin/python"), "-c", HTTPX, url + "/echo", ways.authority, ways.body, version])
        yield label, done.returncode == 0, done


def h2load(ways):
    """2,000 requests on 10 connections; all must succeed."""
    for label, url, words in [
        ("h1 clear", ways.clear, ["--h1"]),
        ("h1 tls", ways.tls, ["--h1"]),
        ("h2c prior knowledge", ways.clear, ["-m10"]),
        ("h2 tls", ways.tls, ["-m10"]),
    ]:
        done = run(["h2load", "-n2000", "-c10", *words, url + "/"])
        yield label, b" 2000 succeeded, 0 failed" in done.stdout, done


def nghttp(ways):
    """A body each way, compared."""
    for label, url in [("h2c prior knowledge", ways.clear), ("h2 tls", ways.tls)]:
        done = run(["nghttp", f"--data={ways.body}", url + "/echo"])
        yield label, done.stdout == ways.body.read_bytes(), done


def run(words, **more):
    try:
        return subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, **more)
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(words, 124, late.stdout or b"", f"no end after {LIMIT_S} s".encode())


CLIENTS = {"curl": curl, "wget": wget, "chromium": chromium, "httpx": httpx, "h2load": h2load, "nghttp": nghttp}


def main():
    names = sys.argv[1:] or list(CLIENTS)
    here = pathlib.Path(__file__).parent
    passed = failed = 0
    with harness.site() as site:
        port = harness.free_port()
        site.run([sys.executable, here / "backend.py", port], "backend", port)
        site.serin(f"- {{ name: app, endpoints: ['127.0.0.1:{port}'] }}")
        ways = Ways(site)
        for name in names:
            for label, good, done in CLIENTS[name](ways):
                passed, failed = passed + good, failed + (not good)
                print(f"{name:10}{label:22}{'works' if good else 'FAILS'}", flush=True)
                if not good:
                    print(f"  exit {done.returncode}, {len(done.stdout)} bytes, {done.stderr[-300:].decode(errors='replace')}")
    harness.verdict(passed, failed)


main()
