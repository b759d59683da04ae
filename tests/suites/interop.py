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

# Bound of one case.
CASE_S = 8


class Go:
    name = "go"

    @staticmethod
    def service(site, port):
        return [harness.tool("bin/grpc-interop-server"), "-port", port], {}

    @staticmethod
    def client(site, port, tls, case):
        words = [harness.tool("bin/grpc-interop-client"), "-server_host", "localhost", "-server_port", port]
        if tls:
            words += ["-use_tls", "-use_test_ca", "-ca_file", site.authority, "-server_host_override", "serin.test"]
        return [*words, "-test_case", case], {}


class Python:
    name = "python"

    @staticmethod
    def run(script, *arguments):
        library = pathlib.Path(harness.tool("grpc"))
        paths = [library / "gen", library / "src/python/grpcio_tests"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        return [harness.tool("python/bin/python"), "-m", script, *arguments], {"env": environment}

    @classmethod
    def service(cls, site, port):
        return cls.run("tests.interop.server", f"--port={port}")

    @classmethod
    def client(cls, site, port, tls, case):
        words = ["--server_host=localhost", f"--server_port={port}", f"--test_case={case}"]
        if tls:
            words += ["--use_tls=true", "--server_host_override=serin.test"]
        words, more = cls.run("tests.interop.client", *words)
        # Without --use_test_ca the client takes its default roots, which this names.
        more["env"]["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(site.authority)
        return words, more


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
            words, more = kind.service(site, port)
            site.run(words, "service", port, **more)
            ways = [("clear", site.clear_port), ("tls", site.tls_port)]
            if options.direct:
                ways = [("direct", port)]
            else:
                site.serin(f"- {{ name: app, protocol: http2, endpoints: ['127.0.0.1:{port}'] }}")
            for way, target in ways:
                good = [case for case in CASES if passes(kind, site, target, way, case)]
                print(f"interop {kind.name} {way}: {len(good)} of {len(CASES)}", flush=True)
                passed += len(good)
                failed += len(CASES) - len(good)
    harness.verdict(passed, failed)


def passes(kind, site, port, way, case):
    words, more = kind.client(site, port, way == "tls", case)
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, timeout=CASE_S, text=True, **more)
    except subprocess.TimeoutExpired:
        print(f"  {kind.name} {way} {case}: no end after {CASE_S} s")
        return False
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no word"]
        print(f"  {kind.name} {way} {case}: {' | '.join(lines[-3:])[:300]}")
    return done.returncode == 0


main()
