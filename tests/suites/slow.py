"""Runs slowhttptest in its four modes against Serin while a good client watches: the service has to stay available.

Slow heads (slowloris), slow bodies, ranges, slow reads; each in clear and over TLS. Usage: slow.py [SECONDS]
"""

import subprocess
import sys
import threading
import time
import urllib.request

import harness

# What the attacker holds at once, and the watcher's bounds.
CONNECTIONS = 1000
LATE_S = 1.0

MODES = {
    "slow heads": ["-H", "-i", "1"],
    "slow bodies": ["-B", "-i", "1", "-s", "8192"],
    "ranges": ["-R"],
    "slow reads": ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "8", "-k", "3"],
}


class Watcher(threading.Thread):
    """Asks for a page ten times a second, each time on a connection of its own."""

    def __init__(self, url, context):
        super().__init__(daemon=True)
        self.url, self.context = url, context
        self.waits, self.failures, self.stopped = [], [], threading.Event()

    def run(self):
        while not self.stopped.wait(0.1):
            start = time.monotonic()
            try:
                with urllib.request.urlopen(self.url, timeout=5, context=self.context) as answer:
                    answer.read()
                self.waits.append(time.monotonic() - start)
            except OSError as error:
                self.failures.append(str(error))


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    passed = failed = 0
    with harness.site() as site:
        port = harness.nginx(site)
        # Clocks short enough that they come into play within the run.
        clocks = ", timeouts: { requestHead: 5s, body: 5s, idle: 5s }"
        site.serin(f"- {{ name: app, endpoints: ['127.0.0.1:{port}'] }}", listener=clocks)
        tls = harness.trusting(site.authority)
        for mode, words in MODES.items():
            # What the same attack does to the service itself: on loopback a part of it is the kernel's.
            direct, _ = attack(mode, words, f"http://localhost:{port}", None, seconds)
            for way, url, context in [
                ("clear", f"http://localhost:{site.clear_port}", None),
                ("tls", f"https://localhost:{site.tls_port}", tls),
            ]:
                worst, failures = attack(mode, words, url, context, seconds)
                good = not failures and (worst < LATE_S or worst < direct)
                passed, failed = passed + good, failed + (not good)
                print(f"slow {mode} {way}: slowest {worst * 1000:.0f} ms ({direct * 1000:.0f} ms without Serin), "
                      f"{len(failures)} failed", flush=True)
                for line in sorted(set(failures))[:3]:
                    print(f"  {line}")
    harness.verdict(passed, failed)


def attack(mode, words, url, context, seconds):
    """The watcher's longest wait, and its failures, while slowhttptest attacks."""
    watcher = Watcher(url + "/", context)
    watcher.start()
    # Niced, since what the attacker takes from others on the same machine is not the question; and a long answer, so that
    # a slow reader has something not to read.
    subprocess.run(["nice", "-n", "19", "slowhttptest", *words, "-c", str(CONNECTIONS), "-r", "200", "-l", str(seconds),
                    "-p", "3", "-u", url + "/long"], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + 60)
    watcher.stopped.set()
    watcher.join()
    return max(watcher.waits, default=float("inf")), watcher.failures


main()
