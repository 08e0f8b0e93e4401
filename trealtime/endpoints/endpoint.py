"""The endpoint contract: what a microphone and speaker, a phone call, a browser or a file is to a session.

Theory of operation
1. An endpoint is a duplex audio path. It says in which formats it takes and gives audio, and nothing else about audio:
   ``session.attach`` converts, coalesces, paces and keeps the books.
2. What it has to play comes as one stream. Every piece says where in the stream it ends (`position_ms`); the endpoint
   reports how far it has got (`EndpointLink.heard`), in the same measure. Which item that is, is not its business.
3. `flush` is synchronous: when it returns, nothing that was given before will be heard. The positions of what was
   thrown away are never played; a late report of one of them is ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from trealtime.audio.formats import AudioFormat

__all__ = ["Endpoint", "EndpointLink"]


class EndpointLink(Protocol):
    """The session's side of an attached endpoint."""

    def heard(self, position_ms: float) -> None:
        """The far side has played the stream up to here, and plays on: until the next report, in real time, as far as
        it had been given audio. In the Trio thread, as often as is known; never waits."""

    def dtmf(self, digit: str) -> None:
        """The user has pressed a key: one of ``0123456789*#ABCD``. The app gets an event."""


class Endpoint(ABC):
    """A duplex audio path; attach it with ``async with session.attach(endpoint)``. One attachment per object."""

    input_format: AudioFormat | None
    """What `receive` gives: G.711, or PCM16 of any rate (`pcm16`). None: nobody speaks here."""

    output_format: AudioFormat | None
    """What `play` takes. None: nobody listens here. Both formats are read once the endpoint is open."""

    live: bool = True
    """Whether the user speaks in real time, as into a microphone or a phone: then what the session has no room for is
    dropped. False: the source can wait, as a file can."""

    late_frames: int = 0
    """For `Attachment.statistics`: frames that reached the far side too late to be played without a gap."""

    @abstractmethod
    def open(self, link: EndpointLink) -> AbstractAsyncContextManager[None]:
        """Hold the path open: the device, the socket, and whatever tasks it needs. `link` is valid inside.

        Leaving it closes the path, and may take half of the session's `close_timeout_s`; then it is cancelled.
        """

    @abstractmethod
    async def receive(self) -> bytes:
        """The next piece of what the user says, of any length. If cancelled, nothing is lost.

        Raises `trio.EndOfChannel` when the far side has left: the attachment then ends in order.
        """

    @abstractmethod
    async def play(self, audio: bytes, position_ms: float) -> None:
        """Take the next piece of the agent's speech, which ends at `position_ms` of the stream.

        `audio` is whole samples, of any number. Waits while enough is queued: that is what paces the session. If
        cancelled, the piece is taken whole or not at all. Raises `trio.BrokenResourceError` when the far side has left,
        which ends the attachment in order.
        """

    @abstractmethod
    def flush(self) -> None:
        """Throw away, now, whatever was given to `play` and has not been heard. Also with nothing there to throw
        away."""
