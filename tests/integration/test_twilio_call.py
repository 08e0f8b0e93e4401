"""Whole telephone calls: the fake Twilio on one side of a session, the emulator on the other."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import numpy as np
import pytest
import trio
import trio.testing

from trealtime._session.attachment import Attachment
from trealtime._session.session import RealtimeSession
from trealtime.audio.formats import G711_ULAW
from trealtime.audio.g711 import encode_ulaw
from trealtime.endpoints.twilio import TwilioEndpoint, accept_twilio_stream
from trealtime.endpoints.twilio.outgoing import LOST_MARK_S
from trealtime.testing import FakeTwilio, memory_wire_pair, open_fake_twilio
from trealtime.transport.memory import MemoryWire
from trealtime.transport.wire import WireClosed

PHONE = {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}


def voice(ms: int) -> bytes:
    """Mu-law that any detector takes for somebody speaking."""
    seconds = np.arange(8 * ms) / 8000
    return encode_ulaw((np.sin(2 * np.pi * 220 * seconds) * 8000).astype(np.int16))


@attrs.define
class Call:
    talk: Any
    twilio: FakeTwilio
    endpoint: TwilioEndpoint
    session: RealtimeSession[Any]
    attachment: Attachment
    listener: Any

    def said(self) -> bytes:
        """What the caller said, as the server got it."""
        return b"".join(base64.b64decode(event["audio"]) for event in self.talk.of("input_audio_buffer.append"))

    def answers(self) -> list[bytes]:
        """What the agent said, response by response, as the server sent it."""
        answers: dict[str, bytes] = {}
        for event in self.talk.of("response.output_audio.delta"):
            answers[event["response_id"]] = answers.get(event["response_id"], b"") + base64.b64decode(event["delta"])
        return list(answers.values())


async def carry(
    source: MemoryWire, target: MemoryWire, latency_s: float, loses: Callable[[Any], bool] = lambda message: False
) -> None:
    """Carry messages over a network that takes its time, until one side closes."""
    send, receive = trio.open_memory_channel[tuple[float, str | bytes]](1_000)

    async def take() -> None:
        with send, suppress(WireClosed):
            while True:
                message = await source.receive()
                await send.send((trio.current_time() + latency_s, message))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        with suppress(WireClosed):
            async for arrives_at, message in receive:
                await trio.sleep_until(arrives_at)
                if not loses(json.loads(message)):
                    await target.send(str(message))
        await target.aclose()


@asynccontextmanager
async def open_call(
    kit: Any, *, latency_s: float = 0.0, loses: Callable[[Any], bool] | None = None
) -> AsyncIterator[Call]:
    """A call; `loses` says which messages of Twilio's do not come."""
    client, server = memory_wire_pair()
    settings = {**PHONE, "turn_detection": kit.SERVER_VAD}
    async with (
        kit.talk(settings=settings) as talk,
        trio.open_nursery() as nursery,
        open_fake_twilio(client) as twilio,
    ):
        if latency_s or loses is not None:
            near, (far, server) = server, memory_wire_pair()
            nursery.start_soon(carry, near, far, latency_s, loses or (lambda message: False))
            nursery.start_soon(carry, far, near, latency_s)
        endpoint = await accept_twilio_stream(server)
        async with talk.runner.session() as session, session.attach(endpoint) as attachment:
            listener = kit.listener()
            nursery.start_soon(listener.listen, session)
            yield Call(talk, twilio, endpoint, session, attachment, listener)
        nursery.cancel_scope.cancel()


async def test_caller_and_agent_hear_each_other_in_mu_law_unchanged(autojump_clock, kit) -> None:
    """Peer behaviour B296, with nothing held back at the start and no gap between frames."""
    async with open_call(kit) as call:
        call.twilio.say(voice(1500))
        await call.listener.expect("agent_end")
        await call.session.wait_for_playback()
        await trio.sleep(0.1)
        assert voice(1500) in call.said()
        [answer] = call.answers()
        assert call.twilio.heard_audio == answer
        gaps = np.diff([frame.at_s for frame in call.twilio.heard])
        assert gaps.max() == pytest.approx(0.02)
        statistics = call.attachment.statistics()
        assert (statistics.late_frames, statistics.underruns, statistics.input_dropped_s) == (0, 0, 0)


@pytest.mark.parametrize("into_ms", [130, 900, 1500, 2200])
async def test_a_caller_who_speaks_interrupts_the_agent_and_the_server_is_told_what_was_heard_within_a_frame(
    autojump_clock, kit, into_ms
) -> None:
    async with open_call(kit) as call:
        call.twilio.say(voice(1500))
        await call.twilio.wait_heard(into_ms)
        call.twilio.say(voice(1500))
        interrupted = await call.listener.expect("audio_interrupted")
        at_interrupt_ms = call.twilio.heard_ms
        await trio.testing.wait_all_tasks_blocked()  # the app may know before the server does
        [cut] = call.talk.of("conversation.item.truncate")
        assert cut["audio_end_ms"] == interrupted.heard_ms

        await call.listener.expect("agent_end", 2)
        await call.session.wait_for_playback()
        await trio.sleep(0.1)
        first, second = call.answers()
        heard = call.twilio.heard_audio
        heard_of_first = len(heard) - len(second)
        assert heard[heard_of_first:] == second, "something stale was heard after the clear"
        assert heard[:heard_of_first] == first[:heard_of_first]
        assert G711_ULAW.duration_ms(heard_of_first) == at_interrupt_ms
        assert 0 <= at_interrupt_ms - cut["audio_end_ms"] <= 20
        assert call.twilio.clears


@pytest.mark.parametrize("latency_s", [0.01, 0.05, 0.15])
async def test_a_slow_network_costs_what_a_mark_and_a_clear_take_and_nothing_stale_is_heard(
    autojump_clock, kit, latency_s
) -> None:
    async with open_call(kit, latency_s=latency_s) as call:
        call.twilio.say(voice(1500))
        await call.twilio.wait_heard(1000)
        call.twilio.say(voice(1500))
        await call.listener.expect("agent_end", 2)
        await call.session.wait_for_playback()
        await trio.sleep(1)
        [cut] = call.talk.of("conversation.item.truncate")
        first, second = call.answers()
        heard = call.twilio.heard_audio
        heard_of_first = len(heard) - len(second)
        assert heard == first[:heard_of_first] + second
        late_ms = G711_ULAW.duration_ms(heard_of_first) - cut["audio_end_ms"]
        assert 0 <= late_ms <= 20 + 2 * latency_s * 1000
        assert call.attachment.statistics().late_frames == 0


def all_marks(message: Any) -> bool:
    return bool(message["event"] == "mark")


def late_marks(message: Any) -> bool:
    return all_marks(message) and int(message["mark"]["name"]) > 60


@pytest.mark.parametrize("loses", [all_marks, late_marks])
async def test_marks_that_do_not_come_back_lose_no_sight_of_the_caller_and_hold_nothing_up(
    autojump_clock, kit, loses
) -> None:
    async with open_call(kit, loses=loses) as call:
        await call.session.create_response(instructions='Say "One two three four five."')
        await call.twilio.wait_heard(500)
        await call.endpoint.send_dtmf("12")
        assert call.twilio.buffered_ms == 0
        with trio.fail_after(60):
            await call.session.wait_for_playback()
        await call.session.send_message("Tell me a story.")
        heard_ms = call.twilio.heard_ms
        await call.twilio.wait_heard(heard_ms + 1800)
        heard_of_it_ms = call.twilio.heard_ms - heard_ms
        await call.session.interrupt()
        await trio.sleep(1)
        *_, cut = call.talk.of("conversation.item.truncate")
        late_ms = 0 if loses is all_marks else LOST_MARK_S * 1000
        assert -20 <= heard_of_it_ms - cut["audio_end_ms"] <= 20 + late_ms


async def test_an_agent_that_was_interrupted_by_the_app_is_silent_at_once(autojump_clock, kit) -> None:
    async with open_call(kit) as call:
        await call.session.send_message("Tell me a story.")
        await call.twilio.wait_heard(1000)
        await call.session.interrupt()
        await trio.sleep(5)
        assert call.twilio.heard_ms <= 1020


async def test_the_keys_that_the_caller_presses_are_events(autojump_clock, kit) -> None:
    async with open_call(kit) as call:
        for digit in "42#":
            call.twilio.press(digit)
        await call.listener.expect("dtmf_received", 3)
        assert [(event.digit, event.source) for event in call.listener.of("dtmf_received")] == [
            (digit, "endpoint") for digit in "42#"
        ]


async def test_keys_that_the_agent_presses_are_no_part_of_what_it_said(autojump_clock, kit) -> None:
    async with open_call(kit) as call:
        await call.session.send_message("Hello")
        await call.twilio.wait_heard(100)
        await call.endpoint.send_dtmf("12")
        await call.session.wait_for_playback()
        [answer] = call.answers()
        assert call.twilio.heard_ms == G711_ULAW.duration_ms(len(answer)) + 400
        assert not call.talk.of("conversation.item.truncate")


async def test_when_the_caller_hangs_up_the_attachment_ends_and_the_session_goes_on(autojump_clock, kit) -> None:
    async with open_call(kit) as call:
        await call.session.send_message("Tell me a story.")
        await call.twilio.wait_heard(1000)
        await call.twilio.hang_up()
        with trio.fail_after(1):
            await call.attachment.wait_closed()
        await trio.sleep(0.1)
        [cut] = call.talk.of("conversation.item.truncate")
        assert abs(cut["audio_end_ms"] - call.twilio.heard_ms) <= 20
        turn = await call.session.ask("Are you still there?")
        assert turn.text


async def test_leaving_the_attachment_hangs_up(autojump_clock, kit) -> None:
    async with open_call(kit) as call:
        await call.session.send_message("Tell me a story.")
        await call.twilio.wait_heard(500)
    assert call.twilio.heard_ms <= 520


async def test_a_broken_frame_amid_a_call_costs_that_frame_alone(autojump_clock, kit) -> None:
    async with open_call(kit) as call:
        for bad in ("junk", json.dumps({"event": "media", "media": {"payload": "not base64"}})):
            await call.twilio._wire.send(bad)
        call.twilio.say(voice(1500))
        await call.listener.expect("agent_end")
        assert call.endpoint.statistics().messages_refused == 2


async def test_a_conversation_of_ten_minutes_stays_in_time(autojump_clock, kit) -> None:
    """Questions and answers in turn: each answer begins as soon after its question at the end as at the beginning."""
    async with open_call(kit) as call:
        answered_s = []
        while trio.current_time() < 600:
            call.twilio.say(voice(1500))
            await call.twilio.said()
            ended_at, heard_ms = trio.current_time(), call.twilio.heard_ms
            await call.twilio.wait_heard(heard_ms + 10)
            answered_s.append(trio.current_time() - ended_at)
            await call.listener.expect("agent_end", len(answered_s))
            await call.session.wait_for_playback()
            await trio.sleep(20)
        assert len(answered_s) > 20
        assert max(answered_s) - min(answered_s) < 0.03
        assert call.twilio.heard_audio == b"".join(call.answers())
        frames = call.endpoint.statistics().frames_received
        assert frames == pytest.approx(trio.current_time() / 0.02, abs=2)
        statistics = call.attachment.statistics()
        assert (statistics.late_frames, statistics.underruns, statistics.input_dropped_s) == (0, 0, 0)
