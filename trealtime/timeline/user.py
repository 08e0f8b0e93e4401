"""The user's side of a call: what they said and wrote, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from trealtime._recordings.lines import left_out_bytes
from trealtime.audio.formats import AudioFormat
from trealtime.timeline.model import SLOT_S, Utterance
from trealtime.timeline.sound import Clip, Shrinker, SoundBudget
from trealtime.timeline.values import LONGEST_S, MOST, audio_of, number_of, text_of

__all__ = ["PADDING_MS", "SILENCE_MS", "UserSide"]

SILENCE_MS: Final = 500.0
PADDING_MS: Final = 300.0
"""The server's defaults for the silence by which it knows the end of speech, and for the audio that it takes in before
the beginning. Its positions include both (https://platform.openai.com/docs/api-reference/realtime-server-events)."""

_AGAIN_S: Final = 0.1
"""What a new connection gets quicker than in real time within this time has been sent before."""


@attrs.define
class _Input:
    """The user's audio of one connection: its positions, and when they were said."""

    first_s: float
    position_ms: float = 0.0
    places: list[tuple[float, float]] = attrs.field(factory=list)
    """(position, its time): where the audio is no stream without gaps."""

    until_s: float = 0.0

    def is_sent_again(self, at_s: float, length_s: float) -> bool:
        """Whether this piece, the next one, is of the past: a connection that replaces another gets it at once."""
        elapsed_s = at_s - self.first_s
        return not self.places and elapsed_s < _AGAIN_S and self.position_ms / 1000 + length_s > 2 * elapsed_s

    def note(self, start_s: float, length_s: float) -> None:
        """Note a piece that was said from `start_s` on."""
        if not self.places:  # before it lies what was sent again
            self.places.append((0.0, start_s - self.position_ms / 1000))
        elif start_s - self.until_s > 2 * SLOT_S and len(self.places) < MOST:
            self.places.append((self.position_ms, start_s))
        self.position_ms += length_s * 1000
        self.until_s = start_s + length_s

    def time_s(self, position_ms: float) -> float:
        """Return when the audio at this position was said."""
        if not self.places:  # all of it was sent again, just now
            return self.first_s - (self.position_ms - position_ms) / 1000
        place = next((each for each in reversed(self.places) if each[0] <= position_ms), self.places[0])
        return place[1] + (position_ms - place[0]) / 1000


@attrs.define
class UserSide:
    """Collects what the user said and wrote. `has_room` says whether one more entry may be kept."""

    _budget: SoundBudget
    _has_room: Callable[[Mapping[str, Any]], bool]
    silence_ms: float = attrs.field(default=SILENCE_MS, init=False)
    padding_ms: float = attrs.field(default=PADDING_MS, init=False)
    levels: bytearray = attrs.field(factory=bytearray, init=False)
    """A level for every slot from the beginning of the recording."""

    sounds: list[Clip] = attrs.field(factory=list, init=False)
    utterances: dict[str, Utterance] = attrs.field(factory=dict, init=False)
    _shrinker: Shrinker = attrs.field(factory=Shrinker, init=False)
    _said_until: float = attrs.field(default=0.0, init=False)
    _inputs: dict[int, _Input] = attrs.field(factory=dict, init=False)
    """The user's audio as each connection has got it."""

    _speaking: dict[str, float] = attrs.field(factory=dict, init=False)
    _broken_off: dict[str, tuple[float, float]] = attrs.field(factory=dict, init=False)
    """Speech whose connection was lost before its end: the next connection may get it again."""

    def said(self, at_s: float, data: object, wire: int, audio_format: AudioFormat) -> None:
        """The client has sent audio of the user, base64, on this connection."""
        if not isinstance(data, str):
            return
        left_out = left_out_bytes(data)
        audio = audio_of(data) if left_out is None else b""
        size = left_out if left_out is not None else len(audio)
        length_s = audio_format.duration_ms(size) / 1000
        heard = self._inputs.setdefault(wire, _Input(at_s)) if len(self._inputs) < MOST else _Input(at_s)
        if wire > 1 and heard.is_sent_again(at_s, length_s):
            heard.position_ms += length_s * 1000
            return
        # A live microphone sends what it has just heard; a file that is sent at once is heard from then on.
        start_s = max(self._said_until, at_s - length_s)
        if start_s - self._said_until > 2 * SLOT_S or not self.sounds:
            self.sounds.append(Clip(start_s))
            self._shrinker = Shrinker()
        else:
            start_s = self._said_until
        heard.note(start_s, length_s)
        self._said_until = start_s + length_s
        if self._said_until > LONGEST_S:
            return
        levels = self._shrinker.levels(audio, audio_format)
        if levels:
            end = round(self._said_until / SLOT_S)
            begin = max(0, end - len(levels))
            self.levels += bytes(max(0, end - len(self.levels)))
            self.levels[begin:end] = levels[-(end - begin) :] if end > begin else b""
        self._budget.keep(self.sounds[-1], self._shrinker.small(audio, audio_format))

    def _time(self, position_ms: float | None, wire: int, at_s: float) -> float:
        """Return when the user's audio at this position of a connection was said, at the latest now."""
        heard = self._inputs.get(wire)
        if position_ms is None or heard is None:
            return at_s
        return max(0.0, min(heard.time_s(position_ms), at_s))

    def speech_began(self, at_s: float, event: Mapping[str, Any], wire: int) -> None:
        """The server has heard the user begin."""
        item_id = text_of(event.get("item_id"))
        start_ms = number_of(event.get("audio_start_ms"))
        if start_ms is not None:
            start_ms += self.padding_ms if start_ms > 0 else 0
        self._broken_off.clear()
        if self._has_room(self._speaking):
            self._speaking[item_id] = self._time(start_ms, wire, at_s)

    def speech_ended(self, at_s: float, event: Mapping[str, Any], wire: int) -> None:
        """The server has heard the user end."""
        item_id = text_of(event.get("item_id"))
        start_s = self._speaking.pop(item_id, None)
        end_ms = number_of(event.get("audio_end_ms"))
        if end_ms is not None:
            end_ms = max(0.0, end_ms - self.silence_ms)
        end_s = self._time(end_ms, wire, at_s)
        if start_s is not None:
            self._utter(item_id, start_s, max(end_s, start_s))

    def committed(self, at_s: float, event: Mapping[str, Any]) -> None:
        """The server has made an item of the audio."""
        item_id = text_of(event.get("item_id"))
        start_s = self._speaking.pop(item_id, None)
        if start_s is not None:
            self._utter(item_id, start_s, max(at_s, start_s))

    def _utter(self, item_id: str, start_s: float, end_s: float, words: str = "", *, written: bool = False) -> None:
        before = self.utterances.get(item_id)
        if before is not None:
            self.utterances[item_id] = attrs.evolve(before, start_s=start_s, end_s=end_s, words=before.words or words)
        elif self._has_room(self.utterances):
            self.utterances[item_id] = Utterance(
                item_id=item_id, start_s=start_s, end_s=end_s, words=words, written=written
            )

    def transcribed(self, event: Mapping[str, Any], words: str) -> None:
        """The words of an utterance are known."""
        before = self.utterances.get(text_of(event.get("item_id")))
        if before is not None:
            self.utterances[before.item_id] = attrs.evolve(before, words=words.strip())

    def item_added(self, at_s: float, event: Mapping[str, Any]) -> None:
        """The conversation has another item."""
        item = event.get("item")
        if isinstance(item, Mapping) and item.get("role") == "user" and item.get("type") == "message":
            self.written(at_s, item)

    def written(self, at_s: float, item: Mapping[str, Any]) -> None:
        """The user has written a message, perhaps the same as before."""
        item_id = text_of(item.get("id"))
        content = item.get("content")
        parts = [each for each in content if isinstance(each, Mapping)] if isinstance(content, list) else []
        texts = [text_of(part.get("text")) for part in parts if part.get("type") == "input_text"]
        if texts and item_id not in self.utterances and item_id not in self._speaking:
            self._utter(item_id, at_s, at_s, " ".join(texts).strip(), written=True)

    def lose(self, at_s: float) -> None:
        """The connection is lost."""
        self._broken_off = {item_id: (start_s, max(start_s, at_s)) for item_id, start_s in self._speaking.items()}
        self._speaking.clear()

    def end(self, end_s: float) -> tuple[Utterance, ...]:
        """Return the utterances in order, at the end of the recording; the server has not told the end of some."""
        for item_id, (start_s, lost_s) in self._broken_off.items():
            self._utter(item_id, start_s, lost_s)
        for item_id, start_s in self._speaking.items():
            self._utter(item_id, start_s, max(end_s, start_s))
        return tuple(sorted(self.utterances.values(), key=lambda each: each.start_s))
