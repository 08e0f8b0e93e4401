"""From entry to exit, around the body of a session: log, telemetry, recording, MCP servers, the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trealtime._session import config
from trealtime._session.connect import connection_target, default_model_name, first_update
from trealtime._session.connections import Dialler
from trealtime._session.guardrail_runner import check_transcription
from trealtime._session.outgoing import check_sendable
from trealtime._session.parts import Parts
from trealtime._session.pending_reply import PendingReply
from trealtime._session.recording_settings import RecordingSettings
from trealtime._session.saved_session import SavedSession
from trealtime._session.session_log import SessionLog
from trealtime._value import Shown
from trealtime.errors import ConnectFailed
from trealtime.events import EventInfo

if TYPE_CHECKING:
    from trealtime._recordings.recorder import Recorder

__all__ = ["Opening"]


@attrs.frozen(eq=False, repr=False)
class _Entry(Shown):
    """What is needed until the server has acknowledged the first settings, and not any more then."""

    payload: Mapping[str, Any]
    reply: PendingReply


@attrs.define(eq=False, repr=False)
class Opening(Shown):
    """Opens one session around a body, and closes it."""

    _parts: Parts
    _saved: SavedSession
    recorder: Recorder | None = attrs.field(default=None, init=False)
    """The recording, if the session has one."""

    log: SessionLog | None = attrs.field(default=None, init=False)
    _entry: _Entry | None = attrs.field(default=None, init=False)

    @asynccontextmanager
    async def hold(self, session_id: str) -> AsyncIterator[None]:
        """Hold the session open in a block: its log and its telemetry, its recording, its servers, its connection."""
        parts = self._parts
        self.log = SessionLog.begin(parts.driver, session_id)
        try:
            with parts.telemetry.hold(session_id):
                async with self._recorded(session_id), parts.servers.open(parts.core.agent):
                    dial = await self._prepare()
                    async with parts.lifetime.run(dial, self._begin, self._become_ready):
                        yield
        finally:
            if self.log is not None:
                self.log.ended(parts.lifetime.outcome)

    async def _prepare(self) -> Dialler:
        """Ask the agent for its settings; return the way to connect with them."""
        parts = self._parts
        run, driver, agent = parts.run, parts.driver, parts.core.agent
        first = await first_update(
            agent,
            parts.context,
            run,
            parts.config,
            model_name=default_model_name(parts.model, parts.config),
            served=await parts.servers.tools_of(agent),
        )
        first = self._saved.with_voice(first)
        check_sendable(first.payload, "settings")
        check_transcription(parts.guardrails, run.barge_in, first.own.settings)
        parts.agents.begin(first.own, first.payload)
        driver.do(parts.core.use_tools, first.own.offer.callable, first.own.offer.handoff_names)
        self._entry = _Entry(first.payload, driver.replies.open())
        recorder = self.recorder
        connect = parts.model.connect if recorder is None else recorder.connecting(parts.model.connect)
        connect = parts.telemetry.connecting(connect)
        return partial(connect, connection_target(parts.config, first.own.settings))

    def _begin(self, server_time_s: float | None) -> None:
        """Give the core its first inputs: there is a connection, whose server has this clock."""
        driver, core, entry = self._parts.driver, self._parts.core, self._entry
        assert entry is not None
        driver.do(core.opened, server_time_s=server_time_s)
        driver.do(core.begin_with, **self._saved.for_core)
        driver.do(core.open_session, entry.payload, reply_id=entry.reply.id)

    async def _become_ready(self) -> None:
        """Wait until the server has acknowledged the first settings."""
        parts = self._parts
        run, core = parts.run, parts.core
        assert self._entry is not None
        parts.lifetime.entering = waiting = trio.CancelScope()
        if not core.recovering:
            waiting.deadline = trio.current_time() + run.ready_timeout_s
        with waiting:
            await parts.submit.answer(self._entry.reply)
            self._entry = None
            config.check_priced(run, core.model)
            parts.driver.hooks.opened(core.agent, parts.lifetime.start_tool)
            parts.servers.opened(core.agent)
            parts.telemetry.opened()
            if self.log is not None:
                self.log.opened()
        parts.lifetime.entering = None
        if waiting.cancelled_caught:
            within = f"within {run.ready_timeout_s:g} s"
            raise ConnectFailed(f"the server took the connection and did not make the session ready {within}")

    def _recorded(self, session_id: str) -> AbstractAsyncContextManager[None]:
        """Record what happens in a block, if the run config asks for it. Raises `OSError`."""
        parts, settings = self._parts, self._parts.run.record
        if not isinstance(settings, RecordingSettings):
            return nullcontext()
        from trealtime._session.recording import session_recorder  # most sessions are not recorded

        self.recorder = session_recorder(
            settings,
            parts.driver,
            EventInfo(parts.context),
            session_id=session_id,
            agent=parts.core.agent.name,
            tracker=parts.driver.tracker,
            run_config=parts.run,
            model_config=parts.config,
        )
        return self.recorder.hold(parts.run.close_timeout_s)
