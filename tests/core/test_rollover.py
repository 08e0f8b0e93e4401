"""When another connection stands beside the first, what it is told ahead, and what at the switch."""

from __future__ import annotations

import random

import pytest

from trealtime._core import effects as fx
from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime.items import InputText, UserMessageItem
from trealtime.protocol.codec import read_server_event

DETECTION = {"type": "server_vad", "create_response": True, "interrupt_response": True}
SERVER_S = 1_800_000_000.0
SESSION = {"type": "realtime", "audio": {"input": {"turn_detection": DETECTION}}, "expires_at": SERVER_S + 30}


@pytest.fixture
def expiring(make_talk):
    """A conversation whose connection ends in 30 s, with settings that the server has acknowledged."""

    def make(**policy):
        talk = make_talk(link=Link(ReconnectPolicy(rollover_margin_s=10, **policy)), ids=IdSource(random.Random(7)))
        talk.app.opened(server_time_s=SERVER_S)
        talk.app.open_session({"type": "realtime", "instructions": "Be kind."}, reply_id="open")
        talk.server("session.created", session=SESSION)
        talk.server("session.updated", session={**SESSION, "instructions": "Be kind."})
        talk.forget()
        return talk

    return make


def begin(talk, *, summary=None):
    """The time for a rollover comes, and the successor is there; return what it is told ahead."""
    talk.wait(20)
    effects = talk.app.successor_connected(server_time_s=SERVER_S, summary=summary)
    return [dict(each.event) for each in effects if isinstance(each, fx.SendAhead)]


def ahead(talk, type, **fields):
    return talk.app.receive_ahead(read_server_event({"type": type, "event_id": "event_y", **fields}))


def switch(talk):
    """The successor is ready, and takes over, at the last moment if it cannot before; return what it gets then."""
    talk.forget()
    ahead(talk, "session.updated", session=SESSION)
    talk.wait(7.5)
    assert len(talk.events_of("rolled_over")) == 1
    return [event for event in talk.sent if event["type"].startswith("conversation.item.")]


def told(events):
    """Items that are created, with the one before each, and `-` with those that are deleted."""
    return [
        f"-{event['item_id']}" if event["type"].endswith("delete") else (event["item"]["id"], event["previous_item_id"])
        for event in events
        if event["type"].startswith("conversation.item.")
    ]


def say(talk, item_id, words, previous=None, role="user"):
    kind = "input_text" if role == "user" else "output_text"
    talk.item(item_id, previous, kind="done", role=role, content=[{"type": kind, "text": words}])


def test_the_successor_is_told_the_conversation_ahead_and_then_only_what_has_changed(expiring) -> None:
    talk = expiring()
    say(talk, "a", "One?")
    say(talk, "b", "Two.", "a", role="assistant")
    assert told(begin(talk)) == [("a", "root"), ("b", "a")]
    say(talk, "c", "Three?", "b")
    assert told(switch(talk)) == [("c", "b")]


def test_an_answer_that_ends_just_before_the_switch_is_told_anew_whole(expiring) -> None:
    talk = expiring()
    say(talk, "a", "One?")
    talk.created("r")
    talk.output_item("r", "b")
    talk.transcript("r", "b", "It is ")
    talk.audio("r", "b")
    assert [event["item"]["content"][0]["text"] for event in begin(talk)[1:]] == ["One?", "It is "]
    talk.transcript("r", "b", "two.")
    part = [{"type": "output_audio", "transcript": "It is two."}]
    talk.output_item("r", "b", done=True, status="completed", content=part)
    talk.done("r")
    sent = switch(talk)
    assert told(sent) == ["-b", ("b", "a")]
    assert sent[-1]["item"]["content"] == [{"type": "output_text", "text": "It is two."}]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_item_that_was_told_anew_stays_however_often_its_deletion_is_acknowledged(expiring, times) -> None:
    """A doubled acknowledgement may come long after the item is there again."""
    talk = expiring()
    say(talk, "a", "One?")
    talk.speak("r", "b")
    talk.transcript("r", "b", "It is ")
    begin(talk)
    talk.transcript("r", "b", "two.")
    talk.done("r")
    assert told(switch(talk)) == ["-b", ("b", "a")]
    talk.server("conversation.item.deleted", item_id="b")
    say(talk, "b", "It is two.", "a", role="assistant")
    for _ in range(times - 1):
        talk.server("conversation.item.deleted", item_id="b")
    assert talk.order() == ["a", "b"]
    talk.app.delete_item("b", reply_id="away")
    talk.server("conversation.item.deleted", item_id="b")
    assert talk.order() == ["a"], "the app wants it away"
    assert "away" in talk.settled


@pytest.mark.parametrize("acknowledged", [True, False])
def test_items_that_are_gone_meanwhile_are_deleted_there_too(expiring, acknowledged) -> None:
    talk = expiring()
    say(talk, "a", "One?")
    say(talk, "b", "Two.", "a", role="assistant")
    say(talk, "c", "Three?", "b")
    begin(talk)
    new = UserMessageItem(item_id="new", content=[InputText(text="All before.")])
    talk.app.replace_history([new, *talk.core.history()[2:]], reply_id="replaced")
    if acknowledged:
        for item_id in ("a", "b"):
            talk.server("conversation.item.deleted", item_id=item_id)
    assert told(switch(talk)) == [("new", "root"), "-a", "-b"]
    assert talk.order() == ["new", "c"]


def test_the_summary_of_folded_turns_stays_first(expiring) -> None:
    talk = expiring(max_history_items=1, summarise=lambda items: "...")
    say(talk, "a", "One?")
    say(talk, "b", "Two?", "a")
    summary, last = told(begin(talk, summary="One."))
    assert (summary[1], last) == ("root", ("b", summary[0]))
    talk.app.delete_item("b", reply_id="away")
    talk.server("conversation.item.deleted", item_id="b")
    say(talk, "c", "Three?", "a")
    assert told(switch(talk)) == [("c", summary[0]), "-b"]


def test_an_item_that_the_successor_refuses_takes_no_other_with_it(expiring) -> None:
    talk = expiring()
    for item_id, previous in [("a", None), ("b", "a"), ("c", "b"), ("d", "c")]:
        say(talk, item_id, item_id, previous)
    creates, again = begin(talk)[1:], []
    for event in creates[1:]:
        error = {"type": "invalid_request_error", "code": "no", "message": "no", "event_id": event["event_id"]}
        again += [each.event for each in ahead(talk, "error", error=error) if isinstance(each, fx.SendAhead)]
    (refusal,) = talk.events_of("error")
    assert refusal.error.request == "conversation.item.create"
    assert told(again) == [("c", "a"), ("d", "c")]
    assert told(switch(talk)) == []
    assert talk.core.connection_counters().items_refused == 1
