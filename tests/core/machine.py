"""The random machine: a server and an app that do anything that is legal, and what must hold when they come to rest."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from trealtime._core.handoffs import AgentSwitch
from trealtime._core.turns import PATIENCE_S
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ConnectionLost
from trealtime.items import AssistantAudio, AssistantText, InputImage

from .machine_carrier import Carrier
from .model_server import APPROVAL_S, REQUEST_S, TIMEOUT_S, verdict_on


class Machine(Carrier):
    """Rules for both sides."""

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
            assert mine == theirs, (mine, theirs)
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
