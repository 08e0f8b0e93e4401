"""What was under way when the connection was lost: answers, calls, handoffs, the user's audio."""

from __future__ import annotations

import base64
import random

import pytest
import trio
import trio.testing

from trealtime import (
    ConnectFailed,
    RealtimeAgent,
    function_tool,
)
from trealtime.testing import MemoryEndpoint

from .conftest import SECOND
from .test_reconnect import SPEECH, audio_of, said, told, wait_for

# ---- in flight ------------------------------------------------------------------------------------------------------


async def test_an_answer_that_was_cut_is_continued(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("Tell me a story."))

        nursery.start_soon(ask)
        first = service.connections[0]
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.transcript("Once upon a time there was ")
        await first.audio(2.0, fill=1)
        first.wire.drop()
        event = await wait_for(session, "reconnected")
        assert event.response == "continued"
        second = service.connections[1]
        assert said(second) == [("user", "Tell me a story."), ("assistant", "Once upon a time there was ")]
        request = await second.expect("response.create")
        assert request["response"]["instructions"].startswith("Be brief.\n\n")
        assert '"Once upon a time there was"' in request["response"]["instructions"]
        await second.reply("a king.", id="resp_2")
    (turn,) = turns
    assert turn.text == "Once upon a time there was \na king." or turn.text == "Once upon a time there was a king."
    assert (turn.status, turn.reconnected, turn.response_id) == ("completed", True, "resp_2")
    assert len(turn.audio) == 3 * SECOND
    assert [item.text for item in session.history[1:]] == ["Once upon a time there was", "a king."]


async def test_an_answer_that_was_cut_can_be_dropped(autojump_clock, service, make_runner) -> None:
    runner = make_runner(reconnect={"on_cut": "drop"})
    async with runner.session() as session, session.respond("Tell me a story.") as response:
        first = service.connections[0]
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.audio(0.2)
        first.wire.drop()
        result = await response.result()
        assert (result.status, result.reason) == ("incomplete", "connection_lost")
        event = await wait_for(session, "reconnected")
        assert event.response == "dropped"
        await trio.testing.wait_all_tasks_blocked()
        assert not service.connections[1].of("response.create")


async def test_a_request_that_nothing_has_answered_is_made_again(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("Hello", instructions="In French."))

        nursery.start_soon(ask)
        await service.last.expect("response.create")
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        request = await second.expect("response.create")
        assert request["response"]["instructions"] == "In French."
        await second.reply("Bonjour.")
    assert (turns[0].text, turns[0].reconnected) == ("Bonjour.", True)


async def test_an_answer_of_which_only_the_end_is_missing_is_complete(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("Hello"))

        nursery.start_soon(ask)
        first = service.last
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.transcript("Hello there.")
        await first.audio(1.0)
        item = {
            "id": "item_a",
            "role": "assistant",
            "content": [{"type": "output_audio", "transcript": "Hello there."}],
        }
        await first.emit("response.output_item.done", response_id="resp_1", item=item)
        first.wire.drop()
        await wait_for(session, "reconnected")
        assert not service.connections[1].of("response.create")
    assert (turns[0].text, turns[0].status) == ("Hello there.", "completed")


async def test_an_interrupt_during_the_outage_is_applied(autojump_clock, service, make_runner, dial) -> None:
    async with make_runner(reconnect={}).session() as session, session.subscribe("audio") as audio:
        dial.refuse(*[ConnectFailed("no route")] * 3)
        await session.send_message("Tell me a story.")
        first = service.connections[0]
        await first.begin(await first.expect("response.create"))
        await first.begin_item()
        await first.transcript("Once upon a time there was a king who had a daughter and a son.")
        await first.audio(4.0)
        first.wire.drop()
        await wait_for(session, "connection_lost")
        for _ in range(20):
            await audio.receive()
        await trio.sleep(1)
        await session.interrupt()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        assert not second.of("response.create")
        (_, heard) = said(second)[-1]
        assert heard == session.history[-1].text
        assert "Once upon a time".startswith(heard[:16])
        assert len(heard) < 30


async def test_audio_that_plays_on_and_is_interrupted_is_told_anew(autojump_clock, service, make_runner) -> None:
    """The answer was complete and still plays: the new connection has it as text, and cannot truncate it."""
    async with make_runner(reconnect={}).session() as session, session.subscribe("audio") as audio:
        await session.send_message("Tell me a story.")
        await service.last.reply("Once upon a time there was a king who had a daughter.", seconds=4.0)
        for _ in range(20):
            await audio.receive()
        item_id = session.history[-1].item_id
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        await trio.sleep(1)
        await session.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        second = service.connections[1]
        assert [event["item_id"] for event in second.of("conversation.item.delete")] == [item_id]
        assert not second.of("conversation.item.truncate")
        again = second.of("conversation.item.create")[-1]
        assert (again["item"]["id"], again["previous_item_id"]) == (item_id, session.history[0].item_id)
        assert again["item"]["content"][0]["text"] == session.history[-1].text != ""
        assert len(session.history) == 2


async def test_a_tool_runs_on_and_its_output_goes_to_the_new_connection(autojump_clock, service, make_runner) -> None:
    done = trio.Event()

    @function_tool
    async def look(thing: str) -> str:
        """Look at something."""
        await done.wait()
        return f"{thing} is red"

    async with make_runner(tools=[look], reconnect={}).session() as session, trio.open_nursery() as nursery:
        turns = []

        async def ask() -> None:
            turns.append(await session.ask("What colour is it?"))

        nursery.start_soon(ask)
        first = service.connections[0]
        await first.expect("response.create")
        await first.calls("look", arguments='{"thing": "it"}')
        await trio.testing.wait_all_tasks_blocked()
        first.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        assert [item["type"] for item in told(second)] == ["message", "function_call"]
        done.set()
        assert await second.output() == "it is red"
        await second.reply("It is red.", id="resp_2")
    assert (turns[0].text, turns[0].reconnected) == ("It is red.", True)


async def test_calls_with_outputs_are_told_in_pairs(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def look() -> str:
        """Look."""
        return "red"

    async with make_runner(tools=[look], reconnect={}).session() as session:
        await session.send_message("Look.")
        await service.last.expect("response.create")
        await service.last.calls("look")
        await service.last.output()
        await trio.testing.wait_all_tasks_blocked()
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        assert [item["type"] for item in told(second)] == ["message", "function_call", "function_call_output"]
        assert len(second.of("response.create")) == 1, "the answer to the output"


async def test_an_approval_stays_pending(autojump_clock, service, make_runner) -> None:
    @function_tool(needs_approval=True)
    async def pay() -> str:
        """Pay."""
        return "paid"

    async with make_runner(tools=[pay], reconnect={}).session() as session:
        await session.send_message("Pay.")
        await service.last.expect("response.create")
        await service.last.calls("pay")
        await wait_for(session, "tool_approval_required") if not session.pending_approvals else None
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        (pending,) = session.pending_approvals
        await session.approve_tool_call(pending.call_id)
        assert await service.connections[1].output(pending.call_id) == "paid"


async def test_a_handoff_that_was_not_acknowledged_is_made_again(autojump_clock, service, run) -> None:
    clerk = RealtimeAgent(name="Clerk", instructions="You are the clerk.")
    runner = run(RealtimeAgent(name="Front", instructions="You are the front.", handoffs=[clerk]), reconnect={})
    async with runner.session() as session:
        await session.send_message("The clerk, please.")
        first = service.connections[0]
        await first.expect("response.create")
        first.answers = False
        await first.calls("transfer_to_clerk")
        await first.expect("session.update", count=2)
        first.wire.drop()
        await wait_for(session, "handoff")
        second = service.connections[1]
        assert [update["instructions"] for update in second.updates] == ["You are the front.", "You are the clerk."]
        assert session.current_agent is clerk
        assert "Clerk" in await second.output()


# ---- the user's audio -----------------------------------------------------------------------------------------------


async def test_the_turn_under_way_is_sent_again_whole(autojump_clock, service, make_runner, dial) -> None:
    async with make_runner(reconnect={}).session() as session:
        dial.refuse(ConnectFailed("no route"))
        spoken = b""

        async def speak(seconds: float) -> None:
            nonlocal spoken
            for _ in range(round(seconds * 50)):
                piece = random.Random(len(spoken)).randbytes(960)
                spoken += piece
                await session.send_audio(piece)
                await trio.sleep(0.02)

        await speak(1)
        first = service.connections[0]
        await first.emit("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=200)
        await speak(0.4)
        first.wire.drop()
        await speak(3)
        await trio.testing.wait_all_tasks_blocked()
        second = service.connections[1]
        assert audio_of(second) == spoken, "the words from before the loss, those of the outage, and those after it"
        counted = session.statistics().connections
        assert counted.audio_dropped_s == 0
        assert counted.audio_resent_s == pytest.approx(1.4 + counted.outage_s, abs=0.05)


async def test_a_turn_that_was_committed_is_told_by_its_audio_until_its_words_are_known(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner(reconnect={}).session() as session:
        first = service.connections[0]
        await session.send_audio(SPEECH)
        await first.expect("input_audio_buffer.append")
        await first.emit("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=0)
        await first.emit("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=800)
        await first.emit("input_audio_buffer.committed", item_id="item_u")
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": "item_u", "type": "message", "role": "user", "content": content}
        await first.emit("conversation.item.added", item=item)
        await trio.testing.wait_all_tasks_blocked()
        first.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        (item,) = told(second)
        assert base64.b64decode(item["content"][0]["audio"]) == SPEECH[: 800 * 48]
        assert audio_of(second) == SPEECH[800 * 48 :]
        assert len(second.of("response.create")) == 1, "the server owed an answer"
        await second.emit(
            "conversation.item.input_audio_transcription.completed", item_id="item_u", transcript="Hello there."
        )
        await trio.testing.wait_all_tasks_blocked()
        second.wire.drop()
        await wait_for(session, "reconnected")
        assert said(service.connections[2]) == [("user", "Hello there.")]


async def test_a_turn_that_was_committed_and_not_shown_is_told_too(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session:
        await session.send_audio(SPEECH)
        first = service.connections[0]
        await first.emit("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=0)
        await first.emit("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=1_000)
        await first.emit("input_audio_buffer.committed", item_id="item_u", previous_item_id=None)
        await trio.testing.wait_all_tasks_blocked()
        first.wire.drop()
        await wait_for(session, "reconnected")
        second = service.connections[1]
        await second.wait_received("response.create")
        (item,) = told(second)
        assert item["id"] == "item_u"
        assert base64.b64decode(item["content"][0]["audio"]) == SPEECH
        assert [each.item_id for each in session.history] == ["item_u"]


async def test_commits_of_the_app_come_after_their_audio(autojump_clock, service, make_runner, dial) -> None:
    settings = {"audio": {"input": {"turn_detection": None}}}
    runner = make_runner(reconnect={}, model_settings=settings)
    async with runner.session() as session:
        dial.refuse(ConnectFailed("no route"))
        await session.send_audio(SPEECH)
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
        await session.send_audio(SPEECH[:9_600], commit=True)
        await session.create_response()
        await session.send_audio(SPEECH[:4_800])
        await wait_for(session, "reconnected")
        second = service.connections[1]
        kinds = [event["type"] for event in second.received if event["type"] != "session.update"]
        commit = kinds.index("input_audio_buffer.commit")
        sizes = [len(base64.b64decode(event["audio"])) for event in second.of("input_audio_buffer.append")]
        assert sum(sizes[:commit]) == len(SPEECH) + 9_600
        assert sum(sizes[commit:]) == 4_800
        assert kinds[-1] == "response.create"


async def test_a_source_that_is_no_microphone_waits(autojump_clock, service, make_runner, dial) -> None:
    """`send_audio` may be far ahead of real time: what has no room waits and is not dropped."""
    runner = make_runner(reconnect={"resend_buffer_s": 2})
    async with runner.session() as session, trio.open_nursery() as nursery:
        dial.refuse(*[ConnectFailed("no route")] * 4)
        service.last.wire.drop()
        await wait_for(session, "connection_lost")
        sent = []

        async def speak() -> None:
            for number in range(10):
                await session.send_audio(bytes([number]) * SECOND)
                sent.append(number)

        nursery.start_soon(speak)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == 3
        assert session.send_audio_nowait(bytes(960)) is False
        await wait_for(session, "reconnected")


async def test_an_endpoint_stays_attached(autojump_clock, service, make_runner) -> None:
    endpoint = MemoryEndpoint()
    async with make_runner(reconnect={}).session() as session, session.attach(endpoint):
        await endpoint.say(SPEECH)
        await service.last.expect("input_audio_buffer.append")
        await trio.sleep(0.1)
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        assert audio_of(service.connections[1]) == SPEECH


# ---- refusals -------------------------------------------------------------------------------------------------------


async def test_a_refused_item_is_told_and_takes_no_other_with_it(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session:
        for number in range(4):
            await session.create_item(f"number {number}")
        service.answers = False
        service.last.wire.drop()
        await trio.sleep(1)
        second = service.connections[1]
        creates = [await second.expect("conversation.item.create", count=number + 1) for number in range(4)]
        async with session.subscribe("error") as errors:
            await second.answer(creates[0])
            for refused in creates[1:]:
                await second.error(code="invalid_value", about=refused)
            await trio.testing.wait_all_tasks_blocked()
            again = second.of("conversation.item.create")[4:]
            assert [event["item"]["content"][0]["text"] for event in again] == ["number 2", "number 3"]
            befores = [event["previous_item_id"] for event in again]
            assert befores == [creates[0]["item"]["id"], creates[2]["item"]["id"]]
            event = await errors.receive()
            assert event.error.code == "invalid_value"
            with trio.move_on_after(1):
                pytest.fail(f"a second error: {await errors.receive()}")
        assert session.statistics().connections.items_refused == 1
        assert len(session.history) == 4
