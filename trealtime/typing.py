"""Aliases for annotations: the callables that a user writes, and the words that fields and settings take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime._core.interruption import BargeInPolicy as BargeInPolicy
    from trealtime._core.reconnection import Summarise as Summarise
    from trealtime._session.approval_handler import ApprovalDecision as ApprovalDecision
    from trealtime._session.approval_handler import ApprovalHandler as ApprovalHandler
    from trealtime._session.connections import ConnectionEnd as ConnectionEnd
    from trealtime._session.listening import Listening as Listening
    from trealtime._session.listening import SpokenTurn as SpokenTurn
    from trealtime._session.subscription import Overflow as Overflow
    from trealtime.agents.guardrails import GuardrailFunction as GuardrailFunction
    from trealtime.errors import WebhookProblem as WebhookProblem
    from trealtime.events import ConfirmReason as ConfirmReason
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
    from trealtime.transport.request import ApiKey as ApiKey
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
