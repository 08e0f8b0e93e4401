"""The audio that is kept in case a connection is lost."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime._core.resend_buffer import ResendBuffer
from trealtime.audio.formats import G711_ULAW, PCM16_24K

MS = 48
"""Bytes of one millisecond of PCM16."""


def audio(begin_ms: int, end_ms: int) -> bytes:
    """Audio whose bytes say where in the stream they are."""
    return b"".join((at % 251).to_bytes(1, "big") * MS for at in range(begin_ms, end_ms))


def again(buffer: ResendBuffer) -> list[bytes | str]:
    """What another connection gets: commits by their ids, and the audio between them whole."""
    found: list[bytes | str] = []
    for event_id, piece in buffer.resume():
        if event_id is not None:
            found.append(event_id)
        elif found and isinstance(found[-1], bytes):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def test_audio_that_no_server_has_committed_is_sent_again() -> None:
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 300))
    buffer.add(audio(300, 2_500))
    assert again(buffer) == [audio(0, 2_500)]


def test_a_turn_that_voice_detection_has_found_leaves_up_to_its_end() -> None:
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 3_000))
    buffer.speech_started("item_a", 500)
    buffer.speech_stopped("item_a", 2_000)
    buffer.committed("item_a")
    assert buffer.audio_of("item_a") == audio(500, 2_000)
    assert again(buffer) == [audio(2_000, 3_000)]


def test_the_audio_of_a_turn_goes_when_its_words_are_known() -> None:
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 1_000))
    buffer.speech_started("item_a", 0)
    buffer.speech_stopped("item_a", 900)
    buffer.committed("item_a")
    buffer.transcribed("item_a")
    assert buffer.audio_of("item_a") is None


def test_a_turn_whose_words_come_before_word_of_its_commit_is_not_kept_for_them() -> None:
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 1_000))
    buffer.speech_started("item_a", 0)
    buffer.speech_stopped("item_a", 900)
    buffer.transcribed("item_a")
    buffer.committed("item_a")
    assert buffer.waiting == ()
    assert again(buffer) == [audio(900, 1_000)]


@pytest.mark.parametrize("lost, begin_ms", [(False, 900), (True, 1_100)])
def test_a_turn_whose_end_is_told_after_its_commit_waits_for_it(lost, begin_ms) -> None:
    """It ends with what the server has had, at the latest: where the connection is lost meanwhile, that is its end."""
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 1_100))
    buffer.alive(0)
    buffer.speech_started("item_a", 0)
    buffer.committed("item_a")
    buffer.add(audio(1_100, 2_000))
    assert buffer.audio_of("item_a") is None
    if lost:
        buffer.lose()
    else:
        buffer.speech_stopped("item_a", 900)
    assert buffer.audio_of("item_a") == audio(0, begin_ms)
    assert again(buffer) == [audio(begin_ms, 2_000)]


def add_live(buffer: ResendBuffer, begin_ms: int, end_ms: int) -> None:
    """A microphone's pieces, each of which arrives before the next is there."""
    for at in range(begin_ms, end_ms, 100):
        buffer.add(audio(at, at + 100))
        buffer.alive(0)


@pytest.mark.parametrize("heard_ms", [3_200, 4_200])
def test_what_was_sent_again_stays_until_the_server_has_had_time_to_hear_it(heard_ms) -> None:
    """Another connection gets what is kept all at once, and tells of speech in it as late as ever: after the
    padding of 300 ms and a second of notice."""
    buffer = ResendBuffer(60)
    buffer.listen(detecting=False, padding_ms=300)
    add_live(buffer, 0, 3_000)
    buffer.lose()
    assert again(buffer) == [audio(0, 3_000)]
    buffer.listen(detecting=True, padding_ms=300)
    add_live(buffer, 3_000, heard_ms)
    buffer.speech_started("item_a", 500)
    buffer.speech_stopped("item_a", 1_000)
    buffer.committed("item_a")
    assert buffer.audio_of("item_a") == audio(500, 1_000)


def test_what_was_sent_again_goes_when_the_server_has_heard_nobody_in_it() -> None:
    buffer = ResendBuffer(60)
    buffer.listen(detecting=True, padding_ms=300)
    add_live(buffer, 0, 1_000)
    buffer.lose()
    assert again(buffer) == [audio(0, 1_000)]
    add_live(buffer, 1_000, 2_300)
    assert buffer.kept_bytes == 48 * 2_300
    buffer.add(audio(2_300, 2_400))
    assert again(buffer) == [audio(1_000, 2_400)]


def test_silence_is_kept_while_word_of_a_commit_is_awaited() -> None:
    buffer = ResendBuffer(60)
    buffer.listen(detecting=True, padding_ms=300)
    add_live(buffer, 0, 500)
    buffer.commit("evt_1")
    add_live(buffer, 500, 5_000)
    assert again(buffer) == [audio(0, 500), "evt_1", audio(500, 5_000)]


def test_commits_of_the_app_keep_their_places() -> None:
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 100))
    buffer.commit("evt_1")
    buffer.add(audio(100, 200))
    buffer.commit("evt_2")
    buffer.add(audio(200, 250))
    assert again(buffer) == [audio(0, 100), "evt_1", audio(100, 200), "evt_2", audio(200, 250)]
    buffer.committed("item_a")
    assert buffer.audio_of("item_a") == audio(0, 100)
    assert again(buffer) == [audio(100, 200), "evt_2", audio(200, 250)]
    buffer.forget_commit("evt_2")
    assert again(buffer) == [audio(100, 250)]


def test_audio_that_the_app_has_cleared_is_not_sent_again_and_the_server_counts_on() -> None:
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 100))
    buffer.commit("evt_1")
    buffer.add(audio(100, 250))
    buffer.clear()
    assert again(buffer) == [audio(0, 100), "evt_1"]
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 100))
    buffer.clear()
    buffer.add(audio(100, 400))
    buffer.speech_started("item_a", 150)
    buffer.speech_stopped("item_a", 300)
    buffer.committed("item_a")
    assert buffer.audio_of("item_a") == audio(150, 300)


def test_positions_of_another_connection_begin_at_what_it_was_sent_again() -> None:
    buffer = ResendBuffer(60)
    buffer.add(audio(0, 1_000))
    buffer.speech_started("item_a", 0)
    buffer.speech_stopped("item_a", 400)
    buffer.committed("item_a")
    buffer.lose()
    assert again(buffer) == [audio(400, 1_000)]
    buffer.add(audio(1_000, 1_500))
    buffer.speech_started("item_b", 300)
    buffer.speech_stopped("item_b", 900)
    buffer.committed("item_b")
    assert buffer.audio_of("item_b") == audio(700, 1_300)
    assert again(buffer) == [audio(1_300, 1_500)]


def test_the_oldest_audio_goes_and_counts_only_where_a_turn_needs_it() -> None:
    buffer = ResendBuffer(1)
    for at in range(0, 3_000, 100):  # silence that nothing has committed
        buffer.add(audio(at, at + 100))
    assert again(buffer) == [audio(2_000, 3_000)]
    assert buffer.dropped_bytes == 0
    buffer.speech_started("item_a", 500)
    buffer.add(audio(3_000, 3_700))
    assert buffer.dropped_bytes == 200 * MS, "the turn began 500 ms before, and the buffer holds 1,000"
    buffer.lose()
    buffer.add(audio(3_700, 4_200))
    assert buffer.dropped_bytes == 700 * MS
    assert again(buffer) == [audio(3_200, 4_200)]


@pytest.mark.parametrize("away", [False, True])
def test_audio_of_a_commit_that_no_server_has_confirmed_counts_where_it_has_to_go(away) -> None:
    buffer = ResendBuffer(1)
    buffer.add(audio(0, 500))
    buffer.commit("evt_1")
    if away:
        buffer.lose()
    buffer.add(audio(500, 1_200))
    assert buffer.dropped_bytes == 200 * MS
    assert again(buffer) == [audio(200, 500), "evt_1", audio(500, 1_200)]
    buffer.committed("item_a")
    buffer.add(audio(1_200, 1_700))
    assert buffer.dropped_bytes == 200 * MS


def test_silence_that_the_server_has_had_goes() -> None:
    buffer = ResendBuffer(60)
    buffer.listen(detecting=True, padding_ms=300)
    for at in range(0, 10_000, 100):
        buffer.add(audio(at, at + 100))
    assert buffer.kept_bytes == 10_000 * MS, "nothing says that any of it has arrived"
    buffer.alive(0)
    buffer.add(audio(10_000, 10_100))
    assert again(buffer) == [audio(8_700, 10_100)], "what may be speech that the server has not told of stays"
    buffer.speech_started("item_a", 9_000)
    for at in range(10_100, 15_000, 100):
        buffer.add(audio(at, at + 100))
        buffer.alive(0)
    assert buffer.kept_bytes == 6_300 * MS, "the user speaks"
    buffer.lose()
    buffer.add(audio(15_000, 16_000))
    assert buffer.kept_bytes == 7_300 * MS


@pytest.mark.parametrize("sounds", [b"\0", b"\xff", b"\0\1"], ids=["zeros", "ones", "noise"])
def test_silence_that_repeats_takes_the_space_of_one_piece(sounds) -> None:
    """A minute of it, as a muted microphone sends it to a server that says nothing."""
    buffer = ResendBuffer(60)
    buffer.listen(detecting=True, padding_ms=300)
    pieces = [(sounds[number % len(sounds)].to_bytes(1, "big"), 20 * MS) for number in range(3_000)]
    tracemalloc.start()
    for sound, size in pieces:
        buffer.add(sound * size)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert buffer.kept_bytes == 60_000 * MS
    assert (taken < 0.1 * 60_000 * MS) == (len(sounds) == 1)
    assert again(buffer) == [b"".join(sound * size for sound, size in pieces)]


def test_without_voice_detection_everything_since_the_commit_stays() -> None:
    buffer = ResendBuffer(60)
    buffer.listen(detecting=False, padding_ms=300)
    for at in range(0, 10_000, 100):
        buffer.add(audio(at, at + 100))
        buffer.alive(0)
    assert buffer.kept_bytes == 10_000 * MS


def test_turns_without_words_share_the_bound() -> None:
    buffer = ResendBuffer(1)
    for number in range(3):
        buffer.add(audio(0, 400))
        buffer.speech_started(f"item_{number}", 400 * number)
        buffer.speech_stopped(f"item_{number}", 400 * (number + 1))
        buffer.committed(f"item_{number}")
    assert [buffer.audio_of(f"item_{number}") is not None for number in range(3)] == [False, True, True]


def test_another_format_begins_anew() -> None:
    buffer = ResendBuffer(1)
    buffer.add(audio(0, 100))
    buffer.use_format(G711_ULAW)
    assert again(buffer) == []
    buffer.add(bytes(9_000))
    assert again(buffer) == [bytes(8_000)], "one second of G.711"
    buffer.use_format(PCM16_24K)
    assert again(buffer) == []


def test_without_a_limit_nothing_is_kept() -> None:
    buffer = ResendBuffer()
    buffer.add(audio(0, 100))
    buffer.speech_started("item_a", 0)
    buffer.speech_stopped("item_a", 100)
    buffer.committed("item_a")
    assert again(buffer) == []
    assert buffer.audio_of("item_a") is None


@given(
    st.lists(st.tuples(st.sampled_from(["start", "stop", "commit", "lose", "resume", "clear"]), st.integers(-9, 9_999)))
)
def test_positions_that_make_no_sense_lose_nothing_that_was_not_committed(steps) -> None:
    """A server may say what it likes: the audio that is kept is always the end of what was sent."""
    buffer = ResendBuffer(60)
    sent = b""
    for number, (step, value) in enumerate(steps):
        piece = audio(number * 20, number * 20 + 20)
        buffer.add(piece)
        sent += piece
        match step:
            case "start":
                buffer.speech_started(f"item_{value % 3}", value)
            case "stop":
                buffer.speech_stopped(f"item_{value % 3}", value)
            case "commit":
                buffer.committed(f"item_{value % 3}")
            case "lose":
                buffer.lose()
            case "resume":
                list(buffer.resume())
            case "clear":
                buffer.clear()
                sent = b""
    kept = again(buffer)
    assert len(kept) <= 1
    assert not kept or sent == b"" or sent.endswith(kept[0]) or kept[0].endswith(sent)
