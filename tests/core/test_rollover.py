"""When another connection stands beside the first, what it is told ahead, and what at the switch."""

from __future__ import annotations

import random

import pytest

from trealtime._core import effects as fx
from trealtime._core.ids import IdSource
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime.errors import ConnectionLost
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


@pytest.mark.parametrize("heard_ms", [0, 500])
def test_an_answer_that_was_told_and_is_cut_before_the_switch_is_told_as_it_was_heard(expiring, heard_ms) -> None:
    talk = expiring()
    say(talk, "a", "One?")
    talk.created("r")
    talk.speak("r", "b", 1000)
    talk.item("b", "a", role="assistant")
    talk.transcript("r", "b", "One, two, three.")
    assert told(begin(talk)) == [("a", "root"), ("b", "a")]
    talk.server("conversation.item.truncated", item_id="b", content_index=0, audio_end_ms=heard_ms)
    talk.done("r", "cancelled")
    events = told(switch(talk))
    assert events == (["-b", ("b", "a")] if heard_ms else ["-b"])
    talk.server("conversation.item.deleted", item_id="b")
    assert talk.order() == ["a", "b"]


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


# ---- when -----------------------------------------------------------------------------------------------------------


def rolled_over(talk):
    return len(talk.events_of("rolled_over"))


def _server(type, **fields):
    return lambda talk: talk.server(type, **fields)


NOT_QUIET = {
    "a response": ([lambda talk: talk.created("r")], [lambda talk: talk.done("r")]),
    "a request for a response": (
        [lambda talk: talk.app.create_response(reply_id="asked")],
        [lambda talk: talk.created("r", answers=talk.creates[-1]), lambda talk: talk.done("r")],
    ),
    "an open call": (
        [lambda talk: talk.created("r"), lambda talk: talk.call("r", "c"), lambda talk: talk.done("r")],
        [lambda talk: talk.app.send_tool_output("c", "out", respond=False)],
    ),
    "speech": (
        [_server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)],
        [
            _server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900),
            _server("input_audio_buffer.committed", item_id="u", previous_item_id=None),
            lambda talk: talk.created("r"),
            lambda talk: talk.done("r"),
        ],
    ),
    "speech that is no item yet": (
        [
            _server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0),
            _server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900),
        ],
        [
            _server("input_audio_buffer.committed", item_id="u", previous_item_id=None),
            lambda talk: talk.created("r"),
            lambda talk: talk.done("r"),
        ],
    ),
    "an answer that the server owes": (
        [lambda talk: talk.turn("u")],
        [lambda talk: talk.created("r"), lambda talk: talk.done("r")],
    ),
    "a commit of the app": (
        [lambda talk: talk.core.audio_sent(talk.now, bytes(4_800)), lambda talk: talk.app.commit_audio()],
        [_server("input_audio_buffer.committed", item_id="u", previous_item_id=None)],
    ),
    "an update of the settings": (
        [lambda talk: talk.app.update_session({"type": "realtime", "instructions": "Be brief."})],
        [_server("session.updated", session={**SESSION, "instructions": "Be brief."})],
    ),
    "audio that the server plays": (
        [_server("output_audio_buffer.started", response_id="r")],
        [_server("output_audio_buffer.stopped", response_id="r")],
    ),
}


@pytest.mark.parametrize("what", NOT_QUIET)
def test_the_switch_waits_for_the_end_of(expiring, what) -> None:
    talk = expiring()
    begin(talk)
    begins, ends = NOT_QUIET[what]
    for step in begins:
        step(talk)
    ahead(talk, "session.updated", session=SESSION)
    assert not rolled_over(talk)
    for step in ends:
        assert not rolled_over(talk)
        step(talk)
    assert rolled_over(talk) == 1


@pytest.mark.parametrize("what", NOT_QUIET)
def test_at_the_last_moment_it_waits_no_longer_for(expiring, what) -> None:
    talk = expiring()
    begin(talk)
    talk.wait(7.4)
    for step in NOT_QUIET[what][0]:
        step(talk)
    ahead(talk, "session.updated", session=SESSION)
    assert not rolled_over(talk)
    talk.wait(0.1)
    assert rolled_over(talk) == 1


@pytest.mark.parametrize("open_again", [False, True])
def test_no_other_connection_is_opened_while_the_first_is_lost_or_not_open_yet(expiring, open_again) -> None:
    talk = expiring()
    talk.app.connection_lost(code=1006, reason="gone")
    talk.app.connected(server_time_s=SERVER_S)
    talk.server("session.created", session=SESSION)
    if open_again:
        talk.server("session.updated", session={**SESSION, "instructions": "Be kind."})
    talk.wait(9)
    talk.wait(11)
    assert len(talk.events_of("rollover_started")) == open_again


def test_a_session_that_is_not_open_yet_is_not_rolled_over(make_talk) -> None:
    talk = make_talk(link=Link(ReconnectPolicy(rollover_margin_s=10)))
    talk.app.opened(server_time_s=SERVER_S)
    talk.app.open_session({"type": "realtime", "instructions": "Be kind."}, reply_id="open")
    talk.server("session.created", session=SESSION)
    talk.wait(20)
    assert talk.events_of("rollover_started") == []


@pytest.mark.parametrize(
    "policy, attached", [(ReconnectPolicy(), True), (ReconnectPolicy(rollover_margin_s=None), False), (None, False)]
)
def test_a_connection_that_nothing_may_follow_is_warned_of(make_talk, policy, attached) -> None:
    """A phone call that the service carries ends with its connection."""
    talk = make_talk(link=Link(policy, attached=attached))
    talk.app.opened(server_time_s=SERVER_S)
    talk.app.open_session(None, reply_id="open")
    talk.server("session.created", session={**SESSION, "expires_at": SERVER_S + 3_600})
    talk.wait(3_479)
    assert talk.events_of("expires_soon") == []
    talk.wait(1)
    talk.wait(60)
    assert [event.in_s for event in talk.events_of("expires_soon")] == [120]
    assert talk.events_of("rollover_started") == []


@pytest.mark.parametrize(
    "lasts_s, margin_s, begins_s, switch_s",
    [(30, 10, 20, 27.5), (30, 15, 15, 26.25), (30, 20, 15, 26.25), (30, 120, 15, 26.25), (3_600, 10, 3_590, 3_597.5)],
)
def test_the_times_of_a_rollover(make_talk, lasts_s, margin_s, begins_s, switch_s) -> None:
    """It begins at the margin or after half of the time, and waits for a quiet moment up to its last quarter."""
    talk = make_talk(link=Link(ReconnectPolicy(rollover_margin_s=margin_s)))
    begun_at = talk.now
    talk.app.opened(server_time_s=SERVER_S)
    session = {**SESSION, "expires_at": SERVER_S + lasts_s}
    talk.app.open_session(None, reply_id="open")
    talk.server("session.created", session=session)
    assert talk.core.next_deadline == begun_at + begins_s
    talk.wait(begins_s)
    (soon,) = talk.events_of("expires_soon")
    assert soon.in_s == pytest.approx(lasts_s - begins_s)
    assert len(talk.events_of("rollover_started")) == 1
    talk.created("r")
    talk.app.successor_connected(server_time_s=SERVER_S + begins_s)
    talk.app.receive_ahead(read_server_event({"type": "session.created", "event_id": "event_y", "session": session}))
    assert talk.core.next_deadline <= begun_at + switch_s
    while talk.now < begun_at + switch_s:
        assert not rolled_over(talk)
        talk.wait(talk.core.next_deadline - talk.now)
    assert rolled_over(talk) == 1


@pytest.mark.parametrize(
    "expires_at, server_time_s",
    [
        (SERVER_S + 30, None),
        (None, SERVER_S),
        (True, SERVER_S),
        ("soon", SERVER_S),
        (SERVER_S - 1, SERVER_S),
        (1e12, SERVER_S),
    ],
)
def test_an_end_that_is_not_known_is_not_waited_for(make_talk, expires_at, server_time_s) -> None:
    talk = make_talk(link=Link(ReconnectPolicy(rollover_margin_s=10)))
    talk.app.opened(server_time_s=server_time_s)
    talk.app.open_session(None, reply_id="open")
    talk.server("session.created", session={**SESSION, "expires_at": expires_at})
    assert talk.core.next_deadline is None
    talk.wait(10_000)
    assert talk.events_of("expires_soon") == []


# ---- a successor that fails -----------------------------------------------------------------------------------------


def opened(effects):
    return [each.delay_s for each in effects if isinstance(each, fx.OpenSuccessor)]


def test_a_successor_that_fails_is_opened_again_after_a_longer_and_longer_wait_while_there_is_time(expiring) -> None:
    talk = expiring(base_delay_s=0.5, max_delay_s=2.0)
    assert opened(talk.wait(20)) == [0.0]
    waits = []
    while waits[-1:] != [[]]:
        waits.append(opened(talk.app.successor_failed()))
        talk.wait(1 if waits[-1] else 0)
    assert waits == [[1.0], [2.0]] + [[2.0]] * 6 + [[]]
    assert not talk.core.recovering


def test_a_successor_that_would_fail_again_is_not_opened_again(expiring) -> None:
    talk = expiring()
    talk.wait(20)
    assert opened(talk.app.successor_failed(again=False)) == []


def test_settings_that_the_successor_refuses_are_a_failed_attempt(expiring) -> None:
    talk = expiring()
    (update,) = begin(talk)
    assert update["session"]["instructions"] == "Be kind."
    error = {"type": "invalid_request_error", "code": "no", "message": "no", "event_id": update["event_id"]}
    effects = ahead(talk, "error", error=error)
    assert [type(each) for each in effects if isinstance(each, fx.DropSuccessor)]
    assert opened(effects)
    (told,) = talk.events_of("error")
    assert (told.error.code, told.error.request) == ("no", "session.update")


@pytest.mark.parametrize("event_id", [None, "of nobody"])
@pytest.mark.parametrize(
    "code, before, fails",
    [
        ("server_error", None, True),
        ("strange", None, False),
        ("item_create_invalid", None, False),
        ("server_error", "settings", False),
        ("server_error", "item", False),
    ],
)
def test_the_first_word_of_a_successor_in_trouble_is_about_its_settings(
    expiring, event_id, code, before, fails
) -> None:
    talk = expiring()
    say(talk, "a", "One?")
    begin(talk)
    if before == "settings":  # too early for the switch
        talk.app.create_response()
        ahead(talk, "session.updated", session=SESSION)
    elif before == "item":
        ahead(talk, "conversation.item.added", item={"id": "a"}, previous_item_id=None)
    error = {"type": "server_error", "code": code, "message": "no", "event_id": event_id}
    if code != "server_error":
        error["type"] = "invalid_request_error"
    effects = ahead(talk, "error", error=error)
    assert bool([each for each in effects if isinstance(each, fx.DropSuccessor)]) is fails
    assert bool(opened(effects)) is fails
    assert bool([event for event in effects.emit if event.type == "error"]) is (
        fails or (event_id is None and code == "item_create_invalid")
    )


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_loss_beside_a_successor_is_made_good_by_it_if_that_is_ready(expiring, is_ready) -> None:
    talk = expiring()
    talk.created("r")
    begin(talk)
    if is_ready:
        ahead(talk, "session.updated", session=SESSION)
    effects = talk.app.connection_lost(code=1006, reason="gone")
    assert any(isinstance(each, fx.SwitchConnection) for each in effects) is is_ready
    assert any(isinstance(each, fx.DropSuccessor) for each in effects) is not is_ready
    assert any(isinstance(each, fx.Dial) for each in effects) is not is_ready
    assert rolled_over(talk) == is_ready


def test_a_successor_that_is_there_after_all_is_dropped(expiring) -> None:
    talk = expiring()
    talk.wait(20)
    talk.app.connection_lost(code=1006, reason="gone")
    assert [type(each) for each in talk.app.successor_connected(server_time_s=SERVER_S)] == [fx.DropSuccessor]
    assert list(ahead(talk, "session.updated", session=SESSION)) == []


# ---- what it gets at the switch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [True, False])
def test_settings_that_have_changed_since_are_sent_at_the_switch(expiring, changed) -> None:
    talk = expiring()
    begin(talk)
    if changed:
        talk.app.update_session({"type": "realtime", "instructions": "Be brief."})
        talk.server("session.updated", session={**SESSION, "instructions": "Be brief."})
    switch(talk)
    updates = [event["session"]["instructions"] for event in talk.sent_of("session.update")]
    assert updates == ["Be brief."] * changed


def test_the_users_audio_since_the_commit_goes_to_the_successor_at_the_switch_and_not_before(expiring) -> None:
    talk = expiring()
    begin(talk)
    talk.core.audio_sent(talk.now, bytes(48_000))
    talk.forget()
    effects = ahead(talk, "session.updated", session=SESSION)
    kinds = [type(each) for each in effects if isinstance(each, fx.SwitchConnection | fx.SendAudio)]
    assert kinds == [fx.SwitchConnection, fx.SendAudio]


def test_a_turn_that_was_told_as_audio_is_not_told_anew_when_its_words_are_known(expiring) -> None:
    talk = expiring()
    talk.core.audio_sent(talk.now, bytes(48_000))
    talk.turn("u")
    talk.item("u", content=[{"type": "input_audio", "transcript": None}])
    talk.created("r")
    talk.done("r")
    (event,) = begin(talk)[1:]
    assert event["item"]["content"][0]["type"] == "input_audio"
    kind = "conversation.item.input_audio_transcription.completed"
    talk.server(kind, item_id="u", content_index=0, transcript="Hello.")
    assert told(switch(talk)) == []


def test_an_item_that_follows_one_that_was_told_goes_after_it(expiring) -> None:
    talk = expiring()
    for item_id, previous in [("a", None), ("c", "a")]:
        say(talk, item_id, item_id, previous)
    begin(talk)
    say(talk, "b", "b", "a")
    assert told(switch(talk)) == [("b", "a")]
    talk.item("d", "c", content=[{"type": "input_text", "text": "d"}])
    assert talk.order() == ["a", "b", "c", "d"]


def test_a_conversation_without_items_can_be_replaced_by_one_with_some(expiring) -> None:
    talk = expiring()
    new = UserMessageItem(item_id="new", content=[InputText(text="All before.")])
    talk.app.replace_history([new], reply_id="replaced")
    assert told(talk.sent) == [("new", "root")]
    assert [(item.item_id, item.status) for item in talk.core.history()] == [("new", "completed")]


def test_an_item_that_moves_goes_behind_one_whose_words_are_not_known(expiring) -> None:
    """A server cannot be told that one, but it has it."""
    talk = expiring()
    say(talk, "a", "One?")
    say(talk, "b", "Two.", "a", role="assistant")
    talk.item("c", "b", kind="done", content=[{"type": "input_audio", "transcript": None}])
    first, *rest = talk.core.history()
    talk.app.replace_history([*rest, first], reply_id="replaced")
    assert told(talk.sent) == ["-a", ("a", "c")]
    assert talk.order() == ["b", "c", "a"]


def test_a_conversation_that_is_over_gets_no_other_connection(expiring) -> None:
    talk = expiring()
    talk.now += 25
    talk.app.disconnect(ConnectionLost("gone"))
    assert talk.types == []
    assert talk.core.next_deadline is None
