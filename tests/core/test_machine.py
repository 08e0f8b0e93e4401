"""Random but legal servers against random users, agents, guardrails and policies: what must hold whatever happens.

The server is a `ModelServer`. On the way to a `LossyMachine` answers are lost as well, and errors come under the ids of
others.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trealtime._core import effects as fx
from trealtime._core.conversation import Conversation
from trealtime._core.effects import FunctionCall, GuardrailCheck
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.handoffs import AgentSwitch
from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link
from trealtime._core.tool_calls import ToolOffer
from trealtime._core.turns import PATIENCE_S
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ConnectionLost
from trealtime.events import EventInfo, RealtimeAudio, RealtimeAudioInterrupted, RealtimeTurnEnded
from trealtime.items import AssistantAudio, AssistantText, InputImage
from trealtime.metrics import TurnMetrics
from trealtime.protocol.codec import read_server_event
from trealtime.tools.context import RunContext

from .model_server import (
    APPROVAL_S,
    BYTES_PER_MS,
    CHECKED,
    GRACE_S,
    POLICIES,
    REQUEST_S,
    TIMEOUT_S,
    ModelServer,
    look,
    verdict_on,
)

pytestmark = pytest.mark.usefixtures("same_examples_everywhere")


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


class Machine(RuleBasedStateMachine):
    """The core between the two."""

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

    # ---- the server's side -----------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 4))
    def server_reads(self, count: int) -> None:
        for _ in range(count):
            lane = self.urgent or self.send_queue
            if lane:
                self.server.read(lane.pop(0))

    @precondition(lambda self: self.server.down)
    @rule(count=st.integers(1, 12))
    def client_receives(self, count: int) -> None:
        server = self.server
        for _ in range(min(count, len(server.down))):
            if self.server is server:  # else its connection was dropped for what it has said
                self.deliver(server.down.pop(0))

    @rule(moments=st.integers(1, 8), seconds=st.sampled_from((0.02, 0.1, 0.4)))
    def the_call_goes_on(self, moments: int, seconds: float) -> None:
        """In small steps of both sides: rules that are drawn one by one seldom get as far as audio that plays."""
        for _ in range(moments):
            self.server_reads(4)
            if self.server.making:
                self.server_generates(0, self.server.rng.randint(1, 3))
            if self.server.down:
                self.client_receives(self.server.rng.randint(1, 12))
            if self.unhandled and self.server.rng.random() < 0.8:
                self.consume(6, False)
            self.time_passes(seconds)

    @rule(
        how=st.sampled_from(("speech", "all", "response", "reply_id", "cancel")), seconds=st.sampled_from((0.05, 0.3))
    )
    def the_agent_is_interrupted(self, how: str, seconds: float) -> None:
        """While it speaks."""
        for _ in range(12):
            if len(self.core._state.ledger) and not self.unhandled:
                break
            if not self.server.making and not self.send_queue:
                self.ask("manual")
            self.the_call_goes_on(1, 0.02)
        self.time_passes(seconds)
        if how != "speech":
            self.interrupt(how, 0)
        elif self.server.vad and self.server.speaking is None:
            self.the_user_speaks()
            self.client_receives(len(self.server.down))

    @precondition(lambda self: self.server.late)
    @rule()
    def a_refusal_comes_late(self) -> None:
        self.server.down.append(self.server.late.pop(0))

    @precondition(lambda self: self.server.making)
    @rule(which=st.integers(0, 3), steps=st.integers(1, 9))
    def server_generates(self, which: int, steps: int) -> None:
        making = list(self.server.making.values())[which % len(self.server.making)]
        for _ in range(steps):
            if making.id in self.server.making:
                self.server.advance(making)

    @precondition(lambda self: self.server.making)
    @rule(status=st.sampled_from(("failed", "incomplete")))
    def a_response_breaks_off(self, status: str) -> None:
        self.server.end(next(iter(self.server.making.values())), status, "content_filter")

    @precondition(lambda self: self.server.vad)
    @rule()
    def the_user_speaks(self) -> None:
        if self.server.speaking is None:
            self.server.begin_speech()
            self.spoken_since_clear = True
        else:
            self.server.end_speech()

    @precondition(lambda self: self.server.transcribing or self.server.speaking)
    @rule(outcome=st.sampled_from(("delta", "completed", "failed")))
    def words_are_recognised(self, outcome: str) -> None:
        about = "conversation.item.input_audio_transcription."
        if outcome == "delta" or not self.server.transcribing:
            item_id = self.server.speaking or self.server.transcribing[0]
            self.server.send(f"{about}delta", item_id=item_id, content_index=0, delta="mm ")
            return
        item_id = self.server.transcribing.pop(0)
        words = self.server.rng.choice((f"words of {item_id}", "mm-hmm", ""))
        rest = {"transcript": words} if outcome == "completed" else {"error": {"message": "no"}}
        self.server.items[item_id]["content"][0] |= {"transcript": rest.get("transcript")}
        self.server.send(f"{about}{outcome}", item_id=item_id, content_index=0, **rest)

    @rule(code=st.sampled_from((None, "server_error", "rate_limit_exceeded")))
    def an_error_of_nobody(self, code: str | None) -> None:
        self.server.send("error", error={"type": "server_error", "code": code, "message": "oops"})

    # ---- the user's side -------------------------------------------------------------------------------------------

    @rule(
        respond=st.booleans(), image=st.booleans(), where=st.sampled_from((None, None, None, "root", "first", "gone"))
    )
    def message(self, respond: bool, image: bool, where: str | None) -> None:
        item_id = f"mine_{len(self.reply_ids)}"
        content = [{"type": "input_text", "text": f"text of {item_id}"}]
        if image:
            content.insert(0, {"type": "input_image", "image_url": f"data:{item_id}"})
        order = self.core._state.history.order()
        after = order[0] if where == "first" and order else None if where == "first" else where
        if after != "gone":
            self.images |= {item_id} if image else set()
        item = {"id": item_id, "type": "message", "role": "user", "content": content}
        self.app.create_item(item, previous_item_id=after, reply_id=self.reply_id("item"), said=respond)
        if respond:
            self.said.add(item_id)
            self.owed |= {item_id} if after != "gone" else set()
            self.app.create_response(automatic=True)

    @rule(kind=st.sampled_from(("manual", "manual", "automatic", "out of band", "raw")))
    def ask(self, kind: str) -> None:
        if kind == "raw":
            self.app.send_raw({"type": "response.create", "event_id": f"raw_{len(self.reply_ids)}_{self.now}"})
            return
        params = {"conversation": "none"} if kind == "out of band" else None
        reply_id = self.reply_id("response")
        self.app.create_response(params, automatic=kind == "automatic", reply_id=reply_id)

    @rule(collects=st.booleans())
    def listen(self, collects: bool) -> None:
        reply_id = self.reply_id("listener")
        if collects:
            self.app.collect_audio(reply_id)
        self.app.listen(reply_id)

    @precondition(lambda self: self.listeners())
    @rule(which=st.integers(0, 3))
    def a_listener_leaves(self, which: int) -> None:
        listeners = self.listeners()
        self.leave(listeners[which % len(listeners)])

    def listeners(self) -> list[str]:
        return [each for each, kind in self.reply_ids.items() if kind == "listener" and not self.settled[each]]

    @rule(
        how=st.sampled_from(("all", "all", "response", "reply_id", "both", "cancel", "cancel one")),
        which=st.integers(0, 9),
    )
    def interrupt(self, how: str, which: int) -> None:
        known = [*self.received_ids()] or ["resp_0"]
        asked = [reply_id for reply_id, kind in self.reply_ids.items() if kind == "response"] or ["response_0"]
        response_id, reply_id = known[-1 - which % len(known)], asked[-1 - which % len(asked)]
        wish = {
            "all": lambda app: app.interrupt(cause=("app", "guardrail")[which % 2]),
            "response": lambda app: app.interrupt(response_id=response_id),
            "reply_id": lambda app: self.leave(reply_id),
            "both": lambda app: app.interrupt(response_id=response_id, reply_id=reply_id),
            "cancel": lambda app: app.cancel_response(),
            "cancel one": lambda app: app.cancel_response(response_id),
        }[how]
        self.owed.clear()
        wish(self.app)

    @rule(
        owners=st.lists(st.sampled_from(("automatic", "manual", "message", "out of band")), min_size=2, max_size=4),
        leaves=st.integers(0, 4),
    )
    def several_want_answers(self, owners: list[str], leaves: int) -> None:
        """In the same moment; one of them may leave."""
        for owner in owners:
            if owner == "message":
                self.message(True, False, None)
            else:
                self.ask(owner)
        if leaves < len(owners):
            self.interrupt("reply_id", leaves)

    @precondition(lambda self: self.waiting_for_responses())
    @rule(which=st.integers(0, 3))
    def a_caller_leaves(self, which: int) -> None:
        waiting = self.waiting_for_responses()
        self.leave(waiting[which % len(waiting)])

    def waiting_for_responses(self) -> list[str]:
        return [reply_id for reply_id in self.follows if not self.settled[reply_id]]

    def leave(self, reply_id: str) -> None:
        self.leaving = reply_id
        try:
            self.app.interrupt(reply_id=reply_id)
        finally:
            self.leaving = None  # else the teardown fails too, and that is what is shown

    def received_ids(self) -> dict[str, None]:
        return dict.fromkeys([*self.part_of.values(), *self.core._state.responses])

    @precondition(lambda self: self.core.history())
    @rule(what=st.sampled_from(("delete", "retrieve", "truncate")), which=st.integers(0, 9), ms=st.integers(-5, 3000))
    def touch_an_item(self, what: str, which: int, ms: int) -> None:
        order = self.core._state.history.order()
        item_id, reply_id = order[which % len(order)], self.reply_id(what)
        self.owed.discard(item_id)
        wish = {
            "delete": lambda app: app.delete_item(item_id, reply_id=reply_id),
            "retrieve": lambda app: app.retrieve_item(item_id, reply_id=reply_id),
            "truncate": lambda app: app.truncate_item(item_id, 0, ms, reply_id=reply_id),
        }[what]
        wish(self.app)

    @rule(bad=st.booleans(), waits=st.booleans())
    def update_settings(self, bad: bool, waits: bool) -> None:
        self.app.update_session(self.update(bad=bad), reply_id=self.reply_id("update") if waits else None)

    def update(self, *, bad: bool) -> dict[str, Any]:
        """Settings that the server takes, or refuses."""
        return {"bad": True} if bad else {}

    @rule()
    def push_to_talk(self) -> None:
        self.app.commit_audio()

    @rule()
    def throw_away(self) -> None:
        self.app.clear_audio()
        self.spoken_since_clear = False

    @rule(begin=st.booleans())
    def uninterruptible(self, begin: bool) -> None:
        if begin:
            self.scopes += 1
            self.app.begin_uninterruptible()
        elif self.scopes:
            self.scopes -= 1
            self.app.end_uninterruptible()

    @precondition(lambda self: self.checks)
    @rule(how=st.sampled_from(("passes", "passes", "trips", "fails", "hangs")), which=st.integers(0, 3))
    def a_guardrail_says(self, how: str, which: int) -> None:
        check = list(self.checks.values())[which % len(self.checks)]
        if how != "hangs":
            del self.checks[check.serial]
        result = verdict_on(check)
        tripped, failed = ((result,) if how == name else () for name in ("trips", "fails"))
        if how == "hangs":
            self.app.report_check(check.serial, failed=(result,), overdue=True)
        else:
            self.app.report_check(check.serial, tripped=tripped, failed=failed)

    @rule(bad=st.booleans(), tells=st.booleans())
    def another_agent(self, bad: bool, tells: bool) -> None:
        agent = RealtimeAgent(name="another")
        switch = AgentSwitch(agent=agent, tools=self.offer.tools, handoffs=self.offer.handoffs)
        self.app.switch_agent(switch, self.update(bad=bad) if tells else None, reply_id=self.reply_id("agent"))

    @precondition(lambda self: self.unhandled)
    @rule(count=st.integers(1, 6), shed=st.booleans())
    def consume(self, count: int, shed: bool) -> None:
        for _ in range(min(count, len(self.unhandled))):
            item_id, index, start_ms, end_ms = self.unhandled.pop(0)
            if shed:
                self.app.shed(item_id, index, end_ms)
            else:
                self.handed_ms[item_id, index] = max(self.handed_ms[item_id, index], end_ms)
                self.core.hand_out(self.now, item_id, index, start_ms, end_ms)

    @precondition(lambda self: self.calls)
    @rule(respond=st.booleans())
    def a_tool_returns(self, respond: bool) -> None:
        self.app.send_tool_output(self.calls.pop(0), "42", respond=respond)

    @precondition(lambda self: self.handoffs)
    @rule(how=st.sampled_from(("made", "made", "nothing to tell", "refused", "failed")))
    def a_handoff_ends(self, how: str) -> None:
        call = self.handoffs.pop(0)
        if how == "failed":
            self.app.send_tool_output(call.call_id, "no such agent")
            return
        switch = AgentSwitch(
            agent=RealtimeAgent(name="next"),
            tools=self.offer.tools,
            handoffs=self.offer.handoffs,
            source=call.agent,
            call_id=call.call_id,
            output="made",
        )
        reply_id = self.reply_id("handoff")
        self.switches[reply_id] = call
        session = None if how == "nothing to tell" else self.update(bad=how == "refused")
        self.app.switch_agent(switch, session, reply_id=reply_id)

    @precondition(lambda self: self.looked_into)
    @rule(needed=st.booleans())
    def it_is_known_whether_a_call_needs_approval(self, needed: bool) -> None:
        call_id = self.looked_into.pop(0)
        if needed:
            self.app.request_approval(call_id)
        elif call_id in self.core._state.calls:  # it runs at once, unless an interrupt has stopped it
            self.decided.add(call_id)
            self.calls.append(call_id)

    @precondition(lambda self: self.pending)
    @rule(approve=st.booleans(), always=st.booleans(), newest=st.booleans())
    def somebody_decides(self, approve: bool, always: bool, newest: bool) -> None:
        self.app.decide_approval(self.pending[-newest], approve=approve, always=always)

    @precondition(lambda self: self.pending)
    @rule()
    def the_app_answers_a_call_by_itself(self) -> None:
        self.app.create_item({"type": "function_call_output", "call_id": self.pending[0], "output": "mine"})

    @rule(seconds=st.sampled_from((0.01, 0.05, 0.3, 1.1, 7.0)))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.core.next_deadline) is not None and due <= until:
            self.now = max(self.now, due)
            self.apply(self.core.tick(self.now))
            assert self.core.counters().stuck_deadlines == 0
            after = self.core.next_deadline
            assert after is None or after > self.now, "a deadline that never passes"
        self.now = until

    # ---- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def rings_are_bounded(self) -> None:
        if hasattr(self, "core"):
            state = self.core._state
            assert len(state.history._early_transcripts) <= 32
            assert len(state.sent_content) <= 256
            assert len(state.ledger) <= 256

    @invariant()
    def playback_stands_still_only_while_in_doubt(self) -> None:
        if hasattr(self, "core"):
            state = self.core._state
            assert (self.doubts == 1) == (state.pending_interruption is not None) == bool(state.turns.records.in_doubt)
            assert self.playback == "play" or self.doubts
            assert (self.core._state.ledger._held_at is not None) == (self.playback == "hold")

    @rule()
    def everything_comes_to_rest(self) -> None:
        """Both sides carry on until nothing is left to do; then the two agree, and nothing is left over."""
        while self.scopes:
            self.uninterruptible(False)
        for turn in range(300):
            if self.server.speaking is not None:
                self.server.end_speech()
            while self.urgent or self.send_queue:
                self.server.read((self.urgent or self.send_queue).pop(0))
            self.server.down += self.server.late
            self.server.late.clear()
            while self.server.making:
                self.server.advance(next(iter(self.server.making.values())))
            while self.server.transcribing:
                self.words_are_recognised("completed")
            while self.server.down:
                self.deliver(self.server.down.pop(0))
                if self.server.rng.random() < 0.02 and self.waiting_for_responses():
                    self.a_caller_leaves(0)
            while self.checks:
                self.a_guardrail_says("passes", 0)
            while self.handoffs:
                self.a_handoff_ends(self.server.rng.choice(("made", "made", "nothing to tell", "failed")))
            while self.looked_into:
                if self.server.rng.random() < 0.1:
                    self.app.interrupt()
                self.it_is_known_whether_a_call_needs_approval(self.server.rng.random() < 0.7)
            while self.pending:
                self.something_happens_to_a_pending_call()
            while self.calls:
                self.app.send_tool_output(self.calls.pop(0), "42")
            while self.unhandled:
                self.consume(1, False)
            self.time_passes(0.3 if turn < 30 else 3.0)  # long is what waits for a lost answer only
            state = self.core._state
            if not (
                self.send_queue
                or self.urgent
                or state.response_queue.busy
                or state.responses
                or state.calls
                or state.pending_interruption
                or state.turns.records.playing
                or state.turns.records.due
                or state.turns.records.unchecked
                or state.link.recovering
                or self.checks
            ):
                break
        else:
            raise AssertionError("they never come to rest")
        self.compare()

    def something_happens_to_a_pending_call(self) -> None:
        """By chance of the server's: too few steps of a run come as far as this."""
        match self.server.rng.randrange(5):
            case 0 | 1:
                self.somebody_decides(self.server.rng.random() < 0.5, self.server.rng.random() < 0.2, True)
            case 2:
                self.the_app_answers_a_call_by_itself()
            case 3:
                self.app.interrupt()
            case 4:
                self.time_passes(APPROVAL_S)

    def compare(self) -> None:
        state, server = self.core._state, self.server
        if (
            server.echoes and not self.lost["response.created"]
        ) or not server.outside:  # else nobody can tell which response is out of band
            mine, theirs = (
                [each for each in order if self.counts(each)] for order in (state.history.order(), server.order)
            )
            assert mine == theirs
        assert not state.responses
        assert not state.calls
        assert self.started <= set(self.outputs), "a call without an output"
        assert not self.owed - server.seen, "an answer was lost"
        assert not state.pending_interruption
        # Speech that the app has thrown away may end with its request alone. Where it began after that left, nobody can
        # tell it from speech that goes on.
        thrown_away_s = TIMEOUT_S if self.spoken_since_clear else REQUEST_S
        quiet_s = thrown_away_s if self.lost["input_audio_buffer.cleared"] else PATIENCE_S
        assert state.response_queue.quiet_until is None or state.response_queue.quiet_until <= self.now + quiet_s
        assert not state.turns.records.unchecked
        left = [
            each for each in state.turns.records if each.owed_by in ("server", "us") or not each.of_user or each.asked
        ]
        assert not left, left
        assert not state.guardrails.held
        assert state.handing_over is None
        assert not state.response_queue._on_its_way()
        assert not state.response_queue._live
        assert not state.history._waiting
        assert not (set(state.sent_content) & set(server.items))
        assert self.core.usage.requests <= state.counters.responses
        assert self.core.playback_remaining(self.now + 1e6) == 0
        assert len(state.ledger) == 0
        if (
            self.lost or server.other_ids or not server.error_ids
        ):  # what was refused without an id, and could be about two, ends at its deadline
            self.time_passes(REQUEST_S)
        for listener in self.listeners():  # the user may never speak again
            assert listener not in self.follows, "its answer is over"
            self.leave(listener)
        waiting = [reply_id for reply_id in self.reply_ids if not self.settled[reply_id]]
        assert not waiting, waiting
        assert not state.updates
        assert not state.requests._awaited
        for item in self.core.history():
            if item.type == "message":
                self.compare_message(item)

    def counts(self, item_id: str) -> bool:
        """Whether both sides must have this item at the same place."""
        return True

    def compare_message(self, item: Any) -> None:
        truth = self.server.items.get(item.item_id, {}).get("content", [])
        assert item.status in ("completed", "incomplete"), item
        images = [part for part in item.content if isinstance(part, InputImage)]
        assert len(images) == (item.item_id in self.images)
        for part, true in zip(item.content, truth, strict=False):
            if isinstance(part, AssistantText):
                assert part.text == true.get("text", "")
            elif isinstance(part, AssistantAudio) and part.heard_ms is None:
                assert (part.transcript or "") == true.get("transcript", "")
            elif isinstance(part, AssistantAudio):
                assert true.get("transcript", "").startswith(part.transcript)
                assert item.status == "incomplete"

    def the_connection_is_lost(self) -> None:
        self.app.disconnect(ConnectionLost("gone"))
        assert [reply_id for reply_id in self.reply_ids if self.settled[reply_id] != 1] == []
        state = self.core._state
        assert not state.responses
        assert not state.calls
        assert not self.pending
        assert not state.response_queue.busy
        assert self.core.next_deadline is None
        assert not len(state.turns.records)
        lost = self.said - {item_id for item_id, turns in self.turn_of.items() if turns == 1}
        assert not lost, "turns of the user that did not end once"

    def teardown(self) -> None:
        if hasattr(self, "core"):
            if not self.breaks_off:
                self.everything_comes_to_rest()
            self.the_connection_is_lost()


class LossyMachine(Machine):
    """The same where answers are lost, and errors name what is none of ours."""

    LOSABLE = (
        "conversation.item.added",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "error",
        "input_audio_buffer.cleared",
        "input_audio_buffer.committed",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "response.created",
        "response.done",
        "session.updated",
    )

    MOST = 8
    """So that a run comes to rest."""

    other_ids, share, kinds = False, 0.0, frozenset(LOSABLE)

    @initialize(
        other_ids=st.booleans(), share=st.sampled_from((0.1, 0.3, 0.6)), kinds=st.sets(st.sampled_from(LOSABLE))
    )
    def faults(self, other_ids: bool, share: float, kinds: set[str]) -> None:
        self.other_ids, self.share, self.kinds = other_ids, share, frozenset(kinds or self.LOSABLE)

    def deliver(self, frame: dict[str, Any]) -> None:
        server, kind = self.server, frame["type"]
        server.other_ids = self.other_ids
        told = self.core._state.opening is not None  # without these entering the session fails
        told |= not server.echoes and kind in ("response.created", "response.done")  # all that a client can go by there
        if kind not in self.kinds or told or self.lost.total() >= self.MOST or server.rng.random() > self.share:
            super().deliver(frame)
            return
        self.lost[kind] += 1
        if kind == "error":
            self.owed.discard(self.item_of.get(frame.get("refuses", ""), ""))
        if kind == "response.done":
            self.lost_ends.add(frame["response"]["id"])


def times(examples: int) -> settings:
    """A tenth of a long run. A failure shows its example at once: making it smaller may take longer than a test has."""
    longer = int(os.environ.get("TREALTIME_TIMES", "1"))
    return settings(
        max_examples=examples * longer,
        phases=list(Phase) if longer > 1 else [Phase.generate],
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


TestMachine = Machine.TestCase
TestMachine.settings = times(110)
TestLossyMachine = LossyMachine.TestCase
TestLossyMachine.settings = times(40)


def test_the_examples_do_not_depend_on_what_other_tests_have_loaded(tmp_path: Path, monkeypatch: Any) -> None:
    drawn: list[int] = []

    @settings(derandomize=True, database=None, max_examples=100)
    @given(st.integers(1, 1_000_000))
    def draw(number: int) -> None:
        drawn.append(number)

    draw()
    before = drawn.copy()
    drawn.clear()
    loaded = ModuleType("constants")
    loaded.__file__ = str(tmp_path / "constants.py")
    Path(loaded.__file__).write_text(f"numbers = {list(range(1_000, 100_000, 97))}")
    monkeypatch.setitem(sys.modules, "constants", loaded)
    draw()
    assert drawn == before
