from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.events import RealtimeToolProgress
from trealtime.terminal import one_line, printable, repr_of, text_of


class Mute(Exception):
    def __str__(self) -> str:
        raise AttributeError("no detail")

    __repr__ = __str__


class Lazy:
    """As proxies are that stand for nothing at the moment."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"no {name} here")


class Backwards(str):
    def __len__(self) -> int:
        return -1


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


def test_an_object_that_cannot_say_what_it_is_is_told_by_its_class() -> None:
    assert text_of(Mute()) == printable(Mute()) == "<Mute, whose str raises AttributeError>"
    assert repr_of(Mute()) == "<Mute, whose repr raises AttributeError>"
    assert text_of(10**5000) == "<int, whose str raises ValueError>"
    assert text_of(ValueError("no")) == "no"


@pytest.mark.parametrize(
    "kind, shown",
    [(Mute, "Mute('<Mute, whose str raises AttributeError>')"), (Lazy, "<Lazy>"), (Backwards, "''")],
)
def test_a_line_of_any_value(kind: Callable[[], object], shown: str) -> None:
    value = kind()
    assert one_line(value) == shown
    event = RealtimeToolProgress(agent=None, tool=None, note=value, info=None, call_id="call_1")  # type: ignore[arg-type]
    assert f"note={shown}" in repr(event)


def test_a_line_of_a_list_that_contains_itself() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert one_line(loop) == "[[[<1 of list>]]]"
