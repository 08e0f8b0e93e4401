"""Costs that are the same in each run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

__all__ = ["steps_of"]


def steps_of(function: Callable[[], object]) -> int:
    """Call a function and return the number of steps that Python's interpreter takes. Work in C counts as one step."""
    collects = gc.isenabled()
    gc.disable()  # a collection calls functions of others
    try:
        return _count_monitored(function) if sys.version_info >= (3, 12) else _count_traced(function)
    finally:
        if collects:
            gc.enable()


if sys.version_info >= (3, 12):  # where `settrace` does not tell the opcodes of each call
    _TOOL = 4

    def _count_monitored(function: Callable[[], object]) -> int:
        count = 0
        monitoring = sys.monitoring

        def step(_code: CodeType, _offset: int) -> None:
            nonlocal count
            count += 1

        monitoring.use_tool_id(_TOOL, "steps")
        try:
            monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, step)
            monitoring.set_events(_TOOL, monitoring.events.INSTRUCTION)
            function()
        finally:
            monitoring.set_events(_TOOL, 0)
            monitoring.free_tool_id(_TOOL)
        return count


def _count_traced(function: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count
