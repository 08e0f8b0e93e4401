"""A Twilio call as an endpoint, against the fake Twilio, without a session."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trealtime.audio.formats import G711_ULAW
from trealtime.audio.g711 import decode_ulaw
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.twilio import TwilioEndpoint, accept_twilio_stream
from trealtime.errors import TwilioStreamError
from trealtime.testing import FakeTwilio, cancel_at_each_checkpoint, check_endpoint, memory_wire_pair, open_fake_twilio
from trealtime.transport.memory import MemoryWire
from trealtime.transport.wire import WireClosed

START = {
    "event": "start",
    "start": {
        "accountSid": "AC1",
        "streamSid": "MZ1",
        "callSid": "CA1",
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    },
}


def speech(ms: float, value: int = 1) -> bytes:
    return bytes([value]) * int(ms * 8)


@attrs.define
class Link:
    """What a session gets of an endpoint, written down with the time."""

    positions: list[tuple[float, float]] = attrs.Factory(list)
    digits: list[str] = attrs.Factory(list)

    def heard(self, position_ms: float) -> None:
        self.positions.append((trio.current_time(), position_ms))

    def dtmf(self, digit: str) -> None:
        self.digits.append(digit)

    @property
    def heard_ms(self) -> float:
        return self.positions[-1][1] if self.positions else 0.0


@attrs.define
class Call:
    twilio: FakeTwilio
    endpoint: TwilioEndpoint
    link: Link
    client: MemoryWire
    position_ms: float = 0.0

    async def play(self, ms: float, value: int = 1, *, piece_ms: float = 40) -> None:
        """Play as a session does: piece after piece, as fast as the endpoint takes them."""
        while ms > 0:
            this_ms = min(ms, piece_ms)
            self.position_ms += this_ms
            await self.endpoint.play(speech(this_ms, value), self.position_ms)
            ms -= this_ms


async def read_to_the_end(wire: MemoryWire) -> None:
    """Returns once the wire has closed; hangs while it is open."""
    with suppress(WireClosed):
        while True:
            await wire.receive()


@asynccontextmanager
async def open_call(**options: Any) -> AsyncIterator[Call]:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        endpoint = await accept_twilio_stream(server, **options)
        link = Link()
        async with endpoint.open(link):
            yield Call(twilio, endpoint, link, client)


# ---- accepting ------------------------------------------------------------------------------------------------------


async def test_who_calls_is_known_before_anything_is_attached(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client, call_sid="CA7", custom_parameters={"order": "1234"}) as twilio:
        endpoint = await accept_twilio_stream(server)
        assert (endpoint.call.call_sid, endpoint.call.stream_sid) == ("CA7", twilio.stream_sid)
        assert endpoint.call.custom_parameters == {"order": "1234"}
        assert endpoint.input_format == endpoint.output_format == G711_ULAW


async def test_what_the_caller_says_before_the_endpoint_is_attached_is_not_lost(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        endpoint = await accept_twilio_stream(server)
        twilio.say(speech(100, 2))
        await trio.sleep(0.5)
        async with endpoint.open(Link()):
            heard = b"".join([await endpoint.receive() for _ in range(5)])
        assert heard == speech(100, 2)


@pytest.mark.parametrize(
    "messages, words",
    [
        (["junk"], "expected JSON, got 'junk'"),
        ([b"\0\1"], "expected a text message, got a binary one"),
        (['{"event": "stop"}'], "'stop' does not fit a stream that is opened"),
        (['{"event": "connected"}', '{"event": "media"}'], "'media' does not fit a stream that is connected"),
        (['{"event": "start", "start": {}}'], "start.mediaFormat: expected an object, got None"),
        ([json.dumps({"event": "x" * 10_000 + "ü"}), '{"event": 1}'], "event: expected a string, got 1"),
        (
            [json.dumps({"event": "start", "start": {**START["start"], "mediaFormat": {"encoding": "ü" * 500}}})],
            "start.mediaFormat: expected encoding audio/x-mulaw, sampleRate 8000, channels 1; got {'encoding': 'ü",
        ),
        ([], "no start within 10 s"),
    ],
)
async def test_whoever_is_not_twilio_is_told_why_and_hung_up_on(autojump_clock, messages, words) -> None:
    client, server = memory_wire_pair()
    for message in messages:
        await (client.send_binary(message) if isinstance(message, bytes) else client.send(message))
    with pytest.raises(TwilioStreamError) as caught:
        await accept_twilio_stream(server)
    assert words in str(caught.value)
    with pytest.raises(WireClosed) as closed:
        await client.receive()
    assert closed.value.code == 1008
    assert closed.value.reason
    assert str(caught.value).startswith(closed.value.reason)
    assert len(closed.value.reason.encode()) <= 123


async def test_a_socket_that_closes_before_the_start_is_no_call(autojump_clock) -> None:
    client, server = memory_wire_pair()
    await client.send('{"event": "connected"}')
    await client.aclose()
    with pytest.raises(TwilioStreamError, match="the connection ended before the stream had started"):
        await accept_twilio_stream(server)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"lead_ms": 10}, "lead_ms: expected 20 to 10000 milliseconds, got 10"),
        ({"lead_ms": math.nan}, "lead_ms: expected 20 to 10000 milliseconds, got nan"),
        ({"start_timeout_s": 0}, "start_timeout_s: expected more than 0 seconds, got 0"),
    ],
)
async def test_options_out_of_range(options, words) -> None:
    _client, server = memory_wire_pair()
    with pytest.raises(ValueError) as caught:
        await accept_twilio_stream(server, **options)
    assert str(caught.value) == words


async def test_an_endpoint_is_one_call(autojump_clock) -> None:
    async with open_call() as call:
        with pytest.raises(RuntimeError, match="attached once"):
            async with call.endpoint.open(Link()):
                pytest.fail("a second attachment")


# ---- the caller -----------------------------------------------------------------------------------------------------


async def test_the_caller_is_heard_as_mu_law_unchanged(autojump_clock) -> None:
    async with open_call() as call:
        call.twilio.say(bytes(range(256)) * 5)
        heard = b"".join([await call.endpoint.receive() for _ in range(8)])
        assert heard == bytes(range(256)) * 5
        assert trio.current_time() == pytest.approx(0.16)


async def test_a_cancelled_receive_loses_nothing(autojump_clock) -> None:
    async def scenario(cancel_here: Any) -> None:
        async with open_call() as call:
            call.twilio.say(speech(20, 2) + speech(20, 3))
            pieces = []
            with cancel_here():
                pieces.append(await call.endpoint.receive())
            while len(pieces) < 2:
                pieces.append(await call.endpoint.receive())
            assert pieces == [speech(20, 2), speech(20, 3)]

    await cancel_at_each_checkpoint(scenario)


async def test_of_a_caller_whom_nobody_hears_the_last_ten_seconds_are_kept(autojump_clock) -> None:
    async with open_call() as call:
        call.twilio.say(speech(4_990, 1) + speech(10_000, 2))
        await call.twilio.said()
        await wait_all_tasks_blocked()
        assert call.endpoint.statistics().frames_dropped == 250
        assert b"".join([await call.endpoint.receive() for _ in range(500)]) == speech(9_990, 2) + b"\xff" * 80


async def test_long_frames_that_nobody_hears_are_bounded_in_bytes(autojump_clock) -> None:
    async with open_call() as call:
        payload = base64.b64encode(b"\x01" * 40_000).decode()
        for _ in range(100):
            await call.client.send(json.dumps({"event": "media", "media": {"track": "inbound", "payload": payload}}))
        await wait_all_tasks_blocked()
        assert call.endpoint.statistics().frames_dropped == 98
        for _ in range(2):
            assert len(await call.endpoint.receive()) == 40_000


async def test_keys_that_the_caller_presses_reach_the_session(autojump_clock) -> None:
    async with open_call() as call:
        for digit in "1#A":
            call.twilio.press(digit)
        await wait_all_tasks_blocked()
        assert call.link.digits == ["1", "#", "A"]


async def test_a_bad_message_amid_a_call_is_skipped_and_counted(autojump_clock, caplog) -> None:
    client, server = memory_wire_pair()
    await client.send(json.dumps(START))
    endpoint = await accept_twilio_stream(server)
    link = Link()
    async with endpoint.open(link):
        for bad in ("junk", '{"event": "media", "media": {"payload": "no base64"}}', json.dumps(START)):
            await client.send(bad)
        await client.send_binary(b"\0")
        await client.send('{"event": "dtmf", "dtmf": {"digit": "5"}}')
        await wait_all_tasks_blocked()
        assert link.digits == ["5"]
        assert endpoint.statistics().messages_refused == 4
    assert "call CA1: a message was skipped: expected JSON" in caplog.text
    assert "junk" not in caplog.text


@pytest.mark.parametrize("ending", ["stop", "close", "drop"])
async def test_when_the_caller_leaves_what_was_said_is_heard_and_then_the_call_is_over(autojump_clock, ending) -> None:
    client, server = memory_wire_pair()
    await client.send(json.dumps(START))
    endpoint = await accept_twilio_stream(server)
    async with endpoint.open(Link()):
        await client.send('{"event": "media", "media": {"payload": "/38="}}')
        if ending == "stop":
            await client.send('{"event": "stop", "stop": {}}')
        elif ending == "close":
            await client.aclose()
        else:
            await wait_all_tasks_blocked()
            client.drop()
        assert await endpoint.receive() == b"\xff\x7f"
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await endpoint.receive()
        with pytest.raises(trio.BrokenResourceError, match="the call has ended"):
            await endpoint.play(speech(20), 20)
        with pytest.raises(trio.BrokenResourceError, match="the call ended before the keys '1' were heard"):
            await endpoint.send_dtmf("1")
        endpoint.flush()


async def test_leaving_the_endpoint_closes_the_socket(autojump_clock) -> None:
    async with open_call() as call:
        await call.play(500)
    assert trio.current_time() < 1
    with pytest.raises(WireClosed) as closed:
        await call.client.receive()
    assert (closed.value.code, closed.value.closed_by) == (1000, "server")


async def test_leaving_while_twilio_takes_nothing_is_bounded(autojump_clock) -> None:
    client, server = memory_wire_pair(capacity=1)
    await client.send(json.dumps(START))
    endpoint = await accept_twilio_stream(server)
    with trio.fail_after(3):
        async with endpoint.open(Link()):
            await endpoint.play(speech(40), 40)
            await wait_all_tasks_blocked()
    await read_to_the_end(client)


async def test_cancelled_at_any_point_a_call_leaves_no_task_and_no_open_socket(autojump_clock) -> None:
    async def scenario(cancel_here: Any) -> None:
        client, server = memory_wire_pair()
        await client.send(json.dumps(START))
        with cancel_here():
            endpoint = await accept_twilio_stream(server)
            async with endpoint.open(Link()):
                await endpoint.play(speech(100), 100)
                endpoint.flush()
                await trio.sleep(0.01)
        if server._end is None:  # cancelled before it was attached: the socket is the app's
            await server.aclose()
        await read_to_the_end(client)

    await cancel_at_each_checkpoint(scenario)


# ---- the agent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece_ms", [7, 20, 40, 150, 1_000])
async def test_speech_plays_without_a_gap_and_never_more_than_the_lead_is_at_twilios(autojump_clock, piece_ms) -> None:
    async with open_call(lead_ms=200) as call:
        most_ms = 0.0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def play() -> None:
                await call.play(5_000, piece_ms=piece_ms)

            await trio.sleep(0.01)
            for _ in range(480):
                await trio.sleep(0.01)
                most_ms = max(most_ms, call.twilio.buffered_ms)
        await trio.sleep(0.5)
        assert call.twilio.heard_audio == speech(5_000)
        assert call.twilio.heard[-1].at_s + 0.02 == pytest.approx(5.0, abs=0.02)
        assert 100 < most_ms <= 200 + 20  # and the frame that is about to play
        assert call.link.heard_ms == 5_000
        assert call.endpoint.late_frames == 0


async def test_playing_waits_so_that_little_is_queued_here(autojump_clock) -> None:
    async with open_call() as call:
        with trio.move_on_after(1):
            await call.play(60_000)
        assert 1_000 < call.position_ms < 1_000 + 200 + 100 + 2 * 40
        assert call.endpoint.statistics().queued_ms <= 140


async def test_positions_are_reported_as_they_are_heard_within_one_frame(autojump_clock) -> None:
    async with open_call() as call:
        await call.play(1_000)
        await trio.sleep(1)
        assert [position_ms for _, position_ms in call.link.positions] == [20 * (n + 1) for n in range(50)]
        for at, position_ms in call.link.positions:
            assert at == pytest.approx(position_ms / 1000, abs=0.001)


@pytest.mark.parametrize("after_s", [0.001, 0.017, 0.113, 0.5, 0.999])
async def test_at_an_interrupt_the_position_is_right_within_a_frame_and_nothing_stale_follows_the_clear(
    autojump_clock, after_s
) -> None:
    async with open_call() as call:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def play() -> None:
                await call.play(3_000, 1)

            await trio.sleep(after_s)
            call.endpoint.flush()
            reported_ms, given_ms = call.link.heard_ms, call.position_ms
            nursery.cancel_scope.cancel()
        await call.play(200, 2)
        await trio.sleep(1)
        stale = call.twilio.heard_audio.index(b"\2")
        assert call.twilio.heard_audio[stale:] == speech(200, 2)
        assert 0 <= G711_ULAW.duration_ms(stale) - reported_ms <= 20
        assert call.link.heard_ms == call.position_ms
        assert not [position for _, position in call.link.positions if reported_ms < position <= given_ms]
        assert len(call.twilio.clears) == 1


async def test_a_piece_that_waits_for_room_when_everything_is_flushed_is_not_heard_either(autojump_clock) -> None:
    async with open_call() as call:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def play() -> None:
                await call.endpoint.play(speech(400, 1), 400)
                await call.endpoint.play(speech(400, 1), 800)
                assert trio.current_time() == 0.05

            await trio.sleep(0.05)
            call.endpoint.flush()
        await trio.sleep(1)
        assert call.twilio.heard_ms <= 60


async def test_a_cancelled_play_takes_its_piece_whole_or_not_at_all(autojump_clock) -> None:
    async def scenario(cancel_here: Any) -> None:
        async with open_call() as call:
            await call.endpoint.play(speech(400, 1), 400)
            with cancel_here():
                await call.endpoint.play(speech(400, 2), 800)
            await trio.sleep(2)
            assert call.twilio.heard_audio in (speech(400, 1), speech(400, 1) + speech(400, 2))

    await cancel_at_each_checkpoint(scenario)


async def test_speech_without_a_pause_does_not_drift_either_way(autojump_clock) -> None:
    async with open_call() as call:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def listen() -> None:
                for _ in range(6_000):
                    await call.endpoint.receive()
                nursery.cancel_scope.cancel()

            await call.play(120_000, piece_ms=200)
            await trio.sleep_forever()
        assert trio.current_time() == pytest.approx(120.0, abs=1e-6)
        assert [frame.at_s for frame in call.twilio.heard] == pytest.approx([n * 0.02 for n in range(6_000)], abs=1e-6)
        assert call.link.positions[-1] == (pytest.approx(120.0, abs=1e-6), 120_000)
        assert call.endpoint.late_frames == 0


# ---- keys that the agent presses ------------------------------------------------------------------------------------

LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)


def keys_in(audio: bytes) -> str:
    """The keys whose tones are in mu-law `audio`, by the energy at the eight frequencies, 20 ms at a time."""
    keys, last = "", ""
    for begin in range(0, len(audio) - 159, 160):
        samples = decode_ulaw(audio[begin : begin + 160]).astype(float)
        if np.sqrt(np.mean(samples**2)) < 1000:
            last = ""
            continue
        seconds = np.arange(160) / 8000
        energy = {hz: abs(np.sum(samples * np.exp(-2j * np.pi * hz * seconds))) for hz in LOW + HIGH}
        row, column = (max(range(4), key=lambda n, group=group: energy[group[n]]) for group in (LOW, HIGH))
        key = ("123A", "456B", "789C", "*0#D")[row][column]
        keys += key if key != last else ""
        last = key
    return keys


async def test_keys_go_as_tones_and_are_waited_for_until_they_have_been_heard(autojump_clock) -> None:
    async with open_call() as call:
        await call.endpoint.send_dtmf("0123456789*#ABCD")
        assert trio.current_time() == pytest.approx(16 * 0.2, abs=0.02)
        assert keys_in(call.twilio.heard_audio) == "0123456789*#ABCD"
        await call.endpoint.send_dtmf("w1")
        assert trio.current_time() == pytest.approx(16 * 0.2 + 0.5 + 0.2, abs=0.04)


async def test_keys_wait_for_what_the_agent_says_and_an_interrupt_does_not_touch_them(autojump_clock) -> None:
    async with open_call() as call, trio.open_nursery() as nursery:
        await call.endpoint.play(speech(200), 200)
        nursery.start_soon(call.endpoint.send_dtmf, "42")
        await trio.sleep(0.1)
        await call.endpoint.play(speech(200, 2), 400)
        await trio.sleep(0.15)  # the first tone sounds
        call.endpoint.flush()
        await trio.sleep(1)
        assert call.twilio.heard_audio[:1600] == speech(200)
        assert keys_in(call.twilio.heard_audio[1600:]) == "42"
        assert b"\2" * 160 not in call.twilio.heard_audio
        assert call.link.heard_ms == 200


async def test_keys_that_are_not_on_their_way_are_not_pressed_when_the_call_for_them_is_cancelled(
    autojump_clock,
) -> None:
    async with open_call(lead_ms=20) as call:
        with trio.move_on_after(0.3):
            await call.endpoint.send_dtmf("1234567")
        await trio.sleep(3)
        assert keys_in(call.twilio.heard_audio) == "12"
        assert call.endpoint.statistics().queued_ms == 0


@pytest.mark.parametrize(
    "keys, error, words",
    [
        ("", ValueError, "keys: expected some of 0123456789*#ABCDw, got ''"),
        ("12x", ValueError, "keys: expected some of 0123456789*#ABCDw, got '12x'"),
        (12, TypeError, "keys: expected a string, got int"),
    ],
)
async def test_keys_that_no_telephone_has(autojump_clock, keys, error, words) -> None:
    async with open_call() as call:
        with pytest.raises(error) as caught:
            await call.endpoint.send_dtmf(keys)
        assert str(caught.value) == words


async def test_keys_before_the_endpoint_is_attached(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client):
        endpoint = await accept_twilio_stream(server)
        with pytest.raises(RuntimeError, match="once the endpoint is attached"):
            await endpoint.send_dtmf("1")
        await server.aclose()


# ---- the contract ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Caller:
    """The far side that the conformance suite asks for."""

    twilio: FakeTwilio

    async def say(self, audio: bytes) -> None:
        self.twilio.say(audio)

    def heard(self) -> bytes:
        return self.twilio.heard_audio

    async def leave(self) -> None:
        await self.twilio.hang_up()


async def test_a_call_keeps_the_contract_of_endpoints(autojump_clock) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[Endpoint, Caller]]:
        client, server = memory_wire_pair()
        async with open_fake_twilio(client) as twilio:
            yield await accept_twilio_stream(server), Caller(twilio)

    await check_endpoint(make)
