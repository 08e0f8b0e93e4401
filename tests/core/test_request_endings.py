"""Every request ends, and what no caller waits for is closed: by its answer, by an error, or at its deadline."""

from __future__ import annotations

from itertools import permutations

import pytest

from trealtime._core.requests import _SUBJECTS
from trealtime.errors import ConnectionLost, RequestTimedOut, ServerRefused

from .test_requests import RETRIEVED, TRUNCATED, failure_of

# ---- every request ends ---------------------------------------------------------------------------------------------

SESSION = {"type": "realtime", "instructions": "x"}
USER_ITEM = {"id": "b", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
REQUESTS = {
    "conversation.item.create": (
        lambda app: app.create_item(USER_ITEM, reply_id="t"),
        lambda talk: talk.item("b", content=USER_ITEM["content"]),
    ),
    "conversation.item.delete": (
        lambda app: app.delete_item("a", reply_id="t"),
        lambda talk: talk.server("conversation.item.deleted", item_id="a"),
    ),
    "conversation.item.retrieve": (
        lambda app: app.retrieve_item("a", reply_id="t"),
        lambda talk: talk.server("conversation.item.retrieved", **RETRIEVED),
    ),
    "conversation.item.truncate": (
        lambda app: app.truncate_item("a", 0, 5, reply_id="t"),
        lambda talk: talk.server("conversation.item.truncated", **TRUNCATED),
    ),
    "session.update": (
        lambda app: app.update_session(SESSION, reply_id="t"),
        lambda talk: talk.server("session.updated", session=SESSION),
    ),
    "response.create": (
        lambda app: app.create_response(reply_id="t"),
        lambda talk: (talk.created("r1", talk.creates[-1]), talk.done("r1")),
    ),
}


@pytest.fixture(params=REQUESTS)
def kind(request):
    return request.param


@pytest.fixture
def asked(talk, kind):
    """A talk in which one request is on its way."""
    talk.item("a")
    talk.forget()
    REQUESTS[kind][0](talk.app)
    assert talk.settled == {}
    return talk


def answer(talk, kind):
    REQUESTS[kind][1](talk)


def event_id(talk, kind):
    return talk.sent_of(kind)[-1]["event_id"]


def test_a_request_that_is_answered_ends_once(asked, kind):
    answer(asked, kind)
    assert failure_of(asked) is None if kind == "response.create" else asked.settled["t"].error is None
    answer(asked, kind)
    asked.wait(60)
    asked.app.disconnect(ConnectionLost("gone"))
    assert list(asked.settled) == ["t"]
    assert asked.events_of("error") == []


@pytest.mark.parametrize("names_it", [True, False])
@pytest.mark.parametrize("code, type", [("rate_limit_exceeded", "tokens"), (None, "server_error")])
def test_a_request_that_is_refused_ends_with_the_error_whether_or_not_that_names_it(asked, kind, names_it, code, type):
    asked.error(code, event_id(asked, kind) if names_it else None, type=type)
    error = failure_of(asked)
    assert isinstance(error, ServerRefused)
    assert (error.code, error.type, error.request) == (code, type, kind)
    assert asked.events_of("error") == []


def test_a_request_that_is_never_answered_ends_at_its_deadline(asked, kind):
    timeout_s = 30 if kind == "response.create" else 10
    asked.wait(timeout_s - 0.01)
    assert asked.settled == {}
    assert asked.core.next_deadline == pytest.approx(asked.now + 0.01)
    asked.wait(0.01)
    error = failure_of(asked)
    if kind == "response.create":
        assert (error.code, error.request) == ("no_answer", kind)
    else:
        assert isinstance(error, RequestTimedOut)
        assert (error.request, error.timeout_s) == (kind, 10)
    answer(asked, kind)  # late: it answers nothing
    assert list(asked.settled) == ["t"]


def test_an_error_under_the_id_of_another_clients_event_ends_nothing(asked, kind):
    asked.error("invalid_value", "evt_of_another_client")
    assert asked.settled == {}
    assert len(asked.events_of("error")) == 1
    answer(asked, kind)
    assert list(asked.settled) == ["t"]


# A `session.updated` names nothing: it is matched by content, see below.
@pytest.mark.parametrize(
    "kind, under_another_id",
    [
        (
            "conversation.item.retrieve",
            lambda talk: talk.server("conversation.item.retrieved", item={"type": "message", "role": "user"}),
        ),
        ("response.create", lambda talk: (talk.created("r1"), talk.done("r1"))),
        ("conversation.item.create", lambda talk: talk.item("server_1", content=USER_ITEM["content"])),
        ("conversation.item.delete", lambda talk: talk.server("conversation.item.deleted", item_id="")),
        (
            "conversation.item.truncate",
            lambda talk: talk.server("conversation.item.truncated", **{**TRUNCATED, "item_id": ""}),
        ),
    ],
)
def test_an_answer_without_our_id_is_that_of_the_only_request_it_fits(asked, kind, under_another_id):
    under_another_id(asked)
    assert asked.settled["t"].error is None


def test_an_item_of_another_client_is_no_answer(talk):
    talk.app.create_item(USER_ITEM, reply_id="t")
    talk.item("other", content=[{"type": "input_text", "text": "Something else."}])
    talk.item("spoken", content=[{"type": "input_audio", "transcript": "Hello."}])
    assert talk.settled == {}


@pytest.mark.parametrize("kind, other", [*permutations(REQUESTS, 2)])
def test_an_error_that_fits_two_requests_ends_neither_and_the_deadline_decides(asked, kind, other):
    REQUESTS[other][0](_Renamed(asked.app, "u"))
    asked.error(None, None, type="server_error")
    assert asked.settled == {}
    assert len(asked.events_of("error")) == 1
    for _ in range(4):
        asked.wait(10)
    assert set(asked.settled) == {"t", "u"}


def leave(talk, kind):
    """The caller is cancelled. The core hears of it only where the request itself is to be stopped; else the answer is
    settled as ever, and the session drops it (tests/session/test_cancellation.py)."""
    if kind == "response.create":
        talk.app.interrupt(reply_id="t")


SECOND = {
    **REQUESTS,
    "conversation.item.create": (
        lambda app: app.create_item({**USER_ITEM, "id": "c"}, reply_id="u"),
        lambda talk: talk.item("c", content=USER_ITEM["content"]),
    ),
    "conversation.item.truncate": (
        lambda app: app.truncate_item("a", 0, 7, reply_id="u"),
        lambda talk: talk.server("conversation.item.truncated", **{**TRUNCATED, "audio_end_ms": 7}),
    ),
    "session.update": (
        lambda app: app.update_session({**SESSION, "instructions": "y"}, reply_id="u"),
        lambda talk: talk.server("session.updated", session={**SESSION, "instructions": "y"}),
    ),
    "response.create": (
        lambda app: app.create_response(reply_id="u"),
        lambda talk: (talk.created("r2", talk.creates[-1]), talk.done("r2")),
    ),
}
"""The same of another caller, whose answer can be told from the first."""


def ask_again(talk, kind):
    SECOND[kind][0](_Renamed(talk.app, "u"))


def value_of(talk, reply_id):
    answer = talk.settled[reply_id]
    return answer.error, getattr(answer.value, "response_id", None)


def test_the_answer_to_a_caller_who_has_left_is_no_answer_to_the_next_one(asked, kind):
    leave(asked, kind)
    ask_again(asked, kind)
    answer(asked, kind)
    assert list(asked.settled) == ["t"]
    if kind == "response.create":
        assert asked.settled["t"].value.status == "completed"
        assert asked.sent_of("response.cancel")[0]["response_id"] == "r1"
    SECOND[kind][1](asked)
    assert value_of(asked, "u") == (None, "r2" if kind == "response.create" else None)
    answer(asked, kind)  # twice
    asked.wait(60)
    assert list(asked.settled) == ["t", "u"]
    assert asked.events_of("error") == []


@pytest.mark.parametrize("names_it", [True, False])
def test_the_refusal_of_what_a_caller_who_has_left_asked_for_is_none_of_the_next_one(asked, kind, names_it):
    leave(asked, kind)
    asked.error(None, event_id(asked, kind) if names_it else None, type="server_error")
    assert list(asked.settled) == ["t"]
    ask_again(asked, kind)
    SECOND[kind][1](asked)
    assert list(asked.settled) == ["t", "u"]
    assert value_of(asked, "u") == (None, "r2" if kind == "response.create" else None)
    assert asked.events_of("error") == []


def test_what_a_caller_who_has_left_asked_for_ends_at_its_deadline_and_delays_the_next_one_no_longer(asked, kind):
    leave(asked, kind)
    asked.wait(5)
    ask_again(asked, kind)
    timeout_s = 30 if kind == "response.create" else 10
    asked.wait(timeout_s - 5)
    assert list(asked.settled) == ["t"]
    SECOND[kind][1](asked)
    assert value_of(asked, "u") == (None, "r2" if kind == "response.create" else None)
    assert asked.events_of("error") == []


class _Renamed:
    """An app whose calls wait under another reply id."""

    def __init__(self, app, reply_id):
        self.app, self.reply_id = app, reply_id

    def __getattr__(self, name):
        return lambda *args, **kwargs: getattr(self.app, name)(*args, **{**kwargs, "reply_id": self.reply_id})


# ---- what no caller waits for ----------------------------------------------------------------------------------------

FORGOTTEN = {
    "input_audio_buffer.commit": (
        lambda app: app.commit_audio(),
        lambda talk: talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None),
        "input_audio_buffer_commit_empty",
    ),
    "input_audio_buffer.clear": (
        lambda app: app.clear_audio(),
        lambda talk: talk.server("input_audio_buffer.cleared"),
        "server_error",
    ),
    "output_audio_buffer.clear": (
        lambda app: app.send_raw({"type": "output_audio_buffer.clear"}),
        lambda talk: talk.server("output_audio_buffer.cleared", response_id="theirs"),
        "server_error",
    ),
    "response.cancel": (
        lambda app: app.cancel_response("theirs"),
        lambda talk: talk.done("theirs", "cancelled"),
        "response_cancel_not_active",
    ),
}
"""By client event: what sends it, its answer, and the code of a refusal. No caller waits, so none is cancelled; and the
answers to all but a cancel name nothing of ours, so none comes under another id."""


@pytest.fixture(params=FORGOTTEN)
def forgotten(request):
    return request.param


@pytest.fixture
def told(talk, forgotten):
    """A talk in which one request that no caller waits for is on its way."""
    FORGOTTEN[forgotten][0](talk.app)
    return talk


def whose(talk, code):
    """The request that an error without an id is taken to be about."""
    return talk.error(code).emit[0].error.request


@pytest.mark.parametrize("times", [1, 2])
def test_what_nobody_waits_for_is_closed_by_its_answer_however_often_that_comes(told, forgotten, times):
    for _ in range(times):
        FORGOTTEN[forgotten][1](told)
    assert told.events_of("error") == []
    assert whose(told, FORGOTTEN[forgotten][2]) is None
    assert [event["type"] for event in told.sent] == [forgotten]
    assert told.state.turns.ended_at is None


@pytest.mark.parametrize("names_it", [True, False])
def test_the_refusal_of_what_nobody_waits_for_is_an_event_that_says_what_it_was(told, forgotten, names_it):
    code = FORGOTTEN[forgotten][2]
    told.error(code, told.sent[0]["event_id"] if names_it else None)
    assert [each.error.request for each in told.events] == [forgotten]
    assert whose(told, code) is None  # it is closed
    assert told.state.turns.ended_at is None


def test_what_nobody_waits_for_and_nothing_answers_is_closed_without_a_word(told, forgotten):
    told.wait(9.99)
    assert whose(told, FORGOTTEN[forgotten][2]) == forgotten  # still open
    told.forget()
    FORGOTTEN[forgotten][0](told.app)
    told.wait(10)
    assert told.events == []
    assert whose(told, FORGOTTEN[forgotten][2]) is None
    assert told.state.turns.ended_at is None


def test_the_end_of_another_response_is_no_answer_to_a_cancel(talk):
    talk.app.cancel_response("theirs")
    talk.created("other")
    talk.done("other")
    assert whose(talk, "response_cancel_not_active") == "response.cancel"


def test_one_lost_answer_to_a_commit_is_nobodys_and_the_next_turn_is_answered(talk):
    talk.app.commit_audio()  # its answer is lost
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    talk.wait(10)
    talk.app.commit_audio()
    talk.app.create_response(reply_id="u")
    talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    talk.created("r2", talk.creates[1])
    talk.done("r2")
    assert list(talk.settled) == ["t", "u"]
    assert talk.state.turns.ended_at is None
    assert talk.events_of("error") == []


@pytest.mark.parametrize("names_it", [True, False])
def test_a_cancel_of_the_apps_own_response_that_came_too_late_is_harmless(talk, names_it):
    talk.created("r1")
    talk.app.cancel_response("r1")
    cancel = talk.sent_of("response.cancel")[0]
    talk.error("response_cancel_not_active", cancel["event_id"] if names_it else None)
    assert talk.events_of("error") == []
    assert talk.core.counters().harmless_errors == 1


def test_every_client_event_has_its_rows():
    known = {*_SUBJECTS, "session.update", "response.create"}
    assert {*REQUESTS, *FORGOTTEN} == known
    assert {*SECOND} == {*REQUESTS}
