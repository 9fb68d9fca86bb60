"""A model server that speaks HTTP/2 by hand, and its answers that break it (RFC 9113).

`refuse`: the client gets a 502. `break`: its answer breaks off, or never looks whole. `forward`: it
gets a 200 with `hello`. `either`: one of these.
"""

import contextlib
import re
import socket
import struct
import threading

import hpack

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
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    literal,
)

REFUSE, BREAK, FORWARD, EITHER = "refuse", "break", "forward", "either"
WHOLE = END_STREAM | END_HEADERS
SMUGGLED = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned"


def answer(fields, body=b"hello", more=b""):
    """An answer with these fields behind `:status`."""
    return lambda s: (
        frame(HEADERS, END_HEADERS, s, block([(":status", "200"), *fields])) + frame(DATA, END_STREAM, s, body) + more
    )


def head(fields):
    """An answer whose head is this, with a body behind it."""
    return lambda s: frame(HEADERS, END_HEADERS, s, block(fields)) + frame(DATA, END_STREAM, s, b"hello")


OK = block([(":status", "200")])
CASES = [
    ("a plain answer", "8.1", FORWARD, answer([])),
    (
        "padding",
        "6.1",
        FORWARD,
        lambda s: frame(HEADERS, END_HEADERS | PADDED, s, b"\x02" + OK + bytes(2))
        + frame(DATA, END_STREAM | PADDED, s, b"\x03hello" + bytes(3)),
    ),
    (
        "an interim answer in front",
        "8.1",
        FORWARD,
        lambda s: frame(HEADERS, END_HEADERS, s, block([(":status", "103"), ("link", "a")])) + answer([])(s),
    ),
    (
        "a head in three frames",
        "6.10",
        FORWARD,
        lambda s: frame(HEADERS, 0, s, OK[:4])
        + frame(CONTINUATION, 0, s, OK[4:8])
        + frame(CONTINUATION, END_HEADERS, s, OK[8:])
        + frame(DATA, END_STREAM, s, b"hello"),
    ),
    ("an unknown frame", "5.5", FORWARD, lambda s: frame(99, 0, s, b"x") + answer([])(s)),
    ("no status", "8.3.2", REFUSE, head([("x-a", "b")])),
    ("two statuses", "8.3", REFUSE, head([(":status", "200"), (":status", "404")])),
    ("a status of letters", "8.3.2", REFUSE, head([(":status", "abc")])),
    ("a status of two digits", "8.3.2", REFUSE, head([(":status", "20")])),
    ("a status of four digits", "8.3.2", REFUSE, head([(":status", "2000")])),
    ("a status behind a field", "8.3", REFUSE, head([("x-a", "b"), (":status", "200")])),
    ("a method in an answer", "8.3", EITHER, answer([(":method", "GET")])),
    ("a pseudo-header that nobody knows", "8.3", REFUSE, answer([(":other", "a")])),
    ("101", "8.6", REFUSE, head([(":status", "101")])),
    ("a name in capitals", "8.2.1", REFUSE, answer([("X-A", "b")])),
    ("a line end in a name", "8.2.1", REFUSE, answer([("x\r\ny", "b")])),
    ("an empty name", "8.2.1", REFUSE, answer([("", "b")])),
    ("a line end in a value", "8.2.1", REFUSE, answer([("x-a", "b\r\nset-cookie: c")])),
    ("an answer in a value", "10.3", REFUSE, answer([("x-a", f"b\r\n\r\n{SMUGGLED}")])),
    ("a CR in a value", "8.2.1", REFUSE, answer([("x-a", "b\rc")])),
    ("a NUL in a value", "8.2.1", REFUSE, answer([("x-a", "b\0c")])),
    ("Connection", "8.2.2", REFUSE, answer([("connection", "close")])),
    ("Transfer-Encoding", "8.2.2", REFUSE, answer([("transfer-encoding", "chunked")])),
    ("Keep-Alive", "8.2.2", REFUSE, answer([("keep-alive", "a")])),
    ("Upgrade", "8.2.2", REFUSE, answer([("upgrade", "h2c")])),
    ("a length beyond the content", "8.1.1", BREAK, answer([("content-length", "9")])),
    ("a length short of the content", "8.1.1", BREAK, answer([("content-length", "3")])),
    ("a length that is no number", "8.1.1", REFUSE, answer([("content-length", "5a")])),
    ("two lengths", "8.1.1", REFUSE, answer([("content-length", "5"), ("content-length", "6")])),
    ("content before the head", "8.1", REFUSE, lambda s: frame(DATA, END_STREAM, s, b"hello")),
    ("a reset before the head", "8.1", REFUSE, lambda s: frame(RST_STREAM, 0, s, struct.pack(">I", 2))),
    (
        "a reset within the content",
        "8.1",
        BREAK,
        lambda s: frame(HEADERS, END_HEADERS, s, OK)
        + frame(DATA, 0, s, b"hello")
        + frame(RST_STREAM, 0, s, struct.pack(">I", 2)),
    ),
    ("content behind the end", "5.1", EITHER, answer([], more=frame(DATA, 0, 1, b"more"))),
    (
        "trailers with a pseudo-header",
        "8.1",
        EITHER,
        lambda s: frame(HEADERS, END_HEADERS, s, OK)
        + frame(DATA, 0, s, b"hello")
        + frame(HEADERS, WHOLE, s, block([(":status", "404")])),
    ),
    (
        "trailers with a line end",
        "8.2.1",
        BREAK,
        lambda s: frame(HEADERS, END_HEADERS, s, OK)
        + frame(DATA, 0, s, b"hello")
        + frame(HEADERS, WHOLE, s, block([("x-a", "b\r\nc")])),
    ),
    (
        "a promise",
        "8.4",
        REFUSE,
        lambda s: frame(
            PUSH_PROMISE,
            END_HEADERS,
            s,
            struct.pack(">I", 2)
            + block([(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/")]),
        ),
    ),
    ("a frame larger than allowed", "4.2", REFUSE, lambda s: frame(HEADERS, END_HEADERS, s, b"", length=0xFFFFFF)),
    ("an index that is in no table", "7541 2.3.3", REFUSE, lambda s: frame(HEADERS, WHOLE, s, OK + b"\xff\x7f")),
    (
        "a window beyond all",
        "6.9.1",
        EITHER,
        lambda s: frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2 + answer([])(s),
    ),
    ("GOAWAY and nothing more", "6.8", REFUSE, lambda s: frame(GOAWAY, 0, 0, struct.pack(">II", 0, 1))),
    ("an answer of HTTP/1.1", "3.4", REFUSE, lambda s: SMUGGLED.encode()),
    (
        "a head beyond the limit",
        "10.5.1",
        REFUSE,
        lambda s: frame(HEADERS, 0, s, OK)
        + b"".join(frame(CONTINUATION, 0, s, literal(f"x-{i}", "a" * 8000)) for i in range(60))
        + frame(CONTINUATION, END_HEADERS, s)
        + frame(DATA, END_STREAM, s, b"hello"),
    ),
]


class Server:
    """Answers `/a/N/…` with case N and all else with `hello`."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, connection):
        data, decoder = b"", hpack.Decoder()
        with connection, contextlib.suppress(OSError):
            connection.sendall(frame(SETTINGS))
            while True:
                more = connection.recv(1 << 16)
                if not more:
                    return
                data += more
                if data.startswith(PREFACE[:3]):
                    if len(data) < len(PREFACE):
                        continue
                    data = data[len(PREFACE) :]
                while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                    size, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
                    stream, payload = int.from_bytes(data[5:9], "big"), data[9 : 9 + size]
                    data = data[9 + size :]
                    if kind == SETTINGS and not flags & ACK:
                        connection.sendall(frame(SETTINGS, ACK))
                    elif kind == PING and not flags & ACK:
                        connection.sendall(frame(PING, ACK, 0, payload))
                    elif kind == HEADERS:
                        path = dict(decoder.decode(payload))[":path"]
                        found = re.fullmatch(r"/a/(\d+)/\d+", path)
                        make = CASES[int(found[1])][3] if found else answer([], path.encode())
                        connection.sendall(make(stream))

    def close(self):
        self.listener.close()
