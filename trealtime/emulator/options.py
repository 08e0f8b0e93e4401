"""The options of an emulator, and its bounds."""

from __future__ import annotations

from numbers import Real
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from trealtime._secrets import shown
from trealtime.emulator.transcription import PlaceholderTranscriber, Transcriber
from trealtime.emulator.turn_detection import TurnDetectorFactory, make_turn_detector
from trealtime.emulator.voice import ToneVoice, Voice

__all__ = ["EmulatorLimits", "EmulatorOptions", "EventOrder", "Expiry", "SpeechEngines", "check_engine"]

EventOrder = Literal["usual", "other"]
"""The order of events where the protocol leaves it open."""

Expiry = Literal["close", "error"]
"""The end of a session that has lasted too long: 1001, or an ``error`` event with the code ``session_expired`` before
it."""


def _positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not isinstance(value, Real) or not value > 0:
        raise ValueError(f"{attribute.name} must be a positive number, got {value!r}")


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not isinstance(value, Real) or not value >= 0:
        raise ValueError(f"{attribute.name} must be a number of at least 0, got {value!r}")


def check_engine(name: str, engine: object, *methods: str, kind: str) -> None:
    """Raise TypeError, which names the option, unless `engine` has one of these methods. A class is none: it has to be
    called first."""
    if isinstance(engine, type) or not any(callable(getattr(engine, method, None)) for method in methods):
        has = " or ".join(f"`{method}`" for method in methods)
        raise TypeError(f"{name}: got {shown(engine)}, allowed: {kind}, an object with a method {has}")


@attrs.frozen(kw_only=True)
class EmulatorLimits:
    """The bounds of an emulator. Each says what happens when it is reached."""

    max_sessions: int = attrs.field(default=256, validator=_positive)
    """Open sessions; one more is refused with HTTP status 503."""

    max_items: int = attrs.field(default=5_000, validator=_positive)
    """Items of a conversation; the oldest is forgotten, as when it drops out of a model's context."""

    max_audio_bytes: int = attrs.field(default=64 * 2**20, validator=_positive)
    """Audio kept in the items of one session; the oldest can no longer be retrieved, its length stays known."""

    max_out_of_band: int = attrs.field(default=16, validator=_positive)
    """Responses outside the conversation at a time; one more is refused with an ``error``."""

    input_audio_bytes: int = attrs.field(default=32 * 2**20, validator=_positive)
    """Audio in the input buffer of one session that is not committed; the oldest goes."""

    queued_deltas: int = attrs.field(default=32, validator=_positive)
    """Events waiting for a slow client before the making of responses waits too."""

    queued_events: int = attrs.field(default=1_024, validator=_positive)
    """Events waiting for a slow client before its own messages are no longer read."""

    queued_bytes: int = attrs.field(default=16 * 2**20, validator=_positive)
    """Bytes of events waiting for a slow client before its own messages are no longer read. A sideband connection with
    more is closed."""

    unheard_items: int = attrs.field(default=64, validator=_positive)
    """Turns waiting to be transcribed; one more fails to be."""

    log_events: int = attrs.field(default=500, validator=_positive)
    """Events kept in `EmulatedSession.log`; the oldest goes."""

    log_bytes: int = attrs.field(default=64 * 2**20, validator=_positive)
    """Bytes of events kept in `EmulatedSession.log`; the oldest goes."""


@attrs.frozen(kw_only=True)
class EmulatorOptions:
    """The parameters of `open_emulator` that are values; they are explained there."""

    default_model: str = "gpt-realtime"
    realtime_factor: float = attrs.field(default=8.0, validator=_positive)
    delta_ms: int = attrs.field(default=150, validator=_positive)
    first_delta_delay_s: float = attrs.field(default=0.1, validator=_not_negative)
    max_session_s: float = attrs.field(default=3_600.0, validator=_positive)
    close_timeout_s: float = attrs.field(default=2.0, validator=_not_negative)
    event_order: EventOrder = attrs.field(default="usual", validator=attrs.validators.in_(("usual", "other")))
    queue_turns: bool = False
    expiry: Expiry = attrs.field(default="close", validator=attrs.validators.in_(("close", "error")))
    keep_sessions: int = attrs.field(default=0, validator=_not_negative)
    keep_input_audio_s: float = attrs.field(default=0.0, validator=_not_negative)
    record: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    limits: EmulatorLimits = attrs.field(factory=EmulatorLimits)


SpeechChoice = Literal["auto", "local", "tones"]
"""English where ``trealtime[local]`` is installed and else a signal, English or an error, a signal."""


@attrs.frozen(kw_only=True)
class SpeechEngines:
    """Engines that go together; the defaults need numpy alone, hear energy, and speak in tones.

    `trealtime.emulator.local.load_speech` gives a set that hears and speaks words. All sessions of an emulator share
    them, and may use them at the same time.
    """

    turn_detector: TurnDetectorFactory = make_turn_detector
    transcriber: Transcriber = attrs.field(factory=PlaceholderTranscriber)
    voice: Voice = attrs.field(factory=ToneVoice)
    description: str = (
        "The voice is a signal, not speech: it has the length and rhythm of the words. No words are recognised."
    )
    """The engines in a line, for the person who runs the emulator."""

    def __attrs_post_init__(self) -> None:
        check_engine("transcriber", self.transcriber, "transcribe", kind="a Transcriber")
        check_engine("voice", self.voice, "speak", kind="a Voice")
        if not callable(self.turn_detector):
            raise TypeError(f"turn_detector: got {shown(self.turn_detector)}, allowed: a callable that makes detectors")

    async def say(self, text: str, *, voice: str = "cedar", speed: float = 1.0) -> NDArray[np.int16]:
        """Return `text` as the voice speaks it, mono at 24 kHz: a user to test an agent with. If cancelled, it stops
        after the phrase that it is making."""
        chunks = [chunk.samples async for chunk in self.voice.speak(text, voice=voice, speed=speed)]
        return np.concatenate(chunks) if chunks else np.zeros(0, np.int16)
