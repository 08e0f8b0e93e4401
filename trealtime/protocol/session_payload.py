"""Settings to the ``session`` object of ``session.update``.

The first update is complete: it carries our defaults wherever a setting was not given, since the server's own differ
between models. Later updates carry only what was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from trealtime.audio.formats import PCM16_24K, parse_audio_format
from trealtime.protocol.settings import (
    NOT_SET,
    AudioInputSettings,
    AudioOutputSettings,
    AudioSettings,
    NotSet,
    ResponseSettings,
    SessionSettings,
    TranscriptionSettings,
    TurnDetectionSettings,
    deep_merge,
    merge_settings,
)

__all__ = ["initial_session_payload", "response_payload", "uninterrupted", "update_session_payload"]

_DEFAULTS: Final = SessionSettings(
    output_modalities=("audio",),
    audio=AudioSettings(
        input=AudioInputSettings(
            transcription=TranscriptionSettings(model="gpt-4o-mini-transcribe"),
            turn_detection=TurnDetectionSettings(type="semantic_vad", interrupt_response=True),
        ),
        output=AudioOutputSettings(voice="ash"),
    ),
    tracing="auto",
    tools=(),
)
_DEFAULT_FORMATS: Final = SessionSettings(input_audio_format=PCM16_24K, output_audio_format=PCM16_24K)

_FILLED_WITHIN: Final = (AudioSettings, AudioInputSettings, AudioOutputSettings, TranscriptionSettings)
"""Settings that are completed field by field: a language without a model still needs a model."""

_SERVER_VAD_FIELDS: Final = ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms")


def initial_session_payload(
    settings: SessionSettings,
    *,
    model_name: str | None,
    formats_defaulted: bool = True,
    tracing_disabled: bool = False,
) -> dict[str, Any]:
    """Return the whole session object of the first update of a connection.

    `model_name` is sent when `settings` names no model; None: then no model is sent (attached calls and URLs of one's
    own, where the server has picked one). `formats_defaulted` False leaves formats out that were not given, for calls,
    whose formats belong to the telephone side. `tracing_disabled` sends null in place of what the settings say.

    `settings` must be checked (`session_settings`, `merge_settings`); its tools and handoffs must be wire mappings by
    now, else `TypeError`.
    """
    given = merge_settings(settings)
    layers = [_DEFAULTS, _DEFAULT_FORMATS] if formats_defaulted else [_DEFAULTS]
    payload = _session(_filled(given, merge_settings(*layers)))
    if tracing_disabled:
        payload["tracing"] = None
    model = given.model_name if given.model_name is not NOT_SET else model_name
    return _with_extra(payload if model is None else {"type": payload.pop("type"), "model": model, **payload}, given)


def update_session_payload(settings: SessionSettings) -> dict[str, Any]:
    """Return the session object of a later update: ``type`` and what `settings` give, nothing else.

    Never the model: it is fixed for the life of a session, so `model_name` is passed over.
    """
    given = merge_settings(settings)
    return _with_extra(_session(given), given)


def uninterrupted(settings: SessionSettings, *, complete: bool) -> SessionSettings:
    """Return `settings` that tell the server not to cut its answers when the user speaks, unless they say so.

    Where they say nothing about turn detection, our default is spelled out if they are a `complete` first update; in a
    later one what the server has stays.
    """
    given = merge_settings(settings)
    audio = given.audio if given.audio is not NOT_SET else AudioSettings()
    ears = audio.input if audio.input is not NOT_SET else AudioInputSettings()
    detection = ears.turn_detection
    if detection is NOT_SET and complete:
        detection = TurnDetectionSettings(type="semantic_vad")
    if not isinstance(detection, TurnDetectionSettings) or detection.interrupt_response is not NOT_SET:
        return settings
    ears = attrs.evolve(ears, turn_detection=attrs.evolve(detection, interrupt_response=False))
    return attrs.evolve(given, audio=attrs.evolve(audio, input=ears))


def response_payload(settings: ResponseSettings) -> dict[str, Any]:
    """Return the ``response`` object of a ``response.create``, with the given settings and nothing else."""
    payload: dict[str, Any] = {}
    names = ("instructions", "prompt", "output_modalities", "metadata", "max_output_tokens")
    for name in (*names, "parallel_tool_calls", "reasoning"):
        _put(payload, name, getattr(settings, name))
    if output := _wire(AudioOutputSettings(format=settings.output_audio_format, voice=settings.voice)):
        payload["audio"] = {"output": output}
    if settings.tool_choice is not NOT_SET:
        payload["tool_choice"] = _tool_choice(settings.tool_choice)
    return _with_extra(payload, settings)


def _filled(given: Any, defaults: Any) -> Any:
    """Return `given` with unset fields from `defaults`; within a setting only where `_FILLED_WITHIN` says so."""
    changes: dict[str, object] = {}
    for field in attrs.fields(type(given)):
        mine, default = getattr(given, field.name), getattr(defaults, field.name)
        if mine is NOT_SET:
            changes[field.name] = default
        elif default is not NOT_SET and isinstance(mine, _FILLED_WITHIN):
            changes[field.name] = _filled(mine, default)
    return attrs.evolve(given, **changes)


# ---- settings to JSON -----------------------------------------------------------------------------------------------


def _session(settings: SessionSettings) -> dict[str, Any]:
    """Return the wire object of settings without flat spellings; without model and `extra`, which go in last."""
    payload: dict[str, Any] = {"type": "realtime"}
    for name in ("instructions", "prompt", "output_modalities"):
        _put(payload, name, getattr(settings, name))
    if audio := _audio(settings.audio if settings.audio is not NOT_SET else AudioSettings()):
        payload["audio"] = audio
    if settings.tools is not NOT_SET or settings.handoffs is not NOT_SET:
        payload["tools"] = [*_wire_tools(settings.tools, "tools"), *_wire_tools(settings.handoffs, "handoffs")]
    if settings.tool_choice is not NOT_SET:
        payload["tool_choice"] = _tool_choice(settings.tool_choice)
    for name in ("parallel_tool_calls", "reasoning", "max_output_tokens", "truncation", "tracing", "include"):
        _put(payload, name, getattr(settings, name))
    return payload


def _audio(audio: AudioSettings) -> dict[str, Any]:
    """Return the ``audio`` object, without a direction that the settings do not mention."""
    payload: dict[str, Any] = {}
    for name, direction in (("input", audio.input), ("output", audio.output)):
        if direction is not NOT_SET and (fields := _wire(direction)):
            payload[name] = fields
    return _with_extra(payload, audio)


def _put(payload: dict[str, Any], name: str, value: object) -> None:
    if value is not NOT_SET:
        payload[name] = _wire(value)


def _wire(value: Any) -> Any:
    """Return a settings value as JSON: without what is not set, with `extra` laid over the rest."""
    if isinstance(value, (str, bytes)) or not (attrs.has(type(value)) or isinstance(value, (Mapping, Sequence))):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return [_wire(each) for each in value]
    payload: dict[str, Any] = {}
    if isinstance(value, TurnDetectionSettings) and value.type is NOT_SET:
        loudness = any(getattr(value, name) is not NOT_SET for name in _SERVER_VAD_FIELDS)
        payload["type"] = "server_vad" if loudness else "semantic_vad"
    for field in attrs.fields(type(value)):
        each = getattr(value, field.name)
        if each is NOT_SET or field.name == "extra":
            continue
        payload[field.name] = parse_audio_format(each).to_wire() if field.name == "format" else _wire(each)
    return _with_extra(payload, value)


def _with_extra(payload: dict[str, Any], settings: Any) -> dict[str, Any]:
    extra = getattr(settings, "extra", NOT_SET)
    return payload if extra is NOT_SET else deep_merge(payload, extra)


def _tool_choice(choice: str | Mapping[str, Any]) -> object:
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        return {"type": "function", "name": choice}
    return choice if isinstance(choice, str) else dict(choice)


def _wire_tools(tools: Sequence[Any] | NotSet, where: str) -> Sequence[Mapping[str, Any]]:
    if tools is NOT_SET:
        return ()
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise TypeError(f"{where}[{index}] must be a wire mapping here, is {type(tool).__name__}")
    return tools
