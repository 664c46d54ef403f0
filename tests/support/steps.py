"""Cancel a story at any one of its steps.

A step is a suspension: of the story's own task, or of one that it made the pool start, such as a dial. A story has
nearly the same ones each time: an answer that is there already is not waited for, and bytes may be cut in other ways.

    await sweep(world, lambda cancel: run_the_story_once(cancel))

runs `run_the_story_once` with `cancel` meaning the first step, then the second, until the story ended before it was
reached. It calls `await cancel.run(story)` at the place where the cancelling is to begin.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import trio

from .worlds import World

# Steps of a story that certainly suspends once: early and late on asyncio; on trio that one and the last of its task.
CERTAIN = 2

# More steps than any story has; a story that waits without end for its cancelling would need them.
_MAX_STEPS = 500


class Cancel(abc.ABC):
    """Cancels a story at one of its steps.

    Attributes:
        is_reached: whether the story came so far.
    """

    def __init__(self, at: int) -> None:
        self._left = at
        self.is_reached = False

    @abc.abstractmethod
    async def run(self, story: Callable[[], Awaitable[object]]) -> bool:
        """Run a story, cancelling it where that is due. Its errors come out.

        Returns: whether it was cancelled.
        """

    def _count(self) -> bool:
        """Whether this is the step."""
        self._left -= 1
        if self._left == -1:
            self.is_reached = True
            return True
        return False


class AsyncioCancel(Cancel):
    """Cancels when a task has suspended, or when what it waits for has happened and it has not yet been resumed."""

    def __init__(self, at: int) -> None:
        super().__init__(at // 2)
        self._is_late = bool(at % 2)
        self._victim: asyncio.Task[object] | None = None

    async def run(self, story: Callable[[], Awaitable[object]]) -> bool:
        async def body() -> object:
            return await story()

        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._make_task)
        self._victim = victim = loop.create_task(body())
        victim.add_done_callback(lambda _: loop.set_task_factory(None))
        await asyncio.wait([victim])
        if victim.cancelled():
            return True
        victim.result()
        return False

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        assert isinstance(coroutine, Coroutine)
        return asyncio.Task(_Stepping(coroutine, self._step), loop=loop, **options)

    def _step(self, awaited: asyncio.Future[object] | None) -> None:
        if not self._count():
            return
        assert self._victim is not None
        if self._is_late and awaited is not None:
            awaited.add_done_callback(lambda _: self._cancel())
        else:
            self._cancel()

    def _cancel(self) -> None:
        assert self._victim is not None
        self._victim.cancel()


class _Stepping(Coroutine[Any, Any, Any]):
    """A coroutine that tells when it suspends, and for what."""

    def __init__(self, inner: Coroutine[Any, Any, Any], on_step: Callable[[Any], None]) -> None:
        self._inner = inner
        self._on_step = on_step

    def send(self, value: Any) -> Any:
        awaited = self._inner.send(value)
        self._on_step(awaited)
        return awaited

    def throw(self, *args: Any) -> Any:
        awaited = self._inner.throw(*args)
        self._on_step(awaited)
        return awaited

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


class TrioCancel(Cancel, trio.abc.Instrument):
    """Cancels when a task has suspended."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self._scope = trio.CancelScope()
        self._driver = trio.lowlevel.current_task()

    async def run(self, story: Callable[[], Awaitable[object]]) -> bool:
        async def body() -> None:
            with self._scope:
                await story()

        trio.lowlevel.add_instrument(self)
        try:
            # A task of its own, so that the steps of whoever waits for it do not count.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(body)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        finally:
            trio.lowlevel.remove_instrument(self)
        return self._scope.cancelled_caught

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is not self._driver and self._count():
            self._scope.cancel()


async def sweep(world: World, once: Callable[[Cancel], Awaitable[None]]) -> int:
    """Run `once` with each step in turn; how many there were."""
    make = TrioCancel if world.name == "trio" else AsyncioCancel
    for at in range(_MAX_STEPS):
        cancel = make(at)
        try:
            await once(cancel)
        except BaseException as exc:
            exc.add_note(f"cancelled at step {at}")
            raise
        if not cancel.is_reached:
            return at
    raise AssertionError(f"the story has more than {_MAX_STEPS} steps")
