"""Requests: which answer and which error is whose, and what is lost, late or doubled."""

from __future__ import annotations

import pytest

from trealtime._core.server_errors import can_be_about, is_harmless, read_error
from trealtime.errors import ConnectionLost, ProtocolError, RequestTimedOut, ServerRefused, SettingsRefused

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


def failure_of(talk):
    """What the caller got: an exception, or the error of a response that was not made."""
    answer = talk.settled["t"]
    return answer.error if answer.error is not None else answer.value.error


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
    assert not talk.state.requests._open


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


TYPES = (
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "input_audio_buffer.clear",
    "input_audio_buffer.commit",
    "response.cancel",
    "response.create",
    "session.update",
)
ITEM = {"conversation.item.delete", "conversation.item.retrieve", "conversation.item.truncate"}
ANY = {*TYPES} - {"response.cancel"}


@pytest.mark.parametrize(
    "error, about",
    [
        ({"code": "conversation_already_has_active_response"}, {"response.create"}),
        ({"code": "bad_response_create"}, {"response.create"}),
        ({"code": "invalid_value", "param": "response.tools"}, {"response.create"}),
        ({"code": "invalid_value", "param": "session.audio.input"}, {"session.update"}),
        ({"code": "invalid_value", "param": "item.content[0].text"}, {"conversation.item.create"}),
        ({"code": "invalid_value", "param": "previous_item_id"}, {"conversation.item.create"}),
        ({"code": "invalid_value", "param": "audio_end_ms"}, {"conversation.item.truncate"}),
        ({"code": "item_not_found", "param": "item_id"}, ITEM),
        ({"code": "item_delete_invalid_item_id"}, {"conversation.item.delete"}),
        ({"code": "item_truncate_invalid_item_id"}, {"conversation.item.truncate"}),
        ({"code": "input_audio_buffer_commit_empty"}, {"input_audio_buffer.commit"}),
        ({"code": "response_cancel_not_active"}, {"response.cancel"}),
        ({"code": "insufficient_quota"}, {"response.create"}),
        ({"code": "billing_hard_limit_reached"}, {"response.create"}),
        ({"code": "rate_limit_exceeded"}, ANY),
        ({"type": "server_error"}, ANY),
        ({}, ANY),
    ],
)
def test_which_requests_an_error_without_an_id_can_be_about(error, about):
    assert {kind for kind in TYPES if can_be_about(read_error(error), kind)} == about


@pytest.mark.parametrize("bad, good", [("item_1", "item_12"), ("item_12", "item_1")])
@pytest.mark.parametrize("kind", ["delete", "retrieve", "create"])
@pytest.mark.parametrize("message", ["item with item_id '{}' is wrong.", "{} is wrong", "wrong: {}"])
def test_of_several_requests_an_error_without_an_id_is_about_that_of_the_item_it_names(talk, kind, bad, good, message):
    for item_id in ("item_1", "item_12"):
        if kind == "create":
            talk.app.create_item({"id": item_id, "type": "message", "role": "user"}, reply_id=item_id)
        else:
            getattr(talk.app, f"{kind}_item")(item_id, reply_id=item_id)
    talk.error("invalid_value", message=message.format(bad))
    assert list(talk.settled) == [bad]
    assert isinstance(talk.settled[bad].error, ServerRefused)
    talk.app.truncate_item(good, 0, 0, reply_id="other")
    talk.error("invalid_value", message=message.format("item_3"))
    talk.error("invalid_value", message=message.format(good))
    assert list(talk.settled) == [bad], "two different requests may be meant, or none"


def test_an_error_about_the_place_of_an_item_names_the_one_before_it(talk):
    for item_id, previous in (("item_1", "item_0"), ("item_2", "item_1")):
        item = {"id": item_id, "type": "message", "role": "user"}
        talk.app.create_item(item, previous_item_id=previous, reply_id=item_id)
    code = "item_create_invalid_previous_item_id"
    talk.error(code, message="no item with id 'item_1'", param="previous_item_id")
    assert list(talk.settled) == ["item_2"]
    talk.error(code, message="no item with id 'item_0'", param="previous_item_id")
    assert list(talk.settled) == ["item_2", "item_1"]


def test_of_two_equal_requests_an_error_without_an_id_is_about_the_older_one(talk):
    for reply_id in ("one", "two"):
        talk.app.delete_item("item_1", reply_id=reply_id)
    talk.error("invalid_value", message="no item item_1")
    assert list(talk.settled) == ["one"]


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


# ---- answers that are lost, late or doubled --------------------------------------------------------------------------


def test_one_lost_answer_shifts_no_later_one(talk):
    for number in range(3):
        talk.app.truncate_item("a", 0, 5 + number, reply_id=f"t{number}")
    for number in (1, 2):  # the first answer is lost
        talk.server("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=5 + number)
    assert set(talk.settled) == {"t1", "t2"}
    talk.wait(10)
    assert isinstance(talk.settled["t0"].error, RequestTimedOut)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_acknowledgement_of_settings_is_made_up_for_by_the_next(talk, lost):
    talk.server("session.updated", session={"speed": 1.0, "instructions": "old"})
    talk.forget()
    updates = [{"instructions": "new"}, {"speed": 1.5}, {"instructions": "newest"}]
    for number, session in enumerate(updates):
        talk.app.update_session(session, reply_id=f"u{number}")
    shown = {"speed": 1.0, "instructions": "old"}
    for number, session in enumerate(updates):
        shown = {**shown, **session}
        if number != lost:
            talk.server("session.updated", session=shown)
            assert list(talk.settled) == [f"u{each}" for each in range(number + 1)]
    assert talk.events == []
    assert all(each.error is None for each in talk.settled.values())


def test_a_late_acknowledgement_of_an_update_that_was_given_up_answers_no_other(talk):
    talk.server("session.updated", session={"instructions": "old", "speed": 1.0})
    talk.app.update_session({"instructions": "new"}, reply_id="given up")
    talk.wait(10)
    talk.app.update_session({"speed": 1.5}, reply_id="next")
    talk.server("session.updated", session={"instructions": "new", "speed": 1.0})
    assert set(talk.settled) == {"given up"}
    talk.server("session.updated", session={"instructions": "new", "speed": 1.5})
    assert talk.settled["next"].error is None


def test_a_doubled_acknowledgement_answers_no_other_update(talk):
    talk.server("session.updated", session={"instructions": "old", "speed": 1.0})
    talk.app.update_session({"instructions": "new"}, reply_id="first")
    talk.app.update_session({"speed": 1.5}, reply_id="second")
    for _ in range(2):
        talk.server("session.updated", session={"instructions": "new", "speed": 1.0})
    assert set(talk.settled) == {"first"}
    talk.server("session.updated", session={"instructions": "new", "speed": 1.5})
    assert talk.settled["second"].error is None


def test_a_server_that_ignores_a_setting_has_answered_in_the_end(talk):
    talk.server("session.updated", session={"speed": 1.0})
    talk.app.update_session({"speed": 1.5}, reply_id="ignored")
    talk.server("session.updated", session={"speed": 1.0})
    talk.wait(10)
    assert talk.settled["ignored"].error is None
    assert [each.path for each in talk.events_of("settings_mismatch")[0].differences] == ["speed"]


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
def test_a_quota_that_is_used_up_refuses_the_answer_at_once(talk, code):
    talk.app.update_session({"speed": 1.5}, reply_id="update")
    talk.app.create_response(reply_id="t")
    talk.error(code, None, type="insufficient_quota")
    assert set(talk.settled) == {"t"}
    assert failure_of(talk).code == code


def test_errors_without_an_id_about_what_an_interrupt_sent_are_harmless(talk):
    talk.speak("r", "a")
    talk.app.interrupt()
    talk.error("response_cancel_not_active", None)
    talk.error("item_truncate_invalid_item_id", None)
    assert talk.events_of("error") == []
    assert talk.core.counters().harmless_errors == 2


@pytest.mark.parametrize("out_of_band", [True, False])
def test_a_response_to_what_an_error_without_an_id_seemed_to_refuse_is_stopped_and_known_for_what_it_is(
    talk, out_of_band
):
    talk.app.create_response({"conversation": "none"} if out_of_band else None, reply_id="t")
    talk.error("rate_limit_exceeded", None)
    assert failure_of(talk).code == "rate_limit_exceeded"
    talk.created("r1", talk.creates[0])
    assert [event["response_id"] for event in talk.sent_of("response.cancel")] == ["r1"]
    assert talk.core.response_active is not out_of_band
    talk.done("r1", "cancelled")
    assert list(talk.settled) == ["t"]


def test_a_collision_without_an_id_is_not_about_an_out_of_band_request(talk):
    talk.speak("r1", "a")
    talk.app.create_response({"conversation": "none"}, reply_id="t")
    talk.error("conversation_already_has_active_response", None)
    assert talk.settled == {}
    assert talk.core.counters().collisions_retried == 0


def test_a_response_whose_done_is_lost_is_over_soon_after_a_newer_one_has_begun(talk):
    talk.created("r1", conversation_id="conv")
    talk.app.create_response(automatic=True)
    talk.wait(20)
    assert talk.creates == []  # it may still speak
    talk.created("r2", conversation_id="conv")
    talk.done("r2")
    assert talk.creates == []
    talk.wait(5)
    assert len(talk.creates) == 1
    assert [(each.response_id, each.status) for each in talk.events_of("agent_end")] == [
        ("r2", "completed"),
        ("r1", "incomplete"),
    ]


def test_a_done_without_an_id_is_that_of_the_only_response(talk):
    talk.created("r1")
    talk.server("response.done", response={"status": "completed"})
    assert [each.response_id for each in talk.events_of("agent_end")] == ["r1"]


@pytest.mark.parametrize("param, error", [(None, ServerRefused), ("session.audio", SettingsRefused)])
def test_an_error_before_the_session_is_ready_is_what_entering_raises(make_talk, param, error):
    talk = make_talk()
    talk.app.open_session({"type": "realtime"}, reply_id="open")
    talk.error("model_not_found", None, param=param)
    assert type(talk.settled["open"].error) is error
    assert talk.settled["open"].error.code == "model_not_found"


# ---- what the server refuses -----------------------------------------------------------------------------------------


def test_ws10_an_event_newer_than_us_is_no_error(make_talk):
    talk = make_talk(raw_events=True)
    talk.server("response.of.tomorrow", anything=[1])
    assert talk.types == ["raw_model_event"]


def test_ws33_a_cancel_that_came_too_late_is_known_for_what_it_is(talk):
    talk.created("r1")
    talk.app.interrupt()
    talk.error("response_cancel_not_active", talk.sent[-1]["event_id"])
    assert talk.events_of("error") == []
    talk.app.cancel_response("theirs")
    talk.error("response_cancel_not_active", talk.sent[-1]["event_id"])
    assert talk.events_of("error")[0].error.request == "response.cancel"


def test_ws42_items_can_be_created_retrieved_truncated_and_deleted(talk):
    talk.app.create_item({"id": "u", "type": "message", "role": "user"}, previous_item_id="root")
    talk.app.retrieve_item("u")
    talk.app.truncate_item("a", 0, -5)
    talk.app.delete_item("u")
    kinds = [event["type"].rpartition(".")[2] for event in talk.sent]
    assert kinds == ["create", "retrieve", "truncate", "delete"]
    assert talk.truncations == [("a", 0, 0)]
    assert talk.core.history() == []


def test_a_done_without_an_id_and_without_a_response_does_no_harm(talk):
    talk.server("response.done", response={"status": "completed"})
    talk.app.create_response(reply_id="t")
    talk.created("r", answers=talk.creates[0])
    talk.done("r")
    assert talk.settled["t"].value.response_id == "r"
