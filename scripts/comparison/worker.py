"""One client in a process of its own: reads orders from stdin, writes what became of them to stdout."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import sys
from importlib import import_module
from typing import Any

from . import messages
from .clients import Client


class _Worker:
    """Obeys orders: `describe`, `open`, `request`, `begin`, `rest`, `collect`, `close`."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._client: Client | None = None

    async def obey(self, do: str, arguments: dict[str, Any]) -> dict[str, object]:
        try:
            result: dict[str, object] = await getattr(self, f"_{do}")(**arguments)
            return result
        except Exception as exc:
            return {"error": type(exc).__name__, "is_own": self._module.is_own(exc), "text": str(exc)[:300]}

    async def _describe(self) -> dict[str, object]:
        return {"text": self._module.describe()}

    async def _open(self, **setup: Any) -> dict[str, object]:
        self._client = self._module.open_client(messages.Setup(**setup))
        return {}

    async def _request(self, **ask: Any) -> dict[str, object]:
        assert self._client is not None
        result = self._client.request(messages.parse_ask(**ask))
        return messages.reply_fields(await result if inspect.isawaitable(result) else result)

    async def _begin(self, url: str) -> dict[str, object]:
        assert self._client is not None
        result = self._client.begin(url)
        return _data(await result if inspect.isawaitable(result) else result)

    async def _rest(self) -> dict[str, object]:
        assert self._client is not None
        result = self._client.rest()
        return _data(await result if inspect.isawaitable(result) else result)

    async def _collect(self) -> dict[str, object]:
        """A connection that only waits for the garbage collector is not held against a client."""
        gc.collect()
        return {}

    async def _close(self) -> dict[str, object]:
        client, self._client = self._client, None
        if client is not None:
            result = client.close()
            if inspect.isawaitable(result):
                await result
        return {}


def _data(data: bytes) -> dict[str, object]:
    return {"data": data.decode("latin-1")}


async def _serve(name: str) -> None:
    # Nothing that a client prints may come between our lines.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    worker = _Worker(import_module(f".clients.{name}", __package__))
    while order := await asyncio.to_thread(sys.stdin.buffer.readline):
        fields = json.loads(order)
        answers.write(messages.line(**await worker.obey(fields.pop("do"), fields)))


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
