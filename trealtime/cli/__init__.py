"""The ``trealtime`` command: ``trealtime demo`` talks to an agent on a page, ``trealtime talk`` in a terminal,
``trealtime init`` writes a project to begin with, ``trealtime emulate`` runs the emulator in a shell,
``trealtime eval`` runs scenarios, ``trealtime timeline`` draws a recorded call, ``trealtime replay`` serves it again,
``trealtime tail`` follows the recordings of running sessions, ``trealtime doctor`` checks the machine and the way to
the service.

Heavy imports wait until a command has been chosen, so ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from trealtime._version import __version__
from trealtime.cli import demo, doctor, emulate, init, replay, tail, talk, timeline
from trealtime.cli import eval as eval_command
from trealtime.terminal import printable

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of the process) and return the exit status.

    Wrong arguments, ``--help`` and ``--version`` raise `SystemExit`, as argparse does.
    """
    parser = argparse.ArgumentParser(prog="trealtime", description="Realtime voice agents for Trio.")
    parser.add_argument("--version", action="version", version=f"trealtime {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    demo.add_parser(commands)
    talk.add_parser(commands)
    init.add_parser(commands)
    emulate.add_parser(commands)
    eval_command.add_parser(commands)
    timeline.add_parser(commands)
    replay.add_parser(commands)
    doctor.add_parser(commands)
    tail.add_parser(commands)
    with _quiet_ctrl_c() as commands_own:
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:  # refused with the usage of the command, not with that of the whole
            commands.choices[arguments.command].error(f"unrecognized arguments: {' '.join(unknown)}")
        if not getattr(arguments, "quiet_ctrl_c", False):
            commands_own()
        try:
            status: int = arguments.run(arguments)
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EPIPE):
                raise
            if error.errno == errno.ENOSPC:  # a reader that has gone wants no word of that
                print(f"trealtime {arguments.command}: {printable(error)}", file=sys.stderr)
            sys.stdout = None  # what it still holds would fail again when Python ends
            return 1
        except (KeyboardInterrupt, BaseExceptionGroup) as error:
            if isinstance(error, BaseExceptionGroup) and error.split(KeyboardInterrupt)[1] is not None:
                raise
            return 128 + signal.SIGINT  # as shells say it
    return status


@contextmanager
def _quiet_ctrl_c() -> Iterator[Callable[[], object]]:
    """Let Ctrl-C end the process without a traceback, until a command handles it by itself, or calls what this yields
    to have Python's KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    finally:
        signal.signal(signal.SIGINT, before)
