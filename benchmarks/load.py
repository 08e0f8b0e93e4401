"""What the scenarios of one process share: how much to do, a session of the library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession

__all__ = ["QUICK", "Load", "session_to"]


@attrs.frozen(kw_only=True)
class Load:
    """How much each scenario does."""

    interrupts: int = 300
    imports: int = 9
    silences: int = 100


QUICK = Load(interrupts=10, imports=1, silences=1)
"""Only shows that everything runs."""


@asynccontextmanager
async def session_to(url: str) -> AsyncIterator[RealtimeSession[Any]]:
    """A session with default settings."""
    runner = RealtimeRunner(RealtimeAgent(name="Measured"))
    async with runner.session(model_config={"url": url, "api_key": "none"}) as session:
        yield session
