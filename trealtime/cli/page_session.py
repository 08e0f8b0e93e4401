"""One conversation of ``trealtime demo``: a session on a page."""

from __future__ import annotations

from typing import Any

import trio

from trealtime._session.config_dicts import ModelConfigDict
from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime._session.subscription import Subscription
from trealtime.endpoints.browser.endpoint import BrowserEndpoint
from trealtime.endpoints.browser.page import PAGE_EVENTS, PageUpdates, obey_page
from trealtime.errors import SettingsError, TrealtimeError
from trealtime.terminal import printable

__all__ = ["converse"]


async def converse(
    page: BrowserEndpoint, runner: RealtimeRunner[Any], connection: ModelConfigDict, greeting: str | None
) -> str | None:
    """Run one session for as long as its page is open, and return its id; None if it never began."""
    session_id: str | None = None
    try:
        async with (
            runner.session(model_config=connection) as session,
            session.subscribe(*PAGE_EVENTS) as subscription,
            session.attach(page) as attachment,
            trio.open_nursery() as nursery,
        ):
            session_id = session.id
            await page.send({"type": "call", "id": session_id, "agent": session.current_agent.name})
            nursery.start_soon(_tell, page, subscription)
            nursery.start_soon(_obey, page, session)
            if greeting is not None:
                await session.create_response(instructions=greeting)
            await attachment.wait_closed()
            nursery.cancel_scope.cancel()
    except* trio.BrokenResourceError:
        pass  # the page has left while something was said to it
    except* TrealtimeError as group:
        reason = "; ".join(f"{type(error).__name__}: {error}" for error in group.exceptions)
        print(printable(reason), flush=True)
        await page.refuse(reason)  # unless it is closed already
    return session_id


async def _tell(page: BrowserEndpoint, subscription: Subscription) -> None:
    """Send the page the events of the session."""
    updates = PageUpdates()
    async for event in subscription:
        for message in updates.of(event):
            await page.send(message)


async def _obey(page: BrowserEndpoint, session: RealtimeSession[Any]) -> None:
    """Carry out the page's messages."""
    async for message in page.messages:
        try:
            await obey_page(message, session)
        except (ValueError, SettingsError) as error:
            await page.send({"type": "problem", "text": str(error)})
