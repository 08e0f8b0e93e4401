"""The machine of `test_losing_machine` on connections that end by themselves: another one stands beside them before
that, is told everything ahead, and takes over at any moment."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from trealtime._core import effects as fx
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime.protocol.codec import read_server_event

from .machine import times
from .test_losing_machine import LosingMachine, NextServer

pytestmark = pytest.mark.usefixtures("same_examples_everywhere")

SERVER_S = 1_800_000_000.0
"""The clock of the servers when that of the machine is at 0."""

LIFE_S = 12.0


class RollingMachine(LosingMachine):
    """Connections are lost, and end in time."""

    def __init__(self) -> None:
        super().__init__()
        self.ends_at = math.inf
        self.wanted = False
        """The core wants a second connection."""

        self.successor: NextServer | None = None
        self.successor_ends_at = math.inf
        self.ahead: list[dict[str, Any]] = []
        """What the second connection was sent, and has not read."""

        self.rests = False

    def link(self) -> Link:
        return Link(ReconnectPolicy(resend_buffer_s=0.5, on_cut="continue", rollover_margin_s=4.0))

    # ---- the first connection ------------------------------------------------------------------------------------

    def shown(self, frame: dict[str, Any], ends_at: float) -> dict[str, Any]:
        """A frame, with the end of its connection where it shows the session."""
        if frame["type"] in ("session.created", "session.updated") and ends_at < math.inf:
            return {**frame, "session": {**frame["session"], "expires_at": SERVER_S + ends_at}}
        return frame

    def receive(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "session.created" and not (self.losses or self.rests):
            self.ends_at = self.now + LIFE_S
            self.app.opened(server_time_s=SERVER_S + self.now)
        super().receive(self.shown(frame, self.ends_at))

    def lose(self) -> None:
        successor = self.core._state.link.successor
        if successor is None or successor.status != "ready":
            super().lose()
            return
        before = self.server
        self.app.connection_lost(code=1006, reason="")
        assert self.server is not before, "the one that is ready takes over"
        assert not self.core.away

    def reconnect(self) -> None:
        if not self.away:
            return
        self.away = False
        self.ends_at = math.inf if self.rests else self.now + LIFE_S
        self.server.send("session.created", session=self.server.session())
        self.app.connected(server_time_s=SERVER_S + self.now)

    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        while self.ends_at <= until:
            super().time_passes(max(0.0, self.ends_at - self.now))
            if self.now >= self.ends_at:  # it has not been replaced just before
                self.lose()
                self.reconnect()
        super().time_passes(until - self.now)

    # ---- the second connection -------------------------------------------------------------------------------------

    def carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.OpenSuccessor(delay_s, until):
                assert delay_s >= 0
                assert self.now + delay_s < until
                assert self.ends_at in (math.inf, pytest.approx(until))
                assert self.successor is None, "two successors"
                self.wanted = True
            case fx.SendAhead(event):
                assert self.successor is not None
                self.ahead.append(dict(event))
            case fx.DropSuccessor():
                self.drop()
            case fx.SwitchConnection():
                self.switch()
            case _:
                super().carry_out(effect)

    def drop(self) -> None:
        self.wanted, self.successor = False, None
        self.ahead.clear()

    def switch(self) -> None:
        """The second connection takes over: what it has not read comes before all that is sent from now on."""
        successor, unread = self.successor, self.ahead.copy()
        assert successor is not None
        self.leave_server(successor)
        self.send_queue += unread
        self.ends_at = math.inf if self.rests else self.successor_ends_at
        self.drop()

    @precondition(lambda self: self.wanted and self.successor is None)
    @rule(how=st.sampled_from(("is there", "is there", "is there", "fails")))
    def the_second_connection(self, how: str) -> None:
        if how == "fails":
            self.wanted = False
            self.app.successor_failed()
            return
        self.successor = self.next_server()
        self.successor_ends_at = self.now + LIFE_S
        self.successor.send("session.created", session=self.successor.session())
        self.app.successor_connected(server_time_s=SERVER_S + self.now)

    @precondition(lambda self: self.successor is not None)
    @rule(reads=st.integers(0, 30), says=st.integers(0, 30))
    def the_second_connection_answers(self, reads: int, says: int) -> None:
        successor = self.successor
        for _ in range(min(reads, len(self.ahead))):
            successor.read(self.ahead.pop(0))
        for _ in range(min(says, len(successor.down))):
            if self.successor is successor:  # else it has taken over, and what it says comes the other way
                frame = self.shown(successor.down.pop(0), self.successor_ends_at)
                frame.pop("refuses", None)
                self.app.receive_ahead(read_server_event(frame))

    @precondition(lambda self: self.core.ready and not self.core.recovering)
    @rule(answers=st.integers(0, 60), seconds=st.sampled_from((0.0, 0.1, 1.1)))
    def the_time_of_a_connection_is_nearly_over(self, answers: int, seconds: float) -> None:
        """And something goes on meanwhile."""
        if not self.wanted:
            self.time_passes(max(0.0, self.ends_at - 4.0 - self.now) if self.ends_at < math.inf else 0.0)
        if self.wanted and self.successor is None:
            self.the_second_connection("is there")
        self.message(True, False, None)
        self.the_call_goes_on(2, seconds)
        if self.successor is not None:
            self.the_second_connection_answers(answers, answers)
        self.time_passes(seconds)

    @precondition(lambda self: self.successor is not None)
    @rule()
    def the_second_connection_is_lost(self) -> None:
        self.drop()
        self.app.successor_failed()

    # ---- rest --------------------------------------------------------------------------------------------------------

    @rule()
    def everything_comes_to_rest(self) -> None:
        self.rests = True
        if self.successor is not None:
            self.the_second_connection_answers(1_000, 1_000)
        self.ends_at = math.inf  # the server does not mean it
        super().everything_comes_to_rest()
        self.rests = False


TestRollingMachine = RollingMachine.TestCase
TestRollingMachine.settings = times(25)
