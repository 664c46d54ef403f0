"""TLS over any `Stream`, by memory BIOs: one implementation for every world, and TLS inside TLS for nothing.

It also tells an end that the peer announced (close_notify) from one that anybody on the path could have made.

Source: RFC 8446; RFC 9112, 9.8 (a body that the end of the connection delimits is incomplete without close_notify).
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ._config import SSLConfig
from ._errors import ConnectError, ReadError, WriteError
from ._streams import Stream

__all__ = ["TLSStream", "known_context", "make_context", "start_tls"]

# What one read from the stream below may bring: 16 records.
_RECEIVE = 256 * 1024
# The most plain bytes in one record (RFC 8446, 5.1).
_RECORD = 16 * 1024
# Plain bytes encrypted at a time, so that a large body is not held twice.
_ENCRYPT = 256 * 1024
# An answer to a key update has about 25 bytes; nobody honest asks for thousands while nothing is sent.
_MAX_ANSWERS = 64 * 1024


Stamps = tuple[tuple[int, int] | None, ...]

_contexts: dict[tuple[SSLConfig, tuple[str, ...]], tuple[Stamps, ssl.SSLContext]] = {}
_contexts_lock = threading.Lock()
# A context holds all roots, about 1 MB; a program that makes configurations without end must not keep them all.
_MAX_CONTEXTS = 64


def known_context(config: SSLConfig, alpn: tuple[str, ...]) -> ssl.SSLContext | None:
    """The context for a configuration, if it was made before, of files that have not changed since."""
    known = _contexts.get((config, alpn))
    return known[1] if known is not None and known[0] == _stamps(config) else None


def make_context(config: SSLConfig, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """The client context for a configuration, made once a process: reading the roots takes milliseconds.

    Where files have changed, it is made anew. If they cannot be used then, as somebody is about to replace them one
    after another, the former one stays, and the next connection looks again.

    Raises: OSError (a file is missing), ssl.SSLError (a key does not fit), RuntimeError (truststore is not installed).
    """
    with _contexts_lock:
        former, stamps = _contexts.get((config, alpn)), _stamps(config)
        if former is not None and former[0] == stamps:
            return former[1]
        try:
            context = _new_context(config, alpn)
        except (OSError, ssl.SSLError):
            if former is None:
                raise
            return former[1]
        while len(_contexts) >= _MAX_CONTEXTS and former is None:
            del _contexts[next(iter(_contexts))]
        _contexts[config, alpn] = stamps, context
        return context


def _stamps(config: SSLConfig) -> Stamps:
    """By which it is seen that files have changed: their times and sizes, None for one that is not there."""
    cert = () if config.cert is None else (config.cert,) if isinstance(config.cert, str) else config.cert[:2]
    return tuple(map(_stamp, (*_root_paths(config), *cert)))


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _new_context(config: SSLConfig, alpn: tuple[str, ...]) -> ssl.SSLContext:
    if config.truststore:
        context = _system_store_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_roots(context, config)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.hostname_checks_common_name = False  # RFC 9525, 2: names are alternative names
    if config.cert is not None:
        parts = (config.cert,) if isinstance(config.cert, str) else config.cert
        # An empty password instead of None: OpenSSL would ask for one at the terminal.
        context.load_cert_chain(parts[0], parts[1] if len(parts) > 1 else None, parts[2] if len(parts) > 2 else "")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _root_paths(config: SSLConfig) -> list[str]:
    """Where the trusted certificates are; empty for those of certifi, of the system, or none at all."""
    if isinstance(config.verify, str):
        return [config.verify]
    if config.truststore or not config.verify:
        return []
    # SSL_CERT_DIR may name several, as in OpenSSL.
    paths = [os.environ.get("SSL_CERT_FILE", ""), *os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)]
    return [path for path in paths if path]


def _load_roots(context: ssl.SSLContext, config: SSLConfig) -> None:
    if config.verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    paths = _root_paths(config)
    for path in paths:
        _load_path(context, path)
    if not paths:
        import certifi

        context.load_verify_locations(cafile=certifi.where())


def _load_path(context: ssl.SSLContext, path: str) -> None:
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
    elif os.path.exists(path):
        context.load_verify_locations(cafile=path)
    else:
        raise FileNotFoundError(f"the file or directory of trusted certificates does not exist: {path!r}")


def _system_store_context() -> ssl.SSLContext:
    try:
        import truststore
    except ImportError as exc:
        raise RuntimeError(
            "SSLConfig(truststore=True) needs the truststore package: pip install httpcore[truststore]"
        ) from exc
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def start_tls(stream: Stream, context: ssl.SSLContext, server_name: str, deadline: float) -> TLSStream:
    """Shake hands over `stream`, which is closed where that fails.

    Raises: ConnectError, ReadTimeout, ReadError, WriteTimeout, WriteError.
    Cancellation: the stream is closed.
    """
    try:
        tls = TLSStream(stream, context, server_name)
    except BaseException:
        stream.close()
        raise
    try:
        await tls.handshake(deadline)
    except BaseException:
        tls.close()
        raise
    return tls


class TLSStream:
    """A TLS client over another stream. See `Stream` for the contract."""

    __slots__ = (
        "_failure",
        "_has_input",
        "_has_said_bye",
        "_incoming",
        "_is_blocked",
        "_is_ended",
        "_is_receiving",
        "_lock",
        "_outgoing",
        "_plain",
        "_stream",
        "_tls",
        "info",
        "is_truncated",
    )

    def __init__(self, stream: Stream, context: ssl.SSLContext, server_name: str) -> None:
        self._stream = stream
        # One thread may receive while another sends, and OpenSSL does not take both at once.
        self._lock = threading.Lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        except ValueError as exc:
            raise ConnectError(f"{server_name[:80]!r} cannot be sent as a server name: {exc}") from exc
        self._failure: ssl.SSLError | None = None
        self._is_ended = False
        self._is_receiving = False
        self._is_blocked = False  # whether what was written has to wait to be taken
        self._has_input = False  # whether ciphertext, or its end, waits to be looked at
        self._has_said_bye = False
        self._plain = b""  # decrypted while we were sending
        self.is_truncated = False
        self.info = stream.info

    async def handshake(self, deadline: float) -> None:
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
        cipher = self._tls.cipher()
        self.info = replace(
            self._stream.info,
            tls_version=self._tls.version(),
            cipher=cipher[0] if cipher else None,
            alpn=self._tls.selected_alpn_protocol(),
            peer_certificate=self._tls.getpeercert(binary_form=True),
        )

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        data, self._plain = self._plain, b""
        while not data and not self._is_ended:
            if not self._has_input:
                self._is_receiving = True
                try:
                    sealed = await self._stream.receive(_RECEIVE, deadline)
                finally:
                    self._is_receiving = False
                self._feed(sealed)
            data = self._decrypt(max_bytes)
            if self._outgoing.pending:
                self._answer()
        return data

    def read(self, max_bytes: int) -> bytes | None:
        data, self._plain = self._plain, b""
        while not data and not self._is_ended:
            if not self._has_input:
                sealed = self._stream.read(_RECEIVE)
                if sealed is None:
                    return None
                self._feed(sealed)
            data = self._decrypt(max_bytes)
            if self._outgoing.pending:
                self._answer()
        return data

    def _answer(self) -> None:
        """Send what TLS itself has to say, about a key update for one, unless that would have to wait."""
        if not self._is_blocked:
            with suppress(WriteError):  # the peer is gone; what it has said can still be read
                self.write(b"")
        elif self._outgoing.pending > _MAX_ANSWERS:
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
                self._has_input = bool(self._incoming.pending or self._tls.pending())
                if not self._has_input:
                    break
        except ssl.SSLWantReadError:
            self._has_input = False
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
        try:
            if len(data) > _ENCRYPT:
                return await self._send_large(memoryview(data), deadline, until_heard)
            if data:
                self._tls.write(data)
        except ssl.SSLError as exc:
            raise WriteError(f"TLS failed: {_reason(exc)}") from exc
        is_unheard = await self._stream.send(self._outgoing.read(), deadline, until_heard)
        self._is_blocked = False
        return is_unheard or await self._listen(deadline, until_heard)

    def write(self, data: bytes) -> bool:
        try:
            with self._lock:
                if data:
                    self._tls.write(data)
                self._is_blocked = not self._stream.write(self._outgoing.read())
        except ssl.SSLError as exc:
            raise WriteError(f"TLS failed: {_reason(exc)}") from exc
        return not self._is_blocked

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        self._is_blocked = not await self._stream.drain(deadline, until_heard)
        return not self._is_blocked

    async def _send_large(self, data: memoryview, deadline: float, until_heard: bool) -> bool:
        is_unheard = True
        for start in range(0, len(data), _ENCRYPT):
            self._tls.write(data[start : start + _ENCRYPT])
            is_unheard &= await self._stream.send(self._outgoing.read(), deadline, until_heard and is_unheard)
        return is_unheard or await self._listen(deadline, until_heard)

    async def _listen(self, deadline: float, until_heard: bool) -> bool:
        """Take in what the peer says while we send: it counts only where it is more than TLS's own records."""
        while True:
            try:
                self._feed(await self._stream.receive(_RECEIVE, deadline))
                if self._has_plain_bytes():
                    return False
            except ReadError as exc:
                exc.request_sent = True  # the stream below has taken what we sent
                raise
            if await self._stream.send(self._outgoing.read(), deadline, until_heard) or not until_heard:
                return True

    async def _flush(self, deadline: float) -> None:
        if self._outgoing.pending:
            await self._stream.send(self._outgoing.read(), deadline)

    def _has_plain_bytes(self) -> bool:
        """Whether more than tickets and the like has come: application bytes, an end, or an error."""
        if not self._plain:
            self._plain = self._decrypt(_RECEIVE)
        return bool(self._plain) or self._is_ended

    def interrupt(self) -> None:
        self._stream.interrupt()

    def is_readable(self) -> bool:
        """Whether more than TLS's own records is there: tickets, most often, which are taken in here."""
        if self._is_receiving:  # what comes is for whoever waits for it
            return self._stream.is_readable()
        while not (self._plain or self._is_ended or self._failure):
            try:
                if not self._has_input:
                    if not self._stream.is_readable() or (sealed := self._stream.read(_RECEIVE)) is None:
                        return False
                    if not sealed:
                        return True  # the end, which whoever receives will be told again
                    self._feed(sealed)
                self._plain = self._decrypt(_RECEIVE)
            except ReadError:
                return True
        return True

    def watch(self, on_readable: Callable[[], None]) -> None:
        self._stream.watch(on_readable)

    def close(self, farewell: bytes = b"") -> None:
        if farewell and not self._has_said_bye:
            with suppress(ssl.SSLError):  # a courtesy: TLS itself may have failed
                self._tls.write(farewell)
        self._say_bye()
        self._stream.close(self._outgoing.read())

    def abandon(self) -> None:
        self._stream.abandon()

    def _say_bye(self) -> None:
        """Leave a close_notify, or the alert of a failed handshake, for `close` to send."""
        if not self._has_said_bye:
            self._has_said_bye = True
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                return  # it waits for the peer's farewell, which we do not


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
