"""Configurations and user input as typed dictionaries: ``config: RealtimeRunConfig = {...}``.

Keys follow the realtime layer of the OpenAI Agents SDK. A checker refuses a key that is not there. A session leaves it
out, as the SDK does, with a warning in the log that names the nearest one.
"""

# ruff: noqa: PYI051  # the literals are there for editors, the str for names newer than this file
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from trealtime.agents.guardrails import OutputGuardrail
from trealtime.compat.handoffs import Handoff
from trealtime.compat.prompts import Prompt
from trealtime.compat.tool import Tool
from trealtime.tools.invocation import ToolErrorFormatterArgs

__all__ = [
    "RealtimeAudioConfig",
    "RealtimeAudioFormat",
    "RealtimeAudioInputConfig",
    "RealtimeAudioOutputConfig",
    "RealtimeClientMessage",
    "RealtimeCustomVoice",
    "RealtimeGuardrailsSettings",
    "RealtimeInputAudioNoiseReductionConfig",
    "RealtimeInputAudioTranscriptionConfig",
    "RealtimeModelName",
    "RealtimeModelTracingConfig",
    "RealtimeReasoningConfig",
    "RealtimeReasoningEffort",
    "RealtimeRunConfig",
    "RealtimeSessionModelSettings",
    "RealtimeToolExecutionConfig",
    "RealtimeTurnDetectionConfig",
    "RealtimeUserInput",
    "RealtimeUserInputImage",
    "RealtimeUserInputMessage",
    "RealtimeUserInputText",
    "RealtimeVoice",
]

RealtimeModelName: TypeAlias = (
    Literal[
        "gpt-realtime",
        "gpt-realtime-1.5",
        "gpt-realtime-2",
        "gpt-realtime-2.1",
        "gpt-realtime-2.1-mini",
        "gpt-realtime-2025-08-28",
        "gpt-realtime-mini",
        "gpt-realtime-mini-2025-10-06",
        "gpt-realtime-mini-2025-12-15",
        "gpt-4o-realtime-preview",
        "gpt-4o-mini-realtime-preview",
    ]
    | str
)
"""The name of a model; any name is sent as it is."""

RealtimeAudioFormat: TypeAlias = Literal["pcm16", "g711_ulaw", "g711_alaw"] | str | Mapping[str, Any]
"""An audio format by its old name, or as the wire has it: ``{"type": "audio/pcmu"}``."""

RealtimeReasoningEffort: TypeAlias = Literal["minimal", "low", "medium", "high", "xhigh"] | str
"""The effort of a reasoning model before it speaks."""

_Modality: TypeAlias = Literal["text", "audio"]
_Delay: TypeAlias = Literal["minimal", "low", "medium", "high", "xhigh"]


class RealtimeCustomVoice(TypedDict):
    """A voice of your own, by its id."""

    id: str


RealtimeVoice: TypeAlias = str | RealtimeCustomVoice | Mapping[str, Any]
"""A voice by its name, or a voice of your own."""


class RealtimeClientMessage(TypedDict):
    """A client event as it goes to the server: `type`, and its other fields in `other_data`."""

    type: str
    other_data: NotRequired[dict[str, Any]]


class RealtimeInputAudioTranscriptionConfig(TypedDict, total=False):
    """How the server transcribes what the user says."""

    language: str
    model: str
    prompt: str
    keywords: list[str]
    languages: list[str]
    delay: _Delay


class RealtimeInputAudioNoiseReductionConfig(TypedDict, total=False):
    """The kind of noise that the server takes out of the user's audio."""

    type: Literal["near_field", "far_field"]


class RealtimeTurnDetectionConfig(TypedDict, total=False):
    """How the server finds the user's turns. Times are milliseconds, `threshold` is 0 to 1."""

    type: Literal["semantic_vad", "server_vad"]
    create_response: bool
    eagerness: Literal["auto", "low", "medium", "high"]
    interrupt_response: bool
    prefix_padding_ms: int
    silence_duration_ms: int
    threshold: float
    idle_timeout_ms: int
    model_version: str


class RealtimeAudioInputConfig(TypedDict, total=False):
    """The user's audio; None for `turn_detection` means manual turns."""

    format: RealtimeAudioFormat
    noise_reduction: RealtimeInputAudioNoiseReductionConfig | None
    transcription: RealtimeInputAudioTranscriptionConfig
    turn_detection: RealtimeTurnDetectionConfig | None


class RealtimeAudioOutputConfig(TypedDict, total=False):
    """The agent's audio."""

    format: RealtimeAudioFormat
    voice: RealtimeVoice
    speed: float


class RealtimeAudioConfig(TypedDict, total=False):
    """Audio settings of both directions."""

    input: RealtimeAudioInputConfig
    output: RealtimeAudioOutputConfig


class RealtimeReasoningConfig(TypedDict, total=False):
    """Reasoning of models that reason."""

    effort: RealtimeReasoningEffort


class RealtimeModelTracingConfig(TypedDict, total=False):
    """Names under which the service files its trace of the session."""

    workflow_name: str
    group_id: str
    metadata: dict[str, Any]


class RealtimeSessionModelSettings(TypedDict, total=False):
    """Settings of the model and its audio. Where a nested key and a flat one say the same, the nested one wins."""

    model_name: RealtimeModelName
    instructions: str
    prompt: Prompt
    modalities: list[_Modality]
    output_modalities: list[_Modality]
    audio: RealtimeAudioConfig
    voice: RealtimeVoice
    speed: float
    max_output_tokens: int | Literal["inf"]
    input_audio_format: RealtimeAudioFormat
    output_audio_format: RealtimeAudioFormat
    input_audio_transcription: RealtimeInputAudioTranscriptionConfig
    input_audio_noise_reduction: RealtimeInputAudioNoiseReductionConfig | None
    turn_detection: RealtimeTurnDetectionConfig | None
    tool_choice: Literal["auto", "required", "none"] | str | Mapping[str, Any] | None
    parallel_tool_calls: bool
    reasoning: RealtimeReasoningConfig
    tools: list[Tool]
    handoffs: list[Handoff[Any, Any]]
    tracing: RealtimeModelTracingConfig | None


class RealtimeGuardrailsSettings(TypedDict, total=False):
    """After how many characters of new text an item is checked again."""

    debounce_text_length: int


class RealtimeToolExecutionConfig(TypedDict, total=False):
    """True: the input guardrails of a tool also check a call before its approval is asked for."""

    pre_approval_tool_input_guardrails: bool


class RealtimeRunConfig(TypedDict, total=False):
    """How the sessions of a runner behave."""

    model_settings: RealtimeSessionModelSettings
    output_guardrails: list[OutputGuardrail[Any]]
    guardrails_settings: RealtimeGuardrailsSettings
    tracing_disabled: bool
    async_tool_calls: bool
    tool_execution: RealtimeToolExecutionConfig
    tool_error_formatter: Callable[[ToolErrorFormatterArgs], str | Awaitable[str | None] | None]


class RealtimeUserInputText(TypedDict):
    """Text of the user."""

    type: Literal["input_text"]
    text: str


class RealtimeUserInputImage(TypedDict):
    """An image of the user: a data URI with PNG or JPEG, or an ``https:`` address that the service fetches."""

    type: Literal["input_image"]
    image_url: str
    detail: NotRequired[Literal["auto", "low", "high"] | str]


class RealtimeUserInputMessage(TypedDict):
    """A message of the user in parts."""

    type: Literal["message"]
    role: Literal["user"]
    content: list[RealtimeUserInputText | RealtimeUserInputImage]


RealtimeUserInput: TypeAlias = str | RealtimeUserInputMessage
"""A message for `RealtimeSession.send_message`."""
