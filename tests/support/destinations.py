"""Where names lead in tests of connecting: a peer that greets, and addresses at which nobody answers."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from httpcore import Network
from tests.support.black_hole import black_hole
from tests.support.peer import Conn, Script, ScriptedPeer

__all__ = ["HELLO", "hello", "peer_among_black_holes", "to"]

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def hello(conn: Conn) -> None:
    while True:
        conn.read_request()
        conn.send(HELLO)


def to(*ips: str) -> Network:
    """Every name has these addresses."""
    return Network(resolver=lambda host, port: ips)


@contextmanager
def peer_among_black_holes(
    *holes: str, host: str = "127.0.0.1", script: Script = hello, expect_disconnect: bool = False
) -> Iterator[ScriptedPeer]:
    """A peer that greets, at whose port these addresses are black holes. Another program may have the port at one of
    them, be it for a connection that is over; then it is not ours, and another one is."""
    with ExitStack() as stack:
        while True:
            with ExitStack() as attempt:
                peer = attempt.enter_context(ScriptedPeer(script, host=host, expect_disconnect=expect_disconnect))
                try:
                    for hole in holes:
                        attempt.enter_context(black_hole(hole, peer.port))
                except OSError as exc:
                    if exc.errno != errno.EADDRINUSE:
                        raise
                    continue
                stack.push(attempt.pop_all())
            break
        yield peer
