"""Guardrails whose verdicts a test gives by hand, on the core alone."""

from __future__ import annotations

from typing import Any

from trealtime._core.effects import GuardrailCheck
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.reconnection import Link
from trealtime.agents.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
)


def harmless(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(None, tripwire_triggered=False)


OUTPUT = OutputGuardrail(harmless, "polite")
INPUT = InputGuardrail(harmless, "on topic")
TRIPPED = GuardrailFunctionOutput("rude", tripwire_triggered=True)


def guarded(make_talk: Any, **options: Any) -> Any:
    talk = make_talk(guardrails=GuardrailPolicy(output=(OUTPUT,), debounce_text_length=10, **options))
    talk.open(create_response=True, interrupt_response=True)
    return talk


def checks(talk: Any) -> list[GuardrailCheck]:
    return [check for fx in talk.effects for check in fx.checks]


def trip(talk: Any, check: GuardrailCheck) -> Any:
    results: tuple[Any, ...] = (
        (InputGuardrailResult(guardrail=INPUT, user_input=check.text, agent=check.agent, output=TRIPPED),)
        if check.which == "input"
        else (OutputGuardrailResult(guardrail=OUTPUT, agent_output=check.text, agent=check.agent, output=TRIPPED),)
    )
    return talk.app.report_check(check.serial, tripped=results)


def let_pass(talk: Any, check: GuardrailCheck) -> Any:
    return talk.app.report_check(check.serial)


def sent(fx: Any, kind: str) -> list[Any]:
    return [each.event for each in fx.send if each.event["type"] == kind]


def emitted(fx: Any, kind: str) -> list[Any]:
    return [event for event in fx.emit if event.type == kind]


def messages(fx: Any) -> list[tuple[str, str]]:
    items = [event["item"] for event in sent(fx, "conversation.item.create")]
    return [(item["role"], item["content"][0]["text"]) for item in items]


def listening(make_talk: Any, *, link: Link | None = None, **options: Any) -> Any:
    talk = make_talk(guardrails=GuardrailPolicy(input=(INPUT,), gates_turns=True, **options), link=link)
    talk.open(create_response=False, interrupt_response=True)
    return talk


def say(talk: Any, text: str, item_id: str = "item_u", reply_id: str | None = None) -> Any:
    item = {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    talk.app.create_item(item, said=True)
    return talk.app.create_response(automatic=reply_id is None, reply_id=reply_id)


def turn(talk: Any, item_id: str, transcript: str | None) -> Any:
    talk.server("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=0)
    talk.server("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=900)
    fx = talk.server("input_audio_buffer.committed", item_id=item_id)
    assert not fx.send
    if transcript is None:
        return fx
    return transcribe(talk, item_id, transcript)


def transcribe(talk: Any, item_id: str, transcript: str) -> Any:
    return talk.server(
        "conversation.item.input_audio_transcription.completed",
        item_id=item_id,
        content_index=0,
        transcript=transcript,
    )
