"""Settings: every key and spelling, precedence, None against absent, and what a wrong one is told.

Numbers like B025 are behaviours of the peer catalogue, section 4.2.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.audio.formats import G711_ALAW, G711_ULAW, PCM16_24K
from trealtime.errors import SettingsError
from trealtime.protocol.session_payload import (
    initial_session_payload,
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
    SessionSettings,
    TokenLimits,
    TracingSettings,
    TranscriptionSettings,
    TruncationSettings,
    TurnDetectionSettings,
    merge_settings,
    session_settings,
    sharing,
)


def first(value=None, **options):
    """The first update for `value`, model left to the caller."""
    return initial_session_payload(session_settings(value), **{"model_name": None, **options})


def update(*layers):
    return update_session_payload(merge_settings(*map(session_settings, layers)))


def problems(value):
    with pytest.raises(SettingsError) as caught:
        session_settings(value)
    return {problem.path: problem for problem in caught.value.problems}


# ---- the first update -----------------------------------------------------------------------------------------------


def test_b024_no_settings_give_the_documented_session():
    assert first(model_name="gpt-realtime-2.1") == {
        "type": "realtime",
        "model": "gpt-realtime-2.1",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
            },
            "output": {"voice": "ash", "format": {"type": "audio/pcm", "rate": 24000}},
        },
        "tools": [],
        "tracing": "auto",
    }


NESTED = {
    "audio": {
        "input": {
            "format": "g711_ulaw",
            "transcription": {"model": "nested"},
            "turn_detection": {"type": "server_vad"},
            "noise_reduction": {"type": "near_field"},
        },
        "output": {"format": "g711_ulaw", "voice": "nested", "speed": 1.5},
    }
}
FLAT = {
    "input_audio_format": "g711_alaw",
    "output_audio_format": "g711_alaw",
    "input_audio_transcription": {"model": "flat"},
    "turn_detection": {"type": "semantic_vad"},
    "input_audio_noise_reduction": {"type": "far_field"},
    "voice": "flat",
    "speed": 0.5,
}
NESTED_ON_THE_WIRE = {
    "input": {
        "format": {"type": "audio/pcmu"},
        "transcription": {"model": "nested"},
        "turn_detection": {"type": "server_vad"},
        "noise_reduction": {"type": "near_field"},
    },
    "output": {"format": {"type": "audio/pcmu"}, "voice": "nested", "speed": 1.5},
}
FLAT_ON_THE_WIRE = {
    "input": {
        "format": {"type": "audio/pcma"},
        "transcription": {"model": "flat"},
        "turn_detection": {"type": "semantic_vad"},
        "noise_reduction": {"type": "far_field"},
    },
    "output": {"format": {"type": "audio/pcma"}, "voice": "flat", "speed": 0.5},
}


def test_b025_a_nested_key_wins_over_the_flat_one_of_the_same_mapping():
    assert first(NESTED)["audio"] == NESTED_ON_THE_WIRE
    assert first(FLAT)["audio"] == FLAT_ON_THE_WIRE
    assert first({**FLAT, **NESTED})["audio"] == NESTED_ON_THE_WIRE


def test_b025_flat_and_nested_keys_of_different_settings_stand_together():
    payload = first({"voice": "cedar", "audio": {"output": {"speed": 1.25}}})
    assert payload["audio"]["output"] == {
        "voice": "cedar",
        "speed": 1.25,
        "format": {"type": "audio/pcm", "rate": 24000},
    }


@pytest.mark.parametrize("settings", [{"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}])
def test_b026_turn_detection_none_is_sent_as_null(settings):
    assert first(settings)["audio"]["input"]["turn_detection"] is None
    assert update(settings) == {"type": "realtime", "audio": {"input": {"turn_detection": None}}}


def test_b026_a_nested_null_beats_a_flat_value():
    settings = {"turn_detection": {"type": "server_vad"}, "audio": {"input": {"turn_detection": None}}}
    assert first(settings)["audio"]["input"]["turn_detection"] is None


def test_b027_camel_case_turn_detection_keys_become_snake_case():
    detection = {
        "type": "semantic_vad",
        "createResponse": True,
        "interruptResponse": False,
        "prefixPaddingMs": 250,
        "silenceDurationMs": 450,
        "idleTimeoutMs": 6000,
        "modelVersion": "default",
    }
    for settings in ({"turn_detection": detection}, {"audio": {"input": {"turn_detection": detection}}}):
        assert first(settings)["audio"]["input"]["turn_detection"] == {
            "type": "semantic_vad",
            "create_response": True,
            "interrupt_response": False,
            "prefix_padding_ms": 250,
            "silence_duration_ms": 450,
            "idle_timeout_ms": 6000,
            "model_version": "default",
        }


def test_b027_the_snake_case_key_wins_when_both_are_there():
    payload = update({"turn_detection": {"type": "server_vad", "prefixPaddingMs": 1, "prefix_padding_ms": 2}})
    assert payload["audio"]["input"]["turn_detection"] == {"type": "server_vad", "prefix_padding_ms": 2}


@pytest.mark.parametrize("value", [{"type": "near_field"}, NoiseReductionSettings(type="near_field")])
def test_b028_noise_reduction_is_sent_when_given_and_absent_when_not(value):
    assert "noise_reduction" not in first()["audio"]["input"]
    assert first({"input_audio_noise_reduction": value})["audio"]["input"]["noise_reduction"] == {"type": "near_field"}
    assert first({"input_audio_noise_reduction": None})["audio"]["input"]["noise_reduction"] is None


@pytest.mark.parametrize("audio", [None, {}, {"input": None, "output": None}, {"input": {}, "output": {}}])
def test_b029_empty_audio_settings_leave_the_defaults(audio):
    assert first({"audio": audio}) == first()


def test_b030_formats_of_calls_are_sent_only_when_given():
    payload = first(formats_defaulted=False)
    assert payload["audio"] == {
        "input": {
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
        },
        "output": {"voice": "ash"},
    }
    payload = first({"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}, formats_defaulted=False)
    assert payload["audio"]["input"]["format"] == payload["audio"]["output"]["format"] == {"type": "audio/pcmu"}


def test_b031_output_modalities_win_over_modalities():
    assert first({"modalities": ["text"]})["output_modalities"] == ["text"]
    assert first({"modalities": ["text"], "output_modalities": ["audio"]})["output_modalities"] == ["audio"]
    assert first({"modalities": ["text"], "output_modalities": []})["output_modalities"] == ["text"]
    assert first({"output_modalities": []})["output_modalities"] == ["audio"]


@pytest.mark.parametrize("voice", [{"id": "voice_1"}, CustomVoice(id="voice_1")])
def test_b032_a_custom_voice_reaches_the_wire_flat_and_nested_and_in_later_updates(voice):
    for settings in ({"voice": voice}, {"audio": {"output": {"voice": voice}}}):
        assert first(settings)["audio"]["output"]["voice"] == {"id": "voice_1"}
        assert update(settings, {"instructions": "x"})["audio"]["output"]["voice"] == {"id": "voice_1"}


@pytest.mark.parametrize("value", [1, 4096, 32_000, "inf"])
def test_b033_max_output_tokens_is_sent_when_given(value):
    assert first({"max_output_tokens": value})["max_output_tokens"] == value
    assert "max_output_tokens" not in first()


def test_b034_parallel_tool_calls_and_reasoning_are_sent():
    payload = first({"parallel_tool_calls": False, "reasoning": {"effort": "low"}})
    assert payload["parallel_tool_calls"] is False
    assert payload["reasoning"] == {"effort": "low"}
    assert not {"parallel_tool_calls", "reasoning"} & first({"parallel_tool_calls": None, "reasoning": None}).keys()


def test_b035_transcription_options_are_sent_unchanged():
    options = {
        "model": "gpt-transcribe",
        "language": "de",
        "languages": ["de", "en"],
        "keywords": ["Trio"],
        "prompt": "a call",
        "delay": "low",
    }
    assert first({"input_audio_transcription": options})["audio"]["input"]["transcription"] == options
    assert first({"input_audio_transcription": None})["audio"]["input"]["transcription"] is None


@pytest.mark.parametrize(
    "choice, wire",
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("tool_search", {"type": "function", "name": "tool_search"}),
        ({"type": "function", "name": "lookup"}, {"type": "function", "name": "lookup"}),
        ({"type": "mcp", "server_label": "files"}, {"type": "mcp", "server_label": "files"}),
    ],
)
def test_b036_tool_choice_takes_a_word_a_tool_name_or_an_object(choice, wire):
    assert first({"tool_choice": choice})["tool_choice"] == wire


# ---- formats --------------------------------------------------------------------------------------------------------


class Typed:
    type = "audio/pcm"
    rate = 24000


@pytest.mark.parametrize(
    "spelling, wire",
    [
        *[
            (each, {"type": "audio/pcm", "rate": 24000})
            for each in ("pcm16", "PCM16", "pcm", "audio/pcm", {"type": "audio/pcm"}, Typed(), PCM16_24K)
        ],
        ({"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcm", "rate": 24000}),
        *[
            (each, {"type": "audio/pcmu"})
            for each in ("g711_ulaw", "pcmu", "audio/pcmu", {"type": "audio/pcmu"}, G711_ULAW)
        ],
        *[
            (each, {"type": "audio/pcma"})
            for each in ("g711_alaw", "pcma", "audio/pcma", {"type": "audio/pcma"}, G711_ALAW)
        ],
    ],
)
def test_formats_are_understood_in_every_spelling(spelling, wire):
    for settings in (
        {"input_audio_format": spelling, "output_audio_format": spelling},
        {"audio": {"input": {"format": spelling}, "output": {"format": spelling}}},
        SessionSettings(input_audio_format=spelling, output_audio_format=spelling),
    ):
        audio = first(settings)["audio"]
        assert audio["input"]["format"] == audio["output"]["format"] == wire


def test_a_format_of_none_is_the_default_and_a_flat_one_shows_through():
    assert first({"input_audio_format": None, "audio": {"output": {"format": None}}}) == first()
    payload = first({"input_audio_format": "pcmu", "audio": {"input": {"format": None}}})
    assert payload["audio"]["input"]["format"] == {"type": "audio/pcmu"}


@pytest.mark.parametrize("value", ["mp3", "", {"type": "opus"}, {"type": "audio/pcm", "rate": 16000}, 24000, [], {}])
def test_weak_spot_49_a_format_that_is_none_of_the_three_is_refused_and_named(value):
    found = problems({"input_audio_format": value, "audio": {"output": {"format": value}}})
    assert set(found) == {"input_audio_format", "audio.output.format"}
    assert "pcm16 (24 kHz), g711_ulaw or g711_alaw" in found["input_audio_format"].allowed


# ---- the other keys -------------------------------------------------------------------------------------------------

EVERYTHING = {
    "model_name": "a-model-of-my-own",
    "instructions": "",
    "prompt": {"id": "pmpt_1", "version": "2", "variables": {"name": "Ada"}},
    "output_modalities": ["text"],
    "audio": {
        "input": {
            "format": "pcm16",
            "noise_reduction": {"type": "far_field"},
            "transcription": {"model": "whisper-1"},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 200,
                "idle_timeout_ms": None,
                "create_response": False,
                "interrupt_response": True,
            },
        },
        "output": {"format": "pcmu", "voice": {"id": "voice_1"}, "speed": 1},
    },
    "max_output_tokens": 100,
    "tool_choice": "none",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "xhigh"},
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 8000}},
    "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}},
    "include": ["item.input_audio_transcription.logprobs"],
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
    "handoffs": [{"type": "function", "name": "to_b", "description": "d", "parameters": {"type": "object"}}],
}
EVERYTHING_TYPED = SessionSettings(
    model_name="a-model-of-my-own",
    instructions="",
    prompt=PromptSettings(id="pmpt_1", version="2", variables={"name": "Ada"}),
    output_modalities=["text"],
    audio=AudioSettings(
        input=AudioInputSettings(
            format="pcm16",
            noise_reduction=NoiseReductionSettings(type="far_field"),
            transcription=TranscriptionSettings(model="whisper-1"),
            turn_detection=TurnDetectionSettings(
                type="server_vad",
                threshold=0.5,
                prefix_padding_ms=300,
                silence_duration_ms=200,
                idle_timeout_ms=None,
                create_response=False,
                interrupt_response=True,
            ),
        ),
        output=AudioOutputSettings(format="pcmu", voice=CustomVoice(id="voice_1"), speed=1),
    ),
    max_output_tokens=100,
    tool_choice="none",
    parallel_tool_calls=True,
    reasoning=ReasoningSettings(effort="xhigh"),
    truncation=TruncationSettings(retention_ratio=0.8, token_limits=TokenLimits(post_instructions=8000)),
    tracing=TracingSettings(workflow_name="w", group_id="g", metadata={"a": 1}),
    include=["item.input_audio_transcription.logprobs"],
    tools=EVERYTHING["tools"],
    handoffs=EVERYTHING["handoffs"],
)


def test_every_setting_reaches_its_place_on_the_wire():
    wire = {key: value for key, value in EVERYTHING.items() if key not in ("model_name", "handoffs")}
    wire |= {"type": "realtime", "model": "a-model-of-my-own", "tools": EVERYTHING["tools"] + EVERYTHING["handoffs"]}
    wire["audio"] = {
        "input": EVERYTHING["audio"]["input"] | {"format": {"type": "audio/pcm", "rate": 24000}},
        "output": EVERYTHING["audio"]["output"] | {"format": {"type": "audio/pcmu"}},
    }
    assert first(EVERYTHING) == wire
    assert update(EVERYTHING) == {key: value for key, value in wire.items() if key != "model"}


def test_mappings_and_classes_mean_the_same():
    assert session_settings(EVERYTHING) == session_settings(EVERYTHING_TYPED)
    mixed = SessionSettings(audio=EVERYTHING["audio"])
    assert session_settings(mixed) == session_settings({"audio": EVERYTHING["audio"]})


@pytest.mark.parametrize("settings", [None, {}, NESTED, FLAT, EVERYTHING, {"turn_detection": None, "tracing": None}])
def test_payloads_are_valid_by_the_schema(schema, settings):
    for session in (
        first(settings, model_name="gpt-realtime"),
        first(settings, tracing_disabled=True),
        update(settings or {}),
    ):
        assert schema.validate("client", {"type": "session.update", "session": session}) == []


@pytest.mark.parametrize("settings, tracing", [({}, "auto"), ({"tracing": None}, None), ({"tracing": "auto"}, "auto")])
def test_tracing_is_automatic_unless_told_otherwise(settings, tracing):
    assert first(settings)["tracing"] == tracing
    assert first(settings, tracing_disabled=True)["tracing"] is None


@pytest.mark.parametrize("truncation", ["auto", "disabled"])
def test_truncation_may_be_a_word(truncation):
    assert update({"truncation": truncation}) == {"type": "realtime", "truncation": truncation}


def test_prompt_none_clears_the_prompt_and_absent_parts_stay_absent():
    assert update({"prompt": None}) == {"type": "realtime", "prompt": None}
    assert update({"prompt": {"id": "p"}}) == {"type": "realtime", "prompt": {"id": "p"}}


@pytest.mark.parametrize(
    "detection, kind",
    [
        ({}, "semantic_vad"),
        ({"eagerness": "low"}, "semantic_vad"),
        ({"create_response": False}, "semantic_vad"),
        ({"threshold": 0.7}, "server_vad"),
        ({"idle_timeout_ms": None}, "server_vad"),
    ],
)
def test_a_turn_detection_without_a_type_gets_the_one_its_fields_belong_to(detection, kind):
    assert first({"turn_detection": detection})["audio"]["input"]["turn_detection"] == {"type": kind, **detection}


def test_weak_spot_48_the_model_is_sent_once_and_never_a_default_of_ours_to_a_server_that_chose():
    assert "model" not in first(model_name=None)
    assert first({"model_name": "mine"}, model_name="theirs")["model"] == "mine"
    assert update({"model_name": "mine", "instructions": "x"}) == {"type": "realtime", "instructions": "x"}


def test_weak_spot_48_an_update_carries_only_what_is_given():
    assert update({}) == {"type": "realtime"}
    assert update({"tools": []}) == {"type": "realtime", "tools": []}
    assert update({"speed": 1.1}) == {"type": "realtime", "audio": {"output": {"speed": 1.1}}}


def test_tools_that_are_no_wire_mappings_are_kept_in_settings_and_refused_on_the_wire():
    tool = object()
    settings = session_settings({"tools": [tool]})
    assert settings.tools == (tool,)
    with pytest.raises(TypeError, match=r"tools\[0\] must be a wire mapping here, is object"):
        update_session_payload(settings)


# ---- extra ----------------------------------------------------------------------------------------------------------


def test_extra_is_laid_over_the_wire_object_last():
    payload = first(
        {
            "extra": {"new_thing": 1, "audio": {"output": {"emotion": "calm"}}, "reasoning": {"effort": "none"}},
            "audio": {"input": {"extra": {"echo": True}}, "output": {"voice": "ash", "extra": {"voice": "newest"}}},
            "input_audio_transcription": {"model": "m", "extra": {"diarize": True}},
            "turn_detection": {"extra": {"type": "azure_semantic_vad", "remove_filler_words": True}},
        }
    )
    assert payload["new_thing"] == 1
    assert payload["reasoning"] == {"effort": "none"}
    assert payload["audio"]["input"]["echo"] is True
    assert payload["audio"]["input"]["transcription"] == {"model": "m", "diarize": True}
    assert payload["audio"]["input"]["turn_detection"] == {"type": "azure_semantic_vad", "remove_filler_words": True}
    assert payload["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "newest",
        "emotion": "calm",
    }


def test_extra_of_several_layers_merges():
    layers = {"extra": {"a": 1, "b": {"c": 1}}}, {"extra": {"b": {"d": 2}}}
    assert update(*layers) == {"type": "realtime", "a": 1, "b": {"c": 1, "d": 2}}


# ---- layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers, wire",
    [
        ([{"voice": "ash"}, {"speed": 1.5}], {"output": {"voice": "ash", "speed": 1.5}}),
        ([NESTED, FLAT], FLAT_ON_THE_WIRE),
        ([FLAT, NESTED], NESTED_ON_THE_WIRE),
        ([{"turn_detection": {"type": "server_vad"}}, {"turn_detection": None}], {"input": {"turn_detection": None}}),
        ([{"turn_detection": None}, {}], {"input": {"turn_detection": None}}),
        (
            [{"turn_detection": None}, {"turn_detection": {"type": "server_vad"}}],
            {"input": {"turn_detection": {"type": "server_vad"}}},
        ),
        (
            [
                {"turn_detection": {"type": "server_vad", "threshold": 0.9}},
                {"turn_detection": {"silence_duration_ms": 100}},
            ],
            {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9, "silence_duration_ms": 100}}},
        ),
        (
            [
                {"turn_detection": {"type": "server_vad", "threshold": 0.9}},
                {"turn_detection": {"type": "semantic_vad"}},
            ],
            {"input": {"turn_detection": {"type": "semantic_vad"}}},
        ),
        (
            [
                {"input_audio_transcription": {"model": "m"}},
                {"audio": {"input": {"transcription": {"language": "de"}}}},
            ],
            {"input": {"transcription": {"model": "m", "language": "de"}}},
        ),
    ],
)
def test_b044_later_layers_win_field_by_field(layers, wire):
    assert update(*layers) == {"type": "realtime", "audio": wire}


def test_two_prompts_two_tool_choices_and_two_tracings_do_not_mix():
    one = {
        "prompt": {"id": "p1", "variables": {"a": 1}},
        "tool_choice": {"type": "function", "name": "f"},
        "tracing": {"group_id": "g"},
    }
    two = {
        "prompt": {"id": "p2"},
        "tool_choice": {"type": "mcp", "server_label": "s"},
        "tracing": {"workflow_name": "w"},
    }
    assert update(one, two) == {"type": "realtime", **two}


def test_merging_leaves_the_layers_alone_and_no_layer_is_no_setting():
    layer = session_settings(FLAT)
    merge_settings(layer, session_settings(NESTED))
    assert layer == session_settings(FLAT)
    merged = merge_settings()
    assert merged.voice is NOT_SET
    assert update_session_payload(merged) == {"type": "realtime"}


# ---- what is said again ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from([0.0, 1.0, "a", "b"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_sharing_changes_no_value(new, known):
    before = json.dumps(new, sort_keys=True), json.dumps(known, sort_keys=True)
    assert json.dumps(sharing(new, known), sort_keys=True) == before[0]
    assert (json.dumps(new, sort_keys=True), json.dumps(known, sort_keys=True)) == before


@given(JSON)
def test_sharing_takes_what_is_equal_from_what_is_known(known):
    assert sharing(json.loads(json.dumps(known)), known) is known


def test_sharing_takes_the_equal_parts():
    known = {"tools": ({"name": "a" * 50, "more": [1, 2]},), "voice": {"id": "b" * 50}}
    new = {"voice": {"id": "b" * 50, "speed": 1}, "tools": [{"name": "a" * 50, "more": [1, 2]}, {"name": "c"}]}
    shared = sharing(new, known)
    assert shared == new
    assert shared["tools"][0] is known["tools"][0]
    assert shared["voice"]["id"] is known["voice"]["id"]
