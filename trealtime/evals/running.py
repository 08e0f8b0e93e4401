"""Running a scenario: a session, and its steps one after another.

Theory of operation
1. A step begins when the agent's last answer has been heard. It is over when a response has ended that called no tool
   (an answer), when a guardrail has stopped the user's words, or when its time is up.
2. On the emulator, time is Trio's: under a mock clock a scenario takes no time. The user speaks with the emulator's own
   voice, and its transcriber gets the words as text, so it needs no speech engine.
3. Every event of the session passes through one task, which notes it for the current step.
"""

from __future__ import annotations

import json
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from typing import Any, cast

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime._session.config_dicts import ModelConfigDict, RunConfigDict
from trealtime._session.recording_settings import RecordingSettings
from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.audio.pcm import from_int16
from trealtime.audio.resample import resample
from trealtime.emulator.brain import Brain, BrainReply, BrainRequest, CallFunction, Say
from trealtime.emulator.dialogue import DialogueBrain
from trealtime.emulator.server import open_emulator
from trealtime.emulator.voice import VOICE_RATE, ToneVoice, Voice
from trealtime.errors import TrealtimeError
from trealtime.evals.checking import Heard, failures
from trealtime.evals.mocks import Mocked, mocked
from trealtime.evals.scenario import Scenario, Step
from trealtime.events import RealtimeSessionEvent
from trealtime.protocol.settings_dicts import SessionSettingsDict
from trealtime.terminal import text_of
from trealtime.timeline.timeline import Timeline
from trealtime.transport.background import background_nursery

__all__ = ["ScenarioResult", "StepResult", "run_scenario"]

logger = logging.getLogger("trealtime.evals")

_PIECE_MS = 100
_UNIX_TIME_S = 1_800_000_000.0


@attrs.frozen(kw_only=True)
class StepResult:
    """The result of a step: the answer `heard`, and `failures`, a line for each expectation that was not met."""

    step: Step
    heard: Heard
    failures: Sequence[str]


@attrs.frozen(kw_only=True)
class ScenarioResult:
    """The result of a scenario. `steps` are those that were run; the first that fails is the last. `error` is the
    reason for an end before that. One that did not pass has a `timeline`, if its session was opened."""

    scenario: Scenario
    steps: Sequence[StepResult]
    seconds: float
    error: str | None = None
    timeline: Timeline | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def passed(self) -> bool:
        """Whether all expectations were met."""
        return self.error is None and not any(step.failures for step in self.steps)


async def run_scenario(
    scenario: Scenario,
    agent: RealtimeAgent[Any],
    *,
    model_config: Mapping[str, Any] | None = None,
    voice: Voice | None = None,
) -> ScenarioResult:
    """Run `scenario` with `agent`, on an emulator of its own, or on the service that `model_config` names.

    `voice` says the steps that are spoken. The run stops at the first step that fails. If cancelled, the session is
    closed. Raises `ScenarioError` for mocks of tools that no agent has; any other failure is in the result.
    """
    began_at = trio.current_time()
    steps: list[StepResult] = []
    error: str | None = None
    where = f"{scenario.file}:{scenario.line}"
    opened: list[RealtimeSession[Any]] = []
    with mocked(agent, scenario.tools, where=where) as mocks:
        try:
            async with _conversation(scenario, agent, mocks, model_config, voice or ToneVoice()) as conversation:
                opened.append(conversation.session)
                for step in scenario.steps:
                    heard = await conversation.take(step)
                    steps.append(
                        StepResult(
                            step=step, heard=heard, failures=failures(step.expect, heard, within_s=step.within_s)
                        )
                    )
                    if steps[-1].failures:
                        break
        except Exception as caught:  # also of the agent's own code: other scenarios follow
            error = f"{type(caught).__name__}: {text_of(caught)}"
            if not isinstance(caught, TrealtimeError):  # those say all there is to know
                logger.error("scenario %r: the agent's code failed", scenario.name, exc_info=caught)
    result = ScenarioResult(scenario=scenario, steps=steps, seconds=trio.current_time() - began_at, error=error)
    return result if result.passed or not opened else attrs.evolve(result, timeline=opened[0].timeline())


@asynccontextmanager
async def _conversation(
    scenario: Scenario,
    agent: RealtimeAgent[Any],
    mocks: Mocked,
    model_config: Mapping[str, Any] | None,
    voice: Voice,
) -> AsyncIterator[_Conversation]:
    config: RunConfigDict = {
        "model_settings": cast("SessionSettingsDict", scenario.settings),  # the session checks it
        "record": RecordingSettings(),
    }
    if model_config is not None:
        runner = RealtimeRunner(agent, config=config)
        async with (
            runner.session(model_config=cast("ModelConfigDict", model_config)) as session,
            _following(session, mocks, voice) as talk,
        ):
            yield talk
        return
    prompter = _Prompter()
    async with open_emulator(
        listen=False, seed=1, unix_time_s=_UNIX_TIME_S, brain=prompter, transcriber=prompter
    ) as emulator:
        runner = RealtimeRunner(agent, model=emulator.memory_model(), config=config, rng=random.Random(1))
        async with runner.session() as session, _following(session, mocks, voice, prompter) as talk:
            yield talk


@asynccontextmanager
async def _following(
    session: RealtimeSession[Any], mocks: Mocked, voice: Voice, prompter: _Prompter | None = None
) -> AsyncIterator[_Conversation]:
    talk = _Conversation(session, mocks, voice, prompter)
    async with session.subscribe() as subscription, background_nursery() as nursery:

        async def follow() -> None:
            with suppress(TrealtimeError):  # it comes out of the session too
                async for event in subscription:
                    talk.note(event)
            talk.over()

        nursery.start_soon(follow)
        yield talk


class _Prompter:
    """The emulator's brain and ears: they do what the current step says, and else what they always do."""

    def __init__(self) -> None:
        self._brain: Brain = DialogueBrain(random.Random(1), timezone=UTC)
        self._answers: deque[str | Mapping[str, Any]] = deque()
        self._spoken: deque[str] = deque()

    def take(self, step: Step) -> None:
        self._answers = deque(step.answer)
        self._spoken = deque([step.speak] if step.speak is not None else [])

    async def reply(self, request: BrainRequest) -> BrainReply:
        if not self._answers:
            return await self._brain.reply(request)
        answer = self._answers.popleft()
        if isinstance(answer, str):
            return BrainReply((Say(answer),))
        return BrainReply(
            tuple(CallFunction(name, json.dumps(arguments or {})) for name, arguments in answer["call"].items())
        )

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        return self._spoken.popleft() if self._spoken else f"(speech, {len(samples) / rate:.1f} s)"


class _Conversation:
    """A session, and the notes on the current step."""

    def __init__(self, session: RealtimeSession[Any], mocks: Mocked, voice: Voice, prompter: _Prompter | None) -> None:
        self.session = session
        self._mocks = mocks
        self._voice = voice
        self._prompter = prompter
        self._step = Step()
        self._heard = Heard()
        self._items: dict[str, str] = {}
        self._done = trio.Event()
        self._sounding = trio.Event()
        self._questions: list[tuple[str, bool]] = []
        self._asked = trio.Event()

    async def take(self, step: Step) -> Heard:
        """Take a step, and wait for the answer."""
        session = self.session
        self._step, self._heard, self._items = step, Heard(), {}
        self._done, self._sounding, self._asked = trio.Event(), trio.Event(), trio.Event()
        if self._prompter is not None:
            self._prompter.take(step)
        async with background_nursery() as nursery:
            nursery.start_soon(self._decide)
            if step.interrupt_at_s is not None:
                nursery.start_soon(self._interrupt, step.interrupt_at_s)
            if step.wait_s is not None:
                await trio.sleep(step.wait_s)
                self._heard.complete = True
            else:
                if step.speak is not None:
                    await self._speak(step.speak)
                    nursery.start_soon(self._be_silent)
                else:
                    await session.send_message(step.say or "")
                began_at = trio.current_time()
                with trio.move_on_after(step.within_s):
                    await self._done.wait()
                    self._heard.complete = True
                self._heard.seconds = trio.current_time() - began_at
            await session.wait_for_playback()
        self._heard.text = " ".join(filter(None, (words.strip() for words in self._items.values())))
        self._heard.agent = session.current_agent.name
        return self._heard

    def note(self, event: RealtimeSessionEvent) -> None:
        """Note an event of the session."""
        heard = self._heard
        match event.type:
            case "transcript_delta" if event.role == "user":
                heard.user_text += event.delta
            case "transcript_delta" | "text_delta":
                self._items[event.item_id] = self._items.get(event.item_id, "") + event.delta
            case "audio":
                self._sounding.set()
            case "audio_interrupted":
                heard.interrupted = True
            case "tool_start":
                heard.calls.append((event.tool.name, _object(event.arguments)))
            case "tool_approval_required":
                name = event.tool.name
                heard.approvals.append(name)
                self._questions.append((event.call_id, self._step.approve))
                self._asked.set()
            case "handoff":
                heard.handoffs.append(event.to_agent.name)
                self._mocks.include(event.to_agent)
            case "guardrail_tripped":
                heard.guardrails += [result.guardrail.get_name() for result in event.guardrail_results]
                if event.which == "input":
                    self._done.set()
            case "error":
                heard.errors.append(str(event.error))
            case "agent_end" if not self._called_something(event.item_ids):
                self._done.set()
            case _:
                pass

    def over(self) -> None:
        """Note that the session has ended."""
        self._done.set()

    def _called_something(self, item_ids: Sequence[str]) -> bool:
        return any(item.type == "function_call" for item in self.session.history_of(item_ids))

    async def _decide(self) -> None:
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            questions, self._questions = self._questions, []
            for call_id, approve in questions:
                decide = self.session.approve_tool_call if approve else self.session.reject_tool_call
                with suppress(TrealtimeError):  # the session is over, which `take` notices too
                    await decide(call_id)

    async def _interrupt(self, at_s: float) -> None:
        await self._sounding.wait()
        await trio.sleep(at_s)
        with suppress(TrealtimeError):
            await self.session.interrupt()

    async def _speak(self, words: str) -> None:
        """Say `words` at the speed of speech."""
        format_ = self.session.input_format
        pieces = [chunk.samples async for chunk in self._voice.speak(words, voice="user", speed=1.0)]
        audio = from_int16(resample(np.concatenate(pieces), VOICE_RATE, format_.rate), format_)
        size = format_.bytes_for_ms(_PIECE_MS)
        for start in range(0, len(audio), size):
            await self._hear(audio[start : start + size])

    async def _be_silent(self) -> None:
        """Send silence until there is an answer, as a microphone does: the server ends a turn by what it hears."""
        format_ = self.session.input_format
        silence = from_int16(np.zeros(format_.rate * _PIECE_MS // 1000, np.int16), format_)
        with suppress(TrealtimeError):  # the session is over
            while not self._done.is_set():
                await self._hear(silence)

    async def _hear(self, piece: bytes) -> None:
        await self.session.send_audio(piece)
        await trio.sleep(_PIECE_MS / 1000)


def _object(arguments: str) -> Mapping[str, Any]:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
