"""A support desk: two agents, a tool that needs approval, a guardrail, a slow tool while the caller talks on.

    python examples/support_desk.py

With OPENAI_API_KEY it talks to OpenAI's service; without, to an emulator in this process whose lines are written below.
There the clock jumps to the next event, so a call of half a minute takes a second. The caller writes, the agents
speak; each answer is printed when it is complete, which is before all of it has been heard.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from trealtime import (
    ApprovalRequest,
    Approve,
    GuardrailFunctionOutput,
    OpenAIRealtimeWebSocketModel,
    RealtimeAgent,
    RealtimeModel,
    RealtimeRunner,
    RealtimeSession,
    Reject,
    RunContext,
    TrealtimeError,
    function_tool,
    open_emulator,
    output_guardrail,
    realtime_handoff,
)
from trealtime.emulator import CallFunction, ScriptedBrain
from trealtime.settings import RunConfigDict

# ---- the desk -------------------------------------------------------------------------------------------------------


@attrs.define
class Call:
    """What the desk knows about one caller; every tool, guardrail and callable gets it."""

    customer: str
    refunds: dict[int, float] = attrs.Factory(dict)


def is_large(context: RunContext[Call], arguments: Mapping[str, Any], call_id: str) -> bool:
    return float(arguments["euros"]) > 50


@function_tool(needs_approval=is_large)
async def refund(context: RunContext[Call], order_id: int, euros: float) -> str:
    """Give the money for an order back.

    Args:
        order_id: The number printed on the receipt.
        euros: How much to pay back.
    """
    context.context.refunds[order_id] = euros
    return f"{euros:g} euros for order {order_id} are on their way to {context.context.customer}."


@function_tool
async def find_part(part: str) -> str:
    """Look for a part in the stores of all branches. This takes a while.

    Args:
        part: What to look for.
    """
    await trio.sleep(10)
    return f"{part}: two in the branch at the station."


@output_guardrail
async def no_guarantees(context: RunContext[Call], agent: RealtimeAgent[Call], text: str) -> GuardrailFunctionOutput:
    """The desk helps, and guarantees nothing."""
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="guarantee" in text.lower())


async def supervisor(request: ApprovalRequest) -> Approve | Reject:
    """Decides about large refunds. It may take its time: the call waits, the conversation goes on."""
    await trio.sleep(2)
    wanted = request.parsed_arguments or {}
    return Approve() if wanted.get("euros", 0) <= 500 else Reject("The supervisor wants to see the bicycle first.")


service = RealtimeAgent[Call](
    name="Service",
    handoff_description="For orders, refunds and spare parts.",
    instructions="You work at the service desk of a bicycle shop, open until six. You are brief. Use your tools.",
    tools=[refund, find_part],
    output_guardrails=[no_guarantees],
)
reception = RealtimeAgent[Call](
    name="Reception",
    instructions="You answer the phone of a bicycle shop. Hand over at once to the one who can help.",
    handoffs=[realtime_handoff(service, opening="Say that you are from the service desk, and what you will do.")],
)

# ---- a call ---------------------------------------------------------------------------------------------------------


@attrs.define
class Transcript:
    """Prints who said what, and when."""

    began: float = attrs.field(factory=trio.current_time)

    def line(self, who: str, words: str) -> None:
        print(f"{trio.current_time() - self.began:5.1f} s  {who:>9}  {words}", flush=True)

    async def follow(self, session: RealtimeSession[Call]) -> None:
        """Print what happens until the session ends. A program with a loudspeaker would play the audio here as well."""
        said = ""
        async for event in session:
            if event.type == "transcript_delta" and event.role == "assistant":
                said += event.delta
            elif event.type == "agent_end" and said:
                self.line(event.agent.name, said if event.status == "completed" else f"{said.rstrip()} ... (stopped)")
                said = ""
            elif event.type == "handoff":
                self.line("*", f"{event.from_agent.name} hands over to {event.to_agent.name}")
            elif event.type == "tool_approval_required":
                self.line("*", f"{event.tool.name} {event.arguments} needs approval")
            elif event.type == "tool_start":
                self.line("*", f"{event.tool.name} {event.arguments} begins")
            elif event.type == "tool_end":
                self.line("*", f"{event.tool.name} is done: {event.output}")
            elif event.type == "guardrail_tripped":
                self.line("*", f"{event.guardrail_results[0].guardrail.get_name()} has tripped")
            elif event.type == "audio_interrupted":
                self.line("*", f"silence, {event.heard_ms / 1000:.1f} s of the answer have been heard")
            elif event.type == "error":
                self.line("*", f"error: {event.error}")


async def talk(session: RealtimeSession[Call], transcript: Transcript) -> None:
    """What the caller says."""

    async def say(words: str) -> None:
        """Say it and wait for the answer, with all calls of tools that it takes, until it has been heard."""
        transcript.line("Caller", words)
        await session.ask(words)
        await session.wait_for_playback()

    await say("Hello, my bicycle came with a bent wheel. It is order 1234.")
    await say("Please refund the 120 euros that the wheel cost.")
    await say("Do you guarantee that the money is here tomorrow?")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say, "Then find me another front wheel.")
        await trio.sleep(4)  # the search goes on, and so does the caller
        await say("While you look: how long are you open today?")
    await say("Thank you, goodbye!")


async def main(model: RealtimeModel) -> None:
    config: RunConfigDict = {"approval_handler": supervisor, "guardrails_settings": {"debounce_text_length": 20}}
    runner = RealtimeRunner(reception, model=model, config=config)
    call = Call(customer="Ada")
    async with runner.session(context=call) as session, trio.open_nursery() as nursery:
        transcript = Transcript()
        nursery.start_soon(transcript.follow, session)
        await talk(session, transcript)
        await session.close()
    print(f"\n{session.usage.requests} answers, {session.usage.total_tokens} tokens. Paid back: {call.refunds}")


# ---- without a key --------------------------------------------------------------------------------------------------

SCRIPT: list[str | CallFunction] = [
    CallFunction("transfer_to_service"),
    "This is the service desk. I am sorry about the wheel, I will look after it.",
    CallFunction("refund", '{"order_id": 1234, "euros": 120}'),
    "Your 120 euros are on their way.",
    "Of course, we guarantee that it is on your account tomorrow morning at nine.",
    "It usually takes two days, and I cannot promise more than that.",
    CallFunction("find_part", '{"part": "front wheel"}'),
    "We are open until six.",
    "I found two front wheels, in the branch at the station.",
    "You are welcome. Goodbye!",
]
"""What the emulator's agents say and call, one entry an answer."""


async def main_on_emulator() -> None:
    print("No OPENAI_API_KEY: an emulator plays both agents, from a script.", file=sys.stderr)
    async with open_emulator(listen=False, brain=ScriptedBrain(SCRIPT), seed=1) as emulator:
        await main(emulator.memory_model())


if __name__ == "__main__":
    try:
        if os.environ.get("OPENAI_API_KEY"):
            trio.run(main, OpenAIRealtimeWebSocketModel())
        else:
            trio.run(main_on_emulator, clock=MockClock(autojump_threshold=0))
    except* TrealtimeError as group:
        sys.exit("\n".join(f"{type(error).__name__}: {error}" for error in group.exceptions))
    except* KeyboardInterrupt:
        sys.exit(130)
