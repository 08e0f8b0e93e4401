"""How an emulator that a command runs hears and speaks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trealtime.emulator.speech import SpeechEngines

__all__ = ["add_speech_option", "speech_engines"]


def add_speech_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--speech`` to a command."""
    parser.add_argument(
        "--speech",
        choices=("auto", "local", "tones"),
        default="auto",
        help="local: hear and speak English, with trealtime[local]; tones: a signal in place of a voice, no words; "
        "auto: local where it is installed (default: %(default)s)",
    )


async def speech_engines(wanted: str) -> SpeechEngines:
    """The engines for what ``--speech`` says. Raises `MissingDependency` for ``local`` where it is not installed."""
    from trealtime.emulator.local import load_speech, missing_packages
    from trealtime.emulator.speech import SpeechEngines

    if wanted == "tones" or (wanted == "auto" and missing_packages()):
        return SpeechEngines()
    return await load_speech()
