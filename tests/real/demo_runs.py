#!/usr/bin/env python3
"""The demonstration that newcomers type first, run as they would run it without a terminal."""

import os
import re
import subprocess
import sys

from harness import CACHE, ROOT, Checks, Skip, binary, equal, needs_proxy

DEMO = os.path.join(ROOT, "config", "demo", "demo.py")


def library():
    """A demonstration needs ONNX Runtime, as `make parts` installs it."""
    path = os.environ.get("ORT_DYLIB_PATH") or os.path.join(CACHE, "onnxruntime", "libonnxruntime.so")
    if not os.path.exists(path):
        raise Skip(f"no ONNX Runtime at {path}: run `make parts`")


def demo(*arguments):
    return subprocess.run([sys.executable, DEMO, "--non-interactive", *arguments],
                          capture_output=True, text=True, timeout=240)


def it_tells_its_story_and_every_claim_holds():
    needs_proxy()
    library()
    ran = demo("--bin", binary())
    print("".join(f"     {line}\n" for line in ran.stdout.splitlines()), end="")
    equal((ran.returncode, ran.stderr), (0, ""), f"exit code and errors of\n{ran.stdout}\n")
    for text in ("ROLLBACK v2 → v1", "divergence:", "ROLLBACK v4 → v1", "latency:", "SUCCESS: v3 is the stable version",
                 "users answered by v2: 0", "log10 E", "rollout status cancer", "rollout report cancer", "/metrics",
                 "/api/v1/status", "/api/v1/rollouts", "pairs"):
        assert text in ran.stdout, f"{text!r} is not shown"
    # v2 is caught before v4 begins, v4 before v3.
    order = [ran.stdout.index(text) for text in ("ROLLBACK v2", "ROLLBACK v4", "SUCCESS: v3")]
    equal(order, sorted(order), "the order of the story")
    # Evidence is shown while it grows, not only once it is enough.
    grown = [float(x) for x in re.findall(r"worse \S+ log10 E +([\d.]+)", ran.stdout)]
    assert any(0.3 <= x < 2 for x in grown) and max(grown) >= 2, f"evidence that does not grow: {grown}"


def a_missing_binary_is_said_clearly():
    ran = demo("--bin", "/no/such/switchback")
    equal(ran.returncode, 1, "exit code")
    assert "make build" in ran.stderr, ran.stderr


def main():
    checks = Checks("the demonstration")
    for check in (it_tells_its_story_and_every_claim_holds, a_missing_binary_is_said_clearly):
        checks.run(check.__name__.replace("_", " "), check)
    checks.finish()


if __name__ == "__main__":
    main()
