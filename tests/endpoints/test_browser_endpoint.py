"""A page as an endpoint, against the fake page, without a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trealtime.audio.formats import pcm16
from trealtime.endpoints.browser import BrowserEndpoint, accept_browser_stream
from trealtime.errors import BrowserStreamError
from trealtime.testing import FakePage, check_endpoint, memory_wire_pair, open_fake_page
from trealtime.transport.memory import MemoryWire
from trealtime.transport.wire import WireClosed, WireStatistics

PAGE_FORMAT = pcm16(48_000)


def speech(ms: float, value: int = 1) -> bytes:
    return bytes([value, 0]) * int(ms * 48)


@attrs.define
class Link:
    positions: list[float] = attrs.Factory(list)

    def heard(self, position_ms: float) -> None:
        self.positions.append(position_ms)

    def dtmf(self, digit: str) -> None:
        """Pages have no keys."""


@attrs.define
class Visit:
    page: FakePage
    endpoint: BrowserEndpoint
    link: Link
    client: MemoryWire


@asynccontextmanager
async def open_visit(**options: Any) -> AsyncIterator[Visit]:
    client, server = memory_wire_pair()
    async with open_fake_page(client) as page:
        endpoint = await accept_browser_stream(server, **options)
        link = Link()
        async with endpoint.open(link):
            yield Visit(page, endpoint, link, client)


async def test_it_conforms(autojump_clock) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[BrowserEndpoint, FakePage]]:
        client, server = memory_wire_pair()
        async with open_fake_page(client, rate=44_100) as page:
            yield await accept_browser_stream(server), page

    await check_endpoint(make)


# ---- accepting ------------------------------------------------------------------------------------------------------


async def test_the_rate_and_whatever_the_page_says_of_itself_are_known_before_anything_is_attached(
    autojump_clock,
) -> None:
    client, server = memory_wire_pair()
    async with open_fake_page(client, rate=44_100, hello={"token": "abc"}):
        endpoint = await accept_browser_stream(server)
    assert endpoint.input_format == endpoint.output_format == pcm16(44_100)
    assert endpoint.hello["token"] == "abc"


@pytest.mark.parametrize(
    "messages, words",
    [
        (["junk"], "expected JSON, got 'junk'"),
        ([b"\0\1"], "audio does not fit"),
        (['{"type": "hello", "protocol": 1, "rate": 7}'], "rate must be a whole number"),
        (['{"type": "' + "ü" * 500 + '"}'], "'üüü"),
        ([], "no hello within 10 s"),
    ],
)
async def test_who_is_no_page_of_ours_is_told_why_and_hung_up_on(autojump_clock, messages, words) -> None:
    client, server = memory_wire_pair()
    for message in messages:
        await (client.send_binary(message) if isinstance(message, bytes) else client.send(message))
    with pytest.raises(BrowserStreamError) as caught:
        await accept_browser_stream(server)
    assert str(caught.value).startswith(words)
    with pytest.raises(WireClosed) as closed:
        await client.receive()
    assert closed.value.code == 1008
    assert closed.value.reason
    assert str(caught.value).startswith(closed.value.reason)
    assert len(closed.value.reason.encode()) <= 123


async def test_a_page_that_closes_before_its_hello_was_none(autojump_clock) -> None:
    client, server = memory_wire_pair()
    await client.aclose()
    with pytest.raises(BrowserStreamError, match="ended before the page had said hello"):
        await accept_browser_stream(server)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"lead_ms": 0}, "lead_ms: expected 40 to 10000 milliseconds, got 0"),
        ({"hello_timeout_s": 0}, "hello_timeout_s: expected more than 0 seconds, got 0"),
        ({"max_message_bytes": 10}, "max_message_bytes: expected 1024 or more, got 10"),
    ],
)
async def test_impossible_options_are_refused_by_name(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        await accept_browser_stream(memory_wire_pair()[1], **options)


class TextOnly:
    async def send(self, message: str) -> None: ...

    async def receive(self) -> str: ...

    async def aclose(self, code: int = 1000, reason: str = "") -> None: ...

    def statistics(self) -> WireStatistics: ...


async def test_a_wire_that_sends_only_text_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a wire with send_binary, got TextOnly"):
        await accept_browser_stream(TextOnly())


async def test_a_page_can_be_told_why_nothing_is_attached_to_it(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_page(client) as page:
        endpoint = await accept_browser_stream(server)
        await endpoint.refuse("No connection: " + "ü" * 200, code=1013)
        await page.wait_ended()
    assert page.closed is not None
    assert (page.closed.code, len(page.closed.reason.encode())) == (1013, 123)


# ---- audio ----------------------------------------------------------------------------------------------------------


async def test_what_the_page_has_and_has_not_played_is_bounded_by_the_lead(autojump_clock) -> None:
    async with open_visit(lead_ms=200) as visit:
        for end_ms in range(20, 2_001, 20):
            await visit.endpoint.play(speech(20), end_ms)
            assert visit.endpoint.statistics().unheard_ms <= 220
        await visit.page.wait_heard(2_000)
        await wait_all_tasks_blocked()
        assert visit.link.positions[-1] == 2_000


async def test_a_flush_silences_the_page_and_the_positions_go_on_behind_what_was_thrown_away(autojump_clock) -> None:
    async with open_visit() as visit:
        for end_ms in range(20, 401, 20):
            await visit.endpoint.play(speech(20), end_ms)
        await trio.sleep(0.105)
        visit.endpoint.flush()
        before = list(visit.link.positions)
        await trio.sleep(1)
        assert visit.page.heard_ms == 120  # the block that was being played
        assert visit.link.positions == before == [20, 40, 60, 80, 100]
        await visit.endpoint.play(speech(20, 2), 420)
        await trio.sleep(1)
        assert visit.page.heard()[-len(speech(20)) :] == speech(20, 2)
        assert visit.link.positions[len(before) :] == [420]
        assert visit.endpoint.statistics().flushes == 1


async def test_of_a_user_whom_nobody_hears_the_last_ten_seconds_are_kept(autojump_clock) -> None:
    async with open_visit() as visit:
        await visit.page.say(speech(3_000, 1))
        await visit.page.say(speech(10_000, 2))
        await wait_all_tasks_blocked()
        assert visit.endpoint.statistics().input_dropped_ms == 3_000
        assert await visit.endpoint.receive() == speech(10_000, 2)


# ---- messages -------------------------------------------------------------------------------------------------------


async def test_the_app_and_the_page_talk(autojump_clock) -> None:
    async with open_visit() as visit:
        visit.page.post({"type": "say", "text": "Hello"})
        assert await visit.endpoint.messages.receive() == {"type": "say", "text": "Hello"}
        await visit.endpoint.send({"type": "state", "of": "the world"})
        assert await visit.page.wait_received("state") == {"type": "state", "of": "the world"}
        await visit.page.leave()
        with pytest.raises(trio.EndOfChannel):
            await visit.endpoint.messages.receive()
        with pytest.raises(trio.BrokenResourceError):
            await visit.endpoint.send({"type": "late"})
        with pytest.raises(trio.BrokenResourceError):
            await visit.endpoint.play(speech(20), 20)


async def test_what_the_app_has_said_is_sent_before_the_socket_is_closed(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_page(client) as page:
        endpoint = await accept_browser_stream(server)
        async with endpoint.open(Link()):
            await endpoint.play(speech(500), 500)
            await endpoint.send({"type": "goodbye"})
        await page.wait_received("goodbye")
        await page.wait_ended()
    assert page.closed is not None
    assert page.closed.code == 1000


@pytest.mark.parametrize(
    "message, error, words",
    [
        ({}, ValueError, "type: expected a string other than flush, heard, hello, refused, got None"),
        ({"type": "flush", "epoch": 1}, ValueError, "got 'flush'"),
        ({"type": "x", "y": object()}, TypeError, "object"),
    ],
)
async def test_what_the_app_cannot_say(autojump_clock, message, error, words) -> None:
    async with open_visit() as visit:
        with pytest.raises(error, match=words):
            await visit.endpoint.send(message)


async def test_before_and_after_it_is_attached_an_endpoint_says_so(autojump_clock) -> None:
    client, server = memory_wire_pair()
    async with open_fake_page(client):
        endpoint = await accept_browser_stream(server)
        with pytest.raises(RuntimeError, match="once the endpoint is attached"):
            await endpoint.send({"type": "x"})
        async with endpoint.open(Link()):
            with pytest.raises(RuntimeError, match="leave the attachment"):
                await endpoint.refuse("x")
        with pytest.raises(RuntimeError, match="attached once"):
            async with endpoint.open(Link()):
                pytest.fail("it opened twice")


@pytest.mark.parametrize(
    "bad, words",
    [
        (b"\1\2\3", "audio: expected whole samples of PCM16, got 3 bytes"),
        (b"\0" * 2_000, "a message of 2000 bytes is too long: at most 1024 are taken"),
        ("junk", "expected JSON, got 'junk'"),
        ({"type": "heard", "epoch": 0, "samples": 1}, "samples: 0 of epoch 0 were sent, got 1"),
        ({"type": "hello", "protocol": 1, "rate": 8000}, "'hello' does not fit"),
    ],
)
async def test_a_bad_message_is_skipped_and_the_page_is_told_why(autojump_clock, caplog, bad, words) -> None:
    async with open_visit(max_message_bytes=1024) as visit:
        visit.page.post(bad)
        visit.page.post(bad)
        for _ in range(2):
            assert (await visit.page.wait_received("refused"))["reason"].startswith(words)
        visit.page.post({"type": "say"})
        visit.page.post(speech(1))
        assert await visit.endpoint.messages.receive() == {"type": "say"}
        assert await visit.endpoint.receive() == speech(1)
        counts = visit.endpoint.statistics()
    assert (counts.messages_refused, counts.messages_received) == (2, 1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_messages_that_nobody_reads_are_refused_in_the_end(autojump_clock) -> None:
    async with open_visit() as visit:
        for number in range(257):
            visit.page.post({"type": "say", "number": number})
        refused = await visit.page.wait_received("refused")
        assert refused["reason"] == "256 messages wait to be read: no more are taken now"
        await visit.endpoint.messages.receive()
        visit.page.post({"type": "say"})
        await wait_all_tasks_blocked()
        assert visit.endpoint.statistics().messages_received == 257


async def test_messages_that_nobody_reads_are_bounded_in_bytes_too(autojump_clock) -> None:
    long = {"type": "say", "text": "x" * 700_000}
    async with open_visit(max_message_bytes=4 * 2**20) as visit:
        for _ in range(40):
            visit.page.post(long)
        refused = await visit.page.wait_received("refused")
        assert re.fullmatch(r"70\d+ bytes of messages wait to be read: no more are taken now", refused["reason"])
        await wait_all_tasks_blocked()
        assert visit.endpoint.statistics().messages_received == 1
        assert await visit.endpoint.messages.receive() == long
        visit.page.post({"type": "image", "url": "x" * 3_000_000})  # alone, it may be longer
        assert len((await visit.endpoint.messages.receive())["url"]) == 3_000_000
        visit.page.post(long)
        assert await visit.endpoint.messages.receive() == long


async def test_messages_can_be_read_without_waiting_and_be_given_up(autojump_clock) -> None:
    async with open_visit() as visit:
        messages = visit.endpoint.messages
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
        visit.page.post({"type": "say"})
        await wait_all_tasks_blocked()
        assert messages.receive_nowait() == {"type": "say"}
        await messages.aclose()
        visit.page.post({"type": "say"})
        assert (await visit.page.wait_received("refused"))["reason"] == "messages are not read here any more"


async def test_long_messages_that_the_page_does_not_read_make_the_app_wait_sooner(autojump_clock) -> None:
    client, server = memory_wire_pair(capacity=1)
    await client.send('{"type": "hello", "protocol": 1, "rate": 48000}')
    endpoint = await accept_browser_stream(server)
    async with endpoint.open(Link()):
        queued = 0
        with trio.move_on_after(10):
            while True:
                await endpoint.send({"type": "x", "text": "x" * 400_000})
                queued += 1
        assert 3 <= queued <= 6


async def test_messages_that_the_page_does_not_read_make_the_app_wait(autojump_clock) -> None:
    client, server = memory_wire_pair(capacity=1)
    await client.send('{"type": "hello", "protocol": 1, "rate": 48000}')
    endpoint = await accept_browser_stream(server)
    async with endpoint.open(Link()):
        queued = 0
        with trio.move_on_after(10):
            while True:
                await endpoint.send({"type": "x"})
                queued += 1
        assert 256 <= queued <= 260
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(endpoint.send, {"type": "one more"}))
            await wait_all_tasks_blocked()
            await client.receive()
