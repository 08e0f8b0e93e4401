"""A nursery for service tasks behind a context manager, and the way to drop a stream at once."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["background_nursery", "drop"]


@asynccontextmanager
async def background_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks serve the body: it cancels them when the body leaves.

    An exception of the body comes out bare. The tasks must not raise. If one does all the same (a bug, or a Ctrl-C that
    lands in it), the body is cancelled and the nursery's exception group comes out.
    """
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as exc:  # noqa: BLE001  # raised again below, outside the nursery that would wrap it
                raised = exc
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Under an outer cancellation the Cancelled of the tasks come out too, beside what the body raised.
        if raised is None or group.split(trio.Cancelled)[1] is not None:
            raise
    if raised is not None:
        raise raised


async def drop(stream: trio.abc.Stream) -> None:
    """Close `stream` without waiting for the peer, also in a task that is being cancelled."""
    # A shield whose deadline has passed: `aclose` closes, and stops at its first wait.
    with trio.CancelScope(deadline=-math.inf, shield=True):
        try:
            await stream.aclose()
        except trio.BrokenResourceError:
            pass
