"""Ten spoken questions, answered by a session over the emulator's own ears and voice: what was heard, and how soon.

``python -m benchmarks.spoken [FOLDER]`` prints a line per question and one for a question of seven seconds, and the
median and the ninth decile of the time from the end of the user's speech to the first sound of the answer, read off the
recordings. It takes a minute and needs ``trealtime[local]``; with FOLDER it leaves the recordings there, the user left
and the agent right.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession, WavEndpoint, open_emulator
from trealtime.audio.wav import write_wav
from trealtime.emulator.local import load_speech
from trealtime.emulator.options import SpeechEngines
from trealtime.emulator.voice import VOICE_RATE

from .report import machine, percentile

__all__ = ["LONG_QUESTION", "QUESTIONS", "Question", "Report", "ask_aloud"]

QUESTIONS = (
    "Hello there!",
    "Who are you?",
    "How much is seven times eight?",
    "Please count to five.",
    "What is nine plus four?",
    "How are you today?",
    "Calculate twelve minus five, please.",
    "How much is a hundred divided by four?",
    "Thank you very much.",
    "Good bye.",
)
LONG_QUESTION = (
    "My daughter asked me a question about numbers this morning, and I could not answer it at all: "
    "how much is seven times eight?"
)
"""Some seven seconds of speech."""

_PAUSE_S = 0.3
_LOUD = 300


@attrs.frozen(kw_only=True)
class Question:
    """One turn of the call."""

    said: str
    heard: str
    answer: str
    """What the agent's transcript says."""
    answer_heard: str
    """What the recogniser makes of the answer in the recording."""
    latency_s: float
    """From the last sound of the question to the first of the answer, in the recording."""


@attrs.frozen(kw_only=True)
class Report:
    """What came of the call."""

    questions: Sequence[Question]

    @property
    def latencies_ms(self) -> list[float]:
        return [question.latency_s * 1000 for question in self.questions]


async def ask_aloud(folder: Path, questions: Sequence[str] = QUESTIONS) -> Report:
    """Say `questions` into one session, in real time, each when the answer before has been heard; judge what was
    recorded in `folder`."""
    speech = await load_speech()
    settings = {"audio": {"input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "whisper-1"}}}}
    agent = RealtimeAgent(name="Assistant", instructions="You are Otto.")
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    async with (
        open_emulator(speech=speech, seed=1) as emulator,
        runner.session(model_config={"url": emulator.url, "api_key": "any"}) as session,
    ):
        return Report(questions=[await _ask(session, speech, folder, question) for question in questions])


async def _ask(session: RealtimeSession[None], speech: SpeechEngines, folder: Path, question: str) -> Question:
    name = "-".join(word for word in question.lower().split() if word.isalpha())
    said, heard = folder / "question.wav", folder / f"{name}.wav"
    pause = np.zeros(round(_PAUSE_S * VOICE_RATE), np.int16)
    write_wav(said, np.concatenate([pause, await _speak(speech, question)]), VOICE_RATE)
    async with session.subscribe("agent_end") as ends, session.attach(WavEndpoint(said, heard)):
        await ends.receive()
        await session.wait_for_playback()
        await trio.sleep(_PAUSE_S)
    with wave.open(str(heard), "rb") as file:
        rate = file.getframerate()
        both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
    user, agent = np.abs(both[:, 0]) > _LOUD, np.abs(both[:, 1]) > _LOUD
    asked, answered = session.history[-2:]
    return Question(
        said=question,
        heard=asked.text,
        answer=answered.text,
        answer_heard=await speech.transcriber.transcribe(both[:, 1], rate),
        latency_s=(int(np.argmax(agent)) - int(np.flatnonzero(user)[-1])) / rate,
    )


async def _speak(speech: SpeechEngines, text: str) -> NDArray[np.int16]:
    return np.concatenate([chunk.samples async for chunk in speech.voice.speak(text, voice="marin", speed=1.0)])


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        report = trio.run(ask_aloud, folder)
        (long_one,) = trio.run(ask_aloud, folder, (LONG_QUESTION,)).questions
    print(machine())
    for question in (*report.questions, long_one):
        print(f"{question.latency_s * 1000:6.0f} ms  {question.said!r} heard as {question.heard!r}")
        print(f"           {question.answer!r} heard as {question.answer_heard!r}")
    middle, slow = statistics.median(report.latencies_ms), percentile(report.latencies_ms, 90)
    print(f"end of speech to first audio: p50 {middle:.0f} ms, p90 {slow:.0f} ms")


if __name__ == "__main__":
    main()
