"""The endpoint contract: a session's view of a microphone and speaker, a phone call, a browser or a file.

Theory of operation
1. An endpoint is a duplex audio path. It says in which formats it takes and gives audio, and nothing else about audio:
   ``session.attach`` converts, coalesces, paces and keeps the books.
2. The audio to play comes as one stream. Every piece says where in the stream it ends (`position_ms`), and the endpoint
   reports in the same measure how far it has played (`EndpointLink.heard`). It need not know which item that is.
3. `flush` is synchronous: once it has returned, nothing that was given before will be heard, but for what the last
   report called its tail. Discarded positions are never played, and a late report of one of them is ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from trealtime.audio.formats import AudioFormat

__all__ = ["DTMF_KEYS", "Endpoint", "EndpointLink"]

DTMF_KEYS: Final = frozenset("0123456789*#ABCD")
"""The keys of a telephone: ITU-T Q.23."""


class EndpointLink(Protocol):
    """The session's side of an attached endpoint."""

    def heard(self, position_ms: float, *, tail_ms: float = 0.0) -> None:
        """Report that the far side has played the stream up to `position_ms`.

        `tail_ms` is how much after that will be heard whatever comes, also when `Endpoint.flush` is called now: audio
        that a sound device, for one, has taken and does not give back. An interrupt then cuts where it ends.

        Until the next report, playback is taken to go on in real time through the audio given so far. Call it in the
        Trio thread, as often as the position is known. It never waits.
        """

    def dtmf(self, digit: str) -> None:
        """Report that the user has pressed a key, one of ``0123456789*#ABCD``. The app gets an event."""


class Endpoint(ABC):
    """A duplex audio path; attach it with ``async with session.attach(endpoint)``. Attach each object once."""

    input_format: AudioFormat | None
    """The format of what `receive` returns: G.711, or PCM16 of any rate (`pcm16`). None for an endpoint without input.
    Both formats are read once the endpoint is open."""

    output_format: AudioFormat | None
    """The format that `play` takes. None for an endpoint without output."""

    live: bool = True
    """Whether the user speaks in real time, as into a microphone or a phone; the session then drops audio for which it
    has no room. False for a source that can wait, such as a file."""

    late_frames: int = 0
    """Frames that reached the far side too late to be played without a gap, for `Attachment.statistics`."""

    def __repr__(self) -> str:
        # An endpoint of a program's own may have set neither yet.
        formats = (getattr(self, name, None) for name in ("input_format", "output_format"))
        said, heard = ("none" if each is None else f"{each.name} at {each.rate} Hz" for each in formats)
        return f"<{type(self).__name__}, input {said}, output {heard}>"

    @abstractmethod
    def open(self, link: EndpointLink) -> AbstractAsyncContextManager[None]:
        """Hold the path open: the device, the socket, and the tasks that it needs. `link` is valid inside.

        Leaving the context closes the path. That may take half of the session's `close_timeout_s`; then it is
        cancelled.
        """

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for the next piece of what the user says, of any length. If cancelled, no audio is lost.

        Raises `trio.EndOfChannel` when the far side has left; the attachment then ends in order.
        """

    @abstractmethod
    async def play(self, audio: bytes, position_ms: float) -> None:
        """Take the next piece of the agent's speech, which ends at `position_ms` of the stream.

        `audio` is any number of whole samples. Wait while enough is queued: that paces the session. If cancelled, the
        piece is taken whole or not at all. Raises `trio.BrokenResourceError` when the far side has left; the attachment
        then ends in order.
        """

    @abstractmethod
    def flush(self) -> None:
        """Discard, now, all audio that was given to `play` and has not been heard. Called with none there, do
        nothing.

        Audio that the far side has taken and does not give back goes into `tail_ms` of the reports."""
