"""Checks of the values that users declare tools, handoffs and agents with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Final

from trealtime._secrets import shown

__all__ = ["NAME_RULE", "is_function_name", "require", "takes"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
NAME_RULE: Final = "1 to 64 ASCII letters, digits, underscores, hyphens"


def is_function_name(name: str) -> bool:
    """Return whether the model can call a function by `name`; see `NAME_RULE`."""
    return _NAME.match(name) is not None


def require(fits: bool, field: str, value: object, allowed: str) -> None:  # noqa: FBT001  (a condition, not an option)
    """Raise TypeError, which names the field, its value and the allowed values, unless `fits`."""
    if not fits:
        raise TypeError(f"{field}: got {shown(value)}, allowed: {allowed}")


def takes(function: Callable[..., object], count: int) -> bool:
    """Return whether `function` can be called with `count` positional arguments, as far as its signature shows."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without a signature: the call itself will show
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
