"""Whatever a client sends: no crash, an answer or an error, and nothing but valid events."""

from __future__ import annotations

import json
import os
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

TIMES = int(os.environ.get("TREALTIME_TIMES", "1"))
"""How many times the random examples: `nox -s long` has more."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

# Answers that one legal event can begin with; None: it may be answered by silence.
ANSWERS: dict[str, set[str | None]] = {
    "session.update": {"session.updated"},
    "input_audio_buffer.append": {None, "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"},
    "input_audio_buffer.commit": {"input_audio_buffer.committed"},
    "input_audio_buffer.clear": {"input_audio_buffer.cleared"},
    "conversation.item.create": {"conversation.item.added"},
    "conversation.item.retrieve": {"conversation.item.retrieved"},
    "conversation.item.delete": {"conversation.item.deleted"},
    "conversation.item.truncate": {"conversation.item.truncated"},
    "response.create": {"response.created"},
    "response.cancel": {
        "response.done",
        "response.output_audio.done",
        "response.output_text.done",
        "response.function_call_arguments.done",
    },
    "output_audio_buffer.clear": {"output_audio_buffer.cleared"},
}

ITEM_IDS = st.sampled_from(["a", "b", "c", "root", ""])


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


FORMATS = st.sampled_from([{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}])
DETECTIONS = (
    st.none()
    | optional(
        threshold=st.floats(0, 1),
        silence_duration_ms=st.integers(0, 1000),
        prefix_padding_ms=st.integers(0, 1000),
        create_response=st.booleans(),
        interrupt_response=st.booleans(),
        idle_timeout_ms=st.none() | st.integers(5000, 30000),
    ).map(lambda fields: {"type": "server_vad"} | fields)
    | optional(eagerness=st.sampled_from(["low", "high"])).map(lambda fields: {"type": "semantic_vad"} | fields)
)
TOOLS = st.lists(st.sampled_from([{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "s"}]), max_size=2)
RESPONSE = optional(
    instructions=st.text(max_size=5),
    output_modalities=st.sampled_from([["audio"], ["text"]]),
    conversation=st.sampled_from(["auto", "none"]),
    metadata=st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    max_output_tokens=st.integers(1, 50) | st.just("inf"),
    tools=TOOLS,
    input=st.lists(ITEM_IDS.map(lambda item_id: {"type": "item_reference", "id": item_id}), max_size=2),
    audio=optional(output=optional(format=FORMATS, voice=st.sampled_from(["ash", "cedar", {"id": "voice_1"}]))),
)
SESSION = optional(
    instructions=st.text(max_size=5),
    output_modalities=st.sampled_from([["audio"], ["text"]]),
    tools=TOOLS,
    max_output_tokens=st.integers(1, 4096) | st.just("inf"),
    truncation=st.sampled_from(["auto", "disabled", {"type": "retention_ratio", "retention_ratio": 0.5}]),
    tracing=st.sampled_from([None, "auto"]),
    include=st.sampled_from([None, [], ["item.input_audio_transcription.logprobs"]]),
    audio=optional(
        input=optional(
            format=FORMATS,
            turn_detection=DETECTIONS,
            transcription=st.none() | st.just({"model": "whisper-1"}),
            noise_reduction=st.none() | st.just({"type": "far_field"}),
        ),
        output=optional(format=FORMATS, voice=st.sampled_from(["ash", "cedar"]), speed=st.floats(0.25, 1.5)),
    ),
).map(lambda fields: {"type": "realtime"} | fields)


def messages(kit: Any) -> st.SearchStrategy[dict[str, Any]]:
    tone, silence = kit.b64(kit.pcm(300, loud=True)), kit.b64(kit.pcm(700))
    audio = st.sampled_from([tone, tone, silence, silence, "", "AA==", "?"])
    content = st.sampled_from(
        [
            [{"type": "input_text", "text": "Hi"}],
            [{"type": "input_audio", "audio": tone}],
            [],
            [{"type": "output_text", "text": "Hi"}],
        ]
    )
    roles = st.sampled_from(["user", "system", "assistant"])
    item = st.fixed_dictionaries(
        {"type": st.just("message"), "role": roles, "content": content}, optional={"id": ITEM_IDS}
    ) | st.just({"type": "function_call_output", "call_id": "c", "output": "o"})
    legal = {
        "session.update": st.fixed_dictionaries({"session": SESSION}),
        "input_audio_buffer.append": st.fixed_dictionaries({"audio": audio}),
        "input_audio_buffer.commit": st.just({}),
        "input_audio_buffer.clear": st.just({}),
        "conversation.item.create": st.fixed_dictionaries({"item": item}, optional={"previous_item_id": ITEM_IDS}),
        "conversation.item.retrieve": st.fixed_dictionaries({"item_id": ITEM_IDS}),
        "conversation.item.delete": st.fixed_dictionaries({"item_id": ITEM_IDS}),
        "conversation.item.truncate": st.fixed_dictionaries(
            {"item_id": ITEM_IDS, "content_index": st.just(0), "audio_end_ms": st.integers(0, 300)}
        ),
        "response.create": optional(response=RESPONSE),
        "response.cancel": st.just({}),
        "output_audio_buffer.clear": st.just({}),
    }
    return st.one_of([fields.map(lambda given, kind=kind: {"type": kind} | given) for kind, fields in legal.items()])


def spoil(event: dict[str, Any], path: list[int], value: Any) -> dict[str, Any]:
    """`event` with something in it replaced by `value`."""
    copy = json.loads(json.dumps(event))
    node: Any = copy
    for step in path:
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            break
        key = keys[step % len(keys)]
        if not isinstance(node[key], (dict, list)) or step % 3 == 0:
            node[key] = value
            break
        node = node[key]
    return dict(copy)


def make_some(engine: Any, kit: Any, step: int) -> None:
    """Let the responses that run go on a little, as the generator does."""
    for response in engine.core.responses.running:
        if step % 4 == 0:
            response.open_message()
        elif step % 4 == 3 or response._open is None:
            response.close_item()
            engine.core.responses.end(response, "completed")
        else:
            response.add_text("word ")
            if response.modality == "audio":
                engine.core.responses.note_speech(response)
                response.add_audio(kit.pcm(100))


@settings(max_examples=150 * TIMES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_every_event_is_answered_and_every_answer_is_valid(kit: Any, data: st.DataObject) -> None:
    engine = kit.engine(call_id=data.draw(st.sampled_from([None, "rtc_1"])))
    legal = messages(kit)
    for step in range(data.draw(st.integers(1, 12))):
        event = data.draw(legal)
        if data.draw(st.integers(0, 3)) == 0:
            event = spoil(event, data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=4)), data.draw(JSON))
        events = engine.raw(json.dumps(event | {"event_id": "mine"}))
        first = events[0] if events else None
        kind = event.get("type")
        assert first is not None or kind == "input_audio_buffer.append"
        if first is not None and first["type"] == "error":
            assert len(events) == 1
            assert first["error"]["event_id"] == "mine"
        elif isinstance(kind, str):
            assert (None if first is None else first["type"]) in ANSWERS[kind]
        make_some(engine, kit, step)
        engine.clock[0] += 3
        engine.core.tick()
        engine.take()


@settings(max_examples=300 * TIMES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.text() | st.binary() | JSON.map(json.dumps))
def test_any_message_at_all_is_answered_by_one_error(kit: Any, message: str | bytes) -> None:
    engine = kit.engine()
    (event,) = engine.raw(message)
    assert event["type"] == "error"
