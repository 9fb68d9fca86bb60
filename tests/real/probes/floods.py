"""HTTP/2 clients that cost themselves nothing and others much. Each check is a function of a front.

A flood ends with a GOAWAY (ENHANCE_YOUR_CALM mostly) or is harmless: the connection lives, and the
memory of the proxy has not grown by more than `MEMORY`.
"""

import struct
import threading
import time

from probes.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    integer,
    literal,
    request,
    settings,
)

MEMORY = 96 << 20
CALM = ("ENHANCE_YOUR_CALM",)
CHECKS = []


def check(name, rule):
    def keep(function):
        CHECKS.append((name, rule, function))
        return function

    return keep


def flood(front, make, number, wanted=CALM, first=b"", alive=False):
    """Sends `make(i)` for i below `number`, in pieces, while reading; then the connection must have
    ended as wanted, or live where `alive` says so."""
    c = front.connect()
    c.send(first)
    piece = b""
    for i in range(number):
        piece += make(i)
        if len(piece) > 8192 or i == number - 1:
            if not c.send(piece):
                break
            piece = b""
            c.read(lambda: True)
            c.socket.setblocking(True)
            c.read(c.broken, 0.0005)
            if c.broken():
                break
    ended = c.settled(0) if c.broken() else None
    if ended is None and alive:
        assert c.is_alive(30) or c.closed, "it neither answers nor ends"
    else:
        if ended is None:
            c.read(c.broken, 5)
            ended = c.settled(0)
        # A client that is still sending when the connection is closed may lose the GOAWAY to a reset.
        assert ended in wanted or ended == "closed", f"ended with {ended}"
    c.close()


@check("rapid reset", "CVE-2023-44487")
def rapid_reset(front):
    flood(
        front,
        lambda i: frame(HEADERS, 5, 2 * i + 1, block(request("/reset", "GET")))
        + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8)),
        20000,
    )


@check("rapid reset of uploads", "CVE-2023-44487")
def rapid_reset_of_uploads(front):
    flood(
        front,
        lambda i: frame(HEADERS, 4, 2 * i + 1, block(request("/reset")))
        + frame(DATA, 0, 2 * i + 1, b"x")
        + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8)),
        20000,
    )


@check("streams that make us reset them", "CVE-2025-8671")
def made_you_reset(front):
    flood(
        front,
        lambda i: frame(HEADERS, 4, 2 * i + 1, block(request("/reset"))) + frame(WINDOW_UPDATE, 0, 2 * i + 1, bytes(4)),
        20000,
        wanted=("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR"),
    )


@check("malformed requests without end", "RUSTSEC-2024-0003")
def malformed_without_end(front):
    flood(
        front,
        lambda i: frame(HEADERS, 5, 2 * i + 1, block(request("/bad", "GET", more=[("connection", "close")]))),
        20000,
    )


@check("a PING flood", "CVE-2019-9512")
def ping_flood(front):
    flood(front, lambda i: frame(PING, 0, 0, struct.pack(">Q", i)), 50000)


@check("answers to PINGs that nobody sent", "9113 6.7")
def ping_acks(front):
    flood(front, lambda i: frame(PING, ACK, 0, struct.pack(">Q", i)), 50000)


@check("a SETTINGS flood", "CVE-2019-9515")
def settings_flood(front):
    flood(front, lambda i: settings(), 50000)


@check("a SETTINGS flood that moves the windows", "CVE-2019-9515")
def settings_that_move(front):
    flood(front, lambda i: settings((4, 65535 + i % 2)), 50000)


@check("acknowledgements of SETTINGS that nobody sent", "9113 6.5")
def settings_acks(front):
    flood(front, lambda i: frame(SETTINGS, ACK), 50000, wanted=("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR"))


@check("a PRIORITY storm", "CVE-2019-9513")
def priority_storm(front):
    flood(
        front,
        lambda i: frame(PRIORITY, 0, 2 * (i % 1000) + 1, struct.pack(">IB", 2 * ((i + 7) % 1000) + 3, i % 256)),
        50000,
    )


@check("empty DATA without end", "CVE-2019-9518")
def empty_data(front):
    flood(front, lambda i: frame(DATA, 0, 1), 50000, first=frame(HEADERS, 4, 1, block(request("/empty"))))


@check("DATA of padding without end", "CVE-2019-9518")
def padding(front):
    flood(
        front,
        lambda i: frame(DATA, PADDED, 1, b"\x00"),
        50000,
        first=frame(HEADERS, 4, 1, block(request("/empty"))),
        alive=True,
    )


@check("WINDOW_UPDATE without end", "9113 10.5")
def window_updates(front):
    flood(front, lambda i: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)), 50000)


@check("frames of a kind that nobody knows", "9113 10.5")
def unknown_frames(front):
    flood(front, lambda i: frame(0xBB, 0, 0, b"x"), 50000)


@check("GOAWAY without end", "9113 10.5")
def goaways(front):
    flood(front, lambda i: frame(7, 0, 0, bytes(8)), 50000, alive=True)


@check("RST_STREAM without end", "9113 10.5")
def resets(front):
    flood(
        front,
        lambda i: frame(RST_STREAM, 0, 1, struct.pack(">I", 8)),
        50000,
        first=frame(HEADERS, 5, 1, block(request("/reset", "GET"))),
        wanted=("ENHANCE_YOUR_CALM", "STREAM_CLOSED", "PROTOCOL_ERROR"),
        alive=True,
    )


@check("CONTINUATION without end", "CVE-2024-27316")
def continuation_flood(front):
    flood(
        front,
        lambda i: frame(CONTINUATION, 0, 1, literal(f"x-{i}", "a" * 60)),
        50000,
        first=frame(HEADERS, END_STREAM, 1, block(request("/continued", "GET"))),
        wanted=("ENHANCE_YOUR_CALM", "COMPRESSION_ERROR", "PROTOCOL_ERROR"),
    )


@check("empty CONTINUATION without end", "CVE-2024-27316")
def empty_continuation(front):
    flood(
        front,
        lambda i: frame(CONTINUATION, 0, 1),
        50000,
        first=frame(HEADERS, END_STREAM, 1, block(request("/continued", "GET"))),
        wanted=("ENHANCE_YOUR_CALM", "COMPRESSION_ERROR", "PROTOCOL_ERROR"),
    )


@check("a field over a thousand CONTINUATION frames", "9113 10.5.1")
def field_in_pieces(front):
    flood(
        front,
        lambda i: frame(CONTINUATION, 0, 1, b"a" * 1000),
        5000,
        first=frame(
            HEADERS,
            END_STREAM,
            1,
            block(request("/continued", "GET")) + b"\x00" + integer(1, 7) + b"x" + integer(5_000_000, 7),
        ),
        wanted=("ENHANCE_YOUR_CALM", "COMPRESSION_ERROR", "PROTOCOL_ERROR"),
    )


@check("an HPACK bomb", "CVE-2016-6581")
def hpack_bomb(front):
    """One field of 4000 bytes in the table, named sixteen thousand times in each request."""
    c = front.connect()
    big = b"\x40" + integer(1, 7) + b"b" + integer(3900, 7) + b"x" * 3900
    c.headers(1, block(request("/bomb", "GET")) + big)
    for i in range(40):
        if not c.headers(2 * i + 3, block(request("/bomb", "GET")) + b"\xbe" * 16000):
            break
    ended = c.settled(79)
    assert ended in ("ENHANCE_YOUR_CALM", "COMPRESSION_ERROR", "PROTOCOL_ERROR", "closed", 431), f"ended with {ended}"
    c.close()


@check("many fields named by one byte each", "CVE-2026-49975")
def bomb_of_nothing(front):
    c = front.connect()
    c.headers(1, block(request("/bomb", "GET")) + b"\x40" + integer(1, 7) + b"b" + integer(0, 7))
    c.headers(3, block(request("/bomb", "GET")) + b"\xbe" * 16000)
    ended = c.settled(3)
    assert ended in ("ENHANCE_YOUR_CALM", "COMPRESSION_ERROR", "PROTOCOL_ERROR", "closed", 431), f"ended with {ended}"
    c.close()


@check("eight thousand crumbs of a cookie", "9113 8.2.3")
def crumbs(front):
    c = front.connect()
    c.headers(1, block(request("/crumbs", "GET")) + b"\x40" + integer(6, 7) + b"cookie" + integer(0, 7))
    c.headers(3, block(request("/crumbs", "GET")) + b"\xbe" * 8000)
    ended = c.settled(3)
    assert ended in ("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "closed", 431), f"ended with {ended}"
    c.close()


@check("a table as large as can be asked for", "CVE-2019-9516")
def huge_table(front):
    c = front.connect((1, 0xFFFFFFFF))
    for i in range(200):
        c.headers(2 * i + 1, request(f"/table/{i}", "GET"))
    assert c.settled(399) == 200, c.settled(399)
    c.close()


@check("names and values of no length", "CVE-2019-9516")
def empty_names(front):
    c = front.connect()
    c.headers(1, block(request("/empty-names", "GET")) + literal("", "") * 5000)
    ended = c.settled(1)
    assert ended in (
        "PROTOCOL_ERROR",
        "ENHANCE_YOUR_CALM",
        "COMPRESSION_ERROR",
        "closed",
        400,
        431,
    ), f"ended with {ended}"
    c.close()


@check("more streams than allowed", "9113 5.1.2")
def too_many_streams(front):
    c = front.connect()
    for i in range(1000):
        c.headers(2 * i + 1, request("/held"), END_HEADERS)
    c.read(lambda: len(c.resets) >= 700 or c.broken())
    assert c.resets and set(c.resets.values()) <= {"REFUSED_STREAM", "ENHANCE_YOUR_CALM"} or c.broken(), set(
        c.resets.values()
    )
    c.close()


@check("a window of nothing", "CVE-2019-9517")
def zero_window(front):
    c = front.connect((4, 0))
    for i in range(200):
        c.headers(2 * i + 1, request("/big", "GET"))
    c.read(lambda: len(c.statuses) == 200)
    assert c.is_alive() and not c.bodies, "DATA without room for it"
    front.still_serves()
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 20)))
    assert c.read(lambda: len(c.bodies.get(1, b"")) >= 60000), "the room that was made later is not used"
    c.close()


@check("a window of one byte at a time", "CVE-2019-9511")
def byte_by_byte(front):
    c = front.connect((4, 1))
    c.headers(1, request("/echo", "GET"))
    for _ in range(2000):
        if c.read(lambda: 1 in c.ended, 0.01):
            break
        c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))
    assert 1 in c.ended and c.bodies[1] == b"ok", c.bodies
    c.close()


@check("a window that shrinks below nothing", "9113 6.9.2")
def negative_window(front):
    c = front.connect((4, 60000))
    c.headers(1, request("/big", "GET"))
    c.read(lambda: len(c.bodies.get(1, b"")) >= 50000)
    c.send(settings((4, 0)))
    c.is_alive()
    had = len(c.bodies[1])
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1000)))
    c.is_alive()
    assert len(c.bodies[1]) == had, "more than the window held"
    c.send(
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 4 << 20)) + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2 << 20))
    )
    assert c.read(lambda: 1 in c.ended) and len(c.bodies[1]) == 1 << 20, len(c.bodies[1])
    c.close()


@check("clients that read nothing", "CVE-2019-9517")
def reads_nothing(front):
    # Each request has a connection to the model server, of which there are not many more.
    held = []
    for _ in range(20):
        c = front.connect((4, 0x7FFFFFFF))
        c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF - 65535)))
        for i in range(40):
            c.headers(2 * i + 1, request("/big", "GET"))
        held.append(c)
    front.still_serves()
    time.sleep(1)
    front.still_serves()
    for c in held:
        c.close()


@check("uploads that nobody ends", "9113 10.5")
def uploads_without_end(front):
    held = []
    # Each has a connection to the model server, of which there are not many more.
    for _ in range(20):
        c = front.connect()
        for i in range(10):
            c.headers(2 * i + 1, request("/held"), END_HEADERS)
            c.frame(DATA, 0, 2 * i + 1, b"x" * 600)
        held.append(c)
    front.still_serves()
    assert all(c.is_alive() for c in held)
    for c in held:
        c.close()


@check("more than the windows hold", "9113 6.9.1")
def beyond_the_window(front):
    c = front.connect()
    c.headers(1, request("/held"), END_HEADERS)
    for _ in range(2000):
        if not c.frame(DATA, 0, 1, b"x" * 16384):
            break
    ended = c.settled(1)
    # What is sent on to a model server that reads makes room again, and then nothing is wrong.
    assert ended in ("FLOW_CONTROL_ERROR", "closed", "nothing", 200), f"ended with {ended}"
    c.close()


@check("two hundred connections that say nothing more", "9113 10.5")
def idle_connections(front):
    held = [front.connect() for _ in range(200)]
    front.still_serves()
    assert all(c.is_alive() for c in held)
    for c in held:
        c.close()


@check("many clients at once that flood", "9113 10.5")
def together(front):
    def one():
        flood(front, lambda i: frame(PING, 0, 0, struct.pack(">Q", i)), 5000, alive=True)

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        front.still_serves()
    for thread in threads:
        thread.join()
