"""What `talk --save` writes of a sound device where the disk is slow."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from trealtime.cli.saving_device import SavingDevice
from trealtime.endpoints.audio_device import AudioDevice, BlockHandler

RATE = 8_000
BLOCK = np.full(RATE // 10, 7, np.int16)
"""A tenth of a second."""


class HandDevice(AudioDevice):
    """A device whose blocks come when the test says so."""

    rate = RATE
    handler: Any

    @asynccontextmanager
    async def open(self, handler: BlockHandler) -> AsyncIterator[None]:
        self.handler = handler
        yield

    def run(self, seconds: int) -> None:
        for _ in range(seconds * 10):
            self.handler.block(BLOCK, -BLOCK, output_delay_s=0.0)


class Ears(BlockHandler):
    def __init__(self) -> None:
        self.blocks = 0

    def block(self, captured: object, playing: object, *, output_delay_s: float) -> None:
        self.blocks += 1

    def lost(self, reason: str) -> None:
        raise AssertionError


def seconds_in(path: Path) -> float:
    with wave.open(str(path)) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert (frames == [7, -7]).all()
    return len(frames) / RATE


async def test_sound_that_waits_for_the_disk_is_bounded_and_its_end_is_an_error(
    autojump_clock: object, tmp_path: Path
) -> None:
    device, ears = HandDevice(), Ears()

    async def call() -> None:
        async with SavingDevice(device, tmp_path / "call.wav").open(ears):
            device.run(90)  # in one step: nothing is written meanwhile
            await trio.sleep_forever()

    told = pytest.RaisesExc(TimeoutError, match=r"call.wav: the disk has taken no sound for 60 s$")
    with pytest.RaisesGroup(told):
        await call()
    assert ears.blocks == 900, "the conversation goes on"
    assert seconds_in(tmp_path / "call.wav") == 60


async def test_it_is_an_error_too_where_the_call_ends_before_the_disk_goes_on(
    autojump_clock: object, tmp_path: Path
) -> None:
    device = HandDevice()

    async def call() -> None:
        async with SavingDevice(device, tmp_path / "call.wav").open(Ears()):
            device.run(61)

    with pytest.raises(TimeoutError):
        await call()
    assert seconds_in(tmp_path / "call.wav") == 60


async def test_a_disk_that_keeps_up_takes_calls_of_any_length(autojump_clock: object, tmp_path: Path) -> None:
    device = HandDevice()
    async with SavingDevice(device, tmp_path / "call.wav").open(Ears()):
        for _ in range(4):
            device.run(50)
            while device.handler.blocks:  # noqa: ASYNC110  (a thread takes them)
                await trio.sleep(1)
    assert seconds_in(tmp_path / "call.wav") == 200
