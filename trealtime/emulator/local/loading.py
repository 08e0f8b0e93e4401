"""The local speech engines, loaded once in a process and shared by its emulators."""

from __future__ import annotations

import functools
import importlib.util
from typing import get_args

import trio

from trealtime.emulator.options import SpeechChoice, SpeechEngines
from trealtime.emulator.transcription import Transcriber
from trealtime.errors import MissingDependency

__all__ = ["load_speech", "missing_packages", "speech_engines"]

_PACKAGES = {"onnxruntime": "onnxruntime", "hibari": "hibari-tts"}
_RECOGNISERS = {"moonshine_cpp": "moonshine-cpp", "pocketsphinx": "pocketsphinx"}


async def speech_engines(speech: SpeechEngines | SpeechChoice | None) -> SpeechEngines:
    """The engines for the `speech` of an emulator. Cancellation and errors as with `load_speech`.

    Raises ValueError for a word that is no choice.
    """
    if isinstance(speech, SpeechEngines):
        return speech
    choices = get_args(SpeechChoice)
    if speech is not None and speech not in choices:
        raise ValueError(f"speech must be SpeechEngines or one of {', '.join(map(repr, choices))}, got {speech!r}")
    if speech in (None, "tones") or (speech == "auto" and missing_packages()):
        return SpeechEngines()
    return await load_speech()


def missing_packages() -> list[str]:
    """The packages of ``trealtime[local]`` that are not installed, by the names that pip knows; it imports none."""
    missing = [package for module, package in _PACKAGES.items() if not _is_there(module)]
    return missing if any(map(_is_there, _RECOGNISERS)) else [*missing, *_RECOGNISERS.values()]


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


async def load_speech() -> SpeechEngines:
    """Engines that hear and speak English: Silero finds turns, Moonshine writes them down, hibari speaks.

    PocketSphinx takes Moonshine's place where that has no wheel. Loads the models on the first call, in a thread, which
    takes about a second; later calls share them. If cancelled, waits until they are loaded. Raises `MissingDependency`
    when a package is not installed.
    """
    missing = missing_packages()
    if missing:
        raise MissingDependency("speech in the emulator", extra="local")
    return await trio.to_thread.run_sync(_load)


@functools.cache
def _load() -> SpeechEngines:
    from trealtime.emulator.local.hibari_voice import HibariVoice
    from trealtime.emulator.local.silero import SileroTurns

    transcriber: Transcriber
    if _is_there("moonshine_cpp"):
        from trealtime.emulator.local.moonshine import Moonshine

        transcriber = Moonshine()
    else:
        from trealtime.emulator.local.pocketsphinx_ear import PocketSphinx

        transcriber = PocketSphinx()
    return SpeechEngines(
        turn_detector=SileroTurns(),
        transcriber=transcriber,
        voice=HibariVoice(),
        description=f"It hears and speaks English: Silero finds turns, {type(transcriber).__name__} writes them down, "
        "hibari speaks.",
    )
