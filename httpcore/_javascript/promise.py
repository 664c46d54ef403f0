"""fetch, by its promises: awaited in async code, and waited for in blocking code where the runtime can.

Source: the Fetch and Streams standards of the WHATWG.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from .._backends.emscripten import JavaScriptWorld
from .._clock import Clock
from .._errors import HTTPCoreError, WriteTimeout
from .._streams import Task, Timer
from .._upload import Upload
from .call import FetchHead, FetchRequest, head_deadline
from .errors import Failure, body_error, fetch_error, silence
from .runtime import runtime

__all__ = ["PromiseCall"]

# Firefox 153 forgets the abort of a fetch in a worker, in three of a hundred, where it follows the head at once; 30 ms
# later it did not in hundreds. See also worker.js.
_TOO_EARLY_SECONDS = 0.1


class PromiseCall:
    """One request by fetch. See `Call`.

    Args:
        upload: the body, where the runtime sends it part by part.
    """

    def __init__(self, request: FetchRequest, world: JavaScriptWorld, sent_by: str, upload: Upload | None) -> None:
        self.sent_by = sent_by
        self._request = request
        self._world = world
        self._upload = upload
        self._body: BodyStream | None = None
        self._controller: Any = js.AbortController.new()
        self._reader: Any = None
        self._may_abort_at = 0.0

    @property
    def is_untouched(self) -> bool:
        return self._body is not None and self._body.is_untouched

    async def start(self, clock: Clock) -> FetchHead:
        init = self._init(clock)
        response = await self._settle(js, "fetch", (self._request.url, init), self._head_deadline(clock), fetch_error)
        if runtime().is_browser and runtime().is_worker:
            self._may_abort_at = time.monotonic() + _TOO_EARLY_SECONDS
        if self._body is not None:
            self._body.head_is_here()
        body = response.body
        if body:  # there may be none
            self._reader = body.getReader()
        fields = [(str(name), str(value)) for name, value in js.Array.from_(response.headers).to_py()]
        return FetchHead(
            response.status, response.statusText, fields, response.url, bool(response.redirected), response.type
        )

    def _init(self, clock: Clock) -> Any:
        request = self._request
        init: dict[str, Any] = {
            **request.options,
            "method": request.method,
            "headers": request.headers,
            "signal": self._controller.signal,
        }
        if request.content is not None:
            init["body"] = to_js(request.content)
        if self._upload is not None:
            self._body = BodyStream(self._upload, self._world, clock, self._controller)
            init |= {"body": self._body.stream, "duplex": "half"}
        return to_js(init, dict_converter=js.Object.fromEntries)

    def _head_deadline(self, clock: Clock) -> float:
        if self._body is None:
            return head_deadline(self._request, clock)
        return clock.deadline(None)  # it keeps the other deadlines

    async def read(self, clock: Clock) -> bytes:
        while self._reader is not None:
            deadline = clock.deadline(clock.timeout.read)
            result = await self._settle(self._reader, "read", (), deadline, body_error)
            if result.done:
                self._reader = None
                if self._body is not None and self._body.is_running:
                    self.abort()  # nobody wants the rest of it
            elif part := result.value.to_bytes():
                return bytes(part)
        return b""

    async def _settle(
        self, this: Any, method: str, arguments: tuple[Any, ...], deadline: float, explain: Explain
    ) -> Any:
        try:
            return await self._world.settle(this, method, arguments, deadline)
        except TimeoutError as exc:
            raise silence() from exc
        except JsException as exc:
            if self._body is not None and self._body.error is not None:
                raise self._body.error from None
            failure = Failure.of(exc)._replace(is_stream=self._body is not None)
            raise explain(failure, self._request.method, self._request.url) from exc

    def abort(self) -> None:
        self._reader = None
        too_early = self._may_abort_at - time.monotonic()
        if too_early > 0:
            self._world.loop_timer(too_early, self._controller.abort)
        else:
            self._controller.abort()
        if self._body is not None:
            self._body.stop()


class BodyStream:
    """A request body that JavaScript takes part by part, as it has room.

    One task reads it, as a generator may hold what belongs to the task that runs it.

    Attributes:
        stream: for fetch.
        error: what ended it, if anything did.
        is_running: whether there is more to be sent.
        is_untouched: whether no part was asked for.
    """

    def __init__(self, upload: Upload, world: JavaScriptWorld, clock: Clock, controller: Any) -> None:
        self.error: BaseException | None = None
        self.is_running = self.is_untouched = True
        self._upload = upload
        self._world = world
        self._clock = clock
        self._abort = controller
        self._sink: Any = None
        self._task: Task | None = None
        self._timer: Timer | None = None
        self._is_head_here = False
        self._await(clock.timeout.read)
        self._wanted = world.loop_event()
        self._pull_proxy = create_proxy(self._pull)
        # With room for nothing, it asks for a part only where somebody waits for it.
        source, strategy = {"pull": self._pull_proxy}, {"highWaterMark": 0}
        self.stream = js.ReadableStream.new(
            to_js(source, dict_converter=js.Object.fromEntries), to_js(strategy, dict_converter=js.Object.fromEntries)
        )

    def _pull(self, sink: Any) -> None:
        self._sink = sink
        self._await(None)
        self.is_untouched = False
        if self._task is None:
            self._task = self._world.spawn(self._feed())
        else:
            self._wanted.set()

    async def _feed(self) -> None:
        clock, upload = self._clock, self._upload
        try:
            while self.is_running:
                part = await upload.read_in_time(clock, self._world)
                if part:
                    self._wanted = self._world.loop_event()
                    self._sink.enqueue(to_js(part))
                if upload.is_read:
                    self._sink.close()
                    self.is_running = False
                elif part and not await self._wanted.wait(clock.deadline(clock.timeout.write)):
                    raise WriteTimeout("the server took no further part of the body in time")
            self._await(clock.timeout.read)
        except BaseException as exc:  # cancellation as well, which nobody but `stop` asks for
            if self.is_running:
                self.error = exc
                self._abort.abort()
        finally:
            self.is_running = False
            await upload.aclose()

    def _await(self, seconds: float | None) -> None:
        """How long to wait for the first part to be asked for, and for the response when all is sent."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None and not self._is_head_here:
            self._timer = self._world.loop_timer(seconds, self._time_out)

    def _time_out(self) -> None:
        self.error = silence()
        self._abort.abort()

    def head_is_here(self) -> None:
        self._is_head_here = True
        self._await(None)

    def stop(self) -> None:
        """Nobody wants more of it."""
        self.is_running = False
        self.head_is_here()
        if self._task is not None:
            self._task.cancel()
        self._pull_proxy.destroy()


Explain = Callable[[Failure, str, str], HTTPCoreError]
