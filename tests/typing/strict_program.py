# pyright: strict
"""A program whose author checks it strictly: no type of the library is unknown or partly unknown. Nobody runs it."""

from __future__ import annotations

from typing import Any, assert_type

import trio

from trealtime import (
    AssistantMessageItem,
    ConnectionLost,
    GuardrailFunctionOutput,
    RealtimeAgent,
    RealtimeAgentHooks,
    RealtimeRunner,
    RealtimeSession,
    RunContext,
    ToolContext,
    Turn,
    WavEndpoint,
    function_tool,
    input_guardrail,
    open_emulator,
    output_guardrail,
    realtime_handoff,
    settings,
)

plain = RealtimeAgent(name="x")
assert_type(plain, RealtimeAgent[Any])


class Shop:
    """The context."""

    open: bool = True


@function_tool(needs_approval=True)
async def close_shop(context: ToolContext[Shop], reason: str) -> str:
    """Close the shop."""
    await trio.lowlevel.checkpoint()
    context.context.open = False
    return reason


@output_guardrail
async def polite(context: RunContext[Shop], agent: RealtimeAgent[Shop], text: str) -> GuardrailFunctionOutput:
    """No shouting."""
    await trio.lowlevel.checkpoint()
    return GuardrailFunctionOutput(output_info=agent.name, tripwire_triggered=text.isupper())


@input_guardrail(name="short")
def short(context: RunContext[Shop], agent: RealtimeAgent[Shop], text: str) -> GuardrailFunctionOutput:
    """No speeches."""
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=len(text) > 1000)


class Log(RealtimeAgentHooks[Shop]):
    """What happens."""

    async def on_start(self, context: RunContext[Shop], agent: RealtimeAgent[Shop]) -> None:
        await trio.lowlevel.checkpoint()


desk = RealtimeAgent[Shop](
    name="Desk",
    instructions="You are brief.",
    tools=[close_shop],
    output_guardrails=[polite],
    input_guardrails=[short],
    hooks=Log(),
    handoffs=[plain, realtime_handoff(plain, tool_name_override="ask_x")],
    model_settings=settings.SessionSettings(max_output_tokens=200),
)
assert_type(desk, RealtimeAgent[Shop])
assert_type(desk.clone(voice="ash"), RealtimeAgent[Shop])


async def main() -> None:
    """One question, and all that happens."""
    runner = RealtimeRunner(plain, config={"model_settings": {"model_name": "gpt-realtime-2.1"}})
    async with open_emulator() as emulator, runner.session(model_config={"url": emulator.url}) as session:
        assert_type(session, RealtimeSession)
        turn = await session.ask("Hello.")
        assert_type(turn, Turn)
        print(turn.text, turn.usage.total_tokens if turn.usage is not None else None)
        async with session.attach(WavEndpoint("question.wav")) as attachment:
            attachment.duck(0.5)
        try:
            async for event in session:
                if event.type == "history_added" and isinstance(event.item, AssistantMessageItem):
                    print(event.item.text)
                elif event.type == "error":
                    print(event.error)
        except ConnectionLost as lost:
            print(lost.code, lost.reason)
