#!/usr/bin/env python3
"""HTTP/1.1 from both sides, byte by byte: what is malformed, ambiguous or smuggled gets nowhere.

First the requests of probes/requests.py, with a model server behind that reads without mercy and
writes everything down. Then the answers of probes/answers.py, read by a client of the same kind.
Run with any Python: tests/real/http1_probes.py [part of a name]
"""

import socket
import sys
import time

from harness import BYPASS, Checks, Switchback, equal, one_upstream
from probes import answers, requests, strict
from probes.recorder import Recorder
from probes.requests import FORWARD, REFUSE

REFUSALS = {400, 405, 408, 411, 413, 414, 417, 421, 426, 431, 501, 505}
PATIENCE = 8.0


def exchange(address, data, half_close=False):
    """Sends bytes and gives what came back until the connection was closed."""
    host, port = address.rsplit(":", 1)
    got = b""
    with socket.create_connection((host, int(port)), PATIENCE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        end = time.monotonic() + PATIENCE
        while True:
            s.settimeout(max(0.01, end - time.monotonic()))
            try:
                more = s.recv(1 << 16)
            except TimeoutError:
                raise AssertionError(f"the connection was not closed; so far {got[:300]!r}") from None
            except ConnectionError:
                return got
            if not more:
                return got
            got += more


def answers_of(data, methods):
    """The answers of `data`, which must be whole and well-formed."""
    found = []
    while data:
        method = methods[len(found)] if len(found) < len(methods) else b"GET"
        message, data = strict.answer(data, method, ended=True)
        found.append(message)
    return found


class Front:
    """A proxy with a recorder behind it."""

    def __init__(self):
        self.recorder = Recorder(answers.reply)
        self.proxy = Switchback(
            one_upstream(f"http://127.0.0.1:{self.recorder.port}", protocol="http1", timeouts={"idle": "5s"})
        )
        self.number = 0

    # === requests ===

    def request(self, probe):
        self.number += 1
        mark = f"/p{self.number}/"
        put = lambda text: text.replace("{t}", mark)
        data = put(probe.text).encode("latin-1")
        first = f"GET {mark}first HTTP/1.1\r\nHost: test\r\n\r\n".encode()
        last = f"GET {mark}last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
        sent = first * probe.first + data + last * probe.follow
        methods = [b"GET"] * probe.first + [probe.method.encode("latin-1"), b"GET"]
        got = answers_of(exchange(self.proxy.main, sent, probe.half_close), methods)

        ours = lambda m: mark.encode() in m.target or any(mark.encode() in v for v in m.all(b"x-probe"))
        seen = self.recorder.take(ours)
        statuses = [a.status for a in got]
        if probe.first:
            assert seen and seen[0].target == f"{mark}first".encode(), f"the first request is lost: {seen}"
            seen, statuses = seen[1:], statuses[1:]
        served = bool(seen)
        if probe.want == REFUSE:
            assert not served, f"it was forwarded: {seen[0]}, answers {statuses}"
        elif probe.want == FORWARD:
            assert served, f"it was refused: {statuses}"
        if not served:
            assert len(statuses) <= 1 and all(s in REFUSALS for s in statuses), f"answers {statuses}"
            return
        follow = probe.follow and len(seen) > 1
        assert probe.want != FORWARD or follow == probe.follow, "the connection did not go on"
        # A client that ends its side may be taken for one that has left: its request is cancelled then.
        if statuses or not probe.half_close:
            equal(statuses, [200] * (1 + follow), "answers")
        equal(len(seen), 1 + follow, f"requests at the model server ({seen})")
        if follow:
            equal(seen[1].target, f"{mark}last".encode(), "the second request")
        message = seen[0]
        equal(message.method.decode("latin-1"), probe.method, "method")
        equal(message.target.decode("latin-1"), put(probe.target), "target")
        equal(message.body.decode("latin-1"), probe.body, "body")
        for name, value in probe.fields.items():
            values = [v.decode("latin-1") for v in message.all(name.encode())]
            equal(values, [] if value is None else [value], name)
        for name, value in probe.trailers.items():
            assert (name.encode(), value.encode()) in message.trailers, f"trailers {message.trailers}"

    def nothing_malformed_arrived(self):
        equal(self.recorder.broken, [], "what a strict reader did not take")

    def nothing_smuggled_arrived(self):
        equal(self.recorder.take(lambda m: b"smuggled" in m.target), [], "smuggled requests")

    def what_broke_off_never_looked_whole(self):
        """Whatever was begun at the model server and not ended must lack its end."""
        time.sleep(0.1)
        for data in self.recorder.partial:
            try:
                strict.request(data)
                raise AssertionError(f"whole after all: {data[:200]!r}")
            except strict.Incomplete:
                pass

    # === answers ===

    def answer(self, case):
        self.number += 1
        target = f"/a/{answers.CASES.index(case)}/{self.number}"
        method = case.method
        sent = f"{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
        got = exchange(self.proxy.main, sent)
        try:
            message, rest = strict.answer(got, method.encode(), ended=True)
            equal(rest, b"", "bytes behind the answer")
        except strict.Incomplete:
            assert case.want in (answers.BREAK, answers.EITHER), f"the answer broke off: {got[:300]!r}"
            message = None
        if case.want == answers.REFUSE or (case.want == answers.EITHER and message and message.status == 502):
            equal(message.status, 502, "status")
        elif case.want == answers.BREAK:
            assert message is None or message.status == 502, f"a broken answer looks whole: {message}"
        elif message:
            equal(message.status, case.status, "status")
            equal(message.body.decode("latin-1"), case.body, "body")
            for name, value in case.fields.items():
                values = [v.decode("latin-1") for v in message.all(name.encode())]
                equal(values, [] if value is None else [value], name)
        # Nothing of it may be taken for the answer to somebody else.
        for i in range(3):
            after = f"GET /echo/{self.number}/{i} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
            message, _ = strict.answer(exchange(self.proxy.main, after), b"GET", ended=True)
            if message.status == 502 and b"closed before an answer" in message.body:
                # A connection that the server was closing when the request was already on its way.
                message, _ = strict.answer(exchange(self.proxy.main, after), b"GET", ended=True)
            equal((message.status, message.body), (200, f"/echo/{self.number}/{i}".encode()), "the next answer")

    def the_proxy_says_what_it_refused(self):
        text = self.proxy.metrics()
        for line in ('switchback_connection_faults_total{reason="protocol"}', "switchback_protocol_errors_total"):
            found = [x for x in text.splitlines() if x.startswith(line)]
            assert found and float(found[0].rsplit(" ", 1)[1]) > 50, f"{line}: {found}"

    def stop(self):
        self.proxy.stop()
        self.recorder.close()


def main():
    if BYPASS:
        print("HTTP/1.1 probes: 0 passed, 0 failed, all skipped: bypassed")
        sys.exit(0)
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    checks = Checks("HTTP/1.1 probes")
    front = Front()
    try:
        for probe in requests.PROBES:
            if only in probe.name:
                checks.run(f"{probe.name} (RFC {probe.rule}: {probe.want})", front.request, probe, seconds=30)
        for name in ("nothing_malformed_arrived", "nothing_smuggled_arrived", "what_broke_off_never_looked_whole"):
            checks.run(name.replace("_", " "), getattr(front, name))
        for case in answers.CASES:
            if only in case.name:
                checks.run(f"answer: {case.name} (RFC {case.rule}: {case.want})", front.answer, case, seconds=30)
        if not only:
            checks.run("the proxy says what it refused", front.the_proxy_says_what_it_refused)
    finally:
        front.stop()
    checks.finish()


if __name__ == "__main__":
    main()
