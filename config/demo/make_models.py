"""Makes the demonstration models and rows that this folder ships.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install scikit-learn==1.7.2 onnx==1.19.1
    /tmp/venv/bin/python config/demo/make_models.py

The data are scikit-learn's own breast cancer (569 rows, 30 columns) and digits sets. The graphs are
written by hand with onnx.helper, so their bytes depend on nothing but the weights, and weights are
rounded to six digits, so that another BLAS gives the same files.

models/cancer/1   good: columns are normalised inside the graph (accuracy 0.959 on rows.jsonl)
models/cancer/2   broken: expects "mean radius" already normalised. Requests are raw, so its answers
                  are valid, confident and wrong (accuracy 0.602). Nothing but the answers shows it
models/cancer/3   good again: retrained with another regularisation, an equivalent of 1
models/cancer/4   slow: the weights of 1, and some ten milliseconds of useless work per request
models/digits/1   a multilayer perceptron on 8x8 pixels 0..16 (accuracy 0.97)
rows.jsonl        the 171 rows that training did not see: {"label": 0|1, "request": OIP v2 body}
                  (0 = malignant, 1 = benign, as in the data set)
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent


def rounded(array):
    """`array` as float32 with six significant digits."""
    return np.array([float(f"{x:.6g}") for x in np.ravel(array)], np.float32).reshape(np.shape(array))


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def save(folder, nodes, initializers, columns, classes, accuracy):
    """One graph: features [batch, columns] -> label [batch], probabilities [batch, classes]."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes
        + [
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=-1, keepdims=0),
        ],
        folder.replace("/", "_"),
        [value("features", TensorProto.FLOAT, ["batch", columns])],
        [
            value("label", TensorProto.INT64, ["batch"]),
            value("probabilities", TensorProto.FLOAT, ["batch", classes]),
        ],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="switchback-demo"
    )
    helper.set_model_props(model, {"accuracy": f"{accuracy:.3f}"})
    onnx.checker.check_model(model, full_check=True)
    path = HERE / "models" / folder / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{path.relative_to(HERE)}  {path.stat().st_size} bytes  accuracy {accuracy:.3f}")


def linear(mean, scale, classifier):
    """Normalise, then a logistic regression written as two scores."""
    weights = classifier.coef_[0] / 2
    bias = classifier.intercept_[0] / 2
    initializers = [
        constant("mean", rounded(mean)),
        constant("inverse_scale", rounded(1 / scale)),
        constant("weights", rounded(np.stack([-weights, weights], 1))),
        constant("bias", rounded([-bias, bias])),
    ]
    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "inverse_scale"], ["normalised"]),
        helper.make_node("Gemm", ["normalised", "weights", "bias"], ["scores"]),
    ]
    return nodes, initializers


def slowed(nodes, initializers, turns, width):
    """The same answers after `turns` matrix products, whose sum counts times zero."""
    value = helper.make_tensor_value_info
    square = [width, width]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "eye"], ["after"]),
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
        ],
        "turn",
        [
            value("turn", TensorProto.INT64, []),
            value("go_on", TensorProto.BOOL, []),
            value("before", TensorProto.FLOAT, square),
        ],
        [value("go_on_out", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, square)],
    )
    nodes = [helper.make_node(n.op_type, list(n.input), ["real" if o == "scores" else o for o in n.output]) for n in nodes]
    nodes += [
        helper.make_node("ConstantOfShape", ["square"], ["ones"], value=constant("", np.ones(1, np.float32))),
        helper.make_node("EyeLike", ["ones"], ["eye"]),
        helper.make_node("Loop", ["turns", "yes", "ones"], ["burnt"], body=body),
        helper.make_node("ReduceSum", ["burnt", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["real", "nothing"], ["scores"]),
    ]
    initializers = initializers + [
        constant("square", np.array(square)),
        constant("turns", np.array(turns)),
        constant("yes", np.array(True)),
        constant("axes", np.array([0, 1])),
        constant("zero", np.float32(0)),
    ]
    return nodes, initializers


def cancer():
    data = load_breast_cancer()
    train, test, train_label, test_label = train_test_split(
        data.data, data.target, test_size=0.3, random_state=0, stratify=data.target
    )
    scaler = StandardScaler().fit(train)

    def fit(c):
        return LogisticRegression(C=c, max_iter=5000).fit(scaler.transform(train), train_label)

    def accuracy(classifier, mean, scale):
        return classifier.score((test - mean) / scale, test_label)

    good, again = fit(1.0), fit(0.3)
    mean, scale = scaler.mean_, scaler.scale_
    column = list(data.feature_names).index("mean radius")
    broken_mean, broken_scale = mean.copy(), scale.copy()
    broken_mean[column], broken_scale[column] = 0, 1

    save("cancer/1", *linear(mean, scale, good), 30, 2, accuracy(good, mean, scale))
    save("cancer/2", *linear(broken_mean, broken_scale, good), 30, 2, accuracy(good, broken_mean, broken_scale))
    save("cancer/3", *linear(mean, scale, again), 30, 2, accuracy(again, mean, scale))
    save("cancer/4", *slowed(*linear(mean, scale, good), 24, 256), 30, 2, accuracy(good, mean, scale))

    with open(HERE / "rows.jsonl", "w") as out:
        for row, label in zip(test, test_label):
            values = [float(f"{x:.6g}") for x in row]
            tensor = {"name": "features", "datatype": "FP32", "shape": [1, 30], "data": values}
            out.write(json.dumps({"label": int(label), "request": {"inputs": [tensor]}}, separators=(",", ":")) + "\n")


def digits():
    data = load_digits()
    train, test, train_label, test_label = train_test_split(data.data, data.target, test_size=0.25, random_state=0)
    classifier = MLPClassifier((64,), random_state=0, max_iter=400).fit(train / 16, train_label)
    first, second = classifier.coefs_
    initializers = [
        constant("weights0", rounded(first / 16)),  # pixels are 0..16: the division is folded in
        constant("bias0", rounded(classifier.intercepts_[0])),
        constant("weights1", rounded(second)),
        constant("bias1", rounded(classifier.intercepts_[1])),
    ]
    nodes = [
        helper.make_node("Gemm", ["features", "weights0", "bias0"], ["sum0"]),
        helper.make_node("Relu", ["sum0"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "weights1", "bias1"], ["scores"]),
    ]
    save("digits/1", nodes, initializers, 64, 10, classifier.score(test / 16, test_label))


if __name__ == "__main__":
    cancer()
    digits()
