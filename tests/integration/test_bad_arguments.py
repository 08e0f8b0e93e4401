"""Whatever a model writes for arguments: the function gets none of it that does not fit, and the talk goes on."""

from __future__ import annotations

import json
from typing import Any

import attrs
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import realtime_handoff
from trealtime.emulator import CallFunction, ScriptedBrain, open_emulator
from trealtime.events import RealtimeHandoffEvent
from trealtime.tools.function_tool import function_tool

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("count"), inner, max_size=3),
)
ARGUMENTS = st.text() | JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(value)[:-1])


@attrs.frozen
class Count:
    count: int


def count_in(text: str) -> int | None:
    """The count in an object, as another JSON parser reads it; 1.0 is an integer to JSON Schema, 1e308 nobody's."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        value = json.loads(text, parse_constant=refuse)
    except ValueError:
        return None
    count = value.get("count") if isinstance(value, dict) else None
    if type(count) is float and count.is_integer() and abs(count) < 2**53:
        return int(count)
    return count if type(count) is int else None


@settings(max_examples=40, deadline=None)
@example(arguments='{"count": 2}', needs_approval=True, in_order=True)
@example(arguments='{"count": 2.0}', needs_approval=False, in_order=True)
@example(arguments='{"count": 1e308}', needs_approval=False, in_order=False)
@given(
    arguments=ARGUMENTS,
    needs_approval=st.booleans() | st.just(lambda context, arguments, call_id: arguments["count"] > 1),
    in_order=st.booleans(),
)
def test_arguments_that_do_not_fit_reach_no_function_and_end_no_session(arguments, needs_approval, in_order) -> None:
    counted: list[object] = []
    handed: list[object] = []

    @function_tool(needs_approval=needs_approval)
    async def add(count: int) -> str:
        """Add to the count."""
        counted.append(count)
        return "added"

    def on_handoff(context: Any, why: Count) -> None:
        handed.append(why)

    async def main() -> None:
        script = [CallFunction("add", arguments), "One.", CallFunction("transfer_to_b", arguments), "Two.", "Three."]
        b = realtime_handoff(RealtimeAgent(name="B"), on_handoff=on_handoff, input_type=Count)
        agent = RealtimeAgent(name="A", tools=[add], handoffs=[b])
        async with open_emulator(listen=False, brain=ScriptedBrain(script)) as emulator:
            runner = RealtimeRunner(agent, model=emulator.memory_model(), config={"async_tool_calls": not in_order})
            async with (
                runner.session() as session,
                session.subscribe("tool_approval_required", "handoff") as subscription,
            ):

                async def approve() -> None:
                    async for event in subscription:
                        if not isinstance(event, RealtimeHandoffEvent):
                            await session.approve_tool_call(event.call_id)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(approve)
                    assert [(await session.ask("And?")).text for _ in range(3)] == ["One.", "Two.", "Three."]
                    nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    count = count_in(arguments)
    assert handed == ([] if count is None else [Count(count)])  # an input may have more fields, a call may not
    assert counted == ([] if count is None or len(json.loads(arguments)) > 1 else [count])
