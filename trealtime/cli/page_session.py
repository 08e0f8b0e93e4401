"""One conversation of ``trealtime demo``: a session on a page, and the messages to the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import trio

from trealtime._session.config_dicts import ModelConfigDict
from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime._session.subscription import Subscription
from trealtime.endpoints.browser.endpoint import BrowserEndpoint
from trealtime.errors import SettingsError, TrealtimeError
from trealtime.events import RealtimeSessionEvent
from trealtime.items import AssistantAudio, AssistantMessageItem, RealtimeItem, UserMessageItem
from trealtime.metrics import TurnMetrics
from trealtime.terminal import printable

__all__ = ["converse"]

_FIELDS: Final[Mapping[str, Sequence[str]]] = {
    "agent_start": ("response_id", "agent"),
    "agent_end": ("response_id", "status", "reason"),
    "audio_interrupted": ("item_id", "heard_ms", "cause"),
    "transcript_delta": ("item_id", "role", "delta"),
    "text_delta": ("item_id", "delta"),
    "speech_started": ("item_id", "audio_start_ms"),
    "speech_stopped": ("item_id", "audio_end_ms"),
    "tool_approval_required": ("call_id", "tool", "arguments"),
    "tool_approval_dropped": ("call_id", "tool", "reason"),
    "tool_start": ("call_id", "tool", "arguments"),
    "tool_progress": ("call_id", "tool", "note"),
    "tool_end": ("call_id", "tool", "output", "failure"),
    "handoff": ("from_agent", "to_agent"),
    "guardrail_tripped": ("message",),
    "connection_lost": ("code", "reason"),
    "reconnected": ("outage_ms",),
    "error": ("error",),
}
"""The events that the page gets, and which fields of them."""


async def converse(
    page: BrowserEndpoint, runner: RealtimeRunner[Any], connection: ModelConfigDict, greeting: str | None
) -> str | None:
    """Run one session for as long as its page is open, and return its id; None if it never began."""
    session_id: str | None = None
    try:
        async with (
            runner.session(model_config=connection) as session,
            session.subscribe(*_FIELDS, "history_updated", "turn_ended") as subscription,
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
    transcript = _Transcript()
    async for event in subscription:
        if event.type == "history_updated":
            for change in transcript.changes(event.history):
                await page.send(change)
        elif event.type == "turn_ended":
            await page.send(_turn(event.metrics))
        else:
            await page.send({"type": "event", "name": event.type, **_fields_of(event)})


def _turn(metrics: TurnMetrics) -> dict[str, object]:
    latency_s, heard_s = metrics.response_latency_s, metrics.heard_s
    return {
        "type": "turn",
        "number": metrics.number,
        "status": metrics.status,
        "latency_ms": None if latency_s is None else round(latency_s * 1000),
        "heard_ms": None if heard_s is None else round(heard_s * 1000),
        "item_ids": list(metrics.item_ids),
    }


def _fields_of(event: RealtimeSessionEvent) -> dict[str, object]:
    """Return the `_FIELDS` of an event, with tools and agents by their names and other objects as text."""

    def plain(value: Any) -> object:
        return value if value is None or isinstance(value, str | int | float) else str(getattr(value, "name", value))

    return {name: plain(getattr(event, name)) for name in _FIELDS[event.type]}


@attrs.define
class _Transcript:
    """The conversation, as the page knows it."""

    told: dict[str, dict[str, object]] = attrs.Factory(dict)

    def changes(self, history: Sequence[RealtimeItem]) -> list[dict[str, object]]:
        """Return the messages that bring the page up to date with `history`."""
        changes: list[dict[str, object]] = []
        after = None
        now: dict[str, dict[str, object]] = {}
        for item in history:
            if isinstance(item, UserMessageItem | AssistantMessageItem):
                cut = next((part.heard_ms for part in item.content if isinstance(part, AssistantAudio)), None)
                now[item.item_id] = {"role": item.role, "text": item.text, "heard_ms": cut, "after": after}
                if self.told.get(item.item_id) != now[item.item_id]:
                    changes.append({"type": "item", "item_id": item.item_id, **now[item.item_id]})
                after = item.item_id
        changes.extend({"type": "item_gone", "item_id": item_id} for item_id in self.told.keys() - now.keys())
        self.told = now
        return changes


async def _obey(page: BrowserEndpoint, session: RealtimeSession[Any]) -> None:
    """Carry out the page's messages."""
    async for message in page.messages:
        try:
            await _obey_one(message, session)
        except (ValueError, SettingsError) as error:
            await page.send({"type": "problem", "text": str(error)})


async def _obey_one(message: Mapping[str, Any], session: RealtimeSession[Any]) -> None:
    match message:
        case {"type": "say", "text": str(text)} if text.strip():
            await session.interrupt()  # a user who types wants an answer now
            await session.send_message(text)
        case {"type": "image", "url": str(url), "text": str(text)}:
            if not url.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
                raise ValueError("image: expected PNG or JPEG as a data URI")
            words = [{"type": "input_text", "text": text}] if text.strip() else []
            await session.interrupt()
            content = [*words, {"type": "input_image", "image_url": url}]
            await session.send_message({"type": "message", "role": "user", "content": content})
        case {"type": "interrupt"}:
            await session.interrupt()
        case {"type": "decide", "call_id": str(call_id), "approve": bool(approve)}:
            decide = session.approve_tool_call if approve else session.reject_tool_call
            await decide(call_id)
        case _:
            raise ValueError(f"nothing here does what {str(message)[:80]} asks for")
