"""A program as users write them, which type checkers must understand without a cast or an ignore. Nobody runs it.

`assert_type` holds what each expression is narrowed to: mypy and pyright fail where it is anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, assert_never, assert_type

import attrs
import trio

from trealtime import (
    ApprovalRequest,
    Approve,
    AssistantMessageItem,
    ConnectionLost,
    FunctionTool,
    GuardrailFunctionOutput,
    HostedMCPTool,
    MCPServerStdio,
    MCPServerStreamableHttp,
    RealtimeAgent,
    RealtimeAgentEndEvent,
    RealtimeAgentHooks,
    RealtimeAudio,
    RealtimeAudioInterrupted,
    RealtimeError,
    RealtimeHistoryAdded,
    RealtimeItem,
    RealtimeRunConfig,
    RealtimeRunner,
    RealtimeSession,
    RealtimeSessionEvent,
    RealtimeToolCallItem,
    RealtimeToolEnd,
    Reject,
    RunContext,
    SystemMessageItem,
    ToolContext,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailData,
    Turn,
    UserMessageItem,
    function_tool,
    open_emulator,
    output_guardrail,
    serve_realtime_session,
    tool_input_guardrail,
)
from trealtime.events import AudioChunk, ServerErrorInfo
from trealtime.items import OtherItem
from trealtime.mcp import HostedTool, create_static_tool_filter
from trealtime.typing import ApprovalDecision


@attrs.frozen
class Shop:
    """The context of this program's sessions."""

    orders: dict[int, str]


@function_tool
async def order_status(context: ToolContext[Shop], order_id: int) -> str:
    """Look up an order.

    Args:
        order_id: The number printed on the receipt.
    """
    await trio.lowlevel.checkpoint()
    assert_type(context.context, Shop)
    return context.context.orders[order_id]


async def above_limit(context: RunContext[Shop], arguments: dict[str, Any], call_id: str) -> bool:
    """A refund of an order that nobody knows."""
    return arguments["order_id"] not in context.context.orders


@tool_input_guardrail
def short_arguments(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
    """Nobody has a number as long as that."""
    if len(data.context.tool_arguments) > 100:
        return ToolGuardrailFunctionOutput.reject_content("That is no order number.")
    return ToolGuardrailFunctionOutput.allow()


@function_tool(needs_approval=above_limit, tool_input_guardrails=[short_arguments])
async def refund(order_id: int) -> str:
    """Give the money back."""
    return f"Order {order_id} is refunded."


def greeting(context: RunContext[Shop], agent: RealtimeAgent[Shop]) -> str:
    """Instructions that know the context."""
    return f"{agent.name} knows {len(context.context.orders)} orders."


@output_guardrail
def no_numbers(context: RunContext[Shop], agent: RealtimeAgent[Shop], text: str) -> GuardrailFunctionOutput:
    """Nobody wants to hear those."""
    return GuardrailFunctionOutput(None, tripwire_triggered=any(str(order) in text for order in context.context.orders))


class Log(RealtimeAgentHooks[Shop]):
    """Hears what happens to one agent."""

    async def on_start(self, context: RunContext[Shop], agent: RealtimeAgent[Any]) -> None:
        assert_type(context.context, Shop)


async def supervisor(request: ApprovalRequest) -> ApprovalDecision:
    """Approve what can be read."""
    assert_type(request.tool, FunctionTool | HostedTool)
    assert_type(request.parsed_arguments, Mapping[str, Any] | None)
    return Approve(always=True) if request.parsed_arguments else Reject("No.")


config = RealtimeRunConfig(approval_handler=supervisor, approval_timeout_s=30)

agent: RealtimeAgent[Shop] = RealtimeAgent(
    name="Assistant",
    instructions=greeting,
    tools=[order_status, refund],
    output_guardrails=[no_numbers],
    hooks=Log(),
)
desk: RealtimeAgent[Shop] = agent.clone(
    tools=[order_status, HostedMCPTool({"server_label": "handbook", "server_url": "https://example.com/mcp"})],
    mcp_servers=[
        MCPServerStdio({"command": "uvx", "args": ["sums"]}, require_approval="always"),
        MCPServerStreamableHttp({"url": "https://example.com/mcp"}, tool_filter=create_static_tool_filter(["add"])),
    ],
    mcp_config={"include_server_in_tool_names": True},
)


def by_type(event: RealtimeSessionEvent) -> bytes:
    """Narrow by the event's `type`."""
    if event.type == "audio":
        assert_type(event, RealtimeAudio)
        assert_type(event.audio, AudioChunk)
        return event.audio.data
    if event.type == "audio_interrupted":
        assert_type(event, RealtimeAudioInterrupted)
        assert_type(event.heard_ms, int)
    elif event.type == "history_added":
        assert_type(event.item, RealtimeItem)
    elif event.type == "agent_end":
        assert_type(event.status, Literal["completed", "cancelled", "failed", "incomplete"])
    elif event.type == "error" and isinstance(event.error, ServerErrorInfo):
        assert_type(event.error.code, str | None)
    return b""


def by_class(event: RealtimeSessionEvent) -> str:
    """Narrow by `match`."""
    match event:
        case RealtimeAudio(audio=AudioChunk(data=data)):
            assert_type(data, bytes)
            return f"{len(data)} bytes"
        case RealtimeHistoryAdded(item=item):
            return words(item)
        case RealtimeToolEnd(tool=tool, call_id=call_id):
            return f"{tool.name} {call_id}"
        case RealtimeError(error=Exception() as error):
            return str(error)
        case RealtimeError(error=ServerErrorInfo(message=message)):
            return message
        case RealtimeAgentEndEvent(status="failed", reason=reason):
            return reason or "failed"
        case _:
            return event.type


def words(item: RealtimeItem) -> str:
    """Every kind of item there is."""
    match item:
        case UserMessageItem() | AssistantMessageItem() | SystemMessageItem():
            return item.text
        case RealtimeToolCallItem():
            assert_type(item.output, str | None)
            return item.name
        case OtherItem():
            return item.type
        case _:
            assert_never(item)


async def talk(session: RealtimeSession[Shop]) -> None:
    """The ways to have a turn."""
    await session.send_message("Hello")
    await session.send_audio(bytes(960), commit=True)
    async for event in session:
        assert_type(event, RealtimeSessionEvent)
        by_type(event)
        by_class(event)
    async with session.respond("And then?", output_modalities=["text"]) as response:
        async for chunk in response.audio:
            assert_type(chunk, AudioChunk)
        async for text in response.text:
            assert_type(text, str)
        assert_type(await response.transcript(), str)
    turn = await session.ask("And then?")
    assert_type(turn, Turn)
    assert_type(turn.audio, bytes)
    async with session.subscribe("audio", "audio_interrupted") as feed:
        assert_type(await feed.receive(), RealtimeSessionEvent)
    assert_type(session.history, list[RealtimeItem])


async def main() -> None:
    """The ways to have a session."""
    async with open_emulator() as emulator:
        runner = RealtimeRunner(agent, model=emulator.memory_model(), config={"barge_in": "off"})
        assert_type(runner, RealtimeRunner[Shop])
        session = await runner.run(context=Shop({7: "on its way"}))
        assert_type(session, RealtimeSession[Shop])
        try:
            async with session:
                await talk(session)
        except ConnectionLost as lost:
            assert_type(lost.closed_by, Literal["server", "client", "network"])
        async with runner.session(model_config={"url": emulator.url}) as scoped:
            assert_type(scoped, RealtimeSession[Shop])
        async with trio.open_nursery() as nursery:
            served: RealtimeSession[Shop] = await nursery.start(serve_realtime_session, runner)
            await served.close()
