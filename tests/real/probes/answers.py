"""Answers of a model server that break HTTP/1.1, and what a client may see of them.

`refuse`: the client gets a 502. `break`: its answer breaks off, so that it knows. `forward`: it
gets exactly the status, body and fields named. `either`: one of these.
"""

import re
from dataclasses import dataclass, field

REFUSE, BREAK, FORWARD, EITHER = "refuse", "break", "forward", "either"
OK = "HTTP/1.1 200 OK\r\n"


@dataclass
class Case:
    name: str
    rule: str
    want: str
    text: str
    method: str = "GET"
    status: int = 200
    body: str = "hello"
    fields: dict = field(default_factory=dict)
    """The model server closes behind it."""
    close: bool = True


CASES = []


def case(name, rule, want, text, **more):
    CASES.append(Case(name, rule, want, text, **more))


def reply(message):
    """What the recorder answers: the case that the target names, or an echo of the target."""
    match = re.fullmatch(rb"/a/(\d+)/\d+", message.target)
    if match:
        found = CASES[int(match[1])]
        return found.text.encode("latin-1"), found.close
    body = message.target if message.target.startswith(b"/echo/") else b"ok"
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body * (message.method != b"HEAD"), False


# === what must work ===

case("a length", "9112 6.2", FORWARD, OK + "Content-Length: 5\r\n\r\nhello", close=False)
case("chunks", "9112 7.1", FORWARD, OK + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", close=False)
case("the end of the connection", "9112 6.3", FORWARD, OK + "\r\nhello")
case("HTTP/1.0", "9112 2.3", FORWARD, "HTTP/1.0 200 OK\r\n\r\nhello")
case("no reason", "9112 4", FORWARD, "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello")
case("no space behind the status", "9112 4", EITHER, "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello")
case("a reason beyond ASCII", "9112 4", FORWARD, "HTTP/1.1 200 \u00fc\r\nContent-Length: 5\r\n\r\nhello")
case(
    "an interim answer in front",
    "9110 15.2",
    FORWARD,
    "HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + OK + "Content-Length: 5\r\n\r\nhello",
)
case(
    "100 without being asked",
    "9110 15.2.1",
    FORWARD,
    "HTTP/1.1 100 Continue\r\n\r\n" + OK + "Content-Length: 5\r\n\r\nhello",
)
case(
    "extensions of chunks", "9112 7.1.1", FORWARD, OK + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"
)
case("a length for HEAD", "9110 8.6", FORWARD, OK + "Content-Length: 5\r\n\r\n", method="HEAD", body="")
case(
    "304 with a length",
    "9110 15.4.5",
    FORWARD,
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    status=304,
    body="",
)
case("204", "9110 15.3.5", FORWARD, "HTTP/1.1 204 No Content\r\n\r\n", status=204, body="", close=False)
case(
    "bytes beyond ASCII in a value",
    "9110 5.5",
    FORWARD,
    OK + "X-A: \u00ff\r\nContent-Length: 5\r\n\r\nhello",
    fields={"x-a": "\u00ff"},
)
for name, line in (
    ("what Connection names", "Connection: X-Hop\r\nX-Hop: a\r\n"),
    ("Keep-Alive", "Keep-Alive: timeout=5\r\n"),
    ("Proxy-Connection", "Proxy-Connection: a\r\n"),
    ("Upgrade", "Upgrade: h2c\r\n"),
    ("Proxy-Authenticate", "Proxy-Authenticate: Basic\r\n"),
):
    gone = line.split("\r\n")[-2].split(":")[0].lower()
    case(f"{name} ends here", "9110 7.6.1", FORWARD, OK + line + "Content-Length: 5\r\n\r\nhello", fields={gone: None})

# === the status line ===

for what, line in (
    ("no version", "200 OK"),
    ("HTTP/2", "HTTP/2 200 OK"),
    ("HTTP/2.0", "HTTP/2.0 200 OK"),
    ("HTTP/0.9", "HTTP/0.9 200 OK"),
    ("small letters", "http/1.1 200 OK"),
    ("HTTP/1.1.1", "HTTP/1.1.1 200 OK"),
    ("another protocol", "ICY 200 OK"),
    ("no status", "HTTP/1.1"),
    ("a status of two digits", "HTTP/1.1 20 OK"),
    ("a status of four digits", "HTTP/1.1 2000 OK"),
    ("a status of letters", "HTTP/1.1 abc OK"),
    ("a signed status", "HTTP/1.1 +20 OK"),
    ("status 000", "HTTP/1.1 000 OK"),
    ("status 099", "HTTP/1.1 099 OK"),
    ("NUL in the reason", "HTTP/1.1 200 O\0K"),
    ("a control character in the reason", "HTTP/1.1 200 O\x01K"),
    ("a bare CR in the reason", "HTTP/1.1 200 O\rX-A: b"),
    ("a request", "GET / HTTP/1.1"),
):
    case(what, "9112 4", REFUSE, f"{line}\r\nContent-Length: 5\r\n\r\nhello")
case("two spaces in the status line", "9112 4", EITHER, "HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello")
case("a tab in the status line", "9112 4", EITHER, "HTTP/1.1\t200 OK\r\nContent-Length: 5\r\n\r\nhello")
case("LF alone behind the status line", "9112 2.2", REFUSE, "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello")
case("an empty line in front", "9112 2.2", REFUSE, "\r\n" + OK + "Content-Length: 5\r\n\r\nhello")
case("status 600", "9110 15", EITHER, "HTTP/1.1 600 OK\r\nContent-Length: 5\r\n\r\nhello", status=600)
case("status 999", "9110 15", EITHER, "HTTP/1.1 999 OK\r\nContent-Length: 5\r\n\r\nhello", status=999)
case(
    "101 that nobody asked for",
    "9110 7.8",
    REFUSE,
    "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
)
case("101 without Upgrade", "9110 7.8", REFUSE, "HTTP/1.1 101 Switching\r\n\r\nhello")
case(
    "interim answers without end",
    "9110 15.2",
    REFUSE,
    "HTTP/1.1 103 Early\r\n\r\n" * 3000 + OK + "Content-Length: 5\r\n\r\nhello",
)
case("an interim answer and no more", "9110 15.2", REFUSE, "HTTP/1.1 103 Early\r\n\r\n")
case("noise", "9112 2.2", REFUSE, "".join(chr((i * 2654435761 >> 24) & 255) for i in range(2000)))
case("nothing", "9112 8", REFUSE, "")
case("half a head", "9112 8", REFUSE, OK + "Content-Le")
case("a head beyond the limit", "6585 5", REFUSE, OK + f"X-A: {'a' * 200000}\r\nContent-Length: 5\r\n\r\nhello")
case(
    "a hundred and one fields",
    "6585 5",
    REFUSE,
    OK + "".join(f"X-{i}: a\r\n" for i in range(101)) + "Content-Length: 5\r\n\r\nhello",
)

# === fields ===

for what, line in (
    ("an empty name", ": b"),
    ("no colon", "nothing"),
    ("a space before the colon", "X-A : b"),
    ("a space in a name", "X A: b"),
    ("NUL in a name", "X\0A: b"),
    ("UTF-8 in a name", "X\u00c3\u00bc: b"),
    ("NUL in a value", "X-A: a\0b"),
    ("a bare CR in a value", "X-A: a\rSet-Cookie: b"),
    ("a control character in a value", "X-A: a\x01b"),
    ("DEL in a value", "X-A: a\x7fb"),
    ("a vertical tab in a value", "X-A: a\x0bb"),
):
    case(what, "9112 5", EITHER if "colon" in what else REFUSE, OK + f"{line}\r\nContent-Length: 5\r\n\r\nhello")
case("a folded line", "9112 5.2", EITHER, OK + "X-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello")
case("blanks before the first field", "9112 2.2", EITHER, OK + " X-A: b\r\nContent-Length: 5\r\n\r\nhello")
case("LF alone behind a field", "9112 2.2", REFUSE, OK + "X-A: b\nContent-Length: 5\r\n\r\nhello")

# === lengths and codings ===

for value in ("+5", "-5", "0x5", "5 5", "5, 6", "abc", "5.0", "18446744073709551621", "5\u00a0"):
    case(f"Content-Length {value!r}", "9112 6.3", REFUSE, OK + f"Content-Length: {value}\r\n\r\nhello")
case("two lengths", "9112 6.3", REFUSE, OK + "Content-Length: 5\r\nContent-Length: 4\r\n\r\nhello")
case("an empty Content-Length", "9112 6.3", EITHER, OK + "Content-Length:\r\n\r\nhello")
case(
    "two equal lengths",
    "9110 8.6",
    EITHER,
    OK + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    fields={"content-length": "5"},
)
case(
    "a list of equal lengths",
    "9110 8.6",
    EITHER,
    OK + "Content-Length: 5, 5\r\n\r\nhello",
    fields={"content-length": "5"},
)
case("zeros in front", "9110 8.6", EITHER, OK + "Content-Length: 005\r\n\r\nhello")
case(
    "more than the length",
    "9112 6.3",
    FORWARD,
    OK + "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
)
case(
    "more than the length, and the connection stays",
    "9112 9.3",
    FORWARD,
    OK + "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
    close=False,
)
case("less than the length", "9112 8", BREAK, OK + "Content-Length: 50\r\n\r\nhello")
case(
    "a body behind HEAD's answer",
    "9110 9.3.2",
    FORWARD,
    OK + "Content-Length: 5\r\n\r\nhello",
    method="HEAD",
    body="",
    close=False,
)
case(
    "a body in chunks behind HEAD's answer",
    "9110 9.3.2",
    FORWARD,
    OK + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    method="HEAD",
    body="",
    close=False,
)
case(
    "204 with a body",
    "9110 15.3.5",
    FORWARD,
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    status=204,
    body="",
    close=False,
    fields={"content-length": None},
)
case(
    "204 with chunks",
    "9110 15.3.5",
    FORWARD,
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    status=204,
    body="",
    close=False,
    fields={"transfer-encoding": None},
)
case(
    "304 with a body",
    "9110 15.4.5",
    FORWARD,
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
    status=304,
    body="",
    close=False,
)
case(
    "a length beside chunks",
    "9112 6.3",
    REFUSE,
    OK + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    close=False,
)
for value in (
    "gzip",
    "gzip, chunked",
    "chunked, gzip",
    "identity",
    "xchunked",
    "chunked, chunked",
    '"chunked"',
    "\x0bchunked",
    "chunked;a=b",
):
    case(
        f"Transfer-Encoding {value!r}",
        "9112 6.1",
        REFUSE,
        OK + f"Transfer-Encoding: {value}\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
case(
    "two codings",
    "9112 6.1",
    REFUSE,
    OK + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
)
case(
    "chunks in HTTP/1.0",
    "9112 6.1",
    REFUSE,
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
)

# === chunks ===

for what, content in (
    ("a size that is none", "x\r\nhello\r\n0\r\n\r\n"),
    ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
    ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
    ("a size beyond every length", "FFFFFFFFFFFFFFFF0\r\nhello\r\n0\r\n\r\n"),
    ("a chunk longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
    ("no end of a chunk", "5\r\nhello0\r\n\r\n"),
    ("no last chunk", "5\r\nhello\r\n"),
    ("half a chunk", "9\r\nhello"),
    ("no end behind the last chunk", "5\r\nhello\r\n0\r\n"),
    ("LF alone in an extension", "5;a\nhello\r\n0\r\n\r\n"),
    ("an extension of 64 KiB", f"5;a={'b' * 65536}\r\nhello\r\n0\r\n\r\n"),
    ("a trailer that is none", "5\r\nhello\r\n0\r\nnothing\r\n\r\n"),
    ("a bare CR in a trailer", "5\r\nhello\r\n0\r\nX-A: a\rb\r\n\r\n"),
    ("a NUL in a trailer", "5\r\nhello\r\n0\r\nX-A: a\0b\r\n\r\n"),
    ("trailers beyond the limit", f"5\r\nhello\r\n0\r\nX-A: {'a' * 200000}\r\n\r\n"),
):
    case(what, "9112 7.1", BREAK, OK + f"Transfer-Encoding: chunked\r\n\r\n{content}")
for line in ("Content-Length: 50", "Transfer-Encoding: gzip", "Set-Cookie: a=b", "Content-Type: a/b"):
    case(
        f"the trailer {line.split(':')[0]}",
        "9110 6.5.1",
        EITHER,
        OK + f"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{line}\r\n\r\n",
        close=False,
    )
case(
    "more behind the last chunk",
    "9112 9.3",
    FORWARD,
    OK
    + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
    close=False,
)
