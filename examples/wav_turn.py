"""A spoken turn from one WAV file, the answer into another.

    python examples/wav_turn.py QUESTION.wav ANSWER.wav [--url URL]

The question is sent at the speed of speech, then silence; the server hears when the turn is over. With OPENAI_API_KEY
the server is OpenAI's; without, an emulator in this process; with --url, the one at that address.

examples/question.wav is a question to try. This sends audio by hand: ``session.attach(WavEndpoint("QUESTION.wav",
"BOTH.wav"))`` does it for you, and so does ``python -m trealtime talk --wav QUESTION.wav --save BOTH.wav``.
"""

import argparse
import itertools
import os
import sys
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
PATIENCE_S = 60.0  # how long after the speech the server may take to answer it

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


async def microphone(session: RealtimeSession, speech: NDArray[np.int16], said: trio.Event) -> None:
    """Send each chunk of `speech` when it has been said, and silence from then on."""
    began, silence = trio.current_time(), np.zeros(CHUNK, np.int16)
    for number in itertools.count():
        chunk = speech[number * CHUNK : (number + 1) * CHUNK]
        await trio.sleep_until(began + (number + 1) * CHUNK_MS / 1000)
        await session.send_audio(chunk if len(chunk) else silence)
        if number * CHUNK >= len(speech):
            said.set()


async def say(session: RealtimeSession, speech: NDArray[np.int16]) -> bytes:
    """Say `speech`, print each turn of it, and return the audio of the answers, which may be empty."""
    audio, said = b"", trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(microphone, session, speech, said)
        with trio.move_on_after(len(speech) / RATE + PATIENCE_S):
            while not said.is_set():  # after a long pause in it the server takes the rest for another turn
                turn = await session.listen()
                print(f"user: {printable(turn.said or '...')}\nassistant: {printable(turn.text)}", flush=True)
                audio += turn.audio
        nursery.cancel_scope.cancel()
    return audio


@asynccontextmanager
async def server(url: str | None) -> AsyncIterator[ModelConfigDict]:
    """Yield how to connect: the `model_config` of a session."""
    if os.environ.get("OPENAI_API_KEY"):
        yield {"url": url} if url else {}
    elif url:
        yield {"url": url, "headers": {}}  # no key, no Authorization
    else:
        print("No OPENAI_API_KEY: starting an emulator ...", file=sys.stderr, flush=True)
        async with open_emulator(speech="auto") as emulator:
            print(emulator.speech.description, file=sys.stderr, flush=True)
            yield {"url": emulator.url, "headers": {}}


async def main(speech: NDArray[np.int16], out: Path, url: str | None) -> None:
    async with server(url) as connection, runner.session(model_config=connection) as session:
        print(f"Saying {len(speech) / RATE:.2f} s of speech", flush=True)
        audio = np.frombuffer(await say(session, speech), "<i2")
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
