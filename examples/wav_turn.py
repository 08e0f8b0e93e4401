"""A spoken turn from one WAV file, the answer into another.

    python examples/wav_turn.py QUESTION.wav ANSWER.wav [--url URL]

The question is sent at the speed of speech, then silence; the server hears when the turn is over. With OPENAI_API_KEY
the server is OpenAI's; without, an emulator in this process; with --url, the one at that address.

This sends and collects audio by hand. ``session.attach(WavEndpoint("QUESTION.wav", "BOTH.wav"))`` does it for you, and
so does ``python -m trealtime talk --wav QUESTION.wav --save BOTH.wav``, with nothing to write at all.
"""

import argparse
import itertools
import math
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import trio
from numpy.typing import NDArray

from trealtime import (
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    TrealtimeError,
    open_emulator,
)
from trealtime.audio import PCM16_24K
from trealtime.audio.resample import resample
from trealtime.audio.wav import read_wav, write_wav
from trealtime.errors import AudioFormatError
from trealtime.settings import ModelConfigDict, SessionSettingsDict
from trealtime.terminal import printable

RATE = PCM16_24K.rate  # of both directions, where no other format is asked for
CHUNK_MS = 20
CHUNK = RATE * CHUNK_MS // 1000
PATIENCE_S = 15.0  # how long after the speech the server may take to begin an answer

agent = RealtimeAgent(name="Assistant", instructions="Answer in one or two sentences.")
settings: SessionSettingsDict = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}
runner = RealtimeRunner(agent, config={"model_settings": settings})


def read_speech(path: Path) -> NDArray[np.int16]:
    """Return the samples of a WAV file at `RATE`, up to the end of the speech in it."""
    samples = resample(*read_wav(path), RATE)
    if not samples.any():
        raise AudioFormatError(f"{path}: there is no sound in it")
    frames = np.pad(samples, (0, -len(samples) % CHUNK)).reshape(-1, CHUNK)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    last = np.flatnonzero(power > power.max() / 1000)[-1]  # 30 dB below the loudest is a pause
    return samples[: (last + 1) * CHUNK]


async def microphone(session: RealtimeSession, speech: NDArray[np.int16], began: float) -> None:
    """Send each chunk of `speech` when it has been said, and silence from then on."""
    silence = np.zeros(CHUNK, np.int16)
    for number in itertools.count():
        chunk = speech[number * CHUNK : (number + 1) * CHUNK]
        await trio.sleep_until(began + (number + 1) * CHUNK_MS / 1000)
        await session.send_audio(chunk if len(chunk) else silence)


async def take_turn(session: RealtimeSession, speech: NDArray[np.int16]) -> bytes:
    """Say `speech`, print what happens when, and return the audio of the answer, which may be empty."""
    began = trio.current_time()
    speech_ends = began + len(speech) / RATE
    answer = defaultdict[str, bytearray](bytearray)  # by item

    def tell(what: str) -> None:
        now = trio.current_time()
        after = f"  ({now - speech_ends:.2f} s after the end of speech)" if now >= speech_ends else ""
        print(f"{now - began:6.2f} s  {what}{after}", flush=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(microphone, session, speech, began)
        with trio.move_on_at(speech_ends + PATIENCE_S) as patience:
            async for event in session:
                if event.type in ("speech_started", "speech_stopped"):
                    tell(event.type)
                elif event.type == "agent_start":
                    patience.deadline = math.inf
                elif event.type == "audio":
                    if event.item_id not in answer:
                        tell("first audio")
                    answer[event.item_id] += event.audio.data
                elif event.type == "audio_interrupted":  # by more speech: keep what was heard
                    del answer[event.item_id][PCM16_24K.bytes_for_ms(event.heard_ms) :]
                elif event.type == "error":
                    tell(f"error: {printable(event.error)}")
                elif event.type == "agent_end":
                    tell(f"answer {event.status}")
                    patience.deadline = speech_ends + PATIENCE_S
                    if trio.current_time() >= speech_ends and event.status != "cancelled":
                        break
            else:
                outcome = await session.wait_closed()
                tell(f"the session was ended by the {outcome.closed_by}: {printable(outcome.reason)}")
        nursery.cancel_scope.cancel()
    return b"".join(answer.values())


@asynccontextmanager
async def server(url: str | None) -> AsyncIterator[ModelConfigDict]:
    """Yield how to connect: the `model_config` of a session."""
    if os.environ.get("OPENAI_API_KEY"):
        yield {"url": url} if url else {}
    elif url:
        yield {"url": url, "headers": {}}  # no key, no Authorization
    else:
        print("No OPENAI_API_KEY: talking to an emulator, whose voice is a signal, not speech.", file=sys.stderr)
        async with open_emulator() as emulator:
            yield {"url": emulator.url, "headers": {}}


async def main(speech: NDArray[np.int16], out: Path, url: str | None) -> None:
    async with server(url) as connection, runner.session(model_config=connection) as session:
        print(f"Saying {len(speech) / RATE:.2f} s of speech", flush=True)
        audio = np.frombuffer(await take_turn(session, speech), "<i2")
        for item in session.history:
            print(printable(item))
    if not audio.size:
        sys.exit("wav_turn: no answer came; did the server hear speech?")
    write_wav(out, audio, RATE)
    print(f"{out}: {len(audio) / RATE:.2f} s of audio")


def refuse(why: str) -> NoReturn:
    print(f"wav_turn: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Say what is in one WAV file, write the answer into another.")
    parser.add_argument("question", type=Path, metavar="IN.wav")
    parser.add_argument("answer", type=Path, metavar="OUT.wav")
    parser.add_argument("--url", help="a Realtime server, such as that of `trealtime emulate`")
    arguments = parser.parse_args()
    try:
        speech = read_speech(arguments.question)
        if arguments.answer.exists() and arguments.answer.samefile(arguments.question):
            refuse(f"{arguments.answer}: the answer would overwrite the question")
        arguments.answer.open("ab").close()  # before the turn, not after it
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}")
    except AudioFormatError as error:
        refuse(str(error))
    try:
        trio.run(main, speech, arguments.answer, arguments.url)
    except* TrealtimeError as group:
        sys.exit("\n".join(f"wav_turn: {error}" for error in group.exceptions))
    except* KeyboardInterrupt:
        sys.exit(130)
