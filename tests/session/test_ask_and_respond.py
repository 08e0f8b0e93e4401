"""Turns over a session: messages, events, `respond`, `ask`."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trealtime.errors import ServerRefused
from trealtime.tools.function_tool import function_tool


async def test_the_first_event_is_an_empty_history_and_the_quickstart_loop_sees_the_turn(
    autojump_clock, service, runner
) -> None:
    session = await runner.run()
    assert not service.connections
    async with session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        await session.send_message("Say hello.")
        seen = []
        async for event in session:
            seen.append(event.type)
            if len(seen) == 1:
                assert event.history == []
            if event.type == "agent_end":
                break
    assert seen[0] == "history_updated"
    for kind in ("agent_start", "audio", "transcript_delta", "history_added", "agent_end"):
        assert kind in seen
    assert service.last.closed.code == 1000
    assert session.outcome.closed_by == "client"


async def test_ask_returns_the_whole_turn(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        turn = await session.ask("And tomorrow?")
    assert turn.text == "Hello there."
    assert len(turn.audio) == 48_000
    assert turn.status == "completed"
    assert [item.item_id for item in turn.items] == ["item_resp_1"]
    assert turn.usage.total_tokens == 15


async def test_respond_gives_its_own_audio_and_leaves_the_session_iterable(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        async with session.respond("What is the weather?") as response:
            chunks = [chunk async for chunk in response.audio]
            assert await response.transcript() == "Hello there."
            assert (await response.result()).status == "completed"
        assert sum(len(chunk.data) for chunk in chunks) == 48_000
        assert not service.last.of("response.cancel", "conversation.item.truncate")


async def test_response_text_is_its_transcript_as_it_comes(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        async with session.respond("Hi") as response:
            assert [piece async for piece in response.text] == ["Hello there."]


async def test_breaking_out_of_a_response_interrupts_it_at_what_was_heard(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        async with session.respond("Tell me a story.") as response:
            request = await service.last.expect("response.create")
            await service.last.begin(request)
            await service.last.begin_item()
            await service.last.audio(3)
            began = trio.current_time()
            async for _chunk in response.audio:
                await trio.sleep(0.2)
                if trio.current_time() - began > 0.5:
                    break
        cancel = await service.last.expect("response.cancel")
        truncate = await service.last.expect("conversation.item.truncate")
    assert cancel["response_id"] == "resp_1"
    assert truncate["audio_end_ms"] == 600
    assert [e["type"] for e in service.last.received[-2:]] == ["response.cancel", "conversation.item.truncate"]


async def test_breaking_off_audio_that_has_all_been_made_still_interrupts(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        async with session.respond("Hi") as response:
            await service.last.reply(seconds=3)
            async for _chunk in response.audio:
                break
        truncate = await service.last.expect("conversation.item.truncate")
    assert truncate["audio_end_ms"] == 0
    assert not service.last.of("response.cancel")


async def test_a_timeout_around_a_turn_ends_it_on_the_server_too(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        with trio.move_on_after(2) as scope:
            async with session.respond("Hi") as response:
                await service.last.begin(await service.last.expect("response.create"))
                async for _event in response:
                    pass
        assert scope.cancelled_caught
        await service.last.expect("response.cancel")


async def test_a_cancelled_ask_cancels_the_answer(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        with trio.move_on_after(1):
            await session.ask("Hi")
        await service.last.begin(await service.last.expect("response.create"))
        await service.last.expect("response.cancel")


async def test_leaving_before_the_request_was_sent_takes_it_back(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await session.create_response()
        await service.last.begin(await service.last.expect("response.create"))
        with trio.move_on_after(1):
            await session.ask("Hi")
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.last.of("response.create")) == 1


async def test_a_refused_response_raises_where_it_was_asked_for(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:

        async def refuse() -> None:
            await service.last.error(code="rate_limit_exceeded", about=await service.last.expect("response.create"))

        nursery.start_soon(refuse)
        with pytest.raises(ServerRefused) as caught:
            await session.ask("Hi")
    assert caught.value.code == "rate_limit_exceeded"


async def test_an_out_of_band_question_stays_out_of_the_conversation(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(service.last.reply)
        await session.ask("Was that polite?", out_of_band=True, output_modalities=["text"], metadata={"k": "v"})
        params = service.last.of("response.create")[0]["response"]
    assert params["conversation"] == "none"
    assert params["input"][0]["content"] == [{"type": "input_text", "text": "Was that polite?"}]
    assert params["output_modalities"] == ["text"]
    assert params["metadata"]["k"] == "v"
    assert not service.last.of("conversation.item.create")


async def test_messages_while_the_agent_answers_get_one_answer_afterwards(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await session.send_message("One")
        await service.last.begin(await service.last.expect("response.create"))
        await session.send_message("Two")
        await session.send_message("Three")
        await service.last.expect("conversation.item.create", count=3)
        assert len(service.last.of("response.create")) == 1
        await service.last.done()
        await service.last.expect("response.create", count=2)
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.last.of("response.create")) == 2


async def test_wait_for_playback_takes_the_time_of_the_audio(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        async with session.respond("Hi") as response:
            await service.last.reply(seconds=5)
            async for _chunk in response.audio:
                pass
            began = trio.current_time()
            await session.wait_for_playback()
            assert trio.current_time() - began == pytest.approx(5, abs=0.01)
        assert not service.last.of("conversation.item.truncate")


# ---- the text of an answer ------------------------------------------------------------------------------------------


async def say_items(connection, *texts: str) -> None:
    for number, text in enumerate(texts):
        await connection.begin_item(item_id=f"item_{number}")
        for word in text.split(" "):
            await connection.transcript(word, item_id=f"item_{number}")


async def test_items_of_one_answer_stand_on_lines_of_their_own(autojump_clock, service, runner, nursery) -> None:
    async def server() -> None:
        await service.last.begin(await service.last.expect("response.create"))
        await say_items(service.last, "Let me think.", "It is four.\n", "Sure.")
        await service.last.done()

    async with runner.session() as session:
        nursery.start_soon(server)
        async with session.respond("Two and two?") as response:
            pieces = [piece async for piece in response.text]
            assert await response.transcript() == "".join(pieces) == "Letmethink.\nItisfour.\nSure."


async def test_the_text_of_an_answer_that_is_known_only_when_it_is_done_is_not_lost(
    autojump_clock, service, runner, nursery
) -> None:
    """The server shows no metadata, so what it says before the end belongs to no request yet."""

    async def server() -> None:
        await service.last.expect("response.create")
        await say_items(service.last, "Hello", "there")
        items = [
            {
                "id": f"item_{number}",
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_audio", "transcript": text}, {"type": "nonsense"}, None],
            }
            for number, text in enumerate(("Hello", "there"))
        ]
        await service.last.done(output=[*items, {"type": "message", "id": "item_x"}])

    async with runner.session() as session:
        nursery.start_soon(server)
        turn = await session.ask("Hi")
        assert turn.text == "Hello\nthere"
        assert [item.item_id for item in turn.items][:2] == ["item_0", "item_1"]


async def test_a_text_outside_the_conversation_without_deltas_is_read_from_its_end(
    autojump_clock, service, runner, nursery
) -> None:
    item = {
        "id": "item_o",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Yes."}],
    }

    async def server() -> None:
        await service.last.begin(await service.last.expect("response.create"))
        await service.last.done(output=[item])

    async with runner.session() as session:
        nursery.start_soon(server)
        turn = await session.ask("Is it?", out_of_band=True)
        assert turn.text == "Yes."
        assert [each.item_id for each in turn.items] == ["item_o"]
        assert all(each.item_id != "item_o" for each in session.history)


@pytest.mark.parametrize("out_of_band", [False, True])
@pytest.mark.parametrize("pieces", [[], ["It is", " five."], ["It is", " five", " five", "."], ["It is", "."]])
async def test_the_text_of_a_turn_is_what_its_end_shows(
    autojump_clock, service, runner, nursery, out_of_band, pieces
) -> None:
    """Also where a piece of it has come twice, or never."""
    text = "It is five."
    item = {"id": "item_a", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}

    async def server() -> None:
        connection = service.last
        await connection.begin(await connection.expect("response.create"))
        await connection.begin_item()
        for piece in pieces:
            await connection.emit("response.output_text.delta", response_id="resp_1", item_id="item_a", delta=piece)
        await connection.done(output=[item])

    async with runner.session() as session:
        nursery.start_soon(server)
        assert (await session.ask("How late is it?", out_of_band=out_of_band)).text == text


async def test_a_call_outside_the_conversation_is_shown_and_not_run(
    autojump_clock, service, make_runner, nursery
) -> None:
    ran = []

    @function_tool
    def note(dish: str) -> None:
        """Note a dish."""
        ran.append(dish)

    async def server() -> None:
        await service.last.begin(await service.last.expect("response.create"))
        arguments = '{"dish": "soup"}'
        call = {"id": "item_c", "type": "function_call", "name": "note", "call_id": "c", "arguments": arguments}
        await service.last.done(output=[call])

    async with make_runner(tools=[note]).session() as session:
        nursery.start_soon(server)
        turn = await session.ask("Soup, please.", out_of_band=True, tool_choice="note")
        (item,) = turn.items
        assert (item.name, item.arguments, item.call_id) == ("note", '{"dish": "soup"}', "c")
        assert ran == []


async def test_leaving_stops_what_was_said_before_a_call_of_a_tool_too(
    autojump_clock, service, make_runner, nursery
) -> None:
    @function_tool
    async def look() -> str:
        """Look."""
        return "found"

    async def play(session) -> None:
        async for _event in session:
            pass

    async with make_runner(tools=[look]).session() as session:
        nursery.start_soon(play, session)
        async with session.respond("Look."):
            await service.last.begin(await service.last.expect("response.create"))
            await service.last.begin_item()
            await service.last.audio(10)
            await service.last.call("look", "{}")
            await service.last.done()
            await service.last.begin(await service.last.expect("response.create", count=2), id="resp_2")
            await service.last.begin_item(id="resp_2", item_id="item_b")
            await service.last.audio(1, id="resp_2", item_id="item_b")
            await trio.sleep(2)
        await trio.testing.wait_all_tasks_blocked()
        cuts = {each["item_id"]: each["audio_end_ms"] for each in service.last.of("conversation.item.truncate")}
        assert cuts == {"item_a": 2000, "item_b": 0}
