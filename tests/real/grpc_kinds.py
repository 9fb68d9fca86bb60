#!/usr/bin/env python3
"""gRPC end to end through Switchback, with grpcio on both sides and bytes as messages.

All four call kinds, metadata, every status code, deadlines, cancellation both ways, large
messages, flow control and many streams. No generated code: a generic handler serves every
method by name. Run with .cache/venv-clients/bin/python tests/real/grpc_kinds.py
"""

import concurrent.futures
import os
import re
import shutil
import tempfile
import threading
import time

from harness import BYPASS, Checks, Switchback, certificate, equal, get, needs_proxy, one_upstream, wait_until

import grpc

MIB = 1 << 20
SERVICE = "/switchback.test.Kinds/"
LARGE = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.max_send_message_length", 64 * MIB)]
# Both ends accept more metadata than gRPC's default of 8 KiB, so that the proxy's limit shows.
ROOMY = [("grpc.max_metadata_size", 128 << 10), ("grpc.absolute_max_metadata_size", 256 << 10)]
# By default a grpcio server sheds calls at random once a thousand wait for a thread.
PATIENT = [("grpc.server.max_pending_requests", 20000), ("grpc.server.max_pending_requests_hard_limit", 20000)]
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Seen:
    """What the server saw, by the call's own id."""

    def __init__(self):
        self.cancelled, self.started, self.sent = {}, {}, {}
        self.lock = threading.Lock()

    def event(self, table, key):
        with self.lock:
            return table.setdefault(key, threading.Event())


SEEN = Seen()


def call_id(context):
    return dict(context.invocation_metadata()).get("call-id", "")


def begin(context):
    """Marks the call as started, and its end by cancellation when it comes."""
    key = call_id(context)
    SEEN.event(SEEN.started, key).set()
    finished = SEEN.event(SEEN.cancelled, key)
    if not context.add_callback(finished.set):
        finished.set()
    return key, finished


# === the server's methods ===

def echo(request, context):
    sent = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-echo-")]
    context.send_initial_metadata([(k.replace("x-echo-", "x-head-"), v) for k, v in sent])
    context.set_trailing_metadata([(k.replace("x-echo-", "x-tail-"), v) for k, v in sent])
    return request


def headers(_request, context):
    return "\n".join(f"{k}={v}" for k, v in context.invocation_metadata() if isinstance(v, str)).encode()


def fail(request, context):
    """Trailers only: ends before any message with the code that the message names."""
    context.set_trailing_metadata([("x-why", "asked for"), ("x-why-bin", b"\x00\xff\x01")])
    context.abort(CODES[int(request)], f"code {request.decode()}: ünïcode, 100 %\nsecond line")


def head_fail(request, context):
    """An error after the head and before any message: HEADERS, HEADERS and no DATA."""
    context.send_initial_metadata([("x-head", "sent")])
    # Two writes, so that gRPC cannot join them to trailers only.
    time.sleep(0.02)
    context.set_trailing_metadata([("x-why", "no message")])
    context.abort(CODES[int(request)], "after the head")


def late_fail(request, context):
    """Ends with an error after three messages."""
    for i in range(3):
        yield b"part %d" % i
    context.set_trailing_metadata([("x-why", "late")])
    context.abort(CODES[int(request)], "after three messages")


def count(request, _context):
    for i in range(int(request)):
        yield b"%d" % i


def join(requests, _context):
    return b",".join(requests)


def first_only(requests, _context):
    """Answers at the first message and does not read the rest."""
    return next(requests)


def ping_pong(requests, _context):
    for request in requests:
        yield b"pong " + request


def remaining(_request, context):
    left = context.time_remaining()
    return b"none" if left is None else b"%f" % left


def hang(_request, context):
    """Never answers; ends when the call is cancelled."""
    _, finished = begin(context)
    finished.wait(60)
    return b""


def hang_after_one(_request, context):
    _, finished = begin(context)
    yield b"first"
    finished.wait(60)


def flood(request, context):
    """Large messages as fast as flow control lets them go, counted as they go."""
    key, finished = begin(context)
    for i in range(int(request)):
        if finished.is_set():
            return
        SEEN.sent[key] = i + 1
        yield b"x" * MIB


class Crowd:
    """Opens its gate when `size` calls are inside at once."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size)

    def __call__(self, requests, _context):
        first = next(requests)
        self.barrier.wait(30)
        yield first
        for request in requests:
            yield request


CROWD = Crowd(100)

METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Headers": grpc.unary_unary_rpc_method_handler(headers),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailStream": grpc.unary_stream_rpc_method_handler(fail),
    "HeadFail": grpc.unary_unary_rpc_method_handler(head_fail),
    "LateFail": grpc.unary_stream_rpc_method_handler(late_fail),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "FirstOnly": grpc.stream_unary_rpc_method_handler(first_only),
    "PingPong": grpc.stream_stream_rpc_method_handler(ping_pong),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "HangAfterOne": grpc.unary_stream_rpc_method_handler(hang_after_one),
    "Flood": grpc.unary_stream_rpc_method_handler(flood),
    "Crowd": grpc.stream_stream_rpc_method_handler(CROWD),
}


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return METHODS.get(details.method[len(SERVICE):]) if details.method.startswith(SERVICE) else None


def serve(address="127.0.0.1:0"):
    pool = concurrent.futures.ThreadPoolExecutor(160)
    server = grpc.server(pool, handlers=[Handler()], options=LARGE + ROOMY + PATIENT + [("grpc.so_reuseport", 0)])
    port = server.add_insecure_port(address)
    server.start()
    return server, port


def fails_with(code, call):
    """The RpcError that the call must end with."""
    try:
        result = call()
    except grpc.RpcError as error:
        equal(error.code(), code, f"status ({error.details()!r})")
        return error
    raise AssertionError(f"want {code}, got an answer: {result[:60]!r}")


class Kinds:
    """A channel through the proxy, with the checks as methods."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="switchback-grpc-")
        self.server, self.port = serve()
        self.proxy, self.tls = None, None
        address = f"127.0.0.1:{self.port}"
        if not BYPASS:
            self.tls = certificate(self.folder) if shutil.which("openssl") else None
            self.proxy = Switchback(one_upstream(f"http://{address}", tls=self.tls, protocol="http2"))
            address = self.proxy.main
        self.address = address
        self.channel = grpc.insecure_channel(address, LARGE + ROOMY)
        self.ids = 0

    def id(self):
        self.ids += 1
        return f"{os.getpid()}-{self.ids}"

    def unary(self, method, channel=None):
        return (channel or self.channel).unary_unary(SERVICE + method)

    def server_stream(self, method):
        return self.channel.unary_stream(SERVICE + method)

    def client_stream(self, method):
        return self.channel.stream_unary(SERVICE + method)

    def bidi(self, method):
        return self.channel.stream_stream(SERVICE + method)

    # === kinds ===

    def unary_call(self):
        equal(self.unary("Echo")(b"hello", timeout=10), b"hello")
        equal(self.unary("Echo")(b"", timeout=10), b"", "an empty message")

    def server_streaming_in_order(self):
        got = list(self.server_stream("Count")(b"2000", timeout=30))
        equal(got, [b"%d" % i for i in range(2000)], "messages")
        equal(list(self.server_stream("Count")(b"0", timeout=10)), [], "an empty stream")

    def client_streaming_in_order(self):
        parts = [b"%d" % i for i in range(2000)]
        equal(self.client_stream("Join")(iter(parts), timeout=30), b",".join(parts))
        equal(self.client_stream("Join")(iter([]), timeout=10), b"", "an empty stream")

    def bidirectional_one_by_one(self):
        """Each message waits for the answer to the last: nothing may be held back."""
        go = threading.Semaphore(1)

        def requests():
            for i in range(200):
                if not go.acquire(timeout=20):
                    return
                yield b"%d" % i

        for i, answer in enumerate(self.bidi("PingPong")(requests(), timeout=60)):
            equal(answer, b"pong %d" % i, "answer")
            go.release()
        equal(i, 199, "the last answer")

    def an_early_answer_ends_a_client_stream(self):
        """The server answers while the client would send for ever."""
        stop = threading.Event()

        def requests():
            yield b"first"
            while not stop.wait(0.01):
                yield b"more"

        try:
            equal(self.client_stream("FirstOnly")(requests(), timeout=20), b"first")
        finally:
            stop.set()

    # === metadata ===

    def metadata_both_ways(self):
        sent = [("x-echo-a", "1"), ("x-echo-a", "2"), ("x-echo-text", "with, commas; and = signs"),
                ("x-echo-raw-bin", bytes(range(256)))]
        answer, call = self.unary("Echo").with_call(b"m", metadata=sent, timeout=10)
        equal(answer, b"m")
        for place, got in (("head", call.initial_metadata()), ("tail", call.trailing_metadata())):
            got = [(k, v) for k, v in got if k.startswith(f"x-{place}-")]
            want = [(k.replace("x-echo", f"x-{place}"), v) for k, v in sent]
            equal(sorted(got), sorted(want), f"metadata in the {place}")
            equal([v for k, v in got if k == f"x-{place}-a"], ["1", "2"], "order of a repeated key")

    def metadata_near_eight_kibibytes(self):
        """What grpcio takes by default, both ways."""
        value = "v" * 6500
        with grpc.insecure_channel(self.address) as channel:
            _, call = self.unary("Echo", channel).with_call(b"m", metadata=[("x-echo-long", value)], timeout=10)
        equal(dict(call.initial_metadata())["x-head-long"], value)
        equal(dict(call.trailing_metadata())["x-tail-long"], value)

    def metadata_of_forty_kibibytes(self):
        """Below the proxy's default of 64 KiB; needs CONTINUATION frames."""
        sent = [(f"x-echo-{i}", "v" * 4000) for i in range(10)]
        _, call = self.unary("Echo").with_call(b"m", metadata=sent, timeout=10)
        equal(sum(len(v) for k, v in call.trailing_metadata() if k.startswith("x-tail-")), 40000)

    def metadata_over_the_limit_fails_one_call_only(self):
        needs_proxy()
        try:
            self.unary("Echo")(b"m", metadata=[(f"x-echo-{i}", "v" * 10000) for i in range(10)], timeout=10)
            raise AssertionError("100 KB of metadata were accepted")
        except grpc.RpcError as error:
            assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED, "the call hung"
        equal(self.unary("Echo")(b"after", timeout=10), b"after")

    def the_proxy_adds_what_it_promises(self):
        needs_proxy()
        _, call = self.unary("Echo").with_call(b"", timeout=10)
        equal(dict(call.initial_metadata()).get("x-switchback-version"), "v1", "x-switchback-version")
        got = dict(line.split("=", 1) for line in self.unary("Headers")(b"", timeout=10).decode().splitlines())
        for name in ("x-request-id", "traceparent", "x-forwarded-for"):
            assert got.get(name), f"no {name} at the server: {sorted(got)}"
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        kept = self.unary("Headers")(b"", metadata=[("traceparent", trace), ("x-request-id", "mine")], timeout=10)
        got = dict(line.split("=", 1) for line in kept.decode().splitlines())
        equal(got["x-request-id"], "mine", "x-request-id")
        equal(got["traceparent"].split("-")[1], trace.split("-")[1], "trace id")

    # === errors ===

    def every_status_code_in_trailers_only(self):
        for number in range(1, 17):
            for kind in ("Fail", "FailStream"):
                call = self.unary(kind) if kind == "Fail" else lambda m, **k: list(self.server_stream("FailStream")(m, **k))
                error = fails_with(CODES[number], lambda: call(b"%d" % number, timeout=10))
                equal(error.details(), f"code {number}: ünïcode, 100 %\nsecond line", "details")
                trailing = dict(error.trailing_metadata())
                equal((trailing.get("x-why"), trailing.get("x-why-bin")), ("asked for", b"\x00\xff\x01"), "trailers")

    def every_status_code_after_the_head(self):
        for number in range(1, 17):
            error = fails_with(CODES[number], lambda: self.unary("HeadFail")(b"%d" % number, timeout=10))
            equal(error.details(), "after the head", "details")
            equal(dict(error.initial_metadata()).get("x-head"), "sent", "metadata in the head")
            equal(dict(error.trailing_metadata()).get("x-why"), "no message", "trailers")

    def every_status_code_after_messages(self):
        for number in range(1, 17):
            call, got = self.server_stream("LateFail")(b"%d" % number, timeout=10), []

            def read():
                for message in call:
                    got.append(message)
                return got

            error = fails_with(CODES[number], read)
            equal(got, [b"part 0", b"part 1", b"part 2"], "messages before the error")
            equal((error.details(), dict(error.trailing_metadata()).get("x-why")), ("after three messages", "late"))

    def an_unknown_method_is_unimplemented(self):
        fails_with(grpc.StatusCode.UNIMPLEMENTED, lambda: self.unary("NoSuchMethod")(b"", timeout=10))

    # === deadlines ===

    def the_deadline_reaches_the_server(self):
        left = float(self.unary("Remaining")(b"", timeout=7))
        assert 4 < left <= 7.1, f"{left} s remaining of 7"

    def a_deadline_that_passes_ends_the_call_on_both_sides(self):
        key = self.id()
        started = time.monotonic()
        fails_with(grpc.StatusCode.DEADLINE_EXCEEDED,
                   lambda: self.unary("Hang")(b"", metadata=[("call-id", key)], timeout=0.5))
        took = time.monotonic() - started
        assert 0.4 < took < 3, f"ended after {took:.2f} s"
        assert SEEN.event(SEEN.cancelled, key).wait(5), "the server's call is still running"

    # === cancellation ===

    def a_client_cancel_reaches_the_server(self):
        for method in ("Hang", "HangAfterOne"):
            key = self.id()
            metadata = [("call-id", key)]
            if method == "Hang":
                call = self.unary("Hang").future(b"", metadata=metadata, timeout=30)
            else:
                call = self.server_stream(method)(b"", metadata=metadata, timeout=30)
                equal(next(call), b"first")
            assert SEEN.event(SEEN.started, key).wait(10), "the call did not arrive"
            assert not SEEN.event(SEEN.cancelled, key).is_set(), "cancelled too early"
            call.cancel()
            assert SEEN.event(SEEN.cancelled, key).wait(5), f"{method}: the server did not see the cancel"
            equal(call.code(), grpc.StatusCode.CANCELLED, "the client's own status")
        equal(self.unary("Echo")(b"still here", timeout=10), b"still here")

    def a_lost_client_reaches_the_server(self):
        """The whole channel closes, as when a client process ends."""
        keys = [self.id() for _ in range(5)]
        channel = grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)])
        # A call that nobody holds is cancelled by grpcio, so they are kept.
        calls = [self.unary("Hang", channel).future(b"", metadata=[("call-id", key)], timeout=30) for key in keys]
        for key in keys:
            assert SEEN.event(SEEN.started, key).wait(10), "the call did not arrive"
        channel.close()
        for key in keys:
            assert SEEN.event(SEEN.cancelled, key).wait(5), "the server did not see that the client is gone"
        assert all(call.done() for call in calls), "the client's calls ended too"

    def a_lost_server_ends_the_clients_calls(self):
        """The server process goes away in the middle of a stream."""
        server, port = serve()
        proxy = None if BYPASS else Switchback(one_upstream(f"http://127.0.0.1:{port}", protocol="http2"))
        try:
            address = proxy.main if proxy else f"127.0.0.1:{port}"
            with grpc.insecure_channel(address) as channel:
                call = channel.unary_stream(SERVICE + "HangAfterOne")(b"", metadata=[("call-id", self.id())], timeout=20)
                equal(next(call), b"first")
                server.stop(grace=0)
                try:
                    next(call)
                    raise AssertionError("the stream went on")
                except grpc.RpcError as error:
                    allowed = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)
                    assert error.code() in allowed, f"{error.code()}: {error.details()}"
                server.stop(grace=0).wait(10)
                if proxy:
                    error = fails_with(grpc.StatusCode.UNAVAILABLE, lambda: self.unary("Echo", channel)(b"", timeout=10))
                    assert error.details(), "a reason"
        finally:
            if proxy:
                proxy.stop()

    # === size and number ===

    def messages_of_sixteen_mebibytes_and_more(self):
        for size in (16 * MIB, 16 * MIB + 1, 40 * MIB):
            message = os.urandom(MIB) * (size // MIB) + b"x" * (size % MIB)
            assert self.unary("Echo")(message, timeout=60) == message, f"{size} bytes came back changed"

    def a_slow_reader_holds_the_server_back(self):
        """Flow control end to end: the proxy must not take in what nobody reads."""
        key = self.id()
        call = self.server_stream("Flood")(b"200", metadata=[("call-id", key)], timeout=60)
        next(call)
        last, since = 0, time.monotonic()
        while time.monotonic() - since < 0.5:
            if SEEN.sent.get(key) != last:
                last, since = SEEN.sent.get(key), time.monotonic()
        assert last < 64, f"the server had sent {last} MiB while the client read one"
        equal(sum(len(m) for m in call), 199 * MIB, "the rest")

    def a_hundred_streams_at_once_on_one_connection(self):
        """The server answers nobody until all hundred are inside."""
        def one(i):
            answers = list(self.bidi("Crowd")(iter([b"a%d" % i, b"b%d" % i]), timeout=60))
            equal(answers, [b"a%d" % i, b"b%d" % i], "answers")

        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            list(pool.map(one, range(100)))

    def two_thousand_calls_at_once(self):
        echo_call = self.unary("Echo")
        pending = [echo_call.future(b"%d" % i, timeout=60) for i in range(2000)]
        for i, future in enumerate(pending):
            equal(future.result(), b"%d" % i, "answer")

    # === other ways in ===

    def over_tls(self):
        needs_proxy()
        assert self.tls, "openssl is needed to make a certificate"
        with open(self.tls[0], "rb") as f:
            credentials = grpc.ssl_channel_credentials(f.read())
        port = self.proxy.addresses["tls"].rsplit(":", 1)[1]
        with grpc.secure_channel(f"localhost:{port}", credentials, LARGE) as channel:
            equal(self.unary("Echo", channel)(b"t" * MIB, timeout=20), b"t" * MIB)
            got = list(channel.stream_stream(SERVICE + "PingPong")(iter([b"1", b"2"]), timeout=20))
            equal(got, [b"pong 1", b"pong 2"], "answers")

    def to_a_unix_socket(self):
        needs_proxy()
        path = os.path.join(self.folder, "model.sock")
        server, _ = serve(f"unix:{path}")
        proxy = Switchback(one_upstream(f"unix:{path}", protocol="http2"))
        try:
            with grpc.insecure_channel(proxy.main) as channel:
                equal(self.unary("Echo", channel)(b"unix", timeout=10), b"unix")
        finally:
            proxy.stop()
            server.stop(0)

    def from_a_unix_socket(self):
        needs_proxy()
        path = os.path.join(self.folder, "front.sock")
        config = one_upstream(f"http://127.0.0.1:{self.port}", protocol="http2")
        config["listeners"].append({"name": "local", "address": f"unix:{path}"})
        proxy = Switchback(config)
        try:
            # By itself grpcio puts the percent-encoded path into :authority, which is no authority
            # by RFC 3986 section 3.2 and which h2 refuses; every Rust server needs this option.
            with grpc.insecure_channel(f"unix:{path}", [("grpc.default_authority", "localhost")]) as channel:
                equal(self.unary("Echo", channel)(b"unix", timeout=10), b"unix")
        finally:
            proxy.stop()

    def status_counts_the_calls(self):
        needs_proxy()

        def settled():
            version = self.proxy.model("test")["versions"][0]
            return version["inFlight"] == 0 and version

        version = wait_until("no call in flight", settled, 10)
        counts = version["requests"]
        assert counts["success"] > 2000, counts
        assert counts["cancelled"] >= 8, f"cancelled calls are counted apart: {counts}"
        assert counts["clientError"] + counts["serverError"] >= 16, f"gRPC errors are counted: {counts}"
        _, _, text = get(f"http://{self.proxy.admin}/metrics")
        for code in (0, 5, 16):
            series = rf'^switchback_grpc_responses_total{{[^}}]*code="{code}"[^}}]*}} [1-9]'
            assert re.search(series, text.decode(), re.M), f"no gRPC status {code} on /metrics"

    def stop(self):
        self.channel.close()
        if self.proxy:
            self.proxy.stop()
        self.server.stop(0)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    checks = Checks("gRPC with grpcio")
    kinds = Kinds()
    try:
        for name in (
            "unary_call", "server_streaming_in_order", "client_streaming_in_order", "bidirectional_one_by_one",
            "an_early_answer_ends_a_client_stream", "metadata_both_ways", "metadata_near_eight_kibibytes",
            "metadata_of_forty_kibibytes", "metadata_over_the_limit_fails_one_call_only",
            "the_proxy_adds_what_it_promises", "every_status_code_in_trailers_only",
            "every_status_code_after_the_head", "every_status_code_after_messages", "an_unknown_method_is_unimplemented",
            "the_deadline_reaches_the_server", "a_deadline_that_passes_ends_the_call_on_both_sides",
            "a_client_cancel_reaches_the_server", "a_lost_client_reaches_the_server",
            "a_lost_server_ends_the_clients_calls", "messages_of_sixteen_mebibytes_and_more",
            "a_slow_reader_holds_the_server_back", "a_hundred_streams_at_once_on_one_connection",
            "two_thousand_calls_at_once", "over_tls", "to_a_unix_socket", "from_a_unix_socket",
            "status_counts_the_calls",
        ):
            checks.run(name.replace("_", " "), getattr(kinds, name))
    finally:
        kinds.stop()
    checks.finish()


if __name__ == "__main__":
    main()
