"""Ids and numbers that cannot be sent are refused where they are given, and the session goes on."""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import trio

from trealtime._session.outgoing import whole_number


class Other(enum.Enum):
    ITEM = "item_1"


BAD_IDS = {
    "an object": (object(), TypeError),
    "a number": (5, TypeError),
    "bytes": (b"item_1", TypeError),
    "an enum": (Other.ITEM, TypeError),
    "a list": (["item_1"], TypeError),
    "a lone surrogate": ("\ud800", ValueError),
    "nothing": ("", ValueError),
}
CALLS: dict[str, Callable[[Any, Any], Awaitable[object]]] = {
    "delete_item": lambda session, given: session.delete_item(given),
    "retrieve_item": lambda session, given: session.retrieve_item(given),
    "truncate_item": lambda session, given: session.truncate_item(given, audio_end_ms=0),
    "cancel_response": lambda session, given: session.cancel_response(given),
    "create_item after": lambda session, given: session.create_item("Hello", previous_item_id=given),
    "create_item": lambda session, given: session.create_item({"type": "function_call_output", "id": given}),
    "approve_tool_call": lambda session, given: session.approve_tool_call(given),
    "reject_tool_call": lambda session, given: session.reject_tool_call(given),
}
BAD_NUMBERS = {
    "nan": (math.nan, ValueError),
    "infinity": (math.inf, ValueError),
    "an object": (object(), TypeError),
    "text": ("5", TypeError),
    "a bool": (True, TypeError),
}


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_bad_id_is_refused_by_the_call_and_kills_nothing(autojump_clock, service, runner, call, bad) -> None:
    value, error = BAD_IDS[bad]
    async with runner.session() as session:
        sent = len(service.last.received)
        with pytest.raises(error):
            await CALLS[call](session, value)
        assert await session.create_item("Hello")
        assert [event["type"] for event in service.last.received[sent:]] == ["conversation.item.create"]


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("argument", ["content_index", "audio_end_ms"])
async def test_a_bad_number_is_refused_by_the_call(autojump_clock, service, runner, argument, bad) -> None:
    value, error = BAD_NUMBERS[bad]
    async with runner.session() as session:
        with pytest.raises(error, match=argument):
            await session.truncate_item("item_1", **{"audio_end_ms": 0, argument: value})
        assert await session.create_item("Hello")
        assert service.last.of("conversation.item.truncate") == []


def test_numbers_of_other_libraries_are_numbers() -> None:
    assert [whole_number(value, "n") for value in (3, 3.9, np.int64(3), np.float32(3.5))] == [3, 3, 3, 3]
    assert type(whole_number(np.int64(3), "n")) is int


@pytest.mark.parametrize("item_id", [None, 5, ["item_1"], {"id": 1}])
async def test_an_answer_whose_item_has_an_id_that_is_no_text_is_a_turn_all_the_same(
    autojump_clock, service, runner, item_id
) -> None:
    turns = []
    async with runner.session() as session, trio.open_nursery() as nursery:

        async def ask() -> None:
            turns.append(await session.ask("Hello"))

        nursery.start_soon(ask)
        request = await service.last.expect("response.create")
        await service.last.begin(request)
        text = {"type": "output_text", "text": "Hi"}
        await service.last.done(output=[{"id": item_id, "type": "message", "role": "assistant", "content": [text]}])
    assert [turn.status for turn in turns] == ["completed"]


async def respond(session: Any, message: Any) -> None:
    async with session.respond(message):
        pytest.fail("the message has been sent")


ASKS: dict[str, Callable[[Any, Any], Awaitable[object]]] = {
    "send_message": lambda session, message: session.send_message(message),
    "create_item": lambda session, message: session.create_item(message),
    "ask": lambda session, message: session.ask(message),
    "ask aside": lambda session, message: session.ask(message, out_of_band=True),
    "respond": respond,
}
BAD_FIELDS = {
    "a transcript": {"content": [{"type": "input_audio", "audio": "AAAA", "transcript": "\ud800"}]},
    "an image": {"content": [{"type": "input_image", "image_url": "data:image/png;base64,\ud800"}]},
    "a field of a part": {"content": [{"type": "input_text", "text": "Hi", "mood": object()}]},
    "a key of a part": {"content": [{"type": "input_text", "text": "Hi", "\ud800": 1}]},
    "a field": {"content": "Hi", "mood": "\ud800"},
    "an id": {"content": "Hi", "id": 5},
}


@pytest.mark.parametrize("bad", BAD_FIELDS)
@pytest.mark.parametrize("ask", ASKS)
async def test_a_message_that_cannot_be_sent_is_refused_by_the_call(autojump_clock, service, runner, ask, bad) -> None:
    async with runner.session() as session:
        sent = len(service.last.received)
        with pytest.raises((TypeError, ValueError)):
            await ASKS[ask](session, {"type": "message", "role": "user", **BAD_FIELDS[bad]})
        assert await session.create_item("Hello")
        assert [event["type"] for event in service.last.received[sent:]] == ["conversation.item.create"]


@pytest.mark.parametrize("seconds", [1e9, 1e308, 10**400])
async def test_a_bound_of_seconds_may_be_as_large_as_a_number_can_be(autojump_clock, service, runner, seconds) -> None:
    async with runner.session() as session, session.subscribe(buffer_s=seconds) as feed:
        await session.create_item("Hello")
        assert (await feed.receive()).type
