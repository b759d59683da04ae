"""Runs Autobahn's fuzzing client against an echo service: directly, through Serin in clear and over TLS,
and through Serin by extended CONNECT over HTTP/2.

Each case must get the same verdict on every way. Usage: websocket.py [CASES], such as `websocket.py '9.*'`.
"""

import json
import os
import pathlib
import subprocess
import sys

import harness

# All of the protocol, and of compression the short messages: its long ones take hours, and test the endpoints' zlib.
CASES = [f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
CASES += [f"{chapter}.{setting}.{size}" for chapter in (12, 13) for setting in range(1, 6) for size in range(1, 4)]

# Bounds of one whole run.
LIMIT_S = 3000


def main():
    cases = sys.argv[1:] or CASES
    here = pathlib.Path(__file__).parent
    python = os.environ.get("PYTHON2") or harness.tool("bin/python2")
    wstest = [python, here / "wstest.py", harness.tool("autobahn")]
    with harness.site() as site:
        port = harness.free_port()
        # Not wstest's own service: that one refuses a Host with another port than its own.
        site.run([harness.tool("python/bin/python"), here / "echo.py", port], "service", port)
        site.serin(f"- {{ name: app, endpoints: ['127.0.0.1:{port}'] }}")
        bridge = harness.free_port()
        python3 = harness.tool("python/bin/python")
        site.run([python3, here / "bridge.py", bridge, site.clear_port], "bridge", bridge)
        ways = {
            "direct": f"ws://127.0.0.1:{port}",
            "clear": f"ws://127.0.0.1:{site.clear_port}",
            "tls": f"wss://127.0.0.1:{site.tls_port}",
            "h2": f"ws://127.0.0.1:{bridge}",
        }
        servers = [{"agent": way, "url": url, "options": {"version": 18}} for way, url in ways.items()]
        spec = {"outdir": "reports", "servers": servers, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
        (site.dir / "spec.json").write_text(json.dumps(spec))
        with open(site.dir / "client.log", "wb") as log:
            subprocess.run([str(word) for word in [*wstest, "-m", "fuzzingclient", "-s", "spec.json"]],
                           cwd=site.dir, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=LIMIT_S)
        report = json.loads((site.dir / "reports" / "index.json").read_text())
    same = different = 0
    tally = {way: {} for way in ways}
    for case in sorted(report["direct"], key=lambda name: [int(part) for part in name.split(".")]):
        verdicts = {way: (report[way][case]["behavior"], report[way][case]["behaviorClose"]) for way in ways}
        for way, (behavior, _) in verdicts.items():
            tally[way][behavior] = tally[way].get(behavior, 0) + 1
        if len({(rank(behavior), rank(close)) for behavior, close in verdicts.values()}) == 1:
            same += 1
        else:
            different += 1
            print(f"  {case}: {verdicts}")
    for way, counts in tally.items():
        print(f"autobahn {way}: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}")
    harness.verdict(same, different)


def rank(behavior):
    """NON-STRICT is a pass that hangs on which of two events came first; it differs from run to run on one way alone."""
    return {"NON-STRICT": "OK"}.get(behavior, behavior)


main()
