"""requests: one Session, over urllib3."""

from __future__ import annotations

import requests

from ..messages import Ask, Reply, Setup
from . import is_of, versions


def describe() -> str:
    return versions("requests", "urllib3")


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "requests")


class _Client:
    def __init__(self, setup: Setup) -> None:
        self._timeout = setup.timeout
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = setup.ca or True
        self._session.proxies = {"all": setup.proxy} if setup.proxy else {}
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=1, pool_block=True))

    def request(self, ask: Ask) -> Reply:
        response = self._session.request(
            ask.method, ask.url, headers=dict(ask.headers), data=ask.body, timeout=self._timeout, allow_redirects=False
        )
        return Reply(response.status_code, tuple(response.raw.headers.iteritems()), response.content)

    def begin(self, url: str) -> bytes:
        response = self._session.get(url, timeout=self._timeout, stream=True)
        self._parts = response.iter_content(1)
        first: bytes = next(self._parts)
        return first

    def rest(self) -> bytes:
        return b"".join(self._parts)

    def close(self) -> None:
        self._session.close()


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
