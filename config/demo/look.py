"""How things look: colours and bars in a terminal, plain lines elsewhere."""

import math
import re
import shutil
import sys
import textwrap

COLOUR = re.compile(r"\x1b\[[\d;]*m")
RED, GREEN, YELLOW, CYAN, BOLD, FAINT = "31", "32", "33", "36", "1", "2"


class Look:
    """Writes. In a terminal, `live` lines are drawn over until something else is said."""

    def __init__(self, terminal):
        self.terminal, self.drawn = terminal, 0
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")
        unicode = "utf" in (sys.stdout.encoding or "").lower()
        self.full, self.empty, self.yes, self.no, self.here = (
            ("█", "░", "✓", "✗", "▸") if unicode else ("#", ".", "ok", "WRONG", ">"))

    def paint(self, code, text):
        return "\x1b[%sm%s\x1b[0m" % (code, text) if self.terminal else text

    def mark(self, good):
        return self.paint(GREEN, self.yes) if good else self.paint(RED, self.no)

    def bar(self, share, width, colour):
        cells = int(max(0.0, min(1.0, share)) * width)
        return self.paint(colour, self.full * cells) + self.paint(FAINT, self.empty * (width - cells))

    def evidence(self, value, threshold, colour, width=20):
        """How far evidence is on its way. It grows exponentially, so the bar is logarithmic."""
        value, threshold = logarithm(value), logarithm(threshold)
        share = value / threshold if threshold > 0 else 0.0
        return "%s log10 E %5.1f of %.1f" % (self.bar(share, width, colour), value, threshold)

    def width(self):
        return min(110, shutil.get_terminal_size((110, 40)).columns) if self.terminal else 110

    def say(self, text="", code=None):
        """A paragraph, which stays."""
        self.drawn = 0
        for line in text.split("\n"):
            indent = re.match(r" *", line).group()
            line = line.replace(" %", "\u00a0%")  # a number and its sign stay together
            for part in textwrap.wrap(line, self.width() - 1, subsequent_indent=indent, break_on_hyphens=False) or [""]:
                part = part.replace("\u00a0", " ")
                print(self.paint(code, part) if code else part)
        sys.stdout.flush()

    def lines(self, lines):
        """Lines that are not to be wrapped."""
        self.drawn = 0
        print("\n".join(lines))
        sys.stdout.flush()

    def live(self, lines):
        """Draws over what it drew before."""
        width = shutil.get_terminal_size((110, 40)).columns
        out = "\x1b[%dA" % self.drawn if self.drawn else ""
        for line in lines:
            # Cut by what is visible: colours take no room.
            if len(COLOUR.sub("", line)) >= width:
                line = COLOUR.sub("", line)[:width - 1]
            out += "\x1b[2K" + line + "\n"
        sys.stdout.write(out + "\x1b[J")
        sys.stdout.flush()
        self.drawn = len(lines)


def logarithm(e_value):
    """log10 of an e-value for people: nothing below 1, where evidence begins."""
    return math.log10(max(1.0, e_value)) if e_value is not None and e_value == e_value else 0.0


def milliseconds(seconds):
    return "%.2f ms" % (seconds * 1000) if seconds else "-"
