"""The quick way to make the one event that comes with every audio delta."""

from __future__ import annotations

from trealtime.events import AudioChunk, EventInfo, RealtimeAudio, audio_event
from trealtime.tools.context import RunContext


def test_audio_made_quickly_is_what_the_constructors_make():
    info = EventInfo(RunContext(None))
    quick = audio_event(b"\x01\x00", "resp_1", "item_1", 2, 40.0, info)
    slow = RealtimeAudio(AudioChunk(b"\x01\x00", "resp_1", "item_1", 2, 40.0), "item_1", 2, info)
    assert quick == slow
    assert repr(quick) == repr(slow)
    assert quick.type == quick.audio.type == "audio"
