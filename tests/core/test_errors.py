"""Errors of the server find whoever they are about; the session goes on."""

from __future__ import annotations

import pytest

from trealtime._core.server_errors import is_harmless, is_refused_create, read_error
from trealtime.errors import ConnectionLost, ProtocolError, ServerRefused

ASKING = [
    (lambda app: app.delete_item("a", reply_id="t"), "conversation.item.delete"),
    (lambda app: app.retrieve_item("a", reply_id="t"), "conversation.item.retrieve"),
    (lambda app: app.truncate_item("a", 0, 5, reply_id="t"), "conversation.item.truncate"),
    (
        lambda app: app.create_item(
            {"id": "b", "type": "message", "role": "user", "content": []}, previous_item_id=None, reply_id="t"
        ),
        "conversation.item.create",
    ),
]


def test_a_refusal_that_comes_after_the_answer_to_the_next_such_request_leaves_nobody_waiting(talk):
    talk.item("a")
    for reply_id in ("refused", "made"):
        talk.app.truncate_item("a", 0, 5, reply_id=reply_id)
    talk.server("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=5)
    assert list(talk.settled) == ["refused"]  # nothing tells which of the two it answers
    talk.error("invalid_value", talk.sent[0]["event_id"])
    assert list(talk.settled) == ["refused", "made"]
    assert talk.types[-1] == "error"  # the refusal, which has nobody else to go to


@pytest.mark.parametrize("command, kind", ASKING)
def test_a_refusal_reaches_the_caller_who_asked_and_nobody_else(talk, command, kind):
    talk.do(command)
    assert talk.sent[0]["type"] == kind
    talk.error("item_not_found", talk.sent[0]["event_id"], param="item_id")
    error = talk.settled["t"].error
    assert isinstance(error, ServerRefused)
    assert (error.code, error.param, error.request) == ("item_not_found", "item_id", kind)
    assert talk.events == []
    talk.app.disconnect(ConnectionLost("gone"))
    assert list(talk.settled) == ["t"]


RETRIEVED = {"item": {"id": "a", "type": "message", "role": "user"}}
TRUNCATED = {"item_id": "a", "content_index": 0, "audio_end_ms": 5}
ANSWERS = [
    (
        lambda app: app.delete_item("a", reply_id="t"),
        lambda talk: talk.server("conversation.item.deleted", item_id="a"),
    ),
    (
        lambda app: app.retrieve_item("a", reply_id="t"),
        lambda talk: talk.server("conversation.item.retrieved", **RETRIEVED),
    ),
    (
        lambda app: app.truncate_item("a", 0, 5, reply_id="t"),
        lambda talk: talk.server("conversation.item.truncated", **TRUNCATED),
    ),
    (
        lambda app: app.create_item(
            {"id": "a", "type": "message", "role": "user"}, previous_item_id=None, reply_id="t"
        ),
        lambda talk: talk.item("a"),
    ),
]


@pytest.mark.parametrize("command, answer", ANSWERS)
def test_the_answer_of_its_kind_settles_a_request_once(talk, command, answer):
    talk.do(command)
    talk.server("conversation.item.deleted", item_id="other")
    assert talk.settled == {}
    answer(talk)
    answer(talk)
    assert talk.settled["t"].error is None
    talk.app.disconnect(ConnectionLost("gone"))
    assert list(talk.settled) == ["t"]


def test_a_created_item_is_the_answer_to_its_request(talk):
    talk.app.create_item({"type": "message", "role": "user", "content": []}, previous_item_id=None, reply_id="t")
    item_id = talk.sent[0]["item"]["id"]
    talk.item(item_id)
    assert talk.settled["t"].value.item_id == item_id


def test_two_who_ask_for_the_same_are_answered_in_turn(talk):
    talk.app.retrieve_item("a", reply_id="one")
    talk.app.retrieve_item("a", reply_id="two")
    talk.server("conversation.item.retrieved", item={"id": "a", "type": "message", "role": "user"})
    assert list(talk.settled) == ["one"]
    talk.error("item_not_found", talk.sent[1]["event_id"])
    assert talk.settled["two"].error is not None
    assert not talk.state.requests._waiting


@pytest.mark.parametrize(
    "code, kind, harmless",
    [
        ("response_cancel_not_active", "response.cancel", True),
        ("invalid_value", "conversation.item.truncate", True),
        (None, "conversation.item.truncate", True),
        ("invalid_value", "response.cancel", False),
        ("server_error", "conversation.item.truncate", False),
        ("response_cancel_not_active", "response.create", False),
    ],
)
def test_which_refusals_of_an_interrupt_change_nothing(code, kind, harmless):
    assert is_harmless(read_error({"code": code}), kind) is harmless


def test_a_cancel_and_a_truncation_that_came_too_late_are_nobodys_business(talk):
    talk.speak("r", "a")
    talk.app.interrupt()
    for event, code in zip(talk.sent, ("response_cancel_not_active", "invalid_value"), strict=True):
        talk.error(code, event["event_id"])
    assert talk.events_of("error") == []
    assert talk.core.counters().harmless_errors == 2


def test_a_truncation_of_the_apps_own_that_fails_is_told(talk):
    talk.app.truncate_item("a", 0, 5)
    talk.error("invalid_value", talk.sent[0]["event_id"])
    assert talk.events_of("error")[0].error.request == "conversation.item.truncate"


@pytest.mark.parametrize(
    "error, refused",
    [
        ({"code": "conversation_already_has_active_response"}, True),
        ({"code": "bad_response_create"}, True),
        ({"code": "invalid_value", "param": "response.create.tools"}, True),
        ({"code": "invalid_value", "param": "response"}, False),
        ({"code": "invalid_value"}, False),
        ({}, False),
    ],
)
def test_which_errors_without_an_id_can_only_be_about_a_response(error, refused):
    assert is_refused_create(read_error(error)) is refused


@pytest.mark.parametrize(
    "code, fatal",
    [("session_expired", True), ("insufficient_quota", True), ("rate_limit_exceeded", False), (None, False)],
)
def test_which_errors_end_the_session(talk, code, fatal):
    talk.error(code)
    assert talk.events_of("error")[0].error.fatal is fatal


def test_an_error_with_nothing_in_it_is_still_an_event(talk):
    talk.server("error", error={})
    info = talk.events_of("error")[0].error
    assert (info.message, info.code, info.request) == ("the server gave no message", None, None)


def test_an_error_about_one_of_our_events_says_what_it_was(talk):
    talk.app.commit_audio()
    talk.app.clear_audio()
    talk.error("input_audio_buffer_commit_empty", talk.sent[0]["event_id"])
    talk.error("server_error", talk.sent[1]["event_id"])
    assert [each.error.request for each in talk.events] == ["input_audio_buffer.commit", "input_audio_buffer.clear"]


def test_an_id_that_the_app_chose_for_a_raw_event_is_kept_and_found(talk):
    talk.app.send_raw({"type": "conversation.item.delete", "item_id": "a", "event_id": "mine"})
    talk.error("item_not_found", "mine")
    assert talk.events[0].error.request == "conversation.item.delete"


def test_every_event_that_we_send_has_an_id_of_its_own(talk):
    for command, _ in ASKING:
        talk.do(command)
    talk.app.create_response()
    talk.app.send_raw({"type": "output_audio_buffer.clear"})
    ids = [event["event_id"] for event in talk.sent]
    assert len(set(ids)) == len(ids)
    assert all(ids)


def test_sent_events_are_remembered_only_so_long(talk):
    for _ in range(2000):
        talk.app.commit_audio()
    assert len(talk.state.requests._sent) == 512


def test_a_frame_that_is_no_event_is_an_error_and_an_event_newer_than_us_is_none(talk):
    talk.server("of.tomorrow")
    assert talk.events == []
    talk.server("")
    assert isinstance(talk.events_of("error")[0].error, ProtocolError)
    assert talk.core.counters().unknown_events == 2


def test_a_transcription_that_failed_is_told(talk):
    talk.server(
        "conversation.item.input_audio_transcription.failed", item_id="a", content_index=0, error={"message": "noise"}
    )
    info = talk.events[0].error
    assert (info.message, info.request) == ("noise", "transcription of a")


def test_a_lost_connection_tells_everybody_once(talk):
    talk.app.update_session({}, reply_id="update")
    talk.app.delete_item("a", reply_id="delete")
    talk.app.create_response(reply_id="on its way")
    talk.app.create_response(reply_id="queued")
    talk.app.create_response({"conversation": "none"}, reply_id="out of band")
    talk.created("r0", talk.creates[1])
    talk.call("r0", "c1")
    talk.app.disconnect(ConnectionLost("gone"))
    assert set(talk.settled) == {"update", "delete", "on its way", "queued", "out of band"}
    assert all(isinstance(each.error, ConnectionLost) for each in talk.settled.values())
    assert talk.core.next_deadline is None
    assert not talk.core.response_active
