"""Tool guardrails as values: made of functions, verdicts, what is refused."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from trealtime.agents.agent import RealtimeAgent
from trealtime.tools.context import ToolContext
from trealtime.tools.function_tool import FunctionTool, function_tool
from trealtime.tools.guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    ToolOutputGuardrail,
    ToolOutputGuardrailData,
    tool_input_guardrail,
    tool_output_guardrail,
)

AGENT = RealtimeAgent(name="agent")
CONTEXT: ToolContext[Any] = ToolContext(None, tool_name="pay", tool_call_id="c1", tool_arguments='{"amount": 5}')
INPUT = ToolInputGuardrailData(context=CONTEXT, agent=AGENT)
OUTPUT = ToolOutputGuardrailData(context=CONTEXT, agent=AGENT, output=42)


@pytest.mark.parametrize(
    "made, behavior, message, info",
    [
        (ToolGuardrailFunctionOutput.allow(), "allow", "", None),
        (ToolGuardrailFunctionOutput.allow({"a": 1}), "allow", "", {"a": 1}),
        (ToolGuardrailFunctionOutput.reject_content("No.", output_info=1), "reject_content", "No.", 1),
        (ToolGuardrailFunctionOutput.raise_exception("why"), "raise_exception", "", "why"),
    ],
)
def test_verdicts(made, behavior, message, info) -> None:
    assert (made.behavior, made.message, made.output_info) == (behavior, message, info)


def test_a_rejection_without_a_text_is_refused() -> None:
    with pytest.raises(TypeError, match="message must be a str, got None"):
        ToolGuardrailFunctionOutput.reject_content(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "decorate, kind, data",
    [(tool_input_guardrail, ToolInputGuardrail, INPUT), (tool_output_guardrail, ToolOutputGuardrail, OUTPUT)],
)
@pytest.mark.parametrize("sync", [False, True])
async def test_a_guardrail_is_made_of_a_function_and_a_sync_one_runs_in_a_thread(decorate, kind, data, sync) -> None:
    seen = []

    def check(data: Any) -> ToolGuardrailFunctionOutput:
        seen.append((data, threading.current_thread() is threading.main_thread()))
        return ToolGuardrailFunctionOutput.allow("fine")

    async def check_async(data: Any) -> ToolGuardrailFunctionOutput:
        return check(data)

    guardrail = decorate(check if sync else check_async)
    assert isinstance(guardrail, kind)
    assert guardrail.get_name() == ("check" if sync else "check_async")
    assert decorate(name="limits")(check).get_name() == "limits"
    assert (await guardrail.run(data)).output_info == "fine"
    assert seen == [(data, not sync)]


@pytest.mark.parametrize("decorate, data", [(tool_input_guardrail, INPUT), (tool_output_guardrail, OUTPUT)])
async def test_a_guardrail_that_gives_no_verdict_is_a_type_error(decorate, data) -> None:
    async def check(data: Any) -> Any:
        return True

    with pytest.raises(TypeError, match="tool guardrail 'check' returned True, allowed: a ToolGuardrailFunctionOutput"):
        await decorate(check).run(data)


@pytest.mark.parametrize("field", ["tool_input_guardrails", "tool_output_guardrails"])
@pytest.mark.parametrize("wrong", [[lambda data: None], "no", 3])
def test_what_is_no_tool_guardrail_is_refused_where_the_tool_is_made(field, wrong) -> None:
    async def handler(context: Any, arguments: str) -> str:
        return ""

    with pytest.raises(TypeError, match=f"FunctionTool.{field} must be a sequence of Tool"):
        FunctionTool("pay", "", params_json_schema={"type": "object"}, on_invoke_tool=handler, **{field: wrong})


def test_a_decorated_function_has_the_guardrails_that_it_was_given() -> None:
    @tool_input_guardrail
    def before(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.allow()

    @tool_output_guardrail
    def after(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.allow()

    @function_tool(needs_approval=True, tool_input_guardrails=[before], tool_output_guardrails=[after])
    async def pay() -> str:
        """Pay."""
        return "paid"

    assert (list(pay.tool_input_guardrails), list(pay.tool_output_guardrails)) == ([before], [after])
    assert pay.needs_approval is True


@pytest.mark.parametrize(
    "options, words",
    [
        ({"needs_approval": "yes"}, "FunctionTool.needs_approval must be a bool or a callable, got 'yes'"),
        ({"namespace": 3}, "FunctionTool.namespace must be a str or None, got 3"),
    ],
)
def test_a_wrong_option_is_refused_where_the_tool_is_made(options, words) -> None:
    async def handler(context: Any, arguments: str) -> str:
        return ""

    with pytest.raises(TypeError, match=words):
        FunctionTool("pay", "", params_json_schema={"type": "object"}, on_invoke_tool=handler, **options)
