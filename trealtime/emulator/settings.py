"""The session's settings: their defaults, the rules for each field, and how an update merges.

An update names only the fields that change. Objects below ``audio`` merge; every other value is replaced whole, and
fields that an object such as ``turn_detection`` leaves out take their defaults. A null clears a field that can be
cleared. An update changes all of its fields or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from trealtime.emulator.validation import (
    Check,
    Refusal,
    array,
    boolean,
    choice,
    integer,
    invalid_type,
    invalid_value,
    join,
    mapping,
    missing,
    nullable,
    number,
    one_of_types,
    record,
    text,
)

__all__ = [
    "DEFAULT_INSTRUCTIONS",
    "SessionSettings",
    "SessionType",
    "cannot_update_voice",
    "merge",
    "read_response_params",
]

SessionType = Literal["realtime", "transcription"]

DEFAULT_INSTRUCTIONS = (
    "You are the voice of a test server. Be friendly and brief, answer in the language you are spoken to in, and "
    "call a function whenever one fits."
)
_DEFAULT_VOICE = "marin"
_LOGPROBS = "item.input_audio_transcription.logprobs"
_SERVER_VAD_DEFAULTS: Mapping[str, object] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD_DEFAULTS: Mapping[str, object] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}


# ---- values ---------------------------------------------------------------------------------------------------------


def _modalities(value: Any, path: str) -> list[str]:
    modalities: list[str] = array(choice("audio", "text"))(value, path)
    if len(modalities) != 1:
        raise invalid_value(path, value, "['audio'] or ['text'], one of them and not both")
    return modalities


def _voice(value: Any, path: str) -> str:
    # Sessions report a custom voice by its id: the schema of the server's session object has a string there.
    if isinstance(value, dict):
        custom: dict[str, str] = record({"id": text(non_empty=True)}, required=("id",))(value, path)
        return custom["id"]
    if not isinstance(value, str):
        raise invalid_type(path, value, "a string or an object with an id")
    return str(text(non_empty=True)(value, path))


def _max_output_tokens(value: Any, path: str) -> int | str:
    if value == "inf":
        return "inf"
    if isinstance(value, str):
        raise invalid_value(path, value, "an integer of 1 or more, or 'inf'")
    return int(integer(1, 32_000)(value, path))


def _tool_choice(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return choice("auto", "none", "required")(value, path)
    named = {
        "function": record({"type": choice("function"), "name": text(non_empty=True)}, required=("name",)),
        "mcp": record(
            {"type": choice("mcp"), "server_label": text(), "name": nullable(text())}, required=("server_label",)
        ),
    }
    return one_of_types(named)(value, path)


def _truncation(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return choice("auto", "disabled")(value, path)
    return record(
        {
            "type": choice("retention_ratio"),
            "retention_ratio": number(0, 1),
            "token_limits": record({"post_instructions": integer(0)}),
        },
        required=("type", "retention_ratio"),
    )(value, path)


def _tracing(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return choice("auto")(value, path)
    return record({"workflow_name": text(), "group_id": text(), "metadata": mapping()})(value, path)


def _mcp_filter(value: Any, path: str) -> Any:
    return record({"tool_names": array(text()), "read_only": boolean})(value, path)


def _mcp_allowed_tools(value: Any, path: str) -> Any:
    return array(text())(value, path) if isinstance(value, list) else _mcp_filter(value, path)


def _mcp_approval(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return choice("always", "never")(value, path)
    return record({"always": _mcp_filter, "never": _mcp_filter})(value, path)


def _prompt_variable(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise invalid_type(path, value, "a string or a content part")
    parts = {
        "input_text": record({"type": text(), "text": text()}, required=("text",)),
        "input_image": record(
            {"type": text(), "image_url": nullable(text()), "file_id": nullable(text()), "detail": _image_detail}
        ),
        "input_file": record(
            {
                "type": text(),
                "file_id": nullable(text()),
                "filename": text(),
                "file_data": text(),
                "file_url": text(),
            }
        ),
    }
    return one_of_types(parts)(value, path)


_image_detail = choice("low", "high", "auto", "original")

_FORMAT = one_of_types(
    {
        "audio/pcm": record(
            {"type": text(), "rate": nullable(integer(24_000, 24_000), default=24_000)}, defaults={"rate": 24_000}
        ),
        "audio/pcmu": record({"type": text()}),
        "audio/pcma": record({"type": text()}),
    }
)
_TURN_DETECTION = one_of_types(
    {
        "server_vad": record(
            {
                "type": text(),
                "threshold": number(0, 1),
                "prefix_padding_ms": integer(0, 60_000),
                "silence_duration_ms": integer(0, 60_000),
                "idle_timeout_ms": nullable(integer(5_000, 30_000)),
                "create_response": boolean,
                "interrupt_response": boolean,
            },
            defaults=_SERVER_VAD_DEFAULTS,
        ),
        "semantic_vad": record(
            {
                "type": text(),
                "eagerness": choice("low", "medium", "high", "auto"),
                "create_response": boolean,
                "interrupt_response": boolean,
            },
            defaults=_SEMANTIC_VAD_DEFAULTS,
        ),
    }
)
_TRANSCRIPTION = record(
    {
        "model": text(non_empty=True),
        "language": text(),
        "languages": array(text(), at_least=1),
        "keywords": array(text()),
        "prompt": text(),
        "delay": choice("minimal", "low", "medium", "high", "xhigh"),
    },
    defaults={"model": "gpt-4o-mini-transcribe"},
)
_TOOL = one_of_types(
    {
        "function": record(
            {
                "type": text(),
                "name": text(pattern="[a-zA-Z0-9_.-]{1,128}"),
                "description": text(),
                "parameters": mapping(),
            },
            required=("name",),
        ),
        "mcp": record(
            {
                "type": text(),
                "server_label": text(non_empty=True),
                "server_url": text(),
                "connector_id": choice(
                    "connector_dropbox",
                    "connector_gmail",
                    "connector_googlecalendar",
                    "connector_googledrive",
                    "connector_microsoftteams",
                    "connector_outlookcalendar",
                    "connector_outlookemail",
                    "connector_sharepoint",
                ),
                "tunnel_id": text(pattern="tunnel_[a-z0-9]{32}"),
                "authorization": text(),
                "server_description": text(),
                "headers": nullable(mapping(text())),
                "allowed_tools": nullable(_mcp_allowed_tools),
                "allowed_callers": nullable(array(choice("direct", "programmatic"), at_least=1)),
                "require_approval": nullable(_mcp_approval),
                "defer_loading": boolean,
            },
            required=("server_label",),
        ),
    }
)
_TOOLS = array(_TOOL, at_most=512)
_REASONING = record({"effort": choice("minimal", "low", "medium", "high", "xhigh")})
_PROMPT = record(
    {"id": text(non_empty=True), "version": nullable(text()), "variables": nullable(mapping(_prompt_variable))},
    required=("id",),
)
_METADATA = nullable(mapping(text(max_length=512), at_most=16, max_key=64))


# ---- objects --------------------------------------------------------------------------------------------------------

_AUDIO_INPUT: Mapping[str, Check] = {
    "format": _FORMAT,
    "transcription": nullable(_TRANSCRIPTION),
    "noise_reduction": nullable(
        record({"type": choice("near_field", "far_field"), "strength": number(0)}, required=("type",))
    ),
    "turn_detection": nullable(_TURN_DETECTION),
}
_SESSION: Mapping[SessionType, Mapping[str, Check]] = {
    "realtime": {
        "type": text(),
        "model": text(non_empty=True),
        "instructions": text(),
        "output_modalities": _modalities,
        "audio": record(
            {
                "input": record(_AUDIO_INPUT),
                "output": record({"format": _FORMAT, "voice": _voice, "speed": number(0.25, 1.5)}),
            }
        ),
        "include": nullable(array(choice(_LOGPROBS))),
        "tools": _TOOLS,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": boolean,
        "reasoning": _REASONING,
        "max_output_tokens": _max_output_tokens,
        "truncation": _truncation,
        "tracing": nullable(_tracing),
        "prompt": nullable(_PROMPT),
    },
    "transcription": {
        "type": text(),
        "audio": record({"input": record(_AUDIO_INPUT)}),
        "include": nullable(array(choice(_LOGPROBS))),
    },
}
_RESPONSE_PARAMS = record(
    {
        "output_modalities": _modalities,
        "instructions": text(),
        "audio": record({"output": record({"format": _FORMAT, "voice": _voice})}),
        "tools": _TOOLS,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": boolean,
        "reasoning": _REASONING,
        "max_output_tokens": _max_output_tokens,
        "conversation": choice("auto", "none"),
        "metadata": _METADATA,
        "prompt": nullable(_PROMPT),
        # The elements are items: the conversation checks those.
        "input": array(mapping(), at_most=1_000),
    }
)


def read_response_params(value: object) -> dict[str, Any]:
    """The checked parameters of a ``response.create``; raises `Refusal`."""
    params: dict[str, Any] = _RESPONSE_PARAMS(value, "response")
    return params


# ---- the session ----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SessionSettings:
    """The effective settings of a session. `data` is the wire object without what the server adds (id, expiry)."""

    type: SessionType
    data: Mapping[str, Any]

    @classmethod
    def default(cls, kind: SessionType, *, model: str) -> SessionSettings:
        """The settings of a new session before any update."""
        audio_input = {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": dict(_SERVER_VAD_DEFAULTS),
        }
        if kind == "transcription":
            return cls(type=kind, data={"type": kind, "audio": {"input": audio_input}, "include": None})
        audio_output = {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": _DEFAULT_VOICE, "speed": 1.0}
        data = {
            "type": kind,
            "model": model,
            "output_modalities": ["audio"],
            "instructions": DEFAULT_INSTRUCTIONS,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "truncation": "auto",
            "tracing": None,
            "prompt": None,
            "audio": {"input": audio_input, "output": audio_output},
            "include": None,
        }
        return cls(type=kind, data=data)

    @property
    def turn_detection(self) -> Mapping[str, Any] | None:
        """The wire object, or None for manual turns."""
        detection: Mapping[str, Any] | None = self.data["audio"]["input"]["turn_detection"]
        return detection

    @property
    def transcription(self) -> Mapping[str, Any] | None:
        """The wire object, or None when input is not transcribed for the client."""
        transcription: Mapping[str, Any] | None = self.data["audio"]["input"]["transcription"]
        return transcription

    @property
    def input_format(self) -> Mapping[str, Any]:
        """The ``format`` object of input audio."""
        found: Mapping[str, Any] = self.data["audio"]["input"]["format"]
        return found

    @property
    def voice(self) -> str | None:
        """The voice; None in a transcription session."""
        output = self.data["audio"].get("output")
        return None if output is None else str(output["voice"])

    @property
    def wants_logprobs(self) -> bool:
        """Whether transcription events carry log probabilities."""
        return _LOGPROBS in (self.data["include"] or ())


def merge(current: SessionSettings, update: object, *, voice_locked: bool, model_fixed: bool) -> SessionSettings:
    """The settings after a ``session.update``; `current` is left as it is.

    `voice_locked`: the session has spoken. `model_fixed`: the model was chosen when connecting. Raises `Refusal`.
    """
    if not isinstance(update, dict):
        raise invalid_type("session", update, "an object")
    if "type" not in update:
        raise missing("session.type")
    kind = choice("realtime", "transcription")(update["type"], "session.type")
    if kind != current.type:
        raise invalid_value("session.type", kind, f"'{current.type}', the type this session was opened with")
    changes: dict[str, Any] = record(_SESSION[current.type])(update, "session")
    _keep_strength(current.data, changes)
    merged = _merged(current.data, changes, "")
    if model_fixed and merged.get("model") != current.data.get("model"):
        raise Refusal(
            f"The model of a session cannot be changed: it is '{current.data['model']}'.",
            code="cannot_update_model",
            param="session.model",
        )
    after = SessionSettings(type=current.type, data=merged)
    if voice_locked and after.voice != current.voice:
        raise cannot_update_voice("session.audio.output.voice")
    if current.data.get("tracing") is not None and merged["tracing"] != current.data["tracing"]:
        raise Refusal("Tracing cannot be changed once it is on.", code="cannot_update_tracing", param="session.tracing")
    return after


def cannot_update_voice(path: str) -> Refusal:
    """The voice was to change after the session had spoken."""
    return Refusal(
        "The voice cannot be changed once the conversation holds audio of the assistant.",
        code="cannot_update_voice",
        param=path,
    )


def _keep_strength(current: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """An update of ``noise_reduction`` without ``strength`` keeps it; it is 1 when the reduction is first enabled."""
    reduction = changes.get("audio", {}).get("input", {}).get("noise_reduction")
    if reduction is not None and "strength" not in reduction:
        before = current["audio"]["input"]["noise_reduction"] or {}
        reduction["strength"] = before.get("strength", 1)


_DEEP = frozenset({"audio", "audio.input", "audio.output"})


def _merged(current: Mapping[str, Any], changes: Mapping[str, Any], path: str) -> dict[str, Any]:
    result = dict(current)
    for key, value in changes.items():
        here = join(path, key)
        result[key] = _merged(current[key], value, here) if here in _DEEP else value
    return result
