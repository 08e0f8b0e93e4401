"""``trealtime timeline``: a recording as a picture of the call."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trealtime._secrets import open_private
from trealtime.cli.options import number
from trealtime.terminal import printable

if TYPE_CHECKING:
    from trealtime.timeline import Timeline

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "timeline",
        help="draw a recorded call",
        description="Draw a recorded call: one page with its sound, which needs no network. Exit status: 0, or 2 for a "
        "file that is no recording.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, such as call.jsonl.gz")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="where to write (default: FILE.html beside FILE)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--svg", action="store_true", help="write one picture as SVG")
    what.add_argument("--png", action="store_true", help="write one picture as PNG (needs Chromium or Chrome)")
    what.add_argument("--text", action="store_true", help="show the call in this terminal")
    width = number(int, least=320, most=10_000, what="a width from 320 to 10000 pixels")
    parser.add_argument("--width", type=width, default=1200, metavar="PIXELS", help="of a picture (default: 1200)")
    parser.add_argument("--theme", choices=("light", "dark", "auto"), help="of a picture (default: auto; PNG: light)")
    milliseconds = number(float, least=0, most=1e7, what="milliseconds, 0 or more")
    parser.add_argument(
        "--slow",
        type=milliseconds,
        default=1500,
        metavar="MS",
        help="mark answers heard later than this (default: 1500)",
    )
    megabytes = number(float, least=0, most=1000, what="megabytes, from 0 to 1000")
    parser.add_argument(
        "--sound-mb",
        type=megabytes,
        default=16,
        metavar="MB",
        help="the most sound that goes into the page (default: 16, some 35 minutes); more of it goes into a WAV file "
        "beside the page",
    )
    parser.add_argument("--no-sound", action="store_true", help="leave the sound out of the page")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from trealtime.errors import MissingDependency, RecordingError
    from trealtime.timeline import read_timeline

    sound_bytes = 0 if arguments.no_sound or arguments.text else int(arguments.sound_mb * 2**20)
    try:
        timeline = read_timeline(arguments.file, slow_s=arguments.slow / 1000, sound_bytes=sound_bytes)
    except RecordingError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{arguments.file}: {error.strerror or error}")
    for problem in timeline.call.problems:
        print(f"trealtime timeline: {printable(problem)}", file=sys.stderr)
    if arguments.text and arguments.output is None:
        print(timeline.text(width=shutil.get_terminal_size((100, 24)).columns), end="")
        return 0
    output = arguments.output if arguments.output is not None else _beside(arguments)
    try:
        if output.exists() and output.samefile(arguments.file):
            return _refuse(f"--output {output} would overwrite the recording")
        drawing = _drawing(timeline, arguments, output)
        with open_private(output) as file:
            file.write(drawing)
    except (MissingDependency, RuntimeError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or output}: {error.strerror or error}")
    print(printable(output))
    return 0


def _drawing(timeline: Timeline, arguments: argparse.Namespace, output: Path) -> bytes:
    if arguments.png:
        return timeline.png(width=arguments.width, theme=arguments.theme or "light")
    if arguments.text:
        return timeline.text().encode("utf-8")
    if arguments.svg:
        return timeline.svg(width=arguments.width, theme=arguments.theme or "auto").encode("utf-8")
    sound = output.with_name(f"{output.stem}-sound.wav")  # another name than that of a file of `talk --save`
    if timeline.call.sound_left_out and timeline.call.header.get("audio") == "keep" and not arguments.no_sound:
        from trealtime.timeline import write_sound

        write_sound(timeline, arguments.file, sound)
        print(printable(sound))
        return timeline.html(title=arguments.file.name, sound_file=sound.name).encode("utf-8")
    return timeline.html(title=arguments.file.name).encode("utf-8")


def _beside(arguments: argparse.Namespace) -> Path:
    name = arguments.file.name.removesuffix(".gz").removesuffix(".jsonl")
    suffix = ".png" if arguments.png else ".svg" if arguments.svg else ".html"
    beside: Path = arguments.file.with_name(name + suffix)
    return beside


def _refuse(message: str) -> int:
    print(f"trealtime timeline: {printable(message, newlines=True)}", file=sys.stderr)
    return 2
