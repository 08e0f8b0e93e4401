"""A function's signature, as the JSON Schema that a model sees and as the check that its arguments pass.

Both come from one msgspec Struct generated from the signature, so what is promised is what is enforced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin

import attrs
import msgspec

from trealtime.agents.context import RunContext, ToolContext
from trealtime.errors import ToolArgumentsError

__all__ = ["ToolSignature", "read_signature"]

_Kind = inspect.Parameter
_DEFS = "#/$defs/"


@attrs.frozen(eq=False)
class ToolSignature:
    """How a model calls one function: `json_schema` for the model, `parse` for what the model then writes."""

    tool_name: str
    json_schema: Mapping[str, Any]
    takes_context: bool
    parameters: tuple[inspect.Parameter, ...]
    arguments_type: type[msgspec.Struct]

    def parse(self, arguments: str) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments for the function, without its context; an empty text counts as ``{}``.

        Validation is strict: no coercion of types, no unknown names. Raises `ToolArgumentsError` with a message that a
        model can act on.
        """
        try:
            values = msgspec.json.decode(arguments.strip() or "{}", type=self.arguments_type)
        except msgspec.ValidationError as error:
            raise self._refusal(str(error), arguments) from error
        except msgspec.DecodeError as error:
            raise self._refusal(f"not valid JSON: {error}", arguments) from error
        positional: list[Any] = []
        keyword: dict[str, Any] = {}
        for parameter in self.parameters:
            value = getattr(values, parameter.name)
            if parameter.kind is _Kind.VAR_POSITIONAL:
                positional.extend(value)
            elif parameter.kind is _Kind.VAR_KEYWORD:
                keyword.update(value)
            elif parameter.kind is _Kind.KEYWORD_ONLY:
                keyword[parameter.name] = value
            else:
                positional.append(value)
        return positional, keyword

    def _refusal(self, problem: str, arguments: str) -> ToolArgumentsError:
        return ToolArgumentsError(
            f"invalid arguments for tool {self.tool_name}: {problem}", tool_name=self.tool_name, arguments=arguments
        )


def read_signature(
    function: Callable[..., object], *, tool_name: str, descriptions: Mapping[str, str]
) -> ToolSignature:
    """The signature of `function`, with `descriptions` by parameter name (text in ``Annotated`` goes before them).

    A first parameter annotated `RunContext` or `ToolContext` is for the library to fill and not in the schema.
    ``*args`` becomes a list, ``**kwargs`` an object. Raises TypeError for a parameter that has no JSON Schema, naming
    it.
    """
    try:
        parameters = tuple(inspect.signature(function, eval_str=True).parameters.values())
    except (NameError, TypeError, ValueError) as error:
        raise TypeError(f"tool {tool_name!r}: its signature cannot be read: {error}") from error
    takes_context = bool(parameters) and _is_context(parameters[0])
    if takes_context:
        parameters = parameters[1:]
    for parameter in parameters:
        if _is_context(parameter):
            raise TypeError(f"tool {tool_name!r}: the context must be the first parameter, {parameter.name!r} is not")
    fields = [_field(parameter, descriptions.get(parameter.name)) for parameter in parameters]
    arguments_type = msgspec.defstruct(tool_name, fields, forbid_unknown_fields=True, kw_only=True)
    return ToolSignature(
        tool_name=tool_name,
        json_schema=_json_schema(arguments_type, tool_name),
        takes_context=takes_context,
        parameters=parameters,
        arguments_type=arguments_type,
    )


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = get_origin(parameter.annotation) or parameter.annotation
    return annotation is RunContext or annotation is ToolContext


def _field(parameter: inspect.Parameter, description: str | None) -> tuple[str, Any, Any]:
    annotation = Any if parameter.annotation is _Kind.empty else parameter.annotation
    if parameter.kind is _Kind.VAR_POSITIONAL:
        return (
            parameter.name,
            _described(GenericAlias(list, (annotation,)), description),
            msgspec.field(default_factory=list),
        )
    if parameter.kind is _Kind.VAR_KEYWORD:
        return (
            parameter.name,
            _described(GenericAlias(dict, (str, annotation)), description),
            msgspec.field(default_factory=dict),
        )
    return parameter.name, _described(annotation, description), _default(parameter.default)


def _described(annotation: Any, description: str | None) -> Any:
    if get_origin(annotation) is Annotated:
        texts = [extra for extra in get_args(annotation)[1:] if isinstance(extra, str)]
        description = texts[0] if texts else description
    return Annotated[annotation, msgspec.Meta(description=description)] if description else annotation


def _default(default: object) -> Any:
    if default is _Kind.empty:
        return msgspec.field()
    if default is None or type(default) in {bool, int, float, str}:
        return msgspec.field(default=default)
    # The function's own default object, as Python would use it; msgspec refuses mutable ones and would have to write
    # any other into the schema.
    return msgspec.field(default_factory=lambda: default)


def _json_schema(arguments_type: type[msgspec.Struct], tool_name: str) -> dict[str, Any]:
    try:
        (root,), components = msgspec.json.schema_components([arguments_type], ref_template=_DEFS + "{name}")
    except TypeError as error:
        raise TypeError(
            f"tool {tool_name!r}: parameter {_culprit(arguments_type)} has no JSON Schema: {error}"
        ) from error
    schema = components.pop(root["$ref"].removeprefix(_DEFS))
    del schema["title"]  # the name of the generated Struct: the tool has it already
    schema.setdefault("required", [])
    return {**schema, "$defs": components} if components else schema


def _culprit(arguments_type: type[msgspec.Struct]) -> str:
    for field in msgspec.structs.fields(arguments_type):
        try:
            msgspec.json.schema(field.type)
        except TypeError:
            return f"{field.name!r}"
    raise AssertionError("a Struct has a schema when all its fields have one")
