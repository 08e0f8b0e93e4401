"""Scenarios as values, as the YAML files give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = ["DEFAULT_WITHIN_S", "Expectation", "Mock", "Scenario", "Step"]

DEFAULT_WITHIN_S: Final = 30.0
"""How long an answer may take, in seconds."""


@attrs.frozen(kw_only=True)
class Mock:
    """A stand-in for a tool: it `returns` a value, or fails with `error`, after `after_s` seconds."""

    returns: Any = None
    error: str | None = None
    after_s: float = 0.0


@attrs.frozen(kw_only=True)
class Expectation:
    """The conditions for the answer to one step. None and empty sequences allow any answer.

    `called` is a sequence of names with the arguments that each call must have had; a call may have others, too. An
    argument ``{"matches": regex}`` or ``{"contains": text}`` is compared as text. Contained texts are compared without
    case.
    """

    text: str | None = None
    contains: Sequence[str] = ()
    not_contains: Sequence[str] = ()
    matches: str | None = None
    called: Sequence[tuple[str, Mapping[str, Any]]] = ()
    not_called: Sequence[str] = ()
    handoff: str | None = None
    agent: str | None = None
    approval: str | None = None
    guardrail: str | None = None
    interrupted: bool | None = None
    heard: str | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class Step:
    """One turn of the user: they `say` something in writing, or `speak` it, or do nothing for `wait_s` seconds.

    The answer must be made within `within_s` seconds. It is interrupted when `interrupt_at_s` seconds of it have been
    heard. With `approve`, calls that need approval get it. `answer` replaces the rules of an emulator's brain in this
    step: words, or a call as ``{"call": {name: arguments}}``.
    """

    say: str | None = None
    speak: str | None = None
    wait_s: float | None = None
    within_s: float = DEFAULT_WITHIN_S
    interrupt_at_s: float | None = None
    approve: bool = True
    answer: Sequence[str | Mapping[str, Any]] = ()
    expect: Expectation = Expectation()
    line: int = 0


@attrs.frozen(kw_only=True)
class Scenario:
    """A conversation: the agent at ``module:attribute``, the session's `settings`, the stand-ins for `tools`."""

    name: str
    agent: str
    steps: Sequence[Step]
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    tools: Mapping[str, Mock] = attrs.field(factory=dict)
    file: Path
    line: int = 0
