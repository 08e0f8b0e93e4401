"""The machine of `test_machine` on connections that are lost and replaced: what must hold whatever happens."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from trealtime._core import effects as fx
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime.items import AssistantAudio, AssistantText, InputImage

from .machine import Machine, times
from .model_server import ModelServer

pytestmark = pytest.mark.usefixtures("same_examples_everywhere")


@attrs.define
class NextServer(ModelServer):
    """A server that knows nothing, and is told everything."""

    def on_conversation_item_create(self, event: dict[str, Any]) -> None:
        assert event["item"]["id"] not in self.order, "an item twice"
        super().on_conversation_item_create(event)


class LosingMachine(Machine):
    """Connections are lost at any moment, and another one takes over a moment later."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0
        self.away = False
        self.truths: dict[str, dict[str, Any]] = {}
        """Items as the first server that had them has made them."""

        self.answered_calls: set[str] = set()

    def link(self) -> Link:
        return Link(ReconnectPolicy(resend_buffer_s=0.5, on_cut="continue"))

    @precondition(lambda self: self.core.ready and self.losses < 4)
    @rule(
        meanwhile=st.lists(st.sampled_from(("message", "ask", "interrupt", "time", "tool", "commit")), max_size=3),
        twice=st.booleans(),
    )
    def a_connection_is_replaced(self, meanwhile: list[str], twice: bool) -> None:
        for _ in range(1 + twice):
            self.lose()
            for what in meanwhile:
                self.happens(what)
            self.reconnect()

    def lose(self) -> None:
        self.away = True
        self.leave_server(self.next_server())
        assert self.core.recovers(1006, "network")
        self.app.connection_lost(code=1006, reason="")
        assert self.core.away

    def leave_server(self, server: ModelServer) -> None:
        """This one goes on; nothing that was on its way arrives."""
        self.losses += 1
        old, self.server = self.server, server
        for item_id, item in old.items.items():
            self.truths.setdefault(item_id, item)
        server.seen |= old.seen
        server.answered |= old.answered
        server.outside |= old.outside
        self.send_queue.clear()
        self.urgent.clear()
        self.asked.clear()
        self.told_live.clear()
        self.owed.clear()  # the answer that was under way may have been about it
        self.answered_calls |= set(self.outputs)
        self.outputs.clear()

    def next_server(self) -> NextServer:
        old = self.server
        server = NextServer(
            rng=random.Random(old.rng.random()),
            vad=old.vad,
            answers_turns=True,
            interrupts=True,
            echoes=old.echoes,
            names_conversations=old.names_conversations,
            error_ids=old.error_ids,
            late_errors=old.late_errors,
        )
        server._last = old._last + 1_000  # both may live for a while
        return server

    def happens(self, what: str) -> None:
        match what:
            case "message":
                self.message(True, False, None)
            case "ask":
                self.ask("manual")
            case "interrupt":
                self.app.interrupt()
            case "time":
                self.time_passes(0.3)
            case "tool" if self.calls:
                self.a_tool_returns(True)
            case "commit":
                self.push_to_talk()
            case _:
                pass

    def reconnect(self) -> None:
        self.away = False
        self.server.send("session.created", session=self.server.session())
        self.app.connected()

    def apply(self, effects: list[fx.Effect]) -> None:
        super().apply(effects)
        if any(isinstance(effect, fx.DropConnection) for effect in effects):
            self.lose()
            self.reconnect()

    def carry_out(self, effect: fx.Effect) -> None:
        assert not (self.away and isinstance(effect, fx.Send | fx.SendAudio)), "nothing to send it on"
        assert not isinstance(effect, fx.GiveUp)
        super().carry_out(effect)

    def counts(self, item_id: str) -> bool:
        """A server that was told the conversation has no item without content, and outputs right after their calls."""
        if not self.losses:
            return True
        return item_id in self.server.order and self.server.items[item_id]["type"] != "function_call_output"

    def end_turn(self, turn: Any) -> None:
        """The figures of turns are for the other machine, where none is lost."""

    def the_connection_is_lost(self) -> None:
        self.said.clear()
        super().the_connection_is_lost()

    def compare(self) -> None:
        self.outputs.update({call_id: 1 for call_id in self.answered_calls if call_id not in self.outputs})
        super().compare()

    def compare_message(self, item: Any) -> None:
        if not self.losses:
            super().compare_message(item)
            return
        truth = {**self.server.items, **self.truths}.get(item.item_id, {}).get("content", [])
        images = [part for part in item.content if isinstance(part, InputImage)]
        assert len(images) == (item.item_id in self.images)
        for part, true in zip(item.content, truth, strict=False):
            if isinstance(part, AssistantText):
                assert true.get("text", "").startswith(part.text or "")
            elif isinstance(part, AssistantAudio):
                assert true.get("transcript", "").startswith(part.transcript or "")


TestLosingMachine = LosingMachine.TestCase
TestLosingMachine.settings = times(25)
