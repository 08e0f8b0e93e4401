"""Whole visits: the fake page on one side of a session, the emulator on the other."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import numpy as np
import pytest
import trio
import trio.testing

from trealtime._session.attachment import Attachment
from trealtime._session.session import RealtimeSession
from trealtime.audio.formats import PCM16_24K, pcm16
from trealtime.audio.levels import rms_dbfs
from trealtime.audio.pcm import to_int16
from trealtime.endpoints.browser import BrowserEndpoint, accept_browser_stream
from trealtime.testing import FakePage, memory_wire_pair, open_fake_page

RATE = 44_100


def voice(ms: int, quiet_ms: int = 0) -> bytes:
    """What any detector takes for somebody speaking, and silence after it."""
    seconds = np.arange(RATE * ms // 1000) / RATE
    loud = (np.sin(2 * np.pi * 220 * seconds) * 8000).astype("<i2")
    return loud.tobytes() + bytes(2 * (RATE * quiet_ms // 1000))


@attrs.define
class Visit:
    talk: Any
    page: FakePage
    endpoint: BrowserEndpoint
    session: RealtimeSession[Any]
    attachment: Attachment
    listener: Any

    def answer_ms(self) -> float:
        """How much the agent said, as the server sent it."""
        return sum(
            PCM16_24K.duration_ms(len(base64.b64decode(event["delta"])))
            for event in self.talk.of("response.output_audio.delta")
        )


@asynccontextmanager
async def open_visit(kit: Any) -> AsyncIterator[Visit]:
    client, server = memory_wire_pair()
    async with (
        kit.talk(settings={"turn_detection": kit.SERVER_VAD}) as talk,
        trio.open_nursery() as nursery,
        open_fake_page(client, rate=RATE) as page,
    ):
        endpoint = await accept_browser_stream(server)
        async with talk.runner.session() as session, session.attach(endpoint) as attachment:
            listener = kit.listener()
            nursery.start_soon(listener.listen, session)
            yield Visit(talk, page, endpoint, session, attachment, listener)
        nursery.cancel_scope.cancel()


async def test_user_and_agent_hear_each_other_whatever_rate_the_page_has(autojump_clock, kit) -> None:
    async with open_visit(kit) as visit:
        await visit.page.say(voice(1500, quiet_ms=700))
        await visit.listener.expect("agent_end")
        await visit.session.wait_for_playback()
        await trio.sleep(0.1)
        assert visit.page.heard_ms == pytest.approx(visit.answer_ms(), abs=1)
        assert rms_dbfs(to_int16(visit.page.heard(), pcm16(RATE))) > -35
        statistics = visit.attachment.statistics()
        assert (statistics.underruns, statistics.input_dropped_s) == (0, 0)


@pytest.mark.parametrize("into_ms", [130, 900, 1500])
async def test_a_user_who_speaks_interrupts_the_agent_and_the_server_is_told_what_the_page_played(
    autojump_clock, kit, into_ms
) -> None:
    async with open_visit(kit) as visit, trio.open_nursery() as nursery:
        await visit.page.say(voice(1500, quiet_ms=700))
        await visit.page.wait_heard(into_ms)
        nursery.start_soon(visit.page.say, voice(1500, quiet_ms=700))
        interrupted = await visit.listener.expect("audio_interrupted")
        at_interrupt_ms = visit.page.heard_ms
        await trio.testing.wait_all_tasks_blocked()  # the app may know before the server does
        [cut] = visit.talk.of("conversation.item.truncate")
        assert cut["audio_end_ms"] == interrupted.heard_ms
        assert abs(at_interrupt_ms - cut["audio_end_ms"]) <= 20
        await trio.sleep(0.5)
        assert visit.page.heard_ms - at_interrupt_ms <= 20, "something stale was heard after the flush"
        assert visit.page.epoch == 1

        await visit.listener.expect("agent_end", 2)
        await visit.session.wait_for_playback()
        await trio.sleep(0.1)
        assert visit.page.played_samples / RATE > 1


async def test_when_the_page_closes_amid_an_answer_the_attachment_ends_and_the_server_is_told_where(
    autojump_clock, kit
) -> None:
    async with open_visit(kit) as visit:
        await visit.session.send_message("Tell me a long story.")
        await visit.page.wait_heard(1000)
        await visit.page.leave()
        await visit.attachment.wait_closed()
        await visit.listener.expect("audio_interrupted")
        await trio.sleep(0.1)
        [cut] = visit.talk.of("conversation.item.truncate")
        assert cut["audio_end_ms"] == pytest.approx(1000, abs=20)
