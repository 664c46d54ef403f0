"""fetch in a helper thread, for blocking code that cannot wait for promises: bytes come through shared memory, on which
it waits by `Atomics.wait`. In Node and Deno, and in the workers of pages that are cross-origin isolated.

`worker.js` has the other half, and says how the memory is used.
"""

from __future__ import annotations

import itertools
import json
import time
from functools import cache
from importlib.resources import files
from typing import Any

import js
from pyodide.ffi import to_js

from .._backends.emscripten import check_interrupt
from .._clock import Clock
from .._errors import ConnectError, HTTPCoreError, WriteTimeout
from .._upload import LARGEST_PART, Upload
from .call import FetchHead, FetchRequest, head_deadline
from .errors import Failure, body_error, fetch_error, silence
from .runtime import runtime

__all__ = ["Helper", "WorkerCall", "find_helper"]

_EMPTY, _HEAD, _PART, _END, _ERROR, _WANTED, _MORE = 0, 1, 2, 3, 4, 5, 16
# Larger memory saves turns of the two threads, and costs more to make for a small response.
_MEMORY_BYTES = 256 * 1024
# KeyboardInterrupt arrives between two waits.
_SLICE_SECONDS = 0.1
# A helper starts in a tenth of a second. One that never does must not hold up who has no timeout.
_START_SECONDS = 30.0


class Helper:
    """The thread, one for all."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._hello: Any = js.SharedArrayBuffer.new(4)
        self.ids = itertools.count(1)
        self.post(action="hello", memory=self._hello)

    @property
    def is_ready(self) -> bool:
        """Whether it runs. In a browser it starts only when blocking code has let go."""
        return bool(js.Atomics.load(js.Int32Array.new(self._hello), 0))

    def post(self, **message: Any) -> None:
        self._worker.postMessage(to_js(message, dict_converter=js.Object.fromEntries))


def find_helper() -> Helper | None:
    """The helper, where there can be one and it can be waited for."""
    if not runtime().is_browser:
        return _node_helper()
    if not runtime().is_worker or not getattr(js, "crossOriginIsolated", False):
        return None
    helper = _browser_helper()
    return helper if helper.is_ready else None


def _source() -> str:
    return files(__package__).joinpath("worker.js").read_text("utf-8")


@cache
def _node_helper() -> Helper:
    threads = js.process.getBuiltinModule("node:worker_threads")
    worker = threads.Worker.new(js.URL.new("data:text/javascript," + js.encodeURIComponent(_source())))
    worker.unref()  # it keeps no program from ending
    return Helper(worker)


@cache
def _browser_helper() -> Helper:
    options = to_js({"type": "text/javascript"}, dict_converter=js.Object.fromEntries)
    return Helper(js.Worker.new(js.URL.createObjectURL(js.Blob.new(to_js([_source()]), options))))


class WorkerCall:
    """One request by fetch in the helper. See `Call`.

    Args:
        upload: the body, where it is sent part by part.
    """

    sent_by = "worker"

    def __init__(self, helper: Helper, request: FetchRequest, upload: Upload | None) -> None:
        self._helper = helper
        self._id = next(helper.ids)
        self._request = request
        self._upload = upload
        self._memory: Any = js.SharedArrayBuffer.new(16 + _MEMORY_BYTES)
        # For parts of the body. In a message, bytes would cost Deno a microsecond each.
        self._part: Any = None if upload is None else js.SharedArrayBuffer.new(LARGEST_PART)
        self._state: Any = js.Int32Array.new(self._memory, 0, 4)
        self._bytes: Any = js.Uint8Array.new(self._memory, 16)
        self._is_over = False
        self._has_head = False
        self._was_wanted = False
        self._posted_at = 0.0

    @property
    def is_untouched(self) -> bool:
        return self._upload is not None and not self._was_wanted

    async def start(self, clock: Clock) -> FetchHead:
        request = self._request
        init: dict[str, Any] = {**request.options, "method": request.method, "headers": request.headers}
        self._posted_at = time.monotonic()
        self._helper.post(
            action="start",
            id=self._id,
            memory=self._memory,
            url=request.url,
            init=init,
            content=None if request.content is None else _shared(request.content),
            part=self._part,
        )
        text = bytearray()
        while True:
            kind, data = await self._receive(clock, head_deadline(request, clock))
            text += data
            if kind == _HEAD:
                break
        self._has_head = True
        head = json.loads(text)
        fields = [(name, value) for name, value in head["fields"]]
        return FetchHead(head["status"], head["statusText"], fields, head["url"], head["redirected"], head["type"])

    async def read(self, clock: Clock) -> bytes:
        if self._is_over:
            return b""
        _, data = await self._receive(clock, clock.deadline(clock.timeout.read))
        return data

    async def _receive(self, clock: Clock, deadline: float) -> tuple[int, bytes]:
        """What comes next of the response. What is asked of the body meanwhile is given."""
        try:
            return await self._exchange(clock, deadline)
        except BaseException:
            if self._upload is not None and self._was_wanted:
                await self._upload.aclose()
            raise

    async def _exchange(self, clock: Clock, deadline: float) -> tuple[int, bytes]:
        failure = b""
        while True:
            kind, data = self._take(deadline)
            if kind == _WANTED:
                self._was_wanted = True
                await self._give(clock)
                deadline = self._deadline(clock)
            elif kind & ~_MORE == _ERROR:
                failure += data
                if kind == _ERROR:
                    self._is_over = True
                    raise self._error(Failure(**json.loads(failure), is_stream=self._upload is not None))
            else:
                if kind == _END:
                    await self._end()
                return kind, data

    async def _end(self) -> None:
        if self._upload is not None and not self._upload.is_read:
            self.abort()  # nobody wants the rest of it
            await self._upload.aclose()
        self._is_over = True

    def _deadline(self, clock: Clock) -> float:
        """After a part was given: for the next one to be wanted, or for the response."""
        upload = self._upload
        seconds = clock.timeout.read if upload is None or upload.is_read else clock.timeout.write
        return clock.deadline(seconds)

    def _error(self, failure: Failure) -> HTTPCoreError:
        explain = body_error if self._has_head else fetch_error
        return explain(failure, self._request.method, self._request.url)

    def _take(self, deadline: float) -> tuple[int, bytes]:
        """Wait for a state that is not EMPTY, and set it to EMPTY."""
        load = js.Atomics.load
        while (kind := int(load(self._state, 0))) == _EMPTY:
            now = time.monotonic()
            if now >= deadline:
                upload = self._upload
                if self._was_wanted and upload is not None and not upload.is_read and not self._has_head:
                    raise WriteTimeout("the server took no further part of the body in time")
                raise silence()
            if now > self._posted_at + _START_SECONDS and not load(self._state, 2):
                raise ConnectError("the helper thread that was to fetch did not start")
            js.Atomics.wait(self._state, 0, _EMPTY, 1000 * min(deadline - now, _SLICE_SECONDS))
            check_interrupt()
        length = int(load(self._state, 1))
        data = bytes(self._bytes.slice(0, length).to_bytes()) if length else b""
        js.Atomics.store(self._state, 0, _EMPTY)
        js.Atomics.notify(self._state, 0)
        return kind, data

    async def _give(self, clock: Clock) -> None:
        """The next part of the body, or its end."""
        upload = self._upload
        assert upload is not None
        part = b""
        while not part and not upload.is_read:
            part = await upload.read()
        if part:
            js.Uint8Array.new(self._part, 0, len(part)).assign(part)
        self._helper.post(action="body", id=self._id, length=len(part))
        if upload.is_read and not part:
            await upload.aclose()

    def abort(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._helper.post(action="abort", id=self._id)


def _shared(content: bytes) -> Any:
    """Memory of which the helper makes bytes again."""
    memory = js.SharedArrayBuffer.new(len(content))
    if content:
        js.Uint8Array.new(memory).assign(content)
    return memory
