"""The lines of ``trealtime talk``: what is printed of a session's events."""

from __future__ import annotations

import math
import statistics
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

from trealtime.events import RealtimeSessionEvent
from trealtime.items import AssistantMessageItem, RealtimeItem, UserMessageItem
from trealtime.metrics import TurnMetrics
from trealtime.terminal import shortened, text_of
from trealtime.usage import Cost, Usage

__all__ = ["EVENTS", "Answer", "Line", "Narrator", "Shown", "Tone", "Words"]

Tone = Literal["plain", "user", "agent", "tool", "quiet", "bad"]


@attrs.frozen
class Line:
    """A line to print."""

    text: str
    tone: Tone = "plain"


@attrs.frozen
class Words:
    """Words of the agent's answer, as they come."""

    text: str


@attrs.frozen
class Answer:
    """The end of an answer: its whole text, where its words have not been printed, and notes about it."""

    text: str
    notes: str = ""


Shown = Line | Words | Answer


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
    "turn_ended",
    "connection_lost",
    "reconnecting",
    "reconnected",
    "expires_soon",
    "rolled_over",
    "error",
)
"""The events that a narrator takes."""

_MOST_OUTPUT = 200

_PACKAGE = str(Path(__file__).parents[1])


def turn_figures(metrics: TurnMetrics) -> str | None:
    """Return the figures of a turn in a line; None where there are none."""
    figures = []
    if metrics.response_latency_s is not None:
        figures.append(f"{metrics.response_latency_s:.2f} s to the first sound")
    if metrics.heard_s:
        figures.append(f"{metrics.heard_s:.1f} s heard")
    figures += [f"{tool.name} {tool.duration_s:.2f} s" for tool in metrics.tools if tool.duration_s is not None]
    if metrics.usage is not None and metrics.usage.total_tokens:
        figures.append(f"{metrics.usage.total_tokens} tokens")
    if metrics.cost is not None:
        figures.append(f"cost {metrics.cost}")
    return f"turn {metrics.number}: {', '.join(figures)}" if figures else None


@attrs.define
class Narrator:
    """Make lines to print of a session's events, and keep the state between them. No Trio, no terminal.

    `plays` says whether a user hears the agent; speaking then lasts until `heard_all`.
    """

    plays: bool
    state: State = "listening"
    partial: str = ""
    """The words of the current answer so far."""

    busy_since: float = -math.inf
    """The time of the last event."""

    hears_user: bool = False
    """The user has begun to speak, and the server has not noticed the end yet."""

    turns: int = 0
    """The user's turns so far."""

    interrupts: int = 0
    """How often an answer was cut."""

    latencies_s: list[float] = attrs.Factory(list)
    """From the end of each turn to the first sound, or word, of its answer."""

    owes_answer: bool = False
    """The last turn of the user has no whole answer yet."""

    _asked_at: float | None = None
    _first_after_s: float | None = None
    _spoke: bool = False
    _held: str = ""
    _items: dict[str, RealtimeItem] = attrs.Factory(dict)
    _told: set[str] = attrs.Factory(set)

    def summary(self, usage: Usage, cost: Cost | None) -> str:
        """Return the conversation in a line."""
        parts = [_count(self.turns, "turn")]
        if self.latencies_s:
            what = "sound" if self.plays else "word"
            parts.append(f"{statistics.median(self.latencies_s):.2f} s to the first {what} (median)")
        parts.append(_count(self.interrupts, "interrupt"))
        if usage.total_tokens:
            parts.append(f"{usage.total_tokens} tokens")
        if cost is not None:
            parts.append(f"cost {cost}")
        return f"{', '.join(parts)}."

    def asked(self, now: float) -> None:
        """Note that the user has typed a turn."""
        self._begin_turn(now)

    def heard_all(self, now: float) -> None:
        """Note that the agent has been heard to the end."""
        if self.state == "speaking":
            self.state = "listening"
            self.busy_since = now

    def tell(self, event: RealtimeSessionEvent, now: float) -> list[Shown]:
        """Return what to print for `event`, which came at `now`."""
        self.busy_since = now
        return list(self._lines(event, now))

    def _lines(self, event: RealtimeSessionEvent, now: float) -> Iterator[Shown]:
        match event.type:
            case "speech_started":
                self.state = "listening"
                self.hears_user = True
            case "speech_stopped":
                self.hears_user = False
                self._begin_turn(now)
            case "history_added":
                self._items[event.item.item_id] = event.item
                yield from self._user_lines()
            case "history_updated":
                self._items = {item.item_id: item for item in event.history}
                yield from self._user_lines()
            case "agent_start":
                self.partial = self._held = ""
                self._spoke = False
                if self._asked_at is None:
                    self._begin_to_think(now)
            case "audio":
                self._speak(now)
                if self._held:
                    held, self._held = self._held, ""
                    yield Words(held)
            case "transcript_delta" if event.role == "assistant":
                self.partial += event.delta
                if self._spoke:
                    yield Words(event.delta)
                else:  # its words come before its sound
                    self._held += event.delta
            case "text_delta":
                self.partial += event.delta
                self._speak(now)
                yield Words(event.delta)
            case "agent_end":
                yield from self._answer_lines(event.item_ids, event.status)
            case "audio_interrupted":
                self.state = "listening"
                self.interrupts += 1
                yield Line(f"  [interrupted: {event.heard_ms / 1000:.2f} s were heard]", "quiet")
            case "tool_start":
                yield Line(f"tool: {event.tool.name}({event.arguments})", "tool")
            case "tool_end":
                yield Line(f"tool: {event.tool.name} -> {shortened(text_of(event.output), _MOST_OUTPUT)}", "tool")
            case "tool_approval_required":
                yield Line(f"approval needed: {event.tool.name}({event.arguments})", "tool")
            case "tool_approval_dropped":
                yield Line(f"approval of {event.tool.name} no longer needed: {event.reason}", "tool")
            case "handoff":
                yield Line(f"handoff: {event.from_agent.name} -> {event.to_agent.name}", "tool")
            case "guardrail_tripped":
                yield Line(f"guardrail: stopped {event.message!r}", "bad")
            case "error":
                yield Line(f"error: {getattr(event.error, 'message', event.error)}", "bad")
                if isinstance(event.error, BaseException) and event.error.__cause__ is not None:
                    yield Line(f"  {_where(event.error.__cause__)}", "bad")
            case "connection_lost":
                yield Line(f"The connection is lost ({event.reason or event.code}): dialling again.", "bad")
            case "reconnecting" if event.attempt > 1:
                yield Line(f"  attempt {event.attempt} in {event.delay_s:.1f} s", "quiet")
            case "reconnected":
                yield Line(f"Connected again after {event.outage_ms / 1000:.1f} s.", "quiet")
            case "expires_soon":
                yield Line(f"The server ends this connection in {event.in_s:.0f} s.", "quiet")
            case "rolled_over":
                yield Line("Another connection has taken over.", "quiet")
            case "turn_ended":
                if (figures := turn_figures(event.metrics)) is not None:
                    yield Line(f"  {figures}", "quiet")
            case _:
                pass

    def _begin_turn(self, now: float) -> None:
        self.turns += 1
        self.owes_answer = True
        self._begin_to_think(now)

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
                self.latencies_s.append(self._first_after_s)
                self._asked_at = None

    def _user_lines(self) -> Iterator[Shown]:
        for item in self._items.values():
            if isinstance(item, UserMessageItem) and item.text and item.item_id not in self._told:
                self._told.add(item.item_id)
                yield Line(f"you: {item.text}", "user")

    def _answer_lines(self, item_ids: tuple[str, ...], status: str) -> Iterator[Shown]:
        notes = [] if status == "completed" else [status]
        if self._first_after_s is not None:
            notes.append(f"first {'audio' if self.plays else 'word'} after {self._first_after_s:.2f} s")
            self._first_after_s = None
        said = [item for item_id in item_ids if isinstance(item := self._items.get(item_id), AssistantMessageItem)]
        words = " ".join(item.text for item in said if item.text)
        if status == "cancelled" and not self.plays:  # with sound, `audio_interrupted` counts it
            self.interrupts += 1
        if said or status != "completed":
            yield Answer(words or "...", f"  ({', '.join(notes)})" if notes else "")
        self.partial = ""
        calls = any(getattr(self._items.get(item_id), "type", None) == "function_call" for item_id in item_ids)
        if status != "cancelled" and not calls:
            self.owes_answer = False
        read = self.state == "speaking" and not self.plays
        given_up = self.state == "thinking" and status != "completed"
        if read or given_up:
            self.state = "listening"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _where(error: BaseException) -> str:
    """Return the error of a user's callable with the place in their code where it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_PACKAGE)]
    place = f" ({frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {text_of(error)}{place}"
