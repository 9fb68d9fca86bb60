#!/usr/bin/env python3
"""Models that Switchback serves itself, asked by the clients that people use for model servers.

tritonclient over REST (JSON, binary, compressed) and gRPC (at once, later, streamed), kserve's
clients, `mlserver infer`, gRPC health and reflection; and every operator case and small model of
the onnx package, over REST with JSON, REST with binary data, and gRPC: the answers must be ONNX
Runtime's own, bit for bit; what the protocol cannot carry must be refused at loading, by name.

Runs in .cache/venv-oip, whatever Python starts it. `oip_clients.py --cases` runs the cases only.
"""

import os
import sys

from harness import CACHE, ROOT, Checks, Process, Skip, Switchback, equal, get, wait_until

PYTHON = os.path.join(CACHE, "venv-oip", "bin", "python")
if os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(PYTHON))):
    if not os.access(PYTHON, os.X_OK):
        sys.exit(f"no Python environment at {PYTHON}: run `make parts`")
    os.execv(PYTHON, [PYTHON, *sys.argv])

import ctypes  # noqa: E402
import glob  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import queue  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import warnings  # noqa: E402
import zlib  # noqa: E402
from collections import Counter  # noqa: E402

import grpc  # noqa: E402
import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import tritonclient.grpc as tg  # noqa: E402
import tritonclient.http as th  # noqa: E402
from google.protobuf.descriptor_pool import DescriptorPool  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase  # noqa: E402
from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

FIXTURES = os.path.join(ROOT, "tests", "fixtures", "models")
DEMO = os.path.join(ROOT, "config", "demo", "models")
LIBRARY = os.environ.get("ORT_DYLIB_PATH") or os.path.join(CACHE, "onnxruntime", "libonnxruntime.so")

TYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_,
}
OF_ORT = {
    "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(string)": "BYTES", "tensor(bfloat16)": "BF16",
}

with open(os.path.join(ROOT, "config", "demo", "rows.jsonl")) as f:
    ROWS = np.array([json.loads(line)["request"]["inputs"][0]["data"] for line in f], dtype=np.float32)


def version(name, repository, model, number, **more):
    return {"name": name, "onnx": {"repository": repository, "model": model, "version": number}, **more}


def config(models):
    return {
        "workers": 2, "onnxRuntime": {"library": LIBRARY},
        "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
        "admin": {"address": "127.0.0.1:0"},
        "models": [{"name": name, "versions": versions} for name, versions in models.items()],
    }


def all_ready(proxy):
    """Waits until every version in process is ready; says why one is not."""
    def settled():
        models = json.loads(post(proxy, "/v2/repository/index", b"{}")[1])
        return all(model["state"] not in ("LOADING",) for model in models) and models
    models = wait_until("every model to be loaded", settled, 120)
    return {model["name"]: model for model in models if model["state"] != "READY"}


def post(proxy, path, body, headers=None):
    code, _, answer = get(f"http://{proxy.main}{path}", "POST", body, headers or {})
    return code, answer


def reference(path, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))


def same(got, want, what):
    """Bit for bit, but for the payload of a NaN."""
    if want.dtype == np.object_ or want.dtype.kind in "SU":
        texts = [x.decode() if isinstance(x, bytes) else str(x) for x in np.asarray(got).ravel()]
        equal(texts, [str(x) for x in want.ravel()], what)
    else:
        equal(got.dtype, want.dtype, f"type of {what}")
        if not np.array_equal(got, want, equal_nan=want.dtype.kind == "f"):
            raise AssertionError(f"{what}: got {got!r}, want {want!r}")
        if want.dtype.kind == "f":
            number = ~np.isnan(want)
            equal(np.signbit(got)[number].tolist(), np.signbit(want)[number].tolist(), f"signs of {what}")
    equal(tuple(got.shape), tuple(want.shape), f"shape of {what}")


class Clients:
    """One sidecar with a few models, and the clients of its one port."""

    def __init__(self):
        self.proxy = Switchback(config({
            "cancer": [version("v1", DEMO, "cancer", 1, weight="100%"), version("v3", DEMO, "cancer", 3)],
            "identity": [version("only", FIXTURES, "identity", 1)],
            "pair": [version("only", FIXTURES, "pair", 1)],
            "logarithm": [version("only", FIXTURES, "logarithm", 1)],
        }))
        equal(all_ready(self.proxy), {}, "models that are not ready")
        self.want = {n: reference(f"{DEMO}/cancer/{n}/model.onnx", {"features": ROWS}) for n in (1, 3)}

    def stop(self):
        self.proxy.stop()

    def http(self):
        return th.InferenceServerClient(self.proxy.main, concurrency=4)

    def grpc(self):
        return tg.InferenceServerClient(self.proxy.main)

    def check(self, result, number=1):
        for name, want in self.want[number].items():
            same(result.as_numpy(name), want, f"{name} of version {number}")

    # === tritonclient, REST ===

    def http_is_described(self):
        c = self.http()
        assert c.is_server_live() and c.is_server_ready() and c.is_model_ready("cancer")
        assert c.is_model_ready("cancer", "3") and not c.is_model_ready("cancer", "9")
        equal(c.get_server_metadata()["name"], "switchback", "server")
        assert "binary_tensor_data" in c.get_server_metadata()["extensions"]
        metadata = c.get_model_metadata("cancer")
        equal((metadata["name"], metadata["versions"]), ("cancer", ["1", "3"]), "name and versions")
        equal(metadata["inputs"], [{"name": "features", "datatype": "FP32", "shape": [-1, 30]}], "inputs")
        about = c.get_model_config("cancer")
        equal((about["platform"], about["input"][0]["data_type"]), ("onnxruntime_onnx", "TYPE_FP32"), "config")
        index = {(m["name"], m["version"]): m["state"] for m in c.get_model_repository_index()}
        equal(index[("cancer", "3")], "READY", "state in the index")
        c.close()

    def http_json_and_binary_in_every_mixture(self):
        c = self.http()
        for binary_in in (True, False):
            for binary_out in (True, False, None):
                x = th.InferInput("features", list(ROWS.shape), "FP32")
                x.set_data_from_numpy(ROWS, binary_data=binary_in)
                outputs = None if binary_out is None else [
                    th.InferRequestedOutput(name, binary_data=binary_out) for name in ("label", "probabilities")]
                result = c.infer("cancer", [x], request_id="r1", outputs=outputs)
                self.check(result)
                equal(result.get_response()["id"], "r1", "id")
                equal((result.get_response()["model_name"], result.get_response()["model_version"]), ("cancer", "1"))
        mixed = [th.InferRequestedOutput("probabilities", binary_data=True),
                 th.InferRequestedOutput("label", binary_data=False)]
        result = c.infer("cancer", [x], outputs=mixed)
        self.check(result)
        equal([o["name"] for o in result.get_response()["outputs"]], ["probabilities", "label"], "order of outputs")
        c.close()

    def http_compressed_both_ways(self):
        c = self.http()
        for algorithm in ("gzip", "deflate"):
            for binary in (True, False):
                x = th.InferInput("features", list(ROWS.shape), "FP32")
                x.set_data_from_numpy(ROWS, binary_data=binary)
                outputs = [th.InferRequestedOutput(n, binary_data=binary) for n in ("label", "probabilities")]
                self.check(c.infer("cancer", [x], outputs=outputs, request_compression_algorithm=algorithm,
                                   response_compression_algorithm=algorithm))
        c.close()

    def http_async_and_versions(self):
        c = self.http()
        x = th.InferInput("features", list(ROWS.shape), "FP32")
        x.set_data_from_numpy(ROWS)
        for handle, number in [(c.async_infer("cancer", [x], model_version=str(n)), n) for n in (1, 3) * 8]:
            result = handle.get_result()
            self.check(result, number)
            equal(result.get_response()["model_version"], str(number), "version")
        c.close()

    def http_every_type(self):
        c = self.http()
        for binary in (True, False):
            inputs, arrays = every_type(th, binary)
            outputs = [th.InferRequestedOutput(name.replace("in_", "out_"), binary_data=binary or "16" in name)
                       for name in arrays]
            result = c.infer("identity", inputs, outputs=outputs)
            for name, want in arrays.items():
                same(result.as_numpy(name.replace("in_", "out_")), want, f"{name}, binary: {binary}")
        c.close()

    def http_errors_are_told(self):
        c = self.http()
        x = th.InferInput("features", [1, 3], "FP32")
        x.set_data_from_numpy(ROWS[:1, :3])
        for ask, status, text in [
            (lambda: c.infer("cancer", [x]), "400", "expected shape [-1, 30]"),
            (lambda: c.infer("nobody", [x]), "404", "nobody"),
            (lambda: c.infer("cancer", [x], model_version="7"), "404", "no version \"7\""),
            (lambda: c.get_model_metadata("cancer", "7"), "404", "no version \"7\""),
        ]:
            try:
                ask()
            except InferenceServerException as error:
                equal(error.status(), status, f"status of {error.message()}")
                assert text in error.message(), error.message()
            else:
                raise AssertionError(f"no error: {text}")
        c.close()

    def nan_is_exact_in_binary_and_a_clear_error_in_json(self):
        values = np.array([1.0, 0.0, -1.0, math.inf, math.nan], dtype=np.float32)
        with np.errstate(all="ignore"):
            want = np.log(values)
        c = self.http()
        x = th.InferInput("x", [5], "FP32")
        x.set_data_from_numpy(values, binary_data=True)
        got = c.infer("logarithm", [x], outputs=[th.InferRequestedOutput("y", binary_data=True)]).as_numpy("y")
        equal([math.isnan(v) for v in got], [math.isnan(v) for v in want], "where NaN is")
        equal([v for v in got if math.isinf(v)], [-math.inf, math.inf], "infinities")
        try:
            c.infer("logarithm", [x], outputs=[th.InferRequestedOutput("y", binary_data=False)])
            raise AssertionError("JSON carried a NaN")
        except InferenceServerException as error:
            assert "NaN or infinite" in error.message(), error.message()
        c.close()

    def http_statistics_count(self):
        c = self.http()
        x = th.InferInput("features", [4, 30], "FP32")
        x.set_data_from_numpy(ROWS[:4])
        def of(document):
            found = {s["version"]: s for s in document["model_stats"] if s["name"] == "cancer"}
            return found["1"]["inference_count"], found["1"]["inference_stats"]["success"]["count"]
        before = of(c.get_inference_statistics("cancer"))
        for _ in range(3):
            c.infer("cancer", [x])
        after = of(c.get_inference_statistics())
        # As Triton counts: without batching each request is one inference, whatever its rows.
        equal((after[0] - before[0], after[1] - before[1]), (3, 3), "inferences and requests since")
        equal([s["version"] for s in c.get_inference_statistics("cancer", "3")["model_stats"]], ["3"], "versions")
        c.close()

    # === tritonclient, gRPC ===

    def grpc_is_described(self):
        c = self.grpc()
        assert c.is_server_live() and c.is_server_ready() and c.is_model_ready("cancer", "3")
        equal(c.get_server_metadata().name, "switchback", "server")
        metadata = c.get_model_metadata("cancer")
        equal((list(metadata.versions), list(metadata.inputs[0].shape)), (["1", "3"], [-1, 30]), "metadata")
        about = c.get_model_config("cancer").config
        equal((about.backend, about.input[0].data_type, about.instance_group[0].kind), ("onnxruntime", 11, 2), "config")
        index = {(m.name, m.version): m.state for m in c.get_model_repository_index().models}
        equal(index[("cancer", "1")], "READY", "state in the index")
        assert len(c.get_inference_statistics().model_stats) >= 5
        equal([s.version for s in c.get_inference_statistics("cancer", "3").model_stats], ["3"], "versions")
        c.close()

    def grpc_input(self, rows=ROWS):
        x = tg.InferInput("features", list(rows.shape), "FP32")
        x.set_data_from_numpy(rows)
        return [x]

    def grpc_infer(self):
        c = self.grpc()
        for compression in (None, "gzip", "deflate"):
            for number in ("", "1", "3"):
                result = c.infer("cancer", self.grpc_input(), model_version=number, request_id="g",
                                 compression_algorithm=compression)
                self.check(result, int(number or 1))
                equal((result.get_response().id, result.get_response().model_version), ("g", number or "1"), "id, version")
        only = c.infer("cancer", self.grpc_input(), outputs=[tg.InferRequestedOutput("label")])
        equal([o.name for o in only.get_response().outputs], ["label"], "outputs")
        c.close()

    def grpc_typed_contents(self):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(self.proxy.main))
        request = service_pb2.ModelInferRequest(model_name="pair", id="t")
        for name, datatype, shape in (("a", "FP32", [1, 2]), ("b", "FP32", [1, 2]), ("k", "INT64", [1])):
            tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
            if datatype == "FP32":
                tensor.contents.fp32_contents.extend([1.5, 2.5])
            else:
                tensor.contents.int64_contents.append(3)
        answer = stub.ModelInfer(request)
        equal(list(answer.raw_output_contents), [], "raw contents in the answer to a typed request")
        equal([list(o.contents.fp32_contents) for o in answer.outputs], [[3.0, 5.0], [9.0, 15.0]], "typed contents")

    def grpc_every_type(self):
        c = self.grpc()
        inputs, arrays = every_type(tg)
        result = c.infer("identity", inputs)
        for name, want in arrays.items():
            same(result.as_numpy(name.replace("in_", "out_")), want, name)
        c.close()

    def grpc_async(self):
        c, done = self.grpc(), queue.Queue()
        for _ in range(16):
            c.async_infer("cancer", self.grpc_input(), lambda result, error: done.put((result, error)))
        for _ in range(16):
            result, error = done.get(timeout=30)
            equal(error, None, "error")
            self.check(result)
        c.close()

    def grpc_stream(self):
        c, done = self.grpc(), queue.Queue()
        c.start_stream(lambda result, error: done.put((result, error)))
        for i in range(40):
            rows = ROWS[i % 50:i % 50 + 5]
            c.async_stream_infer("cancer", self.grpc_input(rows), request_id=str(i))
        for i in range(40):
            result, error = done.get(timeout=30)
            equal(error, None, "error")
            equal(result.get_response().id, str(i), "the order of answers")
            same(result.as_numpy("label"), self.want[1]["label"][i % 50:i % 50 + 5], "label")
        wrong = tg.InferInput("features", [1, 3], "FP32")
        wrong.set_data_from_numpy(ROWS[:1, :3])
        c.async_stream_infer("cancer", [wrong])
        _, error = done.get(timeout=30)
        assert "expected shape [-1, 30]" in str(error), error
        c.async_stream_infer("cancer", self.grpc_input(), request_id="after")
        result, error = done.get(timeout=30)
        equal((result.get_response().id, error), ("after", None), "the stream goes on after an error")
        c.stop_stream()
        c.close()

    def grpc_errors_have_their_status(self):
        c = self.grpc()
        wrong = tg.InferInput("features", [1, 3], "FP32")
        wrong.set_data_from_numpy(ROWS[:1, :3])
        for ask, status, text in [
            (lambda: c.infer("cancer", [wrong]), "StatusCode.INVALID_ARGUMENT", "expected shape [-1, 30]"),
            (lambda: c.infer("nobody", [wrong]), "StatusCode.NOT_FOUND", ""),
            (lambda: c.infer("cancer", [wrong], model_version="7"), "StatusCode.NOT_FOUND", "no version \"7\""),
            (lambda: c.get_model_metadata("pair", "7"), "StatusCode.NOT_FOUND", "no version \"7\""),
            (lambda: c.get_trace_settings(), "StatusCode.UNIMPLEMENTED", ""),
        ]:
            try:
                ask()
            except InferenceServerException as error:
                equal(error.status(), status, f"status of {error.message()}")
                assert text in error.message(), error.message()
            else:
                raise AssertionError(f"no error: {status} {text}")
        channel = grpc.insecure_channel(self.proxy.main)
        for path in ("/inference.GRPCInferenceService/Nothing", "/some.Other/Thing"):
            try:
                channel.unary_unary(path)(b"")
                raise AssertionError(f"{path} was answered")
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND), error
        large = [("grpc.max_send_message_length", -1)]
        stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(self.proxy.main, large))
        request = service_pb2.ModelInferRequest(model_name="pair", raw_input_contents=[bytes(65 << 20)])
        try:
            stub.ModelInfer(request)
            raise AssertionError("65 MiB were taken")
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, "status of a message beyond the limit")

    # === health and reflection ===

    def grpc_health(self):
        stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(self.proxy.main))
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", "inference.GRPCInferenceService", "cancer"):
            equal(stub.Check(health_pb2.HealthCheckRequest(service=service)).status, serving, service)
        try:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
            raise AssertionError("an unknown service has a status")
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.NOT_FOUND, "status of an unknown service")
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="cancer"))
        equal(next(watch).status, serving, "first word to a watcher")
        watch.cancel()
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"))
        equal(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, "an unknown service, watched")
        watch.cancel()

    def grpc_reflection(self):
        database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(self.proxy.main))
        services = set(database.get_services())
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services, services
        pool = DescriptorPool(database)
        ours = pool.FindServiceByName("inference.GRPCInferenceService")
        theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
        for method in ours.methods:
            compare_messages(method.input_type, theirs.methods_by_name[method.name].input_type, set())
            compare_messages(method.output_type, theirs.methods_by_name[method.name].output_type, set())
        left = set(theirs.methods_by_name) - {m.name for m in ours.methods}
        assert all("SharedMemory" in name or name in ("TraceSetting", "LogSettings") for name in left), left

    # === other clients ===

    def kserve_rest_and_grpc(self):
        python = os.path.join(CACHE, "venv-clients", "bin", "python")
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "oip_kserve.py")
        ran = subprocess.run([python, script, self.proxy.main], capture_output=True, text=True, timeout=100)
        equal(ran.returncode, 0, ran.stderr[-1500:])
        answers = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        equal(len(answers), 3, "answers")
        for answer in answers:
            equal(answer["label"], self.want[1]["label"].tolist(), f"labels over {answer['how']}")
            assert np.array_equal(np.array(answer["probabilities"], dtype=np.float32).reshape(-1, 2),
                                  self.want[1]["probabilities"]), answer["how"]

    def models_are_loaded_and_unloaded(self):
        """By tritonclient, over both protocols, with a version that comes meanwhile and one that is no good."""
        with tempfile.TemporaryDirectory() as root:
            home = os.path.join(root, "cancer")
            shutil.copytree(os.path.join(DEMO, "cancer", "1"), os.path.join(home, "1"))
            about = config({})
            about["onnxRuntime"]["modelControl"] = "explicit"
            about["models"] = [{"name": "cancer", "repository": {"path": root, "keepPrevious": "0s"}}]
            proxy = Switchback(about)
            try:
                equal(all_ready(proxy), {}, "models that are not ready")
                number = 1
                for kind, client in ((th, th.InferenceServerClient(proxy.main)), (tg, tg.InferenceServerClient(proxy.main))):
                    def versions():
                        found = client.get_model_repository_index()
                        if kind is th:
                            return {m["version"]: (m["state"], m["reason"]) for m in found if m["state"] != "UNLOADING"}
                        return {m.version: (m.state, m.reason) for m in found.models if m.state != "UNLOADING"}

                    client.unload_model("cancer")
                    assert not client.is_model_ready("cancer")
                    equal(versions(), {str(number): ("UNAVAILABLE", "unloaded")}, "index after unloading")
                    client.load_model("cancer")
                    assert client.is_model_ready("cancer")
                    number += 1
                    shutil.copytree(os.path.join(DEMO, "cancer", "3"), os.path.join(home, str(number)))
                    client.load_model("cancer")
                    equal(versions(), {str(number): ("READY", "")}, "index after another version came")
                    broken = os.path.join(home, str(number + 1))
                    os.makedirs(broken)
                    with open(os.path.join(broken, "model.onnx"), "wb") as out:
                        out.write(b"no model")
                    try:
                        client.load_model("cancer")
                        raise AssertionError("what is no model was loaded")
                    except InferenceServerException as error:
                        assert "no whole ONNX file" in error.message(), error.message()
                    equal(versions()[str(number)], ("READY", ""), "the version before")
                    shutil.rmtree(broken)
                    x = kind.InferInput("features", list(ROWS.shape), "FP32")
                    x.set_data_from_numpy(ROWS)
                    result = client.infer("cancer", [x])
                    self.check(result, 3)
                    client.close()
            finally:
                proxy.stop()

    def mlserver_infer(self):
        # The script's first line names where its environment was made, which may have moved since.
        command = [os.path.join(CACHE, "venv-mlserver", "bin", name) for name in ("python", "mlserver")]
        if not all(os.access(part, os.X_OK) for part in command):
            raise Skip("no mlserver command")
        with tempfile.TemporaryDirectory() as folder:
            asked, answered = os.path.join(folder, "in.jsonl"), os.path.join(folder, "out.jsonl")
            with open(asked, "w") as out:
                for row in ROWS:
                    tensor = {"name": "features", "shape": [1, 30], "datatype": "FP32", "data": row.tolist()}
                    out.write(json.dumps({"inputs": [tensor]}) + "\n")
            ran = subprocess.run([*command, "infer", "-u", self.proxy.main, "-m", "cancer", "-i", asked, "-o", answered],
                                 capture_output=True, text=True, timeout=110)
            equal(ran.returncode, 0, ran.stderr[-1500:])
            with open(answered) as lines:
                answers = [json.loads(line) for line in lines]
        equal(len(answers), len(ROWS), "answers")
        for answer in answers:
            index = answer["parameters"]["batch_index"] if "batch_index" in answer.get("parameters", {}) else None
            label = next(o for o in answer["outputs"] if o["name"] == "label")["data"]
            if index is not None:
                equal(label, [self.want[1]["label"][index]], f"label of row {index}")

    def perf_analyzer(self):
        command = shutil.which("perf_analyzer") or shutil.which(os.path.join(CACHE, "perf-analyzer", "perf_analyzer"))
        if not command:
            raise Skip("no perf_analyzer here: its wheel needs glibc 2.38, or Debian's apt to unpack one beside it")
        for protocol in ("http", "grpc"):
            ran = subprocess.run(
                [command, "-m", "cancer", "-x", "1", "-u", self.proxy.main, "-i", protocol, "--shape", "features:4,30",
                 "--measurement-mode", "count_windows", "--measurement-request-count", "50", "-s", "90"],
                capture_output=True, text=True, timeout=100)
            equal(ran.returncode, 0, ran.stdout[-1000:] + ran.stderr[-1000:])


def compare_messages(ours, theirs, seen):
    """Every field of ours is one of theirs, under the same name, number and type."""
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        equal((field.number, field.type), (other.number, other.type), f"{ours.full_name}.{field.name}")
        if field.message_type:
            compare_messages(field.message_type, other.message_type, seen)


def every_type(client, binary=None):
    """Inputs of the identity model in each type that numpy has, BF16 as tritonclient writes it."""
    inputs, arrays = [], {}
    for datatype, kind in TYPES.items():
        if datatype == "BYTES":
            values = np.array([b"a", "\u00e4\"\n".encode(), b""], dtype=np.object_)
            arrays["in_bytes"] = np.array(["a", "\u00e4\"\n", ""], dtype=np.object_)
        elif datatype == "BOOL":
            values = arrays["in_bool"] = np.array([True, False, True])
        elif datatype.startswith("FP"):
            info = np.finfo(kind)
            values = arrays[f"in_{datatype.lower()}"] = np.array([info.max, -0.0, info.tiny, 0.1], dtype=kind)
        else:
            info = np.iinfo(kind)
            values = arrays[f"in_{datatype.lower()}"] = np.array([info.min, info.max, 1], dtype=kind)
        x = client.InferInput(f"in_{datatype.lower()}", list(values.shape), datatype)
        # tritonclient has no JSON form of the halves.
        x.set_data_from_numpy(values, **({} if binary is None else {"binary_data": binary or datatype == "FP16"}))
        inputs.append(x)
    brain = np.array([1.5, -2.0], dtype=ml_dtypes.bfloat16)
    x = client.InferInput("in_bf16", [2], "BF16")
    x.set_data_from_numpy(brain)
    arrays["in_bf16"] = brain
    inputs.append(x)
    return inputs, arrays


# === the cases of the onnx package ===

def cases():
    """Every case of the onnx package that ONNX Runtime loads; and why the others are left out."""
    from onnx.backend.test.case.node import collect_testcases
    from onnx.backend.test.loader import load_model_tests
    warnings.simplefilter("ignore")
    with np.errstate(all="ignore"):
        found = [(case.name, case.model, case.data_sets[0][0]) for case in collect_testcases(None)]
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for case in load_model_tests(kind=kind):
            if case.model_dir is None:
                continue
            model = onnx.load(os.path.join(case.model_dir, "model.onnx"))
            places = os.path.join(case.model_dir, "test_data_set_0")
            files = sorted(glob.glob(os.path.join(places, "input_*.pb")), key=lambda p: int(p[p.rindex("_") + 1:-3]))
            inputs = []
            for value, file in zip(model.graph.input, files):
                if value.type.WhichOneof("value") == "tensor_type":
                    tensor = onnx.TensorProto()
                    with open(file, "rb") as f:
                        tensor.ParseFromString(f.read())
                    inputs.append(tensor)
                else:
                    inputs.append(None)
            found.append((f"{kind}.{case.name}", model, inputs))
    why_not, good = Counter(), []
    for name, model, inputs in found:
        try:
            good.append(Case(name, model, inputs))
        except LeftOut as reason:
            why_not[str(reason)] += 1
    return good, why_not


RANDOM = {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
          "RandomUniformLike"}


class LeftOut(Exception):
    pass


def carried(kind):
    """The protocol's type; None where it has none. ONNX Runtime takes a tensor for an optional one."""
    return OF_ORT.get(kind[len("optional("):-1] if kind.startswith("optional(") else kind)


def is_nan(array):
    return np.isnan(array.astype(np.float32)) if array.dtype.kind in "fV" else np.zeros(array.shape, bool)


def answers(session, outputs, inputs):
    """ONNX Runtime's own. Its Python has no form of bfloat16 but the bits, and values need no strings."""
    brain = [v.name for v in [*session.get_inputs(), *session.get_outputs()] if v.type == "tensor(bfloat16)"]
    if not brain:
        return session.run(outputs, inputs)
    feeds = {}
    for name, array in inputs.items():
        if name in brain:
            bits = np.ascontiguousarray(array.view(np.uint16)).reshape(array.shape)
            feeds[name] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)
        else:
            feeds[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
    arrays = []
    for name, value in zip(outputs, session.run_with_ort_values(outputs, feeds)):
        if name in brain:
            shape = tuple(value.shape())
            numbers = (ctypes.c_uint16 * math.prod(shape)).from_address(value.data_ptr())
            arrays.append(np.frombuffer(numbers, np.uint16).copy().view(ml_dtypes.bfloat16).reshape(shape))
        else:
            arrays.append(value.numpy())
    return arrays


class Case:
    """One model with one set of inputs."""

    def __init__(self, name, model, values):
        self.name = name
        self.model = model.SerializeToString()
        # Some names are longer than a model's may be.
        self.served = self.name[:40] + f".{zlib.crc32(self.name.encode()):08x}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        except Exception:
            raise LeftOut("ONNX Runtime does not load it") from None
        asked, given = session.get_inputs(), session.get_outputs()
        # What is to be refused: an input of another type, or nothing but such outputs.
        odd = [v.name for v in asked if carried(v.type) is None]
        if not odd and all(v.type not in OF_ORT for v in given):
            odd = [v.name for v in given]
        self.refused = odd
        if odd:
            return
        self.types = {v.name: carried(v.type) for v in asked}
        self.outputs = [v.name for v in given if v.type in OF_ORT]
        self.inputs = {}
        for value, array in zip(asked, values):
            if isinstance(array, onnx.TensorProto):
                array = onnx.numpy_helper.to_array(array)
            if array is None:
                raise LeftOut("no value for an optional input")
            array = np.asarray(array)
            if array.dtype.kind in "SU" or array.dtype == np.object_:
                array = array.astype(np.object_)
            self.inputs[value.name] = array
        if len(self.inputs) != len(asked):
            raise LeftOut("it has more inputs than values")
        self.fails, self.random = None, any(node.op_type in RANDOM for node in model.graph.node)
        try:
            runs = [answers(session, self.outputs, self.inputs) for _ in range(3)]
        except Exception as error:
            self.fails = str(error)
            return
        for one in runs[1:]:
            self.random |= any(a.shape != b.shape or not ((a == b) | is_nan(a)).all() for a, b in zip(runs[0], one))
        self.want = dict(zip(self.outputs, runs[0]))

    def finite(self):
        arrays = [*self.inputs.values(), *([] if self.fails else self.want.values())]
        return all(np.isfinite(a.astype(np.float64)).all() for a in arrays if a.dtype.kind in "fV")

    def triton_inputs(self, client, binary=None):
        inputs = []
        for name, array in self.inputs.items():
            x = client.InferInput(name, list(array.shape), self.types[name])
            if array.dtype == np.object_:
                array = np.array([str(v).encode() for v in array.ravel()], dtype=np.object_).reshape(array.shape)
            x.set_data_from_numpy(array, **({} if binary is None else {"binary_data": binary}))
            inputs.append(x)
        return inputs

    def over_json(self, proxy):
        """By hand: tritonclient has no JSON form of FP16."""
        inputs = []
        for name, array in self.inputs.items():
            flat = array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
            data = [str(v) for v in array.ravel()] if array.dtype == np.object_ else flat.ravel().tolist()
            inputs.append({"name": name, "datatype": self.types[name], "shape": list(array.shape), "data": data})
        code, answer = post(proxy, f"/v2/models/{self.served}/infer", json.dumps({"inputs": inputs}).encode())
        told = json.loads(answer)
        if not self.finite():
            assert code in (400, 500) and "NaN" in told["error"] and "binary" in told["error"], (code, told)
            return
        if self.fails:
            assert code in (400, 500) and told["error"], (code, told)
            return
        equal(code, 200, f"status ({answer[:300]!r})")
        for output in told["outputs"]:
            kind = ml_dtypes.bfloat16 if output["datatype"] == "BF16" else TYPES[output["datatype"]]
            self.compare(output["name"], np.array(output["data"], dtype=kind).reshape(output["shape"]))
        equal([o["name"] for o in told["outputs"]], self.outputs, "outputs")

    def over_binary(self, _proxy, client):
        self.check(th, client, True)

    def over_grpc(self, _proxy, client):
        self.check(tg, client, None)

    def check(self, kind, client, binary):
        try:
            result = client.infer(self.served, self.triton_inputs(kind, binary))
        except InferenceServerException as error:
            if not self.fails or not error.message():
                raise
            return
        assert not self.fails, f"ONNX Runtime fails: {self.fails}"
        for name in self.outputs:
            want, got = self.want[name], result.as_numpy(name)
            if want.size == 0 and (got is None or got.size == 0):
                got = np.zeros(want.shape, dtype=want.dtype)
            if want.dtype == ml_dtypes.bfloat16:
                # tritonclient widens them.
                got = got.astype(np.float32).astype(ml_dtypes.bfloat16)
            self.compare(name, got)

    def compare(self, name, got):
        want = self.want[name]
        if self.random:
            equal((got.dtype, tuple(got.shape)), (want.dtype, tuple(want.shape)), f"type and shape of {name}")
        elif want.dtype == ml_dtypes.bfloat16:
            equal(got.dtype, want.dtype, f"type of {name}")
            same(got.astype(np.float32), want.astype(np.float32), name)
        else:
            same(got, want, name)


def operator_cases():
    good, why_not = cases()
    print(f"     {len(good)} cases; left out: {dict(why_not)}", flush=True)
    failed, done, refused, wrong = [], 0, 0, 0
    for start in range(0, len(good), 200):
        part = good[start:start + 200]
        with tempfile.TemporaryDirectory() as root:
            for case in part:
                home = os.path.join(root, case.served, "1")
                os.makedirs(home)
                with open(os.path.join(home, "model.onnx"), "wb") as out:
                    out.write(case.model)
            proxy = Switchback(config({case.served: [version("only", root, case.served, 1)] for case in part}))
            try:
                broken = all_ready(proxy)
                http, rpc = th.InferenceServerClient(proxy.main), tg.InferenceServerClient(proxy.main)
                for case in part:
                    reason = broken.get(case.served, {}).get("reason")
                    if case.refused:
                        refused += 1
                        if not reason or "only tensors" not in reason or not any(repr(n)[1:-1] in reason for n in case.refused):
                            failed.append(f"{case.name} is not refused because of {case.refused}: {reason}")
                        continue
                    if reason:
                        failed.append(f"{case.name}: {reason}")
                        continue
                    wrong += bool(case.fails)
                    for how, ask in (("json", lambda: case.over_json(proxy)),
                                     ("binary", lambda: case.over_binary(proxy, http)),
                                     ("grpc", lambda: case.over_grpc(proxy, rpc))):
                        try:
                            ask()
                            done += 1
                        except Exception as error:
                            failed.append(f"{case.name} over {how}: {type(error).__name__} {str(error)[:400]}")
                http.close()
                rpc.close()
            finally:
                proxy.stop()
    for line in failed[:40]:
        print(f"     {line}")
    print(f"     {done} answers are ONNX Runtime's own ({3 * wrong} of them its errors), {refused} models refused", flush=True)
    equal(len(failed), 0, f"cases that differ ({', '.join(failed)[:500]})")


def main():
    checks = Checks("OIP clients")
    if not os.path.exists(LIBRARY):
        raise SystemExit(f"no ONNX Runtime at {LIBRARY}: run `make parts`")
    if "--cases" not in sys.argv:
        clients = Clients()
        for name in [n for n in vars(Clients) if not n.startswith("_")]:
            if name not in ("stop", "http", "grpc", "check", "grpc_input"):
                checks.run(name.replace("_", " "), getattr(clients, name))
        clients.stop()
    checks.run("operator cases of the onnx package", operator_cases, seconds=400)
    checks.finish()


if __name__ == "__main__":
    main()
