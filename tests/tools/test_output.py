from __future__ import annotations

import dataclasses
import datetime as dt
import enum

import attrs
import pytest

from trealtime.tools.output import cap_output, serialise_output


@attrs.frozen
class Receipt:
    number: int


@dataclasses.dataclass
class Price:
    amount: float


class Colour(enum.Enum):
    RED = "red"


class Modelled:
    def model_dump(self, *, mode: str) -> dict[str, str]:
        return {"mode": mode}


class Markup(str):
    """Text of a template engine, which makes of itself what it likes."""

    def __str__(self) -> str:
        return "<overridden>"

    __repr__ = __str__


class Word(enum.StrEnum):
    RED = "red"


class Opaque:
    def __str__(self) -> str:
        return "opaque"


class Hostile:
    def model_dump(self, *, mode: str) -> dict[str, str]:
        raise KeyError(mode)

    def __str__(self) -> str:
        raise KeyError("no text")


class Unbound:
    """A stand-in of a web framework outside of a request, which has not even a class."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("outside of a request")

    def __str__(self) -> str:
        return "a stand-in"


@pytest.mark.parametrize(
    "value, text",
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (2.5, "2.5"),
        ({"city": "Zürich"}, '{"city":"Zürich"}'),
        ([1, "zwei", None], '[1,"zwei",null]'),
        ((), "[]"),
        (Receipt(7), '{"number":7}'),
        (Price(2.5), '{"amount":2.5}'),
        ({"paid": Receipt(7)}, '{"paid":{"number":7}}'),
        (Colour.RED, '"red"'),
        (dt.date(2026, 1, 2), '"2026-01-02"'),
        (b"\x00\x01", '"AAE="'),
        (Modelled(), '{"mode":"json"}'),
        (Markup("found"), "found"),
        (Word.RED, "red"),
        ({"text": [Markup("found")]}, '{"text":["found"]}'),
        (Opaque(), "opaque"),
        (Hostile(), "<Hostile, whose str raises KeyError>"),
        ({(1, 2): "tuple key"}, "{(1, 2): 'tuple key'}"),
        (10**40, "1" + "0" * 40),
        ("a lone surrogate \ud800", "a lone surrogate ?"),
        (["\ud800"], "['\\ud800']"),
    ],
)
def test_b178_output_text(value, text) -> None:
    assert serialise_output(value) == text
    assert type(serialise_output(value)) is str


def test_a_value_that_does_not_even_say_its_class() -> None:
    assert serialise_output(Unbound()) == "a stand-in"


def test_a_value_that_contains_itself_is_still_a_text() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert serialise_output(loop) == "[[...]]"


@pytest.mark.parametrize("text", ["short", "é" * 5, "x" * 10, "🌍🌍"])
def test_an_output_within_the_cap_is_whole(text) -> None:
    assert cap_output(text, max_bytes=10) == text
    assert cap_output(text, max_bytes=None) == text


@pytest.mark.parametrize("text, kept", [("x" * 11, "x" * 10), ("é" * 6, "é" * 5), ("🌍" * 3, "🌍" * 2)])
def test_an_output_past_the_cap_is_cut_between_characters_and_says_so(text, kept) -> None:
    size = len(text.encode())
    note = f"\n[The result was cut here: this is the beginning, 10 of {size} bytes.]"
    assert cap_output(text, max_bytes=10) == kept + note
