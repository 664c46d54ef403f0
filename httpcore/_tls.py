"""TLS over any `Stream`, by memory BIOs: one implementation for every world, and TLS inside TLS for nothing.

It also tells an end that the peer announced (close_notify) from one that anybody on the path could have made.

Source: RFC 8446; RFC 9112, 9.8 (a body that the end of the connection delimits is incomplete without close_notify).
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import replace

from ._errors import ConnectError, ReadError, WriteError, WriteTimeout
from ._sessions import Sessions
from ._streams import Stream

__all__ = ["TLSStream", "start_tls"]

# What one read from the stream below may bring: 16 records.
_RECEIVE = 256 * 1024
# The most plain bytes in one record (RFC 8446, 5.1).
_RECORD = 16 * 1024
# Plain bytes encrypted at a time, so that a large body is not held twice.
_ENCRYPT = 256 * 1024
# An answer to a key update has about 25 bytes; nobody honest asks for thousands while nothing is sent.
_MAX_ANSWERS = 64 * 1024
# For what takes less than a millisecond, on a machine that has other things to do.
_TAKE_IN_SECONDS = 10.0
# What may come without a byte of data among it: a few tickets have some KB, and one record, of which only part has come
# so far, 16. OpenSSL counts empty records and key updates, but no tickets.
_MAX_BARREN = 1024 * 1024


async def start_tls(
    stream: Stream,
    context: ssl.SSLContext,
    server_name: str,
    deadline: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sessions: Sessions | None = None,
    route: Hashable = None,
) -> TLSStream:
    """Shake hands over `stream`, which is closed where that fails.

    Args:
        now: the world's clock, in seconds.
        sessions: where a session to resume may be, and where this one is kept at the end; None resumes none.
        route: what else decides who is at the other end. Sessions are shared only between equal ones.

    Raises: ConnectError, ReadTimeout, ReadError, WriteTimeout, WriteError.
    Cancellation: the stream is closed.
    """
    try:
        tls = TLSStream(stream, context, server_name, sessions, route)
    except BaseException:
        stream.close()
        raise
    try:
        await tls.handshake(deadline, now)
    except BaseException:
        tls.close()
        raise
    return tls


class TLSStream:
    """A TLS client over another stream. See `Stream` for the contract, and `start_tls` for the arguments."""

    __slots__ = (
        "_barren",
        "_failure",
        "_has_input",
        "_has_said_bye",
        "_has_shaken_hands",
        "_incoming",
        "_is_blocked",
        "_is_closed",
        "_is_ended",
        "_is_taking_in",
        "_is_within",
        "_lock",
        "_outgoing",
        "_plain",
        "_reading",
        "_session_key",
        "_sessions",
        "_stream",
        "_tls",
        "info",
        "is_truncated",
    )

    def __init__(
        self,
        stream: Stream,
        context: ssl.SSLContext,
        server_name: str,
        sessions: Sessions | None = None,
        route: Hashable = None,
    ) -> None:
        self._stream = stream
        # One thread may receive while another sends, and OpenSSL does not take both at once.
        self._lock = threading.Lock()
        # Held by whoever takes in what has come, so that it is taken in its order.
        self._reading = threading.Lock()
        self._is_taking_in = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._sessions = sessions
        self._session_key = _session_key(context, server_name, route)
        session = None if sessions is None else sessions.take(self._session_key)
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name, session=session)
        except ValueError as exc:
            raise ConnectError(f"{server_name[:80]!r} cannot be sent as a server name: {exc}") from exc
        self._failure: ssl.SSLError | None = None
        self._is_ended = False
        self._is_blocked = False  # whether what was written has to wait to be taken
        self._has_input = False  # whether ciphertext, or its end, waits to be looked at
        self._is_within = False  # whether OpenSSL may hold part of a record, whose rest is still to come
        self._has_shaken_hands = False
        self._is_closed = False
        self._has_said_bye = False
        self._plain = b""  # decrypted when nobody was receiving
        self._barren = 0  # bytes that came then without data
        self.is_truncated = False
        self.info = stream.info

    async def handshake(self, deadline: float, now: Callable[[], float] = time.monotonic) -> None:
        began = now()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush(deadline)
                self._feed(await self._stream.receive(_RECEIVE, deadline))
            except (ssl.SSLError, ssl.CertificateError) as exc:
                self._say_bye()
                raise ConnectError(_handshake_reason(exc)) from exc
        await self._flush(deadline)
        self._has_shaken_hands = True
        self._has_input = bool(self._incoming.pending)
        cipher = self._tls.cipher()
        self.info = replace(
            self._stream.info,
            tls_version=self._tls.version(),
            cipher=cipher[0] if cipher else None,
            alpn=self._tls.selected_alpn_protocol(),
            peer_certificate=self._tls.getpeercert(binary_form=True),
            resumed=self._tls.session_reused is True,
            tls_seconds=now() - began,
            reused=False,  # whatever a tunnel below says of itself
        )

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        if not self._reading.acquire(False):
            self._wait_for_sender()
        try:
            data, self._plain = self._plain, b""
            sealed, barren = b"", 0
            while not data and not self._is_ended:
                if not self._has_input:
                    sealed = await self._stream.receive(_RECEIVE, deadline)
                    self._feed(sealed)
                data = self._decrypt(max_bytes)
                if self._outgoing.pending:
                    self._answer()
                if not data:
                    barren = _checked_barren(barren + len(sealed))
            if not data and self._is_closed:
                # A peer that answers our farewell has not said that it was done.
                raise ReadError("the connection was closed here")
            return data
        finally:
            self._reading.release()

    def _wait_for_sender(self) -> None:
        """Until a thread that sends has taken in what has come, which it does without waiting for more.

        Raises: ReadError where it is not a sender that holds us up.
        """
        if not self._reading.acquire(timeout=_TAKE_IN_SECONDS if self._is_taking_in else 0):
            raise ReadError("somebody else is receiving from this stream")

    def read(self, max_bytes: int) -> bytes | None:
        data, self._plain = self._plain, b""
        barren = 0
        while not data and not self._is_ended:
            if not self._has_input:
                sealed = self._stream.read(_RECEIVE)
                if sealed is None:
                    return None
                self._feed(sealed)
                barren = _checked_barren(barren + len(sealed))
            data = self._decrypt(max_bytes)
            if self._outgoing.pending:
                self._answer()
        return data

    def _answer(self) -> None:
        """Send what TLS itself has to say, about a key update for one, unless that would have to wait."""
        with self._lock:
            if not self._is_blocked:
                try:
                    self._is_blocked = not self._stream.write(self._outgoing.read())
                except WriteError:  # the peer is gone; what it has said can still be read
                    self._has_said_bye = True
                return
        if self._outgoing.pending > _MAX_ANSWERS:
            raise ReadError("the peer asks for answers in TLS without end, and takes none")

    def _decrypt(self, max_bytes: int) -> bytes:
        """What can be decrypted now, up to about `max_bytes`; OpenSSL gives one record at a time."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < max_bytes:
                with self._lock:
                    part = self._tls.read(_RECORD)
                if not part:
                    self._is_ended = True
                    break
                parts.append(part)
                size += len(part)
                # OpenSSL takes no more than a record from what has come, and we have taken all of that record.
                if not self._incoming.pending:
                    self._has_input = self._is_within = False
                    break
        except ssl.SSLWantReadError:
            self._has_input, self._is_within = False, True
        except ssl.SSLZeroReturnError:
            self._is_ended = True
        except ssl.SSLEOFError:
            self._is_ended = self.is_truncated = True
        except ssl.SSLError as exc:
            # OpenSSL says why only once. With its traceback the error would make a cycle.
            self._failure = self._failure or exc.with_traceback(None)
        if self._failure is not None and not parts:
            raise ReadError(f"TLS failed: {_reason(self._failure)}") from self._failure
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _feed(self, data: bytes) -> None:
        self._has_input = True
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        if not until_heard and len(data) <= _ENCRYPT:
            if self.write(data):
                return True
            data = b""
        return await self._send_and_wait(data, deadline, until_heard)

    async def _send_and_wait(self, data: bytes, deadline: float, until_heard: bool) -> bool:
        """`send` what is large or has to be interrupted; or nothing more, where what was written has to wait."""
        is_unheard = not (until_heard and self._is_heard())
        rest: bytes | memoryview = data
        has_written, has_waited = not data, False
        try:
            while True:
                piece, rest = _split(rest, _ENCRYPT if is_unheard else math.inf)
                is_taken = self.write(piece)
                has_written = True
                if not is_taken and is_unheard:  # once the peer was heard, the rest is only queued
                    has_waited = True
                    while is_unheard and not await self.drain(deadline, until_heard):
                        is_unheard = not self._is_heard()
                if not rest:
                    break
        except (WriteError, WriteTimeout) as exc:
            exc.request_sent = has_written  # some of it may have been taken
            raise
        return is_unheard and (until_heard or not has_waited or not self._is_heard())

    def write(self, data: bytes | memoryview) -> bool:
        try:
            # What TLS has numbered goes out in that order, and so both steps are one.
            with self._lock:
                if data:
                    self._tls.write(data)
                is_taken = self._stream.write(self._outgoing.read())
                self._is_blocked = not is_taken
        except ssl.SSLError as exc:
            raise WriteError(f"TLS failed: {_reason(exc)}") from exc
        except WriteError:
            self._has_said_bye = True  # a record is lost, and the peer could read none behind it
            raise
        return is_taken

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        self._is_blocked = not await self._stream.drain(deadline, until_heard)
        return not self._is_blocked

    async def _flush(self, deadline: float) -> None:
        if self._outgoing.pending:
            await self._stream.send(self._outgoing.read(), deadline)

    def interrupt(self) -> None:
        self._stream.interrupt()

    def is_readable(self) -> bool:
        """Whether more than TLS's own records is there: tickets, most often, which are taken in here. Part of a record
        counts, as nobody knows what it will be."""
        if self._plain or self._is_ended or self._is_within or self._failure is not None:
            return True
        return (self._has_input or self._stream.is_readable()) and (self._take_in() or self._is_within)

    def _is_heard(self) -> bool:
        """Whether application bytes, an end or an error have come."""
        if self._plain or self._is_ended or self._failure is not None:
            return True
        return (self._has_input or self._stream.is_readable()) and self._take_in()

    def _take_in(self) -> bool:
        """Take in what has come while nobody receives; whether it is for who does next."""
        self._is_taking_in = True  # before anybody can find the lock taken
        if not self._reading.acquire(blocking=False):
            self._is_taking_in = False
            return True  # somebody receives, and what comes is theirs
        try:
            while not (self._plain or self._is_ended):
                sealed, is_after_record = b"", not self._is_within
                if not self._has_input:
                    if (received := self._stream.read(_RECEIVE)) is None:
                        return False
                    if not received:
                        return True  # the end, which whoever receives will be told again
                    sealed = received
                    self._feed(sealed)
                    self._barren = _checked_barren(self._barren + len(sealed))
                self._plain = self._decrypt(_RECEIVE)
                if self._is_within and is_after_record and sealed and _are_whole(sealed):
                    self._is_within = False
        except ReadError:
            return True
        finally:
            self._reading.release()
            self._is_taking_in = False
        return True

    def watch(self, on_readable: Callable[[], None]) -> None:
        self._stream.watch(on_readable)

    def close(self, farewell: bytes = b"") -> None:
        self._is_closed = True
        last = b""
        try:
            with self._lock:
                if farewell and not self._has_said_bye:
                    with suppress(ssl.SSLError):  # a courtesy: TLS itself may have failed
                        self._tls.write(farewell)
                self._say_bye()
                last = self._outgoing.read()
                self._keep_session()
        finally:
            self._stream.close(last)

    def abandon(self) -> None:
        self._stream.abandon()

    def _keep_session(self) -> None:
        """Leave the session to the next connection, unless this one ended badly (RFC 5246, 7.2.2)."""
        sessions, self._sessions = self._sessions, None
        if sessions is None or not self._has_shaken_hands or self._failure is not None:
            return
        # A context with TLS objects of its own may verify after the handshake, as truststore does, and OP_NO_TICKET is
        # how its owner says that nothing is to be resumed.
        if type(self._tls) is ssl.SSLObject and not self._tls.context.options & ssl.OP_NO_TICKET:
            with suppress(ssl.SSLError, ValueError):  # what OpenSSL cannot copy is of no use
                sessions.keep(self._session_key, self._tls)

    def _say_bye(self) -> None:
        """Leave a close_notify, or the alert of a failed handshake, for `close` to send."""
        if not self._has_said_bye:
            self._has_said_bye = True
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                return  # it waits for the peer's farewell, which we do not


def _session_key(context: ssl.SSLContext, server_name: str, route: Hashable) -> Hashable:
    """What has to be the same for a session to be resumed. A caller may have made their context stricter since."""
    return route, context, server_name, context.verify_mode, context.check_hostname, context.verify_flags


def _split(data: bytes | memoryview, size: float) -> tuple[bytes | memoryview, bytes | memoryview]:
    """The first bytes, and the rest, which are not copied."""
    if len(data) <= size:
        return data, b""
    view = memoryview(data)
    return view[: int(size)], view[int(size) :]


def _checked_barren(count: int) -> int:
    """Raises: ReadError where so many bytes have come without data."""
    if count > _MAX_BARREN:
        raise ReadError("the peer sends records of TLS without end, and no data in them")
    return count


def _are_whole(sealed: bytes) -> bool:
    """Whether bytes that begin with a record end with one: a header of 5, the last two its length (RFC 8446, 5.1)."""
    at = 0
    while at + 5 <= len(sealed):
        at += 5 + int.from_bytes(sealed[at + 3 : at + 5])
    return at == len(sealed)


def _reason(exc: ssl.SSLError | ssl.CertificateError) -> str:
    reason = getattr(exc, "reason", None)
    return reason.replace("_", " ").lower() if reason else str(exc)


def _handshake_reason(exc: ssl.SSLError | ssl.CertificateError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {exc.verify_message or exc}"
    if isinstance(exc, ssl.SSLEOFError):
        return "the peer closed the connection in the middle of the TLS handshake"
    reason = _reason(exc)
    if reason in (
        "wrong version number",
        "unknown protocol",
        "http request",
        "packet length too long",
        "record layer failure",
    ):
        return f"the TLS handshake failed: {reason}; the peer does not seem to speak TLS there, is it http://?"
    if reason.endswith("no application protocol"):
        return (
            f"the TLS handshake failed: {reason}; the peer speaks none of what was offered (http1=False: HTTP/2 alone)"
        )
    return f"the TLS handshake failed: {reason}"
