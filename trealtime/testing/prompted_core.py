"""A session's engine whose turns and responses a test prompts; everything else in it is the emulator's own.

`PromptedCore` is the base of scripts and `ServerEvents`. It detects no turn and makes no response by itself: `respond`,
`call`, `user_turn` and the like write the events of the live emulator, in its order.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pybase64
from numpy.typing import NDArray

from trealtime.audio.formats import parse_audio_format
from trealtime.audio.pcm import from_int16
from trealtime.emulator.core import SessionCore
from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.items import Item
from trealtime.emulator.response import Response
from trealtime.emulator.turn_detection import SpeechStarted, SpeechStopped, TurnEvent
from trealtime.testing.event_defaults import EventDefaults

__all__ = ["ResponseStatus", "PromptedCore"]

ResponseStatus = Literal["completed", "cancelled", "incomplete", "failed"]

_CHUNK_MS = 200
_MS_PER_CHARACTER = 60
_ARGUMENT_CHARACTERS = 16
_MOST_UNHEARD = 64


class _Prompted:
    """A turn detector that reports the turns that a test prompts."""

    def __init__(self) -> None:
        self.heard: list[TurnEvent] = []
        self.is_speaking = False

    def feed(self, samples: NDArray[np.int16], rate: int) -> list[TurnEvent]:
        heard, self.heard = self.heard, []
        return heard

    def understand(self, words: str) -> None:
        pass

    def reset(self) -> None:
        pass


class PromptedCore(SessionCore):
    """The engine of one session; made with the arguments of `SessionCore`."""

    def __init__(self, ids: Ids, **options: Any) -> None:  # those of SessionCore, from the emulator that makes it
        self._detector = _Prompted()
        super().__init__(ids, **{**options, "make_detector": self._make_prompted})
        self.events: EventDefaults = EventDefaults(ids, self.session_object)
        self.unanswered: deque[Mapping[str, Any]] = deque()
        """Requests for a response that have no event yet."""

        self._asked: deque[Response] = deque()
        self._unheard: deque[Item] = deque(maxlen=_MOST_UNHEARD)
        self._current: Response | None = None

    # ---- single events -----------------------------------------------------------------------------------------

    def emit(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """An event with its defaults; raises `ValueError`, see `EventDefaults.complete`."""
        event = self.events.complete(kind, fields)
        self.event_buffer.put(event)
        return event

    def new_event_id(self) -> str:
        """The ``event_id`` of an event that a test makes by itself."""
        return self._ids.new("event")

    def answer(self, event: Mapping[str, Any]) -> None:
        """Answer this event of the client as any server does. A response begins, and waits for `respond` or `call`."""
        self.receive_live(json.dumps(event))

    def receive_live(self, message: str | bytes) -> dict[str, Any] | None:
        """Take a message as the live emulator does, but make no responses."""
        event = super().receive(message)
        self._collect()
        return event

    # ---- responses ---------------------------------------------------------------------------------------------

    def respond(
        self, text: str, *, audio: bytes | None = None, audio_s: float | None = None, finish: bool = True
    ) -> None:
        """Add a message, spoken or written as the response asks; `audio` is in its format, or silence of that
        length."""
        response = self._response()
        response.close_item()
        response.open_message()
        for piece in _words(text):
            response.add_text(piece)
        if response.modality == "audio":
            fmt = response.audio_format
            if audio is None:
                ms = len(text) * _MS_PER_CHARACTER if audio_s is None else audio_s * 1000
                audio = from_int16(np.zeros(round(fmt.rate * ms / 1000), np.int16), fmt)
            size = fmt.bytes_for_ms(_CHUNK_MS)
            for start in range(0, len(audio), size):
                if response.speech_began_at is None and not response.over:
                    self.responses.note_speech(response)
                response.add_audio(audio[start : start + size])
        if finish:
            self.finish()
        self._collect()

    def call(self, name: str, arguments: Mapping[str, Any] | str, *, finish: bool = True) -> None:
        """A function call."""
        response = self._response()
        text = arguments if isinstance(arguments, str) else json.dumps(dict(arguments))
        response.close_item()
        response.open_call(name)
        for start in range(0, len(text), _ARGUMENT_CHARACTERS):
            response.add_arguments(text[start : start + _ARGUMENT_CHARACTERS])
        response.close_item()
        if finish:
            self.finish()
        self._collect()

    def finish(
        self, status: ResponseStatus = "completed", *, reason: str | None = None, error: Mapping[str, str] | None = None
    ) -> None:
        """End the response under way; one that the client has cancelled has ended."""
        response, self._current = self._current or self._response(), None
        if status == "completed":
            response.close_item()
        self.responses.end(response, status, reason=reason, error=error)  # type: ignore[arg-type]  # any reason may be tried
        self._collect()

    # ---- the user ----------------------------------------------------------------------------------------------

    def speech_begins(self) -> None:
        """Let the user begin to speak; an interrupt follows if the settings say so."""
        self._hear(SpeechStarted(round(self.input.position_ms), round(self.input.position_ms)), audio_s=0.1)

    def user_turn(self, transcript: str | None, *, audio_s: float = 1.0) -> None:
        """Let the user speak, or go on, for `audio_s`, and end; a transcript follows if the session asked for it."""
        if not self.input.user_speaks:
            self.speech_begins()
        self._hear(SpeechStopped(round(self.input.position_ms + audio_s * 1000)), audio_s=audio_s)
        self._tell_words(self._unheard.pop(), transcript)

    def transcribe(self, transcript: str | None) -> None:
        """Give the words of the oldest turn that has none yet, sent if the session asked for them; None: transcription
        fails.

        Raises `ValueError` where no turn waits for its words.
        """
        if not self._unheard:
            raise ValueError("no turn of the user waits for its words: the client has not committed one")
        self._tell_words(self._unheard.popleft(), transcript)

    # ---- inside ------------------------------------------------------------------------------------------------

    def _tell_words(self, item: Item, transcript: str | None) -> None:
        if transcript is None:
            self.transcription_failed(item, 0, "The audio could not be transcribed.")
        else:
            self.transcribed(item, 0, transcript)

    def _make_prompted(self, detection: Mapping[str, Any] | None, *, start_ms: float = 0.0) -> _Prompted:
        return self._detector

    def _hear(self, heard: TurnEvent, *, audio_s: float) -> None:
        fmt = parse_audio_format(self.settings.input_format)
        silence = from_int16(np.zeros(round(fmt.rate * audio_s), np.int16), fmt)
        self._detector.heard.append(heard)
        audio = pybase64.b64encode_as_string(silence)
        self.input.append({"type": "input_audio_buffer.append", "audio": audio})
        self._collect()

    def _collect(self) -> None:
        self._asked.extend(self.responses.started)
        self.responses.started.clear()
        self._unheard.extend(self.input.committed)
        self.input.committed.clear()
        for event in self.event_buffer.waiting:
            self.events.note(event)

    def _response(self) -> Response:
        """Return the response under way, else one that was asked for, else one that the server begins."""
        if self._current is not None and not self._current.over:
            return self._current
        if not self._asked and self.unanswered:
            self.answer(self.unanswered.popleft())
        if not self._asked:
            self.responses.answer_turn(self.settings, queued=True)
            self._collect()
        # One that was cancelled before it said anything takes nothing more, unless there is a later one.
        while len(self._asked) > 1 and self._asked[0].over:
            self._asked.popleft()
        self._current = self._asked.popleft()
        return self._current


def _words(text: str) -> list[str]:
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)] if text else []
