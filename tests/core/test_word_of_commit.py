"""A turn that the server has made an item of is one turn with one answer: word of that may come in any order, and
the connection may be lost before all of it has come."""

from __future__ import annotations

from itertools import permutations

import pytest

from trealtime._core import effects as fx
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime._core.turns import PATIENCE_S

DETECTION = {"type": "server_vad", "create_response": True, "interrupt_response": True}
SESSION = {"type": "realtime", "audio": {"input": {"turn_detection": DETECTION}}}
STOPPED, COMMITTED, SHOWN, WORDS, BEGUN = "stopped", "committed", "shown", "words", "begun"
ORDERS = [each for each in permutations((STOPPED, COMMITTED, SHOWN, WORDS, BEGUN)) if each[0] != BEGUN]
SPOKEN_MS, END_MS = 1_000, 900
STARTED, START_MS = "started", 50
SIGNS = (STARTED, STOPPED, COMMITTED, SHOWN, WORDS)
AFTER = [each for count in range(1, 6) for each in permutations(SIGNS, count)]
"""The signs of a turn that come, in their order, after the server has begun its answer. The others are lost."""


@pytest.fixture
def speaking(make_talk):
    """The user has begun to speak, and the server has had all of it."""

    def make():
        talk = make_talk(link=Link(ReconnectPolicy()))
        talk.open(**DETECTION)
        talk.core.audio_sent(talk.now, bytes(48 * SPOKEN_MS))
        talk.core.note_life(0)
        talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        return talk

    return make


def hear(talk, what):
    previous = "s" if "s" in talk.order() else None
    match what:
        case "started":
            talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=START_MS)
        case "stopped":
            talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=END_MS)
        case "committed":
            talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=previous)
        case "shown":
            talk.item("u", previous, content=[{"type": "input_audio", "transcript": None}])
        case "words":
            kind = "conversation.item.input_audio_transcription.completed"
            talk.server(kind, item_id="u", content_index=0, transcript="Hello.")
        case "begun":
            talk.created("r")


def test_the_turn_is_answered_once_in_every_order(speaking) -> None:
    for order in ORDERS:
        talk = speaking()
        for what in order:
            hear(talk, what)
        talk.speak("r", "a")
        talk.done("r")
        talk.wait(60)
        assert talk.creates == [], order
        assert [turn.item_ids for turn in talk.turns] == [("u", "a")], order
        assert talk.state.audio.kept_bytes == 48 * (SPOKEN_MS - END_MS), order
        assert talk.events_of("error") == [], order


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_after_a_loss_it_is_told_and_asked_about_once_or_its_audio_is_sent_again(speaking, after) -> None:
    for order in {each[:after] for each in ORDERS}:
        talk = speaking()
        for what in order:
            hear(talk, what)
        talk.forget()
        talk.app.connection_lost(code=1006, reason="gone")
        effects = talk.app.connected()
        talk.server("session.created", session=SESSION)
        sent_ms = sum(len(each.data) for each in effects if isinstance(each, fx.SendAudio)) / 48
        told = [event["item"]["id"] for event in talk.sent_of("conversation.item.create")]
        taken = order != (STOPPED,)
        assert told == ["u"] * taken, order
        assert len(talk.creates) == taken, order
        # Where the end has not been told, it is no later than what the server has had.
        left_ms = SPOKEN_MS - END_MS if STOPPED in order else 0
        assert sent_ms == (left_ms if taken else SPOKEN_MS), order


def test_word_of_a_commit_that_comes_after_the_turn_is_over_begins_no_other(speaking) -> None:
    talk = speaking()
    for what in (STOPPED, COMMITTED, SHOWN, BEGUN):
        hear(talk, what)
    talk.done("r")
    talk.wait(60)
    assert len(talk.turns) == 1
    for what in (COMMITTED, STOPPED):
        hear(talk, what)
    talk.wait(60)
    assert len(talk.turns) == 1
    assert talk.creates == []
    assert not talk.core.hears_speech


# ---- the server begins its answer before it tells of the turn -------------------------------------------------------


@pytest.fixture
def answering(make_talk):
    """The user has spoken, and the server has begun its answer without a word of the turn."""

    def make(order=(), *, attached=False):
        talk = make_talk(link=Link(ReconnectPolicy(), attached=attached))
        talk.open(**DETECTION)
        talk.item("s", role="system")
        if not attached:  # else the audio takes another way
            talk.core.audio_sent(talk.now, bytes(48 * SPOKEN_MS))
        for what in order:
            hear(talk, what)
        hear(talk, BEGUN)
        return talk

    return make


@pytest.mark.parametrize("speaks", [False, True], ids=["at once", "as it speaks"])
def test_an_answer_of_the_servers_own_that_comes_before_every_sign_of_its_turn_is_the_answer(answering, speaks) -> None:
    for order in AFTER:
        talk = answering()
        if speaks:
            talk.speak("r", "a", 3_000)
        for what in order:
            hear(talk, what)
        assert talk.events_of("audio_interrupted") == [], order
        if not speaks:
            talk.speak("r", "a", 3_000)
        talk.done("r")
        talk.wait(60)
        assert talk.creates == [], order
        assert talk.events_of("error") == [], order
        if COMMITTED in order or (STOPPED in order and {SHOWN, WORDS} & set(order)):
            (turn,) = talk.turns
            assert (turn.item_ids, turn.response_ids, turn.source) == (("u", "a"), ("r",), "speech"), order


@pytest.mark.parametrize("attached", [False, True], ids=["our audio", "a call's audio"])
def test_an_answer_of_the_servers_own_that_comes_among_the_signs_of_its_turn_is_the_answer(answering, attached) -> None:
    for order in permutations(SIGNS, 4):
        if attached and order[0] != STARTED:
            continue  # without a place in our audio it may as well be of another turn
        for at in range(1, 4):
            talk = answering(order[:at], attached=attached)
            for what in order[at:]:
                hear(talk, what)
            talk.speak("r", "a")
            talk.done("r")
            talk.wait(60)
            assert talk.creates == [], (order, at)
            assert len([turn for turn in talk.turns if turn.response_ids]) == 1, (order, at)


def test_who_listens_gets_an_answer_that_comes_before_word_of_its_turn(answering) -> None:
    talk = answering()
    talk.app.listen("l")
    for what in (STARTED, STOPPED, COMMITTED):
        hear(talk, what)
    assert talk.started == [("l", "r")]
    talk.done("r")
    assert talk.settled["l"].value.response_id == "r"


@pytest.mark.parametrize("place", ["positions", "items", "neither"])
def test_speech_after_an_answer_to_a_turn_of_which_no_word_came_is_another_turn(answering, place) -> None:
    talk = answering()
    talk.app.begin_uninterruptible()  # the server answers no turn while a response runs
    talk.speak("r", "a", 3_000)
    talk.now += 2
    if place == "positions":
        talk.core.audio_sent(talk.now, bytes(48 * 2_000))
    started_ms, ended_ms = (1_500, 2_800) if place == "positions" else (0, 0)
    talk.server("input_audio_buffer.speech_started", item_id="v", audio_start_ms=started_ms)
    talk.server("input_audio_buffer.speech_stopped", item_id="v", audio_end_ms=ended_ms)
    talk.server("input_audio_buffer.committed", item_id="v", previous_item_id="a" if place == "items" else None)
    talk.wait(PATIENCE_S)
    talk.done("r")
    assert len(talk.creates) == 1


@pytest.mark.parametrize("begun_ms, interrupts", [(100, False), (450, True), (1_500, True)])
def test_late_word_of_the_turn_that_is_answered_interrupts_nothing(answering, begun_ms, interrupts) -> None:
    """Its end has been followed by a pause before the server began its answer."""
    talk = answering()
    talk.speak("r", "a", 3_000)
    talk.now += 1
    talk.core.audio_sent(talk.now, bytes(48 * 1_000))
    talk.server("input_audio_buffer.speech_started", item_id="v", audio_start_ms=begun_ms)
    assert bool(talk.events_of("audio_interrupted")) == interrupts


def test_late_word_of_a_silence_that_the_server_answers_is_of_that_answer(answering) -> None:
    talk = answering()
    talk.silence("u")
    talk.speak("r", "a")
    talk.done("r")
    talk.wait(60)
    assert talk.creates == []
    (turn,) = talk.turns
    assert turn.source == "idle"


# ---- the app ends the turn ------------------------------------------------------------------------------------------


@pytest.fixture
def pushing(make_talk):
    """The app has sent two turns, with a commit for each."""

    def make(*, detects=False):
        talk = make_talk(link=Link(ReconnectPolicy()))
        talk.open(**(DETECTION if detects else {}))
        talk.core.audio_sent(talk.now, b"\1" * 48 * 100)
        talk.app.commit_audio()
        talk.core.audio_sent(talk.now, b"\2" * 48 * 100)
        talk.app.commit_audio()
        return talk

    return make


def taken_by_next(talk):
    """What the next connection gets of the two turns: ids of items, commits, and the audio before them."""
    talk.forget()
    talk.app.connection_lost(code=1006, reason="gone")
    effects = talk.app.connected()
    got = []
    for effect in effects:
        if isinstance(effect, fx.SendAudio):
            got.append(effect.data[0])
        elif isinstance(effect, fx.Send) and effect.event["type"] == "input_audio_buffer.commit":
            got.append("commit")
        elif isinstance(effect, fx.Send) and effect.event["type"] == "conversation.item.create":
            got.append(effect.event["item"]["id"])
    return got


@pytest.mark.parametrize("detects", [False, True], ids=["push to talk", "voice detection"])
@pytest.mark.parametrize(
    "order", [each for count in (1, 2, 3) for each in permutations((COMMITTED, SHOWN, WORDS), count)]
)
def test_a_commit_that_any_sign_of_its_item_confirms_is_not_sent_again(pushing, order, detects) -> None:
    talk = pushing(detects=detects)
    for what in order:
        hear(talk, what)
    assert taken_by_next(talk) == ["u", 2, "commit"]


def test_commits_without_a_sign_are_sent_again_with_their_audio(pushing) -> None:
    assert taken_by_next(pushing()) == [1, "commit", 2, "commit"]


def test_every_item_confirms_a_commit_of_its_own(pushing) -> None:
    talk = pushing()
    for item_id in ("u", "v"):
        for kind in ("added", "done"):
            talk.item(item_id, kind=kind, content=[{"type": "input_audio", "transcript": None}])
        talk.server("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
    assert taken_by_next(talk) == ["u", "v"]


@pytest.mark.parametrize("item", ["typed", "sent as audio", "of the agent"])
def test_items_that_are_not_of_the_commit_confirm_none(pushing, item) -> None:
    talk = pushing()
    match item:
        case "typed":
            talk.app.create_item({"id": "m", "type": "message", "role": "user", "content": []})
            talk.item("m", content=[{"type": "input_text", "text": "Hello."}])
        case "sent as audio":
            content = [{"type": "input_audio", "audio": "AAAA"}]
            talk.app.create_item({"id": "m", "type": "message", "role": "user", "content": content})
            talk.item("m", content=[{"type": "input_audio", "transcript": None}])
        case "of the agent":
            talk.item("m", role="assistant", content=[{"type": "output_audio"}])
    assert [each for each in taken_by_next(talk) if each != "m"] == [1, "commit", 2, "commit"]


@pytest.mark.parametrize("order", list(permutations(("timeout", "committed", "shown"))))
@pytest.mark.parametrize("lost", [None, "committed", "shown"])
def test_silence_that_the_server_takes_for_a_turn_is_one_turn_in_every_order(make_talk, order, lost) -> None:
    talk = make_talk()
    talk.open(**DETECTION)
    for what in order:
        if what == lost:
            continue
        if what == "timeout":
            kind = "input_audio_buffer.timeout_triggered"
            talk.server(kind, item_id="u", audio_start_ms=0, audio_end_ms=900)
        else:
            hear(talk, what)
    talk.created("r")
    talk.output_item("r", "a")
    talk.done("r")
    talk.wait(60)
    assert talk.creates == []
    assert [turn.item_ids for turn in talk.turns] == [("u", "a")]
