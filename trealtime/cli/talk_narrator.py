"""What ``trealtime talk`` tells of a session: its events as lines, and the state between them. No Trio, no terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import attrs

from trealtime.events import RealtimeSessionEvent
from trealtime.items import AssistantMessageItem, RealtimeItem, UserMessageItem

__all__ = ["EVENTS", "Narrator", "State"]

State = Literal["listening", "thinking", "speaking"]

EVENTS = (
    "speech_started",
    "speech_stopped",
    "history_added",
    "history_updated",
    "agent_start",
    "agent_end",
    "audio",
    "audio_interrupted",
    "transcript_delta",
    "text_delta",
    "tool_start",
    "tool_end",
    "tool_approval_required",
    "tool_approval_dropped",
    "handoff",
    "guardrail_tripped",
    "error",
)
"""What a narrator wants to hear of."""

_MOST_OUTPUT = 200


@attrs.define
class Narrator:
    """Give it every event, with the time; it gives the lines to print, and keeps the state.

    `plays` says whether somebody hears the agent: speaking then lasts until `heard_all`.
    """

    plays: bool
    state: State = "listening"
    partial: str = ""
    """What the agent has said of the answer under way."""
    busy_since: float = -math.inf
    """When something happened last."""
    hears_user: bool = False
    """The user has begun to speak, and the server does not know yet that they have ended."""

    _asked_at: float | None = None
    _first_after_s: float | None = None
    _spoke: bool = False
    _items: dict[str, RealtimeItem] = attrs.Factory(dict)
    _told: set[str] = attrs.Factory(set)

    def asked(self, now: float) -> None:
        """The user has typed a turn."""
        self._begin_to_think(now)

    def heard_all(self, now: float) -> None:
        """The agent has been heard to the end."""
        if self.state == "speaking":
            self.state = "listening"
            self.busy_since = now

    def tell(self, event: RealtimeSessionEvent, now: float) -> list[str]:
        """The lines for `event`, which came at `now`."""
        self.busy_since = now
        return list(self._lines(event, now))

    def _lines(self, event: RealtimeSessionEvent, now: float) -> Iterator[str]:
        match event.type:
            case "speech_started":
                self.state = "listening"
                self.hears_user = True
            case "speech_stopped":
                self.hears_user = False
                self._begin_to_think(now)
            case "history_added":
                self._items[event.item.item_id] = event.item
                yield from self._user_lines()
            case "history_updated":
                self._items = {item.item_id: item for item in event.history}
                yield from self._user_lines()
            case "agent_start":
                self.partial = ""
                self._spoke = False
                if self._asked_at is None:
                    self._begin_to_think(now)
            case "audio":
                self._speak(now)
            case "transcript_delta" if event.role == "assistant":
                self.partial += event.delta
            case "text_delta":
                self.partial += event.delta
                self._speak(now)
            case "agent_end":
                yield from self._answer_lines(event.item_ids, event.status)
            case "audio_interrupted":
                self.state = "listening"
                yield f"  [interrupted: {event.heard_ms / 1000:.2f} s were heard]"
            case "tool_start":
                yield f"tool: {event.tool.name}({event.arguments})"
            case "tool_end":
                yield f"tool: {event.tool.name} -> {_short(str(event.output))}"
            case "tool_approval_required":
                yield f"approval needed: {event.tool.name}({event.arguments})"
            case "tool_approval_dropped":
                yield f"approval of {event.tool.name} no longer needed: {event.reason}"
            case "handoff":
                yield f"handoff: {event.from_agent.name} -> {event.to_agent.name}"
            case "guardrail_tripped":
                yield f"guardrail: stopped {event.message!r}"
            case "error":
                yield f"error: {getattr(event.error, 'message', event.error)}"
            case _:
                pass

    def _begin_to_think(self, now: float) -> None:
        self.state = "thinking"
        self._asked_at = now
        self._first_after_s = None

    def _speak(self, now: float) -> None:
        if not self._spoke:
            self._spoke = True
            self.state = "speaking"
            if self._asked_at is not None:
                self._first_after_s = now - self._asked_at
                self._asked_at = None

    def _user_lines(self) -> Iterator[str]:
        for item in self._items.values():
            if isinstance(item, UserMessageItem) and item.text and item.item_id not in self._told:
                self._told.add(item.item_id)
                yield f"you: {item.text}"

    def _answer_lines(self, item_ids: tuple[str, ...], status: str) -> Iterator[str]:
        notes = [] if status == "completed" else [status]
        if self._first_after_s is not None:
            notes.append(f"first {'audio' if self.plays else 'word'} after {self._first_after_s:.2f} s")
            self._first_after_s = None
        said = [item for item_id in item_ids if isinstance(item := self._items.get(item_id), AssistantMessageItem)]
        words = " ".join(item.text for item in said if item.text)
        if said or status != "completed":
            noted = f"  ({', '.join(notes)})" if notes else ""
            yield f"agent: {words or '...'}{noted}"
        self.partial = ""
        read = self.state == "speaking" and not self.plays
        given_up = self.state == "thinking" and status != "completed"
        if read or given_up:
            self.state = "listening"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_OUTPUT else f"{text[: _MOST_OUTPUT - 3]}..."
