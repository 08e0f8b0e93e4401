"""`session.listen`: a spoken turn as a value and as it comes."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ConnectionLost, SessionClosed
from trealtime.tools.function_tool import function_tool


async def speak(connection, item_id="u", words=None) -> None:
    """The server hears a turn."""
    await connection.emit("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=0)
    await connection.emit("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=900)
    await connection.emit("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
    item = {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    await connection.emit("conversation.item.added", item=item, previous_item_id=None)
    if words is not None:
        kind = "conversation.item.input_audio_transcription.completed"
        await connection.emit(kind, item_id=item_id, content_index=0, transcript=words)


async def say(connection, text="Hello there.", *, seconds=1.0, id="resp_1") -> None:
    """The server answers by itself."""
    await connection.begin(id=id)
    await connection.begin_item(id=id, item_id=f"item_{id}")
    await connection.transcript(text, id=id, item_id=f"item_{id}")
    await connection.audio(seconds, id=id, item_id=f"item_{id}")


async def speak_and_be_answered(connection) -> None:
    await trio.testing.wait_all_tasks_blocked()
    await speak(connection)
    await say(connection)


async def test_a_spoken_turn_is_a_value(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:

        async def server() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await speak(service.last, words="What is the weather?")
            await say(service.last)
            await service.last.done()

        nursery.start_soon(server)
        turn = await session.listen()
    assert (turn.said, turn.text, turn.status) == ("What is the weather?", "Hello there.", "completed")
    assert turn.said_item_ids == ("u",)
    assert len(turn.audio) == 48_000
    assert [item.item_id for item in turn.items] == ["item_resp_1"]
    assert turn.usage.total_tokens == 15


async def test_calls_and_handoffs_are_part_of_the_answer(autojump_clock, service, run) -> None:
    @function_tool
    async def look() -> str:
        await trio.sleep(2)
        return "42"

    second = RealtimeAgent(name="Second")
    first = RealtimeAgent(name="First", tools=[look], handoffs=[second])
    async with run(first).session() as session, trio.open_nursery() as nursery:

        async def server() -> None:
            connection = service.last
            await trio.testing.wait_all_tasks_blocked()
            await speak(connection)
            await connection.calls("look", id="r1")
            await connection.begin(await connection.expect("response.create"), id="r2")
            await connection.call("transfer_to_second", "{}", id="r2", call_id="c2")
            await connection.done(id="r2")
            await connection.begin(await connection.expect("response.create", count=2), id="r3")
            await connection.begin_item(id="r3", item_id="i3")
            await connection.transcript("It is 42.", id="r3", item_id="i3")
            await connection.done(id="r3")

        nursery.start_soon(server)
        turn = await session.listen()
        assert session.current_agent is second
    assert turn.text == "It is 42."
    assert turn.usage.total_tokens == 45
    assert [item.type for item in turn.items] == ["function_call", "function_call", "message"]


async def test_the_user_who_speaks_on_before_anything_was_heard_goes_on_with_the_turn(
    autojump_clock, service, runner
) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:

        async def server() -> None:
            connection = service.last
            await trio.testing.wait_all_tasks_blocked()
            await speak(connection, "u1", "Where is")
            await say(connection, "Where is what?", id="r1")
            await trio.sleep(1)
            await speak(connection, "u2", "my order?")
            await connection.done(id="r1", status="cancelled", reason="turn_detected")
            await say(connection, "On its way.", seconds=0.4, id="r2")
            await connection.done(id="r2")

        nursery.start_soon(server)
        turn = await session.listen()
    assert (turn.said, turn.text) == ("Where is my order?", "On its way.")
    assert len(turn.audio) == 0.4 * 48_000
    assert [item.item_id for item in turn.items] == ["item_r2"]
    assert turn.status == "completed"


async def test_the_answer_comes_piece_by_piece_in_a_scope(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        async with session.listen() as response:
            nursery.start_soon(speak_and_be_answered, service.last)
            async for chunk in response.audio:
                assert chunk.item_id == "item_resp_1"
                break
        cancel = await service.last.expect("response.cancel")
        assert cancel["response_id"] == "resp_1"


async def test_cancelling_the_wait_leaves_nothing_behind(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        with trio.move_on_after(5):
            await session.listen()
        statistics = session.statistics()
        assert statistics.questions_open == 0
        assert [each.name for each in statistics.subscriptions] == ["the session's subscription"]
        await speak(service.last)
        await say(service.last)
        assert not service.last.of("response.cancel")


async def test_cancelling_the_answer_cancels_it_on_the_server(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(speak_and_be_answered, service.last)
        with trio.move_on_after(5):
            await session.listen()
        assert (await service.last.expect("response.cancel"))["response_id"] == "resp_1"


async def test_the_end_of_the_session_ends_the_wait(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:

        async def close() -> None:
            await trio.sleep(1)
            await session.close()

        nursery.start_soon(close)
        with pytest.raises(SessionClosed):
            await session.listen()
        with pytest.raises(SessionClosed):
            session.listen()


async def test_a_lost_connection_is_told_to_the_listener(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.wire.aclose, 1011, "broken")
        with pytest.raises(ConnectionLost):
            await session.listen()


async def test_each_turn_is_listened_to_once(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        listening = session.listen()
        async with listening:
            pass
        with pytest.raises(RuntimeError, match=r"call session\.listen\(\) for the next"):
            await listening
