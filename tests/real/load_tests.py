#!/usr/bin/env python3
"""The shipped scenarios that need real servers: MLServer behind a sidecar by JSON and gRPC, a
language model that streams. Each runs for some seconds; what is held is that requests of every
kind are answered, that the numbers are there, and that the servers' own counts agree.
"""

import json
import os
import subprocess
import tempfile

from harness import ROOT, Checks, Skip, Switchback, binary, equal, needs_proxy
from llm_server import PYTHON as LLM_PYTHON, Llm
from mlserver_model import MODELS, PYTHON as MLSERVER_PYTHON, MLServer


def scenario(name, replace, *flags):
    """Runs a shipped scenario at other addresses; gives the exit code and the result."""
    with open(os.path.join(ROOT, "load-tests", name)) as f:
        text = f.read()
    for old, new in (*replace.items(), ("../config", os.path.join(ROOT, "config"))):
        text = text.replace(old, new)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as copy:
        copy.write(text)
        copy.flush()
        ran = subprocess.run([binary(), "load", "--scenario", copy.name, "--output", "json", "--quiet", *flags],
                             capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode not in (0, 4, 11, 12):
        raise AssertionError(f"exit code {ran.returncode}: {ran.stderr}")
    return ran.returncode, json.loads(ran.stdout)


def mlserver_by_two_protocols():
    needs_proxy()
    if not os.access(MLSERVER_PYTHON, os.X_OK) or not os.path.isdir(MODELS):
        raise Skip("no MLServer: run `make parts`")
    server = MLServer()
    proxy = None
    try:
        server.start()
        rewrite = {"model": "cancer-v1"}
        proxy = Switchback({
            "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
            "admin": {"address": "127.0.0.1:0"},
            "models": [{"name": "cancer", "versions": [
                {"name": "v1", "upstream": {"url": server.http}, "rewrite": {"model": "cancer-v1"}}]}],
        })
        before = server.served("cancer-v1")
        # MLServer has a port for each protocol, and a version one upstream: gRPC goes straight to it.
        _, by_json = scenario("mlserver.yaml", {
            "127.0.0.1:8080": proxy.main, "  - {name: grpc": "  # - {name: grpc"},
            "--duration", "4s", "--warmup", "0s")
        target = by_json["targets"][0]
        equal((target["failed"], target["failures"]), (0, {}), "failures by JSON")
        _, by_grpc = scenario("mlserver.yaml", {
            "127.0.0.1:8080": server.grpc, "  - {name: json": "  # - {name: json", "model: cancer": "model: cancer-v1"},
            "--duration", "4s", "--warmup", "0s")
        grpc = by_grpc["targets"][0]
        equal((grpc["failed"], grpc["failures"]), (0, {}), "failures by gRPC")
        # One more of each: the request that is sent before the run.
        equal(server.served("cancer-v1") - before, target["ok"] + grpc["ok"] + 2, "what MLServer counted")
        assert grpc["latency"]["p50"] > 0 and target["latency"]["p99"] >= target["latency"]["p50"]
    finally:
        if proxy:
            proxy.stop()
        server.stop()


def a_language_model_that_streams():
    needs_proxy()
    if not os.access(LLM_PYTHON, os.X_OK):
        raise Skip("no environment for a language model: run `make parts`")
    server, proxy = Llm(slots=2), None
    try:
        proxy = Switchback({
            "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
            "admin": {"address": "127.0.0.1:0"},
            "models": [{"name": "smollm2", "match": [{"model": "smollm2"}], "versions": [
                # This server closes the connection behind each stream, and says keep-alive.
                {"name": "v1", "upstream": {"url": server.url, "maxIdle": 0}}]}],
        })
        _, result = scenario("llm.yaml", {"127.0.0.1:8080": proxy.main}, "--duration", "12s", "--warmup", "0s")
        target = result["targets"][0]
        equal((target["failed"], target["failures"]), (0, {}), "failures")
        first, gap = target["firstToken"], target["interToken"]
        assert 0 < first["p50"] <= target["latency"]["p50"] and 0 < gap["p50"] < first["p50"] + 60, target
        # At most 32 tokens each.
        tokens = target["tokensPerSecond"] * result["seconds"] / target["ok"]
        assert 1 <= tokens <= 33, f"{tokens} tokens an answer"
    finally:
        if proxy:
            proxy.stop()
        server.stop()


def main():
    checks = Checks("load tests of real servers")
    checks.run("MLServer by JSON and gRPC", mlserver_by_two_protocols)
    checks.run("a language model that streams", a_language_model_that_streams, seconds=240)
    checks.finish()


if __name__ == "__main__":
    main()
