"""Limits in the core: what is told when, what still begins after one is reached, and when to look again."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trealtime._core.usage import ModelPrices, SessionLimits
from trealtime.errors import SessionClosed
from trealtime.events import LimitUse

DETAILS = {"text_tokens": 100, "cached_tokens": 0}
PRICES = {"gpt-realtime": ModelPrices(text_input=Decimal(100), text_output=Decimal(1000), audio_input=Decimal(300))}


@pytest.fixture
def limited(make_talk):
    """``limited(max_tokens=100)``: a talk with these limits, over an open session of a model that has prices."""

    def make(**limits):
        talk = make_talk(prices=PRICES, limits=SessionLimits(**limits))
        talk.open()
        transcription = {"model": "whisper"}
        session = {"type": "realtime", "model": "gpt-realtime", "audio": {"input": {"transcription": transcription}}}
        talk.server("session.updated", session=session)
        talk.forget()
        return talk

    return make


def answer(talk, response_id, tokens, **fields):
    """A whole response that the server makes by itself."""
    talk.created(response_id)
    talk.done(response_id, usage={"input_tokens": tokens, "input_token_details": DETAILS, **fields})


def told(talk) -> list[tuple[str, LimitUse]]:
    return [(event.type, event.limit) for event in talk.events if event.type.startswith("limit_")]


def reached(talk) -> list[LimitUse]:
    return [fx.limit for fx in talk.effects if fx.limit is not None]


def test_a_session_without_limits_is_told_nothing_and_has_no_deadline(limited):
    talk = limited()
    answer(talk, "r1", 10**9)
    assert told(talk) == []
    assert talk.core.next_deadline is None


def test_tokens_are_told_near_the_limit_and_at_it_each_once_and_after_the_end_of_the_response(limited):
    talk = limited(max_tokens=100)
    answer(talk, "r1", 79)
    assert told(talk) == []
    answer(talk, "r2", 1)
    assert told(talk) == [("limit_approached", LimitUse("max_tokens", 80, 100))]
    answer(talk, "r3", 10)
    assert reached(talk) == []
    answer(talk, "r4", 30)
    assert told(talk)[1:] == [("limit_reached", LimitUse("max_tokens", 120, 100))]
    assert talk.types[-2:] == ["agent_end", "limit_reached"]
    answer(talk, "r5", 500)
    assert len(told(talk)) == 2
    assert [str(use) for use in reached(talk)] == ["max_tokens: 120 of 100"]


def test_a_limit_that_is_crossed_at_one_stroke_is_only_reached(limited):
    talk = limited(max_tokens=100)
    answer(talk, "r1", 100)
    assert [kind for kind, _ in told(talk)] == ["limit_reached"]


def test_nobody_is_warned_who_does_not_want_it(limited):
    talk = limited(max_tokens=100, warn_at=None)
    answer(talk, "r1", 99)
    assert told(talk) == []


def test_of_a_cost_that_is_a_range_the_upper_end_counts(limited):
    talk = limited(max_cost=Decimal("0.03"), warn_at=None)
    talk.created("r1")
    talk.done("r1", usage={"input_tokens": 100})
    cost = talk.core.cost
    assert (cost.at_least, cost.at_most) == (Decimal("0.01"), Decimal("0.03"))
    assert reached(talk) == [LimitUse("max_cost", Decimal("0.03"), Decimal("0.03"))]


def test_transcription_counts_towards_the_cost_and_not_towards_the_tokens(make_talk):
    prices = {"whisper": ModelPrices(audio_minute=Decimal("0.06"))}
    talk = make_talk(prices=prices, limits=SessionLimits(max_cost=Decimal("0.01"), max_tokens=1))
    talk.open()
    session = {"audio": {"input": {"transcription": {"model": "whisper"}, "turn_detection": None}}}
    talk.server("session.updated", session=session)
    for item_id in ("u1", "u2"):
        talk.server(
            "conversation.item.input_audio_transcription.completed",
            item_id=item_id,
            transcript="Hello",
            usage={"type": "duration", "seconds": 5},
        )
    assert reached(talk) == [LimitUse("max_cost", Decimal("0.01"), Decimal("0.01"))]
    assert talk.core.transcription_usage.cost.exact


@pytest.mark.parametrize("duration_s, warned_s", [(60.0, 48.0), (7.0, 5.6), (0.3, 0.24)])
def test_time_is_told_at_deadlines_that_pass_however_floats_add_up(make_talk, duration_s, warned_s):
    talk = make_talk(limits=SessionLimits(max_duration_s=duration_s))
    talk.now = 1234.567
    talk.open()
    for kind, used_s in (("limit_approached", warned_s), ("limit_reached", duration_s)):
        deadline = talk.core.next_deadline
        assert deadline == pytest.approx(1234.567 + used_s)
        talk.forget()
        talk.now = deadline
        talk.wait(0)
        assert told(talk) == [(kind, LimitUse("max_duration_s", pytest.approx(used_s), duration_s))]
    assert talk.core.next_deadline is None


def test_after_a_limit_nothing_is_asked_for_and_whoever_asks_is_told(limited):
    talk = limited(max_tokens=100)
    talk.app.create_response(reply_id="first")
    (create,) = talk.creates
    talk.created("r1", create)
    talk.app.create_response(reply_id="waiting")
    talk.done("r1", usage={"total_tokens": 100}, metadata=create["response"]["metadata"])
    talk.app.create_response(reply_id="late")
    talk.app.create_response({"conversation": "none"}, reply_id="beside")
    assert len(talk.creates) == 1
    assert talk.settled["first"].value.status == "completed"
    for reply_id in ("waiting", "late", "beside"):
        error = talk.settled[reply_id].value.error
        assert isinstance(error, SessionClosed)
        assert str(error) == "this session is over: it has reached its limit, max_tokens: 100 of 100"
    talk.forget()
    talk.app.create_response(automatic=True)
    (event,) = talk.events_of("error")
    assert isinstance(event.error, SessionClosed)


def test_after_a_limit_an_answer_to_tools_is_not_asked_for(limited):
    talk = limited(max_tokens=100)
    talk.app.create_response(reply_id="ask")
    (create,) = talk.creates
    talk.created("r1", create)
    talk.call("r1", "call_1")
    talk.done("r1", usage={"total_tokens": 100}, metadata=create["response"]["metadata"])
    talk.app.send_tool_output("call_1", "done")
    assert len(talk.creates) == 1
    assert isinstance(talk.settled["ask"].value.error, SessionClosed)


def test_after_a_limit_a_response_of_the_server_s_own_is_cancelled(limited):
    talk = limited(max_duration_s=60)
    talk.wait(50)
    talk.speak("r1", "a")
    talk.wait(10)
    assert reached(talk)
    talk.forget()
    talk.audio("r1", "a", 500)
    assert talk.types == ["audio"]  # the answer that is being made goes on
    talk.done("r1")
    talk.created("r2")
    talk.audio("r2", "b", 500)
    assert [event["response_id"] for event in talk.sent_of("response.cancel")] == ["r2"]
    assert "audio" not in talk.types[1:]


def test_after_a_limit_the_response_that_was_asked_for_before_comes(limited):
    talk = limited(max_duration_s=20)
    talk.app.create_response(reply_id="ask")
    talk.wait(20)
    (create,) = talk.creates
    talk.created("r1", create)
    assert talk.sent_of("response.cancel") == []
    talk.done("r1", metadata=create["response"]["metadata"])
    assert talk.settled["ask"].value.status == "completed"
