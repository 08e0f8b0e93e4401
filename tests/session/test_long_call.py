"""A call of two hours whose history is trimmed: nothing in the session grows with its length."""

from __future__ import annotations

import gc
import sys
from collections import Counter

import trio
import trio.testing

from trealtime._core import playback_ledger, requests, turn_log
from trealtime.tools.function_tool import function_tool

TURN_S = 48.0
TURNS = 150
KEPT_ITEMS = 6


@function_tool
async def look_up() -> str:
    """Look something up."""
    return "found"


def held() -> tuple[Counter[str], int]:
    """The numbers of all objects that can hold others, by class, and the bytes of these and of what they hold."""
    gc.collect()
    tracked = gc.get_objects()
    inside = (each for one in tracked for each in gc.get_referents(one) if not gc.is_tracked(each))
    each_once = {id(each): each for each in (*tracked, *inside)}
    n_bytes = sum(sys.getsizeof(each, 0) for each in each_once.values())
    return Counter(type(each).__name__ for each in tracked), n_bytes


async def one_turn(session, connection, number: int) -> None:
    """The user speaks, and the agent answers; each fifth time with a tool, each seventh it is interrupted."""
    user, answer, response = f"item_u{number}", f"item_a{number}", f"resp_{number}"
    for _ in range(10):
        await session.send_audio(bytes(4800))
    await connection.emit("input_audio_buffer.speech_started", item_id=user, audio_start_ms=number * 24_000)
    await connection.emit("input_audio_buffer.speech_stopped", item_id=user, audio_end_ms=number * 24_000 + 1000)
    await connection.emit("input_audio_buffer.committed", item_id=user)
    item = {"id": user, "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    await connection.emit("conversation.item.added", item=item)
    await connection.emit(
        "conversation.item.input_audio_transcription.completed", item_id=user, content_index=0, transcript="Well?"
    )
    if number % 5 == 0:
        await connection.calls("look_up", id=f"{response}_tool")
        await connection.expect("conversation.item.create")
        await connection.reply(id=response)
        answer = f"item_{response}"
    else:
        await connection.begin(id=response)
        await connection.begin_item(id=response, item_id=answer)
        await connection.transcript("Some words. ", id=response, item_id=answer)
        await connection.audio(4.0, id=response, item_id=answer)
        if number % 7 == 0:
            await trio.sleep(1)
            await session.interrupt()
            await connection.done(id=response, status="cancelled")
        else:
            await connection.done(id=response)
    await trio.testing.wait_all_tasks_blocked()
    for old in [each.item_id for each in session.history][:-KEPT_ITEMS]:
        await session.delete_item(old)
    connection.received.clear()


async def test_a_call_of_two_hours_stays_as_big_as_it_was(autojump_clock, service, make_runner, monkeypatch) -> None:
    # The registers of the last so many are full after some turns; of these there are enough here.
    monkeypatch.setattr(turn_log, "KEPT_TURNS", 20)
    monkeypatch.setattr(requests, "_REMEMBERED", 32)
    monkeypatch.setattr(playback_ledger, "MAX_PARTS", 16)
    held()  # asked for their size, objects of other packages load what they have put off
    began_at = trio.current_time()
    async with make_runner(tools=[look_up]).session() as session, trio.open_nursery() as nursery:
        taken = 0

        async def consume() -> None:
            nonlocal taken
            async for _ in session:
                taken += 1

        nursery.start_soon(consume)
        sizes: list[tuple[Counter[str], int]] = []
        for number in range(TURNS):
            await trio.sleep_until(began_at + number * TURN_S)
            await one_turn(session, service.last, number)
            if number in (TURNS // 3, TURNS - 1):
                gc.collect()
                sizes.append(held())
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began_at >= (TURNS - 1) * TURN_S
    assert taken > TURNS * 10
    (before, bytes_before), (after, bytes_after) = sizes
    # The app may ask for the usage of every response, so that is kept: half a kilobyte for each.
    assert {name for name, count in (after - before).items() if count > TURNS // 5} <= {"Usage"}
    assert bytes_after - bytes_before < 1000 * (TURNS - TURNS // 3)
