"""Programs for the SDK, on an emulator in memory and under the mock clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from trealtime.compat.realtime import RealtimeAgent, RealtimeRunConfig, RealtimeRunner, RealtimeSession
from trealtime.emulator import Emulator, ScriptedBrain, open_emulator

TEXT: dict[str, Any] = {"output_modalities": ["text"]}

OpenSession = Callable[..., AbstractAsyncContextManager[tuple[RealtimeSession, Emulator]]]


@pytest.fixture
def opened(autojump_clock) -> OpenSession:
    """``async with opened(agent, [replies of the model]) as (session, emulator)``."""

    @asynccontextmanager
    async def opened(
        agent: RealtimeAgent[Any],
        replies: Sequence[Any],
        *,
        config: RealtimeRunConfig | None = None,
        settings: dict[str, Any] = TEXT,
        model_config: dict[str, Any] | None = None,
        **options: Any,
    ) -> AsyncIterator[tuple[RealtimeSession, Emulator]]:
        async with open_emulator(listen=False, brain=ScriptedBrain(replies), **options) as emulator:
            runner = RealtimeRunner(agent, model=emulator.memory_model(), config=config)
            async with await runner.run(
                model_config={"initial_model_settings": settings, **(model_config or {})}  # type: ignore[typeddict-item]
            ) as session:
                yield session, emulator

    return opened


@pytest.fixture
def turn() -> Callable[..., Awaitable[list[Any]]]:
    """``await turn(session)``: all events up to the next ``agent_end``, or to the `times`-th event of type `until`."""

    async def turn(session: RealtimeSession, *, until: str = "agent_end", times: int = 1) -> list[Any]:
        events = []
        async for event in session:
            events.append(event)
            times -= event.type == until
            if not times:
                return events
        raise AssertionError(f"the session ended before {until}: {[event.type for event in events]}")

    return turn
