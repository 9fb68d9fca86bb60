#!/usr/bin/env python3
"""A language model differs from itself; Switchback says so, and by how much, from real streams.

SmolLM2-135M-Instruct behind llama.cpp's server is asked through Switchback, streamed. Copies go to the same server under another name, or back to stable,
as a coin says. At temperature 0 it agrees with itself; above, it does not, and the candidate,
being the same, must not look worse than the noise. A server that has the wrong chat template,
which is what goes wrong when such a server is set up, must.

Streams are read to the last byte here. The `openai` client, which has a check of its own,
leaves at `[DONE]` without reading on: where it is faster than the end of the body, that is a
client that went away, and there is no pair.
"""

import http.client
import json
import math
import os

from harness import BYPASS, Checks, Skip, Switchback, equal, get, wait_until
from llm_server import PYTHON, Llm

import openai

# Prompts to which a model this small knows about what to say, if it says it in several ways.
PROMPTS = (
    "Repeat exactly: the quick brown fox jumps over the lazy dog",
    "Name the days of the week.",
    "What is 2+2?",
    "Count from one to ten.",
)
# Another model's: SmolLM2 takes it for text to go on with.
WRONG_TEMPLATE = "llama2"
TOKENS = 12
# Of an answer that nobody waits for to its end.
LONG = 400
NOISE = 0.5
# One-sided, in standard deviations: a false alarm once in 30 000 runs.
SIGMAS = 4


def above_noise(found):
    """By how many standard deviations candidate pairs diverge more often than controls do."""
    def counts(kind):
        return found[kind].get("diverged", 0), sum(found[kind].values())

    (bad, all_bad), (noise, all_noise) = counts("candidate"), counts("control")
    pooled = (bad + noise) / (all_bad + all_noise)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / all_bad + 1 / all_noise))
    return (bad / all_bad - noise / all_noise) / deviation if deviation else 0.0


class Chats:
    """The servers, the proxy, and the client."""

    def __init__(self):
        if not os.access(PYTHON, os.X_OK):
            raise Skip(f"no environment for a language model at {PYTHON}: run `make parts`")
        self.servers, self.proxy = [], None
        try:
            # Two requests at once, as on a real server: an answer and its copy.
            self.servers = [Llm(slots=2), Llm(slots=2, template=WRONG_TEMPLATE)]
            self.proxy = Switchback(self.config())
        except BaseException:
            self.stop()
            raise

    def config(self):
        right, wrong = self.servers

        def upstream(server):
            # This server says keep-alive, and closes the connection right behind each stream. A
            # request that meets the close is lost for good, so none is sent that way here.
            return {"url": server.url, "maxIdle": 0}

        def model(name, candidate, **more):
            return {"name": name, "match": [{"model": name}], "versions": [
                {"name": "base", "weight": "100%", "upstream": upstream(right), "rewrite": {"model": "smollm2"}},
                {"name": "tuned", "upstream": upstream(candidate), "rewrite": {"model": "smollm2-tuned"}},
            ], **more}

        mirror = {"mirror": [{"to": "tuned", "noiseControl": f"{NOISE:.0%}", "maxInFlight": 1024}]}
        limits = {"absolute": {"p90": "600s"}, "quantiles": []}
        rollout = {"rollout": {
            "steps": [{"setWeight": {"weight": "50%", "minDuration": "1h"}}],
            "analysis": {"metrics": [{"timeToFirstToken": limits}, {"interToken": limits}]},
        }}
        return {
            "workers": 2,
            "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
            "admin": {"address": "127.0.0.1:0"},
            "models": [model("same", right, **mirror), model("warm", right, **mirror),
                       model("wrong", wrong, **mirror), model("rolled", right, **rollout)],
        }

    def body(self, model, prompt, temperature):
        return {"model": model, "temperature": temperature, "max_tokens": TOKENS, "stream": True, "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]}

    def ask(self, model, prompt, temperature, address=None):
        """One streamed chat, read to the end of its body; gives its text."""
        connection = http.client.HTTPConnection(address or self.proxy.main, timeout=120)
        try:
            connection.request("POST", "/v1/chat/completions",
                               json.dumps(self.body(model, prompt, temperature)), {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            head = answer.status, answer.headers.get_content_type()
            equal(head, (200, "text/event-stream"), f"the head ({answer.headers}{content[:300]!r})")
            data = [line[6:].strip() for line in content.splitlines() if line.startswith(b"data: ")]
        finally:
            connection.close()
        equal(data.pop(), b"[DONE]", "the last event")
        deltas = [choice["delta"].get("content") or "" for event in data for choice in json.loads(event)["choices"]]
        assert len(deltas) > 2, f"an answer in one piece: {deltas}"
        return "".join(deltas)

    def chat(self, model, count, temperature):
        """Asks one by one; gives the texts and, once compared, the pairs."""
        texts = [self.ask(model, PROMPTS[i % len(PROMPTS)], temperature) for i in range(count)]
        found = self.proxy.compared(model, count)
        print(f"     {model} at temperature {temperature}: {found}")
        equal(found["dropped"], {}, "chats that gave no pair")
        assert found["candidate"] and found["control"], "both kinds of pairs"
        return texts, found

    def at_temperature_0_it_agrees_with_itself(self):
        texts, found = self.chat("same", 20, 0)
        equal(len(set(texts)), len(PROMPTS), f"different answers to {len(PROMPTS)} prompts")
        for kind in ("candidate", "control"):
            equal(set(found[kind]), {"agreed"}, f"results of {kind} pairs ({found['reasons']})")

    def above_it_differs_from_itself_and_a_second_name_differs_no_more(self):
        _, found = self.chat("warm", 48, 0.3)
        sigmas = above_noise(found)
        print(f"     the same model under another name: {sigmas:+.1f} standard deviations above the noise")
        assert found["control"].get("diverged"), "at this temperature stable differs from itself"
        assert sigmas <= SIGMAS, f"{sigmas} standard deviations above the noise"

    def a_wrong_chat_template_differs_more_than_that(self):
        _, found = self.chat("wrong", 24, 0)
        sigmas = above_noise(found)
        print(f"     the wrong chat template: {sigmas:+.1f} standard deviations above the noise")
        assert sigmas > SIGMAS, f"only {sigmas} standard deviations above the noise"

    def a_person_can_read_what_both_said(self):
        code, _, answer = get(f"http://{self.proxy.admin}/api/v1/models/wrong/pairs?which=worst&limit=1")
        equal(code, 200)
        pair = json.loads(answer)["pairs"][0]
        said = [json.loads(pair[side]["text"])["choices"][0]["message"]["content"] for side in ("primary", "shadow")]
        print(f"     {said[0]!r} and {said[1]!r}")
        assert all(said) and said[0] != said[1], "both texts, put together from their streams"

    def a_rollout_times_first_tokens_and_the_gaps_between_tokens(self):
        rollouts, sent = f"http://{self.proxy.admin}/api/v1/rollouts", 16
        start = json.dumps({"model": "rolled", "candidate": "tuned"}).encode()
        code, _, answer = get(rollouts, "POST", start, {"content-type": "application/json"})
        equal(code, 201, f"status of a start ({answer!r})")
        url = f"{rollouts}/{json.loads(answer)['rollout']['id']}/evidence"
        self.wait_for_half()
        for i in range(sent):
            self.ask("rolled", PROMPTS[i % len(PROMPTS)], 0)

        def timed():
            checks = json.loads(get(url)[2])["evidence"]["checks"]
            found = {check["name"]: check["figures"]["whole"]["requests"] for check in checks}
            return sum(found["time-to-first-token"].values()) >= sent and found

        found = wait_until("every stream to be timed", timed, 20)
        print(f"     durations: {found}")
        first, gaps = found["time-to-first-token"], found["inter-token"]
        equal(sum(first.values()), sent, "times to the first token, one for each stream")
        for arm in ("stable", "candidate"):
            # One draw in 65 000 gives either arm no request at all.
            assert gaps[arm] >= 2 * first[arm] > 0, f"several gaps in each stream of {arm}: {found}"

    def wait_for_half(self):
        def half():
            versions = {v["name"]: v for v in self.proxy.model("rolled")["versions"]}
            return versions["tuned"]["role"] == "canary"

        wait_until("the candidate to get its half", half, 20)

    def the_openai_client_gets_its_streams(self):
        client = openai.OpenAI(
            base_url=f"http://{self.proxy.main}/v1", api_key="none", max_retries=0, timeout=120)
        for prompt in PROMPTS:
            stream = client.chat.completions.create(**self.body("same", prompt, 0))
            pieces = [choice.delta.content or "" for event in stream for choice in event.choices]
            direct = self.ask("smollm2", prompt, 0, self.servers[0].url[len("http://"):])
            equal("".join(pieces), direct, "the text through the client, and straight from the server")

    def a_client_that_leaves_stops_what_is_computed_for_it_and_its_copy(self):
        server, proxy = self.servers[0], self.proxy
        wait_until("nothing is computed", lambda: not server.is_busy(), 60)
        before, left = server.predicted(), proxy.metric("switchback_requests_total", 'outcome="cancelled"')
        client = openai.OpenAI(base_url=f"http://{proxy.main}/v1", api_key="none", max_retries=0, timeout=120)
        body = self.body("same", "Tell a long story.", 0) | {"max_tokens": LONG}
        stream = client.chat.completions.create(**body, extra_body={"ignore_eos": True})
        for event, _ in zip(stream, range(5)):
            assert event.choices, event
        wait_until("the copy to be computed", lambda: proxy.metric("switchback_mirror_in_flight"), 20)
        stream.close()
        wait_until("the server to stop", lambda: not server.is_busy(), 60)
        spent = server.predicted() - before
        print(f"     {spent:.0f} tokens of {2 * LONG} were predicted")
        assert spent < LONG, f"{spent} tokens for a client that left after five"
        wait_until("it is counted", lambda: proxy.metric(
            "switchback_requests_total", 'outcome="cancelled"') == left + 1, 20)

    def stop(self):
        for process in [self.proxy, *self.servers]:
            if process:
                process.stop()


def main():
    checks = Checks("divergence of a real language model")
    chats = None

    def start():
        nonlocal chats
        if BYPASS:
            raise Skip("bypassed: only a proxy compares")
        chats = Chats()

    checks.run("the language model starts", start)
    try:
        for name in (
            "at_temperature_0_it_agrees_with_itself",
            "above_it_differs_from_itself_and_a_second_name_differs_no_more",
            "a_wrong_chat_template_differs_more_than_that", "a_person_can_read_what_both_said",
            "a_rollout_times_first_tokens_and_the_gaps_between_tokens", "the_openai_client_gets_its_streams",
            "a_client_that_leaves_stops_what_is_computed_for_it_and_its_copy",
        ) if chats else ():
            checks.run(name.replace("_", " "), getattr(chats, name), seconds=300)
    finally:
        if chats:
            chats.stop()
    checks.finish()


if __name__ == "__main__":
    main()
