"""Models, through which sessions connect, their listeners, and the playback tracker."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from typing import NotRequired, TypeAlias, TypedDict

from trealtime._session.playback_tracker import RealtimePlaybackState as NativeState
from trealtime._session.playback_tracker import RealtimePlaybackTracker as NativeTracker
from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.compat.realtime.config import RealtimeAudioFormat, RealtimeSessionModelSettings
from trealtime.compat.realtime.model_events import RealtimeModelEvent
from trealtime.compat.realtime.model_inputs import RealtimeModelSendEvent

__all__ = [
    "RealtimeModel",
    "RealtimeModelConfig",
    "RealtimeModelListener",
    "RealtimePlaybackState",
    "RealtimePlaybackTracker",
    "native_tracker",
]

ApiKey: TypeAlias = str | Callable[[], str | Awaitable[str]]


class RealtimePlaybackState(TypedDict):
    """The position of playback: `elapsed_ms` into one content part of one item. All None when nothing plays."""

    current_item_id: str | None
    current_item_content_index: int | None
    elapsed_ms: float | None


class RealtimePlaybackTracker:
    """Report here what has been played: ``model_config={"playback_tracker": tracker}``.

    A subclass may override `get_state` alone and keep the position in a way of its own. `on_play_bytes`, `on_play_ms`
    and `get_state` may be called from any thread. One tracker belongs to one session at a time.
    """

    def __init__(self) -> None:
        self._played = NativeTracker()
        self._format: AudioFormat = PCM16_24K

    def on_play_bytes(self, item_id: str, item_content_index: int, bytes: bytes) -> None:  # the SDK's parameter name
        """Note that these bytes of output audio have been played."""
        self.on_play_ms(item_id, item_content_index, self._format.duration_ms(len(bytes)))

    def on_play_ms(self, item_id: str, item_content_index: int, ms: float) -> None:
        """Note that `ms` milliseconds more have been played; another item or content part begins anew."""
        self._played.on_play_ms(item_id, item_content_index, ms)

    def on_interrupted(self) -> None:
        """Note that playback was stopped. The session calls this at every interrupt."""
        self._played.on_interrupted()

    def set_audio_format(self, format: RealtimeAudioFormat) -> None:  # the SDK's parameter name
        """Set the format in which `on_play_bytes` counts. The session sets it to what the server acknowledged."""
        self._format = parse_audio_format(format)

    def get_state(self) -> RealtimePlaybackState:
        """Return what is playing now."""
        state = self._played.get_state()
        return {
            "current_item_id": state.current_item_id,
            "current_item_content_index": state.current_item_content_index,
            "elapsed_ms": state.elapsed_ms,
        }


class _Tracking(NativeTracker):
    """Lets a session read a tracker of the SDK's shape."""

    def __init__(self, tracker: RealtimePlaybackTracker) -> None:
        super().__init__()
        self._tracker = tracker

    def on_interrupted(self) -> None:
        self._tracker.on_interrupted()

    def set_audio_format(self, format: AudioFormat | str) -> None:
        self._tracker.set_audio_format(str(format))

    def get_state(self) -> NativeState:
        state = self._tracker.get_state()
        return NativeState(
            state.get("current_item_id"), state.get("current_item_content_index"), state.get("elapsed_ms")
        )


def native_tracker(tracker: RealtimePlaybackTracker | NativeTracker) -> NativeTracker:
    """Return `tracker` as a session takes it."""
    return tracker if isinstance(tracker, NativeTracker) else _Tracking(tracker)


class RealtimeModelConfig(TypedDict):
    """How one session connects. `headers`, when given, are the only ones sent."""

    api_key: NotRequired[ApiKey]
    url: NotRequired[str]
    headers: NotRequired[dict[str, str]]
    initial_model_settings: NotRequired[RealtimeSessionModelSettings]
    playback_tracker: NotRequired[RealtimePlaybackTracker]
    call_id: NotRequired[str]


class RealtimeModelListener(abc.ABC):
    """Gets every model event of a session: ``session.model.add_listener(listener)``."""

    @abc.abstractmethod
    async def on_event(self, event: RealtimeModelEvent) -> None:
        """Take one event; the next one comes when this returns. An exception ends the session and comes out of it."""


class RealtimeModel(abc.ABC):
    """A connection to a model: `trealtime.compat.realtime.OpenAIRealtimeWebSocketModel`, or one of your own.

    Give a model of your own to `RealtimeRunner`. A session then calls `connect` when it is entered and `close` when it
    ends, sends through `send_event`, and adds one listener. Methods are awaited by Trio.
    """

    @abc.abstractmethod
    async def connect(self, options: RealtimeModelConfig) -> None:
        """Connect, and from then on give every event to the listeners."""

    @abc.abstractmethod
    def add_listener(self, listener: RealtimeModelListener) -> None:
        """Give events to `listener`, after those that were added before it."""

    @abc.abstractmethod
    def remove_listener(self, listener: RealtimeModelListener) -> None:
        """Give no more events to `listener`."""

    @abc.abstractmethod
    async def send_event(self, event: RealtimeModelSendEvent) -> None:
        """Do what `event` says."""

    async def send_event_if(self, event: RealtimeModelSendEvent, send_if: Callable[[], bool]) -> bool:
        """Send `event` if `send_if` returns True at the moment of sending; return whether it was sent."""
        if not send_if():
            return False
        await self.send_event(event)
        return True

    @abc.abstractmethod
    async def close(self) -> None:
        """End the connection."""
