#!/usr/bin/env python3
"""Runs every real-part test in turn and sums up: all.py CLIENTS_PYTHON [NAME...].

Plain standard library, so that any Python can start it; the tests themselves run with the
clients' environment. What was skipped is counted and said last, never left out in silence.
"""

import os
import re
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = ("run.py", "grpc_kinds.py", "http2_clients.py", "websocket_clients.py", "demo_runs.py",
         "divergence_onnx.py", "divergence_llm.py", "oip_clients.py", "onnx_models.py", "load_tests.py",
         "http1_probes.py", "http2_probes.py", "grpc_interop.py", "idle_connections.py")
LIMIT_SECONDS = 600


def main():
    python, names = sys.argv[1], sys.argv[2:] or TESTS
    if not os.access(python, os.X_OK):
        sys.exit(f"no Python environment at {python}: run `make parts`")
    failed, skipped, passed, started = [], [], 0, time.monotonic()
    for name in names:
        lines, count = [], None
        child = subprocess.Popen([python, os.path.join(HERE, name)], stdout=subprocess.PIPE, text=True)
        limit = threading.Timer(LIMIT_SECONDS, child.terminate)
        limit.start()
        for line in child.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        code = child.wait()
        limit.cancel()
        for line in lines:
            if line.startswith("SKIP "):
                skipped.append(f"{name}: {line[5:].strip()}")
            count = re.search(r": (\d+) passed, (\d+) failed", line) or count
        passed += int(count.group(1)) if count else 0
        if code != 0 or not count:
            failed.append(f"{name} (exit code {code})")
    for line in skipped:
        print(f"SKIPPED {line}")
    print(f"real parts: {passed} checks passed in {len(names)} tests, {len(failed)} tests failed, "
          f"{len(skipped)} checks SKIPPED, {time.monotonic() - started:.0f} s")
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
