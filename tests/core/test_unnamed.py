"""Responses that the server does not name."""

from __future__ import annotations

from itertools import product

import pytest

from trealtime._core.reconnection import Link, ReconnectPolicy

NONE = [{}, {"id": None}, {"id": 7}, {"id": ""}]


def begun(talk, id=None, **fields):
    return talk.server("response.created", response={**({} if id is None else {"id": id}), **fields})


def ended(talk, id=None, **fields):
    return talk.server(
        "response.done", response={"status": "completed", **({} if id is None else {"id": id}), **fields}
    )


def ends(talk):
    return [(event.response_id, event.status) for event in talk.events_of("agent_end")]


@pytest.mark.parametrize("nameless", NONE)
def test_one_after_the_other_is_answered_and_heard(talk, nameless) -> None:
    for number in range(3):
        talk.app.create_response(reply_id=f"t{number}")
        begun(talk, **nameless)
        talk.output_item("", f"a{number}")
        talk.audio("", f"a{number}", 500)
        talk.transcript("", f"a{number}", "Hello.")
        ended(talk, **nameless)
        assert talk.settled[f"t{number}"].value.status == "completed"
        talk.hand_out(f"a{number}", 0, 500)
        talk.wait(1)
    names = [response_id for response_id, _ in ends(talk)]
    assert len(set(names)) == 3
    assert "" not in names
    assert [event.response_id for event in talk.events_of("audio")] == names
    assert [turn.response_ids for turn in talk.turns] == [(name,) for name in names]
    assert talk.state.responses == {}


@pytest.mark.parametrize("named", [each for each in product([False, True], repeat=3) if len(set(each)) == 2])
def test_it_is_one_response_whichever_of_its_events_name_it(talk, named) -> None:
    names = ["r" if each else None for each in named]
    talk.app.create_response(reply_id="t")
    begun(talk, names[0])
    talk.audio(names[1] or "", "a", 500)
    talk.hand_out("a", 0, 500)
    ended(talk, names[2])
    ended(talk, names[2])
    assert len(ends(talk)) == 1
    assert len(talk.events_of("agent_start")) == 1
    assert talk.settled["t"].value.status == "completed"
    talk.wait(60)
    assert len(talk.turns) == 1
    assert talk.events_of("error") == []


@pytest.mark.parametrize("first", ["audio", "end"])
def test_it_may_begin_with_its_output_or_its_end(talk, first) -> None:
    talk.app.create_response(reply_id="t")
    if first == "audio":
        talk.audio("", "a", 500)
        begun(talk)
    ended(talk)
    assert len(ends(talk)) == 1
    assert talk.settled["t"].value.status == "completed"


@pytest.mark.parametrize("name", [None, "r"])
def test_an_interrupt_cancels_it_by_the_name_that_the_server_has_given_it(talk, name) -> None:
    talk.app.create_response()
    begun(talk)
    talk.output_item(name or "", "a")
    talk.audio(name or "", "a", 2_000)
    response_id = next(iter(talk.state.responses))
    talk.hand_out("a", 0, 2_000)
    talk.now += 1
    talk.app.interrupt()
    (cancel,) = talk.sent_of("response.cancel")
    assert cancel.get("response_id") == name
    assert talk.purged == [response_id]
    talk.forget()
    talk.audio(name or "", "a", 500)
    assert talk.events_of("audio") == []
    ended(talk, name)
    assert ends(talk) == [(response_id, "completed")]


def test_output_is_of_the_response_that_has_the_item(talk) -> None:
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.app.create_response({"conversation": "none"})
    talk.created("r2", talk.creates[-1])
    talk.output_item("r2", "b")
    talk.audio("", "b", 100)
    talk.audio("", "a", 100)
    assert [event.response_id for event in talk.events_of("audio")] == ["r2", "r1"]


def test_the_end_is_of_the_response_whose_request_it_names(talk) -> None:
    talk.created("r1")
    talk.app.create_response({"conversation": "none"})
    (create,) = talk.creates
    talk.created("r2", create)
    ended(talk, metadata=create["response"]["metadata"])
    assert [response_id for response_id, _ in ends(talk)] == ["r2"]
    ended(talk)
    assert [response_id for response_id, _ in ends(talk)] == ["r2", "r1"]


def test_an_end_without_a_name_where_there_is_none_changes_nothing(talk) -> None:
    ended(talk)
    talk.wait(60)
    assert talk.types == []
    assert talk.turns == []
    assert talk.core.counters().unknown_events == 1


def test_an_end_without_a_name_that_shows_output_is_of_a_response(talk) -> None:
    call = {"id": "item_c", "type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    ended(talk, output=[call])
    assert [each.call_id for each in talk.calls] == ["c"]


def test_another_connection_may_use_the_same_names(make_talk) -> None:
    talk = make_talk(link=Link(ReconnectPolicy()))
    talk.open()
    begun(talk)
    talk.audio("r", "a", 100)
    ended(talk, "r")
    talk.app.connection_lost(code=1006, reason="gone")
    talk.app.connected()
    talk.server("session.created", session={"type": "realtime"})
    talk.forget()
    talk.created("r")
    talk.audio("r", "b", 100)
    talk.done("r")
    assert ends(talk) == [("r", "completed")]
