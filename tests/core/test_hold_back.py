"""Audio that is held back until guardrails have passed it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from guarded import (
    checks,
    emitted,
    guarded,
    let_pass,
    sent,
    trip,
)
from hypothesis import given
from hypothesis import strategies as st

from trealtime._core.effects import GuardrailCheck
from trealtime.errors import ConnectionLost


def test_held_audio_is_released_when_the_words_before_it_have_passed(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "0123456789")
    assert not talk.audio("resp_1", "item_a", 100).emit
    talk.transcript("resp_1", "item_a", "abcde")
    assert not talk.audio("resp_1", "item_a", 200).emit
    talk.now += 0.5
    fx = let_pass(talk, checks(talk)[0])
    assert [event.audio.start_ms for event in emitted(fx, "audio")] == [0]
    talk.output_item("resp_1", "item_a", done=True)
    assert not emitted(talk.done("resp_1"), "agent_end")
    talk.now += 0.5
    fx = let_pass(talk, checks(talk)[1])
    assert [event.type for event in fx.emit] == ["audio", "agent_end"]
    delay = talk.core.guardrail_counters().last_hold
    assert (delay.response_id, delay.max_ms, delay.total_ms) == ("resp_1", 1000, 1000)


def test_held_audio_is_released_when_more_than_the_words_before_it_has_passed(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "0123")
    assert not talk.audio("resp_1", "item_a", 100).emit
    talk.transcript("resp_1", "item_a", "456789")
    assert emitted(let_pass(talk, checks(talk)[0]), "audio")


def test_audio_whose_words_have_passed_already_is_not_held(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "0123456789")
    let_pass(talk, checks(talk)[0])
    assert emitted(talk.audio("resp_1", "item_a"), "audio")


def test_audio_without_words_is_released_at_the_end_of_its_item(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    assert not talk.audio("resp_1", "item_a").emit
    fx = talk.output_item("resp_1", "item_a", done=True)
    assert len(emitted(fx, "audio")) == 1


@pytest.mark.parametrize("passes", [True, False])
def test_an_endpoint_that_comes_meanwhile_gets_the_held_audio_as_any_other(make_talk, passes) -> None:
    """So it is there to be interrupted, and to be waited for."""
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    talk.output_item("resp_1", "item_a")
    talk.transcript("resp_1", "item_a", "0123456789")
    talk.audio("resp_1", "item_a", 100)
    talk.done("resp_1")
    talk.app.use_reports(reporting=True)
    if not passes:
        fx = trip(talk, checks(talk)[0])
        assert fx.purge == ["resp_1"]
        assert emitted(fx, "agent_end")
        return
    assert [event.type for event in let_pass(talk, checks(talk)[0]).emit] == ["audio", "agent_end"]
    assert talk.core.playback_remaining(talk.now) == math.inf
    talk.app.report_heard("item_a", 0, 100)
    assert talk.core.playback_remaining(talk.now) == 0


@pytest.mark.parametrize("done", [False, True])
def test_held_audio_that_a_report_takes_for_heard_is_dropped_by_a_trip_all_the_same(make_talk, done: bool) -> None:
    """Else it would hold back all that comes after it, for good."""
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "0123456789")
    talk.audio("resp_1", "item_a", 100)
    talk.output_item("resp_1", "item_a", done=True)
    if done:
        talk.done("resp_1")
    talk.app.report_heard("item_a", 0, 100)
    fx = trip(talk, checks(talk)[0])
    assert fx.purge == ["resp_1"]
    assert not emitted(fx, "audio")
    if not done:
        fx = talk.done("resp_1", status="cancelled")
    (end,) = emitted(fx, "agent_end")
    assert (end.status, end.reason) == ("cancelled", "guardrail")
    talk.created("resp_2")
    talk.output_item("resp_2", "item_b")
    talk.transcript("resp_2", "item_b", "0123456789")
    let_pass(talk, checks(talk)[-1])
    assert emitted(talk.audio("resp_2", "item_b"), "audio")


def test_held_audio_is_never_heard_after_a_trip(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    talk.output_item("resp_1", "item_a")
    talk.transcript("resp_1", "item_a", "you silly person")
    talk.audio("resp_1", "item_a", 1000)
    fx = trip(talk, checks(talk)[0])
    assert not emitted(fx, "audio")
    assert sent(fx, "conversation.item.truncate")[0]["audio_end_ms"] == 0
    talk.done("resp_1", "cancelled")
    assert not [event for fx in talk.effects for event in emitted(fx, "audio")]
    assert talk.core.guardrail_counters().audio_held == 0


@pytest.mark.parametrize("cause", ["trip", "interrupt"])
def test_the_end_of_a_response_is_told_after_its_audio_or_its_interrupt(make_talk, cause: str) -> None:
    talk = guarded(make_talk, hold_back=True)
    request = sent(talk.app.create_response(reply_id="mine"), "response.create")[0]
    talk.created("resp_1", answers=request)
    talk.transcript("resp_1", "item_a", "short")
    talk.audio("resp_1", "item_a")
    fx = talk.done("resp_1")
    assert not emitted(fx, "agent_end")
    assert not fx.settled
    fx = trip(talk, checks(talk)[0]) if cause == "trip" else talk.app.interrupt()
    assert len(emitted(fx, "agent_end")) == 1
    assert [answer.reply_id for answer in fx.settled] == ["mine"]
    told = ("cancelled", "guardrail") if cause == "trip" else ("completed", None)
    end, result = emitted(fx, "agent_end")[0], fx.settled[0].value
    assert (end.status, end.reason) == (result.status, result.reason) == told
    assert not emitted(fx, "audio")


def test_held_responses_keep_their_order(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True)
    for number in (1, 2):
        talk.created(f"resp_{number}")
        talk.transcript(f"resp_{number}", f"item_{number}", "short")
        talk.audio(f"resp_{number}", f"item_{number}")
        talk.done(f"resp_{number}")
    first, second = checks(talk)
    assert not let_pass(talk, second).emit
    fx = let_pass(talk, first)
    assert [(event.type, event.response_id) for event in fx.emit] == [
        ("audio", "resp_1"),
        ("agent_end", "resp_1"),
        ("audio", "resp_2"),
        ("agent_end", "resp_2"),
    ]


def test_a_lost_connection_settles_whoever_waits_for_a_held_response(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True)
    request = sent(talk.app.create_response(reply_id="mine"), "response.create")[0]
    talk.created("resp_1", answers=request)
    talk.transcript("resp_1", "item_a", "short")
    talk.audio("resp_1", "item_a")
    talk.done("resp_1")
    fx = talk.app.disconnect(ConnectionLost("gone"))
    assert [answer.reply_id for answer in fx.settled] == ["mine"]


_STEPS = st.lists(
    st.tuples(st.sampled_from(("words", "audio", "verdict", "item over", "interrupt")), st.integers(0, 9)), max_size=40
)


@given(steps=_STEPS)
def test_whatever_happens_audio_comes_in_order_checked_and_once(make_talk, steps: list[tuple[str, int]]) -> None:
    talk = guarded(make_talk, hold_back=True)
    talk.created("resp_1")
    item, marks, over = 0, {}, set()
    open_checks: list[GuardrailCheck] = []
    passed: dict[str, int] = {}
    texts: dict[str, str] = {}
    seen: list[tuple[str, float]] = []
    received: list[tuple[str, float]] = []
    dead = False

    def look(fx: Any) -> None:
        open_checks.extend(fx.checks)
        for event in emitted(fx, "audio"):
            key = (event.item_id, event.audio.start_ms)
            assert not dead
            final = event.item_id in over and passed.get(event.item_id, 0) >= len(texts.get(event.item_id, ""))
            assert final or 0 < marks[key] <= passed.get(event.item_id, 0)
            seen.append(key)

    def finish_item() -> None:
        over.add(f"item_{item}")
        look(talk.output_item("resp_1", f"item_{item}", done=True))

    for what, which in steps:
        name = f"item_{item}"
        if what == "words":
            texts[name] = texts.get(name, "") + "w" * (which + 1)
            look(talk.transcript("resp_1", name, "w" * (which + 1)))
        elif what == "audio" and not dead:
            key = (name, 10.0 * sum(each[0] == name for each in received))
            received.append(key)
            marks[key] = len(texts.get(name, ""))
            look(talk.audio("resp_1", name, 10))
        elif what == "verdict" and open_checks:
            check = open_checks.pop(which % len(open_checks))
            owner = next(each for each, text in texts.items() if check.serial in _serials(talk, each))
            passed[owner] = max(passed.get(owner, 0), len(check.text))
            look(let_pass(talk, check))
        elif what == "item over":
            finish_item()
            item += 1
        elif what == "interrupt" and which == 0 and received:
            look(talk.app.interrupt())
            dead = True
    finish_item()
    look(talk.done("resp_1"))
    while open_checks:
        check = open_checks.pop()
        owner = next(each for each in texts if check.serial in _serials(talk, each))
        passed[owner] = max(passed.get(owner, 0), len(check.text))
        look(let_pass(talk, check))
    if dead:
        assert seen == received[: len(seen)]
    else:
        assert seen == received
    state = talk.state.guardrails
    assert [state.watches, state.checking, list(state.held), state.delays] == [{}, {}, [], {}]
    assert [event.type for fx in talk.effects for event in fx.emit].count("agent_end") == 1


def _serials(talk: Any, item_id: str) -> set[int]:
    watch = talk.state.guardrails.watches["resp_1"]
    return {serial for serial, (_, each, _) in watch.open.items() if each == item_id}
