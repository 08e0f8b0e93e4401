"""The playback tracker: an app that plays the audio itself reports here what it has played."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import attrs

from trealtime._core.playback_ledger import PlaybackPosition
from trealtime._value import Shown, Value
from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.errors import PlaybackTrackerFailed
from trealtime.terminal import text_of

if TYPE_CHECKING:
    from trealtime._session.failures import Failures

__all__ = ["GuardedTracker", "RealtimePlaybackState", "RealtimePlaybackTracker"]


@attrs.frozen(eq=False, repr=False)
class RealtimePlaybackState(Value):
    """The position of playback: `elapsed_ms` into one content part of one item. All None when nothing plays."""

    current_item_id: str | None = None
    current_item_content_index: int | None = None
    elapsed_ms: float | None = None


_NOTHING = RealtimePlaybackState()


class RealtimePlaybackTracker:
    """Give one as ``model_config={"playback_tracker": tracker}`` and report every piece that has been played.

    An interrupt then cuts at the position that was reported, not at an estimate; before the first report, at 0 ms.
    Every method may be called from any thread, such as that of an audio callback, and none of them waits. A tracker
    belongs to one session at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._format: AudioFormat = PCM16_24K
        self._state = _NOTHING

    def on_play_bytes(self, item_id: str, item_content_index: int, bytes: bytes) -> None:  # the SDK's parameter name
        """Report that these bytes of output audio have been played; any object with a buffer counts by its bytes.

        Raises `TypeError` for one without a buffer.
        """
        self.on_play_ms(item_id, item_content_index, self._format.duration_ms(memoryview(bytes).nbytes))

    def on_play_ms(self, item_id: str, item_content_index: int, ms: float) -> None:
        """Report that `ms` more have been played; the first report of another item or content part begins at 0.

        Raises `ValueError` for a number below 0, or none, and for ids that no item has.
        """
        if not _is_time(ms):
            raise ValueError(f"ms must be 0 or more, and finite, got {ms!r}")
        if not _is_part(item_id, item_content_index):
            raise ValueError(
                "item_id must be a text and item_content_index a whole number, "
                f"got {item_id!r} and {item_content_index!r}"
            )
        with self._lock:
            state = self._state
            if (state.current_item_id, state.current_item_content_index) == (item_id, item_content_index):
                ms += state.elapsed_ms or 0.0
            self._state = RealtimePlaybackState(item_id, item_content_index, ms)

    def on_interrupted(self) -> None:
        """Note that playback has stopped. The session calls this at every interrupt."""
        with self._lock:
            self._state = _NOTHING

    def set_audio_format(self, format: AudioFormat | str) -> None:  # the SDK's parameter name
        """Set the format in which `on_play_bytes` counts. The session sets the one that the server acknowledged."""
        self._format = parse_audio_format(format)

    def get_state(self) -> RealtimePlaybackState:
        """Return the position of playback."""
        with self._lock:
            return self._state

    def position(self) -> PlaybackPosition | None:
        """Return the position of playback as the playback ledger takes it; None when nothing plays."""
        state = self.get_state()
        if state.current_item_id is None:
            return None
        return PlaybackPosition(state.current_item_id, state.current_item_content_index or 0, state.elapsed_ms or 0.0)


def _is_time(ms: object) -> bool:
    return isinstance(ms, int | float) and 0 <= ms < math.inf


def _is_part(item_id: object, content_index: object) -> bool:
    return isinstance(item_id, str) and isinstance(content_index, int) and content_index >= 0


def _can_be(position: PlaybackPosition) -> bool:
    return _is_part(position.item_id, position.content_index) and _is_time(position.elapsed_ms)


@attrs.define(eq=False, repr=False)
class GuardedTracker(Shown):
    """A tracker of the app's, whose failures end no session: the position that it gave last holds on."""

    _tracker: RealtimePlaybackTracker
    _failures: Failures
    _last: PlaybackPosition | None = attrs.field(default=None, init=False)

    def position(self) -> PlaybackPosition | None:
        """See `RealtimePlaybackTracker.position`."""
        try:
            position = self._tracker.position()
            if position is not None and not isinstance(position, PlaybackPosition):
                raise TypeError(f"it must return a position or None, got {type(position).__name__}")
            if position is not None and not _can_be(position):
                raise ValueError(f"this position cannot be: {position!r}")
            self._last = position
        except Exception as error:  # noqa: BLE001  (a user's callable: its failure is an event)
            self._report("position", error)
        return self._last

    def on_interrupted(self) -> None:
        """See `RealtimePlaybackTracker.on_interrupted`."""
        self._last = None
        try:
            self._tracker.on_interrupted()
        except Exception as error:  # noqa: BLE001  (a user's callable: its failure is an event)
            self._report("on_interrupted", error)

    def set_audio_format(self, format: AudioFormat) -> None:
        """See `RealtimePlaybackTracker.set_audio_format`."""
        try:
            self._tracker.set_audio_format(format)
        except Exception as error:  # noqa: BLE001  (a user's callable: its failure is an event)
            self._report("set_audio_format", error)

    def _report(self, method: str, error: Exception) -> None:
        what = f"{method} of the playback tracker failed: {type(error).__name__}"
        failure = PlaybackTrackerFailed(f"{what}: {text_of(error)}")
        failure.__cause__ = error
        self._failures.report_once("playback_tracker", failure, summary=what, subject=method)
