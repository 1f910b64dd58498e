"""Compiling requests beside the event loop: within the deadline, and ended with the request."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from heatbath.energy.grammar_guard import GrammarCheckLost
from heatbath.engine.base import DeadlineExceeded, Request, Unavailable
from heatbath.engine.local.request_compiler import CompiledRequest, RequestCompiler

_LOG = logging.getLogger("heatbath.engine")
_THREADS = 8
"""More than processors: a thread may be held by a request that is over, which compiles to the end of a short time."""


class RequestPlanner:
    """Compiles requests in threads, after the guard has tried their grammars in processes that can be ended.

    All methods are called on one event loop.
    """

    def __init__(self, compiler: RequestCompiler) -> None:
        self._compiler = compiler
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="heatbath-compiler")
        self._tasks: set[asyncio.Task[CompiledRequest]] = set()
        if compiler.guard is None:
            _LOG.warning("this platform cannot fork: grammars of requests are compiled in the server's own process")

    async def prepare(self) -> None:
        """Prepare what the first request with fields would wait for otherwise."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._compiler.prepare)

    async def plan(self, request: Request, seconds: float | None) -> CompiledRequest:
        """Compile a request within `seconds`.

        Raises:
            BadInput: it cannot be compiled.
            DeadlineExceeded: it took longer.
            Unavailable: the engine is shutting down, or the process that tries grammars has ended.
        """
        task = asyncio.get_running_loop().create_task(self._compile(request))
        self._tasks.add(task)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
            if not done:
                message = f"the request's fields were not built within {seconds:.1f} s, its deadline: simplify them."
                raise DeadlineExceeded(message)
            if task.cancelled():
                raise Unavailable("the engine is shutting down: try again later.")
            return task.result()
        except GrammarCheckLost as error:
            raise Unavailable(str(error)) from None
        finally:
            task.cancel()
            self._tasks.discard(task)

    def stop(self) -> None:
        """End the requests that are being compiled."""
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """End them, and the process of the guard."""
        self.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._compiler.guard is not None:
            self._compiler.guard.close()

    async def _compile(self, request: Request) -> CompiledRequest:
        loop = asyncio.get_running_loop()
        await self._try_grammars(request)
        return await loop.run_in_executor(self._threads, self._compiler, request)

    async def _try_grammars(self, request: Request) -> None:
        guard = self._compiler.guard
        if guard is None:
            return
        for name, grammar in self._compiler.list_grammars(request):
            verdict = await asyncio.wrap_future(guard.check(grammar))
            verdict.require_usable(name, guard.limits)
