"""Interrupts and ends of responses, against the emulator."""

from __future__ import annotations

import trio
import trio.testing

from trealtime.emulator import DialogueBrain, ScriptedTranscriber
from trealtime.tools.function_tool import function_tool

STORY = "Tell me a story."


async def test_weak_spot_20_an_interrupt_stops_the_model_also_with_server_vad(autojump_clock, kit) -> None:
    async with (
        kit.talk(settings={"turn_detection": kit.SERVER_VAD}) as talk,
        talk.runner.session() as session,
        session.subscribe("agent_end") as ends,
    ):
        await session.send_message(STORY)
        async for event in session:
            if event.type == "audio":
                break
        await session.interrupt()
        end = await ends.receive()
        assert (end.status, end.reason) == ("cancelled", "client_cancelled")


async def test_weak_spot_27_an_interrupt_before_the_response_exists_stops_it(autojump_clock, kit) -> None:
    async with (
        kit.talk() as talk,
        talk.runner.session() as session,
        session.subscribe("audio", "agent_end") as subscription,
    ):
        await session.send_message(STORY)
        await session.interrupt()
        assert (await session.ask("What is 1 plus 1?")).text == "1 plus 1 is 2."
        await session.close()
        seen = [event async for event in subscription]
        lengths = sum(len(event.audio.data) for event in seen if event.type == "audio") / kit.BYTES_PER_MS
        assert lengths < 10_000
        assert len(session.history[-1].text) < 20


async def test_weak_spot_31_no_answer_is_lost_when_the_server_begins_one_by_itself(autojump_clock, kit) -> None:
    """A tool's output asks for an answer just while the server's VAD has one made."""

    @function_tool
    async def get_weather() -> str:
        """The weather."""
        await trio.sleep(2.5)
        return "sunny"

    transcriber = ScriptedTranscriber([STORY])
    async with (
        kit.talk(
            tools=[get_weather],
            transcriber=transcriber,
            settings={"turn_detection": {**kit.SERVER_VAD, "interrupt_response": False}},
            brain=DialogueBrain(),
        ) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        await session.send_message("What is the weather?")
        await seen.expect("tool_start")
        await kit.speak(session, 1000, 1000)
        await seen.expect("agent_end", 3)
        assert [end.status for end in seen.of("agent_end")] == ["completed"] * 3
        starts = [event["response"]["id"] for event in talk.of("response.created")]
        assert len(starts) == 3
        call = next(item for item in session.history if item.type == "function_call")
        assert call.output == "sunny"
        nursery.cancel_scope.cancel()


async def test_weak_spot_34_a_turn_says_how_it_ended(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, session.subscribe("agent_end") as ends:
        turn = await session.ask(STORY, max_output_tokens=20)
        assert (turn.status, turn.reason) == ("incomplete", "max_output_tokens")
        end = await ends.receive()
        assert (end.status, end.reason) == ("incomplete", "max_output_tokens")
