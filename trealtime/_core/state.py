"""What a conversation knows, in one place, and the few moves that every rule makes: send, emit, settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import attrs

from trealtime._core.approvals import Approvals
from trealtime._core.barge_in import BargeInPolicy, PendingInterruption
from trealtime._core.effects import Effect, Emit, FollowResponse, FunctionCall, PurgeAudio, ResponseResult, Send, Settle
from trealtime._core.guardrail_state import Guardrails
from trealtime._core.history import Change, History
from trealtime._core.ids import IdSource
from trealtime._core.limits import Limits
from trealtime._core.playback_ledger import PlaybackLedger
from trealtime._core.requests import OpenRequests, Sent
from trealtime._core.response_queue import Request, ResponseQueue
from trealtime._core.turn_settings import TurnSettings, detection_of
from trealtime._core.turns import SentItems
from trealtime._core.usage import Meter
from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.events import EventInfo, RealtimeHistoryAdded, RealtimeHistoryUpdated, RealtimeSessionEvent

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.tools.function_tool import AfterTool, FunctionTool

__all__ = ["Call", "Cause", "Counters", "Opening", "Recent", "Response", "Speech", "State"]

Cause = Literal["speech", "app", "guardrail"]


@attrs.define
class Counters:
    """What happened so far; `Conversation.counters` hands out a frozen copy."""

    responses: int = 0
    interrupts: int = 0
    late_deltas_dropped: int = 0
    collisions_retried: int = 0
    harmless_errors: int = 0
    unknown_events: int = 0
    unanswered_requests: int = 0
    interruptions_dismissed: int = 0
    calls_refused: int = 0


@attrs.define(eq=False)
class Response:
    """A response from its creation until it is done and its function calls have their outputs."""

    id: str
    agent: RealtimeAgent[Any]
    in_conversation: bool = True
    seen: int = 0
    """The number of the last item of ours that the server had confirmed when it began (`floor.SentItems`)."""

    request: Request | None = None
    reply_ids: list[str] = attrs.Factory(list)
    interrupted: Cause | None = None
    """Set when it was interrupted: nothing of it reaches the app any more."""

    forget_at: float | None = None
    """When to stop waiting for the ``response.done`` of a dead response."""

    items: list[str] = attrs.Factory(list)
    has_audio: bool = False
    """Whether audio of it has come."""

    open_calls: set[str] = attrs.Factory(set)
    answer_calls: bool = False
    """Whether an output of its calls wants an answer."""

    answer_if_silent: bool = False
    """Whether an output of its calls wants an answer unless the response has spoken."""

    answer_params: Mapping[str, Any] | None = None
    """What that answer is asked for with."""

    abandoned: bool = False
    """Whoever asked for it has left: its calls get no answer."""

    result: ResponseResult | None = None
    """Set when it is done."""

    held_back: bool = False
    """It is done, and nobody has been told: its audio waits for a verdict."""

    @property
    def spoke(self) -> bool:
        """Whether it has said or written anything; known when it is done."""
        output = self.result.output if self.result is not None else ()
        parts = [part for item in output if item.get("type") == "message" for part in item.get("content") or ()]
        return self.has_audio or any(
            isinstance(part, Mapping) and (part.get("text") or part.get("transcript")) for part in parts
        )

    @property
    def wants_answer(self) -> bool:
        """Whether the outputs of its calls want an answer (`tool_calls`, rule 4)."""
        return self.answer_calls or (self.answer_if_silent and not self.spoke and self.interrupted is None)


@attrs.define(eq=False)
class Call:
    """A function call that has no output yet; its response may be done already."""

    call_id: str
    response: Response
    fingerprint: str
    tool: FunctionTool | None
    """None: there is none of that name, or the app runs it."""

    work: FunctionCall | None = None
    """What a worker gets; None: the app runs it."""

    cancelled: bool = False
    """An interrupt has cancelled it."""

    @property
    def cancels(self) -> bool:
        """Whether an interrupt cancels it."""
        return self.tool is not None and self.tool.on_interrupt == "cancel" and not self.cancelled


@attrs.define
class Speech:
    """What the user is saying: the item to come, since when, and where it begins in the input audio."""

    item_id: str
    since: float
    start_ms: int
    put_off: bool = False
    """It began in an uninterruptible scope."""


@attrs.define
class Opening:
    """The wait for a session that is ready: created, and our settings acknowledged."""

    reply_id: str
    created: bool = False
    acknowledged: bool = False


@attrs.define
class Recent:
    """The last few ids of something: enough to know a latecomer, never more."""

    limit: int = 64
    _ids: dict[str, str] = attrs.field(factory=dict, init=False)

    def add(self, id: str, note: str = "") -> None:  # named after the wire field
        self._ids[id] = note
        if len(self._ids) > self.limit:
            del self._ids[next(iter(self._ids))]

    def take(self, id: str) -> bool:
        """Whether it was there; it is not any more."""
        return self._ids.pop(id, None) is not None

    def get(self, id: str) -> str | None:
        """What was noted of it; None where it is not there."""
        return self._ids.get(id)

    def __contains__(self, id: object) -> bool:
        return id in self._ids


@attrs.define
class State:
    """Everything a conversation knows. The rules live in the modules that work on it, not here."""

    agent: RealtimeAgent[Any]
    info: EventInfo
    ids: IdSource
    ledger: PlaybackLedger
    barge_in: BargeInPolicy
    cancel_grace_s: float
    response_timeout_s: float
    after_tool: AfterTool = "auto"
    max_open_calls: int = 128
    guardrails: Guardrails = attrs.field(factory=Guardrails)
    approvals: Approvals = attrs.field(factory=Approvals)
    meter: Meter = attrs.field(factory=Meter)
    limits: Limits = attrs.field(factory=Limits)
    turns: TurnSettings = attrs.field(factory=TurnSettings)

    effects: list[Effect] = attrs.field(factory=list, init=False)
    """What follows from the input that is being worked on, in order."""

    purged: list[str] = attrs.field(factory=list, init=False)
    """The responses that it has purged."""

    history: History = attrs.field(factory=History, init=False)
    response_queue: ResponseQueue = attrs.field(factory=ResponseQueue, init=False)
    requests: OpenRequests = attrs.field(factory=OpenRequests, init=False)
    counters: Counters = attrs.field(factory=Counters, init=False)

    responses: dict[str, Response] = attrs.field(factory=dict, init=False)
    """Live ones, by id."""

    items: SentItems = attrs.field(factory=SentItems, init=False)
    speech: Speech | None = attrs.field(default=None, init=False)
    """What the user is saying, as far as the server's voice detection knows."""

    pending_interruption: PendingInterruption | None = attrs.field(default=None, init=False)
    """Speech of which it is not known yet whether it interrupts."""

    dismissed: Recent = attrs.field(factory=Recent, init=False)
    """Items of speech that was no interruption: nobody answers them."""

    calls: dict[str, Call] = attrs.field(factory=dict, init=False)
    """Open function calls, by call id."""

    tools: Mapping[str, FunctionTool | None] = attrs.field(factory=dict, init=False)
    """What the model has been told of, by name; None: the app runs it."""

    handoffs: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Names of the functions by which the agent hands over."""

    handing_over: Call | None = attrs.field(default=None, init=False)
    """The handoff that is being made."""

    finished: Recent = attrs.field(factory=Recent, init=False)
    """Responses that are over: what still comes of them is late."""

    finished_calls: Recent = attrs.field(factory=partial(Recent, 1024), init=False)
    spoken_items: Recent = attrs.field(factory=Recent, init=False)
    """Items announced by the server's voice detection and not committed yet."""

    outside_items: Recent = attrs.field(factory=Recent, init=False)
    """Audio items of out-of-band responses: the server's conversation does not have them."""

    collecting: set[str] = attrs.field(factory=set, init=False)
    """PendingReplies of those who give the audio to nobody before the whole turn is there."""

    collected: Recent = attrs.field(factory=Recent, init=False)
    """Responses that belong to such turns."""

    deleted_items: Recent = attrs.field(factory=Recent, init=False)
    """What still comes of these does not bring them back."""

    first_items: Recent = attrs.field(factory=Recent, init=False)
    """Items that we asked to be put at the start of the conversation."""

    sent_content: dict[str, list[Mapping[str, Any]]] = attrs.field(factory=dict, init=False)
    """Content with images that servers echo without them, until the echo."""

    opening: Opening | None = attrs.field(default=None, init=False)
    acknowledged: Mapping[str, Any] | None = attrs.field(default=None, init=False)
    input_format: AudioFormat = attrs.field(default=PCM16_24K, init=False)
    output_format: AudioFormat = attrs.field(default=PCM16_24K, init=False)
    names_conversations: bool = attrs.field(default=False, init=False)
    """Whether this server tells the conversation of a response: only then does a null say that it has none."""

    spoken: bool = attrs.field(default=False, init=False)
    """Whether any audio of the agent has come: the server keeps its voice from then on."""

    server_plays: str | None = attrs.field(default=None, init=False)
    """The response whose audio the server is playing itself, on a phone call that it carries."""

    defaults: Mapping[str, Any] = attrs.field(factory=dict, init=False)
    """The session object as it was before we said anything: what holds where nobody sets anything."""

    last_heard_ms: int | None = attrs.field(default=None, init=False)

    # ---- the moves -----------------------------------------------------------------------------------------------

    def do(self, effect: Effect) -> None:
        """Add an effect to those of this input."""
        self.effects.append(effect)

    def drain(self) -> list[Effect]:
        """The effects of this input, in order; none are left."""
        effects, self.effects = self.effects, []
        return effects

    def send(self, event: Mapping[str, Any], entry: Sent, *, urgent: bool = False) -> str:
        """Queue a client event under an ``event_id``, so that an error about it finds its way back."""
        given = event.get("event_id")
        event_id = given if isinstance(given, str) and given else self.ids.next("evt")
        self.effects.append(Send({**event, "event_id": event_id}, urgent))
        self.requests.sent(event_id, entry)
        item = event.get("item")
        if entry.type == "conversation.item.create" and isinstance(item, Mapping):
            self.items.send(str(item.get("id")))
        return event_id

    def settle(self, reply_id: str | None, value: object = None, error: Exception | None = None) -> None:
        """Answer the caller who waits, if there is one. The events that belong to the answer come before this."""
        if reply_id is not None:
            self.collecting.discard(reply_id)
            self.effects.append(Settle(reply_id, value, error))

    def give(self, response: Response, reply_ids: Sequence[str]) -> None:
        """Let the callers under these reply ids wait for `response` from now on."""
        response.reply_ids += reply_ids
        self.effects += [FollowResponse(reply_id, response.id) for reply_id in reply_ids]
        if not self.collecting.isdisjoint(reply_ids):
            self.collected.add(response.id)

    def purge(self, response_id: str) -> None:
        """Let no queued audio of this response reach the app, nor any that is held back."""
        if response_id not in self.purged:
            self.purged.append(response_id)
            self.effects.append(PurgeAudio(response_id))

    def emit(self, event: RealtimeSessionEvent) -> None:
        """Tell the app."""
        self.effects.append(Emit(event))

    def emit_history(self, change: Change, item_id: str) -> None:
        """Tell the app that an item has changed."""
        if change == "added" and self.history.visible(item_id):
            self.emit(RealtimeHistoryAdded(item=self.history.item(item_id), info=self.info))
        elif change != "unchanged":
            self.emit(RealtimeHistoryUpdated(history=self.history.snapshot(), info=self.info))

    # ---- questions -----------------------------------------------------------------------------------------------

    @property
    def turn_detection(self) -> Mapping[str, Any]:
        """The acknowledged turn detection; empty when it is off or unknown."""
        return detection_of(self.acknowledged or {}) or {}

    @property
    def model(self) -> str | None:
        """The model that answers, as acknowledged."""
        name = self.acknowledged.get("model") if self.acknowledged is not None else None
        return name if isinstance(name, str) else None

    @property
    def transcription_model(self) -> str | None:
        """The model that transcribes the user, as acknowledged."""
        node: object = self.acknowledged
        for key in ("audio", "input", "transcription", "model"):
            node = node.get(key) if isinstance(node, Mapping) else None
        return node if isinstance(node, str) else None

    @property
    def policy(self) -> BargeInPolicy:
        """When speech interrupts, as it stands."""
        return self.turns.override if self.turns.override is not None else self.barge_in

    @property
    def server_interrupts(self) -> bool:
        """Whether the server cancels its response by itself when the user speaks (B053)."""
        return self.turn_detection.get("interrupt_response") is True

    @property
    def server_answers(self) -> bool:
        """Whether the server answers a turn of the user by itself."""
        detection = self.turn_detection
        return bool(detection) and detection.get("create_response", True) is True

    def unfinished(self) -> list[Response]:
        """Responses that are not done, have calls without outputs or are held back, each once."""
        calling = (call.response for call in self.calls.values())
        return list(dict.fromkeys([*self.responses.values(), *calling, *self.guardrails.ending()]))

    def live(self, *, in_conversation: bool | None = None) -> list[Response]:
        """Responses that are not done, oldest first."""
        return [each for each in self.responses.values() if in_conversation in (None, each.in_conversation)]
