"""When another connection is dialled, what ends with the one before, and what is asked for again."""

from __future__ import annotations

import random

import pytest

from trealtime._core import effects as fx
from trealtime._core.ids import IdSource
from trealtime._core.interruption import BargeIn
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime.errors import SettingsError
from trealtime.protocol.validation import structure

DETECTION = {"type": "server_vad", "create_response": True, "interrupt_response": True}


class Half(random.Random):
    """No chance at all: the jitter is the middle of its range."""

    def random(self) -> float:
        return 0.5


@pytest.fixture
def losing(make_talk):
    """A conversation whose connections are replaced by this policy, with settings that the server has acknowledged."""

    def make(options=None, **policy):
        talk = make_talk(link=Link(ReconnectPolicy(**policy)), ids=IdSource(Half(7)), **(options or {}))
        talk.open(**DETECTION)
        return talk

    return make


def lose(talk, code=1006, reason="gone"):
    return talk.app.connection_lost(code=code, reason=reason)


def dials(effects):
    return [each for each in effects if isinstance(each, fx.Dial)]


def given_up(effects):
    return [each.attempts for each in effects if isinstance(each, fx.GiveUp)]


def reconnect(talk):
    effects = talk.app.connected()
    talk.server("session.created", session={"type": "realtime", "audio": {"input": {"turn_detection": DETECTION}}})
    return effects


# ---- whether and when -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, closed_by, replaced",
    [
        (1000, "server", False),
        (1001, "server", True),
        (1006, "network", True),
        (1008, "server", False),
        (1011, "server", True),
        (1012, "server", True),
        (1013, "server", True),
        (1014, "server", False),
        (4000, "server", False),
        (4000, "network", True),
    ],
)
def test_the_ends_after_which_another_connection_is_dialled(code, closed_by, replaced) -> None:
    assert Link(ReconnectPolicy()).recovers(code, closed_by) is replaced
    assert not Link(None).recovers(code, closed_by)


@pytest.mark.parametrize(
    "status, body, again",
    [
        (None, "", True),
        (400, "", False),
        (401, "", False),
        (403, "", False),
        (404, "", False),
        (429, "", True),
        (429, '{"code": "insufficient_quota"}', False),
        (499, "", False),
        (500, "", True),
        (503, "insufficient_quota", False),
        (599, "", True),
    ],
)
def test_the_refusals_after_which_another_attempt_is_made(status, body, again) -> None:
    assert ReconnectPolicy().retries_refusal(status, body) is again


@pytest.mark.parametrize("allowed", ["network", "5xx", 400, 599, 1000, 4999])
def test_what_may_be_retried(allowed) -> None:
    assert structure(ReconnectPolicy, {"retry_on": [allowed]}).retry_on == (allowed,)


@pytest.mark.parametrize("wrong", [399, 600, 999, 5000, "4xx", True, 0, -1006, 1006.5])
def test_what_may_not_be_retried_is_named(wrong) -> None:
    with pytest.raises(SettingsError, match="retry_on"):
        structure(ReconnectPolicy, {"retry_on": [wrong]}, path="reconnect")


def test_waits_double_up_to_the_longest_and_half_of_each_is_left_to_chance(losing) -> None:
    talk = losing(base_delay_s=1.0, max_delay_s=5.0)
    waits = [dial.delay_s for dial in dials(lose(talk))]
    for _ in range(4):
        waits += [dial.delay_s for dial in dials(talk.app.dial_failed("no route"))]
    assert waits == [0.75, 1.5, 3.0, 3.75, 3.75], "three quarters: chance takes a quarter here"


@pytest.mark.parametrize("status, waited", [(503, 20.0), (429, 20.0), (500, 1.5)])
def test_a_busy_server_says_how_long_to_wait(losing, status, waited) -> None:
    talk = losing(base_delay_s=1.0)
    lose(talk)
    (dial,) = dials(talk.app.dial_failed("busy", status=status, retry_after_s=20.0))
    assert dial.delay_s == waited


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_attempts_of_one_loss_are_counted_and_told(losing, most) -> None:
    talk = losing(max_attempts=most)
    effects = lose(talk)
    made = 0
    while not given_up(effects):
        assert [dial.attempt for dial in dials(effects)] == [made + 1]
        made += 1
        effects = talk.app.dial_failed("no route")
    assert made == most
    assert given_up(effects) == [tuple(f"attempt {number + 1}: no route" for number in range(most))]


@pytest.mark.parametrize("after_s, dialled", [(9.24, True), (9.26, False)])
def test_the_last_attempt_begins_before_the_policy_gives_up(losing, after_s, dialled) -> None:
    talk = losing(base_delay_s=0.5, give_up_after_s=10.0)
    lose(talk)
    talk.now += after_s
    effects = talk.app.dial_failed("no route")
    assert bool(dials(effects)) is dialled
    assert bool(given_up(effects)) is not dialled


def test_losses_of_one_session_are_counted(losing) -> None:
    talk = losing(max_reconnects=1)
    assert talk.core.recovers(1006, "network")
    lose(talk)
    assert talk.core.recovers(1006, "network"), "a failed attempt is of the same loss"
    reconnect(talk)
    assert not talk.core.recovers(1006, "network")


# ---- what ends, and what is asked for again -------------------------------------------------------------------------


@pytest.mark.parametrize("on_cut", ["continue", "drop"])
def test_an_answer_that_is_cut_ends_with_its_reason(losing, on_cut) -> None:
    talk = losing(on_cut=on_cut)
    talk.created("r")
    talk.output_item("r", "a")
    talk.transcript("r", "a", "One, two, ")
    talk.audio("r", "a", ms=1000)
    lose(talk)
    (end,) = talk.events_of("agent_end")
    assert (end.status, end.reason) == ("incomplete", "connection_lost")
    talk.forget()
    reconnect(talk)
    asked = [event["response"].get("instructions") or "" for event in talk.creates]
    assert [("One, two," in words) for words in asked] == ([True] if on_cut == "continue" else [])


def test_an_answer_that_was_interrupted_before_is_not_continued(losing) -> None:
    talk = losing()
    talk.created("r")
    talk.audio("r", "a", ms=1000)
    talk.app.interrupt()
    lose(talk)
    (end,) = talk.events_of("agent_end")
    assert (end.status, end.reason) == ("cancelled", "client_cancelled")
    talk.forget()
    reconnect(talk)
    assert talk.creates == []


def test_the_answers_that_the_server_owed_are_asked_for_once(losing) -> None:
    talk = losing()
    for item_id in ("first", "second"):
        talk.turn(item_id)
    lose(talk)
    talk.forget()
    reconnect(talk)
    assert len(talk.creates) == 1
    talk.created("r", answers=talk.creates[0])
    talk.speak("r", "a")
    talk.done("r")
    talk.wait(60)
    assert {item_id for turn in talk.turns for item_id in turn.item_ids} >= {"first", "second"}
    assert [turn.status for turn in talk.turns] == ["completed"]


@pytest.mark.parametrize("shown", [True, False])
def test_the_audio_of_a_turn_is_sent_again_unless_the_server_has_made_an_item_of_it(losing, shown) -> None:
    """Word of the commit may come after the item, and is lost here."""
    talk = losing()
    talk.core.audio_sent(talk.now, bytes(48_000))
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=1000)
    if shown:
        talk.item("u", content=[{"type": "input_audio", "transcript": None}])
    lose(talk)
    sent = [each for each in reconnect(talk) if isinstance(each, fx.SendAudio)]
    assert bool(sent) is not shown
    told = [event["item"]["id"] for event in talk.sent_of("conversation.item.create")]
    assert ("u" in told) is shown


def test_the_answer_that_the_server_owed_for_speech_in_doubt_is_asked_for_once_the_speech_is_believed(losing) -> None:
    """The server has ended the turn before it has read that it must not answer by itself."""
    talk = losing(on_cut="drop", options={"barge_in": BargeIn(min_speech_ms=300, dismiss="fillers")})
    talk.speak("r", "a", 10_000)
    talk.done("r")
    talk.turn("u")
    lose(talk)
    talk.forget()
    reconnect(talk)
    assert talk.creates == []
    talk.wait(5)
    assert len(talk.creates) == 1


@pytest.mark.parametrize("losses", [1, 2])
@pytest.mark.parametrize("after, order", [("silent", ["silent", "new", "told"]), ("told", ["silent", "told", "new"])])
def test_an_item_that_follows_one_that_the_next_server_is_not_told_keeps_its_place(
    losing, after, order, losses
) -> None:
    talk = losing()
    talk.item("silent", content=[{"type": "input_audio", "transcript": None}])
    talk.item("told", "silent", content=[{"type": "input_text", "text": "Hello."}])
    item = {"id": "new", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    talk.app.create_item(item, previous_item_id=after)
    for _ in range(losses):
        talk.forget()
        lose(talk)
        reconnect(talk)
    (create,) = [event for event in talk.sent_of("conversation.item.create") if event["item"]["id"] == "new"]
    previous_item_id = None if after == "silent" else "told"
    assert create["previous_item_id"] == (previous_item_id or "root")
    talk.item("told", None, content=[{"type": "input_text", "text": "Hello."}])
    talk.item("new", previous_item_id, content=item["content"])
    talk.item("new", previous_item_id, "done", content=item["content"])
    assert talk.order() == order


# ---- an error that names no event while another connection opens ----------------------------------------------------


@pytest.mark.parametrize("param, ends", [(None, False), ("item.id", False), ("session.speed", True)])
def test_an_error_that_names_nothing_is_no_refusal_of_the_settings_unless_it_is_about_one(losing, param, ends) -> None:
    talk = losing()
    talk.app.update_session({"type": "realtime", "instructions": "Be brief."})
    talk.server("session.updated", session=talk.sent_of("session.update")[-1]["session"])
    lose(talk)
    talk.app.connected()
    assert talk.sent_of("session.update")
    effects = talk.error("invalid_value", param=param)
    assert bool(given_up(effects)) is ends
    if not ends:
        assert "error" in talk.types
        talk.server("session.created", session={"type": "realtime"})
        talk.server("session.updated", session=talk.sent_of("session.update")[-1]["session"])
        assert "reconnected" in talk.types


BARE = {"type": "realtime", "instructions": "", "tools": [], "audio": {"input": {"turn_detection": DETECTION}}}
BRIEF = {"instructions": "Be brief."}


def opening(losing, *, items=("a",)):
    """A new connection that was told settings and items, of which the server has said nothing yet."""
    talk = losing()
    talk.app.update_session({"type": "realtime", **BRIEF})
    talk.server("session.updated", session={**BARE, **BRIEF})
    for item_id in items:
        talk.item(item_id, kind="done", content=[{"type": "input_text", "text": item_id}])
    lose(talk)
    talk.forget()
    talk.app.connected()
    talk.server("session.created", session=BARE)
    return talk


def drops(effects):
    return [each.reason for each in effects if isinstance(each, fx.DropConnection)]


@pytest.mark.parametrize("event_id", [None, "of nobody"])
@pytest.mark.parametrize("items", [(), ("a",), ("a", "b")])
@pytest.mark.parametrize("code, fails", [("server_error", True), ("rate_limit_exceeded", True), ("strange", False)])
def test_the_first_word_of_a_server_in_trouble_is_about_the_settings(losing, items, event_id, code, fails) -> None:
    talk = opening(losing, items=items)
    effects = talk.error(code, event_id)
    assert bool(drops(effects)) is fails
    assert [event.error.code for event in effects.emit if event.type == "error"] == [code]


@pytest.mark.parametrize("event_id", [None, "of nobody"])
@pytest.mark.parametrize("word", ["settings", "item", "refused item", "response", "about an item"])
def test_what_such_a_server_says_later_is_not_about_the_settings(losing, word, event_id) -> None:
    talk = opening(losing)
    (create,) = talk.sent_of("conversation.item.create")
    match word:
        case "settings":
            talk.server("session.updated", session={**BARE, **BRIEF})
        case "item":
            talk.item("a", **create["item"])
        case "refused item":
            talk.error("server_error", create["event_id"])
        case "response":
            talk.created("r")
    assert drops(talk.error("server_error", event_id, param="item" if word == "about an item" else None)) == []


HANDOFF = {"tools": [{"type": "function", "name": "look"}]}


@pytest.mark.parametrize(
    "shown, opens",
    [
        ({**BRIEF, **HANDOFF}, True),
        (HANDOFF, False),
        ({**HANDOFF, "instructions": "Of another."}, False),
    ],
    ids=["both", "the later alone", "something else"],
)
def test_a_connection_whose_answer_to_a_later_update_shows_none_of_the_first_settings_is_dropped(
    losing, shown, opens
) -> None:
    """The answer to the first is lost."""
    talk = opening(losing)
    talk.app.update_session(HANDOFF, reply_id="later")
    effects = talk.server("session.updated", session={**BARE, **shown})
    assert bool(drops(effects)) is not opens
    assert ("reconnected" in talk.types) is opens
    assert ("later" in talk.settled) is opens
    if not opens:
        talk.forget()
        lose(talk)
        talk.app.connected()
        told_again = [event["session"] for event in talk.sent_of("session.update")]
        assert told_again == [{"type": "realtime", **BRIEF}, HANDOFF]


def test_a_later_update_that_changes_all_that_the_first_does_leaves_no_doubt(losing) -> None:
    talk = opening(losing)
    talk.app.update_session({"instructions": "Be long."}, reply_id="later")
    assert drops(talk.server("session.updated", session={**BARE, "instructions": "Be long."})) == []
    assert "reconnected" in talk.types


# ---- what it costs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read, cached, replayed", [(100, 0, 14), (100, 90, 10), (100, 100, 0), (10, 0, 10), (14, 0, 14), (0, 0, 0)]
)
def test_the_tokens_of_what_a_new_connection_was_told_are_those_of_the_next_response(
    losing, read, cached, replayed
) -> None:
    talk = losing()
    talk.item("u", content=[{"type": "input_text", "text": "x" * 40}])
    lose(talk)
    reconnect(talk)
    usage = {"total_tokens": 1, "input_tokens": read, "input_token_details": {"cached_tokens": cached}}
    for response_id, expected in (("r", replayed), ("s", 0)):
        talk.created(response_id)
        talk.done(response_id, usage=usage)
        (end,) = [event for event in talk.events_of("agent_end") if event.response_id == response_id]
        assert end.usage.replayed_tokens == expected


def test_an_answer_that_goes_on_answers_what_was_asked_for_meanwhile_and_says_so(losing) -> None:
    talk = losing()
    talk.created("r")
    lose(talk)
    talk.app.create_response(automatic=True, reply_id="t")
    reconnect(talk)
    (create,) = talk.creates
    talk.created("s", answers=create)
    talk.done("s")
    assert talk.settled["t"].value.reconnected


@pytest.mark.parametrize("words_came, status", [(True, "completed"), (False, "incomplete")])
def test_an_answer_in_writing_is_whole_when_the_end_of_its_text_has_come(losing, words_came, status) -> None:
    talk = losing()
    talk.created("r")
    talk.output_item("r", "a")
    place = {"response_id": "r", "item_id": "a", "output_index": 0, "content_index": 0}
    talk.server("response.output_text.delta", **place, delta="Yes.")
    if words_came:
        talk.server("response.output_text.done", **place, text="Yes.")
    lose(talk)
    (end,) = talk.events_of("agent_end")
    assert end.status == status


def test_the_time_without_a_connection_is_told_and_summed_up(losing) -> None:
    talk = losing()
    for _ in range(2):
        lose(talk)
        talk.now += 2.5
        reconnect(talk)
        talk.now += 10
    assert [event.outage_ms for event in talk.events_of("reconnected")] == [2500, 2500]
    counters = talk.core.connection_counters()
    assert (counters.losses, counters.reconnects, counters.outage_s) == (2, 2, 5.0)


def test_audio_beyond_what_is_kept_is_counted(losing) -> None:
    talk = losing(resend_buffer_s=1.0)
    lose(talk)
    talk.core.audio_sent(talk.now, bytes(48 * 3000))
    reconnect(talk)
    (event,) = talk.events_of("reconnected")
    assert (event.audio_ms, event.audio_dropped_ms) == (1000, 2000)
    assert talk.core.connection_counters().audio_dropped_s == 2.0


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("content_index", [0, 2])
def test_audio_of_a_part_that_the_history_does_not_have_is_no_trouble_at_a_loss(losing, shown, content_index) -> None:
    talk = losing()
    talk.created("r1")
    if shown:
        talk.output_item("r1", "a")
    talk.audio("r1", "a", index=content_index)
    lose(talk)
    assert talk.texts() == ({"a": []} if shown else {})
