"""Server events for tests that have no server: one at a time, or a whole answer."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from trealtime.emulator.ids import Ids
from trealtime.emulator.options import EmulatorLimits, EmulatorOptions
from trealtime.testing.script import Act, Event
from trealtime.testing.staging import StagedCore

__all__ = ["ServerEvents", "lone_core_options"]

_EXPIRES_AT: Final = 1_800_003_600
_TRANSCRIBED: Final = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}}


class ServerEvents:
    """Makes what a server sends, as dicts in the wire's form; every one is valid unless you say otherwise.

    Its events belong together: an event that does not say which response or item it is about is about the newest.
    ``response.created``, ``response.output_item.added`` and ``input_audio_buffer.speech_started`` begin a new one.
    `seed` decides the ids.
    """

    def __init__(self, seed: int = 0) -> None:
        self._core = StagedCore(Ids(random.Random(seed)), clock=lambda: 0.0, **lone_core_options())
        self.answer({"type": "session.update", "session": _TRANSCRIBED})

    def make(self, type: str, /, **fields: object) -> dict[str, Any]:
        """One event: ``make("response.output_text.delta", delta="Hel")``.

        What is not among `fields` has a default; an object given is put over the default's, field by field. Raises
        `ValueError` for a type that no server sends, or a field that the type does not have.
        """
        event = self._core.emit(type, fields)
        self._core.outlet.take()
        return event

    def play(self, act: Act) -> list[dict[str, Any]]:
        """The events of `a_response`, `a_function_call`, `a_user_turn` or any other act, in order."""
        act.do(self._core)
        return self._core.outlet.take()

    def answer(self, event: Event) -> list[dict[str, Any]]:
        """What any server says to `event` of a client. A ``response.create`` only begins a response: `play` it."""
        self._core.answer(event)
        return self._core.outlet.take()


def lone_core_options() -> Mapping[str, Any]:
    """The arguments of `SessionCore`, but for the clock, where no emulator gives them."""
    options, limits = EmulatorOptions(), EmulatorLimits()
    return {
        "kind": "realtime",
        "model": None,
        "default_model": options.default_model,
        "call_id": None,
        "max_session_s": options.max_session_s,
        "expires_at": _EXPIRES_AT,
        "max_items": limits.max_items,
        "max_audio_bytes": limits.max_audio_bytes,
        "max_out_of_band": limits.max_out_of_band,
    }
