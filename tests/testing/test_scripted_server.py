"""The scripted server: what it asks of a client, what it says, and what it says when a client does something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trealtime import ConnectFailed, ConnectionLost, RealtimeAgent, RealtimeRunner, Turn, function_tool
from trealtime.emulator import Faults
from trealtime.testing import (
    RealtimeScriptError,
    ScriptedServer,
    UnconsumedRealtimeSteps,
    UnexpectedRealtimeSend,
    a_function_call,
    a_response,
    a_transcript,
    a_user_turn,
    absent,
    accept,
    anything,
    close,
    emit,
    expect,
    open_scripted_server,
    the_end_of_the_response,
    user_begins_to_speak,
    wait,
)
from trealtime.transport import Wire, WireClosed
from trealtime.transport.dial import open_websocket_wire

ASKED = [accept("conversation.item.create"), accept("response.create")]


def runner_of(server: ScriptedServer, **options: Any) -> RealtimeRunner[Any]:
    return RealtimeRunner(RealtimeAgent(name="Assistant", **options), model=server.memory_model())


async def ask(*scripts: Any, **options: Any) -> Turn:
    """What a session says to "Hello?"."""
    async with open_scripted_server(*scripts, **options) as server, runner_of(server).session() as session:
        return await session.ask("Hello?")


async def say(wire: Wire, kind: str, **fields: object) -> None:
    await wire.send(json.dumps({"type": kind, **fields}))


async def hear(wire: Wire) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(await wire.receive())
    return event


# ---- what it says ---------------------------------------------------------------------------------------------------


async def test_a_session_is_answered_as_the_script_says(autojump_clock: MockClock) -> None:
    turn = await ask([*ASKED, a_response("Hello to you.", audio_s=0.4)])
    assert (turn.text, len(turn.audio)) == ("Hello to you.", 0.4 * 48_000)


async def test_an_expected_request_is_answered_by_the_next_act_and_its_metadata_echoed(
    autojump_clock: MockClock,
) -> None:
    turn = await ask([accept("conversation.item.create"), expect("response.create"), wait(2), a_response("Here I am.")])
    assert turn.text == "Here I am."


async def test_a_tool_is_called_and_its_output_expected(autojump_clock: MockClock) -> None:
    @function_tool
    async def weather(city: str) -> str:
        """The weather."""
        return f"rain in {city}"

    script = [
        *ASKED,
        a_function_call("weather", {"city": "Oslo"}),
        accept("conversation.item.create", {"item": {"type": "function_call_output", "output": "rain in Oslo"}}),
        accept("response.create"),
        a_response("It rains."),
    ]
    async with open_scripted_server(script) as server, runner_of(server, tools=[weather]).session() as session:
        assert (await session.ask("How is it in Oslo?")).text == "It rains."


async def test_what_is_saved_is_there_for_later_steps(autojump_clock: MockClock) -> None:
    script = [
        expect("conversation.item.create", save_as="asked"),
        emit("conversation.item.added", {"item": lambda saved: saved["asked"]["item"]}, save_as="added"),
        emit(lambda saved: {"type": "conversation.item.done", "event_id": "e", "item": saved["added"]["item"]}),
        emit(lambda saved: [a_response("one"), ("input_audio_buffer.cleared")]),
    ]
    async with open_scripted_server(script, greet=False) as server, server.connect() as wire:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}], "id": "mine"}
        await say(wire, "conversation.item.create", item=item)
        added, done, created = await hear(wire), await hear(wire), await hear(wire)
    assert added["item"] == done["item"]
    assert (added["item"]["id"], done["type"], created["type"]) == (
        "mine",
        "conversation.item.done",
        "response.created",
    )


async def test_the_user_speaks_over_an_answer_and_the_client_tells_what_was_heard(autojump_clock: MockClock) -> None:
    script = [
        *ASKED,
        emit(a_response("A long story.", audio_s=10, finish=False)),
        wait(2),
        emit(user_begins_to_speak()),
        accept("conversation.item.truncate", {"audio_end_ms": lambda ms: abs(ms - 2_000) < 50}),
        emit(a_user_turn("Stop!")),
        a_response("Sorry."),
    ]
    async with open_scripted_server(script) as server:
        runner = runner_of(server)
        settings = {"turn_detection": {"type": "server_vad"}, "input_audio_transcription": {"model": "whisper-1"}}
        async with runner.session(model_config={"initial_model_settings": settings}) as session:
            await session.send_message("Tell me a story.")
            kinds = []
            async for event in session:
                kinds.append(event.type)
                if event.type == "agent_end" and "audio_interrupted" in kinds and kinds.count("agent_end") == 2:
                    break
            assert [item.text for item in session.history] == ["Tell me a story.", "A", "Stop!", "Sorry."]


async def test_a_turn_that_the_client_commits_gets_its_words(autojump_clock: MockClock) -> None:
    settings = {"turn_detection": None, "input_audio_transcription": {"model": "whisper-1"}}
    script = [accept("input_audio_buffer.commit"), a_transcript("Good evening.")]
    async with (
        open_scripted_server(script) as server,
        runner_of(server).session(model_config={"initial_model_settings": settings}) as session,
    ):
        await session.send_audio(bytes(48_000), commit=True)
        await server.wait_played()
        await trio.testing.wait_all_tasks_blocked()
        assert session.history[0].text == "Good evening."


async def test_a_wait_takes_trios_time(autojump_clock: MockClock) -> None:
    script = [wait(30), emit("input_audio_buffer.cleared")]
    async with open_scripted_server(script, greet=False) as server, server.connect() as wire:
        assert (await hear(wire))["type"] == "input_audio_buffer.cleared"
    assert trio.current_time() == pytest.approx(30)


@pytest.mark.parametrize("code", [1000, 1011, 4000])
async def test_it_closes_with_the_code_of_the_script(code: int, autojump_clock: MockClock) -> None:
    script = [emit("session.created"), close(code, "enough")]
    async with open_scripted_server(script, greet=False) as server, server.connect() as wire:
        assert (await hear(wire))["type"] == "session.created"
        with pytest.raises(WireClosed) as caught:
            await wire.receive()
    assert (caught.value.code, caught.value.reason, caught.value.closed_by) == (code, "enough", "server")


async def test_each_connection_has_a_script_in_order(autojump_clock: MockClock) -> None:
    first, second = [*ASKED, a_response("First.")], [*ASKED, a_response("Second.")]
    async with open_scripted_server(first, second) as server:
        texts = []
        for _ in range(2):
            async with runner_of(server).session() as session:
                texts.append((await session.ask("Hello?")).text)
    assert texts == ["First.", "Second."]
    assert [event["type"] for event in server.received].count("session.update") == 2


async def test_it_works_over_a_websocket_with_a_key() -> None:
    with trio.fail_after(20):
        async with open_scripted_server([*ASKED, a_response("Hi.")], listen=True, api_key="right") as server:
            runner = RealtimeRunner(RealtimeAgent(name="Assistant"))
            async with runner.session(model_config={"url": server.url, "api_key": "right"}) as session:
                assert (await session.ask("Hello?")).text == "Hi."
            with pytest.raises(ConnectFailed):
                async with open_websocket_wire(server.url, headers={"Authorization": "Bearer wrong"}):
                    pytest.fail("it connected")


async def test_its_faults_are_those_of_the_emulator(autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectionLost) as caught:
        await ask([*ASKED, a_response("Hello.")], faults=Faults(drops=1.0))
    assert "emit session.created" in "".join(caught.value.__notes__)


async def test_a_script_comes_through_a_slow_network_that_repeats_itself(autojump_clock: MockClock) -> None:
    turn = await ask(
        [*ASKED, a_response("Hello.", audio_s=0.4)], faults=Faults(latency_s=1.0, duplicates=1.0, unknown=0.5)
    )
    assert turn.text.startswith("Hello.")
    assert trio.current_time() >= 2


# ---- what it asks ---------------------------------------------------------------------------------------------------

EVENT = {
    "type": "conversation.item.create",
    "item": {"type": "message", "content": [{"text": "Hello", "type": "input_text"}], "n": 1},
}


@pytest.mark.parametrize(
    "fields",
    [
        {"item.content[0].text": "Hello"},
        {"item.content[0].text": anything, "previous_item_id": absent},
        {"item": {"content": [{"text": str.istitle}]}},
        {"item.content": lambda content: len(content) == 1},
        {"item.n": 1},
    ],
)
def test_fields_that_fit(fields: Mapping[str, object]) -> None:
    assert expect("conversation.item.create", fields).differences(EVENT) == []


@pytest.mark.parametrize(
    "fields, difference",
    [
        ({"item.content[0].text": "Hallo"}, 'item.content[0].text is "Hello", expected "Hallo"'),
        ({"item.content[1].text": "Hello"}, "item.content[1].text is missing (there is item.content[0].text ="),
        ({"item.role": anything}, "item.role is missing"),
        ({"item.n": True}, "item.n is 1, expected true"),
        ({"item.type": absent}, 'item.type should not be there, is "message"'),
        ({"item": {"content": [{"text": str.isupper}]}}, 'item.content[0].text is "Hello", which str.isupper does not'),
        ({"item.content": []}, 'item.content is [{"text": "Hello", "type": "input_text"}], expected []'),
    ],
)
def test_fields_that_do_not_fit_are_told_one_by_one(fields: Mapping[str, object], difference: str) -> None:
    (found,) = expect("conversation.item.create", fields).differences(EVENT)
    assert found.startswith(difference)


def test_the_whole_event_may_be_asked_about() -> None:
    assert expect(anything, where=lambda event: "item" in event).differences(EVENT) == []
    (found,) = expect(anything, where=lambda event: "audio" in event).differences(EVENT)
    assert found == "<lambda> does not take it"


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: expect("session.updated"), "a client sends no 'session.updated'; its events are: "),
        (lambda: accept("respone.create"), "a client sends no 'respone.create'"),
        (lambda: emit("session.update"), "a server sends no 'session.update'; its events are: "),
        (lambda: wait(-1), "seconds must not be negative, got -1"),
    ],
)
def test_a_step_that_cannot_be_is_refused_where_it_is_written(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


async def test_what_is_no_step_is_a_type_error(autojump_clock: MockClock) -> None:
    with pytest.raises(TypeError, match=r"a script has expect\(...\), .* got 'response.create'"):
        await ask(["response.create"])


# ---- when a client does something else ------------------------------------------------------------------------------


async def test_something_else_comes_out_bare_with_the_difference_and_the_script(autojump_clock: MockClock) -> None:
    script = [accept("conversation.item.create", {"item.content[0].txt": "Hello"}), accept("response.create")]
    with pytest.raises(UnexpectedRealtimeSend) as caught:
        await ask(script)
    message = str(caught.value)
    assert 'item.content[0].txt is missing (there is item.content[0].text = "Hello?")' in message
    assert "    2 accept session.update\n->  3 accept conversation.item.create" in message
    assert caught.value.actual["item"]["content"][0]["text"] == "Hello?"
    assert caught.value.expected is script[0]


async def test_it_comes_out_bare_from_among_the_tests_own_tasks_too(autojump_clock: MockClock) -> None:
    async def talk() -> None:
        async with (
            open_scripted_server([]) as server,
            trio.open_nursery() as nursery,
            runner_of(server).session() as session,
        ):
            nursery.start_soon(session.send_message, "Hello?")
            await trio.sleep_forever()

    with pytest.raises(UnexpectedRealtimeSend):
        await talk()


async def test_an_event_out_of_turn_is_told_with_the_step_that_would_take_it(autojump_clock: MockClock) -> None:
    with pytest.raises(UnexpectedRealtimeSend, match=r"step 4 would take it: accept conversation\.item\.create"):
        await ask(list(reversed(ASKED)))


async def test_more_than_the_script_has_is_unexpected(autojump_clock: MockClock) -> None:
    with pytest.raises(UnexpectedRealtimeSend, match=r"expected: the end of the script\nreceived: response\.create"):
        await ask(ASKED[:1])


async def test_the_last_thing_that_a_client_says_is_looked_at_too(autojump_clock: MockClock) -> None:
    with pytest.raises(UnexpectedRealtimeSend):
        async with open_scripted_server([], greet=False) as server, server.connect() as wire:
            await say(wire, "response.create")


async def test_steps_that_are_left_are_told(autojump_clock: MockClock) -> None:
    with pytest.raises(UnconsumedRealtimeSteps, match="1 of 6 steps of the script was not played") as caught:
        await ask([*ASKED, a_response(), expect("response.create")])
    assert len(caught.value.remaining_steps) == 1


async def test_a_client_that_never_comes_leaves_its_script(autojump_clock: MockClock) -> None:
    with pytest.raises(UnconsumedRealtimeSteps) as caught:
        await ask([*ASKED, a_response()], ASKED)
    assert caught.value.__notes__ == ["in the script of connection 2"]


async def test_a_connection_too_many_fails(autojump_clock: MockClock) -> None:
    with pytest.raises(RealtimeScriptError, match="connection 2 of a client, and scripts for 1"):
        async with open_scripted_server([], greet=False) as server, server.connect(), server.connect() as wire:
            await hear(wire)


async def test_what_a_function_of_the_script_raises_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    def broken(event: object) -> bool:
        raise ZeroDivisionError("in the script")

    with pytest.raises(ZeroDivisionError, match="in the script"):
        await ask([accept("conversation.item.create", where=broken)])
    with pytest.raises(KeyError, match="nothing"):
        await ask([*ASKED, emit("response.created", {"response": lambda saved: saved["nothing"]})])
    with pytest.raises(ValueError, match=r"input_audio_buffer\.cleared has no item"):
        await ask([*ASKED, emit("input_audio_buffer.cleared", {"item": {}})])


async def test_an_error_of_the_test_itself_comes_out_with_how_far_the_script_is(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        async with open_scripted_server(ASKED) as server, runner_of(server).session():
            raise ZeroDivisionError
    assert "->  3 accept conversation.item.create" in caught.value.__notes__[0]


async def test_audio_is_let_through_unless_a_step_is_about_it(autojump_clock: MockClock) -> None:
    script = [expect("input_audio_buffer.append"), *ASKED, a_response("Yes.")]
    async with open_scripted_server(script) as server, runner_of(server).session() as session:
        for _ in range(5):
            await session.send_audio(bytes(4_800))
        assert (await session.ask("Do you hear me?")).text == "Yes."


# ---- lenient --------------------------------------------------------------------------------------------------------


async def test_a_lenient_script_answers_what_it_is_not_about_and_lists_it(autojump_clock: MockClock) -> None:
    script = [accept("response.create", {"response.output_modalities": ["text"]}), a_response("In the end.")]
    async with open_scripted_server(script, strict=False) as server, runner_of(server).session() as session:
        assert (await session.ask("Hello?")).text == ""
        await session.send_raw({"type": "response.create", "response": {"output_modalities": ["text"]}})
        await server.wait_played()
        await trio.testing.wait_all_tasks_blocked()
    assert [event["type"] for event in server.ignored] == ["conversation.item.create", "response.create"]


async def test_a_lenient_server_takes_every_connection(autojump_clock: MockClock) -> None:
    async with open_scripted_server(strict=False) as server:
        for _ in range(2):
            async with runner_of(server).session() as session:
                assert (await session.ask("Hello?")).status == "completed"


async def test_the_end_of_a_response_may_be_another_one(autojump_clock: MockClock) -> None:
    script = [
        *ASKED,
        emit(a_response("Once upon", finish=False)),
        the_end_of_the_response("incomplete", reason="content_filter"),
    ]
    turn = await ask(script)
    assert (turn.status, turn.text) == ("incomplete", "Once upon")


async def test_a_message_that_is_no_event_is_answered_as_any_server_does(autojump_clock: MockClock) -> None:
    async with open_scripted_server([], greet=False) as server, server.connect() as wire:
        await wire.send("{nonsense")
        assert (await hear(wire))["error"]["code"] == "invalid_event"


async def test_an_event_that_is_wrong_does_not_trouble_the_steps_after_it(autojump_clock: MockClock) -> None:
    script = [
        accept("conversation.item.create"),
        accept("response.create"),
        emit({"type": "response.created", "event_id": "event_x", "response": None}),
        a_response("Hello."),
    ]
    async with open_scripted_server(script) as server:
        runner = RealtimeRunner(RealtimeAgent(name="Assistant"), model=server.memory_model())
        async with runner.session() as session:
            assert (await session.ask("Hello?")).text == "Hello."
