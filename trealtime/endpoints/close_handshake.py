"""Closing a caller's WebSocket: with a reason that the far side can read, and never in the middle of a message."""

from __future__ import annotations

from typing import Final

import trio

from trealtime.transport.wire import Wire

__all__ = ["close_behind", "close_with_reason"]

_TIMEOUT_S: Final = 2.0

_REASON_BYTES: Final = 123
"""RFC 6455 section 5.5.1."""


async def close_with_reason(wire: Wire, reason: str, *, code: int = 1008) -> None:
    """Close the socket and say why, in as much of `reason` as a close frame holds; takes two seconds at most."""
    with trio.move_on_after(_TIMEOUT_S):
        await wire.aclose(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))


async def close_behind(wire: Wire, written: trio.Event) -> None:
    """Close the socket when its writer has ended, within two seconds.

    A message that is cut in the middle would spoil the close frame behind it. Whoever has no time left for that,
    because they are cancelled, drops the connection.
    """
    until = min(trio.current_effective_deadline(), trio.current_time() + _TIMEOUT_S)
    with trio.CancelScope(shield=True, deadline=until):
        try:
            await written.wait()
        finally:
            await wire.aclose()
