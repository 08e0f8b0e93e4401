"""The console endpoint: the microphone and the loudspeaker of this machine.

Theory of operation
1. The device's thread calls `_Blocks.block` for every 10 ms. That copies the microphone, lets the speaker fill the
   block, and wakes Trio: no locks, no waiting, and no queue without a bound.
2. `_Blocks.drain`, in Trio's thread, does the rest: the echo gate, the levels, and the report of the heard position,
   from the device's own account of its delay.
3. The echo gate compares the microphone with the audio played in the same block. The gate itself finds the delay
   between them (the device's buffers, the way through the room).
4. A device that stops calling is lost, whether it reports that or not (PortAudio often does not): `receive` and `play`
   then raise.
5. Speaker and gate belong to one rate. Where the device refuses it, the next rate is tried with new ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime.audio.formats import AudioFormat, pcm16
from trealtime.audio.levels import peak_dbfs, rms_dbfs
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.endpoints.audio_device import AudioDevice, DeviceChoice, RateRefused, SoundCard
from trealtime.endpoints.echo_gate import EchoGate, EchoGateStatistics
from trealtime.endpoints.endpoint import Endpoint, EndpointLink
from trealtime.endpoints.speaker import Speaker
from trealtime.errors import AudioDeviceError
from trealtime.transport.background import background_nursery

__all__ = ["AudioLevels", "ConsoleEndpoint", "ConsoleStatistics"]

_LEAD_MS: Final = 200.0
_UNREAD_S: Final = 2.0
_MOST_PASSING: Final = 200
_LEVEL_BLOCKS: Final = 10
_PATIENCE_S: Final = 2.0


@attrs.frozen(kw_only=True)
class AudioLevels:
    """The loudness of the last blocks (100 ms), in dBFS; minus infinity for silence. `heard` is the microphone before
    the echo gate, `played` the loudspeaker."""

    heard_rms_dbfs: float
    heard_peak_dbfs: float
    played_rms_dbfs: float
    played_peak_dbfs: float


@attrs.frozen(kw_only=True)
class ConsoleStatistics:
    """Numbers about a console endpoint: `queued_ms` wait for the loudspeaker, `dropped_ms` of the microphone were lost
    because no task took them, `output_delay_ms` is the device's own delay, `rate` its samples per second. `echo_gate`
    is None without one."""

    rate: int
    blocks: int
    queued_ms: float
    dropped_ms: float
    output_delay_ms: float
    echo_gate: EchoGateStatistics | None


class ConsoleEndpoint(Endpoint):
    """Microphone and loudspeaker: ``async with session.attach(ConsoleEndpoint())``.

    `input_device` and `output_device` are a number or a part of a name (`list_devices`), None for the system's default.
    `rate` is the rate of the device, in samples per second. With None it is 48,000, or the next usual rate that both
    devices accept. `echo_gate` False sends all that the microphone hears, for headphones and for systems that cancel
    echoes themselves. `device` is another device in place of a sound card.

    Opening raises `MissingDependency` without the extra ``console`` or PortAudio, and `AudioDeviceError` when the
    devices cannot be opened. `receive` and `play` raise `AudioDeviceError` when they have gone; `EndpointFailed` of the
    attach block then has it as its cause. Raises `AudioFormatError` or `ValueError` for an impossible rate.
    """

    def __init__(
        self,
        input_device: DeviceChoice = None,
        output_device: DeviceChoice = None,
        *,
        rate: int | None = None,
        echo_gate: bool = True,
        device: AudioDevice | None = None,
    ) -> None:
        self._device = device if device is not None else SoundCard(input_device, output_device, rate=rate)
        self._with_gate = echo_gate
        self._blocks: _Blocks | None = None
        self._take_rate()

    def _take_rate(self) -> None:
        rate = self._device.rate
        self._format: AudioFormat = pcm16(rate)
        self.input_format = self._format
        self.output_format = self._format
        self._speaker = Speaker(rate)
        self._gate = EchoGate(rate) if self._with_gate else None

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Open the device, and hold it open."""
        if self._blocks is not None:
            raise RuntimeError("this ConsoleEndpoint has been opened before: make another one")
        async with background_nursery() as nursery, AsyncExitStack() as stack:
            blocks = await self._open_device(link, stack)
            nursery.start_soon(blocks.watch)
            yield

    async def _open_device(self, link: EndpointLink, stack: AsyncExitStack) -> _Blocks:
        """Open the device at the first rate that it accepts."""
        refused: RateRefused | None = None
        for rate in (self._device.rate, *self._device.other_rates):
            if refused is not None:
                self._device.rate = rate
                self._take_rate()
            self._blocks = blocks = _Blocks(rate, self._speaker, self._gate, link)
            try:
                await stack.enter_async_context(self._device.open(blocks))
            except RateRefused as error:
                refused = refused or error
            else:
                return blocks
        assert refused is not None
        raise refused

    async def receive(self) -> bytes:
        """Wait for audio of the microphone, and return all since the last call as PCM16 at the device's rate.

        An echo is silence in it. If cancelled, no audio is lost. Raises `AudioDeviceError` when the device has gone.
        """
        blocks = self._opened
        await trio.lowlevel.checkpoint()
        while not blocks.heard:
            await blocks.wait()
        heard = np.concatenate(blocks.heard)
        blocks.heard.clear()
        return from_int16(heard, self._format)

    async def play(self, audio: bytes, position_ms: float) -> None:
        """Queue a piece for the loudspeaker; wait while 200 ms are queued.

        If cancelled, the piece is queued whole or not at all. Raises `AudioDeviceError` when the device has gone.
        """
        blocks = self._opened
        await trio.lowlevel.checkpoint()
        while self._speaker.queued_ms >= _LEAD_MS:
            await blocks.wait()
        blocks.check()
        self._speaker.put(to_int16(audio, self._format), position_ms)

    def flush(self) -> None:
        """Fade out within 5 ms of the device's next block. Audio in the device's own buffer is still heard."""
        self._speaker.flush()

    @property
    def levels(self) -> AudioLevels:
        """The loudness of both sides now, for a meter."""
        heard, played = self._blocks.recent() if self._blocks is not None else (_SILENCE, _SILENCE)
        return AudioLevels(
            heard_rms_dbfs=rms_dbfs(heard),
            heard_peak_dbfs=peak_dbfs(heard),
            played_rms_dbfs=rms_dbfs(played),
            played_peak_dbfs=peak_dbfs(played),
        )

    def statistics(self) -> ConsoleStatistics:
        """Return numbers about this endpoint, at any time."""
        blocks = self._blocks
        return ConsoleStatistics(
            rate=self._device.rate,
            blocks=blocks.count if blocks else 0,
            queued_ms=self._speaker.queued_ms,
            dropped_ms=blocks.dropped_ms if blocks else 0.0,
            output_delay_ms=blocks.output_delay_s * 1000 if blocks else 0.0,
            echo_gate=self._gate.statistics() if self._gate else None,
        )

    @property
    def _opened(self) -> _Blocks:
        if self._blocks is None:
            raise RuntimeError("this ConsoleEndpoint is not open: attach it with `async with session.attach(endpoint)`")
        return self._blocks


_SILENCE = np.zeros(0, np.int16)


@attrs.frozen(eq=False)
class _Block:
    heard: NDArray[np.int16]
    played: NDArray[np.int16]
    first_frame: int
    output_delay_s: float


class _Blocks:
    """The blocks on their way between the device's thread and Trio's."""

    def __init__(self, rate: int, speaker: Speaker, gate: EchoGate | None, link: EndpointLink) -> None:
        self._rate = rate
        self._speaker = speaker
        self._gate = gate
        self._link = link
        self._trio = trio.lowlevel.current_trio_token()
        self._passing: deque[_Block] = deque(maxlen=_MOST_PASSING)
        self._next_frame = 0
        self._recent: deque[_Block] = deque(maxlen=_LEVEL_BLOCKS)
        self._woken = trio.Event()
        self._lost: str | None = None
        self.heard: deque[NDArray[np.int16]] = deque()
        self.count = 0
        self.dropped_ms = 0.0
        self.output_delay_s = 0.0

    # ---- the device's thread -------------------------------------------------------------------------------------

    def block(self, captured: NDArray[np.int16], playing: NDArray[np.int16], *, output_delay_s: float) -> None:
        first_frame = self._speaker.fill(playing)
        # Past its bound the deque sheds the oldest block; the first frame of the next one shows that.
        self._passing.append(_Block(captured.copy(), playing.copy(), first_frame, output_delay_s))
        self._soon(self.drain)

    def lost(self, reason: str) -> None:
        self._soon(self.lose, reason)

    def _soon(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            # Idempotent: one call waits in Trio's queue at most, however late Trio is.
            self._trio.run_sync_soon(call, *arguments, idempotent=True)
        except trio.RunFinishedError:
            pass  # a device that could not be closed in time

    # ---- Trio's thread -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take the blocks that have come since the last time."""
        while self._passing:
            block = self._passing.popleft()
            self._drop(block.first_frame - self._next_frame)
            self._next_frame = block.first_frame + len(block.played)
            self.count += 1
            self.output_delay_s = block.output_delay_s
            self._recent.append(block)
            self._hear(self._gate.process(block.heard, block.played) if self._gate else block.heard)
            heard_ms = self._speaker.heard_ms(block.first_frame - block.output_delay_s * self._rate)
            if heard_ms is not None:
                # What the device has taken will be heard, also after a flush.
                self._link.heard(heard_ms, tail_ms=max(0.0, self._speaker.taken_ms - heard_ms))
        self._wake()

    def lose(self, reason: str) -> None:
        """Note that the device has gone."""
        if self._lost is None:
            self._lost = reason
            self._wake()

    async def watch(self) -> None:
        """Notice a device that ends without a report."""
        seen = -1
        while self.count != seen:
            seen = self.count
            await trio.sleep(_PATIENCE_S)
        self.lose(f"the sound device has not asked for audio for {_PATIENCE_S:g} s")

    async def wait(self) -> None:
        """Wait for the next block. Raises `AudioDeviceError` when the device has gone."""
        self.check()
        await self._woken.wait()

    def check(self) -> None:
        """Raise `AudioDeviceError` if the device has gone."""
        if self._lost is not None:
            raise AudioDeviceError(f"{self._lost}: was it unplugged?")

    def recent(self) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Return the last blocks of both sides, joined."""
        blocks = list(self._recent)
        heard, played = [block.heard for block in blocks], [block.played for block in blocks]
        return np.concatenate([_SILENCE, *heard]), np.concatenate([_SILENCE, *played])

    def _hear(self, samples: NDArray[np.int16]) -> None:
        if not len(samples):
            return
        self.heard.append(samples)
        if len(self.heard) > 1 and sum(map(len, self.heard)) > _UNREAD_S * self._rate:
            self._drop(len(self.heard.popleft()))

    def _drop(self, n_frames: int) -> None:
        self.dropped_ms += n_frames * 1000 / self._rate

    def _wake(self) -> None:
        woken, self._woken = self._woken, trio.Event()
        woken.set()
