"""A voice agent with one tool: a question in text, a spoken one, and the answers in words and sound.

    python examples/quickstart.py

With OPENAI_API_KEY it talks to OpenAI's service; without, to an emulator in this process, which hears and speaks
English where `pip install -e ".[local]"` has brought the engines, and tones elsewhere. The first answer is written to
hello.wav.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import trio

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession, TrealtimeError, function_tool, open_emulator
from trealtime.audio import PCM16_24K
from trealtime.audio.wav import read_wav, write_wav
from trealtime.settings import ModelConfigDict
from trealtime.terminal import printable

RATE = PCM16_24K.rate
QUESTION = Path(__file__).parent / "question.wav"  # "Where is order number 42?"
ANSWER = Path("hello.wav").resolve()


@function_tool
async def order_status(order_id: int) -> str:
    """Look up an order.

    Args:
        order_id: The number printed on the receipt.
    """
    return f"Order {order_id} is on its way."


agent = RealtimeAgent(name="Assistant", instructions="You are brief and friendly.", tools=[order_status])
# A turn is over after half a second of silence. (The default listens for the end of the thought.)
runner = RealtimeRunner(agent, config={"model_settings": {"turn_detection": {"type": "server_vad"}}})


async def ask_in_text(session: RealtimeSession) -> None:
    """Ask, print the words of the answer as they come, and keep its sound."""
    question = "Say hello in one short sentence."
    print(f"you:    {question}\nagent:  ", end="", flush=True)
    audio = bytearray()
    async with session.respond(question) as response:
        async for event in response:
            if event.type == "transcript_delta":
                print(printable(event.delta), end="", flush=True)
            elif event.type == "audio":
                audio += event.audio.data
    write_wav(ANSWER, np.frombuffer(audio, "<i2"), RATE)
    print(f"\n        ({len(audio) / 2 / RATE:.1f} s of sound: {ANSWER})")


async def ask_by_voice(session: RealtimeSession) -> None:
    """Say a recorded question; the server hears where it ends, and the agent calls its tool to answer."""
    speech, rate = read_wav(QUESTION)
    assert rate == RATE, "send_audio takes the session's input format"
    silence = np.zeros(RATE, np.int16)
    async with session.listen() as response:
        await session.send_audio(np.concatenate([speech, silence]))  # a microphone would send it piece by piece
        begun = False
        async for piece in response.text:
            if not begun:
                begun = True
                show_question(session)
                print("agent:  ", end="")
            print(printable(piece), end="", flush=True)
    print()


def show_question(session: RealtimeSession) -> None:
    """Print what the server heard, and the call of the tool with its output."""
    for item in session.history[2:]:
        if item.type == "message" and item.role == "user":
            print(f"you:    {printable(item.text or '...')}  (heard in {QUESTION.name})")
        elif item.type == "function_call":
            print(f"tool:   {printable(item)}")


@asynccontextmanager
async def service_or_emulator() -> AsyncIterator[ModelConfigDict]:
    """Yield how to connect: the `model_config` of a session."""
    if os.environ.get("OPENAI_API_KEY"):
        yield {}
        return
    print("No OPENAI_API_KEY: starting an emulator ...", file=sys.stderr, flush=True)
    async with open_emulator(speech="auto") as emulator:
        print(emulator.speech.description, file=sys.stderr, flush=True)
        yield {"url": emulator.url, "api_key": "any"}


async def main() -> None:
    async with service_or_emulator() as connection, runner.session(model_config=connection) as session:
        await ask_in_text(session)
        await ask_by_voice(session)
    print("\nNext: talk to an agent on a page, with a timeline of the call:    python -m trealtime demo")
    print("      or begin a project of your own, with tests that need no key: python -m trealtime init my_agent")


if __name__ == "__main__":
    try:
        trio.run(main)
    except* (TrealtimeError, OSError) as group:  # OSError: hello.wav cannot be written here
        sys.exit("\n".join(f"{type(error).__name__}: {error}" for error in group.exceptions))
    except* KeyboardInterrupt:
        sys.exit(130)
