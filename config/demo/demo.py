#!/usr/bin/env python3
"""The demonstration: four builds of a real model, and what becomes of each when it is rolled out.

`make demo` runs it. Switchback answers real rows with v1 all the time; then v2, v4 and v3 are rolled
out in turn, each with one command and nobody watching. In a terminal it draws a live picture and
keeps serving until Ctrl-C, so that the named URLs and commands can be tried; otherwise (or with
--non-interactive) it prints plain lines and ends. The exit code says whether everything it claims
was so. Standard library only, Python 3.9 or later.

    demo.py      the story and its claims        sidecar.py   the process, its API and commands
    act.py       one rollout, while it goes on   traffic.py   the clients        look.py   the terminal
"""

import argparse
import os
import signal
import sys
import time

from act import MODEL, Act
from look import BOLD, CYAN, FAINT, Look
from sidecar import ROOT, Sidecar
from traffic import CLIENTS, Traffic

# The whole story, in seconds.
LIMIT = 90


def arguments():
    p = argparse.ArgumentParser(description="Four builds of a real model, rolled out behind Switchback.")
    p.add_argument("--bin", default=os.path.join(ROOT, "target", "release", "switchback"), help="the switchback binary")
    p.add_argument("--non-interactive", action="store_true", help="plain lines, and end after the story")
    return p.parse_args()


class Story:
    """The acts, and what is claimed of each."""

    def __init__(self, look, sidecar):
        self.look, self.sidecar = look, sidecar
        self.began, self.claims = time.monotonic(), []
        self.traffic = Traffic(sidecar.main, MODEL, 100)

    def claim(self, good, what):
        self.claims.append((bool(good), what))

    def heading(self, number, text):
        elapsed = time.monotonic() - self.began
        self.look.say("\n%d  %s  (%.0f s)" % (number, text, elapsed), BOLD)

    def breathe(self, seconds):
        """Time to read, for those who do."""
        if self.look.terminal:
            time.sleep(seconds)

    def stable(self):
        self.heading(1, "v1 is good, and serves")
        self.look.say("  A model that tells benign from malignant tumours, in this process. %d clients send it rows "
                      "that its training did not see, and do not stop until the end." % CLIENTS)
        time.sleep(3)
        answers = self.traffic.answers()
        answered, right = self.traffic.total()
        self.look.say("  %d users answered, all by v1; right in %.1f %%." % (answered, 100 * right / max(1, answered)))
        self.claim(answered >= 50 and set(answers) == {"v1"}, "v1 answered everybody before the first rollout (%d users)" % answered)
        self.breathe(2)

    def wrong(self):
        self.heading(2, "v2 is wrong, and nothing but its answers shows it")
        self.look.say("  It expects one column, \"mean radius\", normalised already; requests are raw. Status 200, the "
                      "right shape, probabilities that sum to 1, as fast as v1, and confident. It is right in 103 of "
                      "the 171 rows, v1 in 164.")
        act = Act(self.look, self.sidecar, self.traffic, "v2", 50).play()
        wrong = act.differences()
        self.look.say("\n  what v2 would have told people (kept: rollout pairs %s --worst)" % MODEL)
        self.look.lines(["  " + words for words, _ in wrong])
        act.served()
        self.claim(act.phase() == "RolledBack" and act.exit == 3, "v2 went back: %s, and the command says so by its exit code, %s"
                   % (act.phase(), act.exit))
        self.claim(act.steps == {0} and "divergence:" in act.reason(), "v2 was caught in the shadow, by what it answered")
        self.claim(any(sure > 0.9 for _, sure in wrong), "v2 was wrong and sure of it, v1 was right (%d pairs shown)" % len(wrong))
        code, _, said = self.sidecar.run("rollout", "start", MODEL, "--to", "v2")
        self.look.lines(["", self.look.paint(CYAN, "  $ " + self.sidecar.command("rollout", "start", MODEL, "--to", "v2"))])
        self.look.say("  " + said.strip())
        self.claim(code == 9, "v2 is latched: nobody starts it again by mistake (exit code %s)" % code)
        self.breathe(5)
        return act

    def slow(self):
        self.heading(3, "v4 answers well, and too slowly")
        self.look.say("  The weights of v1, and some milliseconds of useless work for each row. Nobody waits for a copy, "
                      "so that it passes the shadow; at 10 % of the users it meets people.")
        act = Act(self.look, self.sidecar, self.traffic, "v4", 150).play()
        # Requests that were on their way when traffic went back.
        time.sleep(0.5)
        before = act.answered("v4")
        act.served()
        self.claim(act.phase() == "RolledBack" and act.exit == 3, "v4 went back: %s, exit code %s" % (act.phase(), act.exit))
        self.claim(act.steps == {0, 1} and "latency:" in act.reason(), "v4 passed the shadow and was caught in the canary, by how slow it was")
        seen = act.seen.get("v4")
        self.claim(seen and seen.answers <= 200 and seen.right + 2 >= 0.9 * seen.answers, "v4 answered %d users, and well" % before)
        self.breathe(5)
        return act

    def good(self):
        self.heading(4, "v3 is good, and takes over")
        self.look.say("  Trained again, with another regularisation. It is right as often as v1, though not in the same "
                      "rows, and its probabilities differ by up to 0.38: what is compared is the class.")
        act = Act(self.look, self.sidecar, self.traffic, "v3", 400).play()
        act.served()
        self.claim(act.phase() == "Succeeded" and act.exit == 0, "v3 was promoted and baked: %s, exit code %s" % (act.phase(), act.exit))
        self.claim(act.steps >= {0, 1, 2, 3}, "v3 went through the shadow, 10 %, 50 % and the bake")
        self.traffic.begin(100)
        time.sleep(1)
        after = self.traffic.answers()
        self.claim(set(after) == {"v3"}, "v3 answers everybody now (%s)" % ", ".join("%s %d" % x for x in sorted(after.items())))
        self.breathe(2)
        return act

    def after(self, acts):
        """What holds for all of it."""
        answered, right = self.traffic.total()
        failures = list(self.traffic.failures)
        self.claim(not failures, "%d users answered, %d failed%s" % (answered, len(failures), ": " + failures[-1] if failures else ""))
        self.claim(self.traffic.total("v2")[0] == 0, "users answered by v2: %d" % self.traffic.total("v2")[0])
        late = sum(seen.answers for act in self.traffic.acts for name, seen in act.items() if name == "v4" and act is not acts[1].seen)
        self.claim(late == 0, "users answered by v4 after it was caught: %d" % late)
        self.claim(right >= 0.9 * answered, "right in %.1f %% of all answers" % (100 * right / max(1, answered)))
        checked = 0
        for act in acts:
            code, report, _ = self.sidecar.run("rollout", "report", act.view["id"], "--output", "json") if act.view else (1, "", "")
            checked += code == 0 and self.sidecar.verify(report)[0] == 0
        self.claim(checked == len(acts), "every decision, made again from its record (rollout verify), comes out the same: "
                   "%d of %d rollouts" % (checked, len(acts)))
        elapsed = time.monotonic() - self.began
        self.claim(elapsed < LIMIT, "it took %.0f s" % elapsed)


def further(look, sidecar, binary):
    """Where to look, as it can be typed."""
    binary = os.path.relpath(binary) if not os.path.relpath(binary).startswith("..") else binary
    admin = "http://" + sidecar.admin
    command = lambda *words: sidecar.command("rollout", *words).replace("switchback", binary, 1)
    rows = [
        (command("status", MODEL), "how it stands, check by check"),
        (command("report", MODEL), "each decision with its numbers"),
        (command("history", MODEL), "all three"),
        (command("clear", MODEL), "after a rollback: let it be tried again"),
        ("curl %s/metrics" % admin, "what Prometheus reads"),
        ("curl %s/api/v1/status" % admin, "versions, traffic, latency, shadow"),
        ("curl %s/api/v1/rollouts" % admin, "the rollouts as JSON"),
        ("curl '%s/api/v1/models/%s/pairs?which=worst'" % (admin, MODEL), "answers that differed"),
        ("curl http://%s/v2/models/%s" % (sidecar.main, MODEL), "the model's inputs and outputs"),
    ]
    wide = max(len(what) for what, _ in rows)
    look.lines(["  %s  %s" % (what.ljust(wide), look.paint(FAINT, why)) for what, why in rows])


def main():
    options = arguments()
    interactive = sys.stdout.isatty() and not options.non_interactive
    look = Look(interactive)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sidecar = Sidecar(options.bin)
    story, good = None, False
    try:
        look.say("switchback listens on http://%s, admin on http://%s %s" % (sidecar.main, sidecar.admin, sidecar.moved))
        story = Story(look, sidecar)
        story.stable()
        acts = [story.wrong(), story.slow(), story.good()]
        story.after(acts)
        look.say("\nIn short", BOLD)
        good = all(right for right, _ in story.claims)
        look.lines(["  %s %s" % (look.mark(right), what) for right, what in story.claims])
        look.say("\nLook further" if interactive else "\nLook further: in a terminal, `make demo` keeps serving", BOLD)
        further(look, sidecar, options.bin)
        if interactive:
            look.say("\nRows keep coming, ten a second. Ctrl-C ends it.")
            story.traffic.begin(10)
            sidecar.child.wait()
    except KeyboardInterrupt:
        print()
    finally:
        if story:
            story.traffic.stopping.set()
        code = sidecar.stop()
    if code != 0:
        print("demo: switchback ended with exit code %s" % code, file=sys.stderr)
    sys.exit(0 if code == 0 and good else 1)


if __name__ == "__main__":
    main()
