"""Settings that are wrong: each problem is named, with key, value and what is allowed, all at once."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.errors import SettingsError
from trealtime.protocol.codec import encode
from trealtime.protocol.session_payload import (
    initial_session_payload,
    response_payload,
    uninterrupted,
    update_session_payload,
)
from trealtime.protocol.settings import (
    NOT_SET,
    AudioInputSettings,
    AudioOutputSettings,
    AudioSettings,
    CustomVoice,
    NoiseReductionSettings,
    PromptSettings,
    ReasoningSettings,
    ResponseSettings,
    SessionSettings,
    TokenLimits,
    TracingSettings,
    TranscriptionSettings,
    TruncationSettings,
    TurnDetectionSettings,
    merge_settings,
    session_settings,
)
from trealtime.protocol.validation import structure


def problems(value):
    with pytest.raises(SettingsError) as caught:
        session_settings(value)
    return {problem.path: problem for problem in caught.value.problems}


def test_all_problems_come_in_one_error_with_path_value_allowed_and_nearest():
    found = problems(
        {
            "voicee": "ash",
            "speed": 2,
            "turn_detection": {"type": "server-vad", "threshold": 1.5, "silence_ms": 3},
            "audio": {"input": {"transcription": {"languages": []}}, "outptu": {}},
        }
    )
    assert {path: problem.suggestion for path, problem in found.items()} == {
        "voicee": "voice",
        "speed": None,
        "turn_detection.type": "server_vad",
        "turn_detection.threshold": None,
        "turn_detection.silence_ms": "silence_duration_ms",
        "audio.input.transcription.languages": None,
        "audio.outptu": "output",
    }
    assert found["turn_detection.threshold"].value == 1.5
    assert found["turn_detection.threshold"].allowed == "a number, from 0 to 1"
    assert str(found["turn_detection.type"]) == (
        "turn_detection.type: got 'server-vad', allowed: 'server_vad', 'semantic_vad'; did you mean 'server_vad'?"
    )


@pytest.mark.parametrize(
    "settings, path, allowed",
    [
        ({"model_name": ""}, "model_name", "a string, not empty"),
        ({"model_name": 4}, "model_name", "a string"),
        ({"instructions": b"x"}, "instructions", "a string"),
        ({"prompt": {}}, "prompt.id", "a string (required)"),
        ({"prompt": "pmpt_1"}, "prompt", "a mapping or a PromptSettings or None"),
        ({"prompt": {"id": "p", "version": 2}}, "prompt.version", "a string or None"),
        ({"output_modalities": ["text", "audio"]}, "output_modalities", '["audio"]'),
        ({"modalities": "audio"}, "modalities", '["audio"]'),
        ({"voice": {}}, "voice.id", "a string (required)"),
        ({"voice": 3}, "voice", "a string or a mapping or a CustomVoice"),
        ({"voice": ""}, "voice", "not empty"),
        ({"speed": True}, "speed", "a number"),
        ({"speed": float("nan")}, "speed", "a finite number"),
        ({"speed": 0.2}, "speed", "from 0.25 to 1.5"),
        (
            {"input_audio_noise_reduction": {}},
            "input_audio_noise_reduction.type",
            "'near_field', 'far_field' (required)",
        ),
        ({"input_audio_transcription": {"delay": "none"}}, "input_audio_transcription.delay", "'minimal', 'low'"),
        (
            {"input_audio_transcription": {"keywords": "a"}},
            "input_audio_transcription.keywords",
            "a list, each entry a string",
        ),
        ({"input_audio_transcription": {"keywords": [1]}}, "input_audio_transcription.keywords[0]", "a string"),
        ({"turn_detection": "server_vad"}, "turn_detection", "a mapping or a TurnDetectionSettings or None"),
        ({"turn_detection": {"threshold": -0.1}}, "turn_detection.threshold", "from 0 to 1"),
        ({"turn_detection": {"idle_timeout_ms": 100}}, "turn_detection.idle_timeout_ms", "from 5000 to 30000"),
        ({"turn_detection": {"idleTimeoutMs": 30_001}}, "turn_detection.idleTimeoutMs", "from 5000 to 30000"),
        ({"turn_detection": {"silence_duration_ms": 1.5}}, "turn_detection.silence_duration_ms", "a whole number"),
        ({"turn_detection": {"create_response": 1}}, "turn_detection.create_response", "True or False"),
        ({"turn_detection": {"eagerness": "hi"}}, "turn_detection.eagerness", "'auto', 'low', 'medium', 'high'"),
        ({"max_output_tokens": 0}, "max_output_tokens", 'a whole number from 1, or "inf"'),
        ({"max_output_tokens": "infinite"}, "max_output_tokens", 'a whole number from 1, or "inf"'),
        ({"max_output_tokens": True}, "max_output_tokens", 'a whole number from 1, or "inf"'),
        ({"tool_choice": ""}, "tool_choice", '"auto", "none", "required"'),
        ({"tool_choice": {"type": "function"}}, "tool_choice", '"auto", "none", "required"'),
        ({"tool_choice": "programmatic_tool_calling"}, "tool_choice", '"auto", "none", "required"'),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls", "True or False"),
        ({"reasoning": {"effort": "lots"}}, "reasoning.effort", "'minimal', 'low', 'medium', 'high', 'xhigh'"),
        ({"truncation": "off"}, "truncation", "'auto', 'disabled' or a mapping or a TruncationSettings"),
        ({"truncation": {"retention_ratio": 2}}, "truncation.retention_ratio", "from 0 to 1"),
        (
            {"truncation": {"retention_ratio": 1, "token_limits": {"post_instructions": -1}}},
            "truncation.token_limits.post_instructions",
            "at least 0",
        ),
        ({"tracing": "on"}, "tracing", "'auto' or a mapping or a TracingSettings or None"),
        ({"tracing": {"group": "g"}}, "tracing.group", "keys here: workflow_name, group_id, metadata"),
        ({"include": ["logprobs"]}, "include[0]", "'item.input_audio_transcription.logprobs'"),
        ({"tools": "f"}, "tools", "a list"),
        ({"extra": {1: 2}}, "extra", "a mapping with string keys"),
        ({7: 1}, "7", "keys here"),
        ([], "", "a mapping or a SessionSettings"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path_and_what_is_allowed(settings, path, allowed):
    found = problems(settings)
    assert list(found) == [path]
    assert allowed in found[path].allowed


def test_an_instance_is_checked_like_a_mapping():
    found = problems(SessionSettings(turn_detection=TurnDetectionSettings(threshold=7, type="server-vad")))
    assert set(found) == {"turn_detection.threshold", "turn_detection.type"}


wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["auto", "pcm16"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "id", "input", "output", "format", "extra"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = [field.name for field in attrs.fields(SessionSettings)]


@given(st.dictionaries(st.sampled_from([*KEYS, "typo"]), wild, max_size=4))
def test_any_mapping_is_either_a_session_that_has_a_json_form_or_one_error(value):
    found = []
    try:
        settings = session_settings(value)
    except SettingsError as error:
        found = error.problems
    if found:
        assert all(problem.path.split(".")[0].split("[")[0] in value for problem in found)
        return
    settings = attrs.evolve(settings, tools=NOT_SET, handoffs=NOT_SET)  # their contents are the caller's
    encode(initial_session_payload(settings, model_name=None))
    assert merge_settings(merge_settings(settings)) == merge_settings(settings)
    assert session_settings(settings) == settings


@pytest.mark.parametrize(
    "asked, expected",
    [
        ({}, False),
        ({"turn_detection": {"type": "server_vad"}}, False),
        ({"turn_detection": {"type": "server_vad", "interrupt_response": True}}, True),
    ],
)
def test_without_barge_in_the_server_lets_its_answers_finish_unless_told(asked, expected):
    settings = uninterrupted(session_settings(asked), complete=True)
    payload = initial_session_payload(settings, model_name=None)
    assert payload["audio"]["input"]["turn_detection"]["interrupt_response"] is expected


def test_without_barge_in_manual_turns_stay_manual():
    settings = uninterrupted(session_settings({"turn_detection": None}), complete=True)
    payload = initial_session_payload(settings, model_name=None)
    assert payload["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    "asked, expected",
    [
        ({"speed": 1.2}, {"type": "realtime", "audio": {"output": {"speed": 1.2}}}),
        (
            {"turn_detection": {"type": "server_vad"}},
            {
                "type": "realtime",
                "audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}},
            },
        ),
    ],
)
def test_without_barge_in_a_later_update_says_so_only_where_it_is_about_turns(asked, expected):
    assert update_session_payload(uninterrupted(session_settings(asked), complete=False)) == expected


def test_a_language_alone_still_names_a_model():
    payload = initial_session_payload(
        session_settings({"input_audio_transcription": {"language": "de"}}), model_name=None
    )
    assert payload["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe", "language": "de"}


def test_settings_of_a_response_are_checked_all_at_once():
    wrong = {"output_modalities": ["speech"], "metadata": {"n": 1}, "max_output_tokens": 0, "tool_choice": 3}
    with pytest.raises(SettingsError) as caught:
        structure(ResponseSettings, wrong, what="response")
    assert {problem.path for problem in caught.value.problems} == set(wrong)


def test_metadata_leaves_room_for_the_key_of_ours():
    pairs = {str(number): "x" for number in range(16)}
    with pytest.raises(SettingsError, match="up to 15 pairs"):
        structure(ResponseSettings, {"metadata": pairs}, what="response")


def test_settings_of_a_response_on_the_wire():
    given = {"instructions": "Sing.", "metadata": {"a": "b"}, "tool_choice": "look_up", "output_modalities": ["text"]}
    assert response_payload(structure(ResponseSettings, given, what="response")) == {
        "instructions": "Sing.",
        "output_modalities": ["text"],
        "metadata": {"a": "b"},
        "tool_choice": {"type": "function", "name": "look_up"},
    }


def test_one_response_may_have_a_voice_a_format_a_prompt_and_thoughts_of_its_own(schema):
    given = {
        "voice": "marin",
        "output_audio_format": "g711_ulaw",
        "prompt": {"id": "pmpt_1", "variables": {"name": "Ada"}},
        "reasoning": {"effort": "low"},
        "parallel_tool_calls": False,
        "extra": {"new": 1, "audio": {"output": {"speed": 1.25}}},
    }
    payload = response_payload(structure(ResponseSettings, given, what="response"))
    assert payload == {
        "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.25}},
        "prompt": {"id": "pmpt_1", "variables": {"name": "Ada"}},
        "reasoning": {"effort": "low"},
        "parallel_tool_calls": False,
        "new": 1,
    }
    del payload["new"], payload["audio"]["output"]["speed"]
    assert schema.validate("client", {"type": "response.create", "response": payload}) == []


def test_noise_reduction_has_a_strength():
    settings = session_settings({"audio": {"input": {"noise_reduction": {"type": "far_field", "strength": 0.5}}}})
    reduction = update_session_payload(settings)["audio"]["input"]["noise_reduction"]
    assert reduction == {"type": "far_field", "strength": 0.5}
    with pytest.raises(SettingsError, match="strength: got -1, allowed: a number, at least 0"):
        session_settings({"input_audio_noise_reduction": {"type": "far_field", "strength": -1}})


CLASSES = [AudioInputSettings, AudioOutputSettings, AudioSettings, CustomVoice, NoiseReductionSettings, PromptSettings,
           ReasoningSettings, ResponseSettings, SessionSettings, TokenLimits, TracingSettings, TranscriptionSettings,
           TruncationSettings, TurnDetectionSettings]  # fmt: skip


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_takes_what_is_newer_than_itself(cls):
    assert "extra" in attrs.fields_dict(cls)


def test_what_is_newer_goes_into_its_own_object_last():
    new = {"new": 1}
    payload = update_session_payload(
        session_settings(
            {
                "prompt": {"id": "p", "extra": new},
                "reasoning": {"extra": new},
                "tracing": {"extra": new},
                "truncation": {"retention_ratio": 0.5, "token_limits": {"extra": new}, "extra": {"retention_ratio": 1}},
                "audio": {
                    "extra": new,
                    "input": {"noise_reduction": {"type": "near_field", "extra": new}},
                    "output": {"voice": {"id": "v", "extra": new}},
                },
            }
        )
    )
    assert payload == {
        "type": "realtime",
        "prompt": {"id": "p", "new": 1},
        "reasoning": new,
        "tracing": new,
        "truncation": {"retention_ratio": 1, "token_limits": new, "type": "retention_ratio"},
        "audio": {
            "new": 1,
            "input": {"noise_reduction": {"type": "near_field", "new": 1}},
            "output": {"voice": {"id": "v", "new": 1}},
        },
    }
