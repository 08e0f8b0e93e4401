"""Programs' tests that script the model in the SDK's terms."""

from __future__ import annotations

import pytest

from trealtime.compat.decorators import tool
from trealtime.compat.realtime import (
    RealtimeAgent,
    RealtimeModelAudioDoneEvent,
    RealtimeModelAudioEvent,
    RealtimeModelSendAudio,
    RealtimeModelSendToolOutput,
    RealtimeModelSendUserInput,
    RealtimeModelToolCallEvent,
    RealtimeModelTranscriptDeltaEvent,
    RealtimeModelTurnEndedEvent,
    RealtimeModelTurnStartedEvent,
    RealtimeRunner,
)
from trealtime.compat.realtime.testing import (
    RealtimeScriptError,
    RealtimeStep,
    ScriptedRealtimeModel,
    UnconsumedRealtimeSteps,
    UnexpectedRealtimeSend,
)
from trealtime.errors import ConnectionLost

SPOKEN = (
    RealtimeModelTurnStartedEvent(),  # without an id, which its audio has
    RealtimeModelAudioEvent(data=bytes(4800), response_id="r1", item_id="i1", content_index=0),
    RealtimeModelTranscriptDeltaEvent(item_id="i1", delta="Hello.", response_id="r1"),
    RealtimeModelAudioDoneEvent(item_id="i1", content_index=0),
    RealtimeModelTurnEndedEvent(),
)


def opened(model: ScriptedRealtimeModel, **options):
    return RealtimeRunner(RealtimeAgent(name="Assistant", **options), model=model).run(
        model_config={"api_key": "k", "url": "wss://me:secret@h/x?key=secret"}
    )


async def test_a_script_is_followed(autojump_clock, turn):
    calls = []

    @tool
    def look(what: str) -> str:
        """Look."""
        calls.append(what)
        return "found"

    model = ScriptedRealtimeModel(
        [
            RealtimeStep(
                expect=RealtimeModelSendUserInput("Look."),
                emit=[
                    RealtimeModelTurnStartedEvent(),
                    RealtimeModelToolCallEvent("look", "call_1", '{"what": "x"}'),
                    RealtimeModelTurnEndedEvent(),
                ],
            ),
            RealtimeStep(expect=lambda event: getattr(event, "output", None) == "found", emit=SPOKEN),
        ]
    )
    async with await opened(model, tools=[look]) as session:
        await session.send_message("Look.")
        events = await turn(session, times=2)
    kinds = [event.type for event in events if event.type != "raw_model_event"]
    responses = [kind for kind in kinds if kind.startswith(("agent", "audio"))]
    assert responses == ["agent_start", "agent_end", "agent_start", "audio", "audio_end", "agent_end"]
    # The tool runs as soon as its call is there, before or after the end of that response.
    assert [kind for kind in kinds if kind.startswith("tool")] == ["tool_start", "tool_end"]
    assert kinds.index("tool_end") < len(kinds) - 1 - kinds[::-1].index("agent_start")
    assert calls == ["x"]
    model.assert_complete()
    assert [type(event) for event in model.sent_events] == [RealtimeModelSendUserInput, RealtimeModelSendToolOutput]
    [call] = model.connect_calls
    assert (call["url"], call["api_key_provided"], call["headers_provided"]) == ("wss://h/x", True, False)
    assert [each.name for each in call["initial_model_settings"]["tools"]] == ["look"]
    assert (model.connected, model.closed, model.close_calls) == (False, True, 1)


async def test_a_send_that_does_not_fit_ends_the_session_and_is_told(autojump_clock):
    model = ScriptedRealtimeModel([RealtimeStep(expect=RealtimeModelSendAudio)])
    with pytest.raises(ConnectionLost, match="the session sent RealtimeModelSendUserInput"):  # noqa: PT012  # on leaving
        async with await opened(model) as session:
            await session.send_message("Hi")
            [each async for each in session]
    with pytest.raises(UnexpectedRealtimeSend, match="RealtimeModelSendAudio") as caught:
        model.assert_complete()
    assert caught.value.actual == RealtimeModelSendUserInput("Hi")
    assert caught.value.expected is RealtimeModelSendAudio


async def test_a_script_that_is_not_strict_waits_for_its_step(autojump_clock, turn):
    model = ScriptedRealtimeModel([RealtimeStep(expect=RealtimeModelSendUserInput("two"), emit=SPOKEN)], strict=False)
    async with await opened(model) as session:
        await session.send_message("one")
        await session.send_message("two")
        await turn(session)
    model.assert_complete()
    assert [event.user_input for event in model.sent_events] == ["one", "two"]


async def test_steps_that_were_not_reached_are_counted(autojump_clock):
    model = ScriptedRealtimeModel([RealtimeStep(expect=RealtimeModelSendAudio)] * 2)
    async with await opened(model):
        assert model.remaining_steps == 2
    with pytest.raises(UnconsumedRealtimeSteps) as caught:
        model.assert_complete()
    assert caught.value.remaining_steps == 2


async def test_errors_of_the_script_are_those_of_the_connection(autojump_clock):
    with pytest.raises(Exception, match="no line"):
        async with await opened(ScriptedRealtimeModel(connect_error=OSError("no line"))):
            raise AssertionError("the session has opened")
    model = ScriptedRealtimeModel([RealtimeStep(expect=RealtimeModelSendUserInput, error=OSError("no voice"))])
    with pytest.raises(ConnectionLost, match="no voice"):  # noqa: PT012  # on leaving
        async with await opened(model) as session:
            await session.send_message("Hi")
            [each async for each in session]
    model.assert_complete()
    with pytest.raises(OSError, match="no goodbye"):
        async with await opened(ScriptedRealtimeModel(close_error=OSError("no goodbye"))):
            pass


async def test_events_may_come_by_themselves(autojump_clock, turn):
    model = ScriptedRealtimeModel(connect_events=SPOKEN)
    async with await opened(model) as session:
        await turn(session)
        await model.emit(*SPOKEN)
        events = await turn(session)
        assert [event.type for event in events if event.type == "audio"] == ["audio"]
    with pytest.raises(RealtimeScriptError, match="no session is connected"):
        await model.emit(*SPOKEN)
    with pytest.raises(RealtimeScriptError, match="no session is connected"):
        await model.send_event(RealtimeModelSendUserInput("Hi"))


def test_a_step_or_model_either_tells_or_fails():
    with pytest.raises(ValueError, match="not both"):
        RealtimeStep(RealtimeModelSendAudio, emit=SPOKEN, error=OSError())
    with pytest.raises(ValueError, match="not both"):
        ScriptedRealtimeModel(connect_events=SPOKEN, connect_error=OSError())
