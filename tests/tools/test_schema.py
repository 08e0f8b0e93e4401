"""What a signature promises to a model: that values of its types come through, and that nothing else does."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import json
import pathlib
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict

import attrs
import jsonschema
import msgspec
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trealtime import RealtimeAgent, realtime_handoff
from trealtime.errors import ToolArgumentsError
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.function_tool import FunctionTool, function_tool
from trealtime.tools.invocation import invoke_tool
from trealtime.tools.schema import ToolSignature, read_signature


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict):
    loud: bool
    voice: NotRequired[str]


@attrs.frozen
class Address:
    street: str
    tags: list[str] = attrs.field(factory=list)


@dataclasses.dataclass
class Order:
    number: int
    to: Address
    colour: Colour = Colour.RED


@attrs.frozen
class Tree:
    label: str
    children: list[Tree] = attrs.field(factory=list)


class Small(msgspec.Struct, tag="small"):
    size: int


class Large(msgspec.Struct, tag="large"):
    width: float


UserId = NewType("UserId", int)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
UTC = st.just(dt.UTC)
ADDRESSES = st.builds(Address, TEXTS, st.lists(TEXTS))
MAPPINGS = st.dictionaries(TEXTS, INTS)

VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (int, INTS),
    "float": (float, FLOATS),
    "bool": (bool, st.booleans()),
    "str": (str, TEXTS),
    "none": (None, st.none()),
    "bytes": (bytes, st.binary()),
    "literal": (Literal["a", "b", 3], st.sampled_from(["a", "b", 3])),
    "enum": (Colour, st.sampled_from(Colour)),
    "int enum": (Level, st.sampled_from(Level)),
    "optional": (Optional[int], st.none() | INTS),  # noqa: UP045  (what users write)
    "union": (int | str | None, st.none() | INTS | TEXTS),
    "list": (list[int], st.lists(INTS)),
    "nested": (dict[str, list[int | None]], st.dictionaries(TEXTS, st.lists(st.none() | INTS))),
    "int keys": (dict[int, str], st.dictionaries(INTS, TEXTS)),
    "pair": (tuple[int, str], st.tuples(INTS, TEXTS)),
    "tuple": (tuple[float, ...], st.lists(FLOATS).map(tuple)),
    "set": (set[str], st.sets(TEXTS)),
    "frozenset": (frozenset[int], st.frozensets(INTS)),
    "attrs": (Address, ADDRESSES),
    "list of attrs": (list[Address], st.lists(ADDRESSES, max_size=3)),
    "dataclass": (Order, st.builds(Order, INTS, ADDRESSES, st.sampled_from(Colour))),
    "recursive": (Tree, st.recursive(st.builds(Tree, TEXTS), lambda inner: st.builds(Tree, TEXTS, st.lists(inner)))),
    "typed dict": (Options, st.fixed_dictionaries({"loud": st.booleans()}, optional={"voice": TEXTS})),
    "named tuple": (Point, st.builds(Point, INTS, INTS)),
    "tagged structs": (Small | Large, st.builds(Small, INTS) | st.builds(Large, FLOATS)),
    "new type": (UserId, INTS),
    "datetime": (dt.datetime, st.datetimes() | st.datetimes(timezones=UTC)),
    "optional datetime": (list[dt.datetime | None], st.lists(st.none() | st.datetimes(timezones=UTC))),
    "date": (dt.date, st.dates()),
    "time": (dt.time, st.times()),
    "timedelta": (dt.timedelta, st.integers(0, 10**9).map(lambda ms: dt.timedelta(milliseconds=ms))),
    "decimal": (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    "uuid": (uuid.UUID, st.uuids()),
    "range": (Annotated[int, msgspec.Meta(ge=1, le=10)], st.integers(1, 10)),
    "pattern": (Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=5)], st.from_regex(r"\A[a-z]{1,5}\Z")),
    "short list": (
        Annotated[list[int], msgspec.Meta(min_length=1, max_length=2)],
        st.lists(INTS, min_size=1, max_size=2),
    ),
    "object": (object, TEXTS | INTS),
    "any": (
        Any,
        st.recursive(
            st.none() | st.booleans() | INTS | FLOATS | TEXTS, lambda x: st.lists(x) | st.dictionaries(TEXTS, x)
        ),
    ),
}


def signature_of(annotation: Any) -> ToolSignature:
    def tool(value): ...

    tool.__annotations__ = {"value": annotation}
    return read_signature(tool, tool_name="tool", descriptions={"value": "What it is."})


@pytest.mark.parametrize("kind", VALUES)
def test_any_value_of_a_declared_type_survives_schema_json_and_validation(kind) -> None:
    annotation, values = VALUES[kind]
    signature = signature_of(annotation)
    schema = dict(signature.json_schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["value"]["description"] == "What it is."
    validator = jsonschema.Draft202012Validator(schema)

    @settings(max_examples=40)
    @given(values)
    def survives(value) -> None:
        text = msgspec.json.encode({"value": value}).decode()
        validator.validate(json.loads(text))
        (came,), keyword = signature.parse(text)
        assert came == value
        assert type(came) is type(value)
        assert keyword == {}

    survives()


def test_a_default_is_in_the_schema_where_json_can_show_it() -> None:
    def tool(
        a: int = 3,
        b: Colour = Colour.BLUE,
        c: float = float("inf"),
        d: Address | None = Address("Main"),
    ) -> None: ...

    signature = read_signature(tool, tool_name="tool", descriptions={})
    properties = signature.json_schema["properties"]
    assert (properties["a"]["default"], properties["b"]["default"]) == (3, "blue")
    assert "default" not in properties["c"]
    assert "default" not in properties["d"]
    assert signature.parse("{}") == ([3, Colour.BLUE, float("inf"), Address("Main")], {})
    json.dumps(signature.json_schema, allow_nan=False)


@pytest.mark.parametrize("annotation", [dt.datetime, dt.datetime | None, list[dt.time], dict[str, dt.datetime]])
def test_a_model_is_told_that_a_time_has_a_format(annotation) -> None:
    assert '"format": "' in json.dumps(signature_of(annotation).json_schema)


def test_names_of_nested_types_do_not_meet_the_name_of_the_tool() -> None:
    def order(value: Order) -> None: ...

    schema = dict(read_signature(order, tool_name="Order", descriptions={}).json_schema)
    jsonschema.Draft202012Validator(schema).validate(
        {"value": {"number": 1, "to": {"street": "Main"}, "colour": "blue"}}
    )
    assert list(schema["properties"]) == ["value"]


class WithDescription:
    description = "Of another library."


@pytest.mark.parametrize(
    "annotation, description",
    [
        (Annotated[int, "Text."], "Text."),
        (Annotated[int, msgspec.Meta(ge=0, description="Of msgspec.")], "Of msgspec."),
        (Annotated[int, WithDescription()], "Of another library."),
        (Annotated[int, msgspec.Meta(ge=0)], "What it is."),
        (int, "What it is."),
    ],
)
def test_b183_a_description_of_an_annotation_goes_before_the_docstring(annotation, description) -> None:
    assert signature_of(annotation).json_schema["properties"]["value"]["description"] == description


@pytest.mark.parametrize(
    "annotation", [Address | Tree, Colour | str, list[int] | set[int], complex, list[complex], type]
)
def test_a_type_that_cannot_be_told_apart_in_json_is_refused_at_decoration(annotation) -> None:
    with pytest.raises(TypeError, match="tool 'tool': parameter 'value' has no JSON Schema"):
        signature_of(annotation)


def test_a_type_of_no_library_known_here_is_refused_with_what_there_is() -> None:
    with pytest.raises(TypeError, match=r"<class 'pathlib.*Path'> is none of JSON's own types, enums, dates"):
        signature_of(pathlib.Path)


# ---- names of parameters and of types -------------------------------------------------------------------------------


def namesakes(  # names that Python, msgspec or the library keep for themselves
    self: int, p1: int, p0: int, __init__: int, __class__: int, __dict__: int, __mangled: int, copy: int, größe: int
) -> list[int]:
    return [self, p1, p0, __init__, __class__, __dict__, __mangled, copy, größe]


def test_a_parameter_may_have_any_name() -> None:
    signature = read_signature(namesakes, tool_name="namesakes", descriptions={})
    names = list(inspect.signature(namesakes).parameters)
    assert list(signature.json_schema["properties"]) == signature.json_schema["required"] == names
    positional, keyword = signature.parse(json.dumps({name: place for place, name in enumerate(names)}))
    assert (positional, keyword) == (list(range(len(names))), {})
    with pytest.raises(ToolArgumentsError, match="__mangled: missing"):
        signature.parse(json.dumps(dict.fromkeys([name for name in names if name != "__mangled"], 1)))
    with pytest.raises(ToolArgumentsError, match="p2: no such name, allowed: self, p1, p0"):
        signature.parse('{"p2": 1}')


def test_a_name_in_kwargs_that_is_a_parameter_too_is_the_mistake_of_the_model() -> None:
    def tool(a: int, *, b: int = 0, **more: int) -> None: ...

    signature = read_signature(tool, tool_name="tool", descriptions={})
    assert signature.parse('{"a": 1, "more": {"c": 2}}') == ([1], {"b": 0, "c": 2})
    for name in ("a", "b"):
        with pytest.raises(ToolArgumentsError, match=f"more: got a value for '{name}', allowed: names other than"):
            signature.parse(json.dumps({"a": 1, "more": {name: 2}}))

    def positional(a: int, /, **more: int) -> None: ...

    assert read_signature(positional, tool_name="tool", descriptions={}).parse('{"a": 1, "more": {"a": 2}}') == (
        [1],
        {"a": 2},
    )


if TYPE_CHECKING:
    from nowhere import Caller, Later


def returns_what_is_not_there(order: Order) -> Later: ...
def has_a_context_of_what_is_not_there(context: RunContext[Caller], order: Order) -> None: ...
def has_a_quoted_context(context: "ToolContext[Caller]", order: "Order") -> Later: ...  # noqa: UP037
def has_text_inside(order: Annotated["Order", "It."]) -> Later: ...  # noqa: UP037


class Desk:
    def method(self, order: "Order") -> Later: ...  # noqa: UP037
    def __call__(self, order: Order) -> Later: ...


@pytest.mark.parametrize(
    "function",
    [
        returns_what_is_not_there,
        has_a_context_of_what_is_not_there,
        has_a_quoted_context,
        has_text_inside,
        Desk().method,
        Desk(),
        functools.partial(returns_what_is_not_there),
    ],
)
def test_names_that_only_a_type_checker_knows_may_stand_where_no_argument_goes(function) -> None:
    signature = read_signature(function, tool_name="tool", descriptions={})
    (order,), _ = signature.parse('{"order": {"number": 1, "to": {"street": "Elm"}}}')
    assert order == Order(1, Address("Elm"))
    assert signature.takes_context == ("context" in inspect.signature(function).parameters)


def test_a_parameter_of_a_type_that_is_not_there_is_refused_at_decoration() -> None:
    def tool(later: Later) -> None: ...
    def inside(later: list["Later"]) -> None: ...  # noqa: UP037

    for function in (tool, inside):
        with pytest.raises(TypeError, match=r"tool 'tool': its signature cannot be read: .*'Later' is not defined"):
            read_signature(function, tool_name="tool", descriptions={})


# ---- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotation", [int, list[int], Address, "Order", Annotated[int, msgspec.Meta(ge=3)], Annotated[int, "A number."]]
)
def test_a_parameter_whose_default_is_none_takes_null(annotation) -> None:
    def tool(value=None) -> None: ...

    tool.__annotations__["value"] = annotation
    signature = read_signature(tool, tool_name="tool", descriptions={})
    assert signature.parse("{}") == signature.parse('{"value": null}') == ([None], {})
    jsonschema.validate({"value": None}, signature.json_schema)
    if annotation == Annotated[int, msgspec.Meta(ge=3)]:
        with pytest.raises(ToolArgumentsError, match="Expected `int` >= 3"):
            signature.parse('{"value": 1}')
    if annotation == Annotated[int, "A number."]:
        assert signature.json_schema["properties"]["value"]["description"] == "A number."


@dataclasses.dataclass
class Loose:
    days: int = None  # type: ignore[assignment]
    to: Address = None  # type: ignore[assignment]
    note: str | None = None
    how: Literal["a"] | None = None
    rest: Any = None


def test_a_default_of_null_is_shown_where_null_fits() -> None:
    shown = signature_of(list[Loose]).json_schema["$defs"]["Loose"]["properties"]
    assert [name for name, each in shown.items() if "default" in each] == ["note", "how", "rest"]
    handoff = realtime_handoff(RealtimeAgent(name="a"), on_handoff=lambda context, loose: None, input_type=Loose)
    shown = handoff.input_json_schema["properties"]
    assert [name for name, each in shown.items() if "default" in each] == ["note", "how", "rest"]


@pytest.mark.parametrize(
    "arguments, values",
    [
        ('{"count": 1.0}', [1, 0.0, []]),
        ('{"count": -3e2, "size": 2.0}', [-300, 2.0, []]),
        ('{"count": 1, "lots": [1, 2.0]}', [1, 0.0, [1, 2]]),
        ('{"count": 1.5}', None),
        ('{"count": 1e300}', None),
        ('{"count": true}', None),
        ('{"count": "1"}', None),
        ('{"count": 1.0, "lots": ["1"]}', None),
    ],
)
def test_a_number_without_a_fraction_is_an_integer(arguments, values) -> None:
    def tool(count: int, size: float = 0.0, lots: list[int] = []) -> None: ...  # noqa: B006

    signature = read_signature(tool, tool_name="tool", descriptions={})
    if values is None:
        with pytest.raises(ToolArgumentsError, match="got"):
            signature.parse(arguments)
    else:
        found, _ = signature.parse(arguments)
        assert (found, [type(each) for each in found]) == (values, [int, float, list])


# ---- refusals -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Picky:
    number: int = attrs.field(validator=attrs.validators.gt(3))

    def __attrs_post_init__(self) -> None:
        if self.number == 7:
            raise KeyError("seven")


def everything(
    count: Annotated[int, msgspec.Meta(le=10)],
    how: Literal["post", "courier"] = "post",
    to: Address | None = None,
    stops: list[Address] = [],  # noqa: B006  (what users write)
    prices: dict[str, int] = {},  # noqa: B006
    pair: tuple[int, str] = (1, "a"),
    picky: Picky | None = None,
    at: dt.datetime | None = None,
) -> None: ...


EVERYTHING = read_signature(everything, tool_name="everything", descriptions={})


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ('{"count": "1"}', 'count: got "1", allowed: {"type":"integer","maximum":10} (Expected `int`, got `str`)'),
        ('{"count": 11}', 'count: got 11, allowed: {"type":"integer","maximum":10} (Expected `int` <= 10)'),
        ("{}", 'count: missing, allowed: {"type":"integer","maximum":10}'),
        ('{"count": 1, "colour": 2}', "colour: no such name, allowed: count, how, to, stops, prices, pair, picky, at"),
        ('{"count": 1, "how": "bird"}', 'how: got "bird", allowed: {"enum":["courier","post"]} (Invalid enum value'),
        ('{"count": 1, "to": {}}', 'to.street: missing, allowed: {"type":"string"}'),
        (
            '{"count": 1, "stops": [{"street": "a"}, {"street": 1}]}',
            'stops[1].street: got 1, allowed: {"type":"string"}',
        ),
        (
            '{"count": 1, "prices": {"tea": "2"}}',
            'prices[...]: allowed: {"type":"integer"} (Expected `int`, got `str`)',
        ),
        ('{"count": 1, "pair": [1, 2]}', 'pair[1]: got 2, allowed: {"type":"string"}'),
        ('{"count": 1, "picky": {"number": 2}}', "picky: got {"),
        ('{"count": 1, "picky": {"number": 7}}', "seven"),
        ('{"count": 1, "at": "tomorrow"}', 'at: got "tomorrow", allowed: '),
        ("[]", "the arguments: got [], allowed: "),
        ('{"count": 1', "not valid JSON: Input data was truncated"),
        ('{"count": NaN}', "not valid JSON: "),
        ('{"count": ' + "1" * 5000 + "}", "out of range"),
    ],
)
def test_b186_a_refusal_names_the_place_the_value_and_what_is_allowed(arguments, problem) -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        EVERYTHING.parse(arguments)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("invalid arguments for tool everything: ")
    assert len(str(caught.value)) < 1500


def test_a_key_of_the_wrong_type_is_named_by_its_mapping() -> None:
    with pytest.raises(ToolArgumentsError, match="value: a key of it does not fit: Expected `int`, got `str`"):
        signature_of(dict[int, str]).parse('{"value": {"x": "y"}}')


# ---- bad JSON -------------------------------------------------------------------------------------------------------

reached: list[object] = []


@function_tool
async def guarded(count: int, note: str = "", deep: Any = None) -> str:
    """Count."""
    reached.append((count, note))
    return "ran"


async def raw(context: ToolContext[Any], arguments: str) -> str:
    reached.append(arguments)
    return "ran"


RAW = FunctionTool("raw", "Raw.", params_json_schema={"type": "object"}, on_invoke_tool=raw)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("count"), inner, max_size=3),
)
BAD = st.text() | JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(value)[:-1])


def fits(text: str, *, strictly: bool) -> bool:
    """What the tools above take, said by another JSON parser."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        value = json.loads(text or "{}", parse_constant=refuse)
        text.encode()
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict) or not strictly:
        return isinstance(value, dict)
    count, note = value.get("count"), value.get("note", "")
    whole = type(count) is int or (type(count) is float and count.is_integer() and abs(count) < 2**53)
    return whole and isinstance(note, str) and value.keys() <= {"count", "note", "deep"}


@given(BAD)
@example('{"count": NaN}')
@example('{"count": 1, "deep": ' + "[" * 100_000)
@example("[" * 1_000_000)
@example('{"count": 1, "deep": ' + "[" * 100_000 + "]" * 100_000 + "}")
@example('{"count": 1, "note": "\\ud800"}')
@example('{"count": 1, "note": "\ud800"}')
@example("\ud800")
@example('{"count": 1e999}')
@example('{"count": 1.0}')
@example('{"count": 1e300}')
@example('{"count": 1.0, "note": 2.0}')
@example('{"count": 1} {"count": 2}')
@example('{"count": 1, "count": "2"}')
@example("null")
def test_bad_json_never_reaches_the_function_and_never_raises(text) -> None:
    for tool, strictly in ((guarded, True), (RAW, False)):
        reached.clear()
        context: ToolContext[Any] = ToolContext(None, tool_name=tool.name, tool_call_id="call_1", tool_arguments=text)
        outcome = trio.run(invoke_tool, tool, context, text)
        assert (outcome.failure, bool(reached)) in (("invalid_arguments", False), (None, True))
        outcome.output.encode()
        assert outcome.errors == ()
        if reached:
            assert fits(text.strip(), strictly=strictly)
