"""Agents and what belongs to them: handoffs, guardrails, hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime.agents.guardrails import InputGuardrailResult as InputGuardrailResult
    from trealtime.agents.guardrails import OutputGuardrailResult as OutputGuardrailResult
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
