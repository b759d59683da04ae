"""gRPC's published interoperability cases, through Serin on HTTP/2 in clear and over TLS.

Two clients and two services, each pair of a kind: those of grpc-go, and those of grpc's own Python tests over the PyPI
package grpcio; both from Debian's source packages. Usage: interop.py [--go | --python]
"""

import argparse
import os
import pathlib
import subprocess
import sys

import harness

# The cases of grpc's doc/interop-test-descriptions.md that both clients have and that need no cloud account.
CASES = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
]

# Bound of one case, and of all of one client.
CASE_S = 8
CLIENT_S = 60


class Go:
    """A process for each case."""

    name = "go"

    @staticmethod
    def service(port):
        return [harness.tool("bin/grpc-interop-server"), "-port", port], {}

    @staticmethod
    def passed(site, port, tls):
        words = [harness.tool("bin/grpc-interop-client"), "-server_host", "localhost", "-server_port", str(port)]
        if tls:
            words += ["-use_tls", "-use_test_ca", "-ca_file", str(site.authority), "-server_host_override", "serin.test"]
        for case in CASES:
            try:
                done = subprocess.run([*words, "-test_case", case], capture_output=True, timeout=CASE_S, text=True)
                why = (done.stdout + done.stderr).strip()[-300:] if done.returncode else None
            except subprocess.TimeoutExpired:
                why = f"no end after {CASE_S} s"
            yield case, why


class Python:
    """All cases in one process: it takes longer to start than to run them."""

    name = "python"

    @staticmethod
    def environment():
        library = pathlib.Path(harness.tool("grpc"))
        paths = [library / "gen", library / "src/python/grpcio_tests"]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    @classmethod
    def service(cls, port):
        words = [harness.tool("python/bin/python"), "-m", "tests.interop.server", f"--port={port}"]
        return words, {"env": cls.environment()}

    @classmethod
    def passed(cls, site, port, tls):
        report = site.dir / "cases"
        report.unlink(missing_ok=True)
        script = pathlib.Path(__file__).parent / "interop_cases.py"
        words = [harness.tool("python/bin/python"), script, report, *CASES, "--", "--server_host=localhost", f"--server_port={port}"]
        if tls:
            words += ["--use_tls=true", "--server_host_override=serin.test"]
        # Without --use_test_ca the client takes its default roots, which this names.
        environment = {**cls.environment(), "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(site.authority)}
        try:
            done = subprocess.run([str(word) for word in words], env=environment, capture_output=True, text=True, timeout=CLIENT_S)
            missing = (done.stdout + done.stderr).strip()[-300:]
        except subprocess.TimeoutExpired:
            missing = f"no end after {CLIENT_S} s"
        lines = report.read_text().splitlines() if report.exists() else []
        seen = {words[1]: (words + [""])[2] for words in (line.split(" ", 2) for line in lines)}
        for case in CASES:
            yield case, seen.get(case, missing or "no word of it") or None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--go", action="store_const", dest="only", const=Go)
    parser.add_argument("--python", action="store_const", dest="only", const=Python)
    parser.add_argument("--direct", action="store_true", help="without a proxy: what the pairs do on their own")
    options = parser.parse_args()
    only = options.only
    passed = failed = 0
    for kind in [only] if only else [Go, Python]:
        with harness.site() as site:
            port = harness.free_port()
            words, more = kind.service(port)
            site.run(words, "service", port, **more)
            ways = [("clear", site.clear_port), ("tls", site.tls_port)]
            if options.direct:
                ways = [("direct", port)]
            else:
                site.serin(f"- {{ name: app, protocol: http2, endpoints: ['127.0.0.1:{port}'] }}")
            for way, target in ways:
                bad = {case: why for case, why in kind.passed(site, target, way == "tls") if why is not None}
                for case, why in bad.items():
                    print(f"  {case}: {why}")
                print(f"interop {kind.name} {way}: {len(CASES) - len(bad)} of {len(CASES)}", flush=True)
                passed += len(CASES) - len(bad)
                failed += len(bad)
    harness.verdict(passed, failed)


main()
