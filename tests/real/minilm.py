"""all-MiniLM-L6-v2 as one ONNX file, made of its weights with the onnx package alone.

    python minilm.py model.safetensors model.onnx

Six layers of BERT, 384 wide; token ids in, the mean of the last layer's words, of length 1, out.
"""

import json
import math
import os
import struct
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

LAYERS, HEADS, WIDTH = 6, 12, 384


def weights(path):
    """The tensors of a safetensors file: a length, a JSON table, and then the bytes."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        table = json.loads(file.read(length))
        data = file.read()
    kinds = {"F32": np.float32, "I64": np.int64}
    found = {}
    for name, about in table.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            found[name] = np.frombuffer(data[begin:end], kinds[about["dtype"]]).reshape(about["shape"])
    return found


class Graph:
    """Nodes and constants as they are written down."""

    def __init__(self, tensors):
        self.tensors, self.nodes, self.constants = tensors, [], []

    def constant(self, name, values):
        if all(known.name != name for known in self.constants):
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, x, name, output):
        w = self.constant(f"{name}.w", self.tensors[f"{name}.weight"].T)
        b = self.constant(f"{name}.b", self.tensors[f"{name}.bias"])
        return self.add("Add", [self.add("MatMul", [x, w], f"{output}.product"), b], output)

    def norm(self, x, name, output):
        scale = self.constant(f"{name}.scale", self.tensors[f"{name}.weight"])
        shift = self.constant(f"{name}.shift", self.tensors[f"{name}.bias"])
        return self.add("LayerNormalization", [x, scale, shift], output, axis=-1, epsilon=1e-12)

    def embeddings(self):
        at = "embeddings."
        table = {n: self.constant(n, self.tensors[f"{at}{n}_embeddings.weight"]) for n in ("word", "token_type", "position")}
        words = self.add("Gather", [table["word"], "input_ids"], "words")
        types = self.add("Gather", [table["token_type"], "token_type_ids"], "types")
        length = self.add("Shape", ["input_ids"], "length", start=1, end=2)
        zero = self.constant("zero", np.array([0]))
        places = self.add("Slice", [table["position"], zero, length, zero], "places")
        both = self.add("Add", [self.add("Add", [words, types], "words_types"), places], "embedded")
        return self.norm(both, f"{at}LayerNorm", "embedded_norm")

    def heads(self, x, name, output, order):
        split = self.constant("split", np.array([0, 0, HEADS, WIDTH // HEADS]))
        y = self.add("Reshape", [self.linear(x, name, output), split], f"{output}.heads")
        return self.add("Transpose", [y], f"{output}.turned", perm=order)

    def layer(self, x, number, mask):
        at, o = f"encoder.layer.{number}.", f"layer{number}."
        q = self.heads(x, f"{at}attention.self.query", f"{o}q", [0, 2, 1, 3])
        k = self.heads(x, f"{at}attention.self.key", f"{o}k", [0, 2, 3, 1])
        v = self.heads(x, f"{at}attention.self.value", f"{o}v", [0, 2, 1, 3])
        scale = self.constant("scale", np.float32(1 / math.sqrt(WIDTH // HEADS)))
        scores = self.add("Mul", [self.add("MatMul", [q, k], f"{o}qk"), scale], f"{o}scores")
        shares = self.add("Softmax", [self.add("Add", [scores, mask], f"{o}masked")], f"{o}shares", axis=-1)
        seen = self.add("Transpose", [self.add("MatMul", [shares, v], f"{o}seen")], f"{o}turned", perm=[0, 2, 1, 3])
        joined = self.add("Reshape", [seen, self.constant("join", np.array([0, 0, WIDTH]))], f"{o}joined")
        told = self.linear(joined, f"{at}attention.output.dense", f"{o}told")
        x = self.norm(self.add("Add", [told, x], f"{o}attended"), f"{at}attention.output.LayerNorm", f"{o}middle")
        wide = self.add("Gelu", [self.linear(x, f"{at}intermediate.dense", f"{o}wide")], f"{o}gelu")
        narrow = self.linear(wide, f"{at}output.dense", f"{o}narrow")
        return self.norm(self.add("Add", [narrow, x], f"{o}sum"), f"{at}output.LayerNorm", f"{o}end")

    def model(self):
        words = self.add("Cast", ["attention_mask"], "is_word", to=TensorProto.FLOAT)
        spread = self.add("Unsqueeze", [words, self.constant("inner", np.array([1, 2]))], "spread")
        hidden = self.add("Sub", [self.constant("one", np.float32(1)), spread], "hidden")
        mask = self.add("Mul", [hidden, self.constant("far", np.float32(-10_000))], "mask")
        x = self.embeddings()
        for number in range(LAYERS):
            x = self.layer(x, number, mask)
        column = self.add("Unsqueeze", [words, self.constant("last", np.array([2]))], "column")
        one = self.constant("along", np.array([1]))
        total = self.add("ReduceSum", [self.add("Mul", [x, column], "kept"), one], "total", keepdims=0)
        count = self.add("ReduceSum", [column, one], "count", keepdims=0)
        mean = self.add("Div", [total, count], "mean")
        length = self.add("ReduceL2", [mean, self.constant("end", np.array([-1]))], "size", keepdims=1)
        self.add("Div", [mean, length], "sentence_embedding")
        tensor = helper.make_tensor_value_info
        inputs = [tensor(n, TensorProto.INT64, ["batch", "words"]) for n in ("input_ids", "attention_mask", "token_type_ids")]
        outputs = [tensor("sentence_embedding", TensorProto.FLOAT, ["batch", WIDTH])]
        graph = helper.make_graph(self.nodes, "minilm", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make(source, target):
    """Writes the model, whole or not at all."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = f"{target}.part"
    with open(part, "wb") as out:
        out.write(Graph(weights(source)).model().SerializeToString(deterministic=True))
    os.replace(part, target)


if __name__ == "__main__":
    make(*sys.argv[1:])
