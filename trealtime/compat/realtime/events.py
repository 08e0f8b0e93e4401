"""Session events: the fifteen that ``async for event in session`` yields here, so that an exhaustive match ends.

Events that trealtime has beyond them (`trealtime.events`) come from ``session.native.subscribe(...)``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

from trealtime.agents.guardrails import OutputGuardrailResult
from trealtime.compat.realtime.agent import RealtimeAgent
from trealtime.compat.realtime.items import RealtimeItem
from trealtime.compat.realtime.model_events import RealtimeModelAudioEvent, RealtimeModelEvent
from trealtime.compat.run_context import RunContextWrapper
from trealtime.mcp.hosted import HostedTool
from trealtime.tools.function_tool import FunctionTool

__all__ = [
    "ErrorMessage",
    "RealtimeAgentEndEvent",
    "RealtimeAgentStartEvent",
    "RealtimeAudio",
    "RealtimeAudioEnd",
    "RealtimeAudioInterrupted",
    "RealtimeError",
    "RealtimeEventInfo",
    "RealtimeGuardrailTripped",
    "RealtimeHandoffEvent",
    "RealtimeHistoryAdded",
    "RealtimeHistoryUpdated",
    "RealtimeInputAudioTimeoutTriggered",
    "RealtimeRawModelEvent",
    "RealtimeSessionEvent",
    "RealtimeToolApprovalRequired",
    "RealtimeToolEnd",
    "RealtimeToolStart",
]


@dataclasses.dataclass
class RealtimeEventInfo:
    """The part that all events of one session share: `context`, the run context."""

    context: RunContextWrapper[Any]


@dataclasses.dataclass
class RealtimeAgentStartEvent:
    """A response of `agent` has begun."""

    agent: RealtimeAgent[Any]
    info: RealtimeEventInfo
    type: Literal["agent_start"] = "agent_start"


@dataclasses.dataclass
class RealtimeAgentEndEvent:
    """A response of `agent` is over, with any outcome."""

    agent: RealtimeAgent[Any]
    info: RealtimeEventInfo
    type: Literal["agent_end"] = "agent_end"


@dataclasses.dataclass
class RealtimeHandoffEvent:
    """`to_agent` is in charge, and the server has acknowledged its settings."""

    from_agent: RealtimeAgent[Any]
    to_agent: RealtimeAgent[Any]
    info: RealtimeEventInfo
    type: Literal["handoff"] = "handoff"


@dataclasses.dataclass
class RealtimeToolStart:
    """A tool is about to run; `arguments` is JSON text."""

    agent: RealtimeAgent[Any]
    tool: FunctionTool
    arguments: str
    info: RealtimeEventInfo
    type: Literal["tool_start"] = "tool_start"


@dataclasses.dataclass
class RealtimeToolEnd:
    """A tool has run and its output is on the way to the model.

    `output` is the value that the tool returned, or the text that the model reads where it failed.
    """

    agent: RealtimeAgent[Any]
    tool: FunctionTool
    arguments: str
    output: Any
    info: RealtimeEventInfo
    type: Literal["tool_end"] = "tool_end"


@dataclasses.dataclass
class RealtimeToolApprovalRequired:
    """A call waits for `RealtimeSession.approve_tool_call` or `RealtimeSession.reject_tool_call`."""

    agent: RealtimeAgent[Any]
    tool: FunctionTool | HostedTool
    call_id: str
    arguments: str
    info: RealtimeEventInfo
    type: Literal["tool_approval_required"] = "tool_approval_required"


@dataclasses.dataclass
class RealtimeRawModelEvent:
    """A model event, before the session event that follows from it."""

    data: RealtimeModelEvent
    info: RealtimeEventInfo
    type: Literal["raw_model_event"] = "raw_model_event"


@dataclasses.dataclass
class RealtimeAudioEnd:
    """All audio of one content part has arrived."""

    info: RealtimeEventInfo
    item_id: str
    content_index: int
    type: Literal["audio_end"] = "audio_end"


@dataclasses.dataclass
class RealtimeAudio:
    """A piece of the agent's audio: `audio.data` is bytes in the output format."""

    audio: RealtimeModelAudioEvent
    item_id: str
    content_index: int
    info: RealtimeEventInfo
    type: Literal["audio"] = "audio"


@dataclasses.dataclass
class RealtimeAudioInterrupted:
    """Stop playing this item now: no audio of it follows."""

    info: RealtimeEventInfo
    item_id: str
    content_index: int
    type: Literal["audio_interrupted"] = "audio_interrupted"


class ErrorMessage(dict[str, Any]):
    """An error on this side, as ``{"message": ...}``; `exception` is the exception itself."""

    def __init__(self, exception: Exception) -> None:
        super().__init__(message=str(exception))
        self.exception = exception


@dataclasses.dataclass
class RealtimeError:
    """Something went wrong and the session goes on.

    `error` is the server's error, with `message`, `type`, `code` and `param`; or an `ErrorMessage` for a failure on
    this side.
    """

    error: Any
    info: RealtimeEventInfo
    type: Literal["error"] = "error"


@dataclasses.dataclass
class RealtimeHistoryUpdated:
    """The history has changed; `history` is the whole of it, in a list of your own."""

    history: list[RealtimeItem]
    info: RealtimeEventInfo
    type: Literal["history_updated"] = "history_updated"


@dataclasses.dataclass
class RealtimeHistoryAdded:
    """A new item has entered the history."""

    item: RealtimeItem
    info: RealtimeEventInfo
    type: Literal["history_added"] = "history_added"


@dataclasses.dataclass
class RealtimeGuardrailTripped:
    """Output guardrails have stopped a response: the results that tripped, and the text that they were given."""

    guardrail_results: list[OutputGuardrailResult]
    message: str
    info: RealtimeEventInfo
    type: Literal["guardrail_tripped"] = "guardrail_tripped"


@dataclasses.dataclass
class RealtimeInputAudioTimeoutTriggered:
    """The user was silent for ``idle_timeout_ms``."""

    info: RealtimeEventInfo
    type: Literal["input_audio_timeout_triggered"] = "input_audio_timeout_triggered"


RealtimeSessionEvent: TypeAlias = (
    RealtimeAgentStartEvent
    | RealtimeAgentEndEvent
    | RealtimeHandoffEvent
    | RealtimeToolStart
    | RealtimeToolEnd
    | RealtimeToolApprovalRequired
    | RealtimeRawModelEvent
    | RealtimeAudioEnd
    | RealtimeAudio
    | RealtimeAudioInterrupted
    | RealtimeError
    | RealtimeHistoryUpdated
    | RealtimeHistoryAdded
    | RealtimeGuardrailTripped
    | RealtimeInputAudioTimeoutTriggered
)
"""An event of ``async for event in session``."""
