"""pycurl: one multi handle, which keeps the connections, and an easy handle for each request."""

from __future__ import annotations

import pycurl

from ..messages import Ask, Reply, Setup
from . import is_of

_WAIT = 0.1


def describe() -> str:
    return f"pycurl {pycurl.version.partition('/')[2].replace('/', ' ')}"


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "pycurl")


class _Transfer:
    """One easy handle, and what came for it."""

    def __init__(self, setup: Setup, ask: Ask) -> None:
        self.head: list[bytes] = []
        self.body = bytearray()
        self.handle = handle = pycurl.Curl()
        handle.setopt(pycurl.URL, ask.url)
        handle.setopt(pycurl.CUSTOMREQUEST, ask.method)
        handle.setopt(pycurl.NOBODY, ask.method == "HEAD")
        handle.setopt(pycurl.TIMEOUT_MS, int(setup.timeout * 1000))
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.PROXY, setup.proxy or "")
        version = pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE if setup.is_http2 else pycurl.CURL_HTTP_VERSION_1_1
        handle.setopt(pycurl.HTTP_VERSION, version)
        handle.setopt(pycurl.HEADERFUNCTION, self._take_line)
        handle.setopt(pycurl.WRITEFUNCTION, self.body.extend)
        handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in ask.headers])
        if setup.decodes:
            handle.setopt(pycurl.ACCEPT_ENCODING, "")
        if setup.ca:
            handle.setopt(pycurl.CAINFO, setup.ca)
        if ask.body is not None:
            handle.setopt(pycurl.POSTFIELDS, ask.body)

    def _take_line(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            self.head.clear()
        self.head.append(line)

    def reply(self) -> Reply:
        fields = (line.decode("latin-1").rstrip("\r\n").partition(":") for line in self.head[1:])
        headers = tuple((name, value.strip(" \t")) for name, colon, value in fields if colon)
        return Reply(self.handle.getinfo(pycurl.RESPONSE_CODE), headers, bytes(self.body))


class _Client:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._multi = pycurl.CurlMulti()
        self._ended: dict[pycurl.Curl, pycurl.error | None] = {}

    def request(self, ask: Ask) -> Reply:
        transfer = self._start(ask)
        self._finish(transfer)
        return transfer.reply()

    def begin(self, url: str) -> bytes:
        self._begun = self._start(Ask("GET", url))
        while not self._begun.body and self._begun.handle not in self._ended:
            self._perform()
        self._first = len(self._begun.body)
        return bytes(self._begun.body)

    def rest(self) -> bytes:
        self._finish(self._begun)
        return bytes(self._begun.body[self._first :])

    def close(self) -> None:
        self._multi.close()

    def _start(self, ask: Ask) -> _Transfer:
        transfer = _Transfer(self._setup, ask)
        self._multi.add_handle(transfer.handle)
        return transfer

    def _finish(self, transfer: _Transfer) -> None:
        while transfer.handle not in self._ended:
            self._perform()
        error = self._ended.pop(transfer.handle)
        self._multi.remove_handle(transfer.handle)
        if error is not None:
            raise error

    def _perform(self) -> None:
        self._multi.perform()
        queued = 1
        while queued:
            queued, done, failed = self._multi.info_read()
            self._ended.update(dict.fromkeys(done))
            self._ended.update({handle: pycurl.error(code, text) for handle, code, text in failed})
        self._multi.select(_WAIT)


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
