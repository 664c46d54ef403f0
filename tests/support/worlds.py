"""Worlds: one async test body runs on asyncio, uvloop, trio and in plain blocking code.

A world runs the body, and offers what a body needs and what is spelt differently in each world: running several things
at once, events, sleeping, cancelling. In the blocking world "at once" means threads, each of which drives its coroutine
with one `send(None)`; nothing can be cancelled there (`can_cancel`).

At the end of a body the pools made by `world.pool` are closed, and then no task, timer or async generator may be left.
"""

from __future__ import annotations

import abc
import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import pytest
import trio

from .ways import current

if TYPE_CHECKING:
    import httpcore

T = TypeVar("T")
Job = Callable[[], Awaitable[T]]

DEFAULT_TIME_LIMIT = 60.0
"""Seconds for one test body. Far above what any needs, so that a slow machine does not fail them."""

# How long what a body left behind may take to end by itself: closing handshakes, aclose() of dropped generators.
_SETTLING_TIME = 10.0


class Hung(Exception):
    """A test body passed its time limit. The cause shows where it was waiting."""


class Suspended(AssertionError):
    """A coroutine suspended in the blocking world, where it must run to its end in one go."""


class Leftovers(AssertionError):
    """Something that a body started was still there after it."""


class Event(Protocol):
    """For use between callables of one world. Between a test body and a peer's script there is `peer.gate()`."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...

    async def wait(self) -> object: ...


class Task(Generic[T]):
    """One callable started with `start` of `world.tasks()`.

    An error that nobody asks for (by `result()` or `error`) is raised at the end of the `async with` block.
    """

    def __init__(self, job: Job[T], done: Event) -> None:
        self._job = job
        self._done = done
        self._values: list[T] = []
        self._error: Exception | None = None
        self._cancel: Callable[[], object] = self._cannot_cancel
        self.is_error_seen = False
        self.is_cancelled = False
        """Whether it ended by being cancelled; False also where it was cancelled and ended otherwise."""

    def cancel(self) -> None:
        self._cancel()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    @property
    def error(self) -> Exception | None:
        self.is_error_seen = True
        return self._error

    async def finished(self) -> Task[T]:
        """Wait until it has ended, however it did."""
        await self._done.wait()
        return self

    def result(self) -> T:
        """What it returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        if not self._values:
            raise AssertionError("the task was cancelled" if self.is_cancelled else "the task has not ended")
        return self._values[0]

    async def outcome(self) -> T:
        """Wait, then `result()`."""
        return (await self.finished()).result()

    async def carry_out(self, cancelled: type[BaseException] | tuple[()]) -> None:
        try:
            self._values.append(await self._job())
        except Exception as exc:
            self._error = exc
        except cancelled:
            self.is_cancelled = True
            raise
        finally:
            self._done.set()

    def _cannot_cancel(self) -> None:
        raise RuntimeError('this world cannot cancel; restrict the test: @only_worlds("asyncio", "uvloop", "trio")')


class Tasks(abc.ABC):
    """Started callables; all have ended when the `async with world.tasks()` block does."""

    def __init__(self) -> None:
        self.started: list[Task[Any]] = []

    @abc.abstractmethod
    def start(self, job: Job[T]) -> Task[T]: ...

    def raise_unseen(self) -> None:
        unseen = [task.error for task in self.started if not task.is_error_seen and task.error is not None]
        if unseen:
            raise ExceptionGroup("tasks failed and nobody asked", unseen)


class World(abc.ABC):
    """What the `world` fixture gives. Make none yourself."""

    name: ClassVar[str]
    backend: ClassVar[str | None] = None
    """What `world.pool` passes as `backend=`: None lets the pool find out by itself."""
    can_cancel: ClassVar[bool] = True

    def __init__(self, time_limit: float = DEFAULT_TIME_LIMIT) -> None:
        self.time_limit = time_limit
        self._pools: list[httpcore.ConnectionPool] = []

    def pool(self, **options: Any) -> httpcore.ConnectionPool:
        """A pool that is closed at the end of the test."""
        import httpcore

        if options.get("ssl") is None:
            options.pop("ssl", None)
        pool = httpcore.ConnectionPool(**{"backend": self.backend, **current().options(), **options})
        self._pools.append(pool)
        return pool

    @abc.abstractmethod
    def run(self, body: Job[T], may_leave: bool = False) -> T:
        """Run an async callable to its end. pytest does it for async tests; a plain test may, several times.

        Args:
            may_leave: the body may leave tasks and timers to the loop's end, as a pool that outlives it does.
        """

    @abc.abstractmethod
    async def sleep(self, seconds: float) -> None: ...

    @abc.abstractmethod
    def event(self) -> Event: ...

    @abc.abstractmethod
    def tasks(self) -> AbstractAsyncContextManager[Tasks]:
        """`async with world.tasks() as tasks: task = tasks.start(job); ...; task.cancel()`."""

    @abc.abstractmethod
    def timeout(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """What is awaited within is cancelled after so many seconds, by the world's own means; raises TimeoutError."""

    async def gather(self, *jobs: Job[T]) -> list[T | Exception]:
        """Run callables at once. Errors are among the results: look at them, or use `gather_ok`."""
        async with self.tasks() as tasks:
            started = [tasks.start(job) for job in jobs]
            for task in started:
                task.is_error_seen = True
        return [task.result() if task.error is None else task.error for task in started]

    async def gather_ok(self, *jobs: Job[T]) -> list[T]:
        """Run callables at once, all of which succeed; otherwise an ExceptionGroup with the errors is raised."""
        async with self.tasks() as tasks:
            started = [tasks.start(job) for job in jobs]
        return [task.result() for task in started]

    async def cancel_after(self, seconds: float, job: Job[object]) -> bool:
        """Run a callable and cancel it after so many seconds; whether it was still running. Its errors are raised."""
        begun = time.monotonic()
        return await self.cancel_when(lambda: time.monotonic() - begun >= seconds, job, seconds + 15)

    async def cancel_when(self, condition: Callable[[], bool], job: Job[object], timeout: float = 15.0) -> bool:
        """Run a callable and cancel it once the condition holds; whether it was cancelled. Its errors are raised."""
        async with self.tasks() as tasks:
            task = tasks.start(job)
            await self.until(lambda: task.is_done or condition(), timeout)
            task.cancel()
        return task.is_cancelled

    async def until(self, condition: Callable[[], object], timeout: float = 15.0, what: str = "the condition") -> None:
        """Wait until a condition holds, without holding up this world (unlike `peer.wait_for`)."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                code = condition.__code__ if inspect.isfunction(condition) else None
                where = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(condition)
                raise AssertionError(f"{what} did not hold within {timeout} s ({where})")
            await self.sleep(0.002)

    async def _close_pools(self) -> None:
        while self._pools:
            await self._pools.pop().aclose()

    async def _run_and_close(self, body: Job[T]) -> T:
        try:
            return await body()
        finally:
            await self._close_pools()

    async def _settle(self, leftovers: Callable[[], list[str]]) -> None:
        deadline = time.monotonic() + _SETTLING_TIME
        while left := leftovers():
            if time.monotonic() > deadline:
                raise Leftovers("left behind by the test: " + "; ".join(left))
            await self.sleep(0.001)


class AsyncioTasks(Tasks):
    def __init__(self) -> None:
        super().__init__()
        self.running: list[asyncio.Task[None]] = []

    def start(self, job: Job[T]) -> Task[T]:
        task = Task(job, asyncio.Event())
        running = asyncio.create_task(task.carry_out(asyncio.CancelledError))
        # A task that is cancelled before its first step never gets to say so.
        running.add_done_callback(lambda ended: _mark_ended(task, ended.cancelled()))
        task._cancel = running.cancel
        self.started.append(task)
        self.running.append(running)
        return task


def _mark_ended(task: Task[Any], is_cancelled: bool) -> None:
    task.is_cancelled = is_cancelled
    task._done.set()


class AsyncioWorld(World):
    name = "asyncio"

    def run(self, body: Job[T], may_leave: bool = False) -> T:
        return asyncio.run(self._main(body, may_leave))

    async def _main(self, body: Job[T], may_leave: bool) -> T:
        try:
            async with asyncio.timeout(self.time_limit) as limit:
                result = await self._run_and_close(body)
        except TimeoutError as exc:
            if limit.expired():
                raise Hung(f"the test took more than {self.time_limit} s on {self.name}") from exc
            raise
        if not may_leave:
            await self._settle(self._leftovers)
        return result

    @staticmethod
    def _leftovers() -> list[str]:
        """Tasks, and where the loop lets us see them timers and async generators."""
        loop = asyncio.get_running_loop()
        tasks = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        timers = [repr(timer) for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
        generators = [repr(generator) for generator in getattr(loop, "_asyncgens", ())]
        return tasks + timers + generators

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def event(self) -> Event:
        return asyncio.Event()

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[AsyncioTasks]:
        tasks = AsyncioTasks()
        try:
            yield tasks
        except BaseException:
            for running in tasks.running:
                running.cancel()
            raise
        finally:
            await asyncio.gather(*tasks.running, return_exceptions=True)
        tasks.raise_unseen()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(seconds):
            yield


class UvloopWorld(AsyncioWorld):
    name = "uvloop"

    def run(self, body: Job[T], may_leave: bool = False) -> T:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._main(body, may_leave))


class TrioTasks(Tasks):
    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self.nursery = nursery

    def start(self, job: Job[T]) -> Task[T]:
        task = Task(job, trio.Event())
        scope = trio.CancelScope()
        task._cancel = scope.cancel
        self.started.append(task)

        async def run() -> None:
            with scope:
                await task.carry_out(trio.Cancelled)

        self.nursery.start_soon(run)
        return task


class TrioWorld(World):
    name = "trio"

    def run(self, body: Job[T], may_leave: bool = False) -> T:
        return trio.run(self._main, body, may_leave)

    async def _main(self, body: Job[T], may_leave: bool) -> T:
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        cancelled: trio.Cancelled | None = None
        with trio.move_on_after(self.time_limit) as limit:
            try:
                result = await self._run_and_close(body)
            except trio.Cancelled as exc:
                cancelled = exc
                raise
        if limit.cancelled_caught:
            raise Hung(f"the test took more than {self.time_limit} s on {self.name}") from cancelled

        def leftovers() -> list[str]:
            extra = trio.lowlevel.current_statistics().tasks_living - tasks_before
            return [f"{extra} trio tasks"] if extra else []

        if not may_leave:
            await self._settle(leftovers)
        return result

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def event(self) -> Event:
        return trio.Event()

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[TrioTasks]:
        try:
            async with trio.open_nursery() as nursery:
                tasks = TrioTasks(nursery)
                yield tasks
        except BaseExceptionGroup as group:
            # Tasks keep their errors, so it is the block's own that the nursery has wrapped.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from group.exceptions[0].__cause__
            raise
        tasks.raise_unseen()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError as exc:
            raise TimeoutError from exc


class ThreadEvent:
    """An event of the blocking world. Waiting is bounded, as nothing could cancel it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> object:
        if not self._event.wait(DEFAULT_TIME_LIMIT - 5):
            raise Hung("an event was not set")
        return True


class ThreadTasks(Tasks):
    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []

    def start(self, job: Job[T]) -> Task[T]:
        task = Task(job, ThreadEvent())
        name = f"task {len(self.threads)} of the blocking world"
        thread = threading.Thread(target=lambda: drive(task.carry_out(())), name=name, daemon=True)
        self.started.append(task)
        self.threads.append(thread)
        thread.start()
        return task

    def join(self, time_limit: float) -> None:
        deadline = time.monotonic() + time_limit
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        hung = [thread.name for thread in self.threads if thread.is_alive()]
        if hung:
            raise Hung(f"after {time_limit} s there still runs: {', '.join(hung)}")


class BlockingWorld(World):
    """No event loop: whatever is awaited runs to its end at once. The watchdog keeps its time."""

    name = "blocking"
    backend = "blocking"
    can_cancel = False

    def run(self, body: Job[T], may_leave: bool = False) -> T:
        return drive(self._run_and_close(body))

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - in this world that is what sleeping is

    def event(self) -> Event:
        return ThreadEvent()

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[ThreadTasks]:
        tasks = ThreadTasks()
        try:
            yield tasks
        finally:
            tasks.join(self.time_limit - 5)
        tasks.raise_unseen()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        raise RuntimeError('this world cannot cancel; restrict the test: @only_worlds("asyncio", "uvloop", "trio")')
        yield


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends.

    Raises: Suspended, naming the place, where it does.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    place = _suspended_at(coroutine)
    coroutine.close()
    raise Suspended(f"a coroutine suspended in the blocking world, at {place}")


def _suspended_at(awaited: Any) -> str:
    """The innermost place that Python lets us see, along the chain of what awaits what."""
    place = "an unknown place"
    while awaited is not None:
        for prefix in ("cr", "gi", "ag"):
            frame: FrameType | None = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
                awaited = getattr(awaited, {"gi": "gi_yieldfrom"}.get(prefix, f"{prefix}_await"), None)
                break
        else:
            return f"{place}, waiting for {awaited!r}"
    return place


WORLDS: dict[str, type[World]] = {world.name: world for world in (AsyncioWorld, UvloopWorld, TrioWorld, BlockingWorld)}


def only_worlds(*names: str) -> pytest.MarkDecorator:
    """Restrict a test to some worlds: `@only_worlds("asyncio", "trio")`."""
    unknown = set(names) - set(WORLDS)
    if unknown or not names:
        raise ValueError(f"there is no world {sorted(unknown)}; there are {sorted(WORLDS)}")
    return pytest.mark.only_worlds(*names)


can_cancel_worlds = only_worlds(*(name for name, world in WORLDS.items() if world.can_cancel))
"""Restrict a test to the worlds in which a running callable can be cancelled: `@can_cancel_worlds`."""
