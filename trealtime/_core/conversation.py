"""The conversation: the sans-IO core of a session. It decides; tasks carry.

`receive` takes an event of the server, `tick` the passing of a deadline, and every other input is a request of the app
or a report of a part of the session. Each input is a method that takes the time first, and returns a list of effects.
Carry that list out whole, in order and in one synchronous step, before you call the next input: a part's report
meanwhile waits. There is no clock, no IO and no task in here; `now` is any monotonic time in seconds.

A `reply_id` names a caller who waits for the server's answer. Each is settled exactly once (`Settle`), at the latest
when the connection ends.

The table `RECEPTION` below names the function for each event of the server. Each file holds the rules of its subject,
most of them as a theory of operation at its top: `response_queue`, `responses`, `unnamed`, `turns`, `turn_records`,
`interruption`, `playback_ledger`, `history`, `tool_calls`, `approvals`, `handoffs`, `guardrails`, `settings`,
`requests`, `usage`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from trealtime._core import item_events, output, requests, responses, server_playback, settings, turns
from trealtime._core.approvals import Approvals, Standing, decide, drop_approval, expire_approvals, request_approval
from trealtime._core.asking import submit
from trealtime._core.connection_inputs import ConnectionInputs
from trealtime._core.deadlines import Deadlines
from trealtime._core.effects import ApprovalRequest, Effect
from trealtime._core.guardrails import (
    GuardrailCounters,
    GuardrailPolicy,
    Guardrails,
    drop_purged,
    forget_everything,
    verdict,
)
from trealtime._core.handoffs import AgentSwitch, VoiceLock, switch_agent, voice_lock
from trealtime._core.ids import IdSource
from trealtime._core.in_flight import retell
from trealtime._core.input_guardrails import expire_inputs, input_verdict, newest_input
from trealtime._core.interruption import (
    BargeInPolicy,
    Cause,
    cancel_response,
    expire_pending_interruption,
    interrupt_for_app,
    speech_began,
)
from trealtime._core.listening import answer_comes, expire_turns
from trealtime._core.model_events import model_events
from trealtime._core.playback_inputs import PlaybackInputs
from trealtime._core.playback_ledger import PlaybackLedger, PlaybackPosition
from trealtime._core.reconnection import Link, expire_link
from trealtime._core.resend_buffer import ResendBuffer
from trealtime._core.rollover import roll_over
from trealtime._core.settings import TurnSettings, keep_server_told, send_update
from trealtime._core.state import ConversationCounters, State
from trealtime._core.tool_calls import ToolOffer, answer_call
from trealtime._core.turn_answers import end_all_turns, settle_turns
from trealtime._core.unnamed import named
from trealtime._core.usage import Limits, Meter, Prices, SessionLimits, check_limits
from trealtime.audio.formats import AudioFormat
from trealtime.errors import ServerRefused
from trealtime.events import EventInfo, RealtimeAudio, RealtimeRawModelEvent
from trealtime.items import RealtimeItem
from trealtime.metrics import ToolSpanStatus, TurnMetrics, TurnStatistics
from trealtime.protocol import server_events as wire
from trealtime.usage import Cost, TranscriptionUsage, Usage

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.agents.guardrails import InputGuardrailResult, OutputGuardrailResult
    from trealtime.mcp.hosted import HostedTool
    from trealtime.tools.function_tool import AfterTool, FunctionTool

__all__ = ["Conversation"]

_Handler = Callable[[State, Any, float], None]

RECEPTION: Final[Mapping[type, _Handler]] = {
    wire.SessionCreated: settings.session_created,
    wire.SessionUpdated: settings.session_updated,
    wire.ErrorEvent: requests.error,
    wire.ConversationItemAdded: item_events.item_added,
    wire.ConversationItemDone: item_events.item_done,
    wire.ConversationItemCreated: item_events.item_created,
    wire.ConversationItemRetrieved: item_events.item_retrieved,
    wire.ConversationItemDeleted: item_events.item_deleted,
    wire.ConversationItemTruncated: item_events.item_truncated,
    wire.InputAudioBufferSpeechStarted: turns.speech_started,
    wire.InputAudioBufferSpeechStopped: turns.speech_stopped,
    wire.InputAudioBufferCommitted: turns.audio_committed,
    wire.InputAudioBufferCleared: turns.audio_cleared,
    wire.InputAudioBufferTimeoutTriggered: turns.silence_timed_out,
    wire.InputAudioBufferDtmfEventReceived: turns.key_pressed,
    wire.ConversationItemInputAudioTranscriptionDelta: turns.transcription_delta,
    wire.ConversationItemInputAudioTranscriptionCompleted: turns.transcription_completed,
    wire.ConversationItemInputAudioTranscriptionFailed: turns.transcription_failed,
    wire.ResponseCreated: responses.response_created,
    wire.ResponseDone: output.response_done,
    wire.ResponseOutputItemAdded: output.output_item_added,
    wire.ResponseOutputItemDone: output.output_item_done,
    wire.ResponseContentPartDone: output.content_part_done,
    wire.McpListToolsFailed: output.listing_failed,
    wire.ResponseOutputTextDelta: output.text_delta,
    wire.ResponseOutputTextDone: output.text_done,
    wire.ResponseOutputAudioTranscriptDelta: output.transcript_delta,
    wire.ResponseOutputAudioTranscriptDone: output.transcript_done,
    wire.ResponseOutputAudioDelta: output.receive_audio,
    wire.ResponseOutputAudioDone: output.audio_done,
    wire.OutputAudioBufferStarted: server_playback.playing_started,
    wire.OutputAudioBufferStopped: server_playback.playing_ended,
    wire.OutputAudioBufferCleared: server_playback.playing_ended,
    wire.RawServerEvent: requests.unknown_event,
}
"""The function for each event of the server. Events that are not here are shown raw and change nothing: rate limits,
for example, and MCP calls, whose items come as items.

Receipt is lenient: an event about something unknown is read as it stands or ignored, and is never an error."""

_DELTAS: Final = (
    wire.ResponseOutputAudioDelta,
    wire.ResponseOutputAudioTranscriptDelta,
    wire.ResponseOutputTextDelta,
    wire.ResponseFunctionCallArgumentsDelta,
)
"""Events that let nothing go that waits, and bring no deadline nearer, where their response is known."""


class Conversation(ConnectionInputs, PlaybackInputs):
    """One conversation, over one connection at a time. `agent` speaks; `info` goes into every event.

    `position` asks a playback tracker; without one playback is assumed (see `PlaybackLedger`). `barge_in` says when
    speech interrupts (`interruption`). After an interrupt the ``response.done`` of the interrupted response is awaited
    for `cancel_grace_s`; a ``response.create`` that nothing answers is given up after `response_timeout_s`.
    `after_tool` says whether outputs of tools are answered (`tool_calls`, rule 4). `guardrails` are the checks,
    `prices` the prices of tokens, `limits` the bounds of the session. A call that needs approval waits for it for
    `approval_timeout_s` (None: until the end); at most `max_open_calls` wait or run. `link` has the policy by which a
    lost connection is replaced.
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
        request_timeout_s: float = 10.0,
        after_tool: AfterTool = "auto",
        guardrails: GuardrailPolicy | None = None,
        approval_timeout_s: float | None = None,
        max_open_calls: int = 128,
        max_tool_rounds: int = 10,
        prices: Prices | None = None,
        limits: SessionLimits | None = None,
        link: Link | None = None,
    ) -> None:
        self.raw_events: Final = raw_events
        policy = guardrails if guardrails is not None else GuardrailPolicy()
        self._state = State(
            agent=agent,
            info=info,
            ids=ids if ids is not None else IdSource(),
            ledger=PlaybackLedger(position),
            barge_in=barge_in,
            cancel_grace_s=cancel_grace_s,
            response_timeout_s=response_timeout_s,
            request_timeout_s=request_timeout_s,
            after_tool=after_tool,
            max_open_calls=max_open_calls,
            max_tool_rounds=max_tool_rounds,
            guardrails=Guardrails(policy),
            turn_settings=TurnSettings(checked=policy.gates_turns),
            approvals=Approvals(approval_timeout_s),
            meter=Meter(prices),
            limits=Limits(limits if limits is not None else SessionLimits()),
            link=link if link is not None else Link(),
        )
        if self._state.link.policy is not None and not self._state.link.attached:
            self._state.audio = ResendBuffer(self._state.link.policy.resend_buffer_s)
        self._deadlines = Deadlines()

    # ---- the server ------------------------------------------------------------------------------------------------

    def receive(self, now: float, event: wire.AnyServerEvent, data: Mapping[str, Any] | None = None) -> list[Effect]:
        """The server has sent `event`, read from the frame `data`; without it, no raw event is emitted."""
        state = self._state
        if data is not None and self.raw_events:
            for each in model_events(event, data):
                state.emit(RealtimeRawModelEvent(data=each, info=state.info))
        quiet = isinstance(event, _DELTAS) and event.response_id in state.responses
        known = event if quiet else named(state, event)
        if known is None:
            return self._effects(now)
        event = known
        handler = RECEPTION.get(type(event))
        if handler is not None:
            handler(state, event, now)  # pyright: ignore[reportArgumentType]  # its key is the class of the event
        responses.note_progress(state, event, now)
        # Most events of a call are deltas: what waits is looked through for the others alone.
        return state.drain() if quiet and not state.purged else self._effects(now)

    def receive_audio(self, now: float, event: wire.ResponseOutputAudioDelta) -> RealtimeAudio | None:
        """`receive` for audio that only has to be emitted: return that event. None: nothing has happened, `receive` it.

        By far the most bytes of a call take this way, without a list of effects (benchmark ``downstream``).
        """
        return output.audio_to_emit(self._state, event, now)

    def disconnect(self, now: float, error: Exception) -> list[Effect]:
        """The connection has ended: raise `error` in every caller who waits, and drop every call."""
        state = self._state
        reply_ids = [*state.requests.drain(), *state.updates.drain(), *state.link.drain()]
        if (opening := state.take_opening()) is not None:
            reply_ids.append(opening.reply_id)
        for request in state.response_queue.drain():
            reply_ids += request.reply_ids
        for response in state.unfinished():
            reply_ids += response.reply_ids
        reply_ids += state.listening.drain()
        for call_id in list(state.approvals.pending):
            drop_approval(state, call_id, "closed")
        state.responses.clear()
        state.calls.clear()
        state.handing_over = state.pending_interruption = None
        forget_everything(state)
        state.server_plays = state.server_plays_until = None
        state.turns.free(state.response_queue)
        end_all_turns(state, now)
        for reply_id in dict.fromkeys(reply_ids):
            state.settle(reply_id, error=error)
        return self._effects(now)

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: give up what is overdue, and send what was held back until now. `next_deadline` is later
        than `now` then, or None."""
        state = self._state
        for request in state.response_queue.expire(now, state.response_timeout_s):
            state.counters.unanswered_requests += 1
            message = f"no answer within {state.response_timeout_s:g} s"
            request.fail(state, ServerRefused(message, code="no_answer", request="response.create"))
            request.abandon()
        responses.expire_responses(state, now)
        requests.expire_requests(state, now)
        expire_inputs(state, now)
        expire_turns(state, now)
        turns.ask_for_lost_answers(state, now)
        turns.expire_clear(state, now)
        server_playback.expire_server_playback(state, now)
        expire_pending_interruption(state, now)
        expire_approvals(state, now)
        expire_link(state, now)
        self._proceed(now)
        self._deadlines.check(state, now)
        return state.drain()

    @property
    def next_deadline(self) -> float | None:
        """The time to call `tick`, unless another input comes first. Audio does not bring it nearer."""
        return self._deadlines.next

    def _effects(self, now: float) -> list[Effect]:
        """End an input: release all that need not wait any more, and return the effects."""
        self._proceed(now)
        return self._state.drain()

    def _proceed(self, now: float) -> None:
        """Send what may be sent now, and find out when to look again."""
        state = self._state
        drop_purged(state, now)
        check_limits(state, now)
        rollover = roll_over(state, now)
        responses.pump(state, now)
        for event_id in state.requests.set_deadlines(now, state.request_timeout_s):
            state.turns.forget_commit(event_id, "no_answer")
            state.audio.forget_commit(event_id)
        if not state.link.away:
            state.updates.set_deadlines(now + state.request_timeout_s)
        settle_turns(state, now)
        if answer_comes(state):
            state.listening.put_off(now)
        self._deadlines.look(state, now, rollover)

    # ---- the session and its agent ---------------------------------------------------------------------------------

    def open_session(self, now: float, session: Mapping[str, Any] | None, *, reply_id: str) -> list[Effect]:
        """Send the first ``session.update``, with `session`; None (attach only): send none.

        The reply is settled with the acknowledged session mapping, once ``session.created`` has come *and* the update
        has been acknowledged, or with the error if it was refused.
        """
        settings.open_session(self._state, session, reply_id=reply_id)
        if len(self._state.history):
            retell(self._state, None)
        return self._effects(now)

    def update_session(
        self, now: float, session: Mapping[str, Any], *, reply_id: str | None = None, offer: ToolOffer | None = None
    ) -> list[Effect]:
        """Send a ``session.update``; settled with the acknowledged session mapping. `offer`: the tools of the model
        from then on, where they change."""
        send_update(self._state, session, reply_id=reply_id, offer=offer)
        return self._effects(now)

    def switch_agent(
        self, now: float, switch: AgentSwitch, session: Mapping[str, Any] | None, *, reply_id: str | None = None
    ) -> list[Effect]:
        """Put another agent in charge once the server has acknowledged `session`; at once where there is nothing to
        send (None).

        Settled with the acknowledged session mapping. If the server refuses, the old agent stays. It stays too where a
        handoff comes too late, and then the output of the call says so.
        """
        switch_agent(self._state, switch, session, reply_id=reply_id)
        return self._effects(now)

    def use_tools(
        self, now: float, tools: Sequence[FunctionTool | Mapping[str, Any]], handoffs: Collection[str] = ()
    ) -> list[Effect]:
        """Note the tools that the model knows from now on; see `ToolOffer`."""
        ToolOffer(tools, handoffs).take_effect(self._state)
        return self._effects(now)

    # ---- items -----------------------------------------------------------------------------------------------------

    def create_item(
        self,
        now: float,
        item: Mapping[str, Any],
        *,
        previous_item_id: str | None = None,
        reply_id: str | None = None,
        said: bool = False,
    ) -> list[Effect]:
        """Add `item` (wire shape, with its own ``id``) after `previous_item_id` (None: at the end; ``"root"``: first).

        `said`: the user says it now, so input guardrails check its text before anything answers it. Settled with the
        `RealtimeItem`.
        """
        item_events.create_item(self._state, item, now, previous_item_id=previous_item_id, reply_id=reply_id, said=said)
        return self._effects(now)

    def delete_item(self, now: float, item_id: str, *, reply_id: str | None = None) -> list[Effect]:
        """Take an item out of the conversation."""
        event = {"type": "conversation.item.delete", "item_id": item_id}
        self._state.send(event, reply_id=reply_id)
        return self._effects(now)

    def retrieve_item(self, now: float, item_id: str, *, reply_id: str | None = None) -> list[Effect]:
        """Fetch an item with its audio; settled with the `RealtimeItem`."""
        event = {"type": "conversation.item.retrieve", "item_id": item_id}
        self._state.send(event, reply_id=reply_id)
        return self._effects(now)

    def truncate_item(
        self, now: float, item_id: str, content_index: int, audio_end_ms: int, *, reply_id: str | None = None
    ) -> list[Effect]:
        """Cut an audio item of the assistant; `audio_end_ms` is clamped to what was received of it, as long as that is
        known."""
        item_events.truncate_item(self._state, item_id, content_index, audio_end_ms, reply_id=reply_id)
        return self._effects(now)

    # ---- responses -------------------------------------------------------------------------------------------------

    def create_response(
        self,
        now: float,
        params: Mapping[str, Any] | None = None,
        *,
        automatic: bool = False,
        reply_id: str | None = None,
        event_id: str | None = None,
        tools: Sequence[FunctionTool | Mapping[str, Any]] = (),
    ) -> list[Effect]:
        """Ask for an answer; settled with a `ResponseResult` when the response is done.

        `params` is the ``response`` object of the wire (None: session defaults), and `tools` are those of `params`, as
        they can be run. `automatic` requests (an answer to a message or to tool outputs) that wait together become one
        ``response.create``; others keep to themselves and in order. A request with ``"conversation": "none"`` waits for
        nothing.
        """
        submit(
            self._state,
            params=params,
            automatic=automatic,
            reply_ids=[reply_id] if reply_id is not None else [],
            event_id=event_id,
            tools=tools,
            answers=newest_input(self._state),
        )
        return self._effects(now)

    def listen(self, now: float, reply_id: str) -> list[Effect]:
        """Wait for a spoken turn of the user and its answer; settled with a `ResponseResult` when that is over. The
        rules are in `listening`."""
        self._state.listening.begin(reply_id)
        return self._effects(now)

    def collect_audio(self, now: float, reply_id: str) -> list[Effect]:
        """Note that the caller under this reply id plays no audio before the turn is complete."""
        self._state.collecting |= {reply_id}
        return self._effects(now)

    def cancel_response(self, now: float, response_id: str | None = None) -> list[Effect]:
        """Cancel a response and stop its audio: the one named, else the one in the default conversation, if any."""
        cancel_response(self._state, now, response_id=response_id)
        return self._effects(now)

    def interrupt(
        self, now: float, *, cause: Cause = "app", response_id: str | None = None, reply_id: str | None = None
    ) -> list[Effect]:
        """Interrupt the agent; the rules are in `interruption`.

        `response_id` narrows it to one response. With `reply_id` the caller under it has left: the response that it
        asked for stops, unless others wait for that one too.
        """
        interrupt_for_app(self._state, now, cause=cause, response_id=response_id, reply_id=reply_id)
        return self._effects(now)

    # ---- barge-in --------------------------------------------------------------------------------------------------

    def begin_uninterruptible(self, now: float) -> list[Effect]:
        """From now on speech interrupts nothing, until `end_uninterruptible` has been called as often as this."""
        self._state.turn_settings.begin_uninterruptible()
        keep_server_told(self._state)
        return self._effects(now)

    def end_uninterruptible(self, now: float) -> list[Effect]:
        """Speech may interrupt again; speech that began meanwhile and still goes on is taken up now."""
        state = self._state
        state.turn_settings.end_uninterruptible()
        keep_server_told(state)
        if state.turns.speech is not None and state.turns.speech.put_off:
            speech_began(state, state.turns.speech, now)
        return self._effects(now)

    def use_barge_in(self, now: float, policy: BargeInPolicy | None) -> list[Effect]:
        """Speech interrupts by this policy from now on; None: by the one that the conversation began with."""
        self._state.turn_settings.use(policy)
        keep_server_told(self._state)
        return self._effects(now)

    # ---- function calls --------------------------------------------------------------------------------------------

    def send_tool_output(
        self,
        now: float,
        call_id: str,
        output: str,
        *,
        respond: bool | None = None,
        nothing_to_tell: bool = False,
        outcome: ToolSpanStatus = "completed",
    ) -> list[Effect]:
        """Give the server the output of a function call. Nothing happens if it has its output already, or if there is
        no such call.

        `respond` says whether an answer is asked for once all calls of that response have their outputs. None leaves it
        to the rules in `tool_calls`, which want to know whether the output has `nothing_to_tell`. `outcome` is for the
        figures of the turn.
        """
        if call_id in self._state.calls:
            answer_call(self._state, call_id, output, respond=respond, nothing_to_tell=nothing_to_tell, outcome=outcome)
        return self._effects(now)

    def request_approval(self, now: float, call_id: str) -> list[Effect]:
        """A function call needs approval: park it until `decide_approval`. It comes back with `StartTool`."""
        request_approval(self._state, call_id, now)
        return self._effects(now)

    def decide_approval(
        self, now: float, call_id: str, *, approve: bool, always: bool = False, message: str | None = None
    ) -> list[Effect]:
        """Approve or reject a call that waits for it, with `always` later calls of the tool too; nothing happens if it
        does not wait. `message` is what the model reads of a rejection."""
        decide(self._state, call_id, approve=approve, always=always, message=message)
        return self._effects(now)

    # ---- checks ----------------------------------------------------------------------------------------------------

    def report_check(
        self,
        now: float,
        serial: int,
        *,
        tripped: tuple[OutputGuardrailResult | InputGuardrailResult, ...] = (),
        failed: tuple[OutputGuardrailResult | InputGuardrailResult, ...] = (),
        overdue: bool = False,
        began_at: float | None = None,
    ) -> list[Effect]:
        """A `GuardrailCheck` is done: the results that tripped (none: it passed), and those of guardrails that failed.

        `began_at`: when it was started. `overdue`: some have not answered in time; when they do, the check reports
        once more.
        """
        if not input_verdict(self._state, serial, tripped=tripped, failed=failed, began_at=began_at):
            verdict(self._state, serial, now, tripped=tripped, failed=failed, overdue=overdue, began_at=began_at)
        return self._effects(now)

    # ---- questions -------------------------------------------------------------------------------------------------

    def history(self) -> list[RealtimeItem]:
        """The items in order, in a list of the caller's own."""
        return self._state.history.snapshot()

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
        """Tokens and seconds of all transcriptions so far."""
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
    def hears_speech(self) -> bool:
        """Whether the server has heard the user begin to speak, and not end."""
        return self._state.turns.speech is not None

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
        """The decision for always about such a tool; None if there is none."""
        return self._state.approvals.standing(tool)

    def guardrail_counters(self) -> GuardrailCounters:
        """Numbers of the guardrails, for `session.statistics()`."""
        return self._state.guardrails.counters(len(self._state.turns.records.unchecked))

    @property
    def ended_turns(self) -> tuple[TurnMetrics, ...]:
        """The figures of the newest turns that are over."""
        return self._state.turn_log.ended

    def turn_statistics(self) -> TurnStatistics:
        """The sums over all turns, for `session.statistics()`."""
        return self._state.turn_log.statistics(still_open=len(self._state.turns.records))

    def turn_of(self, *, response_id: str | None = None, call_id: str | None = None) -> tuple[int, float] | None:
        """The number of the turn that a live response or an open call is of, and the time at which it began."""
        call = None if call_id is None else self._state.calls.get(call_id)
        response = call.response if call is not None else self._state.responses.get(response_id or "")
        if response is None or response.record is None:
            return None
        record = response.record.current
        return record.number, record.began_at

    def counters(self) -> ConversationCounters:
        """Numbers for `session.statistics()`."""
        return self._state.counted()
