"""``trealtime replay``: a recorded server, again, for any client on this machine."""

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
        "replay",
        help="serve a recorded call to a client",
        description="Serve the recorded server's side of a call to the first client that connects, as long after the "
        "client's events as it took then. Exit status: 0 when the whole call was replayed, 1 when the client sent "
        "something else or left early, 2 for a file that is no recording.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, such as call.jsonl.gz")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    port = number(int, least=0, most=65535, what="a port from 0 to 65535")
    parser.add_argument("--port", type=port, default=0, help="the port (default: any that is free)")
    parser.add_argument("--strict", action="store_true", help="end when the client sends what was not recorded")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import trio

    from trealtime.errors import RecordingError
    from trealtime.testing import UnconsumedRealtimeSteps, UnexpectedRealtimeSend

    try:
        trio.run(_serve, arguments)
    except (UnexpectedRealtimeSend, UnconsumedRealtimeSteps) as error:
        return _refuse(str(error), status=1)
    except RecordingError as error:
        return _refuse(str(error), status=2)
    except OSError as error:
        return _refuse(f"{error.filename or arguments.file}: {error.strerror or error}", status=2)
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    from trealtime.recording import replay

    async with replay(
        arguments.file, strict=arguments.strict, listen=True, host=arguments.host, port=arguments.port
    ) as server:
        print(f"replaying {printable(arguments.file.name)} at {server.url} (Ctrl-C ends it)", flush=True)
        await server.wait_left()


def _refuse(message: str, *, status: int) -> int:
    print(f"trealtime replay: {printable(message, newlines=True)}", file=sys.stderr)
    return status
