"""Answers that a new connection begins while it is told items again that it has refused: they are about half a
conversation."""

from __future__ import annotations

import random

import pytest

from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime._core.response_queue import PASSING_AGAIN

SESSION = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
_, LIMIT = PASSING_AGAIN


@pytest.fixture
def losing(make_talk):
    talk = make_talk(link=Link(ReconnectPolicy()), ids=IdSource(random.Random(7)))
    talk.open(type="server_vad")
    talk.item("a", None, "done", content=[{"type": "input_text", "text": "One."}])
    talk.item("b", "a", "done", content=[{"type": "input_text", "text": "Two."}])
    return talk


def by_hand(talk) -> None:
    talk.app.create_response({"instructions": "Be brief."}, reply_id="t")


def after_an_item(talk) -> None:
    talk.app.create_response({"instructions": "Be brief."}, automatic=True, reply_id="t")


def cut(talk) -> None:
    by_hand(talk)
    talk.created("r0", talk.creates[-1])


def spoken(talk) -> None:
    talk.turn("u")


def reconnect(talk) -> None:
    talk.app.connection_lost(code=1006, reason="gone")
    talk.forget()
    talk.app.connected()
    talk.server("session.created", session=SESSION)


def refuse(talk, item_id: str, *, passing: bool = False) -> list[str]:
    """The server refuses the item as it was told last; return the items that go again."""
    told = [event for event in talk.sent_of("conversation.item.create") if event["item"]["id"] == item_id]
    kind = "server_error" if passing else "invalid_request_error"
    effects = talk.error("item_create_invalid" if not passing else None, told[-1]["event_id"], type=kind)
    return [each.event["item"]["id"] for each in effects.send if each.event["type"] == "conversation.item.create"]


def tear(talk) -> None:
    """The server has trouble with "a", so that "b" has nothing to follow."""
    assert refuse(talk, "a", passing=True) == ["a"]
    assert refuse(talk, "b") == ["b"]


def take(talk, *item_ids: str) -> None:
    for item_id in item_ids:
        talk.item(item_id, None, "done")


def in_vain(talk, response_id: str, create=None) -> None:
    """The server begins an answer, which is cancelled at once, and ends it."""
    before = len(talk.creates)
    talk.created(response_id, create)
    assert talk.sent_of("response.cancel")[-1]["response_id"] == response_id
    assert len(talk.creates) == before
    talk.done(response_id, "cancelled", status_details={"reason": "client_cancelled"})


@pytest.mark.parametrize("ask", [by_hand, after_an_item, cut, spoken])
def test_such_an_answer_is_stopped_and_asked_for_again(losing, ask) -> None:
    talk = losing
    ask(talk)
    reconnect(talk)
    (create,) = talk.creates
    tear(talk)
    in_vain(talk, "r1", create)
    again = talk.creates[-1]
    assert len(talk.creates) == 2
    assert again["response"].get("instructions") == create["response"].get("instructions")
    take(talk, "a", "b")
    talk.created("r2", again)
    talk.speak("r2", "c")
    talk.done("r2")
    talk.wait(60)
    assert len(talk.creates) == 2
    assert talk.order()[-1] == "c"
    (turn,) = talk.turns
    assert (turn.status, turn.retries) == ("failed" if ask is cut else "completed", 1)
    if ask is not spoken:
        assert talk.settled["t"].value.response_id == "r2"


def test_an_answer_of_the_servers_own_is_asked_for_then(losing) -> None:
    talk = losing
    reconnect(talk)
    tear(talk)
    talk.turn("u")
    in_vain(talk, "r1")
    assert len(talk.creates) == 1
    take(talk, "a", "b")
    talk.created("r2", talk.creates[-1])
    talk.done("r2")
    assert [turn.item_ids for turn in talk.turns] == [("u",)]


def test_none_of_it_reaches_the_app_and_its_items_leave_the_conversation(losing) -> None:
    talk = losing
    by_hand(talk)
    reconnect(talk)
    tear(talk)
    talk.created("r1", talk.creates[-1])
    talk.forget()
    for item_id in ("x", "y"):
        talk.output_item("r1", item_id)
        talk.item(item_id, "b", role="assistant")
    talk.audio("r1", "x")
    talk.transcript("r1", "y", "Hello.")
    talk.output_item("r1", "x", done=True)
    talk.item("x", "b", "done", role="assistant")
    assert talk.call("r1", "c").calls == []
    call = {"id": "item_d", "type": "function_call", "call_id": "d", "name": "look", "arguments": "{}"}
    items = [{"id": "x", "type": "message"}, {"id": "y", "type": "message"}, call]
    assert talk.done("r1", "cancelled", output=items).calls == []
    assert talk.order() == ["a", "b"]
    assert set(talk.types) == {"agent_end"}
    assert [event["item_id"] for event in talk.sent_of("conversation.item.delete")] == ["x", "item_c", "y", "item_d"]
    assert talk.truncations == []


def test_an_item_that_was_shown_before_its_response_is_taken_out(losing) -> None:
    talk = losing
    by_hand(talk)
    reconnect(talk)
    tear(talk)
    talk.item("x", "b", role="assistant")
    in_order = talk.order()
    talk.created("r1", talk.creates[-1])
    talk.output_item("r1", "x", done=True)
    assert in_order == ["a", "b", "x"]
    assert talk.order() == ["a", "b"]


@pytest.mark.parametrize("case", ["refused for good", "there", "asked after", "outside", "interrupted", "begun"])
def test_other_answers_are_taken(losing, case) -> None:
    talk = losing
    if case != "asked after":
        talk.app.create_response({"conversation": "none"} if case == "outside" else None, reply_id="t")
    reconnect(talk)
    if case == "begun":
        talk.created("r1", talk.creates[-1])
        talk.output_item("r1", "x")
    if case == "refused for good":
        assert refuse(talk, "b") == []
    else:
        tear(talk)
    if case == "there":
        take(talk, "b")  # and so is "a", which went before it
    elif case == "asked after":
        talk.app.create_response(reply_id="t")
    elif case == "interrupted":
        talk.app.interrupt(reply_id="t")
    if case != "begun":
        talk.created("r1", talk.creates[-1])
    talk.done("r1")
    talk.wait(60)
    assert len(talk.creates) == 1
    assert talk.settled["t"].value.response_id == "r1"


def test_where_word_of_the_items_is_lost_one_answer_is_asked_for_again(losing) -> None:
    talk = losing
    reconnect(talk)
    tear(talk)
    talk.turn("u")
    in_vain(talk, "r1")
    talk.created("r2", talk.creates[-1])
    talk.done("r2")
    talk.turn("v")
    talk.created("r3")
    talk.done("r3")
    talk.wait(60)
    assert len(talk.creates) == 1
    assert [turn.status for turn in talk.turns] == ["completed", "completed"]


def test_an_answer_is_stopped_a_few_times_only(losing) -> None:
    """The server refuses each item once more, one after another, behind each request."""
    talk = losing
    names = "cdefgh"
    for before, item_id in zip("b" + names, names, strict=False):
        talk.item(item_id, before, "done", content=[{"type": "input_text", "text": item_id}])
    by_hand(talk)
    reconnect(talk)
    for number, item_id in enumerate("abcd"[: LIMIT + 1]):
        assert refuse(talk, item_id, passing=True) == [item_id]
        if number < LIMIT:
            in_vain(talk, f"r{number}", talk.creates[-1])
    talk.created("last", talk.creates[-1])
    talk.done("last")
    assert len(talk.creates) == LIMIT + 1
    assert talk.settled["t"].value.response_id == "last"


@pytest.mark.parametrize("how", ["interrupt", "leave", "speech", "loss"])
def test_what_happens_to_the_request_that_goes_again(losing, how) -> None:
    talk = losing
    by_hand(talk)
    reconnect(talk)
    tear(talk)
    talk.created("r1", talk.creates[-1])
    match how:
        case "interrupt":
            talk.app.interrupt()
        case "leave":
            talk.app.interrupt(reply_id="t")
        case "speech":
            talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        case "loss":
            reconnect(talk)
    if how != "loss":
        assert talk.settled["t"].value.reason == "client_cancelled"
        talk.done("r1", "cancelled")
        assert len(talk.creates) == 1
    else:
        assert len(talk.creates) == 1
        talk.created("r2", talk.creates[-1])
        talk.done("r2")
        assert talk.settled["t"].value.response_id == "r2"
