"""What goes to Twilio and when, without a socket or a clock."""

from __future__ import annotations

import math

import pytest

from trealtime.endpoints.twilio.outgoing import (
    FIRST_MARK_S,
    LOST_MARK_S,
    MAX_MARKS,
    ClearBuffer,
    OutgoingAudio,
    PlayFrame,
    SetMark,
)

FRAME = 160


def speech(ms: float, value: int = 1) -> bytes:
    return bytes([value]) * int(ms * 8)


def sent(outgoing: OutgoingAudio, now: float) -> list[object]:
    """All that may go out by now."""
    messages: list[object] = []
    while not isinstance(message := outgoing.next(now), (int, float)):
        messages.append(message)
    return messages


def audio_of(messages: list[object]) -> bytes:
    return b"".join(message.audio for message in messages if isinstance(message, PlayFrame))


def marks_of(messages: list[object]) -> list[str]:
    return [message.name for message in messages if isinstance(message, SetMark)]


def test_speech_leaves_in_frames_of_20_ms_each_with_a_mark_behind_it() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(50), 50)
    messages = sent(outgoing, 0.0)
    assert [type(message) for message in messages] == [PlayFrame, SetMark] * 3
    assert [len(message.audio) for message in messages[::2]] == [FRAME, FRAME, FRAME // 2]
    assert [outgoing.mark_returned(name) for name in marks_of(messages)] == [20, 40, 50]


def test_a_frame_that_spans_two_pieces_ends_where_it_ends_in_the_second() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(25), 1025)
    outgoing.speak(speech(30), 1055)
    positions = [outgoing.mark_returned(name) for name in marks_of(sent(outgoing, 0.0))]
    assert positions == [1020, 1040, 1055]


def test_after_a_piece_that_ends_amid_a_packet_the_next_frame_makes_up_the_packet() -> None:
    outgoing = OutgoingAudio(500)
    positions = []
    for end_ms in (50, 90, 120):
        outgoing.speak(speech(end_ms - (positions[-1] if positions else 0)), end_ms)
        positions += [outgoing.mark_returned(name) for name in marks_of(sent(outgoing, 0.0))]
    assert positions == [20, 40, 50, 60, 80, 90, 100, 120]


def test_packets_are_counted_anew_when_twilio_has_run_dry() -> None:
    outgoing = OutgoingAudio(500)
    outgoing.speak(speech(50), 50)
    sent(outgoing, 0.0)
    outgoing.speak(speech(50), 100)
    positions = [outgoing.mark_returned(name) for name in marks_of(sent(outgoing, 1.0))]
    assert positions == [70, 90, 100]


def test_no_more_than_the_lead_is_ever_ahead_and_the_schedule_does_not_depend_on_when_it_is_asked() -> None:
    outgoing = OutgoingAudio(100)
    outgoing.speak(speech(1000), 1000)
    assert len(audio_of(sent(outgoing, 0.0))) == 6 * FRAME  # what plays now, and 100 ms ahead of it
    assert outgoing.next(0.0) == pytest.approx(0.02)
    assert audio_of(sent(outgoing, 0.019)) == b""
    assert len(audio_of(sent(outgoing, 0.055))) == 2 * FRAME  # 35 ms late, and nothing shifts
    assert outgoing.next(0.055) == pytest.approx(0.06)
    assert outgoing.frames_late == 0


def test_a_frame_that_leaves_when_the_lead_is_used_up_is_counted_as_late() -> None:
    outgoing = OutgoingAudio(100)
    outgoing.speak(speech(1000), 1000)
    sent(outgoing, 0.0)
    sent(outgoing, 0.5)
    assert outgoing.frames_late == 1


def test_a_flush_sends_a_clear_first_and_forgets_audio_and_marks() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(500, 1), 500)
    old = marks_of(sent(outgoing, 0.0))
    outgoing.flush()
    outgoing.speak(speech(40, 2), 540)
    messages = sent(outgoing, 0.1)
    assert messages[0] == ClearBuffer()
    assert audio_of(messages) == speech(40, 2)
    assert [outgoing.mark_returned(name) for name in old] == [None] * len(old)
    assert [outgoing.mark_returned(name) for name in marks_of(messages)] == [520, 540]


def test_a_flush_between_a_frame_and_its_mark_sends_no_mark() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(500), 500)
    assert isinstance(outgoing.next(0.0), PlayFrame)
    outgoing.flush()
    assert sent(outgoing, 0.0) == [ClearBuffer()]


def test_a_flush_with_nothing_of_ours_on_its_way_clears_all_the_same() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.flush()
    outgoing.flush()
    assert sent(outgoing, 0.0) == [ClearBuffer()]


def test_a_mark_says_that_all_before_it_has_been_heard_too() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(100), 100)
    names = marks_of(sent(outgoing, 0.0))
    assert outgoing.mark_returned(names[3]) == 80
    assert outgoing.mark_returned(names[1]) is None
    assert outgoing.marks_outstanding == 1


def test_a_mark_that_we_never_set_says_nothing() -> None:
    assert OutgoingAudio(200).mark_returned("theirs") is None


def test_a_key_waits_until_the_speech_before_it_has_been_heard_and_speech_until_the_key_has_been() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(40, 1), 40)
    number = outgoing.press(speech(40, 9))
    outgoing.speak(speech(40, 2), 80)
    first = sent(outgoing, 0.0)
    assert audio_of(first) == speech(40, 1)
    assert outgoing.next(5.0) == math.inf
    for name in marks_of(first):
        outgoing.mark_returned(name)
    second = sent(outgoing, 5.0)
    assert audio_of(second) == speech(40, 9)
    assert [outgoing.mark_returned(name) for name in marks_of(second)[:1]] == [None]
    assert outgoing.keys_heard < number
    outgoing.mark_returned(marks_of(second)[1])
    assert outgoing.keys_heard == number
    assert audio_of(sent(outgoing, 6.0)) == speech(40, 2)


def test_a_flush_takes_speech_and_leaves_keys_wherever_they_are() -> None:
    outgoing = OutgoingAudio(20)
    outgoing.press(speech(60, 9))
    outgoing.speak(speech(40, 1), 40)
    before = sent(outgoing, 0.0)
    outgoing.flush()
    after = sent(outgoing, 1.0)
    assert audio_of(before) + audio_of(after) == speech(60, 9)
    assert ClearBuffer() not in after
    assert outgoing.queued_ms == 0


def test_keys_can_be_taken_back_until_their_tone_has_begun() -> None:
    outgoing = OutgoingAudio(0)
    first, second, third = (outgoing.press(speech(40, value)) for value in (1, 2, 3))
    outgoing.next(0.0)
    outgoing.withdraw_keys(first, second)
    assert audio_of(sent(outgoing, 9.0)) == speech(20, 1)
    for name in list(outgoing._marks):
        outgoing.mark_returned(name)
    assert audio_of(sent(outgoing, 10.0)) + audio_of(sent(outgoing, 11.0)) == speech(40, 3)
    assert third == 3


def test_a_far_side_that_returns_no_marks_costs_a_bounded_amount() -> None:
    outgoing = OutgoingAudio(200)
    for second in range(60):
        outgoing.speak(speech(1000), (second + 1) * 1000)
        for part in range(10):
            sent(outgoing, second + part / 10)
    assert outgoing.marks_outstanding == MAX_MARKS


def test_where_no_mark_ever_comes_back_the_schedule_says_what_was_heard() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(2000), 2000)
    for ms in range(0, 1020, 20):
        sent(outgoing, ms / 1000)
        assert outgoing.expire(ms / 1000) is None
    assert outgoing.overdue_at == pytest.approx(0.02 + FIRST_MARK_S)
    assert outgoing.expire(1.021) == 1020  # all that must have been heard by then
    sent(outgoing, 1.1)
    assert outgoing.overdue_at == pytest.approx(1.04)
    assert outgoing.expire(1.11) == 1100
    assert outgoing.marks_outstanding == 10


def test_a_mark_that_is_lost_counts_as_returned_when_it_is_long_overdue() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(60), 60)
    first, *_ = marks_of(sent(outgoing, 0.0))
    assert outgoing.mark_returned(first) == 20
    assert outgoing.overdue_at == pytest.approx(0.04 + LOST_MARK_S)
    assert outgoing.expire(outgoing.overdue_at - 0.001) is None
    assert outgoing.expire(0.06 + LOST_MARK_S) == 60
    assert (outgoing.marks_outstanding, outgoing.overdue_at) == (0, math.inf)


def test_a_mark_that_comes_back_after_all_ends_the_guessing() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(60), 60)
    names = marks_of(sent(outgoing, 0.0))
    assert outgoing.expire(2.0) == 60
    assert outgoing.mark_returned(names[0]) is None
    outgoing.speak(speech(20), 80)
    sent(outgoing, 3.0)
    assert outgoing.overdue_at == pytest.approx(3.02 + LOST_MARK_S)


def test_keys_wait_for_no_mark_that_does_not_come() -> None:
    outgoing = OutgoingAudio(200)
    outgoing.speak(speech(20), 20)
    sent(outgoing, 0.0)
    number = outgoing.press(bytes(160))
    assert outgoing.next(0.5) == math.inf
    assert outgoing.expire(1.1) == 20
    assert audio_of(sent(outgoing, 1.1)) == bytes(160)
    assert outgoing.expire(1.12) is None
    assert outgoing.keys_heard == number
