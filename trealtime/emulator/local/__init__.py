"""Speech from wheels alone, with no key and no internet: ``pip install "trealtime[local]"``."""

from trealtime.emulator.local.loading import load_speech, missing_packages, speech_engines

__all__ = ["load_speech", "missing_packages", "speech_engines"]
