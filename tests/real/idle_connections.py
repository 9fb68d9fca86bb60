#!/usr/bin/env python3
"""Ten thousand clients that have asked once and now say nothing: what each costs, and who is served.

HTTP/1.1 in plain text up to 10,000, then HTTP/2 and TLS, 1,000 each. Where a process may not have so
many descriptors there are fewer, and the line says so.
Run with .cache/venv-clients/bin/python tests/real/idle_connections.py
"""

import resource
import shutil
import socket
import ssl
import sys
import tempfile
import time

from harness import BYPASS, Checks, Switchback, certificate, equal, one_upstream
from probes import strict
from probes.frames import Connection, request
from probes.recorder import Recorder

GET = b"GET /idle HTTP/1.1\r\nHost: test\r\n\r\n"
# Kilobytes that an idle connection may cost the proxy (a debug build included).
MOST = {"HTTP/1.1": 8, "HTTP/2": 48, "TLS": 48}


def reply(message):
    return b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1000, False


class Front:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="switchback-idle-")
        tls = certificate(self.folder)
        self.recorder = Recorder(reply)
        self.proxy = Switchback(one_upstream(f"http://127.0.0.1:{self.recorder.port}", tls=tls, protocol="http1"))
        self.secure = self.proxy.addresses["tls"].rsplit(":", 1)
        self.context = ssl.create_default_context(cafile=tls[0])
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.room = hard - 3000
        self.held = []

    def memory(self):
        with open(f"/proc/{self.proxy.process.child.pid}/status") as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])

    def plain(self):
        host, port = self.proxy.main.rsplit(":", 1)
        return socket.create_connection((host, int(port)), 20)

    @staticmethod
    def ask(connection):
        connection.sendall(GET)
        data = b""
        while True:
            more = connection.recv(1 << 16)
            assert more, "closed"
            data += more
            try:
                message, _ = strict.answer(data)
                return equal(message.status, 200)
            except strict.Incomplete:
                pass

    def http1(self):
        connection = self.plain()
        self.ask(connection)
        return connection

    def http2(self):
        connection = Connection(self.proxy.main)
        connection.headers(1, request("/idle", "GET"))
        equal(connection.settled(1), 200)
        return connection

    def tls(self):
        connection = self.context.wrap_socket(
            socket.create_connection((self.secure[0], int(self.secure[1])), 20), server_hostname="localhost"
        )
        self.ask(connection)
        return connection

    def hold(self, kind, make, number):
        """Opens many, serves others meanwhile, and counts the memory."""
        if number > self.room:
            print(f"     {self.room} connections instead of {number}: `ulimit -Hn` allows no more", flush=True)
            number = max(self.room, 0)
        # What the first connections need is there for all.
        warm = [make() for _ in range(50)]
        before, started, slowest = self.memory(), time.monotonic(), 0.0
        for i in range(number):
            self.held.append(make())
            if i % 500 == 0:
                begun = time.monotonic()
                with self.plain() as other:
                    self.ask(other)
                slowest = max(slowest, time.monotonic() - begun)
        each = (self.memory() - before) / max(number, 1)
        print(
            f"     {kind}: {number} connections in {time.monotonic() - started:.1f} s, {each:.1f} KiB each; "
            f"the slowest request meanwhile took {slowest * 1000:.0f} ms",
            flush=True,
        )
        assert each <= MOST[kind], f"{each:.1f} KiB for each idle connection"
        # None of them was forgotten.
        for connection in self.held[:: max(number // 100, 1)]:
            connection.is_alive() if isinstance(connection, Connection) else self.ask(connection)
        for connection in self.held + warm:
            connection.close()
        self.held.clear()

    def stop(self):
        self.proxy.stop()
        self.recorder.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    if BYPASS:
        print("idle connections: 0 passed, 0 failed, all skipped: bypassed")
        sys.exit(0)
    checks = Checks("idle connections")
    for name, kind, make, number in (
        ("ten thousand by HTTP/1.1", "HTTP/1.1", Front.http1, 10_000),
        ("a thousand by HTTP/2", "HTTP/2", Front.http2, 1_000),
        ("a thousand by TLS", "TLS", Front.tls, 1_000),
    ):
        # A proxy of its own, for memory that others gave back would be used again.
        front = Front()
        try:
            checks.run(name, front.hold, kind, lambda: make(front), number)
        finally:
            front.stop()
    checks.finish()


if __name__ == "__main__":
    main()
