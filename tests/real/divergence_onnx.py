#!/usr/bin/env python3
"""Two servers of one model agree, and a wrong build of it does not, compared as nobody set it up.

The demonstration's own ONNX files are served by a real MLServer and by Switchback in its own
process. Real rows go through Switchback; each is copied to the other server, and some go back
to the stable one to measure noise. What must come out is computed here from what the servers
answer when asked directly, by the documented default rule and not by Switchback.
"""

import json
import math
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor

from harness import BYPASS, CACHE, ROOT, Checks, Skip, Switchback, equal, get, wait_until
from mlserver_model import MLServer

DEMO = os.path.join(ROOT, "config", "demo")
JSON = {"content-type": "application/json"}
NOISE = 0.3

with open(os.path.join(DEMO, "rows.jsonl")) as f:
    ROWS = [json.loads(line)["request"] for line in f]


def batch(rows):
    """Rows as one request."""
    tensors = [row["inputs"][0] for row in rows]
    data = [x for tensor in tensors for x in tensor["data"]]
    return {"inputs": [{**tensors[0], "shape": [len(rows), 30], "data": data}]}


# Each row alone, and all of them by nine.
REQUESTS = ROWS + [batch(ROWS[i:i + 9]) for i in range(0, len(ROWS), 9)]


def settings(folder):
    """Two builds as two models of MLServer."""
    for name, version in (("good", "1"), ("broken", "2")):
        os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, name, "model-settings.json"), "w") as out:
            json.dump({
                "name": name,
                "implementation": "onnx_model.OnnxModel",
                "parameters": {"uri": os.path.join(DEMO, "models", "cancer", version, "model.onnx"),
                               "version": version},
            }, out)


def differ(a, b):
    """Whether two answers diverge by the default rule: the label is an integer and must be the
    same; so must the likeliest class (scores within 0.0001 are tied); no probability may be off
    by more than 0.05."""
    def outputs(answer):
        found = {o["name"]: o["data"] for o in answer["outputs"]}
        flat = found["probabilities"]
        return found["label"], [flat[i:i + 2] for i in range(0, len(flat), 2)]

    (label_a, rows_a), (label_b, rows_b) = outputs(a), outputs(b)
    off = max(abs(x - y) for p, q in zip(rows_a, rows_b) for x, y in zip(p, q))
    # On the edge of the tolerance this test would not know.
    assert abs(off - 0.05) > 1e-6, f"choose other rows: a probability is off by {off}"
    return label_a != label_b or off > 0.05


class Two:
    """The servers, the proxy, and four models that are each a primary and a shadow."""

    def __init__(self):
        library = os.environ.get("ORT_DYLIB_PATH") or os.path.join(CACHE, "onnxruntime", "libonnxruntime.so")
        if not os.path.exists(library):
            raise Skip(f"no ONNX Runtime at {library}: run `make parts`")
        os.environ["ORT_DYLIB_PATH"] = library
        self.folder = tempfile.mkdtemp(prefix="switchback-mlserver-")
        settings(self.folder)
        self.proxy, self.server = None, MLServer(self.folder, ("good", "broken"))
        try:
            self.server.start()
            self.proxy = Switchback(self.config())
            # The ready line waits for who answers clients; a shadow may still be loading.
            wait_until("every version to be ready", self.all_ready, 30)
        except BaseException:
            self.stop()
            raise

    def all_ready(self):
        return all(v["ready"] for model in self.proxy.status()["models"] for v in model["versions"])

    def config(self):
        def mlserver(name):
            return {"upstream": {"url": self.server.http}, "rewrite": {"model": name}}

        def here(version):
            return {"onnx": {"repository": os.path.join(DEMO, "models"), "model": "cancer", "version": version}}

        def model(name, stable, shadow, noise):
            return {"name": name, "match": [{"model": name}],
                    "versions": [{"name": "stable", "weight": "100%", **stable}, {"name": "shadow", **shadow}],
                    # Every copy counts here, however slow the machine is.
                    "mirror": [{"to": "shadow", "noiseControl": f"{noise:.0%}", "maxInFlight": 1024}]}

        return {
            "workers": 2,
            "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
            "admin": {"address": "127.0.0.1:0"},
            "models": [
                model("same", mlserver("good"), here(1), NOISE),
                model("turned", here(1), mlserver("good"), NOISE),
                model("broken", mlserver("good"), here(2), NOISE),
                model("broken-turned", here(1), mlserver("broken"), 0),
            ],
        }

    def send(self, model):
        """Every request through Switchback; gives the answers and, once compared, the pairs."""
        def ask(request):
            url = f"http://{self.proxy.main}/v2/models/{model}/infer"
            code, _, answer = get(url, "POST", json.dumps(request).encode(), JSON)
            equal(code, 200, f"status of {model} ({answer[:200]!r})")
            return json.loads(answer)

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(ask, REQUESTS))
        found = self.proxy.compared(model, len(REQUESTS))
        print(f"     {model}: {found}")
        equal(found["dropped"], {}, "requests that gave no pair")
        return answers, found

    def check_coin(self, found, noise):
        """Five standard deviations: a false alarm once in two million runs."""
        total, control = len(REQUESTS), sum(found["control"].values())
        equal(control + sum(found["candidate"].values()), total, "pairs")
        bound = 5 * math.sqrt(total * noise * (1 - noise))
        assert abs(control - total * noise) <= bound, f"{control} of {total} copies were controls, of {noise:.0%}"

    def agreeing(self, model):
        """Every request gives a pair, and none of the pairs diverges."""
        answers, found = self.send(model)
        self.check_coin(found, NOISE)
        for kind in ("candidate", "control"):
            equal(set(found[kind]), {"agreed"}, f"results of {kind} pairs ({found['reasons']})")
        equal(found["reasons"], {}, "reasons")
        return answers

    def the_same_model_in_mlserver_and_in_process_agrees(self):
        self.agreeing("same")

    def and_so_it_does_the_other_way_round(self):
        answers = self.agreeing("turned")
        # What Switchback says is checked without it: the two servers really say the same.
        for request, answer in zip(REQUESTS, answers):
            equal(differ(answer, self.direct("good", request)), False, "an answer and MLServer's own")

    def direct(self, name, request):
        url = f"{self.server.http}/v2/models/{name}/infer"
        code, _, answer = get(url, "POST", json.dumps(request).encode(), JSON)
        equal(code, 200, f"direct answer of {name}")
        return json.loads(answer)

    def wrong(self):
        """How many requests the broken build answers otherwise, as computed here."""
        return sum(differ(self.direct("good", r), self.direct("broken", r)) for r in REQUESTS)

    def a_wrong_build_in_process_diverges_and_stable_from_itself_does_not(self):
        _, found = self.send("broken")
        self.check_coin(found, NOISE)
        equal(set(found["control"]), {"agreed"}, "results of control pairs")
        # The copies to the candidate are drawn without replacement of all requests.
        total, wrong = len(REQUESTS), self.wrong()
        copies, diverged = sum(found["candidate"].values()), found["candidate"].get("diverged", 0)
        mean = copies * wrong / total
        bound = 5 * math.sqrt(mean * (1 - wrong / total) * (total - copies) / (total - 1))
        print(f"     {wrong} of {total} must differ; {diverged} of {copies} copies did, want {mean:.1f} ± {bound:.1f}")
        assert abs(diverged - mean) <= bound, f"{diverged} of {copies} diverged, want {mean:.1f} ± {bound:.1f}"
        assert diverged > copies / 4, "a good part"
        assert all(reason in ("candidate label", "candidate numeric", "candidate value") for reason in found["reasons"])

    def a_wrong_build_in_mlserver_diverges_in_exactly_the_pairs_that_differ(self):
        _, found = self.send("broken-turned")
        self.check_coin(found, 0)
        wrong = self.wrong()
        equal(found["candidate"], {"diverged": wrong, "agreed": len(REQUESTS) - wrong}, "results")
        equal(sum(found["reasons"].values()), wrong, "reasons, one for each diverged pair")

    def a_person_can_look_at_the_worst_pairs(self):
        code, _, answer = get(f"http://{self.proxy.admin}/api/v1/models/broken-turned/pairs?which=worst&limit=1")
        equal(code, 200)
        pair = json.loads(answer)["pairs"][0]
        equal((pair["primaryVersion"], pair["shadowVersion"], pair["control"]), ("stable", "shadow", False), "whose")
        for part in ("request", "primary", "shadow"):
            assert pair[part], f"the {part} is kept"

    def stop(self):
        if self.proxy:
            self.proxy.stop()
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    checks = Checks("divergence of MLServer and ONNX in process")
    names = (
        "the_same_model_in_mlserver_and_in_process_agrees", "and_so_it_does_the_other_way_round",
        "a_wrong_build_in_process_diverges_and_stable_from_itself_does_not",
        "a_wrong_build_in_mlserver_diverges_in_exactly_the_pairs_that_differ",
        "a_person_can_look_at_the_worst_pairs",
    )
    two = None

    def start():
        nonlocal two
        if BYPASS:
            raise Skip("bypassed: only a proxy compares")
        two = Two()

    checks.run("both servers start", start)
    try:
        for name in names if two else ():
            checks.run(name.replace("_", " "), getattr(two, name))
    finally:
        if two:
            two.stop()
    checks.finish()


if __name__ == "__main__":
    main()
