"""What ported programs declare: agents, tools, guardrails, handoffs, keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from trealtime.compat import (
    FunctionTool,
    Handoff,
    ModelBehaviorError,
    RunContextWrapper,
    ToolContext,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    ToolOutputGuardrail,
    ToolTimeoutError,
    UserError,
    function_tool,
    set_default_openai_key,
    set_tracing_disabled,
)
from trealtime.compat import _defaults as defaults
from trealtime.compat.decorators import tool, tool_input_guardrail, tool_output_guardrail
from trealtime.compat.extensions.handoff_prompt import RECOMMENDED_PROMPT_PREFIX, prompt_with_handoff_instructions
from trealtime.compat.realtime import OpenAIRealtimeSIPModel, RealtimeAgent, get_api_key, realtime_handoff
from trealtime.compat.realtime.session import RealtimeSession
from trealtime.emulator import CallFunction

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


async def nothing(context: ToolContext[Any], arguments: str) -> str:
    return "done"


# ---- tools ----------------------------------------------------------------------------------------------------------


def test_a_tool_is_built_by_position_and_has_the_fields_of_the_sdk():
    made = FunctionTool("look", "Look.", SCHEMA, nothing, True, True, timeout_seconds=2.5)
    assert (made.name, made.timeout_seconds, made.strict_json_schema) == ("look", 2.5, True)
    assert made.timeout_behavior == "error_as_result"


def test_what_would_end_a_session_of_the_sdk_is_refused_with_what_to_write():
    with pytest.raises(UserError, match=r"session\.close"):

        @tool(timeout=1, timeout_behavior="raise_exception")
        async def slow() -> None: ...

    with pytest.raises(UserError, match="defer_loading"):
        FunctionTool("look", "Look.", SCHEMA, nothing, defer_loading=True)
    with pytest.raises(UserError, match="timeout"):
        tool(timeout=1)(lambda: None)


async def test_error_functions_get_the_exceptions_of_the_sdk(opened, turn):
    seen: list[Exception] = []

    def tell(context: RunContextWrapper[Any], error: Exception) -> str:
        seen.append(error)
        return "told"

    @function_tool(timeout=0.5, timeout_error_function=tell, failure_error_function=tell)
    async def slow(seconds: int) -> None:
        """Sleep."""
        await trio.sleep(seconds)

    agent = RealtimeAgent(name="Assistant", tools=[slow])
    calls = [CallFunction("slow", '{"seconds": 3}'), CallFunction("slow", '{"seconds": "long"}'), "Sorry."]
    async with opened(agent, calls) as (session, _emulator):
        await session.send_message("Sleep")
        events = await turn(session, times=3)
    timed_out, misspelt = seen
    assert isinstance(timed_out, ToolTimeoutError)
    assert (timed_out.tool_name, timed_out.timeout_seconds) == ("slow", 0.5)
    assert isinstance(misspelt, ModelBehaviorError)
    assert "seconds" in misspelt.message
    assert [each.output for each in events if each.type == "tool_end"] == ["told", "told"]


# ---- guardrails of tools --------------------------------------------------------------------------------------------


async def test_a_verdict_without_behavior_lets_the_call_pass(opened, turn):
    @tool_input_guardrail
    def passes(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput(output_info={"tool": data.context.tool_name})

    @tool_output_guardrail(name="censor")
    async def withholds(data: Any) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput({"why": data.output}, {"type": "reject_content", "message": "withheld"})

    @tool(tool_input_guardrails=[passes], tool_output_guardrails=[withholds])
    async def secret() -> str:
        """Tell."""
        return "1234"

    agent = RealtimeAgent(name="Assistant", tools=[secret])
    async with opened(agent, [CallFunction("secret"), "I may not say."]) as (session, _emulator):
        await session.send_message("Tell me")
        events = await turn(session, times=2)
    assert [each.output for each in events if each.type == "tool_end"] == ["withheld"]


def test_verdicts_and_generic_guardrails():
    assert ToolGuardrailFunctionOutput.allow(1).behavior == "allow"
    assert ToolGuardrailFunctionOutput.reject_content("no").message == "no"
    assert ToolGuardrailFunctionOutput.raise_exception().behavior == "raise_exception"
    with pytest.raises(TypeError, match="reject_content"):
        ToolGuardrailFunctionOutput(None, {"type": "forbid"})
    # Annotations of ported programs are evaluated where there is no `from __future__ import annotations`.
    assert ToolInputGuardrail[Any]
    assert ToolOutputGuardrail[Any]
    assert Handoff[Any, RealtimeAgent[Any]]


# ---- agents and handoffs --------------------------------------------------------------------------------------------


def test_agents_are_built_by_position_and_cloned():
    first = RealtimeAgent("First", "Answers questions", [], [], {}, "Be brief.")
    assert (first.handoff_description, first.instructions, first.tools) == ("Answers questions", "Be brief.", [])
    second = first.clone(name="Second", tools=[FunctionTool("look", "Look.", SCHEMA, nothing)])
    assert (second.name, first.tools) == ("Second", [])
    assert second.handoffs is first.handoffs
    with pytest.raises(TypeError, match=r"RealtimeAgent\.tools"):
        RealtimeAgent("First", tools="look")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"RealtimeAgent\.name"):
        RealtimeAgent(5)  # type: ignore[arg-type]


async def test_instructions_may_be_a_callable_of_context_and_agent():
    async def instructions(context: RunContextWrapper[str], agent: RealtimeAgent[str]) -> str:
        return f"{agent.name} for {context.context}"

    agent = RealtimeAgent[str](name="Assistant", instructions=instructions)
    assert await agent.get_system_prompt(RunContextWrapper("Ada")) == "Assistant for Ada"


def test_handoffs_have_the_fields_of_the_sdk():
    agent = RealtimeAgent(name="Billing Desk", handoff_description="Knows invoices")
    made = realtime_handoff(agent, "to_billing", "Go there")
    assert (made.tool_name, made.tool_description, made.agent_name) == ("to_billing", "Go there", "Billing Desk")
    assert made.input_filter is None
    assert Handoff.default_tool_name(agent) == "transfer_to_billing_desk"
    assert "Knows invoices" in Handoff.default_tool_description(agent)
    assert json.loads(made.get_transfer_message(agent)) == {"assistant": "Billing Desk"}
    with pytest.raises(UserError, match="input_filter"):
        Handoff("x", "x", SCHEMA, nothing, "x", lambda data: data)  # type: ignore[arg-type]


def test_the_prefix_is_for_the_instructions_of_agents_that_hand_over():
    assert "transfer_to_" in RECOMMENDED_PROMPT_PREFIX
    assert prompt_with_handoff_instructions("Be kind.").startswith(RECOMMENDED_PROMPT_PREFIX)


# ---- keys and payloads ----------------------------------------------------------------------------------------------


@pytest.fixture
def default_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(defaults, "api_key", None)


async def test_keys_come_from_the_config_the_default_and_the_environment(default_key, monkeypatch):
    async def later() -> str:
        return "sk-later"

    assert await get_api_key(None) is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    assert await get_api_key(None) == "sk-environment"
    set_default_openai_key("sk-default")
    set_tracing_disabled(True)
    assert await get_api_key(None) == "sk-default"
    assert await get_api_key("sk-mine") == "sk-mine"
    assert await get_api_key(lambda: "sk-called") == "sk-called"
    assert await get_api_key(later) == "sk-later"


async def test_sessions_connect_with_the_default_key(default_key):
    keys = []

    class Model:
        def connect(self, target: Any) -> Any:
            keys.append(target.api_key)
            raise RuntimeError("no further")

    set_default_openai_key("sk-default")
    for config in ({}, {"api_key": "sk-mine"}):
        with pytest.raises(RuntimeError, match="no further"):
            async with RealtimeSession(Model(), RealtimeAgent("Assistant"), model_config=config):  # type: ignore[arg-type]
                raise AssertionError("the session has opened")
    assert keys == ["sk-default", "sk-mine"]


async def test_the_payload_of_a_call_is_dumped_as_a_model_is():
    agent = RealtimeAgent(name="Desk", instructions="Greet.")
    payload = await OpenAIRealtimeSIPModel.build_initial_session_payload(agent, overrides={"voice": "marin"})
    dumped = payload.model_dump(exclude_none=True)
    assert dumped["instructions"] == payload["instructions"] == payload.instructions == "Greet."
    assert dumped["audio"]["output"]["voice"] == "marin"
    assert json.dumps(dumped)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = payload.nonsense
