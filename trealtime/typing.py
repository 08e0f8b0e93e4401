"""Aliases for annotations: the callables that a user writes, and the words that fields and settings take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime._core.interruption import BargeInPolicy as BargeInPolicy
    from trealtime._session.approval_handler import ApprovalDecision as ApprovalDecision
    from trealtime._session.approval_handler import ApprovalHandler as ApprovalHandler
    from trealtime._session.subscription import Overflow as Overflow
    from trealtime.agents.guardrails import GuardrailFunction as GuardrailFunction
    from trealtime.errors import WebhookProblem as WebhookProblem
    from trealtime.events import DismissReason as DismissReason
    from trealtime.events import LimitName as LimitName
    from trealtime.events import ResponseStatus as ResponseStatus
    from trealtime.items import ItemStatus as ItemStatus
    from trealtime.mcp.servers import RequireApproval as RequireApproval
    from trealtime.mcp.servers import ToolFilter as ToolFilter
    from trealtime.tools.function_tool import AfterTool as AfterTool
    from trealtime.tools.function_tool import NeedsApproval as NeedsApproval
    from trealtime.tools.function_tool import OnInterrupt as OnInterrupt
    from trealtime.tools.function_tool import ToolEnabled as ToolEnabled
    from trealtime.tools.function_tool import ToolErrorFunction as ToolErrorFunction
    from trealtime.tools.guardrails import ToolInputGuardrailFunction as ToolInputGuardrailFunction
    from trealtime.tools.guardrails import ToolOutputGuardrailFunction as ToolOutputGuardrailFunction
    from trealtime.tools.invocation import ToolErrorFormatter as ToolErrorFormatter
    from trealtime.tools.invocation import ToolErrorKind as ToolErrorKind
<<<<<<< HEAD
    from trealtime.transport.request import ApiKey as ApiKey
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
=======
    from trealtime.transport.request import ApiKey as ApiKey

_HOMES = _lazy.homes(
    {
        "_core.barge_in": "BargeInPolicy",
        "_session.approval_handler": "ApprovalDecision ApprovalHandler",
        "_session.subscription": "Overflow",
        "agents.guardrails": "GuardrailFunction",
        "errors": "WebhookProblem",
        "events": "DismissReason LimitName ResponseStatus",
        "items": "ItemStatus",
        "mcp.servers": "RequireApproval ToolFilter",
        "tools.function_tool": "AfterTool NeedsApproval OnInterrupt ToolEnabled ToolErrorFunction",
        "tools.guardrails": "ToolInputGuardrailFunction ToolOutputGuardrailFunction",
        "tools.invocation": "ToolErrorFormatter ToolErrorKind",
        "transport.credentials": "ApiKey",
    }
)

if not TYPE_CHECKING:
    __all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    return _lazy.load(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
>>>>>>> eb646b5 (Clients speak through the sans-IO layer of websockets, under a reader and a writer of our own)
