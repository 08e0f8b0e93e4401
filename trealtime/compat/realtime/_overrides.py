"""Subclasses of the WebSocket model that override methods which the SDK's model calls.

Programs do that to look at events of the server before the session does: to decide about interruptions themselves, or
to speak to a server that differs from the service. `EventHook` connects such a model, and calls its `_handle_ws_event`
with each event. `notice_overrides` tells which of its methods nothing calls here.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from trealtime._log import Log
from trealtime._secrets import stand_in, withheld
from trealtime.terminal import text_of
from trealtime.transport.wire import Wire, WireClosed, WireStatistics

if TYPE_CHECKING:
    from trealtime.transport.models import ConnectionTarget
    from trealtime.transport.models import RealtimeModel as NativeModel

__all__ = ["EMITTED", "EventHook", "notice_overrides", "overrides"]

_LOGGER: Final = Log("trealtime.session")

EMITTED: Final = "trealtime.compat.emitted"
"""The type under which a server event travels that goes to the app and to listeners, and not into the session."""

_NOT_CALLED_HERE: Final = frozenset(
    {
        "_cancel_response",
        "_create_websocket_connection",
        "_get_playback_state",
        "_get_session_config",
        "_handle_audio_delta",
        "_handle_conversation_item",
        "_handle_output_item",
        "_interrupt_audio_playback",
        "_listen_for_messages",
        "_send_audio",
        "_send_interrupt",
        "_send_raw_message",
        "_send_session_update",
        "_send_tool_output",
        "_send_tracing_config",
        "_send_user_input",
        "_tools_to_session_tools",
        "_update_created_session",
        "_update_session_config",
        "send_event_if",
    }
)
"""Methods that the SDK's model calls, or has called for it, and that nothing calls here."""


def overrides(model: object, name: str, base: type[Any]) -> bool:
    """Return whether the class of `model` has a method `name` of its own, in place of that of `base`."""
    return getattr(type(model), name, None) is not getattr(base, name, None)


def notice_overrides(model: object, base: type[Any]) -> None:
    """Say in the log which methods of `model` do not do what they do in the SDK."""
    kind = type(model).__name__
    idle = sorted(name for name in _NOT_CALLED_HERE if overrides(model, name, base))
    if idle:
        _LOGGER.warning("model %s: nothing calls %s here; a session calls its own", kind, ", ".join(idle))
    if overrides(model, "send_event", base):
        _LOGGER.warning(
            "model %s: send_event is called for messages, audio, interrupts and what the program sends; outputs of "
            "tools, and the requests for the answers to them, leave without it",
            kind,
        )


class EventHook:
    """A `trealtime.RealtimeModel` that connects through `native`, and gives each event to `take` first.

    `take` returns the events that the session is to have in the place of this one.
    """

    def __init__(self, native: NativeModel, take: Callable[[dict[str, Any]], Any], *, of: str) -> None:
        self._native = native
        self._take = take
        self._of = of
        self.reconnects: bool | None = getattr(native, "reconnects", None)

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """Connect as `native` does."""
        async with self._native.connect(target) as wire:
            yield _HookedWire(wire, self._take, of=self._of)


class _HookedWire:
    """A wire whose messages are what the hook makes of those that come."""

    def __init__(self, wire: Wire, take: Callable[[dict[str, Any]], Any], *, of: str) -> None:
        self._wire = wire
        self._take = take
        self._of = of
        self._ready: deque[str | bytes] = deque()

    async def send(self, message: str) -> None:
        await self._wire.send(message)

    async def receive(self) -> str | bytes:
        while not self._ready:
            message = await self._wire.receive()
            event = _event_of(message)
            if event is None:
                return message
            self._ready.extend(json.dumps(each) for each in await self._hooked(event))
        return self._ready.popleft()

    async def _hooked(self, event: dict[str, Any]) -> list[Mapping[str, Any]]:
        try:
            taken: list[Mapping[str, Any]] = await self._take(event)
        except Exception as error:  # the session learns of it as of any lost connection
            names = self._of, type(error).__name__
            _LOGGER.error("_handle_ws_event of %s failed: %s", *names, exc_info=stand_in(error, text_of=withheld))
            reason = f"_handle_ws_event: {type(error).__name__}: {text_of(error)}"
            await self._wire.aclose(1011, reason)
            raise WireClosed(1011, reason, closed_by="network") from error
        return taken

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self._wire.aclose(code, reason)

    def statistics(self) -> WireStatistics:
        return self._wire.statistics()


def _event_of(message: str | bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(message)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
