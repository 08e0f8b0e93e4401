"""The playback tracker: an app that plays the audio itself says here what has been heard."""

from __future__ import annotations

import threading

import attrs

from trealtime._core.playback_ledger import PlaybackPosition
from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format

__all__ = ["RealtimePlaybackState", "RealtimePlaybackTracker"]


@attrs.frozen
class RealtimePlaybackState:
    """What is playing: `elapsed_ms` into one content part of one item. All None when nothing is."""

    current_item_id: str | None = None
    current_item_content_index: int | None = None
    elapsed_ms: float | None = None


_NOTHING = RealtimePlaybackState()


class RealtimePlaybackTracker:
    """Give one as ``model_config={"playback_tracker": tracker}`` and report every piece that has been played.

    An interrupt then cuts at what was reported, not at an estimate; while nothing was reported, at 0 ms. Every method
    may be called from any thread (an audio callback), and none of them waits. One tracker belongs to one session at a
    time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._format: AudioFormat = PCM16_24K
        self._state = _NOTHING

    def on_play_bytes(self, item_id: str, item_content_index: int, bytes: bytes) -> None:  # the SDK's parameter name
        """These bytes of the output audio have been played."""
        self.on_play_ms(item_id, item_content_index, self._format.duration_ms(len(bytes)))

    def on_play_ms(self, item_id: str, item_content_index: int, ms: float) -> None:
        """So much more has been played; another item or content part begins anew."""
        if not ms >= 0:
            raise ValueError(f"ms must be 0 or more, got {ms!r}")
        with self._lock:
            state = self._state
            if (state.current_item_id, state.current_item_content_index) == (item_id, item_content_index):
                ms += state.elapsed_ms or 0.0
            self._state = RealtimePlaybackState(item_id, item_content_index, ms)

    def on_interrupted(self) -> None:
        """Playback was stopped: nothing is playing. The session calls this at every interrupt."""
        with self._lock:
            self._state = _NOTHING

    def set_audio_format(self, format: AudioFormat | str) -> None:  # the SDK's parameter name
        """The format in which `on_play_bytes` counts. The session sets it to what the server acknowledged."""
        self._format = parse_audio_format(format)

    def get_state(self) -> RealtimePlaybackState:
        """What is playing now."""
        with self._lock:
            return self._state

    def position(self) -> PlaybackPosition | None:
        """The same, as the playback ledger asks for it."""
        state = self.get_state()
        if state.current_item_id is None:
            return None
        return PlaybackPosition(state.current_item_id, state.current_item_content_index or 0, state.elapsed_ms or 0.0)
