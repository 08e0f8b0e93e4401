"""An attached endpoint, as the app sees it."""

from __future__ import annotations

from typing import Literal

import attrs
import trio

from trealtime._core.playback_ledger import PlaybackChange
from trealtime._session.endpoint_input import EndpointInput
from trealtime._session.endpoint_output import EndpointOutput
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.endpoint import Endpoint

__all__ = ["Attachment", "AttachmentStatistics"]


@attrs.frozen(kw_only=True)
class AttachmentStatistics:
    """What has gone through one attachment."""

    endpoint: str
    """The name of the endpoint's class."""
    input_format: AudioFormat | None
    """What the user's audio comes in, None where nobody speaks."""
    output_format: AudioFormat | None
    """What the agent's audio is played in, None where nobody listens."""
    bytes_received: int
    """Of the user's audio."""
    bytes_played: int
    """Of the agent's audio, given to the endpoint."""
    input_dropped_s: float
    """The user's audio for which there was no room in the send queue."""
    input_silence_s: float
    """Silence sent because the user's audio had stopped in mid-word."""
    queue_s: float
    """The agent's audio that the endpoint has and that is still to be heard."""
    underruns: int
    """How often the endpoint had played all that it had, and more of the same item was still to come."""
    late_frames: int
    """`Endpoint.late_frames`."""


class Attachment:
    """An endpoint in use: what ``async with session.attach(endpoint) as attachment`` gives.

    `muted` may be set at any time: True sends silence in place of what the user says.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        input: EndpointInput | None,
        output: EndpointOutput | None,
        ended: trio.Event,
    ) -> None:
        self.endpoint = endpoint
        self._input = input
        self._output = output
        self._ended = ended

    async def wait_closed(self) -> None:
        """Wait until the path is closed: the far side has left, the session has ended, or the endpoint has failed.

        The attach block goes on, except after a failure. If cancelled, nothing has changed.
        """
        await self._ended.wait()

    @property
    def muted(self) -> bool:
        """Whether the session hears silence in place of the user."""
        return self._input is not None and self._input.muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        if self._input is not None:
            self._input.muted = muted

    def duck(self, gain_db: float = -12.0) -> None:
        """Play on, softer by so many decibels, until `resume`. What `hold` has stopped plays on too.

        Raises ValueError for a gain above 0 dB.
        """
        if not gain_db <= 0:
            raise ValueError(f"gain_db must be 0 or below, got {gain_db!r}")
        self._change("duck", 10 ** (gain_db / 20))

    def hold(self) -> None:
        """Stop playback at once and keep what was not heard, until `resume`. The agent's answer goes on being made, and
        can be interrupted."""
        self._change("hold")

    def resume(self) -> None:
        """Play as usual: on from where `hold` stopped, as loud as it comes. What a barge-in policy holds or ducks in
        the meantime stays so until that is decided."""
        self._change("play")

    def statistics(self) -> AttachmentStatistics:
        """Numbers about this attachment; at any time."""
        said, heard = self._input, self._output
        return AttachmentStatistics(
            endpoint=type(self.endpoint).__name__,
            input_format=said.audio_format if said is not None else None,
            output_format=heard.audio_format if heard is not None else None,
            bytes_received=said.bytes_received if said is not None else 0,
            bytes_played=heard.bytes_played if heard is not None else 0,
            input_dropped_s=said.dropped_s if said is not None else 0.0,
            input_silence_s=said.silence_s if said is not None else 0.0,
            queue_s=heard.queue_s if heard is not None else 0.0,
            underruns=heard.underruns if heard is not None else 0,
            late_frames=self.endpoint.late_frames,
        )

    def _change(self, how: Literal["play", "duck", "hold"], gain: float = 1.0) -> None:
        if self._output is not None:
            self._output.change_playback(PlaybackChange(how, gain), by="app")
