"""Compare the settings that we asked for with those that the server acknowledged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from trealtime.audio.formats import parse_audio_format
from trealtime.errors import AudioFormatError
from trealtime.protocol.lenient import as_text

__all__ = ["session_differences"]

_MISSING: Final = object()


def session_differences(
    requested: Mapping[str, Any], acknowledged: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """Return ``(path, requested, acknowledged)`` for every setting that the server acknowledged with another value.

    `requested` is the session object we sent, `acknowledged` that of the server's answer. Spelling is no difference:
    formats are compared by meaning, a voice by its id, a model without its date, numbers by value, tools by name
    and parameters. Settings that the server does not echo are no difference, nor are fields that it adds. Paths
    are dotted, from the session object.
    """
    differences: list[tuple[str, object, object]] = []
    _compare("", requested, acknowledged, differences)
    return differences


def _compare(path: str, requested: Any, acknowledged: Any, differences: list[tuple[str, object, object]]) -> None:
    key = path.rpartition(".")[2]
    if key == "format":
        same = requested == acknowledged or _same_format(requested, acknowledged)
    elif key == "model":
        same = requested == acknowledged or requested == _without_date(acknowledged)
    elif key == "tracing" and acknowledged is None:
        # A server that keeps no traces answers null; nothing in the conversation changes by it.
        same = True
    elif key == "voice":
        same = _voice(requested) == _voice(acknowledged)
    elif key == "tools" and _is_list(requested) and _is_list(acknowledged):
        same = _tools(requested) == _tools(acknowledged)
    elif isinstance(requested, Mapping) and isinstance(acknowledged, Mapping):
        for name, value in requested.items():
            answer = acknowledged.get(name, _MISSING)
            if answer is not _MISSING:
                _compare(f"{path}.{name}" if path else name, value, answer, differences)
        return
    else:
        same = _same_value(requested, acknowledged)
    if not same:
        differences.append((path, requested, acknowledged))


def _same_format(requested: Any, acknowledged: Any) -> bool:
    try:
        return parse_audio_format(requested) == parse_audio_format(acknowledged)
    except AudioFormatError:
        return False


def _without_date(model: Any) -> Any:
    """A server answers with the snapshot that a model name stands for: ``gpt-realtime-2025-08-28``."""
    return re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model) if isinstance(model, str) else model


def _same_value(requested: Any, acknowledged: Any) -> bool:
    if isinstance(requested, bool) or isinstance(acknowledged, bool):
        return requested is acknowledged
    if isinstance(requested, (int, float)) and isinstance(acknowledged, (int, float)):
        try:
            # A server may keep its numbers in single precision: 0.7 comes back as 0.699999988079071.
            return math.isclose(requested, acknowledged, rel_tol=1e-6)
        except OverflowError:  # a whole number that no float holds
            return requested == acknowledged
    if requested is None or acknowledged is None:
        # An empty value and null are the same: an empty list or text "clears", and comes back as either.
        return requested in (None, "", [], {}) and acknowledged in (None, "", [], {})
    if _is_list(requested) and _is_list(acknowledged):
        return len(requested) == len(acknowledged) and all(map(_same_value, requested, acknowledged))
    return bool(requested == acknowledged)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _voice(value: Any) -> object:
    return value.get("id") if isinstance(value, Mapping) else value


def _tools(tools: Sequence[Any]) -> dict[object, object]:
    """Return the parameters by name, or by the label of an MCP server. A server may tidy descriptions, add
    ``strict``, reorder."""
    return {
        as_text(tool.get("name")) or as_text(tool.get("server_label")): _parameters(tool.get("parameters"))
        for tool in tools
        if isinstance(tool, Mapping)
    }


def _parameters(parameters: Any) -> object:
    return (
        {key: value for key, value in parameters.items() if key != "strict"}
        if isinstance(parameters, Mapping)
        else None
    )
