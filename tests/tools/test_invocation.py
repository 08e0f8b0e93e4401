"""One call of a tool: what the model reads, what the app is told."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.lowlevel

from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import SettingsError, ToolTimedOut
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.enabling import enabled
from trealtime.tools.function_tool import FunctionTool, function_tool
from trealtime.tools.invocation import ToolErrorFormatterArgs, ToolOutcome, invoke_tool


async def invoke(tool: FunctionTool, arguments: str = "{}", **options: Any) -> ToolOutcome:
    progress = options.pop("on_progress", None)
    context = ToolContext(
        "ctx", tool_name=tool.name, tool_call_id="call_1", tool_arguments=arguments, on_progress=progress
    )
    return await invoke_tool(tool, context, arguments, **options)


@function_tool
async def fails() -> None:
    raise ValueError("no stock")


# ---- time -----------------------------------------------------------------------------------------------------------


async def test_b189_a_call_that_takes_too_long_is_cancelled_and_the_model_told(autojump_clock) -> None:
    ended: list[float] = []

    @function_tool(timeout=2.5)
    async def slow() -> str:
        try:
            await trio.sleep(10)
        finally:
            ended.append(trio.current_time())
        return "never"

    began = trio.current_time()
    outcome = await invoke(slow)
    assert outcome.output == "Tool 'slow' timed out after 2.5 seconds."
    assert outcome.failure == "timed_out"
    assert ended == [began + 2.5]
    (error,) = outcome.errors
    assert isinstance(error, ToolTimedOut)
    assert isinstance(error, TimeoutError)
    assert (error.tool_name, error.timeout) == ("slow", 2.5)


async def test_a_call_within_its_time_is_left_alone(autojump_clock) -> None:
    @function_tool(timeout=3)
    async def quick() -> str:
        await trio.sleep(2)
        return "done"

    assert await invoke(quick) == ToolOutcome(output="done", value="done")


@pytest.mark.parametrize("waits", [True, False])
async def test_b190_a_function_for_timeouts_gets_context_and_error_and_makes_the_text(waits, autojump_clock) -> None:
    def say(context: RunContext[Any], error: Exception) -> str:
        assert isinstance(context, ToolContext)
        assert isinstance(error, ToolTimedOut)
        return f"{context.tool_name} is slow today, {error.timeout:g} s"

    async def say_later(context: RunContext[Any], error: Exception) -> str:
        await trio.sleep(1)
        return say(context, error)

    @function_tool(timeout=1, timeout_error_function=say_later if waits else say, failure_error_function=None)
    async def slow() -> None:
        await trio.sleep_forever()

    assert (await invoke(slow)).output == "slow is slow today, 1 s"


async def test_a_timeout_of_the_tools_own_is_a_failure_like_any_other(autojump_clock) -> None:
    @function_tool(timeout=100)
    async def impatient() -> None:
        with trio.fail_after(1):
            await trio.sleep(10)

    outcome = await invoke(impatient)
    assert outcome.failure == "failed"
    assert "TooSlowError" in outcome.output


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, True, "2"])
def test_b188_a_timeout_that_is_none_is_refused_at_declaration(timeout) -> None:
    with pytest.raises(SettingsError, match=r"timeout: got .*, allowed: a number of seconds above 0, or None"):

        @function_tool(timeout=timeout)
        async def tool() -> None: ...


def test_b188_a_synchronous_function_cannot_have_a_timeout() -> None:
    with pytest.raises(ValueError, match="a thread cannot be stopped"):

        @function_tool(timeout=1)
        def tool() -> None: ...


@pytest.mark.parametrize(
    "option, value",
    [
        ("max_concurrency", 0),
        ("max_concurrency", 1.5),
        ("max_concurrency", True),
        ("max_output_bytes", 0),
        ("on_interrupt", "stop"),
        ("after_tool", "sometimes"),
    ],
)
def test_an_option_with_a_wrong_value_is_named_at_declaration(option, value) -> None:
    with pytest.raises(SettingsError, match=f"{option}: got "):
        function_tool(**{option: value})(fails.on_invoke_tool.function)


@pytest.mark.parametrize("option", ["is_enabled", "failure_error_function", "timeout_error_function"])
def test_an_option_of_the_wrong_type_is_named_at_declaration(option) -> None:
    with pytest.raises(TypeError, match=f"FunctionTool.{option} must be "):
        function_tool(**{option: 3})(fails.on_invoke_tool.function)


# ---- progress -------------------------------------------------------------------------------------------------------


async def test_an_async_generator_tells_its_progress_and_its_last_value_is_the_result(autojump_clock) -> None:
    told: list[tuple[float, object]] = []

    @function_tool
    async def search(query: str):
        """Search."""
        yield f"looking for {query}"
        await trio.sleep(5)
        yield {"found": 3}

    began = trio.current_time()
    outcome = await invoke(
        search, '{"query": "tea"}', on_progress=lambda note: told.append((trio.current_time() - began, note))
    )
    assert told == [(0, "looking for tea"), (5, {"found": 3})]
    assert (outcome.value, outcome.output) == ({"found": 3}, '{"found":3}')


async def test_a_generator_that_yields_nothing_returns_nothing() -> None:
    @function_tool
    async def nothing():
        return
        yield

    assert (await invoke(nothing)).output == "null"


async def test_a_generator_with_a_timeout_is_closed_in_its_own_task(autojump_clock) -> None:
    closed: list[object] = []

    @function_tool(timeout=3)
    async def endless():
        try:
            while True:
                yield "still there"
                await trio.sleep(1)
        finally:
            closed.append(trio.lowlevel.current_task())

    assert (await invoke(endless)).failure == "timed_out"
    assert closed == [trio.lowlevel.current_task()]


async def test_a_generator_that_fails_half_way_has_failed() -> None:
    @function_tool
    async def half():
        yield "begun"
        raise ValueError("broke")

    outcome = await invoke(half)
    assert (outcome.failure, "broke" in outcome.output) == ("failed", True)


# ---- texts ----------------------------------------------------------------------------------------------------------


async def test_a_formatter_of_the_run_makes_the_text_of_a_failure() -> None:
    seen: list[ToolErrorFormatterArgs] = []

    async def formatter(args: ToolErrorFormatterArgs) -> str:
        seen.append(args)
        return f"[{args.kind}]"

    outcome = await invoke(fails, formatter=formatter)
    assert (outcome.output, outcome.value, outcome.failure) == ("[failed]", "[failed]", "failed")
    (args,) = seen
    assert (args.tool_name, args.call_id, args.tool_type) == ("fails", "call_1", "function")
    assert args.default_message == "An error occurred while running the tool fails: ValueError: no stock"
    assert args.run_context.context == "ctx"


async def test_an_error_function_of_the_tool_goes_before_the_formatter_of_the_run() -> None:
    own = function_tool(fails.on_invoke_tool.function, failure_error_function=lambda context, error: "mine")
    assert (await invoke(own, formatter=lambda args: "the run's")).output == "mine"


def raises(*args: object) -> str:
    raise KeyError("formatter")


@pytest.mark.parametrize("formatter, troubles", [(lambda args: None, 0), (lambda args: 3, 1), (raises, 1)])
async def test_b209_a_formatter_that_gives_no_text_leaves_the_default(formatter, troubles) -> None:
    outcome = await invoke(fails, formatter=formatter)
    assert outcome.output == "An error occurred while running the tool fails: ValueError: no stock"
    assert len(outcome.errors) == 1 + troubles


@pytest.mark.parametrize("function", [raises, lambda context, error: None])
async def test_an_error_function_that_gives_no_text_leaves_the_default_and_the_app_is_told(function) -> None:
    tool = function_tool(fails.on_invoke_tool.function, failure_error_function=function)
    outcome = await invoke(tool)
    assert outcome.output == "An error occurred while running the tool fails: ValueError: no stock"
    assert [type(error) for error in outcome.errors] == [ValueError, KeyError if function is raises else TypeError]


async def test_arguments_that_do_not_fit_are_the_models_mistake_and_no_news_to_the_app() -> None:
    outcome = await invoke(fails, '{"more": 1}')
    assert outcome.failure == "invalid_arguments"
    assert outcome.output == (
        "Invalid arguments for tool fails: more: no such name, allowed: none. "
        "Call it again with arguments that fit its schema."
    )
    assert outcome.errors == ()


async def test_an_output_is_cut_where_the_tool_says() -> None:
    @function_tool(max_output_bytes=4)
    async def long() -> str:
        return "0123456789"

    outcome = await invoke(long)
    assert outcome.output == "0123\n[The result was cut here: this is the beginning, 4 of 10 bytes.]"
    assert outcome.value == "0123456789"


async def test_an_output_is_cut_at_256_kib_unless_the_tool_says_otherwise() -> None:
    @function_tool
    async def long() -> str:
        return "x" * 300_000

    whole = function_tool(long.on_invoke_tool.function, max_output_bytes=None)
    assert (await invoke(long)).output.startswith("x" * 262_144 + "\n[The result was cut")
    assert (await invoke(whole)).output == "x" * 300_000


# ---- raw tools ------------------------------------------------------------------------------------------------------


async def test_b177_a_raw_tool_gets_the_text_as_the_model_wrote_it() -> None:
    got: list[str] = []

    async def handler(context: ToolContext[Any], arguments: str) -> dict[str, int]:
        got.append(arguments)
        return {"n": 1}

    tool = FunctionTool("raw", "Raw.", params_json_schema={"type": "object"}, on_invoke_tool=handler)
    text = ' { "b" : [1, {"é": null}],\n "a" : 1.50 } '
    assert (await invoke(tool, text)).output == '{"n":1}'
    await invoke(tool, "")
    assert got == [text, "{}"]


async def test_a_raw_tool_is_not_called_with_what_is_no_object() -> None:
    async def handler(context: ToolContext[Any], arguments: str) -> str:
        raise AssertionError

    tool = FunctionTool("raw", "Raw.", params_json_schema={"type": "object"}, on_invoke_tool=handler)
    assert (await invoke(tool, "[1]")).failure == "invalid_arguments"


# ---- enabled --------------------------------------------------------------------------------------------------------


async def test_enabled_tools_are_found_by_asking_each(autojump_clock) -> None:
    asked: list[object] = []

    def by_context(context: RunContext[Any], agent: RealtimeAgent[Any]) -> bool:
        asked.append((context.context, agent.name))
        return context.context == "admin"

    async def later(context: RunContext[Any], agent: RealtimeAgent[Any]) -> bool:
        await trio.sleep(1)
        return False

    function = fails.on_invoke_tool.function
    off = function_tool(function, is_enabled=False)
    admin = function_tool(function, is_enabled=by_context)
    never = function_tool(function, is_enabled=later)
    wire = {"type": "function", "name": "mine"}
    agent: RealtimeAgent[Any] = RealtimeAgent(name="A")
    offered = await enabled([fails, off, admin, never, wire], RunContext("admin"), agent)
    assert offered == (fails, admin, wire)
    assert await enabled([admin], RunContext("guest"), agent) == ()
    assert asked == [("admin", "A"), ("guest", "A")]


async def test_a_function_that_forgot_async_says_so() -> None:
    async def look() -> str:
        return "there"

    @function_tool
    def nap() -> object:
        return look()

    outcome = await invoke(nap)
    assert outcome.failure == "failed"
    [error] = outcome.errors
    assert str(error) == (
        "the function is no `async def` and returned a coroutine: make it `async def` and await inside"
    )
