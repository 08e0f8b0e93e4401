"""Attaching to a call that may not be there yet. Peer behaviours B007, B009."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import trio

from trealtime import ConnectFailed, OpenAIRealtimeSIPModel, RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.transport import dial
from trealtime.transport.models import ConnectionTarget

TARGET = ConnectionTarget(call_id="rtc_1", api_key="sk-test")


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the next dials fail with the given statuses (None: not at all); the times of all dials."""
    times: list[float] = []
    outcomes: list[int] = []

    class Dial:
        def __init__(self, url: str, **_options: Any) -> None:
            self.url = url

        async def __aenter__(self) -> str:
            times.append(trio.current_time())
            await trio.sleep(0.1)
            if outcomes:
                status = outcomes.pop(0)
                raise ConnectFailed(f"HTTP {status}", status=status or None)
            return self.url

        async def __aexit__(self, *exc: object) -> None:
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr(dial, "open_websocket_wire", Dial)

    def script(*statuses: int) -> list[float]:
        outcomes[:] = statuses
        return times

    return script


async def test_a_call_that_is_not_there_yet_is_tried_again_with_growing_waits(autojump_clock, dialled) -> None:
    times = dialled(404, 404, 404, 404, 404)
    async with OpenAIRealtimeSIPModel().connect(TARGET) as wire:
        assert wire == "wss://api.openai.com/v1/realtime?call_id=rtc_1"
    waits = [after - before - 0.1 for before, after in itertools.pairwise(times)]
    assert waits == pytest.approx([0.25, 0.5, 1, 2, 2])


async def test_after_the_last_attempt_the_refusal_comes_out(autojump_clock, dialled) -> None:
    times = dialled(*[404] * 9)
    with pytest.raises(ConnectFailed) as caught:
        async with OpenAIRealtimeSIPModel(attach_attempts=3).connect(TARGET):
            pytest.fail("it connected")
    assert caught.value.status == 404
    assert len(times) == 3


@pytest.mark.parametrize("status", [0, 400, 401, 403, 429, 500])
async def test_any_other_refusal_is_final(autojump_clock, dialled, status) -> None:
    times = dialled(status)
    with pytest.raises(ConnectFailed):
        async with OpenAIRealtimeSIPModel().connect(TARGET):
            pytest.fail("it connected")
    assert len(times) == 1


async def test_what_the_body_raises_is_not_taken_for_a_refusal(autojump_clock, dialled) -> None:
    times = dialled()
    with pytest.raises(ConnectFailed, match="mine"):
        async with OpenAIRealtimeSIPModel().connect(TARGET):
            raise ConnectFailed("mine", status=404)
    assert len(times) == 1


async def test_a_cancelled_wait_leaves_nothing(autojump_clock, dialled) -> None:
    times = dialled(*[404] * 9)
    with trio.move_on_after(0.3):
        async with OpenAIRealtimeSIPModel().connect(TARGET):
            pytest.fail("it connected")
    assert len(times) == 1


@pytest.mark.parametrize("options", [{"attach_attempts": 0}, {"attach_delay_s": -1}])
def test_numbers_that_make_no_sense_are_refused(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        OpenAIRealtimeSIPModel(**options)


async def test_a_session_attaches_over_a_socket_once_the_call_is_ready(kit) -> None:
    pytest.importorskip("httpx")
    with trio.fail_after(20):
        async with open_emulator() as emulator, kit.accepted(emulator, ready_after_s=0.3) as call:
            model = OpenAIRealtimeSIPModel(base_url=emulator.url.removesuffix("/realtime"))
            runner = RealtimeRunner(RealtimeAgent(name="Desk"), model=model, rng=random.Random(1))
            connection = {"call_id": call.call_id, "api_key": "any"}
            async with runner.session(model_config=connection) as session:
                call.press("7")
                async for event in session:
                    if event.type == "dtmf_received":
                        assert event.digit == "7"
                        break
            assert emulator.statistics().handshakes_refused >= 1
            assert call.state == "active"  # the call outlives whoever watches it
