"""Context managers of the public API, whose misuse says what to write instead."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar

import trio

__all__ = ["AsyncWith", "async_with", "require_trio"]

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


def require_trio(call: str) -> None:
    """Raise RuntimeError unless Trio runs; `call` is the call that needs it."""
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(f"{call} needs Trio: run the program with trio.run(main), not with asyncio.run(main())")


class AsyncWith(AbstractAsyncContextManager[T_co, "bool | None"], Generic[T_co]):
    """An async context manager, entered once. Its name is part of Python's errors: "object AsyncWith can't be used in
    'await' expression"."""

    __slots__ = ("_call", "_entered", "_manager", "_name")

    def __init__(self, manager: AbstractAsyncContextManager[T_co], call: str, name: str) -> None:
        self._manager = manager
        self._call = call
        self._name = name
        self._entered = False

    async def _refuse(self) -> NoReturn:
        raise RuntimeError(f"{self._call} is entered once: call it again for each `async with`")

    # Both return the coroutine of the manager in place of awaiting it: tracebacks have no line of this class. (To
    # pyright an `async def` returns another class of coroutines.)

    def __aenter__(self) -> Coroutine[Any, Any, T_co]:  # pyright: ignore[reportIncompatibleMethodOverride]
        require_trio(self._call)
        if self._entered:
            return self._refuse()
        self._entered = True
        return self._manager.__aenter__()

    def __aexit__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        return self._manager.__aexit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<{self._call}, for `async with`>"

    if not TYPE_CHECKING:  # a checker finds this mistake by itself

        def __getattr__(self, attribute: str) -> NoReturn:
            if attribute.startswith("_"):  # what `copy` and others look for, also before there are any fields
                raise AttributeError(attribute, name=attribute, obj=self)
            advice = f"write `async with {self._call} as {self._name}:`"
            raise AttributeError(f"{self._call} has no attribute {attribute!r}: {advice}", name=attribute, obj=self)


def async_with(
    call: str, name: str
) -> Callable[[Callable[P, AsyncIterator[T_co]]], Callable[P, AbstractAsyncContextManager[T_co]]]:
    """Make a function with one ``yield`` a context manager, as `contextlib.asynccontextmanager` does.

    `call` and `name` are what its errors show: ``async with CALL as NAME:``.
    """

    def decorate(function: Callable[P, AsyncIterator[T_co]]) -> Callable[P, AbstractAsyncContextManager[T_co]]:
        make = asynccontextmanager(function)

        @functools.wraps(function)
        def enter(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T_co]:
            return AsyncWith(make(*args, **kwargs), call, name)

        return enter

    return decorate
