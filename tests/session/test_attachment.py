"""Endpoints attached to a session, over an in-memory wire under the mock clock."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from trealtime.audio.formats import G711_ALAW, G711_ULAW, PCM16_24K, pcm16
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.testing import MemoryEndpoint

SECOND = 48_000
"""Bytes of one second of PCM16 at 24 kHz."""


def appended(connection: Any) -> bytes:
    return b"".join(base64.b64decode(each["audio"]) for each in connection.of("input_audio_buffer.append"))


async def speak(connection: Any, data: bytes, *, item_id: str = "item_a", id: str = "resp_1") -> None:
    """The server sends this audio."""
    place = {"response_id": id, "item_id": item_id, "output_index": 0, "content_index": 0}
    await connection.send({"type": "response.output_audio.delta", "delta": base64.b64encode(data).decode(), **place})


def tone(ms: int, rate: int, hz: float = 440) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.rint(8000 * np.sin(2 * np.pi * hz * np.arange(rate * ms // 1000) / rate)).astype(np.int16)


async def ask(session: Any, connection: Any, *, seconds: float) -> None:
    """A message, and a whole answer to it of so many seconds."""
    await session.send_message("Hello")
    await connection.reply(seconds=seconds)
    await trio.testing.wait_all_tasks_blocked()


# ---- both ways ------------------------------------------------------------------------------------------------------


async def test_what_the_agent_says_is_played_and_what_the_user_says_is_sent(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await ask(session, service.last, seconds=1.0)
        await phone.say(bytes(960))
        await session.wait_for_playback()
        assert phone.heard() == bytes([1]) * SECOND
        assert trio.current_time() == pytest.approx(1.0, abs=1e-6)
        assert appended(service.last) == bytes(960)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
async def test_audio_is_converted_between_the_endpoint_and_the_session(autojump_clock, runner, service, rate) -> None:
    theirs = pcm16(rate)
    phone = MemoryEndpoint(theirs, theirs)
    async with runner.session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        for chunk in np.array_split(tone(1000, 24_000), 7):
            await speak(service.last, chunk.tobytes())
        await service.last.done()
        await session.wait_for_playback()
        heard = to_int16(phone.heard(), theirs).astype(float)
        assert len(heard) == rate
        assert np.abs(heard - tone(1000, rate))[rate // 50 : -rate // 50].max() < 40

        said = from_int16(tone(1000, rate), theirs)
        for begin in range(0, len(said), 333):
            await phone.say(said[begin : begin + 333])
        await phone.leave()
        await trio.sleep(1)
        sent = to_int16(appended(service.last), PCM16_24K).astype(float)
        assert len(sent) == 24_000
        assert np.abs(sent - tone(1000, 24_000))[480:-480].max() < 40


async def test_mu_law_passes_through_untouched_where_the_server_takes_it(autojump_clock, make_runner, service) -> None:
    audio = {"input": {"format": "g711_ulaw"}, "output": {"format": "g711_ulaw"}}
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)
    everything = bytes(range(256)) * 10
    async with make_runner(model_settings={"audio": audio}).session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await speak(service.last, everything)
        await service.last.done()
        await phone.say(everything)
        await session.wait_for_playback()
        assert phone.heard() == everything
        assert appended(service.last) == everything


@pytest.mark.parametrize("given", [PCM16_24K, G711_ULAW, G711_ALAW], ids=str)
@pytest.mark.parametrize("asked", ["pcm16", "g711_ulaw"])
async def test_what_counts_is_the_format_that_the_server_acknowledged(
    autojump_clock, make_runner, service, asked, given
) -> None:
    phone = MemoryEndpoint(G711_ULAW, G711_ULAW)
    runner = make_runner(model_settings={"input_audio_format": asked, "output_audio_format": asked})
    async with runner.session() as session:
        audio = {"input": {"format": given.to_wire()}, "output": {"format": given.to_wire()}}
        await service.last.send({"type": "session.updated", "session": {**service.last.session, "audio": audio}})
        await trio.testing.wait_all_tasks_blocked()
        async with session.attach(phone):
            await session.send_message("Hello")
            await service.last.begin(await service.last.expect("response.create"))
            await speak(service.last, from_int16(tone(1000, given.rate), given))
            await service.last.done()
            await session.wait_for_playback()
            await phone.say(from_int16(tone(1000, 8_000), G711_ULAW))
            await phone.leave()
            await trio.sleep(1)
    heard, sent = to_int16(phone.heard(), G711_ULAW), to_int16(appended(service.last), given)
    assert (len(heard), len(sent)) == (8_000, given.rate)
    for samples in (heard, sent):
        assert np.abs(np.fft.rfft(samples.astype(float))).argmax() == 440
        assert np.sqrt(np.mean(samples.astype(float) ** 2)) == pytest.approx(
            8000 / np.sqrt(2), rel=0.03
        )  # both laws, one after the other


async def test_formats_that_change_are_followed(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await phone.say(bytes(960))
        await session.update_settings({"audio": {"input": {"format": "g711_alaw"}, "output": {"format": "g711_ulaw"}}})
        await trio.sleep(1)
        await phone.say(bytes(960))
        await phone.leave()
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await speak(service.last, b"\xff" * 8000)
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
    assert appended(service.last) == bytes(960) + b"\xd5" * 160


async def test_a_response_keeps_the_format_in_which_it_began(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await speak(service.last, bytes([1]) * SECOND)
        await session.update_settings({"audio": {"output": {"format": "g711_ulaw"}}})
        await speak(service.last, bytes([2]) * SECOND)
        await service.last.done()
        await trio.sleep(5)
        assert phone.heard() == bytes([1]) * SECOND + bytes([2]) * SECOND


async def test_small_pieces_are_sent_together_and_the_first_at_once(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        for _ in range(20):
            await phone.say(bytes(480))
            await trio.sleep(0.01)
            if not service.last.of("input_audio_buffer.append"):
                pytest.fail("the first piece waited")
        await trio.sleep(1)
        pieces = [len(base64.b64decode(each["audio"])) for each in service.last.of("input_audio_buffer.append")]
        assert sum(pieces) == 20 * 480
        assert pieces[0] == 480
        assert len(pieces) <= 6


async def test_a_muted_user_is_silent_and_time_goes_on(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint(G711_ULAW)
    async with runner.session() as session, session.attach(phone) as attachment:
        attachment.muted = True
        await phone.say(b"\x80" * 800)
        await phone.leave()
        await attachment.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert appended(service.last) == bytes(2400 * 2)
        assert attachment.muted


async def test_a_live_source_never_waits_for_a_network_that_stalls(autojump_clock, make_runner, service) -> None:
    service.capacity = 1
    phone = MemoryEndpoint()
    async with make_runner(input_buffer_s=0.5).session() as session, session.attach(phone) as attachment:
        service.last.stop_reading()
        for _ in range(100):
            await phone.say(bytes(960))
            await trio.sleep(0.02)
        statistics = attachment.statistics()
        assert statistics.bytes_received == 100 * 960
        assert statistics.input_dropped_s == pytest.approx(2.0 - 0.5, abs=0.2)
        assert session.statistics().attachments == (statistics,)


async def test_a_source_that_can_wait_loses_nothing(autojump_clock, make_runner, service) -> None:
    service.capacity = 1
    phone = MemoryEndpoint()
    phone.live = False
    async with make_runner(input_buffer_s=0.1).session() as session, session.attach(phone) as attachment:
        for _ in range(200):
            await phone.say(bytes(9600))
        await phone.leave()
        await attachment.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert len(appended(service.last)) == 200 * 9600
        assert attachment.statistics().input_dropped_s == 0


async def test_keys_are_events(autojump_clock, runner) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.subscribe("dtmf_received") as subscription, session.attach(phone):
        phone.press("#")
        event = await subscription.receive()
        assert (event.digit, event.source) == ("#", "endpoint")
        with pytest.raises(ValueError, match="digit must be one of"):
            phone.press("12")


# ---- interrupts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard_ms", [7, 1230, 2001])
@pytest.mark.parametrize("by", ["the app", "the user"])
async def test_an_interrupt_silences_the_endpoint_in_that_step_and_tells_where(
    autojump_clock, runner, service, heard_ms, by
) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await ask(session, service.last, seconds=5.0)
        await trio.sleep(heard_ms / 1000)
        if by == "the app":
            await session.interrupt()
        else:
            await service.last.send({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0})
        truncate = await service.last.expect("conversation.item.truncate")
        # Until the first report, 20 ms in, nothing says that playback has begun.
        assert truncate["audio_end_ms"] == (pytest.approx(heard_ms, abs=1) if heard_ms > 20 else 0)
        assert len(phone.heard()) == heard_ms * 48
        await trio.sleep(10)
        assert len(phone.heard()) == heard_ms * 48


async def test_what_was_being_given_when_the_interrupt_came_is_not_played(autojump_clock, runner, service) -> None:
    class Slow(MemoryEndpoint):
        """Takes a piece only after a while, and then whatever happened meanwhile: the worst that is allowed."""

        async def play(self, audio: bytes, position_ms: float) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.005)
            await super().play(audio, position_ms)
            await trio.lowlevel.checkpoint()

    phone = Slow(room_ms=10_000)
    async with runner.session() as session, session.attach(phone):
        await ask(session, service.last, seconds=5.0)
        await trio.sleep(0.4013)
        await session.interrupt()
        heard = len(phone.heard())
        await ask(session, service.last, seconds=0.0)
        await trio.sleep(10)
        assert len(phone.heard()) == heard


@pytest.mark.parametrize("seed", range(12))
async def test_the_server_is_told_what_the_user_heard_whatever_came_between(
    autojump_clock, runner, service, seed
) -> None:
    rng = random.Random(seed)
    theirs = rng.choice([pcm16(8_000), pcm16(24_000), pcm16(44_100), G711_ULAW])
    phone = MemoryEndpoint(None, theirs, room_ms=rng.choice([20, 200, 5000]))
    told_ms = heard_ms = 0.0
    async with runner.session() as session, session.attach(phone) as attachment:
        for turn in range(1, 6):
            await session.send_message("Hello")
            request = await service.last.expect("response.create", count=turn)
            await service.last.begin(request, id=f"resp_{turn}")
            given = tone(rng.randrange(500, 4000), 24_000).tobytes()
            while given:
                size = rng.randrange(1, 20_000)  # the service may cut a sample in two
                await speak(service.last, given[:size], id=f"resp_{turn}", item_id=f"item_{turn}")
                given = given[size:]
            for _ in range(rng.randrange(3)):
                await trio.sleep(rng.uniform(0.05, 0.3))
                attachment.hold()
                await trio.sleep(rng.uniform(0, 0.5))
                attachment.resume()
            await trio.sleep(rng.uniform(0.03, 1.0))
            await session.interrupt()
            await service.last.done(id=f"resp_{turn}", status="cancelled")
            await trio.testing.wait_all_tasks_blocked()
            truncated = list(service.last.of("conversation.item.truncate"))
            told_ms = sum(each["audio_end_ms"] for each in truncated)
            heard_ms = theirs.duration_ms(len(phone.heard()))
            assert len(truncated) <= turn
            if len(truncated) == turn:  # else one had been heard to its end
                assert told_ms == pytest.approx(heard_ms, abs=2 * turn)
            else:
                return


async def test_leaving_a_response_silences_it(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: service.last.reply("A long story.", seconds=5.0))
        with trio.move_on_after(1.5):
            async with session.respond("Tell me a story.") as response:
                async for _event in response:
                    pass
                await session.wait_for_playback()
        heard = len(phone.heard())
        assert heard == pytest.approx(1.5 * SECOND, abs=100)
        await trio.sleep(5)
        assert len(phone.heard()) == heard


async def test_the_next_answer_begins_afresh_after_an_interrupt(autojump_clock, runner, service) -> None:
    theirs = pcm16(8_000)
    phone = MemoryEndpoint(None, theirs)
    async with runner.session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await speak(service.last, tone(1000, 24_000).tobytes())
        await trio.sleep(0.5)
        await session.interrupt()
        await service.last.done(status="cancelled")
        heard = len(phone.heard())
        await session.send_message("Again")
        await service.last.begin(await service.last.expect("response.create", count=2), id="resp_2")
        await speak(service.last, bytes(SECOND), id="resp_2", item_id="item_b")
        await service.last.done(id="resp_2")
        await session.wait_for_playback()
        assert phone.heard()[heard:] == bytes(16_000), "nothing of the old tone is left in the filter"


async def test_what_another_response_says_plays_on_where_it_was(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint(room_ms=10_000)
    async with runner.session() as session, session.attach(phone):
        await session.create_response(out_of_band=True)
        await service.last.begin(await service.last.expect("response.create"), id="resp_b")
        await speak(service.last, bytes([2]) * SECOND, id="resp_b", item_id="item_b")
        await ask(session, service.last, seconds=0)
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create", count=2))
        await speak(service.last, bytes([1]) * SECOND)
        await trio.sleep(0.25)
        await session.cancel_response("resp_1")
        await trio.sleep(10)
        assert phone.heard() == bytes([2]) * SECOND


async def test_what_the_app_reads_meanwhile_does_not_count_as_heard(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await service.last.audio(5.0)
        await trio.sleep(2)
        async for event in session:
            if event.type == "audio" and event.audio.start_ms > 4500:
                break
        await session.interrupt()
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == pytest.approx(2000, abs=1)


async def test_a_turn_is_played_once_whoever_asked_for_it(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone), trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply, "Yes.")
        turn = await session.ask("Really?")
        assert len(turn.audio) == SECOND
        await session.wait_for_playback()
        assert trio.current_time() == pytest.approx(1.0, abs=1e-6)
        assert len(phone.heard()) == SECOND


# ---- duck, hold, resume ---------------------------------------------------------------------------------------------


async def test_what_is_held_is_played_later_from_where_it_was_heard(autojump_clock, runner, service) -> None:
    theirs = pcm16(8_000)
    phone = MemoryEndpoint(None, theirs)
    async with runner.session() as session, session.attach(phone) as attachment:
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await speak(service.last, tone(2000, 24_000).tobytes())
        await service.last.done()
        await trio.sleep(0.51)
        attachment.hold()
        attachment.hold()
        held = len(phone.heard())
        await trio.sleep(10)
        assert len(phone.heard()) == held == 510 * 16
        attachment.resume()
        await session.wait_for_playback()
        assert trio.current_time() == pytest.approx(12.0, abs=0.01)
        heard = to_int16(phone.heard(), theirs).astype(float)
        assert np.abs(heard - tone(2000, 8_000))[160:-160].max() < 40, "not a sample is missing, or twice"


async def test_an_interrupt_while_held_cuts_where_playback_stood(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone) as attachment:
        await ask(session, service.last, seconds=3.0)
        await trio.sleep(1.0)
        attachment.hold()
        await trio.sleep(5.0)
        await session.interrupt()
        attachment.resume()
        await trio.sleep(5.0)
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == pytest.approx(1000, abs=1)
        assert len(phone.heard()) == SECOND


async def test_ducking_is_soon_heard_and_loses_nothing(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint(room_ms=3000)
    loud = np.full(72_000, 8000, np.int16)
    async with runner.session() as session, session.attach(phone) as attachment:
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await speak(service.last, loud.tobytes())
        await service.last.done()
        await trio.sleep(1.0)
        attachment.duck(-20)
        await trio.sleep(1.0)
        attachment.resume()
        await session.wait_for_playback()
        heard = to_int16(phone.heard(), PCM16_24K).astype(int)
        assert len(heard) == 72_000
        assert (heard[:24_000] == 8000).all()
        assert (heard[24_500:48_000] == 800).all()
        assert (heard[48_500:] == 8000).all()
        assert np.abs(np.diff(heard)).max() < 30
        with pytest.raises(ValueError, match="gain_db must be 0 or below"):
            attachment.duck(6)
