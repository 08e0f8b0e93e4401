"""What can be asserted of a conversation, and what the failures say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from trio.testing import MockClock

from trealtime import RealtimeAgent, RealtimeRunner, function_tool
from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    InputText,
    RealtimeToolCallItem,
    UserMessageItem,
)
from trealtime.testing import (
    a_function_call,
    a_response,
    accept,
    anything,
    called,
    heard,
    interrupted_at,
    not_called,
    open_scripted_server,
    said,
)

HISTORY = [
    UserMessageItem(item_id="a", content=(InputText("How is it in Oslo?"),)),
    RealtimeToolCallItem(item_id="b", name="weather", arguments='{"city": "Oslo", "days": 2}', output="rain"),
    AssistantMessageItem(item_id="c", content=(AssistantAudio(transcript="It rains in", heard_ms=1_200),)),
    UserMessageItem(item_id="d", content=(InputText("Thanks."),)),
]
CONVERSATION = """

the conversation:
  user: How is it in Oslo?
  weather({"city": "Oslo", "days": 2}) -> rain
  assistant: It rains in [cut at 1200 ms]
  user: Thanks."""


def test_what_happened_is_found_and_returned() -> None:
    assert heard(HISTORY, "how IS  it") is HISTORY[0]
    assert heard(HISTORY, re.compile(r"\bOslo\b")) is HISTORY[0]
    assert heard(HISTORY, str.istitle, after=HISTORY[0]) is HISTORY[3]
    assert said(HISTORY, "rains") is HISTORY[2]
    assert called(HISTORY, "weather") is HISTORY[1]
    assert called(HISTORY, "weather", city="Oslo", days=lambda days: days > 1) is HISTORY[1]
    assert called(HISTORY, "weather", city=anything) is HISTORY[1]
    assert interrupted_at(HISTORY, 1_250) is HISTORY[2]
    not_called(HISTORY, "refund")


@pytest.mark.parametrize(
    "check, problem",
    [
        (lambda: heard(HISTORY, "Bergen"), 'the user did not say "Bergen"'),
        (lambda: heard(HISTORY, "Oslo", after=HISTORY[0]), """the user did not say "Oslo" after 'user: How is it in"""),
        (lambda: heard(HISTORY, str.isdigit), "the user did not say what str.isdigit takes"),
        (lambda: said(HISTORY, re.compile("sun+y")), "the agent did not say anything like 'sun+y'"),
        (lambda: called(HISTORY, "refund"), "refund was not called"),
        (
            lambda: called(HISTORY, "weather", city="Bergen", hour=3),
            'weather was not called like that\n  weather({"city": "Oslo", "days": 2}) -> rain: city is "Oslo", ',
        ),
        (lambda: not_called(HISTORY, "weather"), "weather was called"),
        (
            lambda: interrupted_at(HISTORY, 500, within_ms=50),
            "no answer was cut at 500 ms, give or take 50\n  an answer was cut at 1200 ms",
        ),
    ],
)
def test_what_did_not_happen_is_told_with_the_conversation(check: Any, problem: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check()
    assert str(caught.value).startswith(problem)
    assert str(caught.value).endswith(CONVERSATION)


def test_arguments_that_are_no_object_are_none() -> None:
    with pytest.raises(AssertionError, match="city is missing"):
        called([RealtimeToolCallItem(item_id="b", name="weather", arguments="[1")], "weather", city="Oslo")


async def test_a_session_can_be_asked_also_when_it_is_closed(autojump_clock: MockClock) -> None:
    @function_tool
    async def weather(city: str) -> str:
        """The weather."""
        return "rain"

    turn = [accept("conversation.item.create"), accept("response.create")]
    async with open_scripted_server(
        [*turn, a_function_call("weather", {"city": "Oslo"}), *turn, a_response("Rain.")]
    ) as server:
        agent = RealtimeAgent(name="Assistant", tools=[weather])
        async with RealtimeRunner(agent, model=server.memory_model()).session() as session:
            await session.ask("How is it in Oslo?")
    question = heard(session, "Oslo")
    called(session, "weather", city="Oslo")
    said(session, "rain", after=question)
