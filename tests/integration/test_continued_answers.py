"""An answer that is cut by a loss goes on without a gap, and an interrupt while it plays takes the rest away."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
import trio
from long_call import STORY, Mind, joined, text_of

from trealtime import RealtimeAgent, RealtimeRunner
from trealtime.emulator import Cut, EmulatedSession, Faults, LoggedEvent, open_emulator


@attrs.define
class Heard:
    """The audio of a session, as it came."""

    pieces: list[tuple[float, str, float]] = attrs.Factory(list)
    """When it came, of which item, and its seconds."""

    lost: trio.Event = attrs.Factory(trio.Event)
    interrupted: set[str] = attrs.Factory(set)

    async def listen(self, session: Any) -> None:
        async for event in session:
            if event.type == "audio":
                assert event.item_id not in self.interrupted
                self.pieces.append((trio.current_time(), event.item_id, len(event.audio.data) / 48_000))
            elif event.type == "connection_lost":
                self.lost.set()
            elif event.type == "audio_interrupted":
                self.interrupted.add(event.item_id)

    @property
    def items(self) -> list[str]:
        return list(dict.fromkeys(item_id for _, item_id, _ in self.pieces))

    def received_s(self, item_id: str) -> float:
        return sum(duration for _, each, duration in self.pieces if each == item_id)

    def first_at(self, item_id: str) -> float:
        return next(at for at, each, _ in self.pieces if each == item_id)


def story(emulator: Any) -> RealtimeRunner[Any]:
    return RealtimeRunner(
        RealtimeAgent(name="A"), model=emulator.memory_model(), config={"reconnect": {}}, rng=random.Random(3)
    )


@pytest.mark.parametrize("nth", [10, 25, 60])
async def test_the_rest_of_an_answer_comes_before_what_was_received_has_played(autojump_clock, nth) -> None:
    faults = Faults(cuts=[Cut(event="response.output_audio.delta", nth=nth)], latency_s=0.1)
    async with (
        open_emulator(listen=False, brain=Mind(), faults=faults, unix_time_s=0.0) as emulator,
        story(emulator).session() as session,
        trio.open_nursery() as nursery,
    ):
        heard = Heard()
        nursery.start_soon(heard.listen, session)
        turn = await session.ask("Tell me a story.")
        await session.wait_for_playback()
        assert turn.reconnected
        assert (
            joined([item.text for item in session.history if getattr(item, "role", "") == "assistant"]) == STORY.strip()
        )
        cut, rest = heard.items
        ends_at = heard.first_at(cut) + heard.received_s(cut)
        assert heard.first_at(rest) < ends_at, "the user hears no gap"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("after_s", [0.05, 0.6, 1.2])
async def test_an_interrupt_while_the_received_part_plays_takes_the_rest_away(autojump_clock, after_s) -> None:
    """Whether it comes before the rest is asked for, or when some of it has come."""
    told: dict[str, str] = {}

    def note(session: EmulatedSession, entry: LoggedEvent) -> None:
        if entry.event["type"] == "conversation.item.create":
            told[entry.event["item"]["id"]] = text_of(entry.event["item"])

    faults = Faults(cuts=[Cut(event="response.output_audio.delta", nth=25)], latency_s=0.1)
    async with (
        open_emulator(listen=False, brain=Mind(), faults=faults, unix_time_s=0.0, on_event=note) as emulator,
        story(emulator).session() as session,
        trio.open_nursery() as nursery,
    ):
        heard = Heard()
        nursery.start_soon(heard.listen, session)
        nursery.start_soon(session.ask, "Tell me a story.")
        await heard.lost.wait()
        await trio.sleep(after_s)
        played_s = trio.current_time() - heard.first_at(heard.items[0])
        await session.interrupt()
        await trio.sleep(5)
        first = next(item for item in session.history if item.item_id == heard.items[0])
        assert first.content[0].heard_ms == pytest.approx(played_s * 1_000, abs=20)
        assert STORY.startswith(first.text)
        assert len(first.text) < len(STORY) / 2
        assert heard.items[0] in heard.interrupted
        for item in session.history:
            if item.item_id in heard.items[1:]:
                assert not item.text, "the user has heard nothing of it"
        assert told[heard.items[0]] == first.text, "and so does the model know it"
        nursery.cancel_scope.cancel()
