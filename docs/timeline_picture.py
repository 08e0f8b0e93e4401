"""Draw the timeline of the documentation: a spoken call with a handoff, an interrupt, an approval and a guardrail.

    python docs/timeline_picture.py

Both sides are emulated and time is virtual, so the call is the same each time. The voices are the emulator's tones.
"""

import random
import sys
import tempfile
from pathlib import Path

import trio
from trio.testing import MockClock

from trealtime import (
    ApprovalRequest,
    Approve,
    GuardrailFunctionOutput,
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    RunContext,
    function_tool,
    open_emulator,
    output_guardrail,
    realtime_handoff,
)
from trealtime.emulator import CallFunction, ScriptedBrain, ScriptedTranscriber
from trealtime.emulator.voice import tones
from trealtime.testing import MemoryEndpoint
from trealtime.timeline import read_timeline

FOLDER = Path(__file__).resolve().parent / "_static"
PIECE = 960
"""Bytes of 20 ms."""


@function_tool(needs_approval=True)
async def refund(order_id: int, euros: float) -> str:
    """Give money back."""
    await trio.sleep(0.4)
    return f"{euros:g} euros for order {order_id} are on their way."


@function_tool
async def check_stock(part: str) -> str:
    """Look for a part."""
    await trio.sleep(1.2)
    return f"{part}: two at the station"


@output_guardrail
async def no_guarantees(context: RunContext[None], agent: RealtimeAgent[None], text: str) -> GuardrailFunctionOutput:
    """The desk guarantees nothing."""
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="guarantee" in text.lower())


async def supervisor(request: ApprovalRequest) -> Approve:
    """Takes a moment."""
    await trio.sleep(1.6)
    return Approve()


desk = RealtimeAgent[None](
    name="Service desk",
    handoff_description="Refunds and parts.",
    tools=[refund, check_stock],
    output_guardrails=[no_guarantees],
)
reception = RealtimeAgent[None](name="Reception", handoffs=[realtime_handoff(desk, tool_name_override="to_service")])

SAID = [
    "Hello, my bicycle came with a bent wheel.",
    "Please refund the wheel, and look for another one.",
    "When will the money be here?",
]
ANSWERS = [
    CallFunction("to_service", "{}"),
    "This is the service desk. I am sorry about that wheel. We can send a new one, or you can have the money back.",
    [CallFunction("refund", '{"order_id": 1234, "euros": 120}'), CallFunction("check_stock", '{"part": "wheel"}')],
    "Your 120 euros are on their way, and there are two wheels at the station.",
    "Of course we guarantee that it is there tomorrow.",
    "It usually takes two days.",
]


async def listen_to(caller: bytearray, endpoint: MemoryEndpoint) -> None:
    """Be the caller's microphone: every 20 ms the next piece of what they say, else silence."""
    while True:
        await trio.sleep(0.02)
        piece = bytes(caller[:PIECE])
        del caller[:PIECE]
        await endpoint.say(piece.ljust(PIECE, b"\0"))


async def talk(session: RealtimeSession[None], endpoint: MemoryEndpoint) -> None:
    """Speak three times; the second time while the agent speaks."""
    caller = bytearray()

    async def speak(words: str) -> None:
        for chunk in tones(words, voice="caller", speed=1.25):
            caller.extend(chunk.samples.tobytes())
        await trio.sleep(len(caller) / 48_000)

    async with session.subscribe("agent_end", playback=False) as ends, trio.open_nursery() as nursery:
        nursery.start_soon(listen_to, caller, endpoint)
        await trio.sleep(0.4)
        await speak(SAID[0])
        await ends.receive()
        await ends.receive()
        await trio.sleep(3)
        await speak(SAID[1])
        await ends.receive()
        await ends.receive()
        await session.wait_for_playback()
        await speak(SAID[2])
        await ends.receive()
        await ends.receive()
        await session.wait_for_playback()
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()


async def main(path: Path) -> None:
    brain = ScriptedBrain(ANSWERS)
    settings = {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 400}}}}
    config = {
        "record": path,
        "approval_handler": supervisor,
        "guardrails_settings": {"debounce_text_length": 20},
        "model_settings": settings,
    }
    async with open_emulator(listen=False, brain=brain, transcriber=ScriptedTranscriber(SAID), seed=4) as emulator:
        runner = RealtimeRunner(reception, model=emulator.memory_model(), config=config, rng=random.Random(4))
        endpoint = MemoryEndpoint()
        async with runner.session() as session, session.attach(endpoint):
            await talk(session, endpoint)


if __name__ == "__main__":
    recording = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()) / "call.jsonl.gz"
    trio.run(main, recording, clock=MockClock(autojump_threshold=0))
    timeline = read_timeline(recording)
    for theme, name in (("light", "timeline.svg"), ("dark", "timeline-dark.svg")):
        (FOLDER / name).write_text(timeline.svg(theme=theme, width=1200), encoding="utf-8")
