"""Stand-ins for the tools of agents, for the time of a scenario."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import trio

from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ScenarioError
from trealtime.evals.scenario import Mock
from trealtime.tools.function_tool import FunctionTool

__all__ = ["Mocked", "mocked"]


@attrs.define(eq=False)
class Mocked:
    """The tools replaced so far."""

    _mocks: Mapping[str, Mock]
    _undo: ExitStack
    _agents: list[RealtimeAgent[Any]] = attrs.field(factory=list, init=False)

    def include(self, agent: RealtimeAgent[Any]) -> None:
        """Replace the tools of `agent` too, and of the agents among its handoffs."""
        if agent in self._agents:
            return
        self._agents.append(agent)
        for tool in agent.tools:
            if isinstance(tool, FunctionTool) and tool.name in self._mocks:
                # In place, since agents may refer to each other in circles. It is undone at the end.
                self._undo.callback(object.__setattr__, tool, "on_invoke_tool", tool.on_invoke_tool)
                object.__setattr__(tool, "on_invoke_tool", _stand_in(self._mocks[tool.name]))
        for other in agent.handoffs:
            if isinstance(other, RealtimeAgent):
                self.include(other)

    def unknown(self) -> list[str]:
        """Return what is wrong with the names of the mocks. A `Handoff` makes its agent later, so with one of these any
        name may be right."""
        if not all(isinstance(other, RealtimeAgent) for agent in self._agents for other in agent.handoffs):
            return []
        names = {tool.name for agent in self._agents for tool in agent.tools if isinstance(tool, FunctionTool)}
        known = ", ".join(sorted(names)) or "none"
        return [
            f"tools.{name}: no function tool of the agents; theirs: {known}"
            for name in sorted(self._mocks.keys() - names)
        ]


@contextmanager
def mocked(agent: RealtimeAgent[Any], mocks: Mapping[str, Mock], *, where: str) -> Iterator[Mocked]:
    """Let the function tools of `agent`, and of its handoffs, do what `mocks` say, inside the block.

    Raises `ScenarioError`, which names `where`, for a tool that none of them has.
    """
    with ExitStack() as undo:
        replaced = Mocked(mocks, undo)
        replaced.include(agent)
        if problems := replaced.unknown():
            raise ScenarioError([f"{where}: {problem}" for problem in problems])
        yield replaced


def _stand_in(mock: Mock) -> Callable[[Any, str], Awaitable[object]]:
    async def invoke(context: Any, arguments: str) -> object:
        await trio.sleep(mock.after_s)
        if mock.error is not None:
            raise RuntimeError(mock.error)
        return mock.returns

    return invoke
