"""A task cancelled inside any public call, at every checkpoint, leaves a session that works."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trealtime._session.runner import serve_realtime_session
from trealtime.testing.schedules import cancel_at_each_checkpoint

CALLS = {
    "send_message": lambda session: session.send_message("Hi"),
    "send_audio": lambda session: session.send_audio(bytes(960), commit=True),
    "interrupt": lambda session: session.interrupt(),
    "update_settings": lambda session: session.update_settings({"instructions": "x"}),
    "commit_audio": lambda session: session.commit_audio(),
    "clear_audio": lambda session: session.clear_audio(),
    "create_response": lambda session: session.create_response(),
    "cancel_response": lambda session: session.cancel_response(),
    "create_item": lambda session: session.create_item("note"),
    "delete_item": lambda session: session.delete_item("item_x"),
    "send_raw": lambda session: session.send_raw({"type": "input_audio_buffer.clear"}),
    "ask": lambda session: session.ask("Hi"),
    "wait_for_playback": lambda session: session.wait_for_playback(),
    "receive": lambda session: anext(aiter(session)),
}


async def still_works(service, session) -> None:
    """A whole turn goes through, whatever was cancelled before it."""
    connection = service.last
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            done = 0
            while True:
                await connection.expect("response.create", count=done + 1)
                request = connection.of("response.create")[done]
                done += 1
                await connection.begin(request, id=f"resp_{done}")
                await connection.transcript("Yes.", id=f"resp_{done}", item_id=f"item_{done}")
                await connection.done(id=f"resp_{done}", status="completed")

        nursery.start_soon(serve)
        turn = await session.ask("Still there?")
        assert turn.text == "Yes."
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_call_leaves_a_session_that_works(autojump_clock, service, runner, name) -> None:
    async def scenario(cancel_here) -> None:
        async with runner.session() as session:
            await service.last.emit("conversation.item.added", item={"id": "item_x"})
            with cancel_here():
                with trio.move_on_after(2):  # some calls wait for an answer that never comes here
                    await CALLS[name](session)
            await still_works(service, session)
            types = [event["type"] for event in service.last.received]
            if name == "send_audio":
                assert types.count("input_audio_buffer.append") == types.count("input_audio_buffer.commit")
            assert not service.last.closed
        assert service.last.closed.code == 1000

    assert await cancel_at_each_checkpoint(scenario) >= 1


async def test_a_session_cancelled_at_any_point_of_its_life_is_closed_and_leaves_nothing(
    autojump_clock, service, runner
) -> None:
    async def scenario(cancel_here) -> None:
        before = (len(service.connections), service.left, len(trio.lowlevel.current_task().child_nurseries))
        body_ran = False
        with cancel_here():
            async with runner.session() as session:
                body_ran = True
                await session.send_message("Hi")
                await trio.sleep(1)
        opened, left, nurseries = before
        assert service.left - left == len(service.connections) - opened
        assert len(trio.lowlevel.current_task().child_nurseries) == nurseries
        if body_ran:
            assert (await service.last.expect_closed()).code == 1000
            assert session.outcome.closed_by == "client"

    assert await cancel_at_each_checkpoint(scenario) >= 20


async def test_a_response_scope_cancelled_at_any_point_ends_the_response(autojump_clock, service, runner) -> None:
    async def scenario(cancel_here) -> None:
        async with runner.session() as session, trio.open_nursery() as nursery:
            connection = service.last

            async def serve() -> None:
                await connection.begin(await connection.expect("response.create"))
                await connection.begin_item()
                await connection.audio(1)

            nursery.start_soon(serve)
            with cancel_here():
                async with session.respond("Hi") as response:
                    async for chunk in response.audio:
                        if chunk.start_ms >= 800:
                            break
            await trio.testing.wait_all_tasks_blocked()
            assert len(connection.of("response.cancel")) == len(connection.of("response.create"))
            nursery.cancel_scope.cancel()

    assert await cancel_at_each_checkpoint(scenario) >= 10


async def test_serving_cancelled_at_any_point_leaves_nothing(autojump_clock, service, runner) -> None:
    async def scenario(cancel_here) -> None:
        entered, left = len(service.connections), service.left
        with cancel_here():
            async with trio.open_nursery() as nursery:
                session = await nursery.start(serve_realtime_session, runner)
                await session.send_message("Hi")
                await session.close()
        assert service.left - left == len(service.connections) - entered

    await cancel_at_each_checkpoint(scenario)
