"""Consumers that stop reading, and interrupts meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.playback_tracker import RealtimePlaybackState, RealtimePlaybackTracker
from trealtime.errors import SlowConsumer


async def speak(connection) -> None:
    await connection.send({"type": "input_audio_buffer.speech_started", "item_id": "item_u", "audio_start_ms": 1000})


async def test_a_consumer_that_stalls_for_a_minute_costs_its_bound_and_delays_no_interrupt(
    autojump_clock, service, make_runner
) -> None:
    runner = make_runner(subscription_buffer_s=30.0, subscription_overflow="drop_oldest_audio", raw_events=False)
    async with runner.session() as session:
        await service.last.begin()
        await service.last.begin_item()
        async for event in session:
            if event.type == "agent_start":
                break
        began = trio.current_time()
        for _second in range(60):
            await service.last.audio(5)
            await trio.sleep(1)
        (subscription,) = session.statistics().subscriptions
        assert subscription.audio_peak_s <= 30.3
        assert subscription.audio_dropped_s == pytest.approx(270, abs=1)
        await speak(service.last)
        truncate = await service.last.expect("conversation.item.truncate")
        assert trio.current_time() - began == pytest.approx(60, abs=0.01)
        assert truncate["audio_end_ms"] == 0
        await service.last.audio(2)
        await trio.testing.wait_all_tasks_blocked()

        seen = []
        with trio.move_on_after(1):
            async for event in session:
                seen.append(event.type)
        assert "audio_interrupted" in seen
        assert "audio" not in seen
        assert session.statistics().subscriptions[0].audio_purged_s == pytest.approx(30, abs=0.5)


async def test_after_an_interrupt_no_audio_of_that_response_comes_from_any_feed(
    autojump_clock, service, runner
) -> None:
    seen: dict[str, list[str]] = {"fast": [], "slow": [], "session": []}

    async def consume(name, subscription, pause) -> None:
        async for event in subscription:
            seen[name].append(event.type)
            await trio.sleep(pause)

    async with runner.session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(consume, "fast", session.subscribe("audio", "audio_interrupted"), 0)
        nursery.start_soon(consume, "slow", session.subscribe("audio", "audio_interrupted"), 3)
        nursery.start_soon(consume, "session", session, 1)
        await service.last.begin()
        await service.last.begin_item()
        await service.last.audio(4)
        await trio.sleep(1)
        await session.interrupt()
        await service.last.audio(4)
        await service.last.done(status="cancelled", reason="client_cancelled")
        await trio.sleep(100)
        await session.close()
    for events in seen.values():
        assert "audio_interrupted" in events
        assert "audio" not in events[events.index("audio_interrupted") :]
    assert seen["fast"].count("audio") == 20
    assert seen["slow"].count("audio") == 1


async def test_the_policy_fail_raises_at_the_slow_consumer_only(autojump_clock, service, make_runner) -> None:
    async with make_runner(subscription_buffer_s=3.0).session() as session:
        slow = session.subscribe("audio")
        meter = session.subscribe("audio", overflow="drop_oldest_audio", buffer_s=1.0, playback=False)
        await service.last.begin()
        await service.last.audio(5)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(SlowConsumer):
            await slow.receive()
        assert (await meter.receive()).type == "audio"
        await session.send_message("still fine")
        await service.last.expect("conversation.item.create")


async def test_a_session_that_nobody_iterates_neither_fails_nor_grows(autojump_clock, service, make_runner) -> None:
    async with make_runner(unread_buffer_s=10.0, subscription_buffer_s=20.0).session() as session:
        await service.last.begin()
        await service.last.audio(100)
        await trio.testing.wait_all_tasks_blocked()
        assert session.statistics().subscriptions[0].audio_queued_s <= 10
        kinds = []
        with trio.move_on_after(1):
            async for event in session:
                kinds.append(event.type)
        assert kinds[0] == "history_updated"
        assert kinds.count("audio_dropped") == 1
        assert kinds.count("audio") == 50


async def test_audio_taken_by_a_meter_does_not_count_as_heard(autojump_clock, service, runner) -> None:
    async with runner.session() as session, trio.open_nursery() as nursery:
        meter = session.subscribe("audio", playback=False)
        await service.last.begin()
        await service.last.begin_item()
        await service.last.audio(2)
        await trio.testing.wait_all_tasks_blocked()
        with meter:
            for _ in range(10):
                await meter.receive()
        await trio.sleep(1)
        nursery.start_soon(speak, service.last)
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == 0


async def test_loops_of_two_tasks_do_not_steal_and_loops_of_one_share(autojump_clock, service, runner) -> None:
    seen: dict[str, list[str]] = {"first": [], "second": []}

    async def loop(name, session) -> None:
        async for event in session:
            seen[name].append(event.type)

    async with runner.session() as session, trio.open_nursery() as nursery:
        async for event in session:
            assert event.type == "history_updated"
            break
        nursery.start_soon(loop, "first", session)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(loop, "second", session)
        await trio.testing.wait_all_tasks_blocked()
        await service.last.begin()
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
        assert len(session.statistics().subscriptions) == 2
        await session.close()
    assert seen["second"] == [kind for kind in seen["first"] if kind in seen["second"]][-len(seen["second"]) :]
    assert {"agent_start", "agent_end"} <= set(seen["second"])


async def test_the_feed_of_a_second_loop_goes_with_the_loop(autojump_clock, service, runner) -> None:
    async def one_event(session) -> None:
        async for _event in session:
            break

    async with runner.session() as session, trio.open_nursery() as nursery:
        held = session.__aiter__()
        async with trio.open_nursery() as others:
            others.start_soon(one_event, session)
            await trio.testing.wait_all_tasks_blocked()
            assert len(session.statistics().subscriptions) == 2
            await service.last.begin()
        assert len(session.statistics().subscriptions) == 1
        assert (await anext(held)).type == "history_updated"
        nursery.cancel_scope.cancel()


async def test_a_loop_that_goes_in_the_middle_of_a_delivery_costs_no_other_loop_an_event(
    autojump_clock, service, make_runner
) -> None:
    iterators: dict[str, Any] = {}

    async def begin(name, session) -> None:
        iterators[name] = session.__aiter__()

    async with make_runner(raw_events=False).session() as session, trio.open_nursery() as nursery:
        with session.subscribe("agent_start") as first:
            # The garbage collector may run at any allocation, and in any thread.
            first.on_put = lambda _: iterators.pop("goes")
            await begin("own", session)
            for name in ("goes", "stays"):
                nursery.start_soon(begin, name, session)
                await trio.testing.wait_all_tasks_blocked()
            await service.last.begin()
            await first.receive()
        assert "goes" not in iterators
        with trio.fail_after(60):
            assert (await anext(iterators["stays"])).type == "agent_start"
        assert len(session.statistics().subscriptions) == 2


async def test_a_loop_over_a_session_that_has_ended_ends_also_beside_another_loop(
    autojump_clock, service, runner
) -> None:
    kinds: list[str] = []

    async def loop(session) -> None:
        async for event in session:
            kinds.append(event.type)

    async with runner.session() as session:
        held = session.__aiter__()
        await session.close()
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(loop, session)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop, session)
        assert kinds == []
        kinds += [event.type async for event in held]
    assert kinds[0] == "history_updated"


async def test_the_tracker_counts_in_the_format_of_the_session(autojump_clock, service, make_runner) -> None:
    tracker = RealtimePlaybackTracker()
    runner = make_runner(model_settings={"output_audio_format": "g711_ulaw"})
    async with runner.session(model_config={"playback_tracker": tracker}):
        tracker.on_play_bytes("item_a", 0, bytes(8_000))
        assert tracker.get_state().elapsed_ms == 1000


async def test_the_tracker_says_where_an_interrupt_cuts(autojump_clock, service, runner) -> None:
    tracker = RealtimePlaybackTracker()
    async with runner.session(model_config={"playback_tracker": tracker}) as session:
        await service.last.begin()
        await service.last.begin_item()
        await service.last.audio(4)
        async for event in session:
            if event.type == "audio":
                tracker.on_play_bytes(event.item_id, event.content_index, event.audio.data)
                break
        await trio.sleep(2)
        tracker.on_play_ms("item_a", 0, 50.4)
        await session.interrupt()
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == 250
        assert tracker.get_state() == RealtimePlaybackState()


async def test_statistics_are_read_under_their_old_names_with_a_warning(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        statistics = session.statistics()
        with pytest.warns(DeprecationWarning, match="'subscriptions'"):
            assert statistics.feeds == statistics.subscriptions
        with pytest.warns(DeprecationWarning, match="'send_queue'"):
            assert statistics.outbox == statistics.send_queue
