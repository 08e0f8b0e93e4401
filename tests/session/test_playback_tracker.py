from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from trealtime._core.playback_ledger import PlaybackPosition
from trealtime._session.playback_tracker import GuardedTracker, RealtimePlaybackState, RealtimePlaybackTracker
from trealtime.errors import AudioFormatError


def test_time_adds_up_within_a_part_and_begins_anew_with_another() -> None:
    tracker = RealtimePlaybackTracker()
    assert tracker.get_state() == RealtimePlaybackState()
    assert tracker.position() is None
    tracker.on_play_ms("a", 0, 100)
    tracker.on_play_ms("a", 0, 50)
    assert tracker.get_state() == RealtimePlaybackState("a", 0, 150)
    tracker.on_play_ms("a", 1, 20)
    assert tracker.get_state() == RealtimePlaybackState("a", 1, 20)
    assert (tracker.position().item_id, tracker.position().elapsed_ms) == ("a", 20)
    tracker.on_interrupted()
    assert tracker.get_state() == RealtimePlaybackState()


def test_bytes_count_in_the_format_of_the_session() -> None:
    tracker = RealtimePlaybackTracker()
    tracker.on_play_bytes("a", 0, bytes(48_000))
    assert tracker.get_state().elapsed_ms == 1000
    tracker.set_audio_format("g711_ulaw")
    tracker.on_play_bytes("b", 0, bytes(8_000))
    assert tracker.get_state().elapsed_ms == 1000
    with pytest.raises(AudioFormatError):
        tracker.set_audio_format("mp3")
    with pytest.raises(ValueError, match="0 or more"):
        tracker.on_play_ms("a", 0, -1)


def test_threads_lose_no_time() -> None:
    tracker = RealtimePlaybackTracker()

    def play() -> None:
        for _ in range(2_000):
            tracker.on_play_ms("a", 0, 1)

    threads = [threading.Thread(target=play) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.get_state().elapsed_ms == 8_000


def test_any_buffer_counts_by_its_bytes() -> None:
    tracker = RealtimePlaybackTracker()
    samples = np.zeros(240, np.int16)
    for audio in (samples.tobytes(), samples, memoryview(samples), bytearray(480)):
        tracker.on_play_bytes("a", 0, audio)  # type: ignore[arg-type]
    assert tracker.get_state().elapsed_ms == 40
    for other in ("text", None, 480):
        with pytest.raises(TypeError, match="bytes-like"):
            tracker.on_play_bytes("a", 0, other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "item_id, content_index, ms",
    [
        ("a", 0, float("inf")),
        ("a", 0, float("nan")),
        ("a", 0, "5"),
        (None, 0, 5),
        (5, 0, 5),
        ("a", None, 5),
        ("a", -1, 5),
    ],
)
def test_a_position_that_cannot_be_is_refused_where_it_is_reported(item_id: Any, content_index: Any, ms: Any) -> None:
    tracker = RealtimePlaybackTracker()
    tracker.on_play_ms("a", 0, 10)
    with pytest.raises(ValueError, match="must be"):
        tracker.on_play_ms(item_id, content_index, ms)
    assert tracker.get_state() == RealtimePlaybackState("a", 0, 10)

    class Own(RealtimePlaybackTracker):
        def position(self) -> PlaybackPosition:
            return PlaybackPosition(item_id, content_index, ms)

    failures = Reports()
    assert GuardedTracker(Own(), failures).position() is None  # type: ignore[arg-type]
    assert failures.subjects == ["position"]


class Reports:
    """What the tracker has reported as failed."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def report_once(self, kind: str, failure: Exception, *, summary: str, subject: str) -> None:
        self.subjects.append(subject)
