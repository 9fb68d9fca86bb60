#!/usr/bin/env python3
"""A model in process beside FastAPI with onnxruntime, and beside the bare model; batching; swaps.

    python engine.py --bin ../../target/release/switchback --rounds 5
    python engine.py --quick                      (does it work here?)

Every round runs every server once, in rotated order; ratios are those of the same round: median,
smallest and largest. CPU is what /proc says that the server's threads ran, per answered request; the
load generator is this script, on a core of its own, so throughput says nothing here. Needs numpy,
onnx and onnxruntime; FastAPI is left out, by name, where it is missing. Result: Markdown.
"""

import argparse
import json
import os
import pathlib
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIBRARY = os.environ.get("ORT_DYLIB_PATH", str(ROOT / ".cache/onnxruntime/libonnxruntime.so"))


def mlp(path):
    """784 -> 1024 -> 1024 -> 10 with weights from a fixed seed."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    nodes, weights, at = [], [], "x"
    widths = [784, 1024, 1024, 10]
    for layer, (rows, columns) in enumerate(zip(widths, widths[1:])):
        w = (rng.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)
        weights += [numpy_helper.from_array(w, f"w{layer}"), numpy_helper.from_array(np.zeros(columns, np.float32), f"b{layer}")]
        nodes += [helper.make_node("Gemm", [at, f"w{layer}", f"b{layer}"], [f"h{layer}"]), helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"])]
        at = f"r{layer}"
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "mlp", [tensor("x", TensorProto.FLOAT, ["batch", 784])], [tensor(at, TensorProto.FLOAT, ["batch", 10])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def body_of(name, width):
    data = [((7 * n) % 17) / 4 for n in range(width)]
    return json.dumps({"inputs": [{"name": name, "datatype": "FP32", "shape": [1, width], "data": data}]}).encode()


# === processes ===


def spawn(argv, core, **more):
    prepare = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=prepare, **more)


def cpu_ns(child):
    tasks = pathlib.Path(f"/proc/{child.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def pss_mib(child):
    lines = pathlib.Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_ready(port, path, child):
    started = time.monotonic()
    while child.poll() is None and time.monotonic() < started + 30:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
                if answer.status == 200:
                    return time.monotonic() - started
        except OSError:
            time.sleep(0.01)
    sys.exit(f"{child.args[0]} does not get ready")


class Switchback:
    def __init__(self, options, model, folder, core, extra=""):
        self.port, admin = free_ports(2)
        config = folder / f"{self.port}.yaml"
        config.write_text(
            f"workers: 1\nlisteners: [{{name: main, address: 127.0.0.1:{self.port}}}]\n"
            f"admin: {{address: 127.0.0.1:{admin}}}\nonnxRuntime: {{pollInterval: 200ms}}\nmodels:\n"
            f"  - name: m\n    repository: {{path: {model}, model: m{extra}}}\n"
        )
        self.child = spawn([options.bin, "serve", "--config", str(config)], core, env={**os.environ, "ORT_DYLIB_PATH": LIBRARY})
        self.start = wait_ready(admin, "/readyz", self.child)


class FastApi:
    def __init__(self, _options, model, _folder, core):
        [self.port] = free_ports(1)
        argv = [sys.executable, "-m", "uvicorn", "peer_fastapi:app", "--port", str(self.port), "--log-level", "warning", "--no-access-log"]
        env = {**os.environ, "MODEL": str(model / "m/1/model.onnx")}
        self.child = spawn(argv, core, env=env, cwd=HERE)
        self.start = wait_ready(self.port, "/v2/health/ready", self.child)


# === load ===


def load(port, body, clients, seconds, meanwhile=None):
    """A closed loop on `clients` connections: durations in seconds, and how many answers were not 200."""
    request = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    chosen = selectors.DefaultSelector()
    for _ in range(clients):
        s = socket.create_connection(("127.0.0.1", port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        state = {"socket": s, "got": b"", "sent": time.perf_counter()}
        s.sendall(request)
        chosen.register(s, selectors.EVENT_READ, state)
    took, bad, end = [], 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _ in chosen.select(timeout=0.2):
            state = key.data
            state["got"] += state["socket"].recv(65536)
            head, found, rest = state["got"].partition(b"\r\n\r\n")
            if not found:
                continue
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            if len(rest) < length:
                continue
            now = time.perf_counter()
            took.append(now - state["sent"])
            bad += not head.startswith(b"HTTP/1.1 200")
            state["got"], state["sent"] = b"", now
            state["socket"].sendall(request)
        if meanwhile:
            meanwhile()
    for key in list(chosen.get_map().values()):
        key.data["socket"].close()
    return took, bad


def measure(server, body, clients, seconds):
    load(server.port, body, clients, seconds / 4)
    before = cpu_ns(server.child)
    took, bad = load(server.port, body, clients, seconds)
    if bad:
        sys.exit(f"{type(server).__name__}: {bad} of {len(took)} answers were wrong")
    return (cpu_ns(server.child) - before) / len(took) / 1000


def bare(model, name, width, seconds):
    """CPU of one run by onnxruntime itself, in µs: the floor."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model / "m/1/model.onnx"), options, providers=["CPUExecutionProvider"])
    x = {name: np.ones((1, width), np.float32)}
    runs, end, before = 0, time.perf_counter() + seconds, time.process_time_ns()
    while time.perf_counter() < end:
        session.run(None, x)
        runs += 1
    return (time.process_time_ns() - before) / runs / 1000


def spread(values):
    return f"{statistics.median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def compare(title, servers, body, options, floor):
    """Rounds of every server; CPU per request and ratios to the first."""
    cells = {name: {1: [], 32: []} for name in servers}
    for turn in range(options.rounds):
        names = list(servers)
        for name in names[turn % len(names):] + names[: turn % len(names)]:
            for clients in (1, 32):
                cells[name][clients].append(measure(servers[name], body, clients, options.seconds))
    print(f"\n### {title}\n\nBare `run`: {floor:.1f} µs\n\n| server | µs, 1 client | µs, 32 clients | ratio to the first, 1 | ratio, 32 | PSS MiB | ready s |")
    print("|---|---|---|---|---|---|---|")
    first = next(iter(servers))
    for name, server in servers.items():
        ratios = [spread([a / b for a, b in zip(cells[name][c], cells[first][c])]) for c in (1, 32)]
        medians = [f"{statistics.median(cells[name][c]):.1f}" for c in (1, 32)]
        print(f"| {name} | {medians[0]} | {medians[1]} | {ratios[0]} | {ratios[1]} | {pss_mib(server.child):.0f} | {server.start:.2f} |")


def swaps(server, model, body, options):
    """p99 with and without versions coming in, in one run."""
    def p99(took):
        return sorted(took)[int(len(took) * 0.99)] * 1000

    steady, bad = load(server.port, body, 8, options.seconds)
    state = {"next": time.perf_counter(), "version": 1}

    def swap():
        if time.perf_counter() >= state["next"]:
            state["next"] += 1.0
            state["version"] += 1
            shutil.copytree(model / "m/1", model / "m/draft")
            (model / "m/draft").rename(model / f"m/{state['version']}")

    swapping, failed = load(server.port, body, 8, max(4 * options.seconds, 4), swap)
    print(f"\n### Swaps under load\n\n{state['version'] - 1} versions in {len(swapping)} requests: {bad + failed} failed; p99 {p99(steady):.2f} ms steady, {p99(swapping):.2f} ms while swapping ({p99(swapping) / p99(steady):.2f}×)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=str(ROOT / "target/release/switchback"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    cores = sorted(os.sched_getaffinity(0))
    serving = cores[0] if len(cores) > 1 else None
    if serving is not None:
        os.sched_setaffinity(0, {cores[1]})
    load_average = os.getloadavg()[0]
    try:
        import fastapi  # noqa: F401
        peers = [("FastAPI + onnxruntime", FastApi)]
    except ImportError:
        print("# FastAPI is left out: it is not installed", file=sys.stderr)
        peers = []
    started = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        digits, wide = folder / "digits", folder / "wide"
        shutil.copytree(ROOT / "config/demo/models/digits/1", digits / "m/1")
        mlp(wide / "m/1/model.onnx")
        try:
            def start(kind, *more, **extra):
                server = kind(options, *more, **extra)
                started.append(server)
                return server

            print(f"{options.rounds} rounds of {options.seconds:g} s, {len(cores)} cores, load average before {load_average:.1f}")
            small = {"Switchback": start(Switchback, digits, folder, serving)}
            small |= {peer: start(kind, digits, folder, serving) for peer, kind in peers}
            compare("digits MLP (64-64-10), JSON", small, body_of("features", 64), options, bare(digits, "features", 64, 0.5))
            large = {"Switchback": start(Switchback, wide, folder, serving)}
            large["Switchback, maxBatchSize 32"] = start(Switchback, wide, folder, serving, extra=", maxBatchSize: 32")
            large |= {peer: start(kind, wide, folder, serving) for peer, kind in peers}
            compare("784-1024-1024-10 MLP, JSON", large, body_of("x", 784), options, bare(wide, "x", 784, 0.5))
            swaps(small["Switchback"], digits, body_of("features", 64), options)
        finally:
            for server in started:
                server.child.kill()
                server.child.wait()


if __name__ == "__main__":
    main()
