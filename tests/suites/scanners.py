"""Runs the TLS scanners sslscan, sslyze and testssl.sh against a listener of Serin with its default settings.

Nothing may be found: no protocol below TLS 1.2, no weak cipher, no known hole, no bad certificate chain.
Usage: scanners.py [sslscan] [sslyze] [testssl]
"""

import json
import pathlib
import re
import subprocess
import sys

import harness

LIMIT_S = 540


def main():
    names = sys.argv[1:] or list(SCANNERS)
    here = pathlib.Path(__file__).parent
    passed = failed = 0
    with harness.site() as site:
        port = harness.free_port()
        site.run([sys.executable, here / "backend.py", port], "backend", port)
        site.serin(f"- {{ name: app, endpoints: ['127.0.0.1:{port}'] }}")
        for name in names:
            seen, found = SCANNERS[name](site)
            print(f"{name}: {seen} results, {len(found)} found", flush=True)
            for line in found:
                print(f"  {line}")
            passed += seen - len(found)
            failed += len(found)
    harness.verdict(passed, failed)


def output_of(arguments, **more):
    return subprocess.run([str(word) for word in arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=LIMIT_S, **more).stdout


def sslscan(site):
    """Lines of its report: anything below TLS 1.2 that is enabled, a cipher under 128 bits or without forward secrecy."""
    text = output_of(["sslscan", "--no-colour", "--sni-name=serin.test", "--tlsall", f"127.0.0.1:{site.tls_port}"])
    protocols = re.findall(r"^(SSLv2|SSLv3|TLSv1\.[0-3])\s+(enabled|disabled)", text, re.M)
    ciphers = re.findall(r"^(?:Preferred|Accepted)\s+(TLSv\S+)\s+(\d+) bits\s+(\S+)", text, re.M)
    # What it says of renegotiation, compression, Heartbleed and groups.
    holes = re.findall(r"^.*(?:vulnerable|Insecure|insecure session renegotiation).*$", text, re.M)
    groups = re.findall(r"^TLSv1\.\d\s+(\d+) bits\s+(\S+)", text, re.M)
    found = [f"{name} is {state}" for name, state in protocols if state == "enabled" and name not in ("TLSv1.2", "TLSv1.3")]
    found += [f"{name}: {cipher}" for name, bits, cipher in ciphers
              if int(bits) < 128 or (name == "TLSv1.2" and not cipher.startswith("ECDHE-"))]
    found += [line for line in holes if "not vulnerable" not in line]
    found += [f"group {name} of {bits} bits" for bits, name in groups if int(bits) < 112]
    if not protocols or not ciphers:
        found.append(f"it saw nothing: {text[-500:]}")
    return len(protocols) + len(ciphers) + len(groups) + 4, found


def sslyze(site):
    """Its own comparison with Mozilla's profile `intermediate`, and each attack it knows."""
    report = site.dir / "sslyze.json"
    words = [harness.tool("python/bin/sslyze"), "--sni", "serin.test", "--certinfo_ca_file", site.authority,
             "--mozilla_config", "intermediate", "--json_out", report, f"127.0.0.1:{site.tls_port}"]
    text = output_of(words)
    result = json.loads(report.read_text())["server_scan_results"][0]
    scans = result["scan_result"]
    found = []
    flags = {
        "heartbleed": "is_vulnerable_to_heartbleed",
        "openssl_ccs_injection": "is_vulnerable_to_ccs_injection",
        "tls_compression": "supports_compression",
        "session_renegotiation": "is_vulnerable_to_client_renegotiation_dos",
    }
    for scan, flag in flags.items():
        if scans[scan]["result"][flag]:
            found.append(f"{scan}: {flag}")
    if "NOT_VULNERABLE" not in scans["robot"]["result"]["robot_result"]:
        found.append(f"robot: {scans['robot']['result']['robot_result']}")
    for protocol in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        accepted = scans[f"{protocol}_cipher_suites"]["result"]["accepted_cipher_suites"]
        found += [f"{protocol}: {suite['cipher_suite']['name']}" for suite in accepted]
    for name, scan in scans.items():
        if isinstance(scan, dict) and scan.get("status") == "ERROR":
            found.append(f"{name}: no result ({scan.get('error_reason')})")
    # A certificate of a test lives for days and stands in no log of the world; all else of the profile counts.
    excused = ("certificate_transparency", "ocsp", "maximum_certificate_lifespan")
    for line in re.findall(r"^\s+\* (\S+: .*)$", text.partition("COMPLIANCE AGAINST")[2], re.M):
        if not line.startswith(excused):
            found.append(line)
    return len(scans), found


def testssl(site):
    """Every finding that it rates low or worse."""
    report = site.dir / "testssl.json"
    words = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--ip", "127.0.0.1", "--add-ca", site.authority,
             "--jsonfile", report, "--nodns", "min", "--fast", "--sneaky",
             f"https://localhost:{site.tls_port}"]
    output_of(words)
    findings = json.loads(report.read_text())
    # What is the operator's: the name that a test certificate lives under, HSTS, its revocation, its log. What the scanner
    # lacks itself. And cipher_order: every cipher is strong, so the client's order counts (it knows its hardware).
    excused = {
        "engine_problem", "RC4", "cipher_order", "cipher_order-tls1_2",
        "cert_revocation", "cert_crlDistributionPoints", "cert_ocspURL", "OCSP_stapling", "DNS_CAArecord",
        "certificate_transparency", "HSTS", "cert_notAfter", "cert_extlifeSpan", "cert_expirationStatus",
        "cert_validityPeriod", "security_headers", "banner_server",
    }
    found = [f"{each['id']}: {each['severity']} {each['finding']}" for each in findings
             if each["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN") and each["id"].split(" ")[0] not in excused]
    return len(findings), found


SCANNERS = {"sslscan": sslscan, "sslyze": sslyze, "testssl": testssl}

main()
