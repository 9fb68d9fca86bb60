#!/usr/bin/env python3
"""A real model server behind Switchback, driven by the clients that people use.

MLServer serves three scikit-learn models under three names. Switchback stands in front of
its REST and its gRPC port with one port of its own, splits the one name `cancer` over two
of them and mirrors everything to the third. tritonclient and the kserve client must not
be able to tell the difference, except by `x-switchback-version`.

Run with the clients' environment: .cache/venv-clients/bin/python tests/real/run.py
"""

import json
import math
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from harness import BYPASS, Checks, Skip, Switchback, equal, get, needs_proxy, wait_until
from mlserver_model import MODELS, MLServer

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

SPLIT = {"v1": 70, "v2": 30}
# What the client calls the model. Straight to the server there is only the real name.
NAME = "cancer-v1" if BYPASS else "cancer"
REAL = {"v1": "cancer-v1", "v2": "cancer-v2"}
JSON = {"content-type": "application/json"}

with open(f"{MODELS}/rows.json") as f:
    ROWS = np.array(json.load(f), dtype=np.float64)


def config(server):
    """One port for both protocols; each goes to the port MLServer has for it."""
    def versions(url, protocol):
        up = {"url": url, "protocol": protocol}
        return [
            {"name": "v1", "weight": f"{SPLIT['v1']}%", "upstream": up, "rewrite": {"model": REAL["v1"]}},
            {"name": "v2", "weight": f"{SPLIT['v2']}%", "upstream": up, "rewrite": {"model": REAL["v2"]}},
            {"name": "v3", "upstream": up, "rewrite": {"model": "cancer-v3", "modelVersion": "3"}},
        ]
    # MLServer answers one request at a time; the checks below want every copy to arrive.
    mirror = [{"to": "v3", "sample": "100%", "maxInFlight": 512, "suspendAbove": 100000}]
    return {
        "workers": 2,
        "listeners": [{"name": "main", "address": "127.0.0.1:0", "allowPin": True}],
        "admin": {"address": "127.0.0.1:0"},
        "models": [
            {"name": "cancer-grpc", "match": [{"pathPrefix": "/inference.GRPCInferenceService/"}],
             "versions": versions(f"http://{server.grpc}", "http2"), "mirror": mirror},
            {"name": "cancer", "match": [{"pathPrefix": "/v2"}],
             "versions": versions(server.http, "http1"), "mirror": mirror},
        ],
    }


def body(rows, request_id="check"):
    """An OIP v2 request as JSON bytes."""
    return json.dumps({
        "id": request_id,
        "inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}],
        "outputs": [{"name": "predict"}, {"name": "predict_proba"}],
    }).encode()


class Real:
    """The server, the proxy and the clients' addresses, with the checks as methods."""

    def __init__(self):
        self.server = MLServer().start()
        self.proxy = None if BYPASS else Switchback(config(self.server))
        self.http = f"127.0.0.1:{self.server.http_port}" if BYPASS else self.proxy.main
        self.grpc = self.server.grpc if BYPASS else self.proxy.main
        # What each version really answers, asked directly.
        self.direct = {v: self.ask_directly(name, ROWS) for v, name in REAL.items()}
        assert not np.allclose(self.direct["v1"], self.direct["v2"], atol=1e-6), "the versions must differ"
        self.sent = Counter()

    def ask_directly(self, name, rows):
        code, _, answer = get(f"{self.server.http}/v2/models/{name}/infer", "POST", body(rows), JSON)
        equal(code, 200, f"direct answer of {name}")
        outputs = {o["name"]: o for o in json.loads(answer)["outputs"]}
        return np.array(outputs["predict_proba"]["data"]).reshape(outputs["predict_proba"]["shape"])

    def version_of(self, probabilities, row, count):
        """Which version gave these numbers; exact up to the number format."""
        for version in REAL:
            if np.allclose(probabilities, self.direct[version][row:row + count], rtol=1e-12, atol=1e-15):
                return version
        raise AssertionError(f"rows {row}..{row + count}: {probabilities} is neither version's answer")

    def check_split(self, counts, what):
        """Five standard deviations: a false alarm once in two million runs."""
        total = sum(counts.values())
        print(f"     {what}: {dict(sorted(counts.items()))} of {total}")
        if BYPASS:
            equal(set(counts), {"v1"}, "versions")
            return
        for version, percent in SPLIT.items():
            p = percent / 100
            bound = 5 * math.sqrt(total * p * (1 - p))
            off = abs(counts[version] - total * p)
            assert off <= bound, f"{what}: {version} got {counts[version]} of {total}, want {total * p:.0f} ± {bound:.0f}"

    # === REST, tritonclient ===

    def triton_http_client(self):
        return triton_http.InferenceServerClient(self.http, concurrency=8)

    def triton_http_input(self, row, count=1):
        x = triton_http.InferInput("x", [count, ROWS.shape[1]], "FP64")
        x.set_data_from_numpy(ROWS[row:row + count], binary_data=False)
        outputs = [triton_http.InferRequestedOutput(n, binary_data=False) for n in ("predict", "predict_proba")]
        return {"inputs": [x], "outputs": outputs}

    def check_triton_http_result(self, result, row, count, request_id):
        answer = result.get_response()
        equal(answer["model_name"], NAME, "model_name in the answer")
        equal(answer["id"], request_id, "id in the answer")
        version = self.version_of(result.as_numpy("predict_proba"), row, count)
        self.sent["http"] += 1
        return version

    def tritonclient_http_metadata(self):
        c = self.triton_http_client()
        assert c.is_server_live() and c.is_server_ready(), "server live and ready"
        assert c.is_model_ready(NAME), "model ready"
        equal(c.get_server_metadata()["name"], "mlserver", "server name")
        equal(c.get_model_metadata(NAME)["name"], NAME, "model name in the metadata")
        c.close()

    def tritonclient_http_split(self):
        c, counts = self.triton_http_client(), Counter()
        for i in range(300):
            row = i % len(ROWS)
            result = c.infer(NAME, request_id=f"r{i}", **self.triton_http_input(row))
            counts[self.check_triton_http_result(result, row, 1, f"r{i}")] += 1
        c.close()
        self.check_split(counts, "tritonclient http")

    def tritonclient_http_async(self):
        c, counts = self.triton_http_client(), Counter()
        for start in range(0, 96, 8):
            pending = [
                (i, c.async_infer(NAME, request_id=f"a{i}", **self.triton_http_input(i % 60, 4)))
                for i in range(start, start + 8)
            ]
            for i, handle in pending:
                counts[self.check_triton_http_result(handle.get_result(), i % 60, 4, f"a{i}")] += 1
        c.close()
        self.check_split(counts, "tritonclient http, 8 at once")

    def tritonclient_http_compressed(self):
        c = self.triton_http_client()
        for algorithm in ("gzip", "deflate"):
            result = c.infer(NAME, request_id="z", response_compression_algorithm=algorithm,
                             **self.triton_http_input(3, 20))
            self.check_triton_http_result(result, 3, 20, "z")
        c.close()

    def tritonclient_http_binary_is_refused_as_by_the_server(self):
        """Binary tensors are a 422 of MLServer's own; the client must see exactly that."""
        x = triton_http.InferInput("x", [1, ROWS.shape[1]], "FP64")
        x.set_data_from_numpy(ROWS[:1], binary_data=True)
        answers = []
        for url, name in ((self.server.http[len("http://"):], REAL["v1"]), (self.http, NAME)):
            c = triton_http.InferenceServerClient(url)
            try:
                c.infer(name, [x], headers={"x-switchback-version": "v1"})
                raise AssertionError("binary tensors were accepted")
            except InferenceServerException as error:
                answers.append((error.status(), error.message()))
            finally:
                c.close()
        equal([a[1].rstrip() for a in answers], [answers[0][1].rstrip()] * 2, "the refusal's text")
        equal(answers[1][0], answers[0][0], "the refusal's status")

    # === REST, plain ===

    def header_names_the_version(self):
        needs_proxy()
        for _ in range(20):
            code, headers, answer = get(f"http://{self.http}/v2/models/{NAME}/infer", "POST", body(ROWS[:2]), JSON)
            equal(code, 200)
            self.sent["http"] += 1
            document = json.loads(answer)
            outputs = {o["name"]: o["data"] for o in document["outputs"]}
            version = self.version_of(np.array(outputs["predict_proba"]).reshape(2, 2), 0, 2)
            equal(headers["x-switchback-version"], version, "x-switchback-version")
            equal(document["model_name"], "cancer", "model_name")

    def pinned_requests_go_where_they_say(self):
        needs_proxy()
        for version in ("v1", "v2") * 5:
            headers = {**JSON, "x-switchback-version": version}
            code, got, answer = get(f"http://{self.http}/v2/models/{NAME}/infer", "POST", body(ROWS[:1]), headers)
            equal(code, 200)
            equal(got["x-switchback-version"], version, "x-switchback-version of a pinned request")
            self.version_of(np.array(json.loads(answer)["outputs"][1]["data"]).reshape(1, 2), 0, 1)

    def answers_are_the_servers_but_for_the_name(self):
        """Byte for byte once the model's name is put back, but for spaces behind the JSON: they
        make up for a shorter name, so that Content-Length can go ahead of the body."""
        for count in (1, 7, 64):
            url = f"{self.server.http}/v2/models/{REAL['v1']}/infer"
            _, _, direct = get(url, "POST", body(ROWS[:count]), JSON)
            headers = {**JSON, "x-switchback-version": "v1"}
            _, got_headers, got = get(f"http://{self.http}/v2/models/{NAME}/infer", "POST", body(ROWS[:count]), headers)
            want = direct.replace(b'"model_name":"cancer-v1"', f'"model_name":"{NAME}"'.encode())
            equal(got.rstrip(b" "), want, "body")
            equal(got_headers["content-type"], "application/json", "content-type")
            if got_headers["content-length"]:
                equal(int(got_headers["content-length"]), len(got), "content-length")

    def errors_of_the_server_pass_unchanged(self):
        three = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]}
        bodies = {"broken JSON": b'{"inputs": [', "a list": b"[]", "three features": json.dumps(three).encode(), "nothing": b""}
        for what, content in bodies.items():
            headers = {**JSON, "x-switchback-version": "v1"}
            want = get(f"{self.server.http}/v2/models/{REAL['v1']}/infer", "POST", content, JSON)
            got = get(f"http://{self.http}/v2/models/{NAME}/infer", "POST", content, headers)
            assert want[0] >= 400, f"{what} should be an error"
            # Spaces behind JSON: see above. Anything else is exact.
            json_too = want[1]["content-type"] == "application/json"
            got_body = got[2].rstrip(b" ") if json_too else got[2]
            equal((got[0], got[1]["content-type"], got_body), (want[0], want[1]["content-type"], want[2]), what)
        want = get(f"{self.server.http}/v2/no/such/path")
        got = get(f"http://{self.http}/v2/no/such/path")
        equal((got[0], got[2]), (want[0], want[2]), "an unknown path")

    # === gRPC, tritonclient ===

    def triton_grpc_input(self, row, count=1):
        x = triton_grpc.InferInput("x", [count, ROWS.shape[1]], "FP64")
        x.set_data_from_numpy(ROWS[row:row + count])
        outputs = [triton_grpc.InferRequestedOutput(n) for n in ("predict", "predict_proba")]
        return {"inputs": [x], "outputs": outputs}

    def check_triton_grpc_result(self, result, row, count, request_id):
        answer = result.get_response()
        equal(answer.model_name, NAME, "model_name in the answer")
        equal(answer.id, request_id, "id in the answer")
        version = self.version_of(result.as_numpy("predict_proba"), row, count)
        self.sent["grpc"] += 1
        return version

    def tritonclient_grpc_metadata(self):
        with triton_grpc.InferenceServerClient(self.grpc) as c:
            assert c.is_server_live() and c.is_server_ready(), "server live and ready"
            assert c.is_model_ready(NAME), "model ready"
            equal(c.get_server_metadata().name, "mlserver", "server name")
            equal(c.get_model_metadata(NAME).name, NAME, "model name in the metadata")

    def tritonclient_grpc_split(self):
        counts = Counter()
        with triton_grpc.InferenceServerClient(self.grpc) as c:
            for i in range(300):
                row = i % len(ROWS)
                result = c.infer(NAME, request_id=f"g{i}", **self.triton_grpc_input(row))
                counts[self.check_triton_grpc_result(result, row, 1, f"g{i}")] += 1
        self.check_split(counts, "tritonclient grpc")

    def tritonclient_grpc_async(self):
        answers, counts = queue.Queue(), Counter()
        with triton_grpc.InferenceServerClient(self.grpc) as c:
            for i in range(100):
                c.async_infer(NAME, callback=lambda result, error, i=i: answers.put((i, result, error)),
                              request_id=f"s{i}", **self.triton_grpc_input(i % 60, 2))
            for _ in range(100):
                i, result, error = answers.get(timeout=30)
                if error:
                    raise error
                counts[self.check_triton_grpc_result(result, i % 60, 2, f"s{i}")] += 1
        self.check_split(counts, "tritonclient grpc, 100 at once")

    def grpc_stream(self):
        """A bidirectional stream. MLServer answers a stream with plain ModelInferResponse
        messages, which tritonclient's stream cannot read, so this is grpcio itself."""
        with grpc.insecure_channel(self.grpc) as channel:
            call = channel.stream_stream(
                "/inference.GRPCInferenceService/ModelStreamInfer",
                service_pb2.ModelInferRequest.SerializeToString,
                service_pb2.ModelInferResponse.FromString,
            )
            request = service_pb2.ModelInferRequest(model_name=NAME, id="stream")
            x = request.inputs.add(name="x", datatype="FP64", shape=[3, ROWS.shape[1]])
            x.contents.fp64_contents.extend(ROWS[5:8].ravel())
            request.outputs.add(name="predict_proba")
            answers = list(call(iter([request]), timeout=20))
        equal(len(answers), 1, "messages in the stream")
        proba = next(o for o in answers[0].outputs if o.name == "predict_proba")
        self.version_of(np.array(proba.contents.fp64_contents).reshape(3, 2), 5, 3)
        self.sent["grpc"] += 1

    def grpc_metadata_names_the_version(self):
        needs_proxy()
        with grpc.insecure_channel(self.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for version in ("v1", "v2") * 5:
                request = service_pb2.ModelInferRequest(model_name=NAME, id="m")
                x = request.inputs.add(name="x", datatype="FP64", shape=[1, ROWS.shape[1]])
                x.contents.fp64_contents.extend(ROWS[0])
                request.outputs.add(name="predict_proba")
                answer, call = stub.ModelInfer.with_call(
                    request, metadata=[("x-switchback-version", version)], timeout=20)
                equal(dict(call.initial_metadata())["x-switchback-version"], version, "x-switchback-version")
                equal(answer.model_name, NAME, "model_name")
                equal(answer.model_version, version[1:] if answer.model_version else "", "model_version")

    def grpc_errors_of_the_server_pass_unchanged(self):
        def ask(address, name, request):
            request.model_name = name
            with grpc.insecure_channel(address) as channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                try:
                    stub.ModelInfer(request, metadata=[("x-switchback-version", "v1")], timeout=20)
                except grpc.RpcError as error:
                    return error.code(), error.details()
            raise AssertionError("the server accepted a wrong request")

        short = service_pb2.ModelInferRequest(id="e")
        x = short.inputs.add(name="x", datatype="FP64", shape=[1, 3])
        x.contents.fp64_contents.extend([1, 2, 3])
        equal(ask(self.grpc, NAME, short), ask(self.server.grpc, REAL["v1"], short), "three features")
        with grpc.insecure_channel(self.grpc) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/NoSuchMethod")
            try:
                call(b"", timeout=20)
                raise AssertionError("an unknown method was answered")
            except grpc.RpcError as error:
                equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, "an unknown method")

    # === kserve's clients ===

    def kserve_client(self, protocol, address):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kserve_client.py")
        ran = subprocess.run([sys.executable, script, protocol, address, NAME, "96"],
                             capture_output=True, text=True, timeout=120)
        equal(ran.returncode, 0, f"exit code of kserve's client\n{ran.stderr[-1500:]}\n")
        counts = Counter()
        for line in ran.stdout.splitlines():
            answer = json.loads(line)
            equal(answer["model_name"], NAME, "model_name in the answer")
            counts[self.version_of(np.array(answer["probabilities"]), answer["row"], 2)] += 1
            self.sent["http" if protocol == "rest" else "grpc"] += 1
        equal(sum(counts.values()), 96, "answers")
        self.check_split(counts, f"kserve {protocol}")

    def kserve_rest(self):
        self.kserve_client("rest", self.http)

    def kserve_grpc(self):
        self.kserve_client("grpc", self.grpc)

    # === what Switchback says about it ===

    def the_shadow_got_every_copy(self):
        """By the shadow's own count, and by what status and metrics say."""
        needs_proxy()
        sent = sum(self.sent.values())

        def settled():
            mirrors = [self.proxy.model(m)["mirrors"][0] for m in ("cancer", "cancer-grpc")]
            total = {k: sum(m[k] for m in mirrors) for k in ("eligible", "sent", "completed")}
            dropped = sum(sum(m["dropped"].values()) for m in mirrors)
            return total["completed"] + dropped >= total["eligible"] and (mirrors, total, dropped)

        mirrors, total, dropped = wait_until("every shadow copy to end", settled, 60)
        arrived = self.server.served("cancer-v3")
        print(f"     answered by clients' count {sent}, shadow answered {arrived}, status {total}, dropped {dropped}")
        assert total["eligible"] >= sent, f"eligible {total['eligible']} is less than {sent} inferences"
        equal(dropped, 0, f"dropped copies ({[m['dropped'] for m in mirrors]})")
        equal((total["sent"], total["completed"]), (total["eligible"],) * 2, "sent and completed of the eligible")
        assert arrived >= sent, f"the shadow answered {arrived} of at least {sent} copies"
        for m in mirrors:
            equal(m["sample"], "100%", "sample")
            assert m["coverage"] > 0.999, f"coverage {m['coverage']}"

    def status_counts_what_happened(self):
        needs_proxy()
        document = self.proxy.status()
        equal(document["state"], "ready", "state")
        for name, protocol in (("cancer", "http"), ("cancer-grpc", "grpc")):
            versions = {v["name"]: v for v in self.proxy.model(name)["versions"]}
            equal([versions[v]["role"] for v in ("v1", "v2", "v3")], ["stable", "canary", "shadow"], "roles")
            served = sum(versions[v]["requests"]["success"] for v in ("v1", "v2"))
            assert served >= self.sent[protocol], f"{name}: {served} successes for {self.sent[protocol]} answers"
            for v in ("v1", "v2"):
                latency = versions[v]["latencySeconds"]
                assert latency["count"] > 0 and 0 < latency["p50"] <= latency["p99"] < 30, f"{name}/{v}: {latency}"
                equal(versions[v]["inFlight"], 0, f"{name}/{v} in flight")
                assert versions[v]["ready"], f"{name}/{v} is not ready: {versions[v]['reason']}"

    def metrics_are_clean(self):
        needs_proxy()
        text = self.proxy.metrics()
        for name in ("cancer", "cancer-grpc"):
            assert f'model="{name}"' in text, f"no series of model {name}"
        for version in ("v1", "v2", "v3"):
            assert f'"{version}"' in text, f"no series of version {version}"
        bad = re.findall(r"^(?!#|switchback_|process_)\S+", text, re.M)
        equal(bad[:3], [], "series without the prefix")
        if not shutil.which("promtool"):
            raise Skip("promtool is not installed (Debian: prometheus)")
        lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        equal((lint.returncode, lint.stdout + lint.stderr), (0, ""), "promtool check metrics")

    # === change and loss ===

    def weights_move_without_a_failed_request(self):
        needs_proxy()
        stop, failures, done = threading.Event(), [], Counter()

        def client():
            while not stop.is_set():
                code, headers, _ = get(f"http://{self.http}/v2/models/cancer/infer", "POST", body(ROWS[:1]), JSON)
                if code == 200:
                    done[headers["x-switchback-version"]] += 1
                else:
                    failures.append(code)

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(client) for _ in range(4)]
            for i in range(20):
                self.proxy.set_weights("cancer", {"v1": f"{100 - 5 * i}%", "v2": f"{5 * i}%"})
                time.sleep(0.05)
            stop.set()
            for future in running:
                future.result()
        equal(failures, [], "failed requests")
        assert done["v1"] and done["v2"], f"both versions answered: {done}"
        self.proxy.set_weights("cancer", {"v2": "100%"})
        for _ in range(30):
            _, headers, _ = get(f"http://{self.http}/v2/models/cancer/infer", "POST", body(ROWS[:1]), JSON)
            equal(headers["x-switchback-version"], "v2", "version at 100 %")
        self.proxy.set_weights("cancer", {v: f"{w}%" for v, w in SPLIT.items()})

    def a_lost_server_is_a_clear_error(self):
        needs_proxy()
        self.server.stop()
        for _ in range(10):
            code, headers, answer = get(f"http://{self.http}/v2/models/cancer/infer", "POST", body(ROWS[:1]), JSON)
            assert code in (502, 503), f"status {code}: {answer!r}"
            assert json.loads(answer)["error"], "a reason in the body"
            assert headers["x-switchback-error"], "a reason in x-switchback-error"
        try:
            triton_grpc.InferenceServerClient(self.grpc).infer(NAME, **self.triton_grpc_input(0))
            raise AssertionError("gRPC was answered")
        except InferenceServerException as error:
            equal(error.status(), "StatusCode.UNAVAILABLE", "gRPC status")
        client = triton_http.InferenceServerClient(self.http)
        try:
            client.infer(NAME, **self.triton_http_input(0))
            raise AssertionError("REST was answered")
        except InferenceServerException as error:
            assert error.status() in ("502", "503"), error.status()
            assert error.message(), "tritonclient reads the reason out of the body"
        finally:
            client.close()

    def a_server_that_comes_back_is_used_again(self):
        needs_proxy()
        self.server.start()
        url = f"http://{self.http}/v2/models/cancer/infer"
        wait_until("a good answer", lambda: get(url, "POST", body(ROWS[:1]), JSON)[0] == 200, 30)
        with triton_grpc.InferenceServerClient(self.grpc) as c:
            wait_until("a ready model over gRPC", lambda: self.grpc_ready(c), 30)
            c.infer(NAME, **self.triton_grpc_input(0))

    @staticmethod
    def grpc_ready(client):
        try:
            return client.is_model_ready(NAME)
        except InferenceServerException:
            return False

    def stop(self):
        if self.proxy:
            code = self.proxy.stop()
            print(f"     switchback ended with {code}")
        self.server.stop()


def main():
    checks = Checks("MLServer with tritonclient and kserve")
    real = Real()
    try:
        for name in (
            "tritonclient_http_metadata", "tritonclient_http_split", "tritonclient_http_async",
            "tritonclient_http_compressed", "tritonclient_http_binary_is_refused_as_by_the_server",
            "header_names_the_version", "tritonclient_grpc_metadata", "tritonclient_grpc_split",
            "tritonclient_grpc_async", "grpc_stream", "kserve_rest", "kserve_grpc",
            "the_shadow_got_every_copy", "status_counts_what_happened", "metrics_are_clean",
            "pinned_requests_go_where_they_say", "answers_are_the_servers_but_for_the_name",
            "errors_of_the_server_pass_unchanged", "grpc_metadata_names_the_version",
            "grpc_errors_of_the_server_pass_unchanged", "weights_move_without_a_failed_request",
            "a_lost_server_is_a_clear_error", "a_server_that_comes_back_is_used_again",
        ):
            checks.run(name.replace("_", " "), getattr(real, name))
    finally:
        real.stop()
    checks.finish()


if __name__ == "__main__":
    main()
