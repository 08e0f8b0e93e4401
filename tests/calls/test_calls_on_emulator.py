"""Whole phone calls in virtual time: the caller, the emulator's exchange, the webhook, the session that watches."""

from __future__ import annotations

import numpy as np
import pytest
import trio
import trio.lowlevel

from trealtime.errors import CallGone, RequestFailed
from trealtime.transport.wire import WireClosed

pytest.importorskip("httpx")


async def test_a_call_is_accepted_greeted_answered_and_ended_by_the_caller(autojump_clock, kit) -> None:
    """B280: an attached call is an ordinary session; B281: when the caller hangs up, it ends in order."""
    async with kit.office() as office:
        async with office.ring(sip_headers={"From": "sip:ada@example.com"}) as call:
            assert await call.wait_answered()
            assert call.state == "active"
            greeting = await call.listen()
            assert np.abs(greeting).max() > 1000
            await call.say(kit.noise(1.5))
            answer = await call.listen()
            assert len(answer) > 24_000
            assert call.webhook_status == 200
        await trio.sleep(0.1)
        assert (call.state, call.ended_by) == ("ended", "caller")
        session = await office.session()
        outcome = session.outcome
        assert outcome is not None
        assert (outcome.closed_by, outcome.code, outcome.clean) == ("server", 1000, True)
        said = [item.text for item in session.history]
        assert said[0] == "Hello and welcome, how can we help?"
        assert said[1].startswith("(speech")
        assert office.emulator.statistics().sessions_open == 0


async def test_the_length_of_what_the_caller_hears_is_that_of_what_was_said(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await call.wait_answered()
        heard = await call.listen()
        sent = sum(len(event["delta"]) for event in office.wire("response.output_audio.delta")) * 3 // 4
        assert len(heard) * 2 == pytest.approx(sent, abs=960)


@pytest.mark.parametrize("format", ["g711_ulaw", "g711_alaw", "pcm16"])
async def test_a_call_speaks_and_hears_in_each_format(autojump_clock, kit, format) -> None:
    settings = {"turn_detection": {"type": "server_vad"}, "input_audio_format": format, "output_audio_format": format}
    async with kit.office(config={"model_settings": settings}) as office, office.ring() as call:
        await call.wait_answered()
        assert 1000 < np.abs(await call.listen()).max() < 32767
        await call.say(kit.noise(1.0))
        await office.expect("speech_stopped")
        assert office.wire("error") == []


COUNTING = 'Say "One two three four five six seven eight nine ten eleven twelve"'


async def test_the_caller_who_speaks_over_the_agent_silences_it_and_the_history_says_what_was_heard(
    autojump_clock, kit
) -> None:
    async with kit.office(greeting=COUNTING) as office, office.ring() as call:
        await call.wait_answered()
        await trio.sleep(2)
        await call.say(kit.noise(0.5))
        await trio.sleep(0.1)
        heard_ms = len(call.heard()) / 24
        assert 500 < heard_ms < 2600
        (item, *_) = (await office.session()).history
        assert item.content[0].heard_ms == pytest.approx(heard_ms, abs=25)
        told = [event["type"] for event in office.on_the_line("speech_started", "cleared")]
        assert told == ["input_audio_buffer.speech_started", "output_audio_buffer.cleared"]
        # Nobody but the line has told the server what was heard.
        (truncate,) = office.wire("conversation.item.truncate")
        assert truncate["event_id"].startswith("line_")
        assert office.of("error") == []


async def test_an_interrupt_of_the_app_is_heard_at_once(autojump_clock, kit) -> None:
    async with kit.office(greeting=COUNTING) as office, office.ring() as call:
        await call.wait_answered()
        await office.expect("agent_end")  # made long before it is heard
        await trio.sleep(0.5)
        session = await office.session()
        await session.interrupt()
        await trio.sleep(0.1)
        heard = len(call.heard())
        await trio.sleep(3)
        assert len(call.heard()) == heard
        assert session.history[0].content[0].heard_ms == pytest.approx(heard / 24, abs=25)
        assert [event["type"] for event in office.wire("output_audio_buffer.clear", "conversation.item.truncated")] == [
            "output_audio_buffer.clear",
            "conversation.item.truncated",
        ]


async def test_the_service_tells_when_it_begins_and_ends_playing(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await call.wait_answered()
        await call.listen()
        await trio.sleep(1)
        told = [
            event.data.data["type"] for event in office.of("raw_model_event") if event.data.type == "raw_server_event"
        ]
        playing = [kind for kind in told if kind.startswith("output_audio_buffer") or kind == "response.done"]
        assert playing == ["output_audio_buffer.started", "response.done", "output_audio_buffer.stopped"]
        assert office.on_the_line("response.output_audio.delta") == []


async def test_keys_reach_the_app_in_order(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await office.session()
        call.press("12#")
        await office.expect("dtmf_received", 3)
        events = office.of("dtmf_received")
        assert [event.digit for event in events] == ["1", "2", "#"]
        assert {event.source for event in events} == {"call"}
        assert events[0].received_at_unix_s == int(kit.NOW + trio.current_time())
        with pytest.raises(ValueError, match="0123456789"):
            call.press("x")


async def test_b282_a_webhook_that_comes_twice_makes_one_session(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await office.session()
        assert await call.deliver() == 200
        await trio.sleep(5)
        assert len(office.sessions) == 1


async def test_the_agent_hangs_up(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await call.wait_answered()
        await call.listen()
        await office.rest.hang_up_call(call.call_id)
        await call.wait_ended()
        assert call.ended_by == "service"
        await trio.sleep(0.1)
        assert office.sessions[0].outcome.clean
        with pytest.raises(CallGone):
            await office.rest.hang_up_call(call.call_id)


async def test_a_call_is_transferred(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await call.wait_answered()
        await office.rest.refer_call(call.call_id, "tel:+14155550199")
        await call.wait_ended()
        assert (call.state, call.referred_to, call.ended_by) == ("referred", "tel:+14155550199", None)


async def test_a_call_is_rejected_or_refused_by_its_webhook(autojump_clock, kit) -> None:
    async with kit.office() as office:

        async def busy(headers, body) -> int:
            await office.rest.reject_call(office.webhooks.receive(headers, body).call_id, status_code=486)
            return 200

        async with office.emulator.ring(busy, secret=kit.SECRET) as call:
            assert not await call.wait_answered()
            assert (call.state, call.rejected_with) == ("rejected", 486)

        async def broken(headers, body) -> int:
            raise OSError("no such host")

        async def refusing(headers, body) -> int:
            return 400

        for webhook in (broken, refusing):
            async with office.emulator.ring(webhook, secret=kit.SECRET) as call:
                assert not await call.wait_answered()
                assert (call.state, call.ended_by) == ("ended", "service")
                await call.say(kit.noise(0.1))  # into a dead line
                assert len(await call.listen()) == 0


async def test_b283_a_caller_who_has_hung_up_before_the_answer_is_gone(autojump_clock, kit) -> None:
    async with kit.office() as office:
        found: list[type[Exception]] = []

        async def slow(headers, body) -> int:
            await trio.sleep(5)
            try:
                await office.rest.accept_call(office.webhooks.receive(headers, body).call_id, office.agent)
            except CallGone as gone:
                found.append(type(gone))
            return 200

        async with office.emulator.ring(slow, secret=kit.SECRET):
            await trio.sleep(1)
        await trio.sleep(10)
        assert found == [CallGone]


async def test_a_call_is_accepted_once(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await call.wait_answered()
        with pytest.raises(RequestFailed, match="This call is active: it cannot accept") as caught:
            await office.rest.accept_call(call.call_id, office.agent)
        assert caught.value.status == 409


async def test_a_session_with_another_secret_refuses_the_webhook_and_lives(autojump_clock, kit) -> None:
    async with kit.office() as office:
        reasons: list[str] = []

        async def checked(headers, body) -> int:
            try:
                return await office.answer(headers, body)
            except ValueError as refused:
                reasons.append(refused.reason)
                return 400

        async with office.emulator.ring(checked, secret="another") as call:
            assert not await call.wait_answered()
        async with office.emulator.ring(checked, secret=kit.SECRET) as call:
            assert await call.wait_answered()
        assert reasons == ["bad_signature"]


async def test_several_connections_watch_one_call_and_one_that_leaves_does_not_end_it(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await call.wait_answered()
        await call.listen()
        async with office.emulator.connect(call_id=call.call_id) as wire:
            assert "session.created" in await wire.receive()
            await wire.send('{"type": "response.create"}')
            while "response.created" not in await wire.receive():
                pass
        await trio.sleep(1)
        assert call.state == "active"
        assert len(office.of("agent_start")) == 2


async def test_a_connection_that_reads_nothing_is_dropped_and_the_call_goes_on(autojump_clock, kit) -> None:
    from trealtime.settings import EmulatorLimits

    async with kit.office(limits=EmulatorLimits(queued_events=20)) as office, office.ring() as call:
        await office.session()
        async with office.emulator.connect(call_id=call.call_id) as wire:
            await call.listen()
            await call.say(kit.noise(1.0))
            await call.listen()
            await call.say(kit.noise(1.0))
            await call.listen()
            with pytest.raises(WireClosed) as caught:  # noqa: PT012
                while True:
                    await wire.receive()
            assert caught.value.closed_by != "client"
        assert call.state == "active"


async def test_a_call_ends_with_the_longest_duration_of_a_session(autojump_clock, kit) -> None:
    async with kit.office(max_session_s=60) as office, office.ring() as call:
        await call.wait_ended()
        assert call.ended_by == "service"
        await trio.sleep(0.1)
        assert office.sessions[0].outcome.expired
        assert trio.current_time() == pytest.approx(60, abs=1)


async def test_a_lost_connection_attaches_to_the_same_call_again(autojump_clock, kit) -> None:
    """The call goes on without us: its history, its caller and the answer that is being spoken are the service's."""
    async with (
        kit.office(greeting=COUNTING, config={"reconnect": {"base_delay_s": 0.5}}) as office,
        office.ring() as call,
    ):
        await call.wait_answered()
        session = await office.session()
        await trio.sleep(1)
        session._lifetime.connections.current.wire.drop()
        lost = await office.expect("connection_lost")
        back = await office.expect("reconnected")
        assert lost.code == 1006
        assert (back.items, back.response) == (0, None)
        spoken = len(await call.listen()) / 24_000
        assert spoken > 3, "the caller hears the rest of the answer"
        await call.say(kit.noise(1.0))
        await office.expect("speech_stopped")
        answer = await call.listen()
        assert len(answer) > 24_000
        assert office.wire("conversation.item.create") == []
        assert len(office.wire("session.update")) == 1
        assert office.of("error") == []


async def test_a_phone_call_does_not_reconnect_unless_asked_to(autojump_clock, kit) -> None:
    async with kit.office() as office, office.ring() as call:
        await call.wait_answered()
        session = await office.session()
        assert session._core.reconnect_policy is None
