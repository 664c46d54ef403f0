"""Header fields: an ordered sequence of (name, value) pairs of bytes, duplicates kept.

Source: RFC 9110, 5 (field syntax); RFC 9112, 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ._errors import HTTPCoreError, LocalProtocolError

__all__ = ["NO_HEADERS", "HeaderTypes", "Headers", "encode_headers"]

HeaderTypes = (
    Mapping[str, str]
    | Mapping[bytes, bytes]
    | Mapping[str, bytes]
    | Iterable[tuple[str, str]]
    | Iterable[tuple[bytes, bytes]]
    | Iterable[tuple[str, bytes]]
    | Iterable[tuple[str | bytes, str | bytes]]
)

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = rb"(?:[\x21-\x7e\x80-\xff]++(?:[ \t]++[\x21-\x7e\x80-\xff]++)*+)?+"
_VALUE = re.compile(VALUE)
_SECRET = re.compile(
    rb"(?:proxy-)?authorization|(?:set-)?cookie2?|.*(?:api-?key|token|secret|password|credential).*", re.IGNORECASE
)
# What is shorter is too common to be told from other words, and too short to be a secret.
_LEAST_SECRET = 8

Pair = tuple[bytes, bytes]


class Headers(tuple[Pair, ...]):
    """Header fields: an immutable tuple of (name, value), in order, duplicates kept. Names of a response are in lower
    case, those of a request as they are sent.

    The repr shows no credentials, no cookies, and no value whose name says that it is a key, a token or a password.
    """

    __slots__ = ()

    def get(self, name: str | bytes, default: bytes | None = None) -> bytes | None:
        """The first value of `name` in any case, or `default`."""
        wanted = _lower(name)
        for key, value in self:
            if key.lower() == wanted:
                return value
        return default

    def get_list(self, name: str | bytes) -> list[bytes]:
        """Every value of `name`, in order; one entry per line that was received."""
        wanted = _lower(name)
        return [value for key, value in self if key.lower() == wanted]

    def __repr__(self) -> str:
        shown = [(name, b"[secret]" if is_secret(name) else value) for name, value in self]
        return f"Headers({shown!r})"


NO_HEADERS = Headers()


def is_secret(name: bytes) -> bool:
    """Whether the value of a field of this name is nobody's business."""
    return _SECRET.fullmatch(name) is not None


def without_secrets(text: str, headers: Headers) -> str:
    """Text of a peer's, without the secrets among these headers, which it may have said back; cut short or not."""
    for name, value in headers:
        if is_secret(name):
            for word in re.split(r"[\s;,=]+", value.decode("latin-1")):
                if len(word) >= _LEAST_SECRET:
                    text = _without(text, word)
    return text


def hide_secrets(error: HTTPCoreError, headers: Headers) -> None:
    """Take them out of its message."""
    if error.args and isinstance(error.args[0], str):
        error.args = (without_secrets(error.args[0], headers), *error.args[1:])


def _without(text: str, word: str) -> str:
    begin = word[:_LEAST_SECRET]
    while (at := text.find(begin)) >= 0:
        size = next(size for size in range(len(word), 0, -1) if text.startswith(word[:size], at))
        text = text[:at] + "[secret]" + text[at + size :]
    return text


def _lower(name: str | bytes) -> bytes:
    return (name.encode("ascii", "replace") if isinstance(name, str) else name).lower()


def encode_headers(headers: HeaderTypes) -> list[Pair]:
    """The pairs to send, in the caller's order and spelling, checked so that nothing can be injected.

    Raises:
        LocalProtocolError: a name is not a token, or a value holds CR, LF, NUL, another control character, or blanks
            at its ends. The message names the header and never shows the value.
        TypeError: not a mapping or pairs of str or bytes.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise TypeError(f"headers are a mapping or pairs of (name, value), not {type(headers).__name__}")
    encoded: list[Pair] = []
    for pair in pairs:
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"a header is a pair of (name, value), not {type(pair).__name__}")
        name = _as_bytes(pair[0], "name", "")
        if TOKEN.fullmatch(name) is None:
            raise LocalProtocolError(
                f"the header name {name[:60]!r} is not a token (letters, digits, -, _ and a few more)"
            )
        value = _as_bytes(pair[1], "value", name.decode("ascii"))
        if _VALUE.fullmatch(value) is None:
            raise LocalProtocolError(
                f"the value of the header {name.decode('ascii')!r} holds a control character (CR, LF, NUL, ...) "
                "or begins or ends with a blank"
            )
        encoded.append((name, value))
    return encoded


def _as_bytes(text: object, what: str, name: str) -> bytes:
    if isinstance(text, bytes):
        return text
    of = f" of {name!r}" if name else ""
    if not isinstance(text, str):
        raise TypeError(f"a header {what}{of} is str or bytes, not {type(text).__name__}")
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(
            f"the header {what}{of} holds {text[exc.start]!r}, which is not ASCII; pass bytes to choose an encoding"
        ) from exc
