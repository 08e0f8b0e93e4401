from __future__ import annotations

import pytest
import trio
import trio.testing

from trealtime.audio.formats import G711_ULAW
from trealtime._session.send_queue import MicrophoneAudio, Outbox
from trealtime.testing.cancellation import cancel_at_each_checkpoint


def event(name: str) -> dict[str, str]:
    return {"type": name}


async def take_all(outbox: Outbox) -> list[object]:
    outbox.close()
    taken = []
    while True:
        try:
            taken.append(await outbox.receive())
        except trio.EndOfChannel:
            return taken


async def test_urgent_messages_overtake_and_the_rest_keeps_its_order(autojump_clock) -> None:
    outbox = Outbox()
    audio = MicrophoneAudio(bytes(960))
    outbox.put(audio)
    outbox.put(event("commit"))
    outbox.put(event("cancel"), urgent=True)
    outbox.put(event("truncate"), urgent=True)
    outbox.put(event("create"))
    assert await take_all(outbox) == [event("cancel"), event("truncate"), audio, event("commit"), event("create")]


async def test_audio_waits_past_its_bound_in_seconds_and_goes_on_when_there_is_room(autojump_clock) -> None:
    outbox = Outbox(audio_bound_s=1.0)
    await outbox.send(MicrophoneAudio(bytes(48_000)))
    await outbox.send(MicrophoneAudio(bytes(2)))
    with trio.move_on_after(1) as scope:
        await outbox.send(MicrophoneAudio(bytes(2)))
    assert scope.cancelled_caught
    assert outbox.statistics().audio_queued_s == pytest.approx(1, abs=0.001)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, MicrophoneAudio(b"\1\1"))
        await trio.testing.wait_all_tasks_blocked()
        assert outbox.statistics().taken == 0
        await outbox.receive()
    assert outbox.statistics().audio_queued_s < 0.001


async def test_the_bound_counts_in_the_format_of_the_session(autojump_clock) -> None:
    outbox = Outbox(audio_bound_s=1.0)
    outbox.audio_format = G711_ULAW
    outbox.put(MicrophoneAudio(bytes(8_001)))
    assert not outbox.has_room(audio=True)
    assert outbox.has_room()


async def test_other_events_wait_past_their_own_bound_and_urgent_ones_never_do(autojump_clock) -> None:
    outbox = Outbox(event_bound=2)
    for name in "abc":
        await outbox.send(event(name))
    with trio.move_on_after(1) as scope:
        await outbox.send(event("d"))
    assert scope.cancelled_caught
    assert outbox.has_room(audio=True)
    outbox.put(event("urgent"), urgent=True)
    assert await take_all(outbox) == [event("urgent"), event("a"), event("b"), event("c")]


async def test_a_cancelled_send_has_queued_all_or_nothing(autojump_clock) -> None:
    async def scenario(cancel_here) -> None:
        outbox = Outbox(event_bound=0)
        outbox.put(event("first"))
        left = []

        async def write() -> None:
            for _ in range(2):
                left.append(await outbox.receive())
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            with cancel_here():
                await outbox.send(event("second"))
                await outbox.send(event("third"))
            nursery.cancel_scope.cancel()
        left += await take_all(outbox)
        names = [message["type"] for message in left]
        assert names in (["first"], ["first", "second"], ["first", "second", "third"]), names

    assert await cancel_at_each_checkpoint(scenario) >= 3


async def test_after_close_nothing_is_taken_and_what_is_queued_still_leaves(autojump_clock) -> None:
    outbox = Outbox()
    outbox.put(event("a"))
    await outbox.aclose()
    outbox.put(event("b"))
    with pytest.raises(trio.ClosedResourceError):
        await outbox.send(event("c"))
    assert await take_all(outbox) == [event("a")]


async def test_closing_wakes_the_writer_and_everybody_who_waits(autojump_clock) -> None:
    outbox = Outbox(event_bound=0)
    outbox.put(event("a"))

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await outbox.send(event("b"))

    async def write() -> None:
        await outbox.receive()
        with pytest.raises(trio.EndOfChannel):
            await outbox.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        outbox.put(event("c"))
        outbox.put(event("d"))
        nursery.start_soon(send)
        outbox.break_off()
    assert outbox.statistics().events_queued == 0


async def test_only_one_writer_may_wait(autojump_clock) -> None:
    outbox = Outbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await outbox.receive()
        outbox.put(event("a"))
