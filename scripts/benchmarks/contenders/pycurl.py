"""pycurl: one handle, used again, as libcurl recommends."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pycurl

from . import BlockingClient, Setup, check


class _Blocking:
    def __init__(self, handle: pycurl.Curl) -> None:
        self._handle = handle

    def get(self, url: str) -> int:
        body = io.BytesIO()
        handle = self._handle
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.WRITEDATA, body)
        handle.perform()
        check(handle.getinfo(pycurl.RESPONSE_CODE))
        return len(body.getvalue())

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        length = 0

        def write(part: bytes) -> None:
            nonlocal length
            length += len(part)
            if rest is not None:
                rest(len(part))

        self._handle.setopt(pycurl.URL, url)
        self._handle.setopt(pycurl.WRITEFUNCTION, write)
        self._handle.perform()
        check(self._handle.getinfo(pycurl.RESPONSE_CODE))
        return length


@contextmanager
def blocking_client(setup: Setup) -> Iterator[BlockingClient]:
    handle = pycurl.Curl()
    handle.setopt(pycurl.CAINFO, setup.ca)
    yield _Blocking(handle)
    handle.close()
