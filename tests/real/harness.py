"""What every real-part test shares: counted checks, free ports, processes with an owner.

The tests drive real servers through a real `switchback serve` with real clients. With
SWITCHBACK_BYPASS=1 the same checks run straight against the servers, which shows that a
failure belongs to the proxy and not to the test; checks that only a proxy can answer
are then skipped, and counted as such.

Environment:
  SWITCHBACK_BIN     the binary (default: target/debug/switchback)
  SWITCHBACK_BYPASS  1: no proxy between client and server
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.path.join(ROOT, ".cache")
BYPASS = os.environ.get("SWITCHBACK_BYPASS") == "1"

# Nothing here may leave the machine, whatever proxy the environment names.
for _name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"


def binary():
    """The switchback binary under test."""
    path = os.environ.get("SWITCHBACK_BIN")
    if not path:
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        path = os.path.join(target, "debug", "switchback")
    if not os.access(path, os.X_OK):
        sys.exit(f"no switchback binary at {path}: run `cargo build`, or name one in SWITCHBACK_BIN")
    return path


def free_port():
    """A loopback port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, condition, seconds=10.0):
    """Polls until `condition()` is true; says what it waited for when it is not in time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def get(url, method="GET", body=None, headers=None, timeout=30):
    """(status, headers, body) of one plain HTTP/1.1 call; an error status is an answer too."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers, answer.read()


def _too_long(*_):
    raise TimeoutError("the check took too long")


# A check that hangs is a failed check; an ended test ends its servers.
signal.signal(signal.SIGALRM, _too_long)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Skip(Exception):
    """A check that cannot run here; counted, never silent."""


def needs_proxy():
    """Skips the running check when there is no proxy to ask."""
    if BYPASS:
        raise Skip("bypassed: only a proxy can answer this")


class Checks:
    """Runs named checks, prints one line each, and counts them."""

    def __init__(self, title):
        self.title, self.passed, self.failed, self.skipped = title, 0, 0, 0
        print(f"# {title}{' (bypass: straight to the server)' if BYPASS else ''}", flush=True)

    def run(self, name, check, *args, seconds=120):
        """Runs one check; an exception is a failure and its text is the reason."""
        started = time.monotonic()
        signal.alarm(seconds)
        try:
            check(*args)
        except Skip as reason:
            self.skipped += 1
            print(f"SKIP {name}: {reason}", flush=True)
            return
        except Exception as error:
            self.failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error).strip() or type(error).__name__
            print(f"FAIL {name}: {type(error).__name__}: {text[:1500]}", flush=True)
            print(f"     at {os.path.basename(where.filename)}:{where.lineno}: {where.line}", flush=True)
            return
        finally:
            signal.alarm(0)
        self.passed += 1
        print(f"ok   {name} ({time.monotonic() - started:.2f} s)", flush=True)

    def finish(self):
        """Prints the count and ends the process with it."""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.title}: {self.passed} passed, {self.failed} failed{skipped}", flush=True)
        sys.stdout.flush()
        # gRPC's threads may outlive their channels; the result must not wait for them.
        os._exit(1 if self.failed or not self.passed else 0)


def equal(got, want, what="value"):
    """Fails with both sides in the text."""
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


class Process:
    """A child that ends with its owner, and whose output is shown when it fails."""

    def __init__(self, argv, name, env=None, cwd=None):
        self.log = tempfile.NamedTemporaryFile("w+", prefix=f"{name}-", suffix=".log", delete=False)
        self.name = name
        self.child = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})}, cwd=cwd, text=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line.rstrip("\n"))

    def running(self):
        return self.child.poll() is None

    def tail(self, lines=15):
        self.log.flush()
        with open(self.log.name, errors="replace") as log:
            kept = log.read().splitlines()
        return "\n".join((self.lines + kept)[-lines:])

    def must_run(self):
        if not self.running():
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")
        return False

    def stop(self, kill=False, seconds=15):
        """SIGTERM, then SIGKILL when it does not end. Returns the exit code."""
        if self.running():
            self.child.kill() if kill else self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self._reader.join(2)
        self.log.close()
        with contextlib.suppress(OSError):
            os.unlink(self.log.name)
        return self.child.returncode


class Switchback:
    """A `switchback serve` with the given configuration; real ports from its ready line."""

    def __init__(self, config):
        self.folder = tempfile.mkdtemp(prefix="switchback-test-")
        self.path = os.path.join(self.folder, "switchback.yaml")
        # JSON is YAML, so the generated configuration needs no YAML writer.
        with open(self.path, "w") as f:
            json.dump(config, f, indent=1)
        self.process = Process([binary(), "serve", "--config", self.path], "switchback")
        try:
            ready = wait_until("the ready line of switchback", self._ready, 20)
        except BaseException:
            self.stop()
            raise
        self.addresses = dict(word.split("=", 1) for word in ready.split()[2:])
        self.main = self.addresses["main"]
        self.admin = self.addresses["admin"]

    def _ready(self):
        self.process.must_run()
        return next((x for x in list(self.process.lines) if x.startswith("switchback ready ")), None)

    def status(self):
        """The document of /api/v1/status."""
        code, _, body = get(f"http://{self.admin}/api/v1/status")
        equal(code, 200, "status code of /api/v1/status")
        return json.loads(body)

    def model(self, name):
        """One model of the status document."""
        return next(m for m in self.status()["models"] if m["name"] == name)

    def metrics(self):
        """The text of /metrics."""
        code, _, body = get(f"http://{self.admin}/metrics")
        equal(code, 200, "status code of /metrics")
        return body.decode()

    def metric(self, name, label=""):
        """The sum of a metric's samples that have this label."""
        samples = [line.rsplit(" ", 1) for line in self.metrics().splitlines() if line.startswith(name)]
        return sum(float(value) for series, value in samples
                   if series.partition("{")[0] == name and label in series)

    def pairs(self, model):
        """What /metrics says of a model's compared copies: {"candidate": {...}, "control": {...},
        "reasons": {...}, "dropped": {...}}; what is 0 is left out."""
        found = {"candidate": {}, "control": {}, "reasons": {}, "dropped": {}}
        for line in self.metrics().splitlines():
            name, _, rest = line.partition("{")
            labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            count = int(float(line.rsplit(" ", 1)[1])) if labels.get("model") == model else 0
            if not count:
                continue
            if name == "switchback_pairs_total":
                found[labels["kind"]][labels["result"]] = count
            elif name == "switchback_divergences_total":
                found["reasons"][f'{labels["kind"]} {labels["reason"]}'] = count
            elif name in ("switchback_pairs_dropped_total", "switchback_mirror_dropped_total"):
                found["dropped"][labels["reason"]] = count
        return found

    def compared(self, model, sent):
        """The same, once each of `sent` requests has given a pair or a reason why not."""
        def settled():
            found = self.pairs(model)
            ended = sum(sum(found[part].values()) for part in ("candidate", "control", "dropped"))
            return ended >= sent and found

        return wait_until(f"{sent} pairs of {model}", settled, 60)

    def set_weights(self, model, weights):
        """Moves the split while running."""
        body = json.dumps({"weights": weights}).encode()
        code, _, answer = get(
            f"http://{self.admin}/api/v1/models/{model}/weights", "PUT", body,
            {"content-type": "application/json"},
        )
        equal(code // 100, 2, f"status of PUT weights ({answer!r})")

    def stop(self):
        code = self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code


def certificate(folder):
    """A self-signed certificate for localhost and 127.0.0.1: (certificate, key) paths."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    if not shutil.which("openssl"):
        raise Skip("no openssl command to make a certificate with")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True, capture_output=True,
    )
    return cert, key


def one_upstream(url, tls=None, protocol="auto", **model):
    """The smallest configuration: everything goes to one upstream."""
    listener = {"name": "main", "address": "127.0.0.1:0"}
    listeners = [listener]
    if tls:
        listeners.append({"name": "tls", "address": "127.0.0.1:0",
                          "tls": {"certificate": tls[0], "key": tls[1]}})
    return {
        "workers": 2,
        "listeners": listeners,
        "admin": {"address": "127.0.0.1:0"},
        "models": [{"name": "test", "versions": [
            {"name": "v1", "weight": "100%", "upstream": {"url": url, "protocol": protocol}},
        ], **model}],
    }
