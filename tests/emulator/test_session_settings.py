"""session.created and session.update: defaults, merging, validation, what is locked."""

from __future__ import annotations

import json
from typing import Any

import pytest


def update(session: dict[str, Any]) -> dict[str, Any]:
    return {"session": {"type": "realtime"} | session}


def test_a_session_is_created_with_every_setting_shown(kit: Any) -> None:
    core = kit.engine().core
    core.open()
    (event,) = core.event_buffer.take()
    session = event["session"]
    assert session["object"] == "realtime.session"
    assert session["id"] == core.id
    assert session["expires_at"] == 1_003_600
    assert session["model"] == "gpt-realtime"
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": None,
        "noise_reduction": None,
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "idle_timeout_ms": None,
            "create_response": True,
            "interrupt_response": True,
        },
    }
    assert session["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "marin",
        "speed": 1.0,
    }
    assert {
        "tools",
        "tool_choice",
        "max_output_tokens",
        "tracing",
        "prompt",
        "include",
        "instructions",
    } <= session.keys()


def test_an_update_changes_what_it_names_and_shows_all(kit: Any) -> None:
    engine = kit.engine()
    before = dict(engine.core.settings.data)
    (event,) = engine("session.update", update({"instructions": "Sing.", "audio": {"output": {"speed": 1.25}}}))
    session = event["session"]
    assert event["type"] == "session.updated"
    assert session["instructions"] == "Sing."
    assert session["audio"]["output"] == before["audio"]["output"] | {"speed": 1.25}
    assert session["audio"]["input"] == before["audio"]["input"]
    assert session["tools"] == before["tools"]


def test_tools_alone_leave_the_instructions(kit: Any) -> None:
    engine = kit.engine()
    tool = {"type": "function", "name": "look", "description": "Look.", "parameters": {"type": "object"}}
    engine("session.update", update({"instructions": "Keep me."}))
    (event,) = engine("session.update", update({"tools": [tool], "tool_choice": {"type": "function", "name": "look"}}))
    assert event["session"]["tools"] == [tool]
    assert event["session"]["instructions"] == "Keep me."
    (event,) = engine("session.update", update({"tools": [], "instructions": ""}))
    assert (event["session"]["tools"], event["session"]["instructions"]) == ([], "")


def test_the_strength_of_noise_reduction_is_1_at_first_and_stays_where_it_is_left_out(kit: Any) -> None:
    engine = kit.engine()
    shown = []
    for given in ({"type": "near_field"}, {"type": "far_field", "strength": 0.5}, {"type": "near_field"}, None):
        (event,) = engine("session.update", update({"audio": {"input": {"noise_reduction": given}}}))
        shown.append(event["session"]["audio"]["input"]["noise_reduction"])
    assert [each and each["strength"] for each in shown] == [1, 0.5, 0.5, None]


def test_null_turns_features_off_and_an_object_turns_them_on_with_its_defaults(kit: Any) -> None:
    engine = kit.engine()
    features = {
        "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
        "transcription": {"model": "whisper-1"},
        "noise_reduction": {"type": "near_field"},
    }
    (event,) = engine("session.update", update({"audio": {"input": features}}))
    shown = event["session"]["audio"]["input"]
    detection = features["turn_detection"] | {"create_response": True, "interrupt_response": True}
    assert shown["turn_detection"] == detection
    assert shown["transcription"] == {"model": "whisper-1"}
    (event,) = engine("session.update", update({"audio": {"input": dict.fromkeys(features)}}))
    assert [event["session"]["audio"]["input"][name] for name in features] == [None, None, None]


@pytest.mark.parametrize(
    "value",
    [{"type": "audio/pcmu"}, {"type": "audio/pcma"}, {"type": "audio/pcm"}, {"type": "audio/pcm", "rate": 24000}],
)
def test_every_audio_format_can_be_set(kit: Any, value: dict[str, Any]) -> None:
    audio = {"input": {"format": value}, "output": {"format": value}}
    (event,) = kit.engine()("session.update", update({"audio": audio}))
    shown = value | ({"rate": 24000} if value["type"] == "audio/pcm" else {})
    assert event["session"]["audio"]["input"]["format"] == shown
    assert event["session"]["audio"]["output"]["format"] == shown


def test_settings_of_reasoning_models_are_kept_and_shown(kit: Any) -> None:
    given = {
        "parallel_tool_calls": False,
        "reasoning": {"effort": "xhigh"},
        "max_output_tokens": 4096,
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 100}},
        "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}},
        "prompt": {"id": "pmpt_1", "version": None, "variables": {"name": "Ada"}},
        "include": ["item.input_audio_transcription.logprobs"],
    }
    (event,) = kit.engine()("session.update", update(given))
    assert {name: event["session"][name] for name in given} == given


def test_a_custom_voice_is_shown_by_its_id(kit: Any) -> None:
    (event,) = kit.engine()("session.update", update({"audio": {"output": {"voice": {"id": "voice_1"}}}}))
    assert event["session"]["audio"]["output"]["voice"] == "voice_1"


@pytest.mark.parametrize(
    "session, code, param",
    [
        ({"colour": "red"}, "unknown_parameter", "session.colour"),
        ({"audio": {"input": {"formt": {}}}}, "unknown_parameter", "session.audio.input.formt"),
        ({"audio": {"output": {"voice": 3}}}, "invalid_type", "session.audio.output.voice"),
        ({"audio": {"output": {"voice": ""}}}, "invalid_value", "session.audio.output.voice"),
        ({"audio": {"output": {"voice": {"id": 3}}}}, "invalid_type", "session.audio.output.voice.id"),
        ({"audio": {"output": {"speed": 2}}}, "invalid_value", "session.audio.output.speed"),
        ({"audio": {"output": {"speed": True}}}, "invalid_type", "session.audio.output.speed"),
        ({"audio": []}, "invalid_type", "session.audio"),
        ({"audio": {"input": {"format": "pcm16"}}}, "invalid_type", "session.audio.input.format"),
        ({"audio": {"input": {"format": {}}}}, "missing_required_parameter", "session.audio.input.format.type"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        ({"audio": {"input": {"format": {"type": "mp3"}}}}, "invalid_value", "session.audio.input.format.type"),
        (
            {"audio": {"input": {"turn_detection": {}}}},
            "missing_required_parameter",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 1.5}}}},
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 10**400}}}},
            "invalid_type",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 100}}}},
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}}},
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"transcription": {"model": 1}}}},
            "invalid_type",
            "session.audio.input.transcription.model",
        ),
        (
            {"audio": {"input": {"noise_reduction": {}}}},
            "missing_required_parameter",
            "session.audio.input.noise_reduction.type",
        ),
        ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": ["video"]}, "invalid_value", "session.output_modalities[0]"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "invalid_value", "session.tools[0].name"),
        (
            {"tools": [{"type": "function", "name": "a", "strict": True}]},
            "unknown_parameter",
            "session.tools[0].strict",
        ),
        ({"tool_choice": "sometimes"}, "invalid_value", "session.tool_choice"),
        ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
        ({"max_output_tokens": "all"}, "invalid_value", "session.max_output_tokens"),
        ({"model": "another"}, "cannot_update_model", "session.model"),
        ({"include": ["everything"]}, "invalid_value", "session.include[0]"),
        ({"id": "sess_1"}, "unknown_parameter", "session.id"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_path_and_nothing_changes(
    kit: Any, session: dict[str, Any], code: str, param: str
) -> None:
    engine = kit.engine()
    error = engine.refused("session.update", update({"instructions": "not this", **session}))
    assert (error["code"], error["param"]) == (code, param)


def test_a_refusal_says_what_is_allowed(kit: Any) -> None:
    error = kit.engine().refused("session.update", update({"tool_choice": "sometimes"}))
    for word in ("'sometimes'", "'auto'", "'none'", "'required'"):
        assert word in error["message"]


def test_the_type_of_the_session_must_be_given(kit: Any) -> None:
    engine = kit.engine()
    error = engine.refused("session.update", {"session": {"instructions": "x"}})
    assert (error["code"], error["param"]) == ("missing_required_parameter", "session.type")
    assert engine.refused("session.update")["param"] == "session"
    assert engine.refused("session.update", {"session": []})["code"] == "invalid_type"


def test_the_model_may_be_named_again_and_chosen_late_only_where_the_url_named_none(kit: Any) -> None:
    (event,) = kit.engine()("session.update", update({"model": "gpt-realtime"}))
    assert event["type"] == "session.updated"
    engine = kit.engine(model=None)
    (event,) = engine("session.update", update({"model": "my-model"}))
    assert event["session"]["model"] == "my-model"
    assert engine.refused("session.update", update({"model": "other"}))["code"] == "cannot_update_model"


def test_tracing_cannot_be_changed_once_it_is_on(kit: Any) -> None:
    engine = kit.engine()
    assert engine("session.update", update({"tracing": None}))[0]["type"] == "session.updated"
    assert engine("session.update", update({"tracing": "auto"}))[0]["session"]["tracing"] == "auto"
    assert engine("session.update", update({"tracing": "auto"}))[0]["type"] == "session.updated"
    assert engine.refused("session.update", update({"tracing": {"group_id": "g"}}))["param"] == "session.tracing"


def test_mcp_tools_are_taken_and_their_listing_fails_once(kit: Any) -> None:
    engine = kit.engine()
    tool = {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp", "require_approval": "never"}
    events = engine("session.update", update({"tools": [tool]}))
    assert kit.types(events) == ["session.updated", "mcp_list_tools.in_progress", "mcp_list_tools.failed"]
    assert events[1]["item_id"] == events[2]["item_id"]
    assert kit.types(engine("session.update", update({"tools": [tool]}))) == ["session.updated"]


def test_a_transcription_session_has_input_settings_alone(kit: Any) -> None:
    engine = kit.engine(kind="transcription", model=None)
    (event,) = engine(
        "session.update",
        {"session": {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}},
    )
    assert event["session"].keys() == {"type", "object", "id", "expires_at", "audio", "include"}
    assert event["session"]["audio"].keys() == {"input"}
    error = engine.refused("session.update", {"session": {"type": "transcription", "instructions": "x"}})
    assert error["param"] == "session.instructions"
    for kind in ("response.create", "response.cancel"):
        assert "transcription session" in engine.refused(kind)["message"]


def test_null_for_an_optional_field_is_the_same_as_leaving_it_out(kit: Any) -> None:
    engine = kit.engine()
    output = {"voice": "cedar", "format": None, "speed": None}
    tool = {"type": "function", "name": "f", "description": None, "parameters": None}
    settings = {"instructions": "Be brief.", "max_output_tokens": 50, "tools": [tool], "audio": {"output": output}}
    engine("session.update", {"session": {"type": "realtime", **settings}})
    before = dict(engine.core.settings.data)
    assert before["tools"] == [{"type": "function", "name": "f"}]
    optional = ["model", "instructions", "output_modalities", "audio", "include", "tools", "tool_choice", "reasoning"]
    optional += ["parallel_tool_calls", "max_output_tokens", "truncation", "tracing", "prompt"]
    assert kit.types(engine("session.update", {"session": {"type": "realtime", **dict.fromkeys(optional)}})) == [
        "session.updated"
    ]
    assert engine.core.settings.data == before
    inner = {"input": {"format": None}, "output": None}
    assert kit.types(engine("session.update", {"session": {"type": "realtime", "audio": inner}})) == ["session.updated"]
    assert engine.core.settings.data == before


def test_null_turns_off_what_the_protocol_lets_null_turn_off(kit: Any) -> None:
    engine = kit.engine()
    off = {"turn_detection": None, "transcription": None, "noise_reduction": None}
    engine("session.update", {"session": {"type": "realtime", "audio": {"input": off}}})
    assert engine.core.settings.data["audio"]["input"].items() >= off.items()


def test_the_strength_of_the_noise_reduction_is_kept(kit: Any) -> None:
    engine = kit.engine()

    def told(reduction: Any) -> Any:
        session = {"type": "realtime", "audio": {"input": {"noise_reduction": reduction}}}
        engine.core.receive(json.dumps({"type": "session.update", "session": session}))
        return engine.core.event_buffer.take()[-1]["session"]["audio"]["input"]["noise_reduction"]

    assert told({"type": "near_field"}) == {"type": "near_field", "strength": 1}
    assert told({"type": "near_field", "strength": 0.4}) == {"type": "near_field", "strength": 0.4}
    assert told({"type": "far_field"}) == {"type": "far_field", "strength": 0.4}
    assert told(None) is None
    assert told({"type": "far_field", "strength": None}) == {"type": "far_field", "strength": 1}
