"""A model server that writes down every byte it is sent, and reads it without mercy."""

import contextlib
import socket
import threading

from probes import strict


class Recorder:
    """Answers each whole request by `answer(message)`, which gives bytes and whether the connection
    ends behind them. What was broken, and what was never whole, is kept."""

    def __init__(self, answer):
        self.requests, self.broken, self.partial = [], [], []
        self.answer = answer
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        with connection, contextlib.suppress(OSError):
            while True:
                try:
                    message, data = strict.request(data)
                except strict.Incomplete:
                    more = connection.recv(1 << 16)
                    data += more
                    if more:
                        continue
                    if data:
                        with self.lock:
                            self.partial.append(data)
                    return
                except strict.Malformed as why:
                    with self.lock:
                        self.broken.append((str(why), data[:400]))
                    return
                with self.lock:
                    self.requests.append(message)
                reply, close = self.answer(message)
                connection.sendall(reply)
                if close:
                    return

    def take(self, wanted):
        """The whole requests so far for which `wanted(message)`."""
        with self.lock:
            return [message for message in self.requests if wanted(message)]

    def close(self):
        self.listener.close()
