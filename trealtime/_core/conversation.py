"""The conversation: the sans-IO core of a session. It decides; tasks carry.

`receive` takes what the server sent, `command` what the app wants, `tick` the passing of a deadline; each answers with
`Effects` to apply in one synchronous step. No clock, no IO, no task: `now` is any monotonic time in seconds.

Where the rules are: what a server event does in the functions of the table in `reception`, what a command does in
`requesting`, one response at a time in `gate`, what waits while the user speaks in `floor`, the life of a response in
`responses`, who is in charge in `handoffs`, barge-in in `doubt`, truncation in `interrupts`, function calls in
`tool_calls` and `approvals`, what was heard in `ledger`, the item graph in `history`, what is checked in `guardrails`,
what the server is told about turns in `turn_settings`, errors by event id in `requests` and `server_errors`, what it
takes in `usage` and `prices`, when it has to end in `limits`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._core.approvals import Approvals, Standing, expire_approvals
from trealtime._core.barge_in import BargeInPolicy
from trealtime._core.commands import Command
from trealtime._core.effects import ApprovalRequest, Effects
from trealtime._core.guardrail_state import GuardrailCounters, GuardrailPolicy, Guardrails
from trealtime._core.handoffs import VoiceLock, voice_lock
from trealtime._core.hold_back import drop_purged
from trealtime._core.ids import IdSource
from trealtime._core.input_guardrails import expire_inputs
from trealtime._core.limits import Limits, SessionLimits, check_limits
from trealtime._core.model_events import model_events
from trealtime._core.pending_interruption import expire_pending_interruption
from trealtime._core.playback_ledger import PlaybackLedger, PlaybackPosition
from trealtime._core.prices import Prices
from trealtime._core.reception import RECEPTION
from trealtime._core.reception_agent import receive_audio
from trealtime._core.requesting import REQUESTING
from trealtime._core.responses import fail_request, give_up, pump
from trealtime._core.state import State
from trealtime._core.turn_settings import TurnSettings
from trealtime._core.usage import Meter
from trealtime.audio.formats import AudioFormat
from trealtime.errors import ServerRefused
from trealtime.events import EventInfo, RealtimeRawModelEvent
from trealtime.items import RealtimeItem
from trealtime.protocol.server_events import AnyServerEvent, ResponseOutputAudioDelta
from trealtime.usage import Cost, TranscriptionUsage, Usage

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.mcp.hosted import HostedTool
    from trealtime.tools.function_tool import AfterTool, FunctionTool

__all__ = ["Conversation", "ConversationCounters"]


@attrs.frozen(kw_only=True)
class ConversationCounters:
    """What a conversation has seen so far, and what it holds now."""

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

    last_heard_ms: int | None
    """Where the last interrupt cut the audio."""


class Conversation:
    """One conversation over one connection. `agent` speaks; `info` goes into every event.

    `position` asks a playback tracker; without one playback is assumed (see `PlaybackLedger`). `barge_in` says
    when speech interrupts (`doubt`). After an interrupt the ``response.done`` of the interrupted response is awaited
    for `cancel_grace_s`; a ``response.create`` that nothing answers is given up after `response_timeout_s`.
    `after_tool` says whether outputs of tools are answered (`tool_calls`, rule 4), `guardrails` what is checked,
    `prices` what tokens cost, `limits` how much of them there is. A call that needs approval waits for it for
    `approval_timeout_s` (None: until the end); at most `max_open_calls` wait or run.
    """

    def __init__(
        self,
        *,
        agent: RealtimeAgent[Any],
        info: EventInfo,
        ids: IdSource | None = None,
        position: Callable[[], PlaybackPosition | None] | None = None,
        barge_in: BargeInPolicy = "immediate",
        raw_events: bool = True,
        cancel_grace_s: float = 5.0,
        response_timeout_s: float = 30.0,
        after_tool: AfterTool = "auto",
        guardrails: GuardrailPolicy | None = None,
        approval_timeout_s: float | None = None,
        max_open_calls: int = 128,
        prices: Prices | None = None,
        limits: SessionLimits | None = None,
    ) -> None:
        self._raw_events = raw_events
        policy = guardrails if guardrails is not None else GuardrailPolicy()
        self._state = State(
            agent=agent,
            info=info,
            ids=ids if ids is not None else IdSource(),
            ledger=PlaybackLedger(position),
            barge_in=barge_in,
            cancel_grace_s=cancel_grace_s,
            response_timeout_s=response_timeout_s,
            after_tool=after_tool,
            max_open_calls=max_open_calls,
            guardrails=Guardrails(policy),
            turns=TurnSettings(checked=policy.gates_turns),
            approvals=Approvals(approval_timeout_s),
            meter=Meter(prices),
            limits=Limits(limits if limits is not None else SessionLimits()),
        )
        self._next_deadline: float | None = None

    # ---- what happens ----------------------------------------------------------------------------------------------

    def receive(self, event: AnyServerEvent, now: float, data: Mapping[str, Any] | None = None) -> Effects:
        """The server sent `event`, read from the frame `data`."""
        fx = Effects()
        state = self._state
        if type(event) is ResponseOutputAudioDelta:  # the hot path: it asks for nothing and opens no gate
            receive_audio(state, event, now, fx)
            if fx.purge:  # too much of it was held back
                self._proceed(now, fx)
            return fx
        if self._raw_events and data is not None:
            fx.emit += [RealtimeRawModelEvent(data=each, info=state.info) for each in model_events(event, data)]
        handler = RECEPTION.get(type(event))
        if handler is not None:
            handler(state, event, now, fx)
        self._proceed(now, fx)
        return fx

    def command(self, command: Command, now: float) -> Effects:
        """The app wants something."""
        fx = Effects()
        REQUESTING[type(command)](self._state, command, now, fx)
        self._proceed(now, fx)
        return fx

    def hand_out(self, item_id: str, content_index: int, start_ms: float, end_ms: float, now: float) -> None:
        """The app has taken this stretch of a content part: playback is assumed to begin now, or when what was handed
        out before is over. Taken twice (two subscriptions) it counts once. No command, because nothing follows from it."""
        self._state.ledger.hand_out(item_id, content_index, start_ms, end_ms, now)

    def tick(self, now: float) -> Effects:
        """Time has passed: give up what is overdue, send what was held back until now."""
        fx = Effects()
        state = self._state
        for request in state.response_queue.expire(now, state.response_timeout_s):
            state.counters.unanswered_requests += 1
            message = f"no answer within {state.response_timeout_s:g} s"
            fail_request(state, request, ServerRefused(message, code="no_answer", request="response.create"), fx)
            request.interrupted, request.reply_ids = True, []
        for response in state.live():
            if response.forget_at is not None and response.forget_at <= now:
                give_up(state, response, now, fx)
        expire_inputs(state, now, fx)
        expire_pending_interruption(state, now, fx)
        expire_approvals(state, now, fx)
        self._proceed(now, fx)
        return fx

    def _proceed(self, now: float, fx: Effects) -> None:
        """Send what may be sent now, and find out when to look again."""
        state = self._state
        drop_purged(state, now, fx)
        check_limits(state, now, fx)
        pump(state, now, fx)
        sent_at = state.response_queue.oldest_sent_at
        times = [
            state.response_queue.due_at,
            state.pending_interruption.until if state.pending_interruption is not None else None,
            state.limits.deadline,
            state.guardrails.input_deadline(state.response_timeout_s),
            state.approvals.deadline,
            None if sent_at is None else sent_at + state.response_timeout_s,
            *(response.forget_at for response in state.responses.values()),
        ]
        self._next_deadline = min((time for time in times if time is not None), default=None)

    @property
    def next_deadline(self) -> float | None:
        """When to call `tick`, unless something else happens first. Audio brings it no nearer."""
        return self._next_deadline

    # ---- questions -------------------------------------------------------------------------------------------------

    def history(self) -> list[RealtimeItem]:
        """The items in order, in a list of the caller's own."""
        return self._state.history.snapshot()

    def playback_remaining(self, now: float) -> float:
        """Seconds until everything that the agent has said is heard: 0 when nothing is pending, infinite where only a
        report, a consumer or more audio can tell."""
        return self._remaining(now)

    def farewell_remaining(self, now: float) -> float:
        """As `playback_remaining`, for a handoff: audio that is collected until the turn is over, which this handoff
        belongs to, cannot be heard before it."""
        return self._remaining(now, kept=self._state.collected)

    def _remaining(self, now: float, *, kept: Container[str] = ()) -> float:
        state = self._state
        making = any(each.interrupted is None for each in state.responses.values())
        if making or state.response_queue.busy or state.guardrails.inputs:
            return float("inf")
        return state.ledger.remaining_s(now, kept=kept)

    @property
    def agent(self) -> RealtimeAgent[Any]:
        """The agent that speaks now."""
        return self._state.agent

    @property
    def model(self) -> str | None:
        """The model that answers, as acknowledged."""
        return self._state.model

    @property
    def usage(self) -> Usage:
        """Tokens of all responses so far."""
        return self._state.meter.usage

    @property
    def transcription_usage(self) -> TranscriptionUsage:
        """What transcribing the user has taken so far."""
        return self._state.meter.transcription

    @property
    def cost(self) -> Cost | None:
        """Of all responses and transcriptions so far; None without prices."""
        return self._state.meter.cost

    @property
    def response_active(self) -> bool:
        """Whether a response is being made in the default conversation."""
        return bool(self._state.live(in_conversation=True))

    def is_live(self, response_id: str) -> bool:
        """Whether a response has begun and is not done."""
        return response_id in self._state.responses

    @property
    def voice_lock(self) -> VoiceLock:
        """Whether the server takes another voice."""
        return voice_lock(self._state)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The session as the server made it, before any setting of ours; empty before ``session.created``."""
        return self._state.defaults

    @property
    def acknowledged(self) -> Mapping[str, Any] | None:
        """The session as the server last showed it; None before ``session.created``."""
        return self._state.acknowledged

    @property
    def input_format(self) -> AudioFormat:
        """The format of audio to the server, as acknowledged."""
        return self._state.input_format

    @property
    def output_format(self) -> AudioFormat:
        """The format of audio from the server, as acknowledged."""
        return self._state.output_format

    @property
    def pending_approvals(self) -> list[ApprovalRequest]:
        """The calls that wait for a decision, oldest first, in a list of the caller's own."""
        return list(self._state.approvals.pending.values())

    @property
    def handing_over(self) -> bool:
        """Whether a handoff is being made."""
        return self._state.handing_over is not None

    def standing_decision(self, tool: FunctionTool | HostedTool) -> Standing | None:
        """What has been decided for always about such a tool."""
        return self._state.approvals.standing(tool)

    def guardrail_counters(self) -> GuardrailCounters:
        """Numbers of the guardrails, for `session.statistics()`."""
        return self._state.guardrails.counters()

    def counters(self) -> ConversationCounters:
        """Numbers for `session.statistics()`."""
        state = self._state
        return ConversationCounters(
            **attrs.asdict(state.counters),
            items=len(state.history),
            live_responses=len(state.responses),
            queued_requests=state.response_queue.waiting,
            parts_playing=len(state.ledger),
            last_heard_ms=state.last_heard_ms,
        )
