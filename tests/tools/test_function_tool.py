from __future__ import annotations

import enum
import functools
import json
import threading
from typing import Annotated, Any, Literal

import attrs
import jsonschema
import msgspec
import pytest
import trio

from trealtime.errors import ToolArgumentsError
from trealtime.tools.context import RunContext, RunContextWrapper, ToolContext
from trealtime.tools.function_tool import FunctionTool, default_tool_error, function_tool, to_wire
from trealtime.tools.invocation import invoke_tool


def call_context(tool: FunctionTool, context: Any = None, **more: Any) -> ToolContext[Any]:
    return ToolContext(context, tool_name=tool.name, tool_call_id="call_1", **more)


async def call(tool: FunctionTool, arguments: str = "{}", context: Any = None) -> object:
    return (await invoke_tool(tool, call_context(tool, context), arguments)).value


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@attrs.frozen
class Address:
    street: str
    city: str = "Oslo"


@function_tool
async def order(
    item: str,
    count: int,
    size: Size = Size.SMALL,
    to: Address | None = None,
    how: Annotated[Literal["post", "courier"], "Who carries it."] = "post",
    weights: list[float] = [],  # noqa: B006  (what users write)
) -> str:
    """Order a thing.

    It is made to measure.

    Args:
        item: What to order,
            in the customer's words.
        count (int): How many.
        how: Hidden by the annotation.

    Returns:
        A receipt.
    """
    return f"{count} {item} {size.name} {to} {how} {weights}"


def test_b183_the_schema_comes_from_signature_annotations_and_docstring() -> None:
    assert order.name == "order"
    assert order.description == "Order a thing.\n\nIt is made to measure."
    schema = dict(order.params_json_schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["item", "count"]
    assert schema["properties"]["item"] == {"type": "string", "description": "What to order, in the customer's words."}
    assert schema["properties"]["count"] == {"type": "integer", "description": "How many."}
    assert schema["properties"]["how"]["description"] == "Who carries it."
    assert schema["properties"]["how"]["default"] == "post"
    assert schema["$defs"]["Size"]["enum"] == ["large", "small"]
    assert schema["$defs"]["Address"]["required"] == ["street"]


@pytest.mark.parametrize(
    "arguments, fits",
    [
        ({"item": "hat", "count": 1}, True),
        ({"item": "hat", "count": 1, "size": "large", "to": {"street": "Main"}, "weights": [1, 2.5]}, True),
        ({"item": "hat", "count": "1"}, False),
        ({"item": "hat", "count": 1.5}, False),
        ({"item": "hat"}, False),
        ({"item": "hat", "count": 1, "colour": "red"}, False),
        ({"item": "hat", "count": 1, "how": "bird"}, False),
        ({"item": None, "count": 1}, False),
    ],
)
async def test_what_the_schema_accepts_is_what_the_tool_accepts(arguments, fits) -> None:
    assert jsonschema.Draft202012Validator(dict(order.params_json_schema)).is_valid(arguments) is fits
    output = await call(order, json.dumps(arguments))
    assert isinstance(output, str)
    assert output.startswith("Invalid arguments for tool order: ") is not fits


async def test_values_reach_the_function_in_the_types_of_its_annotations() -> None:
    arguments = {"item": "hat", "count": 1, "size": "large", "to": {"street": "Main"}}
    assert await call(order, json.dumps(arguments)) == "1 hat LARGE Address(street='Main', city='Oslo') post []"


@pytest.mark.parametrize("arguments", ["{", '{"item": }', "[]", '"text"', "null"])
async def test_b186_text_that_is_no_json_object_is_answered_with_a_text_for_the_model(arguments) -> None:
    output = await call(order, arguments)
    assert isinstance(output, str)
    assert output.startswith("Invalid arguments for tool order: ")
    assert "Call it again" in output


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
async def test_b186_an_empty_text_counts_as_no_arguments(arguments) -> None:
    @function_tool
    async def now() -> str:
        return "noon"

    assert now.params_json_schema == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert await call(now, arguments) == "noon"


async def test_parentheses_and_overrides() -> None:
    @function_tool()
    async def plain() -> str:
        """Plain."""
        return ""

    @function_tool(name_override="other", description_override="Else.")
    async def renamed() -> str:
        """Hidden."""
        return ""

    direct = function_tool(plain_function, name_override="direct")
    assert (plain.name, plain.description) == ("plain", "Plain.")
    assert (renamed.name, renamed.description) == ("other", "Else.")
    assert (direct.name, direct.description) == ("direct", "A plain function.")


def plain_function(text: str) -> str:
    """A plain function."""
    return text


@pytest.mark.parametrize(
    "annotation", [RunContext, RunContext[str], RunContextWrapper[str], ToolContext, ToolContext[str]]
)
async def test_b184_a_first_parameter_annotated_as_context_gets_it_and_is_not_in_the_schema(annotation) -> None:
    async def who(ctx, greeting):
        return f"{greeting} {ctx.context} {ctx.tool_call_id}"

    who.__annotations__ = {"ctx": annotation, "greeting": str}
    tool = function_tool(who)
    assert list(tool.params_json_schema["properties"]) == ["greeting"]
    assert await call(tool, '{"greeting": "hello"}', context="Ada") == "hello Ada call_1"


def test_b184_a_context_that_is_not_first_is_refused() -> None:
    async def late(text: str, ctx: RunContext[None]) -> None: ...

    with pytest.raises(TypeError, match="'ctx' is not"):
        function_tool(late)


async def test_b183_star_parameters_are_a_list_and_an_object() -> None:
    @function_tool
    async def gather(first: int, /, *rest: int, sep: str = "-", **named: str) -> str:
        return sep.join([*map(str, (first, *rest)), *(f"{k}={v}" for k, v in named.items())])

    properties = gather.params_json_schema["properties"]
    assert properties["rest"] == {"type": "array", "items": {"type": "integer"}, "default": []}
    assert properties["named"]["additionalProperties"] == {"type": "string"}
    assert await call(gather, '{"first": 1, "rest": [2, 3], "named": {"a": "b"}}') == "1-2-3-a=b"
    assert await call(gather, '{"first": 1, "sep": "+"}') == "1"


async def test_constraints_of_msgspec_are_in_the_schema_and_enforced() -> None:
    @function_tool
    async def dial(volume: Annotated[int, msgspec.Meta(ge=0, le=11)]) -> int:
        """Set it.

        Args:
            volume: How loud.
        """
        return volume

    assert dial.params_json_schema["properties"]["volume"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 11,
        "description": "How loud.",
    }
    assert await call(dial, '{"volume": 11}') == 11
    assert "Expected `int` <= 11" in str(await call(dial, '{"volume": 12}'))


async def test_a_parameter_without_annotation_takes_any_value() -> None:
    @function_tool
    def echo(value):
        return value

    assert echo.params_json_schema["properties"] == {"value": {}}
    assert await call(echo, '{"value": [1, "a"]}') == [1, "a"]


def test_a_parameter_without_schema_is_named_at_decoration() -> None:
    def lock(fine: int, it: threading.Thread) -> None: ...

    with pytest.raises(TypeError, match="tool 'lock': parameter 'it' has no JSON Schema"):
        function_tool(lock)


def test_an_annotation_that_cannot_be_resolved_is_named_at_decoration() -> None:
    def missing(it: NoSuchName) -> None: ...  # noqa: F821  (the name is meant to be unknown)

    with pytest.raises(TypeError, match=r"tool 'missing': its signature cannot be read: .*NoSuchName"):
        function_tool(missing)


def test_a_synchronous_generator_is_refused() -> None:
    def many():
        yield 1

    with pytest.raises(TypeError, match="a generator must be async"):
        function_tool(many)


async def test_b185_a_synchronous_function_runs_in_a_worker_thread_under_the_limiter_of_the_context() -> None:
    limiter = trio.CapacityLimiter(1)
    borrowed: list[int] = []

    @function_tool
    def where() -> int:
        borrowed.append(trio.from_thread.run_sync(lambda: limiter.borrowed_tokens))
        return threading.get_ident()

    ident = await where.on_invoke_tool(call_context(where, thread_limiter=limiter), "{}")
    assert ident != threading.get_ident()
    assert borrowed == [1]


async def test_an_async_function_runs_in_the_same_thread() -> None:
    class Caller:
        async def __call__(self) -> int:
            """Tell the thread."""
            return threading.get_ident()

    async def with_prefix(prefix: str) -> int:
        return threading.get_ident()

    here = threading.get_ident()
    assert await call(function_tool(Caller(), name_override="caller")) == here
    assert await call(function_tool(functools.partial(with_prefix, "x"), name_override="partial")) == here


async def test_b187_a_failure_becomes_a_text_for_the_model() -> None:
    @function_tool
    async def fails() -> None:
        raise KeyError("order 7")

    assert await call(fails) == "An error occurred while running the tool fails: KeyError: 'order 7'"


async def test_a_failure_in_a_nursery_of_the_tool_names_its_cause() -> None:
    @function_tool
    async def fails() -> None:
        async with trio.open_nursery():
            raise ValueError("inner")

    assert await call(fails) == "An error occurred while running the tool fails: ValueError: inner"


async def test_b187_a_failure_function_of_the_user_makes_the_text() -> None:
    async def apologise(context: RunContext[Any], error: Exception) -> str:
        assert isinstance(context, ToolContext)
        return f"{context.tool_name}: sorry, {error}"

    @function_tool(failure_error_function=apologise)
    async def fails() -> None:
        raise ValueError("no")

    @function_tool(failure_error_function=lambda context, error: type(error).__name__)
    def typed(count: int) -> int:
        return count

    assert await call(fails) == "fails: sorry, no"
    assert await call(typed, "{") == "ToolArgumentsError"


async def test_without_a_failure_function_the_model_reads_no_reason() -> None:
    @function_tool(failure_error_function=None)
    async def fails(count: int) -> None:
        raise ValueError("the password is 1234")

    assert await call(fails, '{"count": 1}') == "The tool fails failed."
    assert 'count: got "1"' in str(await call(fails, '{"count": "1"}'))  # its own mistake, so it is told


async def test_the_handler_itself_raises() -> None:
    @function_tool
    async def fails(count: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match=r"\Ano\Z"):
        await fails.on_invoke_tool(call_context(fails), '{"count": 1}')
    with pytest.raises(ToolArgumentsError, match='tool fails: count: got "1"') as caught:
        await fails.on_invoke_tool(call_context(fails), '{"count": "1"}')
    assert (caught.value.tool_name, caught.value.arguments) == ("fails", '{"count": "1"}')


async def test_cancelling_a_call_is_not_a_failure_of_the_tool() -> None:
    @function_tool
    async def forever() -> None:
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        scope.cancel()
        await call(forever)
    assert scope.cancelled_caught


def test_the_default_error_text_works_without_a_tool_context() -> None:
    assert (
        default_tool_error(RunContext(None), ValueError("x"))
        == "An error occurred while running the tool tool: ValueError: x"
    )


def test_the_wire_shape_of_a_tool() -> None:
    tool = function_tool(plain_function)
    assert to_wire(tool) == {
        "type": "function",
        "name": "plain_function",
        "description": "A plain function.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
    }
    json.dumps(to_wire(order))
