"""HTTP/2 that is broken: frames, requests, and contents, and how each must end.

Sections are of RFC 9113 where no other number stands before them. `{t}` in a request is a target
that no other probe has.
"""

import struct

from probes.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    block,
    frame,
    integer,
    literal,
    request,
    settings,
)

WHOLE = END_STREAM | END_HEADERS
PROTOCOL, SIZE, CLOSED, FLOW, COMPRESSION = (
    "PROTOCOL_ERROR",
    "FRAME_SIZE_ERROR",
    "STREAM_CLOSED",
    "FLOW_CONTROL_ERROR",
    "COMPRESSION_ERROR",
)
GET = block(request("/framing", "GET"))
OPEN = block(request("/framing"))
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"

# === frames: (what, section of RFC 9113, what is sent behind the preface, how it must end) ===
# A code may end the connection or the stream alone. PROTOCOL_ERROR may stand for any other code: `h2`
# does not tell them apart everywhere.

FRAMING = [
    ("DATA on stream 0", "6.1", frame(DATA, 0, 0, b"x"), {PROTOCOL}),
    ("HEADERS on stream 0", "6.2", frame(HEADERS, WHOLE, 0, GET), {PROTOCOL}),
    ("HEADERS on an even stream", "5.1.1", frame(HEADERS, WHOLE, 2, GET), {PROTOCOL}),
    (
        "a stream below one that was opened",
        "5.1.1",
        frame(HEADERS, WHOLE, 5, GET) + frame(HEADERS, WHOLE, 3, GET),
        {PROTOCOL, CLOSED},
    ),
    ("DATA on an idle stream", "5.1", frame(DATA, 0, 1, b"x"), {PROTOCOL}),
    ("RST_STREAM on an idle stream", "6.4", frame(RST_STREAM, 0, 1, bytes(4)), {PROTOCOL}),
    ("WINDOW_UPDATE on an idle stream", "5.1", frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), {PROTOCOL}),
    ("CONTINUATION on an idle stream", "6.10", frame(CONTINUATION, END_HEADERS, 1, GET), {PROTOCOL}),
    (
        "DATA behind the end of a stream",
        "5.1",
        frame(HEADERS, WHOLE, 1, GET) + frame(DATA, 0, 1, b"x"),
        {PROTOCOL, CLOSED},
    ),
    (
        "HEADERS behind the end of a stream",
        "5.1",
        frame(HEADERS, WHOLE, 1, GET) + frame(HEADERS, WHOLE, 1, GET),
        {PROTOCOL, CLOSED},
    ),
    (
        "CONTINUATION behind the end of a head",
        "6.10",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(CONTINUATION, END_HEADERS, 1, GET),
        {PROTOCOL},
    ),
    (
        "CONTINUATION on another stream",
        "6.10",
        frame(HEADERS, 0, 1, OPEN) + frame(CONTINUATION, END_HEADERS, 3, b""),
        {PROTOCOL},
    ),
    (
        "PING within a head",
        "4.3",
        frame(HEADERS, 0, 1, OPEN) + frame(PING, 0, 0, bytes(8)) + frame(CONTINUATION, END_HEADERS, 1, b""),
        {PROTOCOL},
    ),
    (
        "an unknown frame within a head",
        "5.5",
        frame(HEADERS, 0, 1, OPEN) + frame(99, 0, 1, b"") + frame(CONTINUATION, END_HEADERS, 1, b""),
        {PROTOCOL},
    ),
    ("HEADERS within a head", "4.3", frame(HEADERS, 0, 1, OPEN) + frame(HEADERS, WHOLE, 3, GET), {PROTOCOL}),
    ("DATA within a head", "4.3", frame(HEADERS, 0, 1, OPEN) + frame(DATA, 0, 1, b"x"), {PROTOCOL}),
    (
        "a frame larger than allowed",
        "4.2",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(DATA, 0, 1, b"x" * 16385),
        {SIZE},
    ),
    ("a head larger than a frame may be", "4.2", frame(HEADERS, WHOLE, 1, GET + literal("x", "a" * 17000)), {SIZE}),
    ("a frame of 16 MiB that never comes", "4.2", frame(DATA, 0, 1, b"x" * 100, length=0xFFFFFF), {SIZE}),
    (
        "padding longer than DATA",
        "6.1",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(DATA, PADDED, 1, b"\x05abc"),
        {PROTOCOL},
    ),
    (
        "padding as long as DATA",
        "6.1",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(DATA, PADDED, 1, b"\x04abc\0"),
        {PROTOCOL, 200, "nothing"},
    ),
    (
        "padded DATA without a length of it",
        "6.1",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(DATA, PADDED, 1, b""),
        {PROTOCOL, SIZE},
    ),
    ("padding longer than HEADERS", "6.2", frame(HEADERS, WHOLE | PADDED, 1, b"\xff" + GET), {PROTOCOL}),
    (
        "HEADERS that depend on themselves",
        "5.3.1",
        frame(HEADERS, WHOLE | WITH_PRIORITY, 1, struct.pack(">IB", 1, 1) + GET),
        {PROTOCOL, 200},
    ),
    (
        "PRIORITY that depends on itself",
        "5.3.1",
        frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 1)) + frame(HEADERS, WHOLE, 1, GET),
        {PROTOCOL, 200},
    ),
    ("PRIORITY on stream 0", "6.3", frame(PRIORITY, 0, 0, bytes(5)), {PROTOCOL}),
    ("PRIORITY of four bytes", "6.3", frame(PRIORITY, 0, 1, bytes(4)), {SIZE}),
    ("RST_STREAM on stream 0", "6.4", frame(RST_STREAM, 0, 0, bytes(4)), {PROTOCOL}),
    (
        "RST_STREAM of three bytes",
        "6.4",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(RST_STREAM, 0, 1, bytes(3)),
        {SIZE},
    ),
    ("SETTINGS on a stream", "6.5", frame(SETTINGS, 0, 1), {PROTOCOL}),
    ("SETTINGS of five bytes", "6.5", frame(SETTINGS, 0, 0, bytes(5)), {SIZE}),
    ("an acknowledgement with content", "6.5", frame(SETTINGS, ACK, 0, bytes(6)), {SIZE}),
    ("SETTINGS with a push that is neither", "6.5.2", settings((2, 2)), {PROTOCOL}),
    ("SETTINGS with a window beyond all", "6.5.2", settings((4, 1 << 31)), {FLOW}),
    ("SETTINGS with frames too small", "6.5.2", settings((5, 16383)), {PROTOCOL}),
    ("SETTINGS with frames too large", "6.5.2", settings((5, 1 << 24)), {PROTOCOL}),
    (
        "PUSH_PROMISE of a client",
        "8.4",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + GET),
        {PROTOCOL},
    ),
    ("PING on a stream", "6.7", frame(PING, 0, 1, bytes(8)), {PROTOCOL}),
    ("PING of seven bytes", "6.7", frame(PING, 0, 0, bytes(7)), {SIZE}),
    ("GOAWAY on a stream", "6.8", frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    ("WINDOW_UPDATE of nothing", "6.9", frame(WINDOW_UPDATE, 0, 0, bytes(4)), {PROTOCOL}),
    (
        "WINDOW_UPDATE of nothing on a stream",
        "6.9",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(WINDOW_UPDATE, 0, 1, bytes(4)),
        {PROTOCOL},
    ),
    ("WINDOW_UPDATE of three bytes", "6.9", frame(WINDOW_UPDATE, 0, 0, bytes(3)), {SIZE}),
    ("a window beyond all", "6.9.1", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), {FLOW}),
    (
        "a stream's window beyond all",
        "6.9.1",
        frame(HEADERS, END_HEADERS, 1, OPEN) + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"),
        {FLOW},
    ),
    ("the preface twice", "3.4", PREFACE, {PROTOCOL, SIZE}),
    ("HTTP/1.1 behind the preface", "3.4", b"GET /framing HTTP/1.1\r\nHost: test\r\n\r\n", {PROTOCOL, SIZE}),
    ("an unknown frame", "5.5", frame(99, 0xFF, 1, b"xyz") + frame(HEADERS, WHOLE, 1, GET), {200}),
    ("unknown flags", "4.1", frame(HEADERS, WHOLE | 0xD2, 1, GET), {200}),
    ("the reserved bit", "4.1", frame(HEADERS, WHOLE, 0x80000001, GET), {200}),
    ("an unknown setting", "6.5.2", settings((0xF000, 1)) + frame(HEADERS, WHOLE, 1, GET), {200}),
    ("a padded head", "6.2", frame(HEADERS, WHOLE | PADDED, 1, b"\x03" + GET + bytes(3)), {200}),
    (
        "a head in five frames",
        "6.10",
        frame(HEADERS, END_STREAM, 1, GET[:9])
        + b"".join(frame(CONTINUATION, 0, 1, GET[i : i + 9]) for i in (9, 18, 27))
        + frame(CONTINUATION, END_HEADERS, 1, GET[36:]),
        {200},
    ),
    # HPACK
    ("index 0", "7541 6.1", frame(HEADERS, WHOLE, 1, GET + b"\x80"), {COMPRESSION}),
    ("an index that is in no table", "7541 2.3.3", frame(HEADERS, WHOLE, 1, GET + integer(70, 7, 0x80)), {COMPRESSION}),
    (
        "an index beyond all numbers",
        "7541 5.1",
        frame(HEADERS, WHOLE, 1, GET + b"\xff" + b"\xff" * 12 + b"\x01"),
        {COMPRESSION},
    ),
    ("a length beyond the head", "7541 5.2", frame(HEADERS, WHOLE, 1, GET + b"\x00\x05ab"), {COMPRESSION}),
    (
        "Huffman with the end of string in it",
        "7541 5.2",
        frame(HEADERS, WHOLE, 1, GET + b"\x00\x01x\x84\xff\xff\xff\xff"),
        {COMPRESSION},
    ),
    (
        "Huffman with padding of a whole byte",
        "7541 5.2",
        frame(HEADERS, WHOLE, 1, GET + b"\x00\x01x\x82\x07\xff"),
        {COMPRESSION},
    ),
    ("a table larger than allowed", "7541 6.3", frame(HEADERS, WHOLE, 1, integer(4097, 5, 0x20) + GET), {COMPRESSION}),
    (
        "a change of the table behind a field",
        "7541 4.2",
        frame(HEADERS, WHOLE, 1, GET + integer(0, 5, 0x20)),
        {COMPRESSION},
    ),
]

# === requests that are malformed: (what, section, fields) ===


def without(name):
    return [field for field in request("{t}", "GET") if field[0] != name]


def get(*more, **changed):
    return [(name, changed.get(name[1:], value)) for name, value in request("{t}", "GET")] + list(more)


MALFORMED = [
    ("a name in capitals", "8.2.1", get(("X-A", "b"))),
    ("a space in a name", "8.2.1", get(("x a", "b"))),
    ("a colon in a name", "8.2.1", get(("x:a", "b"))),
    ("an empty name", "8.2.1", get(("", "b"))),
    ("a NUL in a name", "8.2.1", get(("x\0a", "b"))),
    ("a line end in a name", "8.2.1", get(("x\r\ny", "b"))),
    ("DEL in a name", "8.2.1", get(("x\x7f", "b"))),
    ("a byte beyond ASCII in a name", "8.2.1", get(("x\u00fc", "b"))),
    ("a field and a colon in a name", "8.2.1", get(("transfer-encoding: chunked\r\nx", "b"))),
    ("a CR in a value", "8.2.1", get(("x-a", "b\rc"))),
    ("an LF in a value", "8.2.1", get(("x-a", "b\nc"))),
    ("a NUL in a value", "8.2.1", get(("x-a", "b\0c"))),
    ("a field in a value", "8.2.1", get(("x-a", "b\r\nTransfer-Encoding: chunked"))),
    ("a request in a value", "10.3", get(("x-a", f"b\r\n\r\n{SMUGGLED}"))),
    ("no method", "8.3.1", without(":method")),
    ("no scheme", "8.3.1", without(":scheme")),
    ("no path", "8.3.1", without(":path")),
    ("an empty path", "8.3.1", get(path="")),
    ("two methods", "8.3", get((":method", "GET"))),
    ("two paths", "8.3", [(":path", "/other"), *get()]),
    ("two authorities", "8.3", [(":authority", "other"), *get()]),
    ("two schemes", "8.3", [(":scheme", "https"), *get()]),
    ("a pseudo-header that nobody knows", "8.3", [*get()[:4], (":other", "a")]),
    ("a status in a request", "8.3", [*get()[:4], (":status", "200")]),
    ("a pseudo-header behind a field", "8.3", [("x-a", "b"), *get()]),
    ("a protocol without CONNECT", "8441 4", [*get()[:4], (":protocol", "websocket")]),
    ("Connection", "8.2.2", get(("connection", "close"))),
    ("Keep-Alive", "8.2.2", get(("keep-alive", "timeout=5"))),
    ("Proxy-Connection", "8.2.2", get(("proxy-connection", "close"))),
    ("Upgrade", "8.2.2", get(("upgrade", "websocket"))),
    ("Transfer-Encoding", "8.2.2", get(("transfer-encoding", "chunked"))),
    ("Transfer-Encoding identity", "8.2.2", get(("transfer-encoding", "identity"))),
    ("TE beside trailers", "8.2.2", get(("te", "gzip"))),
    ("TE with trailers and more", "8.2.2", get(("te", "trailers, deflate"))),
    ("a path with a space", "8.3.1", get(path="{t} a")),
    ("a path with a line end", "8.3.1", get(path="{t}\r\nX-A: b")),
    ("a path with a request in it", "10.3", get(path=f"{{t}} HTTP/1.1\r\nHost: test\r\n\r\n{SMUGGLED}")),
    ("a path with a NUL", "8.3.1", get(path="{t}\0")),
    ("a path without a slash", "8.3.1", get(path="x{t}")),
    ("a query for a path", "8.3.1", get(path="?x={t}")),
    ("a whole URL for a path", "8.3.1", get(path="http://other{t}")),
    ("a path of an asterisk", "8.3.1", get(("x-probe", "{t}"), path="*")),
    ("a method with a space", "8.3.1", get(method="GET /smuggled")),
    ("a method with a line end", "10.3", get(method="GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\nGET")),
    ("an empty method", "8.3.1", get(method="")),
    ("a method with a colon", "8.3.1", get(method="GE:T")),
    ("a scheme with more behind it", "8.3.1", get(scheme="http://other/x?")),
    ("a scheme with a line end", "8.3.1", get(scheme="http\r\nX-A: b")),
    ("another scheme", "8.3.1", get(scheme="ftp")),
    ("an authority with a line end", "8.3.1", get(authority="test\r\nX-A: b")),
    ("an authority with a path", "8.3.1", get(authority="test/other")),
    ("an authority with user information", "8.3.1", get(authority="me@test")),
    ("an authority with a space", "8.3.1", get(authority="test other")),
    ("an authority with two ports", "8.3.1", get(authority="test:80:81")),
    ("an authority with a port that is none", "8.3.1", get(authority="test:8a")),
    ("an authority with half an address", "8.3.1", get(authority="[::1")),
    ("an empty authority", "8.3.1", get(authority="")),
    ("Host that differs from the authority", "8.3.1", get(("host", "other"))),
    ("two Hosts", "8.3.1", get(("host", "test"), ("host", "test"))),
    ("Host with a path, and no authority", "8.3.1", [*without(":authority"), ("host", "test/other")]),
    ("CONNECT", "8.5", [(":method", "CONNECT"), (":authority", "test:443"), ("x-probe", "{t}")]),
    ("CONNECT with a protocol", "8441 4", [*get(method="CONNECT")[:4], (":protocol", "websocket")]),
    ("TRACE", "9110 9.3.8", get(method="TRACE")),
    ("a length and no content", "8.1.1", get(("content-length", "5"), method="POST")),
    ("a length that is no number", "8.1.1", get(("content-length", "5a"))),
    ("a signed length", "8.1.1", get(("content-length", "+0"))),
    ("a negative length", "8.1.1", get(("content-length", "-1"))),
    ("two lengths", "8.1.1", get(("content-length", "0"), ("content-length", "5"))),
    ("a list of lengths", "8.1.1", get(("content-length", "0, 5"))),
    ("a length beyond all numbers", "8.1.1", get(("content-length", "99999999999999999999"))),
    ("Content_Length", "9110 5.1", get(("content_length", "5"))),
    ("a hundred and one fields", "6585 5", get(*((f"x-{i}", "a") for i in range(101)))),
    ("an expectation nobody knows", "9110 10.1.1", get(("expect", "a-miracle"))),
]

# === bodies that are malformed: (what, section, fields, frames behind the head) ===

BODIES = [
    ("content beyond its length", "8.1.1", [("content-length", "3")], lambda s: frame(DATA, END_STREAM, s, b"hello")),
    ("content short of its length", "8.1.1", [("content-length", "9")], lambda s: frame(DATA, END_STREAM, s, b"hello")),
    (
        "content in spite of a length of nothing",
        "10.3",
        [("content-length", "0")],
        lambda s: frame(DATA, END_STREAM, s, SMUGGLED.encode()),
    ),
    (
        "content beyond its length, in pieces",
        "8.1.1",
        [("content-length", "6")],
        lambda s: frame(DATA, 0, s, b"hello") + frame(DATA, END_STREAM, s, b"hello"),
    ),
    (
        "trailers that do not end the stream",
        "8.1",
        [],
        lambda s: frame(DATA, 0, s, b"x") + frame(HEADERS, END_HEADERS, s, block([("x-a", "b")])),
    ),
    (
        "trailers in capitals",
        "8.2.1",
        [],
        lambda s: frame(DATA, 0, s, b"x") + frame(HEADERS, WHOLE, s, block([("X-A", "b")])),
    ),
    (
        "trailers with a line end",
        "8.2.1",
        [],
        lambda s: frame(DATA, 0, s, b"x") + frame(HEADERS, WHOLE, s, block([("x-a", f"b\r\n\r\n{SMUGGLED}")])),
    ),
    (
        "trailers with Transfer-Encoding",
        "8.2.2",
        [],
        lambda s: frame(DATA, 0, s, b"x") + frame(HEADERS, WHOLE, s, block([("transfer-encoding", "chunked")])),
    ),
    (
        "trailers short of the length",
        "8.1.1",
        [("content-length", "9")],
        lambda s: frame(DATA, 0, s, b"x") + frame(HEADERS, WHOLE, s, block([("x-a", "b")])),
    ),
    (
        "a reset within the content",
        "8.1",
        [],
        lambda s: frame(DATA, 0, s, b"hello") + frame(RST_STREAM, 0, s, struct.pack(">I", 8)),
    ),
]
