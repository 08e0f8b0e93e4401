from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.terminal import printable


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Grüße, 你好 🚲", "Grüße, 你好 🚲"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\rb\nc\td\x08", r"a\rb\nc\td\x08"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("line\u2028line", r"line\u2028line"),
        ("half \ud83d", r"half \ud83d"),
        (ValueError("no\x1b[0m"), r"no\x1b[0m"),
    ],
)
def test_what_commands_a_terminal_is_written_as_an_escape(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_line_breaks_and_tabs_can_be_kept() -> None:
    assert printable("one\n\ttwo\r\x1b", newlines=True) == "one\n\ttwo\\r\\x1b"


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_the_result_can_be_printed_and_holds_no_control_character(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in shown)
