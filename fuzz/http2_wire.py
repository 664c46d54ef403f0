"""HTTP/2 as bytes: what the rows send, and a server in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import h2.config
import h2.connection
import h2.events
import hpack

from httpcore.testing import Peer, Script
from tests.support.http2_frames import Flag, HeadersFrame, Kind, SettingsFrame, raw_frame
from tests.support.http2_peer import HTTP2Conn
from tests.support.http2_rows import CONNECTION_ERRORS, HARMLESS, STREAM_ERRORS
from tests.support.http2_rules import ClientRules

__all__ = ["seed_wires", "serve_http2"]

_SIBLING, _VICTIM = 1, 3
# What is longer is a flood, which the tests play as it is.
_LONGEST = 3000


class _Encoding:
    """As much of an `HTTP2Conn` as the rows need to make their bytes."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()
        self.rules = ClientRules()
        self.settings_of_client: dict[int, int] = {}

    headers = HTTP2Conn.headers


def seed_wires() -> Iterator[bytes]:
    """What a server sends by each row, from its preface to the end of both responses."""
    for row in (*HARMLESS, *STREAM_ERRORS, *CONNECTION_ERRORS):
        conn = cast("HTTP2Conn", _Encoding())
        begin = SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize() + _head(conn, _SIBLING)
        middle = row.sends(conn, _VICTIM)
        end = _head(conn, _VICTIM) + _data(_VICTIM, b"hello") + _data(_SIBLING, b"hi")
        if len(begin + middle + end) <= _LONGEST:
            yield begin + middle + end


def _head(conn: HTTP2Conn, stream_id: int) -> bytes:
    frame: HeadersFrame = conn.headers(stream_id, [(b":status", b"200"), (b"server", b"x")])
    return bytes(frame.serialize())


def _data(stream_id: int, body: bytes) -> bytes:
    return raw_frame(Kind.DATA, Flag.END_STREAM, stream_id, body)


def serve_http2(peer: Peer) -> Script:
    """Answer every request with the path that it asks for."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    while True:
        peer.send(server.data_to_send())
        for event in server.receive_data((yield from peer.read())):
            if isinstance(event, h2.events.RequestReceived):
                server.send_headers(event.stream_id, [(b":status", b"200")])
                server.send_data(event.stream_id, dict(event.headers)[b":path"], end_stream=True)
