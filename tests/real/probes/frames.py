"""HTTP/2 by hand: frames as bytes, right or wrong, and what comes back (RFC 9113 sections 4 to 6)."""

import socket
import struct
import time

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
CODES = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
]
PATIENCE = 10.0


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """The bytes of a frame; `length` may lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in pairs))


def integer(value, prefix, first=0):
    """An integer of HPACK (RFC 7541 section 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes((first | value,))
    out, value = bytearray((first | most,)), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes((value,))


def literal(name, value):
    """A field that is in no table and enters none; its octets may be any (section 6.2.2)."""
    name = name.encode("latin-1") if isinstance(name, str) else name
    value = value.encode("latin-1") if isinstance(value, str) else value
    return b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(fields):
    return b"".join(literal(name, value) for name, value in fields)


def request(path, method="POST", authority="test", more=()):
    return [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path), *more]


class Closed(Exception):
    """The connection is over."""


class Connection:
    """A client's end. What arrives is kept in `frames`; `statuses`, `bodies`, `ended`, `resets` by stream."""

    def __init__(self, address, *pairs, preface=None):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.frames, self.closed = b"", [], False
        self.statuses, self.bodies, self.ended, self.resets, self.goaway = {}, {}, set(), {}, None
        self.decoder, self.pings, self.heads = hpack.Decoder(), 0, {}
        self.acknowledge = True
        self.send(PREFACE + settings(*pairs) if preface is None else preface)

    def send(self, data):
        """Sends as much as the other side takes; whether it took all."""
        if self.closed:
            return False
        try:
            self.socket.settimeout(PATIENCE)
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def frame(self, *arguments, **more):
        return self.send(frame(*arguments, **more))

    def headers(self, stream, fields, flags=END_STREAM | END_HEADERS):
        return self.frame(HEADERS, flags, stream, fields if isinstance(fields, bytes) else block(fields))

    def read(self, until, seconds=PATIENCE):
        """Reads on until `until()`, the end of the connection, or too long; whether `until()` came."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0 or self.closed:
                return False
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(1 << 18)
            except TimeoutError:
                return False
            except OSError:
                more = b""
            self.closed = not more
            self.data += more
            self._take()
        return True

    def _take(self):
        at = 0
        while len(self.data) >= at + 9:
            size = int.from_bytes(self.data[at : at + 3], "big")
            if len(self.data) < at + 9 + size:
                break
            kind, flags = self.data[at + 3], self.data[at + 4]
            stream = int.from_bytes(self.data[at + 5 : at + 9], "big") & 0x7FFFFFFF
            self._frame(kind, flags, stream, self.data[at + 9 : at + 9 + size])
            at += 9 + size
        self.data = self.data[at:]

    def _frame(self, kind, flags, stream, payload):
        self.frames.append((kind, flags, stream, len(payload)))
        if kind == SETTINGS and not flags & ACK and self.acknowledge:
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and flags & ACK:
            self.pings += 1
        elif kind == HEADERS:
            fields = dict(self.decoder.decode(payload))
            self.heads.setdefault(stream, fields)
            if ":status" in fields:
                self.statuses[stream] = int(fields[":status"])
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream] = CODES[int.from_bytes(payload, "big")]
        elif kind == GOAWAY:
            code = CODES[int.from_bytes(payload[4:8], "big")]
            if self.goaway in (None, "NO_ERROR"):
                self.goaway = code
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.add(stream)

    def settled(self, stream):
        """What became of a stream: the connection's end, a reset, or a status."""
        self.read(lambda: self.broken() or stream in self.resets or stream in self.ended)
        if self.broken():
            self.read(lambda: False, 2.0)
        if self.goaway not in (None, "NO_ERROR"):
            assert self.closed, f"{self.goaway}, and the connection was not closed"
            return self.goaway
        if self.closed:
            return "closed"
        return self.resets.get(stream) or self.statuses.get(stream) or "nothing"

    def broken(self):
        return self.closed or self.goaway not in (None, "NO_ERROR")

    def is_alive(self, seconds=PATIENCE):
        """Whether a PING is answered."""
        before = self.pings
        self.frame(PING, 0, 0, b"alive?!?")
        return self.read(lambda: self.pings > before or self.broken(), seconds) and not self.broken()

    def close(self):
        self.socket.close()
