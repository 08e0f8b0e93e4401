"""Sessions of ported programs: the events they see, and the shapes of what is in them."""

from __future__ import annotations

import dataclasses
import json
import logging
import typing
from typing import Any

import pytest
import trio

import trealtime.events as native
from trealtime.compat import RunContextWrapper, UserError, enable_verbose_stdout_logging
from trealtime.compat.decorators import output_guardrail, tool
from trealtime.compat.guardrail import GuardrailFunctionOutput
from trealtime.compat.realtime import (
    AssistantMessageItem,
    AssistantText,
    InputText,
    OpenAIRealtimeWebSocketModel,
    RealtimeAgent,
    RealtimeModelListener,
    RealtimeModelSendInterrupt,
    RealtimeModelSendRawMessage,
    RealtimeModelSendSessionUpdate,
    RealtimeModelSendToolOutput,
    RealtimeModelSendUserInput,
    RealtimeModelToolCallEvent,
    RealtimePlaybackTracker,
    RealtimeRunner,
    RealtimeSessionEvent,
    RealtimeToolCallItem,
    UserMessageItem,
    realtime_handoff,
)
from trealtime.compat.realtime._translation import EventTranslator
from trealtime.emulator import CallFunction
from trealtime.errors import ConnectionLost, EndpointFailed, HookFailed, PlaybackTrackerFailed, SettingsError
from trealtime.testing import close, open_scripted_server

TYPES = set(typing.get_args(RealtimeSessionEvent))


@tool
async def lookup_city(city: str) -> dict[str, str]:
    """Return how a city is."""
    return {"city": city, "weather": "sunny"}


CALL = CallFunction("lookup_city", '{"city": "Tokyo"}')
ASSISTANT = RealtimeAgent(name="Assistant", tools=[lookup_city])


async def test_only_the_fifteen_kinds_come_also_when_the_user_speaks(opened, turn):
    agent = RealtimeAgent(name="Assistant")
    async with opened(agent, ["Hello.", "Go on."], settings={}) as (session, _emulator):
        await session.send_message("Hi")
        events = await turn(session)
        await session.native.send_raw({"type": "input_audio_buffer.clear"})
        await session.send_message("And now?")
        events += await turn(session)
    assert {type(event) for event in events} <= TYPES
    assert {"agent_start", "audio", "audio_end", "history_added", "history_updated"} <= {each.type for each in events}
    # trealtime's own events of the same session go further.
    assert "transcript_delta" not in {each.type for each in events}


async def test_model_events_come_before_what_follows_from_them(opened, turn):
    async with opened(ASSISTANT, [CALL, "It is sunny."]) as (session, _emulator):
        await session.send_message("How is Tokyo?")
        events = await turn(session, times=2)
    kinds = [each.data.type if each.type == "raw_model_event" else each.type for each in events]
    first = {kind: kinds.index(kind) for kind in kinds}
    assert first["turn_started"] < first["agent_start"]
    assert first["function_call"] < first["tool_start"] < first["tool_end"]
    assert first["usage"] < first["turn_ended"] < first["agent_end"]
    assert kinds.count("raw_server_event") > 10
    raw = [each.data for each in events if each.type == "raw_model_event"]
    call = next(each for each in raw if each.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("lookup_city", {"city": "Tokyo"})
    items = [each.item for each in raw if each.type == "item_updated"]
    assert any(
        isinstance(item, UserMessageItem) and item.content == [InputText(text="How is Tokyo?")] for item in items
    )
    calls = [item for item in items if isinstance(item, RealtimeToolCallItem)]
    assert [item.status for item in calls] == ["in_progress", "completed"]
    assert json.loads(calls[1].output or "") == {"city": "Tokyo", "weather": "sunny"}
    assert calls[0].item_id == calls[1].item_id == call.id


async def test_every_model_event_is_a_dataclass(opened, turn):
    async with opened(ASSISTANT, [CALL, "It is sunny."], settings={}) as (session, _emulator):
        await session.send_message("How is Tokyo?")
        events = await turn(session, times=2)
    for event in events:
        assert dataclasses.is_dataclass(event)
        if event.type == "raw_model_event":
            assert dataclasses.asdict(event.data)["type"] == event.data.type


async def test_usage_is_read_as_in_the_sdk(opened, turn):
    async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
        await session.send_message("Hi")
        events = await turn(session)
    told = next(each.data for each in events if each.type == "raw_model_event" and each.data.type == "usage")
    total = events[-1].info.context.usage
    assert told.usage.total_tokens == total.total_tokens > 0
    assert total.input_tokens_details.cached_tokens == told.usage.input_tokens_details.cached_tokens
    assert dataclasses.asdict(told.input_tokens_details)["cached_tokens"] == total.input_tokens_details.cached_tokens
    assert dataclasses.asdict(told.output_tokens_details)["text_tokens"] > 0
    assert total.output_tokens_details.reasoning_tokens == 0


async def test_items_are_dumped_as_models_are(opened, turn):
    async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
        await session.send_message("Hi")
        events = await turn(session)
    history = [each for each in events if each.type == "history_updated"][-1].history
    user, assistant = history
    assert isinstance(user.content, list)
    assert isinstance(assistant.content, list)
    assert user.model_dump()["content"] == [{"type": "input_text", "text": "Hi"}]
    dumped = assistant.model_dump()
    assert dumped["role"] == "assistant"
    assert dumped["content"] == [{"type": "text", "text": "Hello."}]
    assert json.loads(assistant.model_dump_json())["content"] == dumped["content"]
    assert "previous_item_id" not in user.model_dump(exclude={"previous_item_id"})
    assert set(user.model_dump(include={"item_id"})) == {"item_id"}
    for item in (user, assistant):
        assert type(item).model_validate({**item.model_dump(), "other": 1}) == item
        assert type(item).model_validate_json(item.model_dump_json()) == item
    with pytest.raises(ValueError, match="a part of type 'video', allowed: input_text"):
        type(user).model_validate({"item_id": "1", "content": [{"type": "video"}]})
    # Programs take audio out of what they were given: that changes nothing but their own copy.
    copied = assistant.model_copy(update={"status": None}, deep=True)
    copied.content[0].text = "changed"
    assert assistant.content == [AssistantText(text="Hello.")]
    assert session.native.history[-1].text == "Hello."


def test_null_fields_can_be_left_out_of_a_dump():
    item = AssistantMessageItem(item_id="a", content=[AssistantText(text=None)])
    assert item.model_dump(exclude_none=True) == {
        "item_id": "a", "type": "message", "role": "assistant", "content": [{"type": "text"}]
    }  # fmt: skip


async def test_a_failed_tool_is_an_error_with_a_message(opened, turn):
    @tool
    async def fails() -> str:
        """Fail."""
        raise ValueError("no such city")

    agent = RealtimeAgent(name="Assistant", tools=[fails])
    async with opened(agent, [CallFunction("fails"), "It failed."]) as (session, _emulator):
        await session.send_message("Fail, please.")
        events = await turn(session, times=2)
    error = next(each.error for each in events if each.type == "error")
    assert "fails" in error["message"]
    assert isinstance(error.exception.__cause__, ValueError)
    assert dataclasses.asdict(next(each for each in events if each.type == "error")) is not None


@pytest.mark.parametrize("failed", [HookFailed, EndpointFailed, PlaybackTrackerFailed])
def test_the_sdk_has_no_event_for_failures_of_what_it_does_not_have(failed):
    event = native.RealtimeError(error=failed("..."), info=native.EventInfo(None))
    assert EventTranslator().translate(event) == []


async def test_an_error_of_the_server_has_its_fields(opened, turn):
    async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
        await session.model.send_event(
            RealtimeModelSendRawMessage(message={"type": "conversation.item.delete", "other_data": {"item_id": "nope"}})
        )
        await session.send_message("Hi")
        events = await turn(session)
    error = next(each.error for each in events if each.type == "error")
    assert error.message
    assert error.type == "invalid_request_error"
    raw = next(each.data for each in events if each.type == "raw_model_event" and each.data.type == "error")
    assert raw.error.code == error.code


async def test_loops_of_one_task_share_the_events_and_lose_none(opened):
    async with opened(ASSISTANT, ["One.", "Two."]) as (session, _emulator):
        seen = []
        await session.send_message("Hi")
        async for event in session:
            seen.append(event)
            break
        while seen[-1].type != "agent_end":
            # Each loop takes one event, so most loops begin where one native event has become several.
            async for event in session:
                seen.append(event)
                break
        kinds = [each.data.type if each.type == "raw_model_event" else each.type for each in seen]
        assert kinds.index("usage") < kinds.index("turn_ended") < kinds.index("agent_end")
        assert [each.item.role for each in seen if each.type == "history_added"] == ["user", "assistant"]


async def test_a_loop_of_another_task_has_its_own_events(opened, turn):
    async with opened(ASSISTANT, ["Hello."]) as (session, _emulator), trio.open_nursery() as nursery:
        found: list[list[Any]] = []

        async def watch() -> None:
            found.append(await turn(session))

        nursery.start_soon(watch)
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        await session.send_message("Hi")
    assert [[each.type for each in events][-1] for events in found] == ["agent_end", "agent_end"]


async def test_the_server_closing_in_order_is_told_and_ends_iteration(autojump_clock):
    async with open_scripted_server([close(1000, "bye")]) as server:
        runner = RealtimeRunner(ASSISTANT, model=server.memory_model())
        async with await runner.run() as session:
            events = [event async for event in session]
    assert [each.data.type for each in events if each.type == "raw_model_event"][-2:] == [
        "connection_status", "end_of_stream"
    ]  # fmt: skip
    status = next(
        each.data for each in events if each.type == "raw_model_event" and each.data.type == "connection_status"
    )
    assert status.status == "disconnected"


async def test_a_lost_connection_is_told_and_then_raised(autojump_clock):
    async with open_scripted_server([close(1011, "broken")]) as server:
        runner = RealtimeRunner(ASSISTANT, model=server.memory_model())
        async with await runner.run() as session:
            events = []
            with pytest.raises(ConnectionLost):  # noqa: PT012  # what came before it is looked at, too
                async for event in session:
                    events.append(event)
    assert events[-1].data.type == "exception"
    assert isinstance(events[-1].data.exception, ConnectionLost)


# ---- listeners ------------------------------------------------------------------------------------------------------


class Notes(RealtimeModelListener):
    def __init__(self) -> None:
        self.kinds: list[str] = []

    async def on_event(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.kinds.append(event.type)


async def test_listeners_hear_model_events_and_not_what_comes_after_their_removal(opened, turn):
    early, late = Notes(), Notes()
    async with opened(ASSISTANT, ["One.", "Two."]) as (session, _emulator):
        session.model.add_listener(early)
        await session.send_message("Hi")
        await turn(session)
        await trio.testing.wait_all_tasks_blocked()
        session.model.remove_listener(early)
        before = list(early.kinds)
        session.model.add_listener(late)
        await session.send_message("Again")
        await turn(session)
        await trio.testing.wait_all_tasks_blocked()
    assert {"turn_started", "usage", "turn_ended", "item_updated", "raw_server_event"} <= set(before)
    assert early.kinds == before
    assert late.kinds.count("turn_started") == 1


async def test_a_listener_of_a_model_object_hears_its_session_from_the_beginning(autojump_clock):
    notes = Notes()
    async with open_scripted_server([close(1000)]) as server:
        session = await RealtimeRunner(ASSISTANT, model=server.memory_model()).run()
        session.model.add_listener(notes)
        async with session:
            await session.native.wait_closed()
            await trio.testing.wait_all_tasks_blocked()
    assert notes.kinds[-2:] == ["connection_status", "end_of_stream"]


async def test_a_listener_that_raises_ends_the_session_with_its_exception(opened):
    class Fails(RealtimeModelListener):
        async def on_event(self, event: Any) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):  # noqa: PT012  # it comes out of the session
        async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
            session.model.add_listener(Fails())
            await session.send_message("Hi")
            await trio.sleep(60)


async def test_an_exception_of_the_body_comes_out_as_it_is(opened):
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as raised:  # noqa: PT012  # it comes out of the session
        async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
            session.model.add_listener(Notes())
            raise error
    assert raised.value is error


async def test_a_listener_that_fails_as_the_body_does_is_in_the_log(opened, caplog):
    class Fails(RealtimeModelListener):
        async def on_event(self, event: Any) -> None:
            raise KeyError("the listener's")

    error = ValueError("the body's")
    with pytest.raises(ValueError, match="the body's") as raised:  # noqa: PT012  # it comes out of the session
        async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
            session.model.add_listener(Fails())
            await session.send_message("Hi")
            try:
                await trio.sleep(60)
            finally:
                raise error
    assert raised.value is error
    (record,) = [each for each in caplog.records if each.name == "trealtime.session" and each.levelname == "ERROR"]
    assert isinstance(record.exc_info[1], KeyError)


# ---- what is sent ---------------------------------------------------------------------------------------------------


async def test_model_inputs_do_what_the_methods_do(opened, turn):
    async with opened(ASSISTANT, [CALL, "It is sunny.", "Written."]) as (session, emulator):
        await session.model.send_event(RealtimeModelSendUserInput(user_input="How is Tokyo?"))
        await turn(session, times=2)
        call = RealtimeModelToolCallEvent("lookup_city", "call_of_mine", "{}")
        await session.model.send_event(RealtimeModelSendToolOutput(call, "rainy", start_response=True))
        await turn(session)
        await session.model.send_event(RealtimeModelSendSessionUpdate(session_settings={"instructions": "Be brief."}))
        assert session.native.settings is not None
        assert session.native.settings["instructions"] == "Be brief."
        assert await session.model.send_event_if(RealtimeModelSendInterrupt(), lambda: False) is False
        with pytest.raises(TypeError, match="RealtimeModelSend"):
            await session.model.send_event("hello")  # type: ignore[arg-type]
        sent = [each.event for each in emulator.sessions[0].log if each.event.get("type") == "conversation.item.create"]
    assert sent[-1]["item"]["output"] == "rainy"


@pytest.mark.parametrize(
    "event,sent",
    [
        (RealtimeModelSendInterrupt(), {"response.cancel", "conversation.item.truncate"}),
        (RealtimeModelSendInterrupt(playback_only=True), {"response.cancel", "conversation.item.truncate"}),
        (RealtimeModelSendInterrupt(cancel_response_only=True), {"response.cancel"}),
    ],
    ids=["plain", "playback only", "cancel only"],
)
async def test_interrupts_of_all_kinds(opened, event, sent):
    async with opened(ASSISTANT, ["One two three four five six seven eight nine ten."], settings={}) as (
        session,
        emulator,
    ):
        await session.send_message("Count")
        async for each in session:
            if each.type == "audio":
                break
        await session.model.send_event(event)
        await trio.sleep(1)
        found = {each.event["type"] for each in emulator.sessions[0].log}
    assert found & {"response.cancel", "conversation.item.truncate"} == sent


async def test_images_by_address_are_sent(opened, turn):
    async with opened(ASSISTANT, ["A cat."]) as (session, emulator):
        await session.send_message(
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "image_url": "https://example.com/cat.png", "detail": "high"}],
            }
        )
        await turn(session)
        items = [each.event["item"] for each in emulator.sessions[0].log
                 if each.event["type"] == "conversation.item.create"]  # fmt: skip
    assert items[0]["content"][0]["image_url"] == "https://example.com/cat.png"


# ---- agents, tools, trackers ----------------------------------------------------------------------------------------


async def test_agents_may_be_completed_before_the_session_begins(opened, turn):
    faq = RealtimeAgent(name="FAQ", instructions="Answer.")
    triage = RealtimeAgent(name="Triage", handoffs=[realtime_handoff(faq, "transfer_to_faq")])
    faq.handoffs.append(realtime_handoff(triage, "transfer_to_triage"))
    faq.tools.append(lookup_city)
    faq.instructions = "Answer briefly."
    replies = [CallFunction("transfer_to_faq"), "FAQ here.", CallFunction("transfer_to_triage"), "Triage here."]
    async with opened(triage, replies) as (session, _emulator):
        await session.send_message("A question")
        events = await turn(session, times=2)
        assert session.native.settings is not None
        assert session.native.settings["instructions"] == "Answer briefly."
        assert [each["name"] for each in session.native.settings["tools"]] == ["lookup_city", "transfer_to_triage"]
        await session.send_message("Back, please")
        events += await turn(session, times=2)
    handoffs = [(each.from_agent, each.to_agent) for each in events if each.type == "handoff"]
    assert handoffs == [(triage, faq), (faq, triage)]
    assert [each.agent for each in events if each.type == "agent_end"] == [triage, faq, faq, triage]


async def test_of_two_tools_of_one_name_the_enabled_one_is_offered(opened, turn):
    def a_tool(answer: str, *, enabled: bool) -> Any:
        async def run(context: Any, arguments: str) -> str:
            return answer

        from trealtime.compat import FunctionTool

        return FunctionTool("look", "Look.", {"type": "object", "properties": {}}, run, is_enabled=lambda *_: enabled)

    agent = RealtimeAgent(name="Assistant", tools=[a_tool("old", enabled=False), a_tool("new", enabled=True)])
    async with opened(agent, [CallFunction("look"), "Seen."]) as (session, _emulator):
        await session.send_message("Look")
        events = await turn(session, times=2)
    assert [each.output for each in events if each.type == "tool_end"] == ["new"]
    assert [each.name for each in await agent.get_all_tools(RunContextWrapper(None))] == ["look"]


async def test_two_enabled_tools_of_one_name_are_refused(opened):
    twice = RealtimeAgent(name="Assistant", tools=[lookup_city, tool(name_override="lookup_city")(lambda: "x")])
    with pytest.raises(UserError, match="lookup_city") as refused:
        async with opened(twice, []):
            raise AssertionError("the session has opened")
    assert isinstance(refused.value.__cause__, SettingsError)


async def test_a_tracker_of_the_apps_own_says_what_was_heard(opened):
    class Mine(RealtimePlaybackTracker):
        interrupted = 0

        def get_state(self) -> Any:
            return {"current_item_id": self.item_id, "current_item_content_index": 0, "elapsed_ms": 120.0}

        def on_interrupted(self) -> None:
            self.interrupted += 1

    tracker = Mine()
    words = "One two three four five six seven eight nine ten."
    async with opened(ASSISTANT, [words], settings={}, model_config={"playback_tracker": tracker}) as (
        session,
        emulator,
    ):
        await session.send_message("Count")
        async for event in session:
            if event.type == "audio":
                tracker.item_id = event.item_id  # type: ignore[attr-defined]
                break
        await session.interrupt()
        await trio.sleep(1)
        cuts = [each.event for each in emulator.sessions[0].log if each.event["type"] == "conversation.item.truncate"]
    assert [cut["audio_end_ms"] for cut in cuts] == [120]
    assert tracker.interrupted == 1


def test_the_state_of_a_tracker_is_a_dict():
    tracker = RealtimePlaybackTracker()
    tracker.set_audio_format("g711_ulaw")
    tracker.on_play_bytes("item", 0, b"\0" * 800)
    assert tracker.get_state()["elapsed_ms"] == 100.0
    tracker.on_interrupted()
    assert tracker.get_state()["current_item_id"] is None


async def test_guardrail_results_are_a_list(opened, turn):
    @output_guardrail
    async def never(_context: object, _agent: object, text: str) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info={"why": "always"}, tripwire_triggered=True)

    agent = RealtimeAgent(name="Assistant", output_guardrails=[never])
    async with opened(agent, ["Blocked.", "Blocked too."]) as (session, _emulator):
        await session.send_message("Hi")
        events = await turn(session, until="guardrail_tripped")
    assert isinstance(events[-1].guardrail_results, list)
    assert events[-1].guardrail_results[0].output.tripwire_triggered
    assert events[-1].guardrail_results[0].guardrail.name == "never"


async def test_a_listener_gets_the_events_that_wait_for_it_when_the_session_ends(opened, turn):
    class Slow(RealtimeModelListener):
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def on_event(self, event: Any) -> None:
            await trio.sleep(0.01)
            self.seen.append(event.type)

    listener = Slow()
    async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
        session.model.add_listener(listener)
        await session.send_message("Hi")
        await turn(session)
    assert {"turn_started", "output_text_delta", "usage", "turn_ended"} <= set(listener.seen)


async def test_a_listener_that_hangs_delays_the_end_of_the_session_for_a_moment_only(opened):
    class Hanging(RealtimeModelListener):
        async def on_event(self, event: Any) -> None:
            await trio.sleep_forever()

    async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
        session.model.add_listener(Hanging())
        await session.send_message("Hi")
        await trio.sleep(1)
        began = trio.current_time()
    assert 1 <= trio.current_time() - began < 2


# ---- the ends -------------------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_left_out_with_a_warning_that_names_the_nearest(caplog):
    await RealtimeRunner(ASSISTANT).run(
        model_config={"initial_model_settings": {"model_nam": "gpt-realtime"}}  # type: ignore[typeddict-unknown-key]
    )
    assert "unknown key 'model_nam'; did you mean 'model_name'?" in caplog.text


async def test_one_model_object_serves_one_session_at_a_time(opened):
    async with opened(ASSISTANT, []) as (session, _emulator):
        second = await RealtimeRunner(ASSISTANT, model=session.model).run()
        with pytest.raises(UserError, match="connected already"):
            async with second:
                raise AssertionError("the second session has opened")
        with pytest.raises(UserError, match="a session connects"):
            await session.model.connect({})
        await session.model.close()
    with pytest.raises(UserError, match="no open session"):
        await session.model.send_event(RealtimeModelSendUserInput("late"))


async def test_a_missing_key_is_a_user_error(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        async with await RealtimeRunner(ASSISTANT, model=OpenAIRealtimeWebSocketModel()).run():
            raise AssertionError("the session has opened")


@pytest.mark.parametrize("native", [False, True], ids=["compat", "native"])
async def test_a_loop_that_begins_after_the_end_ends_also_while_another_tasks_iterator_lives(opened, native):
    async with opened(ASSISTANT, []) as (session, _emulator), trio.open_nursery() as nursery:
        stream: Any = session.native if native else session
        begun, over = trio.Event(), trio.Event()

        async def hold() -> None:
            iterator = aiter(stream)
            await anext(iterator)
            begun.set()
            await over.wait()
            del iterator

        nursery.start_soon(hold)
        await begun.wait()
        await session.close()
        with trio.fail_after(5):
            assert [event async for event in stream] == []
        over.set()


def test_logging_that_is_enabled_twice_writes_each_line_once(capsys):
    logger = logging.getLogger("trealtime")
    level = logger.level
    try:
        enable_verbose_stdout_logging()
        enable_verbose_stdout_logging()
        logger.info("a line")
        assert capsys.readouterr().out == "a line\n"
    finally:
        logger.setLevel(level)
        for each in [each for each in logger.handlers if type(each).__name__ == "_Verbose"]:
            logger.removeHandler(each)
