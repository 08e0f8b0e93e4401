"""One call with everything in it, on connections that are lost: the user loses no word, and each question has its
answer once.

Each sample that the user speaks is known by its neighbours, so what the servers received can be held against what was
spoken; the transcriber goes by the samples too, and the brain by the words of the items, so that any connection may be
asked anything.
"""

from __future__ import annotations

import base64
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, Final

import attrs
import numpy as np
import trio
import trio.testing
from numpy.typing import NDArray

from trealtime import (
    Approve,
    GuardrailFunctionOutput,
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
    function_tool,
    output_guardrail,
)
from trealtime.emulator import (
    BrainReply,
    BrainRequest,
    CallFunction,
    EmulatedSession,
    Emulator,
    Faults,
    LoggedEvent,
    Say,
    open_emulator,
)
from trealtime.events import RealtimeSessionEvent
from trealtime.transport import TransportConfig
from trealtime.transport.client import wrap_websocket_stream
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.wire import Wire

RATE: Final = 24_000
SPEECH_S, QUIET_S, PIECE_S = 1.2, 0.8, 0.1
LONGEST_S: Final = 600.0

# ---- what is said ---------------------------------------------------------------------------------------------------

STORY: Final = "Once upon a time there was a fox who lived in a wood and had a friend. " * 4
QUESTIONS: Final[Mapping[str, str | None]] = {
    "Who are you?": "I am Otto, and I answer all of your questions as well as I can.",
    "What is the weather in Paris?": "It is sunny in Paris today, and it will stay so.",
    "Send me my money back, please.": "Your refund of twenty euros is on its way to you now.",
    "Give me to billing.": "Hello, this is Berta from billing, what can I do for you?",
    "What is the secret word?": "I would rather not talk about that one, if you do not mind.",
    "Tell me a story.": None,
    "Stop, that is enough for today.": "Of course, I will stop here. Goodbye, and see you soon.",
}
"""The user's words, and the answer; None: it is spoken over."""

SECRET: Final = "The secret word is swordfish, and now you know it as well."


def _spoken() -> tuple[NDArray[np.int16], list[tuple[int, int]]]:
    """All that the user says, as one stream, and where each question lies in it."""
    noise = np.random.default_rng(13)
    pieces: list[NDArray[np.int16]] = [np.zeros(round(0.3 * RATE), np.int16)]
    places = []
    for _ in QUESTIONS:
        begin = sum(map(len, pieces))
        speech = (noise.normal(size=round(SPEECH_S * RATE)) * 6_000).astype(np.int16)
        speech[speech == 0] = 1
        pieces += [speech, np.zeros(round(QUIET_S * RATE), np.int16)]
        places.append((begin, begin + len(speech)))
    return np.concatenate(pieces), places


SPOKEN, PLACES = _spoken()


def _windows(samples: NDArray[np.int16]) -> NDArray[np.int64]:
    """Four samples as one number, at each position."""
    wide = samples.astype(np.int64) & 0xFFFF
    return wide[:-3] | wide[1:-2] << 16 | wide[2:-1] << 32 | wide[3:] << 48


def _loud(samples: NDArray[np.int16]) -> NDArray[np.intp]:
    """The positions at which four samples are of speech."""
    loud = samples != 0
    return np.flatnonzero(loud[:-3] & loud[1:-2] & loud[2:-1] & loud[3:])


_ALL: Final = _windows(SPOKEN)
_LOUD: Final = _loud(SPOKEN)
_ORDER: Final = _LOUD[np.argsort(_ALL[_LOUD])]
_SORTED: Final = _ALL[_ORDER]
assert len(np.unique(_SORTED)) == len(_SORTED)


def places_of(samples: NDArray[np.int16]) -> NDArray[np.intp]:
    """Where the speech in `samples` stands in what was spoken, position by position; -1: it was never spoken."""
    if len(samples) < 4:
        return np.zeros(0, np.intp)
    windows = _windows(samples)[_loud(samples)]
    found = np.searchsorted(_SORTED, windows).clip(max=len(_SORTED) - 1)
    return np.where(_SORTED[found] == windows, _ORDER[found], -1)


def words_of(samples: NDArray[np.int16]) -> str:
    """The questions in `samples`; of one that is torn it says so."""
    places = places_of(samples)
    words = []
    for question, (begin, end) in zip(QUESTIONS, PLACES, strict=True):
        share = np.count_nonzero((places >= begin) & (places < end)) / (end - begin - 3)
        if share == 1:
            words.append(question)
        elif share > 0:
            words.append(f"({share:.2f} of: {question})")
    return " ".join(words)


class Ear:
    """Knows the questions by their samples."""

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        return words_of(samples)


class Mind:
    """Answers by the items alone; goes on where an answer has been begun."""

    async def reply(self, request: BrainRequest) -> BrainReply:
        items = list(request.items)
        end = len(items)
        begun: list[str] = []
        while end and items[end - 1].get("role") == "assistant":
            end -= 1
            begun.insert(0, text_of(items[end]))
        asked = max((n for n, item in enumerate(items[:end]) if item.get("role") == "user"), default=None)
        if asked is None:
            return BrainReply((Say("Hello."),))
        question = text_of(items[asked])
        since = items[asked + 1 :]
        made = [item["name"] for item in since if item["type"] == "function_call"]
        outputs = {item["call_id"] for item in since if item["type"] == "function_call_output"}
        waiting = [item for item in since if item["type"] == "function_call" and item["call_id"] not in outputs]
        tool = next((name for words, name in TOOLS.items() if words in question), None)
        if waiting:
            return BrainReply()
        if tool is not None and tool not in made:
            return BrainReply((CallFunction(tool, "{}"),))
        answer = QUESTIONS.get(question) or (STORY if question in QUESTIONS else f"I heard: {question}")
        if "secret" in question and not any(item.get("role") == "system" for item in since):
            answer = SECRET
        words = answer.split()
        for first in range(len(begun)):  # pieces before that may have come torn
            said = " ".join(begun[first:]).split()
            if said and words[: len(said) - 1] == said[:-1] and words[len(said) - 1].startswith(said[-1]):
                words = words[len(said) - (words[len(said) - 1] != said[-1]) :]
                break
        return BrainReply((Say(" ".join(words)),)) if words else BrainReply()


TOOLS: Final = {"weather": "get_weather", "money back": "pay_back", "billing": "transfer_to_billing"}


def text_of(item: Mapping[str, Any]) -> str:
    parts = item.get("content", ())
    return " ".join(part.get("text") or part.get("transcript") or "" for part in parts).strip()


# ---- the call -------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Call:
    """What came of one call."""

    events: list[RealtimeSessionEvent] = attrs.Factory(list)
    times: list[float] = attrs.Factory(list)
    """When each of them came."""

    began: dict[str, float] = attrs.Factory(dict)
    """When the user began with each question."""

    ran: Counter[str] = attrs.Factory(Counter)
    history: list[Any] = attrs.Factory(list)
    received: list[list[NDArray[np.int16]]] = attrs.Factory(list)
    """The turns that each session received."""

    agent: str = ""
    counts: Counter[str] = attrs.Factory(Counter)
    """The events of server and client."""

    told: dict[str, NDArray[np.int16]] = attrs.Factory(dict)
    """Turns of the user that a connection was told as audio, because their words were not known: no words come of
    those."""

    told_words: dict[str, str] = attrs.Factory(dict)
    _news: trio.Event = attrs.Factory(trio.Event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds`, which is looked at with each event of the session."""
        while not holds():
            await self._news.wait()

    async def listen(self, session: RealtimeSession[Any]) -> None:
        async for event in session:
            self.events.append(event)
            self.times.append(trio.current_time())
            self._news.set()
            self._news = trio.Event()

    def note(self, session: EmulatedSession, entry: LoggedEvent) -> None:
        self.counts[entry.direction] += 1
        item = entry.event.get("item", {})
        if entry.event.get("type") == "conversation.item.create" and item.get("role") == "user":
            for part in item["content"]:
                if part["type"] == "input_audio":
                    audio = np.frombuffer(base64.b64decode(part["audio"]), "<i2")
                    self.told[item["id"]], self.told_words[item["id"]] = audio, words_of(audio)

    def asked(self, history: Sequence[Any]) -> list[tuple[str, list[str]]]:
        """The questions of the history, each with the texts of the agent after it."""
        asked: list[tuple[str, list[str]]] = []
        for item in history:
            if item.type == "message" and item.role == "user":
                asked.append((item.text or self.told_words.get(item.item_id, ""), []))
            elif item.type == "message" and item.role == "assistant" and asked:
                asked[-1][1].append(item.text or "")
        return asked

    def latencies(self) -> list[float]:
        """From the end of each question to the first audio after it."""
        found = []
        for number, event in enumerate(self.events):
            if event.type == "speech_stopped":
                later = zip(self.events[number:], self.times[number:], strict=True)
                found.append(next(at for each, at in later if each.type == "audio") - self.times[number])
        return found

    def audio(self) -> list[bytes]:
        """The audio of each item of the agent, in order."""
        items: dict[str, bytes] = {}
        for event in self.of("audio"):
            items[event.item_id] = items.get(event.item_id, b"") + event.audio.data
        return list(items.values())

    def answered(self, history: Sequence[Any], question: str) -> bool:
        """Whether the end of the answer is there."""
        end = (QUESTIONS[question] or "").split(" ")[-1]
        return any(words == question and " ".join(said).endswith(end) for words, said in self.asked(history))

    def of(self, *types: str) -> list[Any]:
        return [event for event in self.events if event.type in types]


@output_guardrail
async def no_secrets(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="swordfish" in text)


@attrs.frozen
class Framed:
    """Leads to the emulator over real WebSocket frames in memory, with pings."""

    _emulator: Any
    reconnects: ClassVar[bool] = True

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        config = TransportConfig(ping_interval=2, ping_timeout=2)
        client, server = trio.testing.memory_stream_pair()
        self._emulator._nursery.start_soon(self._emulator._serve, server, config)
        async with wrap_websocket_stream(client, "ws://localhost/v1/realtime", config=config) as wire:
            yield wire


async def hold(
    faults: Faults | None,
    *,
    seed: int = 3,
    max_session_s: float = 3_600.0,
    policy: Any = None,
    patience_s: float = math.inf,
    call: Call | None = None,
    framed: bool = False,
) -> Call:
    """Hold the call, and return what came of it. The user waits for an answer for `patience_s`, and then goes on."""
    call = Call() if call is None else call

    @function_tool
    async def get_weather() -> str:
        """The weather."""
        call.ran["get_weather"] += 1
        await trio.sleep(0.7)
        return "sunny"

    @function_tool(needs_approval=True)
    async def pay_back() -> str:
        """Pay money back."""
        call.ran["pay_back"] += 1
        return "done"

    billing = RealtimeAgent(
        name="Billing", instructions="You are Berta.", output_guardrails=[no_secrets], handoff_description="Billing."
    )
    otto = RealtimeAgent(
        name="Otto",
        instructions="You are Otto.",
        tools=[get_weather, pay_back],
        handoffs=[billing],
        output_guardrails=[no_secrets],
    )

    async def decide(request: Any) -> Approve:
        await trio.sleep(0.5)
        return Approve()

    settings = {"turn_detection": {"type": "server_vad"}, "input_audio_transcription": {"model": "whisper-1"}}
    async with open_emulator(
        listen=False,
        seed=seed,
        unix_time_s=1_800_000_000.0,
        brain=Mind(),
        transcriber=Ear(),
        faults=faults,
        max_session_s=max_session_s,
        keep_sessions=1_000,
        keep_input_audio_s=3_600,
        on_event=call.note,
    ) as emulator:
        runner = RealtimeRunner(
            otto,
            model=Framed(emulator) if framed else emulator.memory_model(),
            config={
                "model_settings": settings,
                "approval_handler": decide,
                "guardrails_settings": {"debounce_text_length": 20},
                "reconnect": {} if policy is None else policy,
            },
            rng=random.Random(seed),
        )
        with trio.fail_after(LONGEST_S if patience_s == math.inf else LONGEST_S + len(QUESTIONS) * patience_s):
            async with runner.session() as session, trio.open_nursery() as nursery:
                nursery.start_soon(call.listen, session)
                await _speak(session, call, patience_s)
                call.history = list(session.history)
                call.agent = session.current_agent.name
                nursery.cancel_scope.cancel()
        await _received(emulator, call)
    return call


async def _speak(session: RealtimeSession[Any], call: Call, patience_s: float) -> None:
    await _send(session, 0, PLACES[0][0])
    for question, (begin, end) in zip(QUESTIONS, PLACES, strict=True):
        call.began[question] = trio.current_time()
        await _send(session, begin, end + round(QUIET_S * RATE))
        with trio.move_on_after(patience_s):
            if QUESTIONS[question] is None:
                # The next question is spoken over the answer.
                await call.until(lambda: call.events[-1].type == "audio")
                await trio.sleep(0.4)
                continue
            await call.until(partial(_is_answered, session, call, question))
            await session.wait_for_playback()
        await trio.sleep(1)


def _is_answered(session: RealtimeSession[Any], call: Call, question: str) -> bool:
    return call.answered(session.history, question)


async def _send(session: RealtimeSession[Any], begin: int, end: int) -> None:
    """Speak, as fast as people do."""
    step = round(PIECE_S * RATE)
    for at in range(begin, end, step):
        await session.send_audio(SPOKEN[at : min(at + step, end)])
        await trio.sleep(PIECE_S)


async def _received(emulator: Emulator, call: Call) -> None:
    while emulator.sessions:
        await emulator.changed.park()
    for session in emulator.ended_sessions:
        audio = session.input_audio
        call.received.append([audio.of_turn(commit) for commit in audio.commits])
    call.received.append(list(call.told.values()))


# ---- what must hold -------------------------------------------------------------------------------------------------


def joined(pieces: Sequence[str]) -> str:
    """The pieces of an answer as one; a word that was cut may come again whole."""
    words: list[str] = []
    for piece in pieces:
        more = piece.split()
        if words and more and more[0].startswith(words[-1]) and more[0] != words[-1]:
            words.pop()
        words += more
    return " ".join(words)


def check(call: Call) -> None:
    """Hold what must hold of every call."""
    _check_words(call)
    _check_answers(call)
    check_audio_of_the_user(call)
    check_interrupted(call)


def _check_words(call: Call) -> None:
    ids = [item.item_id for item in call.history]
    assert len(ids) == len(set(ids)), ids
    assert [words for words, _ in call.asked(call.history)] == list(QUESTIONS)
    assert [str(event.error) for event in call.of("error")] == []


def _check_answers(call: Call) -> None:
    for question, pieces in call.asked(call.history):
        answer = QUESTIONS[question]
        if answer is None:
            assert STORY.startswith(joined(pieces).rstrip(".")), pieces
        elif "secret" in question:
            begun = max(n for n in range(len(pieces) + 1) if SECRET.startswith(joined(pieces[:n]).rstrip(".")))
            assert joined(pieces[begun:]) == answer, pieces
        else:
            assert joined(pieces) == answer, (question, pieces)
    # To be asked once more is to have nothing to say. But an answer may be whole when its connection is lost just
    # before its end, and only the model knows that.
    ends = call.of("agent_end")
    empty = [at for at, event in enumerate(ends) if event.status == "completed" and not event.item_ids]
    assert [ends[at - 1].reason for at in empty] == ["connection_lost"] * len(empty)
    assert call.ran == {"get_weather": 1, "pay_back": 1}
    assert call.agent == "Billing"


def check_audio_of_the_user(call: Call) -> None:
    covered = np.zeros(len(SPOKEN), bool)
    for turns in call.received:
        for turn in turns:
            places = places_of(turn)
            assert (places >= 0).all(), "audio that was never spoken"
            assert (np.diff(places) > 0).all(), "audio twice in one turn, or out of order"
            covered[places] = True
    missing = _LOUD[~covered[_LOUD]]
    assert not len(missing), f"{len(missing) / RATE:.3f} s of speech reached no turn, from {missing[0] / RATE:.2f} s on"


def check_interrupted(call: Call) -> None:
    over: set[str] = set()
    for event in call.events:
        if event.type == "audio_interrupted":
            over.add(event.item_id)
        elif event.type == "audio":
            assert event.item_id not in over, f"audio of {event.item_id} after its interrupt"
