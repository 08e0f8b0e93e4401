"""A program as an MCP server: messages go to its standard input and come from its standard output, one a line.

The program gets a process group of its own and does not outlive its connection. Closing the connection closes its
input, then sends SIGTERM to the group, then kills it, all within the given grace.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, Final

import anyio
import trio
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from trealtime.mcp.kinds import MCPServerStdioParams

__all__ = ["ProgramEnded", "program_streams"]

_MAX_LINE: Final = 32 * 2**20
"""The longest line; a program that writes a longer one does not speak the protocol."""

_REAPING_S: Final = 1.0
"""Time for the system to end a killed process."""

_CLOSED: Final = (trio.ClosedResourceError, trio.BrokenResourceError)
_CLOSED_STREAM: Final = (anyio.ClosedResourceError, anyio.BrokenResourceError)


class ProgramEnded(Exception):
    """The last message from a program: it ended, closed its output, or does not speak the protocol."""


@asynccontextmanager
async def program_streams(params: MCPServerStdioParams, *, grace_s: float) -> AsyncIterator[Any]:
    """Run the program, and yield the two streams of messages for `mcp.Client`.

    Leaving takes up to `grace_s`; then the program is gone. Raises OSError when it cannot be started.
    """
    process = await trio.lowlevel.open_process(
        [params.command, *params.args],
        stdin=PIPE,
        stdout=PIPE,
        env=get_default_environment() | dict(params.env or {}),
        cwd=params.cwd,
        start_new_session=True,
    )
    # No checkpoint between here and the nursery: a cancellation would leave the program behind.
    to_client, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read, process, to_client)
        nursery.start_soon(_write, process, from_client)
        try:
            yield incoming, outgoing
        finally:
            # Bounded: at the end of its grace the program is killed.
            with trio.CancelScope(shield=True):
                await _end(process, grace_s)
            nursery.cancel_scope.cancel()


async def _read(process: trio.Process, to_client: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    assert process.stdout is not None
    rest = bytearray()
    async with to_client:
        try:
            async for chunk in process.stdout:
                *lines, tail = chunk.split(b"\n")
                for line in lines:
                    rest += line
                    if rest.strip():
                        await to_client.send(_message(bytes(rest)))
                    rest.clear()
                rest += tail
                if len(rest) > _MAX_LINE:
                    why = f"it wrote a line of more than {_MAX_LINE:,} bytes"
                    break
            else:
                why = await _how_it_ended(process)
            await to_client.send(ProgramEnded(why))
        except (*_CLOSED, *_CLOSED_STREAM):
            return


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValueError:
            # Half a surrogate pair, or deeper than pydantic reads: a program's tool may be given either.
            text = json.dumps(json.loads(line), ensure_ascii=False).encode(errors="replace").decode()
            return SessionMessage(jsonrpc_message_adapter.validate_python(json.loads(text), by_name=False))
    except ValueError as error:  # the program prints other text to its output
        return error
    except RecursionError:
        return ValueError("a message is nested too deeply")


async def _how_it_ended(process: trio.Process) -> str:
    with trio.move_on_after(0.2):  # it closes its output a moment before it is gone
        await process.wait()
    if process.returncode is None:
        return "it closed its output"
    if process.returncode < 0:
        return f"it was ended by signal {-process.returncode}"
    return f"it exited with status {process.returncode}"


async def _write(process: trio.Process, from_client: MemoryObjectReceiveStream[SessionMessage]) -> None:
    assert process.stdin is not None
    async with from_client:
        async for item in from_client:
            line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                await process.stdin.send_all(line.encode() + b"\n")
            except _CLOSED:
                return  # the reader notices too, and reports it


async def _end(process: trio.Process, grace_s: float) -> None:
    assert process.stdin is not None
    await process.stdin.aclose()
    if not await _gone(process, grace_s / 2):
        _signal(process, signal.SIGTERM)
        await _gone(process, grace_s / 2)
    # Also when the program itself is gone: it may have left processes behind that nothing else stops.
    _signal(process, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    await _gone(process, _REAPING_S)


async def _gone(process: trio.Process, seconds: float) -> bool:
    with trio.move_on_after(seconds):
        await process.wait()
    return process.returncode is not None


def _signal(process: trio.Process, number: signal.Signals) -> None:
    try:
        if sys.platform == "win32":
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # gone; macOS raises the second for a process that is not reaped yet
        pass
