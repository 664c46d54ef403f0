"""One request: checked, complete, ready for any connection. Nothing that is not valid HTTP gets past here.

Source: RFC 9110, 7 to 9; RFC 9112, 3 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from typing import cast

from ._bodies import BodyTypes, make_body
from ._errors import LocalProtocolError
from ._headers import TOKEN, Headers, HeaderTypes, Pair, encode_headers
from ._network import Network
from ._urls import URL, Origin, parse_url

__all__ = ["InformationalCallback", "Request", "TrailerTypes"]

InformationalCallback = Callable[[int, Headers], object]
TrailerTypes = HeaderTypes | Callable[[], HeaderTypes]

# RFC 9110, 9.2.2.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
# Methods for which no body means an empty one, said with content-length: 0 (RFC 9110, 8.6).
_EXPECT_BODY = frozenset({b"POST", b"PUT", b"PATCH"})
_TARGET = re.compile(rb"[\x21-\x7e]+")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]*)?")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding"})
# RFC 9110, 6.5.1: framing, routing, and what the peer must know before it reads the body.
_NOT_IN_TRAILERS = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-encoding", b"trailer", b"te"})
# Go's net/http server and nginx refuse heads far below this; it bounds a mistake, not a use.
_MAX_HEAD = 1024 * 1024
_EXTENSIONS = frozenset(
    {"on_informational", "trailers", "target", "sni_hostname", "max_decoded_ratio", "protocol", "network", "fetch"}
)


class Request:
    """A request as it is sent.

    Args:
        method: a token, str or bytes; sent as it is given.
        url: str, bytes or `URL`.
        headers: a mapping or pairs, str or bytes. `host`, `accept-encoding` and the framing are added where missing.
        body: bytes, str, a binary file, an iterable or async iterable of bytes.
        accept_encoding: the value added where the caller gave none; b"" adds none.
        allow_async: whether the body may be an async iterable.
        extensions: "on_informational", "trailers", "target", "sni_hostname", "max_decoded_ratio", "protocol",
            "network", "fetch".

    Raises:
        LocalProtocolError, InvalidURL, UnsupportedProtocol, StreamConsumed, TypeError, ValueError; nothing is sent.
    """

    __slots__ = (
        "added_accept_encoding", "body", "extensions", "headers", "is_chunked", "is_idempotent", "length",
        "may_upgrade", "method", "on_informational", "path", "protocol", "target", "trailers", "url",
        "waits_for_continue", "wants_close",
    )  # fmt: skip

    def __init__(
        self,
        method: str | bytes,
        url: str | bytes | URL,
        headers: HeaderTypes | None = None,
        body: BodyTypes | None = None,
        accept_encoding: bytes = b"",
        allow_async: bool = True,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        self.url = parse_url(url)
        self.method = _checked_method(method)
        self.is_idempotent = self.method in _IDEMPOTENT
        self.body = None if body is None else make_body(body, allow_async)
        self.extensions = {} if extensions is None else _checked_extensions(extensions)
        self.protocol: bytes | None = None
        self.on_informational: InformationalCallback | None = None
        self.trailers: TrailerTypes | None = None
        if extensions:
            self._extend(self.extensions)
        self.target = self._choose_target() if extensions or self.method == b"CONNECT" else self.url.target
        self.path = self.target
        self.length = None if self.body is None else self.body.length
        self.is_chunked = self.may_upgrade = self.waits_for_continue = self.wants_close = False
        if headers is None and self.body is None and self.trailers is None and self.method not in _EXPECT_BODY:
            self.headers = _usual_headers(self.url.origin, accept_encoding)
            self.added_accept_encoding = bool(accept_encoding)
        else:
            self.headers = Headers(self._complete([] if headers is None else encode_headers(headers), accept_encoding))

    def _extend(self, extensions: Mapping[str, object]) -> None:
        self.protocol = cast("bytes | None", extensions.get("protocol"))
        if self.protocol is not None and self.method != b"CONNECT":
            raise LocalProtocolError("the extension protocol belongs to the method CONNECT (RFC 8441)")
        self.on_informational = cast("InformationalCallback | None", extensions.get("on_informational"))
        self.trailers = cast("TrailerTypes | None", extensions.get("trailers"))

    def _choose_target(self) -> bytes:
        target = self.extensions.get("target")
        if target is None:
            is_tunnel = self.method == b"CONNECT" and self.protocol is None
            return self.url.origin.address.encode("ascii") if is_tunnel else self.url.target
        if not isinstance(target, bytes):
            raise TypeError(f"the extension target is bytes, not {type(target).__name__}")
        if (valid := _TARGET.match(target)) is None or valid.end() < len(target):
            at = valid.end() if valid else 0  # not the whole target, which may hold credentials
            raise LocalProtocolError(
                f"the target has {target[at : at + 1]!r} at offset {at}: it is visible ASCII characters, at least one"
            )
        return target

    def _complete(self, given: list[Pair], accept_encoding: bytes) -> list[Pair]:
        """The caller's headers, in their order, behind a host and with what was missing."""
        named = _single_values(given) if given else {}
        headers = given if b"host" in named else [(b"host", self.url.origin.authority), *given]
        self.added_accept_encoding = bool(
            accept_encoding and b"accept-encoding" not in named and b"range" not in named  # a part does not decode
        )
        if self.added_accept_encoding:
            headers.append((b"accept-encoding", accept_encoding))
        if named:
            self._check_given(named)
        self._frame(headers, named)
        return headers

    def _check_given(self, named: dict[bytes, bytes]) -> None:
        if (host := named.get(b"host")) is not None and _HOST.fullmatch(host) is None:
            shown = host.rpartition(b"@")[2][:80]
            raise LocalProtocolError(f"the host header is not host[:port] but ends in {shown!r}")
        self.may_upgrade = b"upgrade" in named
        connection = named.get(b"connection", b"").lower()
        self.wants_close = b"close" in [option.strip() for option in connection.split(b",")]
        self.waits_for_continue = self.body is not None and named.get(b"expect", b"").lower() == b"100-continue"

    def _frame(self, headers: list[Pair], named: dict[bytes, bytes]) -> None:
        """Say how the body is delimited, in the way the caller chose or the best there is."""
        coding, length = named.get(b"transfer-encoding"), named.get(b"content-length")
        if coding is not None:
            self._frame_chunked(coding, length)
        elif length is not None:
            self._frame_length(length)
        elif self.body is None:
            if self.method in _EXPECT_BODY:
                headers.append((b"content-length", b"0"))
        elif self.length is not None and self.trailers is None:
            headers.append((b"content-length", b"%d" % self.length))
        else:
            self.is_chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        if self.trailers is not None and not self.is_chunked:
            raise LocalProtocolError(
                "trailers can only follow a body that is sent in chunks: give a body and no content-length"
            )
        if self.body is not None and self.method in (b"TRACE", b"CONNECT"):
            raise LocalProtocolError(f"a {self.method.decode('ascii')} request has no body (RFC 9110, 9.3)")

    def _frame_chunked(self, coding: bytes, length: bytes | None) -> None:
        if length is not None:
            raise LocalProtocolError(
                "content-length and transfer-encoding exclude each other: give one of them, or none"
            )
        if coding.lower() != b"chunked":
            raise LocalProtocolError(f"the transfer-encoding {coding[:40]!r} is not supported: only chunked is")
        if self.body is None:
            raise LocalProtocolError("transfer-encoding announces a body, but there is none")
        self.is_chunked = True

    def _frame_length(self, given: bytes) -> None:
        if _LENGTH.fullmatch(given) is None:
            raise LocalProtocolError(f"the content-length {given[:40]!r} is not a number of bytes")
        announced = int(given)
        if self.body is None:
            if announced:
                raise LocalProtocolError(f"content-length announces {announced} bytes, but there is no body")
        elif self.length is not None and self.length != announced:
            raise LocalProtocolError(f"content-length announces {announced} bytes, but the body has {self.length}")
        self.length = announced

    def forwarded(self, headers: Sequence[Pair]) -> Request:
        """The same request as a proxy takes it that forwards it: with the whole URL on its request line.

        Args:
            headers: to be added.

        Source: RFC 9112, 3.2.2.
        """
        other = copy(self)
        other.headers = Headers([*self.headers, *headers])
        if self.target.startswith(b"/"):
            other.target = b"http://" + self.url.origin.authority + self.target
        return other

    def encoded_trailers(self) -> list[Pair]:
        """The trailers, asked for when the body has been sent.

        Raises: LocalProtocolError, TypeError, and whatever the caller's function raises.
        """
        trailers = self.trailers
        if trailers is None:
            return []
        return _encode_trailers(trailers()) if callable(trailers) else cast("list[Pair]", trailers)

    def __repr__(self) -> str:
        return f"<Request {self.method.decode('ascii')} {str(self.url).partition('?')[0]}>"


def _single_values(given: list[Pair]) -> dict[bytes, bytes]:
    """First values by lower-case name; those that decide about framing and routing must not be there twice."""
    named: dict[bytes, bytes] = {}
    size = 0
    for name, value in given:
        key = name.lower()
        size += len(name) + len(value) + 4
        if key not in named:
            named[key] = value
        elif key in _ONCE:
            raise LocalProtocolError(f"the header {key.decode('ascii')!r} is there more than once")
    if size > _MAX_HEAD:
        raise LocalProtocolError(f"the headers have {size} bytes, more than {_MAX_HEAD}")
    return named


@lru_cache(maxsize=64)
def _method_token(method: str | bytes) -> bytes:
    try:
        token = method.encode("ascii") if isinstance(method, str) else bytes(method)
    except UnicodeEncodeError:
        token = b""
    if TOKEN.fullmatch(token) is None:
        raise LocalProtocolError(f"the method {method[:40]!r} is not a token such as GET or POST")
    return token


def _checked_method(method: str | bytes) -> bytes:
    if not isinstance(method, (str, bytes)):
        raise TypeError(f"a method is str or bytes, not {type(method).__name__}")
    return _method_token(method)


@lru_cache(maxsize=256)
def _usual_headers(origin: Origin, accept_encoding: bytes) -> Headers:
    """What is sent where the caller gave neither headers nor a body."""
    pairs = [(b"host", origin.authority)]
    if accept_encoding:
        pairs.append((b"accept-encoding", accept_encoding))
    return Headers(pairs)


def _checked_extensions(extensions: Mapping[str, object]) -> dict[str, object]:
    if not isinstance(extensions, Mapping):
        raise TypeError(f"extensions are a mapping, not {type(extensions).__name__}")
    unknown = set(extensions) - _EXTENSIONS
    if unknown:
        raise ValueError(f"unknown extensions {sorted(map(str, unknown))}; known are {sorted(_EXTENSIONS)}")
    checked = dict(extensions)
    callback = checked.get("on_informational")
    if callback is not None and not callable(callback):
        raise TypeError(f"the extension on_informational is a callable, not {type(callback).__name__}")
    ratio = checked.get("max_decoded_ratio")
    if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not ratio >= 1):
        raise ValueError(
            f"the extension max_decoded_ratio is {ratio!r}; it is a number from 1 on, or None for no limit"
        )
    network = checked.get("network")
    if network is not None and not isinstance(network, Network):
        raise TypeError(f"the extension network is a Network, not {type(network).__name__}")
    protocol = checked.get("protocol")
    if protocol is not None and (not isinstance(protocol, bytes) or TOKEN.fullmatch(protocol) is None):
        raise ValueError(f"the extension protocol is {protocol!r}; it is a token in bytes, such as b'websocket'")
    if (fetch := checked.get("fetch")) is not None:
        from ._fetch_options import checked_fetch_options

        checked["fetch"] = checked_fetch_options(fetch)
    trailers = checked.get("trailers")
    if trailers is not None and not callable(trailers):
        checked["trailers"] = _encode_trailers(cast("HeaderTypes", trailers))
    return checked


def _encode_trailers(trailers: HeaderTypes) -> list[Pair]:
    encoded = encode_headers(trailers)
    for name, _ in encoded:
        if name.lower() in _NOT_IN_TRAILERS:
            raise LocalProtocolError(f"{name.decode('ascii')!r} cannot be a trailer (RFC 9110, 6.5.1)")
    return encoded
