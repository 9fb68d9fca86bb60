"""Three small scikit-learn models of the breast cancer data, and an MLServer that serves them.

Run with the MLServer environment's Python, `mlserver_model.py train FOLDER` writes the
models; the tests import the rest from the clients' environment. Every model answers with
other probabilities, so an answer tells which one gave it.
"""

import json
import os
import sys
import urllib.request

from harness import CACHE, Process, free_port, get, wait_until

PYTHON = os.path.join(CACHE, "venv-mlserver", "bin", "python")
MODELS = os.path.join(CACHE, "mlserver-models")
NAMES = ("cancer-v1", "cancer-v2", "cancer-v3")
# The version that each model states about itself; the shadow's is asked for by number.
VERSIONS = {"cancer-v1": "1", "cancer-v2": "2", "cancer-v3": "3"}


def train(folder):
    """Trains and writes the models (deterministic: the seeds are fixed)."""
    import joblib
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_breast_cancer(return_X_y=True)
    models = {
        "cancer-v1": make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=500)),
        "cancer-v2": make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500)),
        "cancer-v3": DecisionTreeClassifier(max_depth=3, random_state=7),
    }
    for name, model in models.items():
        model.fit(x, y)
        home = os.path.join(folder, name)
        os.makedirs(home, exist_ok=True)
        joblib.dump(model, os.path.join(home, "model.joblib"))
        with open(os.path.join(home, "model-settings.json"), "w") as f:
            json.dump({
                "name": name,
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./model.joblib", "version": VERSIONS[name]},
            }, f, indent=1)
    with open(os.path.join(folder, "rows.json"), "w") as f:
        json.dump(x[:64].tolist(), f)


class MLServer:
    """MLServer on loopback, without worker processes; counts are read from its own metrics.

    `folder` has one folder with a model-settings.json for each of the models `names`."""

    def __init__(self, folder=MODELS, names=NAMES):
        self.folder, self.names = folder, names
        self.http_port, self.grpc_port, self.metrics_port = free_port(), free_port(), free_port()
        self.process = None

    @property
    def http(self):
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self):
        return f"127.0.0.1:{self.grpc_port}"

    def start(self):
        """Starts it and waits until every model is ready."""
        self.process = Process(
            [PYTHON, os.path.join(os.path.dirname(PYTHON), "mlserver"), "start", self.folder],
            "mlserver",
            env={
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_HTTP_PORT": str(self.http_port),
                "MLSERVER_GRPC_PORT": str(self.grpc_port),
                "MLSERVER_METRICS_PORT": str(self.metrics_port),
                "MLSERVER_PARALLEL_WORKERS": "0",
                "MLSERVER_DEBUG": "false",
                # Where onnx_model.py is.
                "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)),
            },
            cwd=self.folder,
        )
        wait_until("MLServer to load its models", self._ready, 90)
        return self

    def _ready(self):
        self.process.must_run()
        try:
            return all(get(f"{self.http}/v2/models/{n}/ready", timeout=2)[0] == 200 for n in self.names)
        except OSError:
            return False

    def served(self, name):
        """How many inferences of this model the server says it answered."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).read().decode()
        total = 0.0
        for line in text.splitlines():
            if line.startswith("model_infer_request_success_total{") and f'model="{name}"' in line:
                total += float(line.rsplit(" ", 1)[1])
        return int(total)

    def stop(self):
        """Kills it: what a crashed model server looks like."""
        if self.process:
            self.process.stop(kill=True)
            self.process = None


if __name__ == "__main__":
    if sys.argv[1:2] != ["train"] or len(sys.argv) != 3:
        sys.exit("usage: mlserver_model.py train FOLDER")
    train(sys.argv[2])
