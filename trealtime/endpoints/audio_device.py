"""Audio devices: the seam between the console endpoint and the source of sound, and sound cards by PortAudio.

A device calls its handler once for every block of audio, from any thread. The handler never waits: it copies, and wakes
Trio.

``pip install "trealtime[console]"`` brings the Python side of PortAudio (sounddevice). PortAudio itself comes with it
on macOS and Windows; on Linux it is a package of the distribution.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any, Final, Protocol

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime.endpoints.split_streams import Joint
from trealtime.errors import AudioDeviceError, MissingDependency

__all__ = [
    "AudioDevice",
    "BlockHandler",
    "DeviceChoice",
    "RateRefused",
    "SoundCard",
    "SoundDevice",
    "check_devices",
    "list_devices",
]

DeviceChoice = int | str | None
"""A device by its number or a part of its name, as in `list_devices`; None is the system's default."""

_RATES: Final = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 8_000)
_INVALID_RATE: Final = "-9997"
"""PortAudio's ``paInvalidSampleRate``, which sounddevice writes into its message."""

_BLOCK_MS: Final = 10
_LATENCY_S: Final = 0.04
"""How much the device is asked to buffer: less makes gaps when Python is busy, more is heard after an interrupt."""
_CLOSE_TIMEOUT_S: Final = 2.0
_LONGEST_DELAY_S: Final = 2.0


class BlockHandler(Protocol):
    """The calls that a device makes; none of them waits."""

    def block(self, captured: NDArray[np.int16], playing: NDArray[np.int16], *, output_delay_s: float) -> None:
        """Take one block, `captured` from the microphone, and fill `playing`: mono int16, of the same shape (n,).

        The first sample of `playing` comes out of the loudspeaker `output_delay_s` from now. Both arrays belong to the
        device again once this has returned.
        """

    def lost(self, reason: str) -> None:
        """Note that the device has gone: no more blocks come."""


class AudioDevice(ABC):
    """A microphone and a loudspeaker, mono at `rate` samples per second."""

    rate: int

    other_rates: Sequence[int] = ()
    """Rates to try in this order where opening raises `RateRefused`; `rate` is set to the next one before."""

    @abstractmethod
    def open(self, handler: BlockHandler) -> AbstractAsyncContextManager[None]:
        """Call `handler` for every block, in real time, until the context is left.

        Raises `AudioDeviceError` when the device cannot be opened, and its subclass `RateRefused` when another rate
        may do.
        """


class RateRefused(AudioDeviceError):
    """The device does not run at this rate."""


@attrs.frozen(kw_only=True)
class SoundDevice:
    """One sound device: its `number` or `name` chooses it, `inputs` and `outputs` are its channels."""

    number: int
    name: str
    inputs: int
    outputs: int
    default_rate: int
    is_default_input: bool
    is_default_output: bool

    def __str__(self) -> str:
        sides = [
            f"{side}{' (default)' if default else ''}"
            for side, channels, default in (
                ("microphone", self.inputs, self.is_default_input),
                ("speaker", self.outputs, self.is_default_output),
            )
            if channels
        ]
        return f"{self.number:3}  {self.name}: {', '.join(sides)}, {self.default_rate} Hz"


def list_devices() -> tuple[SoundDevice, ...]:
    """Return the sound devices of this machine, in PortAudio's order; empty where there is none. Blocks for a moment.

    Raises `MissingDependency` without the extra ``console``, or without PortAudio.
    """
    sounddevice = _import_sounddevice()
    default_input, default_output = sounddevice.default.device
    return tuple(
        SoundDevice(
            number=number,
            name=str(device["name"]),
            inputs=int(device["max_input_channels"]),
            outputs=int(device["max_output_channels"]),
            default_rate=round(device["default_samplerate"]),
            is_default_input=number == default_input,
            is_default_output=number == default_output,
        )
        for number, device in enumerate(sounddevice.query_devices())
    )


def check_devices() -> None:
    """Raise `AudioDeviceError` if this machine has no microphone or no loudspeaker; else raise as `list_devices`."""
    devices = list_devices()
    missing = [
        side
        for side, there in (
            ("microphone", any(device.inputs for device in devices)),
            ("loudspeaker", any(device.outputs for device in devices)),
        )
        if not there
    ]
    if missing:
        raise AudioDeviceError(f"this machine has no {' and no '.join(missing)}")


class SoundCard(AudioDevice):
    """A microphone and a loudspeaker of this machine, as one stream in blocks of 10 ms.

    Name each by its number or a part of its name; None is the system's default. With `rate` None it runs at 48,000
    samples per second, or at the next usual rate that both devices accept: many headsets have 16,000 or 8,000 alone.

    Where no rate suits both, each runs at its own in a stream of its own, and its audio is converted. `input_rate` and
    `output_rate` choose those rates.
    """

    def __init__(
        self,
        input_device: DeviceChoice = None,
        output_device: DeviceChoice = None,
        *,
        rate: int | None = None,
        input_rate: int | None = None,
        output_rate: int | None = None,
    ) -> None:
        self.rate = _RATES[0] if rate is None else rate
        self._input, self._output = input_device, output_device
        self._rates = input_rate, output_rate
        self._split = not (input_rate is None and output_rate is None)
        if rate is None and not self._split:
            self.other_rates = (*_RATES[1:], _RATES[0])
        self._refused: set[int] = set()

    @asynccontextmanager
    async def open(self, handler: BlockHandler) -> AsyncIterator[None]:
        """See `AudioDevice.open`. Opening and closing happen in a thread. A device that does not close within 2 s is
        abandoned."""
        closing = False

        def finished() -> None:
            if not closing:
                handler.lost("the sound device has stopped")

        split = self._split or self.rate in self._refused
        start = self._start_two if split else self._start
        try:
            stream = await trio.to_thread.run_sync(start, handler, finished)
        except RateRefused:
            self._refused.add(self.rate)
            raise
        try:
            yield
        finally:
            closing = True
            # A device that was pulled out may never come back from this.
            with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                await trio.to_thread.run_sync(_stop, stream, abandon_on_cancel=True)

    def _start(self, handler: BlockHandler, finished: Callable[[], None]) -> Any:
        sounddevice = _import_sounddevice()

        def callback(
            captured: NDArray[np.int16], playing: NDArray[np.int16], frames: int, time: Any, status: object
        ) -> None:
            delay_s = float(time.outputBufferDacTime - time.currentTime)
            if not 0 < delay_s < _LONGEST_DELAY_S:  # some systems give no times
                delay_s = stream.latency[1]
            handler.block(captured[:, 0], playing[:, 0], output_delay_s=delay_s)

        with self._explained(sounddevice):
            stream = _started(
                sounddevice,
                sounddevice.Stream,
                samplerate=self.rate,
                blocksize=self.rate * _BLOCK_MS // 1000,
                device=(self._input, self._output),
                callback=callback,
                finished_callback=finished,
            )
        return stream

    def _start_two(self, handler: BlockHandler, finished: Callable[[], None]) -> Any:
        """Start a stream for each device, at its own rate."""
        sounddevice = _import_sounddevice()
        with self._explained(sounddevice):
            input_rate, output_rate = (
                given if given is not None else round(sounddevice.query_devices(device, kind)["default_samplerate"])
                for given, device, kind in zip(
                    self._rates, (self._input, self._output), ("input", "output"), strict=True
                )
            )
            joint = Joint(
                handler,
                rate=self.rate,
                input_rate=input_rate,
                output_rate=output_rate,
                block_frames=self.rate * _BLOCK_MS // 1000,
            )

            def hear(captured: NDArray[np.int16], frames: int, time: Any, status: object) -> None:
                joint.hear(captured[:, 0])

            def play(playing: NDArray[np.int16], frames: int, time: Any, status: object) -> None:
                delay_s = float(time.outputBufferDacTime - time.currentTime)
                joint.fill(playing[:, 0], output_delay_s=delay_s if 0 < delay_s < _LONGEST_DELAY_S else _LATENCY_S)

            microphone = _started(
                sounddevice,
                sounddevice.InputStream,
                samplerate=input_rate,
                blocksize=input_rate * _BLOCK_MS // 1000,
                device=self._input,
                callback=hear,
                finished_callback=finished,
            )
            try:
                speaker = _started(
                    sounddevice,
                    sounddevice.OutputStream,
                    samplerate=output_rate,
                    blocksize=output_rate * _BLOCK_MS // 1000,
                    device=self._output,
                    callback=play,
                    finished_callback=finished,
                )
            except BaseException:
                _stop(microphone)
                raise
        return _Two(microphone, speaker)

    @contextmanager
    def _explained(self, sounddevice: ModuleType) -> Iterator[None]:
        """Raise `AudioDeviceError` for what PortAudio refuses."""
        try:
            yield
        except (sounddevice.PortAudioError, ValueError) as error:  # ValueError: no such device, or several
            refused = RateRefused if _INVALID_RATE in str(error) else AudioDeviceError
            raise refused(self._why(error)) from error

    def _why(self, error: Exception) -> str:
        microphone, speaker = (
            "the default" if device is None else repr(device) for device in (self._input, self._output)
        )
        devices = list_devices()
        there = "\n".join(map(str, devices)) if devices else "  none"
        return (
            f"cannot open microphone ({microphone}) and speaker ({speaker}) at {self.rate} Hz: {error}. "
            f"Sound devices of this machine:\n{there}"
        )


@attrs.frozen
class _Two:
    """Two streams that end together."""

    microphone: Any
    speaker: Any

    def abort(self) -> None:
        self.microphone.abort()
        self.speaker.abort()

    def close(self) -> None:
        self.microphone.close()
        self.speaker.close()


def _started(sounddevice: ModuleType, kind: Callable[..., Any], **options: Any) -> Any:
    stream = kind(channels=1, dtype="int16", latency=_LATENCY_S, **options)
    try:
        stream.start()
    except sounddevice.PortAudioError:
        stream.close()
        raise
    return stream


def _stop(stream: Any) -> None:
    stream.abort()
    stream.close()


def _import_sounddevice() -> ModuleType:
    try:
        # By name, because a type checker may or may not find the extra installed.
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise MissingDependency("the microphone and the speaker", extra="console") from error
    except OSError as error:
        raise MissingDependency(
            "the microphone and the speaker",
            extra="console",
            system="PortAudio (Debian, Ubuntu: apt install libportaudio2)",
        ) from error
