"""Calls of the user's functions, which may be sync or async."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

__all__ = ["answer_of", "call_anywhere", "is_async", "name_of"]


def is_async(function: Callable[..., object]) -> bool:
    """Return whether calling `function` gives a coroutine."""
    # The second test is for an object whose class has an async __call__.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def call_anywhere(
    function: Callable[..., object], *arguments: object, thread_limiter: trio.CapacityLimiter | None
) -> object:
    """Call `function` and return its result: an async one runs here, a sync one in a thread of `thread_limiter`.

    If cancelled while a thread runs, it waits until the function returns. Passes the function's exceptions on.
    """
    if is_async(function):
        answer = function(*arguments)
    else:
        answer = await trio.to_thread.run_sync(partial(function, *arguments), limiter=thread_limiter)
    return await answer_of(answer)


async def answer_of(answer: object) -> Any:
    """Return the result of a callable; await it first where it is awaitable.

    A nursery in the callable that fails while it is cancelled raises both in one group, which is no Exception, so an
    ``except Exception`` would miss it. Here the failures come out alone; the cancellation comes again at the next
    checkpoint.
    """
    if not inspect.isawaitable(answer):
        return answer
    try:
        return await answer
    except BaseExceptionGroup as group:
        cancelled, failures = group.split(trio.Cancelled)
        if cancelled is None or failures is None:
            raise
        raise failures from None


def name_of(function: Callable[..., object]) -> str:
    """Return the name of a function; for a callable that has none, the name of its type."""
    return getattr(function, "__name__", type(function).__name__)
