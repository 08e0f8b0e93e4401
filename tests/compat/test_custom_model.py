"""A model of the user's own, written for the SDK, under a session."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trealtime.compat import Usage
from trealtime.compat.decorators import tool
from trealtime.compat.realtime import (
    AssistantMessageItem,
    RealtimeAgent,
    RealtimeModel,
    RealtimeModelAudioDoneEvent,
    RealtimeModelAudioEvent,
    RealtimeModelAudioInterruptedEvent,
    RealtimeModelConfig,
    RealtimeModelEndOfStreamEvent,
    RealtimeModelErrorEvent,
    RealtimeModelEvent,
    RealtimeModelExceptionEvent,
    RealtimeModelInputAudioTranscriptionCompletedEvent,
    RealtimeModelItemUpdatedEvent,
    RealtimeModelListener,
    RealtimeModelOutputTextDeltaEvent,
    RealtimeModelSendAudio,
    RealtimeModelSendEvent,
    RealtimeModelSendInterrupt,
    RealtimeModelSendSessionUpdate,
    RealtimeModelSendToolOutput,
    RealtimeModelSendUserInput,
    RealtimeModelToolCallEvent,
    RealtimeModelTranscriptDeltaEvent,
    RealtimeModelTurnEndedEvent,
    RealtimeModelTurnStartedEvent,
    RealtimeModelUsageEvent,
    RealtimeRunner,
)
from trealtime.compat.realtime.items import AssistantAudio
from trealtime.errors import ConnectionLost

SECOND = bytes(48_000)


class MyModel(RealtimeModel):
    """Answers each input with the next of its replies: model events, told at once."""

    def __init__(self, *replies: list[RealtimeModelEvent]) -> None:
        self.replies = list(replies)
        self.listeners: list[RealtimeModelListener] = []
        self.options: Any = None
        self.sent: list[RealtimeModelSendEvent] = []
        self.closed = 0

    async def connect(self, options: RealtimeModelConfig) -> None:
        self.options = options

    def add_listener(self, listener: RealtimeModelListener) -> None:
        self.listeners.append(listener)

    def remove_listener(self, listener: RealtimeModelListener) -> None:
        self.listeners.remove(listener)

    async def send_event(self, event: RealtimeModelSendEvent) -> None:
        self.sent.append(event)
        if isinstance(event, RealtimeModelSendUserInput | RealtimeModelSendToolOutput):
            for each in self.replies.pop(0):
                await self.tell(each)

    async def tell(self, event: RealtimeModelEvent) -> None:
        for listener in list(self.listeners):
            await listener.on_event(event)

    async def close(self) -> None:
        self.closed += 1


def spoken(words: str, response: str = "r1", item: str = "i1") -> list[RealtimeModelEvent]:
    return [
        RealtimeModelTurnStartedEvent(response_id=response),
        RealtimeModelAudioEvent(SECOND, response, item, 0),
        RealtimeModelTranscriptDeltaEvent(item, words, response),
        RealtimeModelAudioDoneEvent(item, 0),
        RealtimeModelUsageEvent(Usage(requests=1, input_tokens=3, output_tokens=4, total_tokens=7)),
        RealtimeModelTurnEndedEvent(response_id=response),
    ]


@tool
async def lookup(city: str) -> str:
    """Look a city up."""
    return f"{city}: sunny"


async def test_a_turn_of_a_custom_model(autojump_clock, turn):
    model = MyModel(spoken("Good day."))
    agent = RealtimeAgent(name="Assistant", instructions="Be brief.", tools=[lookup])
    session = await RealtimeRunner(agent, model=model).run(
        model_config={"api_key": "mine", "initial_model_settings": {"voice": "mine"}}
    )
    async with session:
        assert session.model is model
        await session.send_message("Hi")
        events = await turn(session)
    assert (model.options["api_key"], model.options["initial_model_settings"]["voice"]) == ("mine", "mine")
    assert model.options["initial_model_settings"]["instructions"] == "Be brief."
    [offered] = model.options["initial_model_settings"]["tools"]
    assert (offered.name, offered.params_json_schema["required"]) == ("lookup", ["city"])
    assert model.sent == [RealtimeModelSendUserInput("Hi")]
    assert [each.audio.data for each in events if each.type == "audio"] == [SECOND]
    assert events[-1].info.context.usage.total_tokens == 7
    history = [each for each in events if each.type == "history_updated"][-1].history
    assert [item.role for item in history] == ["user", "assistant"]
    assert history[1].content[0].transcript == "Good day."
    assert (model.closed, model.listeners) == (1, [])


async def test_a_custom_model_calls_a_tool(autojump_clock, turn):
    calls: list[RealtimeModelEvent] = [
        RealtimeModelTurnStartedEvent(response_id="r1"),
        RealtimeModelToolCallEvent("lookup", "call_1", '{"city": "Oslo"}', id="i1"),
        RealtimeModelTurnEndedEvent(response_id="r1"),
    ]
    written: list[RealtimeModelEvent] = [
        RealtimeModelOutputTextDeltaEvent("i2", "Sunny", "r2"),
        RealtimeModelOutputTextDeltaEvent("i2", " there.", "r2"),
        RealtimeModelTurnEndedEvent(response_id="r2"),
    ]
    model = MyModel(calls, written)
    agent = RealtimeAgent(name="Assistant", tools=[lookup])
    async with await RealtimeRunner(agent, model=model).run() as session:
        await session.send_message("How is Oslo?")
        events = await turn(session, times=2)
        await trio.testing.wait_all_tasks_blocked()
        assert session.native.history[-1].text == "Sunny there."
    assert [each.output for each in events if each.type == "tool_end"] == ["Oslo: sunny"]
    output = model.sent[1]
    assert isinstance(output, RealtimeModelSendToolOutput)
    assert (output.tool_call.name, output.output, output.start_response) == ("lookup", "Oslo: sunny", True)
    assert len(model.sent) == 2, "a plain request after an output is the one that the model has answered"


async def test_audio_settings_and_interrupts_reach_a_custom_model(autojump_clock):
    model = MyModel([RealtimeModelTurnStartedEvent(response_id="r1"), RealtimeModelAudioEvent(SECOND, "r1", "i1", 0)])
    async with await RealtimeRunner(RealtimeAgent(name="Assistant"), model=model).run() as session:
        await session.send_audio(b"\1\0" * 480, commit=True)
        await session.native.update_settings({"instructions": "Be kind."})
        await session.send_message("Talk")
        async for event in session:
            if event.type == "audio":
                break
        await session.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        kinds = [type(each) for each in model.sent]
        assert RealtimeModelSendAudio(b"\1\0" * 480) in model.sent
        assert RealtimeModelSendAudio(b"", commit=True) in model.sent
        assert RealtimeModelSendSessionUpdate({"instructions": "Be kind."}) in model.sent
        assert kinds[-2:] == [RealtimeModelSendInterrupt, RealtimeModelSendInterrupt]


async def test_an_interrupt_of_the_models_own_is_told_and_not_sent_back(autojump_clock, turn):
    model = MyModel([RealtimeModelTurnStartedEvent(response_id="r1"), RealtimeModelAudioEvent(SECOND, "r1", "i1", 0)])
    async with await RealtimeRunner(RealtimeAgent(name="Assistant"), model=model).run() as session:
        await session.send_message("Talk")
        await turn(session, until="audio")
        await model.tell(RealtimeModelAudioInterruptedEvent("i1", 0))
        events = await turn(session, until="audio_interrupted")
        await trio.testing.wait_all_tasks_blocked()
    assert events[-1].item_id == "i1"
    assert model.sent == [RealtimeModelSendUserInput("Talk")]


async def test_what_the_user_said_and_items_and_errors_are_told(autojump_clock, turn):
    model = MyModel()
    async with await RealtimeRunner(RealtimeAgent(name="Assistant"), model=model).run() as session:
        await model.tell(RealtimeModelInputAudioTranscriptionCompletedEvent("u1", "Good evening."))
        item = AssistantMessageItem(item_id="a1", content=[AssistantAudio(transcript="Good evening to you.")])
        await model.tell(RealtimeModelItemUpdatedEvent(item))
        await model.tell(RealtimeModelErrorEvent(error={"message": "no more", "code": "enough"}))
        events = await turn(session, until="error")
        assert [each.text for each in session.native.history] == ["Good evening.", "Good evening to you."]
    assert (events[-1].error.message, events[-1].error.code) == ("no more", "enough")


async def test_the_end_of_a_custom_model(autojump_clock):
    model = MyModel()
    async with await RealtimeRunner(RealtimeAgent(name="Assistant"), model=model).run() as session:
        await model.tell(RealtimeModelEndOfStreamEvent())
        assert [each.type async for each in session][-1] == "raw_model_event"
    model = MyModel()
    with pytest.raises(ConnectionLost, match="broken"):  # noqa: PT012  # it comes out of the session
        async with await RealtimeRunner(RealtimeAgent(name="Assistant"), model=model).run() as session:
            await model.tell(RealtimeModelExceptionEvent(ValueError("broken")))
            [each async for each in session]
    assert model.closed == 1


async def test_a_model_that_cannot_connect_or_send_loses_the_connection(autojump_clock, caplog):
    class Fails(MyModel):
        async def connect(self, options: RealtimeModelConfig) -> None:
            raise OSError("no line")

    with pytest.raises(Exception, match="no line"):
        async with await RealtimeRunner(RealtimeAgent(name="Assistant"), model=Fails()).run():
            raise AssertionError("the session has opened")

    class Mute(MyModel):
        async def send_event(self, event: RealtimeModelSendEvent) -> None:
            raise OSError("no voice")

    mute = Mute()
    with pytest.raises(ConnectionLost, match="no voice"):  # noqa: PT012  # it comes out of the session
        async with await RealtimeRunner(RealtimeAgent(name="Assistant"), model=mute).run() as session:
            await session.send_message("Hi")
            [each async for each in session]
    assert mute.closed == 1
    (record,) = [each for each in caplog.records if "Mute" in each.getMessage()]
    assert record.getMessage() == "model Mute failed: OSError"
    assert "in send_event" in caplog.text
    assert "withheld" in caplog.text
