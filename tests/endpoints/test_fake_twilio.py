"""The fake Twilio against a server that speaks plain JSON: it keeps to what Twilio's documentation says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import trio

from trealtime.errors import ConnectFailed
from trealtime.testing import memory_wire_pair, open_fake_twilio
from trealtime.transport.wire import WireClosed

SILENCE = b"\xff" * 160


async def next_of(wire: Any, *events: str) -> dict[str, Any]:
    while (message := json.loads(await wire.receive()))["event"] not in events:
        pass
    return message


async def send(wire: Any, twilio: Any, event: str, **body: object) -> None:
    await wire.send(json.dumps({"event": event, "streamSid": twilio.stream_sid, **body}))


async def play(wire: Any, twilio: Any, ms: int, mark: str | None = None) -> None:
    await send(wire, twilio, "media", media={"payload": base64.b64encode(b"\1" * (8 * ms)).decode()})
    if mark is not None:
        await send(wire, twilio, "mark", mark={"name": mark})


async def test_a_call_begins_with_connected_and_start(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client, call_sid="CA9", custom_parameters={"name": "Ada"}) as twilio:
        assert json.loads(await server.receive()) == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        assert json.loads(await server.receive()) == {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": twilio.stream_sid,
            "start": {
                "accountSid": twilio.account_sid,
                "streamSid": twilio.stream_sid,
                "callSid": "CA9",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"name": "Ada"},
            },
        }


async def test_the_caller_is_sent_in_frames_of_20_ms_in_real_time_and_silence_between(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        twilio.say(b"\2" * 200)
        frames = [await next_of(server, "media") for _ in range(100)]
        assert trio.current_time() == pytest.approx(2.0)
    media = [frame["media"] for frame in frames]
    assert [base64.b64decode(each["payload"]) for each in media] == [
        b"\2" * 160,
        b"\2" * 40 + SILENCE[40:],
        *[SILENCE] * 98,
    ]
    assert [each["chunk"] for each in media] == [str(number + 1) for number in range(100)]
    assert media[99]["timestamp"] == "2000"
    assert [int(frame["sequenceNumber"]) for frame in frames] == list(range(2, 102))


async def test_audio_plays_in_real_time_and_marks_come_back_when_what_is_before_them_has_been_heard(
    autojump_clock,
) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        await play(server, twilio, 100, "a")
        await play(server, twilio, 300, "b")
        for name, at in (("a", 0.1), ("b", 0.4)):
            assert (await next_of(server, "mark"))["mark"] == {"name": name}
            assert trio.current_time() == pytest.approx(at)
        assert twilio.heard_audio == b"\1" * 3200
        assert [frame.at_s for frame in twilio.heard] == pytest.approx([number * 0.02 for number in range(20)])


async def test_a_mark_behind_nothing_comes_back_at_once(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        await send(server, twilio, "mark", mark={"name": "now"})
        assert (await next_of(server, "mark"))["mark"] == {"name": "now"}
        assert trio.current_time() == 0


async def test_a_clear_empties_the_buffer_and_returns_the_marks_that_were_in_it(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        for number in range(5):
            await play(server, twilio, 100, str(number))
        await next_of(server, "mark")
        await trio.sleep(0.05)
        await send(server, twilio, "clear")
        assert [(await next_of(server, "mark"))["mark"]["name"] for _ in range(4)] == ["1", "2", "3", "4"]
        assert trio.current_time() < 0.16
        await play(server, twilio, 20, "after")
        assert (await next_of(server, "mark"))["mark"] == {"name": "after"}
        assert len(twilio.heard_audio) == 8 * (160 + 20)  # the packet that was on its way is heard to its end
        [cleared] = twilio.clears
        assert (cleared.at_s, cleared.cleared_ms) == (pytest.approx(0.15, abs=0.01), 340)


async def test_keys_and_the_end_of_the_call(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        twilio.press("#")
        assert (await next_of(server, "dtmf"))["dtmf"] == {"track": "inbound_track", "digit": "#"}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(twilio.hang_up)
            assert (await next_of(server, "stop"))["stop"] == {
                "accountSid": twilio.account_sid,
                "callSid": twilio.call_sid,
            }
            with pytest.raises(WireClosed):
                await server.receive()
        with pytest.raises(ValueError, match="digit: expected one of"):
            twilio.press("x")


async def test_a_server_that_closes_the_socket_ends_the_call(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as twilio:
        await server.aclose()
        await twilio.wait_ended()
        twilio.say(b"\2" * 800)
        await twilio.said()
        await twilio.wait_heard(1000)


@pytest.mark.parametrize(
    "message, words",
    [
        ('{"event": "media", "streamSid": "MZ2"}', "media: streamSid is 'MZ2', this stream is"),
        ('{"event": "media", "streamSid": "SID", "media": {"payload": "not base64"}}', "invalid message"),
        ('{"event": "media", "streamSid": "SID"}', "invalid message"),
        ('{"event": "mark", "streamSid": "SID"}', "invalid message"),
        ('{"event": "hangup", "streamSid": "SID"}', "'hangup' is nothing that Twilio takes"),
        ('{"event": "clear"}', "invalid message"),
        ("[]", "invalid message"),
        ("junk", "invalid message"),
    ],
)
async def test_what_twilio_would_refuse_ends_the_call_and_fails_the_test(autojump_clock, message, words) -> None:
    client, server = memory_wire_pair()

    async def call() -> None:
        async with open_fake_twilio(client) as twilio:
            await server.send(message.replace("SID", twilio.stream_sid))
            await twilio.wait_ended()

    with pytest.raises(AssertionError) as caught:
        await call()
    assert words in str(caught.value)
    with pytest.raises(WireClosed, match="1002"):
        await next_of(server, "the end")


async def test_a_server_that_does_not_read_is_found_out(autojump_clock) -> None:
    client, _server = memory_wire_pair()
    with pytest.raises(AssertionError, match="does not read"):
        async with open_fake_twilio(client) as twilio:
            await twilio.wait_ended()


async def test_a_server_that_is_not_there_is_a_connect_failure() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(ConnectFailed):
        async with open_fake_twilio(f"ws://127.0.0.1:{port}/stream"):
            pytest.fail("nobody answered")
