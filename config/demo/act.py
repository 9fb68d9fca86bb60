"""One act: a rollout from its start to its end, shown while it goes on."""

import json
import time

from look import CYAN, FAINT, GREEN, RED, YELLOW, logarithm, milliseconds
from traffic import LABELS, predicted

MODEL = "cancer"
# What an act takes at most. Each lasts a few seconds; a busy machine needs more.
PATIENCE = 45
# What the last decision of a rollout is.
LAST = ("rollback", "succeed", "abort", "supersede")


class Act:
    """A candidate's way, and what came of it."""

    def __init__(self, look, sidecar, traffic, candidate, rate):
        self.look, self.sidecar, self.traffic, self.candidate = look, sidecar, traffic, candidate
        self.told, self.printed, self.began = 0, None, time.monotonic()
        self.view, self.exit, self.complaint = None, None, ""
        # What was decided, and every step that it stood at.
        self.decisions, self.steps = [], set()
        traffic.begin(rate)
        self.seen = traffic.act

    def play(self):
        """Starts the rollout with the command line and watches it until it has ended."""
        words = ("rollout", "start", MODEL, "--to", self.candidate, "--wait")
        self.look.lines(["", self.look.paint(CYAN, "  $ " + self.sidecar.command(*words)), ""])
        last = self.sidecar.rollout(MODEL)
        child = self.sidecar.start(*words, "--timeout", "%ds" % PATIENCE)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(0.05)
            self.sidecar.alive()
            view = self.sidecar.rollout(MODEL)
            if view is None or (last and view["id"] == last["id"]):
                if child.poll() not in (None, 0):
                    break
                continue
            self.view = view
            if not view["ended"]:
                self.steps.add(view["step"])
            self.show()
            # A rollout has ended a moment before the record of it can be read.
            if view["ended"] and (self.decisions and self.decisions[-1]["action"] in LAST or time.monotonic() > end - 5):
                break
        self.exit, _, self.complaint = self.sidecar.finish(child, 10)
        if self.view is None:
            self.look.say("  the rollout did not begin: %s" % self.complaint.strip(), RED)
        return self

    def phase(self):
        return self.view["phase"] if self.view else "never began"

    def reason(self):
        """Why it ended, as it was decided."""
        return self.decisions[-1]["sentence"] if self.decisions else ""

    def answered(self, version):
        return self.traffic.answers(self.seen).get(version, 0)

    # === showing it ===

    def show(self):
        decisions = self.sidecar.decisions(self.view["id"])
        for decision in decisions[self.told:]:
            # That it began and was loaded is no news.
            if decision["action"] != "start" and not decision["sentence"].endswith("by gate load"):
                self.verdict(decision)
        self.decisions, self.told = decisions, len(decisions)
        if self.view["ended"]:
            return
        if self.look.terminal:
            self.look.live(self.picture())
        else:
            self.line()

    def verdict(self, decision):
        """A decision in the words it is kept in."""
        action = decision["action"]
        colour = RED if action in ("rollback", "abort") else GREEN
        if self.look.terminal:
            # What it rests on stays on the screen above it.
            self.look.live(self.picture(decision))
        else:
            self.line(decision)
        self.look.say("  %5.1f s  %s" % (time.monotonic() - self.began, decision["sentence"]), colour)
        if self.look.terminal:
            self.look.lines([""])

    def steps_line(self, at):
        """The way, and where it stands."""
        words = []
        for place, step in enumerate(self.view["steps"]):
            here = place == at
            words.append(self.look.paint(YELLOW, self.look.here + " " + step) if here else
                         self.look.paint(GREEN, self.look.yes + " " + step) if place < at else
                         self.look.paint(FAINT, "  " + step))
        return "   ".join(words)

    def copies(self, evidence):
        """Compared copies in words; nothing before the first."""
        for check in evidence["checks"]:
            if check["rule"] == "divergence":
                tally = check["figures"]["whole"]
                return "%d of %d copies answered otherwise than v1" % (
                    tally["events"]["candidate"], tally["requests"]["candidate"])
        return ""

    def users(self):
        """Who answered users in this act: the candidate by name, nought included."""
        answers = self.traffic.answers(self.seen)
        names = sorted(set(answers) | {self.candidate})
        return ", ".join("%s %d" % (name, answers.get(name, 0)) for name in names)

    @staticmethod
    def slowest(evidence):
        """The evidence against harm that is still missing most: every check must have it."""
        return min((c["ruledOut"] for c in evidence["checks"] if c["ruledOut"] is not None), default=None)

    def picture(self, decision=None):
        """How it stands; or what a decision rests on, and the step that it was about."""
        seen, look = decision or self.view, self.look
        evidence = seen["evidence"]
        slowest = self.slowest(evidence)
        harmless = "nothing to say here" if slowest is None else look.evidence(slowest, evidence["passThreshold"], GREEN, 30)
        leads = slowest is not None and not self.view["steps"][seen["step"]].startswith("bake")
        return [
            "  %-20s%s" % (self.view["phase"], self.steps_line(seen["step"])),
            "  it is worse         %s: back at once" % look.evidence(evidence["eValue"], evidence["threshold"], RED, 30),
            "  it does no harm     %s%s" % (harmless, ": next step" if leads else ""),
            "  users answered by   " + self.users(),
            "  in the shadow       " + self.copies(evidence),
        ]

    def line(self, decision=None):
        """The same in one line, when it says something new."""
        seen, now = decision or self.view, time.monotonic()
        evidence = seen["evidence"]
        slowest = self.slowest(evidence)
        key = (seen["step"], round(logarithm(evidence["eValue"]) * 4))
        if self.printed and now < self.printed[1] + (0.2 if key != self.printed[0] or decision else 1):
            return
        self.printed = (key, now)
        worse = self.look.evidence(evidence["eValue"], evidence["threshold"], RED, 10)
        harmless = "" if slowest is None else ", harmless " + self.look.evidence(slowest, evidence["passThreshold"], GREEN, 10)
        self.look.lines(["  %5.1f s  %-13s worse %s%s   users: %s" % (
            now - self.began, self.view["steps"][seen["step"]], worse, harmless, self.users())])

    # === what came of it ===

    def served(self):
        """Who answered users in this act, how well and how fast."""
        total = max(1, sum(self.traffic.answers(self.seen).values()))
        lines = ["  who answered users in this act"]
        with self.traffic.lock:
            seen = dict(self.seen)
        for name in sorted(set(seen) | {self.candidate}):
            if name not in seen:
                lines.append("  %s  nobody" % name)
                continue
            one = seen[name]
            lines.append("  %s  %s %5d  %5.1f %%   right %5.1f %%   median %s" % (
                name, self.look.bar(one.answers / total, 20, GREEN), one.answers, 100 * one.answers / total,
                100 * one.right / max(1, one.answers), milliseconds(one.median())))
        self.look.lines(lines)

    def differences(self, most=3):
        """(words, probability) of kept pairs in which the candidate was wrong and v1 was right."""
        truths = {tuple(json.loads(body)["inputs"][0]["data"]): label for body, label in self.traffic.rows}
        found = {}
        for pair in self.sidecar.pairs(MODEL):
            if pair["control"] or pair["shadowVersion"] != self.candidate:
                continue
            request, ours, theirs = (json.loads(pair[part]["text"]) for part in ("request", "primary", "shadow"))
            truth = truths.get(tuple(request["inputs"][0]["data"]))
            (label, chance), (other, certain) = predicted(ours), predicted(theirs)
            if truth is not None and label == truth and other != truth:
                found[(truth, chance, certain)] = "truth: %-9s   v1: %-9s (%.3f)   %s: %-9s (%.3f)" % (
                    LABELS[truth], LABELS[label], chance, self.candidate, LABELS[other], certain)
        return [(found[key], key[2]) for key in sorted(found, key=lambda key: -key[2])[:most]]
