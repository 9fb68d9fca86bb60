#!/usr/bin/env python3
"""HTTP/2 with frames by hand: broken framing, malformed requests, smuggling into HTTP/1.1, floods.

The model server behind speaks HTTP/1.1 and reads without mercy: what is written for it from a
request by HTTP/2 must be one request. Run with .cache/venv-clients/bin/python
tests/real/http2_probes.py [part of a name]
"""

import sys

from harness import BYPASS, Checks, Switchback, equal, one_upstream
from http1_probes import exchange
from probes import answers2, broken, floods, strict
from probes.broken import GET, PROTOCOL, SMUGGLED, WHOLE
from probes.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    RST_STREAM,
    Connection,
    frame,
    request,
)
from probes.recorder import Recorder


class Front:
    def __init__(self):
        self.recorder = Recorder(self.reply)
        self.proxy = Switchback(one_upstream(f"http://127.0.0.1:{self.recorder.port}", protocol="http1"))
        self.number, self.opened = 0, []

    @staticmethod
    def reply(message):
        body = b"b" * (1 << 20) if message.target == b"/big" else b"ok"
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body, False

    def connect(self, *pairs, **more):
        connection = Connection(self.proxy.main, *pairs, **more)
        self.opened.append(connection)
        return connection

    def mark(self):
        self.number += 1
        return f"/p{self.number}/"

    def still_serves(self):
        mark = self.mark()
        with_fresh = self.connect()
        with_fresh.headers(1, request(mark, "GET"))
        equal(with_fresh.settled(1), 200, "another client's answer")
        with_fresh.close()

    def framing(self, sent, wanted):
        c = self.connect()
        c.send(sent)
        if wanted & {200}:
            found = c.settled(1)
        else:
            c.read(lambda: c.broken() or c.resets, 3)
            found = c.settled(next(iter(c.resets), 1)) if c.broken() or c.resets else "nothing"
        c.close()
        whole = bool(wanted & {200})
        assert found in wanted or (found in ("closed", PROTOCOL) and not whole), f"ended with {found}, want {wanted}"
        self.still_serves()

    def no_settings(self):
        c = self.connect(preface=PREFACE + frame(HEADERS, WHOLE, 1, GET))
        found = c.settled(1)
        assert found in (PROTOCOL, "closed"), found

    def refused(self, c, stream, mark, arrived=0):
        found = c.settled(stream)
        refusal = (
            found
            in (
                PROTOCOL,
                "CANCEL",
                "REFUSED_STREAM",
                "ENHANCE_YOUR_CALM",
                "INTERNAL_ERROR",
                "NO_ERROR",
                "closed",
                "nothing",
            )
            or isinstance(found, int)
            and 400 <= found < 502
        )
        assert refusal, f"ended with {found}"
        seen = self.recorder.take(
            lambda m: mark.encode() in m.target or any(mark.encode() in v for v in m.all(b"x-probe"))
        )
        equal(seen, [], "what the model server got")
        return found

    def malformed(self, fields):
        mark = self.mark()
        fields = [(name, value.replace("{t}", mark)) for name, value in fields]
        c = self.connect()
        c.headers(1, fields)
        found = self.refused(c, 1, mark)
        assert found != "nothing", "no answer"
        if not c.broken():
            # A mistake of one stream is no matter of the others (RFC 9113 section 8.1.1).
            c.headers(3, request(mark + "after", "GET"))
            equal(c.settled(3), 200, "the next stream")
        c.close()

    def body(self, fields, rest):
        mark = self.mark()
        c = self.connect()
        sent = rest(1)
        c.headers(1, request(mark, more=fields), END_HEADERS)
        c.send(sent)
        found = c.settled(1) if sent[-10] != RST_STREAM else c.is_alive()
        assert found != 200 or ("content-length", "0") in fields, "it was answered"
        for seen in self.recorder.take(lambda m: mark.encode() in m.target):
            # A head that says that nothing follows is whole before what follows has come.
            equal((seen.one(b"content-length"), seen.body), (b"0", b""), "what the model server got")
        c.headers(3, request(mark + "after", "GET"))
        assert c.broken() or c.settled(3) == 200, c.settled(3)
        c.close()

    # === answers of a model server ===

    def answer(self, server, proxy, case):
        name, _, want, _ = case
        self.number += 1
        ask = lambda path: exchange(
            proxy.main, f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
        )
        got = ask(f"/a/{answers2.CASES.index(case)}/{self.number}")
        try:
            message, rest = strict.answer(got, ended=True)
            equal(rest, b"", "bytes behind the answer")
        except strict.Incomplete:
            message = None
        if want == answers2.REFUSE:
            equal(message and message.status, 502, "status")
        elif want == answers2.BREAK:
            assert message is None or message.status == 502, f"a broken answer looks whole: {message}"
        elif message and (want == answers2.FORWARD or message.status != 502):
            equal((message.status, message.body), (200, b"hello"), "answer")
        else:
            assert want == answers2.EITHER, f"the answer broke off: {got[:200]!r}"
        # Nothing of it may be taken for the answer to somebody else.
        for i in range(2):
            message, _ = strict.answer(ask(f"/echo/{self.number}/{i}"), ended=True)
            equal((message.status, message.body), (200, f"/echo/{self.number}/{i}".encode()), "the next answer")

    # === what must work ===

    def crumbs_are_one_cookie(self):
        mark, c = self.mark(), self.connect()
        c.headers(1, request(mark, "GET", more=[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]))
        equal(c.settled(1), 200)
        equal(self.recorder.take(lambda m: m.target == mark.encode())[0].all(b"cookie"), [b"a=1; b=2"], "cookie")

    def blanks_around_a_value_end_here(self):
        mark, c = self.mark(), self.connect()
        c.headers(1, request(mark, "GET", more=[("x-a", " \tb c\t ")]))
        found = c.settled(1)
        assert found in (200, 400, PROTOCOL), found
        if found == 200:
            equal(self.recorder.take(lambda m: m.target == mark.encode())[0].all(b"x-a"), [b"b c"], "x-a")

    def a_request_in_content_stays_there(self):
        mark, c = self.mark(), self.connect()
        c.headers(1, request(mark, more=[("content-length", str(len(SMUGGLED)))]), END_HEADERS)
        c.frame(DATA, END_STREAM, 1, SMUGGLED.encode())
        equal(c.settled(1), 200)
        equal(self.recorder.take(lambda m: m.target == mark.encode())[0].body, SMUGGLED.encode(), "body")

    def chunks_in_content_stay_there(self):
        mark, c = self.mark(), self.connect()
        c.headers(1, request(mark), END_HEADERS)
        text = b"0\r\n\r\n" + SMUGGLED.encode()
        c.frame(DATA, END_STREAM, 1, text)
        equal(c.settled(1), 200)
        equal(self.recorder.take(lambda m: m.target == mark.encode())[0].body, text, "body")

    def trailers_pass_but_for_those_that_frame(self):
        mark, c = self.mark(), self.connect()
        c.headers(1, request(mark), END_HEADERS)
        c.frame(DATA, 0, 1, b"x")
        c.headers(1, [("x-sum", "7"), ("content-length", "9"), ("host", "other"), ("authorization", "a")])
        found = c.settled(1)
        if found == 200:
            equal(self.recorder.take(lambda m: m.target == mark.encode())[0].trailers, [(b"x-sum", b"7")], "trailers")
        else:
            equal(found, PROTOCOL)

    def pseudo_headers_in_trailers_go_nowhere(self):
        """They make the request malformed (RFC 9113 section 8.1); `h2` leaves them out."""
        for name, value in ((":path", "/other"), (":status", "200"), (":method", "DELETE")):
            mark, c = self.mark(), self.connect()
            c.headers(1, request(mark), END_HEADERS)
            c.frame(DATA, 0, 1, b"x")
            c.headers(1, [(name, value), ("x-sum", "7")])
            found = c.settled(1)
            if found == 200:
                seen = self.recorder.take(lambda m: m.target == mark.encode())[0]
                equal(
                    (seen.method, seen.body, seen.trailers),
                    (b"POST", b"x", [(b"x-sum", b"7")]),
                    "what the model server got",
                )
            else:
                equal(found, PROTOCOL)

    def padding_is_no_content(self):
        mark, c = self.mark(), self.connect()
        c.headers(1, request(mark), END_HEADERS)
        c.frame(DATA, PADDED, 1, b"\x0ahello" + bytes(10))
        c.frame(DATA, PADDED | END_STREAM, 1, b"\xff" + bytes(255))
        equal(c.settled(1), 200)
        equal(self.recorder.take(lambda m: m.target == mark.encode())[0].body, b"hello", "body")

    def memory(self):
        with open(f"/proc/{self.proxy.process.child.pid}/status") as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1]) << 10

    def flood(self, check):
        before = self.memory()
        try:
            check(self)
            self.still_serves()
            grown = self.memory() - before
        finally:
            for connection in self.opened:
                connection.close()
            self.opened.clear()
        assert grown < floods.MEMORY, f"{grown >> 20} MiB more memory"

    def nothing_malformed_or_smuggled_arrived(self):
        equal(self.recorder.broken, [], "what a strict reader did not take")
        equal(self.recorder.take(lambda m: b"smuggled" in m.target), [], "smuggled requests")
        for data in self.recorder.partial:
            try:
                strict.request(data)
                raise AssertionError(f"whole after all: {data[:200]!r}")
            except strict.Incomplete:
                pass

    def floods_are_counted_and_write_no_logs(self):
        text = self.proxy.metrics()
        floods_seen = [
            x for x in text.splitlines() if x.startswith('switchback_connection_faults_total{reason="flood"}')
        ]
        assert float(floods_seen[0].rsplit(" ", 1)[1]) >= 5, floods_seen
        lines = self.proxy.process.tail(100000).splitlines()
        assert len(lines) < 50, f"{len(lines)} lines were logged, such as {lines[-1]}"

    def stop(self):
        self.proxy.stop()
        self.recorder.close()


def main():
    if BYPASS:
        print("HTTP/2 probes: 0 passed, 0 failed, all skipped: bypassed")
        sys.exit(0)
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    checks = Checks("HTTP/2 probes")
    front = Front()

    def run(name, *call):
        if only in name:
            checks.run(name, *call, seconds=60)

    try:
        run("a preface without SETTINGS (RFC 9113 3.4)", front.no_settings)
        for name, rule, sent, wanted in broken.FRAMING:
            run(f"{name} (RFC {rule if ' ' in rule else '9113 ' + rule})", front.framing, sent, wanted)
        for name, rule, fields in broken.MALFORMED:
            run(f"a request with {name} (RFC {rule if ' ' in rule else '9113 ' + rule})", front.malformed, fields)
        for name, rule, fields, rest in broken.BODIES:
            run(f"{name} (RFC 9113 {rule})", front.body, fields, rest)
        for name in (
            "crumbs_are_one_cookie",
            "blanks_around_a_value_end_here",
            "a_request_in_content_stays_there",
            "chunks_in_content_stay_there",
            "trailers_pass_but_for_those_that_frame",
            "pseudo_headers_in_trailers_go_nowhere",
            "padding_is_no_content",
        ):
            run(name.replace("_", " "), getattr(front, name))
        for name, rule, check in floods.CHECKS:
            run(f"flood: {name} ({rule})", front.flood, check)
        server = answers2.Server()
        proxy = Switchback(one_upstream(f"http://127.0.0.1:{server.port}", protocol="http2"))
        try:
            for case in answers2.CASES:
                run(
                    f"answer: {case[0]} (RFC {case[1] if ' ' in case[1] else '9113 ' + case[1]}: {case[2]})",
                    front.answer,
                    server,
                    proxy,
                    case,
                )
        finally:
            proxy.stop()
            server.close()
        if not only:
            run("nothing malformed or smuggled arrived", front.nothing_malformed_or_smuggled_arrived)
            run("floods are counted and write no logs", front.floods_are_counted_and_write_no_logs)
    finally:
        front.stop()
    checks.finish()


if __name__ == "__main__":
    main()
