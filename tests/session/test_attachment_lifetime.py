"""How an attachment lives: left, ended by either side, failed, stuck, refused; its figures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trealtime._session.playback_tracker import RealtimePlaybackTracker
from trealtime.audio.formats import G711_ULAW, PCM16_24K, pcm16
from trealtime.endpoints.endpoint import EndpointLink
from trealtime.errors import (
    AudioDeviceError,
    ConnectionLost,
    EndpointFailed,
    SessionClosed,
    SessionNotOpen,
    SlowConsumer,
)
from trealtime.testing import MemoryEndpoint

from .test_attachment import SECOND, ask, speak


async def test_leaving_interrupts_what_was_not_heard_and_the_session_goes_on(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session:
        async with session.attach(phone):
            await ask(session, service.last, seconds=3.0)
            await trio.sleep(1.0)
        heard = len(phone.heard())
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == pytest.approx(1000, abs=1)
        assert session.statistics().attachments == ()
        assert len(session.statistics().subscriptions) == 1
        second = MemoryEndpoint()
        async with session.attach(second):
            await session.send_message("Hello")
            request = await service.last.expect("response.create", count=2)
            await service.last.begin(request, id="resp_2")
            await service.last.audio(1.0, id="resp_2", item_id="item_b")
            await service.last.done(id="resp_2")
            await session.wait_for_playback()
        assert len(second.heard()) == SECOND
        assert len(phone.heard()) == heard
        assert len(service.last.of("conversation.item.truncate")) == 1


async def test_without_an_endpoint_what_the_app_takes_counts_again(autojump_clock, runner, service) -> None:
    async with runner.session() as session:
        async with session.attach(MemoryEndpoint()):
            pass
        await ask(session, service.last, seconds=2.0)
        async for event in session:
            if event.type == "agent_end":
                break
        await trio.sleep(0.5)
        await session.interrupt()
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == 500


async def test_a_far_side_that_leaves_ends_the_attachment_and_not_the_block(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone) as attachment:
        await ask(session, service.last, seconds=3.0)
        await trio.sleep(1.0)
        await phone.leave()
        await attachment.wait_closed()
        assert (await service.last.expect("conversation.item.truncate"))["audio_end_ms"] == pytest.approx(1000, abs=1)
        async with session.attach(MemoryEndpoint()):
            pass
        await session.send_message("Still there?")
        assert session.outcome is None


async def test_the_end_of_the_session_ends_the_attachment(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone) as attachment:
        await session.close()
        await attachment.wait_closed()
        with pytest.raises(SessionClosed):
            async with session.attach(MemoryEndpoint()):
                pytest.fail("the body must not run")
    with pytest.raises(SessionNotOpen):
        async with (await runner.run()).attach(MemoryEndpoint()):
            pytest.fail("the body must not run")


async def test_a_lost_connection_is_told_once_and_not_to_the_endpoint(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone) as attachment:
        service.last.wire.drop()
        await attachment.wait_closed()
        with pytest.raises(ConnectionLost):
            async for _event in session:
                pass


class Faulty(MemoryEndpoint):
    """Raises in one of its methods."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        async with super().open(link):
            yield
            if self.where == "close":
                raise OSError("broken")

    async def receive(self) -> bytes:
        if self.where == "receive":
            raise OSError("broken")
        return await super().receive()

    async def play(self, audio: bytes, position_ms: float) -> None:
        if self.where == "play":
            raise OSError("broken")
        await super().play(audio, position_ms)

    def flush(self) -> None:
        if self.where == "flush":
            raise OSError("broken")
        super().flush()


@pytest.mark.parametrize("where", ["receive", "play", "flush", "close", "task"])
async def test_an_exception_of_the_endpoint_comes_out_of_the_block_alone(
    autojump_clock, runner, service, where
) -> None:
    phone = Faulty(where)
    async with runner.session() as session:
        with pytest.raises(EndpointFailed, match="Faulty: OSError: broken") as caught:  # noqa: PT012
            async with session.attach(phone):
                await ask(session, service.last, seconds=3.0)
                await trio.sleep(1)
                if where == "task":
                    phone.fail(OSError("broken"))
                await session.interrupt()
                if where != "close":
                    await trio.sleep_forever()
        assert type(caught.value.__cause__) is OSError
        await session.send_message("The session goes on.")
        assert session.outcome is None


async def test_what_opening_raises_comes_out_as_it_is(autojump_clock, runner) -> None:
    class Absent(MemoryEndpoint):
        @asynccontextmanager
        async def open(self, link: EndpointLink) -> AsyncIterator[None]:
            await trio.lowlevel.checkpoint()
            raise FileNotFoundError("no such device")
            yield

    async with runner.session() as session:
        with pytest.raises(FileNotFoundError, match="no such device"):
            async with session.attach(Absent()):
                pytest.fail("the body must not run")


@pytest.mark.parametrize("error", [AudioDeviceError("plug one in"), FileNotFoundError(2, "plug one in", "mic.wav")])
async def test_a_device_or_a_file_that_is_missing_is_logged_without_a_traceback(
    autojump_clock, runner, caplog, error
) -> None:
    class Absent(MemoryEndpoint):
        @asynccontextmanager
        async def open(self, link: EndpointLink) -> AsyncIterator[None]:
            await trio.lowlevel.checkpoint()
            raise error
            yield

    async with runner.session() as session:
        with pytest.raises(type(error), match="plug one in"):
            async with session.attach(Absent()):
                pytest.fail("the body must not run")
        assert session.statistics().failures.endpoints == 1
    [record] = [each for each in caplog.records if each.name == "trealtime.endpoints"]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert type(error).__name__ in record.message


async def test_an_exception_of_the_body_comes_out_as_it_is(autojump_clock, runner) -> None:
    async with runner.session() as session:
        with pytest.raises(KeyError, match="mine"):
            async with session.attach(MemoryEndpoint()):
                raise KeyError("mine")


async def test_an_endpoint_that_opens_for_ever_can_be_given_up(autojump_clock, runner) -> None:
    class Ringing(MemoryEndpoint):
        @asynccontextmanager
        async def open(self, link: EndpointLink) -> AsyncIterator[None]:
            await trio.sleep_forever()
            yield

    async with runner.session() as session:
        with trio.move_on_after(3) as giving_up:
            async with session.attach(Ringing()):
                pytest.fail("the body must not run")
        assert giving_up.cancelled_caught
        assert trio.current_time() == pytest.approx(3.0)


async def test_an_endpoint_that_closes_for_ever_is_dropped_in_time(autojump_clock, make_runner) -> None:
    class Clinging(MemoryEndpoint):
        @asynccontextmanager
        async def open(self, link: EndpointLink) -> AsyncIterator[None]:
            async with super().open(link):
                yield
                await trio.sleep_forever()

    async with make_runner(close_timeout_s=4).session() as session:
        async with session.attach(Clinging()):
            pass
        assert trio.current_time() == pytest.approx(2.0)


async def test_an_endpoint_that_takes_nothing_is_a_slow_consumer(autojump_clock, make_runner, service) -> None:
    class Deaf(MemoryEndpoint):
        async def play(self, audio: bytes, position_ms: float) -> None:
            await trio.sleep_forever()

    async with make_runner(subscription_buffer_s=10).session() as session:
        with pytest.raises(SlowConsumer, match="an endpoint was not read"):  # noqa: PT012
            async with session.attach(Deaf()):
                await session.send_message("Hello")
                await service.last.begin(await service.last.expect("response.create"))
                await service.last.audio(30.0)
                await trio.sleep_forever()


@pytest.mark.parametrize(
    "formats, what",
    [((PCM16_24K, None), "an endpoint that speaks"), ((None, PCM16_24K), "an endpoint that plays")],
    ids=["speaks", "plays"],
)
async def test_one_endpoint_speaks_and_one_plays(autojump_clock, runner, formats, what) -> None:
    async with runner.session() as session:
        async with session.attach(MemoryEndpoint()):
            with pytest.raises(RuntimeError, match=what):
                async with session.attach(MemoryEndpoint(*formats)):
                    pytest.fail("the body must not run")
            assert len(session.statistics().attachments) == 1
        microphone, speaker = MemoryEndpoint(PCM16_24K, None), MemoryEndpoint(None, PCM16_24K)
        async with session.attach(microphone), session.attach(speaker):
            assert len(session.statistics().attachments) == 2


async def test_an_endpoint_that_is_attached_twice_is_refused_and_plays_on(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint()
    async with runner.session() as session, session.attach(phone):
        await ask(session, service.last, seconds=2.0)
        with pytest.raises(RuntimeError, match="this MemoryEndpoint is attached already"):
            async with session.attach(phone):
                pytest.fail("the body must not run")
        await session.wait_for_playback()
        assert len(phone.heard()) == 2 * SECOND


async def test_bad_arguments_are_refused(autojump_clock, runner) -> None:
    async with runner.session() as session:
        with pytest.raises(TypeError, match=r"endpoint: got .*, allowed: an Endpoint"):
            async with session.attach("phone"):
                pass
        for value in (-1, "20"):
            with pytest.raises(ValueError, match=f"coalesce_ms must be from 0 to 1000, got {value!r}"):
                async with session.attach(MemoryEndpoint(), coalesce_ms=value):
                    pass
    tracked = {"playback_tracker": RealtimePlaybackTracker()}
    async with runner.session(model_config=tracked) as session:
        with pytest.raises(RuntimeError, match="has a playback_tracker"):
            async with session.attach(MemoryEndpoint()):
                pass


async def test_figures_of_an_attachment(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint(G711_ULAW, pcm16(48_000))
    phone.late_frames = 3
    async with runner.session() as session, session.attach(phone) as attachment:
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        await service.last.audio(1.0)
        await trio.sleep(0.5)
        assert attachment.statistics().queue_s == pytest.approx(0.25, abs=0.05)
        await trio.sleep(1.0)
        await service.last.audio(1.0)
        await service.last.done()
        await session.wait_for_playback()
        await phone.say(bytes(160))
        await trio.testing.wait_all_tasks_blocked()
        statistics = attachment.statistics()
    assert (statistics.endpoint, statistics.input_format, statistics.output_format) == (
        "MemoryEndpoint",
        G711_ULAW,
        pcm16(48_000),
    )
    assert (statistics.bytes_received, statistics.bytes_played) == (160, 2 * 96_000)
    assert (statistics.underruns, statistics.late_frames, statistics.queue_s) == (1, 3, 0)


async def test_ten_minutes_do_not_drift(autojump_clock, runner, service) -> None:
    phone = MemoryEndpoint(None, pcm16(44_100))
    async with runner.session() as session, session.attach(phone):
        await session.send_message("Hello")
        await service.last.begin(await service.last.expect("response.create"))
        began = trio.current_time()
        for _ in range(100):
            await speak(service.last, bytes(6 * SECOND))
            await trio.sleep(5.9)
        await trio.sleep_until(began + 599.987)
        await session.interrupt()
        truncate = await service.last.expect("conversation.item.truncate")
        assert truncate["audio_end_ms"] == pytest.approx(599_987, abs=2)
        assert len(phone.heard()) == pytest.approx(599.987 * 88_200, abs=200)
