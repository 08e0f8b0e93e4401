"""Which functions the user's words point at.

Tools are wire-shaped (``{"type": "function", "name", "description", "parameters"}``). A function is *named* when its
name, or every meaningful word of it, is in the text. When none is, the one whose name and description share most words
with the text is meant, if they share at least two, or one and the text has all arguments that the function requires.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trealtime.emulator.brain_arguments import fill_arguments, has_all_required
from trealtime.emulator.brain_words import content_words

__all__ = ["Call", "call_for", "calls_for", "functions_meant", "functions_of"]

Call = tuple[str, dict[str, object]]
"""The name of a function, and the arguments."""


def functions_of(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The function tools among `tools`: those of MCP servers are not the client's to run."""
    return [tool for tool in tools if tool.get("type", "function") == "function" and tool.get("name")]


def calls_for(text: str, functions: Sequence[Mapping[str, Any]]) -> list[Call]:
    """The calls that `text` asks for, in the order in which it names the functions."""
    return [call_for(piece, function) for function, piece in functions_meant(text, functions)]


def functions_meant(text: str, functions: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """The functions that `text` asks for, in the order in which it names them, each with the piece of `text` that has
    its arguments."""
    named = sorted(
        ((where, tool) for tool in functions if (where := _where_named(tool, text)) is not None),
        key=lambda found: found[0],
    )
    if not named:
        described = _best_described(text, functions)
        return [] if described is None else [(described, text)]
    # Of several, each finds its arguments between its own name and the next one's.
    borders = [0, *(where for where, _ in named[1:]), len(text)]
    return [(tool, text[borders[n] : borders[n + 1]]) for n, (_, tool) in enumerate(named)]


def call_for(text: str, function: Mapping[str, Any]) -> Call:
    """A call of `function` with what `text` has for its arguments."""
    return function["name"], fill_arguments(text, function.get("parameters") or {})


def _where_named(function: Mapping[str, Any], text: str) -> int | None:
    exact = re.search(rf"(?<!\w){re.escape(function['name'])}(?!\w)", text, re.IGNORECASE)
    if exact is not None:
        return exact.start()
    words = content_words(function["name"])
    if not words or not set(words) <= set(content_words(text)):
        return None
    return min(text.lower().index(word) for word in words)


def _best_described(text: str, functions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    said = set(content_words(text))

    def shared(function: Mapping[str, Any]) -> int:
        return len(said & {*content_words(function["name"]), *content_words(function.get("description") or "")})

    best = max(functions, key=shared, default=None)
    if best is None or shared(best) == 0:
        return None
    return best if shared(best) > 1 or has_all_required(text, best.get("parameters") or {}) else None
