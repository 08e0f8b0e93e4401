"""Entering a session: MCP servers, then the connection, then the settings that the server acknowledges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trealtime._session import config
from trealtime._session.guardrail_runner import check_transcription
from trealtime._session.opening import connection_target, default_model_name, opening
from trealtime._session.outgoing import check_sendable
from trealtime._session.parts import SessionParts
from trealtime.errors import ConnectFailed

__all__ = ["entered"]


@asynccontextmanager
async def entered(parts: SessionParts) -> AsyncIterator[None]:
    """See `RealtimeSession.__aenter__` and `RealtimeSession.__aexit__`."""
    async with parts.servers.open(), _connected(parts):
        yield


@asynccontextmanager
async def _connected(parts: SessionParts) -> AsyncIterator[None]:
    run, driver = parts.run, parts.driver
    agent = driver.core.agent
    begin = await opening(
        agent,
        parts.context,
        run,
        parts.config,
        model_name=default_model_name(parts.model, parts.config),
        served=await parts.servers.tools_of(agent),
    )
    check_sendable(begin.payload, "settings")
    check_transcription(parts.guardrails, run.barge_in, begin.own.settings)
    parts.agents.begin(begin.own, begin.payload)
    driver.do(driver.core.use_tools, begin.own.offer.callable, begin.own.offer.handoff_names)
    reply = driver.replies.open()

    def open_session() -> None:
        driver.do(driver.core.open_session, begin.payload, reply_id=reply.id)

    async def become_ready() -> None:
        with trio.move_on_after(run.ready_timeout_s) as waiting:
            await parts.asking.answer(reply)
            config.check_priced(run, driver.core.model)
            parts.hooks.opened(driver.core.agent)
            parts.lifetime.start_tool(parts.hooks.run)
            parts.servers.opened()
        if waiting.cancelled_caught:
            raise ConnectFailed(
                f"the server took the connection and did not make the session ready within {run.ready_timeout_s:g} s"
            )

    connection = parts.model.connect(connection_target(parts.config, begin.own.settings))
    async with parts.lifetime.run(connection, open_session, become_ready):
        yield
