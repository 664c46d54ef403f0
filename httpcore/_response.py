"""The response as its caller holds it: head, and a body to be read once, decoded or as it was received."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from ._engines.framing import ResponseHead
from ._errors import DecodingError, ResponseNotRead, StreamConsumed
from ._exchange import Exchange
from ._headers import Headers
from ._network_stream import NetworkStream
from ._request import Request

if TYPE_CHECKING:
    from ._decoders import Decoder

__all__ = ["BaseResponse", "Response"]

Receive = Callable[[], Coroutine[Any, Any, bytes]]

# Apache's mod_deflate ends a request whose body inflates to more than 200 times its size. Data that is honest seldom
# passes 100, and a body that is read into memory is only judged once it is this large.
_MAX_RATIO = 200
_VERSIONS = {b"1.0": "HTTP/1.0", b"1.1": "HTTP/1.1", b"2": "HTTP/2", b"": ""}
_RATIO_FREE_BYTES = 64 * 1024 * 1024


class BaseResponse:
    """What the responses of both pools have in common.

    Attributes:
        status_code: 100 to 999.
        reason: the reason phrase as text; may be empty, and is never there in HTTP/2.
        http_version: "HTTP/1.0", "HTTP/1.1" or "HTTP/2"; "" from JavaScript's fetch, which does not tell.
        headers: as received; without content-encoding and content-length where the body is decoded.
        request: what was sent.
        extensions: "connection" (facts about the connection), "stream_id" in HTTP/2, "network_stream" after 101 or
            CONNECT, "content_encoding" and "content_length" where they left the headers, "fetch" (a `FetchInfo`) under
            Pyodide.
    """

    __slots__ = (
        "__weakref__", "_body", "_decoder", "_exchange", "_is_finishing", "_is_taken", "_network_stream", "_pending",
        "_refusal", "extensions", "headers", "http_version", "reason", "request", "status_code",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        head: ResponseHead,
        exchange: Exchange,
        decode: bool,
        extensions: dict[str, object],
        network_stream: NetworkStream | None = None,
    ) -> None:
        self.request = request
        self.status_code = head.status_code
        self.reason = head.reason.decode("latin-1")
        self.http_version = _VERSIONS[head.http_version]
        self.headers = head.headers
        self.extensions = extensions
        if network_stream is not None:
            self._hand_over(network_stream)
        self._exchange = exchange
        self._network_stream = network_stream
        self._body: bytes | None = None
        self._is_taken = False
        self._decoder: Decoder | None = None
        self._refusal = ""  # to decode, which whoever reads the body gets to hear
        self._pending: Iterator[bytes] | None = None
        self._is_finishing = False
        if decode and b"content-encoding" in head.named:
            self._set_up_decoding(request.method)

    def _hand_over(self, stream: NetworkStream) -> None:
        """Let the caller have what remains of the connection after 101 or CONNECT."""
        self.extensions["network_stream"] = stream

    def _set_up_decoding(self, method: bytes) -> None:
        """Decode, and take the headers away that describe the body as it was sent (Go's rule)."""
        from ._decoders import make_decoder

        if method == b"HEAD" or self.status_code in (204, 304):
            return
        codings = self.headers.get_list(b"content-encoding")
        try:
            self._decoder = make_decoder(codings)
        except DecodingError as exc:
            self._refusal = str(exc)
        if self._decoder is None:
            return
        self.extensions["content_encoding"] = b", ".join(codings)
        length = self.headers.get(b"content-length")
        if length is not None:
            self.extensions["content_length"] = length
        gone = (b"content-encoding", b"content-length")
        self.headers = Headers(pair for pair in self.headers if pair[0] not in gone)

    @property
    def body(self) -> bytes:
        """The whole body, decoded.

        Raises:
            ResponseNotRead: `stream=True`, and `read` was not called.
            StreamConsumed: it was streamed, and so was not kept.
        """
        if self._body is not None:
            return self._body
        if self._is_taken:
            raise StreamConsumed("the body was streamed, and what was handed out is not kept")
        raise ResponseNotRead("the body has not been read: call read() first, or iterate over stream()")

    @property
    def trailers(self) -> Headers:
        """The trailer fields, once the body has been read; never merged into the headers. HTTP/1.1 has them behind
        chunked bodies alone.

        Raises: ResponseNotRead before that.
        """
        if not self._exchange.is_over:
            raise ResponseNotRead("trailers follow the body: read it to its end first")
        return self._exchange.trailers

    @property
    def is_closed(self) -> bool:
        """Whether the response holds no connection any more."""
        return self._exchange.is_over

    def __repr__(self) -> str:
        # The reason is free text of the peer's, which may have any secret in it.
        return f"<{type(self).__name__} {self.status_code} {self.request!r}>"

    # The async core, which the sync response drives as well.

    def _begin(self, receive: Receive) -> Receive:
        """Where parts come from: the peer, or the body that has been read already."""
        if self._body is None:
            self._take()
            return receive
        parts = [b"", self._body]

        async def replay() -> bytes:
            return parts.pop() if parts else b""

        return replay

    def _take(self) -> None:
        """Only one reader may have the body."""
        if self._is_taken:
            raise StreamConsumed("the body has already been streamed, and what was handed out is not kept")
        self._is_taken = True

    async def _read(self) -> bytes:
        if self._body is None:
            self._take()
            is_plain = self._decoder is None and not self._refusal
            parts = (self._exchange.take_all() if is_plain else None) or await self._collect()
            self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._body

    async def _collect(self) -> list[bytes]:
        parts: list[bytes] = []
        size = 0
        while part := await self._receive():
            parts.append(part)
            size += len(part)
            if self._decoder is not None and size > _RATIO_FREE_BYTES:
                await self._check_ratio(self._decoder, size)
        return parts

    async def _check_ratio(self, decoder: Decoder, size: int) -> None:
        limit = self.request.extensions.get("max_decoded_ratio", _MAX_RATIO)
        if isinstance(limit, (int, float)) and size > limit * decoder.received:
            await self._fail(
                DecodingError(
                    f"the body decodes to more than {limit} times its size: stream it, or raise the request's "
                    'extensions={"max_decoded_ratio": ...}, where None is no limit'
                )
            )

    async def _fail(self, exc: DecodingError) -> NoReturn:
        await self._aclose()
        self._exchange.explain(exc)
        try:
            raise exc
        finally:
            del exc  # or its traceback would make a cycle

    async def _receive(self) -> bytes:
        """The next decoded part, b"" at the end."""
        decoder = self._decoder
        if decoder is None:
            if self._refusal:
                await self._fail(DecodingError(self._refusal))
            return await self._exchange.receive()
        try:
            while True:
                if self._pending is not None:
                    if (part := next(self._pending, None)) is not None:
                        return part
                    if self._is_finishing:
                        return b""
                raw = await self._exchange.receive()
                self._is_finishing = not raw
                self._pending = decoder.decode(raw) if raw else decoder.finish()
        except DecodingError as exc:
            await self._fail(exc)

    async def _receive_raw(self) -> bytes:
        return await self._exchange.receive()

    async def _aclose(self) -> None:
        self._is_taken = True
        self._pending = None
        await self._exchange.aclose()
        if self._network_stream is not None:
            self._network_stream.close()


class Response(BaseResponse):
    """A response of `ConnectionPool`. Its connection goes back to the pool when the body has been read to its end, or
    with `aclose`, which `async with` calls.
    """

    __slots__ = ()

    async def read(self) -> bytes:
        """The whole body, decoded; kept, so that `body` has it afterwards.

        Raises: NetworkError, TimeoutException, RemoteProtocolError, DecodingError, StreamConsumed.
        Cancellation: the connection is closed, or the HTTP/2 stream reset; the response is of no more use.
        """
        return await self._read()

    def stream(self) -> AsyncIterator[bytes]:
        """The body part by part, decoded, as the parts come; nothing is collected or cut into other sizes.

        Raises: as `read`.
        """
        return self._iterate(self._receive)

    def raw(self) -> AsyncIterator[bytes]:
        """The body part by part as it was received: chunks undone, content codings not.

        Raises: as `read`, but for DecodingError.
        """
        return self._iterate(self._receive_raw)

    def _iterate(self, receive: Receive) -> AsyncIterator[bytes]:
        return BodyIterator(self._begin(receive))

    async def aclose(self) -> None:
        """Let go of the connection. Idempotent. In HTTP/1.1 what is left of a small body is read (64 KiB, 20 ms), so
        that the connection can be used again; otherwise it is closed. In HTTP/2 the stream is reset, and nothing else.

        Cancellation: the connection is closed, or the HTTP/2 stream reset.
        """
        await self._aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._aclose()


class BodyIterator:
    """The parts of a body. Not an async generator, so that leaving a loop early leaves nothing to be finalised."""

    __slots__ = ("_is_receiving", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_receiving = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_receiving:  # of two who wait for one stream a world may forget one
            raise StreamConsumed("somebody else is reading the body, and waits for its next part")
        self._is_receiving = True
        try:
            part = await self._receive()
        finally:
            self._is_receiving = False
        if not part:
            raise StopAsyncIteration
        return part
