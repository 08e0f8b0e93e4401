"""A server that follows a script, on a socket or in memory: the emulator's other personality.

Everything but the content is the emulator's: the handshake, keys, faults, limits, the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import trio
import trio.testing

from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.faults import Faults
from trealtime.emulator.options import EmulatorOptions, SpeechEngines
from trealtime.emulator.server import Emulator, EmulatorStatistics, MemoryModel, serving
from trealtime.emulator.session import EmulatedSession, LoggedEvent
from trealtime.testing.script import Event, RealtimeScriptError, Script, Step, accept, emit, flattened
from trealtime.testing.scripted_core import Play, ScriptedCore
from trealtime.transport.memory import MemoryWire

__all__ = ["ScriptedServer", "open_scripted_server"]

_GREETING: Final[Script] = (emit("session.created"), accept("session.update"))
_UNIX_TIME_S: Final = 1_800_000_000.0


@attrs.define(eq=False)
class _Programme:
    """The plays of all connections, in the order in which clients connect."""

    plays: list[Play] = attrs.field(factory=list, init=False)
    strict: bool
    greeting: Script
    stop: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    connected: int = attrs.field(default=0, init=False)

    def add(self, script: Script) -> None:
        self.plays.append(Play(flattened((self.greeting, script)), self.strict, self._fail))

    def make_core(self, ids: Ids, **options: Any) -> ScriptedCore:
        self.connected += 1
        scripts = len(self.plays)
        if self.connected > scripts:
            self.add(())
        core = ScriptedCore(ids, play=self.plays[self.connected - 1], **options)
        if self.strict and self.connected > scripts:
            core.fail(RealtimeScriptError(f"connection {self.connected} of a client, and scripts for {scripts}"))
        return core

    def unconsumed(self) -> Exception | None:
        for number, play in enumerate(self.plays, 1):
            error = play.unconsumed()
            if error is not None:
                if len(self.plays) > 1:
                    error.add_note(f"in the script of connection {number}")
                return error
        return None

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
        self.stop()


@attrs.frozen(eq=False)
class ScriptedServer:
    """A running scripted server; get one from `open_scripted_server`."""

    _emulator: Emulator
    _programme: _Programme

    @property
    def url(self) -> str:
        """Where clients connect. Raises `RuntimeError` when it does not listen."""
        return self._emulator.url

    @property
    def sessions(self) -> tuple[EmulatedSession, ...]:
        """The open connections, oldest first; each has a `log`."""
        return self._emulator.sessions

    @property
    def received(self) -> tuple[Event, ...]:
        """The events of the clients, connection by connection, audio left out."""
        return tuple(event for play in self._programme.plays for event in play.received)

    @property
    def ignored(self) -> tuple[Event, ...]:
        """Events that a lenient script did not expect."""
        return tuple(event for play in self._programme.plays for event in play.ignored)

    @property
    def remaining_steps(self) -> tuple[Step, ...]:
        """The steps that have not been played, of all scripts."""
        return tuple(step for play in self._programme.plays for step in play.remaining_steps)

    def connect(
        self, *, model: str | None = None, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[MemoryWire]:
        """A client's wire, as `Emulator.connect`."""
        return self._emulator.connect(model=model, headers=headers)

    def memory_model(self) -> MemoryModel:
        """A model for `RealtimeRunner` whose sessions are connections to this server, without a socket."""
        return self._emulator.memory_model()

    def statistics(self) -> EmulatorStatistics:
        """Counts so far."""
        return self._emulator.statistics()

    async def wait_played(self) -> None:
        """Wait until every script has been played to its end; for ever, if a client leaves early."""
        await trio.lowlevel.checkpoint()
        while self.remaining_steps:
            await self._emulator.changed.park()

    async def wait_left(self) -> None:
        """Wait until as many clients as there are scripts have connected, and have left."""
        await trio.lowlevel.checkpoint()
        while self._programme.connected < len(self._programme.plays) or self.sessions:
            await self._emulator.changed.park()

    async def _settle(self) -> None:
        """Wait until the clients' events have been looked at, and while a connected client may still play on."""
        await trio.testing.wait_all_tasks_blocked()
        while self.remaining_steps and self.sessions:
            await self._emulator.changed.park()


@asynccontextmanager
async def open_scripted_server(
    *scripts: Script,
    strict: bool = True,
    greet: bool = True,
    listen: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    seed: int = 0,
    faults: Faults | None = None,
    max_session_s: float = 3_600.0,
    close_timeout_s: float = 2.0,
    unix_time_s: float = _UNIX_TIME_S,
    on_event: Callable[[EmulatedSession, LoggedEvent], None] | None = None,
) -> AsyncIterator[ScriptedServer]:
    """A server that follows `scripts`, one for each connection, in the order in which clients connect.

    A script is a sequence of `expect`, `accept`, `emit`, `wait` and `close` steps. With `greet` each begins with
    ``session.created`` and the acceptance of the ``session.update`` that trealtime's sessions open with. In memory
    (`ScriptedServer.memory_model`), and with `listen` on a socket too; the other options are those of `open_emulator`.

    `strict`: each event of the client must be the one that the step expects. If it is not, the block is cancelled and
    raises `UnexpectedRealtimeSend`, which shows the difference and the script. Without `strict` such events are
    answered as every server answers (a ``response.create`` with an empty response) and noted in
    `ScriptedServer.ignored`. An exception of a script's function comes out as it is.

    When the block ends by itself, clients have `close_timeout_s` to finish their scripts; steps that are left then
    raise `UnconsumedRealtimeSteps`. An exception from the block comes out with a note of how far the scripts are.
    """
    programme = _Programme(strict=strict, greeting=_GREETING if greet else ())
    for script in scripts:
        programme.add(script)
    build = partial(
        Emulator,
        options=EmulatorOptions(max_session_s=max_session_s, close_timeout_s=close_timeout_s),
        brain=None,
        speech=SpeechEngines(),
        api_key=api_key,
        seed=seed,
        unix_time_s=unix_time_s,
        faults=faults or Faults(),
        on_event=on_event,
        mcp_servers={},
        make_core=programme.make_core,
    )
    try:
        with trio.CancelScope() as body:
            programme.stop = body.cancel
            async with serving(build, listen=listen, host=host, port=port) as emulator:
                server = ScriptedServer(emulator, programme)
                yield server
                with trio.move_on_after(close_timeout_s):
                    await server._settle()
    except Exception as error:
        if programme.failure is not None:
            raise programme.failure from error
        for play in programme.plays:
            error.add_note(play.progress())
        raise
    if programme.failure is not None:
        raise programme.failure
    unconsumed = programme.unconsumed()
    if unconsumed is not None:
        raise unconsumed
