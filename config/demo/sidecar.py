"""`switchback serve` with the demonstration's configuration, its admin API and its command line."""

import http.client
import json
import os
import re
import shutil
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
DEFAULT = "127.0.0.1:9901"


def refuse(text):
    print("demo: " + text, file=sys.stderr)
    sys.exit(1)


class Sidecar:
    """The process. It and its folder are gone after `stop`."""

    def __init__(self, binary):
        if not os.access(binary, os.X_OK):
            refuse("no switchback binary at %s: run `make build`, or name one with --bin" % binary)
        self.binary, self.environment = os.path.abspath(binary), dict(os.environ)
        for name in ("SWITCHBACK_SERVER", "SWITCHBACK_TOKEN"):
            self.environment.pop(name, None)
        if "ORT_DYLIB_PATH" not in self.environment and os.path.exists(LIBRARY):
            self.environment["ORT_DYLIB_PATH"] = LIBRARY
        self.folder = tempfile.mkdtemp(prefix="switchback-demo-")
        self.log = open(os.path.join(self.folder, "log"), "w+")
        self.config, self.moved = self.copy()
        # Its own session: Ctrl-C is for this script, which then ends it with SIGTERM.
        self.child = subprocess.Popen([self.binary, "serve", "--config", self.config], stdout=subprocess.PIPE,
                                      stderr=self.log, env=self.environment, text=True, start_new_session=True)
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self):
        """Listening is early; ready is when the models are loaded."""
        watchdog = threading.Timer(60, self.child.kill)
        watchdog.start()
        line = next((x for x in self.child.stdout if x.startswith("switchback ready ")), None)
        watchdog.cancel()
        if line is None:
            code = self.child.wait()
            refuse("switchback ended with %s before it was ready:\n%s" % (code, self.tail()))
        addresses = dict(word.split("=", 1) for word in line.split()[2:])
        self.main, self.admin = addresses["main"], addresses["admin"]
        end, reasons = time.monotonic() + 60, "?"
        while time.monotonic() < end and self.child.poll() is None:
            status, body = self.get("/readyz")
            if status == 200:
                return
            reasons = ", ".join(body["reasons"])
            time.sleep(0.05)
        refuse("switchback did not become ready: %s\n%s" % (reasons, self.tail()))

    def copy(self):
        """The shipped configuration in a folder of its own, where its store may be as well; on ports
        of the system's choice when its own are taken."""
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
        if taken:
            text = re.sub(r"(address: 127\.0\.0\.1):\d+", r"\1:0", text)
        text = text.replace("repository: models,", "repository: %s," % json.dumps(os.path.join(HERE, "models")))
        path = os.path.join(self.folder, "switchback.yaml")
        with open(path, "w") as f:
            f.write(text)
        return path, "(%s in use, other ports chosen)" % " and ".join(taken) if taken else ""

    def tail(self):
        self.log.flush()
        with open(self.log.name, errors="replace") as f:
            return "".join(f.readlines()[-15:])

    def alive(self):
        if self.child.poll() is not None:
            refuse("switchback ended with %s:\n%s" % (self.child.returncode, self.tail()))

    # === asking it ===

    def get(self, path):
        """(status, answer) of the admin API; JSON is read."""
        connection = http.client.HTTPConnection(self.admin, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode()
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return answer.status, json.loads(body) if is_json else body
        finally:
            connection.close()

    def rollout(self, model):
        """The rollout that runs, or the last that did; none before the first."""
        status, answer = self.get("/api/v1/models/%s/rollout" % model)
        return answer.get("rollout", answer) if status == 200 else None

    def decisions(self, rollout):
        """What was decided in it, in order."""
        status, answer = self.get("/api/v1/rollouts/%s/decisions?limit=100" % rollout)
        return answer["decisions"] if status == 200 else []

    def pairs(self, model):
        """Pairs of answers that differed, as kept for people."""
        status, answer = self.get("/api/v1/models/%s/pairs?which=worst&limit=100" % model)
        return answer["pairs"] if status == 200 else []

    def metric(self, pattern):
        """The first number on the metrics page in a line that begins so; none if there is no such line."""
        found = re.search(r"^%s[^ ]* ([0-9.e+-]+)$" % pattern, self.get("/metrics")[1], re.MULTILINE)
        return float(found.group(1)) if found else None

    def command(self, *words):
        """A command as one would type it."""
        server = [] if self.admin == DEFAULT else ["--server", "http://" + self.admin]
        return " ".join(["switchback", *words, *server])

    def start(self, *words):
        """Runs a command of `switchback`, which is answered by this process: `finish` waits for it."""
        arguments = [self.binary, *words, "--server", "http://" + self.admin]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment, start_new_session=True)

    @staticmethod
    def finish(child, seconds, said=None):
        """(exit code, standard output, standard error)."""
        try:
            out, err = child.communicate(said, timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
        return child.returncode, out, err

    def run(self, *words):
        """Runs a command to its end."""
        return self.finish(self.start(*words), 30)

    def verify(self, report):
        """Makes the decisions of a report again from their records, without asking anybody."""
        child = subprocess.Popen([self.binary, "rollout", "verify", "-"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self.finish(child, 30, report)

    def stop(self):
        """Ends it; its exit code."""
        code = self.child.poll()
        if code is None:
            self.child.terminate()
            try:
                code = self.child.wait(40)
            except subprocess.TimeoutExpired:
                self.child.kill()
                code = self.child.wait()
        self.child.stdout.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code
