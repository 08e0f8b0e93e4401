from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
import trio
import trio.testing

from trealtime._session.send_queue import STRAIGHT, STRAIGHT_S, MicrophoneAudio, SendQueue
from trealtime.audio.formats import G711_ULAW
from trealtime.testing.schedules import cancel_at_each_checkpoint

LONGEST_S = 100
"""A queue without room would hold a test up for ever: under the mock clock nothing else ends it."""


def event(name: str) -> dict[str, str]:
    return {"type": name}


async def take_all(send_queue: SendQueue) -> list[object]:
    send_queue.close()
    taken = []
    while True:
        try:
            taken.append(await send_queue.receive())
        except trio.EndOfChannel:
            return taken


async def test_urgent_messages_overtake_and_the_rest_keeps_its_order(autojump_clock) -> None:
    send_queue = SendQueue()
    audio = MicrophoneAudio(bytes(960))
    send_queue.put(audio)
    send_queue.put(event("commit"))
    send_queue.put(event("cancel"), urgent=True)
    send_queue.put(event("truncate"), urgent=True)
    send_queue.put(event("create"))
    assert await take_all(send_queue) == [event("cancel"), event("truncate"), audio, event("commit"), event("create")]


async def test_audio_waits_past_its_bound_in_seconds_and_goes_on_when_there_is_room(autojump_clock) -> None:
    with trio.fail_after(LONGEST_S):
        send_queue = SendQueue(audio_bound_s=1.0)
        await send_queue.send(MicrophoneAudio(bytes(48_000)))
        await send_queue.send(MicrophoneAudio(bytes(2)))
        with trio.move_on_after(1) as scope:
            await send_queue.send(MicrophoneAudio(bytes(2)))
        assert scope.cancelled_caught
        assert send_queue.statistics().audio_queued_s == pytest.approx(1, abs=0.001)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_queue.send, MicrophoneAudio(b"\1\1"))
            await trio.testing.wait_all_tasks_blocked()
            assert send_queue.statistics().taken == 0
            await send_queue.receive()
        assert send_queue.statistics().audio_queued_s < 0.001


async def test_the_bound_counts_in_the_format_of_the_session(autojump_clock) -> None:
    send_queue = SendQueue(audio_bound_s=1.0)
    send_queue.audio_format = G711_ULAW
    send_queue.put(MicrophoneAudio(bytes(8_001)))
    assert not send_queue.has_room(audio=True)
    assert send_queue.has_room()


async def test_other_events_wait_past_their_own_bound_and_urgent_ones_never_do(autojump_clock) -> None:
    with trio.fail_after(LONGEST_S):
        send_queue = SendQueue(event_bound=2)
        for name in "abc":
            await send_queue.send(event(name))
        with trio.move_on_after(1) as scope:
            await send_queue.send(event("d"))
        assert scope.cancelled_caught
        assert send_queue.has_room(audio=True)
        send_queue.put(event("urgent"), urgent=True)
        assert await take_all(send_queue) == [event("urgent"), event("a"), event("b"), event("c")]


async def test_a_cancelled_send_has_queued_all_or_nothing(autojump_clock) -> None:
    async def scenario(cancel_here) -> None:
        send_queue = SendQueue(event_bound=0)
        send_queue.put(event("first"))
        left = []

        async def write() -> None:
            for _ in range(2):
                left.append(await send_queue.receive())
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            with trio.fail_after(LONGEST_S), cancel_here():
                await send_queue.send(event("second"))
                await send_queue.send(event("third"))
            nursery.cancel_scope.cancel()
        left += await take_all(send_queue)
        names = [message["type"] for message in left]
        assert names in (["first"], ["first", "second"], ["first", "second", "third"]), names

    assert await cancel_at_each_checkpoint(scenario) >= 3


async def test_after_close_nothing_is_taken_and_what_is_queued_still_leaves(autojump_clock) -> None:
    send_queue = SendQueue()
    send_queue.put(event("a"))
    await send_queue.aclose()
    send_queue.put(event("b"))
    with pytest.raises(trio.ClosedResourceError):
        await send_queue.send(event("c"))
    assert await take_all(send_queue) == [event("a")]


async def test_closing_wakes_the_writer_and_everybody_who_waits(autojump_clock) -> None:
    send_queue = SendQueue(event_bound=0)
    send_queue.put(event("a"))

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await send_queue.send(event("b"))

    async def write() -> None:
        await send_queue.receive()
        with pytest.raises(trio.EndOfChannel):
            await send_queue.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        send_queue.put(event("c"))
        send_queue.put(event("d"))
        nursery.start_soon(send)
        send_queue.break_off()
    assert send_queue.statistics().events_queued == 0


async def test_only_one_writer_may_wait(autojump_clock) -> None:
    send_queue = SendQueue()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_queue.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await send_queue.receive()
        send_queue.put(event("a"))


# ---- past the queue -------------------------------------------------------------------------------------------------


class Straight:
    """A connection that sends without waiting for as long as it is `able`."""

    def __init__(self) -> None:
        self.able = True
        self.sent: list[bytes] = []
        self.writer = trio.CancelScope()

    def send_nowait(self, messages) -> bool:
        if self.able:
            self.sent += [json.loads(message)["audio"].encode() for message in messages]
        return self.able


@pytest.fixture
async def queue_and_way(nursery) -> tuple[SendQueue, Straight, list[object]]:
    """A queue whose writer sleeps, the way past it, and what the writer has taken."""
    send_queue, way, written = SendQueue(), Straight(), []
    start_writer(nursery, send_queue, way, written)
    await trio.testing.wait_all_tasks_blocked()
    return send_queue, way, written


def start_writer(nursery, send_queue: SendQueue, way: Straight | None, written: list[object]) -> None:
    turn = send_queue.begin_turn(None if way is None else way.send_nowait)

    async def write() -> None:
        with suppress(trio.EndOfChannel), trio.CancelScope() if way is None else way.writer:
            while True:
                written.append(await send_queue.receive(turn))

    nursery.start_soon(write)


AUDIO = b"\1\2"
SENT = base64.b64encode(AUDIO)


async def test_audio_goes_past_the_queue_while_the_writer_sleeps(autojump_clock, queue_and_way) -> None:
    send_queue, way, written = queue_and_way
    send_queue.put_audio(AUDIO, trio.current_time())
    assert (way.sent, written) == ([SENT], [])
    statistics = send_queue.statistics()
    assert (statistics.taken, statistics.audio_peak_s, statistics.audio_queued_s) == (1, 0, 0)


@pytest.mark.parametrize("urgent", [False, True])
async def test_audio_never_overtakes_what_is_queued(urgent, autojump_clock, queue_and_way) -> None:
    send_queue, way, written = queue_and_way
    send_queue.put(event("a"), urgent=urgent)
    send_queue.put_audio(AUDIO, trio.current_time())
    assert way.sent == []
    await trio.testing.wait_all_tasks_blocked()
    assert written == [event("a"), MicrophoneAudio(AUDIO)]
    send_queue.put_audio(AUDIO, trio.current_time())
    assert way.sent == [SENT]


async def test_audio_that_comes_in_a_burst_is_queued_to_leave_together(autojump_clock, queue_and_way) -> None:
    send_queue, way, written = queue_and_way
    send_queue.put_audio(AUDIO, trio.current_time())
    await trio.sleep(STRAIGHT_S / 2)
    send_queue.put_audio(AUDIO, trio.current_time())
    await trio.testing.wait_all_tasks_blocked()
    assert (way.sent, written) == ([SENT], [MicrophoneAudio(AUDIO)])
    await trio.sleep(STRAIGHT_S)
    send_queue.put_audio(AUDIO, trio.current_time())
    assert way.sent == [SENT, SENT]


async def test_audio_that_the_connection_does_not_take_is_queued(autojump_clock, queue_and_way) -> None:
    send_queue, way, written = queue_and_way
    way.able = False
    send_queue.put_audio(AUDIO, trio.current_time())
    await trio.testing.wait_all_tasks_blocked()
    assert (way.sent, written) == ([], [MicrophoneAudio(AUDIO)])
    assert send_queue.statistics().taken == 1


async def test_there_is_no_way_past_a_writer_that_has_gone(autojump_clock, queue_and_way) -> None:
    send_queue, way, _ = queue_and_way
    way.writer.cancel()
    send_queue.put_audio(AUDIO, trio.current_time())
    assert way.sent == []
    assert len(send_queue) == 1


async def test_another_turn_has_its_own_way_once_its_writer_sleeps(autojump_clock, queue_and_way, nursery) -> None:
    send_queue, way, _ = queue_and_way
    next_way, written = Straight(), []
    start_writer(nursery, send_queue, next_way, written)
    send_queue.put_audio(AUDIO, trio.current_time())
    assert (way.sent, next_way.sent) == ([], [])
    await trio.testing.wait_all_tasks_blocked()
    assert written == [MicrophoneAudio(AUDIO)]
    send_queue.put_audio(AUDIO, trio.current_time())
    assert (way.sent, next_way.sent) == ([], [SENT])
    start_writer(nursery, send_queue, None, written)
    await trio.testing.wait_all_tasks_blocked()
    send_queue.put_audio(AUDIO, trio.current_time())
    assert (way.sent, next_way.sent) == ([], [SENT])


@pytest.mark.parametrize("end", ["close", "break_off", "hold"])
async def test_a_queue_that_takes_nothing_more_lets_nothing_past(end, autojump_clock, queue_and_way) -> None:
    send_queue, way, written = queue_and_way
    if end == "hold":
        send_queue.hold(10.0, lambda: 0)
    else:
        getattr(send_queue, end)()
    send_queue.put_audio(AUDIO, trio.current_time())
    await trio.testing.wait_all_tasks_blocked()
    send_queue.put_audio(AUDIO, trio.current_time())
    assert (way.sent, written) == ([], [])


async def test_a_caller_gives_way_once_in_a_while_though_nothing_is_queued(autojump_clock, queue_and_way) -> None:
    send_queue, way, _ = queue_and_way
    for number in range(STRAIGHT):
        assert send_queue.keeps_up, number
        send_queue.put_audio(AUDIO, trio.current_time())
        autojump_clock.jump(2 * STRAIGHT_S)
    assert len(way.sent) == STRAIGHT
    assert not send_queue.keeps_up
    await send_queue.wait_for_room(audio=True)
    assert send_queue.keeps_up
