from __future__ import annotations

from functools import partial

import pytest

from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import SettingsError
from trealtime.tools.context import RunContext
from trealtime.tools.function_tool import FunctionTool, function_tool


@function_tool
async def noop() -> str:
    """Do nothing."""
    return ""


def test_an_agent_needs_only_a_name() -> None:
    agent = RealtimeAgent("Assistant")
    assert (agent.name, agent.instructions, agent.prompt, agent.tools) == ("Assistant", None, None, ())


def test_tools_given_as_a_list_are_kept_as_a_tuple_that_later_changes_of_the_list_do_not_reach() -> None:
    tools = [noop]
    agent: RealtimeAgent[None] = RealtimeAgent(name="Assistant", tools=tools)
    tools.clear()
    assert agent.tools == (noop,)


@pytest.mark.parametrize(
    "arguments, field",
    [
        ({"name": 3}, "name"),
        ({"name": "A", "instructions": 3}, "instructions"),
        ({"name": "A", "instructions": lambda: "no parameters"}, "instructions"),
        ({"name": "A", "instructions": lambda context: "one parameter"}, "instructions"),
        ({"name": "A", "tools": "text"}, "tools"),
        ({"name": "A", "tools": {noop}}, "tools"),
        ({"name": "A", "tools": [print]}, r"tools\[0\]"),
        ({"name": "A", "prompt": "pmpt_1"}, "prompt"),
        ({"name": "A", "handoff_description": 3}, "handoff_description"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_when_the_agent_is_built(arguments, field) -> None:
    with pytest.raises(TypeError, match=rf"RealtimeAgent\.{field}: got .*, allowed: "):
        RealtimeAgent(**arguments)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"tools\[1\]\.name: got 'noop'"):
        RealtimeAgent(name="A", tools=[noop, noop])


def test_all_problems_of_a_prompt_come_in_one_error() -> None:
    with pytest.raises(SettingsError) as caught:
        RealtimeAgent(name="A", prompt={"ident": "pmpt_1", "version": "2"})
    assert [problem.path for problem in caught.value.problems] == ["prompt.id", "prompt.ident"]


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="modell"):
        RealtimeAgent(name="A", modell="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_clone_changes_what_is_named_and_checks_it() -> None:
    agent: RealtimeAgent[None] = RealtimeAgent(name="A", instructions="Be brief.", tools=[noop])
    copy = agent.clone(name="B")
    assert (copy.name, copy.instructions, copy.tools) == ("B", "Be brief.", (noop,))
    assert agent.name == "A"
    with pytest.raises(TypeError, match=r"RealtimeAgent\.name"):
        agent.clone(name=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_agents_are_equal_only_to_themselves_and_can_be_keys() -> None:
    first, second = RealtimeAgent("A", tools=[noop]), RealtimeAgent("A", tools=[noop])
    assert first != second
    assert {first: 1, second: 2}[first] == 1


async def _async_instructions(context: RunContext[str], agent: RealtimeAgent[str]) -> str:
    return f"{agent.name} serves {context.context}"


class _CallableObject:
    async def __call__(self, context: RunContext[str], agent: RealtimeAgent[str]) -> str:
        return f"{agent.name} serves {context.context}"


@pytest.mark.parametrize(
    "instructions, prompt",
    [
        (None, None),
        ("Be brief.", "Be brief."),
        (lambda context, agent: f"{agent.name} serves {context.context}", "A serves Ada"),
        (_async_instructions, "A serves Ada"),
        (_CallableObject(), "A serves Ada"),
        (partial(lambda prefix, context, agent: prefix + agent.name, "I am "), "I am A"),
        (lambda context, agent: None, None),
    ],
)
async def test_the_system_prompt_is_the_text_or_what_the_callable_returns(instructions, prompt) -> None:
    agent = RealtimeAgent(name="A", instructions=instructions)
    assert await agent.get_system_prompt(RunContext("Ada")) == prompt


async def test_instructions_that_return_something_else_are_an_error_that_says_so() -> None:
    agent: RealtimeAgent[None] = RealtimeAgent(name="A", instructions=lambda context, agent: 3)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"instructions: got 3, allowed: .*returns a str"):
        await agent.get_system_prompt(RunContext(None))


@pytest.mark.parametrize("name", ["", "with space", "é", "x" * 65, "dot.ted"])
def test_a_tool_name_that_the_api_refuses_is_refused_when_the_tool_is_built(name) -> None:
    with pytest.raises(SettingsError, match="FunctionTool: 1 problem"):
        FunctionTool(name, "", params_json_schema={"type": "object"}, on_invoke_tool=noop.on_invoke_tool)


def test_a_tool_schema_must_be_of_an_object() -> None:
    with pytest.raises(SettingsError, match=r"params_json_schema\.type: got 'string'"):
        FunctionTool("f", "", params_json_schema={"type": "string"}, on_invoke_tool=noop.on_invoke_tool)
