"""Barge-in: from the server's ``speech_started`` to ``audio_interrupted`` at the app's loop.

The server writes its monotonic clock into the event, and both processes share that clock. The library is idle when it
comes, with a consumer that takes everything (`_idle`), or with one that has stopped reading and whose subscription is
full (`_stalled`), where another subscription gets the interrupt. The bare loop only notices the frame: it has nothing
to stop.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable

import trio

from trealtime import RealtimeSession, RealtimeSessionEvent

from . import bare
from .load import Load, session_to
from .report import Result, percentile
from .server import DELTA_S, running_server

__all__ = ["run"]

BLOCKS = 3
"""The three take turns, this many times."""

FEED_S = 60.0
"""How much audio the stalled consumer's subscription holds."""


def run(load: Load) -> list[Result]:
    each = -(-load.interrupts // BLOCKS)
    idle: list[float] = []
    stalled: list[float] = []
    noticed: dict[str, list[float]] = {name: [] for name in bare.BARE}
    with running_server() as server:
        few = f"{server}/interrupts?deltas=5&pause=0.02"
        # More than the subscription holds; the pause is for the client to take it in.
        many = f"{server}/interrupts?deltas={int(FEED_S / DELTA_S) + 20}&pause=0.05"
        for _ in range(BLOCKS):
            idle += trio.run(_idle, few, each)
            stalled += trio.run(_stalled, many, each)
            for name, latencies_ms in noticed.items():
                latencies_ms += trio.run(_bare, name, few, each)
    return [
        Result(
            measure=f"interrupt, {name}: p{percent}",
            unit="ms",
            figures={side: percentile(figures, percent) for side, figures in sides.items()},
            note=f"{len(ours)} interrupts",
            rounds=sides,
        )
        for name, ours in (("idle session", idle), ("stalled consumer", stalled))
        for sides in ({"library": ours, **noticed},)
        for percent in (50, 99)
    ]


def _ms_since(item_id: str) -> float:
    """Milliseconds since the server sent the event of this item."""
    return (time.monotonic_ns() - int(item_id.removeprefix("item_"))) / 1e6


async def _idle(url: str, interrupts: int) -> list[float]:
    async with session_to(url) as session:
        return await _interrupted(session, session, interrupts)


async def _stalled(url: str, interrupts: int) -> list[float]:
    async with session_to(url) as session, trio.open_nursery() as nursery:
        stuck = session.subscribe(buffer_s=FEED_S, overflow="drop_oldest_audio")

        async def consumer() -> None:
            await stuck.receive()
            await trio.sleep_forever()

        nursery.start_soon(consumer)
        async with session.subscribe("speech_started", "audio_interrupted", "agent_end") as subscription:
            latencies_ms = await _interrupted(session, subscription, interrupts)
        statistics = stuck.statistics()
        assert statistics.audio_dropped_s > 0, "the stalled consumer's subscription was never full"
        assert statistics.audio_purged_s >= FEED_S * (interrupts - 1), "it was not full at every interrupt"
        nursery.cancel_scope.cancel()
    return latencies_ms


async def _interrupted(
    session: RealtimeSession[None], events: AsyncIterable[RealtimeSessionEvent], interrupts: int
) -> list[float]:
    """The time of each interrupt, from the server's clock to this loop."""
    latencies_ms: list[float] = []
    item_id = ""
    await session.create_response()
    async for event in events:
        if event.type == "speech_started":
            item_id = event.item_id
        elif event.type == "audio_interrupted":
            latencies_ms.append(_ms_since(item_id))
        elif event.type == "agent_end":
            if len(latencies_ms) == interrupts:
                break
            await session.create_response()
    return latencies_ms


async def _bare(which: str, url: str, interrupts: int) -> list[float]:
    latencies_ms: list[float] = []
    async with bare.connected(which, url) as socket:
        while len(latencies_ms) < interrupts:
            await bare.send(socket, {"type": "response.create"})
            event = await bare.next_event(socket)
            while event["type"] != "response.done":
                if event["type"] == "input_audio_buffer.speech_started":
                    latencies_ms.append(_ms_since(event["item_id"]))
                event = await bare.next_event(socket)
    return latencies_ms
