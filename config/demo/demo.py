#!/usr/bin/env python3
"""The demonstration: starts Switchback, sends it real rows and shows what happens to them.

`make demo` runs it. In a terminal it draws a live picture and keeps serving until Ctrl-C, so
that the named URLs can be tried; otherwise (or with --non-interactive) it prints plain lines,
ends after --seconds, and says by its exit code whether everything was as it should be.
Standard library only, Python 3.9 or later.
"""

import argparse
import collections
import http.client
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CONFIG = os.path.join(HERE, "switchback.yaml")
LIBRARY = os.path.join(ROOT, ".cache", "onnxruntime", "libonnxruntime.so")
MODEL, STABLE, CANARY, SHADOW = "cancer", "v1", "v3", "v2"
PATH = "/v2/models/%s/infer" % MODEL
LABELS = ("malignant", "benign")
CLIENTS = 4


def arguments():
    p = argparse.ArgumentParser(description="Two versions of a real model behind Switchback, a third one shadowed.")
    p.add_argument("--bin", default=os.path.join(ROOT, "target", "release", "switchback"), help="the switchback binary")
    p.add_argument("--seconds", type=float, default=20, help="how long to send rows (default 20)")
    p.add_argument("--non-interactive", action="store_true", help="plain lines, and end after --seconds")
    p.add_argument("--rate", type=float, default=400, help="requests per second to aim at (default 400)")
    return p.parse_args()


def refuse(text):
    print("demo: " + text, file=sys.stderr)
    sys.exit(1)


class Sidecar:
    """`switchback serve` with the demonstration's configuration."""

    def __init__(self, binary):
        if not os.access(binary, os.X_OK):
            refuse("no switchback binary at %s: run `make build`, or name one with --bin" % binary)
        environment = dict(os.environ)
        if "ORT_DYLIB_PATH" not in environment and os.path.exists(LIBRARY):
            environment["ORT_DYLIB_PATH"] = LIBRARY
        self.folder = tempfile.mkdtemp(prefix="switchback-demo-")
        self.log = open(os.path.join(self.folder, "log"), "w+")
        config, self.moved = self.config()
        # Its own session: Ctrl-C is for this script, which then ends it with SIGTERM.
        self.child = subprocess.Popen([binary, "serve", "--config", config], stdout=subprocess.PIPE,
                                      stderr=self.log, env=environment, text=True, start_new_session=True)
        watchdog = threading.Timer(60, self.child.kill)
        watchdog.start()
        line = next((x for x in self.child.stdout if x.startswith("switchback ready ")), None)
        watchdog.cancel()
        if line is None:
            code = self.child.wait()
            refuse("switchback ended with %s before it was ready:\n%s" % (code, self.tail()))
        addresses = dict(word.split("=", 1) for word in line.split()[2:])
        self.main, self.admin = addresses["main"], addresses["admin"]
        self.wait_ready()

    def wait_ready(self):
        """Listening is early; ready is when the models are loaded."""
        end, reasons = time.monotonic() + 60, "?"
        while time.monotonic() < end and self.child.poll() is None:
            status, body = self.get("/readyz")
            if status == 200:
                return
            reasons = ", ".join(json.loads(body)["reasons"])
            time.sleep(0.05)
        self.stop()
        refuse("switchback did not become ready: " + reasons)

    def config(self):
        """The shipped file; or a copy on ports of the system's choice when its own are taken."""
        with open(CONFIG) as f:
            text = f.read()
        taken = []
        for address in re.findall(r"address: (127\.0\.0\.1:\d+)", text):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", int(address.rsplit(":", 1)[1])))
                except OSError:
                    taken.append(address)
        if not taken:
            return CONFIG, ""
        text = re.sub(r"(address: 127\.0\.0\.1):\d+", r"\1:0", text)
        text = text.replace("repository: models,", "repository: %s," % json.dumps(os.path.join(HERE, "models")))
        path = os.path.join(self.folder, "switchback.yaml")
        with open(path, "w") as f:
            f.write(text)
        return path, "(%s in use, other ports chosen)" % " and ".join(taken)

    def tail(self):
        self.log.flush()
        with open(self.log.name, errors="replace") as f:
            return "".join(f.readlines()[-15:])

    def get(self, path):
        """(status, body) from the admin API."""
        connection = http.client.HTTPConnection(self.admin, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def model(self):
        """The model in /api/v1/status: (version by name, mirror)."""
        document = json.loads(self.get("/api/v1/status")[1])
        model = next(m for m in document["models"] if m["name"] == MODEL)
        return {v["name"]: v for v in model["versions"]}, model["mirrors"][0]

    def stop(self):
        code = self.child.poll()
        if code is None:
            self.child.terminate()
            try:
                code = self.child.wait(40)
            except subprocess.TimeoutExpired:
                self.child.kill()
                code = self.child.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code


class Traffic:
    """Clients that send rows and keep what came back."""

    def __init__(self, address, rate):
        with open(os.path.join(HERE, "rows.jsonl")) as f:
            rows = [json.loads(line) for line in f if line.strip()]
        self.rows = [(json.dumps(r["request"]).encode(), int(r["label"])) for r in rows]
        self.address, self.rate = address, rate
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.counts, self.right = collections.Counter(), collections.Counter()
        self.failures, self.last = [], collections.deque(maxlen=6)
        self.threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def client(self, seed):
        # Which rows, not which version: that is Switchback's draw alone.
        order, connection, due = random.Random(seed), None, time.monotonic()
        while not self.stopping.is_set():
            due = max(due + CLIENTS / self.rate, time.monotonic() - 0.1)
            self.stopping.wait(max(0, due - time.monotonic()))
            number = order.randrange(len(self.rows))
            try:
                connection = connection or http.client.HTTPConnection(self.address, timeout=30)
                self.one(connection, number)
            except (OSError, http.client.HTTPException, ValueError, KeyError, StopIteration) as error:
                connection = None
                if not self.stopping.is_set():
                    with self.lock:
                        self.failures.append("%s: %s" % (type(error).__name__, error))
                    self.stopping.wait(0.1)

    def one(self, connection, number):
        body, truth = self.rows[number]
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        version = answer.headers.get("x-switchback-version")
        if answer.status != 200 or not version:
            raise ValueError("status %d, version %s: %s" % (answer.status, version, content[:200].decode(errors="replace")))
        document = json.loads(content)
        if document["model_name"] != MODEL:
            raise ValueError("the answer names the model %r" % document["model_name"])
        outputs = {o["name"]: o["data"] for o in document["outputs"]}
        label = int(outputs["label"][0])
        # One row gives a flat list; a server may also nest it by shape.
        chances = outputs["probabilities"]
        chances = chances[0] if isinstance(chances[0], list) else chances
        with self.lock:
            self.counts[version] += 1
            self.right[version] += label == truth
            self.last.append((number, version, label, chances[label], truth))

    def snapshot(self):
        with self.lock:
            return dict(self.counts), dict(self.right), list(self.failures), list(self.last)

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(35)


# === showing it ===

class Look:
    """Colours and signs, or none where the output is not a terminal that has them."""

    def __init__(self, terminal):
        self.terminal = terminal
        unicode = "utf" in (sys.stdout.encoding or "").lower()
        self.full, self.empty, self.yes, self.no = ("█", "░", "✓", "✗") if unicode else ("#", ".", "ok", "wrong")

    def paint(self, code, text):
        return "\x1b[%sm%s\x1b[0m" % (code, text) if self.terminal else text

    def bar(self, share, width=30):
        cells = int(round(share * width))
        return self.full * cells + self.empty * (width - cells)


def milliseconds(seconds):
    return "%.2f ms" % (seconds * 1000) if seconds else "-"


def table(look, versions, mirror, counts, right):
    """What answered how often, how well and how fast; and the shadow's line."""
    total = max(1, sum(counts.values()))
    lines = ["  %-3s %-7s %-30s %8s %8s %8s %10s %10s %8s"
             % ("", "role", "share of answers", "answers", "share", "weight", "p50", "p99", "right")]
    for name in (STABLE, CANARY):
        n, v = counts.get(name, 0), versions[name]
        latency = v["latencySeconds"]
        lines.append("  %-3s %-7s %s %8d %7.1f%% %8s %10s %10s %7.1f%%" % (
            name, v["role"], look.paint("32" if name == STABLE else "33", look.bar(n / total)), n, 100 * n / total,
            v["weight"], milliseconds(latency["p50"]), milliseconds(latency["p99"]), 100 * right.get(name, 0) / max(1, n)))
    latency = versions[SHADOW]["latencySeconds"]
    dropped = sum(mirror["dropped"].values())
    lines.append("  %-3s %-7s %s %8d %7.1f%% %8s %10s %10s %8s" % (
        SHADOW, versions[SHADOW]["role"], look.paint("36", look.bar(mirror["coverage"])), mirror["completed"],
        100 * mirror["coverage"], mirror["sample"], milliseconds(latency["p50"]), milliseconds(latency["p99"]), "-"))
    lines.append("      its bar is coverage: %d of %d copies answered, %d dropped; no client saw one of them"
                 % (mirror["completed"], mirror["eligible"], dropped))
    return lines


def answers(look, last):
    """The latest answers, one line each."""
    lines = []
    for number, version, label, chance, truth in last:
        sign = look.paint("32", look.yes) if label == truth else look.paint("31", look.no)
        lines.append("  row %3d  answered by %s: %-9s (%.3f)  truth: %-9s %s"
                     % (number, version, LABELS[label], chance, LABELS[truth], sign))
    return lines


def urls(sidecar):
    main, admin = "http://" + sidecar.main, "http://" + sidecar.admin
    weights = json.dumps({"weights": {STABLE: "50%", CANARY: "50%"}})
    return [
        "  curl %s/metrics                what Prometheus would read" % admin,
        "  curl %s/api/v1/status          versions, split, shadow, latency as JSON" % admin,
        "  curl %s/v2/models/%s         the model's inputs and outputs" % (main, MODEL),
        "  curl -i %s%s -H 'content-type: application/json' \\" % (main, PATH),
        "       -d \"$(head -1 config/demo/rows.jsonl | python3 -c 'import json; print(json.dumps(json.loads(input())[\"request\"]))')\"",
        "  curl -X PUT %s/api/v1/models/%s/weights -H 'content-type: application/json' \\" % (admin, MODEL),
        "       -d '%s'     move the split while it runs" % weights,
    ]


class Screen:
    """Draws over what it drew before; plain mode prints one line per tick instead."""

    def __init__(self, look):
        self.look, self.drawn = look, 0

    def show(self, lines):
        width = shutil.get_terminal_size((120, 40)).columns
        out = "\x1b[%dA" % self.drawn if self.drawn else ""
        for line in lines:
            # Cut by what is visible: colours take no room.
            if len(re.sub(r"\x1b\[\d*m", "", line)) >= width:
                line = re.sub(r"\x1b\[\d*m", "", line)[:width - 1]
            out += "\x1b[2K" + line + "\n"
        out += "\x1b[J"
        sys.stdout.write(out)
        sys.stdout.flush()
        self.drawn = len(lines)


def picture(look, sidecar, traffic, elapsed, seconds):
    versions, mirror = sidecar.model()
    counts, right, failures, last = traffic.snapshot()
    lines = [look.paint("1", "Switchback: one model, three builds, in one process") + "  %.0f of %.0f s" % (elapsed, seconds), ""]
    lines += table(look, versions, mirror, counts, right)
    lines += ["", "latest answers"] + answers(look, last)
    lines.append(look.paint("31", "  %d failed, last: %s" % (len(failures), failures[-1])) if failures else "  none failed")
    return lines


def plain(sidecar, traffic, elapsed):
    versions, mirror = sidecar.model()
    counts, _, failures, last = traffic.snapshot()
    total = max(1, sum(counts.values()))
    parts = ["%s %d (%.1f%%, p50 %s, p99 %s)" % (
        n, counts.get(n, 0), 100 * counts.get(n, 0) / total, milliseconds(versions[n]["latencySeconds"]["p50"]),
        milliseconds(versions[n]["latencySeconds"]["p99"])) for n in (STABLE, CANARY)]
    print("%5.1f s  %s  shadow %s coverage %.1f%%  failed %d" % (elapsed, "  ".join(parts), SHADOW, 100 * mirror["coverage"], len(failures)))
    for line in answers(Look(False), last[-1:]):
        print("       " + line)
    sys.stdout.flush()


def verdicts(sidecar, traffic):
    """(good, what) for everything that the demonstration claims."""
    versions, mirror = sidecar.model()
    counts, right, failures, _ = traffic.snapshot()
    total = sum(counts.values())
    yield total >= 50, "%d rows answered" % total
    yield not failures, "%d failed%s" % (len(failures), ": " + failures[-1] if failures else "")
    for name in (STABLE, CANARY):
        share = versions[name]["weightBasisPoints"] / 10000
        # Five standard deviations: a fair draw fails this once in two million runs.
        bound = 5 * math.sqrt(max(1, total) * share * (1 - share)) + 1
        n = counts.get(name, 0)
        yield abs(n - share * total) <= bound, "%s answered %d, its weight %s asks for %.0f (within %.0f)" % (
            name, n, versions[name]["weight"], share * total, bound)
        # Both builds are right in 96 of 100 rows; few answers may well hold a few hard rows.
        yield right.get(name, 0) + 1.5 * math.sqrt(n) >= 0.9 * n, "%s was right in %.1f%% of its answers" % (name, 100 * right.get(name, 0) / max(1, n))
        latency = versions[name]["latencySeconds"]
        yield 0 < latency["p50"] <= latency["p99"], "%s took %s (p50), %s (p99)" % (
            name, milliseconds(latency["p50"]), milliseconds(latency["p99"]))
    yield set(counts) <= {STABLE, CANARY}, "no client got an answer of the shadow"
    yield mirror["coverage"] >= 0.95, "the shadow answered %d of %d copies (coverage %.1f%%)" % (
        mirror["completed"], mirror["eligible"], 100 * mirror["coverage"])
    for name, v in sorted(versions.items()):
        yield v["ready"], "%s is ready%s" % (name, "" if v["ready"] else ": NOT, %s" % v["reason"])
    status, metrics = sidecar.get("/metrics")
    wanted = ['version="%s"' % n for n in (STABLE, CANARY, SHADOW)]
    yield status == 200 and all(w in metrics.decode() for w in wanted), "/metrics has every version"


def settle(sidecar):
    """Copies of the last requests may still be under way."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        _, mirror = sidecar.model()
        if mirror["completed"] + sum(mirror["dropped"].values()) >= mirror["eligible"]:
            return
        time.sleep(0.05)


def main():
    options = arguments()
    interactive = sys.stdout.isatty() and not options.non_interactive
    look = Look(interactive)
    sidecar = Sidecar(options.bin)
    traffic, good = None, False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print("switchback listens on http://%s, admin on http://%s %s" % (sidecar.main, sidecar.admin, sidecar.moved))
        print()
        traffic = Traffic(sidecar.main, options.rate)
        started, screen, shown = time.monotonic(), Screen(look), 0.0
        while time.monotonic() - started < options.seconds:
            time.sleep(0.1 if interactive else 0.05)
            elapsed = time.monotonic() - started
            if sidecar.child.poll() is not None:
                refuse("switchback ended with %s:\n%s" % (sidecar.child.returncode, sidecar.tail()))
            if interactive:
                screen.show(picture(look, sidecar, traffic, elapsed, options.seconds))
            elif elapsed - shown >= 1:
                shown = elapsed
                plain(sidecar, traffic, elapsed)
        traffic.stop()
        settle(sidecar)
        print()
        print("In short")
        good = True
        for right, what in verdicts(sidecar, traffic):
            good = good and right
            print("  %s %s" % (look.paint("32", look.yes) if right else look.paint("31", look.no), what))
        versions, mirror = sidecar.model()
        counts, correct, _, _ = traffic.snapshot()
        print()
        print("\n".join(table(look, versions, mirror, counts, correct)))
        print()
        print("Try it" if interactive else "To try while it runs")
        print("\n".join(urls(sidecar)))
        if interactive:
            print("\nRows keep coming, ten a second. Ctrl-C ends it.")
            traffic = Traffic(sidecar.main, 10)
            sidecar.child.wait()
    except KeyboardInterrupt:
        print()
    finally:
        if traffic:
            traffic.stopping.set()
        code = sidecar.stop()
    if code != 0:
        print("demo: switchback ended with exit code %s" % code, file=sys.stderr)
    sys.exit(0 if code == 0 and (good or interactive) else 1)


if __name__ == "__main__":
    main()
