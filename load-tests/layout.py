#!/usr/bin/env python3
"""Writes src/layout.ld: which functions stand together in the binary.

The kernel maps code in pieces of 64 KiB, so a start that runs a thousand functions strewn over
15 MiB makes 7 MiB of them resident. Here valgrind's callgrind says which functions a start and a
sidecar that has nothing to do run, and which ones requests run; the linker puts the first ones
first and the others behind them. A function that is missing in the file, or has gone, does no harm:
it stands where it would have stood.

    make layout        (a release build, valgrind, curl; then build again)
"""
import argparse
import bisect
import collections
import http.client
import http.server
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A generic function has an instance for each type, and only a hash tells them apart, which changes with
# every dependency and compiler. So all instances go in together, the dense ones first: those of which
# at least so much runs, or that are so small. Only of the largest are the instances named.
MOSTLY, SMALL, LARGE = 0.3, 1024, 128 * 1024
HASH = re.compile(r"17h[0-9a-f]{16}E.*$")

CONFIG = """\
workers: 1
admin: {{address: "127.0.0.1:{admin}"}}
listeners: [{{name: main, address: "127.0.0.1:{main}"}}]
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: "http://127.0.0.1:{server}"}}}}
{more}"""
CANARY = """\
      - {{name: v2, weight: 30%, upstream: {{url: "http://127.0.0.1:{server}"}}}}
      - {{name: v3, upstream: {{url: "http://127.0.0.1:{server}"}}}}
    mirror: [{{to: v3}}]
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def executed(binary, folder, more, work):
    """The addresses of all instructions that `serve` executes while `work` is done."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = {"admin": free_port(), "main": free_port(), "server": server.server_port}
    config, out = folder / "layout.yaml", folder / "callgrind.out"
    config.write_text(CONFIG.format(more=more.format(**ports), **ports))
    child = subprocess.Popen(
        ["valgrind", "--tool=callgrind", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no",
         f"--callgrind-out-file={out}", binary, "serve", "--config", config],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait(ports["admin"], child)
    work(ports)
    child.terminate()
    child.wait(120)
    server.shutdown()
    found, ours, is_call = set(), False, False
    with out.open() as lines:
        for line in lines:
            if line.startswith("ob="):
                ours = line.rstrip().endswith(str(binary))
            elif line.startswith("calls="):
                is_call = True
            elif line.startswith("0x"):
                if ours:
                    found.add(int(line.split(None, 1)[0], 16))
                is_call = False
    return found


def wait(port, child):
    for _ in range(1200):
        if child.poll() is not None:
            sys.exit("layout: the sidecar ended; run it by hand to see why")
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            client.request("GET", "/readyz")
            if client.getresponse().read() is not None:
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("layout: the sidecar did not start")


def traffic(ports):
    """Requests of every common form."""
    client = http.client.HTTPConnection("127.0.0.1", ports["main"], timeout=60)
    path, small, large = "/v2/models/m/infer", b'{"inputs": []}', b"x" * (1 << 20)
    for turn in range(300):
        body = large if turn % 60 == 59 else small
        if turn % 3 == 2:
            client.request("POST", path, iter([body]), {"transfer-encoding": "chunked"}, encode_chunked=True)
        else:
            client.request("POST", path, body)
        client.getresponse().read()
    url = f"http://127.0.0.1:{ports['main']}{path}"
    for _ in range(20):
        subprocess.run(["curl", "-s", "-o", "/dev/null", "--http2-prior-knowledge", "-d", small, *[url] * 10], check=False)
    admin = http.client.HTTPConnection("127.0.0.1", ports["admin"], timeout=60)
    for document in ["/metrics", "/metrics", "/api/v1/status", "/healthz", "/readyz"]:
        admin.request("GET", document)
        admin.getresponse().read()


def functions(binary):
    """(address, size, name) of every function, by address."""
    listed = subprocess.run(["nm", "-n", "-S", "--defined-only", binary], capture_output=True, text=True, check=True)
    fields = (line.split() for line in listed.stdout.splitlines())
    return [(int(f[0], 16), int(f[1], 16), f[3]) for f in fields if len(f) == 4 and f[2] in "tTwW"]


def names_of(addresses, known):
    starts, names = [address for address, _, _ in known], {}
    for address in addresses:
        at = bisect.bisect_right(starts, address) - 1
        if at >= 0 and address < known[at][0] + known[at][1]:
            names[known[at][2]] = known[at][0]
    return sorted(names, key=names.get)


def pattern(name):
    """The name without its hash."""
    return HASH.sub("17h*", name)


def lines_of(names, known, done):
    sizes, ran, wanted = collections.Counter(), collections.Counter(), set(names)
    for _, size, name in known:
        sizes[pattern(name)] += size
        ran[pattern(name)] += size if name in wanted else 0
    dense, sparse = [], []
    for name in names:
        wide = pattern(name)
        said = wide if sizes[wide] <= LARGE or ran[wide] >= MOSTLY * sizes[wide] else name
        if said in done:
            continue
        done.add(said)
        is_dense = said == name or sizes[wide] <= SMALL or ran[wide] >= MOSTLY * sizes[wide]
        # The compiler puts what it takes for cold into `.text.unlikely.`.
        line = f"    *(.text.*{said})" if said.startswith("_ZN") else f"    *(.text.{said})"
        (dense if is_dense else sparse).append(line)
    return dense + sparse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=ROOT / "target/release/switchback", type=pathlib.Path)
    parser.add_argument("--out", default=ROOT / "src/layout.ld", type=pathlib.Path)
    arguments = parser.parse_args()
    for tool in ["valgrind", "curl", "nm"]:
        if shutil.which(tool) is None:
            sys.exit(f"layout: {tool} is not installed")
    binary = arguments.bin.resolve()
    known, done = functions(binary), set()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        idle = names_of(executed(binary, folder, "", lambda _: time.sleep(3)), known)
        busy = names_of(executed(binary, folder, CANARY, traffic), known)
    groups = [("start", idle), ("requests", [name for name in busy if name not in set(idle)])]
    text = ["/* Written by load-tests/layout.py: `make layout`. Functions that run together stand together. */",
            "SECTIONS", "{", "  .text : {"]
    for name, group in groups:
        lines = lines_of(group, known, done)
        text += [f"    /* {name} */", *lines]
        size = sum(s for _, s, n in known if n in set(group))
        print(f"{name}: {len(group)} functions of {size / 1024:.0f} KiB, {len(lines)} lines")
    text += ["  }", "}", "INSERT BEFORE .fini;", ""]
    arguments.out.write_text("\n".join(text))


if __name__ == "__main__":
    main()
