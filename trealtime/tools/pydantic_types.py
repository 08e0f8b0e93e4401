"""Parameters whose annotation is pydantic's: their schema and their validation are pydantic's as well.

That is a model, a pydantic dataclass, anything with a ``Field(...)`` or a constraint of `annotated_types`, and what
holds one of these. pydantic is optional: it is imported when the first such annotation is read. Validation follows the
model's own configuration, so text with a number is taken for a number where pydantic takes it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_args, get_origin, get_type_hints

import attrs

from trealtime._value import Shown
from trealtime.terminal import shortened

if TYPE_CHECKING:
    import pydantic

__all__ = ["PydanticRefusal", "PydanticType", "is_pydantic", "pydantic_type", "schemas_of"]

_MOST = 300
"""Characters of a value that are shown."""


class PydanticRefusal(ValueError):
    """A value does not fit; the text says where, what stands there, and what may stand there."""


@attrs.frozen(eq=False, repr=False)
class PydanticType(Shown):
    """One annotation: its schema and reader, and the default where there is one."""

    adapter: pydantic.TypeAdapter[Any]
    required: bool
    default: Callable[[], Any] | None

    def read(self, text: bytes, *, path: str) -> Any:
        """Return the value of the JSON `text`, which stands at `path`. Raises `PydanticRefusal`."""
        import pydantic

        try:
            return self.adapter.validate_json(text)
        except pydantic.ValidationError as error:
            raise PydanticRefusal("; ".join(_problem(each, path) for each in error.errors())) from error


def is_pydantic(annotation: Any, default: Any = inspect.Parameter.empty) -> bool:
    """Return whether `annotation`, or a ``Field(...)`` in the place of a default, is for pydantic to read."""
    return _is_field(default) or _is_pydantic(annotation, frozenset())


def pydantic_type(
    annotation: Any, default: Any = inspect.Parameter.empty, *, description: str | None = None
) -> PydanticType:
    """Return how pydantic reads `annotation`; `description` counts where the annotation has none.

    Raises TypeError for what pydantic has no schema for, ImportError where it is missing.
    """
    try:
        import pydantic
    except ImportError as error:
        raise TypeError(f"{annotation!r} is for pydantic, which is not installed: `pip install pydantic`") from error

    factory: Callable[[], Any] | None = None
    if _is_field(default):
        if default.default is None:  # the schema shows the model that default
            annotation = Optional[annotation]  # noqa: UP045  (an annotation may be of a kind that has no `|`)
        annotation = Annotated[annotation, default]
        field = default
        if field.default_factory is not None or not field.is_required():
            factory = _factory_of(field)
    elif default is not inspect.Parameter.empty:
        factory = _constantly(default)
    if description is not None and not _described(annotation):
        annotation = Annotated[annotation, pydantic.Field(description=description)]
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        adapter.json_schema()
    except pydantic.errors.PydanticUserError as error:
        raise TypeError(f"{annotation!r} has no JSON Schema: {error}") from error
    return PydanticType(adapter, required=factory is None, default=factory)


def schemas_of(types: Mapping[str, PydanticType], *, ref_template: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON Schemas of `types` under their names, and the definitions that they refer to."""
    import pydantic

    inputs: list[Any] = [(name, "validation", each.adapter) for name, each in types.items()]
    schemas, rest = pydantic.TypeAdapter.json_schemas(inputs, ref_template=ref_template.replace("{name}", "{model}"))
    return {str(name): dict(schema) for (name, _mode), schema in schemas.items()}, dict(rest.get("$defs", {}))


def _constantly(value: Any) -> Callable[[], Any]:
    return lambda: value


def _factory_of(field: Any) -> Callable[[], Any]:
    return lambda: field.get_default(call_default_factory=True)


def _described(annotation: Any) -> bool:
    extras = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return any(getattr(extra, "description", None) is not None for extra in extras)


def _problem(error: Mapping[str, Any], path: str) -> str:
    place = ".".join([path, *map(str, error["loc"])]).strip(".") or "the arguments"
    if error["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: got {_short(error['input'])}, allowed: {error['msg']}"


def _short(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return shortened(text, _MOST)


# ---- whose an annotation is -----------------------------------------------------------------------------------------


def _is_field(value: Any) -> bool:
    # Where nothing has imported pydantic, nothing can be of a class of it.
    module = sys.modules.get("pydantic.fields")
    return module is not None and isinstance(value, module.FieldInfo)


def _is_pydantic(annotation: Any, seen: frozenset[int]) -> bool:
    if id(annotation) in seen:
        return False
    seen |= {id(annotation)}
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        return any(map(_is_constraint, extras)) or _is_pydantic(inner, seen)
    if origin is not None:
        return any(_is_pydantic(each, seen) for each in get_args(annotation))
    if not isinstance(annotation, type):
        return False
    if annotation.__module__.partition(".")[0] in ("pydantic", "pydantic_core", "pydantic_extra_types"):
        return True
    if hasattr(annotation, "__pydantic_validator__") or hasattr(annotation, "__get_pydantic_core_schema__"):
        return True
    # Those of typing_extensions are no typed dicts to the typing module of older Pythons.
    if dataclasses.is_dataclass(annotation) or hasattr(annotation, "__required_keys__") or attrs.has(annotation):
        return any(_is_pydantic(each, seen) for each in _fields_of(annotation))
    return False


def _is_constraint(extra: Any) -> bool:
    module = type(extra).__module__.partition(".")[0]
    return _is_field(extra) or module in ("annotated_types", "pydantic") or hasattr(
        extra, "__get_pydantic_core_schema__"
    )  # fmt: skip


def _fields_of(annotation: type[Any]) -> list[Any]:
    try:
        return list(get_type_hints(annotation, include_extras=True).values())
    except (NameError, TypeError):  # names that cannot be found here: the one who reads the class says so
        return []
