"""A network that can be cut: a TCP proxy in a thread, between supervisors that are told its port instead of the agent's."""

import contextlib
import random
import select
import socket
import threading


class Proxy:
    """Carries bytes between callers of `port` and `target` (a port of 127.0.0.1). `cut()`: every connection breaks, with what is on its way
    lost; `down`: nobody gets through; `mute`: what is sent arrives nowhere, and nobody is told."""

    def __init__(self, target):
        self.target = target
        self.down = self.mute = False
        self.calls = 0
        self.every = None  # Random: it breaks again and again, after so many bytes
        self._left = 0
        self._pairs, self._stop = {}, False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._stop = True
        self._thread.join()
        self.cut()
        self._listening.close()

    def cut(self):
        with self._lock:
            for sock in list(self._pairs):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset: what is buffered is thrown away
                sock.close()
            self._pairs.clear()

    def _run(self):
        while not self._stop:
            with self._lock:
                waited = [self._listening, *self._pairs]
                ready = [] if self.mute else select.select(waited, [], [], 0)[0]
            if not ready:
                select.select([], [], [], 0.002)
                continue
            for sock in ready:
                self._listening_turn() if sock is self._listening else self._carry(sock)

    def _listening_turn(self):
        caller = self._listening.accept()[0]
        self.calls += 1
        try:
            if self.down:
                raise OSError
            other = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            return caller.close()
        with self._lock:
            self._pairs[caller], self._pairs[other] = other, caller

    def _carry(self, sock):
        other = self._pairs.get(sock)
        if other is None:
            return
        try:
            data = sock.recv(random.choice((1, 7, 1000, 1 << 16)))
            if data:
                other.sendall(data)
        except OSError:
            data = b""
        if self.every is not None and data:
            self._left -= len(data)
            if self._left < 0:
                self._left = self.every.randrange(500, 20_000)
                return self.cut()
        if not data:
            with self._lock:
                self._pairs.pop(sock, None)
                self._pairs.pop(other, None)
            sock.close()
            other.close()
