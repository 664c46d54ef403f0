"""A long line to a server near by: a relay that holds each byte back for a while, both ways, and never says no."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

__all__ = ["Line", "long_line"]

_RECEIVE = 256 * 1024


class Line:
    """What there is to know of a relay.

    Attributes:
        url: the origin of the server, by way of the relay.
        said: what each client has said, connection by connection.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.said: list[bytearray] = []


@contextmanager
def long_line(origin: str, one_way: float, bytes_per_second: float) -> Iterator[Line]:
    """A relay to the server at `origin`.

    Args:
        one_way: seconds that each byte is on its way, there or back.
        bytes_per_second: how many of them each connection carries, there or back. What takes longer has waited for
            the other side.
    """
    server = urlsplit(origin)
    assert server.port is not None
    bell, ringer = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener, closing(bell), closing(ringer):
        line = Line(f"{server.scheme}://127.0.0.1:{listener.getsockname()[1]}")
        relay = _Relay(listener, bell, (str(server.hostname), server.port), one_way, bytes_per_second, line)
        thread = threading.Thread(target=relay.run, name="relay")
        thread.start()
        try:
            yield line
        finally:
            ringer.close()
            thread.join()


class _Way:
    """One direction of a connection: what was taken at its source, and when it is due at its sink."""

    def __init__(self, source: socket.socket, sink: socket.socket, said: bytearray | None) -> None:
        self.source = source
        self.sink = sink
        self.said = said
        self.is_open = True
        self._is_free_at = -math.inf
        self.pending: deque[tuple[float, bytes]] = deque()

    def take(self, now: float, one_way: float, bytes_per_second: float) -> None:
        try:
            data = self.source.recv(_RECEIVE)
        except OSError:
            data = b""
        if self.said is not None:
            self.said += data
        self.is_open = bool(data)
        self._is_free_at = max(now, self._is_free_at) + len(data) / bytes_per_second
        self.pending.append((self._is_free_at + one_way, data))

    def hand_over(self) -> None:
        due, data = self.pending.popleft()
        with suppress(OSError):  # who has hung up gets no more
            if not data:
                self.sink.shutdown(socket.SHUT_WR)
            elif rest := data[self.sink.send(data) :]:
                self.pending.appendleft((due, rest))

    def due(self) -> float:
        return self.pending[0][0] if self.pending else math.inf


class _Relay:
    def __init__(
        self,
        listener: socket.socket,
        bell: socket.socket,
        server: tuple[str, int],
        one_way: float,
        bytes_per_second: float,
        line: Line,
    ) -> None:
        self._listener = listener
        self._bell = bell
        self._server = server
        self._one_way = one_way
        self._bytes_per_second = bytes_per_second
        self._line = line
        self._ways: list[_Way] = []

    def run(self) -> None:
        try:
            while self._step():
                continue
        finally:
            for way in self._ways:
                way.source.close()

    def _step(self) -> bool:
        """Wait until something comes, is due and can be sent, or will be due; False at the end."""
        now = time.monotonic()
        sources = {way.source: way for way in self._ways if way.is_open}
        sinks = {way.sink: way for way in self._ways if way.due() <= now}
        later = min((way.due() for way in self._ways if way.due() > now), default=math.inf)
        timeout = None if later == math.inf else later - now
        readable, writable, _ = select.select([self._bell, self._listener, *sources], list(sinks), [], timeout)
        now = time.monotonic()
        for source in readable:
            if source is self._listener:
                self._accept()
            elif source is not self._bell:
                sources[source].take(now, self._one_way, self._bytes_per_second)
        for sink in writable:
            sinks[sink].hand_over()
        return self._bell not in readable

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._server)
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line.said.append(bytearray())
        self._ways += [_Way(client, server, self._line.said[-1]), _Way(server, client, None)]
