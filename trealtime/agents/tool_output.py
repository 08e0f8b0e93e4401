"""What a tool returned, as the text that the model reads."""

from __future__ import annotations

import msgspec

__all__ = ["serialise_output"]


def serialise_output(value: object) -> str:
    """`value` as the ``output`` of a ``function_call_output`` item. Never raises for a value of any type.

    A str is sent as it is, because the model reads prose better than a quoted string. Everything else becomes compact
    JSON with non-ASCII text kept: None is ``null``; dict, list, numbers, bool, dataclass, attrs class, enum and
    datetime as one expects; bytes become base64; a pydantic model is asked for its own JSON form. What has no JSON form
    at all is ``str(value)``.
    """
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value, enc_hook=_own_json_form).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return str(value)


def _own_json_form(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return dump(mode="json")
