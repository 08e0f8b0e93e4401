"""Sessions from opening to closing: expiry, shutdown, slow clients, several at once, the same twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trealtime.emulator import EmulatedSession, EmulatorLimits, LoggedEvent, ScriptedBrain, open_emulator
from trealtime.emulator.event_buffer import OutgoingQueue
from trealtime.errors import ConnectFailed
from trealtime.transport import TransportConfig, WireClosed
from trealtime.transport.websocket import wrap_websocket_stream


async def closing(client: Any) -> WireClosed:
    """How the connection ends, after what comes before."""
    while True:
        try:
            await client.next()
        except WireClosed as end:
            return end


async def test_a_session_expires_with_1001_and_the_reason(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client() as client:
        assert client.seen[0]["session"]["expires_at"] == 1_003_600
        began = trio.current_time()
        with pytest.raises(WireClosed) as caught:
            await client.wire.receive()
        assert trio.current_time() - began == pytest.approx(3600)
    end = caught.value
    assert (end.code, end.closed_by) == (1001, "server")
    assert end.reason == "Your session hit the maximum duration of 60 minutes."


async def test_expiry_counts_from_each_sessions_own_beginning(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False, unix_time_s=1_000_000, max_session_s=90) as emulator:
        await trio.sleep(60)
        async with emulator.connect() as wire:
            client = kit.client_of(wire)
            assert (await client.next())["session"]["expires_at"] == 1_000_150
            assert "1.5 minutes" in (await closing(client)).reason


async def test_leaving_the_emulator_ends_its_sessions_with_1001(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False, brain=ScriptedBrain(["A long story. " * 99])) as emulator:
        connection = emulator.connect()
        client = kit.client_of(await connection.__aenter__())
        await client.send("response.create")
        await client.until("response.output_audio.delta")
    end = await closing(client)
    assert (end.code, end.closed_by) == (1001, "server")
    assert emulator.sessions == ()
    await connection.__aexit__(None, None, None)


async def test_leaving_the_emulator_does_not_wait_for_a_client_that_reads_nothing(
    kit: Any, autojump_clock: MockClock
) -> None:
    async with open_emulator(listen=False, brain=ScriptedBrain(["A long story. " * 99])) as emulator:
        connection = emulator.connect()
        client = kit.client_of(await connection.__aenter__())
        await client.send("response.create")
        await trio.sleep(30)
        began = trio.current_time()
    assert trio.current_time() - began <= 4
    assert emulator.sessions == ()
    await connection.__aexit__(None, None, None)


async def test_an_error_in_the_body_comes_out_bare() -> None:
    with pytest.raises(KeyError):
        async with open_emulator(listen=False) as emulator, emulator.connect():
            raise KeyError("mine")


async def test_a_client_that_leaves_ends_its_session_alone(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False) as emulator, emulator.connect() as stays:
        async with emulator.connect() as leaves:
            await leaves.receive()
            assert emulator.statistics().sessions_open == 2
        await wait_all_tasks_blocked()
        assert emulator.statistics().sessions_open == 1
        client = kit.client_of(stays)
        await client.say("Hi")
        await client.until("conversation.item.done")


@pytest.mark.parametrize("framed", [False, True], ids=["in memory", "frames"])
async def test_what_a_client_says_before_it_leaves_is_heard(kit: Any, framed: bool, autojump_clock: MockClock) -> None:
    heard: list[str] = []

    def note(session: EmulatedSession, entry: LoggedEvent) -> None:
        if entry.direction == "client":
            heard.append(entry.event["type"])

    async with open_emulator(listen=False, on_event=note) as emulator, trio.open_nursery() as nursery:
        if framed:
            client_stream, server_stream = memory_stream_pair()
            nursery.start_soon(emulator._serve, server_stream, TransportConfig())
            connection = wrap_websocket_stream(client_stream, "ws://localhost/v1/realtime")
        else:
            connection = emulator.connect()
        async with connection as wire:
            client = kit.client_of(wire)
            for _ in range(50):
                # Each of these is answered at once, and nobody reads the answers.
                await client.send("input_audio_buffer.clear")
            await wire.aclose()
        await wait_all_tasks_blocked()
        assert heard == ["input_audio_buffer.clear"] * 50
        assert emulator.statistics().sessions_open == 0


async def test_a_session_can_be_closed_from_the_servers_side_after_what_it_had_to_say(
    kit: Any, autojump_clock: MockClock
) -> None:
    async with open_emulator(listen=False) as emulator, emulator.connect() as wire:
        client = kit.client_of(wire)
        await client.until("session.created")
        await client.say("Hi")
        await wait_all_tasks_blocked()
        emulator.sessions[0].close(1011, "Something broke.")
        end = await closing(client)
        assert (end.code, end.reason) == (1011, "Something broke.")
        assert kit.types(client.seen)[-1] == "conversation.item.done"


async def test_a_binary_message_is_an_error_and_the_session_lives(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client() as client:
        await client.wire.send_binary(b"\x00")
        assert (await client.next())["error"]["code"] == "invalid_event"
        await client.say("Hi")
        await client.until("conversation.item.done")


async def test_a_slow_client_holds_back_its_response_and_can_still_cancel_it(
    kit: Any, autojump_clock: MockClock
) -> None:
    limits = EmulatorLimits(queued_deltas=8)
    async with kit.client(brain=ScriptedBrain(["A long story. " * 400]), limits=limits) as client:
        await client.send("response.create")
        await trio.sleep(600)  # without a read: all of it would be long made
        await client.send("response.cancel")
        await trio.sleep(1)
        events = await client.until("response.done")
    assert events[-1]["response"]["status"] == "cancelled"
    assert len(events) < 64 + 8 + 20  # the wire's own queue, ours, and the events around


async def test_a_client_that_only_asks_and_never_reads_is_read_no_more(kit: Any, autojump_clock: MockClock) -> None:
    limits = EmulatorLimits(queued_events=16)
    async with kit.client(limits=limits) as client:
        sent = 0
        with trio.move_on_after(60):
            while True:
                await client.send("input_audio_buffer.clear")
                sent += 1
        assert sent < 64 * 2 + 16 + 5


async def test_turns_beyond_those_that_may_wait_for_the_transcriber_fail_to_be_heard(
    kit: Any, autojump_clock: MockClock
) -> None:
    class Slow:
        async def transcribe(self, samples: Any, rate: int, *, language: Any = None, prompt: Any = None) -> str:
            await trio.sleep(60)
            return "late"

    async with kit.client(transcriber=Slow(), limits=EmulatorLimits(unheard_items=1)) as client:
        await client.update({"audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}})
        for _ in range(4):
            await client.append(kit.pcm(200))
            await client.send("input_audio_buffer.commit")
        failed = await client.get("conversation.item.input_audio_transcription.failed")
        assert "waiting" in failed["error"]["message"]
        assert (await client.get("conversation.item.input_audio_transcription.completed"))["transcript"] == "late"


async def test_sessions_are_apart(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False) as emulator, emulator.connect() as one, emulator.connect() as two:
        first, second = kit.client_of(one), kit.client_of(two)
        await first.update({"instructions": "Only me."})
        await first.say("Hi")
        await first.until("conversation.item.done")
        await second.update({})
        updated = await second.get("session.updated")
        assert updated["session"]["instructions"] != "Only me."
        assert updated["session"]["id"] != first.seen[0]["session"]["id"]
        await second.say("Hello")
        assert (await second.get("conversation.item.added"))["previous_item_id"] is None


async def test_the_number_of_sessions_is_bounded(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False, limits=EmulatorLimits(max_sessions=1)) as emulator, emulator.connect():
        with pytest.raises(ConnectFailed) as caught:
            async with emulator.connect():
                pytest.fail("a second session opened")
        assert caught.value.status == 503
        assert emulator.statistics().handshakes_refused == 1


async def test_the_log_and_the_hook_see_both_directions_in_order(kit: Any, autojump_clock: MockClock) -> None:
    seen: list[LoggedEvent] = []
    limits = EmulatorLimits(log_events=3)
    async with open_emulator(
        listen=False, limits=limits, on_event=lambda session, entry: seen.append(entry)
    ) as emulator:
        async with emulator.connect() as wire:
            client = kit.client_of(wire)
            await client.say("Hi")
            await client.until("conversation.item.done")
            log = [(entry.direction, entry.event["type"]) for entry in emulator.sessions[0].log]
        statistics = emulator.statistics()
    assert [(entry.direction, entry.event["type"]) for entry in seen] == [
        ("server", "session.created"),
        ("client", "conversation.item.create"),
        ("server", "conversation.item.added"),
        ("server", "conversation.item.done"),
    ]
    assert log == [(entry.direction, entry.event["type"]) for entry in seen[-3:]]
    assert (statistics.events_received, statistics.events_sent, statistics.errors_sent) == (1, 3, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"realtime_factor": 0},
        {"delta_ms": -1},
        {"max_session_s": 0},
        {"first_delta_delay_s": -1},
        {"close_timeout_s": -1},
    ],
)
async def test_an_option_out_of_range_names_itself(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        async with open_emulator(listen=False, **options):
            pytest.fail("it opened")


async def test_without_a_socket_there_is_no_url() -> None:
    async with open_emulator(listen=False) as emulator:
        with pytest.raises(RuntimeError, match="listen=False"):
            _ = emulator.url


def run_a_call(kit: Any, seed: int) -> list[str]:
    """All that a client receives in a call with a barge-in, an error and a retrieval, as text."""

    async def call() -> list[str]:
        async with (
            open_emulator(listen=False, seed=seed, unix_time_s=1_000_000) as emulator,
            emulator.connect(model="m") as wire,
        ):
            messages: list[str] = []

            async def listen() -> None:
                while True:
                    messages.append(str(await wire.receive()))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                client = kit.client_of(wire)
                await client.say("Hello, count to twenty please.")
                await client.send("response.create")
                await trio.sleep(0.6)
                await client.append(kit.pcm(700, loud=True) + kit.pcm(900))
                await trio.sleep(5)
                await client.send("nonsense")
                item_id = json.loads(messages[1])["item"]["id"]
                await client.send("conversation.item.retrieve", {"item_id": item_id})
                await trio.sleep(5)
                nursery.cancel_scope.cancel()
            return messages

    return trio.run(call, clock=MockClock(autojump_threshold=0))


def test_the_same_seed_gives_the_same_session_byte_for_byte(kit: Any) -> None:
    first, second, other = (run_a_call(kit, seed) for seed in (5, 5, 6))
    assert len(first) > 50
    assert first == second
    assert first != other
    assert any('"turn_detected"' in message for message in first)


async def test_the_log_is_bounded_in_bytes(kit: Any, autojump_clock: MockClock) -> None:
    async with (
        open_emulator(listen=False, limits=EmulatorLimits(log_bytes=10_000)) as emulator,
        emulator.connect() as wire,
    ):
        client = kit.client_of(wire)
        for _ in range(5):
            await client.append(bytes(4_800))
        await client.send("response.cancel")
        await client.get("error")
        (session,) = emulator.sessions
        kinds = [entry.event["type"] for entry in session.log]
        assert kinds == ["input_audio_buffer.append", "response.cancel", "error"]


async def test_a_client_that_does_not_read_is_no_longer_read_after_so_many_bytes(autojump_clock: MockClock) -> None:
    queue = OutgoingQueue()
    queue.add(["x" * 600, "y" * 600])
    with trio.move_on_after(1) as waiting:
        await queue.wait_for_room(10, 1_000)
    assert waiting.cancelled_caught
    assert await queue.next() == "x" * 600
    await queue.wait_for_room(10, 1_000)
