"""The colours of a timeline, in both themes, and the style of its elements."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["Theme", "drawing_style"]

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

_ELEMENTS: Final = """
.tl text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Sans","Liberation Sans",sans-serif;fill:var(--ink)}
.tl .small{font-size:11px}.tl .strong{font-weight:600}.tl .axis{font-size:11px;fill:var(--faint)}
.tl .lane{font-size:11px;font-weight:600;fill:var(--faint)}
.tl .on{font-size:11px;fill:var(--on);font-weight:600}.tl text.bad{fill:var(--bad);font-weight:600}
.tl .grid{stroke:var(--line);stroke-width:1}
.tl .wire{fill:var(--agent);opacity:.55}.tl .wire.lost{fill:var(--slow);opacity:1}
.tl .reign{fill:var(--panel);stroke:var(--line)}.tl .reign.odd{fill:var(--agent-pale)}
.tl .handoff{fill:var(--check)}
.tl .turn{fill:var(--panel);stroke:var(--line)}.tl .turn.slow{fill:var(--slow-pale);stroke:var(--slow)}
.tl .turn.bad{fill:none;stroke:var(--bad)}
.tl .utterance{fill:var(--user-pale);opacity:.75}.tl .message{fill:var(--user-pale);stroke:var(--user);stroke-opacity:.4}
.tl .wave.user{fill:var(--user)}.tl .wave.agent{fill:var(--agent)}.tl .wave.unheard{fill:var(--agent);opacity:.3}
.tl .received{fill:var(--agent);opacity:.32}.tl .span{fill:var(--agent-pale);opacity:.55}
.tl .agent{fill:var(--agent)}
.tl .purged{fill:url(#hatch);stroke:var(--agent);stroke-opacity:.45;stroke-dasharray:3 3}
.tl .paper{fill:var(--paper)}.tl .cut{fill:var(--bad)}.tl .unheard{fill:var(--faint);text-decoration:line-through}
.tl .gap{fill:none;stroke:var(--faint);stroke-width:1.2}.tl .gap.slow{stroke:var(--slow);stroke-width:2}
.tl .gap.stop{stroke:var(--bad)}
.tl text.gap{stroke:var(--paper);stroke-width:3.5;paint-order:stroke;fill:var(--ink);font-size:11px;font-weight:600}
.tl text.gap.slow{fill:var(--slow);stroke:var(--paper);stroke-width:3.5}
.tl text.gap.stop{fill:var(--bad);stroke:var(--paper);stroke-width:3.5}
.tl .response{fill:var(--agent);opacity:.8}.tl .response.cancelled{fill:var(--faint)}
.tl .response.failed,.tl .response.incomplete{fill:var(--bad)}
.tl .asked{stroke:var(--faint);stroke-dasharray:2 2;fill:none}
.tl .tool{fill:var(--tool)}.tl .tool.failed,.tl .approval.failed{fill:var(--bad)}
.tl .waits{fill:var(--on);opacity:.55}
.tl .approval{fill:var(--check)}.tl .guardrail{fill:var(--bad)}
.tl .dot{fill:var(--faint)}.tl .dot.bad{fill:var(--bad)}
"""

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
    return variables(theme, selector) + _ELEMENTS
