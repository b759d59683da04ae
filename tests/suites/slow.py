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
    seconds = sys.argv[1] if len(sys.argv) > 1 else "15"
    passed = failed = 0
    with harness.site() as site:
        port = harness.nginx(site)
        # Clocks short enough that they come into play within the run.
        clocks = ", timeouts: { requestHead: 5s, body: 5s, idle: 5s }"
        site.serin(f"- {{ name: app, endpoints: ['127.0.0.1:{port}'] }}", listener=clocks)
        for way, url, context in [
            ("clear", f"http://localhost:{site.clear_port}", None),
            ("tls", f"https://localhost:{site.tls_port}", harness.trusting(site.authority)),
        ]:
            for mode, words in MODES.items():
                watcher = Watcher(url + "/", context)
                watcher.start()
                # A long answer, so that a slow reader has something not to read.
                # Niced, since what the attacker's own machine could do for others is not the question.
                attack = ["nice", "-n", "19", "slowhttptest", *words, "-c", str(CONNECTIONS), "-r", "200", "-l", seconds, "-p", "3",
                          "-u", url + "/long"]
                text = subprocess.run(attack, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      timeout=int(seconds) + 60).stdout
                watcher.stopped.set()
                watcher.join()
                worst = max(watcher.waits, default=float("inf"))
                said = "service available" in text and "NO" in text.rpartition("service available")[2][:40]
                good = not watcher.failures and worst < LATE_S
                passed, failed = passed + good, failed + (not good)
                print(f"slow {way} {mode}: {len(watcher.waits)} answered, slowest {worst * 1000:.0f} ms, "
                      f"{len(watcher.failures)} failed{' (the attacker saw it down)' if said else ''}", flush=True)
                for line in sorted(set(watcher.failures))[:3]:
                    print(f"  {line}")
    harness.verdict(passed, failed)


main()
