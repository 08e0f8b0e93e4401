"""The run context: it takes one object of the user's to every callable of an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

import attrs
import trio

from trealtime.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # checkers know it, installed or not

    from trealtime.agents.agent import RealtimeAgent

    # The default (PEP 696) spares users an annotation at ``agent = RealtimeAgent(name=...)``.
    ContextT = TypeVar("ContextT", default=Any)
else:
    from typing import TypeVar

    ContextT = TypeVar("ContextT")

__all__ = ["ContextT", "RunContext", "RunContextWrapper", "ToolContext"]


@attrs.define
class RunContext(Generic[ContextT]):
    """The object of ``runner.run(context=...)``, as `context`, and the token usage of the session so far."""

    context: ContextT
    usage: Usage = attrs.field(factory=Usage)


RunContextWrapper = RunContext
"""The name under which the OpenAI Agents SDK has it."""


@attrs.define
class ToolContext(RunContext[ContextT]):
    """The run context of one tool call. `tool_arguments` is the JSON text as the model wrote it.

    `agent` was in charge when the model made the call. `thread_limiter` bounds how many synchronous tools of a session
    run at a time; None means Trio's own limiter, which the whole process shares. `on_progress` takes a note for the
    app, which becomes a ``tool_progress`` event; None: no session listens.
    """

    tool_name: str = attrs.field(kw_only=True)
    tool_call_id: str = attrs.field(kw_only=True)
    tool_arguments: str = attrs.field(default="", kw_only=True)
    agent: RealtimeAgent[Any] | None = attrs.field(default=None, kw_only=True)
    thread_limiter: trio.CapacityLimiter | None = attrs.field(default=None, kw_only=True)
    on_progress: Callable[[object], None] | None = attrs.field(default=None, kw_only=True)
