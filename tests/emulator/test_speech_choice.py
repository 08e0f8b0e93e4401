"""The `speech` of an emulator as a word."""

from __future__ import annotations

import pytest

from trealtime.emulator import SpeechEngines, open_emulator
from trealtime.emulator.local import loading
from trealtime.emulator.voice import ToneVoice
from trealtime.errors import MissingDependency


async def engines_of(speech) -> SpeechEngines:
    async with open_emulator(listen=False, speech=speech) as emulator:
        return emulator.speech


@pytest.fixture
def without_local(monkeypatch) -> None:
    monkeypatch.setattr(loading, "_is_there", lambda module: False)


@pytest.mark.parametrize("speech", [None, "tones", "auto"])
async def test_without_the_extra_it_speaks_in_tones(without_local, speech) -> None:
    engines = await engines_of(speech)
    assert isinstance(engines.voice, ToneVoice)
    assert "not speech" in engines.description


async def test_local_engines_that_are_missing_are_named_with_both_commands(without_local) -> None:
    with pytest.raises(MissingDependency) as caught:
        await engines_of("local")
    assert 'pip install "trealtime[local]"' in str(caught.value)
    assert 'pip install -e ".[local]"' in str(caught.value)


async def test_auto_takes_the_local_engines_where_they_are(monkeypatch) -> None:
    local = SpeechEngines(description="local")

    async def load_speech() -> SpeechEngines:
        return local

    monkeypatch.setattr(loading, "load_speech", load_speech)
    monkeypatch.setattr(loading, "missing_packages", list)
    assert (await engines_of("auto")).description == "local"
    assert (await engines_of("local")).description == "local"


async def test_the_default_stays_tones_where_the_extra_is_installed(monkeypatch) -> None:
    monkeypatch.setattr(loading, "missing_packages", list)
    assert isinstance((await engines_of(None)).voice, ToneVoice)


async def test_an_engine_given_by_itself_goes_over_the_set() -> None:
    mine = ToneVoice()
    async with open_emulator(listen=False, voice=mine, speech="tones") as emulator:
        assert emulator.speech.voice is mine


async def test_a_word_that_is_no_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="'auto', 'local', 'tones', got 'loud'"):
        await engines_of("loud")


async def test_say_gives_a_sentence_as_samples() -> None:
    samples = await SpeechEngines().say("One two three.")
    assert samples.dtype == "int16"
    assert 0.5 < len(samples) / 24_000 < 3
    assert len(await SpeechEngines().say("")) == 0
