#!/usr/bin/env python3
"""The cases of gRPC's own interoperability tests, and what they leave out, through Switchback.

The names are theirs where they have the case (doc/interop-test-descriptions.md of grpc/grpc); the
sizes too. grpcio on both sides, bytes as messages. What is told apart further (every status code at
each place, flow control, lost ends) is in grpc_kinds.py.
Run with .cache/venv-clients/bin/python tests/real/grpc_interop.py
"""

import os
import shutil
import tempfile
import threading

import grpc_kinds
from grpc_kinds import CODES, LARGE, MIB, ROOMY, SEEN, SERVICE, fails_with
from harness import BYPASS, Checks, Switchback, certificate, equal, needs_proxy, one_upstream

import grpc

SIZES = (27182, 8, 1828, 45904)
ANSWER_SIZES = (31415, 9, 2653, 58979)
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n"


# === the server's methods ===


def sized(request, _context):
    """As many bytes as the message says, and how many it was."""
    return b"\0" * int(request.split(b",")[0])


def sum_of(requests, _context):
    return b"%d" % sum(len(request) for request in requests)


def sizes(request, _context):
    for size in request.split(b","):
        yield b"\0" * int(size)


def sizes_one_by_one(requests, _context):
    for request in requests:
        yield b"\0" * int(request.split(b",")[0])


def compressed(request, context):
    context.set_compression(grpc.Compression.Gzip)
    return request


def compressed_stream(request, context):
    context.set_compression(grpc.Compression.Gzip)
    for i, size in enumerate(request.split(b",")):
        if i == 1:
            context.disable_next_message_compression()
        yield b"a" * int(size)


def told(request, context):
    """Fails with the code before the first space of the message, and the rest as its text."""
    code, text = request.split(b" ", 1)
    context.set_trailing_metadata([("grpc-status-details-bin", b"\x08\x05" + bytes(range(40)))])
    context.abort(CODES[int(code)], text.decode())


def told_late(requests, context):
    for request in requests:
        told(request, context)
        yield b""


def first_word(requests, _context):
    """Speaks before the client has said anything."""
    yield b"hello"
    for request in requests:
        yield request


def at_once(_requests, _context):
    """Ends without reading."""
    yield b"done"


unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
grpc_kinds.METHODS.update(
    {
        "Sized": unary(sized),
        "SumOf": grpc.stream_unary_rpc_method_handler(sum_of),
        "Sizes": grpc.unary_stream_rpc_method_handler(sizes),
        "OneByOne": stream(sizes_one_by_one),
        "Compressed": unary(compressed),
        "CompressedStream": grpc.unary_stream_rpc_method_handler(compressed_stream),
        "Told": unary(told),
        "ToldLate": stream(told_late),
        "FirstWord": stream(first_word),
        "AtOnce": stream(at_once),
    }
)


class Cases:
    """A server, a proxy, and a channel through it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="switchback-interop-")
        self.server, self.port = grpc_kinds.serve()
        self.proxy, self.address, self.ids = None, f"127.0.0.1:{self.port}", 0
        if not BYPASS:
            self.tls = certificate(self.folder)
            self.proxy = Switchback(one_upstream(f"http://{self.address}", tls=self.tls, protocol="http2"))
            self.address = self.proxy.main
        self.channel = grpc.insecure_channel(self.address, LARGE + ROOMY)

    def id(self):
        self.ids += 1
        return f"interop-{os.getpid()}-{self.ids}"

    def unary(self, method, channel=None):
        return (channel or self.channel).unary_unary(SERVICE + method)

    def client_stream(self, method):
        return self.channel.stream_unary(SERVICE + method)

    def server_stream(self, method):
        return self.channel.unary_stream(SERVICE + method)

    def bidi(self, method, channel=None):
        return (channel or self.channel).stream_stream(SERVICE + method)

    # === messages ===

    def empty_unary(self):
        equal(self.unary("Echo")(b"", timeout=10), b"")

    def large_unary(self):
        equal(len(self.unary("Sized")(b"314159," + b"\0" * 271828, timeout=10)), 314159)

    def client_streaming(self):
        equal(self.client_stream("SumOf")((b"\0" * n for n in SIZES), timeout=10), b"%d" % sum(SIZES))

    def server_streaming(self):
        asked = b",".join(b"%d" % n for n in ANSWER_SIZES)
        equal([len(m) for m in self.server_stream("Sizes")(asked, timeout=10)], list(ANSWER_SIZES))

    def ping_pong(self):
        go, got = threading.Semaphore(1), []

        def requests():
            for size, answer in zip(SIZES, ANSWER_SIZES):
                assert go.acquire(timeout=10)
                yield b"%d," % answer + b"\0" * size

        for answer in self.bidi("OneByOne")(requests(), timeout=20):
            got.append(len(answer))
            go.release()
        equal(got, list(ANSWER_SIZES))

    def empty_stream(self):
        equal(list(self.bidi("OneByOne")(iter([]), timeout=10)), [])

    def a_server_that_speaks_first(self):
        go = threading.Event()

        def requests():
            assert go.wait(10)
            yield b"and you"

        call = self.bidi("FirstWord")(requests(), timeout=15)
        equal(next(call), b"hello", "what came before anything was said")
        go.set()
        equal(list(call), [b"and you"])

    def a_server_that_ends_without_reading(self):
        stop = threading.Event()

        def requests():
            while not stop.wait(0.001):
                yield b"x" * 1000

        try:
            call = self.bidi("AtOnce")(requests(), timeout=15)
            equal(list(call), [b"done"])
            equal(call.code(), grpc.StatusCode.OK)
        finally:
            stop.set()

    def messages_of_sixteen_mebibytes_in_every_kind(self):
        big = os.urandom(MIB) * 16
        equal(self.unary("Echo")(big, timeout=60) == big, True, "unary")
        equal(self.client_stream("SumOf")(iter([big, big]), timeout=60), b"%d" % (2 * len(big)))
        equal(
            [len(m) for m in self.server_stream("Sizes")(b"16777216,0,16777216", timeout=60)], [16 * MIB, 0, 16 * MIB]
        )
        equal([m[5:] == big for m in self.bidi("PingPong")(iter([big, big]), timeout=60)], [True, True])

    def ten_thousand_empty_messages(self):
        equal(sum(1 for _ in self.bidi("PingPong")((b"" for _ in range(10000)), timeout=60)), 10000)

    # === compression ===

    def client_compressed_unary(self):
        for how in (grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression):
            equal(self.unary("Echo")(b"a" * 271828, compression=how, timeout=10), b"a" * 271828)

    def server_compressed_unary(self):
        answer, call = self.unary("Compressed").with_call(b"a" * 314159, timeout=10)
        equal(answer, b"a" * 314159)

    def client_compressed_streaming(self):
        equal(
            self.client_stream("SumOf")((b"a" * n for n in SIZES), compression=grpc.Compression.Gzip, timeout=10),
            b"%d" % sum(SIZES),
        )

    def server_compressed_streaming(self):
        equal([len(m) for m in self.server_stream("CompressedStream")(b"31415,92653,5", timeout=10)], [31415, 92653, 5])

    def compressed_both_ways_and_large(self):
        noise = os.urandom(MIB) * 16
        equal(self.unary("Compressed")(noise, compression=grpc.Compression.Gzip, timeout=60) == noise, True)

    def an_encoding_nobody_knows(self):
        """The server's own answer: a proxy does not look into it."""
        wanted = self.unary("Echo")
        error = fails_with(
            grpc.StatusCode.UNIMPLEMENTED,
            lambda: self.unary("NoSuch")(b"x", compression=grpc.Compression.Gzip, timeout=10),
        )
        assert error.details() is not None
        equal(wanted(b"after", timeout=10), b"after")

    # === metadata ===

    def custom_metadata_unary(self):
        sent = [("x-echo-initial", "test_initial_metadata_value"), ("x-echo-trailing-bin", b"\xab\xab\xab")]
        _, call = self.unary("Echo").with_call(b"\0" * 271828, metadata=sent, timeout=10)
        equal(dict(call.initial_metadata())["x-head-initial"], "test_initial_metadata_value")
        equal(dict(call.trailing_metadata())["x-tail-trailing-bin"], b"\xab\xab\xab")

    def custom_metadata_error(self):
        error = fails_with(grpc.StatusCode.ABORTED, lambda: self.unary("Told")(b"10 why", timeout=10))
        equal(dict(error.trailing_metadata())["grpc-status-details-bin"], b"\x08\x05" + bytes(range(40)))

    def binary_metadata(self):
        sent = [(f"x-echo-{i}-bin", bytes((i * j) % 256 for j in range(i))) for i in range(1, 60, 7)]
        _, call = self.unary("Echo").with_call(b"", metadata=sent, timeout=10)
        for key, value in sent:
            equal(dict(call.trailing_metadata())[key.replace("x-echo", "x-tail")], value, key)

    def repeated_metadata_keeps_its_order(self):
        sent = [("x-echo-a", str(i)) for i in range(20)]
        _, call = self.unary("Echo").with_call(b"", metadata=sent, timeout=10)
        equal([v for k, v in call.trailing_metadata() if k == "x-tail-a"], [v for _, v in sent])

    def large_metadata(self):
        sent = [(f"x-echo-{i}", "v" * 5000) for i in range(5)]
        _, call = self.unary("Echo").with_call(b"", metadata=sent, timeout=10)
        equal(sum(len(v) for k, v in call.trailing_metadata() if k.startswith("x-tail-")), 25000)

    def the_clients_own_headers_arrive(self):
        got = dict(line.split("=", 1) for line in self.unary("Headers")(b"", timeout=10).decode().splitlines())
        assert "grpc-python" in got["user-agent"], got

    def another_authority(self):
        with grpc.insecure_channel(self.address, [("grpc.default_authority", "model.example:8443")]) as channel:
            equal(self.unary("Echo", channel)(b"named", timeout=10), b"named")

    # === status ===

    def status_code_and_message(self):
        text = b"2 test status message"
        equal(
            fails_with(grpc.StatusCode.UNKNOWN, lambda: self.unary("Told")(text, timeout=10)).details(),
            "test status message",
        )
        error = fails_with(grpc.StatusCode.UNKNOWN, lambda: list(self.bidi("ToldLate")(iter([text]), timeout=10)))
        equal(error.details(), "test status message")

    def special_status_message(self):
        equal(
            fails_with(
                grpc.StatusCode.UNKNOWN, lambda: self.unary("Told")(b"2 " + SPECIAL.encode(), timeout=10)
            ).details(),
            SPECIAL,
        )

    def every_character_in_a_status_message(self):
        text = "".join(chr(i) for i in range(1, 0x180)) + "%41 %zz %"
        equal(
            fails_with(
                grpc.StatusCode.UNKNOWN, lambda: self.unary("Told")(b"2 " + text.encode(), timeout=10)
            ).details(),
            text,
        )

    def a_long_status_message(self):
        text = "why " * 1000
        equal(
            fails_with(
                grpc.StatusCode.DATA_LOSS, lambda: self.unary("Told")(b"15 " + text.encode(), timeout=10)
            ).details(),
            text,
        )

    def an_empty_status_message(self):
        equal(fails_with(grpc.StatusCode.INTERNAL, lambda: self.unary("Told")(b"13 ", timeout=10)).details(), "")

    def trailers_only_is_trailers_only(self):
        error = fails_with(grpc.StatusCode.NOT_FOUND, lambda: self.unary("Told")(b"5 gone", timeout=10))
        equal((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, "gone"))

    def unimplemented_method(self):
        fails_with(grpc.StatusCode.UNIMPLEMENTED, lambda: self.unary("UnimplementedCall")(b"", timeout=10))

    def unimplemented_service(self):
        call = self.channel.unary_unary("/grpc.testing.UnimplementedService/UnimplementedCall")
        fails_with(grpc.StatusCode.UNIMPLEMENTED, lambda: call(b"", timeout=10))

    def a_message_beyond_the_clients_limit(self):
        with grpc.insecure_channel(self.address, [("grpc.max_receive_message_length", 1000)]) as channel:
            fails_with(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: self.unary("Sized", channel)(b"2000", timeout=10))
            equal(len(self.unary("Sized", channel)(b"500", timeout=10)), 500, "the channel goes on")

    # === time and cancellation ===

    def cancel_after_begin(self):
        started, go = threading.Event(), threading.Event()

        def requests():
            started.set()
            go.wait(10)
            yield from ()

        call = self.client_stream("SumOf").future(requests(), timeout=20)
        started.wait(10)
        call.cancel()
        go.set()
        equal(call.code(), grpc.StatusCode.CANCELLED)

    def cancel_after_first_response(self):
        key, go = self.id(), threading.Event()

        def requests():
            yield b"31415," + b"\0" * 27182
            go.wait(10)

        call = self.bidi("OneByOne")(requests(), metadata=[("call-id", key)], timeout=20)
        equal(len(next(call)), 31415)
        call.cancel()
        try:
            next(call)
            raise AssertionError("it went on")
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.CANCELLED)
        go.set()

    def timeout_on_sleeping_server(self):
        key = self.id()
        fails_with(
            grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.unary("Hang")(b"", metadata=[("call-id", key)], timeout=0.1)
        )
        if key in SEEN.started:
            assert SEEN.event(SEEN.cancelled, key).wait(5), "the server's call is still running"

    def a_deadline_that_has_passed(self):
        fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.unary("Echo")(b"", timeout=-1))
        equal(self.unary("Echo")(b"after", timeout=10), b"after")

    def deadlines_arrive_in_every_unit(self):
        for seconds in (5, 3600, 86400 * 30):
            left = float(self.unary("Remaining")(b"", timeout=seconds))
            # gRPC itself rounds up to what eight digits can say.
            assert seconds - 4 < left <= seconds * 1.01, f"{left} s left of {seconds}"
        left = self.unary("Remaining")(b"")
        assert left == b"none" or float(left) > 1e9, f"{left} s left without a deadline"

    # === many at once, and for long ===

    def concurrent_large_unary(self):
        call = self.unary("Sized")
        pending = [call.future(b"1048576," + b"\0" * 271828, timeout=60) for _ in range(60)]
        equal({len(future.result()) for future in pending}, {MIB})

    def more_streams_than_a_connection_may_have(self):
        go = threading.Event()

        def requests():
            go.wait(30)
            yield b"x"

        calls = [self.bidi("PingPong")(requests(), timeout=60) for _ in range(140)]
        others = [self.unary("Echo").future(b"%d" % i, timeout=60) for i in range(300)]
        go.set()
        for call in calls:
            equal(list(call), [b"pong x"])
        for i, other in enumerate(others):
            equal(other.result(), b"%d" % i)

    def rpc_soak(self):
        call = self.unary("Sized")
        for _ in range(500):
            equal(len(call(b"3141," + b"\0" * 2718, timeout=10)), 3141)

    def channel_soak(self):
        for i in range(50):
            with grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                equal(self.unary("Echo", channel)(b"%d" % i, timeout=10), b"%d" % i)

    def keepalive_pings_are_no_flood(self):
        options = [
            ("grpc.keepalive_time_ms", 100),
            ("grpc.keepalive_timeout_ms", 5000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        with grpc.insecure_channel(self.address, options) as channel:
            call = channel.unary_stream(SERVICE + "HangAfterOne")(b"", metadata=[("call-id", self.id())], timeout=2)
            equal(next(call), b"first")
            fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: next(call))
            equal(self.unary("Echo", channel)(b"same", timeout=10), b"same")

    def wait_for_ready(self):
        """A call that waits is served once the server is there."""
        needs_proxy()
        server, port = grpc_kinds.serve()
        server.stop(0).wait()
        proxy = Switchback(one_upstream(f"http://127.0.0.1:{port}", protocol="http2"))
        try:
            with grpc.insecure_channel(proxy.main) as channel:
                fails_with(grpc.StatusCode.UNAVAILABLE, lambda: self.unary("Echo", channel)(b"", timeout=10))
                server, _ = grpc_kinds.serve(f"127.0.0.1:{port}")
                equal(self.unary("Echo", channel)(b"there", timeout=10, wait_for_ready=True), b"there")
        finally:
            proxy.stop()
            server.stop(0)

    def over_tls(self):
        needs_proxy()
        with open(self.tls[0], "rb") as f:
            credentials = grpc.ssl_channel_credentials(f.read())
        port = self.proxy.addresses["tls"].rsplit(":", 1)[1]
        plain = self.channel
        with grpc.secure_channel(f"localhost:{port}", credentials, LARGE + ROOMY) as self.channel:
            try:
                for name in (
                    "large_unary",
                    "client_streaming",
                    "server_streaming",
                    "ping_pong",
                    "special_status_message",
                    "custom_metadata_unary",
                    "client_compressed_streaming",
                    "cancel_after_first_response",
                ):
                    getattr(self, name)()
            finally:
                self.channel = plain

    def stop(self):
        self.channel.close()
        if self.proxy:
            self.proxy.stop()
        self.server.stop(0)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    checks = Checks("gRPC interoperability cases")
    cases = Cases()
    try:
        for name, case in list(vars(Cases).items()):
            if not name.startswith("_") and name not in (
                "id",
                "unary",
                "client_stream",
                "server_stream",
                "bidi",
                "stop",
            ):
                checks.run(name, case, cases)
    finally:
        cases.stop()
    checks.finish()


if __name__ == "__main__":
    main()
