"""The lanes of a timeline: which bar, wave and label lies where.

Theory of operation
1. A `Layout` gives every lane its place, once for a call. A drawing is cut into windows of time (tiles of the page,
   rows of a picture); `Lanes.window` draws what touches one, at its own x, so that neighbours fit together.
2. An element that goes over the edge of a window is drawn in both, and each shows its half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import attrs

from trealtime.timeline.model import SLOT_S, Call, Response, Speech, ToolCall, Turn
from trealtime.timeline.nearby import Nearby
from trealtime.timeline.svg import clean, element, pill, rect, text, text_width, waveform, wrapped

__all__ = ["Lanes", "Layout", "milliseconds", "seconds"]

T = TypeVar("T")

SLOW_ANSWER_S: Final = 1.5
SLOW_SILENCE_S: Final = 0.3

_WAVE: Final = 20.0
_LINE: Final = 15.0
_ROW: Final = 20.0
_WORDS: Final = 3
_LABEL: Final = 400.0
_TIME_STEPS: Final = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600)


def milliseconds(value: float) -> str:
    """A time as a label: ``820 ms``, or ``2.1 s`` from two seconds on."""
    return f"{value * 1000:.0f} ms" if abs(value) < 2 else f"{value:.1f} s"


def seconds(value: float) -> str:
    """A moment of the call: ``7.25 s``, ``1:07.3``."""
    return f"{value:.2f} s" if value < 60 else f"{int(value // 60)}:{value % 60:04.1f}"


@attrs.frozen
class Layout:
    """The top of each lane, in pixels. `tool_rows` lie below one another, so that parallel calls are seen."""

    has_voice: bool
    """The user speaks; else the lane has room for written words alone."""

    tool_rows: int
    has_checks: bool
    has_marks: bool

    turns: float = 20.0
    connections: float = 44.0
    agents: float = 54.0
    user: float = 80.0

    @property
    def gaps(self) -> float:
        return self.user + (2 * _WAVE if self.has_voice else 8) + _WORDS * _LINE + 4

    @property
    def agent(self) -> float:
        return self.gaps + 40

    @property
    def responses(self) -> float:
        return self.agent + 8 + 2 * _WAVE + _WORDS * _LINE + 10

    @property
    def tools(self) -> float:
        return self.responses + _ROW + 6

    @property
    def checks(self) -> float:
        return self.tools + self.tool_rows * _ROW + (6 if self.tool_rows else 0)

    @property
    def marks(self) -> float:
        return self.checks + (_ROW + 6 if self.has_checks else 0)

    @property
    def height(self) -> float:
        return self.marks + (_ROW + 6 if self.has_marks else 0) + 2

    def labels(self) -> list[tuple[str, float]]:
        """The names of the lanes, and their base lines."""
        found = [
            ("Turns", self.turns + 15),
            ("Agent", self.agents + 14),
            ("User", self.user + (_WAVE + 4 if self.has_voice else 16)),
            ("Gaps", self.gaps + 15),
            ("Speech", self.agent + 8 + _WAVE + 4),
            ("Responses", self.responses + 13),
        ]
        if self.tool_rows:
            found.append(("Tools", self.tools + 13))
        if self.has_checks:
            found.append(("Checks", self.checks + 13))
        if self.has_marks:
            found.append(("Events", self.marks + 13))
        return found


class Lanes:
    """The drawing of one call at a scale of `scale` pixels a second."""

    def __init__(
        self, call: Call, scale: float, *, slow_s: float = SLOW_ANSWER_S, slow_silence_s: float = SLOW_SILENCE_S
    ) -> None:
        self.call = call
        self.scale = scale
        self.slow_s = slow_s
        self.slow_silence_s = slow_silence_s
        tool_rows = _rows(call.tools, self._tool_span, scale)
        marks = [mark for mark in call.marks if mark.kind in ("error", "note")]
        self.layout = Layout(
            has_voice=any(call.levels) or any(not each.written for each in call.utterances),
            tool_rows=max(tool_rows.values(), default=-1) + 1,
            has_checks=bool(call.approvals) or any(mark.kind == "guardrail" for mark in call.marks),
            has_marks=bool(marks),
        )
        # A label may go beyond its bar.
        beyond_s = _LABEL / scale
        call_ends_s = call.duration_s
        self.turns = Nearby.of((each, each.start_s, each.end_s + beyond_s) for each in call.turns)
        waits = sorted(call.turns, key=lambda each: _gap_span(each, 0.0)[0])
        next_waits = _nexts([_gap_span(each, 0.0)[0] for each in waits])
        self.gaps = Nearby.of((each, *_gap_span(each[0], beyond_s)) for each in zip(waits, next_waits, strict=True))
        self.connections = Nearby.of((each, each.start_s, each.end_s + beyond_s) for each in call.connections)
        self.reigns = Nearby.of(
            ((number, each), each.start_s, each.end_s + beyond_s) for number, each in enumerate(call.reigns)
        )
        said = zip(call.utterances, _nexts([each.start_s for each in call.utterances]), strict=True)
        self.utterances = Nearby.of((each, each[0].start_s, each[0].end_s + 4 + beyond_s) for each in said)
        heard = sorted((each for each in call.speeches if _begin(each) is not None), key=lambda each: _begin(each) or 0)
        spoken = zip(heard, _nexts([_begin(each) or 0.0 for each in heard]), strict=True)
        self.speeches = Nearby.of((each, _begin(each[0]) or 0.0, _end(each[0]) + 4 + beyond_s) for each in spoken)
        self.received = Nearby.of((each, *each.received_s) for each in call.speeches)
        self.heard = Nearby.of((each, each[0], each[0] + len(each[1]) * SLOT_S) for each in _heard_levels(call))
        self.responses: Nearby[tuple[Response, float | None]] = Nearby()
        for number, each in enumerate(call.responses):
            following = call.responses[number + 1].created_s if number + 1 < len(call.responses) else None
            begin_s = min(each.created_s, each.created_s if each.requested_s is None else each.requested_s)
            self.responses.add((each, following), begin_s, (each.done_s or call_ends_s) + beyond_s)
        self.tools = Nearby.of(
            ((tool, row), tool.called_s, self._tool_span(tool)[1] + beyond_s) for tool, row in tool_rows.items()
        )
        self.approvals = Nearby.of(
            (each, each.asked_s, (each.decided_s or call_ends_s) + beyond_s) for each in call.approvals
        )
        guardrails = (mark for mark in call.marks if mark.kind == "guardrail")
        self.guardrails = Nearby.of((each, each.at_s, each.at_s + beyond_s) for each in guardrails)
        events = zip(marks, _nexts([mark.at_s for mark in marks]), strict=True)
        self.marks = Nearby.of((each, each[0].at_s, each[0].at_s + beyond_s) for each in events)

    def is_slow(self, turn: Turn) -> bool:
        """Whether the user waited too long for the answer, or the agent talked on for too long."""
        return turn.is_slow(slow_s=self.slow_s, slow_silence_s=self.slow_silence_s)

    def window(self, start_s: float, end_s: float, x: float = 0.0) -> str:
        """Return the drawing of this stretch of time, which begins at `x`."""
        draw = _Window(self, start_s, end_s, x)
        parts = [
            *draw.grid(),
            *draw.turns(),
            *draw.connections(),
            *draw.agents(),
            *draw.user(),
            *draw.speeches(),
            *draw.gaps(),
            *draw.responses(),
            *draw.tools(),
            *draw.checks(),
            *draw.marks(),
        ]
        return "".join(parts)

    def _tool_span(self, call: ToolCall) -> tuple[float, float]:
        return call.called_s, call.ended_s if call.ended_s is not None else self.call.duration_s


@attrs.frozen
class _Window:
    lanes: Lanes
    start_s: float
    end_s: float
    left: float

    @property
    def call(self) -> Call:
        return self.lanes.call

    @property
    def layout(self) -> Layout:
        return self.lanes.layout

    @property
    def scale(self) -> float:
        return self.lanes.scale

    def x(self, at_s: float) -> float:
        return self.left + (at_s - self.start_s) * self.scale

    def near(self, things: Nearby[T]) -> list[T]:
        """Return the things that may be seen here."""
        return things.between(self.start_s, self.end_s)

    def touches(self, begin_s: float, end_s: float, extra: float = 0.0) -> bool:
        """Whether something from `begin_s` to `end_s`, and `extra` pixels beyond, is seen here."""
        return begin_s <= self.end_s and end_s + extra / self.scale >= self.start_s

    # ---- time and turns ------------------------------------------------------------------------------------------

    def grid(self) -> Iterator[str]:
        step = next((each for each in _TIME_STEPS if each * self.scale >= 70), _TIME_STEPS[-1])
        number = int(self.start_s // step)
        while (at_s := number * step) <= min(self.end_s, self.call.duration_s):
            if at_s >= self.start_s - step:
                x = self.x(at_s)
                yield element("line", class_="grid", x1=x, y1=16.0, x2=x, y2=self.layout.height)
                label = f"{at_s:g} s" if at_s < 60 else f"{int(at_s // 60)}:{at_s % 60:04.1f}".removesuffix(".0")
                yield text(x + 3, 12, label, "axis")
            number += 1

    def turns(self) -> Iterator[str]:
        y = self.layout.turns
        for turn in self.near(self.lanes.turns):
            if not self.touches(turn.start_s, turn.end_s, 60):
                continue
            slow = self.lanes.is_slow(turn)
            kind = f"turn {'slow' if slow else 'bad' if turn.status in ('failed', 'unanswered') else ''}".strip()
            width = max((turn.end_s - turn.start_s) * self.scale - 2, 14.0)
            words = f"Turn {turn.number}, {turn.source}, {turn.status}"
            if turn.response_latency_s is not None:
                words += f", answer heard after {milliseconds(turn.response_latency_s)}"
            label = f"{turn.number} {turn.status}{' · slow' if slow else ''}"
            if text_width(label, 11) + 8 > width:
                label = str(turn.number)
            inside = rect(self.x(turn.start_s), y, width, 18, kind, words) + text(
                self.x(turn.start_s) + 4, y + 13, label, "small"
            )
            yield element("g", inside, class_="play", data_turn=str(turn.number))

    def connections(self) -> Iterator[str]:
        y = self.layout.connections
        for each in self.near(self.lanes.connections):
            if not self.touches(each.start_s, each.end_s, 200):
                continue
            kind = "wire" if each.clean else "wire lost"
            title = f"Connection {each.number}: {seconds(each.start_s)} to {seconds(each.end_s)} {each.end}"
            yield rect(self.x(each.start_s), y, (each.end_s - each.start_s) * self.scale, 5, kind, title, 2)
            if not each.clean:
                yield rect(self.x(each.end_s) - 1, y - 3, 3, 11, "cut", title, 1)
                yield text(self.x(each.end_s) + 6, y + 6, each.end[:60], "small bad")

    def agents(self) -> Iterator[str]:
        y = self.layout.agents
        for number, reign in self.near(self.lanes.reigns):
            if not self.touches(reign.start_s, reign.end_s, 100):
                continue
            width = (reign.end_s - reign.start_s) * self.scale
            title = f"{reign.agent} is in charge from {seconds(reign.start_s)} to {seconds(reign.end_s)}"
            yield rect(self.x(reign.start_s), y, width, 18, "reign odd" if number % 2 else "reign", title)
            name = wrapped(reign.agent, width - 8, 1, 11)
            if name and width > 24:
                begin = self.x(reign.start_s) + (9 if number else 0)
                yield text(max(begin, self.left) + 5, y + 13, name[0], "small strong")
            if number:
                x = self.x(reign.start_s)
                yield element("path", class_="handoff", d=f"M{x:.1f} {y - 2:.1f}l7 11l-7 11z")

    # ---- what is said --------------------------------------------------------------------------------------------

    def user(self) -> Iterator[str]:
        y, middle = self.layout.user, self.layout.user + _WAVE
        said = self.near(self.lanes.utterances)
        for each, _ in said:
            if not each.written and self.touches(each.start_s, each.end_s):
                title = f"User, {seconds(each.start_s)}: {each.words or '(not transcribed)'}"
                width = (each.end_s - each.start_s) * self.scale
                yield rect(self.x(each.start_s), y, width, 2 * _WAVE, "utterance", title)
        yield from self._levels(self.call.levels, 0.0, middle, "user")
        for each, next_s in said:
            # Words may go on beyond their sound, up to the next ones.
            room = (min(next_s, max(each.end_s, each.start_s + 4)) - each.start_s) * self.scale - 8
            if not self.touches(each.start_s, each.end_s, max(room, 20)):
                continue
            x = self.x(each.start_s)
            title = f"User, {seconds(each.start_s)}: {each.words or '(not transcribed)'}"
            if each.written:
                lines = wrapped(each.words, max(room - 12, 30), _WORDS)
                width = max((text_width(line) for line in lines), default=20.0) + 14
                yield rect(x, y + 2, min(width, max(room, 40)), len(lines) * _LINE + 6, "message", title)
                yield from (text(x + 7, y + 16 + number * _LINE, line) for number, line in enumerate(lines))
                continue
            for number, line in enumerate(wrapped(each.words, max(room, 30), _WORDS)):
                yield text(x + 2, y + 2 * _WAVE + 13 + number * _LINE, line)

    def _levels(self, levels: bytes, begin_s: float, middle: float, kind: str) -> Iterator[str]:
        """Draw the part of the levels, which begin at `begin_s`, that is seen here."""
        every = max(1, round(1.2 / (SLOT_S * self.scale)))
        first = max(0, int((self.start_s - begin_s) / SLOT_S) - every)
        first -= first % every
        last = int((self.end_s - begin_s) / SLOT_S) + every + 1
        seen = levels[first:last]
        if every > 1:
            seen = bytes(max(seen[index : index + every]) for index in range(0, len(seen), every))
        wave = waveform(
            seen, self.x(begin_s + first * SLOT_S), SLOT_S * every * self.scale, middle, _WAVE - 1, f"wave {kind}"
        )
        if wave:
            yield wave

    def speeches(self) -> Iterator[str]:
        y = self.layout.agent
        for speech in self.near(self.lanes.received):
            first_s, last_s = speech.received_s
            if self.touches(first_s, last_s):
                title = f"{speech.received_ms / 1000:.2f} s of speech received, {seconds(first_s)} to {seconds(last_s)}"
                yield rect(self.x(first_s), y, (last_s - first_s) * self.scale, 5, "received", title, 2)
        speeches = self.near(self.lanes.speeches)
        for speech, next_s in speeches:
            yield from self._behind(speech, next_s)
        for begin_s, levels in self.near(self.lanes.heard):
            if self.touches(begin_s, begin_s + len(levels) * SLOT_S):
                yield from self._levels(levels, begin_s, y + 8 + _WAVE, "agent")
        for speech, next_s in speeches:
            yield from self._speech(speech, next_s)

    def _behind(self, speech: Speech, next_s: float) -> Iterator[str]:
        """Draw what lies behind the waves: where it was heard, and where it would have been."""
        y, middle = self.layout.agent + 8, self.layout.agent + 8 + _WAVE
        begin_s = _begin(speech) or 0.0
        end_s = max((span.end_s for span in speech.heard), default=begin_s)
        purged_s = speech.purged_ms / 1000
        if not self.touches(begin_s, end_s + purged_s):
            return
        for span in speech.heard:
            title = f"heard, {seconds(span.start_s)} to {seconds(span.end_s)}: {speech.words}"
            yield rect(self.x(span.start_s), y, (span.end_s - span.start_s) * self.scale, 2 * _WAVE, "span", title)
        if purged_s > 0:
            title = f"{purged_s:.2f} s had come and were never heard"
            shown_s = max(0.1, min(purged_s, next_s - end_s))  # the next answer takes its place
            yield rect(self.x(end_s), y, shown_s * self.scale, 2 * _WAVE, "purged", title)
            first, last = (round(at / SLOT_S) for at in (speech.heard_ms / 1000, speech.heard_ms / 1000 + shown_s))
            yield from self._levels(speech.levels[first:last], end_s, middle, "unheard")
        elif not any(speech.levels):
            title = "heard; its sound is not in the recording"
            yield rect(self.x(begin_s), middle - 3, (end_s - begin_s) * self.scale, 6, "agent", title)

    def _speech(self, speech: Speech, next_s: float) -> Iterator[str]:
        y = self.layout.agent + 8
        begin_s = _begin(speech) or 0.0
        end_s = max((span.end_s for span in speech.heard), default=begin_s)
        purged_s = speech.purged_ms / 1000
        cut = speech.interrupt
        room = (min(next_s, max(end_s + purged_s, begin_s + 4)) - begin_s) * self.scale - 8
        if not self.touches(begin_s, end_s + purged_s, max(room, 120)):
            return
        if cut is not None:
            x = self.x(end_s)
            title = f"cut by {cut.cause} at {seconds(cut.at_s)}, heard {cut.heard_ms / 1000:.2f} s"
            yield rect(x - 1, y - 4, 2.5, 2 * _WAVE + 8, "cut", title, 1)
            yield text(x + 6, y + 11, f"cut by {cut.cause}", "small bad halo")
        narrow = room < 110  # its words go below those of its neighbours
        top = y + 2 * _WAVE + 13 + ((_WORDS - 1) * _LINE if narrow else 0)
        lines = wrapped(speech.words, 4 * self.scale if narrow else room, 1 if narrow else _WORDS - 1)
        yield from self._words(speech, lines, self.x(begin_s) + 2, top)

    def _words(self, speech: Speech, lines: Sequence[str], x: float, y: float) -> Iterator[str]:
        """Write the words, pale where the user heard them no more: by their share of the sound, an estimate."""
        share = 1.0
        if speech.interrupt is not None and speech.received_ms:
            share = speech.heard_ms / speech.received_ms
        left = round(len(speech.words) * share)
        for number, line in enumerate(lines):
            heard, unheard = line[: max(left, 0)], line[max(left, 0) :]
            left -= len(line) + 1
            rest = element("tspan", clean(unheard), class_="unheard") if unheard else ""
            yield element("text", clean(heard) + rest, x=x, y=y + number * _LINE)

    # ---- gaps ----------------------------------------------------------------------------------------------------

    def gaps(self) -> Iterator[str]:
        y = self.layout.gaps
        for turn, next_s in self.near(self.lanes.gaps):
            if turn.answer_from_s is not None and turn.first_heard_s is not None:
                words = "end of speech to first sound" if turn.speech_ended_s is not None else "request to first sound"
                slow = turn.first_heard_s - turn.answer_from_s > self.lanes.slow_s
                kind = "gap slow" if slow else "gap"
                yield from self._gap(turn.answer_from_s, turn.first_heard_s, y + 4, words, kind, next_s)
            if turn.onset_s is not None and turn.silent_s is not None:
                words = "onset of speech to silence" if turn.interrupted_by == "speech" else "interrupt to silence"
                yield from self._gap(turn.onset_s, turn.silent_s, y + 20, words, "gap stop")

    def _gap(
        self, begin_s: float, end_s: float, y: float, words: str, kind: str, next_s: float = math.inf
    ) -> Iterator[str]:
        label = milliseconds(end_s - begin_s)
        if not self.touches(min(begin_s, end_s), max(begin_s, end_s), 90):
            return
        x, until = self.x(begin_s), self.x(end_s)
        path = f"M{x:.1f} {y:.1f}v10M{x:.1f} {y + 5:.1f}H{until:.1f}M{until:.1f} {y:.1f}v10"
        yield element("path", element("title", clean(f"{words}: {label}")), class_=kind, d=path)
        inside = until - x > text_width(label, 11) + 10
        at = (x + until) / 2 if inside else max(x, until) + 5
        if not inside and self.x(next_s) < at + text_width(label, 11) + 8:  # there is more room before it
            yield text(min(x, until) - 5, y + 9, label, f"{kind} label", "end")
            return
        if inside:
            yield rect(at - text_width(label, 11) / 2 - 3, y - 2, text_width(label, 11) + 6, 14, "paper")
        yield text(at, y + 9, label, f"{kind} label", "middle" if inside else None)

    # ---- what is done --------------------------------------------------------------------------------------------

    def responses(self) -> Iterator[str]:
        y = self.layout.responses
        for each, following in self.near(self.lanes.responses):
            end_s = each.done_s if each.done_s is not None else self.call.duration_s
            begin_s = each.requested_s if each.requested_s is not None else each.created_s
            if not self.touches(begin_s, end_s, 130):
                continue
            if each.requested_s is not None:
                x, until = self.x(each.requested_s), self.x(each.created_s)
                yield element("path", class_="asked", d=f"M{x:.1f} {y + 8:.1f}H{until:.1f}")
            kind = (
                f"response {each.status if each.status in ('completed', 'cancelled', 'failed', 'incomplete') else ''}"
            )
            label = each.status if each.status != "completed" else "✓"
            room = ((following - end_s) * self.scale) if following is not None else 200.0
            width = (end_s - each.created_s) * self.scale
            if text_width(label, 11) + 8 > width and text_width(label, 11) + 6 > room:
                label = ""
            title = f"{each.response_id}: {each.agent}, {each.status} {each.reason}, {seconds(each.created_s)}"
            title += f" to {seconds(end_s)}"
            yield pill(self.x(each.created_s), y, width, kind, label, title)

    def tools(self) -> Iterator[str]:
        for call, row in self.near(self.lanes.tools):
            end_s = call.ended_s if call.ended_s is not None else self.call.duration_s
            label = f"{call.name} {milliseconds(end_s - call.called_s)}"
            if call.status not in ("completed", ""):
                label += f" · {call.status.replace('_', ' ')}"
            if not self.touches(call.called_s, end_s, text_width(label, 11) + 10):
                continue
            kind = "tool" if call.status in ("completed", "") else "tool failed"
            title = f"{call.agent}: {call.name}({call.arguments}) = {call.output}"
            y = self.layout.tools + row * _ROW
            yield pill(self.x(call.called_s), y, (end_s - call.called_s) * self.scale, kind, label, title[:1000])
            if call.started_s is not None and call.started_s - call.called_s > 0.05:
                # Until then it waited, for an approval or for its turn.
                yield rect(
                    self.x(call.called_s), y + 13, (call.started_s - call.called_s) * self.scale, 3, "waits", "", 1
                )

    def checks(self) -> Iterator[str]:
        y = self.layout.checks
        for each in self.near(self.lanes.approvals):
            end_s = each.decided_s if each.decided_s is not None else self.call.duration_s
            label = f"{each.outcome or 'waits'} · {each.name}"
            if self.touches(each.asked_s, end_s, text_width(label, 11) + 10):
                kind = "approval" if each.outcome in ("approved", "") else "approval failed"
                title = f"approval of {each.name}: {each.outcome} after {milliseconds(end_s - each.asked_s)}"
                yield pill(self.x(each.asked_s), y, (end_s - each.asked_s) * self.scale, kind, label, title)
        for mark in self.near(self.lanes.guardrails):
            if self.touches(mark.at_s, mark.at_s, 260):
                x = self.x(mark.at_s)
                yield element(
                    "path",
                    element("title", clean(f"{mark.title}: {mark.detail}")),
                    class_="guardrail",
                    d=f"M{x:.1f} {y - 1:.1f}l8 9l-8 9l-8 -9z",
                )
                yield text(x + 11, y + 12, mark.title[:60], "small bad")

    def marks(self) -> Iterator[str]:
        y = self.layout.marks
        for mark, next_s in self.near(self.lanes.marks):
            if self.touches(mark.at_s, mark.at_s, 300):
                x = self.x(mark.at_s)
                kind = "bad" if mark.kind == "error" else ""
                title = element("title", clean(f"{seconds(mark.at_s)}: {mark.title} {mark.detail}"))
                yield element("circle", title, class_=f"dot {kind}".strip(), cx=x, cy=y + 8, r=4.0)
                room = min((next_s - mark.at_s) * self.scale - 12, 300.0)
                if room > 30:
                    yield from (text(x + 8, y + 12, line, f"small {kind}") for line in wrapped(mark.title, room, 1, 11))


def _begin(speech: Speech) -> float | None:
    """Return where the speech stands on the line of time: where it was heard, or was cut before that."""
    if speech.heard:
        return speech.heard[0].start_s
    return speech.interrupt.at_s if speech.interrupt is not None and speech.received_ms else None


def _end(speech: Speech) -> float:
    """Return where its last sound stands, also that which was never heard."""
    return max((span.end_s for span in speech.heard), default=_begin(speech) or 0.0) + speech.purged_ms / 1000


def _gap_span(turn: Turn, beyond_s: float) -> tuple[float, float]:
    """Return the time in which the gaps of a turn lie, with their labels."""
    times = [turn.answer_from_s, turn.first_heard_s, turn.onset_s, turn.silent_s]
    known = [each for each in times if each is not None] or [turn.start_s]
    return min(known), max(known) + beyond_s


def _heard_levels(call: Call) -> Iterator[tuple[float, bytes]]:
    for speech in call.speeches:
        for span in speech.heard:
            begin, end = (round(ms / 1000 / SLOT_S) for ms in (span.from_ms, span.to_ms))
            yield span.start_s, speech.levels[begin:end]


def _nexts(starts: Sequence[float]) -> list[float]:
    """Return for each of these moments, which are in order, the first one after it."""
    found: list[float] = []
    later = float("inf")
    for index in range(len(starts) - 1, -1, -1):
        if index + 1 < len(starts) and starts[index + 1] > starts[index]:
            later = starts[index + 1]
        found.append(later)
    return found[::-1]


def _rows(
    calls: Sequence[ToolCall], span: Callable[[ToolCall], tuple[float, float]], scale: float
) -> dict[ToolCall, int]:
    """Put each call, and its label, into the first row in which it meets no other."""
    free_from: list[float] = []
    rows: dict[ToolCall, int] = {}
    for call in sorted(calls, key=lambda each: each.called_s):
        begin_s, end_s = span(call)
        label_s = (text_width(f"{call.name} 00000 ms · {call.status}", 11) + 14) / scale
        width_s = end_s - begin_s if label_s <= end_s - begin_s else end_s - begin_s + label_s
        row = next((index for index, free in enumerate(free_from) if free <= begin_s), len(free_from))
        if row == len(free_from):
            if row == 12:  # a wall of calls is drawn on itself
                row = 11
            else:
                free_from.append(0.0)
        free_from[row] = begin_s + width_s
        rows[call] = row
    return rows
