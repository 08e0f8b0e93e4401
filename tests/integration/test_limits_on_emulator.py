"""Usage, cost and limits of whole sessions: spoken turns, and a call that comes to its limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trealtime.errors import SessionClosed

STORY = "Tell me a story."
PRICES = {
    "gpt-realtime": {"text_input": 4, "text_output": 16, "audio_input": 32, "audio_output": 64},
    "gpt-4o-mini-transcribe": {"text_input": 1, "audio_input": 3, "text_output": 5},
}


@asynccontextmanager
async def open_call(kit: Any, **config: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A session that hears turns, and somebody who listens to it."""
    listener = kit.listener()
    async with (
        kit.talk(settings={"turn_detection": kit.SERVER_VAD}, config=config) as talk,
        talk.runner.session() as session,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(listener.listen, session)
        yield session, listener
        nursery.cancel_scope.cancel()


async def test_a_spoken_turn_is_counted_and_priced_as_a_response_and_as_a_transcription(autojump_clock, kit) -> None:
    async with open_call(kit, prices=PRICES) as (session, listener):
        await kit.speak(session)
        ended = await listener.expect("agent_end")
        assert ended.usage.output_token_details["audio_tokens"] > 0
        assert ended.usage.cost.exact
        assert session.usage.cost == ended.usage.cost
        assert session.transcription_usage.requests == 1
        assert session.transcription_usage.total_tokens > 0
        assert session.cost == session.usage.cost + session.transcription_usage.cost
        assert session.cost.exact


async def test_at_the_limit_the_story_goes_on_for_the_grace_and_a_new_turn_is_not_answered(autojump_clock, kit) -> None:
    limits = {"max_duration_s": 8, "grace_s": 10, "warn_at": None}
    async with open_call(kit, limits=limits, barge_in="off") as (session, listener):
        await session.send_message(STORY)
        await listener.expect("limit_reached")
        reached_at = trio.current_time()
        await kit.speak(session)
        assert (await session.wait_closed()).limit.name == "max_duration_s"
        assert trio.current_time() - reached_at == pytest.approx(10, abs=0.5)
        assert len({event.response_id for event in listener.of("agent_start")}) == 2
        assert len({event.response_id for event in listener.of("audio")}) == 1


async def test_who_interrupts_the_last_answer_ends_the_session(autojump_clock, kit) -> None:
    async with open_call(kit, limits={"max_tokens": 1, "grace_s": 60}) as (session, listener):
        await session.send_message(STORY)
        await listener.expect("limit_reached")
        with pytest.raises(SessionClosed, match="max_tokens"):
            await kit.speak(session, speech_ms=60_000)
        assert len(listener.of("audio_interrupted")) == 1
        assert listener.time_of("audio_interrupted") - listener.time_of("limit_reached") < 2
