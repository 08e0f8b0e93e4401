"""The parameters of a function, with their annotations as types.

Annotations may be text, whole (``from __future__ import annotations``) or in part (``list["Order"]``), and name types
that only a type checker imports.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, ForwardRef, get_args, get_type_hints

from trealtime.tools.context import RunContext, ToolContext

__all__ = ["parameters_of"]


def parameters_of(function: Callable[..., object]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of `function`. What it returns is not looked at, nor what its context holds.

    Raises NameError for a name that is not found, and what an annotation raises.
    """
    names = _globals(function)
    try:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    except NameError:
        parameters = list(inspect.signature(function).parameters.values())
        if parameters and _is_context_text(parameters[0].annotation, names):
            parameters[0] = parameters[0].replace(annotation=RunContext)
    return tuple(
        parameter.replace(annotation=_resolved(parameter.annotation, names))
        if _has_text(parameter.annotation)
        else parameter
        for parameter in parameters
    )


def _globals(function: Any) -> Mapping[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__globals__"):
        function = type(function).__call__
    return getattr(function, "__globals__", {})


def _has_text(annotation: Any) -> bool:
    return isinstance(annotation, str | ForwardRef) or any(map(_has_text, get_args(annotation)))


def _resolved(annotation: Any, names: Mapping[str, Any]) -> Any:
    holder = SimpleNamespace(__annotations__={"it": annotation})
    return get_type_hints(holder, dict(names), include_extras=True)["it"]


def _is_context_text(annotation: Any, names: Mapping[str, Any]) -> bool:
    """Whether it is a context of a type that is not there: ``"RunContext[Caller]"``."""
    if not isinstance(annotation, str):
        return False
    outer = annotation.strip("\"' ").partition("[")[0]
    try:
        return eval(outer, dict(names)) in (RunContext, ToolContext)  # noqa: S307  (as inspect does with annotations)
    except Exception:  # noqa: BLE001  (it names something else)
        return False
