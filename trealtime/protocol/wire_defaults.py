"""Constants of the wire: default settings (peer catalogue 2.3) and the limits that the protocol states."""

from __future__ import annotations

from typing import Final

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_TRANSCRIPTION_MODEL",
    "DEFAULT_VOICE",
    "MAX_APPEND_BYTES",
    "MAX_EVENT_ID_CHARS",
]

DEFAULT_MODEL: Final = "gpt-realtime-2.1"
DEFAULT_VOICE: Final = "ash"
DEFAULT_TRANSCRIPTION_MODEL: Final = "gpt-4o-mini-transcribe"

MAX_APPEND_BYTES: Final = 15 * 1024 * 1024
"""Audio of one ``input_audio_buffer.append`` (protocol reference 8)."""

MAX_EVENT_ID_CHARS: Final = 512
"""Length of a client's ``event_id`` (protocol reference 2)."""
