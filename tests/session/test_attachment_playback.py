"""Playback through an attachment that several may stop: the app, a barge-in policy, and where an answer is joined."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from trealtime._core.barge_in import BargeIn
from trealtime._session.attachment import Attachment
from trealtime.audio.formats import PCM16_24K
from trealtime.audio.pcm import to_int16
from trealtime.errors import SettingsError
from trealtime.testing import MemoryEndpoint

SECOND = 48_000
LEVEL = 8000
FILLERS = BargeIn(dismiss="fillers")


async def answer(session: Any, connection: Any, seconds: float = 3.0) -> None:
    """A whole answer, at one level."""
    await session.send_message("Hello")
    await connection.begin(await connection.expect("response.create"))
    await say(connection, np.full(int(24_000 * seconds), LEVEL, np.int16).tobytes())
    await connection.done()
    await trio.testing.wait_all_tasks_blocked()


async def say(connection: Any, data: bytes) -> None:
    place = {"response_id": "resp_1", "item_id": "item_a", "output_index": 0, "content_index": 0}
    await connection.send({"type": "response.output_audio.delta", "delta": base64.b64encode(data).decode(), **place})


async def doubt_begins(connection: Any) -> None:
    await connection.send({"type": "input_audio_buffer.speech_started", "item_id": "item_u", "audio_start_ms": 0})
    await trio.testing.wait_all_tasks_blocked()


async def doubt_is_dismissed(connection: Any) -> None:
    await connection.send({"type": "input_audio_buffer.speech_stopped", "item_id": "item_u", "audio_end_ms": 600})
    await trio.testing.wait_all_tasks_blocked()


# ---- the app's own hold, and a policy's -----------------------------------------------------------------------------


@pytest.mark.parametrize("while_unsure", ["play", "duck", "hold"])
async def test_what_the_app_holds_stays_held_whatever_comes_of_a_doubt(
    autojump_clock, make_runner, service, while_unsure
) -> None:
    phone = MemoryEndpoint()
    runner = make_runner(barge_in={"while_unsure": while_unsure})
    async with runner.session() as session, session.attach(phone) as attachment:
        await answer(session, service.last)
        await trio.sleep(0.5)
        attachment.hold()
        await doubt_begins(service.last)
        await doubt_is_dismissed(service.last)
        await trio.sleep(5)
        assert len(phone.heard()) == SECOND / 2
        attachment.resume()
        await session.wait_for_playback()
        assert to_int16(phone.heard(), PCM16_24K).tolist() == [LEVEL] * 72_000


async def test_what_a_policy_holds_stays_held_whatever_the_app_resumes(autojump_clock, make_runner, service) -> None:
    phone = MemoryEndpoint()
    runner = make_runner(barge_in={"while_unsure": "hold"})
    async with runner.session() as session, session.attach(phone) as attachment:
        await answer(session, service.last)
        await trio.sleep(0.5)
        await doubt_begins(service.last)
        attachment.hold()
        attachment.resume()
        await trio.sleep(0.5)
        assert len(phone.heard()) == SECOND / 2
        await doubt_is_dismissed(service.last)
        await session.wait_for_playback()
        assert len(phone.heard()) == 3 * SECOND


async def test_of_two_who_duck_the_softer_is_heard(autojump_clock, make_runner, service) -> None:
    phone = MemoryEndpoint()
    runner = make_runner(barge_in={"while_unsure": "duck", "duck_db": -40})
    async with runner.session() as session, session.attach(phone) as attachment:
        await answer(session, service.last)
        attachment.duck(-20)
        for begins in (True, False):
            await trio.sleep(0.4)
            await (doubt_begins if begins else doubt_is_dismissed)(service.last)
        await trio.sleep(0.4)
        attachment.resume()
        await session.wait_for_playback()
        heard = to_int16(phone.heard(), PCM16_24K)
        assert heard[[8_000, 18_000, 27_000, 40_000]].tolist() == [800, 80, 800, LEVEL]


@pytest.mark.parametrize("while_unsure, level", [("play", LEVEL), ("duck", 800), ("hold", 0)])
async def test_an_endpoint_attached_amid_a_doubt_does_what_the_doubt_asks(
    autojump_clock, make_runner, service, while_unsure, level
) -> None:
    phone = MemoryEndpoint()
    runner = make_runner(barge_in={"while_unsure": while_unsure, "duck_db": -20})
    async with runner.session() as session:
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await doubt_begins(service.last)
        async with session.attach(phone):
            await say(service.last, np.full(24_000, LEVEL, np.int16).tobytes())
            await trio.sleep(0.5)
            heard = to_int16(phone.heard(), PCM16_24K)
            assert heard[-1:].tolist() == ([level] if level else [])
            await doubt_is_dismissed(service.last)
            await service.last.done()
            await session.wait_for_playback()
            assert len(phone.heard()) == SECOND


# ---- reports -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reports", [True, False])
async def test_an_endpoint_that_reports_nothing_is_told_of_once(
    autojump_clock, runner, service, caplog, reports
) -> None:
    class Mute(MemoryEndpoint):
        def _hear(self, audio: bytes, began_at: float, position_ms: float) -> None:
            if reports and position_ms > 9_000:
                super()._hear(audio, began_at, position_ms)

    async with runner.session() as session, session.attach(Mute()):
        await answer(session, service.last, seconds=19)
        await trio.sleep(20)
    warnings = [record.message for record in caplog.records if "Mute has taken 10 s of audio" in record.message]
    assert len(warnings) == (0 if reports else 1)


# ---- policies that are lent ------------------------------------------------------------------------------------------


async def test_fillers_need_a_transcription_also_while_an_endpoint_is_attached(
    autojump_clock, make_runner, service
) -> None:
    runner = make_runner(model_settings={"input_audio_transcription": None})
    async with runner.session() as session:
        with pytest.raises(SettingsError, match="barge_in knows fillers"):
            session.attach(MemoryEndpoint(), barge_in=FILLERS)
        await session.update_settings({"input_audio_transcription": {"model": "whisper-1"}})
        async with session.attach(MemoryEndpoint(), barge_in=FILLERS):
            with pytest.raises(SettingsError, match="barge_in knows fillers"):
                await session.update_settings({"input_audio_transcription": None})
        await session.update_settings({"input_audio_transcription": None})


async def test_of_two_policies_that_are_lent_the_later_holds_while_it_is_there(
    autojump_clock, make_runner, service
) -> None:
    def policy() -> Any:
        return session._driver.core._state.policy

    microphone, speaker = MemoryEndpoint(PCM16_24K, None), MemoryEndpoint(None, PCM16_24K)
    async with make_runner().session() as session:
        async with session.attach(microphone, barge_in="off"):
            async with session.attach(speaker, barge_in=BargeIn()):
                assert policy() == BargeIn()
            assert policy() == "off"
        assert policy() == "immediate"


# ---- an answer that is joined ----------------------------------------------------------------------------------------


async def test_an_answer_that_is_joined_amid_a_sample_is_no_noise(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    audio = np.full(24_000, 0x0101 * 4 + 3, np.int16).tobytes()
    async with runner.session() as session:
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await say(service.last, audio[:4801])
        await trio.testing.wait_all_tasks_blocked()
        async with session.attach(phone):
            await say(service.last, audio[4801:])
            await service.last.done()
            await session.wait_for_playback()
    assert set(to_int16(phone.heard(), PCM16_24K).tolist()) == {0x0101 * 4 + 3}
    assert len(phone.heard()) == SECOND - 4802


@pytest.mark.parametrize("stop", [Attachment.hold, Attachment.duck])
async def test_an_answer_that_is_joined_can_be_stopped_and_goes_on(
    autojump_clock, runner, service, stop: Callable[[Attachment], None]
) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session:
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await say(service.last, bytes(SECOND))
        await trio.testing.wait_all_tasks_blocked()
        async with session.attach(phone) as attachment:
            await say(service.last, bytes(SECOND))
            await service.last.done()
            await trio.sleep(0.5)
            stop(attachment)
            attachment.resume()
            await trio.sleep(0.25)
            await session.interrupt()
            truncate = await service.last.expect("conversation.item.truncate")
            assert truncate["audio_end_ms"] == pytest.approx(1750, abs=25)
