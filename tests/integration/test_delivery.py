"""What reaches a program, and what a session holds of it, against the emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from trealtime.tools.function_tool import function_tool
from trealtime.transport.config import TransportConfig
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.websocket import wrap_websocket_stream
from trealtime.transport.wire import Wire

STORY = "Tell me a story."


async def test_weak_spot_01_a_session_that_nobody_reads_holds_a_bounded_amount(autojump_clock, kit) -> None:
    config = {"unread_buffer_s": 10.0, "subscription_buffer_s": 20.0, "subscription_overflow": "drop_oldest_audio"}
    async with kit.talk(config=config) as talk, talk.runner.session() as session:
        slow = session.subscribe("audio", "audio_dropped", playback=False)
        for _ in range(10):
            await session.ask(STORY)
        await trio.testing.wait_all_tasks_blocked()
        own, subscribed, *rest = session.statistics().subscriptions
        assert not rest
        assert own.audio_peak_s <= 10.2
        assert subscribed.audio_peak_s <= 20.2
        assert subscribed.audio_dropped_s > 600
        assert subscribed.audio_queued_s <= 20
        assert (await slow.receive()).type == "audio_dropped"


async def test_weak_spot_01_audio_is_held_once(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        turn = await session.ask("Count to 5.")
        assert turn.audio
        await session.close()
        raw = [event.data for event in [event async for event in session] if event.type == "raw_model_event"]
        assert not [each for each in raw if "audio.delta" in str(getattr(each, "data", {}).get("type"))]
        assert not [each for each in raw if each.type == "audio"]


@attrs.frozen
class _Framed:
    """The emulator behind real WebSocket frames, which pings its client every 5 s and wants an answer within 5."""

    _emulator: Any

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        config = TransportConfig(ping_interval=5, ping_timeout=5)
        client, server = trio.testing.memory_stream_pair()
        self._emulator._nursery.start_soon(self._emulator._serve, server, config)
        async with wrap_websocket_stream(client, "ws://localhost/v1/realtime") as wire:
            yield wire


async def test_weak_spot_02_a_consumer_that_stalls_for_a_minute_delays_nothing(autojump_clock, kit) -> None:
    """While audio pours in: memory stays bounded, pongs are answered, barge-in works at once, nothing stale follows."""
    config = {"subscription_buffer_s": 30.0, "subscription_overflow": "drop_oldest_audio", "raw_events": False}
    async with kit.talk(settings={"turn_detection": kit.SERVER_VAD}, config=config, realtime_factor=3) as talk:
        talk.runner._model = _Framed(talk.emulator)
        async with talk.runner.session() as session, session.subscribe("speech_started") as live:
            await session.send_message("Count to 1000.")
            iterator = aiter(session)
            while (await anext(iterator)).type != "audio":
                pass
            began = trio.current_time()
            await trio.sleep(60)
            own = session.statistics().subscriptions[0]
            assert own.audio_peak_s <= 30.2
            assert own.audio_dropped_s > 100
            await kit.speak(session, 300, 0)
            assert (await live.receive()).type == "speech_started"
            (truncation,) = talk.of("conversation.item.truncate")
            assert truncation["audio_end_ms"] == 150  # the piece that was taken, played long ago
            assert trio.current_time() - began <= 60.5
            await kit.speak(session, 0, 1000)
            await trio.sleep(10)
            seen = []
            with trio.move_on_after(1):
                while True:
                    seen.append(await anext(iterator))
            at = [event.type for event in seen].index("audio_interrupted")
            dead = seen[at].response_id
            assert not [event for event in seen if event.type == "audio" and event.response_id == dead]
            assert [event for event in seen[at:] if event.type == "audio"]  # the answer to the barge-in


async def test_weak_spot_03_tools_one_at_a_time_hold_up_neither_reader_nor_close(autojump_clock, kit) -> None:
    @function_tool
    async def get_weather() -> str:
        """The weather."""
        await trio.sleep_forever()
        return ""

    async with (
        kit.talk(tools=[get_weather], config={"async_tool_calls": False}, max_session_s=60.0) as talk,
        talk.runner.session() as session,
    ):
        await session.send_message("What is the weather?")
        async for event in session:
            if event.type == "tool_start":
                break
        assert (await session.update_settings({"speed": 1.5}))["audio"]["output"]["speed"] == 1.5
        async for _event in session:
            pass
        assert session.outcome.expired


def test_weak_spot_07_messages_have_a_longest_size_by_default() -> None:
    assert TransportConfig().max_size == 32 * 2**20
