"""Session events, as ``async for event in session`` yields them.

Type strings, class names and fields follow the realtime layer of the OpenAI Agents SDK; fields and events that it does
not have are marked "ours". The union is closed, so ``event.type == "audio"`` and ``match event:`` narrow for type
checkers. Every event carries `info`, whose `context` is the run context.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from trealtime._value import Value
from trealtime.items import RealtimeItem
from trealtime.terminal import one_line, print_short

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.agents.guardrails import InputGuardrailResult, OutputGuardrailResult
    from trealtime.mcp.hosted import HostedTool
    from trealtime.metrics import InterruptionCause, TurnMetrics
    from trealtime.tools.context import RunContext
    from trealtime.tools.function_tool import FunctionTool
    from trealtime.tools.invocation import ToolErrorKind
    from trealtime.usage import Usage

__all__ = [
    "AudioChunk",
    "ConfirmReason",
    "DismissReason",
    "EventInfo",
    "LimitName",
    "LimitUse",
    "RealtimeAgentEndEvent",
    "RealtimeAgentStartEvent",
    "RealtimeAudio",
    "RealtimeAudioDropped",
    "RealtimeAudioEnd",
    "RealtimeAudioInterrupted",
    "RealtimeConnectionLost",
    "RealtimeDtmf",
    "RealtimeError",
    "RealtimeExpiresSoon",
    "RealtimeGuardrailTripped",
    "RealtimeHandoffEvent",
    "RealtimeHistoryAdded",
    "RealtimeHistoryUpdated",
    "RealtimeInputAudioTimeoutTriggered",
    "RealtimeInterruptionConfirmed",
    "RealtimeInterruptionDismissed",
    "RealtimeInterruptionPending",
    "RealtimeLimitApproached",
    "RealtimeLimitReached",
    "RealtimeRawModelEvent",
    "RealtimeReconnected",
    "RealtimeReconnecting",
    "RealtimeRolledOver",
    "RealtimeRolloverStarted",
    "RealtimeSessionEvent",
    "RealtimeSettingsMismatch",
    "RealtimeSpeechStarted",
    "RealtimeSpeechStopped",
    "RealtimeTextDelta",
    "RealtimeToolApprovalDropped",
    "RealtimeToolApprovalRequired",
    "RealtimeToolEnd",
    "RealtimeToolProgress",
    "RealtimeToolStart",
    "RealtimeTranscriptDelta",
    "RealtimeTurnEnded",
    "ResponseStatus",
    "ServerErrorInfo",
    "SettingsDifference",
]

ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]
DismissReason = Literal["short", "filler", "silence", "cleared"]
ConfirmReason = Literal["long", "words", "no transcript", "answer over", "app", "guardrail"]


@attrs.frozen(eq=False, repr=False)
class EventInfo(Value):
    """The part that all events of one session share; `context` is the run context of ``runner.run(context=...)``."""

    context: RunContext[Any]
    shown_audio: Callable[[int], str] = attrs.field(default="{:,} bytes".format, kw_only=True, repr=False, eq=False)
    """How a `repr` shows so many bytes of the agent's audio."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeRawModelEvent(Value):
    """One server event as it came, before the events derived from it; audio deltas are left out (see `RealtimeAudio`).

    `data` is a model event: its `type` is ``"raw_server_event"`` with the decoded frame in `data.data`, or one of the
    kinds that are made of it, such as ``"transcript_delta"`` and ``"turn_ended"``.
    """

    data: Any
    info: EventInfo
    type: Literal["raw_model_event"] = "raw_model_event"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeAgentStartEvent(Value):
    """A response began (``response.created``). `response_id` is ours."""

    agent: RealtimeAgent[Any]
    info: EventInfo
    response_id: str | None = None
    type: Literal["agent_start"] = "agent_start"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeAgentEndEvent(Value):
    """A response ended (``response.done``), with any outcome.

    Ours: `response_id`, `item_ids` (the items that it added to the conversation, in order), `status`, `reason`
    (``turn_detected``, ``client_cancelled``, ``max_output_tokens``, ``content_filter``, an error code, or None), and
    `usage` (None where the server does not say).
    """

    agent: RealtimeAgent[Any]
    info: EventInfo
    response_id: str | None = None
    item_ids: tuple[str, ...] = ()
    status: ResponseStatus = "completed"
    reason: str | None = None
    usage: Usage | None = None
    type: Literal["agent_end"] = "agent_end"


@attrs.frozen(eq=False, repr=False)
class AudioChunk(Value):
    """A piece of the agent's audio: `data` in the output format that the server acknowledged (PCM16 mono
    little-endian at 24 kHz, or G.711 at 8 kHz). `start_ms` (ours) is its offset in the content part."""

    data: bytes
    response_id: str
    item_id: str
    content_index: int
    start_ms: float = 0.0
    type: Literal["audio"] = attrs.field(default="audio", kw_only=True)


@attrs.frozen(eq=False, repr=False)
class RealtimeAudio(Value):
    """A chunk of the agent's speech. Never comes after the `RealtimeAudioInterrupted` of its response."""

    audio: AudioChunk
    item_id: str
    content_index: int
    info: EventInfo
    type: Literal["audio"] = attrs.field(default="audio", kw_only=True)

    @property
    def response_id(self) -> str:
        """The response that this audio belongs to."""
        return self.audio.response_id

    def __repr__(self) -> str:
        amount, at_ms = self.info.shown_audio(len(self.audio.data)), self.audio.start_ms
        place = f"item_id={one_line(self.item_id)}, content_index={self.content_index}"
        return f"RealtimeAudio({place}, {amount} at {at_ms:g} ms)"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeAudioEnd(Value):
    """All audio of one content part has arrived. `response_id` is ours."""

    item_id: str
    content_index: int
    info: EventInfo
    response_id: str | None = None
    type: Literal["audio_end"] = "audio_end"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeAudioInterrupted(Value):
    """An interrupt: stop playing this item now. No audio of it follows.

    Ours: `heard_ms`, the position that is sent to the server; `response_id`; `cause`: ``"speech"`` (barge-in),
    ``"app"`` (`session.interrupt`, `cancel_response`), ``"leave"`` (a `respond` or `ask` was left) or ``"guardrail"``.
    """

    item_id: str
    content_index: int
    info: EventInfo
    heard_ms: int = 0
    response_id: str | None = None
    cause: InterruptionCause = "app"
    type: Literal["audio_interrupted"] = "audio_interrupted"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeAudioDropped(Value):
    """Ours: a subscription with the policy ``"drop_oldest_audio"`` was full and dropped `dropped_ms` of this item."""

    item_id: str
    content_index: int
    dropped_ms: float
    info: EventInfo
    type: Literal["audio_dropped"] = "audio_dropped"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeTranscriptDelta(Value):
    """Ours: a piece of the transcript of the agent's (`role` assistant) or the user's speech (`role` user)."""

    item_id: str
    content_index: int
    delta: str
    role: Literal["assistant", "user"]
    info: EventInfo
    response_id: str | None = None
    type: Literal["transcript_delta"] = "transcript_delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeTextDelta(Value):
    """Ours: a piece of text that the agent writes (output modality ``text``)."""

    item_id: str
    content_index: int
    delta: str
    info: EventInfo
    response_id: str | None = None
    type: Literal["text_delta"] = "text_delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeSpeechStarted(Value):
    """Ours: the server's voice detection heard the user begin, `audio_start_ms` into the session's input audio."""

    item_id: str
    audio_start_ms: int
    info: EventInfo
    type: Literal["speech_started"] = "speech_started"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeSpeechStopped(Value):
    """Ours: the server's voice detection heard the user end, `audio_end_ms` into the session's input audio."""

    item_id: str
    audio_end_ms: int
    info: EventInfo
    type: Literal["speech_stopped"] = "speech_stopped"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeDtmf(Value):
    """Ours: the user pressed a key of their phone: `digit` is one of ``0123456789*#ABCD``.

    `source` is ``"call"`` where the service heard it, on a phone call that it carries itself (SIP), and ``"endpoint"``
    where the attached endpoint did. `received_at_unix_s` is the service's time, in whole seconds; endpoints give none.
    """

    digit: str
    info: EventInfo
    source: Literal["call", "endpoint"] = "call"
    received_at_unix_s: int | None = None
    type: Literal["dtmf_received"] = "dtmf_received"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeInterruptionPending(Value):
    """Ours: the user began to speak, and the `BargeIn` policy has not decided yet whether that interrupts the agent.

    `while_unsure` says how playback goes on meanwhile. An app that plays by itself follows it until
    `RealtimeInterruptionConfirmed` or `RealtimeInterruptionDismissed` comes.
    """

    item_id: str
    while_unsure: Literal["play", "duck", "hold"]
    info: EventInfo
    type: Literal["interruption_pending"] = "interruption_pending"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeInterruptionConfirmed(Value):
    """Ours: the pending interruption is a turn of the user's. `RealtimeAudioInterrupted` follows where audio has not
    been heard yet. Play the next answer as usual.

    `reason`: the speech lasted `BargeIn.min_speech_ms` (``"long"``), its words are no fillers (``"words"``), they did
    not come (``"no transcript"``), the agent had ended meanwhile (``"answer over"``), or the app or a guardrail
    interrupted (``"app"``, ``"guardrail"``).
    """

    item_id: str
    reason: ConfirmReason = "long"
    info: EventInfo
    type: Literal["interruption_confirmed"] = "interruption_confirmed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeInterruptionDismissed(Value):
    """Ours: the pending interruption was none. Playback goes on where it stands, and the speech gets no answer.

    `reason`: the speech was too ``"short"``, only a ``"filler"``, or ``"silence"`` (`transcript` has its words), or its
    audio was ``"cleared"`` from the buffer.
    """

    item_id: str
    reason: DismissReason
    info: EventInfo
    transcript: str | None = None
    type: Literal["interruption_dismissed"] = "interruption_dismissed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeHistoryUpdated(Value):
    """History changed; `history` is the whole of it now, in a list that later changes do not alter."""

    history: list[RealtimeItem]
    info: EventInfo
    type: Literal["history_updated"] = "history_updated"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeHistoryAdded(Value):
    """A new item entered history."""

    item: RealtimeItem
    info: EventInfo
    type: Literal["history_added"] = "history_added"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeToolStart(Value):
    """A tool is about to run. `arguments` is the raw JSON text; `call_id` is ours."""

    agent: RealtimeAgent[Any]
    tool: FunctionTool
    arguments: str
    info: EventInfo
    call_id: str = ""
    type: Literal["tool_start"] = "tool_start"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeToolApprovalRequired(Value):
    """A call waits for `session.approve_tool_call` or `session.reject_tool_call`; `arguments` is the raw JSON text.

    `tool` is a `HostedTool` where the server runs it. Ours: `expires_at`, the deadline in the time of
    `trio.current_time`; None: it waits as long as the session lasts.
    """

    agent: RealtimeAgent[Any]
    tool: FunctionTool | HostedTool
    call_id: str
    arguments: str
    info: EventInfo
    expires_at: float | None = None
    type: Literal["tool_approval_required"] = "tool_approval_required"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeToolApprovalDropped(Value):
    """Ours: this call needs no decision any more. `reason`: ``"timeout"`` (its deadline passed, it counts as rejected),
    ``"interrupted"`` (an interrupt cancelled it: its tool has ``on_interrupt="cancel"``), ``"answered"`` (the app sent
    an output by itself) or ``"closed"`` (the session ends)."""

    agent: RealtimeAgent[Any]
    tool: FunctionTool | HostedTool
    call_id: str
    arguments: str
    reason: Literal["timeout", "interrupted", "answered", "closed"]
    info: EventInfo
    type: Literal["tool_approval_dropped"] = "tool_approval_dropped"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeToolProgress(Value):
    """Ours: a tool that is an async generator yielded `note`; the last note is the result too."""

    agent: RealtimeAgent[Any]
    tool: FunctionTool
    note: object
    info: EventInfo
    call_id: str
    type: Literal["tool_progress"] = "tool_progress"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeToolEnd(Value):
    """The output of a tool was queued for the server. `output` is the value that the tool returned; where `failure`
    gives the reason why there is none, it is the text that the model reads instead. `call_id` and `failure` are
    ours."""

    agent: RealtimeAgent[Any]
    tool: FunctionTool
    arguments: str
    output: Any
    info: EventInfo
    call_id: str = ""
    failure: ToolErrorKind | None = None
    type: Literal["tool_end"] = "tool_end"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeHandoffEvent(Value):
    """The model handed the conversation over and the server acknowledged it: `to_agent` is in charge.

    Ours: `called_at`, when the model had written the call, in seconds of Trio's clock; None where the app has answered
    the call itself.
    """

    from_agent: RealtimeAgent[Any]
    to_agent: RealtimeAgent[Any]
    info: EventInfo
    called_at: float | None = None
    type: Literal["handoff"] = "handoff"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeGuardrailTripped(Value):
    """Guardrails stopped `message`. `guardrail_results` are those that tripped, in the order of declaration.

    Ours: `which` is ``"output"`` for the agent's words and ``"input"`` for the user's; `response_id`, `item_id`, and
    the `agent` that said it or would have answered it; `began_at`, when the check began, in seconds of Trio's clock,
    None for a turn that no guardrail could check.
    """

    guardrail_results: tuple[OutputGuardrailResult | InputGuardrailResult, ...]
    message: str
    info: EventInfo
    agent: RealtimeAgent[Any]
    which: Literal["output", "input"] = "output"
    response_id: str | None = None
    item_id: str | None = None
    began_at: float | None = None
    type: Literal["guardrail_tripped"] = "guardrail_tripped"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ServerErrorInfo(Value):
    """The ``error`` object of an ``error`` event of the server. `request` (ours) is the type of the client event that
    caused it, where that is known; `fatal` (ours) is True where the session cannot go on."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    event_id: str | None = None
    request: str | None = None
    fatal: bool = False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeError(Value):
    """Something went wrong and the session goes on. `error` is a `ServerErrorInfo` for an ``error`` event of the
    server, and an exception for a failure on this side. Ours: `response_id`, the response that it belongs to; None
    where it belongs to none, or that is not known."""

    error: ServerErrorInfo | Exception
    info: EventInfo
    response_id: str | None = None
    type: Literal["error"] = "error"


@attrs.frozen(eq=False, repr=False)
class SettingsDifference(Value):
    """A setting that the server acknowledged with another value than requested; `path` is dotted."""

    path: str
    requested: object
    acknowledged: object

    def __str__(self) -> str:
        return f"{self.path}: asked for {self.requested!r}, the server uses {self.acknowledged!r}"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeSettingsMismatch(Value):
    """Ours: the server acknowledged a ``session.update`` with other values than requested. Or an agent took over whose
    voice it no longer accepts (``audio.output.voice``, once it has spoken)."""

    differences: tuple[SettingsDifference, ...]
    info: EventInfo
    type: Literal["settings_mismatch"] = "settings_mismatch"


LimitName = Literal["max_tokens", "max_cost", "max_duration_s"]


@attrs.frozen(eq=False, repr=False)
class LimitUse(Value):
    """How much of one limit of the run config is `used`: tokens, an amount of money, or seconds."""

    name: LimitName
    used: int | float | Decimal
    allowed: int | float | Decimal

    def __str__(self) -> str:
        return f"{self.name}: {self.used} of {self.allowed}"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeLimitApproached(Value):
    """Ours: the share ``warn_at`` of a limit is used up. It comes once for each limit."""

    limit: LimitUse
    info: EventInfo
    type: Literal["limit_approached"] = "limit_approached"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeLimitReached(Value):
    """Ours: a limit is reached. The session ends once the running answer has been heard."""

    limit: LimitUse
    info: EventInfo
    type: Literal["limit_reached"] = "limit_reached"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeInputAudioTimeoutTriggered(Value):
    """The user was silent for ``idle_timeout_ms``. Ours: `item_id`, and its span of the input audio."""

    info: EventInfo
    item_id: str | None = None
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None
    type: Literal["input_audio_timeout_triggered"] = "input_audio_timeout_triggered"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeTurnEnded(Value):
    """Ours: a turn is over, and the last of its audio has been heard, cut or dropped. `metrics` are its figures; the
    last 1,000 are in `session.turns`."""

    metrics: TurnMetrics
    info: EventInfo
    type: Literal["turn_ended"] = "turn_ended"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeConnectionLost(Value):
    """Ours: the connection has ended and neither side meant it to, and another one is dialled. `code` and `reason` are
    those of the close frame; 1006 where none came."""

    code: int
    reason: str
    info: EventInfo
    type: Literal["connection_lost"] = "connection_lost"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeReconnecting(Value):
    """Ours: attempt number `attempt` to replace the lost connection begins in `delay_s` seconds."""

    attempt: int
    delay_s: float
    info: EventInfo
    type: Literal["reconnecting"] = "reconnecting"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeReconnected(Value):
    """Ours: another connection has taken over, and has acknowledged the settings.

    `outage_ms` is the time since the loss. The server was told `items` items; `items_left_out` of the history it does
    not know. `audio_ms` of the user's audio was sent again, and `audio_dropped_ms` was not kept long enough for that.
    `response` says what became of an answer that was being made; None: there was none.
    """

    outage_ms: float
    items: int
    items_left_out: int = 0
    audio_ms: float = 0.0
    audio_dropped_ms: float = 0.0
    response: Literal["continued", "dropped"] | None = None
    info: EventInfo
    type: Literal["reconnected"] = "reconnected"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeExpiresSoon(Value):
    """Ours: the server ends this connection in `in_s` seconds, because it has reached its longest duration."""

    in_s: float
    info: EventInfo
    type: Literal["expires_soon"] = "expires_soon"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeRolloverStarted(Value):
    """Ours: a second connection is opened beside the first, which will expire."""

    info: EventInfo
    type: Literal["rollover_started"] = "rollover_started"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeRolledOver(Value):
    """Ours: the second connection has taken over. `gap_ms` is the time for which there was none to speak or hear."""

    gap_ms: float
    info: EventInfo
    type: Literal["rolled_over"] = "rolled_over"


RealtimeSessionEvent = (
    RealtimeRawModelEvent
    | RealtimeAgentStartEvent
    | RealtimeAgentEndEvent
    | RealtimeAudio
    | RealtimeAudioEnd
    | RealtimeAudioInterrupted
    | RealtimeAudioDropped
    | RealtimeTranscriptDelta
    | RealtimeTextDelta
    | RealtimeSpeechStarted
    | RealtimeSpeechStopped
    | RealtimeDtmf
    | RealtimeInterruptionPending
    | RealtimeInterruptionConfirmed
    | RealtimeInterruptionDismissed
    | RealtimeHistoryUpdated
    | RealtimeHistoryAdded
    | RealtimeToolStart
    | RealtimeToolApprovalRequired
    | RealtimeToolApprovalDropped
    | RealtimeToolProgress
    | RealtimeToolEnd
    | RealtimeHandoffEvent
    | RealtimeGuardrailTripped
    | RealtimeError
    | RealtimeSettingsMismatch
    | RealtimeLimitApproached
    | RealtimeLimitReached
    | RealtimeInputAudioTimeoutTriggered
    | RealtimeTurnEnded
    | RealtimeConnectionLost
    | RealtimeReconnecting
    | RealtimeReconnected
    | RealtimeExpiresSoon
    | RealtimeRolloverStarted
    | RealtimeRolledOver
)

print_short(
    AudioChunk, ServerErrorInfo, *(kind for kind in get_args(RealtimeSessionEvent) if kind is not RealtimeAudio)
)
