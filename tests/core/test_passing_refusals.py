"""What the server refuses for its own sake (``server_error``, a rate limit): what goes again, how often, and what does
not."""

from __future__ import annotations

import pytest

from trealtime._core import effects as fx
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime._core.response_queue import PASSING_AGAIN
from trealtime.errors import ServerRefused, SettingsRefused

FIRST_S, LIMIT = PASSING_AGAIN
PASSING = [{"type": "server_error", "code": None}, {"type": "invalid_request_error", "code": "rate_limit_exceeded"}]
LASTING = [
    {"type": "invalid_request_error", "code": "invalid_value"},
    {"type": "server_error", "code": "insufficient_quota"},
]


def refuse(talk, event, why, *, named=True):
    error = {"message": "Try again.", **why, "event_id": event["event_id"] if named else None}
    return talk.server("error", error=error)


# ---- requests for a response ----------------------------------------------------------------------------------------


def message(talk):
    talk.app.create_item({"id": "m", "type": "message", "role": "user", "content": []})
    talk.item("m")
    talk.app.create_response(automatic=True, reply_id="t")


def output(talk):
    talk.app.create_response()
    talk.created("r0", talk.creates[0])
    talk.call("r0", "c")
    talk.done("r0")
    talk.forget()
    talk.app.send_tool_output("c", "42")
    (sent,) = talk.sent_of("conversation.item.create")
    talk.server("conversation.item.added", item=sent["item"], previous_item_id=None)


@pytest.mark.parametrize("ask", [message, output])
@pytest.mark.parametrize("why", PASSING)
@pytest.mark.parametrize("named", [True, False])
def test_an_automatic_request_goes_again_after_pauses_that_double(talk, ask, why, named) -> None:
    ask(talk)
    for number in range(LIMIT):
        assert len(talk.creates) == number + 1
        refuse(talk, talk.creates[-1], why, named=named)
        talk.wait(FIRST_S * 2**number - 0.01)
        assert len(talk.creates) == number + 1
        talk.wait(0.01)
    assert len({create["response"]["metadata"]["trealtime_request"] for create in talk.creates}) == 1
    talk.created("r1", talk.creates[-1])
    talk.done("r1")
    assert talk.events_of("error") == []
    assert talk.turns[-1].retries == LIMIT
    assert talk.turns[-1].status == "completed"


@pytest.mark.parametrize("ask", [message, output])
def test_it_ends_with_the_error_when_it_has_gone_often_enough(talk, ask) -> None:
    ask(talk)
    for number in range(LIMIT + 1):
        refuse(talk, talk.creates[-1], PASSING[0])
        talk.wait(FIRST_S * 2**number)
    assert len(talk.creates) == LIMIT + 1
    if ask is message:
        assert isinstance(talk.settled["t"].value.error, ServerRefused)
    else:
        assert [type(event.error) for event in talk.events_of("error")] == [ServerRefused]
    assert talk.turns[-1].reason == "refused"


@pytest.mark.parametrize("why", LASTING)
def test_an_automatic_request_that_is_refused_for_good_goes_once(talk, why) -> None:
    message(talk)
    refuse(talk, talk.creates[-1], why)
    talk.wait(60)
    assert len(talk.creates) == 1
    assert isinstance(talk.settled["t"].value.error, ServerRefused)


def test_who_asks_by_hand_decides_what_follows_from_a_refusal(talk) -> None:
    talk.app.create_response(reply_id="t")
    refuse(talk, talk.creates[-1], PASSING[0])
    talk.wait(60)
    assert len(talk.creates) == 1
    assert isinstance(talk.settled["t"].value.error, ServerRefused)


def test_a_request_that_waits_to_go_again_can_be_left_and_interrupted(talk) -> None:
    message(talk)
    refuse(talk, talk.creates[-1], PASSING[0])
    talk.app.interrupt(reply_id="t")
    assert talk.settled["t"].value.reason == "client_cancelled"


def test_a_request_that_an_error_without_an_id_did_not_refuse_is_answered_once(talk) -> None:
    message(talk)
    (create,) = talk.creates
    refuse(talk, create, PASSING[0], named=False)
    talk.created("r1", create)
    talk.done("r1")
    talk.wait(60)
    assert len(talk.creates) == 1
    assert talk.settled["t"].value.response_id == "r1"


# ---- responses that fail ---------------------------------------------------------------------------------------------


def fail(talk, response_id, why=PASSING[0], **fields):
    details = {"type": "failed", "error": why}
    return talk.done(response_id, "failed", status_details=details, **fields)


def spoken(talk):
    talk.turn("u")


def owner(talk):
    """The metadata of the next response, where it answers a request."""
    return talk.creates[-1] if talk.creates else None


@pytest.mark.parametrize("ask", [message, output, spoken])
@pytest.mark.parametrize("why", PASSING)
def test_an_answer_that_fails_before_any_of_it_is_there_is_asked_for_again(make_talk, ask, why) -> None:
    talk = make_talk()
    talk.open(create_response=True)
    ask(talk)
    before = len(talk.creates)
    for number in range(LIMIT):
        talk.created(f"r{number + 1}", owner(talk))
        fail(talk, f"r{number + 1}", why)
        talk.wait(FIRST_S * 2**number - 0.01)
        assert len(talk.creates) == before + number
        talk.wait(0.01)
        assert len(talk.creates) == before + number + 1
    talk.created("r9", owner(talk))
    talk.output_item("r9", "a")
    talk.done("r9")
    assert [event.status for event in talk.events_of("agent_end")][-LIMIT - 1 :] == ["failed"] * LIMIT + ["completed"]
    assert len(talk.events_of("error")) == LIMIT
    assert (talk.turns[-1].status, talk.turns[-1].retries) == ("completed", LIMIT)
    if ask is message:
        assert talk.settled["t"].value.response_id == "r9"


@pytest.mark.parametrize("ask", [message, spoken])
def test_it_stays_failed_when_it_has_failed_often_enough(make_talk, ask) -> None:
    talk = make_talk()
    talk.open(create_response=True)
    ask(talk)
    for number in range(LIMIT + 1):
        talk.created(f"r{number}", owner(talk))
        fail(talk, f"r{number}")
        talk.wait(60)
    assert len(talk.creates) == LIMIT + (ask is message)
    assert (talk.turns[-1].status, talk.turns[-1].reason) == ("failed", "server_error")
    if ask is message:
        assert talk.settled["t"].value.status == "failed"


@pytest.mark.parametrize("case", ["by hand", "for good", "some audio", "some text", "a call", "interrupted", "outside"])
def test_an_answer_that_fails_otherwise_stays_failed(talk, case) -> None:
    why = LASTING[0] if case == "for good" else PASSING[0]
    if case in ("by hand", "outside"):
        talk.app.create_response({"conversation": "none"} if case == "outside" else None)
    else:
        message(talk)
    talk.created("r1", talk.creates[0])
    match case:
        case "some audio":
            talk.speak("r1", "a", 100)
        case "some text":
            talk.transcript("r1", "a", "Hello")
        case "a call":
            talk.call("r1", "c")
        case "interrupted":
            talk.app.interrupt()
    fail(talk, "r1", why)
    talk.wait(60)
    assert len(talk.creates) == 1


def test_the_users_speech_is_answered_once_where_an_answer_has_failed(make_talk) -> None:
    talk = make_talk()
    talk.open(create_response=True, interrupt_response=True)
    talk.turn("u")
    talk.created("r1")
    fail(talk, "r1")
    talk.turn("v")
    talk.created("r2")
    talk.done("r2")
    talk.wait(60)
    assert talk.creates == []
    assert [turn.item_ids for turn in talk.turns] == [("u", "v")]


# ---- the first settings ---------------------------------------------------------------------------------------------


def opening(make_talk, policy):
    talk = make_talk(link=Link(policy))
    talk.app.open_session({"type": "realtime", "instructions": "Be brief."}, reply_id="open")
    return talk


def lost(talk, effects):
    """The session drops the connection, as it is told, and dials again."""
    (drop,) = [each for each in effects if isinstance(each, fx.DropConnection)]
    assert talk.core.recovers(1006, "network")
    effects = talk.app.connection_lost(code=1006, reason=drop.reason)
    if not [each for each in effects if isinstance(each, fx.Dial)]:
        (given_up,) = [each for each in effects if isinstance(each, fx.GiveUp)]
        return given_up
    return talk.app.connected()


@pytest.mark.parametrize("why", PASSING)
@pytest.mark.parametrize("named", ["it", "nothing", "another"])
@pytest.mark.parametrize("created", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_first_settings_are_sent_on_another_connection(make_talk, why, named, created, times) -> None:
    talk = opening(make_talk, ReconnectPolicy(retry_on=[503]))
    for _ in range(times):
        if created:
            talk.server("session.created", session={"type": "realtime"})
        update = talk.sent_of("session.update")[-1] if named != "another" else {"event_id": "of nobody"}
        lost(talk, refuse(talk, update, why, named=named != "nothing"))
    assert "open" not in talk.settled
    updates = talk.sent_of("session.update")
    assert [update["session"]["instructions"] for update in updates] == ["Be brief."] * (times + 1)
    talk.server("session.created", session={"type": "realtime"})
    talk.server("session.updated", session=updates[-1]["session"])
    assert talk.settled["open"].error is None
    assert talk.core.ready
    assert talk.events_of("error") == []


def test_the_policy_says_how_often(make_talk) -> None:
    talk = opening(make_talk, ReconnectPolicy(max_attempts=2))
    for attempt in range(3):
        given_up = lost(talk, refuse(talk, talk.sent_of("session.update")[-1], PASSING[0]))
        assert isinstance(given_up, fx.GiveUp) == (attempt == 2)
    assert [note.partition(": ")[0] for note in given_up.attempts] == ["attempt 0", "attempt 1", "attempt 2"]
    assert "Try again." in given_up.attempts[-1]


@pytest.mark.parametrize("why, policy", [(PASSING[0], None), *((each, ReconnectPolicy()) for each in LASTING)])
def test_settings_that_are_refused_for_good_or_without_a_policy_are_raised(make_talk, why, policy) -> None:
    talk = opening(make_talk, policy)
    talk.server("session.created", session={"type": "realtime"})
    effects = refuse(talk, talk.sent_of("session.update")[-1], why)
    assert isinstance(talk.settled["open"].error, SettingsRefused)
    assert not [each for each in effects if isinstance(each, fx.DropConnection)]
