"""What the server acknowledges is compared with what was asked by meaning, not by spelling."""

import copy

import pytest

from trealtime.protocol.acknowledgement import session_differences
from trealtime.protocol.session_payload import initial_session_payload
from trealtime.protocol.settings import session_settings

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
REQUESTED = initial_session_payload(
    session_settings({"instructions": "Be brief.", "tools": [TOOL], "speed": 1, "include": []}),
    model_name="gpt-realtime",
)


def acknowledged(**audio_output):
    session = copy.deepcopy(REQUESTED) | {
        "id": "sess_1",
        "expires_at": 1,
        "truncation": "auto",
        "max_output_tokens": "inf",
    }
    session["audio"]["output"] |= audio_output
    return session


def test_what_was_asked_and_given_is_no_difference():
    assert session_differences(REQUESTED, acknowledged()) == []


def test_what_the_server_does_not_echo_is_no_difference():
    assert session_differences(REQUESTED, {"type": "realtime", "audio": {"input": {}}}) == []
    assert session_differences(REQUESTED, {}) == []


def test_other_values_are_differences_with_their_paths():
    session = acknowledged(voice="marin", speed=1.5)
    session["audio"]["input"]["turn_detection"] = {"type": "server_vad", "interrupt_response": True}
    session["audio"]["input"]["transcription"] = None
    session["audio"]["input"]["format"] = {"type": "audio/pcmu"}
    session["instructions"] = "Be verbose."
    session["tools"] = []
    assert session_differences(REQUESTED, session) == [
        ("instructions", "Be brief.", "Be verbose."),
        ("audio.input.format", {"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}),
        ("audio.input.transcription", {"model": "gpt-4o-mini-transcribe"}, None),
        ("audio.input.turn_detection.type", "semantic_vad", "server_vad"),
        ("audio.output.voice", "ash", "marin"),
        ("audio.output.speed", 1, 1.5),
        ("tools", [TOOL], []),
    ]


@pytest.mark.parametrize(
    "asked, answered",
    [
        (
            {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}},
            {"audio": {"output": {"format": "pcm16"}}},
        ),
        (
            {"audio": {"output": {"format": {"type": "audio/pcm"}}}},
            {"audio": {"output": {"format": {"type": "audio/pcm"}}}},
        ),
        ({"audio": {"output": {"voice": {"id": "v"}}}}, {"audio": {"output": {"voice": "v"}}}),
        ({"audio": {"output": {"speed": 1}}}, {"audio": {"output": {"speed": 1.0}}}),
        ({"turn_detection": {"threshold": 0.7}}, {"turn_detection": {"threshold": 0.699999988079071}}),
        ({"tools": []}, {"tools": None}),
        ({"include": []}, {"include": None}),
        ({"instructions": ""}, {"instructions": None}),
        ({"prompt": None}, {"prompt": None}),
        ({"model": "gpt-realtime"}, {"model": "gpt-realtime-2025-08-28"}),
        ({"tracing": "auto"}, {"tracing": None}),
        ({"output_modalities": ["audio"]}, {"output_modalities": ("audio",)}),
        ({"tools": [TOOL]}, {"tools": [TOOL | {"strict": True, "description": "tidied"}]}),
        ({"tools": [TOOL]}, {"tools": [TOOL | {"parameters": TOOL["parameters"] | {"strict": True}}]}),
        ({"tools": [TOOL, TOOL | {"name": "g"}]}, {"tools": [TOOL | {"name": "g"}, TOOL]}),
    ],
)
def test_another_spelling_is_no_difference(asked, answered):
    assert session_differences(asked, answered) == []


@pytest.mark.parametrize(
    "asked, answered, path",
    [
        ({"parallel_tool_calls": True}, {"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"turn_detection": None}, {"turn_detection": {"type": "server_vad"}}, "turn_detection"),
        ({"max_output_tokens": "inf"}, {"max_output_tokens": 4096}, "max_output_tokens"),
        ({"tools": [TOOL]}, {"tools": [TOOL | {"parameters": {"type": "object"}}]}, "tools"),
        (
            {"audio": {"output": {"format": "mystery"}}},
            {"audio": {"output": {"format": "other"}}},
            "audio.output.format",
        ),
        ({"tools": [TOOL]}, {"tools": [TOOL | {"name": ["f"]}]}, "tools"),
        ({"tools": [{"server_label": {"s"}}]}, {"tools": [{"server_label": {}, "name": "f"}]}, "tools"),
        ({"max_output_tokens": 10**400}, {"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"model": "gpt-realtime"}, {"model": "gpt-realtime-2"}, "model"),
        ({"tracing": None}, {"tracing": "auto"}, "tracing"),
        ({"include": ["a"]}, {"include": ["a", "b"]}, "include"),
        ({"audio": {"output": {"voice": "a"}}}, {"audio": {"output": {"voice": {"id": "b"}}}}, "audio.output.voice"),
    ],
)
def test_another_meaning_is_a_difference(asked, answered, path):
    assert [each[0] for each in session_differences(asked, answered)] == [path]
