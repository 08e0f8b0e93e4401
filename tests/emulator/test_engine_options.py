"""Options of the emulator that are no engines, no numbers: refused where they are given."""

from __future__ import annotations

from typing import Any

import pytest

from trealtime.emulator import ScriptedBrain, SpeechEngines, open_emulator
from trealtime.emulator.voice import ToneVoice


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"brain": "gpt"},
            "brain: got 'gpt', allowed: a Brain or a StreamingBrain, an object with a method `reply`",
        ),
        ({"brain": ScriptedBrain}, "brain: got <class"),
        ({"voice": 3}, "voice: got 3, allowed: a Voice, an object with a method `speak`"),
        ({"voice": ToneVoice}, "voice: got <class"),
        ({"transcriber": "whisper"}, "transcriber: got 'whisper', allowed: a Transcriber"),
        ({"turn_detector": "vad"}, "turn_detector: got 'vad', allowed: a callable"),
    ],
)
async def test_an_engine_that_is_none(autojump_clock, options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        async with open_emulator(listen=False, **options):
            pytest.fail("the body must not run")
    assert str(caught.value).startswith(words)


async def test_a_brain_that_streams_needs_no_reply(autojump_clock) -> None:
    class Streams:
        async def stream(self, request: Any) -> Any:
            yield

    async with open_emulator(listen=False, brain=Streams()):
        pass


def test_a_set_of_engines_checks_its_own() -> None:
    with pytest.raises(TypeError, match="voice: got None"):
        SpeechEngines(voice=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["8", None, 0, -1, float("nan")])
async def test_a_speed_that_is_no_positive_number(autojump_clock, value: Any) -> None:
    with pytest.raises(ValueError, match=r"realtime_factor must be a positive number, got "):
        async with open_emulator(listen=False, realtime_factor=value):
            pytest.fail("the body must not run")


@pytest.mark.parametrize("value", ["1", None, -1])
async def test_a_delay_that_is_no_number(autojump_clock, value: Any) -> None:
    with pytest.raises(ValueError, match=r"first_delta_delay_s must be a number of at least 0, got "):
        async with open_emulator(listen=False, first_delta_delay_s=value):
            pytest.fail("the body must not run")
