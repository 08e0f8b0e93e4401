"""Faults on purpose: what a plan makes of events, and what clients see of it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trealtime.emulator import open_emulator
from trealtime.emulator.faults import Delivery, FaultPlan, Faults
from trealtime.emulator.faulty_wire import FaultyWire
from trealtime.errors import ConnectFailed, SettingsError
from trealtime.transport import TransportConfig, Wire, WireClosed
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.memory import memory_wire_pair


def plan(seed: int = 0, **faults: Any) -> FaultPlan:
    return FaultPlan(Faults(**faults), random.Random(seed))


def test_without_faults_everything_goes_as_it_is_and_at_once() -> None:
    quiet = plan()
    assert [quiet.outgoing(f"frame {n}", float(n)) for n in range(3)] == [
        [Delivery(float(n), f"frame {n}")] for n in range(3)
    ]
    assert quiet.incoming('{"type": "response.create"}') is None
    assert quiet.refusal() is None


@pytest.mark.parametrize(
    "faults, made",
    [
        ({"latency_s": 0.2}, [Delivery(1.2, "x")]),
        ({"duplicates": 1.0}, [Delivery(1.0, "x"), Delivery(1.0, "x")]),
        ({"reordered": 1.0, "reorder_s": 0.3}, [Delivery(1.3, "x")]),
        ({"stalls": 1.0, "stall_s": 7.0}, [Delivery(8.0, "x")]),
        ({"drops": 1.0}, [Delivery(1.0, ending="drop")]),
        ({"closes": {4321: 1.0}}, [Delivery(1.0, ending="close", code=4321)]),
        ({"half_open": 1.0}, [Delivery(1.0, ending="half_open")]),
    ],
)
def test_what_becomes_of_an_event(faults: Mapping[str, Any], made: list[Delivery]) -> None:
    assert plan(**faults).outgoing("x", 1.0) == made


ACKNOWLEDGED = '{"type":"session.updated","event_id":"e1"}'
REFUSED = '{"type":"error","event_id":"e1","error":{"type":"t","code":"c","message":"m","event_id":"mine"}}'
DONE = '{"type":"response.done","event_id":"e1"}'
OTHER = '{"type":"response.output_text.delta","event_id":"e1"}'


@pytest.mark.parametrize(
    "faults, touched, dues",
    [
        ({"lost": 1.0}, [ACKNOWLEDGED, REFUSED, DONE], []),
        ({"late_acknowledgements": 1.0, "late_s": 2.0}, [ACKNOWLEDGED], [3.0]),
        ({"doubled_acknowledgements": 1.0, "late_s": 2.0}, [ACKNOWLEDGED], [1.0, 3.0]),
    ],
)
def test_answers_are_lost_late_or_doubled_and_nothing_else_is(
    faults: Mapping[str, Any], touched: list[str], dues: list[float]
) -> None:
    for frame in (ACKNOWLEDGED, REFUSED, DONE, OTHER):
        made = plan(**faults).outgoing(frame, 1.0)
        assert [each.due for each in made] == (dues if frame in touched else [1.0])
        assert all(each.frame == frame for each in made)


@pytest.mark.parametrize("kind", ["errors_without_ids", "errors_with_other_ids"])
def test_errors_do_not_say_which_event_they_are_about(kind: str) -> None:
    liar = plan(**{kind: 1.0}, errors={"server_error": 1.0})
    refusal = liar.incoming('{"type": "response.create", "event_id": "mine"}')
    assert refusal is not None
    for made in (liar.outgoing(REFUSED, 1.0), liar.refusal_of_event(refusal, 1.0)):
        (delivery,) = made
        named = json.loads(delivery.frame)["error"]["event_id"]
        assert named is None if kind == "errors_without_ids" else named not in (None, "mine")
    assert liar.outgoing(DONE, 1.0) == [Delivery(1.0, DONE)]


async def test_a_client_sees_errors_without_ids(kit: Any, autojump_clock: MockClock) -> None:
    async with kit.client(faults=Faults(errors_without_ids=1.0)) as client:
        await client.send("response.cancel", {"event_id": "mine"})
        error = (await client.get("error"))["error"]
        assert (error["code"], error["event_id"]) == ("response_cancel_not_active", None)


def test_jitter_keeps_the_order() -> None:
    jittery = plan(latency_s=0.1, jitter_s=0.5)
    dues = [jittery.outgoing("x", n * 0.01)[0].due for n in range(200)]
    assert dues == sorted(dues)
    assert max(due - n * 0.01 for n, due in enumerate(dues)) <= 0.1 + 0.5 + 1e-9


def test_nonsense_and_rumours_follow_the_event_and_never_replace_it() -> None:
    first, nonsense, rumour = plan(malformed=1.0, unknown=1.0).outgoing("x", 0.0)
    assert first.frame == "x"
    try:
        assert "type" not in json.loads(nonsense.frame)
    except (ValueError, TypeError):
        pass
    assert json.loads(rumour.frame)["type"] == "rumour.heard"


def test_an_event_is_refused_by_its_id_and_audio_is_not() -> None:
    refusing = plan(errors={"rate_limit_exceeded": 1.0})
    refusal = refusing.incoming('{"type": "response.create", "event_id": "e1"}')
    assert refusal is not None
    error = json.loads(refusal)["error"]
    assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "e1")
    assert refusing.incoming('{"type": "input_audio_buffer.append", "audio": ""}') is None
    assert refusing.incoming("no json") is None


def test_the_same_seed_has_the_same_bad_day() -> None:
    def day(seed: int) -> list[list[Delivery]]:
        mixed = plan(seed, jitter_s=0.2, duplicates=0.3, reordered=0.2, malformed=0.3, unknown=0.2, drops=0.1)
        return [mixed.outgoing(str(n), float(n)) for n in range(50)]

    assert day(1) == day(1)
    assert day(1) != day(2)


def test_every_value_that_cannot_be_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Faults(
            latency_s=-1,
            drops=2,
            late_s=-1,
            errors_without_ids=2,
            errors={"server_error": -0.1},
            closes={1006: 0.5},
            refusals={200: 0.5},
            slow_drain_bytes_per_s=0,
        )
    assert {problem.path for problem in caught.value.problems} == {
        "latency_s",
        "drops",
        "late_s",
        "errors_without_ids",
        "errors.server_error",
        "closes",
        "refusals",
        "slow_drain_bytes_per_s",
    }


async def _end(wire: Wire) -> WireClosed:
    while True:
        try:
            await wire.receive()
        except WireClosed as end:
            return end


@pytest.mark.parametrize("faults, code", [({"drops": 1.0}, 1006), ({"closes": {4000: 1.0}}, 4000)])
@pytest.mark.parametrize("socket", [False, True])
async def test_a_client_sees_how_the_connection_ends(faults: Mapping[str, Any], code: int, socket: bool) -> None:
    with trio.fail_after(20):
        async with (
            open_emulator(faults=Faults(**faults), seed=1) as emulator,
            open_websocket_wire(emulator.url) if socket else emulator.connect() as wire,
        ):
            assert (await _end(wire)).code == code


async def test_pings_find_out_that_a_connection_is_half_open() -> None:
    config = TransportConfig(ping_interval=0.1, ping_timeout=0.2)
    with trio.fail_after(20):
        async with (
            open_emulator(faults=Faults(half_open=1.0), seed=1) as emulator,
            open_websocket_wire(emulator.url, config=config) as wire,
        ):
            end = await _end(wire)
    assert end.code == 1006
    assert end.closed_by != "server"


async def test_a_refused_handshake_has_its_status() -> None:
    async with open_emulator(listen=False, faults=Faults(refusals={429: 1.0})) as emulator:
        with pytest.raises(ConnectFailed) as caught:
            async with emulator.connect():
                raise AssertionError("never entered")
        assert caught.value.status == 429
        assert emulator.statistics().handshakes_refused == 1


async def test_split_and_joined_frames_are_the_same_conversation(kit: Any) -> None:
    with trio.fail_after(30):
        async with (
            open_emulator(faults=Faults(split=True), seed=3, realtime_factor=math.inf) as emulator,
            open_websocket_wire(emulator.url) as wire,
        ):
            client = kit.client_of(wire)
            await client.next()
            await client.say("Count to five.")
            await client.send("response.create")
            response = (await client.get("response.done"))["response"]
            assert response["output"][0]["content"][0]["transcript"] == "1, 2, 3, 4, 5."


async def test_a_slow_reader_lets_the_client_wait(kit: Any, autojump_clock: MockClock) -> None:
    faults = Faults(slow_drain_bytes_per_s=1_000)
    async with open_emulator(listen=False, faults=faults, seed=1) as emulator, emulator.connect() as wire:
        client = kit.client_of(wire)
        await client.next()
        began_at = trio.current_time()
        await client.send("session.update", {"session": {"type": "realtime", "instructions": "x" * 5_000}})
        await client.get("session.updated")
        assert trio.current_time() - began_at >= 5


async def test_a_stall_is_silence_and_then_all_of_it(kit: Any, autojump_clock: MockClock) -> None:
    faults = Faults(stalls=1.0, stall_s=30)
    async with open_emulator(listen=False, faults=faults, seed=1) as emulator, emulator.connect() as wire:
        client = kit.client_of(wire)
        began_at = trio.current_time()
        await client.next()
        assert trio.current_time() - began_at == pytest.approx(30)


async def test_a_close_that_is_cancelled_ends_the_delivery_too() -> None:
    client, server = memory_wire_pair(capacity=1)
    wire = FaultyWire(server, plan(stalls=1.0, stall_s=1_000))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.deliver)
            await wire.send("late")
            with trio.move_on_after(0) as closing:
                await wire.aclose()
        assert closing.cancelled_caught
    with pytest.raises(WireClosed):
        await client.receive()


async def test_refusals_wait_for_a_client_that_does_not_read(autojump_clock: MockClock) -> None:
    client, server = memory_wire_pair(capacity=1)
    wire = FaultyWire(server, plan(errors={"server_error": 1.0}))
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.deliver)
        nursery.start_soon(wire.receive)
        with trio.move_on_after(60):
            for _ in range(1_000):
                await client.send('{"type": "response.create"}')
                sent += 1
        nursery.cancel_scope.cancel()
    assert 200 < sent < 300
