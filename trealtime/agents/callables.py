"""Callables of the user's that may be sync or async."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import trio

__all__ = ["call_anywhere", "is_async", "name_of"]


def is_async(function: Callable[..., object]) -> bool:
    """Whether calling `function` gives a coroutine."""
    # The second test is for an object whose class has an async __call__.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def call_anywhere(
    function: Callable[..., object], *arguments: object, thread_limiter: trio.CapacityLimiter | None
) -> object:
    """What `function` returns: an async one runs here, a sync one in a thread of `thread_limiter`, so it may block.

    If cancelled while a thread runs, this waits until the function returns. Raises what it raises.
    """
    if is_async(function):
        answer = function(*arguments)
    else:
        answer = await trio.to_thread.run_sync(partial(function, *arguments), limiter=thread_limiter)
    return await answer if inspect.isawaitable(answer) else answer


def name_of(function: Callable[..., object]) -> str:
    """The name of a function, also where the callable has none."""
    return getattr(function, "__name__", type(function).__name__)
