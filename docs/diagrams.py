"""Draw the pictures of the documentation: `python docs/diagrams.py` writes them into docs/_static, light and dark.

A page shows the light one (`![...](../_static/interrupt.svg)`); conf.py puts the dark one beside it for dark themes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

STATIC = Path(__file__).parent / "_static"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "soft": "#59636e",
    "rule": "#c4ccd4",
    "user": "#0969da",
    "user-fill": "#ddf0ff",
    "agent": "#1a7f37",
    "agent-fill": "#dcf5e3",
    "cut": "#cf222e",
    "cut-fill": "#ffe5e2",
    "core": "#8250df",
    "core-fill": "#f1e8ff",
    "pale": "#f3f5f7",
}
DARK = {
    "paper": "#16181a",
    "ink": "#e6edf3",
    "soft": "#9aa6b2",
    "rule": "#3d444d",
    "user": "#58a6ff",
    "user-fill": "#0f2a47",
    "agent": "#4cc366",
    "agent-fill": "#123820",
    "cut": "#ff7b72",
    "cut-fill": "#4a1a1c",
    "core": "#bc8cff",
    "core-fill": "#2f1d4d",
    "pale": "#22262b",
}


class Drawing:
    """SVG in one palette; coordinates are pixels."""

    def __init__(self, width: int, height: int, palette: Mapping[str, str], *, title: str) -> None:
        self._palette = palette
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{escape(title)}" font-family="{FONT}">'
        )
        self._parts = [f"<title>{escape(title)}</title>"]
        self.box(0, 0, width, height, fill="paper", stroke="none", radius=8)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "pale",
        stroke: str = "rule",
        radius: float = 6,
        dashed: bool = False,
    ) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
            f'fill="{self._color(fill)}" stroke="{self._color(stroke)}"{dash}/>'
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 14,
        color: str = "ink",
        anchor: str = "start",
        bold: bool = False,
        mono: bool = False,
        halo: bool = False,
    ) -> None:
        """Words on the base line `y`; with `halo` lines behind them are kept off."""
        behind = f' stroke="{self._color("paper")}" stroke-width="6" paint-order="stroke"' if halo else ""
        weight = ' font-weight="600"' if bold else ""
        family = f' font-family="{MONO}"' if mono else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{self._color(color)}" '
            f'text-anchor="{anchor}"{weight}{family}{behind}>{escape(words)}</text>'
        )

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        *,
        color: str = "rule",
        width: float = 1.5,
        dashed: bool = False,
    ) -> None:
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{self._color(color)}" '
            f'stroke-width="{width:g}"{dash}/>'
        )

    def arrow(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        *,
        color: str = "ink",
        dashed: bool = False,
        cross: bool = False,
    ) -> None:
        """A straight arrow; with `cross` it ends in a cross: what it carries is thrown away."""
        length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1)
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        self.line(x1, y1, x2 - 6 * dx, y2 - 6 * dy, color=color, dashed=dashed)
        paint = self._color(color)
        if cross:
            path = f"M{x2 - 12:g} {y2 - 6:g}l12 12m0 -12l-12 12"
            self._parts.append(f'<path d="{path}" fill="none" stroke="{paint}" stroke-width="2"/>')
        else:
            points = (
                (x2, y2),
                (x2 - 9 * dx - 4 * dy, y2 - 9 * dy + 4 * dx),
                (x2 - 9 * dx + 4 * dy, y2 - 9 * dy - 4 * dx),
            )
            self._parts.append(f'<polygon points="{" ".join(f"{x:g},{y:g}" for x, y in points)}" fill="{paint}"/>')

    def wave(self, x: float, y: float, width: float, height: float, *, color: str, seed: int = 1) -> None:
        """Something that looks like speech, around the middle line `y`."""
        state = seed
        for step in range(int(width // 4)):
            state = (state * 1103515245 + 12345) % 2**31
            syllable = 0.35 + 0.65 * abs(((step * 4 / 46) % 2) - 1)
            half = max(1.0, height / 2 * syllable * (0.35 + 0.65 * (state >> 16) % 100 / 100))
            self.line(x + step * 4 + 2, y - half, x + step * 4 + 2, y + half, color=color, width=2.2)

    def svg(self) -> str:
        return "\n".join([self._head, *self._parts, "</svg>"]) + "\n"

    def _color(self, name: str) -> str:
        return name if name == "none" else self._palette[name]


# ---- the pictures ---------------------------------------------------------------------------------------------------


def interrupt(palette: Mapping[str, str]) -> Drawing:
    """What happens from the user's first sound to silence."""
    lines = {"user": 70, "server": 230, "session": 400, "queue": 560, "program": 720}
    names = {
        "user": ("The user", ""),
        "server": ("Server", ""),
        "session": ("Session", "one step"),
        "queue": ("Subscription", "queued events"),
        "program": ("Your program", "or an endpoint"),
    }
    draw = Drawing(800, 560, palette, title="Sequence of an interrupt: from speech to silence")
    for key, x in lines.items():
        color = {"user": "user", "session": "core", "program": "agent"}.get(key, "ink")
        draw.box(
            x - 62,
            14,
            124,
            42,
            fill=f"{color}-fill" if color != "ink" else "pale",
            stroke=color if color != "ink" else "rule",
        )
        name, below = names[key]
        draw.text(x, 33 if below else 40, name, anchor="middle", bold=True)
        if below:
            draw.text(x, 49, below, anchor="middle", size=11, color="soft")
        draw.line(x, 56, x, 545, dashed=True)
    x = lines

    def message(source: str, target: str, y: float, words: str, color: str = "ink", *, cross: bool = False) -> None:
        draw.arrow(x[source], y, x[target], y, color=color, cross=cross)
        middle = (x[source] + x[target]) / 2
        draw.text(middle, y - 6, words, anchor="middle", size=12, color=color)

    message("server", "session", 92, "audio")
    message("session", "queue", 92, "audio")
    message("queue", "program", 92, "audio", "agent")
    message("server", "session", 126, "audio")
    message("session", "queue", 126, "audio, audio")
    message("user", "server", 164, "begins to speak", "user")
    message("server", "session", 200, "speech_started")
    draw.box(x["session"] - 14, 208, 28, 148, fill="core-fill", stroke="core", radius=4)
    message("session", "queue", 236, "purge", "cut")
    draw.text(x["queue"] + 10, 240, "the queued audio is gone", size=12, color="cut")
    message("session", "queue", 270, "speech_started")
    message("session", "queue", 304, "audio_interrupted")
    draw.arrow(x["session"], 338, x["server"], 338, color="cut")
    draw.text((x["session"] + x["server"]) / 2, 332, "cancel, truncate", anchor="middle", size=12, color="cut")
    draw.text(x["server"] - 8, 354, "“1900 ms were heard”", anchor="end", size=12, color="soft")
    message("queue", "program", 372, "speech_started")
    message("queue", "program", 404, "audio_interrupted", "cut")
    draw.text(x["program"], 424, "silence", anchor="middle", size=13, color="cut", bold=True)
    message("server", "session", 446, "audio, late", "soft", cross=True)
    message("server", "session", 480, "response.done")
    message("session", "queue", 480, "agent_end")
    message("queue", "program", 480, "agent_end")
    draw.arrow(x["session"], 518, x["server"], 518)
    draw.text((x["session"] + x["server"]) / 2, 512, "response.create", anchor="middle", size=12)
    draw.text(x["session"] + 10, 522, "only now: the next answer, if one waits", size=12, color="soft")
    return draw


def session(palette: Mapping[str, str]) -> Drawing:
    """Which tasks a session has, and what flows between them."""
    draw = Drawing(800, 400, palette, title="A session is a nursery: its tasks, and what flows between them")
    draw.box(130, 36, 494, 336, fill="paper", stroke="core", radius=12, dashed=True)
    draw.text(146, 58, "async with runner.session() as session:", mono=True, size=13, color="core")
    draw.box(14, 96, 84, 220, fill="pale")
    draw.text(56, 200, "Server", anchor="middle", bold=True)
    draw.text(56, 218, "WebSocket", anchor="middle", size=11, color="soft")
    draw.box(674, 96, 116, 220, fill="agent-fill", stroke="agent")
    draw.text(732, 200, "Your program", anchor="middle", bold=True)
    draw.text(732, 218, "its tasks", anchor="middle", size=11, color="soft")

    def task(x: float, y: float, name: str, below: str, *, width: float = 120, core: bool = False) -> None:
        draw.box(x, y, width, 48, fill="core-fill" if core else "pale", stroke="core" if core else "rule")
        draw.text(x + width / 2, y + 21, name, anchor="middle", bold=True)
        draw.text(x + width / 2, y + 38, below, anchor="middle", size=11, color="soft")

    task(152, 84, "Reader", "never waits for you")
    task(320, 84, "Core", "all rules, no tasks", core=True)
    task(488, 84, "Subscriptions", "bounded queues")
    task(320, 174, "Tools", "a scope for each call")
    task(488, 174, "Endpoint", "plays, listens")
    task(152, 264, "Writer", "alone on the socket")
    task(320, 264, "Send queue", "urgent first")
    draw.arrow(98, 108, 152, 108)
    draw.arrow(272, 108, 320, 108)
    draw.arrow(440, 108, 488, 108)
    draw.arrow(608, 108, 674, 108)
    draw.text(650, 102, "events", anchor="middle", size=11, color="soft")
    draw.arrow(366, 132, 366, 174)
    draw.arrow(392, 174, 392, 132)
    draw.text(360, 156, "calls", anchor="end", size=11, color="soft")
    draw.text(398, 156, "outputs", size=11, color="soft")
    draw.arrow(548, 132, 548, 174)
    draw.text(554, 156, "audio", size=11, color="soft")
    draw.arrow(674, 288, 440, 288)
    draw.text(530, 282, "send_message, send_audio", anchor="middle", size=11, color="soft")
    draw.arrow(320, 288, 272, 288)
    draw.arrow(152, 288, 98, 288)
    draw.line(312, 132, 290, 200, color="core", dashed=True)
    draw.arrow(290, 200, 330, 264, color="core", dashed=True)
    draw.text(284, 204, "effects", anchor="end", size=11, color="core")
    draw.text(380, 352, "When the block ends, every task in it has ended.", anchor="middle", size=13, color="core")
    return draw


def ledger(palette: Mapping[str, str]) -> Drawing:
    """What of an answer was received, handed over and heard when the user interrupts."""
    draw = Drawing(800, 320, palette, title="The playback ledger at an interrupt: received, handed over, heard")
    left, cut = 130, 360
    rows = (
        ("received", 640, "pale", "soft"),
        ("handed over", 330, "user-fill", "user"),
        ("heard", 230, "agent-fill", "agent"),
    )
    for number, (name, width, fill, color) in enumerate(rows):
        y = 62 + number * 62
        draw.text(left - 12, y + 27, name, anchor="end", bold=True)
        draw.box(left, y, width, 42, fill=fill, stroke=color)
        draw.wave(left + 6, y + 21, width - 12, 28, color=color, seed=7)
    draw.line(cut, 40, cut, 262, color="cut", width=2.5)
    draw.text(cut, 32, "the user begins to speak", anchor="middle", color="cut", bold=True)
    draw.text(left, 276, "0 ms", size=12, color="soft", anchor="middle")
    draw.text(cut, 280, "heard_ms = 1900", anchor="middle", size=13, color="cut", mono=True)
    draw.text(770, 276, "15 300 ms", size=12, color="soft", anchor="end")
    draw.line(left, 258, 770, 258)
    draw.text(cut + 12, 210, "history, the server and your program all keep this cut", size=12, color="soft")
    draw.text(
        400,
        306,
        "Models speak faster than real time: most of an answer waits when somebody interrupts it.",
        anchor="middle",
        size=12,
        color="soft",
    )
    return draw


def house(palette: Mapping[str, str]) -> Drawing:
    """The layers of the library."""
    draw = Drawing(800, 380, palette, title="The architecture: a pure core, tasks that carry, and the edges")
    draw.box(30, 24, 740, 52, fill="agent-fill", stroke="agent")
    draw.text(400, 46, "Your program", anchor="middle", bold=True)
    draw.text(400, 64, "agents, tools, guardrails, events", anchor="middle", size=12, color="soft")
    draw.box(30, 104, 740, 120, fill="paper", stroke="core", radius=12, dashed=True)
    draw.text(46, 126, "_session: tasks that carry, and decide nothing", size=13, color="core")
    for number, (name, below) in enumerate(
        (
            ("reader, writer", "the socket"),
            ("driver", "carries out effects"),
            ("tool runner", "scopes"),
            ("attachments", "endpoints"),
        )
    ):
        x = 50 + number * 180
        draw.box(x, 142, 160, 60, fill="pale")
        draw.text(x + 80, 168, name, anchor="middle", bold=True)
        draw.text(x + 80, 186, below, anchor="middle", size=11, color="soft")
    draw.box(190, 252, 420, 62, fill="core-fill", stroke="core")
    draw.text(400, 278, "_core: every rule of a conversation", anchor="middle", bold=True)
    draw.text(
        400,
        298,
        "inputs and the time go in, effects come out; no task, no clock, no IO",
        anchor="middle",
        size=12,
        color="soft",
    )
    draw.arrow(300, 202, 300, 252, color="core")
    draw.text(292, 240, "input, now", anchor="end", size=12, color="core")
    draw.arrow(340, 252, 340, 202, color="core")
    draw.text(350, 240, "effects", size=12, color="core")
    draw.arrow(400, 76, 400, 104)
    for x, name, below in ((40, "transport", "WebSocket"), (650, "endpoints", "sound, phone, page")):
        draw.box(x, 252, 120, 62)
        draw.text(x + 60, 278, name, anchor="middle", bold=True)
        draw.text(x + 60, 298, below, anchor="middle", size=11, color="soft")
    draw.arrow(100, 252, 100, 202)
    draw.arrow(130, 202, 130, 252)
    draw.arrow(700, 252, 700, 202)
    draw.arrow(730, 202, 730, 252)
    draw.text(
        400,
        350,
        "The emulator is a server of the same protocol: it stands at the other end of the wire, or in memory.",
        anchor="middle",
        size=12,
        color="soft",
    )
    return draw


def scopes(palette: Mapping[str, str]) -> Drawing:
    """Tasks without an owner, and tasks in a nursery."""
    draw = Drawing(800, 300, palette, title="Background tasks beside a nursery")
    draw.text(200, 34, "asyncio.create_task", anchor="middle", mono=True, size=14)
    draw.text(600, 34, "async with runner.session()", anchor="middle", mono=True, size=14, color="core")
    draw.line(400, 16, 400, 284)
    draw.line(60, 60, 60, 176, width=3, color="ink")
    draw.text(60, 270, "your code", anchor="middle", size=12, color="soft")
    for number, (name, end) in enumerate((("receive loop", 250), ("tool", 210), ("guardrail", 232))):
        x = 150 + number * 84
        draw.arrow(60, 84 + number * 18, x - 4, 84 + number * 18)
        draw.line(x, 84 + number * 18, x, end, width=3, color="user", dashed=True)
        draw.text(x, 270, name, anchor="middle", size=12, color="soft")
    draw.line(40, 176, 360, 176, color="cut", dashed=True)
    draw.text(360, 162, "your code raises", anchor="end", size=12, color="cut", halo=True)
    draw.text(234, 202, "they run on", anchor="middle", size=12, color="cut", halo=True)
    draw.box(440, 60, 330, 176, fill="paper", stroke="core", radius=12, dashed=True)
    draw.line(470, 60, 470, 236, width=3, color="ink")
    draw.text(470, 270, "your code", anchor="middle", size=12, color="soft")
    for number, name in enumerate(("reader", "tool", "guardrail")):
        x = 560 + number * 84
        draw.arrow(470, 84 + number * 18, x - 4, 84 + number * 18)
        draw.line(x, 84 + number * 18, x, 236, width=3, color="core")
        draw.text(x, 270, name, anchor="middle", size=12, color="soft")
    draw.line(446, 176, 764, 176, color="cut", dashed=True)
    draw.text(752, 162, "your code raises", anchor="end", size=12, color="cut", halo=True)
    draw.text(644, 214, "the block ends when they have", anchor="middle", size=12, color="core", halo=True)
    return draw


def reconnect(palette: Mapping[str, str]) -> Drawing:
    """A loss in the middle of the user's sentence."""
    draw = Drawing(800, 330, palette, title="A lost connection in the middle of the user's sentence")
    lanes = (("The user", 70), ("The ring", 130), ("Connection 1", 190), ("Connection 2", 240))
    for name, y in lanes:
        draw.text(118, y + 5, name, anchor="end", bold=True, size=13)
        draw.line(130, y, 780, y)
    lost, back, commit, caught_up = 330, 520, 210, 560
    draw.box(commit, 50, 450, 40, fill="user-fill", stroke="user")
    draw.wave(commit + 6, 70, 438, 28, color="user", seed=3)
    draw.text(commit + 225, 42, "one sentence", anchor="middle", size=12, color="user")
    draw.box(commit, 116, back - commit, 28, fill="pale", stroke="user", dashed=True)
    draw.text((commit + back) / 2, 135, "kept: the audio since the last commit", anchor="middle", size=12, color="soft")
    draw.box(130, 178, lost - 130, 24, fill="core-fill", stroke="core")
    draw.text(lost - 8, 195, "audio goes out", anchor="end", size=12, color="core")
    draw.line(lost, 30, lost, 268, color="cut", width=2)
    draw.text(lost, 24, "the connection is lost", anchor="middle", color="cut", bold=True, size=13)
    draw.box(back, 228, 780 - back, 24, fill="core-fill", stroke="core")
    draw.line(back, 30, back, 268, color="agent", width=2)
    draw.text(back, 24, "dialled again", anchor="middle", color="agent", bold=True, size=13)
    draw.arrow((commit + back) / 2 + 60, 144, caught_up - 20, 228, color="user")
    draw.text(caught_up + 6, 245, "history, the ring, then live audio", size=12, color="core")
    draw.text(425, 245, "attempts: 0.25 s, 0.5 s, 1 s, ...", size=12, color="soft", anchor="middle", halo=True)
    draw.text(430, 290, "The server hears the sentence whole, and once.", anchor="middle", size=13)
    draw.text(
        430,
        312,
        "What was received of an answer plays on meanwhile; then the model is asked for the rest.",
        anchor="middle",
        size=12,
        color="soft",
    )
    return draw


def rollover(palette: Mapping[str, str]) -> Drawing:
    """The second connection beside the first, and the switch at a quiet moment."""
    draw = Drawing(800, 330, palette, title="Rollover: the second connection takes over at a quiet moment")
    lanes = (("The user", 74), ("The agent", 124), ("Connection 1", 184), ("Connection 2", 234))
    for name, y in lanes:
        draw.text(118, y + 5, name, anchor="end", bold=True, size=13)
        draw.line(130, y, 780, y)
    started, switch, limit = 250, 520, 740
    for x, width in ((160, 70), (340, 60), (600, 80)):
        draw.box(x, 58, width, 32, fill="user-fill", stroke="user")
        draw.wave(x + 4, 74, width - 8, 22, color="user", seed=x)
    for x, width in ((236, 80), (410, 90), (690, 80)):
        draw.box(x, 108, width, 32, fill="agent-fill", stroke="agent")
        draw.wave(x + 4, 124, width - 8, 22, color="agent", seed=x)
    draw.box(130, 172, switch - 130, 24, fill="core-fill", stroke="core")
    draw.text(140, 189, "audio, answers", size=12, color="core")
    draw.text(switch + 8, 189, "closed with 1000", size=12, color="soft", halo=True)
    draw.box(started, 222, switch - started, 24, fill="pale", stroke="core", dashed=True)
    draw.text((started + switch) / 2, 239, "settings, history; no audio", anchor="middle", size=12, color="soft")
    draw.box(switch, 222, 780 - switch, 24, fill="core-fill", stroke="core")
    draw.text(switch + 10, 239, "audio, answers", size=12, color="core")
    draw.line(started, 36, started, 262, color="core", dashed=True)
    draw.text(started, 28, "rollover_started", anchor="middle", size=12, color="core", mono=True)
    draw.line(switch, 36, switch, 262, color="agent", width=2)
    draw.text(switch, 28, "rolled_over", anchor="middle", size=12, color="agent", mono=True)
    draw.line(limit, 156, limit, 262, color="cut", width=2)
    draw.text(limit, 278, "60 minutes", anchor="middle", size=12, color="cut")
    draw.text(
        430,
        304,
        "Nobody speaks and no call is under way: the switch is one step, and the user hears nothing of it.",
        anchor="middle",
        size=13,
    )
    return draw


def deadline(palette: Mapping[str, str]) -> Drawing:
    """A scope around a turn, and what leaving it does on the server."""
    draw = Drawing(800, 320, palette, title="A deadline around a turn: what is cancelled, here and on the server")
    for name, y in (("Your program", 84), ("Heard", 150), ("Server", 216)):
        draw.text(118, y + 5, name, anchor="end", bold=True, size=13)
        draw.line(130, y, 780, y)
    begin, created, cut, done, following = 150, 210, 430, 500, 540
    draw.box(begin, 40, cut - begin, 76, fill="paper", stroke="core", radius=10, dashed=True)
    draw.text(begin + 10, 58, "with trio.move_on_after(2):", mono=True, size=12, color="core")
    draw.box(begin + 10, 72, cut - begin - 10, 26, fill="core-fill", stroke="core")
    draw.text(begin + 20, 89, "await session.ask(...)", mono=True, size=12, color="core")
    draw.box(created + 20, 136, cut - created - 20, 28, fill="agent-fill", stroke="agent")
    draw.wave(created + 26, 150, cut - created - 32, 20, color="agent", seed=5)
    draw.box(created, 204, done - created, 24, fill="pale")
    draw.text(created + 10, 221, "the answer is made", size=12, color="soft")
    draw.line(cut, 28, cut, 250, color="cut", width=2)
    draw.text(cut, 22, "the deadline", anchor="middle", color="cut", bold=True, size=13)
    draw.arrow(cut, 100, cut + 26, 204, color="cut")
    draw.text(cut + 24, 128, "cancel, truncate", size=12, color="cut", halo=True)
    draw.text(done + 6, 221, "done", size=12, color="soft", halo=True)
    draw.box(following, 72, 240, 26, fill="core-fill", stroke="core")
    draw.text(following + 10, 89, "await session.ask(...)", mono=True, size=12, color="core")
    draw.arrow(following + 30, 98, following + 40, 204)
    draw.box(following + 40, 204, 200, 24, fill="pale")
    draw.text(following + 50, 221, "the next answer", size=12, color="soft")
    draw.text(
        430,
        282,
        "The block ends at once. The model remembers the words up to the deadline, and nothing after it.",
        anchor="middle",
        size=13,
    )
    draw.text(
        430,
        304,
        "The next question waits for the end of the first answer by itself.",
        anchor="middle",
        size=12,
        color="soft",
    )
    return draw


PICTURES: Mapping[str, Callable[[Mapping[str, str]], Drawing]] = {
    "architecture": house,
    "deadline": deadline,
    "interrupt": interrupt,
    "ledger": ledger,
    "nursery": scopes,
    "reconnect": reconnect,
    "rollover": rollover,
    "session": session,
}


def draw_all() -> dict[str, str]:
    """The SVG of each picture by its file name."""
    return {
        f"{name}{suffix}.svg": picture(palette).svg()
        for name, picture in PICTURES.items()
        for suffix, palette in (("", LIGHT), ("-dark", DARK))
    }


if __name__ == "__main__":
    for name, svg in draw_all().items():
        (STATIC / name).write_text(svg, encoding="utf-8")
