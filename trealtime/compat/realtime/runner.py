"""The runner: makes sessions of one agent."""

from __future__ import annotations

from typing import Any

import trio

from trealtime._secrets import shown
from trealtime.agents.agent import RealtimeAgent as NativeAgent
from trealtime.compat.realtime.config import RealtimeRunConfig
from trealtime.compat.realtime.model import RealtimeModel, RealtimeModelConfig
from trealtime.compat.realtime.openai_realtime import OpenAIRealtimeWebSocketModel
from trealtime.compat.realtime.session import RealtimeSession
from trealtime.transport.models import RealtimeModel as NativeModel

__all__ = ["RealtimeRunner"]


class RealtimeRunner:
    """Makes sessions with `starting_agent`.

    Without a `model`, each session has a connection of its own to OpenAI's service, so that they may run side by side.
    A model object that is given here serves one session at a time. `model` may be one of trealtime's, too.
    """

    def __init__(
        self,
        starting_agent: NativeAgent[Any],
        *,
        model: RealtimeModel | NativeModel | None = None,
        config: RealtimeRunConfig | None = None,
    ) -> None:
        if not isinstance(starting_agent, NativeAgent):
            raise TypeError(f"starting_agent: got {shown(starting_agent)}, allowed: a RealtimeAgent")
        self._agent = starting_agent
        self._model = model
        self._config = config

    async def run(
        self, *, context: Any | None = None, model_config: RealtimeModelConfig | None = None
    ) -> RealtimeSession:
        """Return a session, built and not opened: ``async with session:`` connects. One checkpoint.

        Raises `UserError` for keys and values that cannot be.
        """
        session = RealtimeSession(
            OpenAIRealtimeWebSocketModel() if self._model is None else self._model,
            self._agent,
            context,
            model_config=model_config,
            run_config=self._config,
        )
        await trio.lowlevel.checkpoint()
        return session
