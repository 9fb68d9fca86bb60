"""Clients that send the next request when the last one is answered, with something done meanwhile."""

import selectors
import socket
import time


def run(port, body, clients, seconds, meanwhile=None):
    """Durations in seconds, and how many answers were not 200."""
    request = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    chosen = selectors.DefaultSelector()
    for _ in range(clients):
        s = socket.create_connection(("127.0.0.1", port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        state = {"socket": s, "got": b"", "sent": time.perf_counter()}
        s.sendall(request)
        chosen.register(s, selectors.EVENT_READ, state)
    took, bad, end = [], 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _ in chosen.select(timeout=0.2):
            state = key.data
            state["got"] += state["socket"].recv(65536)
            head, found, rest = state["got"].partition(b"\r\n\r\n")
            if not found:
                continue
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            if len(rest) < length:
                continue
            now = time.perf_counter()
            took.append(now - state["sent"])
            bad += not head.startswith(b"HTTP/1.1 200")
            state["got"], state["sent"] = b"", now
            state["socket"].sendall(request)
        if meanwhile:
            # Copying files is no waiting of the server's: who waits for us is not counted.
            before = time.perf_counter()
            meanwhile()
            spent = time.perf_counter() - before
            if spent > 0.0005:
                for key in chosen.get_map().values():
                    key.data["sent"] += spent
    for key in list(chosen.get_map().values()):
        key.data["socket"].close()
    return took, bad


def p99(took):
    return sorted(took)[int(len(took) * 0.99)]
