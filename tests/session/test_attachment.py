"""Endpoints attached to a session, over an in-memory wire under the mock clock."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.endpoints.endpoint import Endpoint, EndpointLink


@attrs.define(eq=False)
class Phone(Endpoint):
    """A far side that plays in real time, by the clock; what it heard is `heard`."""

    input_format: AudioFormat | None = PCM16_24K
    output_format: AudioFormat | None = PCM16_24K
    room_s: float = 0.5
    live: bool = True
    late_frames: int = 0
    heard: bytearray = attrs.Factory(bytearray)
    flushes: int = 0
    closed: bool = False
    link: EndpointLink | None = None
    opening: Callable[[], None] = lambda: None
    task: Callable[[], Any] = trio.sleep_forever
    _queue: deque[tuple[bytes, float]] = attrs.Factory(deque)
    _news: trio.Event = attrs.Factory(trio.Event)
    _room: trio.Event = attrs.Factory(trio.Event)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](100)

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        self.opening()
        self.link = link
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speaker)
            nursery.start_soon(self.task)
            yield
            nursery.cancel_scope.cancel()
        self.closed = True

    async def receive(self) -> bytes:
        return await self._receive.receive()

    async def play(self, audio: bytes, position_ms: float) -> None:
        await trio.lowlevel.checkpoint()
        assert self.output_format is not None
        while self.output_format.duration_ms(sum(len(each) for each, _ in self._queue)) > self.room_s * 1000:
            self._room = trio.Event()
            await self._room.wait()
        self._queue.append((audio, position_ms))
        self._news.set()

    def flush(self) -> None:
        self.flushes += 1
        self._queue.clear()
        self._room.set()

    async def _speaker(self) -> None:
        assert self.output_format is not None or self.output_format is None
        while True:
            while self._queue:
                audio, position_ms = self._queue[0]
                await trio.sleep(self.output_format.duration_ms(len(audio)) / 1000)
                if self._queue and self._queue[0][0] is audio:
                    self._queue.popleft()
                    self.heard += audio
                    self.link.heard(position_ms)
                self._room.set()
            self._news = trio.Event()
            await self._news.wait()

    # ---- what tests do -------------------------------------------------------------------------------------------

    def say(self, audio: bytes) -> None:
        self._send.send_nowait(audio)

    def leave(self) -> None:
        self._send.close()


def appended(connection: Any) -> bytes:
    return b"".join(base64.b64decode(each["audio"]) for each in connection.of("input_audio_buffer.append"))


async def test_what_the_agent_says_is_played_and_what_the_user_says_is_sent(autojump_clock, runner, service) -> None:
    phone = Phone()
    async with runner.session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.reply(seconds=1.0)
        phone.say(bytes(960))
        await session.wait_for_playback()
        assert bytes(phone.heard) == bytes([1]) * 48_000
        assert trio.current_time() == pytest.approx(1.0, abs=0.01)
        assert appended(service.last) == bytes(960)
    assert phone.closed


async def test_an_interrupt_silences_the_endpoint_and_tells_where(autojump_clock, runner, service) -> None:
    phone = Phone()
    async with runner.session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.reply(seconds=5.0)
        await trio.sleep(1.23)
        await session.interrupt()
        at_once = len(phone.heard)
        truncate = await service.last.expect("conversation.item.truncate")
        assert truncate["audio_end_ms"] == pytest.approx(1230, abs=1)
        await trio.sleep(10)
        assert len(phone.heard) == at_once == 1220 * 48
        assert phone.flushes >= 1
