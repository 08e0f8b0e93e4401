"""Opening a session, and changing its settings."""

from __future__ import annotations

import pytest

from trealtime.errors import ConnectionLost, ServerRefused, SettingsRefused

SESSION = {"type": "realtime", "instructions": "be kind"}


@pytest.fixture
def new(make_talk):
    """Nothing has come from the server."""
    return make_talk()


def update(talk, reply_id, **session):
    talk.app.update_session(session, reply_id=reply_id)
    return talk.sent_of("session.update")[-1]["event_id"]


# ---- opening --------------------------------------------------------------------------------------------------------


def test_a_session_is_open_when_it_is_created_and_its_settings_are_acknowledged(new):
    new.app.open_session(SESSION, reply_id="open")
    assert new.types == ["history_updated"]
    assert new.sent_of("session.update")[0]["session"] == SESSION
    new.server("session.created", session={"type": "realtime"})
    assert new.settled == {}
    new.server("session.updated", session=SESSION)
    assert new.settled["open"].value == SESSION


def test_without_settings_of_ours_created_is_enough(new):
    new.app.open_session(None, reply_id="open")
    assert new.sent == []
    new.server("session.created", session=SESSION)
    assert new.settled["open"].value == SESSION


def test_a_server_that_never_says_created_opens_with_the_acknowledgement(new):
    new.app.open_session(SESSION, reply_id="open")
    new.server("session.updated", session=SESSION)
    assert "open" in new.settled


def test_a_refused_setting_fails_the_opening_and_says_which(new):
    new.app.open_session(SESSION, reply_id="open")
    event_id = new.sent[0]["event_id"]
    new.server("session.created", session={})
    new.error("invalid_value", event_id, param="session.voice")
    error = new.settled["open"].error
    assert isinstance(error, SettingsRefused)
    assert (error.code, error.param) == ("invalid_value", "session.voice")
    new.server("session.updated", session=SESSION)
    new.app.disconnect(ConnectionLost("gone"))
    assert list(new.settled) == ["open"]


def test_a_fatal_error_fails_the_opening_once(new):
    new.app.open_session(SESSION, reply_id="open")
    new.error("invalid_api_key")
    assert isinstance(new.settled["open"].error, ServerRefused)
    new.server("session.updated", session=SESSION)
    new.app.disconnect(ConnectionLost("gone"))
    assert list(new.settled) == ["open"]


def test_a_connection_lost_while_opening_fails_the_opening_once(new):
    new.app.open_session(SESSION, reply_id="open")
    new.app.disconnect(ConnectionLost("gone"))
    assert isinstance(new.settled["open"].error, ConnectionLost)


def test_formats_are_those_that_the_server_acknowledged(new):
    assert new.core.acknowledged is None
    side = {"format": {"type": "audio/pcmu"}}
    new.server("session.created", session={"audio": {"input": side}})
    assert (new.core.input_format.name, new.core.output_format.name) == ("g711_ulaw", "pcm16")
    new.server("session.updated", session={"audio": {"output": side, "input": {"format": None}}})
    assert (new.core.input_format.name, new.core.output_format.name) == ("g711_ulaw", "g711_ulaw")
    new.server("session.updated", session={"audio": {"output": {"format": {"type": "audio/opus"}}}})
    assert new.core.output_format.name == "pcm16"


# ---- changing -------------------------------------------------------------------------------------------------------


def test_acknowledgements_come_in_the_order_of_sending(talk):
    update(talk, "one", instructions="1")
    update(talk, "two", instructions="2")
    talk.server("session.updated", session={"instructions": "1"})
    assert talk.settled["one"].value == {"instructions": "1"}
    assert "two" not in talk.settled
    talk.server("session.updated", session={"instructions": "2"})
    assert talk.settled["two"].value == {"instructions": "2"}


def test_a_refusal_finds_its_update_by_event_id(talk):
    update(talk, "one")
    event_id = update(talk, "two")
    talk.error("invalid_value", event_id)
    assert isinstance(talk.settled["two"].error, SettingsRefused)
    talk.server("session.updated", session={})
    assert talk.settled["one"].error is None
    assert talk.events_of("error") == []


def test_a_refusal_that_comes_after_the_next_acknowledgement_leaves_nobody_waiting(talk):
    event_id = update(talk, "one")
    update(talk, "two")
    talk.server("session.updated", session={})
    assert "two" not in talk.settled
    talk.error("invalid_value", event_id)
    assert talk.settled["two"].error is None
    assert talk.events_of("error")[0].error.request == "session.update"


@pytest.mark.parametrize(
    "updates, param, found",
    [(1, "session.voice", True), (1, "x", True), (1, "item_id", False), (2, "session.voice", False)],
)
def test_a_refusal_without_an_id_needs_a_single_update_that_it_can_be_about(talk, updates, param, found):
    for number in range(updates):
        update(talk, f"update_{number}")
    talk.error("invalid_value", None, param=param)
    assert bool(talk.settled) is found
    assert bool(talk.events_of("error")) is not found


@pytest.mark.parametrize(
    "param, refused",
    [
        ("session.instructions", "words"),
        ("session.audio.output.speed", "speed"),
        ("session.tools[0].name", "tools"),
        ("session.audio", "speed"),
        ("session.audio.input.format", None),
        ("session.voice", None),
        ("session", None),
    ],
)
def test_a_refusal_without_an_id_is_that_of_the_oldest_update_that_has_the_setting(talk, param, refused):
    update(talk, "words", instructions="be kind")
    update(talk, "speed", audio={"output": {"speed": 1.1}})
    update(talk, "faster", audio={"output": {"speed": 1.2}})
    update(talk, "tools", tools=[])
    talk.error("invalid_value", None, param=param)
    assert list(talk.settled) == ([] if refused is None else [refused])
    assert bool(talk.events_of("error")) is (refused is None)


def test_a_refusal_that_nobody_waits_for_is_an_event(talk):
    event_id = update(talk, None)
    talk.error("invalid_value", event_id)
    assert talk.events_of("error")[0].error.request == "session.update"


def test_an_answer_with_other_values_names_them(talk):
    update(talk, "one", instructions="be kind", audio={"output": {"voice": "marin"}})
    talk.server("session.updated", session={"instructions": "be kind", "audio": {"output": {"voice": "alloy"}}})
    (difference,) = talk.events_of("settings_mismatch")[0].differences
    assert (difference.path, difference.requested, difference.acknowledged) == ("audio.output.voice", "marin", "alloy")
    assert "marin" in str(difference)


def test_an_update_that_somebody_else_made_is_taken_and_asks_nothing(talk):
    talk.server("session.updated", session={"instructions": "theirs"})
    assert talk.quiet
    assert talk.core.acknowledged == {"instructions": "theirs"}


def test_a_raw_update_is_followed_like_any_other(talk):
    talk.app.send_raw({"type": "session.update", "event_id": "mine", "session": {"instructions": "a"}})
    assert talk.sent[0]["event_id"] == "mine"
    talk.server("session.updated", session={"instructions": "b"})
    assert len(talk.events_of("settings_mismatch")) == 1


@pytest.mark.parametrize(
    "detection, answers, interrupts",
    [
        ({}, False, False),
        ({"create_response": True, "interrupt_response": True}, True, True),
        ({"interrupt_response": False}, True, False),
        ({"create_response": False}, False, False),
    ],
)
def test_what_the_server_does_by_itself_is_read_from_its_answer(make_talk, detection, answers, interrupts):
    talk = make_talk()
    talk.open(**detection)
    assert talk.state.server_answers is answers
    assert talk.state.server_interrupts is interrupts
