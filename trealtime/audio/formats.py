"""The audio formats of the Realtime API, under each name that people use for them.

The API has three (OpenAI's API reference, "Realtime", session.audio.input.format): PCM, 16 bit little-endian mono at
24 kHz, and the two G.711 codecs, one byte per sample at 8 kHz. All audio is mono. PCM of other rates serves devices,
files and browsers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from trealtime.errors import AudioFormatError

__all__ = ["G711_ALAW", "G711_ULAW", "PCM16_24K", "AudioFormat", "audio_shown", "parse_audio_format", "pcm16"]

FormatName = Literal["pcm16", "g711_ulaw", "g711_alaw"]
WireType = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]


@attrs.frozen(kw_only=True)
class AudioFormat:
    """One audio format. Take a constant of this module, or make one with `parse_audio_format` or `pcm16`."""

    name: FormatName
    rate: int
    bytes_per_sample: int
    wire_type: WireType

    def to_wire(self) -> dict[str, object]:
        """Return the ``format`` object of a session, such as ``{"type": "audio/pcm", "rate": 24000}``."""
        if self.name == "pcm16":
            return {"type": self.wire_type, "rate": self.rate}
        return {"type": self.wire_type}

    def duration_ms(self, n_bytes: int) -> float:
        """Return how long `n_bytes` of audio last, in milliseconds."""
        return n_bytes * 1000 / (self.rate * self.bytes_per_sample)

    def bytes_for_ms(self, ms: float) -> int:
        """Return the number of bytes in `ms` of audio, rounded down to whole samples.

        Rounded down, because a truncation must not claim more audio than was there.
        """
        # The nudge undoes float error: bytes_for_ms(duration_ms(n)) is n for whole samples.
        return int(ms * self.rate / 1000 + 1e-6) * self.bytes_per_sample

    def __str__(self) -> str:
        return self.name


def audio_shown(n_bytes: int, audio_format: AudioFormat) -> str:
    """Return a short description such as ``"2.7 s of pcm16"``."""
    return f"{audio_format.duration_ms(n_bytes) / 1000:.1f} s of {audio_format}"


PCM16_24K = AudioFormat(name="pcm16", rate=24_000, bytes_per_sample=2, wire_type="audio/pcm")
G711_ULAW = AudioFormat(name="g711_ulaw", rate=8_000, bytes_per_sample=1, wire_type="audio/pcmu")
G711_ALAW = AudioFormat(name="g711_alaw", rate=8_000, bytes_per_sample=1, wire_type="audio/pcma")


def pcm16(rate: int) -> AudioFormat:
    """Return the format PCM16, mono, little-endian, at `rate` samples per second. The API itself has only 24 kHz.

    Raises `AudioFormatError` for a rate that is not a whole number from 8000 to 192000.
    """
    if type(rate) is not int or not 8_000 <= rate <= 192_000:  # a bool is no rate
        raise AudioFormatError(f"rate must be a whole number from 8000 to 192000 samples per second, got {rate!r}")
    return attrs.evolve(PCM16_24K, rate=rate)


_SPELLINGS: Mapping[str, AudioFormat] = {
    "pcm16": PCM16_24K,
    "pcm": PCM16_24K,
    "audio/pcm": PCM16_24K,
    "g711_ulaw": G711_ULAW,
    "pcmu": G711_ULAW,
    "audio/pcmu": G711_ULAW,
    "g711_alaw": G711_ALAW,
    "pcma": G711_ALAW,
    "audio/pcma": G711_ALAW,
}


def parse_audio_format(value: object) -> AudioFormat:
    """Return the format that `value` names.

    `value` is a name in any case (``"pcm16"``, ``"pcm"``, ``"audio/pcm"``, ``"g711_ulaw"``, ``"pcmu"``,
    ``"audio/pcmu"``, ``"g711_alaw"``, ``"pcma"``, ``"audio/pcma"``), a mapping with ``type`` and maybe ``rate``, an
    object with such attributes, or an `AudioFormat`. A rate may be left out or None.

    Raises `AudioFormatError`, which lists the names that are allowed, for any other value and for a rate that the API
    does not have: audio sent at it would be heard at the wrong speed.
    """
    if isinstance(value, AudioFormat):
        return value
    name: object
    rate: object
    if isinstance(value, str):
        name, rate = value, None
    elif isinstance(value, Mapping):
        name, rate = value.get("type"), value.get("rate")
    else:
        name, rate = getattr(value, "type", None), getattr(value, "rate", None)
    found = _SPELLINGS.get(name.strip().lower()) if isinstance(name, str) else None
    if found is None:
        raise AudioFormatError(
            f"unknown audio format {value!r}; allowed: {', '.join(_SPELLINGS)}, or a mapping with such a 'type'"
        )
    if rate is not None and rate != found.rate:
        raise AudioFormatError(
            f"audio format {found}: rate {rate!r} is not possible, the Realtime API has only {found.rate}"
        )
    return found
