"""Which tools and handoffs are enabled: it asks every `is_enabled` at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from trealtime.tools.callables import answer_of
from trealtime.tools.context import RunContext

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent

__all__ = ["enabled"]

T = TypeVar("T")


async def enabled(things: Sequence[T], context: RunContext[Any], agent: RealtimeAgent[Any]) -> tuple[T, ...]:
    """Return those of `things` whose `is_enabled` is true or answers true, and those without that attribute.

    The callables get `context` and `agent`, and run concurrently. When one raises, it cancels the others, waits for
    them, and raises that exception.
    """
    answers = [getattr(thing, "is_enabled", True) for thing in things]
    first: list[BaseException] = []

    async def ask(place: int, rule: Callable[..., object]) -> None:
        try:
            answers[place] = await answer_of(rule(context, agent))
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  (raised below, without the nursery's group around it)
            first.append(error)
            nursery.cancel_scope.cancel()

    if any(callable(answer) for answer in answers):
        async with trio.open_nursery() as nursery:
            for place, rule in enumerate(answers):
                if callable(rule):
                    nursery.start_soon(ask, place, rule)
    if first:
        raise first[0]
    return tuple(thing for thing, answer in zip(things, answers, strict=True) if answer)
