"""Runs `httpwg` (crates.io httpwg-cli, the cases of RFC 9113) against Serin in front of a plain HTTP/1.1 service.

It speaks HTTP/2 in clear with prior knowledge only. Usage: httpwg.py [FILTER]
"""

import os
import pathlib
import re
import subprocess
import sys

import harness

# How many cases there are.
CASES = 107

# Cases that may fail, by the end of their name, and why.
KNOWN = {
    "invalid header block fragment": "the engine says PROTOCOL_ERROR where HPACK cannot be decoded",
    "sends goaway frame with unknown error code": "a connection without streams that got GOAWAY may be closed; the case panics",
}


def main():
    here = pathlib.Path(__file__).parent
    with harness.site() as site:
        port = harness.free_port()
        site.run([sys.executable, here / "backend.py", port], "backend", port)
        site.serin(f"- {{ name: app, endpoints: ['127.0.0.1:{port}'] }}")
        words = [harness.tool("bin/httpwg"), "-v", "-a", f"127.0.0.1:{site.clear_port}"]
        if len(sys.argv) > 1:
            words += ["-f", sys.argv[1]]
        # One case after the other: with its 250 ms for each frame, all at once would measure the machine.
        environment = {**os.environ, "SEQUENTIAL": "1", "RUST_BACKTRACE": "0", "RUST_LIB_BACKTRACE": "0"}
        output = subprocess.run(words, capture_output=True, timeout=300, env=environment)
    text = re.sub(r"\x1b\[[0-9;]*m", "", (output.stdout + output.stderr).decode(errors="replace"))
    started = re.findall(r"Running test: (.*)", text)
    passed = set(re.findall(r"Test passed: (.*)", text))
    # A case that panics prints neither.
    failed = [name for name in started if name not in passed]
    known = [name for name in failed if name.endswith(tuple(KNOWN))]
    for name in failed:
        why = re.search(re.escape("Test failed: " + name) + r"\s+0: (.*)", text)
        print(f"  {name}: {why[1] if why else 'the case itself panicked'}")
    print(f"httpwg: {len(passed)} of {len(started)}; {len(known)} of the others are known")
    if len(sys.argv) == 1 and len(started) != CASES:
        sys.exit(f"expected {CASES} cases")
    harness.verdict(len(passed), len(failed) - len(known))


main()
