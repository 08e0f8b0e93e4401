"""Elements of SVG as text. All text that goes through here is escaped: names and words in a call are from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

__all__ = ["clean", "element", "pill", "rect", "text", "text_width", "waveform", "wrapped"]

_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
"""What XML does not allow, and the marks that turn the direction of the text around them."""

_NARROW: Final = frozenset("iljtfrI.,:;'|!()[] ")
_WIDE: Final = frozenset("mwMW@%&—")


def clean(words: object) -> str:
    """Return text that is safe between tags and in quotes, in XML and in HTML."""
    return escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(words)), quote=True)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def element(tag: str, content: str = "", /, **attributes: object) -> str:
    """Return an element; `content` is markup, attributes are text and numbers. A trailing ``_`` of a name is dropped,
    an inner one becomes a hyphen."""
    parts = [tag]
    for name, value in attributes.items():
        if value is None:
            continue
        shown = _number(value) if isinstance(value, float) else clean(value)
        parts.append(f'{name.rstrip("_").replace("_", "-")}="{shown}"')
    return f"<{' '.join(parts)}>{content}</{tag}>" if content else f"<{' '.join(parts)}/>"


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "", radius: float = 3.0) -> str:
    """Return a rectangle of the class `kind`, at least a pixel wide; its `title` shows under the pointer."""
    inside = element("title", clean(title)) if title else ""
    return element(
        "rect", inside, class_=kind, x=x, y=y, width=max(1.0, width), height=height, rx=min(radius, max(1.0, width) / 2)
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str | None = None) -> str:
    """Return a line of text on the base line `y`."""
    return element("text", clean(words), x=x, y=y, class_=kind or None, text_anchor=anchor) if words else ""


def text_width(words: str, size: float = 12.0) -> float:
    """Return about how wide `words` are in a sans serif of `size` pixels."""
    ems = sum(
        0.35
        if each in _NARROW
        else 0.95
        if each in _WIDE
        else 0.68
        if each.isupper()
        else 1.0
        if each > "\u2fff"
        else 0.59
        for each in words
    )
    return ems * size


def pill(x: float, y: float, width: float, kind: str, label: str, title: str, height: float = 16.0) -> str:
    """Return a bar with a label, which stands beside the bar where it does not fit in."""
    inside = text_width(label, 11) + 8 <= width
    bar = rect(x, y, width, height, kind, title)
    return bar + text(x + (4 if inside else max(width, 1.0) + 3), y + height - 4.5, label, "on" if inside else "small")


def wrapped(words: str, width: float, lines: int, size: float = 12.0) -> list[str]:
    """Cut words into at most so many lines of this width; the last one ends in an ellipsis if there are more."""
    found: list[str] = []
    line = ""
    longest = int(width / (0.3 * size)) + 2
    for whole in words[: (lines + 1) * longest].split():
        word = whole[:longest]
        longer = f"{line} {word}" if line else word
        if text_width(longer, size) <= width or not line:
            line = longer
            continue
        found.append(line)
        line = word
        if len(found) == lines:
            found[-1] = f"{found[-1]} …"
            return [_fitted(each, width, size) for each in found]
    return [_fitted(each, width, size) for each in ([*found, line] if line else found)]


def _fitted(line: str, width: float, size: float) -> str:
    if len(line) < 4 or text_width(line, size) <= width:
        return line
    kept = line[: int(width / (0.3 * size)) + 2]  # no sign is narrower
    while len(kept) > 3 and text_width(f"{kept}…", size) > width:
        kept = kept[:-1]
    return f"{kept}…"


def waveform(levels: Sequence[int], x: float, step: float, middle: float, half: float, kind: str) -> str:
    """Return the outline of sound: a level from 0 to 255 every `step` pixels from `x` on. Silence is left out."""
    paths = []
    for begin, end in _sounding(levels):
        xs = [x + index * step for index in range(begin, end)]
        heights = [max(0.8, level / 255 * half) for level in levels[begin:end]]
        top = " ".join(f"{_number(at)} {_number(middle - height)}" for at, height in zip(xs, heights, strict=True))
        bottom = " ".join(
            f"{_number(at)} {_number(middle + height)}" for at, height in reversed(list(zip(xs, heights, strict=True)))
        )
        edge, height = _number(xs[-1] + step), heights[-1]
        paths.append(f"M{top} {edge} {_number(middle - height)} {edge} {_number(middle + height)} {bottom}Z")
    return element("path", class_=kind, d="".join(paths)) if paths else ""


def _sounding(levels: Sequence[int]) -> Iterator[tuple[int, int]]:
    begin: int | None = None
    for index, level in enumerate(levels):
        if level > 8 and begin is None:
            begin = index
        elif level <= 8 and begin is not None:
            yield begin, index
            begin = None
    if begin is not None:
        yield begin, len(levels)
