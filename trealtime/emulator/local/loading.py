"""The local speech engines, loaded once in a process however many emulators use them."""

from __future__ import annotations

import functools
import importlib.util

import trio

from trealtime.emulator.speech import SpeechEngines
from trealtime.errors import MissingDependency

__all__ = ["load_speech", "missing_packages"]

_PACKAGES = {"onnxruntime": "onnxruntime", "hibari": "hibari-tts", "moonshine_cpp": "moonshine-cpp"}


def missing_packages() -> list[str]:
    """The packages of ``trealtime[local]`` that are not installed, by the names that pip knows; it imports none."""
    return [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]


async def load_speech() -> SpeechEngines:
    """Engines that hear and speak English: Silero finds turns, Moonshine writes them down, hibari speaks.

    Loads the models on the first call, in a thread, which takes about a second; later calls share them. If cancelled,
    waits until they are loaded. Raises `MissingDependency` when a package is not installed.
    """
    missing = missing_packages()
    if missing:
        raise MissingDependency("speech in the emulator", extra="local")
    return await trio.to_thread.run_sync(_load)


@functools.cache
def _load() -> SpeechEngines:
    from trealtime.emulator.local.hibari_voice import HibariVoice
    from trealtime.emulator.local.moonshine import Moonshine
    from trealtime.emulator.local.silero import SileroTurns

    return SpeechEngines(
        turn_detector=SileroTurns(),
        transcriber=Moonshine(),
        voice=HibariVoice(),
        description="It hears and speaks English: Silero finds turns, Moonshine writes them down, hibari speaks.",
    )
