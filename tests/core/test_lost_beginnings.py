"""Responses whose ``response.created`` is late or lost: the first event of theirs begins them, with all that a
beginning means for the callers, the turn of the user, and the requests that wait."""

from __future__ import annotations

import pytest

VAD = {"create_response": True, "interrupt_response": True}
OUTSIDE = {"conversation": "none"}


def metadata(request):
    return request["response"]["metadata"]


def teach(talk):
    """The server shows that it echoes metadata."""
    talk.app.create_response(reply_id="first")
    talk.created("r0", talk.creates[0])
    talk.done("r0", metadata=metadata(talk.creates[0]))
    talk.forget()


@pytest.mark.parametrize("echoes", [False, True])
@pytest.mark.parametrize("params", [None, OUTSIDE])
def test_the_caller_of_the_only_request_follows_the_response_from_its_first_output(talk, echoes, params) -> None:
    if echoes:
        teach(talk)
    talk.app.create_response(params, reply_id="t")
    talk.output_item("r1", "a")
    assert talk.started == [("t", "r1")]
    talk.audio("r1", "a")
    talk.done("r1", metadata=metadata(talk.creates[0]) if echoes else None)
    assert talk.types.count("agent_start") == talk.types.count("agent_end") == 1
    assert talk.settled["t"].value.response_id == "r1"
    assert talk.order() == ([] if params else ["a"])
    assert talk.state.outside_items.get("a") == ("r1" if params else None)


def test_output_of_a_request_that_was_interrupted_on_its_way_never_reaches_the_app(talk) -> None:
    talk.app.create_response(reply_id="t")
    talk.app.interrupt()
    talk.audio("r1", "a")
    assert talk.events_of("audio") == []
    assert [each["response_id"] for each in talk.sent_of("response.cancel")] == ["r1"]
    talk.done("r1", "cancelled")
    assert talk.settled["t"].value.status == "cancelled"


def test_what_waits_for_the_servers_own_answer_gets_it(vad_talk) -> None:
    """A caller who listens, and a message that the server had seen."""
    talk = vad_talk
    talk.app.listen("l")
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.app.create_item({"id": "m", "type": "message", "role": "user"}, said=True)
    talk.app.create_response(automatic=True, reply_id="t")
    talk.item("m")
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900)
    talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    talk.output_item("r1", "a")
    assert sorted(talk.started) == [("l", "r1"), ("t", "r1")]
    talk.done("r1")
    talk.wait(60)
    assert talk.creates == []
    assert {key: each.value.response_id for key, each in talk.settled.items()} == {"l": "r1", "t": "r1"}
    assert talk.settled["l"].value.said_items == ("u",)
    assert [turn.item_ids for turn in talk.turns] == [("m", "u", "a")]


def test_a_caller_who_listens_gets_an_answer_of_which_only_the_end_comes(vad_talk) -> None:
    vad_talk.app.listen("l")
    vad_talk.turn("u")
    vad_talk.done("r1")
    assert vad_talk.settled["l"].value.response_id == "r1"


@pytest.mark.parametrize("proof", ["created", "done"])
def test_a_wrong_guess_is_taken_back_when_the_metadata_shows_it(talk, proof) -> None:
    teach(talk)
    talk.app.create_response(reply_id="t")
    talk.audio("servers", "a")
    if proof == "created":
        talk.created("servers")
    talk.done("servers")
    assert "t" not in talk.settled
    talk.error("conversation_already_has_active_response", talk.creates[0]["event_id"])
    talk.wait(1)
    talk.created("r1", talk.creates[1])
    talk.done("r1", metadata=metadata(talk.creates[1]))
    assert talk.settled["t"].value.response_id == "r1"
    assert talk.started[-1] == ("t", "r1")


def test_an_end_that_never_comes_is_no_proof(talk) -> None:
    """The server has not ended the response in time: that says nothing about the request that it answers."""
    teach(talk)
    talk.app.create_response(reply_id="t")
    talk.audio("r1", "a")
    talk.wait(talk.core.next_deadline - talk.now)
    assert talk.settled["t"].value.response_id == "r1"
    assert talk.settled["t"].value.reason == "timed_out"
    assert talk.core.next_deadline is None or talk.core.next_deadline > talk.now
    assert not talk.state.response_queue.busy


@pytest.mark.parametrize("proof", ["created", "done"])
def test_a_response_of_the_conversation_that_was_taken_for_one_outside_comes_back(talk, proof) -> None:
    teach(talk)
    talk.app.create_response(OUTSIDE, reply_id="t")
    talk.output_item("servers", "a")
    if proof == "created":
        talk.created("servers")
        assert talk.core.response_active
    talk.output_item("servers", "a", done=True)
    talk.done("servers")
    assert "t" not in talk.settled
    talk.created("r1", talk.creates[0])
    talk.done("r1", metadata=metadata(talk.creates[0]))
    assert talk.settled["t"].value.response_id == "r1"


def test_of_two_requests_the_end_says_which_it_answered_and_what_stays_outside_leaves_the_history(talk) -> None:
    talk.app.create_response(OUTSIDE, reply_id="o")
    talk.app.create_response(reply_id="t")
    outside, inside = talk.creates
    talk.output_item("ro", "a")
    talk.output_item("rt", "b")
    assert talk.started == []
    talk.done("ro", metadata=metadata(outside))
    talk.done("rt", metadata=metadata(inside))
    assert {key: each.value.response_id for key, each in talk.settled.items()} == {"o": "ro", "t": "rt"}
    assert talk.order() == ["b"]


def test_where_a_turn_is_due_an_answer_the_end_decides(vad_talk) -> None:
    talk = vad_talk
    teach(talk)
    talk.app.create_response(reply_id="t")
    talk.turn("u")
    talk.audio("servers", "a")
    assert talk.started == []
    talk.done("servers")
    assert "t" not in talk.settled


@pytest.mark.parametrize("live", [False, True])
def test_a_beginning_that_is_told_twice_begins_nothing_anew(make_talk, live) -> None:
    """The second word of it comes when the user has spoken again, or a request is on its way."""
    talk = make_talk(barge_in="off")
    talk.open(create_response=True, interrupt_response=False)
    talk.turn("u")
    talk.created("r1")
    if live:
        talk.turn("v")
    else:
        talk.app.create_response(OUTSIDE, reply_id="t")
    talk.created("r1")
    talk.done("r1")
    talk.wait(3)
    assert len(talk.creates) == 1
    if not live:
        assert talk.started == []
        talk.created("r2", talk.creates[0])
        talk.done("r2")
        assert talk.settled["t"].value.response_id == "r2"


def test_a_call_that_waits_for_approval_is_asked_about_though_only_the_end_of_its_response_shows_it(talk) -> None:
    question = {"id": "q", "type": "mcp_approval_request", "server_label": "w", "name": "roll", "arguments": "{}"}
    talk.created("r1")
    for _ in range(2):
        talk.done("r1", output=[question])
    assert [each.call_id for effects in talk.effects for each in effects.asks] == ["q"]
