"""Clients that send rows all the time, and what came back to them."""

import collections
import http.client
import json
import os
import random
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LABELS = ("malignant", "benign")
CLIENTS = 4


def rows():
    """The rows that training did not see: (request body, right label)."""
    with open(os.path.join(HERE, "rows.jsonl")) as f:
        lines = [json.loads(line) for line in f if line.strip()]
    return [(json.dumps(row["request"]).encode(), int(row["label"])) for row in lines]


def predicted(document):
    """(label, its probability) of the first row in an answer."""
    outputs = {o["name"]: o["data"] for o in document["outputs"]}
    label = int(outputs["label"][0])
    # One row gives a flat list; a server may also nest it by shape.
    chances = outputs["probabilities"]
    chances = chances[0] if isinstance(chances[0], list) else chances
    return label, float(chances[label])


class Seen:
    """What users saw of one version in one act."""

    def __init__(self):
        self.answers, self.right, self.seconds = 0, 0, []

    def median(self):
        """In seconds, as a client measures it."""
        return sorted(self.seconds)[len(self.seconds) // 2] if self.seconds else 0.0


class Traffic:
    """Sends rows, `rate` a second, until it is stopped."""

    def __init__(self, address, model, rate):
        self.address, self.path, self.rate = address, "/v2/models/%s/infer" % model, rate
        self.rows = rows()
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.act, self.acts, self.failures = None, [], []
        self.begin(rate)
        self.threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def begin(self, rate):
        """Counts afresh: another act of the story begins. Answers count where their request was sent."""
        with self.lock:
            self.rate, self.act = rate, collections.defaultdict(Seen)
            self.acts.append(self.act)

    def client(self, seed):
        # Which rows, not which version: that is Switchback's draw alone.
        order, connection, due = random.Random(seed), None, time.monotonic()
        while not self.stopping.is_set():
            due = max(due + CLIENTS / self.rate, time.monotonic() - 0.05)
            self.stopping.wait(max(0, due - time.monotonic()))
            try:
                connection = connection or http.client.HTTPConnection(self.address, timeout=30)
                self.one(connection, order.randrange(len(self.rows)))
            except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
                connection = None
                if not self.stopping.is_set():
                    with self.lock:
                        self.failures.append("%s: %s" % (type(error).__name__, error))
                    self.stopping.wait(0.1)

    def one(self, connection, number):
        body, truth = self.rows[number]
        act, began = self.act, time.perf_counter()
        connection.request("POST", self.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        took = time.perf_counter() - began
        version = answer.headers.get("x-switchback-version")
        if answer.status != 200 or not version:
            raise ValueError("status %d, version %s: %s" % (answer.status, version, content[:200].decode(errors="replace")))
        label, _ = predicted(json.loads(content))
        with self.lock:
            seen = act[version]
            seen.answers += 1
            seen.right += label == truth
            seen.seconds.append(took)

    def answers(self, act=None):
        """Users answered, by version: in the present act, or in another one."""
        with self.lock:
            return {name: seen.answers for name, seen in (act or self.act).items()}

    def total(self, version=None):
        """(answers, right ones) of all acts, of one version or of all."""
        with self.lock:
            seen = [s for act in self.acts for name, s in act.items() if version in (None, name)]
            return sum(s.answers for s in seen), sum(s.right for s in seen)

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(35)
