"""The check of an answer against the expectations of a step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from trealtime.evals.scenario import Expectation

__all__ = ["Heard", "failures"]


@attrs.define(kw_only=True)
class Heard:
    """The answer to one step."""

    text: str = ""
    """The agent's words, several messages joined by spaces."""

    calls: list[tuple[str, Mapping[str, Any]]] = attrs.field(factory=list)
    handoffs: list[str] = attrs.field(factory=list)
    approvals: list[str] = attrs.field(factory=list)
    guardrails: list[str] = attrs.field(factory=list)
    errors: list[str] = attrs.field(factory=list)
    interrupted: bool = False
    user_text: str = ""
    """The words of the user, as the server heard them."""

    agent: str = ""
    """The name of the agent in charge now."""

    seconds: float = 0.0
    """How long it took to make the answer."""

    complete: bool = False


def failures(expected: Expectation, heard: Heard, *, within_s: float) -> list[str]:
    """Return one line for each expectation that was not met."""
    found = list(_of_words(expected, heard.text))
    found += _of_calls(expected, heard)
    for what, wanted, were in (
        ("handoff to", expected.handoff, heard.handoffs),
        ("question of approval for", expected.approval, heard.approvals),
        ("guardrail", expected.guardrail, heard.guardrails),
    ):
        if wanted is not None and wanted not in were:
            found.append(f"there was no {what} {wanted!r}{f', but {were}' if were else ''}")
    if expected.agent is not None and expected.agent != heard.agent:
        found.append(f"the agent in charge is {heard.agent!r}, expected {expected.agent!r}")
    if expected.interrupted is not None and expected.interrupted != heard.interrupted:
        found.append("the agent was not interrupted" if expected.interrupted else "the agent was interrupted")
    if expected.heard is not None and not _is_in(expected.heard, heard.user_text):
        found.append(f"the user was heard saying {heard.user_text!r}, expected {expected.heard!r} in it")
    if expected.error is None:
        found += [f"an error: {error}" for error in heard.errors]
    elif not any(_is_in(expected.error, error) for error in heard.errors):
        found.append(f"there was no error with {expected.error!r}{f', but {heard.errors}' if heard.errors else ''}")
    if not heard.complete:
        found.append(f"no complete answer within {within_s:g} s")
    return found


def _of_words(expected: Expectation, text: str) -> Iterator[str]:
    if expected.text is not None and expected.text != text:
        yield f"the agent said {text!r}, expected {expected.text!r}"
    for part in expected.contains:
        if not _is_in(part, text):
            yield f"the agent said {text!r}, which does not contain {part!r}"
    for part in expected.not_contains:
        if _is_in(part, text):
            yield f"the agent said {text!r}, which contains {part!r}"
    if expected.matches is not None and not re.search(expected.matches, text, re.IGNORECASE):
        yield f"the agent said {text!r}, which does not match {expected.matches!r}"


def _of_calls(expected: Expectation, heard: Heard) -> Iterator[str]:
    made = (
        "; ".join(f"{name}({json.dumps(arguments, ensure_ascii=False)})" for name, arguments in heard.calls) or "none"
    )
    for name, arguments in expected.called:
        if not any(name == called and _fits(arguments, given) for called, given in heard.calls):
            wanted = f"{name}({json.dumps(arguments, ensure_ascii=False)})" if arguments else name
            yield f"{wanted} was not called; calls: {made}"
    for name in expected.not_called:
        if any(name == called for called, _ in heard.calls):
            yield f"{name} was called; calls: {made}"


def _fits(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, Mapping):
        if wanted.keys() == {"matches"}:
            return re.search(str(wanted["matches"]), str(given), re.IGNORECASE) is not None
        if wanted.keys() == {"contains"}:
            return _is_in(str(wanted["contains"]), str(given))
        return isinstance(given, Mapping) and all(
            name in given and _fits(value, given[name]) for name, value in wanted.items()
        )
    return bool(wanted == given)


def _is_in(part: str, text: str) -> bool:
    return part.casefold() in text.casefold()
