from __future__ import annotations

import math
import sys

import attrs
import pytest
import trio
import trio.testing

from trealtime._session.subscription import HISTORY_SNAPSHOTS, Subscription, check_event_types
from trealtime._session.wakeup import TURN_STEPS
from trealtime.audio.formats import G711_ULAW
from trealtime.errors import ConnectionLost, SlowConsumer
from trealtime.events import (
    AudioChunk,
    EventInfo,
    RealtimeAudio,
    RealtimeAudioDropped,
    RealtimeHistoryUpdated,
    RealtimeSpeechStarted,
)
from trealtime.testing.schedules import cancel_at_each_checkpoint
from trealtime.tools.context import RunContext

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


def drain(subscription: Subscription) -> list:
    events = []
    while True:
        try:
            events.append(subscription.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return events


def kinds(subscription: Subscription) -> list[str]:
    return [event.type for event in drain(subscription)]


# ---- a channel ------------------------------------------------------------------------------------------------------


async def test_events_come_in_order_and_wake_a_waiting_consumer(autojump_clock) -> None:
    subscription = Subscription()
    got = []

    async def consume() -> None:
        async for event in subscription:
            got.append(event.type)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        subscription.put(speech())
        subscription.put(audio())
        await trio.testing.wait_all_tasks_blocked()
        assert got == ["speech_started", "audio"]
        subscription.put(history())
        subscription.end()
    assert got == ["speech_started", "audio", "history_updated"]


async def test_it_ends_closes_and_blocks_as_a_memory_channel_does(autojump_clock) -> None:
    subscription = Subscription()
    with pytest.raises(trio.WouldBlock):
        subscription.receive_nowait()
    subscription.put(speech())
    subscription.end()
    subscription.put(speech())
    assert (await subscription.receive()).type == "speech_started"
    with pytest.raises(trio.EndOfChannel):
        await subscription.receive()
    await subscription.aclose()
    with pytest.raises(trio.ClosedResourceError):
        subscription.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        await subscription.receive()


async def test_closing_wakes_the_consumer_and_drops_what_is_queued(autojump_clock) -> None:
    closed = []
    subscription = Subscription(on_close=closed.append)

    async def consume() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await subscription.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        with subscription:
            pass
    async with subscription:
        pass
    subscription.put(audio())
    assert subscription.statistics().audio_queued_s == 0
    assert closed == [subscription]


async def test_two_tasks_may_not_wait_on_one_feed(autojump_clock) -> None:
    subscription = Subscription()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscription.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await subscription.receive()
        subscription.put(speech())


async def test_a_cancelled_receive_loses_no_event(autojump_clock) -> None:
    async def scenario(cancel_here) -> None:
        subscription = Subscription()
        subscription.put(speech("1"))
        got = []

        async def put_more() -> None:
            await trio.sleep(1)
            subscription.put(speech("2"))
            subscription.put(speech("3"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put_more)
            with cancel_here():
                for _ in range(3):
                    got.append(await subscription.receive())
        got += drain(subscription)
        assert [event.item_id for event in got] == ["1", "2", "3"]

    assert await cancel_at_each_checkpoint(scenario) >= 5


async def test_receive_lets_others_run_whether_or_not_it_waits(autojump_clock) -> None:
    subscription = Subscription()
    subscription.put(speech())
    with trio.testing.assert_checkpoints():
        await subscription.receive()
    subscription = Subscription()
    subscription.end()
    with trio.testing.assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await subscription.receive()


async def test_a_consumer_that_is_behind_lets_others_run_once_a_millisecond(mock_clock) -> None:
    subscription = Subscription()
    for _ in range(100):
        subscription.put(speech())
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        seen = []
        for _ in range(100):
            await subscription.receive()
            seen.append(turns)
            mock_clock.jump(0.0004)
        nursery.cancel_scope.cancel()
    # A turn for each third event. Which of the two tasks comes first in it is not said.
    assert all(after > before for before, after in zip(seen, seen[6:], strict=False))
    assert 30 <= turns <= 36


async def test_a_consumer_that_is_woken_takes_what_has_come_in_that_turn(autojump_clock) -> None:
    subscription = Subscription()
    taken = []

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    async def consume() -> None:
        async for event in subscription:
            taken.append(event)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        for number in range(3):
            await trio.sleep(1)
            await trio.testing.wait_all_tasks_blocked()
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            for _ in range(4):
                subscription.put(speech())
            while len(taken) < 4 * (number + 1):
                await trio.lowlevel.checkpoint()
            trio.lowlevel.remove_instrument(steps)
            assert steps.count <= 2 + 1  # a step of the consumer, and one or two of this task
        nursery.cancel_scope.cancel()


async def test_under_a_clock_that_stands_still_others_run_too(mock_clock) -> None:
    subscription = Subscription(buffer_events=1000)
    for _ in range(1000):
        subscription.put(speech())
    with trio.testing.assert_checkpoints():
        for _ in range(TURN_STEPS + 1):
            await subscription.receive()
    with trio.testing.assert_checkpoints():
        for _ in range(TURN_STEPS + 1):
            await subscription.receive()


async def test_a_consumer_that_is_behind_sees_a_cancellation_at_the_next_event(mock_clock) -> None:
    subscription = Subscription()
    for _ in range(3):
        subscription.put(speech())
    taken = 0
    with trio.CancelScope() as scope:
        for _ in range(3):
            await subscription.receive()
            taken += 1
            if taken == 2:
                scope.cancel()
    assert (taken, subscription.statistics().events_queued) == (2, 1)


async def test_the_session_failure_comes_once_after_what_is_queued(autojump_clock) -> None:
    failures = [ConnectionLost(code=1006)]
    subscription = Subscription(on_end=lambda: failures.pop() if failures else None)
    subscription.put(speech())
    subscription.end()
    assert (await subscription.receive()).type == "speech_started"
    with pytest.raises(ConnectionLost):
        await subscription.receive()
    with pytest.raises(trio.EndOfChannel):
        await subscription.receive()


# ---- filters --------------------------------------------------------------------------------------------------------


def test_an_unknown_event_type_is_refused_with_the_nearest_one() -> None:
    assert check_event_types([]) is None
    assert check_event_types(["audio", "agent_end"]) == {"audio", "agent_end"}
    with pytest.raises(ValueError, match="did you mean 'audio_interrupted'"):
        check_event_types(["audio_interupted"])
    with pytest.raises(ValueError, match=r"unknown event type 'zzz'\. Allowed: "):
        check_event_types(["zzz"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"overflow": "drop"}, "overflow must be 'fail' or 'drop_oldest_audio', got 'drop'"),
        ({"buffer_s": -1}, "buffer_s must be a finite number of 0 or more, got -1"),
        ({"buffer_s": math.nan}, "got nan"),
        ({"buffer_s": math.inf}, "got inf"),
    ],
)
async def test_a_bound_that_is_none_is_refused(autojump_clock, service, runner, options, message) -> None:
    async with runner.session() as session:
        with pytest.raises(ValueError, match=message):
            session.subscribe("audio", **options)


def test_only_events_of_the_types_and_responses_come_in() -> None:
    subscription = Subscription(types=frozenset({"audio"}), responses=["resp_2"])
    subscription.put(speech())
    subscription.put(audio(response="resp_1"))
    subscription.put(audio(response="resp_2"))
    assert [event.response_id for event in drain(subscription)] == ["resp_2"]


# ---- interrupts -----------------------------------------------------------------------------------------------------


def test_a_purge_takes_the_queued_audio_of_one_response_and_nothing_else() -> None:
    subscription = Subscription()
    for event in (audio(), speech("1"), audio(response="resp_2"), audio(), speech("2")):
        subscription.put(event)
    subscription.purge("resp_1")
    statistics = subscription.statistics()
    assert (statistics.audio_queued_s, statistics.audio_purged_s) == (1, 2)
    assert kinds(subscription) == ["speech_started", "audio", "speech_started"]


async def test_an_interrupt_while_the_consumer_is_about_to_take_still_counts(autojump_clock) -> None:
    """The consumer is in `receive`, at its checkpoint, when the purge happens: it must not get the stale audio."""
    subscription = Subscription()
    subscription.put(audio())
    got = []

    async def consume() -> None:
        got.append(await subscription.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        while not got:
            await trio.lowlevel.checkpoint()
            subscription.purge("resp_1")
            subscription.put(speech())
            break
    assert got[0].type in ("speech_started", "audio")
    if got[0].type == "audio":  # taken before the purge: then the purge found nothing
        assert subscription.statistics().audio_purged_s == 0


async def test_a_purge_between_wake_up_and_run_leaves_the_consumer_waiting(autojump_clock) -> None:
    subscription = Subscription()
    got = []

    async def consume() -> None:
        got.append(await subscription.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        subscription.put(audio())
        subscription.purge("resp_1")
        await trio.testing.wait_all_tasks_blocked()
        assert not got
        subscription.put(speech())
    assert [event.type for event in got] == ["speech_started"]


def test_what_is_taken_is_reported_as_handed_out_and_what_is_purged_is_not() -> None:
    taken = []
    subscription = Subscription(on_taken=taken.append)
    subscription.put(audio("item_a"))
    subscription.put(audio("item_b"))
    subscription.receive_nowait()
    subscription.purge("resp_1")
    assert [event.item_id for event in taken] == ["item_a"]


# ---- bounds ---------------------------------------------------------------------------------------------------------


async def test_the_policy_fail_raises_at_the_consumer_with_statistics_and_frees_the_memory(autojump_clock) -> None:
    shed = []
    subscription = Subscription(name="meter", buffer_s=3, on_shed=shed.append)
    for _ in range(3):
        subscription.put(audio())
    subscription.put(speech())
    assert subscription.statistics().audio_queued_s == 3
    subscription.put(audio())
    subscription.put(audio())
    with pytest.raises(SlowConsumer, match="meter") as caught:
        await subscription.receive()
    assert caught.value.statistics.audio_queued_s == 4
    assert subscription.statistics().audio_queued_s == 0
    assert len(shed) == 4
    with pytest.raises(SlowConsumer):
        subscription.receive_nowait()


def test_drop_oldest_audio_sheds_from_the_old_end_and_leaves_one_marker_for_each_item() -> None:
    shed = []
    subscription = Subscription(buffer_s=3, overflow="drop_oldest_audio", on_shed=shed.append)
    subscription.put(speech("1"))
    for item in ("a", "a", "b", "b", "b", "b"):
        subscription.put(audio(item))
    events = drain(subscription)
    assert [event.type for event in events] == ["speech_started", "audio_dropped", "audio_dropped", *["audio"] * 3]
    assert [(event.item_id, event.dropped_ms) for event in events[1:3]] == [("a", 2000), ("b", 1000)]
    assert [event.item_id for event in shed] == ["a", "a", "b"]
    assert subscription.statistics().audio_dropped_s == 3


def test_a_marker_that_was_read_is_not_added_to() -> None:
    subscription = Subscription(buffer_s=1, overflow="drop_oldest_audio")
    subscription.put(audio())
    subscription.put(audio())
    assert isinstance(subscription.receive_nowait(), RealtimeAudioDropped)
    subscription.put(audio())
    assert [event.type for event in drain(subscription)] == ["audio_dropped", "audio"]


def test_a_filter_without_audio_dropped_gets_no_marker_but_counts() -> None:
    subscription = Subscription(types=frozenset({"audio"}), buffer_s=1, overflow="drop_oldest_audio")
    for _ in range(5):
        subscription.put(audio())
    assert subscription.statistics().audio_dropped_s == 4
    assert kinds(subscription) == ["audio"]


def test_a_feed_that_nobody_has_read_sheds_quietly_until_somebody_does() -> None:
    shed = []
    subscription = Subscription(buffer_s=5, unread_s=2, overflow="fail", on_shed=shed.append)
    for _ in range(50):
        subscription.put(audio())
    assert subscription.statistics().audio_queued_s == 2
    assert not shed
    assert kinds(subscription) == ["audio_dropped", "audio", "audio"]
    for _ in range(6):
        subscription.put(audio())
    with pytest.raises(SlowConsumer):
        subscription.receive_nowait()


def test_other_events_are_bounded_in_bytes() -> None:
    subscription = Subscription(buffer_bytes=1_000, unread_s=60.0)
    for number in range(10):
        subscription.put(speech(f"item_{number}"), 300)
    assert subscription.statistics().event_bytes_queued == 900
    assert subscription.statistics().events_dropped == 7
    assert [event.item_id for event in drain(subscription)] == ["item_7", "item_8", "item_9"]
    assert subscription.statistics().event_bytes_queued == 0
    for _ in range(4):  # from the first read on the policy holds
        subscription.put(speech(), 300)
    with pytest.raises(SlowConsumer, match="4 other events of 1200 bytes"):
        subscription.receive_nowait()


def test_an_event_larger_than_the_bound_is_dropped_alone() -> None:
    subscription = Subscription(buffer_bytes=1_000, unread_s=60.0)
    subscription.put(audio())
    subscription.put(speech(), 5_000)
    subscription.put(history(), 300)
    assert kinds(subscription) == ["audio", "history_updated"]


def test_superseded_histories_give_their_bytes_back() -> None:
    subscription = Subscription(buffer_bytes=10**6)
    for _ in range(HISTORY_SNAPSHOTS + 5):
        subscription.put(history(), 100)
    assert subscription.statistics().event_bytes_queued == 100 * HISTORY_SNAPSHOTS


def test_other_events_are_bounded_in_number() -> None:
    subscription = Subscription(buffer_events=100, unread_s=10)
    for number in range(1000):
        subscription.put(speech(str(number)))
    assert subscription.statistics().events_dropped == 900
    assert [event.item_id for event in drain(subscription)] == [str(number) for number in range(900, 1000)]
    failing = Subscription(buffer_events=100)
    for _ in range(101):
        failing.put(speech())
    with pytest.raises(SlowConsumer):
        failing.receive_nowait()


def test_of_unread_history_only_the_newest_snapshots_are_kept() -> None:
    subscription = Subscription(buffer_events=1000)
    subscription.put(speech())
    snapshots = [history() for _ in range(500)]
    for snapshot in snapshots:
        subscription.put(snapshot)
    events = drain(subscription)
    assert len(events) == 1 + HISTORY_SNAPSHOTS
    assert events[-1] is snapshots[-1]
    assert subscription.statistics().history_superseded == 500 - HISTORY_SNAPSHOTS
    subscription.put(history())
    assert kinds(subscription) == ["history_updated"]


def test_the_bound_follows_the_format() -> None:
    subscription = Subscription(buffer_s=2, overflow="drop_oldest_audio")
    subscription.use_format(G711_ULAW)
    for _ in range(4):
        subscription.put(audio(seconds=8_000 / SECOND))
    assert subscription.statistics().audio_queued_s == 2


def test_emptied_slots_do_not_add_up() -> None:
    subscription = Subscription(buffer_s=1, unread_s=1)
    chunk = audio(seconds=0.2)
    for _ in range(20_000):
        subscription.put(chunk)
    assert len(subscription._queue) < 200
    for number in range(2_000):
        subscription.put(attrs.evolve(chunk, audio=attrs.evolve(chunk.audio, response_id=f"resp_{number}")))
        subscription.purge(f"resp_{number}")
    assert len(subscription._queue) < 200
    assert sys.getsizeof(subscription._queue) < 10_000


def test_what_the_consumer_has_taken_is_counted() -> None:
    subscription = Subscription()
    for event in (speech(), audio(), history()):
        subscription.put(event)
    subscription.receive_nowait()
    assert subscription.statistics().taken == 1
    drain(subscription)
    assert subscription.statistics().taken == 3
