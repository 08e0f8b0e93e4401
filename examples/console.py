"""Talk to an agent with the microphone and the loudspeaker of this machine; Ctrl-C ends it.

    python examples/console.py
    python examples/console.py --wav QUESTION.wav BOTH.wav    a question from a file, and both sides into another

It needs `pip install "trealtime[console]"`, and on Linux PortAudio (`apt install libportaudio2`); with --wav neither.
With OPENAI_API_KEY it talks to OpenAI's service; without, to an emulator in this process.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import trio

from trealtime import (
    ConsoleEndpoint,
    Endpoint,
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    TrealtimeError,
    WavEndpoint,
    function_tool,
    open_emulator,
)
from trealtime.errors import AudioDeviceError, MissingDependency
from trealtime.settings import ModelConfigDict
from trealtime.terminal import printable


@function_tool
def current_time() -> str:
    """Tell the time of day."""
    return f"{datetime.now().astimezone():%H:%M}"


agent = RealtimeAgent(name="Assistant", instructions="Answer in one or two sentences.", tools=[current_time])
runner = RealtimeRunner(agent)


async def talk(session: RealtimeSession, endpoint: Endpoint, *, once: bool) -> None:
    """Let the user speak and hear through `endpoint`, and print the words; with `once`, up to the end of one answer."""
    async with session.attach(endpoint):
        print("Speak; Ctrl-C ends it." if not once else "Saying the question.", flush=True)
        speaker = ""
        async for event in session:
            if event.type == "transcript_delta":
                if event.role != speaker:
                    speaker = event.role
                    print(f"\n{speaker}: ", end="")
                print(printable(event.delta, newlines=True), end="", flush=True)
            elif event.type == "audio_interrupted":
                print(f" [cut after {event.heard_ms / 1000:.2f} s]", end="", flush=True)
            elif event.type == "tool_start":
                print(f"\n[{event.tool.name}({printable(event.arguments)})]", end="", flush=True)
            elif event.type == "error":
                print(f"\nerror: {printable(event.error)}", flush=True)
            elif event.type == "agent_end":
                speaker = ""
                if once and event.status == "completed":
                    await session.wait_for_playback()
                    break
    print()


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


async def main(files: tuple[Path, Path] | None) -> None:
    endpoint = WavEndpoint(*files) if files else ConsoleEndpoint()
    async with service_or_emulator() as connection, runner.session(model_config=connection) as session:
        await talk(session, endpoint, once=files is not None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Talk to an agent with microphone and loudspeaker.")
    parser.add_argument("--wav", nargs=2, type=Path, metavar=("QUESTION.wav", "BOTH.wav"))
    files = parser.parse_args().wav
    try:
        trio.run(main, tuple(files) if files else None)
    except* (MissingDependency, AudioDeviceError) as group:
        print(*group.exceptions, "Without sound: --wav QUESTION.wav BOTH.wav", sep="\n", file=sys.stderr)
        sys.exit(2)
    except* (TrealtimeError, OSError, ValueError) as group:  # ValueError: both files are the same
        sys.exit("\n".join(f"console: {error}" for error in group.exceptions))
    except* KeyboardInterrupt:
        sys.exit(0)
