"""A server that spoils its events in every way: the core never raises, nothing spins, and what comes whole is answered.

A run has some 200 events and belongs to a seed, which a failure names. `TREALTIME_TIMES=400` makes five million events.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hostile import Server, Spoiler, naming

from trealtime._core import effects as fx
from trealtime._core.conversation import Conversation
from trealtime._core.effects import FunctionCall, GuardrailCheck
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.handoffs import AgentSwitch
from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime._core.usage import SessionLimits
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ConnectionLost
from trealtime.events import EventInfo, RealtimeAudio
from trealtime.protocol.codec import decode_server_event
from trealtime.protocol.server_events import SERVER_EVENT_TYPES
from trealtime.tools.context import RunContext

from .model_server import CHECKED, POLICIES, look, verdict_on

TIMES = int(os.environ.get("TREALTIME_TIMES", "1"))
EVENTS = 200
RUNS = 60 * TIMES
SETTINGS = {"type": "realtime", "instructions": "x"}
STEPS = (0.0, 0.0, 0.01, 0.3, 1.1, 7.0, 40.0)
MOST_TICKS = 400
"""In a row, with no other input: a core that waits for more than this waits for nothing."""


class Run:
    """One conversation between a core, an app that does everything, and a server whose events are spoiled."""

    def __init__(self, seed: int, validate: Callable[[dict[str, Any]], list[str]]) -> None:
        self.rng = rng = random.Random(seed)
        self.validate = validate
        self.now = 50.0
        self.events = 0
        self.server = Server(rng)
        self.spoiler = Spoiler(rng, rng.choice((0.02, 0.1, 0.1, 0.5)))
        self.connections = 0
        self.reply_ids: list[str] = []
        self.settled: dict[str, fx.Settle] = {}
        self.calls: list[FunctionCall] = []
        self.asked: list[str] = []
        self.switches: dict[str, str] = {}
        """Calls of handoffs, by the reply id of the switch."""

        self.failed_switches: list[str] = []
        self.checks: dict[int, GuardrailCheck] = {}
        self.unhandled: list[tuple[str, int, float, float]] = []
        self.dials = 0
        self.wanted = False
        self.ahead: Server | None = None
        self.over = False
        self.limited = False
        self.tripped = 0
        policy = rng.choice((None, ReconnectPolicy(resend_buffer_s=1.0), ReconnectPolicy(on_cut="continue")))
        self.core = Conversation(
            agent=RealtimeAgent(name="a"),
            info=EventInfo(RunContext({})),
            ids=IdSource(random.Random(seed)),
            barge_in=rng.choice(("immediate", "immediate", "off", *POLICIES)),
            guardrails=rng.choice((GuardrailPolicy(), GuardrailPolicy(), *CHECKED)),
            approval_timeout_s=rng.choice((None, 3.0)),
            max_open_calls=rng.choice((2, 128)),
            limits=rng.choice((None, None, None, SessionLimits(max_tokens=400, max_duration_s=300))),
            link=Link(policy),
        )
        self.server.open()
        self.app("open_session", SETTINGS, reply_id=self.reply_id())
        self.app("use_tools", [look(on_interrupt=rng.choice(("keep", "cancel")))], ["transfer_to_b"])

    # ---- carrying --------------------------------------------------------------------------------------------------

    def reply_id(self) -> str:
        self.reply_ids.append(f"reply_{len(self.reply_ids)}")
        return self.reply_ids[-1]

    def app(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.apply(getattr(self.core, name)(self.now, *args, **kwargs))

    def apply(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Emit(event):
                repr(event)
                if isinstance(event, RealtimeAudio):
                    start_ms = event.audio.start_ms
                    end_ms = start_ms + self.core.output_format.duration_ms(len(event.audio.data))
                    self.unhandled.append((event.item_id, event.audio.content_index, start_ms, end_ms))
                self.tripped += event.type in ("guardrail_tripped", "audio_interrupted")
            case fx.Send(event):
                assert not self.core.away
                wrong = self.validate(dict(event))
                assert not wrong, (wrong, event)
                if self.spoiler.rate < 0.5 or self.rng.random() < 0.8:
                    self.server.hear(dict(event))
            case fx.Settle(reply_id, _, error):
                assert reply_id in self.reply_ids
                assert reply_id not in self.settled, "settled twice"
                self.settled[reply_id] = effect
                call_id = self.switches.pop(reply_id, None)
                if call_id is not None and error is not None:
                    self.failed_switches.append(call_id)
            case fx.StartTool(call):
                self.calls.append(call)
            case fx.StartCheck(check):
                self.checks[check.serial] = check
            case fx.CancelChecks(subject):
                self.checks = {serial: each for serial, each in self.checks.items() if each.subject != subject}
            case fx.AskApproval(request):
                self.asked.append(request.call_id)
            case fx.WithdrawApproval(call_id):
                self.asked.remove(call_id)
            case fx.Dial():
                self.dials += 1
            case fx.DropConnection():
                self.lose()
            case fx.OpenSuccessor():
                self.wanted = True
            case fx.SendAhead(event):
                assert self.ahead is not None
                self.ahead.hear(dict(event))
            case fx.DropSuccessor():
                self.ahead, self.wanted = None, False
            case fx.SwitchConnection():
                assert self.ahead is not None
                self.server, self.ahead, self.wanted = self.ahead, None, False
            case fx.EndAtLimit():
                self.limited = True
            case fx.GiveUp():
                self.over = True

    def next_server(self) -> Server:
        self.connections += 1
        server = Server(self.rng, prefix=f"{self.connections}_", plain=self.server.plain)
        server.open()
        return server

    def lose(self) -> None:
        if self.core.away:
            return
        if self.core.recovers(1006, "network"):
            self.app("connection_lost", code=1006, reason="gone")
        else:
            self.over = True

    # ---- what happens ----------------------------------------------------------------------------------------------

    def server_sends(self, *, ahead: bool = False) -> None:
        server = self.ahead if ahead and self.ahead is not None else self.server
        if self.core.away and server is self.server:
            return
        if not server.down:
            server.begin()
        if not server.down:
            return
        for frame in self.spoiler.frames(server.down.popleft()):
            self.events += 1
            with_data = self.rng.random() < 0.5
            event, data = decode_server_event(frame, with_data=with_data)
            if server is not self.server:
                self.app("receive_ahead", event)
                return  # it may be in charge now
            self.apply(self.core.receive(self.now, event, data if with_data else None))
            if self.over or server is not self.server or self.core.away:
                return

    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        ticks = 0
        while (due := self.core.next_deadline) is not None and due <= until and not self.over:
            self.now = max(self.now, due)
            self.apply(self.core.tick(self.now))
            after = self.core.next_deadline
            assert after is None or after > self.now
            assert self.core.counters().stuck_deadlines == 0
            ticks += 1
            assert ticks < MOST_TICKS, "it ticks for ever"
        self.now = until

    def tasks_report(self) -> None:
        """The app's tools, guardrails and approvals, and what plays, get on by one each."""
        rng = self.rng
        if self.failed_switches:
            self.app("send_tool_output", self.failed_switches.pop(), "no such agent")
        if self.calls:
            self.answer(self.calls.pop(rng.randrange(len(self.calls))))
        if self.asked and rng.random() < 0.5:
            self.app("decide_approval", rng.choice(self.asked), approve=rng.random() < 0.5, always=rng.random() < 0.2)
        if self.checks:
            check = self.checks.pop(rng.choice(list(self.checks)))
            result, how = verdict_on(check), rng.choice(("passes", "passes", "trips", "fails"))
            tripped, failed = ((result,) if how == name else () for name in ("trips", "fails"))
            self.app("report_check", check.serial, tripped=tripped, failed=failed)
        if self.unhandled:
            self.core.hand_out(self.now, *self.unhandled.pop(0))

    def answer(self, call: FunctionCall) -> None:
        if call.name == "transfer_to_b" and self.rng.random() < 0.8:
            switch = AgentSwitch(
                agent=RealtimeAgent(name="b"),
                tools=[look()],
                handoffs=["transfer_to_b"],
                source=call.agent,
                call_id=call.call_id,
                output="made",
            )
            reply_id = self.reply_id()
            self.switches[reply_id] = call.call_id
            self.app("switch_agent", switch, self.rng.choice((None, SETTINGS)), reply_id=reply_id)
        elif call.name == "look" and not call.cleared and call.refusal is None and self.rng.random() < 0.5:
            self.app("request_approval", call.call_id)
        else:
            self.app("send_tool_output", call.call_id, "42")

    def wish(self) -> None:
        """The app wants something."""
        rng = self.rng
        item_id = rng.choice([*self.core._state.history.order()[-5:], "nothing"])
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        match rng.randrange(17):
            case 0 | 1:
                item = {**message, "id": f"mine_{len(self.reply_ids)}"}
                self.app("create_item", item, reply_id=self.reply_id(), said=True)
                self.app("create_response", automatic=True)
            case 2:
                self.app("create_response", reply_id=self.reply_id())
            case 3:
                self.app("create_response", {"conversation": "none"}, reply_id=self.reply_id())
            case 4:
                self.app("interrupt", cause=rng.choice(("app", "guardrail")))
            case 5 if self.reply_ids:
                self.app("interrupt", reply_id=rng.choice(self.reply_ids))
            case 6:
                self.app("cancel_response")
            case 7:
                self.app("update_session", SETTINGS, reply_id=self.reply_id())
            case 8:
                self.core.audio_sent(self.now, bytes(960))
            case 9:
                self.app("commit_audio" if rng.random() < 0.7 else "clear_audio")
            case 10:
                self.app("delete_item" if rng.random() < 0.3 else "retrieve_item", item_id, reply_id=self.reply_id())
            case 11:
                self.app("truncate_item", item_id, 0, rng.choice((0, 50, 10**6)), reply_id=self.reply_id())
            case 12:
                self.app("listen", self.reply_id())
            case 13:
                self.app(
                    "report_heard", item_id, 0, rng.choice((0.0, 40.0, 5000.0)), playing_to_ms=rng.choice((None, 60.0))
                )
            case 14:
                self.app("use_reports", reporting=rng.random() < 0.5)
            case 15:
                self.app("use_barge_in", rng.choice((None, "off", *POLICIES)))
            case 16:
                self.lose()

    def connections_come(self) -> None:
        if self.core.away and self.dials:
            self.dials = 0
            if self.rng.random() < 0.2 and self.spoiler.rate:
                self.app("dial_failed", "no")
            else:
                self.server = self.next_server()
                self.app("connected")
        if self.wanted and self.ahead is None:
            self.ahead = self.next_server()
            self.app("successor_connected")

    def go(self) -> None:
        rng = self.rng
        while self.events < EVENTS and not self.over:
            chance = rng.random()
            if chance < 0.75:
                self.server_sends(ahead=rng.random() < 0.3)
            elif chance < 0.85:
                self.tasks_report()
            elif chance < 0.93:
                self.wish()
            else:
                self.time_passes(rng.choice(STEPS))
            self.connections_come()
            if rng.random() < 0.02:
                self.core.history()
                self.core.counters()
                self.core.playback_remaining(self.now)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """From here on the server keeps to the protocol."""
        self.spoiler.rate, self.server.plain = 0.0, True
        for _ in range(60):
            for _ in range(400):
                if not self.server.down and not (self.ahead and self.ahead.down):
                    break
                self.server_sends(ahead=not self.server.down)
            for _ in range(20):
                self.tasks_report()
            self.connections_come()
            self.time_passes(5.0)

    def is_answered(self) -> None:
        """A question of the user's, after all that."""
        self.come_to_rest()
        if self.over or self.limited or not self.core.ready:
            return
        self.app("use_barge_in", "immediate")
        self.server.user_speaks(answered=False)
        self.come_to_rest()
        tripped = self.tripped
        reply_id = self.reply_id()
        self.app("create_response", reply_id=reply_id)
        self.come_to_rest()
        answer = self.settled.get(reply_id)
        assert answer is not None, "no answer"
        assert answer.error is None, answer.error
        assert answer.value.status == "completed" or self.tripped > tripped, answer.value

    def ends(self) -> None:
        """At rest nothing is open; and the end of the connection settles everybody."""
        state = self.core._state
        if not self.over and self.core.ready:
            assert not state.responses
            assert not state.response_queue.busy
            assert not state.calls
            assert not state.requests._awaited
            assert not state.updates
            assert len(state.ledger) <= 256
            assert state.pending_interruption is None
        self.app("disconnect", ConnectionLost("gone"))
        assert self.core.next_deadline is None
        waiting = set(self.reply_ids) - set(self.settled)
        assert not waiting


def run(seed: int, validate: Callable[[dict[str, Any]], list[str]] = lambda event: []) -> int:
    """One conversation; return how many events the server has sent."""
    conversation = Run(seed, validate)
    conversation.go()
    conversation.is_answered()
    conversation.ends()
    return conversation.events


@pytest.mark.parametrize("part", range(10))
def test_a_core_stands_whatever_a_server_sends(part: int, validate: Callable[[dict[str, Any]], list[str]]) -> None:
    for seed in range(part, RUNS, 10):
        with naming(f"seed {seed}"):
            run(seed, validate)


def test_the_server_that_is_spoiled_keeps_to_the_protocol(schema: ModuleType) -> None:
    server = Server(random.Random(1))
    server.open()
    told: Counter[str] = Counter()
    for step in range(2000):
        server.begin()
        for item_id in list(server.items)[:1]:
            kind = ("retrieve", "truncate", "delete")[step % 3]
            about = {"item_id": item_id, "content_index": 0, "audio_end_ms": 3}
            server.hear({"type": f"conversation.item.{kind}", "event_id": "e", **about})
        server.hear({"type": "response.create", "event_id": "e", "response": {"metadata": {"a": "b"}}})
        server.hear({"type": "input_audio_buffer.clear"})
        while server.down:
            event = server.down.popleft()
            told[event["type"]] += 1
            if told[event["type"]] < 20:
                assert schema.validate("server", event) == []
    assert set(told) == set(SERVER_EVENT_TYPES)
