"""The core between a `ModelServer` and an app, for the random machines: its effects are carried out as the session's
driver does it, and each is held against what the core promises about it."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from trealtime._core import effects as fx
from trealtime._core.conversation import Conversation
from trealtime._core.effects import FunctionCall, GuardrailCheck
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link
from trealtime._core.tool_calls import ToolOffer
from trealtime.agents.agent import RealtimeAgent
from trealtime.events import EventInfo, RealtimeAudio, RealtimeAudioInterrupted, RealtimeTurnEnded
from trealtime.metrics import TurnMetrics
from trealtime.protocol.codec import read_server_event
from trealtime.tools.context import RunContext

from .model_server import APPROVAL_S, BYTES_PER_MS, CHECKED, GRACE_S, POLICIES, TIMEOUT_S, ModelServer, look


@attrs.frozen
class App:
    """The inputs of the core that are no event of the server, at the time of the machine."""

    machine: Any

    def __getattr__(self, name: str) -> Any:
        machine, method = self.machine, getattr(self.machine.core, name)

        def give(*args: Any, **kwargs: Any) -> None:
            machine.user_truncates = name == "truncate_item"
            machine.apply(method(machine.now, *args, **kwargs))
            machine.user_truncates = False

        return give


class Carrier(RuleBasedStateMachine):
    """The core between the two, what comes of it, and its promises about each effect."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.send_queue: list[dict[str, Any]] = []
        self.urgent: list[dict[str, Any]] = []
        self.reply_ids: dict[str, str] = {}
        self.settled: Counter[str] = Counter()
        self.unhandled: list[tuple[str, int, float, float]] = []
        self.handed_ms: Counter[tuple[str, int]] = Counter()
        self.received_ms: Counter[tuple[str, int]] = Counter()
        self.part_of: dict[tuple[str, int], str] = {}
        self.interrupted: set[str] = set()
        self.asked: dict[str, float] = {}
        self.told_live: set[str] = set()
        self.looked_into: list[str] = []
        """Calls of which nobody knows yet whether they need approval."""

        self.pending: list[str] = []
        self.decided: set[str] = set()
        self.calls: list[str] = []
        self.images: set[str] = set()
        self.user_truncates = False
        self.checks: dict[int, GuardrailCheck] = {}
        self.handoffs: list[FunctionCall] = []
        self.switches: dict[str, FunctionCall] = {}
        """Handoffs whose switch is on its way, by reply_id."""

        self.scopes = 0
        self.playback = "play"
        self.doubts = 0
        self.owed: set[str] = set()
        self.item_of: dict[str, str] = {}
        """By the event id of its creation."""

        self.follows: dict[str, str] = {}
        """By reply id, the response that its caller follows."""

        self.started: set[str] = set()
        self.outputs: Counter[str] = Counter()
        """By call id, how many outputs have been sent."""

        self.turns: dict[int, TurnMetrics] = {}
        """Those that have ended, by number."""

        self.turn_of: Counter[str] = Counter()
        """By item, in how many turns it was."""

        self.said: set[str] = set()
        """The user's turns that the core knows of, by item."""

        self.leaving: str | None = None
        self.lost: Counter[str] = Counter()
        self.spoken_since_clear = False
        self.lost_ends: set[str] = set()

    @initialize(
        seed=st.integers(0, 2**16),
        vad=st.booleans(),
        flags=st.tuples(*[st.booleans()] * 6),
        barge_in=st.sampled_from(("immediate", "immediate", "off", *POLICIES)),
        guardrails=st.sampled_from((GuardrailPolicy(), GuardrailPolicy(), *CHECKED)),
        breaks_off=st.booleans(),
        on_interrupt=st.sampled_from(("keep", "cancel")),
    )
    def connect(
        self,
        seed: int,
        vad: bool,
        flags: tuple[bool, ...],
        barge_in: Any,
        guardrails: GuardrailPolicy,
        breaks_off: bool,
        on_interrupt: Any,
    ) -> None:
        self.breaks_off = breaks_off
        answers, interrupts, echoes, names, error_ids, late = flags
        self.server = ModelServer(
            rng=random.Random(seed),
            vad=vad,
            answers_turns=answers,
            interrupts=interrupts,
            echoes=echoes,
            names_conversations=names,
            error_ids=error_ids,
            late_errors=late,
        )
        self.core = Conversation(
            agent=RealtimeAgent(name="a"),
            info=EventInfo(RunContext({})),
            ids=IdSource(random.Random(seed)),
            barge_in=barge_in,
            cancel_grace_s=GRACE_S,
            response_timeout_s=TIMEOUT_S,
            approval_timeout_s=APPROVAL_S,
            guardrails=guardrails,
            link=self.link(),
        )
        self.server.send("session.created", session=self.server.session())
        self.app.open_session(self.server.session(), reply_id=self.reply_id("open"))
        self.offer = ToolOffer([look(on_interrupt=on_interrupt)], ["hand over"])
        self.app.use_tools(self.offer.tools, self.offer.handoffs)

    def link(self) -> Link:
        """The policy by which a lost connection is replaced: none here."""
        return Link()

    # ---- carrying --------------------------------------------------------------------------------------------------

    def reply_id(self, kind: str) -> str:
        reply_id = f"{kind}_{len(self.reply_ids)}"
        self.reply_ids[reply_id] = kind
        return reply_id

    @property
    def app(self) -> App:
        return App(self)

    def apply(self, effects: list[fx.Effect]) -> None:
        """As the session's driver does it, in order, and every promise about effects checked on the way."""
        told = [effect.event.type for effect in effects if isinstance(effect, fx.Emit)]
        purges = any(isinstance(effect, fx.PurgeAudio) for effect in effects)
        if purges or not {"speech_started", "guardrail_tripped", "error"}.isdisjoint(told):
            self.owed.clear()  # what was asked for may have been interrupted, withdrawn or refused
        for effect in effects:
            self.carry_out(effect)
        assert self.pending == [request.call_id for request in self.core.pending_approvals]
        assert set(self.pending) <= set(self.core._state.calls)

    def carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.PurgeAudio(response_id):
                self.check_leave(response_id)
                self.interrupted.add(response_id)
                self.unhandled = [each for each in self.unhandled if self.part_of[each[0], each[1]] != response_id]
            case fx.ChangePlayback(change):
                self.playback = change.how
            case fx.StartCheck(check):
                self.checks[check.serial] = check
            case fx.CancelChecks(subject):
                self.checks = {serial: each for serial, each in self.checks.items() if each.subject != subject}
            case fx.Emit(event):
                self.see(event)
            case fx.Send(event, urgent):
                self.check_outgoing(dict(event))
                (self.urgent if urgent else self.send_queue).append(dict(event))
            case fx.FollowResponse(reply_id, response_id):
                assert not self.settled[reply_id], "followed after its end"
                self.follows[reply_id] = response_id
            case fx.BeginAnew(reply_id):
                assert self.reply_ids[reply_id] in ("listener", "response")
                self.follows.pop(reply_id)
            case fx.Settle(reply_id):
                self.settle(effect)
            case fx.WithdrawApproval(call_id):
                self.pending.remove(call_id)
            case fx.AskApproval(request):
                assert request.call_id not in self.decided
                self.pending.append(request.call_id)
            case fx.StartTool(call):
                self.take_call(call)

    def check_leave(self, response_id: str) -> None:
        """A caller who leaves takes nobody else's response along."""
        if self.leaving is None:
            return
        others = {reply_id for reply_id in self.follows if not self.settled[reply_id]} - {self.leaving}
        assert response_id not in {self.follows[reply_id] for reply_id in others}, "another caller waits for it"
        if self.server.echoes and self.reply_ids[self.leaving] != "listener":
            assert response_id in self.server.answered, "the server has begun it by itself"

    def see(self, event: Any) -> None:
        if event.type.startswith("interruption_"):
            self.doubts += 1 if event.type == "interruption_pending" else -1
            assert self.doubts in (0, 1), "each pending interruption ends once"
        if isinstance(event, RealtimeTurnEnded):
            self.end_turn(event.metrics)
        elif isinstance(event, RealtimeAudio):
            self.take_audio(event)
        elif isinstance(event, RealtimeAudioInterrupted):
            key = (event.item_id, event.content_index)
            assert 0 <= event.heard_ms <= self.received_ms[key]
            assert event.response_id in self.interrupted, "purged first, then told"
            self.check_heard(key, event.heard_ms)

    def check_heard(self, key: tuple[str, int], heard_ms: int) -> None:
        """An interrupt says that so much of this part was heard."""
        assert heard_ms <= self.handed_ms[key]

    def settle(self, answer: fx.Settle) -> None:
        assert answer.reply_id in self.reply_ids
        self.settled[answer.reply_id] += 1
        assert self.settled[answer.reply_id] == 1, answer
        if self.leaving not in (None, answer.reply_id):  # an answer that was held back behind that of the caller is out
            assert answer.value.status == "completed", "another caller's answer"
        if answer.error is not None:
            self.owed.clear()
        handoff = self.switches.pop(answer.reply_id, None)
        if handoff is not None and handoff.call_id in self.core._state.calls:
            assert answer.error is not None, "a switch that was made has answered its call"
            self.handoffs.append(handoff)

    def take_call(self, call: FunctionCall) -> None:
        self.started.add(call.call_id)
        if call.tool is None:
            others = [*self.handoffs, *self.switches.values()]
            assert not any(other.call_id in self.core._state.calls for other in others), "two handoffs at a time"
            self.handoffs.append(call)
        elif call.cleared or call.refusal is not None:
            assert call.call_id not in self.decided, "decided twice"
            self.decided.add(call.call_id)
            self.calls.append(call.call_id)
        else:
            self.looked_into.append(call.call_id)

    def end_turn(self, turn: TurnMetrics) -> None:
        """Every turn ends once, and is either answered or says why not; its times are in order."""
        assert turn.number not in self.turns
        self.turns[turn.number] = turn
        self.turn_of.update(turn.item_ids)
        assert max((self.turn_of[item_id] for item_id in turn.item_ids), default=1) == 1, "an item in two turns"
        if not turn.response_ids:
            assert turn.status in ("unanswered", "cancelled", "failed")
            assert turn.reason is not None
        assert (turn.reason is None) == (turn.status == "completed")
        asked = (turn.requested_at, turn.created_at, turn.first_audio_at, turn.first_heard_at, turn.heard_until_at)
        for times in (asked, (turn.created_at, turn.first_text_at, turn.done_at)):
            known = [at for at in times if at is not None]
            assert known == sorted(known), times
        told = turn.interruption
        if told is not None and told.silent_at is not None:
            assert told.onset_at is not None
            assert told.onset_at <= told.silent_at <= self.now + 1e-6

    def take_audio(self, event: RealtimeAudio) -> None:
        key = (event.item_id, event.content_index)
        assert event.response_id not in self.interrupted, "audio after its interrupt"
        ms = len(event.audio.data) / BYTES_PER_MS
        assert event.audio.start_ms == self.received_ms[key]
        self.received_ms[key] += ms
        self.part_of[key] = event.response_id
        self.unhandled.append((*key, event.audio.start_ms, event.audio.start_ms + ms))

    def check_outgoing(self, event: dict[str, Any]) -> None:
        if event["type"] == "conversation.item.create":
            self.item_of[event["event_id"]] = event["item"].get("id", "")
        if event["type"] == "conversation.item.create" and event["item"]["type"] == "function_call_output":
            self.outputs[event["item"]["call_id"]] += 1
            assert self.outputs[event["item"]["call_id"]] == 1, "a second output"
        if event["type"] == "conversation.item.truncate" and not self.user_truncates:
            assert 0 <= event["audio_end_ms"] <= self.received_ms[event["item_id"], event["content_index"]]
        if event["type"] == "response.create" and event["response"].get("conversation") != "none":
            self.asked = {each: at for each, at in self.asked.items() if at + TIMEOUT_S > self.now}
            if self.core._state.response_queue._echoes:
                assert not self.asked, "two responses asked for at once"
            else:  # what was asked before may have been taken as answered by a response of the server's own
                self.asked.clear()
            responses = self.core._state.responses
            live = self.told_live & set(responses)
            tells = self.server.echoes or self.server.names_conversations
            # Else one of the server's own may be taken for the answer to an out-of-band request.
            assert not [each for each in live if tells or responses[each].in_conversation], "asked while one lives"
            forgotten = self.told_live - live - self.lost_ends
            assert forgotten <= self.interrupted, "forgot a response that nobody interrupted"
            self.asked[event["event_id"]] = self.now

    def deliver(self, frame: dict[str, Any]) -> None:
        refused = frame.pop("refuses", None)
        self.asked.pop(refused, None)
        if frame["type"] == "error" and frame["error"].get("event_id") is None:
            self.asked.clear()  # it names nothing, and may have been taken for the refusal of any
        if frame["type"] == "input_audio_buffer.committed":
            self.said.add(frame["item_id"])
        self.asked.pop(self.server.answered.get(frame.get("response_id", ""), ""), None)  # its output begins it too
        if frame["type"] == "response.created":
            response_id = frame["response"]["id"]
            self.asked.pop(self.server.answered.get(response_id), None)
            if response_id not in self.server.outside:
                self.told_live.add(response_id)
        elif frame["type"] == "response.done":
            self.told_live.discard(frame["response"]["id"])
            self.asked.pop(self.server.answered.get(frame["response"]["id"]), None)
        self.receive(frame)

    def receive(self, frame: dict[str, Any]) -> None:
        self.apply(self.core.receive(self.now, read_server_event(frame), frame))
