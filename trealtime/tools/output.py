"""The result of a tool as the text that the model reads."""

from __future__ import annotations

from typing import Final

import msgspec

from trealtime.terminal import text_of

__all__ = ["MAX_OUTPUT_BYTES", "cap_output", "serialise_output"]

MAX_OUTPUT_BYTES: Final = 256 * 1024
"""The longest output by default, in bytes of UTF-8: some 65,000 tokens of English."""


def serialise_output(value: object) -> str:
    """Return `value` as the ``output`` of a ``function_call_output`` item. Raises for no value of any type.

    A str, of any subclass, is sent as it is, because the model reads prose better than a quoted string. Everything else
    becomes compact JSON with non-ASCII text kept: None is ``null``; dict, list, numbers, bool, dataclass, attrs class,
    enum and datetime as one expects; bytes become base64; a pydantic model is asked for its own JSON form. A value that
    has no JSON form at all is ``str(value)``. Lone surrogates, which no wire can carry, become question marks.
    """
    try:
        if isinstance(value, str):
            return _encodable(str.__str__(value))  # a subclass may override what str(value) calls
        return msgspec.json.encode(value, enc_hook=_own_json_form).decode()
    except Exception:  # noqa: BLE001  (what a class does for its JSON form may fail in any way)
        return _encodable(text_of(value))


def cap_output(output: str, *, max_bytes: int | None) -> str:
    """Return `output` cut to `max_bytes` of UTF-8 between two characters, with a note to the model; None: whole."""
    if max_bytes is None or len(output) * 4 <= max_bytes:  # no character takes more than four bytes
        return output
    data = output.encode()
    if len(data) <= max_bytes:
        return output
    kept = data[:max_bytes].decode(errors="ignore")
    return f"{kept}\n[The result was cut here: this is the beginning, {max_bytes} of {len(data)} bytes.]"


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _own_json_form(value: object) -> object:
    if isinstance(value, str):
        return str.__str__(value)
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return dump(mode="json")
