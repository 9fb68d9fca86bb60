"""A reader of HTTP/1.1 messages that takes nothing but what RFC 9112 writes.

It stands behind the proxy as a model server and in front of it as a client, and what it calls
malformed must never have been sent. It is slow and has no mercy, on purpose.
"""

import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# Visible ASCII but '#'; beyond it bytes that many clients send unescaped and no reader splits at.
TARGET = rb"(?:/[\x21\x22\x24-\x7e\x80-\xff]*|\*)"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") (" + TARGET + rb") HTTP/1\.1")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
# RFC 9110 section 6.5.1: they frame, route or authenticate, so no trailer may be one.
NEVER_TRAILERS = {
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"expect",
    b"host",
    b"keep-alive",
    b"max-forwards",
    b"proxy-authorization",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
OF_CONNECTION = {b"keep-alive", b"proxy-connection", b"proxy-authorization", b"http2-settings"}


class Malformed(Exception):
    """What no strict reader takes."""


class Message:
    """A request (`method`, `target`) or an answer (`status`), whole."""

    def __init__(self, fields):
        self.method = self.target = self.status = None
        self.fields, self.trailers, self.body, self.by_close = fields, [], b"", False

    def all(self, name):
        """Every value of a field."""
        return [value for known, value in self.fields if known == name]

    def one(self, name):
        """The value of a field that is there once, or None."""
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{name.decode()} {len(values)} times")
        return values[0] if values else None

    def __repr__(self):
        start = self.status if self.status is not None else (self.method, self.target)
        return f"<{start} {self.fields} {self.body[:40]!r}>"


class Incomplete(Exception):
    """More must come."""


def lines_of(data, start):
    """The lines from `start` to the empty one, and where the rest begins."""
    end = data.find(b"\r\n\r\n", start)
    head = data[start : end if end >= 0 else len(data)]
    for line in head.split(b"\r\n")[: -1 if end < 0 else None]:
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line):
            raise Malformed(f"a control character in {line[:80]!r}")
    if end < 0:
        raise Incomplete
    return head.split(b"\r\n"), end + 4


def fields_of(lines):
    fields = []
    for line in lines:
        match = FIELD.fullmatch(line)
        if not match:
            raise Malformed(f"no field: {line[:80]!r}")
        fields.append((match[1].lower(), match[2]))
    return fields


def length_of(message):
    """The body's length, "chunked", or None."""
    length, coding = message.one(b"content-length"), message.one(b"transfer-encoding")
    if length is not None and coding is not None:
        raise Malformed("both Content-Length and Transfer-Encoding")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise Malformed(f"transfer coding {coding!r}")
        return "chunked"
    if length is not None and not re.fullmatch(rb"[0-9]{1,19}", length):
        raise Malformed(f"length {length!r}")
    return None if length is None else int(length)


def chunks_of(data, at, message):
    """Reads chunks without extensions, and trailers; where the rest begins."""
    while True:
        end = data.find(b"\r\n", at)
        if not re.fullmatch(
            rb"[0-9a-fA-F]*", data[at : end if end >= 0 else len(data)].rstrip(b"\r" if end < 0 else b"")
        ):
            raise Malformed(f"a chunk size: {data[at:at + 40]!r}")
        if end < 0:
            raise Incomplete
        if end == at:
            raise Malformed("an empty chunk size")
        size, at = int(data[at:end], 16), end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            raise Incomplete
        message.body += data[at : at + size]
        at += size
        if data[at : at + 2] != b"\r\n":
            raise Malformed(f"behind a chunk: {data[at:at + 20]!r}")
        at += 2
    if data[at : at + 2] == b"\r\n":
        return at + 2
    lines, at = lines_of(data, at)
    message.trailers = fields_of(lines)
    for name, _ in message.trailers:
        if name in NEVER_TRAILERS:
            raise Malformed(f"the trailer {name.decode()}")
    return at


def body_of(data, at, message, length):
    if length == "chunked":
        return chunks_of(data, at, message)
    if len(data) < at + (length or 0):
        raise Incomplete
    message.body = data[at : at + (length or 0)]
    return at + (length or 0)


def request(data):
    """The first request of `data`, and what follows it."""
    lines, at = lines_of(data, 0)
    match = REQUEST_LINE.fullmatch(lines[0])
    if not match:
        raise Malformed(f"request line {lines[0][:120]!r}")
    message = Message(fields_of(lines[1:]))
    message.method, message.target = match[1], match[2]
    if message.target == b"*" and message.method != b"OPTIONS":
        raise Malformed("an asterisk, and not OPTIONS")
    host = message.one(b"host")
    if host is None or not HOST.fullmatch(host):
        raise Malformed(f"Host {host!r}")
    for name, value in message.fields:
        if name in OF_CONNECTION:
            raise Malformed(f"{name.decode()} was passed on")
        if name == b"te" and value.lower() != b"trailers":
            raise Malformed(f"TE {value!r} was passed on")
        if name == b"connection" and value.lower() not in (b"close", b"upgrade"):
            raise Malformed(f"Connection {value!r} was passed on")
    return message, data[body_of(data, at, message, length_of(message)) :]


def answer(data, method=b"GET", ended=False):
    """The first answer of `data` to a request with `method`, and what follows; interim ones are
    passed over. `ended`: the connection has been closed behind `data`."""
    while True:
        lines, at = lines_of(data, 0)
        match = STATUS_LINE.fullmatch(lines[0])
        if not match:
            raise Malformed(f"status line {lines[0][:120]!r}")
        message = Message(fields_of(lines[1:]))
        message.status = int(match[1])
        if not (100 <= message.status < 200 and message.status != 101):
            break
        if length_of(message) is not None:
            raise Malformed("an interim answer with a body")
        data = data[at:]
    length = length_of(message)
    if message.status in (101, 204) and length is not None:
        raise Malformed(f"a {message.status} with {length}")
    if method == b"HEAD" or message.status in (101, 204, 304):
        return message, data[at:]
    if length is None:
        message.by_close = True
        if not ended:
            raise Incomplete
        message.body = data[at:]
        return message, b""
    return message, data[body_of(data, at, message, length) :]
