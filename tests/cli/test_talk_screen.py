"""The terminal of ``trealtime talk``: the lines that the narrator makes of events, and how the screen shows them."""

from __future__ import annotations

import io
import os
import re
from decimal import Decimal

import numpy as np
import pytest

from trealtime.cli import talk_screen
from trealtime.cli.talk_narrator import Answer, Line, Narrator, Words
from trealtime.cli.talk_screen import Screen, meter, shows_colours
from trealtime.cli.talk_session import built_in_agent
from trealtime.events import (
    EventInfo,
    RealtimeAgentEndEvent,
    RealtimeAudioInterrupted,
    RealtimeConnectionLost,
    RealtimeError,
    RealtimeReconnected,
    RealtimeSpeechStarted,
    RealtimeSpeechStopped,
    RealtimeTurnEnded,
)
from trealtime.metrics import ToolSpan, TurnMetrics
from trealtime.usage import Cost, Usage

INFO = EventInfo(None)


def test_on_a_terminal_the_status_stays_below_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk_screen.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((12, 24)))
    out = io.StringIO()
    screen = Screen(out, live=True)
    screen.status("listening to you")
    screen.line("you: hello")
    screen.status("listening to you")
    assert out.getvalue() == "\r\x1b[Klistening t\r\x1b[Kyou: hello\nlistening t"


def test_text_from_elsewhere_cannot_command_the_terminal() -> None:
    out = io.StringIO()
    screen = Screen(out, live=True)
    screen.line("agent: \x1b[2Jone\nyou: two")
    screen.status("speaking \x1b]0;x\x07\n")
    assert out.getvalue() == "agent: \\x1b[2Jone\n  you: two\n\r\x1b[Kspeaking \\x1b]0;x\\x07\\n"


def test_elsewhere_there_are_only_lines() -> None:
    out = io.StringIO()
    screen = Screen(out, live=False)
    screen.status("listening")
    screen.line("you: hello")
    assert out.getvalue() == "you: hello\n"


def test_colours_go_around_the_text_and_never_into_a_file() -> None:
    out = io.StringIO()
    screen = Screen(out, live=False, colours=True)
    screen.show(Line("you: hello", "user"))
    screen.show(Words("One, "))
    screen.show(Words("two."))
    screen.show(Answer("One, two.", "  (first word after 0.10 s)"))
    shown = out.getvalue()
    assert re.sub(r"\x1b\[\d*m", "", shown) == "you: hello\nagent: One, two.  (first word after 0.10 s)\n"
    assert shown.count("\x1b[0m") == 4


@pytest.mark.parametrize(
    "variables, tty, shown",
    [({}, True, True), ({}, False, False), ({"NO_COLOR": "1"}, True, False), ({"TERM": "dumb"}, True, False)],
)
def test_colours_are_for_terminals_that_want_them(variables, tty, shown, monkeypatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: tty, raising=False)
    assert shows_colours(out, variables) is shown


def test_a_line_between_the_words_of_an_answer_begins_a_line_of_its_own() -> None:
    out = io.StringIO()
    screen = Screen(out, live=False)
    for shown in (Words("Let me see. "), Line("tool: look({})", "tool"), Words("It is 42."), Answer("It is 42.")):
        screen.show(shown)
    assert out.getvalue() == "agent: Let me see. \ntool: look({})\nagent: It is 42.\n"


@pytest.mark.parametrize(
    "dbfs, bar", [(-np.inf, "-----"), (-60, "-----"), (-30, "##---"), (-12, "####-"), (0, "#####"), (3, "#####")]
)
def test_a_meter_goes_from_60_dB_below_to_full_scale(dbfs: float, bar: str) -> None:
    assert meter(dbfs, width=5) == bar


def test_the_narrator_knows_that_the_user_may_not_have_ended() -> None:
    narrator = Narrator(plays=True)
    narrator.tell(RealtimeSpeechStarted(item_id="x", audio_start_ms=0, info=INFO), 1.0)
    assert (narrator.hears_user, narrator.state) == (True, "listening")
    narrator.tell(RealtimeSpeechStopped(item_id="x", audio_end_ms=900, info=INFO), 2.0)
    assert (narrator.hears_user, narrator.state) == (False, "thinking")


def test_the_figures_of_a_turn_are_a_line() -> None:
    tool = ToolSpan(call_id="c", name="look", agent="A", started_at=1.0, ended_at=1.5)
    metrics = TurnMetrics(
        turn_id="t",
        number=3,
        source="speech",
        agent="A",
        status="completed",
        speech_ended_at=1.0,
        first_heard_at=1.61,
        heard_until_at=4.8,
        tools=(tool,),
        usage=Usage(total_tokens=214),
        cost=Cost(Decimal("0.0012"), Decimal("0.0012")),
    )
    line = "  turn 3: 0.61 s to the first sound, 3.2 s heard, look 0.50 s, 214 tokens, cost 0.0012"
    assert Narrator(plays=True).tell(RealtimeTurnEnded(metrics=metrics, info=INFO), 5.0) == [Line(line, "quiet")]


def test_a_lost_connection_is_told() -> None:
    narrator = Narrator(plays=True)
    lost = RealtimeConnectionLost(code=1006, reason="", info=INFO)
    assert narrator.tell(lost, 1.0) == [Line("The connection is lost (1006): dialling again.", "bad")]
    again = RealtimeReconnected(outage_ms=1234.0, items=2, info=INFO)
    assert narrator.tell(again, 2.0) == [Line("Connected again after 1.2 s.", "quiet")]


def test_the_narrator_tells_interruptions_failures_and_errors() -> None:
    narrator = Narrator(plays=True)
    agent = built_in_agent()
    narrator.asked(1.0)
    assert narrator.state == "thinking"
    ended = RealtimeAgentEndEvent(agent=agent, info=INFO, status="failed")
    assert narrator.tell(ended, 2.0) == [Answer("...", "  (failed)")]
    assert narrator.state == "listening"
    cut = RealtimeAudioInterrupted(item_id="x", content_index=0, info=INFO, heard_ms=1234)
    assert narrator.tell(cut, 3.0) == [Line("  [interrupted: 1.23 s were heard]", "quiet")]
    assert narrator.tell(RealtimeError(error=ValueError("no"), info=INFO), 4.0) == [Line("error: no", "bad")]
    assert narrator.busy_since == 4.0
