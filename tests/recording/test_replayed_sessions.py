"""A recording that is replayed drives a session to the same events."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import trio

from trealtime import (
    Approve,
    GuardrailFunctionOutput,
    RealtimeAgent,
    RealtimeModel,
    RealtimeRunner,
    RealtimeSession,
    function_tool,
    open_emulator,
    output_guardrail,
    realtime_handoff,
)
from trealtime.emulator import CallFunction, ScriptedBrain, ScriptedTranscriber
from trealtime.recording import Recording, load_recording, replay
from trealtime.testing import MemoryEndpoint

Talk = Callable[[RealtimeSession[Any]], Awaitable[None]]


@function_tool(needs_approval=True)
async def refund(euros: float) -> str:
    """Give money back."""
    await trio.sleep(0.5)
    return f"{euros:g} euros"


@function_tool
async def search(part: str) -> str:
    """Look for a part."""
    await trio.sleep(2)
    return f"two of {part}"


@function_tool
async def broken() -> str:
    """Never works."""
    raise KeyError("no")


@output_guardrail
async def no_promises(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
    """No promises."""
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="promise" in text)


async def approve(request: Any) -> Approve:
    await trio.sleep(1)
    return Approve()


def agents() -> RealtimeAgent[Any]:
    desk = RealtimeAgent[Any](name="Desk", tools=[refund, search, broken], output_guardrails=[no_promises])
    return RealtimeAgent[Any](name="Reception", handoffs=[realtime_handoff(desk)])


SCRIPT = [
    CallFunction("transfer_to_desk"),
    "This is the desk, and this is a longer sentence, so that there is something to interrupt.",
    [CallFunction("refund", '{"euros": 5}'), CallFunction("search", '{"part": "wheel"}')],
    "Five euros, and two wheels.",
    "I promise that it comes tomorrow, and that is that.",
    "It comes on Tuesday.",
    CallFunction("broken", "{}"),
    "That did not work.",
    "Goodbye.",
]


async def in_words(session: RealtimeSession[Any]) -> None:
    async with session.attach(MemoryEndpoint(input_format=None)):
        for words in ("Hello?", "Money back, and a wheel!", "When?", "Try the broken one.", "Thank you."):
            await session.ask(words)
            await session.wait_for_playback()


async def interrupted_by_the_app(session: RealtimeSession[Any]) -> None:
    await session.send_message("Hello?")
    async with session.subscribe("audio", playback=True) as audio:
        for _ in range(20):
            await audio.receive()
        await trio.sleep(1)
        await session.interrupt()
    await session.ask("Money back!")
    await session.wait_for_playback()


async def aloud(session: RealtimeSession[Any]) -> None:
    endpoint = MemoryEndpoint()
    rng = np.random.default_rng(1)
    async with session.attach(endpoint):
        for loud in (0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0):  # the second time in the middle of the answer
            for _ in range(50):
                await trio.sleep(0.02)
                await endpoint.say((rng.normal(size=480) * 6_000 * loud).astype("<i2").tobytes())


async def without_waiting(session: RealtimeSession[Any]) -> None:
    with trio.move_on_after(1.5031):
        await session.ask("Hello?")
    with trio.move_on_after(0.0531):
        await session.ask("Money back!")
    async with session.respond("When?"):
        await trio.sleep(0.4031)
    await session.ask("Thank you.")
    await trio.sleep(3)


async def run(model: RealtimeModel, talk: Talk, path: Any) -> Recording:
    config = {
        "record": path,
        "approval_handler": approve,
        "guardrails_settings": {"debounce_text_length": 20},
        "model_settings": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}},
    }
    runner = RealtimeRunner(agents(), model=model, config=config, rng=random.Random(3))
    async with runner.session() as session:
        await talk(session)
    return load_recording(path)


@pytest.mark.parametrize("talk", [in_words, interrupted_by_the_app, aloud, without_waiting])
async def test_a_replayed_recording_drives_the_session_to_the_same_events(talk: Talk, tmp_path, autojump_clock) -> None:
    brain, ears = ScriptedBrain(SCRIPT), ScriptedTranscriber(["Hello?", "Wait!"])
    async with open_emulator(listen=False, seed=3, brain=brain, transcriber=ears) as emulator:
        recorded = await run(emulator.memory_model(), talk, tmp_path / "recorded.jsonl.gz")
    async with replay(tmp_path / "recorded.jsonl.gz") as server:
        replayed = await run(server.memory_model(), talk, tmp_path / "replayed.jsonl.gz")
    one, other = told(recorded), told(replayed)
    assert len(one) > 20
    assert other == one
    heard, again = ([each.value for each in each.others if each.kind == "playback"] for each in (recorded, replayed))
    assert again == heard


def told(recording: Recording) -> list[str]:
    """The events of a session with their times. Its own ids come from the same seed, those of the server from the
    recording. Tasks that wake at the same moment run in any order."""
    began_s = recording.header["clock"]["trio_s"]
    return sorted(
        f"{each.at_s + 0.00013:.3f} {each.type} {since(began_s, each.fields)}" for each in recording.session_events
    )


def since(began_s: float, value: Any, name: str = "") -> Any:
    """Return the value with times counted from the beginning of the recording, in milliseconds."""
    if isinstance(value, dict):
        return {key: since(began_s, each, key) for key, each in value.items() if key != "queue_peaks"}
    if isinstance(value, list):
        return [since(began_s, each, name) for each in value]
    # Off the grid on which things happen, where rounding could go either way.
    return round((value - began_s) * 1000 + 0.13) if name.endswith("_at") and isinstance(value, float) else value
