"""A timeline as one SVG picture: rows of time below one another, as music is written."""

from __future__ import annotations

import math
from typing import Final

from trealtime.timeline.lanes import Lanes
from trealtime.timeline.model import Call
from trealtime.timeline.style import PATTERN, Theme, drawing_style
from trealtime.timeline.svg import clean, element, rect, text, text_width

__all__ = ["LEGEND", "LONGEST_PICTURE_S", "draw_picture", "swatch"]

LONGEST_PICTURE_S: Final = 3600.0

_LABELS: Final = 78.0
_MARGIN: Final = 12.0
_BETWEEN: Final = 22.0
_LEGEND: Final = 26.0
LEGEND: Final = (
    ("received", "received"),
    ("span", "heard"),
    ("purged", "never heard"),
    ("cut", "interrupt"),
    ("response", "response"),
    ("tool", "tool"),
    ("approval", "approval"),
    ("guardrail", "guardrail"),
    ("turn slow", "slow"),
)
"""Classes of shapes, and what they mean."""

_FEW_ROWS: Final = 12
_SCALES: Final = (110.0, 90.0, 75.0, 60.0, 45.0, 30.0, 20.0)


def draw_picture(
    call: Call, *, width: int = 1200, theme: Theme = "auto", slow_s: float, slow_silence_s: float, title: str = ""
) -> str:
    """Return the picture, `width` pixels wide. Of a call of more than an hour it shows the first one."""
    shown_s = min(max(call.duration_s + 0.3, 1.0), LONGEST_PICTURE_S)
    room = width - _LABELS - 2 * _MARGIN
    # A call that fits into three rows is as large as can be; in a longer one the rows get denser.
    scale = next((each for each in _SCALES if shown_s * each <= 3 * room), _SCALES[-1])
    if shown_s * scale < room:
        scale = min(room / shown_s, 160.0)
    row_s = _row_s(call, room / scale, shown_s)
    scale = room / row_s
    rows = max(1, math.ceil(shown_s / row_s - 1e-9))
    lanes = Lanes(call, scale, slow_s=slow_s, slow_silence_s=slow_silence_s)
    height = lanes.layout.height
    parts = []
    top = _MARGIN + (22 if title else 0)
    for row in range(rows):
        begin_s = row * row_s
        labels = "".join(text(_MARGIN, y, name, "lane") for name, y in lanes.layout.labels())
        window = lanes.window(begin_s, min(begin_s + row_s, shown_s))
        inside = element("svg", window, x=_LABELS + _MARGIN, y=0, width=room, height=height, overflow="hidden")
        parts.append(element("g", labels + inside, transform=f"translate(0 {top + row * (height + _BETWEEN):.0f})"))
    bottom = top + rows * (height + _BETWEEN)
    total = bottom + _LEGEND
    words = title or f"Timeline of a call of {call.duration_s:.1f} s"
    body = [
        element("title", clean(words)),
        element("style", drawing_style(theme, "svg.tl")),
        PATTERN,
        f'<rect width="{width}" height="{total:.0f}" style="fill:var(--paper)"/>',
        text(_MARGIN, 22, title, "strong") if title else "",
        *parts,
        _legend(_MARGIN, bottom + 4),
    ]
    return element(
        "svg",
        "".join(body),
        xmlns="http://www.w3.org/2000/svg",
        class_="tl",
        role="img",
        viewBox=f"0 0 {width} {total:.0f}",
        width=width,
        height=round(total),
    )


def _row_s(call: Call, shortest_s: float, shown_s: float) -> float:
    """Return the length of a row, at least `shortest_s`, that cuts the least through words and leaves no row nearly
    empty."""
    rows = math.ceil(shown_s / shortest_s - 1e-9)
    if not 1 < rows <= _FEW_ROWS:
        return shortest_s
    spans = [(each.start_s, each.end_s) for each in call.utterances]
    spans += [(speech.heard[0].start_s, speech.heard[-1].end_s) for speech in call.speeches if speech.heard]
    lengths = [shortest_s * (1 + step / 100) for step in range(31)]

    def flaws(row_s: float) -> tuple[int, int]:
        ends = [row_s * row for row in range(1, math.ceil(shown_s / row_s - 1e-9))]
        cuts = sum(begin_s - 0.1 < end_s < until_s + 0.1 for end_s in ends for begin_s, until_s in spans)
        return cuts + 2 * (shown_s - (ends[-1] if ends else 0.0) < row_s / 4), len(ends)

    return min(lengths, key=flaws)


def _legend(x: float, y: float) -> str:
    """Return what the shapes mean."""
    parts = []
    for kind, words in LEGEND:
        parts.append(swatch(x, y, kind) + text(x + 19, y + 10, words, "small"))
        x += 19 + text_width(words, 11) + 18
    return "".join(parts)


def swatch(x: float, y: float, kind: str) -> str:
    """Return a small sample of this class."""
    return rect(x, y, 3 if kind == "cut" else 14, 11, kind, radius=2)
