"""Settings as typed dictionaries: a checker refuses a key that is misspelt where a mapping is written out.

Each has the keys of the class in `trealtime.protocol.settings` whose name it begins with. Values may be instances, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from trealtime.protocol.settings import (
    AnyFormat,
    AudioInputSettings,
    AudioOutputSettings,
    AudioSettings,
    CustomVoice,
    Modality,
    NoiseReductionSettings,
    PromptSettings,
    ReasoningSettings,
    TokenLimits,
    TracingSettings,
    TranscriptionSettings,
    TruncationSettings,
    TurnDetectionSettings,
)

__all__ = [
    "AudioInputSettingsDict",
    "AudioOutputSettingsDict",
    "AudioSettingsDict",
    "CustomVoiceDict",
    "NoiseReductionSettingsDict",
    "PromptSettingsDict",
    "ReasoningSettingsDict",
    "SessionSettingsDict",
    "TokenLimitsDict",
    "TracingSettingsDict",
    "TranscriptionSettingsDict",
    "TruncationSettingsDict",
    "TurnDetectionSettingsDict",
]


class CustomVoiceDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.CustomVoice`."""

    id: Required[str]
    extra: Mapping[str, Any]


class PromptSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.PromptSettings`."""

    id: Required[str]
    version: str | None
    variables: Mapping[str, Any] | None
    extra: Mapping[str, Any]


class TracingSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.TracingSettings`."""

    workflow_name: str
    group_id: str
    metadata: Mapping[str, Any]
    extra: Mapping[str, Any]


class ReasoningSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.ReasoningSettings`."""

    effort: Literal["minimal", "low", "medium", "high", "xhigh"]
    extra: Mapping[str, Any]


class TokenLimitsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.TokenLimits`."""

    post_instructions: int
    extra: Mapping[str, Any]


class TruncationSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.TruncationSettings`."""

    retention_ratio: Required[float]
    token_limits: TokenLimits | TokenLimitsDict
    type: Literal["retention_ratio"]
    extra: Mapping[str, Any]


class TranscriptionSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.TranscriptionSettings`."""

    model: str
    language: str
    prompt: str
    keywords: Sequence[str]
    languages: Sequence[str]
    delay: Literal["minimal", "low", "medium", "high", "xhigh"]
    extra: Mapping[str, Any]


class NoiseReductionSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.NoiseReductionSettings`."""

    type: Required[Literal["near_field", "far_field"]]
    strength: float
    extra: Mapping[str, Any]


class TurnDetectionSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.TurnDetectionSettings`."""

    type: Literal["server_vad", "semantic_vad"]
    create_response: bool
    interrupt_response: bool
    eagerness: Literal["auto", "low", "medium", "high"]
    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int
    idle_timeout_ms: int | None
    model_version: str
    extra: Mapping[str, Any]


class AudioInputSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.AudioInputSettings`."""

    format: AnyFormat
    noise_reduction: NoiseReductionSettings | NoiseReductionSettingsDict | None
    transcription: TranscriptionSettings | TranscriptionSettingsDict | None
    turn_detection: TurnDetectionSettings | TurnDetectionSettingsDict | None
    extra: Mapping[str, Any]


class AudioOutputSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.AudioOutputSettings`."""

    format: AnyFormat
    voice: str | CustomVoice | CustomVoiceDict
    speed: float
    extra: Mapping[str, Any]


class AudioSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.AudioSettings`."""

    input: AudioInputSettings | AudioInputSettingsDict
    output: AudioOutputSettings | AudioOutputSettingsDict
    extra: Mapping[str, Any]


class SessionSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.SessionSettings`: ``settings: SessionSettingsDict = {...}``."""

    model_name: str
    instructions: str
    prompt: PromptSettings | PromptSettingsDict | None
    output_modalities: Sequence[Modality]
    modalities: Sequence[Modality]
    audio: AudioSettings | AudioSettingsDict
    voice: str | CustomVoice | CustomVoiceDict
    speed: float
    input_audio_format: AnyFormat
    output_audio_format: AnyFormat
    input_audio_transcription: TranscriptionSettings | TranscriptionSettingsDict | None
    input_audio_noise_reduction: NoiseReductionSettings | NoiseReductionSettingsDict | None
    turn_detection: TurnDetectionSettings | TurnDetectionSettingsDict | None
    max_output_tokens: int | Literal["inf"]
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    reasoning: ReasoningSettings | ReasoningSettingsDict
    truncation: Literal["auto", "disabled"] | TruncationSettings | TruncationSettingsDict
    tracing: Literal["auto"] | TracingSettings | TracingSettingsDict | None
    include: Sequence[Literal["item.input_audio_transcription.logprobs"]]
    tools: Sequence[Any]
    handoffs: Sequence[Any]
    extra: Mapping[str, Any]
