"""The servers that engine.py holds beside each other: how each is started, and what it costs."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".cache"
LIBRARY = os.environ.get("ORT_DYLIB_PATH", str(CACHE / "onnxruntime/libonnxruntime.so"))


def spawn(argv, core, **more):
    prepare = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=prepare,
                            start_new_session=True, **more)


def family(pid):
    """A process and those that it started."""
    found, at = [pid], 0
    while at < len(found):
        try:
            for task in pathlib.Path(f"/proc/{found[at]}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            pass
        at += 1
    return found


def cpu_ns(child):
    """What its threads have run."""
    total = 0
    for pid in family(child.pid):
        try:
            tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
            total += sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
        except OSError:
            pass
    return total


def memory_mib(child, field="Pss"):
    total = 0
    for pid in family(child.pid):
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return total / 1024


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def get(port, path, body=None, timeout=30):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.status, answer.read()


def wait_ready(port, path, child, seconds=60):
    started = time.monotonic()
    while child.poll() is None and time.monotonic() < started + seconds:
        try:
            if get(port, path, timeout=1)[0] == 200:
                return time.monotonic() - started
        except OSError:
            time.sleep(0.005)
    sys.exit(f"{child.args[0]} does not get ready")


class Server:
    def stop(self):
        for pid in reversed(family(self.child.pid)):
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        self.child.wait()


class Switchback(Server):
    def __init__(self, options, model, folder, core, extra="", control="poll"):
        self.port, self.admin = free_ports(2)
        config = folder / f"{self.port}.yaml"
        config.write_text(
            f"workers: 1\nlisteners: [{{name: main, address: 127.0.0.1:{self.port}}}]\n"
            f"admin: {{address: 127.0.0.1:{self.admin}}}\nonnxRuntime: {{modelControl: {control}, pollInterval: 200ms}}\n"
            f"models:\n  - name: m\n    repository: {{path: {model}, model: m{extra}}}\n"
        )
        self.child = spawn([options.bin, "serve", "--config", str(config)], core, env={**os.environ, "ORT_DYLIB_PATH": LIBRARY})
        self.start = wait_ready(self.admin, "/readyz", self.child)

    def infer_us(self):
        """ONNX Runtime's own part, so far: requests, and microseconds in all."""
        [one] = json.loads(get(self.port, "/v2/models/m/stats")[1])["model_stats"]
        spent = one["inference_stats"]["compute_infer"]
        return spent["count"], spent["ns"] / 1000


class Peer(Server):
    """A Python server in an environment of its own under .cache; None where it is missing."""

    venv, script = "", ""

    @classmethod
    def python(cls):
        python = CACHE / cls.venv / "bin/python"
        return python if os.access(python, os.X_OK) else None

    def argv(self, _folder, _model):
        return [self.python(), HERE / self.script, str(self.port)]

    def __init__(self, _options, model, folder, core):
        [self.port] = free_ports(1)
        env = {**os.environ, "MODEL": str(model / "m/1/model.onnx"), "PYTHONPATH": str(ROOT / "tests/real")}
        self.child = spawn([str(part) for part in self.argv(folder, model)], core, env=env, cwd=HERE)
        self.start = wait_ready(self.port, self.ready, self.child)


class FastApi(Peer):
    venv, ready = "venv-engine", "/v2/health/ready"

    def argv(self, _folder, _model):
        return [self.python(), "-m", "uvicorn", "peer_fastapi:app", "--port", self.port, "--log-level", "warning", "--no-access-log"]


class MlServer(Peer):
    """In one process, which is its quickest form; the runtime is the one that the tests use."""

    venv, ready = "venv-mlserver", "/v2/health/ready"

    def argv(self, folder, model):
        home = folder / f"mlserver-{self.port}"
        home.mkdir()
        http, grpc, metrics = self.port, *free_ports(2)
        settings = {"debug": False, "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0}
        (home / "settings.json").write_text(json.dumps(settings))
        model_settings = {"name": "m", "implementation": "onnx_model.OnnxModel", "parameters": {"uri": str(model / "m/1/model.onnx")}}
        (home / "model-settings.json").write_text(json.dumps(model_settings))
        return [self.python(), self.python().parent / "mlserver", "start", home]


class KServe(Peer):
    venv, script, ready = "venv-kserve", "peer_kserve.py", "/v2/health/ready"


class LitServe(Peer):
    venv, script, ready = "venv-litserve", "peer_litserve.py", "/health"


PEERS = {"FastAPI + onnxruntime": FastApi, "MLServer 1.7.1, in process": MlServer, "KServe 0.21.0": KServe, "LitServe 0.2.19": LitServe}
