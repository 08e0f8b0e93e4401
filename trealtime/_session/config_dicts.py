"""The settings of runners and runs as typed dictionaries: a type checker refuses a misspelt key.

Each has the keys of the class in `trealtime._session.config` whose name it has in it. Values may be instances, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, TypedDict

from trealtime._core.interruption import BargeInPolicy
from trealtime._core.reconnection import ReconnectPolicy, Summarise
from trealtime._core.usage import ModelPrices, SessionLimits
from trealtime._recordings.redact import Redact
from trealtime._session.approval_handler import ApprovalHandler
from trealtime._session.config import GuardrailsSettings, ToolExecution
from trealtime._session.playback_tracker import RealtimePlaybackTracker
from trealtime._session.recording_settings import RecordingSettings
from trealtime._session.subscription import Overflow
from trealtime.agents.guardrails import InputGuardrail, OutputGuardrail
from trealtime.agents.hooks import RealtimeRunHooks
from trealtime.observability.settings import TelemetrySettings
from trealtime.protocol.settings import SessionSettings
from trealtime.protocol.settings_dicts import SessionSettingsDict
from trealtime.tools.function_tool import AfterTool
from trealtime.tools.invocation import ToolErrorFormatter
from trealtime.transport.request import ApiKey

__all__ = [
    "BargeInDict",
    "GuardrailsSettingsDict",
    "ModelConfigDict",
    "ReconnectDict",
    "RecordingSettingsDict",
    "RunConfigDict",
    "SessionLimitsDict",
    "ToolExecutionDict",
]


class GuardrailsSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.GuardrailsSettings`."""

    debounce_text_length: int
    hold_back: bool
    hold_back_s: float
    on_failure: Literal["skip", "block", "stop"] | None
    recovery: Literal["system", "user"] | None
    input_recovery: Literal["system", "user"] | None
    timeout_s: float
    concurrency: int


class ToolExecutionDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.ToolExecution`."""

    pre_approval_tool_input_guardrails: bool


class SessionLimitsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.SessionLimits`."""

    max_tokens: int | None
    max_cost: Decimal | float | str | None
    max_duration_s: float | None
    warn_at: float | None
    grace_s: float


class BargeInDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.BargeIn`."""

    min_speech_ms: int
    while_unsure: Literal["play", "duck", "hold"]
    duck_db: float
    dismiss: Literal["short", "fillers"]
    fillers: Sequence[str]
    transcript_timeout_s: float


class RecordingSettingsDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.RecordingSettings`."""

    path: str | os.PathLike[str] | None
    audio: Literal["keep", "strip"]
    redact: Redact | None
    memory_bytes: int


class TelemetryDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.TelemetrySettings`."""

    enabled: bool
    tracer_provider: object | None
    meter_provider: object | None
    capture_content: bool
    propagate: bool


class ReconnectDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.ReconnectPolicy`."""

    max_attempts: int | None
    give_up_after_s: float
    max_reconnects: int
    base_delay_s: float
    max_delay_s: float
    retry_on: Sequence[int | str]
    on_cut: Literal["continue", "drop"]
    resend_buffer_s: float
    rollover_margin_s: float | None
    max_history_items: int | None
    max_history_tokens: int | None
    summarise: Summarise | None
    summarise_timeout_s: float


class RunConfigDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.RealtimeRunConfig`."""

    model_settings: SessionSettings | SessionSettingsDict
    tracing_disabled: bool
    async_tool_calls: bool
    tool_concurrency: int
    max_open_calls: int
    max_tool_rounds: int
    after_tool: AfterTool
    tool_error_formatter: ToolErrorFormatter | None
    tool_execution: ToolExecution | ToolExecutionDict
    approval_handler: ApprovalHandler | None
    approval_timeout_s: float | None
    hooks: RealtimeRunHooks | None
    output_guardrails: Sequence[OutputGuardrail[Any]]
    input_guardrails: Sequence[InputGuardrail[Any]]
    guardrails_settings: GuardrailsSettings | GuardrailsSettingsDict
    prices: Mapping[str, ModelPrices | Mapping[str, Any]] | None
    limits: SessionLimits | SessionLimitsDict
    barge_in: BargeInPolicy | BargeInDict
    record: str | os.PathLike[str] | RecordingSettings | RecordingSettingsDict | None
    telemetry: TelemetrySettings | TelemetryDict | None
    log_content: bool
    raw_events: bool
    subscription_buffer_s: float
    subscription_buffer_events: int
    subscription_buffer_bytes: int
    subscription_overflow: Overflow
    unread_buffer_s: float
    input_buffer_s: float
    send_queue_events: int
    reconnect: ReconnectPolicy | ReconnectDict | None
    ready_timeout_s: float
    close_timeout_s: float
    cancel_grace_s: float
    response_timeout_s: float
    request_timeout_s: float


class ModelConfigDict(TypedDict, total=False):
    """A mapping that stands for a `trealtime.settings.RealtimeModelConfig`."""

    api_key: ApiKey
    url: str
    headers: Mapping[str, str]
    call_id: str
    initial_model_settings: SessionSettings | SessionSettingsDict
    playback_tracker: RealtimePlaybackTracker
