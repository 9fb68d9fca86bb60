#!/usr/bin/env python3
"""The demonstration that newcomers type first, run as they would run it without a terminal."""

import os
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
                          capture_output=True, text=True, timeout=120)


def it_shows_what_it_promises():
    needs_proxy()
    library()
    ran = demo("--bin", binary(), "--seconds", "6")
    print("".join(f"     {line}\n" for line in ran.stdout.splitlines()[-24:]), end="")
    equal((ran.returncode, ran.stderr), (0, ""), f"exit code and errors of\n{ran.stdout}\n")
    for text in ("answered by v1", "coverage", "p50", "/metrics", "/api/v1/status"):
        assert text in ran.stdout, f"{text!r} is not shown"


def a_missing_binary_is_said_clearly():
    ran = demo("--bin", "/no/such/switchback", "--seconds", "1")
    equal(ran.returncode, 1, "exit code")
    assert "make build" in ran.stderr, ran.stderr


def main():
    checks = Checks("the demonstration")
    for check in (it_shows_what_it_promises, a_missing_binary_is_said_clearly):
        checks.run(check.__name__.replace("_", " "), check)
    checks.finish()


if __name__ == "__main__":
    main()
