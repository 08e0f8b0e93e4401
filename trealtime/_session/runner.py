"""The runner: makes sessions of one agent."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Generic

import trio

from trealtime._async_with import async_with, require_trio
from trealtime._secrets import shown
from trealtime._session import config as configs
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.items import RealtimeItem
from trealtime.terminal import one_line
from trealtime.tools.context import ContextT
from trealtime.tools.declared import takes
from trealtime.transport.models import OpenAIRealtimeWebSocketModel, RealtimeModel

if TYPE_CHECKING:
    from trealtime._session.config_dicts import ModelConfigDict, RunConfigDict

__all__ = ["RealtimeRunner", "serve_realtime_session"]


class RealtimeRunner(Generic[ContextT]):
    """Makes sessions with `starting_agent`; any number may run side by side.

    `model` says where to connect, by default to OpenAI's service (see `trealtime.transport.models`). `config` says how
    sessions behave: a `RealtimeRunConfig` or a mapping with its keys. `rng` makes the ids of its sessions repeatable.
    Raises `SettingsError` with every problem of `config`, TypeError for an agent or a model of another type.
    """

    def __init__(
        self,
        starting_agent: RealtimeAgent[ContextT],
        *,
        model: RealtimeModel | None = None,
        config: RealtimeRunConfig | RunConfigDict | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not isinstance(starting_agent, RealtimeAgent):
            raise TypeError(f"starting_agent: got {shown(starting_agent)}, allowed: a RealtimeAgent")
        self._agent = starting_agent
        self._model = OpenAIRealtimeWebSocketModel() if model is None else _checked(model)
        self._config = configs.with_telemetry(configs.run_config(config))
        self._rng = rng

    def __repr__(self) -> str:
        return f"RealtimeRunner({one_line(self._agent.name)})"

    async def run(
        self,
        *,
        context: ContextT | None = None,
        model_config: RealtimeModelConfig | ModelConfigDict | None = None,
        history: str | bytes | Iterable[RealtimeItem] | None = None,
        resume: str | bytes | None = None,
    ) -> RealtimeSession[ContextT]:
        """Return a session that is built and not opened: ``async with session:`` connects. A checkpoint.

        Every tool and event gets `context`; `model_config` says how this session connects. `history`, the text that
        `trealtime.items.dump_history` returned or items, is what was said before: the model is told it before the first
        turn. `resume` is the text that `RealtimeSession.export` returned in another process: the session goes on with
        its agent, which this runner's agent must be able to hand over to, and with its history, voice, usage and
        decisions. Raises `SettingsError`.
        """
        require_trio("runner.run()")
        session = self._build(context, model_config, history, resume)
        await trio.lowlevel.checkpoint()
        return session

    @async_with("runner.session()", "session")
    async def session(
        self,
        *,
        context: ContextT | None = None,
        model_config: RealtimeModelConfig | ModelConfigDict | None = None,
        history: str | bytes | Iterable[RealtimeItem] | None = None,
        resume: str | bytes | None = None,
    ) -> AsyncIterator[RealtimeSession[ContextT]]:
        """Hold a session open in a block: ``async with runner.session() as session``. Arguments as in `run`.

        Waits, raises and is cancelled as entering and leaving a `RealtimeSession`.
        """
        async with self._build(context, model_config, history, resume) as session:
            yield session

    def _build(
        self,
        context: ContextT | None,
        model_config: RealtimeModelConfig | ModelConfigDict | None,
        history: str | bytes | Iterable[RealtimeItem] | None,
        resume: str | bytes | None,
    ) -> RealtimeSession[ContextT]:
        return RealtimeSession(
            self._model,
            self._agent,
            context,
            model_config=model_config,
            run_config=self._config,
            rng=self._rng,
            history=history,
            resume=resume,
        )


def _checked(model: RealtimeModel) -> RealtimeModel:
    """Return `model`. Raises TypeError for what is none: a model's name, an emulator, a method that was not called."""
    connect = None if isinstance(model, type) else getattr(model, "connect", None)
    if callable(connect) and takes(connect, 1):
        return model
    allowed = "a RealtimeModel, such as OpenAIRealtimeWebSocketModel() or emulator.memory_model()"
    if isinstance(model, str):
        allowed += '; the name of a model goes into config={"model_settings": {"model_name": ...}}'
    raise TypeError(f"model: got {shown(model)}, allowed: {allowed}")


async def serve_realtime_session(
    runner: RealtimeRunner[ContextT],
    *,
    context: ContextT | None = None,
    model_config: RealtimeModelConfig | ModelConfigDict | None = None,
    history: str | bytes | Iterable[RealtimeItem] | None = None,
    resume: str | bytes | None = None,
    task_status: trio.TaskStatus[RealtimeSession[ContextT]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Hold a session open in a nursery of yours: ``session = await nursery.start(serve_realtime_session, runner)``.

    Returns when the session ends: by ``await session.close()``, at a limit, or because the server closed it in order.
    Cancelling it closes the session. Raises what opening raises, and `ConnectionLost` if the connection was lost and no
    other call has raised that.
    """
    async with runner.session(context=context, model_config=model_config, history=history, resume=resume) as session:
        task_status.started(session)
        await session.wait_closed()
