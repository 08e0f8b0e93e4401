"""The state of a conversation, in one place, and the few moves that every rule makes: send, emit, settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._core.approvals import Approvals
from trealtime._core.effects import Effect, Emit, FollowResponse, PurgeAudio, Send, Settle
from trealtime._core.guardrails import Guardrails
from trealtime._core.history import Change, History
from trealtime._core.ids import IdSource, Recent
from trealtime._core.interruption import BargeInPolicy, PendingInterruption
from trealtime._core.listening import Listening
from trealtime._core.reconnection import Link, set_aside
from trealtime._core.requests import OpenRequests, Sent
from trealtime._core.resend_buffer import ResendBuffer
from trealtime._core.response_queue import ResponseQueue
from trealtime._core.settings import Opening, OpenUpdates, TurnSettings, setting_in
from trealtime._core.turn_log import TurnLog
from trealtime._core.turns import SentItems, Turns
from trealtime._core.usage import Limits, Meter
from trealtime._value import Shown, Value
from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.events import EventInfo, RealtimeHistoryAdded, RealtimeHistoryUpdated, RealtimeSessionEvent

if TYPE_CHECKING:
    from trealtime._core.playback_ledger import PlaybackLedger
    from trealtime._core.response import Response
    from trealtime._core.tool_calls import Call
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.tools.function_tool import AfterTool, FunctionTool

__all__ = ["ConversationCounters", "Counters", "State"]


@attrs.define(eq=False, repr=False)
class Counters(Shown):
    """Counts so far; `Conversation.counters` hands out a frozen copy."""

    responses: int = 0
    interrupts: int = 0
    late_deltas_dropped: int = 0
    collisions_retried: int = 0
    harmless_errors: int = 0
    unknown_events: int = 0
    unanswered_requests: int = 0
    interruptions_dismissed: int = 0
    calls_refused: int = 0
    stuck_deadlines: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationCounters(Value):
    """Counts of a conversation so far, and the numbers of items, responses, requests and playing parts now."""

    responses: int
    interrupts: int
    late_deltas_dropped: int
    """Deltas of interrupted or finished responses that the app never saw."""

    collisions_retried: int
    """Requests for a response that met one of the server's own and were sent again."""

    harmless_errors: int
    """Refused cancels and truncations that came too late to matter."""

    unknown_events: int
    unanswered_requests: int
    items: int
    live_responses: int
    queued_requests: int
    parts_playing: int
    interruptions_dismissed: int
    """Speech that was no interruption (`BargeIn`)."""

    calls_refused: int
    """Calls that were not made because too many had no output yet (``max_open_calls``)."""

    stuck_deadlines: int
    """How often a wait of the library's own did not end at its deadline: a fault of trealtime (`StuckDeadline`)."""

    last_heard_ms: int | None
    """The position at which the last interrupt cut the audio."""


@attrs.define(eq=False, repr=False)
class State(Shown):
    """The state of one conversation. The rules are in the modules that work on it, not here."""

    agent: RealtimeAgent[Any]
    info: EventInfo
    ids: IdSource
    ledger: PlaybackLedger
    barge_in: BargeInPolicy
    cancel_grace_s: float
    response_timeout_s: float
    request_timeout_s: float = 10.0
    after_tool: AfterTool = "auto"
    max_open_calls: int = 128
    max_tool_rounds: int = 10
    guardrails: Guardrails = attrs.field(factory=Guardrails)
    approvals: Approvals = attrs.field(factory=Approvals)
    meter: Meter = attrs.field(factory=Meter)
    limits: Limits = attrs.field(factory=Limits)
    turn_settings: TurnSettings = attrs.field(factory=TurnSettings)
    link: Link = attrs.field(factory=Link)
    audio: ResendBuffer = attrs.field(factory=ResendBuffer)

    effects: list[Effect] = attrs.field(factory=list, init=False)
    """The effects of the input that is being worked on, in order."""

    purged: list[str] = attrs.field(factory=list, init=False)
    """The responses that it has purged."""

    history: History = attrs.field(factory=History, init=False)
    response_queue: ResponseQueue = attrs.field(factory=ResponseQueue, init=False)
    requests: OpenRequests = attrs.field(factory=OpenRequests, init=False)
    updates: OpenUpdates = attrs.field(factory=OpenUpdates, init=False)
    turns: Turns = attrs.field(factory=Turns, init=False)
    listening: Listening = attrs.field(factory=Listening, init=False)
    counters: Counters = attrs.field(factory=Counters, init=False)
    turn_log: TurnLog = attrs.field(factory=TurnLog, init=False)

    responses: dict[str, Response] = attrs.field(factory=dict, init=False)
    """The live ones, by id."""

    unnamed: Recent[str, str] = attrs.field(factory=partial(Recent, 16), init=False)
    """Responses that have begun without a name, by ours, with the server's once that is known (`unnamed`)."""

    items: SentItems = attrs.field(factory=SentItems, init=False)
    pending_interruption: PendingInterruption | None = attrs.field(default=None, init=False)
    calls: dict[str, Call] = attrs.field(factory=dict, init=False)
    """Open function calls, by call id."""

    tools: Mapping[str, FunctionTool | None] = attrs.field(factory=dict, init=False)
    """The tools that the model knows, by name; None: the app runs it."""

    handoffs: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Names of the functions by which the agent hands over."""

    handing_over: Call | None = attrs.field(default=None, init=False)
    """The handoff that is being made."""

    finished: Recent[str, str] = attrs.field(factory=Recent, init=False)
    """Responses that are over: further events of them are late. The value says how they ended, where that matters."""

    finished_calls: Recent[str, str] = attrs.field(factory=partial(Recent, 1024), init=False)
    """By call id, the fingerprint of a call that has its output."""

    outside_items: Recent[str, str] = attrs.field(factory=Recent, init=False)
    """Audio items of out-of-band responses, with the response: the server's conversation does not have them."""

    given: Recent[str, dict[str, bool]] = attrs.field(factory=partial(Recent, 256), init=False)
    """By reply id, the responses that its caller has got, and whether nothing else wants them."""

    collecting: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Replies whose callers play no audio before the whole turn is there."""

    collected: Recent[str, None] = attrs.field(factory=Recent, init=False)
    """Responses that belong to such turns."""

    deleted_items: Recent[str, None] = attrs.field(factory=Recent, init=False)
    """Late events about these do not bring them back."""

    first_items: Recent[str, None] = attrs.field(factory=Recent, init=False)
    """Items that we asked to be put at the start of the conversation."""

    sent_content: Recent[str, list[Mapping[str, Any]]] = attrs.field(factory=partial(Recent, 256), init=False)
    """Content with images, which servers echo without them, until the echo."""

    opening: Opening | None = attrs.field(default=None, init=False)
    acknowledged: Mapping[str, Any] | None = attrs.field(default=None, init=False)
    input_format: AudioFormat = attrs.field(default=PCM16_24K, init=False)
    output_format: AudioFormat = attrs.field(default=PCM16_24K, init=False)
    names_conversations: bool = attrs.field(default=False, init=False)
    """Whether this server names the conversation of a response: only then does a null say that it has none."""

    spoken: bool = attrs.field(default=False, init=False)
    """Whether any audio of the agent has come: the server keeps its voice from then on."""

    server_plays: str | None = attrs.field(default=None, init=False)
    """The response whose audio the server is playing itself, on a phone call that it carries (`server_playback`)."""

    server_plays_since: float = attrs.field(default=0.0, init=False)
    server_plays_until: float | None = attrs.field(default=None, init=False)
    """The time at which that must be over, once it is known."""

    defaults: Mapping[str, Any] = attrs.field(factory=dict, init=False)
    """The session object as it was before our first update."""

    last_heard_ms: int | None = attrs.field(default=None, init=False)

    # ---- the moves -----------------------------------------------------------------------------------------------

    def do(self, effect: Effect) -> None:
        """Add an effect to those of this input."""
        self.effects.append(effect)

    def drain(self) -> list[Effect]:
        """Return the effects of this input, in order, and begin a new list."""
        effects, self.effects = self.effects, []
        return effects

    def send(
        self,
        event: Mapping[str, Any],
        *,
        reply_id: str | None = None,
        own: bool = False,
        urgent: bool = False,
    ) -> str:
        """Send a client event under an ``event_id``, which this returns: an error about the event names it.

        `reply_id` is that of the caller who waits for the answer. `own`: the core sends it by itself, so that a
        harmless refusal concerns no caller.
        """
        given = event.get("event_id")
        event_id = given if isinstance(given, str) and given else self.ids.next("evt")
        order = self.history.order() if event.get("type") == "conversation.item.create" else []
        follows = order[-1] if order else None
        if self.link.away:
            set_aside(self, event_id, Sent.of(event, reply_id=reply_id, own=own, follows=follows))
            return event_id
        self.effects.append(Send({**event, "event_id": event_id}, urgent))
        item = event.get("item")
        self.requests.sent(event_id, event, reply_id=reply_id, own=own, follows=follows)
        if event.get("type") == "conversation.item.create" and isinstance(item, Mapping) and not own:
            self.items.send(str(item.get("id")))
        return event_id

    def settle(self, reply_id: str | None, value: object = None, error: Exception | None = None) -> None:
        """Answer the caller who waits, if there is one. The events that belong to the answer come before this."""
        if reply_id is not None:
            if reply_id in self.collecting:
                self.collecting -= {reply_id}
            self.listening.leave(reply_id)
            self.effects.append(Settle(reply_id, value, error))

    def give(self, response: Response, reply_ids: Sequence[str], *, own: bool = False) -> None:
        """Let the callers under these reply ids wait for `response` from now on; it is their `own` where nothing else
        wants it."""
        for reply_id in response.reply_ids:
            self.given[reply_id] = {**self.given.get(reply_id, {}), response.id: False}
        own = own and not response.reply_ids
        for reply_id in reply_ids:
            self.given[reply_id] = {**self.given.get(reply_id, {}), response.id: own}
        response.add_callers(reply_ids)
        self.listening.give(response, reply_ids)
        self.effects += [FollowResponse(reply_id, response.id) for reply_id in reply_ids]
        if not self.collecting.isdisjoint(reply_ids):
            self.collected[response.id] = None

    def take_back(self, response: Response, reply_ids: Sequence[str]) -> None:
        """Those callers do not wait for `response` after all: it is not theirs to stop."""
        for reply_id in reply_ids:
            self.given[reply_id] = {
                each: own for each, own in self.given.get(reply_id, {}).items() if each != response.id
            }

    def take_opening(self) -> Opening | None:
        """The session is ready, refused or lost: return the caller who opened it, once."""
        opening, self.opening = self.opening, None
        return opening

    def purge(self, response_id: str) -> None:
        """Let no queued audio of this response reach the app, nor any that is held back."""
        if response_id not in self.purged:
            self.purged.append(response_id)
            self.effects.append(PurgeAudio(response_id))

    def emit(self, event: RealtimeSessionEvent) -> None:
        """Emit an event to the app."""
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
        detection = setting_in(self.acknowledged, "audio", "input", "turn_detection")
        return detection if isinstance(detection, (dict, Mapping)) else {}

    @property
    def model(self) -> str | None:
        """The model that answers, as acknowledged."""
        name = setting_in(self.acknowledged, "model")
        return name if isinstance(name, str) else None

    @property
    def transcription_model(self) -> str | None:
        """The model that transcribes the user, as acknowledged."""
        name = setting_in(self.acknowledged, "audio", "input", "transcription", "model")
        return name if isinstance(name, str) else None

    @property
    def policy(self) -> BargeInPolicy:
        """The policy by which speech interrupts now."""
        override = self.turn_settings.override
        return override if override is not None else self.barge_in

    @property
    def server_interrupts(self) -> bool:
        """Whether the server cancels its response by itself when the user speaks."""
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

    def counted(self) -> ConversationCounters:
        """See `Conversation.counters`."""
        return ConversationCounters(
            **attrs.asdict(self.counters),
            items=len(self.history),
            live_responses=len(self.responses),
            queued_requests=self.response_queue.waiting,
            parts_playing=len(self.ledger),
            last_heard_ms=self.last_heard_ms,
        )
