"""A function's signature, as the JSON Schema that a model sees and as the check that its arguments pass.

Both come from one msgspec Struct generated from the signature, so the check enforces what the schema promises. A
parameter whose annotation is pydantic's is pydantic's to describe and to check: the Struct keeps its JSON as it is.
The fields of the Struct have names of their own, because Python and msgspec keep some names for themselves.
"""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import math
from collections.abc import Callable, Mapping
from types import GenericAlias, UnionType
from typing import Annotated, Any, Final, Optional, TypeVar, Union, get_args, get_origin

import attrs
import msgspec

from trealtime._value import Shown
from trealtime.errors import ToolArgumentsError
from trealtime.terminal import text_of
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.pydantic_types import PydanticRefusal, PydanticType, is_pydantic, pydantic_type, schemas_of
from trealtime.tools.refusals import explain_refusal
from trealtime.tools.signatures import parameters_of

__all__ = ["ToolSignature", "check_json_object", "decoded", "honest", "read_signature"]

T = TypeVar("T")

_Kind = inspect.Parameter
_DEFS = "#/$defs/"
_EXACT = 2**53
_DATA = frozenset({"default", "enum", "const", "examples", "required"})
_DESCRIBED = (
    "JSON's own types, enums, dates, dataclasses, attrs classes, TypedDicts, NamedTuples, msgspec's, pydantic's"
)


@attrs.frozen(eq=False, repr=False)
class ToolSignature(Shown):
    """How a model calls one function: `json_schema` for the model, `parse` for what the model then writes."""

    tool_name: str
    json_schema: Mapping[str, Any]
    takes_context: bool
    parameters: tuple[inspect.Parameter, ...]
    decoder: msgspec.json.Decoder[msgspec.Struct]
    pydantic: Mapping[str, PydanticType] = attrs.field(factory=dict)
    """The parameters that pydantic reads, by name."""

    def parse(self, arguments: str) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments for the function, without its context; an empty text counts as ``{}``.

        Validation is strict: no coercion of types, no unknown names; 1.0 is an integer, as in JSON Schema. Raises
        `ToolArgumentsError` with a message that a model can act on: where, what stands there, what may stand there.
        """
        text = arguments.strip() or "{}"
        try:
            found = decoded(self.decoder, text)
            values = {
                parameter.name: self._read(parameter.name, getattr(found, _field_name(index)))
                for index, parameter in enumerate(self.parameters)
            }
        except Exception as error:
            # Beside msgspec's own errors, constructors of the declared types may raise anything.
            raise refusal(self.tool_name, error, text, self.json_schema) from error
        positional: list[Any] = []
        keyword: dict[str, Any] = {}
        for parameter in self.parameters:
            value = values[parameter.name]
            if parameter.kind is _Kind.VAR_POSITIONAL:
                positional.extend(value)
            elif parameter.kind is _Kind.VAR_KEYWORD:
                self._check_free(parameter.name, value, arguments)
                keyword.update(value)
            elif parameter.kind is _Kind.KEYWORD_ONLY:
                keyword[parameter.name] = value
            else:
                positional.append(value)
        return positional, keyword

    def _check_free(self, name: str, more: Mapping[str, Any], arguments: str) -> None:
        """Raise `ToolArgumentsError` where a name among those of ``**name`` is that of another parameter."""
        taken = [each.name for each in self.parameters if each.kind is not _Kind.POSITIONAL_ONLY and each.name in more]
        if taken:
            problem = f"{name}: got a value for {taken[0]!r}, allowed: names other than those of the parameters"
            raise _refused(self.tool_name, problem, arguments)

    def _read(self, name: str, value: Any) -> Any:
        """Read the model's value for a parameter of pydantic's; a default is not JSON and stays as it is."""
        if name not in self.pydantic or not isinstance(value, msgspec.Raw):
            return value
        return self.pydantic[name].read(bytes(value), path=name)


def decoded(decoder: msgspec.json.Decoder[T], text: str) -> T:
    """Return the JSON `text` as `decoder` reads it, which takes 1.0 for no integer. Raises what it raises."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        if not str(error).startswith("Expected `int`, got `float`"):
            raise
    # To JSON Schema 1.0 is an integer, and models write it.
    return decoder.decode(msgspec.json.encode(_with_integers(msgspec.json.decode(text))))


def _field_name(index: int) -> str:
    """Return the name of the Struct's field for the parameter at `index`."""
    return f"p{index}"


def _with_integers(value: Any) -> Any:
    """Return JSON `value` with its numbers without a fraction as integers, as far as a float holds them exactly."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_with_integers(each) for each in value]
    if isinstance(value, dict):
        return {key: _with_integers(each) for key, each in value.items()}
    return value


def check_json_object(tool_name: str, arguments: str, schema: Mapping[str, Any]) -> None:
    """Raise `ToolArgumentsError` unless `arguments` is a JSON object; an empty text counts as one."""
    text = arguments.strip() or "{}"
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except Exception as error:
        raise refusal(tool_name, error, text, schema) from error


def refusal(tool_name: str, error: Exception, arguments: str, schema: Mapping[str, Any]) -> ToolArgumentsError:
    """The error that tells the model why `arguments` were refused with `error`."""
    try:
        msgspec.json.decode(arguments)
        problem = str(error) if isinstance(error, PydanticRefusal) else explain_refusal(error, arguments, schema)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as unreadable:
        problem = f"not valid JSON: {unreadable}"
    return _refused(tool_name, problem, arguments)


def _refused(tool_name: str, problem: str, arguments: str) -> ToolArgumentsError:
    return ToolArgumentsError(
        f"invalid arguments for tool {tool_name}: {problem}", tool_name=tool_name, arguments=arguments
    )


def read_signature(
    function: Callable[..., object], *, tool_name: str, descriptions: Mapping[str, str]
) -> ToolSignature:
    """The signature of `function`, with `descriptions` by parameter name (those in ``Annotated`` go before them).

    A first parameter annotated `RunContext` or `ToolContext` is for the library to fill and not in the schema.
    ``*args`` becomes a list, ``**kwargs`` an object, and a parameter whose default is None may be null. Raises
    TypeError for a parameter that has no JSON Schema, naming it.
    """
    try:
        parameters = tuple(map(_nullable, parameters_of(function)))
    except Exception as error:  # an annotation may raise anything
        raise TypeError(f"tool {tool_name!r}: its signature cannot be read: {error}") from error
    takes_context = bool(parameters) and _is_context(parameters[0])
    if takes_context:
        parameters = parameters[1:]
    for parameter in parameters:
        if _is_context(parameter):
            raise TypeError(f"tool {tool_name!r}: the context must be the first parameter, {parameter.name!r} is not")
    by_pydantic: dict[str, PydanticType] = {}
    fields = []
    for index, parameter in enumerate(parameters):
        description = descriptions.get(parameter.name)
        if is_pydantic(parameter.annotation, parameter.default):
            by_pydantic[parameter.name] = _pydantic_type(parameter, description, tool_name)
            annotation, default = _raw_field(parameter, by_pydantic[parameter.name])
        else:
            annotation, default = _field(parameter, description)
        fields.append((_field_name(index), annotation, default))
    names = {_field_name(index): parameter.name for index, parameter in enumerate(parameters)}
    arguments_type = msgspec.defstruct(tool_name, fields, rename=names, forbid_unknown_fields=True, kw_only=True)
    return ToolSignature(
        tool_name=tool_name,
        json_schema=honest(_with_pydantic(_json_schema(arguments_type, tool_name), by_pydantic, tool_name)),
        takes_context=takes_context,
        parameters=parameters,
        decoder=msgspec.json.Decoder(arguments_type),
        pydantic=by_pydantic,
    )


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = get_origin(parameter.annotation) or parameter.annotation
    return annotation is RunContext or annotation is ToolContext


def _nullable(parameter: inspect.Parameter) -> inspect.Parameter:
    """Let the annotation of a parameter whose default is None take None: the schema shows the model that default."""
    annotation = parameter.annotation
    if parameter.default is not None or annotation in (_Kind.empty, Any, object) or _is_context(parameter):
        return parameter
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if type(None) in get_args(bare):
        return parameter
    # The constraints of an Annotated are about the value, not about None.
    nullable: Any = Optional[annotation]  # noqa: UP045  (an annotation may be of a kind that has no `|`)
    description = _description_in(annotation)
    return parameter.replace(annotation=nullable if description is None else Annotated[nullable, description])


def _field(parameter: inspect.Parameter, description: str | None) -> tuple[Any, Any]:
    annotation = Any if parameter.annotation is _Kind.empty else _clearer(parameter.annotation)
    if parameter.kind is _Kind.VAR_POSITIONAL:
        return _described(GenericAlias(list, (annotation,)), description), msgspec.field(default_factory=list)
    if parameter.kind is _Kind.VAR_KEYWORD:
        return _described(GenericAlias(dict, (str, annotation)), description), msgspec.field(default_factory=dict)
    return _described(annotation, description), _default(parameter.default)


def _pydantic_type(parameter: inspect.Parameter, description: str | None, tool_name: str) -> PydanticType:
    annotation = Any if parameter.annotation is _Kind.empty else parameter.annotation
    if parameter.kind is _Kind.VAR_POSITIONAL:
        annotation = GenericAlias(list, (annotation,))
    elif parameter.kind is _Kind.VAR_KEYWORD:
        annotation = GenericAlias(dict, (str, annotation))
    try:
        return pydantic_type(annotation, parameter.default, description=description)
    except TypeError as error:
        raise TypeError(f"tool {tool_name!r}: parameter {parameter.name!r}: {error}") from error


def _raw_field(parameter: inspect.Parameter, described: PydanticType) -> tuple[Any, Any]:
    if parameter.kind is _Kind.VAR_POSITIONAL:
        return msgspec.Raw, msgspec.field(default_factory=list)
    if parameter.kind is _Kind.VAR_KEYWORD:
        return msgspec.Raw, msgspec.field(default_factory=dict)
    if described.default is None:
        return msgspec.Raw, msgspec.field()
    return msgspec.Raw, msgspec.field(default_factory=described.default)


def _with_pydantic(schema: dict[str, Any], by_pydantic: Mapping[str, PydanticType], tool_name: str) -> dict[str, Any]:
    """`schema` with what pydantic says of its parameters."""
    if not by_pydantic:
        return schema
    described, definitions = schemas_of(by_pydantic, ref_template=_DEFS + "{name}")
    own = schema.get("$defs", {})
    clashing = [name for name in definitions if own.get(name, definitions[name]) != definitions[name]]
    if clashing:
        raise TypeError(f"tool {tool_name!r}: two types are called {clashing[0]!r}, one of them pydantic's: rename one")
    properties = {
        name: _whole(described[name], by_pydantic[name]) if name in described else own_schema
        for name, own_schema in schema["properties"].items()
    }
    together = {**own, **definitions}
    return {**schema, "properties": properties} | ({"$defs": together} if together else {})


def _whole(described: dict[str, Any], by_pydantic: PydanticType) -> dict[str, Any]:
    """Return pydantic's schema of a parameter, with its default where that has a JSON form."""
    if by_pydantic.default is None or "default" in described:
        return described
    try:
        return {**described, "default": by_pydantic.adapter.dump_python(by_pydantic.default(), mode="json")}
    except Exception:  # noqa: BLE001  # a default of any kind: the schema then only says that it may be left out
        return described


# msgspec leaves the format out where a time zone is optional: a model that is not told writes "tomorrow at five". And
# it takes `object` for a type of the user's own.
_CLEARER: Final[Mapping[object, Any]] = {
    dt.datetime: Annotated[dt.datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})],
    dt.time: Annotated[dt.time, msgspec.Meta(extra_json_schema={"format": "time"})],
    object: Any,
}


def _clearer(annotation: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (dt.datetime, dt.time, object):
        return _CLEARER[annotation]
    if origin is UnionType or origin is Union:
        return Union[tuple(_clearer(each) for each in arguments)]  # noqa: UP007  (made of a tuple)
    if origin in (list, tuple, set, frozenset, dict):
        return GenericAlias(origin, tuple(_clearer(each) for each in arguments))
    return annotation


def _described(annotation: Any, description: str | None) -> Any:
    description = _description_in(annotation) or description
    return Annotated[annotation, msgspec.Meta(description=description)] if description else annotation


def _description_in(annotation: Any) -> str | None:
    if get_origin(annotation) is not Annotated:
        return None
    # A text, or the description of a msgspec Meta or of another library's field.
    texts = (
        extra if isinstance(extra, str) else getattr(extra, "description", None) for extra in get_args(annotation)[1:]
    )
    return next((text for text in texts if isinstance(text, str)), None)


def _default(default: object) -> Any:
    if default is _Kind.empty:
        return msgspec.field()
    plain = default is None or type(default) in {bool, int, str} or isinstance(default, enum.Enum)
    if plain or (type(default) is float and math.isfinite(default)):
        return msgspec.field(default=default)
    # The function's own default object, as Python would use it; msgspec refuses mutable ones and would have to write
    # any other into the schema.
    return msgspec.field(default_factory=lambda: default)


def _json_schema(arguments_type: type[msgspec.Struct], tool_name: str) -> dict[str, Any]:
    for field in msgspec.structs.fields(arguments_type):
        try:
            # Bare first: a type of the user's own passes for one with a schema once it has a description.
            msgspec.json.schema(get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type)
            msgspec.json.schema(field.type)
        except Exception as error:  # names that are not found, and what a class does to describe itself
            name = field.encode_name
            raise TypeError(f"tool {tool_name!r}: parameter {name!r} has no JSON Schema: {_reason(error)}") from error
    (root,), components = msgspec.json.schema_components([arguments_type], ref_template=_DEFS + "{name}")
    schema = components.pop(root["$ref"].removeprefix(_DEFS))
    del schema["title"]  # the name of the generated Struct: the tool has it already
    schema.setdefault("required", [])
    return {**schema, "$defs": components} if components else schema


def honest(schema: Any) -> Any:
    """Return `schema` without defaults of null where null does not fit: ``days: int = None`` of a dataclass.

    A model that reads them writes null.
    """
    if isinstance(schema, list):
        return [honest(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: value if key in _DATA else honest(value) for key, value in schema.items()}
    if "default" in whole and whole["default"] is None and not _takes_null(whole):
        del whole["default"]
    return whole


def _takes_null(schema: Mapping[str, Any]) -> bool:
    if "anyOf" in schema:
        return any(map(_takes_null, schema["anyOf"]))
    if "$ref" in schema:
        return False
    kind = schema.get("type", "null")
    fits = kind == "null" or (isinstance(kind, list) and "null" in kind)
    return fits and None in schema.get("enum", [None])


def _reason(error: Exception) -> str:
    text = text_of(error)
    if not text.startswith("Generating JSON schema for custom types"):
        return text
    # What msgspec advises is for the author of a Struct.
    kind = text.rpartition("\n")[2].removeprefix("type ").removesuffix(" is not supported")
    return f"{kind} is none of {_DESCRIBED}"
