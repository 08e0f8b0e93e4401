"""Turns that the app ends itself, while the server listens for the end of speech too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio

from trealtime import BargeIn, RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.emulator import ScriptedBrain

TEXT = {"output_modalities": ["text"]}


def tone(seconds: float) -> bytes:
    time_s = np.arange(int(24_000 * seconds)) / 24_000
    return (np.sin(2 * np.pi * 220 * time_s) * 8000).astype("<i2").tobytes()


@pytest.mark.parametrize("barge_in", ["immediate", "off", BargeIn(min_speech_ms=300), BargeIn(while_unsure="hold")])
async def test_a_request_after_a_commit_is_not_interrupted_by_the_speech_before_it(barge_in, autojump_clock):
    async with open_emulator(listen=False, brain=ScriptedBrain(["Heard."])) as emulator:
        runner = RealtimeRunner(
            RealtimeAgent(name="Assistant"),
            model=emulator.memory_model(),
            config={"model_settings": TEXT, "barge_in": barge_in},
        )
        async with runner.session() as session:
            await session.send_audio(tone(1), commit=True)
            await session.send_message("Respond to what I said.")
            with trio.fail_after(60):
                end = [event async for event in until_end(session)][-1]
    assert (end.status, end.reason) == ("completed", None)
    assert [item.role for item in session.history if item.type == "message"] == ["user", "user", "assistant"]


async def test_speech_still_interrupts_what_was_asked_for_before_the_commit(autojump_clock):
    async with open_emulator(listen=False, brain=ScriptedBrain(["A long answer.", "Heard."])) as emulator:
        runner = RealtimeRunner(
            RealtimeAgent(name="Assistant"), model=emulator.memory_model(), config={"model_settings": TEXT}
        )
        async with runner.session() as session:
            await session.create_response()
            await session.send_audio(tone(1), commit=True)
            with trio.fail_after(60):
                end = [event async for event in until_end(session)][-1]
    assert end.status == "cancelled"


async def test_a_commit_that_the_server_refuses_does_not_protect_later_requests(autojump_clock):
    async with open_emulator(listen=False, brain=ScriptedBrain(["One.", "Two."])) as emulator:
        runner = RealtimeRunner(
            RealtimeAgent(name="Assistant"), model=emulator.memory_model(), config={"model_settings": TEXT}
        )
        async with runner.session() as session:
            await session.commit_audio()
            async for event in session:
                if event.type == "error":
                    break
            await session.create_response()
            await session.send_audio(tone(1))
            with trio.fail_after(60):
                end = [event async for event in until_end(session)][-1]
    assert end.status == "cancelled"


async def until_end(session: Any) -> Any:
    async for event in session:
        yield event
        if event.type == "agent_end":
            return
