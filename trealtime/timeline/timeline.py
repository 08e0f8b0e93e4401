"""A timeline: a recorded call, and its drawings."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import attrs

from trealtime._recordings.lines import LineReader
from trealtime.timeline.browser import screenshot
from trealtime.timeline.lanes import SLOW_ANSWER_S, SLOW_SILENCE_S
from trealtime.timeline.model import Call
from trealtime.timeline.page import draw_page
from trealtime.timeline.picture import draw_picture
from trealtime.timeline.reading import SOUND_BYTES, read_call
from trealtime.timeline.sound import SoundBudget
from trealtime.timeline.sound_file import SoundFile
from trealtime.timeline.style import Theme
from trealtime.timeline.words import text_timeline

__all__ = ["Timeline", "read_timeline", "write_sound"]


@attrs.frozen
class Timeline:
    """A recorded call as a picture. `call` has what the drawings show, as values.

    A turn is marked as slow where the first sound of the answer came more than `slow_s` seconds after the end of the
    user's speech (or the request), or where the agent talked on for more than `slow_silence_s` after the user began.
    """

    call: Call
    slow_s: float = attrs.field(default=SLOW_ANSWER_S, kw_only=True)
    slow_silence_s: float = attrs.field(default=SLOW_SILENCE_S, kw_only=True)

    def html(self, *, title: str = "", sound_file: str = "") -> str:
        """Return a page that needs no other file and no network, with the sound of the call in it.

        With `sound_file`, the name of a WAV file that `write_sound` has made beside the page, it plays that instead.
        """
        return draw_page(
            self.call, slow_s=self.slow_s, slow_silence_s=self.slow_silence_s, title=title, sound_file=sound_file
        )

    def svg(self, *, width: int = 1200, theme: Theme = "auto", title: str = "") -> str:
        """Return a picture, `width` pixels wide; ``"auto"`` follows the reader's theme. Raises ValueError for a width
        that is not from 320 to 10,000, and for another theme."""
        if not 320 <= width <= 10_000:
            raise ValueError(f"width is from 320 to 10000 pixels, got {width!r}")
        if theme not in get_args(Theme):
            raise ValueError(f"theme is one of {', '.join(map(repr, get_args(Theme)))}, got {theme!r}")
        return draw_picture(
            self.call,
            width=width,
            theme=theme,
            slow_s=self.slow_s,
            slow_silence_s=self.slow_silence_s,
            title=title,
        )

    def png(self, *, width: int = 1200, theme: Theme = "light", title: str = "") -> bytes:
        """Return the picture as PNG, made by a headless Chromium or Chrome. Raises `MissingDependency` without one.

        It takes a second or two, and blocks: call it from a thread where other tasks run.
        """
        return screenshot(self.svg(width=width, theme=theme, title=title))

    def text(self, *, width: int = 100) -> str:
        """Return the call in lines for a terminal of `width` columns."""
        return text_timeline(self.call, slow_s=self.slow_s, slow_silence_s=self.slow_silence_s, width=width)


def write_sound(timeline: Timeline, recording: str | Path, path: str | Path) -> None:
    """Write the whole sound of a call as a stereo WAV file, left the user, right the agent as it was heard.

    For calls that are too long for the sound to go into the page: the file takes 32,000 bytes a
    second, and the sound no memory.
    `timeline` is that of the file `recording`. Raises `RecordingError` and `OSError`.
    """
    with LineReader(recording, lenient=True) as reader, SoundFile(path, timeline.call) as sound:
        read_call(reader.header, reader, sound=sound)


def read_timeline(
    path: str | Path,
    *,
    slow_s: float = SLOW_ANSWER_S,
    slow_silence_s: float = SLOW_SILENCE_S,
    sound_bytes: int = SOUND_BYTES,
) -> Timeline:
    """Read a recording of any size. At most `sound_bytes` of its sound are kept, at 8,000 bytes a second.

    The part that can be read is drawn, and `Call.problems` says what is missing. Raises `RecordingError` for a file
    that is no recording, and `OSError`.
    """
    with LineReader(path, lenient=True) as reader:
        call = read_call(reader.header, reader, sound=SoundBudget(sound_bytes))
        problems = list(call.problems)
        if reader.problem is not None:
            problems.append(f"it cannot be read to its end: {reader.problem}")
        elif reader.cut:
            problems.append("the end of the file is cut: the process has died, or the call still runs")
    return Timeline(attrs.evolve(call, problems=tuple(problems)), slow_s=slow_s, slow_silence_s=slow_silence_s)
