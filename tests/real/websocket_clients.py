#!/usr/bin/env python3
"""WebSocket through Switchback, with the `websockets` package on both sides.

An upgrade is passed to the stable version and from then on the bytes are the two ends' own
affair: messages, pings, close codes, and the end of either side must reach the other.
Run with .cache/venv-clients/bin/python tests/real/websocket_clients.py
"""

import asyncio
import os
import threading

from harness import BYPASS, Checks, Switchback, equal, get, needs_proxy, one_upstream, wait_until

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

MIB = 1 << 20


class Server:
    """Echoes, and does what the path says; runs in a thread with its own loop."""

    def __init__(self):
        self.closed, self.open, self.headers = [], 0, {}
        self.ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.main(),), daemon=True)
        self.thread.start()
        assert self.ready.wait(10), "the server did not start"

    async def main(self):
        self.stopping = asyncio.Event()
        async with serve(self.handle, "127.0.0.1", 0, max_size=64 * MIB, select_subprotocol=self.choose,
                         process_request=self.refuse, ping_interval=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            async with serve(self.handle, "127.0.0.1", 0) as other:
                self.other_port = other.sockets[0].getsockname()[1]
                self.ready.set()
                await self.stopping.wait()

    @staticmethod
    def choose(_connection, offered):
        return "v1.tensor" if "v1.tensor" in offered else None

    @staticmethod
    def refuse(connection, request):
        if request.path == "/refuse":
            return connection.respond(403, "not here\n")
        return None

    async def handle(self, socket):
        self.open += 1
        self.headers = dict(socket.request.headers.raw_items())
        path = socket.request.path
        try:
            if path.startswith("/close/"):
                await socket.close(int(path.rsplit("/", 1)[1]), "asked for")
            elif path == "/drop":
                await socket.recv()
                socket.transport.abort()
            elif path == "/count":
                for i in range(50):
                    await socket.send(f"{i}")
                    await socket.recv()
            else:
                async for message in socket:
                    await socket.send(message)
        except ConnectionClosed:
            pass
        finally:
            await socket.wait_closed()
            self.open -= 1
            self.closed.append((path, socket.close_code, socket.close_reason))

    def stop(self):
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(10)


class Front:
    """The way to the server, with the checks as methods."""

    def __init__(self):
        self.server = Server()
        self.proxy = None
        address = f"127.0.0.1:{self.server.port}"
        if not BYPASS:
            # A canary that takes everything else: an upgrade must go to stable all the same.
            config = one_upstream(f"http://{address}", protocol="http1")
            config["models"][0]["versions"] = [
                {"name": "v1", "weight": "0%", "role": "stable", "upstream": {"url": f"http://{address}"}},
                {"name": "v2", "weight": "100%", "upstream": {"url": f"http://127.0.0.1:{self.server.other_port}"}},
            ]
            self.proxy = Switchback(config)
            address = self.proxy.main
        self.url = f"ws://{address}"

    def connect(self, path="/echo", **options):
        return connect(self.url + path, max_size=64 * MIB, ping_interval=None, proxy=None, **options)

    def run(self, check):
        asyncio.run(asyncio.wait_for(check(), 60))

    async def closed(self, path):
        """How the server saw the connection to this path end: (code, reason)."""
        def entry():
            return next((c[1:] for c in list(self.server.closed) if c[0] == path), None)
        return await asyncio.to_thread(wait_until, f"the server to see the end of {path}", entry, 5)

    async def echo(self):
        async with self.connect() as s:
            for message in ("text", "ünïcode ✓", b"\x00\xff binary", "", b"x" * 65535, b"x" * 65536, "y" * 4 * MIB):
                await s.send(message)
                equal(await s.recv(), message, "echo")

    async def echo_without_compression(self):
        async with self.connect(compression=None) as s:
            big = os.urandom(MIB) * 16
            await s.send(big)
            assert await s.recv() == big, "16 MiB came back changed"

    async def fragments_as_they_come(self):
        async def parts():
            for i in range(20):
                yield f"part {i} "
                await asyncio.sleep(0)

        async with self.connect() as s:
            await s.send(parts())
            equal(await s.recv(), "".join(f"part {i} " for i in range(20)), "message")

    async def ping_and_pong(self):
        async with self.connect() as s:
            for i in range(10):
                await asyncio.wait_for(await s.ping(b"beat %d" % i), 5)

    async def subprotocol_and_headers(self):
        async with self.connect(subprotocols=["v1.tensor"], additional_headers={"x-user": "ann"}) as s:
            equal(s.subprotocol, "v1.tensor", "subprotocol")
            # Once it echoes, the handler has seen the request's headers.
            await s.send("begun")
            await s.recv()
            equal(self.server.headers.get("x-user") or self.server.headers.get("X-User"), "ann", "header at the server")
            extensions = s.response.headers.get("Sec-WebSocket-Extensions", "")
            assert "permessage-deflate" in extensions, f"extensions {extensions!r}"
            if not BYPASS:
                equal(s.response.headers.get("x-switchback-version"), "v1", "x-switchback-version")

    async def close_codes_from_the_client(self):
        for code, reason in ((1000, "done"), (1001, ""), (3001, "mine"), (4999, "ü" * 40)):
            s = await self.connect(f"/client-closes/{code}")
            await s.close(code, reason)
            equal(s.close_code, code, "the client's close code")
            equal(await self.closed(f"/client-closes/{code}"), (code, reason), "what the server saw")

    async def close_codes_from_the_server(self):
        for code in (1000, 1001, 1011, 3500, 4001):
            async with self.connect(f"/close/{code}") as s:
                try:
                    await s.recv()
                    raise AssertionError("a message")
                except ConnectionClosed as closed:
                    equal((closed.rcvd.code, closed.rcvd.reason), (code, "asked for"), "close frame")

    async def a_dropped_client_reaches_the_server(self):
        s = await self.connect("/client-drops")
        await s.send("hello")
        await s.recv()
        s.transport.abort()
        equal((await self.closed("/client-drops"))[0], 1006, "what the server saw")

    async def a_dropped_server_reaches_the_client(self):
        s = await self.connect("/drop")
        await s.send("now")
        try:
            await asyncio.wait_for(s.recv(), 5)
            raise AssertionError("a message")
        except ConnectionClosed as closed:
            assert closed.rcvd is None, f"there was no close frame, but: {closed}"

    async def a_refusal_is_passed_on(self):
        try:
            await self.connect("/refuse")
            raise AssertionError("was let in")
        except InvalidStatus as refusal:
            equal((refusal.response.status_code, bytes(refusal.response.body)), (403, b"not here\n"), "answer")

    async def fifty_at_once(self):
        async def one(i):
            async with self.connect() as s:
                for n in range(20):
                    await s.send(f"{i}/{n}")
                    equal(await s.recv(), f"{i}/{n}", "echo")

        await asyncio.gather(*(one(i) for i in range(50)))

    async def one_message_at_a_time(self):
        """Small messages are not held back in either direction."""
        async with self.connect("/count") as s:
            for i in range(50):
                equal(await asyncio.wait_for(s.recv(), 5), f"{i}", "message")
                await s.send("next")

    async def nothing_is_left_open(self):
        await asyncio.to_thread(wait_until, "every connection to end", lambda: self.server.open == 0, 10)
        if not BYPASS:
            def idle():
                return self.proxy.model("test")["versions"][0]["inFlight"] == 0
            await asyncio.to_thread(wait_until, "no upgrade in flight", idle, 10)

    async def other_requests_go_on(self):
        needs_proxy()
        code, headers, _ = get(f"http{self.url[2:]}/echo")
        # The WebSocket server there has its own answer to a request without upgrade.
        equal((code, headers["x-switchback-version"]), (426, "v2"), "a request without upgrade")

    def stop(self):
        if self.proxy:
            self.proxy.stop()
        self.server.stop()


def main():
    checks = Checks(f"WebSocket with websockets {websockets.__version__}")
    front = Front()
    try:
        for name in (
            "echo", "echo_without_compression", "fragments_as_they_come", "ping_and_pong",
            "subprotocol_and_headers", "close_codes_from_the_client", "close_codes_from_the_server",
            "a_dropped_client_reaches_the_server", "a_dropped_server_reaches_the_client",
            "a_refusal_is_passed_on", "fifty_at_once", "one_message_at_a_time", "nothing_is_left_open",
            "other_requests_go_on",
        ):
            checks.run(name.replace("_", " "), front.run, getattr(front, name))
    finally:
        front.stop()
    checks.finish()


if __name__ == "__main__":
    main()
