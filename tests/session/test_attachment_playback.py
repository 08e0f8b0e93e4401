"""Playback through an attachment that several may stop: the app, a barge-in policy, and where an answer is joined."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from trealtime._core.interruption import BargeIn
from trealtime._session.attachment import Attachment
from trealtime.audio.formats import PCM16_24K
from trealtime.audio.pcm import to_int16
from trealtime.errors import SettingsError, SlowConsumer
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


# ---- one response at a time -----------------------------------------------------------------------------------------


async def say_of(connection: Any, who: str, ms: int, level: int) -> None:
    place = {"response_id": f"resp_{who}", "item_id": f"item_{who}", "output_index": 0, "content_index": 0}
    data = base64.b64encode(np.full(24 * ms, level, np.int16).tobytes()).decode()
    await connection.send({"type": "response.output_audio.delta", "delta": data, **place})


async def begin_two(session: Any, connection: Any) -> None:
    """An answer in the conversation, ``a``, and a line outside it, ``b``."""
    await session.send_message("Hello")
    await connection.begin(await connection.expect("response.create"), id="resp_a")
    await session.create_response(out_of_band=True)
    await connection.begin(await connection.expect("response.create", count=2), id="resp_b")


def played(phone: MemoryEndpoint) -> list[tuple[int, int]]:
    """(level, milliseconds) of each stretch that the user has heard."""
    samples = to_int16(phone.heard(), PCM16_24K)
    edges = [0, *(np.flatnonzero(np.diff(samples)) + 1), len(samples)]
    return [(int(samples[begin]), (end - begin) // 24) for begin, end in itertools.pairwise(edges)]


async def test_two_responses_made_at_once_are_heard_one_after_the_other(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await begin_two(session, service.last)
        for _ in range(5):
            await say_of(service.last, "a", 200, 1000)
            await say_of(service.last, "b", 200, -1000)
        await service.last.done(id="resp_b")
        await trio.sleep(0.5)
        await say_of(service.last, "a", 200, 1000)
        await service.last.done(id="resp_a")
        await session.wait_for_playback()
        assert played(phone) == [(1000, 1200), (-1000, 1000)]
        assert trio.current_time() == pytest.approx(2.2, abs=0.01)


async def test_a_third_response_comes_after_the_second(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await begin_two(session, service.last)
        await session.create_response(out_of_band=True)
        await service.last.begin(await service.last.expect("response.create", count=3), id="resp_c")
        for _ in range(2):
            for who, level in (("a", 1000), ("b", -1000), ("c", 2000)):
                await say_of(service.last, who, 200, level)
        for who in "cba":
            await service.last.done(id=f"resp_{who}")
        await session.wait_for_playback()
        assert played(phone) == [(1000, 400), (-1000, 400), (2000, 400)]


async def test_an_interrupt_of_the_first_lets_the_second_be_heard_at_once(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await begin_two(session, service.last)
        await say_of(service.last, "a", 3000, 1000)
        await say_of(service.last, "b", 1000, -1000)
        await trio.sleep(0.5)
        await session.cancel_response("resp_a")
        await trio.sleep(2)
        assert played(phone) == [(1000, 500), (-1000, 1000)]
        truncate = await service.last.expect("conversation.item.truncate")
        assert (truncate["item_id"], truncate["audio_end_ms"]) == ("item_a", 500)


async def test_an_interrupt_of_all_cuts_the_one_that_waits_at_nothing(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await begin_two(session, service.last)
        await say_of(service.last, "b", 600, -1000)
        await say_of(service.last, "a", 3000, 1000)
        await service.last.done(id="resp_b")
        await trio.sleep(1)
        async with session.subscribe("audio_interrupted") as interrupts:
            await session.interrupt()
            await trio.sleep(5)
            assert [(interrupts.receive_nowait().heard_ms) for _ in range(1)] == [400]
        assert played(phone) == [(-1000, 600), (1000, 400)]


async def test_what_was_heard_is_told_apart_by_response_when_a_line_interrupts_an_item_of_the_answer(
    autojump_clock, runner, service
) -> None:
    """The second item of ``a`` comes after ``b`` has begun to come, and is heard before it."""
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await begin_two(session, service.last)
        await say_of(service.last, "a", 500, 1000)
        await say_of(service.last, "b", 1000, -1000)
        place = {"response_id": "resp_a", "item_id": "item_a2", "output_index": 1, "content_index": 0}
        data = base64.b64encode(np.full(24_000, 2000, np.int16).tobytes()).decode()
        await service.last.send({"type": "response.output_audio.delta", "delta": data, **place})
        await trio.sleep(0.7)
        await session.interrupt()
        await trio.sleep(0.1)
        cuts = {each["item_id"]: each["audio_end_ms"] for each in service.last.of("conversation.item.truncate")}
        assert cuts == {"item_a": 500, "item_a2": 200}
        assert played(phone) == [(1000, 500), (2000, 200)]


async def test_a_response_that_falls_silent_gives_way_after_two_seconds(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await begin_two(session, service.last)
        await say_of(service.last, "a", 1000, 1000)
        await say_of(service.last, "b", 200, -1000)
        await trio.sleep(2.9)
        assert played(phone) == [(1000, 1000)]
        await trio.sleep(0.5)
        assert played(phone) == [(1000, 1000), (-1000, 200)]
        await say_of(service.last, "a", 200, 1000)
        await service.last.done(id="resp_b")
        await trio.sleep(1)
        assert played(phone) == [(1000, 1000), (-1000, 200), (1000, 200)]


async def test_a_response_that_waits_is_bounded_like_any_other_audio(autojump_clock, make_runner, service) -> None:
    phone = MemoryEndpoint()
    runner = make_runner(subscription_buffer_s=2.0)
    async with runner.session() as session:

        async def converse() -> None:
            async with session.attach(phone):
                await begin_two(session, service.last)
                await say_of(service.last, "a", 200, 1000)
                for _ in range(11):
                    await say_of(service.last, "b", 200, -1000)
                    await trio.testing.wait_all_tasks_blocked()
                await trio.sleep_forever()

        with pytest.raises(SlowConsumer, match="waits to be played"):
            await converse()
        await session.interrupt()


# ---- an endpoint that leaves in mid-answer --------------------------------------------------------------------------


async def test_what_an_endpoint_has_reported_stays_heard_when_it_leaves_in_mid_answer(
    autojump_clock, runner, service
) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.subscribe("audio_interrupted") as interrupts:
        async with session.attach(phone):
            await session.send_message("Hello")
            await service.last.begin(await service.last.expect("response.create"))
            await say(service.last, bytes(3 * SECOND))
            await trio.sleep(5)
        await say(service.last, bytes(SECOND))
        await session.interrupt()
        assert (await interrupts.receive()).heard_ms == 3000
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == 3000


@pytest.mark.parametrize("more_s", [0, 1])
async def test_nothing_waits_for_the_rest_of_an_answer_whose_endpoint_has_left(
    autojump_clock, runner, service, more_s
) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session:
        async with session.attach(phone):
            await session.send_message("Hello")
            await service.last.begin(await service.last.expect("response.create"))
            await say(service.last, bytes(3 * SECOND))
            await trio.sleep(5)
        await say(service.last, bytes(more_s * SECOND))
        await service.last.done()
        with trio.fail_after(10):
            await session.wait_for_playback()


async def test_after_an_endpoint_has_left_what_the_app_takes_plays_on_from_there(
    autojump_clock, runner, service
) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.subscribe("audio") as listener:
        async with session.attach(phone):
            await session.send_message("Hello")
            await service.last.begin(await service.last.expect("response.create"))
            await say(service.last, bytes(3 * SECOND))
            await trio.sleep(5)
        await listener.receive()
        await trio.sleep(1)
        await say(service.last, bytes(2 * SECOND))
        await listener.receive()
        began = trio.current_time()
        await trio.sleep(0.5)
        async with session.subscribe("audio_interrupted") as interrupts:
            await session.interrupt()
            assert (await interrupts.receive()).heard_ms == 3500
        assert trio.current_time() == began + 0.5
