#!/usr/bin/env python3
"""Switchback judged by tools that others wrote: h2spec, tlsfuzzer, sslscan, and slow_clients.py beside this.

What is not installed is skipped, and said:
  h2spec     a binary in PATH or named by H2SPEC (github.com/summerwind/h2spec, needs Go)
  tlsfuzzer  a checkout named by TLSFUZZER (github.com/tlsfuzzer/tlsfuzzer), and a Python with
             tlslite-ng 0.9 or later named by TLSFUZZER_PYTHON (pip install --pre tlslite-ng)
  sslscan, slowhttptest, wrk, h2load    Debian
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness import Checks, Skip, Switchback, equal, one_upstream
from probes.recorder import Recorder

# Conversations that end otherwise than the script wants, and why that is right or rustls' to decide.
# What is refused is refused; often only the name of the alert differs.
NOT_OFFERED = "a group, cipher or coding that rustls' ring provider does not have"
ALERT = "refused, by an alert of another name or none"
SCRIPTS = {
    "0rtt-garbage": (r"invalid 0-RTT", "early data is never allowed, so there is nothing to skip: refused"),
    "ccs": None,
    "connection-abort": (r"After NewSessionTicket", "it wants to see the tickets before the answer only"),
    "conversation": None,
    "count-tickets": None,
    "crfg-curves": (r"x448|empty x25519", NOT_OFFERED + "; an empty share is a decode_error"),
    "dhe-shared-secret-padding": (r"ffdhe|secp521r1|x448", NOT_OFFERED),
    "ecdhe-curves": (r"secp521r1|x448", NOT_OFFERED),
    "empty-alert": (r"empty alert", ALERT),
    "finished": (r"padding|truncation|empty", ALERT),
    "finished-plaintext": (r"Unencrypted", ALERT),
    "hrr": None,
    "invalid-ciphers": None,
    "keyshare-omitted": (r"omitted", ALERT),
    "keyupdate": (r"appdata between", ALERT),
    "large-number-of-extensions": (
        r"range from",
        "numbers that it holds to be free and rustls knows: their noise is refused",
    ),
    "legacy-version": (r"version \(", "RFC 8446 section 4.1.2: the field is not looked at"),
    "multiple-ccs-messages": (r"CCS", "dropped without a word (RFC 8446 section 5)"),
    "no-unknown-groups": None,
    "nociphers": None,
    "record-layer-limits": (r"left padding|too big", ALERT),
    "record-padding": None,
    "rsa-signatures": (r"rsa_pss_pss", "not the certificate's: refused behind ServerHello"),
    "serverhello-random": (r"ffdhe|secp521r1|x448|TLS 1.2", NOT_OFFERED),
    "session-resumption": (
        r"TLS 1.2|PSK_ONLY",
        "TLS 1.2 without RSA key exchange; resumption without a new key is not offered",
    ),
    "shuffled-extentions": (r"HRR|unassigned", "it takes X25519 for unknown"),
    "signature-algorithms": (
        r"32715|only undefined",
        "a hello above 64 KiB is refused; so is one without a common scheme, behind ServerHello",
    ),
    "symetric-ciphers": (r"CCM", NOT_OFFERED),
    "unencrypted-alert": None,
    "unrecognised-groups": (r"ffdhe2048", NOT_OFFERED),
    "zero-content-type": (r"zero content type", ALERT),
    "zero-length-data": (r"interleaved in handshake", ALERT),
}


def certificate(folder):
    """An RSA certificate, which most of the scripts ask for."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            cert,
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def reply(message):
    return b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000 * (message.method != b"HEAD"), False


class Front:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="switchback-conformance-")
        self.recorder = Recorder(reply)
        self.proxy = Switchback(
            one_upstream(f"http://127.0.0.1:{self.recorder.port}", tls=certificate(self.folder), protocol="http1")
        )
        self.port = {name: self.proxy.addresses[name].rsplit(":", 1)[1] for name in ("main", "tls")}

    def h2spec(self, listener, arguments):
        tool = os.environ.get("H2SPEC") or shutil.which("h2spec")
        if not tool:
            raise Skip("no h2spec in PATH or in H2SPEC")
        ran = subprocess.run(
            [tool, "-h", "127.0.0.1", "-p", self.port[listener], "-o", "3", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
        )
        total, passed, skipped, failed = map(
            int, re.findall(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", ran.stdout)[0]
        )
        print(f"     {passed} of {total} passed, {skipped} skipped", flush=True)
        # In plain text what is no preface may be HTTP/1.1, and is answered so; over TLS ALPN has decided.
        allowed = {"2: Sends invalid connection preface"} if listener == "main" else set()
        names = {name.strip() for name in re.findall(r"× (.*)", ran.stdout)}
        equal(names - allowed, set(), "failed")

    def tlsfuzzer(self, script):
        folder, python = os.environ.get("TLSFUZZER"), os.environ.get("TLSFUZZER_PYTHON", sys.executable)
        path = folder and os.path.join(folder, "scripts", f"test-tls13-{script}.py")
        if not path or not os.path.exists(path):
            raise Skip("no checkout of tlsfuzzer in TLSFUZZER")
        ran = subprocess.run(
            [python, path, "-h", "localhost", "-p", self.port["tls"]],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
        )
        counts = dict(re.findall(r"^(TOTAL|PASS|FAIL): (\d+)", ran.stdout, re.M))
        assert counts, (ran.stdout + ran.stderr)[-500:]
        failed = re.findall(r"^\t'(.*)'", ran.stdout.rsplit("FAILED:", 1)[-1], re.M) if "FAILED:" in ran.stdout else []
        known, why = SCRIPTS[script] or ("$^", "")
        left = [name for name in failed if not re.search(known, name)]
        print(f"     {counts['PASS']} passed, {counts['FAIL']} otherwise{': ' + why if failed else ''}", flush=True)
        equal(left, [], "conversations that failed")
        equal(self.proxy.process.running(), True, "the proxy runs")

    def sslscan(self):
        if not shutil.which("sslscan"):
            raise Skip("sslscan is not installed")
        text = subprocess.run(
            ["sslscan", "--no-colour", f"localhost:{self.port['tls']}"], capture_output=True, text=True, timeout=120
        ).stdout
        for version, state in (
            ("SSLv2", "disabled"),
            ("SSLv3", "disabled"),
            ("TLSv1.0", "disabled"),
            ("TLSv1.1", "disabled"),
            ("TLSv1.2", "enabled"),
            ("TLSv1.3", "enabled"),
        ):
            assert re.search(rf"^{re.escape(version)}\s+{state}", text, re.M), f"{version} is not {state}:\n{text}"
        ciphers = re.findall(r"^(?:Preferred|Accepted)\s+\S+\s+\d+ bits\s+(\S+)", text, re.M)
        assert ciphers and all(re.search(r"GCM|CHACHA20", name) for name in ciphers), ciphers
        assert "renegotiation not supported" in text and not re.search(r"^\S+ vulnerable", text, re.M), text
        print(f"     {' '.join(ciphers)}", flush=True)

    def stop(self):
        self.proxy.stop()
        self.recorder.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    checks = Checks("conformance by others' tools")
    front = Front()
    try:
        for name, listener, arguments in (
            ("h2spec in plain text", "main", []),
            ("h2spec by TLS", "tls", ["-t", "-k"]),
            ("h2spec, strict", "main", ["-S"]),
            ("h2spec by TLS, strict", "tls", ["-t", "-k", "-S"]),
        ):
            checks.run(name, front.h2spec, listener, arguments, seconds=300)
        checks.run("sslscan", front.sslscan)
        for script in SCRIPTS:
            checks.run(f"tlsfuzzer: {script}", front.tlsfuzzer, script, seconds=600)
    finally:
        front.stop()
    if not checks.passed and not checks.failed:
        print(f"{checks.title}: none of the tools is installed; nothing was judged")
        return
    checks.finish()


if __name__ == "__main__":
    main()
