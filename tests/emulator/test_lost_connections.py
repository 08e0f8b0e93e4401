"""Connections that end at a chosen event, are refused, or come late; and the record of what each has received."""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trealtime.emulator import Cut, Faults, ScriptedBrain, open_emulator
from trealtime.emulator.faults import Delivery, FaultPlan
from trealtime.emulator.received_audio import CommittedAudio, ReceivedAudio
from trealtime.errors import ConnectFailed, SettingsError
from trealtime.transport import Wire, WireClosed
from trealtime.transport.dial import open_websocket_wire


async def rest_of(client: Any) -> tuple[list[str], WireClosed]:
    """The types of the events up to the end of the connection, and how it ended."""
    types: list[str] = []
    while True:
        try:
            types.append((await client.next())["type"])
        except WireClosed as end:
            return types, end


# ---- cuts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [None, 1012])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_connection_ends_at_the_chosen_event_of_the_server(
    kit: Any, when: Any, code: int | None, autojump_clock: MockClock
) -> None:
    cut = Cut(event="response.output_audio.delta", nth=2, when=when, code=code)
    async with kit.client(faults=Faults(cuts=[cut]), brain=ScriptedBrain(["Some words to say."])) as client:
        await client.send("response.create")
        types, end = await rest_of(client)
        assert types.count("response.output_audio.delta") == (1 if when == "before" else 2)
        assert types[-1] == "response.output_audio.delta"
        assert (end.code, end.closed_by) == ((1006, "network") if code is None else (1012, "server"))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_connection_ends_at_the_chosen_event_of_the_client(
    kit: Any, when: Any, autojump_clock: MockClock
) -> None:
    cut = Cut(event="conversation.item.create", sender="client", nth=2, when=when)
    async with (
        open_emulator(listen=False, faults=Faults(cuts=[cut]), keep_sessions=1) as emulator,
        emulator.connect() as wire,
    ):
        client = kit.client_of(wire)
        await client.say("one")
        await client.until("conversation.item.done")
        await client.say("two")
        await client.say("three")
        types, end = await rest_of(client)
        assert (types, end.code) == ([], 1006)
        await wait_all_tasks_blocked()
        (session,) = emulator.ended_sessions
        received = [entry.event["item"]["content"][0]["text"] for entry in session.log if entry.direction == "client"]
        assert received == (["one"] if when == "before" else ["one", "two"])
        assert session.ended is not None
        assert session.ended.code == 1006


def test_every_event_has_its_place_and_the_connection_its_number() -> None:
    faults = Faults(cuts=[Cut(nth=2, connection=2), Cut(nth=3, connection=None)])
    for connection, ends_at in ((1, 3), (2, 2), (3, 3)):
        plan = FaultPlan(faults, random.Random(0), connection=connection)
        made = [plan.outgoing('{"type":"any"}', float(n)) for n in range(1, 4)]
        assert [len(each) for each in made].index(2) + 1 == ends_at
        assert made[ends_at - 1][1] == Delivery(float(ends_at), ending="drop")


def test_a_cut_comes_after_what_was_sent_before_it() -> None:
    faults = Faults(latency_s=5.0, cuts=[Cut(sender="client", code=1011)])
    plan = FaultPlan(faults, random.Random(0))
    (sent,) = plan.outgoing('{"type":"any"}', 1.0)
    cut = plan.cut_of_incoming('{"type":"any"}')
    assert cut is not None
    assert plan.ending(cut, 2.0) == Delivery(sent.due, ending="close", code=1011)
    assert plan.cut_of_incoming("no json") is None


def test_a_place_that_cannot_be_names_what_is_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        Cut(event="", sender="both", nth=0, when="during", connection=0, code=1006)  # type: ignore[arg-type]
    assert {problem.path for problem in caught.value.problems} == {
        "event",
        "sender",
        "nth",
        "when",
        "connection",
        "code",
    }
    with pytest.raises(SettingsError, match="refused_with"):
        Faults(refused_with=200)
    with pytest.raises(SettingsError, match=r"cuts\[0\]"):
        Faults(cuts=["now"])  # type: ignore[list-item]
    with pytest.raises(SettingsError, match="retry_after_s"):
        Faults(retry_after_s=-1)


# ---- handshakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("socket", [False, True])
async def test_every_second_dial_is_refused_with_status_and_retry_after(socket: bool) -> None:
    faults = Faults(refused_dials=range(2, 100, 2), refused_with=429, retry_after_s=1.5)
    with trio.fail_after(20):
        async with open_emulator(faults=faults) as emulator:
            for number in range(1, 6):
                dial = open_websocket_wire(emulator.url) if socket else emulator.connect()
                if number % 2:
                    async with dial as wire:
                        assert "session.created" in str(await wire.receive())
                    continue
                with pytest.raises(ConnectFailed) as refused:
                    async with dial:
                        pytest.fail("it was accepted")
                assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "2")


async def test_an_accept_is_late(autojump_clock: MockClock) -> None:
    faults = Faults(slow_accepts=1.0, accept_after_s=7.0)
    async with open_emulator(listen=False, faults=faults) as emulator:
        began = trio.current_time()
        async with emulator.connect() as wire:
            assert trio.current_time() - began == pytest.approx(7)
            assert "session.created" in str(await wire.receive())
        with trio.move_on_after(3) as impatient:
            async with emulator.connect():
                pytest.fail("it was accepted")
        assert impatient.cancelled_caught
        await wait_all_tasks_blocked()
        assert emulator.sessions == ()


async def test_the_handshake_has_the_date_of_the_clock_that_sessions_expire_by(
    kit: Any, autojump_clock: MockClock
) -> None:
    async with open_emulator(listen=False, unix_time_s=1_000_000, max_session_s=60) as emulator:
        await trio.sleep(100)
        async with emulator.connect() as wire:
            date = parsedate_to_datetime(wire.response_headers["date"])
            assert date.timestamp() == 1_000_100
            assert (await kit.client_of(wire).next())["session"]["expires_at"] == 1_000_160


async def test_an_outage_tears_every_connection_and_lets_nobody_in(kit: Any, autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False) as emulator, emulator.connect() as one, emulator.connect() as two:
        with emulator.outage():
            for wire in (one, two):
                _, end = await rest_of(kit.client_of(wire))
                assert (end.code, end.closed_by) == (1006, "network")
            with pytest.raises(ConnectFailed) as failed:
                async with emulator.connect():
                    pytest.fail("it was accepted")
            assert failed.value.status is None
            await wait_all_tasks_blocked()
            assert emulator.sessions == ()
        async with emulator.connect() as wire:
            assert "session.created" in str(await wire.receive())


async def test_an_outage_on_sockets() -> None:
    with trio.fail_after(20):
        async with open_emulator() as emulator, open_websocket_wire(emulator.url) as wire:
            with emulator.outage():
                assert await _code(wire) == 1006
                with pytest.raises(ConnectFailed) as failed:
                    async with open_websocket_wire(emulator.url):
                        pytest.fail("it was accepted")
            assert failed.value.status is None
            async with open_websocket_wire(emulator.url) as wire_after:
                assert "session.created" in str(await wire_after.receive())


async def _code(wire: Wire) -> int:
    while True:
        try:
            await wire.receive()
        except WireClosed as end:
            return end.code


async def test_a_session_may_say_that_it_expires(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(max_session_s=120, expiry="error") as client:
        types, end = await rest_of(client)
        assert types == ["error"]
        error = client.seen[-1]["error"]
        assert (error["code"], error["event_id"]) == ("session_expired", None)
        assert error["message"] == end.reason == "Your session hit the maximum duration of 2 minutes."
        assert end.code == 1001


async def test_ended_sessions_are_kept_as_many_as_asked(kit: Any, autojump_clock: MockClock) -> None:
    for keep, kept in ((0, []), (2, [4, 5])):
        async with open_emulator(listen=False, keep_sessions=keep) as emulator:
            for code in range(4_001, 4_006):
                async with emulator.connect() as wire:
                    await wire.receive()
                    await wire.aclose(code)
                await wait_all_tasks_blocked()
            ends = [session.ended for session in emulator.ended_sessions]
            assert [end.code - 4_000 for end in ends if end is not None] == kept


# ---- received audio -------------------------------------------------------------------------------------------------


async def test_each_sample_that_a_session_received_is_kept_with_its_turns(kit: Any, autojump_clock: MockClock) -> None:
    spoken = kit.pcm(500) + kit.pcm(900, loud=True) + kit.pcm(1_000)
    async with (
        open_emulator(listen=False, keep_input_audio_s=60, keep_sessions=1) as emulator,
        emulator.connect() as wire,
    ):
        client = kit.client_of(wire)
        await client.append(spoken)
        committed = await client.get("input_audio_buffer.committed")
        await client.send("input_audio_buffer.clear")
        await client.append(kit.pcm(200))
        await client.send("input_audio_buffer.commit")
        manual = await client.get("input_audio_buffer.committed")
        (session,) = emulator.sessions
        received = session.input_audio
        assert received.samples.tobytes() == spoken + kit.pcm(200)
        assert received.end == len(received.samples)
        assert [commit.item_id for commit in received.commits] == [committed["item_id"], manual["item_id"]]
        first, second = received.commits
        # The padding before the speech and the silence that ended it are in the turn.
        assert 0 < first.begin < 0.5 * 24_000
        assert 1.8 * 24_000 <= first.end <= 2.1 * 24_000
        assert received.of_turn(first).tobytes() == spoken[first.begin * 2 : first.end * 2]
        assert received.clears == (len(spoken) // 2,)
        assert (second.begin, second.end) == (len(spoken) // 2, len(spoken) // 2 + 4_800)
    await wait_all_tasks_blocked()
    assert session.input_audio is received


async def test_without_being_asked_no_audio_is_kept(autojump_clock: MockClock) -> None:
    async with open_emulator(listen=False) as emulator, emulator.connect() as wire:
        await wire.receive()
        with pytest.raises(RuntimeError, match="keep_input_audio_s"):
            _ = emulator.sessions[0].input_audio


def test_the_record_is_bounded_and_its_positions_go_on() -> None:
    received = ReceivedAudio(1.0)
    for n in range(50):
        received.add(np.full(2_400, n, dtype=np.int16), 24_000)
    assert received.end == 120_000
    assert received.begin == 120_000 - len(received.samples)
    assert 24_000 <= len(received.samples) < 24_000 + 2_400
    assert received.samples[-1] == 49
    received.note_commit("item_1", 4_900, 5_000)
    assert received.commits == (CommittedAudio("item_1", 117_600, 120_000),)
    assert set(received.of_turn(received.commits[0]).tolist()) == {49}
    received.add(np.zeros(800, dtype=np.int16), 8_000)
    assert (received.begin, received.end) == (40_000, 40_800)


# ---- a history that is told anew ------------------------------------------------------------------------------------


async def test_a_new_session_takes_the_history_of_another_with_its_ids_and_order(
    kit: Any, autojump_clock: MockClock
) -> None:
    async with kit.client() as client:
        history = [
            {"id": "item_u1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]},
            {
                "id": "item_a1",
                "type": "message",
                "role": "assistant",
                "status": "incomplete",
                "content": [{"type": "output_text", "text": "Hello! What is your"}],
            },
            {
                "id": "item_u2",
                "type": "message",
                "role": "user",
                "content": [{"type": "input_audio", "audio": kit.b64(kit.pcm(100)), "transcript": "I am Martha."}],
            },
            {"id": "item_c1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"id": "item_o1", "type": "function_call_output", "call_id": "call_1", "output": "done"},
            {
                "id": "item_a2",
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Nice to meet you, Martha."}],
            },
        ]
        # Told from the last to the first: each names its place.
        previous = ["root", *(item["id"] for item in history)]
        for item in history[:1] + history[:0:-1]:
            place = "root" if item is history[0] else "item_u1"
            await client.send("conversation.item.create", {"previous_item_id": place, "item": item})
        await client.send("conversation.item.create", {"previous_item_id": "item_u1", "item": history[1]})
        refused = await client.get("error")
        assert refused["error"]["code"] == "item_create_duplicate_item_id"
        await client.say("What is my name?")
        told = await client.get("conversation.item.done")
        assert told["previous_item_id"] == previous[-1]
        await client.send("response.create")
        response = (await client.get("response.done"))["response"]
        assert response["output"][0]["content"][0]["transcript"] == "Your name is Martha."


@pytest.mark.parametrize(
    "begun, rest",
    [
        ("1, 2, 3", "4, 5."),
        ("1, 2, 3,", "4, 5."),
        ("1", "2, 3, 4, 5."),
        ("Something else", "1, 2, 3, 4, 5."),
    ],
)
async def test_an_answer_that_was_begun_is_gone_on_with(
    kit: Any, begun: str, rest: str, autojump_clock: MockClock
) -> None:
    async with kit.client() as client:
        await client.say("Count to five.")
        content = [{"type": "output_text", "text": begun}]
        item = {"type": "message", "role": "assistant", "status": "incomplete", "content": content}
        await client.send("conversation.item.create", {"item": item})
        await client.send("response.create")
        response = (await client.get("response.done"))["response"]
        assert response["output"][0]["content"][0]["transcript"] == rest
