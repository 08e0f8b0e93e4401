"""The page that comes with trealtime: its files, and the messages between it and a session.

``trealtime demo`` serves it, and ``examples/browser/server.py`` is a server of one's own for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from trealtime.events import RealtimeSessionEvent
from trealtime.items import AssistantAudio, AssistantMessageItem, InputImage, RealtimeItem, UserMessageItem
from trealtime.metrics import TurnMetrics
from trealtime.protocol.user_input import UserInput
from trealtime.terminal import text_of

__all__ = ["PAGE_EVENTS", "PAGE_FILES", "PageUpdates", "obey_page"]

PAGE_FILES: Final = Path(__file__).parent / "page_files"
"""The folder of the page: ``index.html``, ``app.js``, ``audio.js``, ``worklet.js``, ``style.css`` and ``icon.svg``.
Serve it, or copy it and change the copy."""

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
    "settings_mismatch": ("differences",),
    "error": ("error",),
}

PAGE_EVENTS: Final = (*_FIELDS, "history_updated", "turn_ended")
"""The types of the events that the page shows: ``session.subscribe(*PAGE_EVENTS)``."""


class PageSession(Protocol):
    """The methods of `RealtimeSession` that the page asks for."""

    async def interrupt(self) -> None:
        """See `RealtimeSession.interrupt`."""

    async def send_message(self, message: UserInput) -> None:
        """See `RealtimeSession.send_message`."""

    async def approve_tool_call(self, call_id: str) -> bool:
        """See `RealtimeSession.approve_tool_call`."""
        ...

    async def reject_tool_call(self, call_id: str) -> bool:
        """See `RealtimeSession.reject_tool_call`."""
        ...


@attrs.define
class PageUpdates:
    """Makes the messages that bring one page up to date with its session. Make one for each session."""

    _items: dict[str, dict[str, object]] = attrs.field(factory=dict, init=False)
    """The items of the conversation, as the page has them."""

    def of(self, event: RealtimeSessionEvent) -> list[dict[str, object]]:
        """Return the messages for an event, to pass to `BrowserEndpoint.send`; none for one that changes nothing.

        The event is one of `PAGE_EVENTS`; any other raises `ValueError`.
        """
        if event.type == "history_updated":
            return self._changes(event.history)
        if event.type == "turn_ended":
            return [_turn(event.metrics)]
        if event.type not in _FIELDS:
            raise ValueError(f"event: expected one of the types in PAGE_EVENTS, got {event.type!r}")
        fields = {name: _plain(getattr(event, name)) for name in _FIELDS[event.type]}
        return [{"type": "event", "name": event.type, **fields}]

    def _changes(self, history: Sequence[RealtimeItem]) -> list[dict[str, object]]:
        changes: list[dict[str, object]] = []
        after = None
        now: dict[str, dict[str, object]] = {}
        for item in history:
            if not isinstance(item, UserMessageItem | AssistantMessageItem):
                continue
            cut_ms = next((part.heard_ms for part in item.content if isinstance(part, AssistantAudio)), None)
            line: dict[str, object] = {"role": item.role, "text": item.text, "heard_ms": cut_ms, "after": after}
            now[item.item_id] = line
            known = self._items.get(item.item_id)
            if known != line:
                # An image has come from the page, and goes back once, with the item that it has become.
                images = [part.image_url for part in item.content if isinstance(part, InputImage)]
                shown = {"images": images} if known is None and images else {}
                changes.append({"type": "item", "item_id": item.item_id, **line, **shown})
            after = item.item_id
        changes.extend({"type": "item_gone", "item_id": item_id} for item_id in self._items.keys() - now.keys())
        self._items = now
        return changes


async def obey_page(message: Mapping[str, Any], session: PageSession) -> None:
    """Do what a message of the page asks for: ``say`` and ``image`` interrupt the agent and send a message,
    ``interrupt`` interrupts, ``decide`` approves or rejects the call of a tool.

    Raises `ValueError` for any other message, and what the methods of the session raise.
    """
    match message:
        case {"type": "say", "text": str(text)} if text.strip():
            await session.interrupt()  # a user who types wants an answer now
            await session.send_message(text)
        case {"type": "image", "url": str(url), "text": str(text)}:
            if not url.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
                raise ValueError("image: expected PNG or JPEG as a data URI")
            words = [{"type": "input_text", "text": text}] if text.strip() else []
            content = [*words, {"type": "input_image", "image_url": url}]
            await session.interrupt()
            await session.send_message({"type": "message", "role": "user", "content": content})
        case {"type": "interrupt"}:
            await session.interrupt()
        case {"type": "decide", "call_id": str(call_id), "approve": bool(approve)}:
            decide = session.approve_tool_call if approve else session.reject_tool_call
            await decide(call_id)
        case _:
            allowed = "say, image, interrupt or decide, with its fields"
            raise ValueError(f"message: expected {allowed}, got {str(message)[:80]}")


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


def _plain(value: Any) -> object:
    """Return a value for JSON: tools and agents by their names, other objects as text."""
    return value if value is None or isinstance(value, str | int | float) else text_of(getattr(value, "name", value))
