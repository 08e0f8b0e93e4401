"""Random but legal servers against random users, agents, guardrails and policies: what must hold whatever happens.

The server is a `ModelServer`. On the way to a `LossyMachine` answers are lost as well, and errors come under the ids of
others.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from .machine import Machine, times

pytestmark = pytest.mark.usefixtures("same_examples_everywhere")


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
