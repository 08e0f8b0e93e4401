"""The input audio buffer: append, commit, clear, formats, and the user's turns in it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from trealtime.audio.formats import PCM16_24K
from trealtime.audio.g711 import encode_ulaw
from trealtime.emulator.items import Refusal, decode_audio


def detection(**fields: Any) -> dict[str, Any]:
    return {"session": {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"} | fields}}}}


MANUAL = {"session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}


def append(engine: Any, kit: Any, audio: bytes, *, size: int = 9600) -> list[dict[str, Any]]:
    events = []
    for start in range(0, len(audio), size):
        events += engine("input_audio_buffer.append", {"audio": kit.b64(audio[start : start + size])})
    return events


def of(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (event,) = [event for event in events if event["type"] == kind]
    return event


def retrieve(engine: Any, item_id: str) -> bytes:
    (event,) = engine("conversation.item.retrieve", {"item_id": item_id})
    return base64.b64decode(event["item"]["content"][0]["audio"])


def test_push_to_talk_commits_what_was_appended(kit: Any) -> None:
    engine = kit.engine()
    engine("session.update", MANUAL)
    assert append(engine, kit, kit.pcm(500, loud=True) + kit.pcm(1500)) == []
    committed, added, done = engine("input_audio_buffer.commit")
    kinds = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert kit.types([committed, added, done]) == kinds
    assert committed["previous_item_id"] is None
    assert committed["item_id"] == added["item"]["id"] == done["item"]["id"]
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert retrieve(engine, committed["item_id"]) == kit.pcm(500, loud=True) + kit.pcm(1500)
    assert not engine.core.responses.started
    append(engine, kit, kit.pcm(100))
    assert engine("input_audio_buffer.commit")[0]["previous_item_id"] == committed["item_id"]


@pytest.mark.parametrize("ms", [0, 50, 99])
def test_less_than_100_ms_cannot_be_committed_and_stays(kit: Any, ms: int) -> None:
    engine = kit.engine()
    engine("session.update", MANUAL)
    append(engine, kit, kit.pcm(ms))
    error = engine.refused("input_audio_buffer.commit")
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert f"{ms:.2f}ms" in error["message"]
    append(engine, kit, kit.pcm(100 - ms))
    assert len(retrieve(engine, engine("input_audio_buffer.commit")[0]["item_id"])) == 4800
    assert engine.refused("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"


def test_clear_empties_the_buffer(kit: Any) -> None:
    engine = kit.engine()
    engine("session.update", MANUAL)
    append(engine, kit, kit.pcm(500))
    assert kit.types(engine("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    engine.refused("input_audio_buffer.commit")


@pytest.mark.parametrize(
    "audio, code",
    [
        (3, "invalid_type"),
        (None, "invalid_type"),
        ("not base64!", "invalid_value"),
        ("é", "invalid_value"),
        ("AA==", "invalid_value"),
    ],
)
def test_audio_that_is_not_whole_samples_in_base64_is_refused(kit: Any, audio: object, code: str) -> None:
    engine = kit.engine()
    error = engine.refused("input_audio_buffer.append", {"audio": audio})
    assert (error["code"], error["param"]) == (code, "audio")
    assert engine.refused("input_audio_buffer.append")["code"] == "missing_required_parameter"


def test_15_mib_may_be_appended_at_once_and_not_more(kit: Any) -> None:
    engine = kit.engine()
    engine("session.update", MANUAL)
    most = bytes(15 * 2**20)
    assert engine("input_audio_buffer.append", {"audio": kit.b64(most)}) == []
    assert "15 MiB" in engine.refused("input_audio_buffer.append", {"audio": kit.b64(most + b"\0\0")})["message"]
    assert "15 MiB" in engine.refused("input_audio_buffer.append", {"audio": kit.b64(most + bytes(100))})["message"]


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_telephone_audio_keeps_its_own_bytes_and_clock(kit: Any, kind: str) -> None:
    engine = kit.engine()
    engine("session.update", {"session": {"type": "realtime", "audio": {"input": {"format": {"type": kind}}}}})
    engine("session.update", MANUAL)
    audio = bytes(range(256)) * 5
    append(engine, kit, audio, size=160)
    assert engine.core.input.position_ms == 160
    assert retrieve(engine, engine("input_audio_buffer.commit")[0]["item_id"]) == audio


def test_a_change_of_format_keeps_what_is_in_the_buffer(kit: Any) -> None:
    engine = kit.engine()
    engine("session.update", MANUAL)
    append(engine, kit, kit.pcm(300))
    engine("session.update", {"session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}})
    append(engine, kit, encode_ulaw(np.zeros(800, dtype=np.int16)), size=160)
    assert engine.core.input.position_ms == 400
    assert len(retrieve(engine, engine("input_audio_buffer.commit")[0]["item_id"])) == 3200


def test_a_turn_is_announced_committed_and_answered_in_order(kit: Any) -> None:
    engine = kit.engine()
    events = append(engine, kit, kit.pcm(1000) + kit.pcm(800, loud=True) + kit.pcm(1000))
    assert kit.types(events) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    started, stopped, committed, added, _, _ = events
    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == added["item"]["id"]
    assert 640 <= started["audio_start_ms"] <= 760  # 300 ms of padding before the sound
    assert 2280 <= stopped["audio_end_ms"] <= 2360  # 500 ms of silence after it
    length_ms = len(retrieve(engine, committed["item_id"])) / 48
    assert length_ms == stopped["audio_end_ms"] - started["audio_start_ms"]


def test_the_size_of_the_appends_changes_nothing(kit: Any) -> None:
    audio = (kit.pcm(700) + kit.pcm(500, loud=True) + kit.pcm(900)) * 2
    runs = [append(kit.engine(), kit, audio, size=size) for size in (320, 9600, len(audio))]
    times = [
        [
            (event["type"], event.get("audio_start_ms"), event.get("audio_end_ms"))
            for event in events
            if "audio" in event["type"]
        ]
        for events in runs
    ]
    assert times[0] == times[1] == times[2]
    assert len(times[0]) == 6


def test_turns_come_without_responses_when_create_response_is_off(kit: Any) -> None:
    engine = kit.engine()
    engine("session.update", detection(create_response=False))
    events = append(engine, kit, kit.pcm(500, loud=True) + kit.pcm(1000))
    assert kit.types(events)[-1] == "conversation.item.done"
    assert not engine.core.responses.started


def test_the_user_interrupts_the_response_in_the_conversation(kit: Any) -> None:
    engine = kit.engine()
    engine("response.create")
    engine("response.create", {"response": {"conversation": "none"}})
    events = append(engine, kit, kit.pcm(200, loud=True))
    assert kit.types(events) == ["input_audio_buffer.speech_started", "response.done", "rate_limits.updated"]
    done = events[1]["response"]
    assert (done["status"], done["status_details"]) == ("cancelled", {"type": "cancelled", "reason": "turn_detected"})
    assert len(engine.core.responses.running) == 1


@pytest.mark.parametrize("queued", [False, True])
def test_without_interrupt_response_a_turn_during_a_response_is_answered_only_where_that_is_asked_for(
    kit: Any, queued: bool
) -> None:
    engine = kit.engine(queue_turns=queued)
    engine("session.update", detection(interrupt_response=False))
    engine("response.create")
    events = append(engine, kit, kit.pcm(500, loud=True) + kit.pcm(1000))
    assert "response.created" not in kit.types(events)
    first = engine.core.responses.started.popleft()
    engine.core.responses.end(first, "completed")
    answered = ["response.created"] if queued else []
    assert kit.types(engine.take()) == ["response.done", "rate_limits.updated", *answered]


def test_uncommitted_audio_is_bounded_in_bytes(kit: Any) -> None:
    engine = kit.engine(max_input_audio_bytes=48_000)
    engine("session.update", {"session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}})
    for _ in range(5):
        append(engine, kit, kit.pcm(500))
    assert engine.core.input.position_ms == 2_500
    item = of(engine("input_audio_buffer.commit"), "conversation.item.added")["item"]
    audio = of(engine("conversation.item.retrieve", {"item_id": item["id"]}), "conversation.item.retrieved")
    assert len(audio["item"]["content"][0]["audio"]) == 48_000 * 4 / 3


def test_a_manual_commit_takes_the_announced_id_and_no_speech_stopped_comes(kit: Any) -> None:
    engine = kit.engine()
    started = of(append(engine, kit, kit.pcm(400, loud=True)), "input_audio_buffer.speech_started")
    committed = engine("input_audio_buffer.commit")[0]
    assert committed["item_id"] == started["item_id"]
    assert append(engine, kit, kit.pcm(2000)) == []


def test_a_cleared_turn_comes_to_nothing(kit: Any) -> None:
    engine = kit.engine()
    append(engine, kit, kit.pcm(400, loud=True))
    engine("input_audio_buffer.clear")
    assert append(engine, kit, kit.pcm(2000)) == []


def test_switching_detection_off_and_on_keeps_the_clock(kit: Any) -> None:
    engine = kit.engine()
    append(engine, kit, kit.pcm(1000))
    engine("session.update", MANUAL)
    assert append(engine, kit, kit.pcm(1000, loud=True)) == []
    engine("session.update", detection())
    started = of(append(engine, kit, kit.pcm(500) + kit.pcm(300, loud=True)), "input_audio_buffer.speech_started")
    assert 2140 <= started["audio_start_ms"] <= 2300


def test_semantic_vad_speaks_the_same_events(kit: Any) -> None:
    engine = kit.engine()
    semantic = {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}
    engine("session.update", {"session": {"type": "realtime", "audio": {"input": semantic}}})
    events = append(engine, kit, kit.pcm(1500, loud=True) + kit.pcm(2500))
    assert kit.types(events)[:3] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
    ]


def test_ten_minutes_of_silence_are_not_kept(kit: Any) -> None:
    engine = kit.engine(max_audio_bytes=2**22)
    for _ in range(10):
        append(engine, kit, kit.pcm(60_000), size=2**21)
    assert engine.core.input.position_ms == 600_000
    assert len(retrieve(engine, engine("input_audio_buffer.commit")[0]["item_id"])) == 30_000 * 48


def test_a_transcription_session_has_turns_and_no_responses(kit: Any) -> None:
    engine = kit.engine(kind="transcription", model=None)
    events = append(engine, kit, kit.pcm(500, loud=True) + kit.pcm(1000))
    assert kit.types(events)[-1] == "conversation.item.done"


def test_silence_after_an_answer_triggers_the_idle_timeout(kit: Any) -> None:
    engine = kit.engine()
    engine("session.update", detection(idle_timeout_ms=5000))
    assert engine.core.deadline == 100 + 3600
    engine("response.create")
    response = engine.core.responses.started.popleft()
    response.open_message()
    engine.core.responses.note_speech(response)
    response.add_audio(kit.pcm(2000))
    engine.clock[0] += 0.5
    engine.core.responses.end(response, "completed")
    engine.take()
    assert engine.core.deadline == 100 + 2 + 5  # from the end of playback
    append(engine, kit, kit.pcm(6000))
    engine.clock[0] = 106.9
    engine.core.tick()
    assert engine.take() == []
    engine.clock[0] = 107
    engine.core.tick()
    events = engine.take()
    assert kit.types(events) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert (events[0]["audio_start_ms"], events[0]["audio_end_ms"]) == (1000, 6000)
    assert events[0]["item_id"] == events[1]["item_id"]
    assert len(retrieve(engine, events[0]["item_id"])) == 5000 * 48


def test_speech_stops_the_idle_clock_until_the_next_answer(kit: Any) -> None:
    engine = kit.engine()
    engine("session.update", detection(idle_timeout_ms=5000, create_response=False))
    engine("response.create")
    engine.core.responses.end(engine.core.responses.started.popleft(), "completed")
    assert engine.core.deadline == 105
    append(engine, kit, kit.pcm(500, loud=True) + kit.pcm(1000))
    assert engine.core.deadline == 3700


@pytest.mark.parametrize("more, refused", [(0, False), (2, True)])
def test_an_event_takes_fifteen_mebibytes_of_audio_and_no_more(more: int, refused: bool) -> None:
    audio = bytes(15 * 2**20 + more)
    value = base64.b64encode(audio).decode()
    if refused:
        with pytest.raises(Refusal, match="at most 15 MiB"):
            decode_audio(value, "audio", PCM16_24K)
    else:
        assert decode_audio(value, "audio", PCM16_24K) == audio
