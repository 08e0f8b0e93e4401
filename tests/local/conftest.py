"""The local speech engines, where `trealtime[local]` is installed."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from trealtime.emulator.local import load_speech, missing_packages
from trealtime.emulator.options import SpeechEngines
from trealtime.emulator.voice import VOICE_RATE


@pytest.fixture
async def engines() -> SpeechEngines:
    missing = missing_packages()
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install trealtime[local]")
    return await load_speech()


_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


class Kit:
    """What these tests share."""

    @staticmethod
    async def say(engines: SpeechEngines, text: str) -> NDArray[np.int16]:
        with trio.fail_after(30):
            return np.concatenate(
                [chunk.samples async for chunk in engines.voice.speak(text, voice="marin", speed=1.0)]
            )

    @staticmethod
    def silence(seconds: float) -> NDArray[np.int16]:
        return np.zeros(round(seconds * VOICE_RATE), np.int16)

    @staticmethod
    def words_of(text: str) -> list[str]:
        """The words of `text`, small numbers as words: recognisers write either."""
        plain = "".join(letter for letter in text.lower() if letter.isalnum() or letter == " ")
        return [_NUMBERS[int(word)] if word.isdigit() and int(word) < len(_NUMBERS) else word for word in plain.split()]


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
