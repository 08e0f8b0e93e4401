"""How sessions begin, fail and end, against the emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from trealtime.errors import ConnectionLost, ProtocolError, SessionClosed, SettingsRefused, ToolFailed
from trealtime.tools.function_tool import function_tool
from trealtime.transport.models import ConnectionTarget, RealtimeModel
from trealtime.transport.wire import Wire

STORY = "Tell me a story."


def living_tasks() -> int:
    waiting = [trio.lowlevel.current_root_task()]
    count = 0
    while waiting:
        count += 1
        waiting += [child for nursery in waiting.pop().child_nurseries for child in nursery.child_tasks]
    return count


async def test_weak_spot_08_a_program_that_only_sends_learns_of_the_loss(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        with pytest.raises(ConnectionLost):  # noqa: PT012  (what a whole session raises)
            async with talk.runner.session() as session:
                await session.send_audio(bytes(960))
                talk.wire().drop()
                await trio.sleep(1)
                await session.send_audio(bytes(960))
                pytest.fail("sent into nothing")
        with pytest.raises(ConnectionLost):  # noqa: PT012  (what a whole session raises)
            async with talk.runner.session():
                talk.wire().drop()
                await trio.sleep(1)


async def test_weak_spot_09_what_was_queued_comes_before_the_loss(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session:
        await session.send_message("What is 1 plus 1?")
        await trio.sleep(10)
        talk.wire().drop()
        await session.wait_closed()
        seen = []
        with pytest.raises(ConnectionLost):  # noqa: PT012  (what a whole iteration raises)
            async for event in session:
                seen.append(event.type)
        assert seen.index("history_updated") < seen.index("audio") < seen.index("agent_end")
        assert session.history[-1].text == "1 plus 1 is 2."


async def test_weak_spot_10_neither_a_broken_message_nor_a_new_event_ends_a_session(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, session.subscribe("error") as errors:
        await talk.wire().send('{"type": "response.created", "resp')
        await talk.wire().send('{"type": "response.of.tomorrow", "event_id": null}')
        await talk.wire().send('{"type": "response.output_text.delta", "delta": null}')
        assert (await session.ask("What is 1 plus 1?")).text == "1 plus 1 is 2."
        assert isinstance((await errors.receive()).error, ProtocolError)
        with pytest.raises(trio.WouldBlock):
            errors.receive_nowait()


async def test_weak_spot_11_a_tool_that_raises_is_told_to_the_model_and_the_talk_goes_on(autojump_clock, kit) -> None:
    @function_tool(failure_error_function=None)
    async def get_weather() -> str:
        """The weather."""
        raise LookupError("the station is down")

    async with (
        kit.talk(tools=[get_weather]) as talk,
        talk.runner.session() as session,
        session.subscribe("error") as errors,
    ):
        turn = await session.ask("What is the weather?")
        assert turn.text == "The tool get_weather failed."
        error = (await errors.receive()).error
        assert isinstance(error, ToolFailed)
        assert isinstance(error.__cause__, LookupError)
        assert (await session.ask("What is 1 plus 1?")).text == "1 plus 1 is 2."


@attrs.frozen
class _FailsToClose:
    """A model whose connections fail when they are closed."""

    _model: RealtimeModel

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        async with self._model.connect(target) as wire:
            yield _FailingWire(wire)


class _FailingWire:
    def __init__(self, wire: Wire) -> None:
        self.send, self.receive, self.statistics = wire.send, wire.receive, wire.statistics

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("the close failed")


async def test_weak_spot_12_a_failing_close_strands_nobody_and_is_told(autojump_clock, kit) -> None:
    async with kit.talk() as talk, trio.open_nursery() as nursery:
        talk.runner._model = _FailsToClose(talk.emulator.memory_model())
        consumers = [kit.listener(), kit.listener()]
        before = living_tasks()
        with pytest.raises(OSError, match="the close failed"):  # noqa: PT012  (what a whole session raises)
            async with talk.runner.session() as session:
                nursery.start_soon(consumers[0].listen, session)
                nursery.start_soon(consumers[1].listen, session.subscribe())
                await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert living_tasks() <= before
        assert consumers[0].events


async def test_weak_spot_13_14_nothing_outlives_the_block(autojump_clock, kit) -> None:
    finished = []

    @function_tool
    async def get_weather() -> str:
        """The weather."""
        with trio.CancelScope(shield=True):
            await trio.sleep(20)
        finished.append(trio.current_time())
        return "late"

    async with kit.talk(tools=[get_weather]) as talk:
        before = living_tasks()
        with pytest.raises(KeyError):  # noqa: PT012  (what a whole session raises)
            async with talk.runner.session() as session, session.subscribe("tool_start") as subscription:
                await session.send_message("What is the weather?")
                await subscription.receive()
                raise KeyError
        # A tool that will not be cancelled is waited for: it is never left running behind the app's back.
        assert finished == [trio.current_time()]
        await trio.testing.wait_all_tasks_blocked()
        assert living_tasks() == before


async def test_weak_spot_15_a_tool_may_close_the_session_it_runs_in(autojump_clock, kit) -> None:
    outcomes = []

    @function_tool
    async def hang_up() -> str:
        """Hang up."""
        try:
            await sessions[0].close()
        except trio.Cancelled:
            outcomes.append("cancelled")
            raise
        return ""

    async with kit.talk(tools=[hang_up]) as talk, talk.runner.session() as session:
        sessions = [session]
        await session.send_message("Please hang up.")
        assert "tool_start" in [event.type async for event in session]
        with pytest.raises(SessionClosed):
            await session.send_message("Still there?")
    assert outcomes == ["cancelled"]
    assert session.outcome.closed_by == "client"


async def test_weak_spot_16_an_expired_session_says_so_and_another_can_go_on_from_its_history(
    autojump_clock, kit
) -> None:
    """Reconnecting by itself is not there yet; what it needs is."""
    async with kit.talk(max_session_s=60.0) as talk:
        async with talk.runner.session() as session:
            await session.ask("What is 1 plus 1?")
            outcome = await session.wait_closed()
        assert (outcome.expired, outcome.closed_by, outcome.code) == (True, "server", 1001)
        async with talk.runner.session() as again:
            for item in session.history:
                await again.create_item({"type": "message", "role": item.role, "content": item.text})
            assert (await again.ask("Can you say that again?")).text == "1 plus 1 is 2."


async def test_weak_spot_17_the_body_begins_when_the_settings_are_acknowledged(autojump_clock, kit) -> None:
    settings = {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_alaw"}
    async with kit.talk(settings=settings) as talk:
        async with talk.runner.session() as session:
            assert [event["type"] for _session, event in [(s, e.event) for s, e in talk.passed]] == [
                "session.created", "session.update", "session.updated",
            ]  # fmt: skip
            assert (session.input_format.name, session.output_format.name) == ("g711_ulaw", "g711_alaw")
        refused = talk.runner.session(
            model_config={"initial_model_settings": {"extra": {"temperature": 0.5}}},
        )
        with pytest.raises(SettingsRefused, match="temperature"):
            async with refused:
                pytest.fail("the body must not run")


async def test_weak_spot_18_one_runner_serves_many_calls_at_once(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        texts = {}

        async def call(number: int) -> None:
            async with talk.runner.session() as session:
                texts[number] = (await session.ask(f"What is {number} plus 1?")).text

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(call, number)
        assert texts == {number: f"{number} plus 1 is {number + 1}." for number in range(20)}


async def test_weak_spot_19_audio_and_its_commit_go_as_one(autojump_clock, kit) -> None:
    async with kit.talk(settings={"turn_detection": None}) as talk, talk.runner.session() as session:

        async def microphone() -> None:
            while True:
                await session.send_audio(bytes(480))
                await trio.lowlevel.checkpoint()

        async def push_to_talk() -> None:
            for _ in range(20):
                await session.send_audio(kit.tone(200), commit=True)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(microphone)
            async with trio.open_nursery() as pushing:
                for _ in range(3):
                    pushing.start_soon(push_to_talk)
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        said = [entry.event for _session, entry in talk.passed if entry.direction == "client"]
    commits = [at for at, event in enumerate(said) if event["type"] == "input_audio_buffer.commit"]
    assert len(commits) == 60
    assert all(len(said[at - 1]["audio"]) == 200 * kit.BYTES_PER_MS * 4 / 3 for at in commits)
