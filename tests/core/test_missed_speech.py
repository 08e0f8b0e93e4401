"""Speech of which the server's first word is that it is over: it interrupts as any other, as soon as it is known."""

from __future__ import annotations

import pytest

from trealtime._core.interruption import BargeIn
from trealtime._core.reconnection import Link, ReconnectPolicy

HEARD_MS = 1_000
WORDS = "conversation.item.input_audio_transcription"


def stopped(talk):
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900)


def committed(talk):
    talk.server("input_audio_buffer.committed", item_id="u", previous_item_id="a")


def shown(talk):
    talk.item("u", "a", content=[{"type": "input_audio", "transcript": None}])


def partly_told(talk, words="Wait a moment."):
    talk.server(f"{WORDS}.delta", item_id="u", content_index=0, delta=words)


def told(talk, words="Wait a moment."):
    talk.server(f"{WORDS}.completed", item_id="u", content_index=0, transcript=words)


def not_understood(talk):
    talk.server(f"{WORDS}.failed", item_id="u", content_index=0, error={"message": "no"})


SIGNS = (stopped, committed, shown, partly_told, told, not_understood)


def speaking(make_talk, barge_in="immediate", *, transcribes=True, **options):
    """The agent speaks, and has been heard for a second."""
    talk = make_talk(barge_in=barge_in, **options)
    detection = {"type": "server_vad", "create_response": True, "interrupt_response": barge_in == "immediate"}
    listens = {"turn_detection": detection, "transcription": {"model": "whisper-1"} if transcribes else None}
    session = {"type": "realtime", "audio": {"input": listens}}
    talk.app.open_session(session, reply_id="open")
    talk.server("session.created", session={"type": "realtime"})
    talk.server("session.updated", session=talk.sent_of("session.update")[0]["session"])
    talk.app.create_response()
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 10_000)
    talk.done("r1")
    talk.now += HEARD_MS / 1000
    talk.forget()
    return talk


def cuts(talk):
    return [(event.item_id, event.heard_ms, event.cause) for event in talk.events_of("audio_interrupted")]


def outcome(talk):
    """What became of the doubt."""
    kinds = ("interruption_confirmed", "interruption_dismissed")
    return [event.reason for event in talk.events if event.type in kinds]


CUT = [("a", HEARD_MS, "speech")]


@pytest.mark.parametrize("sign", SIGNS)
def test_the_first_sign_of_it_interrupts_once_at_what_was_heard(make_talk, sign) -> None:
    talk = speaking(make_talk)
    sign(talk)
    assert cuts(talk) == CUT
    for other in SIGNS:
        other(talk)
    talk.created("r2")
    talk.speak("r2", "b", 500)
    talk.done("r2")
    talk.wait(60)
    assert cuts(talk) == CUT
    assert talk.creates == []
    interrupted, answered = talk.turns
    assert (interrupted.interruption.cause, interrupted.interruption.onset_at) == ("speech", None)
    assert (answered.source, answered.item_ids, answered.speech_started_at) == ("speech", ("u", "b"), None)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("deaf", ["off", "uninterruptible"])
def test_it_interrupts_nothing_where_speech_does_not(make_talk, deaf, sign) -> None:
    talk = speaking(make_talk, "off" if deaf == "off" else "immediate")
    if deaf != "off":
        talk.app.begin_uninterruptible()
    sign(talk)
    assert cuts(talk) == []


@pytest.mark.parametrize("sign", [stopped, committed, shown])
@pytest.mark.parametrize("dismiss", ["short", "fillers"])
@pytest.mark.parametrize("words, reason", [("Stop!", "words"), ("Uh-huh.", "filler"), ("", "silence")])
def test_in_doubt_its_words_decide(make_talk, dismiss, sign, words, reason) -> None:
    """Nothing tells how long it was."""
    talk = speaking(make_talk, BargeIn(dismiss=dismiss))
    sign(talk)
    if sign is stopped:
        committed(talk)
    assert [event.type for event in talk.events if event.type.startswith("interruption")] == ["interruption_pending"]
    talk.now += 0.5
    told(talk, words)
    assert outcome(talk) == [reason]
    assert cuts(talk) == ([("a", HEARD_MS + 500, "speech")] if reason == "words" else [])
    assert len(talk.creates) == (reason == "words")


@pytest.mark.parametrize("sign", [told, not_understood])
def test_in_doubt_words_that_are_its_first_sign_decide_at_once(make_talk, sign) -> None:
    talk = speaking(make_talk, BargeIn())
    sign(talk)
    assert outcome(talk) == ["words" if sign is told else "no transcript"]
    assert cuts(talk) == CUT
    assert len(talk.creates) == 1


@pytest.mark.parametrize("transcribes, after_s", [(False, 0.0), (True, 2.0)])
def test_in_doubt_it_interrupts_where_no_words_come(make_talk, transcribes, after_s) -> None:
    talk = speaking(make_talk, BargeIn(transcript_timeout_s=2.0), transcribes=transcribes)
    committed(talk)
    assert bool(cuts(talk)) == (not transcribes)
    talk.wait(after_s)
    assert outcome(talk) == ["no transcript"]
    assert cuts(talk) == [("a", HEARD_MS + 1000 * after_s, "speech")]
    assert len(talk.creates) == 1


@pytest.mark.parametrize("sign", [committed, shown])
@pytest.mark.parametrize(
    "dismiss, words, reason", [("short", None, "short"), ("fillers", "Stop!", "words"), ("fillers", "Um.", "filler")]
)
def test_a_commit_ends_speech_whose_end_is_lost(make_talk, sign, dismiss, words, reason) -> None:
    """It comes before the speech was long enough to interrupt."""
    talk = speaking(make_talk, BargeIn(dismiss=dismiss, min_speech_ms=500))
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=100)
    talk.wait(0.8)
    committed(talk) if sign is committed else (shown(talk), committed(talk))
    if words is not None:
        assert outcome(talk) == []
        told(talk, words)
    assert outcome(talk) == [reason]
    talk.wait(60)
    assert len(talk.creates) == (reason == "words")


@pytest.mark.parametrize("reason, interrupts", [("turn_detected", True), ("client_cancelled", False)])
def test_a_response_that_the_server_ends_because_of_speech_is_interrupted_where_it_plays(
    make_talk, reason, interrupts
) -> None:
    talk = speaking(make_talk)
    talk.created("r2")
    talk.speak("r2", "b", 3_000)
    talk.now += 11
    talk.done("r2", "cancelled", status_details={"type": "cancelled", "reason": reason})
    assert cuts(talk) == ([("b", 2_000, "speech")] if interrupts else [])
    assert talk.sent_of("response.cancel") == []


@pytest.mark.parametrize("made", ["by the app", "under another id", "by the app's commit", "asked for"])
def test_items_that_we_have_made_or_asked_for_are_no_speech(make_talk, made) -> None:
    talk = speaking(make_talk)
    item = {"id": "m", "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]}
    match made:
        case "by the app" | "under another id":
            talk.app.create_item(item)
            talk.item("m" if made == "by the app" else "u", content=[{"type": "input_audio", "transcript": None}])
        case "by the app's commit":
            talk.app.commit_audio()
            shown(talk)
        case "asked for":
            talk.app.retrieve_item("u")
            talk.server("conversation.item.retrieved", item={**item, "id": "u"})
    assert cuts(talk) == []


@pytest.mark.parametrize("attached, detects", [(True, True), (False, False)])
def test_where_others_can_have_made_it_an_item_of_speech_interrupts_nothing(make_talk, attached, detects) -> None:
    talk = make_talk(link=Link(ReconnectPolicy(), attached=attached))
    talk.open(**({"create_response": True, "interrupt_response": True} if detects else {}))
    talk.speak("r1", "a", 10_000)
    committed(talk)
    shown(talk)
    assert cuts(talk) == []


def test_a_response_alone_shows_no_speech(make_talk) -> None:
    talk = speaking(make_talk)
    talk.created("r2")
    assert cuts(talk) == []
