"""The colours of a timeline, in both themes, and the style of its elements."""

from __future__ import annotations

from importlib.resources import files
from typing import Final, Literal

__all__ = ["PATTERN", "Theme", "drawing_style"]

Theme = Literal["light", "dark", "auto"]

_LIGHT: Final = {
    "paper": "#ffffff",
    "ink": "#1b2430",
    "faint": "#5d6b7a",
    "line": "#e3e8ee",
    "panel": "#f5f7fa",
    "user": "#2458c5",
    "user-pale": "#e3ecfd",
    "agent": "#0b7a6b",
    "agent-pale": "#d7efeb",
    "tool": "#b05e09",
    "check": "#6d3fc0",
    "bad": "#c0262d",
    "slow": "#9a5b00",
    "slow-pale": "#fdeccb",
    "on": "#ffffff",
}
_DARK: Final = {
    "paper": "#10151c",
    "ink": "#e6ebf1",
    "faint": "#9aa7b5",
    "line": "#27313d",
    "panel": "#19212b",
    "user": "#7fa8ff",
    "user-pale": "#1c2b4a",
    "agent": "#4fd0bd",
    "agent-pale": "#123731",
    "tool": "#f0ad4e",
    "check": "#b79bff",
    "bad": "#ff7b79",
    "slow": "#ffc46b",
    "slow-pale": "#43310f",
    "on": "#10151c",
}

PATTERN: Final = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="1.6" height="6" style="fill:var(--agent);opacity:.45"/></pattern></defs>'
)
"""The hatching of sound that was thrown away; the class in `drawing_style` refers to it."""


def variables(theme: Theme, selector: str) -> str:
    """Return the colours of `theme` as properties of what `selector` selects."""
    if theme == "auto":
        dark = f"@media (prefers-color-scheme:dark){{{_properties(_DARK, selector)}}}"
        # Paper is white.
        return f"{_properties(_LIGHT, selector)}{dark}@media print{{{_properties(_LIGHT, selector)}}}"
    return _properties(_DARK if theme == "dark" else _LIGHT, selector)


def _properties(colours: dict[str, str], selector: str) -> str:
    scheme = "dark" if colours is _DARK else "light"
    return f"{selector}{{color-scheme:{scheme};" + ";".join(f"--{k}:{v}" for k, v in colours.items()) + "}"


def drawing_style(theme: Theme, selector: str) -> str:
    """Return the style sheet of a drawing whose outermost element is `selector`, with class ``tl``."""
    elements = files("trealtime.timeline").joinpath("drawing.css").read_text(encoding="utf-8")
    return variables(theme, selector) + elements
