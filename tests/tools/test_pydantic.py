"""Parameters that pydantic describes and checks, and handoffs with input of pydantic's."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Annotated, Any, NotRequired

import annotated_types
import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from trealtime import RealtimeAgent, function_tool, realtime_handoff
from trealtime.errors import ToolArgumentsError
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.function_tool import FunctionTool


class Item(BaseModel):
    """One line of an order."""

    name: str
    quantity: int = Field(ge=1, le=5, description="How many")


class Order(TypedDict):
    item: Item
    note: NotRequired[str]


@dataclasses.dataclass
class Parcel:
    items: list[Item]
    express: bool = False


@pydantic.dataclasses.dataclass
class Address:
    street: str


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    guests: int


class Opaque:
    pass


async def call(tool: FunctionTool, arguments: str) -> object:
    return await tool.on_invoke_tool(ToolContext(None, tool_name=tool.name, tool_call_id="c"), arguments)


def parameters(tool: FunctionTool) -> dict[str, Any]:
    return dict(tool.params_json_schema["properties"])


async def test_a_model_is_described_by_pydantic_and_arrives_as_one():
    @function_tool
    async def order(item: Item, express: bool = False) -> object:
        """Order something.

        Args:
            item: What to order.
        """
        return item, express

    schema = order.params_json_schema
    assert schema["required"] == ["item"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Item"]["properties"]["quantity"]["maximum"] == 5
    assert "What to order." in str(schema["properties"]["item"])
    assert schema["properties"]["express"] == {"type": "boolean", "default": False}
    assert await call(order, '{"item": {"name": "tea", "quantity": 2}}') == (Item(name="tea", quantity=2), False)


async def test_what_does_not_fit_is_told_with_its_place():
    @function_tool
    async def order(items: list[Item]) -> None: ...

    with pytest.raises(ToolArgumentsError) as refused:
        await call(order, '{"items": [{"name": "tea", "quantity": 99}, {"name": "salt"}]}')
    assert "items.0.quantity: got 99, allowed: Input should be less than or equal to 5" in str(refused.value)
    assert "items.1.quantity: missing" in str(refused.value)
    with pytest.raises(ToolArgumentsError, match="nonsense: no such name, allowed: items"):
        await call(order, '{"items": [], "nonsense": 1}')
    with pytest.raises(ToolArgumentsError, match="items: missing"):
        await call(order, "{}")
    with pytest.raises(ToolArgumentsError, match="not valid JSON"):
        await call(order, '{"items": [')


@pytest.mark.parametrize("form", ["annotated", "default", "constraint"])
async def test_constraints_are_told_to_the_model_and_hold(form):
    if form == "annotated":

        @function_tool
        async def book(guests: Annotated[int, Field(ge=1, le=5, description="How many come")]) -> int:
            return guests
    elif form == "default":

        @function_tool
        async def book(guests: int = Field(ge=1, le=5, description="How many come")) -> int:
            return guests
    else:

        @function_tool
        async def book(guests: Annotated[int, annotated_types.Interval(ge=1, le=5)]) -> int:
            """Book.

            Args:
                guests: How many come
            """
            return guests

    assert parameters(book)["guests"] == {
        "type": "integer", "minimum": 1, "maximum": 5, "description": "How many come",
    }  # fmt: skip
    assert book.params_json_schema["required"] == ["guests"]
    assert await call(book, '{"guests": 5}') == 5
    with pytest.raises(ToolArgumentsError, match="guests: got 99, allowed"):
        await call(book, '{"guests": 99}')


async def test_a_field_with_a_default_may_be_left_out():
    @function_tool
    async def book(
        guests: int = Field(2, ge=1),
        names: list[str] = Field(default_factory=list),  # noqa: B008
        child_seats: Annotated[int, Field(ge=0)] = 1,
    ) -> object:
        return guests, names, child_seats

    assert book.params_json_schema["required"] == []
    assert parameters(book)["guests"]["default"] == 2
    assert parameters(book)["child_seats"]["default"] == 1
    assert await call(book, "") == (2, [], 1)
    assert await call(book, '{"names": ["Ada"], "child_seats": 0}') == (2, ["Ada"], 0)


async def test_models_inside_of_other_types_are_found():
    @function_tool
    async def send(context: RunContext[Any], order: Order, parcel: Parcel, to: Address | None = None) -> object:
        return order["item"], parcel.items, to

    assert set(send.params_json_schema["$defs"]) >= {"Item", "Order", "Parcel", "Address"}
    arguments = '{"order": {"item": {"name": "a", "quantity": 1}}, "parcel": {"items": []}, "to": {"street": "x"}}'
    assert await call(send, arguments) == (Item(name="a", quantity=1), [], Address("x"))


async def test_variable_arguments_may_be_models():
    @function_tool
    async def order(*items: Item, **named: Item) -> object:
        return items, named

    arguments = '{"items": [{"name": "a", "quantity": 1}], "named": {"x": {"name": "b", "quantity": 2}}}'
    assert await call(order, arguments) == ((Item(name="a", quantity=1),), {"x": Item(name="b", quantity=2)})
    assert await call(order, "{}") == ((), {})


async def test_a_model_decides_itself_how_strict_it_is():
    @function_tool
    async def book(strict: Strict | None = None, lenient: Item | None = None, plain: int = 0) -> object:
        return lenient

    assert await call(book, '{"lenient": {"name": "tea", "quantity": "2"}}') == Item(name="tea", quantity=2)
    with pytest.raises(ToolArgumentsError, match="guests"):
        await call(book, '{"strict": {"guests": "2"}}')
    with pytest.raises(ToolArgumentsError, match="plain: got"):
        await call(book, '{"plain": "2"}')


def test_two_types_of_one_name_are_refused():
    Mine = dataclasses.make_dataclass("Item", [("weight", int)])

    async def order(mine: Any, theirs: Any) -> None: ...

    order.__annotations__ = {"mine": Mine, "theirs": Item}
    with pytest.raises(TypeError, match="'Item'"):
        function_tool(order)


def test_what_pydantic_has_no_schema_for_is_named():
    async def take(thing: Any) -> None: ...

    take.__annotations__ = {"thing": Annotated[Opaque, Field(description="x")]}
    with pytest.raises(TypeError, match="parameter 'thing'"):
        function_tool(take)


def test_without_pydantic_nothing_imports_it():
    program = """
import sys
from trealtime import function_tool
@function_tool
async def plain(a: int, b: list[str] | None = None) -> None: ...
print("pydantic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"


# ---- handoffs -------------------------------------------------------------------------------------------------------


async def test_a_handoff_takes_a_model():
    seen = []

    class Reason(BaseModel):
        words: str = Field(min_length=3)
        item: Item | None = None

    billing = RealtimeAgent(name="Billing")
    handoff = realtime_handoff(billing, on_handoff=lambda context, reason: seen.append(reason), input_type=Reason)
    assert handoff.input_json_schema["type"] == "object"
    assert handoff.input_json_schema["properties"]["words"]["minLength"] == 3
    assert handoff.input_json_schema["$defs"]["Item"]["type"] == "object"
    assert await handoff.on_invoke_handoff(RunContext(None), '{"words": "invoice"}') is billing
    assert seen == [Reason(words="invoice")]
    with pytest.raises(ToolArgumentsError, match='words: got "x", allowed: String should have at least 3'):
        await handoff.on_invoke_handoff(RunContext(None), '{"words": "x"}')
    with pytest.raises(ToolArgumentsError):
        await handoff.on_invoke_handoff(RunContext(None), "")


@pytest.mark.parametrize("input_type", [int, Annotated[int, Field(ge=1)]])
def test_a_handoff_that_takes_no_class_says_what_to_write(input_type):
    with pytest.raises(TypeError, match="write a dataclass with one field"):
        realtime_handoff(RealtimeAgent(name="Billing"), on_handoff=lambda context, n: None, input_type=input_type)


async def test_a_parameter_of_pydantics_whose_default_is_none_takes_null():
    @function_tool
    async def tool(
        item: Item = None,
        nights: Annotated[int, Field(ge=1)] = None,  # noqa: RUF013  (what users write)
        guests: int = Field(default=None, ge=1, description="How many"),
    ) -> object:
        return item, nights, guests

    assert await call(tool, "{}") == await call(tool, '{"item": null, "nights": null, "guests": null}') == (None,) * 3
    assert parameters(tool)["guests"]["description"] == "How many"
    with pytest.raises(ToolArgumentsError, match="nights: got 0, allowed: Input should be greater than"):
        await call(tool, '{"nights": 0}')
