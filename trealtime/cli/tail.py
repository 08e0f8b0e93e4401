"""``trealtime tail``: the turns of running sessions, a line each, from their recordings.

Exit status: 0 when Ctrl-C has ended it, or with --once; 2 for a folder that cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trealtime.cli.options import number
from trealtime.terminal import printable

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "tail",
        help="follow running sessions by their recordings",
        description="Follow the recordings in a folder: a line for each turn, with its figures, and for each failure. "
        "No line has words of people. Ctrl-C ends it.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the sessions are recorded")
    parser.add_argument("--all", action="store_true", help="also what is in the recordings already")
    parser.add_argument("--once", action="store_true", help="all that is there, and end")
    milliseconds = number(float, least=0, most=1e7, what="milliseconds, 0 or more")
    parser.add_argument(
        "--slow",
        type=milliseconds,
        default=1500,
        metavar="MS",
        help="mark answers heard later than this (default: 1500)",
    )
    seconds = number(float, least=0.05, most=3600, what="seconds, from 0.05 to 3600")
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="how often to look (default: 1)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import trio

    from trealtime.cli.tail_reading import Folder

    folder = Folder(arguments.folder, arguments.slow / 1000, whole=arguments.all or arguments.once)

    async def follow() -> None:
        while True:
            for line in folder.next_lines():
                print(line, flush=True)
            if arguments.once:
                return
            await trio.sleep(arguments.interval)

    try:
        trio.run(follow)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        print(f"trealtime tail: {arguments.folder}: {printable(error.strerror or error)}", file=sys.stderr)
        return 2
    return 0
