from __future__ import annotations

import sys

import attrs
import pytest
import trio
import trio.testing

from trealtime.tools.context import RunContext
from trealtime.audio.formats import G711_ULAW
from trealtime.events import (
    AudioChunk,
    EventInfo,
    RealtimeAudio,
    RealtimeAudioDropped,
    RealtimeHistoryUpdated,
    RealtimeSpeechStarted,
)
from trealtime.errors import ConnectionLost, SlowConsumer
from trealtime._session.subscription import HISTORY_SNAPSHOTS, Feed, check_event_types
from trealtime.testing.cancellation import cancel_at_each_checkpoint

INFO = EventInfo(RunContext(None))
SECOND = 48_000


def audio(
    item: str = "item_a", *, response: str = "resp_1", seconds: float = 1.0, start_ms: float = 0
) -> RealtimeAudio:
    chunk = AudioChunk(bytes(int(seconds * SECOND)), response, item, 0, start_ms)
    return RealtimeAudio(chunk, item, 0, INFO)


def speech(item: str = "item_u") -> RealtimeSpeechStarted:
    return RealtimeSpeechStarted(item_id=item, audio_start_ms=0, info=INFO)


def history() -> RealtimeHistoryUpdated:
    return RealtimeHistoryUpdated(history=[], info=INFO)


def drain(feed: Feed) -> list:
    events = []
    while True:
        try:
            events.append(feed.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return events


def kinds(feed: Feed) -> list[str]:
    return [event.type for event in drain(feed)]


# ---- a channel ------------------------------------------------------------------------------------------------------


async def test_events_come_in_order_and_wake_a_waiting_consumer(autojump_clock) -> None:
    feed = Feed()
    got = []

    async def consume() -> None:
        async for event in feed:
            got.append(event.type)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        feed.put(speech())
        feed.put(audio())
        await trio.testing.wait_all_tasks_blocked()
        assert got == ["speech_started", "audio"]
        feed.put(history())
        feed.end()
    assert got == ["speech_started", "audio", "history_updated"]


async def test_it_ends_closes_and_blocks_as_a_memory_channel_does(autojump_clock) -> None:
    feed = Feed()
    with pytest.raises(trio.WouldBlock):
        feed.receive_nowait()
    feed.put(speech())
    feed.end()
    feed.put(speech())
    assert (await feed.receive()).type == "speech_started"
    with pytest.raises(trio.EndOfChannel):
        await feed.receive()
    await feed.aclose()
    with pytest.raises(trio.ClosedResourceError):
        feed.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        await feed.receive()


async def test_closing_wakes_the_consumer_and_drops_what_is_queued(autojump_clock) -> None:
    closed = []
    feed = Feed(on_close=closed.append)

    async def consume() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await feed.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        with feed:
            pass
    async with feed:
        pass
    feed.put(audio())
    assert feed.statistics().audio_queued_s == 0
    assert closed == [feed]


async def test_two_tasks_may_not_wait_on_one_feed(autojump_clock) -> None:
    feed = Feed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await feed.receive()
        feed.put(speech())


async def test_a_cancelled_receive_loses_no_event(autojump_clock) -> None:
    async def scenario(cancel_here) -> None:
        feed = Feed()
        feed.put(speech("1"))
        got = []

        async def put_more() -> None:
            await trio.sleep(1)
            feed.put(speech("2"))
            feed.put(speech("3"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put_more)
            with cancel_here():
                for _ in range(3):
                    got.append(await feed.receive())
        got += drain(feed)
        assert [event.item_id for event in got] == ["1", "2", "3"]

    assert await cancel_at_each_checkpoint(scenario) >= 5


async def test_receive_is_a_checkpoint_whether_or_not_it_waits(autojump_clock) -> None:
    feed = Feed()
    feed.put(speech())
    with trio.testing.assert_checkpoints():
        await feed.receive()
    feed.end()
    with trio.testing.assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await feed.receive()


async def test_the_session_failure_comes_once_after_what_is_queued(autojump_clock) -> None:
    failures = [ConnectionLost(code=1006)]
    feed = Feed(on_end=lambda: failures.pop() if failures else None)
    feed.put(speech())
    feed.end()
    assert (await feed.receive()).type == "speech_started"
    with pytest.raises(ConnectionLost):
        await feed.receive()
    with pytest.raises(trio.EndOfChannel):
        await feed.receive()


# ---- filters --------------------------------------------------------------------------------------------------------


def test_an_unknown_event_type_is_refused_with_the_nearest_one() -> None:
    assert check_event_types([]) is None
    assert check_event_types(["audio", "agent_end"]) == {"audio", "agent_end"}
    with pytest.raises(ValueError, match="did you mean 'audio_interrupted'"):
        check_event_types(["audio_interupted"])


def test_only_events_of_the_types_and_responses_come_in() -> None:
    feed = Feed(types=frozenset({"audio"}), responses=["resp_2"])
    feed.put(speech())
    feed.put(audio(response="resp_1"))
    feed.put(audio(response="resp_2"))
    assert [event.response_id for event in drain(feed)] == ["resp_2"]


# ---- interrupts -----------------------------------------------------------------------------------------------------


def test_a_purge_takes_the_queued_audio_of_one_response_and_nothing_else() -> None:
    feed = Feed()
    for event in (audio(), speech("1"), audio(response="resp_2"), audio(), speech("2")):
        feed.put(event)
    feed.purge("resp_1")
    statistics = feed.statistics()
    assert (statistics.audio_queued_s, statistics.audio_purged_s) == (1, 2)
    assert kinds(feed) == ["speech_started", "audio", "speech_started"]


async def test_an_interrupt_while_the_consumer_is_about_to_take_still_counts(autojump_clock) -> None:
    """The consumer is in `receive`, at its checkpoint, when the purge happens: it must not get the stale audio."""
    feed = Feed()
    feed.put(audio())
    got = []

    async def consume() -> None:
        got.append(await feed.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        while not got:
            await trio.lowlevel.checkpoint()
            feed.purge("resp_1")
            feed.put(speech())
            break
    assert got[0].type in ("speech_started", "audio")
    if got[0].type == "audio":  # taken before the purge: then the purge found nothing
        assert feed.statistics().audio_purged_s == 0


async def test_a_purge_between_wake_up_and_run_leaves_the_consumer_waiting(autojump_clock) -> None:
    feed = Feed()
    got = []

    async def consume() -> None:
        got.append(await feed.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        feed.put(audio())
        feed.purge("resp_1")
        await trio.testing.wait_all_tasks_blocked()
        assert not got
        feed.put(speech())
    assert [event.type for event in got] == ["speech_started"]


def test_what_is_taken_is_reported_as_handed_out_and_what_is_purged_is_not() -> None:
    taken = []
    feed = Feed(on_taken=taken.append)
    feed.put(audio("item_a"))
    feed.put(audio("item_b"))
    feed.receive_nowait()
    feed.purge("resp_1")
    assert [event.item_id for event in taken] == ["item_a"]


# ---- bounds ---------------------------------------------------------------------------------------------------------


async def test_the_policy_fail_raises_at_the_consumer_with_statistics_and_frees_the_memory(autojump_clock) -> None:
    shed = []
    feed = Feed(name="meter", buffer_s=3, on_shed=shed.append)
    for _ in range(3):
        feed.put(audio())
    feed.put(speech())
    assert feed.statistics().audio_queued_s == 3
    feed.put(audio())
    feed.put(audio())
    with pytest.raises(SlowConsumer, match="meter") as caught:
        await feed.receive()
    assert caught.value.statistics.audio_queued_s == 4
    assert feed.statistics().audio_queued_s == 0
    assert len(shed) == 4
    with pytest.raises(SlowConsumer):
        feed.receive_nowait()


def test_drop_oldest_audio_sheds_from_the_old_end_and_leaves_one_marker_for_each_item() -> None:
    shed = []
    feed = Feed(buffer_s=3, overflow="drop_oldest_audio", on_shed=shed.append)
    feed.put(speech("1"))
    for item in ("a", "a", "b", "b", "b", "b"):
        feed.put(audio(item))
    events = drain(feed)
    assert [event.type for event in events] == ["speech_started", "audio_dropped", "audio_dropped", *["audio"] * 3]
    assert [(event.item_id, event.dropped_ms) for event in events[1:3]] == [("a", 2000), ("b", 1000)]
    assert [event.item_id for event in shed] == ["a", "a", "b"]
    assert feed.statistics().audio_dropped_s == 3


def test_a_marker_that_was_read_is_not_added_to() -> None:
    feed = Feed(buffer_s=1, overflow="drop_oldest_audio")
    feed.put(audio())
    feed.put(audio())
    assert isinstance(feed.receive_nowait(), RealtimeAudioDropped)
    feed.put(audio())
    assert [event.type for event in drain(feed)] == ["audio_dropped", "audio"]


def test_a_filter_without_audio_dropped_gets_no_marker_but_counts() -> None:
    feed = Feed(types=frozenset({"audio"}), buffer_s=1, overflow="drop_oldest_audio")
    for _ in range(5):
        feed.put(audio())
    assert feed.statistics().audio_dropped_s == 4
    assert kinds(feed) == ["audio"]


def test_a_feed_that_nobody_has_read_sheds_quietly_until_somebody_does() -> None:
    shed = []
    feed = Feed(buffer_s=5, unread_s=2, overflow="fail", on_shed=shed.append)
    for _ in range(50):
        feed.put(audio())
    assert feed.statistics().audio_queued_s == 2
    assert not shed
    assert kinds(feed) == ["audio_dropped", "audio", "audio"]
    for _ in range(6):
        feed.put(audio())
    with pytest.raises(SlowConsumer):
        feed.receive_nowait()


def test_other_events_are_bounded_in_number() -> None:
    feed = Feed(buffer_events=100, unread_s=10)
    for number in range(1000):
        feed.put(speech(str(number)))
    assert feed.statistics().events_dropped == 900
    assert [event.item_id for event in drain(feed)] == [str(number) for number in range(900, 1000)]
    failing = Feed(buffer_events=100)
    for _ in range(101):
        failing.put(speech())
    with pytest.raises(SlowConsumer):
        failing.receive_nowait()


def test_of_unread_history_only_the_newest_snapshots_are_kept() -> None:
    feed = Feed(buffer_events=1000)
    feed.put(speech())
    snapshots = [history() for _ in range(500)]
    for snapshot in snapshots:
        feed.put(snapshot)
    events = drain(feed)
    assert len(events) == 1 + HISTORY_SNAPSHOTS
    assert events[-1] is snapshots[-1]
    assert feed.statistics().history_superseded == 500 - HISTORY_SNAPSHOTS
    feed.put(history())
    assert kinds(feed) == ["history_updated"]


def test_the_bound_follows_the_format() -> None:
    feed = Feed(buffer_s=2, overflow="drop_oldest_audio")
    feed.use_format(G711_ULAW)
    for _ in range(4):
        feed.put(audio(seconds=8_000 / SECOND))
    assert feed.statistics().audio_queued_s == 2


def test_emptied_slots_do_not_add_up() -> None:
    feed = Feed(buffer_s=1, unread_s=1)
    chunk = audio(seconds=0.2)
    for _ in range(20_000):
        feed.put(chunk)
    assert len(feed._queue) < 200
    for number in range(2_000):
        feed.put(attrs.evolve(chunk, audio=attrs.evolve(chunk.audio, response_id=f"resp_{number}")))
        feed.purge(f"resp_{number}")
    assert len(feed._queue) < 200
    assert sys.getsizeof(feed._queue) < 10_000
