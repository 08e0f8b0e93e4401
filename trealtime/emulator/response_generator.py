"""Making one response: ask the brain, speak its words, and send them at the pace of a fast model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime.audio.pcm import from_int16
from trealtime.audio.resample import Resampler
from trealtime.emulator.brain import Brain, CallFunction, Part, Say, SayMore, StreamingBrain, parts_of
from trealtime.emulator.hosted_mcp import HostedCall, HostedServers, McpTool
from trealtime.emulator.items import Item
from trealtime.emulator.options import EmulatorOptions
from trealtime.emulator.response import Response
from trealtime.emulator.response_manager import ResponseManager
from trealtime.emulator.voice import VOICE_RATE, SpokenChunk, Voice

__all__ = ["ResponseGenerator"]

_WORD_S = 0.3
_ARGUMENT_CHARACTERS = 16
_MOST_ROUNDS = 8  # a brain that never stops calling tools of the server's own


class _OutOfTokens(Exception):
    """The response has reached ``max_output_tokens``."""


@attrs.frozen(kw_only=True, eq=False)
class ResponseGenerator:
    """Makes the responses of one session.

    `hear` makes sure that an item's audio has words; `let_out` sends the events written so far and waits while the
    client is slow, so a response never runs further ahead than its queue. `unix_now` tells the brain the time.
    """

    brain: Brain | StreamingBrain
    voice: Voice
    options: EmulatorOptions
    responses: ResponseManager
    hosted: HostedServers
    hear: Callable[[Item], Awaitable[None]]
    let_out: Callable[[], Awaitable[None]]
    unix_now: Callable[[], float]

    async def generate(self, response: Response) -> None:
        """Write `response` to its end.

        If cancelled, it leaves the ending to the canceller. Exceptions of an engine come out.
        """
        for item in response.context:
            await self.hear(item)
        pace = _Pace(self.options.realtime_factor)
        try:
            for call in response.approved:
                await self._call_hosted(response, call.tool, call.arguments, request_id=call.approval_request_id)
            for asked in range(_MOST_ROUNDS):
                if not await self._follow(response, pace, first=asked == 0):
                    break
        except _OutOfTokens:
            self.responses.end(response, "incomplete", reason="max_output_tokens")
        else:
            self.responses.end(response, "completed")

    async def _follow(self, response: Response, pace: _Pace, *, first: bool) -> bool:
        """Ask the brain and write its answer; return whether to ask it again, because it now has all outputs of the
        server's own tools that it asked for."""
        items = (*response.context, *response.output)
        request = attrs.evolve(
            response.request, items=tuple(item.as_heard() for item in items), unix_time_s=self.unix_now()
        )
        message: _Message | None = None
        outputs, waiting = False, False
        async with aclosing(parts_of(self.brain, request)) as parts:
            async for part in parts:
                opening = None
                if first:
                    first = False
                    opening = await self._begin(response, part)
                if message is not None and not isinstance(part, SayMore):
                    await message.close()
                    message = None
                if isinstance(part, CallFunction):
                    made = await self._call(response, part.name, part.arguments)
                    outputs, waiting = outputs or made, waiting or not made
                    continue
                if message is None:
                    message = _Message(self, response, pace)
                await message.say(part.text, opening)
        if message is not None:
            await message.close()
        return outputs and not waiting

    async def _begin(self, response: Response, part: Part) -> _Utterance | None:
        """Wait for the delay before the first sound; meanwhile the voice makes its first phrase."""
        begins_at = trio.current_time() + self.options.first_delta_delay_s
        utterance = None
        if isinstance(part, Say | SayMore) and response.modality != "text":
            utterance = self.utterance(response, part.text)
        try:
            if utterance is not None:
                await utterance.begin()
            await trio.sleep_until(begins_at)
        except BaseException:
            if utterance is not None:
                await utterance.aclose()
            raise
        return utterance

    def utterance(self, response: Response, words: str) -> _Utterance:
        """Return `words` as the voice speaks them."""
        return _Utterance(self.voice.speak(words, voice=response.voice, speed=response.speed))

    async def add_audio(self, response: Response, audio: bytes, pace: _Pace) -> None:
        """Let a piece of speech out when it is its time."""
        duration_ms = response.audio_format.duration_ms(len(audio))
        await pace.wait(duration_ms / 1000)
        _need(response.has_room(audio_ms=duration_ms))
        if response.speech_began_at is None and not response.over:
            self.responses.note_speech(response)
        response.add_audio(audio)
        await self.let_out()

    async def _call(self, response: Response, name: str, arguments: str) -> bool:
        """Make a call; return whether it has its output already. Calls of the client's functions have none, nor do
        calls that wait for approval."""
        hosted = response.hosted.get(name)
        if hosted is not None and not hosted.needs_approval:
            await self._call_hosted(response, hosted.tool, arguments)
            return True
        if hosted is not None:
            request_id = response.ask_approval(hosted.tool, arguments)
            self.hosted.wait(HostedCall(tool=hosted.tool, arguments=arguments, approval_request_id=request_id))
            return False
        response.open_call(name)
        await self._write_arguments(response, arguments)
        response.close_item()
        return False

    async def _call_hosted(
        self, response: Response, tool: McpTool, arguments: str, *, request_id: str | None = None
    ) -> None:
        response.open_mcp_call(tool, approval_request_id=request_id)
        await self._write_arguments(response, arguments)
        response.begin_mcp_call()
        await self.let_out()
        response.end_mcp_call(*await tool.call(arguments))

    async def _write_arguments(self, response: Response, arguments: str) -> None:
        for start in range(0, len(arguments), _ARGUMENT_CHARACTERS):
            delta = arguments[start : start + _ARGUMENT_CHARACTERS]
            _need(response.has_room(characters=len(delta)))
            response.add_arguments(delta)
            await self.let_out()


class _Utterance:
    """Words being spoken, whose beginning may be made before it is needed."""

    def __init__(self, chunks: AsyncGenerator[SpokenChunk]) -> None:
        self._chunks = chunks
        self._first: SpokenChunk | None = None
        self._failure: Exception | None = None

    async def begin(self) -> None:
        """Make the first chunk. A failure comes out where the chunk is asked for."""
        try:
            self._first = await anext(self._chunks, None)
        except Exception as error:  # noqa: BLE001  # raised by `next`
            self._failure = error

    async def next(self) -> SpokenChunk | None:
        """Return the next chunk; None after the last."""
        if self._failure is not None:
            raise self._failure
        first, self._first = self._first, None
        return first if first is not None else await anext(self._chunks, None)

    async def aclose(self) -> None:
        """Let the voice go."""
        await self._chunks.aclose()


class _Message:
    """A message being written or spoken, open from its first words on."""

    def __init__(self, generator: ResponseGenerator, response: Response, pace: _Pace) -> None:
        response.open_message()
        self._generator = generator
        self._response = response
        self._pace = pace
        self._speech = None if response.modality == "text" else _Speech(response, generator.options.delta_ms)

    async def say(self, words: str, utterance: _Utterance | None = None) -> None:
        """Write or speak more words. `utterance` is the voice that has begun to speak them, if there is one."""
        if self._speech is None:
            await self._write(words)
        else:
            await self._speak(utterance or self._generator.utterance(self._response, words), self._speech)

    async def close(self) -> None:
        """End the message, with the rest of its speech."""
        if self._speech is not None:
            for audio in self._speech.rest():
                await self._generator.add_audio(self._response, audio, self._pace)
        self._response.close_item()

    async def _write(self, words: str) -> None:
        for word in _words(words):
            await self._pace.wait(_WORD_S)
            self._add_text(word)
            await self._generator.let_out()

    async def _speak(self, utterance: _Utterance, speech: _Speech) -> None:
        async with aclosing(utterance):
            while (chunk := await utterance.next()) is not None:
                self._add_text(chunk.text)
                for audio in speech.add(chunk.samples):
                    await self._generator.add_audio(self._response, audio, self._pace)

    def _add_text(self, text: str) -> None:
        _need(self._response.has_room(characters=len(text)))
        self._response.add_text(text)


def _need(room: bool) -> None:  # noqa: FBT001  # reads as a sentence where it is used
    if not room:
        raise _OutOfTokens


def _words(text: str) -> Iterator[str]:
    """Cut `text` before each space. The pieces joined are the text."""
    start = 0
    while start < len(text):
        end = text.find(" ", start + 1)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end


class _Pace:
    """Lets content out `factor` times faster than it will be played, without catching up after a wait."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._next_at = trio.current_time()

    async def wait(self, duration_s: float) -> None:
        """Wait until content of `duration_s` may go."""
        await trio.sleep_until(self._next_at)
        self._next_at = max(self._next_at, trio.current_time()) + duration_s / self._factor


class _Speech:
    """Cuts a voice's samples into deltas in the format of a response."""

    def __init__(self, response: Response, delta_ms: int) -> None:
        self._format = response.audio_format
        self._resampler = Resampler(VOICE_RATE, self._format.rate)
        self._size = self._format.bytes_for_ms(delta_ms)
        self._waiting = bytearray()

    def add(self, samples: NDArray[np.int16]) -> Iterator[bytes]:
        """Return the deltas that `samples` complete."""
        return self._deltas(self._resampler.process(samples))

    def rest(self) -> Iterator[bytes]:
        """Return the rest at the end."""
        yield from self._deltas(self._resampler.flush())
        if self._waiting:
            yield bytes(self._waiting)

    def _deltas(self, samples: NDArray[np.int16]) -> Iterator[bytes]:
        self._waiting += from_int16(samples, self._format)
        while len(self._waiting) >= self._size:
            delta = bytes(self._waiting[: self._size])
            del self._waiting[: self._size]
            yield delta
