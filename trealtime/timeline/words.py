"""A timeline in words: for a terminal, and for readers who hear the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from trealtime.terminal import printable
from trealtime.timeline.lanes import milliseconds, seconds
from trealtime.timeline.model import Call

__all__ = ["Moment", "moments", "text_timeline"]

_MOST_LINES: Final = 5_000


@attrs.frozen
class Moment:
    """Something that happened: `who` is ``"user"``, ``"agent"`` or ``"*"``."""

    at_s: float
    who: str
    words: str


def moments(call: Call) -> list[Moment]:
    """Return what happened in the call, in order."""
    return sorted(_moments(call), key=lambda each: each.at_s)[:_MOST_LINES]


def _moments(call: Call) -> Iterator[Moment]:
    for said in call.utterances:
        verb = "writes" if said.written else f"says, for {milliseconds(said.end_s - said.start_s)}"
        yield Moment(said.start_s, "user", f"{verb}: {said.words or '(not transcribed)'}")
    for speech in call.speeches:
        begin_s = speech.heard[0].start_s if speech.heard else speech.received_s[0]
        heard = f"heard {speech.heard_ms / 1000:.2f} of {speech.received_ms / 1000:.2f} s"
        yield Moment(begin_s, "agent", f"{speech.agent}: {speech.words or '(no words)'} ({heard})")
        if speech.interrupt is not None:
            cut = speech.interrupt
            yield Moment(cut.at_s, "*", f"cut by {cut.cause}: {speech.purged_ms / 1000:.2f} s were never heard")
    for response in call.responses:
        if response.status not in ("completed", ""):
            reason = f" ({response.reason})" if response.reason else ""
            yield Moment(response.done_s or response.created_s, "*", f"the response ended {response.status}{reason}")
    for tool in call.tools:
        yield Moment(tool.called_s, "*", f"{tool.agent} calls {tool.name}({tool.arguments})")
        if tool.ended_s is not None:
            took = milliseconds(tool.ended_s - tool.called_s)
            yield Moment(tool.ended_s, "*", f"{tool.name} {tool.status} after {took}: {tool.output}")
    for approval in call.approvals:
        yield Moment(approval.asked_s, "*", f"{approval.name} waits for approval")
        if approval.decided_s is not None:
            took = milliseconds(approval.decided_s - approval.asked_s)
            yield Moment(approval.decided_s, "*", f"{approval.name} is {approval.outcome} after {took}")
    for mark in call.marks:
        detail = f": {mark.detail}" if mark.detail else ""
        yield Moment(mark.at_s, "*", f"{'error: ' if mark.kind == 'error' else ''}{mark.title}{detail}")
    for connection in call.connections:
        yield Moment(connection.start_s, "*", f"connection {connection.number} opens")
        if connection.end:
            yield Moment(connection.end_s, "*", f"connection {connection.number} {connection.end}")


def text_timeline(call: Call, *, slow_s: float, slow_silence_s: float, width: int = 100) -> str:
    """Return the call as lines for a terminal, at most `width` characters wide."""
    lines = [f"{call.session_id or 'a call'}, {seconds(call.duration_s)}", *(f"! {each}" for each in call.problems), ""]
    lines += [f"{seconds(each.at_s):>9}  {each.who:<5}  {' '.join(each.words.split())}" for each in moments(call)]
    if call.turns:
        lines += ["", f"{'turn':>4}  {'source':<9} {'status':<11} {'answer':>8} {'silence':>8} {'tools':>8}  said"]
    for turn in call.turns:
        answer, silence = turn.response_latency_s, turn.silence_latency_s
        slow = turn.is_slow(slow_s=slow_s, slow_silence_s=slow_silence_s)
        figures = [
            milliseconds(value) if value is not None else ""
            for value in (answer, silence, turn.tools_s if turn.tools else None)
        ]
        lines.append(
            f"{turn.number:>4}  {turn.source:<9} {turn.status:<11} {figures[0]:>8} {figures[1]:>8} {figures[2]:>8}  "
            f"{'SLOW ' if slow else ''}{turn.said}"
        )
    return "\n".join(_fitted(printable(line), width) for line in lines) + "\n"


def _fitted(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."
