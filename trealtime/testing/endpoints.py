"""The test that every endpoint must pass."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import attrs
import numpy as np
import trio

from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.endpoints.endpoint import Endpoint, EndpointLink
from trealtime.endpoints.speaker import ClockSpeaker
from trealtime.testing.schedules import CancelHere, cancel_at_each_checkpoint

__all__ = ["FarSide", "MemoryEndpoint", "check_endpoint"]

_CHECK_LIMIT_S: Final = 3600
_TONE_HZ: Final = 440.0
_FRAME_MS: Final = 20

MakeEndpoint = Callable[[], AbstractAsyncContextManager[tuple[Endpoint, "FarSide"]]]


class FarSide(Protocol):
    """The other end of an endpoint, as `check_endpoint` needs it."""

    async def say(self, audio: bytes) -> None:
        """Let the user say this, in the endpoint's `input_format`. Called only if there is one."""

    def heard(self) -> bytes:
        """Return all audio heard there so far, in the endpoint's `output_format`, without the pauses in between."""
        ...

    async def leave(self) -> None:
        """Let the user leave."""


async def check_endpoint(make: MakeEndpoint, *, tolerance_ms: float = 20.0, realtime: bool = True) -> None:
    """Hold an `Endpoint` to the contract.

    Raises AssertionError that says what it breaks, or `trio.TooSlowError` where it gets stuck; a note names the check.

    ``make()`` is an async context manager that gives an endpoint, not yet open, and its `FarSide`; it is entered many
    times. Run it under a mock clock: it plays for ten minutes. `tolerance_ms` bounds the error of reported positions,
    and the audio that may still be heard after a flush. `realtime` False says that the far side hears everything at
    once.
    """
    rig = _Rig(make, tolerance_ms)
    checks: list[Callable[[_Rig], Awaitable[None]]] = [_an_endpoint_that_is_left_at_any_point_leaves_nothing]
    async with rig.open() as bench:
        if bench.endpoint.output_format is not None:
            checks += [
                _what_is_played_is_heard,
                _pieces_of_any_length_are_played,
                _reports_say_what_was_heard,
                _a_flush_with_nothing_to_throw_away_does_nothing,
                _a_play_that_is_cancelled_was_taken_whole_or_not_at_all,
            ]
            if realtime:
                checks += [_a_flush_in_the_step_after_a_play_silences_it]
                checks += [_a_flush_silences_at_once, _ten_minutes_take_ten_minutes]
        if bench.endpoint.input_format is not None:
            checks += [
                _what_is_said_is_received,
                _a_receive_that_is_cancelled_loses_nothing,
                _when_the_far_side_has_left_receive_says_so,
            ]
    for check in checks:
        try:
            with trio.fail_after(_CHECK_LIMIT_S):
                await check(rig)
        except Exception as exc:
            exc.add_note(f"check_endpoint: {check.__name__.strip('_').replace('_', ' ')}")
            raise


# ---- the means of the checks ----------------------------------------------------------------------------------------


@attrs.frozen
class _Rig:
    make: MakeEndpoint
    tolerance_ms: float

    @asynccontextmanager
    async def open(self) -> AsyncIterator[_Bench]:
        async with self.make() as (endpoint, far):
            bench = _Bench(endpoint, far, self.tolerance_ms)
            async with endpoint.open(bench):
                yield bench


@attrs.define(eq=False)
class _Bench:
    """An open endpoint with its far side; also its link, which checks every report."""

    endpoint: Endpoint
    far: FarSide
    tolerance_ms: float
    given: int = 0
    reports: list[float] = attrs.Factory(list)

    def heard(self, position_ms: float, *, tail_ms: float = 0.0) -> None:
        """`EndpointLink.heard`."""
        last_ms = self.reports[-1] if self.reports else 0.0
        assert position_ms >= last_ms, f"reported {position_ms:.1f} ms after {last_ms:.1f}: positions never go back"
        assert position_ms <= self.given_ms + 1e-3, f"reported {position_ms:.1f} ms, given were {self.given_ms:.1f}"
        end_ms = position_ms + tail_ms
        assert tail_ms >= 0, f"reported a tail of {tail_ms:.1f} ms"
        assert end_ms <= self.given_ms + 1e-3, f"reported a tail to {end_ms:.1f} ms, given were {self.given_ms:.1f}"
        self.reports.append(position_ms)

    def dtmf(self, digit: str) -> None:
        """`EndpointLink.dtmf`."""

    @property
    def output(self) -> AudioFormat:
        assert self.endpoint.output_format is not None
        return self.endpoint.output_format

    @property
    def input(self) -> AudioFormat:
        assert self.endpoint.input_format is not None
        return self.endpoint.input_format

    @property
    def given_ms(self) -> float:
        return self.output.duration_ms(self.given)

    @property
    def heard_ms(self) -> float:
        """The audio heard at the far side."""
        return self.output.duration_ms(len(self.far.heard()))

    async def play(self, audio: bytes) -> None:
        self.given += len(audio)
        await self.endpoint.play(audio, self.given_ms)

    async def play_in_pieces(self, audio: bytes, piece_ms: float = _FRAME_MS) -> None:
        step = self.output.bytes_for_ms(piece_ms)
        for begin in range(0, len(audio), step):
            await self.play(audio[begin : begin + step])

    async def wait_heard(self, ms: float, *, then_s: float = 1.0) -> None:
        """Wait until the far side has heard so much, and `then_s` more for audio that should not follow."""
        with trio.move_on_after(ms / 1000 + 10):
            while self.heard_ms < ms - 1e-3:  # noqa: ASYNC110  (a far side can only be looked at)
                await trio.sleep(_FRAME_MS / 1000)
        await trio.sleep(then_s)

    def check_heard(self, ms: float) -> None:
        assert abs(self.heard_ms - ms) <= self.tolerance_ms, f"of {ms:.1f} ms, {self.heard_ms:.1f} ms were heard"


def _tone(ms: float, audio_format: AudioFormat) -> bytes:
    time_s = np.arange(round(ms * audio_format.rate / 1000)) / audio_format.rate
    return from_int16((np.sin(2 * np.pi * _TONE_HZ * time_s) * 8000).astype(np.int16), audio_format)


def _check_tone(audio: bytes, ms: float, audio_format: AudioFormat, tolerance_ms: float) -> None:
    """Check that `audio` is our tone, of the same length and loudness."""
    got_ms = audio_format.duration_ms(len(audio))
    assert abs(got_ms - ms) <= tolerance_ms, f"of {ms:.1f} ms, {got_ms:.1f} ms arrived"
    samples = to_int16(audio, audio_format).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    loudest_hz = int(spectrum.argmax()) * audio_format.rate / len(samples)
    assert abs(loudest_hz - _TONE_HZ) <= 5, f"a tone of {_TONE_HZ:.0f} Hz became one of {loudest_hz:.0f} Hz"
    level_db = 20 * np.log10(max(float(np.sqrt(np.mean(samples**2))), 1.0) * np.sqrt(2) / 8000)
    assert abs(level_db) <= 1, f"it became {level_db:+.1f} dB louder"


# ---- output ---------------------------------------------------------------------------------------------------------


async def _what_is_played_is_heard(rig: _Rig) -> None:
    async with rig.open() as bench:
        await bench.play_in_pieces(_tone(2000, bench.output))
        await bench.wait_heard(2000)
        _check_tone(bench.far.heard(), 2000, bench.output, bench.tolerance_ms)


async def _pieces_of_any_length_are_played(rig: _Rig) -> None:
    async with rig.open() as bench:
        tone = _tone(1000, bench.output)
        for samples in (1, 7, 3, 100, 1000, 1, len(tone)):
            n_bytes = samples * bench.output.bytes_per_sample
            await bench.play(tone[bench.given : bench.given + n_bytes])
        await bench.wait_heard(1000)
        _check_tone(bench.far.heard(), 1000, bench.output, bench.tolerance_ms)


async def _reports_say_what_was_heard(rig: _Rig) -> None:
    async with rig.open() as bench, trio.open_nursery() as nursery:
        nursery.start_soon(bench.play_in_pieces, _tone(2000, bench.output))
        for _ in range(60):
            await trio.sleep(0.05)
            reported_ms = bench.reports[-1] if bench.reports else 0.0
            assert abs(reported_ms - bench.heard_ms) <= bench.tolerance_ms, (
                f"reported {reported_ms:.1f} ms when {bench.heard_ms:.1f} ms had been heard"
            )
        assert abs(bench.reports[-1] - bench.given_ms) < 1, f"the last report was {bench.reports[-1]:.1f} ms of 2000"


async def _a_flush_silences_at_once(rig: _Rig) -> None:
    async with rig.open() as bench:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.play_in_pieces, _tone(10_000, bench.output))
            await trio.sleep(1.234)
            nursery.cancel_scope.cancel()
        bench.endpoint.flush()
        at_flush_ms, given_ms = bench.heard_ms, bench.given_ms
        await trio.sleep(2)
        bench.check_heard(at_flush_ms)
        silent_ms = bench.heard_ms
        await bench.play_in_pieces(_tone(500, bench.output))
        await bench.wait_heard(silent_ms + 500)
        bench.check_heard(silent_ms + 500)
        stale = [each for each in bench.reports if at_flush_ms + bench.tolerance_ms < each < given_ms]
        assert not stale, f"reported {stale[0]:.1f} ms, which had been thrown away"
        assert abs(bench.reports[-1] - bench.given_ms) < 1, "what came after the flush was not reported"


async def _a_flush_in_the_step_after_a_play_silences_it(rig: _Rig) -> None:
    async with rig.open() as bench:
        for _ in range(2):
            await bench.play(_tone(200, bench.output))
            bench.endpoint.flush()
        await trio.sleep(2)
        bench.check_heard(0)
        await bench.play_in_pieces(_tone(500, bench.output))
        await bench.wait_heard(500)
        bench.check_heard(500)


async def _a_flush_with_nothing_to_throw_away_does_nothing(rig: _Rig) -> None:
    async with rig.open() as bench:
        bench.endpoint.flush()
        await bench.play_in_pieces(_tone(500, bench.output))
        await bench.wait_heard(500)
        bench.endpoint.flush()
        bench.endpoint.flush()
        await bench.play_in_pieces(_tone(500, bench.output))
        await bench.wait_heard(1000)
        bench.check_heard(1000)


async def _a_play_that_is_cancelled_was_taken_whole_or_not_at_all(rig: _Rig) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        async with rig.open() as bench:
            pieces_ms = (500.0, 60.0, 40.0)
            with cancel_here():
                for ms in pieces_ms:
                    await bench.play(_tone(ms, bench.output))
            await trio.sleep(1.2)
            heard_ms = bench.heard_ms
            possible = (0.0, 500.0, 560.0, 600.0)
            assert any(abs(heard_ms - ms) <= bench.tolerance_ms for ms in possible), f"{heard_ms:.1f} ms were heard"
            await bench.play(_tone(200, bench.output))
            await bench.wait_heard(heard_ms + 200, then_s=0.2)
            bench.check_heard(heard_ms + 200)

    await cancel_at_each_checkpoint(scenario)


async def _ten_minutes_take_ten_minutes(rig: _Rig) -> None:
    async with rig.open() as bench:
        began_at = trio.current_time()
        second = _tone(1000, bench.output)
        for _ in range(600):
            await bench.play_in_pieces(second, piece_ms=100)
        while bench.reports[-1] < bench.given_ms - 1:  # noqa: ASYNC110  (as far sides, so their reports)
            await trio.sleep(_FRAME_MS / 1000)
        off_ms = (trio.current_time() - began_at - 600) * 1000
        # The first frame may take a while to get there, and the last to be reported; drift adds up.
        assert abs(off_ms) <= 2 * bench.tolerance_ms + 500, f"ten minutes of audio were off by {off_ms:.0f} ms"


# ---- input ----------------------------------------------------------------------------------------------------------


async def _receive_all(bench: _Bench, ms: float, audio: bytearray) -> None:
    while bench.input.duration_ms(len(audio)) < ms - bench.tolerance_ms:
        audio += await bench.endpoint.receive()


async def _what_is_said_is_received(rig: _Rig) -> None:
    async with rig.open() as bench, trio.open_nursery() as nursery:
        nursery.start_soon(bench.far.say, _tone(2000, bench.input))
        audio = bytearray()
        await _receive_all(bench, 2000, audio)
        _check_tone(bytes(audio), 2000, bench.input, bench.tolerance_ms)


async def _a_receive_that_is_cancelled_loses_nothing(rig: _Rig) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        async with rig.open() as bench:
            audio = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.far.say, _tone(200, bench.input))
                with cancel_here():
                    await _receive_all(bench, 200, audio)
                with trio.move_on_after(10):
                    await _receive_all(bench, 200, audio)
            _check_tone(bytes(audio), 200, bench.input, bench.tolerance_ms)

    await cancel_at_each_checkpoint(scenario)


async def _when_the_far_side_has_left_receive_says_so(rig: _Rig) -> None:
    async with rig.open() as bench:
        await bench.far.leave()
        for _ in range(2):
            left = False
            with trio.move_on_after(10):
                try:
                    for _ in range(1000):
                        await bench.endpoint.receive()
                except trio.EndOfChannel:
                    left = True
            assert left, "the far side has left, and `receive` does not raise trio.EndOfChannel"


# ---- its life -------------------------------------------------------------------------------------------------------


async def _an_endpoint_that_is_left_at_any_point_leaves_nothing(rig: _Rig) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        tasks = len(trio.lowlevel.current_task().child_nurseries)
        # Long enough that a play has begun to wait for its turn; every step of a second is like those before it.
        with cancel_here(), trio.move_on_after(0.3):
            async with rig.open() as bench:
                if bench.endpoint.output_format is not None:
                    await bench.play_in_pieces(_tone(2000, bench.output), piece_ms=100)
        assert len(trio.lowlevel.current_task().child_nurseries) == tasks, "a nursery was left open"

    await cancel_at_each_checkpoint(scenario)


class MemoryEndpoint(Endpoint):
    """A user in this process, for tests of voice agents: `say` speaks for them, `heard` is the audio that they have
    heard.

    They listen in real time by Trio's clock, which under the mock clock takes no time. `room_ms` of audio wait in
    front of them.
    """

    def __init__(
        self,
        input_format: AudioFormat | None = PCM16_24K,
        output_format: AudioFormat | None = PCM16_24K,
        *,
        room_ms: float = 200,
    ) -> None:
        self.input_format = input_format
        self.output_format = output_format
        self._link: EndpointLink | None = None
        self._heard = bytearray()
        self._failure: BaseException | None = None
        self._failed = trio.Event()
        self._say, self._said = trio.open_memory_channel[bytes](math.inf)
        self._speaker = ClockSpeaker(output_format or PCM16_24K, self._hear, room_ms=room_ms)

    # ---- the user ------------------------------------------------------------------------------------------------

    async def say(self, audio: bytes) -> None:
        """Say this, in the input format, all at once."""
        await self._say.send(audio)

    def heard(self) -> bytes:
        """All audio heard so far, in the output format, without the pauses in between."""
        return bytes(self._heard)

    async def leave(self) -> None:
        """Go away."""
        await self._say.aclose()

    def press(self, digit: str) -> None:
        """Press a key of the telephone."""
        assert self._link is not None, "not attached"
        self._link.dtmf(digit)

    def fail(self, error: BaseException) -> None:
        """Have a task of the endpoint raise this."""
        self._failure = error
        self._failed.set()

    # ---- the endpoint --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Open the path to the user."""
        await trio.lowlevel.checkpoint()
        self._link = link
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speaker.run)
            nursery.start_soon(self._break)
            yield
            nursery.cancel_scope.cancel()

    async def receive(self) -> bytes:
        """Wait for the user's next audio."""
        return await self._said.receive()

    async def play(self, audio: bytes, position_ms: float) -> None:
        """Queue this for the user."""
        await self._speaker.put(audio, position_ms)

    def flush(self) -> None:
        """Drop all audio that the user has not heard."""
        self._speaker.flush()

    def _hear(self, audio: bytes, began_at: float, position_ms: float) -> None:
        self._heard += audio
        if self._link is not None:
            self._link.heard(position_ms)

    async def _break(self) -> None:
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure
