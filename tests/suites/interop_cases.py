"""Runs cases of gRPC's Python interoperability client in one process: interop_cases.py OUTPUT CASE... -- ARGUMENTS...

The client is used as it is, with its own arguments, once for each case. Writes a line for each: `ok CASE` or `bad CASE why`.
"""

import sys

# Our own directory would come first, with modules of its own.
del sys.path[0]
from tests.interop import client  # noqa: E402

output, *cases = sys.argv[1 : sys.argv.index("--")]
arguments = sys.argv[sys.argv.index("--") + 1 :]
with open(output, "w", buffering=1) as report:
    for case in cases:
        sys.argv = ["client", f"--test_case={case}", *arguments]
        try:
            client.test_interoperability()
            report.write(f"ok {case}\n")
        except Exception as error:  # Whatever a case raises is its failure.
            report.write(f"bad {case} {' '.join(repr(error).split())[:300]}\n")
