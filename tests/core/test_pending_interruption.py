"""Barge-in policies: what is in doubt, how long, and what becomes of playback, of the answer and of the turn."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.interruption import FILLERS, BargeIn, only_fillers
from trealtime._core.playback_ledger import PlaybackChange
from trealtime.agents.guardrails import GuardrailFunctionOutput, InputGuardrail
from trealtime.errors import ConnectionLost
from trealtime.tools.function_tool import function_tool

DETECTION = {"silence_duration_ms": 200, "prefix_padding_ms": 100}


def talk_with(make_talk, *, requested_answers=True, guardrails=None, **policy):
    """A talk whose policy is a `BargeIn`, over a server that has taken our settings."""
    talk = make_talk(barge_in=BargeIn(**policy), guardrails=guardrails)
    detection = {"type": "server_vad", **DETECTION, "create_response": requested_answers}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    talk.app.open_session(session, reply_id="open")
    talk.server("session.created", session={"type": "realtime"})
    talk.server("session.updated", session=talk.sent_of("session.update")[0]["session"])
    talk.forget()
    return talk


HEARD_AT = 110.0
"""When what the agent says in `speaking` has been heard, if nothing stops it."""


def speaking(make_talk, ms=10_000, **options):
    """The agent speaks, and has been heard for a second."""
    talk = talk_with(make_talk, **options)
    talk.speak("r1", "a", ms)
    talk.done("r1")
    talk.now += 1.0
    talk.forget()
    return talk


def begins(talk, item_id="u", start_ms=0):
    return talk.server("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=start_ms)


def stops(talk, item_id="u", *, after_s=0.3, end_ms=400):
    """Speech ends, `after_s` seconds after it began; `end_ms` is what the server says of its place in the audio."""
    talk.wait(after_s)
    return talk.server("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=end_ms)


def commits(talk, item_id="u"):
    return talk.server("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)


def transcribed(talk, words, item_id="u"):
    about = {"item_id": item_id, "content_index": 0}
    if words is None:
        return talk.server("conversation.item.input_audio_transcription.failed", **about, error={"message": "no"})
    return talk.server("conversation.item.input_audio_transcription.completed", **about, transcript=words)


def outcome(talk):
    """What became of the doubt, and of the agent's words."""
    events = [event.type for event in talk.events if event.type.startswith(("interruption_", "audio_interrupted"))]
    return [event.removeprefix("interruption_") for event in events]


def why_confirmed(talk):
    return [event.reason for event in talk.events_of("interruption_confirmed")]


@pytest.mark.parametrize(
    "end, reason",
    [
        (lambda talk: talk.wait(5), "long"),
        (lambda talk: (stops(talk), transcribed(talk, "No, the other one.")), "words"),
        (lambda talk: (stops(talk), transcribed(talk, None)), "no transcript"),
        (lambda talk: (stops(talk), talk.wait(3)), "no transcript"),
        (lambda talk: talk.app.interrupt(), "app"),
        (lambda talk: talk.app.interrupt(cause="guardrail"), "guardrail"),
    ],
)
def test_a_confirmed_interruption_says_why(make_talk, end, reason):
    talk = speaking(make_talk, min_speech_ms=600, dismiss="filler")
    begins(talk)
    end(talk)
    assert why_confirmed(talk) == [reason]


def test_so_does_one_that_outlasts_the_answer(make_talk):
    talk = speaking(make_talk, ms=1_200, min_speech_ms=2_000, while_unsure="play")
    begins(talk)
    stops(talk, after_s=0.5)
    transcribed(talk, "Mm-hmm.")
    assert why_confirmed(talk) == ["answer over"]


def changes(talk):
    return [fx.playback for fx in talk.effects if fx.playback is not None]


INTERRUPTED = ["pending", "confirmed", "audio_interrupted"]
DISMISSED = ["pending", "dismissed"]


# ---- what the server is told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [True, False, None])
def test_under_a_policy_the_server_neither_cancels_nor_answers_by_itself(make_talk, wish) -> None:
    talk = make_talk(barge_in=BargeIn())
    detection = {"type": "semantic_vad", **({} if wish is None else {"interrupt_response": wish})}
    talk.app.open_session({"type": "realtime", "audio": {"input": {"turn_detection": detection}}}, reply_id="open")
    sent = talk.sent_of("session.update")[0]["session"]["audio"]["input"]["turn_detection"]
    assert sent == {"type": "semantic_vad", "interrupt_response": False, "create_response": False}


def test_without_turn_detection_there_is_nothing_to_tell(make_talk) -> None:
    talk = make_talk(barge_in=BargeIn())
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    talk.app.open_session(session, reply_id="open")
    assert talk.sent_of("session.update")[0]["session"] == session


@pytest.mark.parametrize("requested", [True, False])
def test_an_ordinary_turn_is_answered_by_us_if_the_app_would_have_the_server_answer(make_talk, requested) -> None:
    talk = talk_with(make_talk, requested_answers=requested)
    talk.turn("u")
    assert len(talk.creates) == requested
    assert outcome(talk) == []


# ---- what is in doubt -----------------------------------------------------------------------------------------------


def playing(talk):
    talk.speak("r1", "a", 5000)


def being_made(talk):
    talk.created("r1")


def asked_for(talk):
    talk.app.create_response()


def heard_to_the_end(talk):
    talk.speak("r1", "a", 500)
    talk.done("r1")
    talk.now += 1


def interrupted(talk):
    playing(talk)
    talk.app.interrupt()


@pytest.mark.parametrize(
    "before, doubted",
    [(playing, True), (being_made, True), (asked_for, True), (heard_to_the_end, False), (interrupted, False)],
)
def test_only_speech_over_the_agent_is_in_doubt(make_talk, before, doubted) -> None:
    talk = talk_with(make_talk)
    before(talk)
    talk.forget()
    begins(talk)
    assert outcome(talk) == (["pending"] if doubted else [])


@pytest.mark.parametrize(
    "while_unsure, change",
    [
        ("play", PlaybackChange("play")),
        ("duck", PlaybackChange("duck", 10 ** (-20 / 20))),
        ("hold", PlaybackChange("hold")),
    ],
)
def test_whoever_plays_goes_on_ducks_or_holds_and_in_the_end_goes_on(make_talk, while_unsure, change) -> None:
    talk = speaking(make_talk, while_unsure=while_unsure, duck_db=-20.0)
    begins(talk)
    assert talk.events_of("interruption_pending")[0].while_unsure == while_unsure
    stops(talk)
    assert changes(talk) == [change, PlaybackChange("play")]
    assert not talk.sent


# ---- by duration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after_s, expected",
    [
        (0.3, DISMISSED),
        (0.69, DISMISSED),  # the end is told 200 ms after it was: 490 ms of speech
        (0.7, INTERRUPTED),
        (3.0, INTERRUPTED),
    ],
)
def test_speech_that_lasts_interrupts_and_shorter_speech_does_not(make_talk, after_s, expected) -> None:
    talk = speaking(make_talk, min_speech_ms=500)
    begins(talk)
    assert talk.core.next_deadline == pytest.approx(talk.now + 0.7)
    stops(talk, after_s=after_s)
    assert outcome(talk) == expected
    assert talk.core.next_deadline == pytest.approx(HEARD_AT) or expected == INTERRUPTED


def test_speech_that_came_faster_than_in_real_time_is_measured_in_its_audio(make_talk) -> None:
    talk = speaking(make_talk, min_speech_ms=500)
    begins(talk, start_ms=1000)
    stops(talk, after_s=0.01, end_ms=1000 + 100 + 200 + 500)
    assert outcome(talk) == INTERRUPTED


def test_with_no_minimum_speech_interrupts_as_it_begins(make_talk) -> None:
    talk = speaking(make_talk, min_speech_ms=0)
    begins(talk)
    assert outcome(talk) == INTERRUPTED
    assert changes(talk)[-1] == PlaybackChange("play")


@pytest.mark.parametrize("while_unsure, heard_ms", [("play", 1700), ("duck", 1700), ("hold", 1000)])
def test_an_interruption_cuts_at_what_was_heard(make_talk, while_unsure, heard_ms) -> None:
    talk = speaking(make_talk, while_unsure=while_unsure)
    begins(talk)
    talk.wait(0.7)
    assert talk.truncations == [("a", 0, heard_ms)]
    assert talk.events_of("audio_interrupted")[0].cause == "speech"


def test_a_confirmed_turn_is_answered_once_it_is_there(make_talk) -> None:
    talk = speaking(make_talk)
    begins(talk)
    talk.wait(0.7)
    stops(talk, after_s=1)
    assert not talk.creates
    commits(talk)
    assert len(talk.creates) == 1


def test_a_dismissed_turn_is_never_answered(make_talk) -> None:
    talk = speaking(make_talk)
    begins(talk)
    stops(talk)
    commits(talk)
    talk.item("u")
    talk.wait(100)
    assert not talk.sent
    assert talk.order() == ["a", "u"]  # but it was said
    assert talk.core.counters().interruptions_dismissed == 1


def test_held_playback_goes_on_where_it_stood(make_talk) -> None:
    talk = speaking(make_talk, 2000, while_unsure="hold")
    begins(talk)
    assert talk.core.playback_remaining(talk.now) == math.inf
    stops(talk, after_s=0.4)
    assert talk.core.playback_remaining(talk.now) == pytest.approx(1.0)
    talk.wait(0.25)
    talk.app.interrupt()
    assert talk.truncations == [("a", 0, 1250)]


def test_speech_over_which_the_agent_has_come_to_its_end_is_a_turn_like_any(make_talk) -> None:
    talk = speaking(make_talk, 1100, while_unsure="play")
    begins(talk)
    stops(talk, after_s=0.3)
    assert outcome(talk) == ["pending", "confirmed"]
    commits(talk)
    assert len(talk.creates) == 1


# ---- by words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, expected, reason",
    [
        ("Mm-hmm.", DISMISSED, "filler"),
        ("Uh huh, mm!", DISMISSED, "filler"),
        ("", DISMISSED, "silence"),
        (" ... ", DISMISSED, "silence"),
        ("Stop!", INTERRUPTED, None),
        ("Mm-hmm, but wait.", INTERRUPTED, None),
        (None, INTERRUPTED, None),
    ],
)
def test_short_speech_is_known_by_its_words(make_talk, words, expected, reason) -> None:
    talk = speaking(make_talk, dismiss="fillers", while_unsure="hold")
    begins(talk)
    stops(talk)
    commits(talk)
    assert (outcome(talk), talk.creates) == (["pending"], [])
    transcribed(talk, words)
    assert outcome(talk) == expected
    assert len(talk.creates) == (expected == INTERRUPTED)
    if reason is not None:
        (dismissed,) = talk.events_of("interruption_dismissed")
        assert (dismissed.item_id, dismissed.reason, dismissed.transcript) == ("u", reason, words)
        assert talk.truncations == []


def test_words_that_do_not_come_in_time_are_taken_for_an_interruption(make_talk) -> None:
    talk = speaking(make_talk, dismiss="fillers", transcript_timeout_s=1.5)
    begins(talk)
    stops(talk)
    commits(talk)
    assert talk.core.next_deadline == pytest.approx(talk.now + 1.5)
    talk.wait(1.5)
    assert outcome(talk) == INTERRUPTED
    assert len(talk.creates) == 1
    transcribed(talk, "mm")
    assert outcome(talk) == INTERRUPTED


def test_long_speech_does_not_wait_for_its_words(make_talk) -> None:
    talk = speaking(make_talk, dismiss="fillers")
    begins(talk)
    talk.wait(0.7)
    assert outcome(talk) == INTERRUPTED


@pytest.mark.parametrize("words, answered", [("mm-hmm", 1), ("yes", 1), ("", 0)])
def test_a_filler_after_the_agent_has_ended_is_an_answer_and_a_cough_is_none(make_talk, words, answered) -> None:
    talk = speaking(make_talk, 1500, dismiss="fillers", while_unsure="play")
    begins(talk)
    stops(talk)
    commits(talk)
    talk.now += 1
    transcribed(talk, words)
    assert len(talk.creates) == answered
    assert len(changes(talk)) == 2


@pytest.mark.parametrize(
    "first, second, expected",
    [("mm", "uh", DISMISSED), ("mm", "wait", INTERRUPTED), ("wait", "mm", INTERRUPTED)],
)
def test_several_utterances_are_one_doubt(make_talk, first, second, expected) -> None:
    talk = speaking(make_talk, dismiss="fillers", while_unsure="hold")
    for item_id in ("u1", "u2"):
        begins(talk, item_id)
        stops(talk, item_id)
        commits(talk, item_id)
    transcribed(talk, first, "u1")
    transcribed(talk, second, "u2")
    assert outcome(talk) == expected
    assert len(talk.creates) == (expected == INTERRUPTED)
    assert len(changes(talk)) == 2


def test_what_a_tool_has_found_waits_until_it_is_known_whether_the_user_has_the_floor(make_talk) -> None:
    talk = talk_with(make_talk, dismiss="fillers")
    talk.speak("r1", "a", 10_000)
    talk.call("r1", "c1")
    talk.done("r1")
    begins(talk)
    stops(talk)
    commits(talk)
    talk.app.send_tool_output("c1", "42")
    assert not talk.creates
    transcribed(talk, "mm")
    assert len(talk.creates) == 1


@pytest.mark.parametrize("words, answered", [("stop it", 1), ("mm", 0)])
def test_a_turn_that_is_checked_as_well_is_answered_when_both_have_let_it_pass(make_talk, words, answered) -> None:
    guardrail = InputGuardrail(lambda *_: GuardrailFunctionOutput(None, tripwire_triggered=False), "topic")
    talk = speaking(make_talk, dismiss="fillers", guardrails=GuardrailPolicy(input=(guardrail,), gates_turns=True))
    begins(talk)
    stops(talk)
    commits(talk)
    transcribed(talk, words)
    (check,) = [check for fx in talk.effects for check in fx.checks]
    assert not talk.creates
    talk.app.report_check(check.serial)
    assert len(talk.creates) == answered


# ---- ends that nobody expects ---------------------------------------------------------------------------------------


def test_the_apps_interrupt_ends_the_doubt(make_talk) -> None:
    talk = speaking(make_talk, while_unsure="hold")
    begins(talk)
    talk.app.interrupt()
    assert (outcome(talk), talk.events[-2].cause) == (INTERRUPTED, "app")
    assert changes(talk)[-1] == PlaybackChange("play")
    stops(talk)
    commits(talk)
    assert len(talk.creates) == 1


@pytest.mark.parametrize("how", ["cleared", "switched off"])
def test_speech_that_is_thrown_away_is_dismissed(make_talk, how) -> None:
    talk = speaking(make_talk, while_unsure="hold")
    begins(talk)
    if how == "cleared":
        talk.server("input_audio_buffer.cleared")
    else:
        talk.server("session.updated", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    assert talk.events_of("interruption_dismissed")[0].reason == "cleared"
    assert changes(talk)[-1] == PlaybackChange("play")
    assert talk.core.next_deadline == pytest.approx(HEARD_AT)


def test_speech_whose_end_is_never_told_interrupts(make_talk) -> None:
    talk = speaking(make_talk)
    begins(talk)
    talk.wait(5)
    assert outcome(talk) == INTERRUPTED


def test_the_end_of_the_connection_ends_the_doubt(make_talk) -> None:
    talk = speaking(make_talk)
    begins(talk)
    talk.app.disconnect(ConnectionLost("gone"))
    assert talk.core.next_deadline is None


def test_speech_while_a_tool_runs_in_silence_is_a_turn_and_cancels_what_asked_for_it(make_talk) -> None:
    @function_tool(on_interrupt="cancel")
    async def look() -> str:
        """Look."""
        return "seen"

    talk = talk_with(make_talk)
    talk.app.use_tools([look])
    talk.created("r1")
    talk.call("r1", "c1")
    talk.done("r1")
    assert begins(talk).cancel_calls == ["c1"]
    assert outcome(talk) == []


# ---- fillers --------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(FILLERS), max_size=5), st.sampled_from([" ", ", ", "... ", " - "]), st.booleans())
def test_any_row_of_fillers_says_nothing(row, between, shout) -> None:
    text = between.join(row)
    assert only_fillers(text.upper() if shout else text, FILLERS)
    assert not only_fillers(f"{text} no", FILLERS)


@pytest.mark.parametrize(
    "text, fillers, expected",
    [
        ("of course", ["of course"], True),
        ("of", ["of course"], False),
        ("course of", ["of course"], False),
        ("Natürlich!", ["natürlich"], True),
        ("mm", [], False),
        ("mm", [""], False),
        ("", [], True),
        ("a b c a b", ["a b c", "a b"], True),
    ],
)
def test_fillers_are_phrases_in_any_language(text, fillers, expected) -> None:
    assert only_fillers(text, fillers) == expected
