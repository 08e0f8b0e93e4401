"""The timeline as one HTML page that needs nothing else: no network, no other file.

Everything in a call comes from elsewhere. Text in the page is escaped, the data for the script is JSON whose ``<``,
``>`` and ``&`` are escaped too, the script writes text and no markup, and a content security policy lets no other
script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

import pybase64

from trealtime.timeline.lanes import Lanes, milliseconds, seconds
from trealtime.timeline.model import Call, Turn
from trealtime.timeline.picture import LEGEND, swatch
from trealtime.timeline.style import PATTERN, drawing_style
from trealtime.timeline.svg import clean, text
from trealtime.timeline.words import moments

__all__ = ["LONGEST_PAGE_S", "draw_page"]

LONGEST_PAGE_S: Final = 4 * 3600.0

_LABELS: Final = 76
_TILE: Final = 700
"""The width of a tile: one goes on a sheet of paper."""

_SCALES: Final = ((120.0, 100.0), (600.0, 80.0), (3600.0, 50.0))
"""(a call of at most so many seconds, has so many pixels a second)"""


def draw_page(call: Call, *, slow_s: float, slow_silence_s: float, title: str = "", sound_file: str = "") -> str:
    """Return the page. Of a call of more than four hours it draws the first four.

    The sound of the call is in it, or in `sound_file`, a WAV file beside it.
    """
    scale = next((pixels for longest, pixels in _SCALES if call.duration_s <= longest), 25.0)
    lanes = Lanes(call, scale, slow_s=slow_s, slow_silence_s=slow_silence_s)
    script = files("trealtime.timeline").joinpath("page.js").read_text(encoding="utf-8")
    style = drawing_style("auto", ":root") + files("trealtime.timeline").joinpath("page.css").read_text(
        encoding="utf-8"
    )
    words = title or f"Call {call.session_id}".strip()
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    if sound_file:
        policy += "; media-src 'self' file:"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{clean(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{clean(words)}</title>
<style>{style}</style>
</head>
<body>
<header class="top"><h1>{clean(words)}</h1><p class="meta">{clean(_about(call))}</p>{_problems(call)}</header>
<main>
<div class="bar"><button type="button" id="all">▶ Play the call</button>
<button type="button" id="stop" hidden>■ Stop</button>
<span id="status" role="status" class="said">{_hint(call, sound_file)}</span></div>
{_player(sound_file)}<div class="scroll" id="scroll" tabindex="0" role="group" aria-label="Timeline. Arrow keys move \
in time and show the wire events there, Enter plays the turn, Escape stops. The table and the list below say the same \
in words.">
<div class="strip" id="strip">{_strip(lanes)}<div class="hair" id="hair"></div><div class="head" id="head"></div></div>
</div>
<p class="legend" aria-hidden="true">{_legend()}</p>
<div class="wire-now" id="wire" role="log" aria-live="polite"><p>Move over the timeline to see the wire events of that \
moment.</p></div>
<h2>Turns</h2>
<div class="table">{_table(call, lanes, playable=bool(sound_file or call.sounds))}</div>
<details><summary>The call in words</summary><ol class="log">{_log(call)}</ol></details>
</main>
<footer>Drawn by trealtime from a recording. It holds what people said: treat it as you treat the call.</footer>
<script type="application/json" id="call">{_json(_data(call, scale, with_sound=not sound_file))}</script>
<script>{script}</script>
</body>
</html>
"""


def _legend() -> str:
    return "".join(
        f'<span><svg class="tl" width="16" height="13">{swatch(1, 1, kind)}</svg>{words}</span>'
        for kind, words in LEGEND
    )


def _about(call: Call) -> str:
    parts = []
    if call.began_unix_s is not None:
        parts.append(datetime.fromtimestamp(call.began_unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
    parts.append(seconds(call.duration_s))
    parts.append(f"{len(call.turns)} turn{'s' if len(call.turns) != 1 else ''}")
    agents = list(dict.fromkeys(reign.agent for reign in call.reigns))
    if agents:
        parts.append(f"agents: {', '.join(agents[:20])}")
    versions = call.header.get("versions")
    if isinstance(versions, dict) and isinstance(versions.get("trealtime"), str):
        parts.append(f"trealtime {versions['trealtime'][:40]}")
    return " · ".join(parts)


def _problems(call: Call) -> str:
    problems = list(call.problems)
    if call.duration_s > LONGEST_PAGE_S:
        problems.append(f"only the first {LONGEST_PAGE_S / 3600:g} hours are drawn")
    return "".join(f'<p class="problem">{clean(each)}</p>' for each in problems)


def _player(sound_file: str) -> str:
    return f'<audio id="player" preload="none" src="{clean(quote(sound_file))}"></audio>\n' if sound_file else ""


def _hint(call: Call, sound_file: str) -> str:
    if sound_file:
        return f"Click a turn to hear it. Its sound is in {clean(sound_file)}."
    if not call.sounds:
        return "The recording has no sound."
    return "Click a turn to hear it." + (" Some of the sound is left out." if call.sound_left_out else "")


def _strip(lanes: Lanes) -> str:
    height = lanes.layout.height
    names = "".join(text(8, y, name, "lane") for name, y in lanes.layout.labels())
    parts = [
        PATTERN_SHEET,
        f'<svg class="tl names" aria-hidden="true" width="{_LABELS}" height="{height:.0f}">{names}</svg>',
    ]
    shown_s = min(max(lanes.call.duration_s + 0.4, 1.0), LONGEST_PAGE_S)
    tile_s = _TILE / lanes.scale
    begin_s = 0.0
    while begin_s < shown_s:
        end_s = min(begin_s + tile_s, shown_s)
        width = max(1, round((end_s - begin_s) * lanes.scale))
        in_print = "".join(text(2, y - 10, name, "lane only-print") for name, y in lanes.layout.labels()[2:3])
        parts.append(
            f'<svg class="tl" aria-hidden="true" width="{width}" height="{height:.0f}" '
            f'viewBox="0 0 {width} {height:.0f}">{lanes.window(begin_s, end_s)}{in_print}</svg>'
        )
        begin_s += tile_s
    return "".join(parts)


PATTERN_SHEET: Final = f'<svg aria-hidden="true" width="0" height="0" style="position:absolute">{PATTERN}</svg>'


def _table(call: Call, lanes: Lanes, *, playable: bool) -> str:
    if not call.turns:
        return "<p>The recording has no turn.</p>"
    names = ("Turn", "At", "From", "Agent", "Status", "Answer heard", "Silent", "Tools", "Tokens", "Cost", "Words")
    numbers = {"At", "Answer heard", "Silent", "Tools", "Tokens", "Cost"}
    head = "".join(f'<th scope="col"{" class=n" * (name in numbers)}>{name}</th>' for name in names)
    rows = []
    for turn in call.turns:
        slow = lanes.is_slow(turn)
        cells = _cells(turn, lanes, playable=playable, slow=slow)
        row = "".join(
            f'<td data-name="{name}"{_cell_class(name, numbers)}>{cell}</td>'
            for name, cell in zip(names, cells, strict=True)
        )
        rows.append(f'<tr id="turn-{turn.number}"{" class=slow" * slow}>{row}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell_class(name: str, numbers: set[str]) -> str:
    return ' class="n"' if name in numbers else ' class="words"' if name == "Words" else ""


def _cells(turn: Turn, lanes: Lanes, *, playable: bool, slow: bool) -> list[str]:
    answer, silence = turn.response_latency_s, turn.silence_latency_s
    late = answer is not None and answer > lanes.slow_s
    button = (
        f'<button type="button" data-turn="{turn.number}" aria-label="Play turn {turn.number}">▶ {turn.number}</button>'
    )
    status = clean(turn.status) + (f" by {clean(turn.interrupted_by)}" if turn.interrupted_by else "")
    if turn.status in ("failed", "unanswered"):
        status = f'<b class="bad">{status} {clean(turn.reason)}</b>'
    words = " ".join(
        f'<span class="{kind}">{clean(said)}</span>'
        for kind, said in (("said", turn.said), ("", turn.answered))
        if said
    )
    return [
        button if playable else str(turn.number),
        seconds(turn.start_s),
        clean(turn.source) + ("" if turn.measured else " (estimated)"),
        clean(turn.agent),
        status,
        "" if answer is None else f'<b class="slow">{milliseconds(answer)} slow</b>' if late else milliseconds(answer),
        ""
        if silence is None
        else f'<b class="slow">{milliseconds(silence)}</b>'
        if slow and not late
        else milliseconds(silence),
        f"{len(turn.tools)}, {milliseconds(turn.tools_s)}" if turn.tools else "",
        "" if turn.tokens is None else str(turn.tokens),
        clean(turn.cost) if turn.cost is not None else "",
        words,
    ]


def _log(call: Call) -> str:
    return "".join(
        f"<li><time>{seconds(each.at_s)}</time> <b>{clean(each.who)}</b> {clean(each.words)}</li>"
        for each in moments(call)
    )


def _data(call: Call, scale: float, *, with_sound: bool) -> dict[str, Any]:
    return {
        "left": _LABELS,
        "scale": scale,
        "duration": round(call.duration_s, 3),
        "turns": [
            {"number": turn.number, "start": round(turn.start_s, 3), "end": round(turn.end_s, 3)} for turn in call.turns
        ],
        "sounds": [
            {"at": round(sound.start_s, 4), "data": pybase64.b64encode_as_string(sound.data)}
            for sound in (call.sounds if with_sound else ())
        ],
        "wire": [[round(note.at_s, 3), note.sent_by, note.type, note.count, note.detail] for note in call.wire],
    }


def _json(value: Any) -> str:
    """Return JSON that can stand inside a script element."""
    found = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return found.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
