#!/usr/bin/env python3
"""slowhttptest against Switchback: slow heads, slow bodies, many ranges, slow reading, each with thousands of
connections. Meanwhile others must be served, and memory must stay.

    slow_clients.py [CONNECTIONS [SECONDS]]      (4000 and 25)

Needs slowhttptest (Debian). The load tools wrk and h2load, where there are any, are run at the end.
"""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import Checks, Process, Switchback, equal, free_port, get, one_upstream, wait_until

MODES = {
    "slow heads": ["-H", "-i", "10", "-t", "GET"],
    "slow bodies": ["-B", "-i", "10", "-s", "8192", "-t", "POST"],
    "ranges": ["-R", "-a", "10", "-b", "3000"],
    "slow reading": ["-X", "-w", "10", "-y", "512", "-n", "5", "-z", "32", "-k", "3"],
}
MEMORY = 256 << 10


def serve(port):
    """A model server with room for thousands of connections: 2000 bytes, or a mebibyte for /large."""
    answers = {size: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size for size in (2000, 1 << 20)}

    async def connection(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(answers[1 << 20 if b" /large " in head else 2000])
                await writer.drain()
        writer.close()

    async def run():
        async with await asyncio.start_server(connection, "127.0.0.1", port, backlog=4096) as server:
            await server.serve_forever()

    asyncio.run(run())


class Front:
    def __init__(self):
        port = free_port()
        self.server = Process([sys.executable, __file__, "serve", str(port)], "upstream")
        self.proxy = Switchback(one_upstream(f"http://127.0.0.1:{port}", protocol="http1"))
        wait_until("the model server", lambda: get(f"http://{self.proxy.main}/")[0] == 200)

    def memory(self):
        with open(f"/proc/{self.proxy.process.child.pid}/status") as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])

    def slow(self, mode, connections, seconds):
        path = "/large" if mode == "slow reading" else "/"
        before, most, times, failed = self.memory(), 0, [], []
        tool = subprocess.Popen(
            [
                "slowhttptest",
                "-c",
                str(connections),
                *MODES[mode],
                "-r",
                "1000",
                "-u",
                f"http://{self.proxy.main}{path}",
                "-x",
                "24",
                "-p",
                "3",
                "-l",
                str(seconds),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(tool.stdout), daemon=True)
        reader.start()
        while tool.poll() is None:
            begun = time.monotonic()
            try:
                equal(get(f"http://{self.proxy.main}/", timeout=5)[0], 200)
            except Exception as error:
                failed.append(repr(error))
            times.append(time.monotonic() - begun)
            most = max(most, self.memory())
            time.sleep(0.05)
        reader.join(5)
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", "".join(lines))
        counts = {
            name: re.findall(rf"^{name}:\s+(\w+)", text, re.M)
            for name in ("connected", "closed", "error", "service available")
        }
        held = max(map(int, counts["connected"]), default=0)
        unavailable = counts["service available"].count("NO")
        times.sort()
        print(
            f"     {mode}: {held} held at once, {counts['closed'][-1:]} closed; {len(times)} other requests, the slowest {times[-1] * 1000:.0f} ms, "
            f"half within {times[len(times) // 2] * 1000:.1f} ms; memory {before} -> {most} KiB; tool: unavailable {unavailable} times",
            flush=True,
        )
        equal(failed, [], "failed requests meanwhile")
        equal(unavailable, 0, "times that the tool found nobody")
        assert most - before < MEMORY, f"{(most - before) >> 10} MiB more memory"

    def load(self, arguments, wrong):
        ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
        text = ran.stdout + ran.stderr
        print(
            "".join(
                f"     {line}\n"
                for line in text.splitlines()
                if re.search(r"req/s|Requests/sec|requests:|status codes|Socket errors|Non-2xx", line)
            ),
            end="",
        )
        equal(ran.returncode, 0, "exit code")
        assert not re.search(wrong, text), text

    def stop(self):
        self.proxy.stop()
        self.server.stop()


def main():
    if sys.argv[1:2] == ["serve"]:
        return serve(int(sys.argv[2]))
    connections, seconds = (int(x) for x in (sys.argv[1:] + ["4000", "25"][len(sys.argv) - 1 :])[:2])
    checks = Checks("slow clients from outside")
    for mode in MODES if shutil.which("slowhttptest") else ():
        # As many as have a connection to the model server: of more, the first are in the way of others until
        # they are found to be slow, some twelve seconds later.
        held = min(connections, 1900) if mode == "slow reading" else connections
        front = Front()
        try:
            checks.run(
                f"{mode}, {held} connections", front.slow, mode, held, seconds, seconds=seconds + 60
            )
        finally:
            front.stop()
    if not shutil.which("slowhttptest"):
        print("SKIP slowhttptest is not installed (Debian: slowhttptest)")
    front = Front()
    try:
        for tool, arguments, wrong in (
            ("wrk", ["wrk", "-t2", "-c64", "-d5s", f"http://{front.proxy.main}/"], r"Socket errors|Non-2xx"),
            (
                "h2load",
                ["h2load", "-n", "50000", "-c", "10", "-m", "20", f"http://{front.proxy.main}/"],
                r"[1-9]\d* failed|[1-9]\d* errored|[1-9]\d* [45]xx",
            ),
        ):
            if shutil.which(tool):
                checks.run(tool, front.load, arguments, wrong)
            else:
                print(f"SKIP {tool} is not installed")
    finally:
        front.stop()
    if not checks.passed and not checks.failed:
        print(f"{checks.title}: none of the tools is installed; nothing was judged")
        return
    checks.finish()


if __name__ == "__main__":
    main()
