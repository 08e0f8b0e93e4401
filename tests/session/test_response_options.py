"""The options of one response: one list of them for `respond`, `ask` and `create_response`."""

from __future__ import annotations

import inspect

import pytest

from trealtime import RealtimeAgent, RealtimeSession
from trealtime._session.response import ResponseOptions, response_params
from trealtime.tools.context import RunContext

AGENT = RealtimeAgent("Assistant")


async def test_no_options_say_nothing_and_none_is_not_given() -> None:
    assert await response_params({}, RunContext(None), AGENT) == ({}, ())
    nothing = dict.fromkeys(ResponseOptions.__annotations__)
    assert await response_params(nothing, RunContext(None), AGENT) == ({}, ())


async def test_every_option_goes_on_the_wire() -> None:
    tool = {"type": "function", "name": "look"}
    options: ResponseOptions = {
        "instructions": "Be brief.",
        "output_modalities": ["text"],
        "metadata": {"topic": "a"},
        "tools": [tool],
        "tool_choice": "required",
        "max_output_tokens": 20,
        "parallel_tool_calls": False,
        "voice": "ash",
        "output_audio_format": "g711_ulaw",
        "prompt": {"id": "pmpt_1"},
        "reasoning": {"effort": "low"},
        "extra": {"newer": 1},
        "out_of_band": True,
        "input_items": [],
    }
    assert options.keys() == ResponseOptions.__annotations__.keys()
    params, tools = await response_params(options, RunContext(None), AGENT)
    assert params == {
        "instructions": "Be brief.",
        "output_modalities": ["text"],
        "metadata": {"topic": "a"},
        "tools": [tool],
        "tool_choice": "required",
        "max_output_tokens": 20,
        "parallel_tool_calls": False,
        "audio": {"output": {"voice": "ash", "format": {"type": "audio/pcmu"}}},
        "prompt": {"id": "pmpt_1"},
        "reasoning": {"effort": "low"},
        "newer": 1,
        "conversation": "none",
        "input": [],
    }
    assert tools == (tool,)


async def test_an_option_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="no option 'instruction'; its options are instructions, "):
        await response_params({"instruction": "Be brief."}, RunContext(None), AGENT)


@pytest.mark.parametrize("name", ["respond", "ask", "create_response"])
def test_options_are_shown_one_by_one(name) -> None:
    """What ``help()`` and notebooks show of ``**options``."""
    shown = inspect.signature(getattr(RealtimeSession, name)).parameters
    assert list(shown)[-len(ResponseOptions.__annotations__) :] == list(ResponseOptions.__annotations__)
    assert shown["instructions"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "options" not in shown
