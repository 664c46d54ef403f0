"""Request bodies: bytes, str, binary files, iterables and async iterables of bytes, all read the same way."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import AsyncGeneratorType, GeneratorType
from typing import BinaryIO, Protocol, cast

from ._errors import StreamConsumed

__all__ = ["BodyTypes", "RequestBody", "make_body"]


class SupportsRead(Protocol):
    def read(self, size: int, /) -> bytes: ...


BodyTypes = bytes | bytearray | memoryview | str | SupportsRead | Iterable[bytes] | AsyncIterable[bytes]

# What is read from a file at a time: shutil's COPY_BUFSIZE on POSIX.
_FILE_PART = 64 * 1024


class RequestBody:
    """A body to be sent, and sent again where it can be.

    Attributes:
        content: the body, where it is in one piece.
        length: its bytes, where that is known before it is read.
        is_replayable: whether `parts` can be called: again, or for the first time.
    """

    __slots__ = ("_may_replay", "_source", "_start", "content", "is_replayable", "length")

    def __init__(self, source: BodyTypes, content: bytes | None, length: int | None, is_replayable: bool) -> None:
        self._source = source
        self._start = cast("BinaryIO", source).tell() if length is not None and _is_file(source) else 0
        self.content = content
        self.length = length
        self._may_replay = is_replayable
        self.is_replayable = True

    def parts(self) -> BodyReader:
        """Read it from its beginning."""
        self.is_replayable = self._may_replay
        if self.content is not None:
            return BodyReader(iter((self.content,)))
        source = self._source
        if isinstance(source, AsyncIterable):
            return BodyReader(aiter(source))
        if not _is_file(source):
            return BodyReader(iter(cast("Iterable[bytes]", source)))
        file = cast("BinaryIO", source)
        if self._may_replay:
            file.seek(self._start)
        return BodyReader(_read_file(file, self.length))


class BodyReader:
    """One reading of a body, part by part."""

    __slots__ = ("_iterator", "is_async")

    def __init__(self, iterator: Iterator[bytes] | AsyncIterator[bytes]) -> None:
        self._iterator = iterator
        self.is_async = isinstance(iterator, AsyncIterator)

    async def read(self) -> bytes | None:
        """The next part, or None at the end.

        Raises: TypeError where a part is not bytes, and whatever the caller's iterable raises.
        """
        iterator = self._iterator
        try:
            part = await anext(iterator) if isinstance(iterator, AsyncIterator) else next(iterator)
        except (StopIteration, StopAsyncIteration):
            return None
        return part if isinstance(part, bytes) else bytes(_checked_part(part))

    async def aclose(self) -> None:
        """Close the caller's generator, so that its `finally` runs now and not some time later."""
        iterator = self._iterator
        if isinstance(iterator, AsyncGeneratorType):
            await iterator.aclose()
        elif isinstance(iterator, GeneratorType):
            iterator.close()


def make_body(body: BodyTypes | None, allow_async: bool) -> RequestBody | None:
    """What a caller gave as `body=`, or None.

    Args:
        allow_async: whether an async iterable can be read; not in the sync pool.

    Raises:
        TypeError: it is none of the types that can be sent.
        StreamConsumed: it is a generator that has already been read.
    """
    if body is None:
        return None
    if isinstance(body, (bytes, bytearray, memoryview, str)):
        content = body.encode("utf-8") if isinstance(body, str) else bytes(body)
        return RequestBody(body, content, len(content), True)
    if isinstance(body, AsyncIterable):
        if not allow_async:
            raise TypeError(
                f"the body is an async iterable ({type(body).__name__}), which the sync pool cannot read: "
                "give it a plain iterable, or use httpcore.ConnectionPool"
            )
        _refuse_consumed(body, isinstance(body, AsyncGeneratorType) and body.ag_frame is None)
        return RequestBody(body, None, None, not isinstance(body, AsyncIterator))
    if _is_file(body):
        return _file_body(body)
    if isinstance(body, Iterable) and not isinstance(body, Mapping):
        _refuse_consumed(body, isinstance(body, GeneratorType) and body.gi_frame is None)
        if isinstance(body, Sequence):
            return RequestBody(body, None, sum(map(_checked_length, body)), True)
        return RequestBody(body, None, None, not isinstance(body, Iterator))
    raise TypeError(
        f"a body is bytes, str, a binary file or an (async) iterable of bytes, not {type(body).__name__}; "
        "encode it first, for example with json.dumps() or urllib.parse.urlencode()"
    )


def _checked_length(part: object) -> int:
    return memoryview(_checked_part(part)).nbytes


def _checked_part(part: object) -> bytes | bytearray | memoryview:
    """Raises: TypeError."""
    if isinstance(part, (bytes, bytearray, memoryview)):
        return part
    raise TypeError(f"the parts of a body are bytes, not {type(part).__name__}")


def _is_file(body: object) -> bool:
    return hasattr(body, "read")


def _refuse_consumed(body: object, is_consumed: bool) -> None:
    if is_consumed:
        raise StreamConsumed(f"the body is a {type(body).__name__} that has already been read to its end")


def _file_body(file: BodyTypes) -> RequestBody:
    if isinstance(file, io.TextIOBase):
        raise TypeError("the body is a file opened for text: open it with mode 'rb'")
    binary = cast("BinaryIO", file)
    try:
        start = binary.tell()
        length = binary.seek(0, os.SEEK_END) - start
        binary.seek(start)
    except (AttributeError, OSError, ValueError):  # a pipe, a socket's file, or something that only reads
        return RequestBody(file, None, None, False)
    return RequestBody(file, None, max(0, length), True)


def _read_file(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    """Parts of a file; of one whose length was announced no more than that, even when it has grown."""
    while length is None or length > 0:
        part = file.read(_FILE_PART if length is None else min(_FILE_PART, length))
        if not part:
            return
        if length is not None:
            length -= len(part)
        yield part
