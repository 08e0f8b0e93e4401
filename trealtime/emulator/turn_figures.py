"""Figures of the turns that a session has answered, made from the events that pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import attrs

from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.errors import AudioFormatError
from trealtime.protocol.lenient import as_text, within

__all__ = ["ServedTurn", "TurnFigures"]

_KEPT: Final = 1_000

ServedTurnSource = Literal["speech", "text", "tool", "request"]


@attrs.frozen(kw_only=True)
class ServedTurn:
    """One response in the conversation, from the server's side.

    `source` is what it answers: ``"speech"``, ``"text"``, the output of a ``"tool"``, or nothing but the ``"request"``.
    Times are seconds of `trio.current_time`, None where the thing did not happen.
    """

    number: int
    """From 1."""

    response_id: str
    source: ServedTurnSource
    status: str
    """As in ``response.done``: completed, cancelled, failed or incomplete."""

    asked_at: float
    """The user's turn was over, or the client asked; there is nothing to wait for from then on."""

    transcribed_at: float | None = None
    created_at: float
    first_text_at: float | None = None
    first_audio_at: float | None = None
    done_at: float
    audio_s: float = 0.0
    """The length of the audio that was sent."""

    calls: tuple[str, ...] = ()
    """The names of the functions that were called."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def first_audio_s(self) -> float | None:
        """From `asked_at` to the first audio."""
        return None if self.first_audio_at is None else self.first_audio_at - self.asked_at

    def __str__(self) -> str:
        """Return the figures in a line."""
        told = [f"turn {self.number}, {self.source}, {self.status}"]
        if self.transcribed_at is not None:
            told.append(f"words after {self.transcribed_at - self.asked_at:.2f} s")
        if self.first_audio_s is not None:
            told.append(f"first audio after {self.first_audio_s:.2f} s")
        elif self.first_text_at is not None:
            told.append(f"first text after {self.first_text_at - self.asked_at:.2f} s")
        if self.audio_s:
            sent_in_s = self.done_at - (self.first_audio_at or self.done_at)
            told.append(f"{self.audio_s:.1f} s of audio in {sent_in_s:.1f} s")
        if self.calls:
            told.append(f"calls {', '.join(self.calls)}")
        told.append(f"{self.input_tokens} + {self.output_tokens} tokens")
        return "; ".join(told)


@attrs.define
class _Under:
    """A response under way."""

    source: ServedTurnSource
    asked_at: float
    transcribed_at: float | None
    created_at: float
    audio_format: AudioFormat
    first_text_at: float | None = None
    first_audio_at: float | None = None
    audio_characters: int = 0
    """Of base64."""


@attrs.define(eq=False)
class TurnFigures:
    """Follows the events of one session; `turns` are the newest thousand, oldest first."""

    turns: deque[ServedTurn] = attrs.field(factory=lambda: deque(maxlen=_KEPT), init=False)
    _number: int = attrs.field(default=0, init=False)
    _source: ServedTurnSource = attrs.field(default="request", init=False)
    _asked_at: float | None = attrs.field(default=None, init=False)
    _transcribed_at: float | None = attrs.field(default=None, init=False)
    _open: dict[str, _Under] = attrs.field(factory=dict, init=False)

    def note_client(self, event: Mapping[str, Any], at: float) -> None:
        """Follow an event of the client."""
        kind = event.get("type")
        if kind == "conversation.item.create":
            item = event.get("item")
            kind_of_item = item.get("type") if isinstance(item, Mapping) else None
            self._source = "tool" if kind_of_item == "function_call_output" else "text"
            self._asked_at, self._transcribed_at = None, None
        elif kind == "response.create" and self._asked_at is None:
            self._asked_at = at

    def note_server(self, event: Mapping[str, Any], at: float) -> None:
        """Follow an event of the server, which may be one of a script's and have anything in it."""
        match event:
            case {"type": "input_audio_buffer.committed"}:
                self._source, self._asked_at, self._transcribed_at = "speech", at, None
            case {"type": "conversation.item.input_audio_transcription.completed"}:
                self._heard(at)
            case {"type": "response.created", "response": {"id": str(response_id), "conversation_id": str()} as begun}:
                asked_at = at if self._asked_at is None else self._asked_at
                self._open[response_id] = _Under(self._source, asked_at, self._transcribed_at, at, _format_of(begun))
                self._source, self._asked_at, self._transcribed_at = "request", None, None
            case {
                "type": "response.output_text.delta" | "response.output_audio_transcript.delta",
                "response_id": str(response_id),
            }:
                under_way = self._open.get(response_id)
                if under_way is not None and under_way.first_text_at is None:
                    under_way.first_text_at = at
            case {"type": "response.output_audio.delta", "response_id": str(response_id), "delta": str(delta)}:
                speaking = self._open.get(response_id)
                if speaking is not None:
                    speaking.first_audio_at = at if speaking.first_audio_at is None else speaking.first_audio_at
                    speaking.audio_characters += len(delta)
            case {"type": "response.done", "response": {"id": str(response_id), **response}}:
                self._done(response_id, response, at)

    def _heard(self, at: float) -> None:
        waiting = [under for under in self._open.values() if under.source == "speech" and under.transcribed_at is None]
        if waiting:
            waiting[-1].transcribed_at = at
        elif self._source == "speech":
            self._transcribed_at = at

    def _done(self, response_id: str, response: Mapping[Any, Any], at: float) -> None:
        under = self._open.pop(response_id, None)
        if under is None:
            return
        self._number += 1
        output = response.get("output")
        items = output if isinstance(output, list) else []
        usage = response.get("usage")
        tokens = usage if isinstance(usage, Mapping) else {}
        self.turns.append(
            ServedTurn(
                number=self._number,
                response_id=response_id,
                source=under.source,
                status=str(response.get("status")),
                asked_at=under.asked_at,
                transcribed_at=under.transcribed_at,
                created_at=under.created_at,
                first_text_at=under.first_text_at,
                first_audio_at=under.first_audio_at,
                done_at=at,
                audio_s=under.audio_format.duration_ms(under.audio_characters * 3 // 4) / 1000,
                calls=tuple(_called(items)),
                input_tokens=tokens.get("input_tokens") or 0,
                output_tokens=tokens.get("output_tokens") or 0,
            )
        )


def _format_of(response: Mapping[Any, Any]) -> AudioFormat:
    name = as_text(within(response, "audio", "output", "format", "type"))
    try:
        return parse_audio_format(name or "pcm16")
    except AudioFormatError:
        return PCM16_24K


def _called(items: list[Any]) -> Iterator[str]:
    for item in items:
        match item:
            case {"type": "function_call", "name": str(name)}:
                yield name
