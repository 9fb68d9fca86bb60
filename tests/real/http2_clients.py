#!/usr/bin/env python3
"""HTTP/2 to Switchback as clients speak it: httpx over TLS, curl over TLS and in plain text.

The server behind is a plain HTTP/1.1 one, so every answer was translated. One listener must
take HTTP/1.1 and HTTP/2 with prior knowledge alike; over TLS, ALPN decides.
Run with .cache/venv-clients/bin/python tests/real/http2_clients.py

With SWITCHBACK_BYPASS=1 it talks to another proxy, named by H2_PLAIN_URL (HTTP/2 with prior
knowledge), H2_TLS_URL and H2_UPSTREAM_PORT (where that proxy expects the server).
"""

import asyncio
import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from harness import BYPASS, Checks, Skip, Switchback, certificate, equal, needs_proxy, one_upstream

import h2.connection
import h2.events
import httpx

MIB = 1 << 20


class Answers(http.server.BaseHTTPRequestHandler):
    """A model server's HTTP/1.1 habits, by path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def do_POST(self):
        body = self.body()
        if self.path == "/digest":
            self.answer(200, json.dumps({"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}).encode())
        else:
            self.answer(200, body, Content_Type=self.headers.get("Content-Type", "none"))

    def do_GET(self):
        if self.path == "/headers":
            self.answer(200, json.dumps(self.headers.items()).encode())
        elif self.path == "/empty":
            self.answer(204, b"")
        elif self.path == "/unchanged":
            self.answer(304, b"", ETag='"1"')
        elif self.path == "/cookies":
            self.send_response(200)
            self.send_header("Set-Cookie", "a=1")
            self.send_header("Set-Cookie", "b=2")
            self.send_header("Connection", "x-hop")
            self.send_header("X-Hop", "not for you")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        elif self.path == "/slow":
            # Server-sent events: each must arrive before the next is sent.
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(5):
                event = b"data: %d\n\n" % i
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.flush()
                time.sleep(0.2)
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(404, b'{"error": "no such path"}', Content_Type="application/json")

    do_HEAD = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_):
        """A client that goes away in the middle is part of the tests."""


class Front:
    """The proxy's addresses, with the checks as methods."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="switchback-h2-")
        self.server = Server(("127.0.0.1", int(os.environ.get("H2_UPSTREAM_PORT", "0"))), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.proxy = None
        if BYPASS:
            self.plain, self.secure = os.environ.get("H2_PLAIN_URL"), os.environ.get("H2_TLS_URL")
            if not (self.plain and self.secure):
                print("HTTP/2: 0 passed, 0 failed, all skipped: bypass needs H2_PLAIN_URL and H2_TLS_URL")
                sys.exit(0)
            self.verify = False
        else:
            tls = certificate(self.folder)
            self.proxy = Switchback(one_upstream(f"http://127.0.0.1:{self.server.server_port}", tls=tls, protocol="http1"))
            self.plain = f"http://{self.proxy.main}"
            self.secure = "https://localhost:" + self.proxy.addresses["tls"].rsplit(":", 1)[1]
            self.verify = ssl.create_default_context(cafile=tls[0])
            self.certificate = tls[0]

    def client(self, http2=True):
        return httpx.AsyncClient(http2=http2, http1=not http2, verify=self.verify, base_url=self.secure,
                                 trust_env=False, timeout=60)

    def run(self, check):
        asyncio.run(check())

    # === httpx over TLS ===

    async def alpn_gives_http2(self):
        async with self.client() as c:
            answer = await c.post("/echo", content=b"hello", headers={"Content-Type": "text/plain"})
            equal((answer.http_version, answer.status_code, answer.content), ("HTTP/2", 200, b"hello"))
            equal(answer.headers["content-type"], "text/plain", "content-type")
            if not BYPASS:
                equal(answer.headers["x-switchback-version"], "v1", "x-switchback-version")

    async def alpn_gives_http1_to_who_asks_for_it(self):
        async with self.client(http2=False) as c:
            answer = await c.post("/echo", content=b"hello")
            equal((answer.http_version, answer.content), ("HTTP/1.1", b"hello"))

    async def bodies_of_every_size(self):
        async with self.client() as c:
            for size in (0, 1, 16383, 16384, 65535, 65536, 3 * MIB + 7, 32 * MIB):
                body = (os.urandom(4096) * (size // 4096 + 1))[:size]
                answer = await c.post("/echo", content=body)
                assert answer.content == body, f"{size} bytes came back as {len(answer.content)}"

    async def a_body_without_length(self):
        async def parts():
            for _ in range(64):
                yield b"p" * 65536

        async with self.client() as c:
            answer = await c.post("/digest", content=parts())
            want = {"bytes": 4 * MIB, "sha256": hashlib.sha256(b"p" * 4 * MIB).hexdigest()}
            equal(answer.json(), want, "what the server got")

    async def a_hundred_streams_on_one_connection(self):
        async with self.client() as c:
            await c.post("/echo", content=b"first")
            answers = await asyncio.gather(*(c.post("/echo", content=b"%d" % i * 1000) for i in range(100)))
            for i, answer in enumerate(answers):
                equal(answer.content, b"%d" % i * 1000, "echo")

    async def answers_without_body(self):
        async with self.client() as c:
            equal((await c.get("/empty")).status_code, 204)
            unchanged = await c.get("/unchanged")
            equal((unchanged.status_code, unchanged.headers["etag"]), (304, '"1"'))
            head = await c.head("/headers")
            equal((head.status_code, head.content), (200, b""))
            assert int(head.headers["content-length"]) > 2, "HEAD keeps the length"
            missing = await c.get("/nothing-here")
            equal((missing.status_code, missing.json()), (404, {"error": "no such path"}))

    async def headers_are_translated(self):
        async with self.client() as c:
            answer = await c.get("/cookies")
            equal(answer.headers.get_list("set-cookie"), ["a=1", "b=2"], "set-cookie")
            if not BYPASS:
                for name in ("connection", "x-hop", "keep-alive", "transfer-encoding"):
                    assert name not in answer.headers, f"{name} is for one hop"
            sent = (await c.get("/headers", headers=[("cookie", "a=1"), ("cookie", "b=2"), ("x-user", "ann")])).json()
            got = {}
            for name, value in sent:
                got.setdefault(name.lower(), []).append(value)
            equal(got["x-user"], ["ann"], "x-user")
            # RFC 9113 section 8.2.3: crumbs are joined for HTTP/1.1.
            equal(got["cookie"], ["a=1; b=2"], "cookie")
            equal(len(got["host"]), 1, "one Host")

    async def events_come_one_by_one(self):
        async with self.client() as c:
            async with c.stream("GET", "/slow") as answer:
                times = []
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        times.append(time.monotonic())
        equal(len(times), 5, "events")
        assert times[-1] - times[0] > 0.5, f"five events within {times[-1] - times[0]:.2f} s: they were held back"

    async def a_cancelled_stream_leaves_the_others(self):
        async with self.client() as c:
            await c.post("/echo", content=b"warm")
            slow = asyncio.ensure_future(c.get("/slow"))
            others = [asyncio.ensure_future(c.post("/echo", content=b"%d" % i)) for i in range(10)]
            await asyncio.sleep(0.1)
            slow.cancel()
            for i, other in enumerate(others):
                equal((await other).content, b"%d" % i, "echo")
            equal((await c.post("/echo", content=b"after")).content, b"after")

    async def a_body_that_ends_in_a_frame_of_its_own(self):
        """Clients such as httpx send the last bytes first and END_STREAM in an empty frame behind
        them. The answer may be done by then. To reset the stream at once is allowed (RFC 9113
        section 8.1), but an error to them: one request in a hundred, when many run at once."""
        address = self.plain[len("http://"):]
        await asyncio.to_thread(self.late_end_of_stream, address)

    @staticmethod
    def late_end_of_stream(address):
        host, port = address.rsplit(":", 1)
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        seen, body = [], b""
        with socket.create_connection((host, int(port)), 10) as s:
            def take(until, seconds):
                nonlocal body
                end = time.monotonic() + seconds
                while time.monotonic() < end and not any(isinstance(e, until) for e in seen):
                    s.settimeout(max(0.01, end - time.monotonic()))
                    try:
                        data = s.recv(65536)
                    except TimeoutError:
                        break
                    if not data:
                        break
                    for event in connection.receive_data(data):
                        seen.append(event)
                        body += event.data if isinstance(event, h2.events.DataReceived) else b""
                    s.sendall(connection.data_to_send())

            connection.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"),
                                        (":path", "/echo"), ("content-length", "5")])
            connection.send_data(1, b"hello")
            s.sendall(connection.data_to_send())
            take(h2.events.StreamReset, 0.15)
            resets = [e for e in seen if isinstance(e, h2.events.StreamReset)]
            equal(resets, [], "resets before the client was done")
            connection.end_stream(1)
            s.sendall(connection.data_to_send())
            take((h2.events.StreamEnded, h2.events.StreamReset), 10)
        equal([e for e in seen if isinstance(e, h2.events.StreamReset)], [], "resets")
        equal(body, b"hello", "echo")

    # === curl ===

    def curl(self, *arguments, path="/echo", base=None, data=None):
        if not shutil.which("curl"):
            raise Skip("curl is not installed")
        ran = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "--max-time", "60", "-o", "-", "-w", "\n%{http_version} %{http_code}",
             *arguments, *(["--data-binary", "@-"] if data is not None else []), (base or self.plain) + path],
            input=data, capture_output=True,
        )
        equal(ran.returncode, 0, f"curl ({ran.stderr.decode()})")
        body, last = ran.stdout.rsplit(b"\n", 1)
        version, status = last.decode().split()
        return version, int(status), body

    def curl_http2(self):
        features = subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout
        if "HTTP2" not in features:
            raise Skip("this curl has no HTTP/2")

    async def plain_text_http2_with_prior_knowledge(self):
        self.curl_http2()
        equal(self.curl("--http2-prior-knowledge", data=b"hello"), ("2", 200, b"hello"))
        big = os.urandom(MIB) * 8
        version, status, body = self.curl("--http2-prior-knowledge", data=big)
        assert (version, status) == ("2", 200) and body == big, f"{len(big)} bytes came back as {len(body)}"

    async def http1_on_the_same_port(self):
        needs_proxy()
        equal(self.curl("--http1.1", data=b"hello"), ("1.1", 200, b"hello"))
        equal(self.curl("--http1.0", data=b"hello")[1:], (200, b"hello"))
        # The upgrade from HTTP/1.1 is obsolete (RFC 9113 section 3.1) and must do no harm.
        equal(self.curl("--http2", data=b"hello")[1:], (200, b"hello"))

    async def expect_100_continue(self):
        needs_proxy()
        big = b"e" * (2 * MIB)
        version, status, body = self.curl("--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "20", data=big)
        assert (version, status) == ("1.1", 200) and body == big, f"{status}, {len(body)} bytes"

    async def curl_over_tls(self):
        self.curl_http2()
        trust = ["-k"] if BYPASS else ["--cacert", self.certificate]
        equal(self.curl(*trust, "--http2", base=self.secure, data=b"tls"), ("2", 200, b"tls"))
        equal(self.curl(*trust, "--http1.1", base=self.secure, data=b"tls"), ("1.1", 200, b"tls"))

    async def the_tls_port_survives_plain_text(self):
        needs_proxy()
        address = self.secure.replace("https://", "http://")
        ran = subprocess.run(["curl", "-s", "--noproxy", "*", "--max-time", "10", address], capture_output=True)
        assert ran.returncode != 28, "plain text on the TLS port hangs"
        async with self.client() as c:
            equal((await c.post("/echo", content=b"after")).content, b"after")

    def stop(self):
        if self.proxy:
            self.proxy.stop()
        self.server.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    checks = Checks("HTTP/2 with httpx and curl")
    front = Front()
    try:
        for name in (
            "alpn_gives_http2", "alpn_gives_http1_to_who_asks_for_it", "bodies_of_every_size", "a_body_without_length",
            "a_hundred_streams_on_one_connection", "answers_without_body", "headers_are_translated",
            "events_come_one_by_one", "a_cancelled_stream_leaves_the_others",
            "a_body_that_ends_in_a_frame_of_its_own", "plain_text_http2_with_prior_knowledge",
            "http1_on_the_same_port", "expect_100_continue", "curl_over_tls", "the_tls_port_survives_plain_text",
        ):
            checks.run(name.replace("_", " "), front.run, getattr(front, name))
    finally:
        front.stop()
    checks.finish()


if __name__ == "__main__":
    main()
