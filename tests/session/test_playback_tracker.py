from __future__ import annotations

import threading

import pytest

from trealtime._session.playback_tracker import RealtimePlaybackState, RealtimePlaybackTracker
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
