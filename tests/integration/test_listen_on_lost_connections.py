"""`session.listen` while connections are lost: the turn has one answer, whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import trio

from trealtime import RealtimeAgent, RealtimeRunner
from trealtime.emulator import Cut, Faults, ScriptedTranscriber, open_emulator

RATE = 24_000
SPEECH = np.random.default_rng(1).normal(0, 6_000, RATE * 3 // 2).astype(np.int16)
CONFIG = {"model_settings": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}, "reconnect": {}}


async def speak(session, *, after_s: float) -> None:
    """Speak for a second and a half, and be silent from then on."""
    await trio.sleep(after_s)
    silence = np.zeros(RATE // 50, np.int16)
    for begin in range(0, len(SPEECH), RATE // 50):
        await session.send_audio(SPEECH[begin : begin + RATE // 50])
        await trio.sleep(0.02)
    while True:
        await session.send_audio(silence)
        await trio.sleep(0.02)


LOSSES: dict[str, Sequence[Cut]] = {
    "in the speech": [Cut(event="input_audio_buffer.speech_started")],
    "before the commit is told": [Cut(event="input_audio_buffer.committed")],
    "before the answer begins": [Cut(event="response.created")],
    "in the answer": [Cut(event="response.output_audio.delta", nth=3)],
    "before its end is told": [Cut(event="response.done", when="before")],
}


@pytest.mark.parametrize("where", LOSSES)
async def test_a_loss_costs_no_turn(autojump_clock, where) -> None:
    ears = ScriptedTranscriber(["Count to twenty."] * 5)
    async with (
        open_emulator(listen=False, transcriber=ears, faults=Faults(cuts=list(LOSSES[where])), seed=1) as emulator,
        trio.open_nursery() as nursery,
    ):
        runner = RealtimeRunner(RealtimeAgent(name="Otto"), model=emulator.memory_model(), config=CONFIG)
        async with runner.session() as session:
            nursery.start_soon(lambda: speak(session, after_s=0.2))
            with trio.fail_after(120):
                turn = await session.listen()
                while session.statistics().connections.reconnects == 0:  # noqa: ASYNC110  (the turn may be over before)
                    await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert turn.status == "completed"
    assert len(turn.said_item_ids) == 1
    assert turn.said in ("Count to twenty.", "")  # a turn that is told another connection is not transcribed there
    assert turn.text.rstrip(".").endswith("20")


async def test_a_loss_before_the_user_speaks_is_none_of_the_turns(autojump_clock) -> None:
    async with (
        open_emulator(listen=False, transcriber=ScriptedTranscriber(["Count to three."])) as emulator,
        trio.open_nursery() as nursery,
    ):
        runner = RealtimeRunner(RealtimeAgent(name="Otto"), model=emulator.memory_model(), config=CONFIG)
        async with runner.session() as session:

            async def lose() -> None:
                await trio.sleep(1)
                with emulator.outage():
                    await trio.sleep(3)

            nursery.start_soon(lose)
            nursery.start_soon(lambda: speak(session, after_s=8))
            with trio.fail_after(120):
                turn = await session.listen()
        nursery.cancel_scope.cancel()
    assert (turn.said, turn.text) == ("Count to three.", "1, 2, 3.")
