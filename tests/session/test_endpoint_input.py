"""The user's audio when it stops: silence takes its place while the server waits for the end of a turn."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import trio

from trealtime.audio.formats import G711_ULAW
from trealtime.errors import EndpointFailed
from trealtime.testing import MemoryEndpoint

SECOND = 8_000
"""Bytes of one second of mu-law."""

SILENCE = b"\xff"
WORD = b"\x10"


def appended(connection: Any) -> bytes:
    return b"".join(base64.b64decode(each["audio"]) for each in connection.of("input_audio_buffer.append"))


@pytest.fixture
def session_of(make_runner):
    """``session_of()``: a session that takes mu-law."""
    return make_runner(model_settings={"input_audio_format": "g711_ulaw"}).session


async def begin_to_speak(connection: Any, phone: MemoryEndpoint) -> None:
    await phone.say(WORD * SECOND)
    await connection.send({"type": "input_audio_buffer.speech_started", "item_id": "item_u", "audio_start_ms": 0})


async def test_input_that_stops_in_mid_word_is_followed_by_silence_in_real_time_and_not_for_ever(
    autojump_clock, session_of, service
) -> None:
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)
    async with session_of() as session, session.attach(phone) as attachment:
        await begin_to_speak(service.last, phone)
        await trio.sleep(0.99)
        assert appended(service.last) == WORD * SECOND
        await trio.sleep(2.02)
        assert len(appended(service.last)) == pytest.approx(3 * SECOND, abs=0.11 * SECOND)
        assert attachment.statistics().input_silence_s == pytest.approx(2, abs=0.11)
        await trio.sleep(100)
        assert appended(service.last) == WORD * SECOND + SILENCE * 5 * SECOND
        assert attachment.statistics().input_silence_s == pytest.approx(5)


async def test_a_stall_of_700_ms_adds_nothing(autojump_clock, session_of, service) -> None:
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)
    async with session_of() as session, session.attach(phone) as attachment:
        await begin_to_speak(service.last, phone)
        for _ in range(10):
            await trio.sleep(0.7)
            await phone.say(WORD * SECOND)
        await trio.sleep(0.7)
        assert appended(service.last) == WORD * 11 * SECOND
        assert attachment.statistics().input_silence_s == 0


async def test_silence_ends_with_the_speech_and_when_audio_comes_again(autojump_clock, session_of, service) -> None:
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)
    async with session_of() as session, session.attach(phone):
        await begin_to_speak(service.last, phone)
        await trio.sleep(1.55)
        await phone.say(WORD * SECOND)
        await trio.sleep(0.9)
        resumed = appended(service.last)
        assert resumed == WORD * SECOND + SILENCE * (len(resumed) - 2 * SECOND) + WORD * SECOND
        assert len(resumed) == pytest.approx(2.6 * SECOND, abs=0.11 * SECOND)
        await trio.sleep(0.35)
        stopped = {"type": "input_audio_buffer.speech_stopped", "item_id": "item_u", "audio_end_ms": 3_000}
        await service.last.send(stopped)
        await trio.sleep(100)
        assert len(appended(service.last)) == pytest.approx(2.9 * SECOND, abs=0.11 * SECOND)


async def test_where_the_user_does_not_speak_nothing_is_added(autojump_clock, session_of, service) -> None:
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)
    async with session_of() as session, session.attach(phone):
        await trio.sleep(10)
        await phone.say(WORD * SECOND)
        await trio.sleep(10)
        assert appended(service.last) == WORD * SECOND


async def test_a_source_that_can_wait_gets_no_silence(autojump_clock, session_of, service) -> None:
    reader = MemoryEndpoint(G711_ULAW, G711_ULAW)
    reader.live = False
    async with session_of() as session, session.attach(reader):
        await begin_to_speak(service.last, reader)
        await trio.sleep(10)
        assert appended(service.last) == WORD * SECOND


# ---- the user leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hangs up", "the block ends", "the endpoint fails"])
async def test_a_user_who_leaves_in_mid_word_has_said_what_was_said(autojump_clock, session_of, service, how) -> None:
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)

    async def call(session: Any) -> None:
        async with session.attach(phone) as attachment:
            await begin_to_speak(service.last, phone)
            await trio.sleep(0.1)
            match how:
                case "hangs up":
                    await phone.leave()
                    await attachment.wait_closed()
                case "the endpoint fails":
                    phone.fail(OSError("unplugged"))
                    await trio.sleep(1)

    async with session_of() as session:
        if how == "the endpoint fails":
            with pytest.raises(EndpointFailed):
                await call(session)
        else:
            await call(session)
        await service.last.expect("input_audio_buffer.commit")
        kinds = [each["type"] for each in service.last.of("input_audio_buffer.append", "input_audio_buffer.commit")]
        assert kinds[-1] == "input_audio_buffer.commit"
        assert kinds.count("input_audio_buffer.commit") == 1
        await service.last.emit("input_audio_buffer.committed", item_id="item_u")
        item = {"id": "item_u", "role": "user", "content": [{"type": "input_audio", "transcript": "I want to"}]}
        await service.last.emit("conversation.item.added", item=item)
        await trio.sleep(60)
        assert [each.text for each in session.history] == ["I want to"]
        assert service.last.of("response.create") == []


async def test_a_user_who_leaves_after_a_word_ends_no_turn(autojump_clock, session_of, service) -> None:
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)
    async with session_of() as session:
        async with session.attach(phone) as attachment:
            await begin_to_speak(service.last, phone)
            await service.last.emit("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=900)
            await trio.sleep(0.1)
            await phone.leave()
            await attachment.wait_closed()
        await trio.sleep(1)
        assert service.last.of("input_audio_buffer.commit") == []
