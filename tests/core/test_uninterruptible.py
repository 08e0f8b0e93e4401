"""Scopes in which the agent is not interrupted, and servers that have not read yet that they must not answer."""

from __future__ import annotations

import pytest

from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.interruption import BargeIn
from trealtime._core.playback_ledger import PlaybackChange
from trealtime._core.turn_records import PATIENCE_S
from trealtime.agents.guardrails import GuardrailFunctionOutput, InputGuardrail, InputGuardrailResult
from trealtime.tools.function_tool import function_tool

from .test_pending_interruption import DISMISSED, begins, commits, outcome, speaking, stops, transcribed

# ---- uninterruptible ------------------------------------------------------------------------------------------------


def immediate(make_talk, **detection):
    talk = make_talk()
    talk.open(create_response=True, interrupt_response=True, **detection)
    talk.speak("r1", "a", 10_000)
    talk.now += 1
    talk.forget()
    return talk


def told(talk):
    return [
        session["audio"]["input"]["turn_detection"]["interrupt_response"]
        for session in (event["session"] for event in talk.sent_of("session.update"))
    ]


def acknowledges(talk):
    talk.server("session.updated", session=talk.sent_of("session.update")[-1]["session"])


def test_speech_in_an_uninterruptible_scope_interrupts_nothing(make_talk) -> None:
    talk = immediate(make_talk)
    talk.app.begin_uninterruptible()
    assert told(talk) == [False]
    acknowledges(talk)
    begins(talk)
    stops(talk)
    commits(talk)
    assert outcome(talk) == []
    talk.app.end_uninterruptible()
    assert told(talk) == [False, True]
    assert outcome(talk) == []
    begins(talk, "u2")
    assert outcome(talk) == ["audio_interrupted"]


def test_scopes_nest_and_the_server_is_told_once(make_talk) -> None:
    talk = immediate(make_talk)
    for _ in range(2):
        talk.app.begin_uninterruptible()
    talk.app.end_uninterruptible()
    begins(talk)
    assert (outcome(talk), told(talk)) == ([], [False])
    talk.app.end_uninterruptible()
    assert told(talk) == [False, True]


def test_speech_that_goes_on_when_the_scope_ends_is_taken_up_then(make_talk) -> None:
    talk = immediate(make_talk)
    talk.app.begin_uninterruptible()
    begins(talk)
    talk.now += 0.5
    talk.app.end_uninterruptible()
    assert [event.heard_ms for event in talk.events_of("audio_interrupted")] == [1500]


def test_under_a_policy_it_is_taken_up_with_the_time_that_it_has_lasted(make_talk) -> None:
    talk = speaking(make_talk)
    talk.app.begin_uninterruptible()
    begins(talk)
    talk.now += 0.5
    talk.app.end_uninterruptible()
    assert outcome(talk) == ["pending"]
    assert talk.core.next_deadline == pytest.approx(talk.now + 0.2)
    assert talk.sent_of("session.update") == []


@pytest.mark.parametrize("wish", [True, False])
def test_settings_that_change_inside_keep_the_scope_and_what_they_wish_holds_after_it(make_talk, wish) -> None:
    talk = immediate(make_talk)
    talk.app.begin_uninterruptible()
    detection = {"type": "server_vad", "interrupt_response": wish}
    talk.app.update_session({"audio": {"input": {"turn_detection": detection}}}, reply_id="t")
    talk.app.update_session({"instructions": "x"}, reply_id="t2")
    talk.app.end_uninterruptible()
    sent = [event["session"] for event in talk.sent_of("session.update") if "audio" in event["session"]]
    assert [each["audio"]["input"]["turn_detection"]["interrupt_response"] for each in sent] == [
        False,
        False,
        *([True] if wish else []),
    ]


def test_without_turn_detection_a_scope_tells_the_server_nothing(talk) -> None:
    talk.app.begin_uninterruptible()
    talk.app.end_uninterruptible()
    assert talk.sent == []


# ---- a server that has not read yet that it must not answer by itself -----------------------------------------------


def unread(make_talk, **options):
    """A talk whose policy is a `BargeIn`, over a server that takes turns, answers and interrupts by itself."""
    talk = make_talk(**options)
    talk.open(create_response=True, interrupt_response=False)
    return talk


def short_turn(talk):
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=10)
    commits(talk)


@pytest.mark.parametrize("dismiss, outcome", [("fillers", ["pending"]), ("short", DISMISSED)])
def test_what_the_server_owes_for_a_turn_is_the_answer_of_no_caller(make_talk, dismiss, outcome):
    """The server has shown no key yet. The speech is in doubt, or dismissed, when its answer comes."""
    talk = unread(make_talk, barge_in=BargeIn(min_speech_ms=300, dismiss=dismiss))
    talk.app.create_response(reply_id="t")
    short_turn(talk)
    assert [each.removeprefix("interruption_") for each in talk.types if each.startswith("interruption")] == outcome
    talk.created("server's own")
    assert talk.started == []
    talk.app.interrupt(reply_id="t")
    assert talk.purged == []
    assert talk.sent_of("response.cancel") == []


def test_an_answer_to_dismissed_speech_belongs_to_its_turn(make_talk):
    talk = unread(make_talk, barge_in=BargeIn(min_speech_ms=300))
    talk.app.create_response(reply_id="t")
    short_turn(talk)
    assert talk.turns == []
    talk.created("r")
    talk.done("r")
    assert [(turn.item_ids, turn.response_ids, turn.status) for turn in talk.turns] == [(("u",), ("r",), "completed")]


def test_an_answer_to_dismissed_speech_that_does_not_come_is_not_waited_for(make_talk):
    talk = unread(make_talk, barge_in=BargeIn(min_speech_ms=300))
    talk.app.create_response(reply_id="t")
    short_turn(talk)
    assert talk.core.next_deadline == talk.now + PATIENCE_S
    talk.wait(PATIENCE_S)
    assert [(turn.item_ids, turn.status, turn.reason) for turn in talk.turns] == [(("u",), "unanswered", "dismissed")]
    talk.created("r")
    assert talk.started == [("t", "r")]


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("words, outcome", [("Mm-hmm.", "dismissed"), ("Stop.", "confirmed"), (None, "confirmed")])
def test_an_answer_to_speech_in_doubt_is_not_what_the_speech_interrupts(make_talk, words, outcome, earlier):
    """With an earlier turn that the same answer answers, the doubt goes over to that one."""
    talk = unread(make_talk, barge_in=BargeIn(min_speech_ms=300, dismiss="fillers"))
    if earlier:
        talk.turn("v")
    talk.app.create_response(reply_id="t")
    short_turn(talk)
    talk.speak("r", "a", 2_000)
    talk.forget()
    transcribed(talk, words)
    assert [each.removeprefix("interruption_") for each in talk.types if each.startswith("interruption")] == [outcome]
    assert (talk.purged, talk.truncations, talk.sent_of("response.cancel")) == ([], [], [])
    talk.done("r")
    talk.wait(60)
    assert [(turn.item_ids, turn.response_ids, turn.status) for turn in talk.turns] == [
        (("v", "u", "a") if earlier else ("u", "a"), ("r",), "completed")
    ]


def test_its_tools_go_on_too(make_talk):
    @function_tool(on_interrupt="cancel")
    async def look() -> str:
        """Look."""
        return ""

    talk = unread(make_talk, barge_in=BargeIn(min_speech_ms=300, dismiss="fillers"))
    talk.app.use_tools([look])
    talk.app.create_response(reply_id="t")
    short_turn(talk)
    talk.created("r")
    talk.call("r", "c")
    talk.done("r")
    assert transcribed(talk, "What time is it?").cancel_calls == []


def test_but_more_speech_interrupts_it(make_talk):
    talk = unread(make_talk, barge_in=BargeIn(min_speech_ms=300, dismiss="fillers"))
    talk.app.create_response(reply_id="t")
    short_turn(talk)
    talk.speak("r", "a", 2_000)
    talk.server("input_audio_buffer.speech_started", item_id="v", audio_start_ms=1_000)
    talk.server("input_audio_buffer.speech_stopped", item_id="v", audio_end_ms=3_000)
    assert "interruption_confirmed" in talk.types
    assert talk.purged == ["r"]


@pytest.mark.parametrize(
    "dismiss, words, creates",
    [("short", None, 0), ("fillers", "Mm-hmm.", 0), ("fillers", "Stop.", 1), ("fillers", None, 1)],
)
def test_a_turn_that_the_server_does_not_answer_because_a_response_runs_is_asked_for_if_it_is_one(
    make_talk, dismiss, words, creates
):
    talk = unread(make_talk, barge_in=BargeIn(min_speech_ms=300, dismiss=dismiss))
    talk.speak("r", "a", 10_000)
    talk.forget()
    short_turn(talk)
    assert talk.creates == []
    if dismiss == "fillers":
        transcribed(talk, words)
    talk.done("r")
    talk.wait(60)
    assert len(talk.creates) == creates


@pytest.mark.parametrize("trips", [False, True])
def test_so_it_is_if_its_words_pass(make_talk, trips):
    guardrail = InputGuardrail(
        guardrail_function=lambda *_: GuardrailFunctionOutput(None, tripwire_triggered=False), name="heard"
    )
    talk = unread(make_talk, guardrails=GuardrailPolicy(input=(guardrail,), gates_turns=True), barge_in="off")
    talk.speak("r", "a", 10_000)
    short_turn(talk)
    (check,) = transcribed(talk, "How are you?").checks
    talk.done("r")
    assert talk.creates == []
    output = GuardrailFunctionOutput(None, tripwire_triggered=True)
    result = InputGuardrailResult(guardrail=guardrail, user_input=check.text, agent=talk.agent, output=output)
    talk.app.report_check(check.serial, tripped=(result,) if trips else ())
    talk.wait(60)
    assert len(talk.creates) == (0 if trips else 1)


@pytest.mark.parametrize("reporting, in_doubt, told", [(True, True, True), (True, False, False), (False, True, False)])
def test_an_endpoint_that_comes_in_mid_doubt_plays_as_the_policy_says(make_talk, reporting, in_doubt, told) -> None:
    talk = speaking(make_talk, while_unsure="hold")
    if in_doubt:
        begins(talk)
    change = talk.app.use_reports(reporting=reporting).playback
    assert change == (PlaybackChange("hold") if told else None)


@pytest.mark.parametrize(
    "shown, sent",
    [
        ({"type": 5}, None),
        ({"typ": "server_vad"}, None),
        ({"type": "semantic_vad", "eagerness": 3}, {"type": "semantic_vad"}),
        ({"type": "server_vad", "threshold": "0.5", "prefix_padding_ms": True}, {"type": "server_vad"}),
        (
            {"type": "server_vad", "threshold": 1, "idle_timeout_ms": None, "of_tomorrow": [1]},
            {"type": "server_vad", "threshold": 1, "idle_timeout_ms": None, "of_tomorrow": [1]},
        ),
    ],
)
def test_only_what_can_be_read_of_the_servers_detection_is_sent_back(talk, shown, sent) -> None:
    session = {"type": "realtime", "audio": {"input": {"turn_detection": {"create_response": True, **shown}}}}
    talk.server("session.updated", session=session)
    talk.forget()
    talk.app.begin_uninterruptible()
    updates = [event["session"]["audio"]["input"]["turn_detection"] for event in talk.sent_of("session.update")]
    flags = {"create_response": True, "interrupt_response": False}
    assert updates == ([] if sent is None else [{**sent, **flags}])
