#!/usr/bin/env python3
"""What a model in process costs: beside Python servers, beside the bare model, in batches, while versions
come and go.

    make compare-engine                           (makes the peers' environments; about ten minutes)
    python engine.py --sections batch,grpc --rounds 7
    python engine.py --quick                      (does it work here?)

Every round runs every server once, in rotated order; ratios are those of the same round: median,
smallest and largest. CPU is what /proc says that the server's threads ran, per answered request. The
server has one core, the load generator (wrk, h2load) the other, so throughput says little here. Needs
numpy, onnx and onnxruntime; a peer without its environment is left out, by name. Result: Markdown.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error

import closed_loop
from servers import CACHE, PEERS, ROOT, Switchback, cpu_ns, get, memory_mib

SECTIONS = ("digits", "batch", "sentences", "grpc", "small", "cycles", "swaps")
CLIENTS = (1, 32)


# === models and bodies ===


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


def grpc_body(name, width):
    """A framed ModelInferRequest with raw contents."""
    import struct

    def varint(number):
        out = b""
        while number >= 0x80:
            out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
        return out + bytes([number])

    def field(number, value):
        return varint(number << 3 | 2) + varint(len(value)) + value

    tensor = field(1, name.encode()) + field(2, b"FP32") + field(3, varint(1) + varint(width))
    message = field(1, b"m") + field(5, tensor) + field(7, struct.pack(f"<{width}f", *[((7 * n) % 17) / 4 for n in range(width)]))
    return b"\0" + len(message).to_bytes(4, "big") + message


# === load ===


class Load:
    """wrk for REST, h2load for gRPC, on the generator's core."""

    def __init__(self, folder):
        self.folder = folder
        for tool in ("wrk", "h2load"):
            if not shutil.which(tool):
                sys.exit(f"{tool} is not installed: apt-get install wrk nghttp2-client")

    def wrk(self, port, body, clients, seconds):
        script = self.folder / "post.lua"
        quoted = "".join(f"\\{byte:03d}" for byte in body)
        script.write_text(f'wrk.method = "POST"\nwrk.body = "{quoted}"\nwrk.headers["Content-Type"] = "application/json"\n')
        told = subprocess.run(
            ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", script, f"http://127.0.0.1:{port}/v2/models/m/infer"],
            capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in told or "Socket errors" in told:
            sys.exit(f"not every answer was good:\n{told}")
        return int(re.search(r"(\d+) requests in", told).group(1))

    def h2load(self, port, body, clients, seconds):
        data = self.folder / "message"
        data.write_bytes(body)
        told = subprocess.run(
            ["h2load", "-t1", f"-c{min(clients, 4)}", f"-m{max(1, clients // 4)}", f"-D{max(1, round(seconds))}", "-d", data,
             "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}/inference.GRPCInferenceService/ModelInfer"],
            capture_output=True, text=True, check=True).stdout
        done, good = (int(re.search(rf"(\d+) {word}", told).group(1)) for word in ("done", "succeeded"))
        if done != good:
            sys.exit(f"not every answer was good:\n{told}")
        return good


def measure(send, server, body, clients, seconds):
    """CPU of the server per request, in µs."""
    send(server.port, body, clients, seconds / 4)
    before = cpu_ns(server.child)
    done = send(server.port, body, clients, seconds)
    return (cpu_ns(server.child) - before) / done / 1000


def rounds(send, servers, body, options, clients=CLIENTS):
    """Per server and number of clients, the CPU of each round."""
    cells = {name: {c: [] for c in clients} for name in servers}
    for turn in range(options.rounds):
        names = list(servers)
        for name in names[turn % len(names):] + names[: turn % len(names)]:
            for c in clients:
                cells[name][c].append(measure(send, servers[name], body, c, options.seconds))
    return cells


def spread(values):
    return f"{statistics.median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def goal(holds):
    return "holds" if holds else "**does not hold**"


# === sections ===


class World:
    def __init__(self, options, folder, core):
        self.options, self.folder, self.core, self.started = options, folder, core, []
        self.load = Load(folder)
        self.digits, self.wide = folder / "digits", folder / "wide"
        shutil.copytree(ROOT / "config/demo/models/digits/1", self.digits / "m/1")
        mlp(self.wide / "m/1/model.onnx")

    def start(self, kind, *more, **extra):
        server = kind(self.options, *more, self.folder, self.core, **extra)
        self.started.append(server)
        return server

    def stop(self):
        for server in self.started:
            server.stop()
        self.started = []

    def beside(self):
        """This and every peer that is there, on the digits MLP."""
        servers = {"Switchback": self.start(Switchback, self.digits)}
        for name, kind in PEERS.items():
            if kind.python():
                servers[name] = self.start(kind, self.digits)
            else:
                print(f"# {name} is left out: no {kind.venv}", file=sys.stderr)
        return servers

    def digits_section(self):
        servers, body = self.beside(), body_of("features", 64)
        ours = servers["Switchback"]
        own = []
        cells = rounds(self.load.wrk, servers, body, self.options)
        for _ in range(3):
            before = ours.infer_us()
            self.load.wrk(ours.port, body, 32, 1)
            after = ours.infer_us()
            own.append((after[1] - before[1]) / (after[0] - before[0]))
        print("\n### digits MLP (64-64-10), JSON, beside other servers\n")
        print("| server | µs, 1 client | µs, 32 clients | ratio, 1 | ratio, 32 | PSS MiB | ready s |\n|---|---|---|---|---|---|---|")
        for name, server in servers.items():
            ratios = [spread([a / b for a, b in zip(cells[name][c], cells["Switchback"][c])]) for c in CLIENTS]
            medians = [f"{statistics.median(cells[name][c]):.1f}" for c in CLIENTS]
            print(f"| {name} | {medians[0]} | {medians[1]} | {ratios[0]} | {ratios[1]} | {memory_mib(server.child):.0f} | {server.start:.2f} |")
        for name, least in (("FastAPI + onnxruntime", 6), ("MLServer 1.7.1, in process", 20), ("KServe 0.21.0", 30), ("LitServe 0.2.19", 30)):
            if name in cells:
                found = statistics.median([a / b for a, b in zip(cells[name][32], cells["Switchback"][32])])
                print(f"- {name} needs {found:.1f} times as much at 32 clients; at least {least}: {goal(found >= least)}")
        more = statistics.median(cells["Switchback"][32]) - statistics.median(own)
        print(f"- beside ONNX Runtime's own call ({statistics.median(own):.1f} µs): {more:.1f} µs; at most 60: {goal(more <= 60)}")

    def batch_section(self):
        servers = {"alone": self.start(Switchback, self.wide), "maxBatchSize 32": self.start(Switchback, self.wide, extra=", maxBatchSize: 32")}
        cells = rounds(self.load.wrk, servers, body_of("x", 784), self.options)
        print("\n### 784-1024-1024-10 MLP, JSON, alone and together\n\n| | µs, 1 client | µs, 32 clients |\n|---|---|---|")
        for name in servers:
            print(f"| {name} | {statistics.median(cells[name][1]):.1f} | {statistics.median(cells[name][32]):.1f} |")
        ratios = {c: [a / b for a, b in zip(cells["alone"][c], cells["maxBatchSize 32"][c])] for c in CLIENTS}
        print(f"- together needs {spread(ratios[32])} times less at 32 clients; at least 2.4: {goal(statistics.median(ratios[32]) >= 2.4)}")
        cost = 1 / statistics.median(ratios[1])
        print(f"- and {cost:.3f} times as much at 1 client; at most 1.05: {goal(cost <= 1.05)}")

    def sentences_section(self):
        import numpy as np
        import onnxruntime as ort

        model = CACHE / "minilm/model.onnx"
        if not model.exists():
            print("# MiniLM is left out: `make test` makes it", file=sys.stderr)
            return
        home = self.folder / "minilm"
        (home / "m/1").mkdir(parents=True)
        shutil.copy(model, home / "m/1/model.onnx")
        server = self.start(Switchback, home)
        ids = [[1000 + 37 * n for n in range(32)]]
        tensors = {"input_ids": ids, "attention_mask": [[1] * 32], "token_type_ids": [[0] * 32]}
        inputs = [{"name": n, "datatype": "INT64", "shape": [1, 32], "data": v} for n, v in tensors.items()]
        body = json.dumps({"inputs": inputs}).encode()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        arrays = {n: np.array(v, np.int64) for n, v in tensors.items()}
        mine = os.sched_getaffinity(0)

        def bare(pause):
            """On the server's core, in µs; a pause before each run as a server has it between requests."""
            os.sched_setaffinity(0, {self.core} if self.core is not None else mine)
            end, spent, runs = time.perf_counter() + 1, 0, 0
            while time.perf_counter() < end:
                if pause:
                    time.sleep(pause)
                before = time.thread_time_ns()
                session.run(None, arrays)
                spent, runs = spent + time.thread_time_ns() - before, runs + 1
            os.sched_setaffinity(0, mine)
            return spent / runs / 1000

        # Short turns: a machine that is slower for some seconds is so for all three.
        ways = {
            "bare": lambda: bare(0),
            "bare, after pauses of 0.2 ms": lambda: bare(0.0002),
            "served": lambda: measure(self.load.wrk, server, body, 1, 1),
        }
        cells = {name: [] for name in ways}
        for turn in range(2 * self.options.rounds):
            for name in list(ways)[turn % 3:] + list(ways)[:turn % 3]:
                cells[name].append(ways[name]())
        print(f"\n### MiniLM, 32 words, 1 client, {2 * self.options.rounds} rounds of 1 s\n")
        for name, values in cells.items():
            ratios = [a / b for a, b in zip(cells["served"], values)]
            print(f"- {name}: {statistics.median(values) / 1000:.2f} ms; served needs {spread(ratios)} times that")
        found = statistics.median([a / b for a, b in zip(cells["served"], cells["bare"])])
        print(f"- {found:.2f} times the bare model; at most 1.05: {goal(found <= 1.05)}")

    def grpc_section(self):
        servers = {"Switchback": self.start(Switchback, self.digits)}
        cells = rounds(self.load.h2load, servers, grpc_body("features", 64), self.options)["Switchback"]
        found = {c: statistics.median(cells[c]) for c in CLIENTS}
        print(f"\n### digits MLP, gRPC with raw contents\n\n- {found[1]:.1f} µs at 1 client, {found[32]:.1f} µs at 32; at most 100: {goal(max(found.values()) <= 100)}")

    def small_section(self):
        starts, sizes = [], []
        for _ in range(self.options.rounds):
            server = self.start(Switchback, self.digits)
            starts.append(server.start)
            self.load.wrk(server.port, body_of("features", 64), 8, 1)
            sizes.append(memory_mib(server.child))
            server.stop()
            self.started.remove(server)
        print(f"\n### Memory and start, digits loaded\n\n- PSS {max(sizes):.1f} MiB; at most 40: {goal(max(sizes) <= 40)}")
        print(f"- ready after {max(starts):.2f} s; at most 0.5: {goal(max(starts) <= 0.5)}")

    def cycles_section(self):
        """Versions come, take over and go; what the process keeps."""
        model = self.folder / "cycled"
        shutil.copytree(self.digits, model)
        server = self.start(Switchback, model, extra=", policy: {latest: 1}, keepPrevious: 0s", control="explicit")
        count, sizes, times = (60 if self.options.quick else 1000), [], []
        for cycle in range(2, count + 2):
            shutil.copytree(model / f"m/{cycle - 1}", model / "m/draft")
            (model / "m/draft").rename(model / f"m/{cycle}")
            began = time.perf_counter()
            get(server.port, "/v2/repository/models/m/load", b"{}")
            for _ in range(2000):
                if json.loads(get(server.port, "/v2/models/m")[1])["versions"][-1] == str(cycle):
                    break
                time.sleep(0.002)
            else:
                sys.exit(f"version {cycle} does not come")
            times.append((time.perf_counter() - began) * 1000)
            get(server.port, "/v2/models/m/infer", body_of("features", 64))
            shutil.rmtree(model / f"m/{cycle - 1}")
            if cycle % 10 == 0:
                sizes.append(memory_mib(server.child, "Rss"))
        early, late = statistics.median(sizes[3:8] or sizes), statistics.median(sizes[-5:])
        fifth = max(1, len(times) // 5)
        first, last = statistics.median(times[:fifth]), statistics.median(times[-fifth:])
        print(f"\n### {count} versions loaded, swapped and unloaded\n\n- resident {early:.1f} MiB after 50, {late:.1f} MiB at the end, {max(sizes):.1f} at most; within 5: {goal(late - early <= 5)}")
        print(f"- a swap takes {first:.1f} ms at first, {last:.1f} ms at last: {goal(last <= 1.25 * first)}")

    def swaps_section(self):
        for name, model, body in (("digits", self.digits, body_of("features", 64)), ("784-wide MLP", self.wide, body_of("x", 784))):
            home = self.folder / f"swapped-{name}"
            shutil.copytree(model, home)
            server = self.start(Switchback, home, extra=", policy: {latest: 1}, keepPrevious: 0s")
            closed_loop.run(server.port, body, 4, 1)
            steady, swapping, failed, version = [], [], 0, 1
            ratios = []
            for _ in range(max(3, self.options.rounds)):
                calm, bad = closed_loop.run(server.port, body, 4, self.options.seconds)
                state = {"next": time.perf_counter() + 0.2, "version": version}

                def swap():
                    if time.perf_counter() >= state["next"]:
                        state["next"] += 0.7
                        state["version"] += 1
                        shutil.copytree(home / "m/1", home / "m/draft")
                        (home / "m/draft").rename(home / f"m/{state['version']}")

                busy, worse = closed_loop.run(server.port, body, 4, self.options.seconds, swap)
                version, failed = state["version"], failed + bad + worse
                steady, swapping = steady + calm, swapping + busy
                ratios.append(closed_loop.p99(busy) / closed_loop.p99(calm))
            found = closed_loop.p99(swapping) / closed_loop.p99(steady)
            print(f"\n### Swaps under load, {name}\n\n- {version - 1} versions, {len(steady) + len(swapping)} requests, {failed} failed: {goal(failed == 0)}")
            print(f"- p99 {closed_loop.p99(steady) * 1000:.2f} ms steady, {closed_loop.p99(swapping) * 1000:.2f} ms while swapping: {found:.2f}×, by round {spread(ratios)}; at most 1.5: {goal(found <= 1.5)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=str(ROOT / "target/release/switchback"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1
    cores = sorted(os.sched_getaffinity(0))
    serving = cores[0] if len(cores) > 1 else None
    if serving is not None:
        os.sched_setaffinity(0, {cores[1]})
    print(f"{options.rounds} rounds of {options.seconds:g} s, {len(cores)} cores, load average before {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        world = World(options, pathlib.Path(name), serving)
        for section in options.sections.split(","):
            if section not in SECTIONS:
                sys.exit(f"no section {section}: {', '.join(SECTIONS)}")
            try:
                getattr(world, f"{section}_section")()
            except urllib.error.HTTPError as error:
                sys.exit(f"{section}: {error} {error.read()[:500]}")
            finally:
                world.stop()
            sys.stdout.flush()


if __name__ == "__main__":
    main()
